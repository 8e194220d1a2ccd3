"""Mixed sources: mattes for masks, where pictures lie in the frame, what counts in the losses."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from matter_sdk.training import networks, recipes
from matter_sdk.training.data import augment, datasets, layouts, mixing
from matter_sdk.training.data import plate_pairs as plates
from matter_sdk.training.data.datasets import DatasetError
from matter_sdk.training.data.mattes import CLASS_ONLY, KNOWN, UNLABELLED, Cache, matte
from matter_sdk.training.data.mixing import Mixed
from matter_sdk.training.fit import ingredients, objectives
from matter_sdk.training.fit.losses import gfm_loss, glance_loss
from matter_sdk.training.fit.objectives.gfm import second_views, views_difference
from matter_sdk.training.fit.run import Options
from matter_sdk.training.recipes import Mix, Recipe, RecipeError
from matter_sdk.training.scenes import layers as scene

SIZE = (64, 96)
NONE = ("nobody",)


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())


def disc(size: tuple[int, int], radius: float, centre: tuple[float, float]) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.hypot(rows - centre[0], columns - centre[1]) < radius


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red discs on green with masks, and grey pictures with nobody in them."""
    root = tmp_path_factory.mktemp("open")
    for k in range(4):
        size = (120 + 10 * k, 100 + 5 * k)
        inside = disc(size, 30, (60, 50))
        colours = np.where(inside[..., None], (40, 40, 220), (40, 220, 40)).astype(np.uint8)
        write(root / f"discs/images/{k}.png", colours)
        write(root / f"discs/masks/{k}.png", np.uint8(255 * inside))
        write(root / f"nobody/images/{k}.png", np.full((90, 120, 3), 60 * k + 30, np.uint8))
    (root / "discs/tags.json").write_text('{"0": {"iou": 0.1}, "1": {"iou": 0.9}}')
    return root


def recipe(*mix: Mix) -> Recipe:
    entries = {"source": "mixed", "mix": (), "backgrounds": NONE}
    return dataclasses.replace(recipes.load("gfm-light"), **entries | {"mix": mix})


def mixed(root: Path, tmp_path: Path, **entry: object) -> Mixed:
    mix = Mix(**{"weight": 1.0, "data": ("discs",)} | entry)  # type: ignore[arg-type]
    return Mixed(recipe(mix), root, Cache(tmp_path))


# --- mattes ---


def test_a_matte_finds_the_true_edge_of_a_rough_mask() -> None:
    size = (160, 160)
    rows, columns = np.mgrid[:160, :160]
    true = np.clip(50.5 - np.hypot(rows - 80, columns - 80), 0, 1)
    image = np.round(true[..., None] * (220, 40, 40) + (1 - true[..., None]) * (40, 220, 40))
    mask = disc(size, 51, (80.8, 80.8)).astype(np.float32)  # off by a pixel
    alpha, known = matte(image.astype(np.uint8), mask, "hard")
    sure = known == KNOWN
    assert sure.mean() > 0.97
    assert np.abs(alpha - true)[sure].mean() < 0.3 * np.abs(mask - true)[sure].mean()


def test_the_band_stays_unknown_where_both_sides_look_alike() -> None:
    mask = disc((160, 160), 50, (80, 80)).astype(np.float32)
    image = np.full((160, 160, 3), 128, np.uint8)
    alpha, known = matte(image, mask, "hard")
    assert set(np.unique(known)) == {CLASS_ONLY, KNOWN}
    assert np.array_equal(alpha, mask)  # the mask's own values go on standing there


def test_what_a_hard_mask_leaves_out_is_unlabelled() -> None:
    mask = disc((120, 120), 30, (60, 40)).astype(np.float32)
    mask[:20, 90:] = 128 / 255
    image = np.where(mask[..., None] > 0.9, 220, 30) * np.ones(3)
    alpha, known = matte(image.astype(np.uint8), mask, "hard")
    assert (known[:20, 90:] == UNLABELLED).all()
    assert (alpha[:20, 90:] == 0).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("labels", ["hard", "trimap"])
def test_a_mask_of_nothing_or_all_is_a_matte(value: float, labels: str) -> None:
    alpha, known = matte(np.zeros((40, 40, 3), np.uint8), np.full((40, 40), value), labels)
    assert (alpha == value).all()
    assert (known == KNOWN).all()


