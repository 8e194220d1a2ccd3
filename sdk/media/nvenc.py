"""H.264 from NVENC, by way of PyAV, in the place of x264's.

Frames come from the CPU's memory as before, and FFmpeg brings them to the GPU; the container and
all tracks stay as they are. Written against FFmpeg's documented options and **not run on a GPU
yet**; what is tested without one is that x264 encodes where NVENC does not open, and what NVENC is
asked for.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av.error
from av.codec import CodecContext

CODEC = "h264_nvenc"


def options(number: int, crf: int) -> dict[str, str]:
    """What FFmpeg's encoder takes to run on GPU ``number``; x264's ``crf`` is NVENC's ``cq``."""
    quality = {"preset": "p4", "tune": "hq", "rc": "vbr", "cq": str(crf), "b": "0"}
    return quality | {"gpu": str(number)}


def refused(number: int, size: tuple[int, int], pixels: str) -> str:
    """Why NVENC does not encode frames of this size and format here; empty if it does.

    An encoder is opened and released, so this takes as long as that.
    """
    try:
        context: Any = CodecContext.create(CODEC, "w")
        context.height, context.width = size
        context.pix_fmt, context.time_base = pixels, Fraction(1, 30)
        context.options = options(number, 20)
        context.open()
    except (av.error.FFmpegError, ValueError) as error:  # ValueError: an FFmpeg without NVENC
        return str(error)
    return ""
