"""Frames to composites as one CUDA graph, with stand-ins: see tests/fakes/cuda.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from matter_sdk.kernels import YUV, collaborative_fusion
from matter_sdk.sdk import Matter
from matter_sdk.sdk.engine import file as engine
from matter_sdk.sdk.engine.file import EngineFile
from matter_sdk.sdk.errors import FrameError, NoMatteError
from matter_sdk.sdk.video import matte_video
from tests.fakes import cuda
from tests.fakes.cuda import DeviceArray
from tests.sdk.clips import read_image, write_clip
from tests.sdk.test_gpu_matte import device, picture_of
from tests.sdk.test_tensorrt import built

SIZE = (70, 130)


def frames_of(kind: str, count: int = 5) -> list[Any]:
    """A still picture with noise, then a cut."""
    rng = np.random.default_rng(3)
    images = [
        np.clip(picture_of(count == number + 1) + rng.integers(-1, 2, (*SIZE, 3)), 0, 255)
        for number in range(count)
    ]
    pictures = [image.astype(np.uint8) for image in images]
    return pictures if kind == "bgr" else [YUV.from_bgr(each, layout=kind) for each in pictures]


def opened(tiny: Any, fake: Any, **options: Any) -> Matter:
    return Matter(built(tiny, fake), backend="tensorrt-rtx", **options)


def through(graph: Any, frames: list[Any]) -> list[Any]:
    """All of them, two on their way at any time."""
    results = []
    for frame in frames:
        graph.submit(frame)
        if graph.waiting == graph.DEPTH:
            results.append(copied(graph.result()))
    while graph.waiting:
        results.append(copied(graph.result()))
    graph.close()
    return results


def copied(frame: Any) -> list[NDArray[np.uint8]]:
    planes = frame.planes if isinstance(frame, YUV) else (frame,)
    return [np.array(each.get() if isinstance(each, DeviceArray) else each) for each in planes]


def staged(matter: Matter, frames: list[Any], background: Any) -> list[Any]:
    """What the ordinary stages make of the same."""
    mattes = matter.stream(frames)
    over = "over_planes" if isinstance(frames[0], YUV) else "over"
    return [copied(getattr(matte, over)(background)) for matte in mattes]


def assert_equal(results: list[Any], expected: list[Any]) -> None:
    assert len(results) == len(expected)
    for one, other in zip(results, expected, strict=True):
        for plane, same in zip(one, other, strict=True):
            np.testing.assert_array_equal(plane, same)


@pytest.mark.parametrize("capturable", [True, False])
@pytest.mark.parametrize("background", ["green", "picture"])
@pytest.mark.parametrize("kind", ["bgr", "i420", "nv12"])
@pytest.mark.parametrize(
    "options",
    [{}, {"temporal": False}, {"quality": "live"}, {"clean": True}],
    ids=["balanced", "not filtered", "live", "clean"],
)
def test_the_graph_gives_what_the_stages_give(
    tiny: Any,
    fake_tensorrt: Any,
    options: dict[str, Any],
    kind: str,
    background: str,
    capturable: bool,
) -> None:
    behind: Any = picture_of(7) if background == "picture" else background
    frames = frames_of(kind)
    with opened(tiny, fake_tensorrt, **options) as matter:
        fake_tensorrt.capturable = capturable
        graph = matter.frame_graph(frames[0], behind)
        assert graph is not None
        expected = staged(matter, frames, behind)
        assert_equal(through(graph, frames), expected)
        graph.reset()
        assert_equal(through(graph, [*map(device, frames)]), expected)


def test_a_composite_that_is_still_read_is_not_overwritten(tiny: Any, fake_tensorrt: Any) -> None:
    """What the caller's stream is to do with one happens before a later frame takes its place."""
    frames = frames_of("bgr")
    with opened(tiny, fake_tensorrt, temporal=False) as matter, cuda.Stream() as theirs:
        graph = matter.frame_graph(frames[0], "green", leave=True)
        expected = staged(matter, frames, "green")
        kept = []
        for frame in frames:
            graph.submit(frame)
            kept.append([graph.result().copy()])  # later, on their stream
        graph.close()
        theirs.synchronize()
        assert_equal([copied(each) for (each,) in kept], expected)


