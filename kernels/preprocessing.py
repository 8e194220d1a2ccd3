"""Frame in, network input out: resize, channel order and normalisation in one pass."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from matter_sdk.kernels import _arrays, yuv
from matter_sdk.kernels.spec import InputSpec, KernelError
from matter_sdk.kernels.yuv import YUV

ORDERS = {"bgr": 3, "rgb": 3, "bgra": 4, "gray": 1}
INTERPOLATIONS = ("area", "bilinear")
DTYPES = (np.float32, np.float16, np.uint8)


def preprocess(
    frame: Any,
    size: tuple[int, int],
    spec: InputSpec,
    *,
    order: str | None = None,
    interpolation: str = "area",
    dtype: Any = None,
    out: Any = None,
    stream: Any = None,
) -> Any:
    """Resize a frame to the network's size and bring it to the network's scale.

    Each axis is resampled for itself. With "area", where it shrinks, every output pixel is the
    exact average of its footprint (as ``cv2.INTER_AREA``: nothing aliases); where it grows, it is
    interpolated between the nearest pixel centres (as ``cv2.INTER_LINEAR``: half-pixel centres,
    edges repeated). "bilinear" interpolates where it shrinks too, for networks that were trained
    so: it is faster, but what lies between the centres is passed over.

    The planes of a `YUV` are resampled to the network's size each for itself, then mixed to RGB,
    limited to 0..255 and not rounded. Colour is taken as of the middle of its 2×2 pixels. Along an
    odd side the last sample stands for one row or column only, but is taken as if for two: colour
    lies up to half a pixel of the frame off towards that edge.

    Sums are of integers, so the result is the same on the CPU and on a GPU, bit for bit.

    Args:
        frame: uint8, H×W×3 for `order` "bgr" or "rgb", H×W×4 for "bgra" (alpha is ignored), H×W for
            "gray" (written to all three channels), or a batch N×… of these. Any strides; a crop is
            read in place, while a view that is mirrored or reversed in its channels is copied.
            Or a `YUV`.
        size: height and width of the result, 1..32768 each.
        spec: channel order, mean and std that the network was trained with.
        order: what the channels of an array are, "bgr" if it is not given; not for a `YUV`.
        interpolation: "area" or "bilinear".
        dtype: "float32", "float16" or "uint8"; the dtype of `out`, or float32, if it is not given.
            uint8 is for networks that normalise by themselves: `spec` then has mean 0 and std 1.
        out: a C-contiguous array N×3×height×width to write into.
        stream: for arrays on a GPU, the stream to run on; else None.

    Returns:
        N×3×height×width, C-contiguous, ``(v - mean) / std`` with v in 0..255, computed in float32
        and rounded to nearest for the other dtypes (float16: ties to even; uint8: halves up); N is
        1 for a single frame. `out` itself if it was given.

    Raises:
        KernelError: a dtype, shape, order, size or interpolation other than these, an `order` for a
            `YUV`, uint8 with a mean or std, or arrays on two devices.
    """
    planar = isinstance(frame, YUV)
    place = _arrays.target(
        stream, **(frame.named("frame") if planar else {"frame": frame}), out=out
    )
    if not isinstance(spec, InputSpec):
        raise KernelError(
            f"spec is {spec!r}, expected a kernels.InputSpec: InputSpec() is RGB in 0..255"
        )
    height, width = _arrays.check_size(size, "give the size that the network runs at")
    _arrays.check_choice("interpolation", interpolation, INTERPOLATIONS)
    kind = _dtype(dtype, None if out is None else place.view(out), spec)
    with place.on(frame.planes[0] if planar else frame, stream):
        if planar:
            planes = _planes(place, frame, order)
            colour, swap = _matrix(frame), spec.colour == "bgr"
        else:
            order = "bgr" if order is None else order
            planes = [_frames(place.view(frame), order)]
            colour, swap = None, order != "gray" and order[:3] != spec.colour
        shape = (planes[0].shape[0], 3, height, width)
        result, view = _arrays.output(place, out, shape, kind)
        planes = [_arrays.rows_contiguous(place, plane, 2) for plane in planes]
        first, second, third = (1.0 / value for value in spec.std)
        linear = interpolation == "bilinear"
        place.preprocess(planes, view, linear, swap, colour, spec.mean, (first, second, third))
    return result


def _dtype(dtype: Any, out: Any, spec: InputSpec) -> Any:
    """The dtype of the result."""
    if dtype is None and out is None:
        return np.float32
    if dtype is None:
        _arrays.check_dtype("out", out, *DTYPES, remedy="leave out=None to have it made")
        kind = np.dtype(out.dtype)
    else:
        try:
            kind = np.dtype(dtype)
        except TypeError:
            kind = None
        if kind not in [np.dtype(known) for known in DTYPES]:
            raise KernelError(
                f"dtype is {dtype!r}, expected 'float32', 'float16' or 'uint8': "
                "choose what the network's input is"
            )
    if kind == np.uint8 and (spec.mean, spec.std) != ((0.0,) * 3, (1.0,) * 3):
        raise KernelError(
            f"spec has mean {spec.mean} and std {spec.std} for a uint8 result, expected 0 and 1: "
            "normalised values need float32 or float16"
        )
    return kind


def _planes(place: ModuleType, frame: YUV, order: str | None) -> list[Any]:
    """The planes as 1×H×W×C, checked."""
    if order is not None:
        raise KernelError(
            f"order is {order!r} for a YUV frame, expected None: its planes say what they are"
        )
    planes = yuv.checked(place, frame, "frame")
    _arrays.check_sides("frame", planes[0].shape)
    return [plane[None, ..., None] if plane.ndim == 2 else plane[None] for plane in planes]


def _matrix(frame: YUV) -> tuple[float, ...]:
    """Black, and the gains of luminance and colour: as `Matrix` in include/preprocess.h."""
    red, blue = yuv.MATRICES[frame.matrix]
    green = 1 - red - blue
    black, luma, chroma = yuv.code_range(frame.full_range)
    red_v, blue_u = 2 * (1 - red) / chroma, 2 * (1 - blue) / chroma
    return black, 1 / luma, red_v, blue_u * blue / green, red_v * red / green, blue_u


def _frames(pixels: Any, order: str) -> Any:
    """The frame or batch as N×H×W×C, checked."""
    _arrays.check_choice("order", order, tuple(ORDERS))
    _arrays.check_dtype(
        "frame",
        pixels,
        np.uint8,
        remedy="frames hold 0..255; scale and round floats, and reduce 16 bits, before",
    )
    channels = ORDERS[order]
    rank = 2 if channels == 1 else 3
    if pixels.ndim not in (rank, rank + 1) or (rank == 3 and pixels.shape[-1] != channels):
        raise KernelError(
            f"frame is {_arrays.text(pixels.shape)}, expected "
            f"H×W{f'×{channels}' if rank == 3 else ''} or a batch N×… of these for order "
            f"{order!r}: {_advice(pixels)}"
        )
    if rank == 2 and pixels.ndim == 3 and pixels.shape[-1] in (3, 4):
        # It could be a batch of frames that are 3 or 4 pixels wide; it never is.
        raise KernelError(
            f"frame is {_arrays.text(pixels.shape)}, expected H×W or a batch N×H×W for order "
            "'gray': pass order='bgr', 'rgb' or 'bgra' for colour"
        )
    _arrays.check_not_empty("frame", pixels)
    if channels == 1:
        pixels = pixels[..., None]
    if pixels.ndim == 3:
        pixels = pixels[None]
    _arrays.check_sides("frame", pixels.shape[1:3])
    return pixels


def _advice(pixels: Any) -> str:
    if pixels.ndim == 2:
        return "pass order='gray' for one channel"
    if pixels.ndim in (3, 4) and pixels.shape[-1] == 4:
        return "pass order='bgra' for four channels"
    if pixels.ndim in (3, 4) and pixels.shape[-1] == 1:
        return "pass frame[..., 0] with order='gray' for one channel"
    if pixels.ndim in (3, 4) and pixels.shape[-3] in (3, 4):
        return "channels come last: transpose it from C×H×W"
    return "channels come last"
