"""Foreground over background by alpha."""

from __future__ import annotations

import functools
import operator
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matter_sdk.kernels import _arrays, yuv
from matter_sdk.kernels.spec import KernelError
from matter_sdk.kernels.yuv import YUV


def alpha_blend(
    foreground: Any,
    background: Any,
    alpha: Any,
    *,
    premultiplied: bool = False,
    linear: bool = False,
    out: Any = None,
    stream: Any = None,
) -> Any:
    """Blend: ``alpha * foreground + (1 - alpha) * background``, rounded to nearest.

    Where alpha is 0 or 1 the result is exactly the background or the foreground. Alpha outside of
    0..1 is clamped, and NaN counts as 0: where the matte is not known, nothing of the foreground is
    shown. The values are blended as they are stored (sRGB), as video software does, unless `linear`
    asks for light. The CPU and a GPU give the same bits.

    Bytes are blended in integers: with A = ⌊32768 alpha + ½⌋ the result is
    ``B + ⌊((F - B) A + 16384) / 32768⌋``, which lies within 0.504 of the real value. Floats are
    blended as ``B + alpha (F - B)`` in float32 and not clamped.

    Args:
        foreground: uint8 or float32 H×W×3, or a batch N×H×W×3; or a `YUV`. Rows may lie apart (a
            crop); other layouts are copied. Floats may be on any one scale.
        background: as the foreground; one image H×W×3 for a whole batch; or a colour: three values
            in the channel order of the foreground, whole numbers 0..255 over uint8. Behind a `YUV`:
            another one of the same size, layout, matrix and range, or a colour as (blue, green,
            red) in 0..255, which is converted to the frame's matrix and range.
        alpha: float32 H×W (N×H×W), in 0..1. Colour samples of a `YUV` take the mean of the alphas
            of their 2×2 pixels (within 0.508 of the real value).
        premultiplied: the foreground was multiplied by alpha before, as renderers give it; the
            result is ``foreground + (1 - alpha) * background``, saturated at 255 for uint8. Where
            alpha is 0 (or NaN) such a foreground is added in full.
        linear: blend light instead of stored values: uint8 images are decoded from sRGB
            (IEC 61966-2-1), blended in float32 and encoded again, rounded to nearest.
        out: a C-contiguous array of the foreground's dtype and shape to write into, or a `YUV` like
            it; it may be the foreground or the background itself.
        stream: for arrays on a GPU, the stream to run on; else None.

    Returns:
        An array of the foreground's dtype and shape, or a `YUV` with its layout, matrix and range;
        `out` itself if it was given.

    Raises:
        KernelError: a dtype, shape or layout other than these, a colour out of range, a
            combination that has no meaning (see `linear`), arrays on two devices.
    """
    if isinstance(foreground, YUV):
        _check_plain(premultiplied, linear)
        return _blend_planes(foreground, background, alpha, out, stream)
    yuv.check_behind_an_array(background)
    plain = is_colour(background)
    image = None if plain else background
    place = _arrays.target(stream, foreground=foreground, background=image, alpha=alpha, out=out)
    front, matte = place.view(foreground), place.view(alpha)
    remedy = "convert other images to one of them, keeping their values"
    _arrays.check_dtype("foreground", front, np.uint8, np.float32, remedy=remedy)
    if front.ndim not in (3, 4) or front.shape[-1] != 3:
        raise KernelError(
            f"foreground is {_arrays.text(front.shape)}, expected H×W×3 or N×H×W×3: "
            "take three channels, for example image[..., :3]"
        )
    _arrays.check_not_empty("foreground", front)
    shape, dtype = tuple(front.shape), front.dtype.type
    _check_linear(linear, premultiplied, dtype)
    _arrays.check_alpha(matte, shape[:-1], "foreground", shape)
    batch = shape if len(shape) == 4 else (1, *shape)
    with place.on(foreground, stream):
        if plain:
            back = colour_values(background, dtype)
        else:
            back = place.view(background)
            remedy = "convert it to the foreground's dtype and scale"
            _arrays.check_dtype("background", back, dtype, remedy=remedy)
            if tuple(back.shape) not in (shape, shape[-3:]):
                raise KernelError(
                    f"background is {_arrays.text(back.shape)}, expected {_arrays.text(shape)} "
                    "like the foreground, one image for all frames of a batch, or a colour of "
                    "three values: resize or crop it first"
                )
            back = back.reshape((-1, *shape[-3:]))
            back = _arrays.rows_contiguous(place, back, 2)
        result, view = _arrays.output(place, out, shape, dtype)
        place.alpha_blend(
            _arrays.rows_contiguous(place, front.reshape(batch), 2),
            back,
            _arrays.rows_contiguous(place, matte.reshape(batch[:-1]), 1),
            view.reshape(batch),
            premultiplied,
            linear,
        )
    return result