def test_a_frame_of_the_networks_size(tiny: Any, fake_tensorrt: Any) -> None:
    """Then there is nothing to enlarge, and the stages take another way."""
    frames = [picture_of(1, (32, 64, 3)), picture_of(2, (32, 64, 3))]
    for clean in (False, True):
        with opened(tiny, fake_tensorrt, clean=clean) as matter:
            graph = matter.frame_graph(frames[0], "red")
            assert_equal(through(graph, frames), staged(matter, frames, "red"))


def test_a_glance_of_logits_is_enlarged(tiny: Any, fake_tensorrt: Any) -> None:
    """Its classes are told at the network's size: the stages, on the CPU, are right about that."""
    frames = [picture_of(number, (32, 64, 3)) for number in (1, 2)]
    path = built(tiny, fake_tensorrt)
    with EngineFile.open(path) as file:
        manifest, plan = file.manifest, bytes(file.read("plans/tensorrt-rtx-1.7.1.116.plan"))
        graph_file = bytes(file.read("model.onnx"))
    glance, focus = manifest.heads
    engine.write(
        path,
        replace(manifest, heads=(replace(glance, stride=4), focus)),
        {"model.onnx": graph_file, "plans/tensorrt-rtx-1.7.1.116.plan": plan},
    )
    fake_tensorrt.shapes |= {"glance": (1, 3, 8, 16)}
    whole = fake_tensorrt.network

    def quartered(image: Any) -> dict[str, Any]:
        heads = whole(image)
        return heads | {"glance": heads["glance"][:, :, ::4, ::4]}

    fake_tensorrt.network = staticmethod(quartered)
    with Matter(path, backend="tensorrt-rtx", temporal=False) as matter:
        graph = matter.frame_graph(frames[0], "red")
        assert graph is not None
        results = through(graph, frames)
        assert_equal(results, staged(matter, frames, "red"))
        heads = quartered(matter.prepare(frames[0]))
        alpha = collaborative_fusion(
            *(heads[name].astype(np.float32) for name in ("glance", "focus")),
            "tt",
            glance_size=(32, 64),
        )
        assert np.abs(matter.infer(matter.prepare(frames[0])) - alpha[0, 0]).max() < 1e-5


