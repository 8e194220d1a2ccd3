"""The subject's own colours, without the background that shines through."""

from __future__ import annotations

from typing import Any

import numpy as np

from matter_sdk.kernels import _arrays
from matter_sdk.kernels.spec import KernelError


def foreground(frame: Any, alpha: Any, *, out: Any = None, stream: Any = None) -> Any:
    """Estimate the foreground's colours F of I = αF + (1 - α)B, by blur fusion in two passes.

    Smooth estimates f and b of the two are made in a window, and what they leave unexplained is
    shared out: F = f + α / (α² + (1 - α)²) (I - αf - (1 - α)b). The first pass has a wide window
    (five blocks of (H + W) / 256 pixels, about 40 pixels for a megapixel, 160 at most), in which f
    and b are the least-squares solution of I = αf + (1 - α)b; the second takes for f the mean of
    the F so found in a narrow one (a fifth of it), weighted by α³. Hair and soft edges lose the
    tint of the old background, which shows as a halo over a new one. The paper takes weighted means
    for f and b, and α for the share: two to three times the error.

    Alpha is taken at 8 bits: what is within 1/510 of 0 or 1 counts as that. Where it is 1, and
    where the narrow window holds no foreground, the result is the frame itself. Values are taken as
    they are stored (sRGB). CPU and GPU give the same bytes.

    Args:
        frame: uint8 H×W×3, in any order of channels. Rows may lie apart (a crop); other layouts are
            copied.
        alpha: float32 H×W, in 0..1; it is clamped, and NaN counts as 0.
        out: a C-contiguous uint8 array H×W×3 to write into; not the frame itself.
        stream: for arrays on a GPU, the stream to run on; else None.

    Returns:
        uint8 H×W×3; `out` itself if it was given. Blend it, or store it as a straight (not
        premultiplied) cutout, with the same alpha.

    Raises:
        KernelError: a dtype or shape other than these, a side above 32768, the frame as `out`,
            arrays on two devices.

    Paper: M. Forte, Approximate Fast Foreground Colour Estimation, ICIP 2021.
    """
    place = _arrays.target(stream, frame=frame, alpha=alpha, out=out)
    pixels, matte = checked_frame(place.view(frame)), place.view(alpha)
    shape = tuple(pixels.shape)
    _arrays.check_alpha(matte, shape[:2], "frame", shape)
    if out is frame:
        raise KernelError(
            "out is the frame itself, expected another array: a result depends on its neighbours, "
            "so it cannot be made in place"
        )
    with place.on(frame, stream):
        result, view = _arrays.output(place, out, shape, np.uint8)
        place.foreground(
            _arrays.rows_contiguous(place, pixels, 2),
            _arrays.rows_contiguous(place, matte, 1),
            view,
        )
    return result


def checked_frame(pixels: Any) -> Any:
    """`pixels`, one colour frame.

    Raises:
        KernelError: another dtype or shape, an empty or a huge one.
    """
    _arrays.check_dtype(
        "frame", pixels, np.uint8, remedy="frames hold 0..255; scale and round floats before"
    )
    if pixels.ndim != 3 or pixels.shape[-1] != 3:
        raise KernelError(
            f"frame is {_arrays.text(pixels.shape)}, expected H×W×3: give one frame at a time, and "
            "three channels, for example frame[..., :3]"
        )
    _arrays.check_not_empty("frame", pixels)
    _arrays.check_sides("frame", pixels.shape[:2])
    return pixels
