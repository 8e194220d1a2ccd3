"""The network's answer at its own size -> the finished picture at the frame's."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from matter_sdk.kernels import _arrays, yuv
from matter_sdk.kernels.blending import background_planes, colour_values, is_colour
from matter_sdk.kernels.blur_fusion import checked_frame
from matter_sdk.kernels.fusion import collaborative_fusion
from matter_sdk.kernels.spec import KernelError
from matter_sdk.kernels.yuv import YUV


def composite(
    frame: Any,
    background: Any,
    alpha: Any = None,
    *,
    glance: Any = None,
    focus: Any = None,
    rosta: str | None = None,
    guided: bool = True,
    clean: bool = True,
    out: Any = None,
    alpha_out: Any = None,
    stream: Any = None,
) -> Any:
    """Put the subject of a frame over another background, by a matte of the network's size.

    What the separate steps do at the frame's size is done at the network's wherever that is enough,
    and plain areas are copied:

    1. `glance` and `focus`, if these are given, are fused to alpha.
    2. Alpha is enlarged to the frame. With `guided` it follows the frame's colours: in windows of
       3×3 pixels of the small frame (an average) alpha is fitted as a linear function of colour
       (the guided filter, ε = 0.003); the mean of its slopes over the windows that hold a pixel and
       what they leave of alpha are interpolated, and meet the colours of the full frame. Where
       alpha is plain for two pixels around, slopes are 0 and nothing of the frame's texture shows.
       Without, alpha is interpolated between the nearest pixel centres (``cv2.INTER_LINEAR``). A
       matte larger than the frame is averaged.
    3. With `clean`, the colours blended are the subject's own, F = f + α / (α² + (1 - α)²)
       (I - αf - (1 - α)b), with f and b estimated as `kernels.foreground` does at the small size.
       Without, they are the frame's.
    4. The result is αF + (1 - α) background, rounded to nearest.

    Alpha of the small matte is clamped to 0..1, NaN counts as 0, and what is within 1/510 of 0 or 1
    as that. CPU and GPU give the same bytes.

    A `YUV` stays in its planes, and all of this is done with Y, U and V for the channels. The small
    frame is the average of each plane; a pixel is led by its own Y and the U and V of its 2×2, with
    ε = 0.001 (a step of grey is one of Y alone, where it is one of all three channels in BGR).
    A colour sample takes the means over its 2×2 pixels (at an odd edge, over those that are there)
    of alpha, f and b.

    Args:
        frame: uint8 H×W×3, in any order of channels, or a `YUV`. Rows may lie apart (a crop); other
            layouts are copied.
        background: uint8 H×W×3, or a colour: three whole numbers 0..255 in the frame's order.
            Behind a `YUV`: another one of the same size, layout, matrix and range, or a colour as
            (blue, green, red) in 0..255, which is converted to the frame's matrix and range.
        alpha: float32 h×w, or 1×1×h×w as networks give it.
        glance: instead of alpha, float32 or float16 1×C×h×w; see `kernels.collaborative_fusion`.
        focus: beside `glance`, 1×1×h×w of its dtype.
        rosta: beside `glance`, "tt", "ft", "bt" or "unified".
        guided: let the frame lead the enlarged alpha.
        clean: estimate the subject's own colours.
        out: a C-contiguous uint8 array H×W×3 to write into, or a `YUV` like the frame; it may be
            the background or the frame itself.
        alpha_out: a C-contiguous float32 array H×W that is given the enlarged alpha.
        stream: for arrays on a GPU, the stream to run on; else None.

    Returns:
        uint8 H×W×3, or a `YUV` with the frame's layout, matrix and range; `out` itself if it was
        given.

    Raises:
        KernelError: neither or both of alpha and the heads, a dtype, shape or layout other than
            these, a side above 32768, arrays on two devices.

    Papers: K. He et al., Guided Image Filtering, TPAMI 2013, section 3.6; K. He and J. Sun, Fast
    Guided Filter, 2015; M. Forte, Approximate Fast Foreground Colour Estimation, ICIP 2021.
    """
    plain, planar = is_colour(background), isinstance(frame, YUV)
    if planar:
        pictures = yuv.together(frame, background, out, "frame", plain)
    else:
        yuv.check_behind_an_array(background)
        pictures = {"frame": frame, "background": None if plain else background, "out": out}
    heads = {"glance": glance, "focus": focus}
    place = _arrays.target(stream, **pictures, alpha=alpha, **heads, alpha_out=alpha_out)
    given = [name for name, value in (heads | {"rosta": rosta}).items() if value is not None]
    if given != ([] if alpha is not None else [*heads, "rosta"]):
        received = ", ".join([*(["alpha"] if alpha is not None else []), *given])
        raise KernelError(
            f"the matte is given by {received or 'nothing'}, expected alpha alone, or glance, "
            "focus and rosta: pass what the network answers"
        )
    with place.on(frame.planes[0] if planar else frame, stream):
        if planar:
            front, back, result, views = _planes(place, frame, background, out)
            size, run = tuple(front[0].shape), place.composite_planes
        else:
            front, back, result, views = _pixels(place, frame, background, out)
            size, run = tuple(front.shape[:2]), place.composite
        if alpha_out is not None:
            _, alpha_out = _arrays.output(place, alpha_out, size, np.float32, "alpha_out")
        if rosta is not None:
            fused = place.view(collaborative_fusion(glance, focus, rosta))
            matte = place.empty(fused.shape, np.float32)
            matte[...] = fused
        else:
            matte = place.view(alpha)
            _arrays.check_matte("alpha", matte)
        matte = _arrays.rows_contiguous(place, _matte(matte), 1)
        run(front, back, matte, bool(guided), bool(clean), views, alpha_out)
    return result


def _pixels(place: ModuleType, frame: Any, background: Any, out: Any) -> tuple[Any, Any, Any, Any]:
    """Frame and background for the kernel, the result, and what of it is written."""
    pixels = checked_frame(place.view(frame))
    shape = tuple(pixels.shape)
    if is_colour(background):
        back = colour_values(background, np.uint8)
    else:
        back = place.view(background)
        _arrays.check_dtype("background", back, np.uint8, remedy="images hold 0..255")
        if tuple(back.shape) != shape:
            raise KernelError(
                f"background is {_arrays.text(back.shape)}, expected {_arrays.text(shape)} "
                "like the frame, or a colour of three values: resize or crop it first"
            )
        back = _arrays.rows_contiguous(place, back, 2)
    return (
        _arrays.rows_contiguous(place, pixels, 2),
        back,
        *_arrays.output(place, out, shape, np.uint8),
    )


def _planes(
    place: ModuleType, frame: YUV, background: Any, out: YUV | None
) -> tuple[Any, Any, Any, Any]:
    """As `_pixels`, each in planes."""
    front = yuv.checked(place, frame, "frame")
    _arrays.check_sides("frame", front[0].shape)
    back = background_planes(place, background, frame, front, "frame")
    return front, back, *yuv.output(place, out, frame, front)


def _matte(matte: Any) -> Any:
    """One matte as float32 h×w, checked."""
    sides = matte.shape[2:] if matte.ndim == 4 else matte.shape
    if len(sides) != 2 or (matte.ndim == 4 and tuple(matte.shape[:2]) != (1, 1)):
        raise KernelError(
            f"alpha is {_arrays.text(matte.shape)}, expected one matte, h×w or 1×1×h×w: "
            "give one frame at a time"
        )
    _arrays.check_not_empty("alpha", matte)
    _arrays.check_sides("alpha", sides)
    return matte.reshape(tuple(sides))
