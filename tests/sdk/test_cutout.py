"""Where alpha is 0 the colours tell nothing of the frame, in every output that has an alpha."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from matter_sdk.sdk import Matte
from matter_sdk.sdk.media.cutout import FAINT, PLAIN, hide_removed
from matter_sdk.sdk.video import VideoReader, VideoWriter

SIZE = (180, 320)
SUBJECT = (30, 60, 200)


def room(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A picture with structure that no codec removes."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 16, 3), np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def disc(size: tuple[int, int] = SIZE) -> np.ndarray:
    alpha = np.zeros(size, np.uint8)
    cv2.circle(alpha, (size[1] * 3 // 4, size[0] // 2), size[0] // 5, 255, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(alpha, (0, 0), 1.5)


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A subject of one colour in front of a room, and its alpha."""
    alpha = disc().astype(np.float32) / 255
    mixed = alpha[..., None] * SUBJECT + (1 - alpha[..., None]) * room(seed)
    return np.rint(mixed).astype(np.uint8), alpha


@pytest.mark.parametrize("size", [(180, 320), (181, 323), (720, 405), (7, 5), (1, 9), (1, 1)])
@pytest.mark.parametrize("faint", range(FAINT + 1))
def test_removed_pixels_tell_nothing(size: tuple[int, int], faint: int) -> None:
    """Other pixels there, the same picture: that is what "nothing" means."""
    alpha = np.maximum(disc(size), np.uint8(faint))
    removed = alpha <= FAINT
    one, other = (np.where(removed[..., None], room(seed, size), SUBJECT) for seed in (1, 2))
    hidden = hide_removed(one.astype(np.uint8), alpha)
    np.testing.assert_array_equal(hidden, hide_removed(other.astype(np.uint8), alpha))
    np.testing.assert_array_equal(hidden[~removed], one[~removed])
    np.testing.assert_array_equal(hidden, hide_removed(hidden, alpha))  # once is enough


def test_colours_extend_outwards_and_end_in_plain() -> None:
    """Software that interpolates colour and alpha apart must find no dark rim."""
    alpha = disc((720, 1280))
    alpha[100:620, 300] = 255  # a hair
    colours = np.where((alpha > FAINT)[..., None], SUBJECT, room(1, (720, 1280))).astype(np.uint8)
    hidden = hide_removed(colours, alpha).astype(int)
    away = cv2.distanceTransform((alpha <= FAINT).astype(np.uint8), cv2.DIST_L2, 5)
    assert np.abs(hidden - SUBJECT)[(away > 0) & (away < 1.9)].max() <= 4
    assert (hidden[away > 40] == PLAIN).all()


def test_an_empty_and_a_full_matte() -> None:
    picture = room(3)
    assert (hide_removed(picture, np.zeros(SIZE, np.uint8)) == PLAIN).all()
    assert hide_removed(picture, np.full(SIZE, 255, np.uint8)) is picture


def like(one: np.ndarray, other: np.ndarray) -> float:
    """How far two pictures go together: 0 for a plain one."""
    flat = [picture.astype(float).ravel() - picture.mean() for picture in (one, other)]
    size = float(np.linalg.norm(flat[0]) * np.linalg.norm(flat[1]))
    return abs(float(flat[0] @ flat[1])) / size if size else 0.0


def test_cutout_and_foreground_hide_the_room() -> None:
    frame, alpha = scene(1)
    matte = Matte(frame, alpha)
    far = np.s_[:, :140]
    assert like(frame[far], frame[far]) > 0.99
    assert (matte.foreground()[far] == PLAIN).all()
    assert (matte.cutout()[far] == PLAIN).all()
    again = Matte(frame, np.where(alpha > 0, alpha, np.nan).astype(np.float32)).cutout()
    np.testing.assert_array_equal(again, matte.cutout())  # NaN is nothing


def test_the_subject_still_shines_through_clean() -> None:
    frame, alpha = scene(1)
    soft = (alpha > 0.1) & (alpha < 0.9)
    error = np.abs(Matte(frame, alpha).cutout()[..., :3].astype(int) - SUBJECT)[soft].mean()
    assert error < np.abs(frame.astype(int) - SUBJECT)[soft].mean() / 3


@pytest.mark.parametrize("name", ["out.webm", "out.mov", "out%03d.png"])
@pytest.mark.parametrize("raw", [False, True], ids=["cutout", "raw"])
def test_files_with_alpha_hide_the_room(tmp_path: Path, name: str, raw: bool) -> None:
    """Also of whoever hands the writer a frame with its alpha, and no cut-out."""
    frame, alpha = scene(2)
    cutout = Matte(frame, alpha).cutout()
    if raw:
        cutout[..., :3] = frame
    with VideoWriter(tmp_path / name, SIZE, rate=25, alpha=True) as writer:
        for _ in range(3):
            writer.write(cutout)
    if name.endswith(".png"):
        picture = cv2.imread(str(next(tmp_path.glob("*.png"))), cv2.IMREAD_UNCHANGED)[..., :3]
    else:
        picture = next(iter(VideoReader(tmp_path / name)))  # as a player without alpha
    assert np.ptp(picture[:, :140].astype(int)) <= 3
    centre = picture[SIZE[0] // 2, SIZE[1] * 3 // 4]
    assert np.abs(centre.astype(int) - SUBJECT).max() < 12
