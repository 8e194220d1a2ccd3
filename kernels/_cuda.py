"""The GPU twin: arrays on a CUDA device into the kernels of kernels/cuda, through CuPy.

The kernels come from the fatbins that the build made where it found nvcc; where there are none, or
the driver is too old for them, NVRTC compiles the same sources once for each process and device
(CuPy keeps the result on disk). The public functions have checked every argument.

Nothing in this module has run on a GPU yet. What the tests do without one: compile the sources for
every architecture listed in CMakeLists.txt, and run them, thread by thread, as C++ on the CPU with
the arguments that this module gives them. Those with the marker `gpu` compare the twins on a GPU.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from matter_sdk import kernels
from matter_sdk.kernels import _srgb, graphs
from matter_sdk.kernels.foreign_stream import stream_at
from matter_sdk.kernels.spec import ROSTAS, KernelError

try:
    import cupy
except ImportError as error:
    raise KernelError(
        "an array on a CUDA device was given, but CuPy cannot be imported "
        f"({error}): pip install 'matter-sdk[nvidia]', or pass NumPy arrays"
    ) from error

BLOCK = 256
MOST = 2**31 - BLOCK  # threads, and bytes of a stride: the kernels count them in 32 bits
# --fmad=false: an expression has the same value as on the CPU, where contraction is off too. CuPy
# adds -ftz=true, which the fatbins are compiled with too: below 1.2e-38 a number is 0 on a GPU.
OPTIONS = ("-std=c++17", "--fmad=false")


def view(array: Any) -> Any:
    """The array as CuPy's, without a copy.

    DLPack lets the current stream wait for what is still to be written into the array on its own
    library's; the older interface, as torch has it, does not. What is captured waits for nothing.
    """
    if isinstance(array, cupy.ndarray):
        return array
    older = hasattr(array, "__cuda_array_interface__")
    if older and (not hasattr(array, "__dlpack__") or _capturing()):
        return cupy.asarray(array)
    return cupy.from_dlpack(array)


def _capturing() -> bool:
    return bool(cupy.cuda.get_current_stream().is_capturing())


def _lasting(array: Any) -> Any:
    """`array`, kept where a CUDA graph is being captured: see `kernels.graphs`."""
    if _capturing():
        graphs.kept().append(array)
    return array


def empty(shape: tuple[int, ...], dtype: Any) -> Any:
    """A new array on the current device with whatever is in memory."""
    return _lasting(cupy.empty(shape, dtype))


def contiguous(array: Any) -> Any:
    """A C-contiguous copy, or the array itself if it is one."""
    return _lasting(cupy.ascontiguousarray(array))


def _file(name: str) -> Path | None:
    """A file of this package; an editable install spreads it over two folders."""
    for folder in kernels.__path__:
        path = Path(folder) / "cuda" / name
        if path.is_file():
            return path
    return None


@functools.cache
def _module(name: str, _device: int) -> Any:
    """The CUDA module `name` for the current device; the number only tells the cached ones apart.

    Raises:
        KernelError: there is neither a fatbin that loads nor a source that compiles.
    """
    fatbin, source = _file(f"{name}.fatbin"), _file(f"{name}.cu")
    if fatbin is not None:
        try:
            module = cupy.RawModule(path=str(fatbin))
            module.compile()
            return module
        except (cupy.cuda.driver.CUDADriverError, cupy.cuda.runtime.CUDARuntimeError):
            pass  # made for other GPUs or by a newer toolkit than the driver: NVRTC knows this one
    if source is None:
        raise KernelError(
            f"the CUDA kernel {name!r} is not in this installation: install matter-sdk again"
        )
    module = cupy.RawModule(
        code=source.read_text(encoding="utf-8"), options=(*OPTIONS, f"-I{source.parent}")
    )
    try:
        module.compile()
    except (cupy.cuda.compiler.CompileException, RuntimeError) as error:  # the library is missing
        raise KernelError(
            f"NVRTC cannot compile {source} ({error}): install CuPy with the toolkit's libraries, "
            "for the CUDA that the driver knows: pip install 'cupy-cuda13x[ctk]' (or cupy-cuda12x)"
        ) from error
    return module


@contextmanager
def on(array: Any, stream: Any) -> Iterator[None]:
    """Where the work runs: the device of `array`, on `stream` (None: the current CuPy stream).

    Copies and allocations that a kernel needs happen inside too, so that they are in its order.
    """
    with cupy.cuda.Device(view(array).device):
        if stream is None:
            yield
        else:
            with _stream(stream):
                yield


def _stream(stream: Any) -> Any:
    """CuPy's stream for one of CuPy's, one of torch's, or an address."""
    if isinstance(stream, cupy.cuda.Stream):
        return stream
    address = stream
    for attribute in ("ptr", "cuda_stream"):  # CuPy's external streams; torch's streams
        address = getattr(address, attribute, address)
    if isinstance(address, bool) or not isinstance(address, int):
        raise KernelError(
            f"stream is {stream!r}, expected a CuPy stream, a torch stream or the address of one: "
            "leave stream=None for the current CuPy stream"
        )
    return stream_at(address)


