"""Straight alpha whose colours reveal nothing of what was cut away.

Software that ignores alpha (a JPEG, a player without alpha, a network of three channels) shows the
colours alone. So where alpha is 0 they hold none of the frame's: near the subject its own are
extended outwards, for software that interpolates colour and alpha apart, and beyond lies ``PLAIN``.
"""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

PLAIN = 0
"""What every channel holds away from the subject: black."""
FAINT = 3
"""Of 255: up to here alpha shows nothing that could be told from 0, and counts as that."""
_SHRINK = 4  # the extension is made of blocks of so many pixels, where nobody sees its detail


def hide_removed(colours: Any, alpha: NDArray[np.uint8]) -> Image:
    """Replace the colours where alpha is at most ``FAINT``, so that they tell nothing of the frame.

    They are extended outwards from where alpha is more, weighted by it, for about a hundredth of
    the picture's size, and end in ``PLAIN``. What comes out depends on pixels of more alpha alone,
    so that a second time changes nothing.

    Args:
        colours: uint8 H×W×3, the estimated foreground.
        alpha: uint8 H×W.

    Returns:
        uint8 H×W×3: ``colours`` itself where nothing is to be hidden.
    """
    removed = alpha <= FAINT
    if not removed.any():
        return cast(Image, colours)
    height, width = alpha.shape
    if removed.all():
        return np.full((height, width, 3), PLAIN, np.uint8)
    weight = cv2.bitwise_and(alpha, cv2.bitwise_not(_mask(removed)))
    rows, columns = -height % _SHRINK, -width % _SHRINK
    padded = colours
    if rows or columns:
        padded, weight = (
            cv2.copyMakeBorder(array, 0, rows, 0, columns, cv2.BORDER_CONSTANT)
            for array in (colours, weight)
        )
    full = (weight.shape[1], weight.shape[0])
    small = (full[0] // _SHRINK, full[1] // _SHRINK)
    # In 16 bits: whole numbers, so that where nothing came together there is exactly nothing.
    sums = cv2.multiply(padded, cv2.merge([weight] * 3), dtype=cv2.CV_16U)
    sums = cv2.resize(sums, small, interpolation=cv2.INTER_AREA)
    held = cv2.resize(
        np.multiply(weight, 255, dtype=np.uint16), small, interpolation=cv2.INTER_AREA
    )
    radius = max(1, round((height + width) / (256 * _SHRINK)))
    # How far: a block with foreground in it is 0, and those around fade out over the radius.
    away = cv2.distanceTransform(_mask(held == 0), cv2.DIST_L2, 3)
    share = np.clip((radius + 0.5 - away) / np.float32(max(1, radius - 1)), 0, 1)
    sums, held = (_summed(array, radius) for array in (sums, held))
    extended = (
        sums * (255 * share / np.maximum(held, 1))[..., None] + (1 - share[..., None]) * PLAIN
    )
    blocks = np.rint(extended).clip(0, 255).astype(np.uint8)
    large = cv2.resize(blocks, full)[:height, :width]
    result = np.array(colours)
    cv2.copyTo(large, _mask(removed), result)
    return result


def eight_bits(alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """An alpha of 0..1 as 0..255, rounded and clamped; NaN is 0."""
    clamped = np.nan_to_num(alpha, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    return np.rint(clamped * np.float32(255)).astype(np.uint8)


def _mask(where: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return where.view(np.uint8) * np.uint8(255)


def _summed(parts: Any, radius: int) -> Any:
    side = 2 * radius + 1
    return cv2.boxFilter(
        parts, cv2.CV_32F, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT
    )
