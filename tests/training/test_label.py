"""Masks by networks that agree."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from matter_sdk.training import checkpoints, label, networks
from matter_sdk.training.data import datasets


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())


def disc(radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:100, :100]
    return (np.hypot(rows - 50, columns - 50) < radius).astype(np.float32)


def test_what_mattes_do_not_agree_on_is_the_band() -> None:
    mask = label.trimap([disc(30), disc(30), disc(24)])
    assert set(np.unique(mask)) == {0, 128, 255}
    assert (mask[disc(22) == 1] == 255).all()
    assert (mask[disc(33) == 0] == 0).all()
    assert (mask[(disc(29) == 1) & (disc(25) == 0)] == 128).all()
    assert label.sure(mask) == (float((mask == 128).mean()) < 0.11)


def test_a_mask_is_sure_of_a_subject_alone() -> None:
    assert not label.sure(label.trimap([disc(0)]))
    assert not label.sure(label.trimap([disc(40), disc(10)]))
    assert label.sure(label.trimap([disc(30)]))


def test_networks_see_a_picture_as_it_is_and_mirrored(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "light.safetensors"
    checkpoints.save(networks.create("gfm").eval(), path)
    labeller = label.Labeller([path])
    image = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    mask = labeller.label(image)
    assert mask.shape == (60, 90)
    assert set(np.unique(mask)) <= {0, 128, 255}
    mirrored = labeller.label(np.ascontiguousarray(image[:, ::-1]))
    assert np.array_equal(mask, mirrored[:, ::-1])


def test_the_sure_ones_become_a_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, shade in (("a", 200), ("b", 90)):
        write(tmp_path / f"in/images/{name}.jpg", np.full((100, 100, 3), shade, np.uint8))

    class Fixed:
        def __init__(self, weights: list[Path]) -> None:
            assert weights == [Path("x.safetensors")]

        def label(self, image: np.ndarray) -> np.ndarray:
            return label.trimap([disc(30)] if image.mean() > 150 else [disc(40), disc(10)])

    monkeypatch.setattr(label, "Labeller", Fixed)
    words = [str(tmp_path / "in"), "--weights", "x.safetensors", "--output", str(tmp_path / "out")]
    assert label.main(words) == 0
    assert "1 pictures labelled, 1 left out" in capsys.readouterr().out
    made = datasets.open(tmp_path / "out", "masks")
    assert [item.name for item in made.items] == ["a"]
    made.check()
    assert np.array_equal(made.read(0).matte > 0.6, label.trimap([disc(30)]) == 255)
    assert label.main(words) == 2
    assert "exists" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "in/images/a.png", np.zeros((40, 40, 3), np.uint8))
    words = [str(tmp_path / "in"), "--weights", "no.pth", "--output", str(tmp_path / "out")]
    assert label.main(words) == 2
    assert "no.pth" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
