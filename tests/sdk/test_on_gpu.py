"""What only a GPU can tell. None of these tests has run yet; a person with a GPU starts here:

    pip install 'matter-sdk[export,nvidia,tensorrt-rtx]'   # and tensorrt for the full one
    pytest -m gpu tests/kernels tests/sdk

The kernels' own are in tests/kernels/test_contract.py.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from matter_sdk.kernels import YUV
from matter_sdk.sdk import Matter
from matter_sdk.sdk.backends import runtime_cache
from matter_sdk.sdk.engine.file import EngineFile
from matter_sdk.sdk.media import hardware_encoder
from matter_sdk.sdk.video import VideoReader, VideoWriter, matte_video
from tests.sdk.checks import lanes_keep_apart, skip_where_refused
from tests.sdk.clips import write_clip

pytestmark = pytest.mark.gpu

SIZE = (96, 160)
# Mean absolute difference of alpha from ONNX Runtime's in float32. What export.stages.verify allows
# depends on the pictures; these are far above it and far below what a wrong layer gives.
BOUNDS = {"fp32": 1e-3, "tf32": 5e-3, "fp16": 5e-3}


@pytest.fixture(scope="module", params=["tensorrt-rtx", "tensorrt"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine with a plan; skips where none can be built, or run."""
    from matter_sdk.export.stages import plans

    reason = plans.missing(request.param)
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp(request.param)
    path = build_engine(folder, request.param, precision="fp16")
    skip_where_refused(path, request.param)
    return path


@pytest.fixture(scope="module")
def runtime(engine: Path) -> str:
    """The backend that runs the engine's plan."""
    with EngineFile.open(engine) as file:
        return file.manifest.plans[0].runtime


def build_engine(folder: Path, runtime: str, model: str = "gfm", **options: Any) -> Path:
    from matter_sdk.export.build import BuildOptions, build

    name = "-".join([model, runtime, *map(str, options.values())])
    return build(
        BuildOptions(
            model,
            sizes=(SIZE,),
            targets=("onnx", runtime),
            output=folder / f"{name}.engine",
            random_weights=model != "gfm",  # of gfm there is a demo checkpoint
            **options,
        )
    )


def frames_of(count: int) -> list[NDArray[np.uint8]]:
    """A procedural scene that moves, four times as large as the network's size."""
    from matter_sdk.training.scenes import scene

    image, _ = scene(5, SIZE)
    large = cv2.resize(image[..., ::-1], (SIZE[1] * 4, SIZE[0] * 4))
    return [np.roll(large, 3 * number, axis=1) for number in range(count)]


@pytest.mark.parametrize("precision", list(BOUNDS))
def test_a_plan_gives_what_onnx_runtime_gives(runtime: str, precision: str, tmp_path: Path) -> None:
    path = build_engine(tmp_path, runtime, precision=precision)
    with Matter(path, backend=runtime) as there, Matter(path, backend="onnxruntime") as here:
        assert there.device == "cuda:0"
        assert "CUDA graphs" in there.runtime
        for frame in frames_of(3):
            difference = np.abs(there(frame).alpha - here(frame).alpha)
            assert difference.mean() < BOUNDS[precision]
        judged = [v for v in there.manifest.verification if v.artefact == runtime]
        assert [entry.status for entry in judged] == ["passed"]


def test_lanes_at_once_keep_apart(runtime: str, engine: Path) -> None:
    frames = frames_of(8)
    with Matter(engine, backend=runtime) as matter:
        assert matter.lanes == 2
        alone = [matter(frame).alpha for frame in frames]
        lanes_keep_apart(matter, frames, alone, calls=50, compare=np.testing.assert_array_equal)
        streamed = [matte.alpha for matte in matter.stream(frames * 10)]
        assert len(streamed) == 80


def test_a_frame_on_the_gpu_stays_there(runtime: str, engine: Path) -> None:
    import cupy

    (frame,) = frames_of(1)
    with Matter(engine, backend=runtime) as matter:
        here = matter(frame)
        given: list[Any] = [cupy.asarray(frame)]
        try:
            import torch

            if torch.cuda.is_available():
                given.append(torch.from_numpy(frame).cuda())
        except ImportError:
            pass
        for array in given:
            matte = matter(array)
            there = matte.gpu()
            assert isinstance(there.alpha, cupy.ndarray)
            for background in ("green", cupy.asarray(frame[::-1].copy())):
                assert isinstance(there.over(background), cupy.ndarray)
            np.testing.assert_allclose(there.alpha.get(), here.alpha, atol=1e-5)
            np.testing.assert_array_equal(there.over("red").get(), matte.over("red"))
        planes = YUV.from_bgr(frame, layout="nv12")
        on_gpu = YUV(tuple(map(cupy.asarray, planes.planes)), planes.matrix, planes.full_range)
        result = matter(on_gpu).gpu().over_planes("green")
        expected = matter(planes).over_planes("green")
        for plane, other in zip(result.planes, expected.planes, strict=True):
            np.testing.assert_allclose(plane.get().astype(int), other, atol=1)


