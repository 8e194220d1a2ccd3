"""Frames and mattes in a GPU's memory, with stand-ins: see tests/fakes/cuda.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from matter_sdk.kernels import YUV
from matter_sdk.sdk import Matter
from matter_sdk.sdk.background import Background
from matter_sdk.sdk.errors import BackendError, FrameError
from matter_sdk.sdk.matte import Matte
from matter_sdk.sdk.streaming.temporal_filter import TemporalFilter
from tests.fakes.cuda import Device, DeviceArray, Stream, device_now
from tests.sdk.test_tensorrt import built, opened

SHAPE = (70, 130)


def picture_of(seed: int, shape: tuple[int, ...] = (*SHAPE, 3)) -> NDArray[np.uint8]:
    """Smooth, so that one network size stands for another."""
    noise = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 9, borderType=cv2.BORDER_REPLICATE))


def alpha_of(size: tuple[int, int]) -> NDArray[np.float32]:
    y, x = np.mgrid[: size[0], : size[1]]
    ramp = 0.5 + (size[0] / 3 - np.hypot(y - size[0] / 2, x - size[1] / 2)) / 9
    return ramp.clip(0, 1).astype(np.float32)


def device(value: Any) -> Any:
    if isinstance(value, YUV):
        return YUV(tuple(map(DeviceArray, value.planes)), value.matrix, value.full_range)
    return DeviceArray(value)


@pytest.fixture
def no_download(fake_cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was copied to the CPU's memory")

    monkeypatch.setattr(DeviceArray, "get", refuse)


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("size", [(32, 64), SHAPE])
@pytest.mark.parametrize("kind", ["bgr", "bgra", "grey", "i420", "nv12"])
def test_gpu_is_the_same_matte(
    fake_cuda: Any, kind: str, size: tuple[int, int], clean: bool, guided: bool
) -> None:
    colours = picture_of(1)
    frame: Any = {
        "bgr": colours,
        "bgra": np.dstack((colours, colours[..., 0])),
        "grey": np.ascontiguousarray(colours[..., 0]),
    }.get(kind)
    if frame is None:
        frame = YUV.from_bgr(colours, layout=kind)
    behind = picture_of(2)
    here = Matte(frame, alpha_of(size), guided=guided, clean=clean)
    there = Matte(device(frame), DeviceArray(alpha_of(size)), guided=guided, clean=clean).gpu()
    np.testing.assert_allclose(there.alpha.get(), here.alpha, atol=2e-6)
    for background in ("green", behind):
        np.testing.assert_array_equal(there.over(background).get(), here.over(background))
        if isinstance(frame, YUV):
            result, expected = there.over_planes(background), here.over_planes(background)
            for plane, other in zip(result.planes, expected.planes, strict=True):
                np.testing.assert_array_equal(plane.get(), other)


def test_nothing_is_copied_to_the_cpu(no_download: None) -> None:
    matte = Matte(device(picture_of(1)), DeviceArray(alpha_of((32, 64))), guided=True, clean=True)
    there = matte.gpu()
    assert isinstance(there.alpha, DeviceArray)
    for background in ("red", picture_of(2), DeviceArray(picture_of(2)), Background.open("red")):
        assert isinstance(there.over(background), DeviceArray)
    planes = Matte(device(YUV.from_bgr(picture_of(1))), DeviceArray(alpha_of((32, 64)))).gpu()
    for behind in ("red", picture_of(2), device(YUV.from_bgr(picture_of(2)))):
        assert isinstance(planes.over_planes(behind).planes[0], DeviceArray)
    with pytest.raises(ValueError, match="over"):
        there.over_planes("red")


def test_a_blur_is_made_on_the_cpu(fake_cuda: Any) -> None:
    frame, alpha = picture_of(3), alpha_of(SHAPE)
    there = Matte(device(frame), DeviceArray(alpha)).gpu()
    expected = Matte(frame, alpha).over("blur:9")
    np.testing.assert_array_equal(there.over("blur:9").get(), expected)


def test_a_matte_from_the_cpu_is_taken_to_the_gpu(fake_cuda: Any) -> None:
    frame, alpha = picture_of(4), alpha_of((32, 64))
    matte = Matte(frame, alpha)
    there = matte.gpu()
    np.testing.assert_array_equal(there.over("blue").get(), matte.over("blue"))
    assert "on a GPU" in repr(there)
    np.testing.assert_array_equal(there.cutout().get(), matte.cutout())


def test_a_matte_from_the_gpu_gives_arrays_of_the_cpu(fake_cuda: Any) -> None:
    frame, alpha = picture_of(5), alpha_of((32, 64))
    here, came = Matte(frame, alpha), Matte(device(frame), DeviceArray(alpha))
    assert repr(came) == repr(here)
    for result, expected in (
        (came.alpha, here.alpha),
        (came.over("blur"), here.over("blur")),
        (came.cutout(), here.cutout()),
        (came.frame, frame),
    ):
        assert isinstance(result, np.ndarray)
        np.testing.assert_array_equal(result, expected)
    planes = Matte(device(YUV.from_bgr(frame)), DeviceArray(alpha)).planes
    assert planes is not None
    assert isinstance(planes.planes[0], np.ndarray)


def test_without_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(BackendError, match=r"CuPy.*pip install"):
        Matte(picture_of(6), alpha_of(SHAPE)).gpu()


# ------------------------------------------------------------------------------- frames on the GPU


def test_a_transparent_frame_on_the_gpu(tiny: Any, fake_tensorrt: Any) -> None:
    frame = np.dstack((picture_of(1), picture_of(2)[..., 0]))
    alpha = alpha_of((32, 64))
    with Matter(built(tiny, fake_tensorrt), backend="tensorrt-rtx") as matter:
        there = matter.finish(device(frame), DeviceArray(alpha))
        here = matter.finish(frame, alpha)
    np.testing.assert_allclose(there.alpha, here.alpha, atol=1e-6)
    assert isinstance(there.gpu().alpha, DeviceArray)


@pytest.mark.parametrize("batch", [1, 2])
def test_frames_on_the_gpu_stay_there(
    tiny: Any, fake_tensorrt: Any, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """Single ones, batches, and one that fills no batch of the engine."""
    frames = [picture_of(number, (32, 64, 3)) for number in range(3)]
    with Matter(built(tiny, fake_tensorrt, batch=batch), backend="tensorrt-rtx") as matter:
        with monkeypatch.context() as patch:
            patch.setattr(DeviceArray, "get", None)
            mattes = [matter(DeviceArray(frames[0])), *matter([*map(DeviceArray, frames)])]
            theirs = [matte.gpu().over("red") for matte in mattes]
        for frame, matte, over in zip((frames[0], *frames), mattes, theirs, strict=True):
            np.testing.assert_allclose(matte.alpha, tiny.alpha(frame), atol=1e-6)
            np.testing.assert_array_equal(over.get(), matte.over("red"))
        both = matter([DeviceArray(frames[0]), frames[1]])
        np.testing.assert_allclose(both[0].alpha, tiny.alpha(frames[0]), atol=1e-6)


def test_stages_on_streams_of_their_own(tiny: Any, fake_tensorrt: Any) -> None:
    """Nobody waits for these, as where each stage is in another thread, and yet what a stage gave
    is there for the next, and what a lane gave is taken before the lane runs again."""
    frames = [picture_of(number, (32, 64, 3)) for number in range(5)]
    alphas = []
    with Matter(built(tiny, fake_tensorrt), backend="tensorrt-rtx") as matter:
        for frame in frames:
            with Stream():
                prepared = matter.prepare(DeviceArray(frame))
            with Stream():
                alphas.append(matter.infer(prepared))
    for frame, alpha in zip(frames, alphas, strict=True):
        there: Any = alpha
        np.testing.assert_allclose(there.get(), tiny.alpha(frame), atol=1e-6)


def test_stages_keep_a_frame_on_the_gpu(tiny: Any, fake_tensorrt: Any) -> None:
    frame = picture_of(8, (32, 64, 3))
    with Matter(built(tiny, fake_tensorrt), backend="tensorrt-rtx") as matter:
        there = matter.infer(matter.prepare(DeviceArray(frame)))
        here = matter.infer(matter.prepare(frame))
    assert isinstance(there, DeviceArray)
    assert isinstance(here, np.ndarray)
    np.testing.assert_array_equal(there.get(), here)  # type: ignore[attr-defined]


def test_a_stream_of_frames_on_the_gpu_is_filtered_there(tiny: Any, fake_tensorrt: Any) -> None:
    frames = [picture_of(9, (32, 64, 3)), picture_of(9, (32, 64, 3)) ^ 1]
    with Matter(built(tiny, fake_tensorrt), backend="tensorrt-rtx") as matter:
        there = [matte._came[1] for matte in matter.stream([*map(DeviceArray, frames)])]
        here = [matte.alpha for matte in matter.stream(frames)]
    assert all(isinstance(alpha, DeviceArray) for alpha in there)
    for alpha, expected in zip(there, here, strict=True):
        np.testing.assert_array_equal(alpha.get(), expected)
    assert not np.array_equal(here[1], tiny.alpha(frames[1]))  # the filter had something to do


def test_the_filter_looks_ahead_on_the_gpu(fake_cuda: Any) -> None:
    there: TemporalFilter[int] = TemporalFilter(2)
    here: TemporalFilter[int] = TemporalFilter(2)
    rng = np.random.default_rng(10)
    results: list[Any] = []
    expected: list[Any] = []
    for number in range(5):
        frame, alpha = picture_of(11), rng.random((35, 65), np.float32)
        results += there.push(number, DeviceArray(frame), DeviceArray(alpha))
        expected += here.push(number, frame, alpha)
    for (number, alpha), (other, same) in zip(
        results + there.flush(), expected + here.flush(), strict=True
    ):
        assert number == other
        np.testing.assert_allclose(alpha.get(), same, atol=1e-6)


def test_a_cpu_backend_refuses_a_frame_on_the_gpu(fake_cuda: Any, engine_path: Path) -> None:
    class OnGpu:
        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

    with Matter(engine_path, backend="onnxruntime") as matter, pytest.raises(FrameError):
        matter(OnGpu())


@pytest.fixture
def second(tiny: Any, fake_tensorrt: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An engine for the second of two GPUs, while the first is the current one."""
    monkeypatch.setattr("matter_sdk.sdk.backends.gpu.gpu_count", lambda: 2)
    return built(tiny, fake_tensorrt)


