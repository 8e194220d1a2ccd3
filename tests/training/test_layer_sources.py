"""Sources: one number, one draw, in every process; every item once in an epoch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from matter_sdk.training import scenes
from matter_sdk.training.composition import Rssn
from matter_sdk.training.data import datasets, layer_sources
from matter_sdk.training.data.datasets import DatasetError, Sample
from matter_sdk.training.data.layer_sources import (
    Composed,
    Crops,
    Joined,
    Natural,
    Procedural,
    Source,
)
from matter_sdk.training.data.layers import Layers, compose

SIZE = (24, 32)
PLAIN = Rssn(denoise=0, blur=0, noise=0)


def _write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())


def _disc(height: int, width: int, seed: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(rows - height / 2, columns - width / 2) / (0.2 + 0.02 * seed)
    return np.uint8(255 * np.clip((height - distance) / 12 + 0.5, 0, 1))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> datasets.Dataset:
    """Five photographs of a colour each, with a disc for a matte."""
    root = tmp_path_factory.mktemp("photographs")
    for k in range(5):
        height, width = 60 + 8 * k, 90 - 4 * k
        noise = np.random.default_rng(k).integers(-9, 10, (height, width, 3))
        alpha = _disc(height, width, k)
        subject = np.array([40 + 40 * k, 120, 220 - 40 * k]) + noise
        picture = np.where(alpha[..., None] > 0, subject, 60 + noise).astype(np.uint8)
        _write(root / f"{k}.png", picture)
        _write(root / f"{k}_alpha.png", alpha)
    return datasets.open(root)


@pytest.fixture(scope="module")
def backgrounds(tmp_path_factory: pytest.TempPathFactory) -> datasets.Dataset:
    """Seven flat pictures, 10 to 70."""
    root = tmp_path_factory.mktemp("backgrounds")
    for k in range(7):
        _write(root / f"{k}.png", np.full((50, 40 + 10 * k, 3), 10 * (k + 1), np.uint8))
    return datasets.open(root)


@pytest.fixture
def every(photographs: datasets.Dataset, backgrounds: datasets.Dataset) -> dict[str, Source]:
    crops = Crops((24, 40, 500))
    natural = Natural(photographs, crops, seed=3)
    composed = Composed(photographs, backgrounds, crops, k=2, seed=3)
    return {
        "procedural": Procedural(with_plate=True, length=2),
        "natural": natural,
        "composed": composed,
        "joined": Joined([natural, composed], seed=3),
    }


NAMES = ("procedural", "natural", "composed", "joined")


@pytest.mark.parametrize("name", NAMES)
def test_layers_are_whole_and_of_the_size_asked_for(every: dict[str, Source], name: str) -> None:
    source = every[name]
    for index in range(len(source) + 1):  # and into the next epoch
        drawn = source.draw(index, SIZE)
        for colours in (drawn.image, drawn.foreground, drawn.background):
            assert (colours.shape, colours.dtype) == ((*SIZE, 3), np.uint8)
            assert colours.flags.c_contiguous
        assert (drawn.alpha.shape, drawn.alpha.dtype) == (SIZE, np.float32)
        assert 0 <= drawn.alpha.min() <= drawn.alpha.max() <= 1
        # Nothing is far from the matting equation; procedural scenes have a camera between.
        if name != "procedural":
            composed = compose(drawn.foreground, drawn.background, drawn.alpha)
            assert np.abs(composed.astype(int) - drawn.image).mean() < 12
    assert (source.draw(0, SIZE).plate is None) == (name != "procedural")


class _Numbers(torch.utils.data.Dataset):
    """What the training command wraps around a source."""

    def __init__(self, source: Source, count: int) -> None:
        self.source, self.count = source, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        drawn = self.source.draw(index, SIZE)
        return {key: getattr(drawn, key) for key in ("image", "alpha", "foreground", "background")}


def test_draws_are_the_same_with_any_number_of_workers(
    photographs: datasets.Dataset, backgrounds: datasets.Dataset
) -> None:
    """Here of a dataset with foregrounds: test_composition sees to their estimation in a fork."""
    items = (
        datasets.Item(**{**vars(item), "foreground": item.image, "background": item.image})
        for item in photographs.items
    )
    dataset = datasets.Dataset("d", "pairs", photographs.root, "train", tuple(items))
    crops = Crops((24, 40))
    source = Joined([Natural(dataset, crops), Composed(dataset, backgrounds, crops, k=2)])
    count = len(source) + 3

    def epoch(workers: int) -> list[dict[str, torch.Tensor]]:
        return list(DataLoader(_Numbers(source, count), batch_size=3, num_workers=workers))

    alone = epoch(0)
    for workers in (1, 2):
        for ours, theirs in zip(alone, epoch(workers), strict=True):
            for key, value in ours.items():
                torch.testing.assert_close(theirs[key], value, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_draw_does_not_depend_on_those_before(every: dict[str, Source], name: str) -> None:
    source = every[name]
    first = source.draw(4, SIZE)
    source.draw(1, (16, 16))
    again = source.draw(4, SIZE)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.alpha, again.alpha)
    assert not np.array_equal(source.draw(5, SIZE).image, first.image)


def test_every_photograph_has_its_turn_in_every_epoch(
    photographs: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    read = datasets.Dataset.read

    def note(self: datasets.Dataset, index: int) -> Sample:
        shown.append(self.items[index].name)
        return read(self, index)

    monkeypatch.setattr(datasets.Dataset, "read", note)
    source = Natural(photographs, seed=1)
    assert len(source) == 5
    for index in range(30):
        source.draw(index, (8, 8))
    epochs = [tuple(shown[k : k + 5]) for k in range(0, 30, 5)]
    assert {tuple(sorted(epoch)) for epoch in epochs} == {("0", "1", "2", "3", "4")}
    assert len(set(epochs)) > 3  # in other orders
    other = Natural(photographs, seed=2)
    shown.clear()
    for index in range(5):
        other.draw(index, (8, 8))
    assert tuple(shown) != epochs[0]


def test_every_foreground_meets_k_different_backgrounds_in_an_epoch(
    photographs: datasets.Dataset, backgrounds: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs: list[list[str]] = []
    read = datasets.Dataset.read

    def note(self: datasets.Dataset, index: int) -> Sample:
        if self is photographs:
            pairs.append([])
        pairs[-1].append(self.items[index].name)
        return read(self, index)

    monkeypatch.setattr(datasets.Dataset, "read", note)
    source = Composed(photographs, backgrounds, rssn=PLAIN, k=3)
    assert len(source) == 15
    for index in range(30):
        source.draw(index, (8, 8))
    epochs = [[tuple(pair) for pair in pairs[start : start + 15]] for start in (0, 15)]
    for epoch in epochs:
        assert Counter(name for name, _ in epoch) == dict.fromkeys("01234", 3)
        assert len(set(epoch)) == 15
    assert set(epochs[0]) != set(epochs[1])
    few = Composed(photographs, backgrounds, rssn=PLAIN, k=20)
    assert set(few.partners(0, 0)) <= set(range(7))
    assert len(few.partners(0, 0)) == 20


def test_a_composite_is_the_foreground_before_a_new_background(
    photographs: datasets.Dataset, backgrounds: datasets.Dataset
) -> None:
    source = Composed(photographs, backgrounds, Crops((40,)), PLAIN, k=2)
    for index in range(6):
        drawn = source.draw(index, SIZE)
        assert np.ptp(drawn.background) == 0  # one of the flat ones, nothing of the old one
        assert drawn.background[0, 0, 0] in range(10, 80, 10)
        np.testing.assert_array_equal(
            drawn.image, compose(drawn.foreground, drawn.background, drawn.alpha)
        )
        solid = drawn.alpha == 1
        assert np.abs(drawn.foreground[solid].astype(int)[:, 1] - 120).mean() < 10


def test_type_wise_augmentation_follows_the_item(
    photographs: datasets.Dataset, backgrounds: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[tuple[str, float]] = []

    def note(*arguments: object, kind: str, **_: object) -> Layers:
        used.append((kind, arguments[4].blur))  # type: ignore[attr-defined]
        raise StopIteration

    monkeypatch.setattr(layer_sources, "compose_rssn", note)
    kinds = ("SO", "NS", "STM", "NS", "SO")
    items = tuple(
        datasets.Item(**{**vars(item), "kind": kind})
        for item, kind in zip(photographs.items, kinds, strict=True)
    )
    typed = datasets.Dataset("t", "pairs", photographs.root, "train", items)
    for by_type in (True, False):
        source = Composed(typed, backgrounds, k=1, by_type=by_type)
        for index in range(5):
            with pytest.raises(StopIteration):
                source.draw(index, (8, 8))
    assert set(used[:5]) == {("SO", 0.5), ("NS", 1.0), ("STM", 0.5)}
    assert {blur for _, blur in used[5:]} == {0.5}


def _sample(alpha: np.ndarray, trimap: np.ndarray | None = None) -> Sample:
    image = np.zeros((*alpha.shape, 3), np.uint8)
    return Sample("s", image, alpha.astype(np.float32), trimap, None, None, "SO", "")


def _windows(
    crops: Crops, sample: Sample, size: tuple[int, int], count: int = 60
) -> list[tuple[slice, slice]]:
    return [crops.choose(np.random.default_rng(k), sample, size) for k in range(count)]


def test_windows_have_the_sides_of_the_papers_and_lie_around_the_transition() -> None:
    alpha = np.zeros((1400, 2000), np.float32)
    alpha[700:702, 900:1100] = 0.5
    windows = _windows(Crops(), _sample(alpha), (320, 320))
    sides = Counter(
        (rows.stop - rows.start, columns.stop - columns.start) for rows, columns in windows
    )
    assert sides.keys() == {(640, 640), (960, 960), (1280, 1280)}
    assert min(sides.values()) > 8
    for rows, columns in windows:
        assert 0 <= rows.start <= 700 < rows.stop <= 1400
        assert 0 <= columns.start <= 1100
        assert 900 <= columns.stop <= 2000
        middle = (columns.start + columns.stop) / 2
        if columns.start > 0:
            assert 899 <= middle <= 1100


def test_the_trimap_says_where_the_transition_is() -> None:
    alpha = np.zeros((900, 900), np.float32)
    alpha[:, 450:] = 1
    trimap = np.zeros((900, 900), np.uint8)
    trimap[10:12, 880:890] = 128
    for rows, columns in _windows(Crops((100,)), _sample(alpha, trimap), (64, 64)):
        assert rows == slice(0, 100)
        assert columns == slice(800, 900)


def test_a_window_is_anywhere_where_there_is_no_transition() -> None:
    tops = {
        rows.start for rows, _ in _windows(Crops((100,)), _sample(np.zeros((900, 900))), (64, 64))
    }
    assert len(tops) > 20


def test_windows_have_the_shape_of_what_is_drawn_and_shrink_to_fit() -> None:
    sample = _sample(np.full((300, 400), 0.5))
    for size, expected in (
        ((64, 64), (300, 300)),
        ((64, 128), (200, 400)),
        ((128, 64), (300, 150)),
    ):
        for rows, columns in _windows(Crops((640,)), sample, size, 5):
            assert (rows.stop - rows.start, columns.stop - columns.start) == expected
    for rows, columns in _windows(Crops((100,)), sample, (50, 200), 5):
        assert (rows.stop - rows.start, columns.stop - columns.start) == (50, 200)
    whole = Crops(()).choose(np.random.default_rng(0), sample, (64, 64))
    assert whole == (slice(0, 300), slice(0, 400))


def test_half_of_the_draws_are_flipped(photographs: datasets.Dataset) -> None:
    one = datasets.Dataset("o", "pairs", photographs.root, "train", photographs.items[:1])
    whole = Natural(one, Crops((), flip=0)).draw(0, (60, 90))
    flips = 0
    source = Natural(one, Crops(()))
    for index in range(80):
        drawn = source.draw(index, (60, 90))
        flipped = np.array_equal(drawn.image, whole.image[:, ::-1])
        assert flipped or np.array_equal(drawn.image, whole.image)
        expected = whole.alpha[:, ::-1] if flipped else whole.alpha
        np.testing.assert_array_equal(drawn.alpha, expected)
        flips += flipped
    assert 22 < flips < 58


def test_all_parts_of_a_sample_are_cut_alike(tmp_path: Path) -> None:
    """Coordinates for colours show where each part was cut."""
    rows, columns = np.mgrid[:80, :100]
    places = np.stack([rows, columns, rows * 0], -1).astype(np.uint8)
    _write(tmp_path / "a.png", places)
    _write(tmp_path / "a_alpha.png", (columns * 2).astype(np.uint8))
    trimap = np.where(columns < 40, 0, np.where(columns < 60, 128, 255)).astype(np.uint8)
    _write(tmp_path / "a_trimap.png", trimap)
    for part in ("foreground", "background"):
        _write(tmp_path / f"a_{part}.png", places)
    source = Natural(datasets.open(tmp_path), Crops((40,)))
    for index in range(10):
        drawn = source.draw(index, (40, 40))  # pixel for pixel
        np.testing.assert_array_equal(drawn.image, drawn.foreground)
        np.testing.assert_array_equal(drawn.image, drawn.background)
        column = drawn.image[..., 1].astype(int)  # blue is written first
        np.testing.assert_allclose(drawn.alpha, column * 2 / 255, atol=1e-6)
        assert drawn.trimap is not None
        np.testing.assert_array_equal(
            drawn.trimap, np.where(column < 40, 0, np.where(column < 60, 128, 255))
        )


def test_joined_gives_each_source_its_share(
    photographs: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Echo:
        def __init__(self, name: str, length: int) -> None:
            self.name, self.length = name, length

        def __len__(self) -> int:
            return self.length

        def draw(self, index: int, size: tuple[int, int]) -> Layers:
            drawn.append((self.name, index))
            return None  # type: ignore[return-value]

    drawn: list[tuple[str, int]] = []
    joined = Joined([Echo("a", 3), Echo("b", 5)])
    for index in range(16):
        joined.draw(index, SIZE)
    assert sorted(drawn[:8]) == [("a", k) for k in range(3)] + [("b", k) for k in range(5)]
    assert sorted(drawn[8:]) == [("a", k) for k in range(3, 6)] + [("b", k) for k in range(5, 10)]
    assert [name for name, _ in drawn[:8]] != ["a"] * 3 + ["b"] * 5


def test_procedural_scenes_are_those_of_their_numbers() -> None:
    source = Procedural(length=4, first=1000)
    assert len(source) == 4
    for index in (0, 5):  # there is no second epoch of the same scenes
        expected = scenes.layers(1000 + index, SIZE)
        np.testing.assert_array_equal(source.draw(index, SIZE).image, expected.image)


def test_datasets_that_lack_something_are_refused(
    photographs: datasets.Dataset, backgrounds: datasets.Dataset
) -> None:
    with pytest.raises(DatasetError, match="7 of 7 items have no alpha"):
        Natural(backgrounds)
    with pytest.raises(DatasetError, match="7 of 7 items have no alpha"):
        Composed(backgrounds, photographs)
    foregrounds = tuple(
        datasets.Item(item.name, alpha=item.alpha, foreground=item.image)
        for item in photographs.items
    )
    alone = datasets.Dataset("f", "pairs", photographs.root, "train", foregrounds)
    with pytest.raises(DatasetError, match="5 of 5 items have no image"):
        Natural(alone)
    with pytest.raises(DatasetError, match="5 of 5 items have no image"):
        Composed(photographs, alone)
    assert Composed(alone, backgrounds).draw(0, SIZE).image.shape == (*SIZE, 3)
