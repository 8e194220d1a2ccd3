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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import kernels
from kernels.spec import KernelError

try:
    import cupy
except ImportError as error:
    raise KernelError(
        "an array on a CUDA device was given, but CuPy cannot be imported "
        f"({error}): pip install 'matter-sdk[nvidia]', or pass NumPy arrays"
    ) from error

ROSTA = {"tt": 0, "unified": 0, "ft": 1, "bt": 2}
BLOCK = 256
# --fmad=false: an expression has the same value as on the CPU, where contraction is off too.
OPTIONS = ("-std=c++17", "--fmad=false")


def view(array: Any) -> Any:
    """The array as CuPy's, without a copy."""
    if isinstance(array, cupy.ndarray):
        return array
    if hasattr(array, "__cuda_array_interface__"):
        return cupy.asarray(array)
    return cupy.from_dlpack(array)


def empty(shape: tuple[int, ...], dtype: Any) -> Any:
    """A new array on the current device with whatever is in memory."""
    return cupy.empty(shape, dtype)


def contiguous(array: Any) -> Any:
    """A C-contiguous copy, or the array itself if it is one."""
    return cupy.ascontiguousarray(array)


def colour_rows(colour: Any, shape: tuple[int, ...]) -> Any:
    """A background of one colour: three bytes, repeated by strides of 0."""
    return cupy.broadcast_to(cupy.asarray(colour), shape)


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
    return cupy.cuda.ExternalStream(address)


def _launch(module: str, kernel: str, pixels: int, planes: int, arguments: tuple[Any, ...]) -> None:
    """One thread for each of `pixels`, `planes` times; asynchronous on the current stream."""
    if planes > 65535:
        raise KernelError(
            f"a batch of {planes} planes, expected at most 65535 in one call: split the batch"
        )
    function = _module(module, cupy.cuda.Device().id).get_function(kernel)
    function(((pixels + BLOCK - 1) // BLOCK, planes), (BLOCK,), arguments)


def preprocess(
    frame: Any,
    out: Any,
    swap: bool,
    mean: tuple[float, float, float],
    inverse_std: tuple[float, float, float],
) -> None:
    """`frame` N×H×W×C into `out` N×3×h×w."""
    count, height, width, channels = frame.shape
    out_height, out_width = out.shape[2:]
    sizes = tuple(np.int64(value) for value in (height, width, channels, *frame.strides[:2]))
    arguments = (
        frame,
        *sizes,
        out,
        np.int64(out_height),
        np.int64(out_width),
        np.int32(swap),
        *(np.float32(value) for value in (*mean, *inverse_std)),
    )
    _launch("preprocess", "matter_preprocess", out_height * out_width, 3 * count, arguments)


def fuse(glance: Any, focus: Any, alpha: Any, rosta: str) -> None:
    """`glance` N×C×H×W and `focus` into `alpha`, both N×1×H×W, of one dtype."""
    count, classes, height, width = glance.shape
    kernel = "matter_fuse_half" if alpha.dtype == np.float16 else "matter_fuse_float"
    plane = height * width
    arguments = (glance, focus, alpha, np.int64(classes), np.int64(plane), np.int32(ROSTA[rosta]))
    _launch("fusion", kernel, plane, count, arguments)


def alpha_blend(foreground: Any, background: Any, alpha: Any, out: Any) -> None:
    """`foreground` and `background` N×H×W×3 by `alpha` N×H×W into `out`."""
    count, height, width, _ = out.shape
    itemsize = alpha.dtype.itemsize
    arguments = (
        foreground,
        *(np.int64(stride) for stride in foreground.strides[:2]),
        background,
        *(np.int64(stride) for stride in background.strides[:3]),
        alpha,
        *(np.int64(stride // itemsize) for stride in alpha.strides[:2]),
        out,
        np.int64(height),
        np.int64(width),
    )
    _launch("blend", "matter_alpha_blend", height * width, count, arguments)


# ---- pooling


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
    sides = (np.int64(height), np.int64(width))
    strides = np.int64(frame.strides[0]), np.int64(alpha.strides[0] // alpha.dtype.itemsize)
    picture = (frame, strides[0], alpha, strides[1], *sides)
    block = min(max((height + width + 128) // 256, 1), 32)  # make_windows()
    rows, columns = -(-height // block), -(-width // block)
    blocks = cupy.empty((rows, columns, 8), np.int32)
    wide = cupy.empty((rows, columns, 8), np.float32)
    products = cupy.empty((height, width, 4), np.uint16)
    sums = cupy.empty((height, width, 4), np.int32)

    def launch(kernel: str, count: int, *arguments: Any) -> None:
        _launch("foreground", f"matter_foreground_{kernel}", count, 1, arguments)

    launch("blocks", rows * columns, *picture, blocks)
    launch("wide", rows * columns, blocks, *sides, wide)
    launch("weigh", height * width, *picture, wide, products)
    segments = -(-height // SEGMENT)
    launch("columns", segments * width, products, *sides, np.int64(SEGMENT), sums)
    return picture, wide, sums


# ---- composite


def composite(
    frame: Any, background: Any, alpha: Any, guided: bool, clean: bool, out: Any, alpha_out: Any
) -> None:
    """`frame` and `background` H×W×3 by `alpha` h×w into `out`, and alpha H×W into `alpha_out`."""
    height, width = frame.shape[:2]
    small = min(alpha.shape[0], height), min(alpha.shape[1], width)
    guided = guided and small != (height, width)
    sides, small_sides = tuple(map(np.int64, (height, width))), tuple(map(np.int64, small))
    frame_row = np.int64(frame.strides[0])

    def launch(kernel: str, count: int, *arguments: Any) -> None:
        _launch("composite", f"matter_composite_{kernel}", count, 1, arguments)

    matte = cupy.empty(small, np.float32)
    alpha_row = np.int64(alpha.strides[0] // alpha.dtype.itemsize)
    pixels = small[0] * small[1]
    launch("matte", pixels, alpha, alpha_row, *map(np.int64, alpha.shape), *small_sides, matte)
    guide, lanes, estimates = matte, 1, matte  # where there are no estimates, none are read
    if guided or clean:
        reduced = cupy.empty((*small, 3), np.uint8)
        launch("reduce", pixels, frame, frame_row, *sides, *small_sides, reduced)
    if clean:
        picture, wide, sums = _blur_fusion(reduced, matte)
        estimates = cupy.empty((*small, 8), np.uint8)
        arguments = (*picture[:2], *small_sides, wide, sums, estimates)
        _launch("foreground", "matter_foreground_estimates", pixels, 1, arguments)
    if guided:
        slopes = cupy.empty((*small, 3), np.float32)
        launch("slopes", pixels, reduced, matte, *small_sides, slopes)
        guide, lanes = cupy.empty((*small, 4), np.float32), 4
        launch("guide", pixels, reduced, matte, slopes, *small_sides, guide)
    blended = (
        *(frame, frame_row, background, *(np.int64(step) for step in background.strides[:2])),
        *(guide, np.int64(lanes), estimates, np.int32(clean), *small_sides, *sides, out),
        *(matte if alpha_out is None else alpha_out, np.int32(alpha_out is not None)),
    )
    launch("blend", height * width, *blended)


# ---- temporal