def test_mattes_are_kept_and_a_damaged_one_is_made_again(root: Path, tmp_path: Path) -> None:
    dataset = datasets.open(root / "discs")
    cache = Cache(tmp_path)
    first = cache.read(dataset, 2, "hard")
    path = cache.path(dataset, 2)
    content = path.read_bytes()
    for kept in (content, content[: len(content) // 2]):
        path.write_bytes(kept)
        again = cache.read(dataset, 2, "hard")
        assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert path.read_bytes() == content


# --- draws ---


def test_a_draw_follows_from_its_number_alone(root: Path, tmp_path: Path) -> None:
    one, other = (mixed(root, tmp_path, composed=0.5) for _ in range(2))
    for index in (3, 0, 7):
        first, second = one.draw(index, SIZE), other.draw(index, SIZE)
        assert np.array_equal(first.image, second.image)
        assert np.array_equal(first.alpha, second.alpha)
        assert np.array_equal(first.known, second.known)


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (64, 64)])
@pytest.mark.parametrize("crop", ["whole", "torso"])
@pytest.mark.parametrize("composed", [0.0, 1.0])
def test_alpha_lies_where_the_subject_does(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
    crop: str,
    composed: float,
) -> None:
    monkeypatch.setattr(augment, "light", lambda _rng, image, _strength=1.0: image)
    monkeypatch.setattr(augment, "camera", lambda _rng, image: image)
    monkeypatch.setattr(mixing, "_HELD", 0.0)  # things have other colours
    source = mixed(root, tmp_path, composed=composed, crop=crop)
    for index in range(12):
        layers = source.draw(index, size)
        image, alpha = layers.image.astype(int), layers.alpha
        assert image.shape == (*size, 3)
        assert alpha.shape == size == layers.known.shape  # type: ignore[union-attr]
        red = image[..., 0] - image[..., 1] > 90
        sure = (layers.known == KNOWN) & ((alpha < 0.02) | (alpha > 0.98))
        assert (red == (alpha > 0.5))[sure].mean() > 0.98, index
    assert any((source.draw(index, size).alpha > 0.5).mean() > 0.05 for index in range(12))


def test_a_plate_shows_the_same_place_without_the_subject(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plates, "plate", lambda _rng, empty: empty)
    monkeypatch.setattr(augment, "camera", lambda _rng, image: image)
    entry = recipe(Mix(weight=1.0, data=("discs",)))
    source = Mixed(entry, root, Cache(tmp_path), with_plate=True)
    for index in range(12):
        layers = source.draw(index, SIZE)
        assert layers.plate is not None
        differs = np.abs(layers.image.astype(int) - layers.plate).max(2) > 2
        assert not differs[layers.alpha == 0].any(), index
        if (layers.alpha == 1).any():
            assert differs[layers.alpha == 1].mean() > 0.9, index