def test_composites_may_stay_on_the_gpu(
    tiny: Any, fake_tensorrt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = frames_of("bgr")
    with opened(tiny, fake_tensorrt) as matter:
        expected = staged(matter, frames, "red")
        graph = matter.frame_graph(frames[0], "red", leave=True)
        assert graph is not None
        graph.submit(frames[0])
        result = graph.result()
        assert isinstance(result, DeviceArray)
        np.testing.assert_array_equal(result.get(), expected[0][0])


def test_one_launch_for_each_frame(
    tiny: Any, fake_tensorrt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    launches = []
    launch = cuda.Graph.launch
    monkeypatch.setattr(
        cuda.Graph, "launch", lambda graph, stream=None: (launches.append(1), launch(graph, stream))
    )
    frames = frames_of("nv12", 4)
    with opened(tiny, fake_tensorrt) as matter:
        graph = matter.frame_graph(frames[0], "red")
        launches.clear()
        through(graph, frames)
    assert len(launches) == len(frames)


def test_a_frame_is_uploaded_while_the_last_is_worked_on(tiny: Any, fake_tensorrt: Any) -> None:
    """Nobody waits for the first frame when the second is submitted and its upload done."""
    frames = frames_of("bgr", 2)
    with opened(tiny, fake_tensorrt) as matter:
        graph = matter.frame_graph(frames[0], "red")
        assert graph is not None
        context = fake_tensorrt.made[0].contexts[-1]
        runs = context.runs
        graph.submit(frames[0])
        graph.submit(frames[1])
        graph._up.synchronize()
        assert context.runs == runs
        with pytest.raises(ValueError, match=r"2 frames .*result\(\)"):
            graph.submit(frames[0])
        graph.result()
        assert context.runs == runs + 1


def test_nan_is_never_shown(tiny: Any, fake_tensorrt: Any) -> None:
    frames = frames_of("bgr", 2)
    with opened(tiny, fake_tensorrt) as matter:
        graph = matter.frame_graph(frames[0], "red")
        assert graph is not None
        good = fake_tensorrt.network
        fake_tensorrt.network = staticmethod(
            lambda image: good(image) | {"focus": np.nan * good(image)["focus"]}
        )
        graph.submit(frames[0])
        with pytest.raises(NoMatteError, match=r"'focus'.*NaN"):
            graph.result()


@pytest.mark.parametrize("temporal", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("head", ["focus", "glance"])
def test_a_video_goes_on_after_a_frame_without_a_matte(
    tiny: Any, fake_tensorrt: Any, tmp_path: Path, head: str, value: float, temporal: bool
) -> None:
    """That frame, and one already on its way, are the background alone; nothing of it lingers."""
    frames = [picture_of(1, (72, 128, 3))] * 8  # nothing moves: the filter would keep all of it
    source = write_clip(tmp_path / "in.mp4", frames)
    runs = 0
    with opened(tiny, fake_tensorrt, temporal=temporal) as matter:
        good = fake_tensorrt.network

        def network(image: np.ndarray) -> dict[str, np.ndarray]:
            nonlocal runs
            runs += 1
            heads = good(image) | {"focus": np.zeros_like(good(image)["focus"])}
            heads["glance"] = np.zeros_like(heads["glance"])
            heads["glance"][:, 0] = 1  # background all over
            if runs == 3:
                heads[head] = heads[head].copy()
                heads[head][0, -1, 5, 7] = value
            return heads

        matter.frame_graph(frames[0], "red")  # what it warms up with is not counted
        fake_tensorrt.network = staticmethod(network)
        make = Matter.frame_graph

        def counted(*arguments: Any) -> Any:
            nonlocal runs
            graph = make(*arguments)
            runs = 0
            return graph

        Matter.frame_graph = counted  # type: ignore[method-assign]
        try:
            report = matte_video(matter, source, tmp_path / "out%02d.png", background="red")
        finally:
            Matter.frame_graph = make  # type: ignore[method-assign]
    assert report.frames == 8
    withheld = 2 if temporal else 1
    assert sum(int(note.split()[0]) for note in report.notes) == withheld, report.notes
    for path in sorted(tmp_path.glob("out*.png")):
        assert (read_image(path) == (0, 0, 255)).all()


def test_frames_of_another_kind_are_refused(tiny: Any, fake_tensorrt: Any) -> None:
    with opened(tiny, fake_tensorrt) as matter:
        graph = matter.frame_graph(frames_of("nv12")[0], "red")
        assert graph is not None
        assert graph.takes(frames_of("nv12")[1])
        for other in (frames_of("i420")[0], frames_of("bgr")[0]):
            assert not graph.takes(other)
            with pytest.raises(FrameError, match="graph"):
                graph.submit(other)


def test_where_there_can_be_no_graph(tiny: Any, fake_tensorrt: Any, engine_path: Path) -> None:
    frame = picture_of(1)
    with opened(tiny, fake_tensorrt) as matter:
        assert matter.frame_graph(frame, "blur") is None
        assert matter.frame_graph(frame[..., 0], "red") is None
    with opened(tiny, fake_tensorrt, quality="studio") as matter:
        assert matter.frame_graph(frame, "red") is None
    with Matter(built(tiny, fake_tensorrt, batch=2), backend="tensorrt-rtx") as matter:
        assert matter.frame_graph(frame, "red") is None
    with Matter(engine_path, backend="onnxruntime") as matter:
        assert matter.frame_graph(frame, "red") is None


@pytest.mark.parametrize("background", ["green", "blur"])
def test_a_video_by_way_of_the_graph(
    tiny: Any, fake_tensorrt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, background: str
) -> None:
    source = tmp_path / "in.mp4"
    write_clip(source, [picture_of(number // 4, (72, 128, 3)) for number in range(9)])
    graphs = []
    make = Matter.frame_graph

    def noted(matter: Matter, *arguments: Any) -> Any:
        graphs.append(make(matter, *arguments))
        return graphs[-1]

    with opened(tiny, fake_tensorrt) as matter:
        monkeypatch.setattr(Matter, "frame_graph", noted)
        report = matte_video(matter, source, tmp_path / "graph.mp4", background=background)
        monkeypatch.setattr(Matter, "frame_graph", lambda *_: None)
        other = matte_video(matter, source, tmp_path / "stages.mp4", background=background)
    assert (len(graphs), graphs[0] is None) == (1, background == "blur")
    assert report.frames == other.frames == 9
    assert (tmp_path / "graph.mp4").read_bytes() == (tmp_path / "stages.mp4").read_bytes()
