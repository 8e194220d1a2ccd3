"""Representations of Semantics and Transition Areas (RoSTa), section 3.4 of the GFM paper.

From a ground-truth alpha matte, what the glance decoder is to tell and where the focus decoder
is to be judged:

====  ==============================================  ================  =============
name  glance classes                                  transition area   focus there
====  ==============================================  ================  =============
tt    0 background, 1 transition, 2 foreground        class 1           alpha
ft    0 background, 1 surely foreground (F)           around class 1    alpha
bt    0 surely background, 1 all the rest (B)         inside class 1    1 − alpha
====  ==============================================  ================  =============

For ``bt`` the paper names alpha as the focus's target, but collaborative matting *subtracts* the
focus from B, so what it must learn to give alpha is 1 − alpha.

The transition is as wide as an ellipse makes it by dilation and erosion: 25 pixels for ``tt``, 50
for ``ft`` and ``bt``.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

KERNEL = {"tt": 25, "ft": 50, "bt": 50}


def trimap(alpha: NDArray[np.float32], kernel: int = 25) -> NDArray[np.uint8]:
    """Trimap of an alpha matte.

    Args:
        alpha: H×W in 0..1.
        kernel: diameter in pixels of the ellipse that erodes the foreground and dilates the rest.

    Returns:
        uint8 H×W: 0 background, 128 transition, 255 foreground.
    """
    values = np.round(alpha * 255).astype(np.uint8)
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel, kernel))
    sure = cv2.erode((values == 255).astype(np.uint8), ellipse)
    touched = cv2.dilate((values > 0).astype(np.uint8), ellipse)
    return np.where(sure > 0, 255, np.where(touched > 0, 128, 0)).astype(np.uint8)


def glance_target(
    alpha: NDArray[np.float32], rosta: str, kernel: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Class of each pixel and the mask of the transition area, both H×W.

    Args:
        alpha: H×W in 0..1.
        rosta: ``tt``, ``ft`` or ``bt``.
        kernel: as in :func:`trimap`; the paper's by default.
    """
    areas = trimap(alpha, kernel or KERNEL[rosta])
    if rosta == "tt":
        return (areas.astype(np.int64) + 1) // 128, (areas == 128).astype(np.float32)
    if rosta == "ft":  # F: what is surely foreground; the focus adds to it
        return (areas == 255).astype(np.int64), (areas == 128).astype(np.float32)
    if rosta == "bt":  # B: all that may be foreground; the focus takes away from it
        return (areas > 0).astype(np.int64), (areas == 128).astype(np.float32)
    raise ValueError(f"rosta is {rosta!r}; expected 'tt', 'ft' or 'bt'")


def focus_target(alpha: NDArray[np.float32], rosta: str) -> NDArray[np.float32]:
    """What the focus decoder is to give in the transition area, H×W in 0..1."""
    return 1 - alpha if rosta == "bt" else alpha