def test_a_thing_that_is_held_belongs_to_the_subject(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = np.full((8, 8, 3), (0, 0, 255), np.uint8), np.ones((8, 8), np.float32)
    monkeypatch.setattr(
        mixing.scenes,
        "held_thing",
        lambda _rng, side: tuple(cv2.resize(part, (side, side)) for part in thing),
    )
    image = np.full((*SIZE, 3), 90, np.uint8)
    alpha = disc(SIZE, 20, (32, 40)).astype(np.float32)
    rng = np.random.default_rng(0)
    for _ in range(8):
        held, joined = mixing._holding(rng, image, alpha)
        blue = held[..., 2] == 255
        assert blue.any()
        assert (blue & (alpha == 1)).any()
        assert (joined == np.maximum(alpha, blue)).all()
    assert (image == 90).all()
    nothing = np.zeros(SIZE, np.float32)
    assert mixing._holding(rng, image, nothing)[1] is nothing


def test_drawn_subjects_stand_before_photographs(root: Path, tmp_path: Path) -> None:
    for index in range(6):
        layers = mixed(root, tmp_path, data=(), composed=1.0).draw(index, SIZE)
        empty = layers.image[layers.alpha == 0].astype(int)  # of grey pictures
        assert 0 < layers.alpha.mean() < 1
        assert np.abs(empty - empty.mean(1, keepdims=True)).mean() < 25


def test_pictures_with_nobody_in_them_have_no_alpha(root: Path, tmp_path: Path) -> None:
    layers = mixed(root, tmp_path, data=NONE, labels="none").draw(0, SIZE)
    assert layers.alpha.max() == 0
    assert (layers.known == KNOWN).all()


def test_scenes_need_no_pictures(root: Path, tmp_path: Path) -> None:
    layers = mixed(root, tmp_path, data=()).draw(0, SIZE)
    assert 0 < layers.alpha.mean() < 1


def test_disputed_masks_serve_only_before_other_backgrounds(root: Path, tmp_path: Path) -> None:
    entry = mixed(root, tmp_path, agreement=0.5).entries[0]
    assert len(entry.pictures) == 4
    assert len(entry.agreed) == 3


def test_a_picture_that_cut_its_subject_keeps_that_side_outside_the_frame() -> None:
    alpha = np.zeros((100, 80), np.float32)
    alpha[40:, 20:60] = 1  # cut at the bottom
    for seed in range(40):
        rng = np.random.default_rng(seed)
        place = mixing._place(rng, alpha, SIZE, "whole", free=True)
        rows, _ = place.visible()
        assert rows.stop == SIZE[0], seed


def test_masks_are_needed_where_an_entry_says_so(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="have no alpha"):
        mixed(root, tmp_path, data=NONE)


def test_the_held_out_pictures_are_in_no_training() -> None:
    listed = layouts.held_out("ccp_fullbody")
    assert len(listed) == 60
    assert not layouts.held_out("no such folder")


def test_splits_follow_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        write(tmp_path / f"set/images/{name}.png", np.zeros((8, 8, 3), np.uint8))
    monkeypatch.setattr(layouts, "held_out", lambda _: frozenset("b"))
    names = [[i.name for i in datasets.open(tmp_path / "set", split=s).items] for s in
             ("train", "test")]  # fmt: skip
    assert names == [["a", "c"], ["b"]]


# --- losses ---


def batch(known: float) -> dict[str, torch.Tensor]:
    shape = (1, 1, 64, 64)
    return {
        "classes": torch.ones(1, 64, 64, dtype=torch.int64),
        "mask": torch.ones(shape),
        "focus": torch.ones(shape),
        "alpha": torch.ones(shape),
        "known": torch.full(shape, known),
    }


@pytest.mark.parametrize("known", [0.0, 128 / 255, 1.0])
def test_only_known_alpha_counts(known: float) -> None:
    outputs = {
        name: torch.full((1, 1, 64, 64), 0.25, requires_grad=True) for name in ("focus", "alpha")
    }
    outputs["glance"] = torch.full((1, 3, 64, 64), 1 / 3)
    losses = gfm_loss(outputs, batch(known), composition=False)
    (losses["focus"] + losses["collaborative"]).backward()
    for name in ("focus", "alpha"):
        gradient = outputs[name].grad
        moved = float(gradient.abs().max()) if gradient is not None else 0.0
        assert (moved > 1e-9) == (known == 1.0), name


def test_classes_below_0_do_not_count() -> None:
    glance = torch.rand(2, 3, 8, 8).softmax(1)
    classes = torch.randint(0, 3, (2, 8, 8))
    whole = glance_loss(glance[:, :, :4], classes[:, :4])
    classes[:, 4:] = -1
    assert torch.allclose(glance_loss(glance, classes), whole)
    assert glance_loss(glance, torch.full_like(classes, -1)) == 0


# --- recipes ---


@pytest.mark.parametrize(
    "entry",
    ["weight = 1\nlabel = 'hard'", "data = ['a']", "weight = 1\nlabels = 'soft'", "weight = -1"],
)
def test_an_entry_of_the_mix_that_is_wrong_is_named(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f"extends = 'gfm-light'\n[[mix]]\n{entry}\n")
    with pytest.raises(RecipeError, match=r"mine\.toml: 'mix\[0\]\."):
        recipes.load(path)


# --- two views of a picture ---


def views() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    image = torch.randint(0, 256, (6, 3, 32, 48), dtype=torch.uint8)
    return {"image": image, "alpha": torch.rand(6, 1, 32, 48), "classes": image[:, 0].long()}


def test_the_last_third_of_a_batch_shows_the_first_shifted() -> None:
    batch = views()
    seen, shift = second_views(batch)
    assert max(map(abs, shift)) <= 4
    for name in ("alpha", "classes"):
        assert torch.equal(seen[name][:4], batch[name][:4])
        assert torch.equal(seen[name][4:], batch[name][:2].roll(shift, (-2, -1)))
    assert torch.equal(seen["image"][:4], batch["image"][:4])
    again = seen["image"][4:].float() - batch["image"][:2].roll(shift, (-2, -1)).float()
    assert 0 < again.abs().mean() < 40


def test_a_network_that_moves_with_the_picture_is_consistent() -> None:
    seen, shift = second_views(views())
    assert views_difference(seen["alpha"], shift) == 0
    still = views()["alpha"]
    still[4:] = still[:2]
    assert (views_difference(still, shift) > 0.1) == (shift != (0, 0))


def test_consistency_is_one_loss_more() -> None:
    network = networks.create("gfm", backbone="efficientnet-lite0", rosta="tt")
    layers = [scene(seed, (64, 64)) for seed in range(3)]
    rng = np.random.default_rng(0)
    samples = [objectives.targets(one, "gfm", "tt", rng, consistency=0.5) for one in layers]
    batch = torch.utils.data.default_collate(samples)
    losses = objectives.create(network, consistency=0.5)(batch)
    assert set(losses) == {"glance", "focus", "collaborative", "consistency"}
    assert losses["consistency"] > 0


# --- what is validated on ---


def test_validation_sees_only_what_training_does_not(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = recipe(Mix(weight=1.0, data=("discs",)), Mix(weight=1.0, data=("more",)))
    shutil.copytree(root, tmp_path / "sets")
    shutil.copytree(root / "discs", tmp_path / "sets/more")
    listed = {"discs": frozenset({"1", "3"})}
    monkeypatch.setattr(layouts, "held_out", lambda folder: listed.get(folder, frozenset()))
    options = Options(both, tmp_path / "run", data=(tmp_path / "sets",))
    source, keys = ingredients.validation(options, 32)
    assert len(source) == len(keys) == 2  # none of a set of which nothing is held out


def test_plates_are_validated_on_scenes_that_have_them(tmp_path: Path) -> None:
    options = Options(recipes.load("gfm-light-plate"), tmp_path / "run", data=(tmp_path,))
    source, keys = ingredients.validation(options, 32)
    assert len(keys) == options.validation
    assert source.draw(0, SIZE).plate is not None
