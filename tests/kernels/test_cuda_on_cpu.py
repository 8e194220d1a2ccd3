"""The CUDA wrappers and their launches without a GPU.

g++ compiles each kernels/cuda/*.cu as plain C++, a stand-in for CuPy hands `kernels._cuda` arrays
and launches, and each thread of a launch is called in turn; those of a kernel whose blocks wait
for each other run at once, one block after the other. So the grid, the arguments, their order
and types, and the index arithmetic are held against the CPU twin. It is no proof about a real GPU.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matter_sdk import kernels
from matter_sdk.kernels.graphs import keeping
from tests.fakes.cuda import Device, DeviceArray, Stream, current
from tests.kernels.test_contract import KERNELS, Kernel, alike, assert_same, parts

COMPILER = shutil.which("g++") or shutil.which("c++")
FOLDER = Path(__file__).parents[2] / "kernels" / "cuda"
SHIM = """
#include <pthread.h>
#define __global__
#define __device__
#define __host__
struct Dim { unsigned x, y, z; };
static thread_local Dim blockIdx, threadIdx;
static Dim blockDim, gridDim;

static pthread_barrier_t barrier;
static int votes;
extern "C" void launch_begins(unsigned blocks, unsigned rows, unsigned threads) {
    gridDim = {blocks, rows, 1};
    blockDim = {threads, 1, 1};
    pthread_barrier_init(&barrier, nullptr, threads);
}
extern "C" void thread_is(unsigned block, unsigned row, unsigned thread) {
    blockIdx = {block, row, 0};
    threadIdx = {thread, 0, 0};
}

inline int __syncthreads_count(int vote) {
    pthread_barrier_wait(&barrier);
    if (threadIdx.x == 0) votes = 0;
    pthread_barrier_wait(&barrier);
    __atomic_fetch_add(&votes, vote != 0, __ATOMIC_SEQ_CST);
    pthread_barrier_wait(&barrier);
    return votes;
}
inline int __syncthreads_or(int vote) { return __syncthreads_count(vote) != 0; }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
template <class T, class V>
T atomicAdd(T* to, V value) { return __atomic_fetch_add(to, T(value), __ATOMIC_SEQ_CST); }

#include "%s"
"""
WAITING = ("matter_temporal_filter",)  # kernels whose threads wait for those of their block
C_TYPES = {np.int64: ctypes.c_longlong, np.int32: ctypes.c_int, np.float32: ctypes.c_float}


def on_host(array: DeviceArray) -> Any:
    return array.get()


launched: list[DeviceArray] = []  # the arrays of every launch
looked_up: list[str] = []  # the functions that modules were asked for


def function(library: ctypes.CDLL, name: str) -> Any:
    kernel = library[name]

    def launch(grid: tuple[int, int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
        launched.extend(value for value in arguments if isinstance(value, DeviceArray))
        kernel.argtypes = [
            ctypes.c_void_p if isinstance(value, DeviceArray) else C_TYPES[type(value)]
            for value in arguments
        ]
        values = [
            value.data.ptr if isinstance(value, DeviceArray) else value.item()
            for value in arguments
        ]
        types_ = kernel.argtypes

        def thread(number: int) -> None:
            for row in range(grid[1]):
                for at in range(grid[0]):
                    library.thread_is(at, row, number)
                    kernel(*values)

        def run() -> None:
            kernel.argtypes = types_
            library.launch_begins(*grid, block[0])
            if name in WAITING:
                with ThreadPoolExecutor(block[0]) as threads:
                    list(threads.map(thread, range(block[0])))
            else:
                for number in range(block[0]):
                    thread(number)

        current().add(run)

    return launch


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Builds a kernel's source once, by its path."""
    folder = tmp_path_factory.mktemp("cuda")

    @functools.cache
    def build(source: Path) -> ctypes.CDLL:
        shim, library = folder / f"{source.stem}.cpp", folder / f"{source.stem}.so"
        shim.write_text(SHIM % source)
        flags = ["-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-pthread"]
        subprocess.run([str(COMPILER), *flags, "-o", str(library), str(shim)], check=True)
        return ctypes.CDLL(str(library))

    return build


