"""Everything around TensorRT, over the streams of a real GPU: slots, staging, events, CUDA graphs.

TensorRT is played by the stand-in of tests/fakes/cuda.py, so that any GPU will do. Marked gpu, its
network is two kernels on CuPy's own streams. They are slow, so that whoever does not wait for them
reads what is not there yet. Each test runs with CuPy's stand-in too, which keeps this file honest.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from matter_sdk.kernels import YUV, InputSpec, preprocess
from matter_sdk.sdk import Matter
from tests.fakes import cuda
from tests.sdk.checks import lanes_keep_apart
from tests.sdk.test_tensorrt import built

MICROSECONDS = 1500  # that the network keeps the GPU busy
CODE = r"""
extern "C" __global__ void spin(long long us) {
    long long begin, now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(begin));
    do { asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now)); } while (now - begin < us * 1000);
}
extern "C" __global__ void heads(const float* x, float* glance, float* focus, int h, int w, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= h * w * n) return;
    const int b = i / (h * w), p = i % (h * w), row = p / w, column = p % w;
    const float* image = x + 3LL * b * h * w;
    float sum = 0;
    int count = 0;
    for (int r = max(row - 1, 0); r <= min(row + 1, h - 1); ++r)
        for (int c = max(column - 1, 0); c <= min(column + 1, w - 1); ++c, ++count)
            for (int k = 0; k < 3; ++k) sum += image[k * h * w + r * w + c];
    for (int k = 0; k < 3; ++k)
        glance[(3LL * b + k) * h * w + p] = 1 / (1 + expf(4 - image[k * h * w + p] * 8 / 255));
    focus[1LL * b * h * w + p] = 1 / (1 + expf(2 - 4 * sum / count / 765));
}"""


@dataclass
class Address:
    """A stream by its address, for CuPy."""

    pointer: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.pointer


class RealContext(cuda.Context):
    """The tiny network on a real stream: the closed form of ``Tiny.heads``."""

    busy = MICROSECONDS

    def is_stream_capturable(self, address: int) -> bool:
        return self.engine.capturable

    def execute_async_v3(self, address: int) -> bool:
        import cupy

        stream = cupy.cuda.Stream.from_external(Address(address))
        if stream.is_capturing() and self.engine.refuses_capture:
            return False
        batch, _, height, width = self.engine.shapes["image"]
        at = [np.uint64(self.addresses[name]) for name in ("image", "glance", "focus")]
        numbers = map(np.int32, (height, width, batch))
        blocks = -(-height * width * batch // 256)
        with stream:
            kernel("spin")((1,), (1,), (np.int64(self.busy),))
            kernel("heads")((blocks,), (256,), (*at, *numbers))
        self.runs += 1
        return True


compiled: dict[str, Any] = {}


def kernel(name: str) -> Any:
    import cupy

    if name not in compiled:
        compiled[name] = cupy.RawModule(code=CODE).get_function(name)
    return compiled[name]


@dataclass
class Gpu:
    """CuPy or its stand-in, and the engines of the TensorRT that is played."""

    cupy: Any
    engines: type[cuda.Engine]

    def opened(self, tiny: Any, **options: Any) -> Matter:
        return Matter(built(tiny, self.engines), backend="tensorrt-rtx", **options)

    def spin(self, microseconds: int) -> None:
        """Keep the current stream busy. The stand-in's streams are late by themselves."""
        if self.engines.context is RealContext:
            kernel("spin")((1,), (1,), (np.int64(microseconds),))


@pytest.fixture(params=["stand-in", pytest.param("real", marks=pytest.mark.gpu)])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    if request.param == "stand-in":
        engines = request.getfixturevalue("fake_tensorrt")
    else:
        engines = cuda.play_tensorrt(monkeypatch)
        engines.context = RealContext
    import cupy

    yield Gpu(cupy, engines)


