"""The CPU twin: NumPy arrays into the compiled module `kernels._host`.

The public functions have checked every argument. An image takes one thread for each two million
pixels, so the usual frame stays on the thread of its caller; the GIL is released meanwhile.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from kernels import _host
else:
    try:
        from kernels import _host
    except ImportError as error:
        raise ImportError(
            f"the compiled part of kernels cannot be loaded ({error}): build it with "
            "`pip install .` (or `make test`) in the source folder; that needs a C++ compiler, "
            "for example `apt-get install g++`"
        ) from error

ROSTA = {"tt": 0, "unified": 0, "ft": 1, "bt": 2}


def on(_array: Any, _stream: None) -> AbstractContextManager[None]:
    """Where the work runs: here and now."""
    return nullcontext()


def view(array: Any) -> NDArray[Any]:
    """The array as NumPy's."""
    return np.asarray(array)


def empty(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """A new array with whatever is in memory."""
    return np.empty(shape, dtype)


def contiguous(array: NDArray[Any]) -> NDArray[Any]:
    """A C-contiguous copy, or the array itself if it is one."""
    return np.ascontiguousarray(array)


def colour_rows(colour: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A background of one colour: a single row in memory, repeated by strides of 0."""
    row = np.tile(colour, (1, 1, shape[2], 1))
    return np.broadcast_to(row, shape)


def preprocess(
    frame: NDArray[np.uint8],
    out: NDArray[np.float32],
    swap: bool,
    mean: tuple[float, float, float],
    inverse_std: tuple[float, float, float],
) -> None:
    """`frame` N×H×W×C into `out` N×3×h×w."""
    _host.preprocess(frame, out, swap, mean, inverse_std)


def fuse(glance: NDArray[Any], focus: NDArray[Any], alpha: NDArray[Any], rosta: str) -> None:
    """`glance` N×C×H×W and `focus` into `alpha`, both N×1×H×W, of one dtype."""
    if alpha.dtype == np.float16:
        bits = [array.view(np.uint16) for array in (glance, focus, alpha)]
        _host.fuse_half(bits[0], bits[1], bits[2], ROSTA[rosta])
    else:
        _host.fuse_float(glance, focus, alpha, ROSTA[rosta])


def alpha_blend(
    foreground: NDArray[np.uint8],
    background: NDArray[np.uint8],
    alpha: NDArray[np.float32],
    out: NDArray[np.uint8],
) -> None:
    """`foreground` and `background` N×H×W×3 by `alpha` N×H×W into `out`."""
    _host.alpha_blend(foreground, background, alpha, out)


# ---- pooling


# ---- foreground


def foreground(
    frame: NDArray[np.uint8], alpha: NDArray[np.float32], out: NDArray[np.uint8]
) -> None:
    """`frame` H×W×3 and `alpha` H×W into `out`."""
    _host.foreground(frame, alpha, out)


# ---- composite


def composite(
    frame: NDArray[np.uint8],
    background: NDArray[np.uint8],
    alpha: NDArray[np.float32],
    guided: bool,
    clean: bool,
    out: NDArray[np.uint8],
    alpha_out: NDArray[np.float32] | None,
) -> None:
    """`frame` and `background` H×W×3 by `alpha` h×w into `out`, and alpha H×W into `alpha_out`."""
    _host.composite(frame, background, alpha, guided, clean, out, alpha_out)


# ---- temporal
