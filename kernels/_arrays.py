"""What the kernels ask of their arrays, and where they run: dispatch on where the array lives."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from matter_sdk.kernels.spec import KernelError

# DLPack's device numbers: CUDA memory and CUDA managed memory. (Pinned host memory is the CPU's.)
_CUDA_DEVICES = (2, 13)

# Of what is resampled: products of lengths then fit 32 bits (include/resample.h).
MAX_SIDE = 32768


def is_on_cuda(array: Any) -> bool:
    """Tell whether `array` lives on a CUDA device, whichever library made it."""
    if isinstance(array, np.ndarray):
        return False
    if hasattr(array, "__cuda_array_interface__"):
        return True
    device = getattr(array, "__dlpack_device__", None)
    return device is not None and int(device()[0]) in _CUDA_DEVICES


def _number(array: Any) -> int | None:
    """The number of the GPU that holds `array`; None where its library does not tell."""
    device = getattr(array, "__dlpack_device__", None)
    return None if device is None else int(device()[1])


def target(stream: Any, **arrays: Any) -> ModuleType:
    """Choose what runs a kernel on these arrays: `kernels._cpu` or `kernels._cuda`.

    Args:
        stream: the caller's CUDA stream or None.
        **arrays: the arrays by the names that the caller knows; None is passed over.

    Raises:
        KernelError: something that is no array, arrays on different devices, or a stream for NumPy.
    """
    given = {name: array for name, array in arrays.items() if array is not None}
    on_cuda = {name: is_on_cuda(array) for name, array in given.items()}
    for name, array in given.items():
        if not on_cuda[name] and not isinstance(array, np.ndarray):
            raise KernelError(
                f"{name} is a {type(array).__module__}.{type(array).__qualname__}, expected a "
                "NumPy array or an array on a CUDA device: convert it with numpy.asarray first"
            )
    if any(on_cuda.values()) and not all(on_cuda.values()):
        places = ", ".join(f"{name} on {'cuda' if on_cuda[name] else 'cpu'}" for name in given)
        raise KernelError(
            f"arrays on different devices: {places}; expected all on one: copy them to the device "
            "that should do the work (cupy.asarray or cupy.asnumpy)"
        )
    if any(on_cuda.values()):
        numbers = {name: _number(array) for name, array in given.items()}
        if len(set(numbers.values()) - {None}) > 1:
            places = ", ".join(f"{name} on cuda:{number}" for name, number in numbers.items())
            raise KernelError(
                f"arrays on different devices: {places}; expected all on one: copy them to the "
                "device that should do the work"
            )
        from matter_sdk.kernels import _cuda

        return _cuda
    if stream is not None:
        raise KernelError(
            f"stream is {stream!r}, expected None for NumPy arrays: a stream orders work on a GPU, "
            "and the CPU kernels have finished when they return"
        )
    from matter_sdk.kernels import _cpu

    return _cpu


def text(shape: Sequence[int]) -> str:
    """Write a shape as people do: ``720×1280×3``."""
    return "×".join(map(str, shape)) or "a single value"


def check_dtype(name: str, array: Any, *expected: type, remedy: str) -> None:
    """Raise KernelError unless the dtype of `array` is among `expected`."""
    if array.dtype not in [np.dtype(dtype) for dtype in expected]:
        names = " or ".join(np.dtype(dtype).name for dtype in expected)
        raise KernelError(f"{name} has dtype {array.dtype}, expected {names}: {remedy}")


def check_matte(name: str, matte: Any) -> None:
    """Raise KernelError unless `matte` is float32."""
    check_dtype(name, matte, np.float32, remedy="convert it, dividing 8-bit mattes by 255")


def check_alpha(matte: Any, size: tuple[int, ...], beside: str, shape: tuple[int, ...]) -> None:
    """Raise KernelError unless `matte` is float32 of `size`; `beside` names an array of `shape`."""
    check_matte("alpha", matte)
    if tuple(matte.shape) != size:
        raise KernelError(
            f"alpha is {text(matte.shape)}, expected {text(size)} beside {beside} {text(shape)}: "
            "resize it, or drop its channel: alpha[..., 0]"
        )


def check_not_empty(name: str, array: Any) -> None:
    """Raise KernelError if a side of `array` is 0."""
    if 0 in array.shape:
        raise KernelError(
            f"{name} is {text(array.shape)}, expected every side to be 1 or more: "
            "look where the empty array comes from"
        )


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise KernelError unless `value` is one of `choices`; a near match is named."""
    if isinstance(value, str) and value in choices:
        return
    near = difflib.get_close_matches(str(value).lower(), choices, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "choose one of these"
    raise KernelError(
        f"{name} is {value!r}, expected one of {', '.join(map(repr, choices))}: {hint}"
    )


def two_sides(size: Any) -> tuple[int, int]:
    """Read `size` as height and width.

    Raises:
        KernelError: other than two whole numbers.
    """
    try:
        height, width = (operator.index(side) for side in size)
    except (TypeError, ValueError) as error:
        raise KernelError(
            f"size is {size!r}, expected two whole numbers: (height, width)"
        ) from error
    return height, width


def check_size(size: Any, remedy: str) -> tuple[int, int]:
    """Read `size` as height and width.

    Raises:
        KernelError: other than two whole numbers in 1..`MAX_SIDE`.
    """
    height, width = two_sides(size)
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise KernelError(
            f"size is {height}×{width} (height×width), expected each side in 1..{MAX_SIDE}: "
            f"{remedy}"
        )
    return height, width


def check_sides(name: str, sides: Sequence[int]) -> None:
    """Raise KernelError if a height or width among `sides` is above `MAX_SIDE`."""
    if max(sides) > MAX_SIDE:
        raise KernelError(
            f"{name} is {text(sides)} (height×width), expected at most {MAX_SIDE} a side: "
            "cut it into parts"
        )


def several(out: Any, count: int) -> Sequence[Any]:
    """Return `out` of a kernel with `count` results, or as many None.

    Raises:
        KernelError: `out` is no tuple or list of that length.
    """
    if out is None:
        return (None,) * count
    if not isinstance(out, (tuple, list)) or len(out) != count:
        kind = type(out).__name__
        raise KernelError(
            f"out is {f'a {kind} of {len(out)}' if isinstance(out, (tuple, list)) else f'a {kind}'}"
            f", expected {count} arrays in a tuple: leave out=None to have them made"
        )
    return out


def output(
    place: ModuleType, out: Any, shape: tuple[int, ...], dtype: Any, name: str = "out"
) -> tuple[Any, Any]:
    """Return what to give back and what to write: new arrays, or the checked `out` and its view.

    `name` is what messages call it; of several results it tells which, as "out[1]".

    Raises:
        KernelError: `out` has another dtype or shape, is not C-contiguous, lies at an address that
            its dtype is not aligned to, or is read-only.
    """
    if out is None:
        result = place.empty(shape, dtype)
        return result, result
    view = place.view(out)
    remedy = "leave out=None to have it made, and pass the result on from then"
    check_dtype(name, view, dtype, remedy=remedy)
    if tuple(view.shape) != shape:
        raise KernelError(f"{name} is {text(view.shape)}, expected {text(shape)}: {remedy}")
    if not view.flags.c_contiguous:
        raise KernelError(
            f"{name} has strides {view.strides}, expected a C-contiguous array: "
            "write into a contiguous one and copy it from there"
        )
    if not is_aligned(view):
        raise KernelError(
            f"{name} begins at {view.ctypes.data:#x}, expected a multiple of "
            f"{view.dtype.alignment} for {view.dtype}: begin elsewhere in the buffer"
        )
    if not getattr(view.flags, "writeable", True):
        raise KernelError(
            f"{name} is read-only, expected an array that can be written: pass a copy"
        )
    return out, view


def is_aligned(array: Any) -> bool:
    """Tell whether every value begins where its dtype may (a view of packed bytes need not)."""
    return bool(getattr(array.flags, "aligned", True))


def rows_contiguous(place: ModuleType, array: Any, dimensions: int) -> Any:
    """Return `array` where its last `dimensions` axes lie side by side, else a contiguous copy.

    Rows and frames may lie apart, so a crop is taken as it is. A view that is mirrored, has its
    channels reversed or is not aligned is copied.
    """
    if not is_aligned(array):
        return place.contiguous(array)
    step = array.dtype.itemsize
    for side, stride in zip(
        reversed(array.shape[-dimensions:]), reversed(array.strides[-dimensions:]), strict=True
    ):
        if side > 1 and stride != step:
            return place.contiguous(array)
        step *= side
    return array
