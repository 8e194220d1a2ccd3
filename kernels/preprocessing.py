"""Frame in, network input out: resize, channel order and normalisation in one pass."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from kernels import _arrays
from kernels.spec import InputSpec, KernelError

ORDERS = {"bgr": 3, "rgb": 3, "bgra": 4, "gray": 1}
MAX_SIDE = 32768


def preprocess(
    frame: Any,
    size: tuple[int, int],
    spec: InputSpec,
    *,
    order: str = "bgr",
    out: Any = None,
    stream: Any = None,
) -> Any:
    """Resize a frame to the network's size and bring it to the network's scale.

    Each axis is resampled for itself. Where it shrinks, every output pixel is the exact average of
    its footprint (as ``cv2.INTER_AREA``: nothing aliases); where it grows, it is interpolated
    between the nearest pixel centres (as ``cv2.INTER_LINEAR``: half-pixel centres, edges repeated).
    The result is the same on the CPU and on a GPU.

    Args:
        frame: uint8, H×W×3 for `order` "bgr" or "rgb", H×W×4 for "bgra" (alpha is ignored), H×W for
            "gray" (written to all three channels), or a batch N×… of these. Any strides; a crop is
            read in place, while a view that is mirrored or reversed in its channels is copied.
        size: height and width of the result, 1..32768 each.
        spec: channel order, mean and std that the network was trained with.
        order: what the channels of `frame` are.
        out: a C-contiguous float32 array N×3×height×width to write into.
        stream: for arrays on a GPU, the stream to run on; else None.

    Returns:
        float32 N×3×height×width, C-contiguous, ``(v - mean) / std`` with v in 0..255; N is 1 for a
        single frame. `out` itself if it was given.

    Raises:
        KernelError: a dtype, shape, order or size other than these, or arrays on two devices.
    """
    place = _arrays.target(stream, frame=frame, out=out)
    if not isinstance(spec, InputSpec):
        raise KernelError(
            f"spec is {spec!r}, expected a kernels.InputSpec: InputSpec() is RGB in 0..255"
        )
    height, width = _size(size)
    pixels = _frames(place.view(frame), order)
    first, second, third = (1.0 / value for value in spec.std)
    swap = order != "gray" and order[:3] != spec.colour
    with place.on(frame, stream):
        shape = (pixels.shape[0], 3, height, width)
        result, view = _arrays.output(place, out, shape, np.float32)
        pixels = _arrays.rows_contiguous(place, pixels, 2)
        place.preprocess(pixels, view, swap, spec.mean, (first, second, third))
    return result


def _size(size: Any) -> tuple[int, int]:
    try:
        height, width = (operator.index(side) for side in size)
    except (TypeError, ValueError) as error:
        raise KernelError(
            f"size is {size!r}, expected two whole numbers: (height, width)"
        ) from error
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise KernelError(
            f"size is {height}×{width} (height×width), expected each side in 1..{MAX_SIDE}: "
            "give the size that the network runs at"
        )
    return height, width


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
    if max(pixels.shape[1:3]) > MAX_SIDE:
        raise KernelError(
            f"frame is {pixels.shape[1]}×{pixels.shape[2]}, expected at most {MAX_SIDE} a side: "
            "cut it into parts"
        )
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
