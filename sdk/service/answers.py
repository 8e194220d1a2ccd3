"""Bytes to frames within limits, and mattes to the bytes that were asked for."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import NamedTuple

from matter_sdk.sdk.arrays import to_cpu
from matter_sdk.sdk.background import COLOURS, Background, Image, from_word
from matter_sdk.sdk.errors import BackgroundError, FrameError, did_you_mean, expected_one_of
from matter_sdk.sdk.limits import picture_sizes
from matter_sdk.sdk.matte import Matte
from matter_sdk.sdk.media.cutout import eight_bits
from matter_sdk.sdk.media.picture_reader import read_picture
from matter_sdk.sdk.media.picture_writer import encode_picture
from matter_sdk.sdk.service.refusals import Refused

RESULTS = ("cutout", "alpha", "composite")
"""What can be asked for."""
FORMATS = {"png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg"}
"""The formats of answers, and their media types."""


class Wanted(NamedTuple):
    """What a client asked for: the picture, its format, and what is behind the subject."""

    result: str
    form: str
    background: Background | None

    @property
    def media_type(self) -> str:
        """Of the answer."""
        return FORMATS[self.form]


def wanted(asked: Mapping[str, str]) -> Wanted:
    """Read ``result``, ``format`` and ``background`` from an address's query.

    Raises:
        Refused: 422, names the word that is not known or does not fit the others.
    """
    known = ("result", "format", "background")
    for name in asked:
        if name not in known:
            raise _unfit(f"{name!r} is not a parameter; {expected_one_of(name, known)}")
    result, form = asked.get("result", RESULTS[0]), asked.get("format", "png")
    for name, value, words in (("result", result, RESULTS), ("format", form, tuple(FORMATS))):
        if value not in words:
            raise _unfit(f"{name} is {value!r}; {expected_one_of(value, words)}")
    if result == "cutout" and form == "jpeg":
        raise _unfit("format is 'jpeg', which keeps no transparency; expected png or webp")
    colour = asked.get("background")
    if (colour is not None) != (result == "composite"):
        raise _unfit(
            f"background is {colour!r} and result {result!r}; expected background=COLOUR with "
            f"result=composite, and with no other"
        )
    return Wanted(result, form, None if colour is None else _background(colour))


def _background(text: str) -> Background:
    try:
        found = from_word(text)  # never a file: those of this machine are nobody's business
    except BackgroundError as error:
        raise _unfit(str(error)) from error
    if found is None:
        raise _unfit(
            f"background is {text!r}; expected '#rrggbb', the name of a colour, or 'blur'"
            f"{did_you_mean(text, (*COLOURS, 'blur'))}"
        )
    return found


def _unfit(message: str) -> Refused:
    return Refused(422, "ParameterError", message)


def read(content: bytes, most_pixels: int) -> Image:
    """Decode a picture, uint8 H×W×3 BGR or H×W×4 BGRA; its size is read from its header first.

    Raises:
        Refused: 400 without content or for one cut short, 413 for more pixels than
            ``most_pixels``, 415 for what is no picture.
        FrameError: it is of a kind that is not taken, such as HDR.
    """
    if not content:
        raise Refused(400, "FrameError", "the request holds no picture; expected one in its body")
    try:
        sizes = picture_sizes(content, "the picture")
    except FrameError as error:
        raise Refused(400, "FrameError", str(error)) from error
    if not sizes:
        raise Refused(
            415, "FrameError", "these bytes are no picture; expected JPEG, PNG, WebP or the like"
        )
    for width, height in sizes:
        if width * height > most_pixels:
            raise Refused(
                413,
                "FrameError",
                f"the picture has {width}×{height} pixels; expected at most {most_pixels:,}. Make "
                f"it smaller",
            )
    return read_picture(io.BytesIO(content), transparency=True)


def written(matte: Matte, asked: Wanted, *, clean: bool | None = None) -> bytes:
    """Return what was asked for as the bytes of a file. ``clean`` is as in ``Matte.over``."""
    if asked.result == "cutout":
        image = matte.cutout()
    elif asked.result == "alpha":
        image = eight_bits(to_cpu(matte.alpha))
    else:
        image = matte.over(asked.background, clean=clean)
    return encode_picture(to_cpu(image), f".{asked.form}")