def _blend_planes(foreground: YUV, background: Any, alpha: Any, out: Any, stream: Any) -> YUV:
    given = yuv.together(foreground, background, out, "foreground", is_colour(background))
    place = _arrays.target(stream, **given, alpha=alpha)
    matte = place.view(alpha)
    with place.on(foreground.planes[0], stream):
        front = yuv.checked(place, foreground, "foreground")
        size = tuple(front[0].shape)
        _arrays.check_alpha(matte, size, "foreground.y", size)
        back = background_planes(place, background, foreground, front, "foreground")
        result, views = yuv.output(place, out, foreground, front)
        matte = _arrays.rows_contiguous(place, matte, 1)
        place.alpha_blend_planes(front, back, matte, views)
    return result


def background_planes(
    place: ModuleType, background: Any, frame: YUV, front: tuple[Any, ...], name: str
) -> Any:
    """Views of a background's planes behind `front`, those of `frame`; of a colour Y, U and V.

    Raises:
        KernelError: a colour out of range, planes of another size than those of the frame `name`.
    """
    if is_colour(background):
        colour = tuple(map(int, colour_values(background, np.uint8)))
        return _colour_in_yuv(colour, frame.matrix, frame.full_range)
    back = yuv.checked(place, background, "background")
    size = front[0].shape
    if tuple(back[0].shape) != tuple(size):
        raise KernelError(
            f"background.y is {_arrays.text(back[0].shape)}, expected {_arrays.text(size)} like "
            f"the {name}: resize it before it is converted to YUV"
        )
    return back


def _check_plain(premultiplied: bool, linear: bool) -> None:
    if premultiplied or linear:
        option = "premultiplied" if premultiplied else "linear"
        raise KernelError(
            f"{option}=True with a YUV foreground, expected images of uint8"
            f"{' or float32' if premultiplied else ''}: blend foreground.bgr(), and convert the "
            "result with kernels.yuv.YUV.from_bgr"
        )


def _check_linear(linear: bool, premultiplied: bool, dtype: Any) -> None:
    if linear and dtype is not np.uint8:
        raise KernelError(
            "linear=True with images of float32, expected uint8, whose sRGB curve is known: decode "
            "them to linear light yourself and blend them with linear=False"
        )
    if linear and premultiplied:
        raise KernelError(
            "linear=True with premultiplied=True, expected one of them: multiply the foreground by "
            "alpha in linear light, and blend float32 images with premultiplied=True"
        )


def is_colour(background: Any) -> bool:
    """Tell whether `background` is meant as a colour and not as an image."""
    if isinstance(background, (tuple, list)):
        # Pixels in a list are no colour: reported as no array.
        return len(background) <= 4 and not any(hasattr(value, "__len__") for value in background)
    return getattr(background, "shape", None) == (3,)


def colour_values(background: Any, dtype: Any) -> NDArray[Any]:
    """A background of one colour as three values of `dtype`.

    Raises:
        KernelError: other than three numbers, or numbers out of range.
    """
    number = operator.index if dtype is np.uint8 else float
    expected = "expected three numbers on the foreground's scale, in its channel order"
    if dtype is np.uint8:
        expected = "expected three whole numbers in 0..255, in the foreground's channel order"
    try:
        values = [number(value) for value in background]
    except (TypeError, ValueError) as error:
        raise KernelError(
            f"background is the colour {background!r}, {expected}: "
            f"{'round them' if dtype is np.uint8 else 'convert them'}"
        ) from error
    limit = float(np.finfo(np.float32).max)
    low, high = (0, 255) if dtype is np.uint8 else (-limit, limit)
    if len(values) != 3 or not all(low <= value <= high for value in values):
        raise KernelError(f"background is the colour {background!r}, {expected}")
    return np.array(values, dtype=dtype)


@functools.lru_cache(maxsize=64)
def _colour_in_yuv(colour: tuple[int, ...], matrix: str, full_range: bool) -> NDArray[np.uint8]:
    """Y, U and V of a colour in blue, green and red."""
    pixel = np.array(colour, np.uint8).reshape(1, 1, 3)
    frame = YUV.from_bgr(pixel, matrix=matrix, full_range=full_range)
    return np.concatenate([plane.ravel() for plane in frame.planes])