@pytest.fixture
def cupy(compiled: Any, fake_cupy: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The stand-in of CuPy, with `kernels._cuda` loaded on it."""

    class RawModule:
        def __init__(self, path: str = "", code: str = "", options: tuple[str, ...] = ()) -> None:
            source = next(file for file in FOLDER.glob("*.cu") if file.read_text() == code)
            self.library = compiled(source)
            assert f"-I{FOLDER}" in options

        def compile(self) -> None:
            pass

        def get_function(self, name: str) -> Any:
            looked_up.append(name)
            return function(self.library, name)

    monkeypatch.setattr(fake_cupy, "RawModule", RawModule, raising=False)
    monkeypatch.delitem(sys.modules, "matter_sdk.kernels._cuda", raising=False)
    monkeypatch.delattr(kernels, "_cuda", raising=False)
    # The sources, and not the fatbins of a build on a machine with nvcc.
    monkeypatch.setattr(kernels, "__path__", [str(FOLDER.parent)])
    launched.clear()
    looked_up.clear()
    yield fake_cupy
    sys.modules.pop("matter_sdk.kernels._cuda", None)
    vars(kernels).pop("_cuda", None)


needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
every = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)


@needs_compiler
@every
def test_a_launch_computes_what_the_cpu_twin_does(kernel: Kernel, cupy: Any) -> None:
    expected = kernel.call(**kernel.arrays, **kernel.options)
    arrays = {name: DeviceArray(array) for name, array in kernel.arrays.items()}
    result = kernel.call(**arrays, **kernel.options)
    assert all(isinstance(array, DeviceArray) for array in parts(result))
    assert_same(alike(result, on_host), expected)

    out = alike(expected, lambda array: DeviceArray(np.zeros_like(array)))
    stream = cupy.cuda.Stream()
    again = kernel.call(**arrays, **kernel.options, out=out, stream=stream)
    assert all(one is other for one, other in zip(parts(again), parts(out), strict=True))
    assert stream.waiting  # all of it is there, nothing ran on another stream
    stream.synchronize()
    assert_same(alike(out, on_host), expected)


@needs_compiler
@every
def test_a_launch_takes_crops_in_place(kernel: Kernel, cupy: Any) -> None:
    expected = kernel.call(**kernel.arrays, **kernel.options)
    arrays = {}
    for name, array in kernel.arrays.items():
        room = np.zeros((*array.shape[:1], *(side + 5 for side in array.shape[1:])), array.dtype)
        if array.dtype == np.uint8 and array.ndim > 2:  # images: the channels stay together
            room = room[..., : array.shape[-1]].copy()
        view = room[tuple(slice(0, side) for side in array.shape)]
        view[...] = array
        arrays[name] = DeviceArray(view)
    assert_same(alike(kernel.call(**arrays, **kernel.options), on_host), expected)


@needs_compiler
@pytest.mark.parametrize("name", ["composite", "composite i420 60x130", "composite nv12 61x131"])
def test_composite_over_its_own_frame_and_its_alpha(name: str, cupy: Any) -> None:
    kernel = KERNELS[name]
    size = next(iter(kernel.arrays.values())).shape[:2]
    alpha = np.zeros(size, np.float32)
    expected = kernel.call(**kernel.arrays, **kernel.options, alpha_out=alpha)
    arrays = {name: DeviceArray(array.copy()) for name, array in kernel.arrays.items()}
    written = [array for name, array in arrays.items() if name.partition(".")[0] == "frame"]
    out: Any = tuple(written) if len(written) > 1 else written[0]
    alpha_out = DeviceArray(np.zeros(size, np.float32))
    kernel.call(**arrays, **kernel.options, out=out, alpha_out=alpha_out)
    assert_same(alike(out, on_host), expected)
    np.testing.assert_array_equal(alpha_out.array, alpha)


@needs_compiler
@every
def test_a_captured_graph_keeps_what_it_works_in(kernel: Kernel, cupy: Any) -> None:
    arrays = {name: DeviceArray(array) for name, array in kernel.arrays.items()}
    expected = kernel.call(**kernel.arrays, **kernel.options)
    out = alike(expected, lambda array: DeviceArray(np.zeros_like(array)))
    kernel.call(**arrays, **kernel.options, out=out)  # uploads what stays on the device
    launched.clear()
    kept: list[DeviceArray] = []
    with cupy.cuda.Stream() as stream, keeping(kept):
        stream.begin_capture()
        kernel.call(**arrays, **kernel.options, out=out)
        graph = stream.end_capture()

    module = sys.modules["matter_sdk.kernels._cuda"]
    lasting = [*arrays.values(), *parts(out), *kept]
    if "linear" in kernel.options:
        lasting += module._curve(0)
    assert launched
    for array in launched:
        assert any(np.may_share_memory(array.array, other.array) for other in lasting)
    for array in parts(out):
        array.array[...] = 0
    graph.launch(cupy.cuda.Stream.null)
    assert_same(alike(out, on_host), expected)


@needs_compiler
def test_streams_of_other_libraries_and_what_is_none(cupy: Any) -> None:
    kernel = KERNELS["alpha_blend"]
    expected = kernel.call(**kernel.arrays)
    arrays = {name: DeviceArray(array) for name, array in kernel.arrays.items()}
    theirs = cupy.cuda.Stream()
    for given in ({"cuda_stream": theirs.ptr}, {"ptr": theirs.ptr}):
        result = kernel.call(**arrays, stream=types.SimpleNamespace(**given))
        assert theirs.waiting
        theirs.synchronize()
        np.testing.assert_array_equal(result.get(), expected)
    np.testing.assert_array_equal(kernel.call(**arrays, stream=0).get(), expected)
    with pytest.raises(kernels.KernelError, match="'fast'"):
        kernel.call(**arrays, stream="fast")


@needs_compiler
def test_a_batch_beyond_the_grid_is_named(cupy: Any) -> None:
    frames = DeviceArray(np.zeros((66000, 1, 1, 3), np.uint8))
    with pytest.raises(kernels.KernelError, match="66000"):
        kernels.preprocess(frames, (1, 1), kernels.InputSpec())


class Foreign:
    """An array of a library with streams of its own, as torch's: only DLPack waits for them."""

    def __init__(self, array: Any, stream: Any) -> None:
        self._array, self._stream = DeviceArray(np.zeros_like(array)), stream
        self.__cuda_array_interface__ = self._array.__cuda_array_interface__
        with stream:
            self._array.set(array)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    def __dlpack__(self, *, stream: int) -> DeviceArray:
        Stream.by_address[stream].wait_event(self._stream.record())
        return self._array


@needs_compiler
def test_what_another_library_has_yet_to_write_is_waited_for(cupy: Any) -> None:
    kernel = KERNELS["alpha_blend"]
    theirs = cupy.cuda.Stream()
    arrays = {name: Foreign(array, theirs) for name, array in kernel.arrays.items()}
    np.testing.assert_array_equal(kernel.call(**arrays).get(), kernel.call(**kernel.arrays))


@needs_compiler
def test_more_pixels_than_the_kernels_count_are_named(cupy: Any) -> None:
    from matter_sdk.kernels import _cuda

    with pytest.raises(kernels.KernelError, match=str(2**31)):
        _cuda._launch("temporal", "matter_temporal_filter", 2**31, 1, ())


@needs_compiler
@every
def test_a_function_is_looked_up_once(kernel: Kernel, cupy: Any) -> None:
    arrays = {name: DeviceArray(array) for name, array in kernel.arrays.items()}
    for _ in range(2):
        kernel.call(**arrays, **kernel.options)
    assert looked_up
    assert len(looked_up) == len(set(looked_up))


@needs_compiler
def test_rows_further_apart_than_the_kernels_count(cupy: Any) -> None:
    kernel = KERNELS["composite"]
    expected = kernel.call(**{name: array[:1] for name, array in kernel.arrays.items()})
    arrays = {}
    for name, array in kernel.arrays.items():
        strides = (3 << 32, *array.strides[1:])  # of a single row, which is in memory all the same
        row = np.lib.stride_tricks.as_strided(array, (1, *array.shape[1:]), strides)
        arrays[name] = DeviceArray(row)
    np.testing.assert_array_equal(kernel.call(**arrays).get(), expected)


@needs_compiler
@pytest.mark.parametrize("name", [name for name in KERNELS if name.startswith("temporal")])
@pytest.mark.parametrize("written", ["previous", "current"])
def test_the_temporal_filter_may_write_into_its_own_mattes(
    name: str, written: str, cupy: Any
) -> None:
    kernel = KERNELS[name]
    arrays = {key: DeviceArray(array.copy()) for key, array in kernel.arrays.items()}
    kernel.call(**arrays, out=arrays[written])
    np.testing.assert_array_equal(arrays[written].get(), kernel.call(**kernel.arrays))


@needs_compiler
@pytest.mark.parametrize("known_by", ["address", "cuda_stream"])
def test_a_stream_of_another_library(cupy: Any, known_by: str) -> None:
    kernel = KERNELS["alpha_blend"]
    expected = kernel.call(**kernel.arrays, **kernel.options)
    stream = cupy.cuda.Stream()
    theirs = stream.ptr if known_by == "address" else types.SimpleNamespace(cuda_stream=stream.ptr)
    arrays = {name: DeviceArray(array) for name, array in kernel.arrays.items()}
    result = kernel.call(**arrays, **kernel.options, stream=theirs)
    assert stream.waiting
    stream.synchronize()
    assert_same(alike(result, on_host), expected)


def test_arrays_on_two_gpus_are_refused(cupy: Any) -> None:
    kernel = KERNELS["alpha_blend"]
    arrays = {
        name: DeviceArray(array, Device(number))
        for number, (name, array) in enumerate(kernel.arrays.items())
    }
    with pytest.raises(kernels.KernelError, match=r"cuda:0.*cuda:1"):
        kernel.call(**arrays, **kernel.options)