def frames_of(count: int, size: tuple[int, int] = (280, 520)) -> list[NDArray[np.uint8]]:
    """A pattern that moves by five columns a frame."""
    rng = np.random.default_rng(count)
    small = rng.integers(0, 256, (size[0] // 8, size[1] // 8, 3), np.uint8)
    large = np.kron(small, np.ones((8, 8, 1), np.uint8))
    return [np.roll(large, 5 * number, 1) for number in range(count)]


def arrays(frame: Any) -> list[NDArray[Any]]:
    planes = frame.planes if isinstance(frame, YUV) else (frame,)
    return [np.array(each.get() if hasattr(each, "get") else each) for each in planes]


def assert_same(one: Any, other: Any) -> None:
    for found, expected in zip(arrays(one), arrays(other), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_frames_of_the_cpu_pass_through_captured_networks(gpu: Gpu, tiny: Any) -> None:
    with gpu.opened(tiny) as matter:
        assert "2 lanes, CUDA graphs" in matter.runtime
        for frame in frames_of(6, (32, 64)):
            np.testing.assert_allclose(matter(frame).alpha, tiny.alpha(frame), atol=1e-5)


def test_threads_on_two_lanes_get_their_own_alpha(gpu: Gpu, tiny: Any) -> None:
    given = [np.full((32, 64, 3), 30 * number, np.uint8) for number in range(8)]
    with gpu.opened(tiny) as matter:
        lanes_keep_apart(matter, given, [tiny.alpha(frame) for frame in given], calls=40)


def test_a_frame_that_is_still_being_written_is_waited_for(gpu: Gpu, tiny: Any) -> None:
    with gpu.opened(tiny) as matter:
        for frame in frames_of(8, (32, 64)):
            late = gpu.cupy.asarray(frame)
            array = gpu.cupy.asarray(np.zeros_like(frame))
            gpu.cupy.cuda.Device().synchronize()
            with gpu.cupy.cuda.Stream(non_blocking=True):
                gpu.spin(3000)
                array[...] = late
                matte = matter(array)
                np.testing.assert_allclose(matte.gpu().alpha.get(), tiny.alpha(frame), atol=1e-5)
                assert_same(matte.gpu().over("red"), matte.over("red"))


@pytest.mark.parametrize("leave", [False, True], ids=["fetched", "left there"])
@pytest.mark.parametrize("kind", ["bgr", "i420", "nv12"])
@pytest.mark.parametrize(
    "options",
    [{}, {"temporal": False}, {"quality": "live"}, {"clean": True}],
    ids=["balanced", "not filtered", "live", "clean"],
)
def test_a_captured_graph_gives_what_the_stages_give(
    gpu: Gpu, tiny: Any, options: dict[str, Any], kind: str, leave: bool
) -> None:
    given: list[Any] = list(frames_of(7))
    over = "over"
    if kind != "bgr":
        given, over = [YUV.from_bgr(each, layout=kind) for each in given], "over_planes"
    with gpu.opened(tiny, **options) as matter:
        expected = [getattr(matte, over)("green") for matte in matter.stream(given)]
        graph = matter.frame_graph(given[0], "green", leave=leave)
        assert graph is not None
        for _ in range(2):  # the second time after reset
            found = 0
            for frame in [*given, None]:
                if frame is not None:
                    graph.submit(frame)
                while graph.waiting == graph.DEPTH or (frame is None and graph.waiting):
                    assert_same(graph.result(), expected[found])
                    found += 1
            assert found == len(given)
            graph.reset()
        graph.close()


def test_a_composite_left_there_is_read_before_it_is_overwritten(gpu: Gpu, tiny: Any) -> None:
    given = frames_of(12)
    copies = []
    with gpu.opened(tiny) as matter:
        expected = [matte.over("green") for matte in matter.stream(given)]
        graph = matter.frame_graph(given[0], "green", leave=True)
        assert graph is not None
        with gpu.cupy.cuda.Stream(non_blocking=True) as theirs:
            for frame in given:
                graph.submit(frame)
                if graph.waiting == graph.DEPTH:
                    left = graph.result()
                    gpu.spin(8000)
                    copies.append(left.copy())
            theirs.synchronize()
        graph.close()
    assert len(copies) > 8
    for copy, composite in zip(copies, expected, strict=False):
        assert_same(copy, composite)


def test_a_network_that_refuses_capture_runs_all_the_same(gpu: Gpu, tiny: Any) -> None:
    gpu.engines.refuses_capture = "at once"
    (frame,) = frames_of(1, (32, 64))
    with gpu.opened(tiny) as matter:
        np.testing.assert_allclose(matter(frame).alpha, tiny.alpha(frame), atol=1e-5)


def test_a_graph_may_be_freed_after_its_matter(gpu: Gpu, tiny: Any) -> None:
    (frame,) = frames_of(1)
    with gpu.opened(tiny) as matter:
        expected = matter(frame).over("green")
        graph = matter.frame_graph(frame, "green")
        assert graph is not None
        graph.submit(frame)
        assert_same(graph.result(), expected)
        graph.close()
    del matter, graph
    gc.collect()


@pytest.mark.gpu
def test_memory_does_not_grow(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import cupy

    engines = cuda.play_tensorrt(monkeypatch)
    engines.context = type("Fast", (RealContext,), {"busy": 0})

    def used() -> int:
        free, total = cupy.cuda.runtime.memGetInfo()
        return int(total - free)

    given = frames_of(4)
    path = built(tiny, engines)
    with Matter(path, backend="tensorrt-rtx") as matter:
        graph = matter.frame_graph(given[0], "green")
        assert graph is not None
        for number in range(3000):
            graph.submit(given[number % 4])
            if graph.waiting == graph.DEPTH:
                graph.result()
            if number == 300:
                before = used()
        assert used() <= before + 4 * 2**20
        graph.close()
    for number in range(30):
        with Matter(path, backend="tensorrt-rtx") as matter:
            matter(given[0])
        if number == 10:
            before = used()
    assert used() <= before + 8 * 2**20


@pytest.mark.gpu
def test_a_tensor_of_torch_is_read_in_order(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    engines = cuda.play_tensorrt(monkeypatch)
    engines.context = RealContext
    with Matter(built(tiny, engines), backend="tensorrt-rtx") as matter:
        for frame in frames_of(8, (32, 64)):
            late = torch.from_numpy(frame.copy()).cuda()
            array = torch.zeros_like(late)
            torch.cuda.synchronize()
            with torch.cuda.stream(torch.cuda.Stream()):
                torch.cuda._sleep(4_000_000)
                array.copy_(late)
                matte = matter(array)
            np.testing.assert_allclose(matte.gpu().alpha.get(), tiny.alpha(frame), atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "of", [lambda stream: stream, lambda stream: stream.cuda_stream], ids=["stream", "address"]
)
def test_a_kernel_takes_a_stream_of_torch(of: Callable[[Any], Any]) -> None:
    import cupy

    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    frame = cupy.asarray(frames_of(1)[0])
    expected = preprocess(frame, (32, 64), InputSpec())
    stream = torch.cuda.Stream()
    cupy.cuda.Device().synchronize()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = preprocess(frame, (32, 64), InputSpec(), stream=of(stream))
    torch.cuda.synchronize()
    assert_same(found, expected)
