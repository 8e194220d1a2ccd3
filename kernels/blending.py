"""Foreground over background by alpha."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from kernels import _arrays
from kernels.spec import KernelError


def alpha_blend(
    foreground: Any, background: Any, alpha: Any, *, out: Any = None, stream: Any = None
) -> Any:
    """Composite: ``alpha * foreground + (1 - alpha) * background``, rounded to nearest.

    Where alpha is 0 or 1 the result is exactly the background or the foreground. Alpha outside of
    0..1 is clamped, and NaN counts as 0: where the matte is not known, nothing of the foreground is
    shown. The values are blended as they are stored (sRGB), as video software does.

    Args:
        foreground: uint8 H×W×3, or a batch N×H×W×3. Rows may lie apart (a crop); other layouts are
            copied.
        background: uint8 of the same shape, or a colour: three whole numbers 0..255 in the channel
            order of the foreground.
        alpha: float32 H×W (N×H×W), in 0..1.
        out: a C-contiguous uint8 array of the foreground's shape to write into; it may be the
            foreground or the background itself.
        stream: for arrays on a GPU, the stream to run on; else None.

    Returns:
        uint8 of the foreground's shape; `out` itself if it was given.

    Raises:
        KernelError: a dtype or shape other than these, a colour out of range, arrays on two
            devices.
    """
    colour = _colour(background)
    image = None if colour is not None else background
    place = _arrays.target(stream, foreground=foreground, background=image, alpha=alpha, out=out)
    front, matte = place.view(foreground), place.view(alpha)
    remedy = "images hold 0..255; scale and round floats before"
    _arrays.check_dtype("foreground", front, np.uint8, remedy=remedy)
    if front.ndim not in (3, 4) or front.shape[-1] != 3:
        raise KernelError(
            f"foreground is {_arrays.text(front.shape)}, expected H×W×3 or N×H×W×3: "
            "take three channels, for example image[..., :3]"
        )
    _arrays.check_not_empty("foreground", front)
    shape = tuple(front.shape)
    _arrays.check_dtype(
        "alpha", matte, np.float32, remedy="convert it, dividing 8-bit mattes by 255"
    )
    if tuple(matte.shape) != shape[:-1]:
        raise KernelError(
            f"alpha is {_arrays.text(matte.shape)}, expected {_arrays.text(shape[:-1])} beside "
            f"foreground {_arrays.text(shape)}: resize it, or drop its channel: alpha[..., 0]"
        )
    batch = shape if len(shape) == 4 else (1, *shape)
    with place.on(foreground, stream):
        if colour is not None:
            back = place.colour_rows(colour, batch)
        else:
            back = place.view(background)
            _arrays.check_dtype("background", back, np.uint8, remedy=remedy)
            if tuple(back.shape) != shape:
                raise KernelError(
                    f"background is {_arrays.text(back.shape)}, expected {_arrays.text(shape)} "
                    "like the foreground, or a colour of three values: resize or crop it first"
                )
            back = _arrays.rows_contiguous(place, back.reshape(batch), 2)
        result, view = _arrays.output(place, out, shape, np.uint8)
        place.alpha_blend(
            _arrays.rows_contiguous(place, front.reshape(batch), 2),
            back,
            _arrays.rows_contiguous(place, matte.reshape(batch[:-1]), 1),
            view.reshape(batch),
        )
    return result


def _colour(background: Any) -> np.ndarray | None:
    """Three bytes where `background` is a colour, None where it is an image."""
    if isinstance(background, (tuple, list)):
        if len(background) > 4 or any(hasattr(value, "__len__") for value in background):
            return None  # pixels in a list: reported as no array
    elif getattr(background, "shape", None) != (3,):
        return None
    expected = "expected three whole numbers in 0..255, in the foreground's channel order"
    try:
        values = [operator.index(value) for value in background]
    except TypeError as error:
        raise KernelError(
            f"background is the colour {background!r}, {expected}: round them"
        ) from error
    if len(values) != 3 or not all(0 <= value <= 255 for value in values):
        raise KernelError(f"background is the colour {background!r}, {expected}")
    return np.array(values, dtype=np.uint8)
