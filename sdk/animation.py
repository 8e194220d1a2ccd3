"""Animated pictures that FFmpeg does not read, as a video that it does."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av

from sdk.errors import FrameError, VideoError
from sdk.picture_reader import is_animation, read_animation


def needs_help(path: Path) -> bool:
    """Whether a file is an animated WebP or AVIF, of which FFmpeg shows nothing or one picture."""
    try:
        if not path.is_file():  # a pipe could not be read again
            return False
        with path.open("rb") as file:
            head = file.read(12)
    except (OSError, ValueError):
        return False
    kind = head[:4] + head[8:]
    return (kind == b"RIFFWEBP" or head[4:] == b"ftypavis") and is_animation(path)


def as_video(path: Path) -> io.BytesIO:
    """An animated picture as a video without loss in memory, each picture at its time.

    Raises:
        VideoError: the picture cannot be read.
    """
    made = io.BytesIO()
    try:
        shown = list(read_animation(path, what="the animated picture"))
    except FrameError as error:
        raise VideoError(str(error)) from error
    height, width = shown[0].image.shape[:2]
    rate = Fraction(len(shown) / shown[-1].end).limit_denominator(1000)
    with av.open(made, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for one in shown:
            frame = av.VideoFrame.from_ndarray(one.image, format="bgr24")
            frame.time_base, frame.pts = Fraction(1, 1000), round(1000 * one.time)
            frame.duration = round(1000 * (one.end - one.time))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    made.seek(0)
    return made
