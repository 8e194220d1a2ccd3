"""The CPU twin: NumPy arrays into the compiled module `kernels._host`.

The public functions have checked every argument. An image takes one thread for each two million
pixels, so the usual frame stays on the thread of its caller; the GIL is released meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matter_sdk import kernels
from matter_sdk.kernels import _srgb
from matter_sdk.kernels.spec import ROSTAS

if TYPE_CHECKING:
    from matter_sdk.kernels import _host
else:
    try:
        try:
            from matter_sdk.kernels import _host
        except ImportError:
            # In a source folder: where `pip install .` has put it.
            with suppress(PackageNotFoundError):
                installed = distribution("matter-sdk").locate_file("matter_sdk/kernels")
                kernels.__path__.append(str(installed))
            from matter_sdk.kernels import _host
    except ImportError as error:
        raise ImportError(
            f"the compiled part of kernels cannot be loaded ({error}): build it with "
            "`pip install .` (or `make test`) in the source folder; that needs a C++ compiler, "
            "for example `apt-get install g++`"
        ) from error


def on(_array: Any, _stream: None) -> AbstractContextManager[None]:
    """Where the work runs: here and now."""
    return nullcontext()


# The places that the public functions work in, as `kernels._cuda` has them.
view, empty, contiguous = np.asarray, np.empty, np.ascontiguousarray

# What takes the very arguments of its twin in `kernels._cuda`, where the shapes are told.
preprocess = _host.preprocess
foreground = _host.foreground
temporal_filter = _host.temporal_filter


def fuse(
    glance: NDArray[Any],
    focus: NDArray[Any],
    alpha: NDArray[Any],
    rosta: str,
    glance_size: tuple[int, int],
) -> None:
    """`glance` N×C×H×W and `focus` into `alpha`, both N×1×H×W, of one dtype; sizes may differ."""
    mode = ROSTAS[rosta].mode
    plain = glance.shape[2:] == glance_size == focus.shape[2:] == alpha.shape[2:]
    if alpha.dtype == np.float16:
        glance, focus, alpha = (array.view(np.uint16) for array in (glance, focus, alpha))
        if plain:
            _host.fuse_half(glance, focus, alpha, mode)
        else:
            _host.fuse_half_at_size(glance, focus, alpha, mode, *glance_size)
    elif plain:
        _host.fuse_float(glance, focus, alpha, mode)
    else:
        _host.fuse_float_at_size(glance, focus, alpha, mode, *glance_size)


def _colour_rows(colour: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """An image …×W×C of one colour: a single row in memory, repeated by strides of 0."""
    return np.broadcast_to(np.tile(colour, (shape[-2], 1)), shape)


def alpha_blend(
    foreground: NDArray[Any],
    background: NDArray[Any],
    alpha: NDArray[np.float32],
    out: NDArray[Any],
    premultiplied: bool,
    linear: bool,
) -> None:
    """`foreground` N×H×W×3 by `alpha` N×H×W over `background`, 1 or N×H×W×3 or a colour."""
    if background.ndim == 1:
        background = _colour_rows(background, (1, *foreground.shape[1:]))
    if linear:
        _host.alpha_blend_linear(foreground, background, alpha, out, *_srgb.tables())
    elif foreground.dtype == np.float32:
        _host.alpha_blend_floats(foreground, background, alpha, out, premultiplied)
    else:
        _host.alpha_blend_bytes(foreground, background, alpha, out, premultiplied)


def _with_samples(planes: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Planes as H×W×C, of one sample or two."""
    return [plane.reshape((*plane.shape[:2], -1)) for plane in planes]


def _background_planes(
    background: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], front: list[NDArray[np.uint8]]
) -> list[NDArray[np.uint8]]:
    """As `_with_samples`; a colour, Y, U and V, in planes like `front`."""
    if not isinstance(background, np.ndarray):
        return _with_samples(background)
    parts = np.split(background, [1, 2][: len(front) - 1])
    return [_colour_rows(part, plane.shape) for part, plane in zip(parts, front, strict=True)]


def alpha_blend_planes(
    foreground: Sequence[NDArray[np.uint8]],
    background: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    alpha: NDArray[np.float32],
    out: Sequence[NDArray[np.uint8]],
) -> None:
    """Planes H×W and ⌈H/2⌉×⌈W/2⌉, or ⌈H/2⌉×⌈W/2⌉×2, by `alpha` H×W; a colour is Y, U and V."""
    front = _with_samples(foreground)
    back = _background_planes(background, front)
    _host.alpha_blend_planes(front, back, alpha[None], _with_samples(out))


# ---- pooling


def max_pool(
    x: NDArray[Any], values: NDArray[Any], offsets: NDArray[np.uint8], window: int
) -> None:
    """`x` N×C×H×W into `values` and `offsets`, both N×C×h×w."""
    if x.dtype == np.float16:
        _host.max_pool_half(x.view(np.uint16), values.view(np.uint16), offsets, window)
    else:
        _host.max_pool_float(x, values, offsets, window)


def max_unpool(x: NDArray[Any], offsets: NDArray[np.uint8], out: NDArray[Any], window: int) -> None:
    """`x` and `offsets` N×C×h×w into `out` N×C×H×W; only bits are moved."""
    if x.dtype == np.float16:
        _host.max_unpool_half(x.view(np.uint16), offsets, out.view(np.uint16), window)
    else:
        _host.max_unpool_float(x.view(np.uint32), offsets, out.view(np.uint32), window)


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
    """`frame` by `alpha` h×w over `background`, H×W×3 or a colour; alpha H×W into `alpha_out`."""
    if background.ndim == 1:
        background = _colour_rows(background, frame.shape)
    _host.composite(frame, background, alpha, guided, clean, out, alpha_out)


def composite_planes(
    frame: Sequence[NDArray[np.uint8]],
    background: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    alpha: NDArray[np.float32],
    guided: bool,
    clean: bool,
    out: Sequence[NDArray[np.uint8]],
    alpha_out: NDArray[np.float32] | None,
) -> None:
    """As `composite`, of planes H×W and ⌈H/2⌉×⌈W/2⌉, or ⌈H/2⌉×⌈W/2⌉×2; a colour is Y, U and V."""
    front = _with_samples(frame)
    back = _background_planes(background, front)
    _host.composite_planes(front, back, alpha, guided, clean, _with_samples(out), alpha_out)
