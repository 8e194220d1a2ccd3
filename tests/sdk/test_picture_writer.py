"""Pictures that we write: their formats, and one error for whatever is in the way."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from matter_sdk.sdk import MatterError
from matter_sdk.sdk.media.picture_reader import read_picture
from matter_sdk.sdk.media.picture_writer import OPAQUE_SUFFIXES, TRANSPARENT_SUFFIXES, write_picture


@pytest.mark.parametrize("suffix", sorted(TRANSPARENT_SUFFIXES | OPAQUE_SUFFIXES))
def test_formats(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 12, 4), np.uint8)
    image = cv2.resize(noise, (120, 80), interpolation=cv2.INTER_CUBIC)
    path = write_picture(tmp_path / "new" / f"a{suffix}", image[..., :3])
    worst = 0 if suffix in (TRANSPARENT_SUFFIXES | {".bmp"}) else 30
    assert np.abs(read_picture(path).astype(int) - image[..., :3]).max() <= worst
    if suffix in TRANSPARENT_SUFFIXES:
        path = write_picture(tmp_path / f"b{suffix.upper()}", image)
        found = read_picture(path, transparency=True)
        assert np.array_equal(found[..., 3], image[..., 3])
        seen = image[..., 3] > 0  # colours under nothing may go
        assert np.array_equal(found[seen], image[seen])
    grey = write_picture(tmp_path / f"c{suffix}", image[..., 0])
    assert np.abs(read_picture(grey)[..., 0].astype(int) - image[..., 0]).max() <= worst


def test_what_cannot_be_written(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    (tmp_path / "file").touch()
    for path in ("a.gif", "a", "a\0.png", "file/a.png", "x" * 300 + ".png"):
        with pytest.raises(MatterError):
            write_picture(tmp_path / path, image)
    for bad in (image.astype(float), image[..., :2], np.zeros((2, 70_000, 3), np.uint8)):
        with pytest.raises(MatterError):
            write_picture(tmp_path / "a.jpg", bad)
    with pytest.raises(MatterError):
        write_picture(tmp_path / "a.jpg", np.zeros((4, 4, 4), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