@pytest.mark.parametrize("leave", [False, True])
@pytest.mark.parametrize("layout", ["bgr", "i420", "nv12"])
@pytest.mark.parametrize("options", [{}, {"clean": True}, {"quality": "live"}], ids=str)
def test_the_graph_gives_what_the_stages_give(
    runtime: str, engine: Path, options: dict[str, Any], layout: str, leave: bool
) -> None:
    import cupy

    frames: list[Any] = frames_of(12)
    over = "over"
    if layout != "bgr":
        frames, over = [YUV.from_bgr(frame, layout=layout) for frame in frames], "over_planes"
    with Matter(engine, backend=runtime, **options) as matter:
        expected = [getattr(matte, over)("green") for matte in matter.stream(frames)]
        graph = matter.frame_graph(frames[0], "green", leave=leave)
        assert graph is not None
        results = []
        for frame in [*frames, None]:
            if frame is not None:
                graph.submit(frame)
            if graph.waiting == graph.DEPTH or frame is None:
                result = graph.result()
                planes = result.planes if isinstance(result, YUV) else (result,)
                results.append([cupy.asnumpy(plane).copy() for plane in planes])
        graph.close()
    assert len(results) == len(frames)
    for planes, other in zip(results, expected, strict=True):
        for plane, same in zip(
            planes, other.planes if isinstance(other, YUV) else (other,), strict=True
        ):
            # The same kernels; the network's context is another, and may round another way.
            assert np.abs(plane.astype(int) - same).max() <= 2


def test_a_file_by_way_of_the_graph(runtime: str, engine: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mp4", frames_of(30))
    with Matter(engine, backend=runtime) as matter:
        report = matte_video(matter, tmp_path / "in.mp4", tmp_path / "out.mp4")
    assert report.frames == 30
    assert report.stages["composite"] == 0  # it is part of the graph


def test_nvdec_gives_what_the_cpu_decodes(tmp_path: Path) -> None:
    """H.264 leaves a decoder no choice."""
    import cupy

    path = write_clip(tmp_path / "in.mp4", frames_of(30))
    with VideoReader(path, planes=True, gpu=0) as there, VideoReader(path, planes=True) as here:
        assert there.on_gpu
        pairs = list(zip(there.timed(), here.timed(), strict=True))
    assert len(pairs) == 30
    for one, other in pairs:
        assert (one.pts, one.duration) == (other.pts, other.duration)
        y, uv = one.image.planes
        assert isinstance(y, cupy.ndarray)
        expected = other.image.planes
        np.testing.assert_array_equal(y.get(), expected[0])
        np.testing.assert_array_equal(uv.get(), np.stack(expected[1:], -1))


@pytest.mark.parametrize("background", ["green", "blur"])
def test_a_file_decoded_by_nvdec(
    runtime: str, engine: Path, tmp_path: Path, background: str
) -> None:
    source = write_clip(tmp_path / "in.mp4", frames_of(30))
    with Matter(engine, backend=runtime) as matter:
        for name, hardware in (("nvdec", True), ("cpu", False)):
            output = tmp_path / f"{name}.mp4"
            matte_video(matter, source, output, background=background, hardware=hardware)
    with VideoReader(tmp_path / "nvdec.mp4") as there, VideoReader(tmp_path / "cpu.mp4") as here:
        for one, other in zip(there, here, strict=True):
            assert np.abs(one.astype(int) - other).mean() < 3  # by another encoder, too


def test_nvenc_writes_the_picture_with_all_its_times(tmp_path: Path) -> None:
    frames = frames_of(30)
    size = frames[0].shape[:2]
    (encoder,) = hardware_encoder.encoders(20, 0)
    why = hardware_encoder.refused(encoder, size)
    if why:
        pytest.skip(f"this GPU does not encode: {why}")
    for gpu in (None, 0):
        with VideoWriter(tmp_path / f"{gpu}.mp4", size, gpu=gpu) as writer:
            for number, frame in enumerate(frames):
                writer.write(frame, pts=number + number // 10)
    with VideoReader(tmp_path / "0.mp4") as there, VideoReader(tmp_path / "None.mp4") as here:
        for frame, one, other in zip(frames, there.timed(), here.timed(), strict=True):
            assert one.time == other.time
            assert np.abs(one.image.astype(int) - frame).mean() < 4


def test_kernels_are_kept_and_taken(
    runtime: str, engine: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if runtime != "tensorrt-rtx":
        pytest.skip("the full TensorRT compiles nothing at load")
    place, _ = runtime_cache.places(engine)
    place.unlink(missing_ok=True)
    (frame,) = frames_of(1)
    with Matter(engine, backend=runtime) as matter:
        first = matter(frame).alpha
    assert runtime_cache.read(engine)
    with caplog.at_level(logging.INFO, "matter"), Matter(engine, backend=runtime) as matter:
        np.testing.assert_array_equal(matter(frame).alpha, first)
    assert "do not fit" not in caplog.text
    place.write_bytes(place.read_bytes()[:-1])
    with Matter(engine, backend=runtime) as matter:
        np.testing.assert_array_equal(matter(frame).alpha, first)
    assert runtime_cache.read(engine)


def test_the_unpool_plugin_gives_what_the_graph_gives(runtime: str, tmp_path: Path) -> None:
    if runtime != "tensorrt":
        pytest.skip("TensorRT for RTX has no plugins")
    plugin = build_engine(tmp_path, runtime, "aim", precision="fp16", unpool="plugin")
    plain = build_engine(tmp_path, runtime, "aim", precision="fp16", unpool="graph")
    with Matter(plugin, backend=runtime) as there, Matter(plain, backend=runtime) as here:
        assert "CUDA graphs" in there.runtime
        for frame in frames_of(3):
            assert np.abs(there(frame).alpha - here(frame).alpha).mean() < BOUNDS["fp16"]
