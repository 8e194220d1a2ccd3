"""The matte: blending, cut-outs without halos, and the array protocol."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from matter_sdk.sdk.background import Background
from matter_sdk.sdk.errors import BackgroundError
from matter_sdk.sdk.matte import Matte


def disc(height: int = 96, width: int = 128) -> NDArray[np.float32]:
    """A soft disc: 0 outside, 1 inside, a wide ramp between."""
    y, x = np.mgrid[:height, :width]
    radius = np.hypot(y - height / 2, x - width / 2)
    return np.clip((40 - radius) / 16, 0, 1).astype(np.float32)


def composed(
    fore: tuple[int, int, int], back: tuple[int, int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    alpha = disc()
    image = alpha[..., None] * np.array(fore) + (1 - alpha[..., None]) * np.array(back)
    return np.rint(image).astype(np.uint8), alpha


@pytest.fixture
def matte() -> Matte:
    rng = np.random.default_rng(5)
    return Matte(rng.integers(0, 256, (96, 128, 3), np.uint8), disc())


ROUNDED = 0.504  # what kernels.alpha_blend promises


def blend(
    subject: NDArray[np.uint8], behind: NDArray[np.uint8], alpha: NDArray[np.float32]
) -> NDArray[np.float64]:
    a = alpha[..., None].astype(np.float64)
    return a * subject + (1 - a) * behind


def test_over_is_the_compositing_equation(matte: Matte) -> None:
    behind = np.random.default_rng(6).integers(0, 256, (96, 128, 3), np.uint8)
    result = matte.over(behind)
    assert (result.dtype, result.shape) == (np.uint8, (96, 128, 3))
    assert np.abs(result - blend(matte.frame, behind, matte.alpha)).max() <= ROUNDED


def test_over_a_colour_a_blur_and_a_file(matte: Matte, tmp_path: Path) -> None:
    green = np.full_like(matte.frame, (0, 255, 0))
    expected = blend(matte.frame, green, matte.alpha)
    for spec in ("green", "#00ff00", (0, 255, 0), Background.open("green")):
        assert np.abs(matte.over(spec) - expected).max() <= ROUNDED
    assert np.array_equal(matte.over("blur")[matte.alpha == 1], matte.frame[matte.alpha == 1])
    cv2.imwrite(str(tmp_path / "green.png"), green[:10, :10])
    assert np.abs(matte.over(tmp_path / "green.png") - expected).max() <= ROUNDED


def test_a_file_is_read_again_only_when_it_changed(matte: Matte, tmp_path: Path) -> None:
    path = tmp_path / "behind.png"
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    assert matte.over(path)[0, 0].tolist() == [0, 0, 0]
    cv2.imwrite(str(path), np.random.default_rng(0).integers(9, 10, (64, 64, 3), np.uint8))
    assert matte.over(str(path))[0, 0].tolist() == [9, 9, 9]
    path.unlink()
    with pytest.raises(BackgroundError, match="neither a file"):
        matte.over(path)


def test_foreground_is_free_of_the_background() -> None:
    """Red over green: the mixture in the ramp is far from red, the estimate much nearer."""
    image, alpha = composed((0, 0, 220), (0, 220, 0))
    estimate = Matte(image, alpha).foreground().astype(int)
    ramp = (alpha > 0.05) & (alpha < 0.95)
    wrong_before = np.abs(image.astype(int) - (0, 0, 220))[ramp].mean()
    wrong_after = np.abs(estimate - (0, 0, 220))[ramp].mean()
    assert wrong_before > 60
    assert wrong_after < wrong_before / 4


def test_foreground_is_the_frame_where_alpha_is_one(matte: Matte) -> None:
    inside = matte.alpha == 1
    assert inside.any()
    np.testing.assert_array_equal(matte.foreground()[inside], matte.frame[inside])
    assert matte.foreground() is matte.foreground()


def test_clean_takes_the_halo_away() -> None:
    image, alpha = composed((0, 0, 220), (0, 220, 0))
    matte = Matte(image, alpha)
    black = np.zeros_like(image)
    ideal = blend(np.full_like(image, (0, 0, 220)), black, alpha)
    ramp = (alpha > 0.05) & (alpha < 0.95)
    plain = np.abs(matte.over("black") - ideal)[ramp].mean()
    clean = np.abs(matte.over("black", clean=True) - ideal)[ramp].mean()
    assert clean < plain / 4


def test_cutout_has_straight_alpha_and_clean_colours() -> None:
    image, alpha = composed((10, 20, 220), (0, 220, 0))
    matte = Matte(image, alpha)
    cutout = matte.cutout()
    assert (cutout.dtype, cutout.shape) == (np.uint8, (96, 128, 4))
    assert np.abs(cutout[..., 3] - alpha * 255).max() <= 0.5 + 1e-3  # rounded, never truncated
    np.testing.assert_array_equal(cutout[..., :3], matte.foreground())


def test_alpha_everywhere_zero_or_one() -> None:
    frame = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    full = Matte(frame, np.ones((40, 50), np.float32))
    np.testing.assert_array_equal(full.cutout()[..., :3], frame)
    np.testing.assert_array_equal(full.over("red", clean=True), frame)
    empty = Matte(frame, np.zeros((40, 50), np.float32))
    assert (empty.over("red", clean=True) == (0, 0, 255)).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1)])
def test_tiny_frames(shape: tuple[int, int]) -> None:
    frame = np.full((*shape, 3), 77, np.uint8)
    matte = Matte(frame, np.full(shape, 0.5, np.float32))
    assert matte.cutout().shape == (*shape, 4)
    assert matte.over("blur", clean=True).shape == (*shape, 3)


def test_grey_and_bgra_frames(matte: Matte) -> None:
    grey = matte.frame[..., 0]
    as_colour = np.dstack((grey,) * 3)
    for frame, colour in ((grey, as_colour), (np.dstack((matte.frame, grey)), matte.frame)):
        other, same = Matte(frame, matte.alpha), Matte(colour, matte.alpha)
        for spec in ("red", "blur"):
            np.testing.assert_array_equal(other.over(spec), same.over(spec))
        np.testing.assert_array_equal(other.cutout(), same.cutout())


def test_array_protocol(matte: Matte) -> None:
    assert np.asarray(matte) is matte.alpha
    assert not np.shares_memory(np.array(matte), matte.alpha)
    assert np.asarray(matte, np.float64).dtype == np.float64
    np.testing.assert_array_equal(np.asarray(matte, np.float64), matte.alpha)
    assert matte.__array__(copy=False) is matte.alpha
    assert matte.__array__(np.float32) is matte.alpha
    with pytest.raises(ValueError, match="float64"):
        matte.__array__(np.float64, copy=False)


def test_repr(matte: Matte) -> None:
    assert repr(matte).startswith("Matte(96×128, ")
