"""Read the frames that INT8 is calibrated on, from a folder or a video."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from matter_sdk.export.errors import BuildError
from matter_sdk.export.examples import Picture, photograph
from matter_sdk.export.options import picture_files
from matter_sdk.sdk.errors import FrameError, VideoError
from matter_sdk.sdk.media.picture_reader import read_picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 32


def pictures(source: Path, *, with_plate: bool = True) -> list[Picture]:
    """Return at most ``MOST`` pictures, spread evenly over the folder's names or the video's time.

    Trimaps and plates are those of ``export.examples.photograph``.

    Raises:
        BuildError: a file that cannot be read, or a video without frames.
    """
    read = _of_folder if source.is_dir() else _of_video
    found = [
        photograph(np.ascontiguousarray(frame[..., ::-1]), with_plate=with_plate)
        for frame in read(source)
    ]
    if not found:  # a video that is shorter than its header says
        raise BuildError(
            f"--calibrate: {source} gave no frame; expected at least one: take another video"
        )
    return found


def spread(count: int, most: int = MOST) -> list[int]:
    """Return at most ``most`` evenly spaced indices below ``count``, none at the very ends."""
    taken = min(count, most)
    return [int((index + 0.5) * count / taken) for index in range(taken)]


def _of_folder(folder: Path) -> Iterator[NDArray[np.uint8]]:
    files = picture_files(folder)
    for index in spread(len(files)):
        try:
            yield read_picture(files[index])
        except FrameError as error:
            raise BuildError(f"--calibrate: {error}: or take it out of the folder") from error


def _of_video(path: Path) -> Iterator[NDArray[Any]]:
    from matter_sdk.sdk.media.video_reader import VideoReader

    try:
        with VideoReader(path) as reader:
            count = reader.frames
        if not count:  # it does not say
            with VideoReader(path) as reader:
                count = sum(1 for _ in reader)
        wanted = spread(count)
        with VideoReader(path) as reader:
            for index, frame in enumerate(reader):
                if index in wanted:
                    yield frame
                if index >= wanted[-1]:
                    break
    except VideoError as error:
        raise BuildError(f"--calibrate: {error}") from error
