"""Where frames come from: files, cameras, streams and iterables."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from matter_sdk.sdk.errors import FrameError, VideoError


def open_source(source: Any, *, live: bool = False, planes: bool = False) -> Iterable[Any]:
    """Open a source and return its frames; closing their iterator releases it.

    Args:
        source: an iterable of frames, one array N×H×W×3, a video's path, a camera's index or a
            stream's address.
        live: give a file's frames at their times.
        planes: give a file's frames as ``kernels.YUV`` where they are stored so.

    Raises:
        VideoError: it cannot be opened, at once; or it breaks, while it is read.
        FrameError: an array that is a single frame.
    """
    if isinstance(source, bool):
        raise VideoError(
            f"source {source!r}, expected frames, a path, a camera index or an address"
        )
    if isinstance(source, (int, np.integer)):
        return _camera(int(source))
    if isinstance(source, (str, Path)):
        from matter_sdk.sdk.media.video_reader import VideoReader

        reader = VideoReader(source, planes=planes)
        return _paced(reader) if live and not reader.is_address else _whole(reader)
    if isinstance(source, np.ndarray) and source.ndim != 4:
        raise FrameError(
            f"source is one array of shape {source.shape}, expected N×H×W×3 or a sequence of "
            "frames; for a single frame call matter(frame)"
        )
    if isinstance(source, Iterable):
        return source
    raise VideoError(
        f"source of type {type(source).__name__}, expected an iterable of frames, a path, "
        "a camera index or a stream address"
    )


def _whole(reader: Any) -> Iterator[np.ndarray]:
    with reader:
        yield from reader


def _paced(reader: Any) -> Iterator[np.ndarray]:
    """A file's frames at the times at which a player would show them."""
    with reader:
        begin = first = None
        for timed in reader.timed():
            if begin is None or first is None:
                begin, first = time.monotonic(), timed.time
            time.sleep(max(0.0, begin + (timed.time - first) - time.monotonic()))
            yield timed.image


def _camera(index: int) -> Iterator[np.ndarray]:
    import cv2

    capture = cv2.VideoCapture(index)
    if not capture.isOpened():
        capture.release()
        raise VideoError(
            f"camera {index} cannot be opened, expected a camera that no other program uses; "
            "try another index (0, 1, …), a video file or a stream address"
        )
    # The driver's own queue would put its length on the latency; drivers that know no such
    # setting ignore it.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return _captured(capture, index)


def _captured(capture: Any, index: int) -> Iterator[np.ndarray]:
    try:
        while True:
            good, frame = capture.read()
            if not good or frame is None:
                raise VideoError(
                    f"camera {index} stopped giving frames; is it unplugged or in other hands?"
                )
            yield frame
    finally:
        capture.release()
