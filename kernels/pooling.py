"""Max-pooling that remembers where each maximum was, and max-unpooling back to those places."""

from __future__ import annotations

from typing import Any

import numpy as np

from matter_sdk.kernels import _arrays
from matter_sdk.kernels.spec import KernelError


def max_pool_offsets(x: Any, *, window: int = 3, out: Any = None, stream: Any = None) -> Any:
    """Max-pool, and tell for each window the offset of its maximum.

    Equal to PyTorch's ``max_pool2d(x, 3, stride=2, padding=1, return_indices=True)`` (`window` 3)
    or ``max_pool2d(x, 2, return_indices=True)`` (`window` 2) bit for bit, but that one byte says
    where the maximum was: its number within the window in row-major order, counting pixels outside
    of the picture too. Of equals the first is taken (-0 equals 0), of NaNs the last (PyTorch makes
    a signalling NaN a quiet one, which is not done here); pixels outside are never taken.

    Args:
        x: float32 or float16 N×C×H×W, at least as large as `window` 2; copied where it is not
            C-contiguous.
        window: 3 (3×3, stride 2, padding 1: windows overlap by a pixel) or 2 (2×2, stride 2).
        out: a tuple of two C-contiguous arrays to write `values` and `offsets` into.
        stream: for arrays on a GPU, the stream to run on; else None.

    Returns:
        ``(values, offsets)``, both N×C×h×w with h = ⌈H/2⌉, w = ⌈W/2⌉ for `window` 3 and ⌊H/2⌋,
        ⌊W/2⌋ for 2: the maxima in the dtype of `x`, and uint8 offsets 0..8 (0..3). The arrays of
        `out` if they were given.

    Raises:
        KernelError: a dtype, shape or window other than these, arrays on two devices.

    Paper: Deep Automatic Natural Image Matting, IJCAI 2021; its network pools with `window` 3.
    """
    first, second = _arrays.several(out, 2)
    place = _arrays.target(stream, x=x, **{"out[0]": first, "out[1]": second})
    _check_window(window)
    pixels = _features(place.view(x))
    height, width = (side if window == 3 else side - 1 for side in pixels.shape[2:])
    shape = (*pixels.shape[:2], (height + 1) // 2, (width + 1) // 2)
    if 0 in shape:
        raise KernelError(
            f"x is {_arrays.text(pixels.shape)}, expected height and width of 2 or more for window "
            "2: pad it, or use window=3"
        )
    with place.on(x, stream):
        values, into_values = _arrays.output(place, first, shape, pixels.dtype, "out[0]")
        offsets, into_offsets = _arrays.output(place, second, shape, np.uint8, "out[1]")
        place.max_pool(place.contiguous(pixels), into_values, into_offsets, window)
    return values, offsets


def max_unpool(
    x: Any,
    offsets: Any,
    *,
    window: int = 3,
    size: tuple[int, int] | None = None,
    out: Any = None,
    stream: Any = None,
) -> Any:
    """Put each value where the maximum of its window was, and 0 everywhere else.

    Equal to PyTorch's ``max_unpool2d(x, indices, 2, stride=2, output_size=size)`` on the CPU with
    one thread, bit for bit, `indices` being those of the pooling that gave `offsets`: where
    overlapping windows had one maximum in common, the last of them in row-major order wins. (With
    more threads, and on a GPU, PyTorch's own answer changes from run to run.) It is computed as a
    gather: each output pixel looks at the windows that may point at it. With `window` 3:

        output pixel (2i, 2j)          window (i, j) if its offset is 4
        output pixel (2i, 2j+1)        (i, j+1):3, else (i, j):5
        output pixel (2i+1, 2j)        (i+1, j):1, else (i, j):7
        output pixel (2i+1, 2j+1)      (i+1, j+1):0, else (i+1, j):2, else (i, j+1):6, else (i, j):8

    Args:
        x: float32 or float16 N×C×h×w, any features of the pooled size; its bits are only moved.
        offsets: uint8 of the same shape, from `max_pool_offsets`. An offset that no window has
            (9 and above, 4 and above for `window` 2) points nowhere.
        window: the pooling's, 3 or 2.
        size: (H, W) of the result, (2h, 2w) unless given; each side 2h - 1 or 2h for `window` 3,
            2h or 2h + 1 for 2. What was chosen outside of it is left out.
        out: a C-contiguous array N×C×H×W of the same dtype to write into.
        stream: for arrays on a GPU, the stream to run on; else None.

    Returns:
        N×C×H×W in the dtype of `x`; `out` itself if it was given.

    Raises:
        KernelError: a dtype, shape, window or size other than these, arrays on two devices.

    Paper: Deep Automatic Natural Image Matting, IJCAI 2021; its decoders unpool with `window` 3.
    """
    place = _arrays.target(stream, x=x, offsets=offsets, out=out)
    _check_window(window)
    features, places = _features(place.view(x)), place.view(offsets)
    _arrays.check_dtype(
        "offsets", places, np.uint8, remedy="pass what max_pool_offsets returned, no flat indices"
    )
    if tuple(places.shape) != tuple(features.shape):
        raise KernelError(
            f"offsets is {_arrays.text(places.shape)}, expected {_arrays.text(features.shape)} as "
            "x: each value needs the offset of its own window"
        )
    shape = (*features.shape[:2], *_size(size, features.shape[2:], window))
    with place.on(x, stream):
        result, view = _arrays.output(place, out, shape, features.dtype)
        place.max_unpool(place.contiguous(features), place.contiguous(places), view, window)
    return result


def _check_window(window: Any) -> None:
    if not isinstance(window, int) or window not in (2, 3):
        raise KernelError(
            f"window is {window!r}, expected 3 (3×3, stride 2, padding 1) or 2 (2×2, stride 2): "
            "take the pooling's own"
        )


def _features(x: Any) -> Any:
    _arrays.check_dtype(
        "x", x, np.float32, np.float16, remedy="convert it, for example with .astype('float32')"
    )
    if x.ndim != 4:
        raise KernelError(
            f"x is {_arrays.text(x.shape)}, expected N×C×H×W: add the axes that are missing"
        )
    _arrays.check_not_empty("x", x)
    return x


def _size(size: Any, pooled: tuple[int, int], window: int) -> tuple[int, int]:
    """The size of the unpooled picture, checked."""
    if size is None:
        return 2 * pooled[0], 2 * pooled[1]
    height, width = _arrays.two_sides(size)
    lowest = -1 if window == 3 else 0
    for given, side in zip((height, width), pooled, strict=True):
        if not lowest <= given - 2 * side <= lowest + 1:
            raise KernelError(
                f"size is {height}×{width} (height×width), expected {2 * pooled[0] + lowest} or "
                f"{2 * pooled[0] + lowest + 1} by {2 * pooled[1] + lowest} or "
                f"{2 * pooled[1] + lowest + 1} for window {window}: give the size that was pooled"
            )
    return height, width