@pytest.mark.parametrize("options", [{}, {"clean": True}, {"temporal": False}])
@pytest.mark.parametrize("where", ["host", "device"])
@pytest.mark.parametrize("kind", ["bgr", "nv12"])
def test_all_is_on_the_gpu_that_was_asked_for(
    second: Path, kind: str, where: str, options: dict[str, Any]
) -> None:
    frames: list[Any] = [picture_of(seed) for seed in (1, 2, 3)]
    if kind == "nv12":
        frames = [YUV.from_bgr(frame, layout="nv12") for frame in frames]
    if where == "device":
        with Device(1):
            frames = [device(frame) for frame in frames]
    with Matter(second, backend="tensorrt-rtx", device="cuda:1", **options) as matter:
        assert matter.device == "cuda:1"
        mattes = [matter(frames[0]), *matter.stream(frames)]
        for matte in mattes:
            there = matte.gpu()
            expected = int(where == "device")  # a matte on the CPU goes to the current GPU
            assert there.alpha.device.id == expected
            for background in ("green", picture_of(4)):
                assert there.over(background).device.id == expected
                if kind == "nv12":
                    assert there.over_planes(background).planes[0].device.id == expected
        graph = matter.frame_graph(frames[0], picture_of(5), leave=True)
        for frame in frames:
            graph.submit(frame)
            result = graph.result()
            planes = result.planes if kind == "nv12" else (result,)
            assert {plane.device.id for plane in planes} == {1}
        graph.reset()
        graph.close()


def test_a_backend_is_closed_on_its_gpu(second: Path) -> None:
    ended = []

    class Engine:
        def __del__(self) -> None:
            ended.append(device_now())

    backend: Any = opened(second, device="cuda:1")
    backend._engine = Engine()
    backend.close()
    assert ended == [1]
