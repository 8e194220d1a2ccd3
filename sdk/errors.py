"""The errors of the SDK: one family, so that ``except MatterError`` catches all of them.

Every message says what was received, then what was expected, and last how to repair it.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable


def printable(text: str) -> str:
    r"""Return ``text`` with everything that could steer a terminal as ``\x1b`` and the like.

    Control characters (but for line feeds and tabs), marks that turn the writing direction, and
    halves of surrogate pairs, which names of files may hold, are written as Python escapes.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char
        if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else ascii(char)[1:-1]
        for char in text
    )


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the known word closest to ``value``; empty if none is close."""
    near = difflib.get_close_matches(str(value), list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def expected_one_of(value: object, known: Iterable[str]) -> str:
    """``expected one of a, b; did you mean 'a'?``: how the message about an unknown word ends."""
    known = list(known)
    words = f"one of {', '.join(known)}" if known else "none"
    return f"expected {words}{did_you_mean(value, known)}"


class MatterError(Exception):
    """Anything the SDK refuses or fails to do; the parent of every error below.

    Its text may quote names from files of others: it is always printable.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class EngineError(MatterError):
    """An engine file that is missing, damaged, foreign, from another version, or not writable."""


class FrameError(MatterError, ValueError):
    """A frame, batch, trimap or plate that is missing or of a wrong type, dtype, shape or size."""


class BackendError(MatterError):
    """A backend or device that was asked for and is not there, or that failed."""


class NoMatteError(BackendError):
    """There is no matte for a frame, and nothing of it may be shown.

    The network answered NaN or infinity, or (``PlateError``) there is nothing to compare it with.
    Streams and videos go on, with the background alone for that frame.
    """


class PlateError(FrameError, NoMatteError):
    """The plate is missing, or shows another place than the frame: take it again."""


class VideoError(MatterError):
    """A video or stream that cannot be read or written."""


class BackgroundError(MatterError):
    """A background that is not known or cannot be read."""


class ClosedError(MatterError):
    """A use of an object after its ``close()``."""
