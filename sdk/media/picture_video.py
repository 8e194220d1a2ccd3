"""Pictures as videos: stills and animations go through the picture reader, not through FFmpeg.

FFmpeg shows one tile of an iPhone's HEIC, nothing of an animated WebP, and leaves out colour
profiles and orientation. An animated GIF it reads well, and without holding it in memory.
"""

from __future__ import annotations

import io
import itertools
from fractions import Fraction
from pathlib import Path

import av

from matter_sdk.sdk.errors import FrameError, VideoError
from matter_sdk.sdk.files import PICTURE_SUFFIXES
from matter_sdk.sdk.media.picture_reader import read_animation

_STILL = Fraction(1, 25)  # seconds that a single picture is shown


def is_picture(path: Path) -> bool:
    """Whether a video's path is that of a picture, by its ending; a GIF is a video."""
    return path.suffix.lower() in PICTURE_SUFFIXES - {".gif"} and path.is_file()


def as_video(path: Path) -> io.BytesIO:
    """A picture, or an animation with each picture at its time, as a video in memory.

    It is compressed without loss.

    Raises:
        VideoError: the picture cannot be read.
    """
    made = io.BytesIO()
    try:
        shown = read_animation(path, what="the picture")
        first = next(shown)
        second = next(shown, None)
        others = () if second is None else itertools.chain((second,), shown)
        length = Fraction(first.end - first.time).limit_denominator(1000)
        rate = 1 / (length if others else _STILL)
        height, width = first.image.shape[:2]
        with av.open(made, "w", format="matroska") as container:
            stream = container.add_stream("ffv1", rate=rate)
            stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
            for one in itertools.chain((first,), others):
                frame = av.VideoFrame.from_ndarray(one.image, format="bgr24")
                frame.time_base, frame.pts = Fraction(1, 1000), round(1000 * one.time)
                seconds = one.end - one.time if others else _STILL
                frame.duration = round(1000 * seconds)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except (FrameError, av.error.FFmpegError) as error:
        raise VideoError(str(error)) from error
    made.seek(0)
    return made
