"""Representations of Semantics and Transition Areas (RoSTa), section 3.4 of the GFM paper.

From a ground-truth alpha matte, what the glance decoder is to tell and where the focus decoder
is to be judged:

=======  ==============================================  ================  =============
name     glance classes                                  transition area   focus there
=======  ==============================================  ================  =============
tt       0 background, 1 transition, 2 foreground        class 1           alpha
ft       0 background, 1 surely foreground (F)           around class 1    alpha
bt       0 surely background, 1 all the rest (B)         inside class 1    1 − alpha
unified  those of ``tt`` that the kind of image has      class 1           alpha
=======  ==============================================  ================  =============

For ``bt`` the paper names alpha as the focus's target, but collaborative matting *subtracts* the
focus from B, so what it must learn to give alpha is 1 − alpha.

The transition is as wide as an ellipse makes it by dilation and erosion: 25 pixels for ``tt`` and
``unified`` (:func:`unified`, AIM), 50 for ``ft`` and ``bt``.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from matter_sdk.training.data.layers import KINDS

KERNEL = {"tt": 25, "ft": 50, "bt": 50, "unified": 25}


def trimap(alpha: NDArray[np.float32], kernel: int = 25) -> NDArray[np.uint8]:
    """Make the trimap of an alpha matte.

    Args:
        alpha: H×W in 0..1.
        kernel: diameter in pixels of the ellipse that erodes the foreground and dilates the rest.

    Returns:
        uint8 H×W: 0 background, 128 transition, 255 foreground.
    """
    return _trimap(alpha, kernel, kernel)


def random_trimap(
    rng: np.random.Generator, alpha: NDArray[np.float32], widths: tuple[int, int] = (1, 30)
) -> NDArray[np.uint8]:
    """Make a trimap as a user might draw it: eroded by one random ellipse, dilated by another.

    SIM says nothing of its training trimaps; widths of up to 30 pixels are ours.

    Args:
        rng: where the ellipses' diameters come from.
        alpha: H×W in 0..1.
        widths: least and greatest diameter in pixels.

    Returns:
        As :func:`trimap`.
    """
    erosion, dilation = (int(width) for width in rng.integers(widths[0], widths[1] + 1, 2))
    return _trimap(alpha, erosion, dilation)


def _trimap(alpha: NDArray[np.float32], erosion: int, dilation: int) -> NDArray[np.uint8]:
    values = np.round(alpha * 255).astype(np.uint8)
    inner, outer = (
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
        for width in (erosion, dilation)
    )
    sure = cv2.erode((values == 255).astype(np.uint8), inner)
    touched = cv2.dilate((values > 0).astype(np.uint8), outer)
    return np.where(sure > 0, 255, np.where(touched > 0, 128, 0)).astype(np.uint8)


def unified(areas: NDArray[np.uint8], kind: str) -> NDArray[np.float32]:
    """Return AIM's unified semantic representation U (section 3.2, equation 1).

    A trimap for salient opaque images (T), a duomap for salient transparent or meticulous ones
    (1.5 T − T²: no foreground), a unimap for those without a salient object (½ everywhere).

    Args:
        areas: a trimap, uint8 H×W of 0, 128 and 255.
        kind: one of ``training.data.layers.KINDS``.

    Returns:
        float32 H×W of 0 (background), ½ (transition) and 1 (foreground).

    Raises:
        ValueError: another kind.
    """
    t = np.round(areas / np.float32(127.5)).astype(np.float32) / np.float32(2)
    if kind == "SO":
        return t
    if kind == "STM":
        return np.float32(1.5) * t - t * t
    if kind == "NS":
        return np.full_like(t, 0.5)
    raise ValueError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}")


def glance_target(
    alpha: NDArray[np.float32], rosta: str, kernel: int | None = None, kind: str = "SO"
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the class of each pixel and the mask of the transition area, both H×W.

    Args:
        alpha: H×W in 0..1.
        rosta: ``tt``, ``ft``, ``bt`` or ``unified``.
        kernel: as in :func:`trimap`; the paper's by default.
        kind: of the image, as in :func:`unified`, for which alone it matters.

    Raises:
        ValueError: another rosta or kind.
    """
    if rosta not in KERNEL:
        raise ValueError(f"rosta is {rosta!r}; expected one of {', '.join(KERNEL)}")
    areas = trimap(alpha, kernel or KERNEL[rosta])
    if rosta == "unified":
        classes = (2 * unified(areas, kind)).astype(np.int64)
        return classes, (classes == 1).astype(np.float32)
    if rosta == "tt":
        return (areas.astype(np.int64) + 1) // 128, (areas == 128).astype(np.float32)
    if rosta == "ft":  # F: what is surely foreground; the focus adds to it
        return (areas == 255).astype(np.int64), (areas == 128).astype(np.float32)
    # B: all that may be foreground; the focus takes away from it
    return (areas > 0).astype(np.int64), (areas == 128).astype(np.float32)


def focus_target(alpha: NDArray[np.float32], rosta: str) -> NDArray[np.float32]:
    """Return what the focus decoder is to give in the transition area, H×W in 0..1."""
    return 1 - alpha if rosta == "bt" else alpha