def _launch(module: str, kernel: str, pixels: int, planes: int, arguments: tuple[Any, ...]) -> None:
    """One thread for each of `pixels`, `planes` times; asynchronous on the current stream."""
    if planes > 65535:
        raise KernelError(
            f"a batch of {planes} planes, expected at most 65535 in one call: split the batch"
        )
    if pixels > MOST:
        raise KernelError(
            f"{pixels} pixels, expected at most {MOST} in one call: cut them into parts"
        )
    function = _function(module, kernel, cupy.cuda.Device().id)
    function(((pixels + BLOCK - 1) // BLOCK, planes), (BLOCK,), arguments)


@functools.cache
def _function(module: str, kernel: str, device: int) -> Any:
    return _module(module, device).get_function(kernel)


def _strides(array: Any, axes: int) -> tuple[np.int64, ...]:
    """The strides of the first axes, in elements."""
    return tuple(np.int64(stride // array.dtype.itemsize) for stride in array.strides[:axes])


def _near(array: Any) -> Any:
    """The array, or a copy where rows or pixels lie further apart than the kernels count."""
    near = max(map(abs, array.strides[-3:])) <= MOST
    return array if near else _lasting(array.copy())


def _rows(array: Any) -> tuple[Any, np.int32]:
    """The array and the stride of its rows, in elements."""
    array = _near(array)
    return array, np.int32(array.strides[0] // array.dtype.itemsize)


def _sides(size: tuple[int, ...]) -> tuple[np.int32, ...]:
    """Height and width."""
    return np.int32(size[0]), np.int32(size[1])


def _axes(source: tuple[int, ...], output: tuple[int, ...]) -> list[np.int32]:
    """Both axes from one size to another, as `MATTER_AXIS` of include/resample.h lists them."""
    numbers: list[np.int32] = []
    for length, side in zip(source, output, strict=True):
        divisor = math.gcd(length, side)
        numbers.extend(map(np.int32, (side // divisor, length // divisor, length)))
    return numbers


def preprocess(
    planes: list[Any],
    out: Any,
    linear: bool,
    swap: bool,
    colour: tuple[float, ...] | None,
    mean: tuple[float, float, float],
    inverse_std: tuple[float, float, float],
) -> None:
    """`planes` N×H×W×C, whose channels together are colour, grey or YUV, into `out` N×3×h×w."""
    count, _, height, width = out.shape
    planes = list(map(_near, planes))
    # Red, green and blue in the frame's order, or luminance and both colours: one view for each.
    channels = [plane[..., c : c + 1] for plane in planes for c in range(plane.shape[3])][:3]
    sources: list[Any] = []
    for channel in (channels * 3)[:3]:
        frame, row, pixel = channel.strides[:3]
        sources.extend((channel, np.int64(frame), np.int32(row), np.int32(pixel)))
    black, *coefficients = colour if colour is not None else (0,) * 6
    arguments = (
        *sources,
        # The first and the last plane: those between are as the last.
        *_axes(planes[0].shape[1:3], (height, width)),
        *_axes(planes[-1].shape[1:3], (height, width)),
        out,
        np.int32(height),
        np.int32(width),
        np.int32(linear),
        np.int32(swap),
        np.int32(colour is not None),
        np.int32(black),
        *(np.float32(value) for value in (*coefficients, *mean, *inverse_std)),
    )
    kernel = f"matter_preprocess_{out.dtype}"
    _launch("preprocess", kernel, height * width, count, arguments)


def fuse(glance: Any, focus: Any, alpha: Any, rosta: str, glance_size: tuple[int, int]) -> None:
    """`glance` N×C×H×W and `focus` into `alpha`, both N×1×H×W, of one dtype; sizes may differ."""
    count, classes = glance.shape[:2]
    kernel = "matter_fuse_half" if alpha.dtype == np.float16 else "matter_fuse_float"
    given, fine, size = glance.shape[2:], focus.shape[2:], alpha.shape[2:]
    pixels, mode = math.prod(size), np.int32(ROSTAS[rosta].mode)
    arguments: tuple[Any, ...]
    if given == glance_size == fine == size:
        arguments = (glance, focus, alpha, np.int32(classes), np.int32(pixels), mode)
    else:
        axes = _axes(glance_size, size)
        if given != glance_size:
            axes = [*_axes(given, glance_size), *axes]
        kernel += "_at_size" if given == glance_size else "_enlarged"
        heads = (glance, np.int32(classes), *axes, focus, *_axes(fine, size))
        arguments = (*heads, alpha, *_sides(size), mode)
    _launch("fusion", kernel, pixels, count, arguments)


@functools.cache
def _curve(_device: int) -> tuple[Any, ...]:
    """The tables of the sRGB curve on the current device: there for every stream on return."""
    return tuple(cupy.asarray(table, blocking=True) for table in _srgb.tables())


def _colour(background: Any) -> tuple[np.float32, ...]:
    """A background of three values as the kernels take it; zeros where it is an image."""
    return tuple(map(np.float32, background if isinstance(background, np.ndarray) else (0, 0, 0)))


def alpha_blend(
    foreground: Any, background: Any, alpha: Any, out: Any, premultiplied: bool, linear: bool
) -> None:
    """`foreground` N×H×W×3 by `alpha` N×H×W over `background`, 1 or N×H×W×3 or a colour.

    A colour is a NumPy array, and goes along with the launch by value.
    """
    count, height, width, _ = out.shape
    back = (np.int64(0),) * 3
    if not isinstance(background, np.ndarray):
        frame, row = _strides(background, 2)
        back = (background, frame if background.shape[0] == count else np.int64(0), row)
    arguments = (
        *(foreground, *_strides(foreground, 2)),
        *back,
        *_colour(background),
        *(alpha, *_strides(alpha, 2)),
        *(out, np.int64(height), np.int64(width)),
    )
    if linear:
        kernel, options = "matter_alpha_blend_linear", _curve(cupy.cuda.Device().id)
    else:
        floats = foreground.dtype == np.float32
        kernel = "matter_alpha_blend_float" if floats else "matter_alpha_blend"
        options = (np.int32(premultiplied),)
    _launch("blend", kernel, height * ((width + 3) // 4), count, (*arguments, *options))


NONE = (np.int64(0), np.int32(0))  # no array, and its stride of rows


def _planes(planes: Any) -> tuple[Any, ...]:
    """Three planes with their strides of rows, of which NV12 has two and a colour none."""
    given = [value for plane in planes for value in _rows(plane)]
    return (*given, *NONE * (3 - len(planes)))


def _two_frames(foreground: Any, background: Any) -> tuple[Any, ...]:
    """Both frames in planes; or one, and a colour in Y, U and V."""
    behind = () if isinstance(background, np.ndarray) else background
    return (*_planes(foreground), *_planes(behind), *_colour(background))


def _written(planes: Any) -> tuple[Any, ...]:
    """Three planes of a result, of which NV12 has two."""
    return (*planes, *[np.int64(0)] * (3 - len(planes)))


def alpha_blend_planes(foreground: Any, background: Any, alpha: Any, out: Any) -> None:
    """Planes H×W and ⌈H/2⌉×⌈W/2⌉, or ⌈H/2⌉×⌈W/2⌉×2, by `alpha` H×W; a colour is Y, U and V."""
    height, width = out[0].shape
    arguments = (
        *_two_frames(foreground, background),
        *(alpha, *_strides(alpha, 1), *_written(out)),
        *(np.int64(height), np.int64(width)),
    )
    groups = ((height + 1) // 2) * ((width + 7) // 8)
    _launch("blend", "matter_alpha_blend_planes", groups, 1, arguments)


# ---- pooling


def max_pool(x: Any, values: Any, offsets: Any, window: int) -> None:
    """`x` N×C×H×W into `values` and `offsets`, both N×C×h×w."""
    sizes = tuple(np.int64(side) for side in (*x.shape[2:], *values.shape[2:]))
    windows = values.shape[2] * values.shape[3]
    kernel = f"matter_max_pool{window}_{'half' if x.dtype == np.float16 else 'float'}"
    planes = x.shape[0] * x.shape[1]
    _launch("pooling", kernel, windows, planes, (x, values, offsets, *sizes))


def max_unpool(x: Any, offsets: Any, out: Any, window: int) -> None:
    """`x` and `offsets` N×C×h×w into `out` N×C×H×W; only bits are moved."""
    sizes = tuple(np.int64(side) for side in (*x.shape[2:], *out.shape[2:]))
    squares = ((out.shape[2] + 1) // 2) * ((out.shape[3] + 1) // 2)
    kernel = f"matter_max_unpool{window}_{'half' if x.dtype == np.float16 else 'float'}"
    planes = x.shape[0] * x.shape[1]
    _launch("pooling", kernel, squares, planes, (x, offsets, out, *sizes))


# ---- foreground

SEGMENT = 32  # pixels of a column that one thread sums


def foreground(frame: Any, alpha: Any, out: Any) -> None:
    """`frame` H×W×3 and `alpha` H×W into `out`."""
    picture, wide, sums = _blur_fusion(frame, alpha)
    height, width = alpha.shape
    arguments = (*picture, wide, sums, out)
    _launch("foreground", "matter_foreground_finish", height * width, 1, arguments)


def _blur_fusion(frame: Any, alpha: Any) -> tuple[tuple[Any, ...], Any, Any]:
    """The arguments that stand for the picture, the wide estimate and the narrow window's sums."""
    height, width = alpha.shape
    sides = _sides(alpha.shape)
    picture = (*_rows(frame), *_rows(alpha), *sides)
    block = min(max((height + width + 128) // 256, 1), 32)  # make_windows()
    rows, columns = -(-height // block), -(-width // block)
    blocks = empty((rows, columns, 8), np.int32)
    wide = empty((rows, columns, 8), np.float32)
    products = empty((height, width, 4), np.uint16)
    sums = empty((height, width, 4), np.int32)

    def launch(kernel: str, count: int, *arguments: Any) -> None:
        _launch("foreground", f"matter_foreground_{kernel}", count, 1, arguments)

    launch("blocks", rows * columns, *picture, blocks)
    launch("wide", rows * columns, blocks, *sides, wide)
    launch("weigh", height * width, *picture, wide, products)
    segments = -(-height // SEGMENT)
    launch("columns", segments * width, products, *sides, np.int32(SEGMENT), sums)
    return picture, wide, sums


# ---- composite


def _composite(kernel: str, count: int, *arguments: Any) -> None:
    _launch("composite", f"matter_composite_{kernel}", count, 1, arguments)


def composite(
    frame: Any, background: Any, alpha: Any, guided: bool, clean: bool, out: Any, alpha_out: Any
) -> None:
    """`frame` by `alpha` h×w over `background`, H×W×3 or a colour; alpha H×W into `alpha_out`."""
    back = NONE if isinstance(background, np.ndarray) else _rows(background)
    kind, guide = _guide([frame], alpha, guided, clean)
    arguments = (*_rows(frame), *back, *_colour(background), *guide, out)
    height, width = frame.shape[:2]
    groups = height * ((width + 3) // 4)
    _composite(f"blend{kind}", groups, *arguments, *_alpha_out(alpha_out, guide))


def composite_planes(
    frame: Any, background: Any, alpha: Any, guided: bool, clean: bool, out: Any, alpha_out: Any
) -> None:
    """As `composite`, of planes H×W and ⌈H/2⌉×⌈W/2⌉, or ⌈H/2⌉×⌈W/2⌉×2; a colour is Y, U and V."""
    kind, guide = _guide(frame, alpha, guided, clean)
    arguments = (*_two_frames(frame, background), *guide, *_written(out))
    height, width = frame[0].shape
    groups = ((height + 1) // 2) * ((width + 3) // 4)
    _composite(f"blend_planes{kind}", groups, *arguments, *_alpha_out(alpha_out, guide))


def _alpha_out(alpha_out: Any, guide: tuple[Any, ...]) -> tuple[Any, np.int32]:
    """The array that alpha is written to, or any, and whether it is."""
    return guide[0] if alpha_out is None else alpha_out, np.int32(alpha_out is not None)


def _guide(planes: Any, alpha: Any, guided: bool, clean: bool) -> tuple[str, tuple[Any, ...]]:
    """The end of the name of the kernel that blends, and what it takes of the matte's size.

    `planes` are a frame H×W×3, or its planes.
    """
    size = planes[0].shape[:2]
    small = min(alpha.shape[0], size[0]), min(alpha.shape[1], size[1])
    guided = guided and small != size
    sides, pixels = _sides(small), small[0] * small[1]
    matte = empty(small, np.float32)
    _composite("matte", pixels, *_rows(alpha), *_axes(alpha.shape, small), *sides, matte)
    guide, estimates = matte, matte  # where there are no estimates, none are read
    if guided or clean:
        reduced = empty((*small, 3), np.uint8)
        axes = (*_axes(size, small), *_axes(planes[-1].shape[:2], small))
        _composite("reduce", pixels, *_channels(planes), *axes, *sides, reduced)
    if clean:
        picture, wide, sums = _blur_fusion(reduced, matte)
        estimates = empty((*small, 8), np.uint8)
        arguments = (*picture[:2], *sides, wide, sums, estimates)
        _launch("foreground", "matter_foreground_estimates", pixels, 1, arguments)
    if guided:
        slopes = empty((*small, 3), np.float32)
        in_planes = np.int32(len(planes) > 1)
        _composite("slopes", pixels, reduced, matte, *sides, in_planes, slopes)
        guide = empty((*small, 4), np.float32)
        _composite("guide", pixels, reduced, matte, slopes, *sides, guide)
    kind = "_guided" * guided + "_clean" * clean
    return kind, (guide, estimates, *sides, *_axes(small, size), *_sides(size))


def _channels(planes: Any) -> Iterator[Any]:
    """The three channels of a frame or its planes, with the strides of rows and samples."""
    for plane in map(_near, planes):
        channels = [plane] if plane.ndim == 2 else [plane[..., c] for c in range(plane.shape[2])]
        for channel in channels:
            yield from (channel, *map(np.int32, channel.strides))


# ---- temporal


def temporal_filter(previous: Any, current: Any, delta: Any, out: Any) -> None:
    """`previous` and `current` h×w by `delta` h×w×C into `out`."""
    height, width, channels = delta.shape
    counted = empty((1,), np.uint64)
    counted.fill(0)
    if current.data.ptr == out.data.ptr:  # a cut needs it again when all of it has been filtered
        current = _lasting(current.copy())
    arguments = (
        *(*_rows(previous), *_rows(current), *_rows(delta)),
        *(np.int32(channels), *_sides((height, width)), counted, out),
    )
    _launch("temporal", "matter_temporal_filter", height * width, 1, arguments)
