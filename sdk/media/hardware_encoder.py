"""H.264 from an encoder in hardware, by way of PyAV, in the place of x264's.

NVIDIA's NVENC, Apple's VideoToolbox, Intel's Quick Sync and AMD's AMF: those that take frames from
the CPU's memory. (VA-API takes none.) The container and all tracks stay as they are. One is taken
only if it opens for the frames' size. Written against FFmpeg's documented options and **not run on
any such hardware yet**; what is tested without is that x264 encodes where none opens, and what each
is asked for.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import av.error
from av.codec import CodecContext

_LAMBDA = 118  # FFmpeg's FF_QP2LAMBDA: a scale of quality, times this


class Encoder(NamedTuple):
    """One of FFmpeg's encoders: its name, the pixels that it takes, and its options."""

    codec: str
    pixels: str
    options: dict[str, str]


def encoders(crf: int, gpu: int | None = None) -> list[Encoder]:
    """Those that could encode at a quality like x264's ``crf``; of GPU ``gpu`` alone if given."""
    nvenc = {"preset": "p4", "tune": "hq", "rc": "vbr", "cq": str(crf), "b": "0"}
    found = [Encoder("h264_nvenc", "yuv420p", nvenc | {"gpu": str(gpu or 0)})]
    if gpu is not None:
        return found
    # On a scale of its own, to 100; which of it looks like which crf is a guess, not measured.
    apple = {"flags": "+qscale", "global_quality": str(_LAMBDA * max(1, 100 - 7 * crf // 4))}
    # As x264, which gives key frames a lower quantiser.
    amd = {"rc": "cqp", "qp_i": str(crf), "qp_p": str(min(51, crf + 2)), "quality": "speed"}
    return [
        *found,
        Encoder("h264_videotoolbox", "yuv420p", apple),
        Encoder("h264_qsv", "nv12", {"global_quality": str(crf), "preset": "veryfast", "bf": "0"}),
        Encoder("h264_amf", "nv12", amd),
    ]


def refused(encoder: Encoder, size: tuple[int, int]) -> str:
    """Why it does not encode frames of this (height, width) here; empty if it does.

    It is opened and released, so this takes as long as that.
    """
    try:
        context: Any = CodecContext.create(encoder.codec, "w")
        context.height, context.width = size
        context.pix_fmt, context.time_base = encoder.pixels, Fraction(1, 30)
        context.options = encoder.options
        context.open()
    except (av.error.FFmpegError, ValueError) as error:  # ValueError: an FFmpeg without it
        return str(error)
    return ""
