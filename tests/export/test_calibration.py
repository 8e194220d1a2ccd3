"""The frames of a folder or a video, spread evenly."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

from matter_sdk.export import calibration
from matter_sdk.export.errors import BuildError
from tests.sdk import clips


@given(st.integers(1, 10_000), st.integers(1, 40))
def test_indices_are_spread_evenly(count: int, most: int) -> None:
    found = calibration.spread(count, most)
    assert len(found) == min(count, most)
    assert set(found) <= set(range(count))
    steps = np.diff([-found[0] - 1, *found])[1:]
    assert len(found) < 2 or (steps.min() >= 1 and steps.max() - steps.min() <= 1)


def test_few_are_taken_whole() -> None:
    assert calibration.spread(3) == [0, 1, 2]
    assert calibration.spread(100, 4) == [12, 37, 62, 87]


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    for index in range(40):
        colour = np.full((6, 8, 3), (index, 100, 200), np.uint8)  # BGR
        cv2.imwrite(str(tmp_path / f"{index:02}.png"), colour)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_text("no picture either")
    found = calibration.pictures(tmp_path)
    assert len(found) == calibration.MOST
    blues = [int(picture.image[0, 0, 2]) for picture in found]  # RGB
    assert blues == calibration.spread(40)
    assert {tuple(picture.image[0, 0, :2]) for picture in found} == {(200, 100)}
    assert found[0].trimap.shape == (6, 8)
    assert found[0].plate.shape == found[0].image.shape


def test_frames_of_a_video(tmp_path: Path) -> None:
    images = [clips.numbered(number) for number in range(50)]
    path = clips.write_clip(tmp_path / "clip.mp4", images)
    found = calibration.pictures(path)
    numbers = [clips.number_of(picture.image) for picture in found]
    assert numbers == calibration.spread(50)


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(BuildError, match=r"--calibrate: .*a\.png"):
        calibration.pictures(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"not a video")
    with pytest.raises(BuildError, match=r"--calibrate: .*a.mp4"):
        calibration.pictures(tmp_path / "a.mp4")
