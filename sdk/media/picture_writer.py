"""Write pictures to files, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from matter_sdk.sdk.errors import MatterError
from matter_sdk.sdk.files import replacing

TRANSPARENT_SUFFIXES = frozenset((".png", ".webp", ".tif", ".tiff"))
"""Endings of formats that keep an alpha channel."""
OPAQUE_SUFFIXES = frozenset((".jpg", ".jpeg", ".bmp"))
"""Endings of formats that do not."""

_OPTIONS: dict[str, list[int]] = {
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 101],  # beyond 100: without loss
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 95],
}


def write_picture(path: str | os.PathLike[str], image: NDArray[Any]) -> Path:
    """Write a picture in sRGB in the format of the path's ending; see ``sdk.files.replacing``.

    Args:
        path: ends in .png, .webp, .tif, .tiff, .jpg, .jpeg or .bmp; its folder is made.
        image: uint8 H×W, H×W×3 BGR or, where the format keeps it, H×W×4 BGRA (straight alpha).

    Raises:
        MatterError: another ending, array or size than that, or a file that cannot be written.
    """
    path = Path(path)
    content = encode_picture(image, path.suffix, what=repr(str(path)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(content)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in a folder's name
        reason = getattr(error, "strerror", None) or error
        raise MatterError(
            f"{str(path)!r} cannot be written ({reason}); expected a writable place with enough "
            f"space"
        ) from error
    return path


def encode_picture(image: NDArray[Any], suffix: str = ".png", *, what: str = "the file") -> bytes:
    """Return a picture in sRGB as the bytes of a file.

    Args:
        image: as ``write_picture``.
        suffix: names the format, as a path's ending.
        what: what messages call the file.

    Raises:
        MatterError: another ending, array or size than ``write_picture`` takes.
    """
    known = TRANSPARENT_SUFFIXES | OPAQUE_SUFFIXES
    ending, suffix = suffix, suffix.lower()
    if suffix not in known:
        raise MatterError(
            f"{what} ends in {ending or 'nothing'!r}; expected one of {' '.join(sorted(known))}"
        )
    channels = image.shape[2] if image.ndim == 3 else image.ndim - 1
    if image.dtype != np.uint8 or channels not in (1, 3, 4):
        raise MatterError(
            f"the picture is {image.dtype} of shape {image.shape}; expected uint8 H×W, H×W×3 or "
            f"H×W×4"
        )
    if channels == 4 and suffix in OPAQUE_SUFFIXES:
        raise MatterError(
            f"{what} cannot keep transparency; expected one of "
            f"{' '.join(sorted(TRANSPARENT_SUFFIXES))}"
        )
    try:
        done, content = cv2.imencode(suffix, image, _OPTIONS.get(suffix, []))
    except cv2.error:  # such as a side that the format has no number for
        done = False
    if not done:
        raise MatterError(
            f"{what} cannot hold a picture of shape {image.shape}; expected a smaller one, or PNG"
        )
    return content.tobytes()
