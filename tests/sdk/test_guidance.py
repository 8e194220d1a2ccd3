"""Networks that a trimap guides: right alphas on every way, one clear error for each mistake."""

from __future__ import annotations

import logging
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from matter_sdk.kernels import resize_trimap
from matter_sdk.sdk import BackendError, ClosedError, EngineError, FrameError, Matter
from matter_sdk.sdk.engine import file as engine_file
from matter_sdk.sdk.engine.manifest import ExtraInput, Manifest, Verification
from matter_sdk.sdk.inference import network
from tests.sdk import tiny_sim
from tests.sdk.checks import OPTIONS, closes_while_others_call, every_stream_is_refused
from tests.sdk.conftest import Tiny

Frame = NDArray[np.uint8]
SIZE = (64, 96)
RED, GREEN, BLUE = (0, 0, 255), (0, 255, 0), (255, 0, 0)


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sim.build(tmp_path_factory.mktemp("sim") / "sim.engine")


@pytest.fixture(scope="module")
def gfm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Tiny(tmp_path_factory.mktemp("gfm")).build("gfm.engine")


def random_frame(seed: int = 0, size: tuple[int, int] = SIZE) -> Frame:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def a_trimap(size: tuple[int, int] = SIZE, seed: int = 0) -> Frame:
    """Rectangles of all three values, in places that differ with the seed."""
    rng = np.random.default_rng(seed)
    trimap = np.full(size, 128, np.uint8)
    y, x = (int(rng.integers(1, side // 3)) for side in size)
    trimap[:y] = 0
    trimap[-y:, x:-x] = 255
    return trimap


def coloured(seed: int = 0) -> Frame:
    """A frame whose trimap by the tiny GFM is known: red background, green, blue foreground.

    Edges lie between two pixels of the 32×64 that GFM sees, and so the classes are exact.
    """
    x = 8 * (1 + seed % 3)
    frame = np.full((64, 128, 3), RED, np.uint8)
    frame[16:, x:] = GREEN
    frame[32:, 2 * x :] = BLUE
    return frame


def classes(frame: Frame) -> Frame:
    """The trimap of ``coloured`` at the size of the tiny GFM."""
    return np.choose(np.argmax(frame[::2, ::2, ::-1], axis=2), [0, 128, 255]).astype(np.uint8)


def same(one: Any, other: Any) -> None:
    """Equal but for the rounding of float32."""
    np.testing.assert_allclose(one, other, atol=1e-6)


# ------------------------------------------------------------------------------------------ results


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_closed_form(sim: Path, backend: str) -> None:
    pytest.importorskip(backend)
    frame, trimap = random_frame(), a_trimap()
    expected = tiny_sim.alpha(frame, trimap)
    assert 0.05 < expected[trimap == 128].min() < expected[trimap == 128].max() < 0.95
    with Matter(sim, backend=backend, threads=1) as matter:
        matte = matter(frame, trimap=trimap)
    assert matte.frame is frame
    assert matte.alpha.dtype == np.float32
    same(matte.alpha, expected)


def test_a_frame_of_another_size(sim: Path) -> None:
    """Guided at the network's size by what is certain there, and bound at the frame's own."""
    frame, trimap = random_frame(size=(150, 200)), a_trimap((150, 200))
    trimap[20, 10] = trimap[100, 50] = 0  # single pixels, which the network's size does not have
    small = resize_trimap(trimap, SIZE)
    expected = cv2.resize(tiny_sim.alpha(frame, small).astype(np.float32), (200, 150))
    with Matter(sim, **OPTIONS) as matter:
        alpha = matter(frame, trimap=trimap).alpha
    assert (alpha[trimap == 0] == 0).all()
    assert (alpha[trimap == 255] == 1).all()
    unknown = trimap == 128
    np.testing.assert_allclose(alpha[unknown], expected[unknown], atol=1e-5)


def test_the_stages_are_the_call(sim: Path) -> None:
    frame, trimap = random_frame(size=(150, 200)), a_trimap((150, 200))
    with Matter(sim, **OPTIONS) as matter:
        alpha = matter.infer(matter.prepare(frame, trimap=trimap))
        assert alpha.shape == SIZE
        matte = matter.finish(frame, alpha, trimap=trimap)
        same(matte.alpha, matter(frame, trimap=trimap).alpha)
        assert (alpha[resize_trimap(trimap, SIZE) == 255] == 1).all()


@pytest.mark.parametrize(("batch", "part_batch"), [(1, 1), (2, 1), (4, 3)])
def test_batches_equal_one_by_one(tmp_path: Path, batch: int, part_batch: int) -> None:
    frames = [random_frame(seed) for seed in range(5)]
    trimaps = [a_trimap(seed=seed) for seed in range(5)]
    about = tiny_sim.manifest(batch=batch, part_batch=part_batch)
    with Matter(tiny_sim.build(tmp_path / "sim.engine", about), **OPTIONS) as matter:
        listed = matter(frames, trimap=trimaps)
        stacked = matter(np.stack(frames), trimap=np.stack(trimaps))
        single = matter(frames[3], trimap=trimaps[3])
    for one, two, frame, trimap in zip(listed, stacked, frames, trimaps, strict=True):
        same(one.alpha, tiny_sim.alpha(frame, trimap))
        same(one.alpha, two.alpha)
    same(single.alpha, listed[3].alpha)


def test_windows_of_several_sizes_load_the_classifier_as_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (32, 352)  # windows of 32×320, twice, and of 32×352
    path = tiny_sim.build(tmp_path / "sim.engine", tiny_sim.manifest((size,)))
    loaded = []
    load = network.open_backend

    def counting(file: Any, model: Any, **options: Any) -> Any:
        loaded.append(model.onnx)
        return load(file, model, **options)

    monkeypatch.setattr(network, "open_backend", counting)
    frame, trimap = random_frame(size=size), np.full(size, 255, np.uint8)
    with Matter(path, **OPTIONS) as matter:
        assert loaded == ["model-32x352.onnx"]
        assert (matter(frame, trimap=trimap).alpha == 1).all()  # nothing unknown, nothing looked at
        assert loaded == ["model-32x352.onnx"]
        trimap[:, 100:250] = 128
        for _ in range(2):
            alpha = matter(frame, trimap=trimap).alpha
            same(alpha, tiny_sim.alpha(frame, trimap))
    assert sorted(loaded[1:]) == ["classifier/32x320.onnx", "classifier/32x352.onnx"]


def test_a_trimap_through_dlpack(sim: Path) -> None:
    frame, trimap = random_frame(), a_trimap()

    class Foreign:
        def __dlpack__(self, **options: Any) -> Any:
            return trimap.__dlpack__(**options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

    with Matter(sim, **OPTIONS) as matter:
        expected = matter(frame, trimap=trimap).alpha
        same(matter(frame, trimap=Foreign()).alpha, expected)


# -------------------------------------------------------------------------------------- trimap_from


@pytest.mark.parametrize("fusion", ["tt", "unified"])
def test_the_trimap_comes_from_another_engines_glance(
    sim: Path, tmp_path: Path, fusion: str
) -> None:
    source = Tiny(tmp_path).build(change=lambda m: replace(m, fusion=fusion))
    frame = coloured()
    assert set(classes(frame).ravel()) == {0, 128, 255}
    trimap = resize_trimap(classes(frame), SIZE)
    expected = cv2.resize(tiny_sim.alpha(frame, trimap).astype(np.float32), (128, 64))
    with Matter(sim, trimap_from=source, **OPTIONS) as matter:
        np.testing.assert_allclose(matter(frame).alpha, expected, atol=1e-5)
        assert (matter.infer(matter.prepare(frame))[trimap == 255] == 1).all()


def test_a_tie_is_the_lowest_class(sim: Path, gfm: Path) -> None:
    with Matter(sim, trimap_from=gfm, **OPTIONS) as matter:
        grey = np.full((64, 128, 3), 90, np.uint8)  # all classes are equally likely
        assert (matter(grey).alpha == 0).all()
        grey[..., 0] = 0  # red and green, background and transition
        assert (matter(grey).alpha == 0).all()
        grey[..., 2] = 0  # green alone
        assert (matter(grey).alpha > 0).all()


def test_a_trimap_that_is_given_goes_first(sim: Path, gfm: Path) -> None:
    frame, trimap = random_frame(), a_trimap()
    with Matter(sim, trimap_from=gfm, **OPTIONS) as matter:
        given = matter(frame, trimap=trimap).alpha
        same(given, tiny_sim.alpha(frame, trimap))
        assert not np.allclose(given, matter(frame).alpha, atol=1e-3)
        # The source has no work with such a frame.
        assert matter.prepare(frame, trimap=trimap).source is None
        assert matter.prepare(frame).source is not None


@pytest.mark.parametrize(("batch", "source_batch"), [(1, 2), (3, 1), (2, 4)])
def test_batches_with_a_source(tmp_path: Path, batch: int, source_batch: int) -> None:
    source = Tiny(tmp_path).build(batch=source_batch)
    path = tiny_sim.build(tmp_path / "sim.engine", tiny_sim.manifest(batch=batch))
    frames = [coloured(seed) for seed in range(5)]
    with Matter(path, trimap_from=source, **OPTIONS) as matter:
        for one, frame in zip(matter(frames), frames, strict=True):
            same(one.alpha, matter(frame).alpha)


def test_an_open_matter_is_a_source_and_stays_open(sim: Path, gfm: Path) -> None:
    frame = coloured()
    with Matter(gfm, **OPTIONS) as source:
        with Matter(sim, trimap_from=gfm, **OPTIONS) as matter:
            expected = matter(frame).alpha
        with Matter(sim, trimap_from=source, **OPTIONS) as matter:
            same(matter(frame).alpha, expected)
        assert source(frame).alpha.shape == (64, 128)
        with Matter(sim, trimap_from=source, **OPTIONS) as matter:
            source.close()
            with pytest.raises(ClosedError, match=r"gfm\.engine"):
                matter(frame)
    with pytest.raises(ClosedError, match=r"gfm\.engine"):
        Matter(sim, trimap_from=source, **OPTIONS)


def test_close_releases_every_network(
    sim: Path, gfm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    monkeypatch.setattr(
        "matter_sdk.sdk.backends.onnxruntime.OnnxRuntime.close",
        lambda it: closed.append(it._inputs),
    )
    with Matter(sim, trimap_from=gfm, **OPTIONS) as matter:
        frame = coloured()
        matter(frame)
        assert closed == []
    assert sorted(map(len, closed)) == [1, 2, 4]  # inputs of gfm, the classifier, sim


def test_a_source_that_was_opened_from_a_path_is_closed(
    sim: Path, gfm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    monkeypatch.setattr(
        "matter_sdk.sdk.engine.file.EngineFile.close", lambda file: closed.append(file.path.name)
    )
    matter = Matter(sim, trimap_from=gfm, **OPTIONS)
    assert closed == []
    matter.close()
    matter.close()
    assert sorted(closed) == ["gfm.engine", "sim.engine"]
    with pytest.raises(BackendError):
        Matter(sim, trimap_from=gfm, backend="no")
    assert sorted(closed) == ["gfm.engine", "gfm.engine", "sim.engine", "sim.engine"]


def test_a_source_with_a_hybrid_test_gives_its_coarse_glance(sim: Path, tmp_path: Path) -> None:
    path = Tiny(tmp_path).build(sizes=((64, 128), (32, 64)))
    frame = coloured()
    with (
        Matter(path, hybrid=(1 / 2, 1), **OPTIONS) as source,
        Matter(sim, trimap_from=source, **OPTIONS) as matter,
    ):
        alpha = matter.infer(matter.prepare(frame))
    expected = tiny_sim.alpha(frame, resize_trimap(classes(frame), SIZE))
    same(alpha, expected)


@pytest.mark.parametrize(
    ("fusion", "reason"),
    [
        ("ft", "its glance has two classes and none for what is unsure"),
        ("bt", "its glance has two classes and none for what is unsure"),
        ("alpha", "it has no glance head"),
    ],
)
def test_sources_that_tell_no_three_classes(
    sim: Path, tmp_path: Path, fusion: str, reason: str
) -> None:
    source = Tiny(tmp_path).build(fusion=fusion)
    with pytest.raises(EngineError, match=f"tiny.engine.*{reason}"):
        Matter(sim, trimap_from=source, **OPTIONS)


# ------------------------------------------------------------------------------------------ streams


def test_stream(sim: Path, gfm: Path) -> None:
    frames = [coloured(seed) for seed in range(6)]
    with Matter(sim, trimap_from=gfm, **OPTIONS) as matter:
        for matte, frame in zip(matter.stream(frames), frames, strict=True):
            assert matte.frame is frame
            same(matte.alpha, matter(frame).alpha)


def test_a_stream_without_trimaps_is_refused_at_once(sim: Path, tmp_path: Path) -> None:
    message = "sim .*trimap_from='gfm.engine'"
    with Matter(sim, **OPTIONS) as matter:
        every_stream_is_refused(matter, message, tmp_path)


# ------------------------------------------------------------------------------------------ threads


def test_threads_give_what_one_thread_gives(sim: Path, gfm: Path) -> None:
    frames = [coloured(seed) for seed in range(18)]
    with (
        Matter(gfm, **OPTIONS) as source,
        Matter(sim, trimap_from=source, **OPTIONS) as matter,
        ThreadPoolExecutor(6) as pool,
    ):
        plain = [source(frame).alpha for frame in frames[:3]]
        guided = [matter(frame).alpha for frame in frames[:3]]
        # The source works for itself at the same time.
        jobs = [(pool.submit(matter, f), pool.submit(source, f)) for f in frames]
        for at, (one, other) in enumerate(jobs):
            same(one.result().alpha, guided[at % 3])
            same(other.result().alpha, plain[at % 3])


def test_close_while_others_call(sim: Path, gfm: Path) -> None:
    matter = Matter(sim, trimap_from=gfm, **OPTIONS)
    frame = coloured()
    closes_while_others_call(matter, frame, matter(frame).alpha, calls=100)
    for use in (lambda: matter(frame), lambda: matter.prepare(frame)):
        with pytest.raises(ClosedError, match="is closed"):
            use()


# ------------------------------------------------------------------------------------- bad trimaps


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            None,
            r"sim .*matter\(frame, trimap=trimap\)",
        ),
        ("a.png", r"str; .*read_trimap\(path\)"),
        (7, r"int; .*128"),
        (np.zeros(SIZE, np.int64), r"is int64, shape \(64, 96\); .*round\(\).clip\(0, 255\)"),
        (np.ones(SIZE, np.float32), r"is float32.*np.select\(\[trimap == 0, trimap == 1\]"),
        (np.full(SIZE, 128.0), r"is float64.*for values in 0..255"),
        (np.full(SIZE, np.nan), r"is float64"),
        (np.zeros(SIZE, bool), r"bool.*128"),
        (np.zeros((*SIZE, 3), np.uint8), r"shape \(64, 96, 3\); .*trimap\[:, :, 0\]"),
        (np.zeros((1, *SIZE), np.uint8), r"shape \(1, 64, 96\); .*trimap\[0\]"),
        (np.zeros(96, np.uint8), r"shape \(96,\); expected uint8 H×W"),
        (np.zeros((96, 64), np.uint8), r"is 96×64 and its frame 64×96 .*INTER_NEAREST"),
        (np.zeros((0, 96), np.uint8), r"is 0×96 and its frame 64×96"),
        (np.full(SIZE, 127, np.uint8), r"holds the values 127; expected 0 background, 128 unknown"),
        (
            np.arange(64 * 96, dtype=np.uint8).reshape(SIZE),
            r"holds the values 1, 2, 3, 4, …; expected .*np.select\(\[trimap < 64, trimap > 191\]",
        ),
    ],
)
def test_bad_trimap(sim: Path, bad: Any, message: str) -> None:
    with Matter(sim, **OPTIONS) as matter:
        with pytest.raises(FrameError, match=message):
            matter(random_frame(), trimap=bad)
        with pytest.raises(FrameError, match=message):
            matter.prepare(random_frame(), trimap=bad)


def test_what_the_messages_advise_is_accepted(sim: Path) -> None:
    blurred = cv2.GaussianBlur(a_trimap(), (5, 5), 0)
    floats = np.full(SIZE, 0.5)
    floats[0], floats[-1] = 0, 1
    with Matter(sim, **OPTIONS) as matter:
        for trimap in (
            np.select([blurred < 64, blurred > 191], [0, 255], 128).astype(np.uint8),
            np.select([floats == 0, floats == 1], [0, 255], 128).astype(np.uint8),
            cv2.resize(a_trimap((20, 30)), (96, 64), interpolation=cv2.INTER_NEAREST),
        ):
            assert matter(random_frame(), trimap=trimap).alpha.shape == SIZE


def test_objects_that_are_no_trimap(sim: Path) -> None:
    class Picture:
        mode = "L"

        def convert(self, mode: str) -> Any: ...

    class OnGpu:
        def __dlpack_device__(self) -> tuple[int, int]:
            return (2, 0)

    with Matter(sim, **OPTIONS) as matter:
        with pytest.raises(FrameError, match=r"Picture; .*np.asarray\(image.convert\('L'\)\)"):
            matter(random_frame(), trimap=Picture())
        with pytest.raises(FrameError, match=r"GPU.*cupy.asnumpy\(trimap\)"):
            matter(random_frame(), trimap=OnGpu())


@pytest.mark.parametrize(
    ("trimaps", "message"),
    [
        (None, "no trimap was given and sim needs one with each frame"),
        (a_trimap(), r"for a batch of 2 frames is a ndarray of shape \(64, 96\); .*list of 2 trim"),
        ("a.png", "for a batch of 2 frames is a str; expected a list of 2 trimaps"),
        ([a_trimap()], "1 trimaps were given for a batch of 2 frames; expected one for each"),
        ([a_trimap(), None], "trimap 1 of the batch is None"),
        ([a_trimap(), a_trimap((64, 64))], "trimap 1 of the batch is 64×64 and its frame 64×96"),
    ],
)
def test_bad_trimaps_of_a_batch(sim: Path, trimaps: Any, message: str) -> None:
    with Matter(sim, **OPTIONS) as matter, pytest.raises(FrameError, match=message):
        matter([random_frame(), random_frame(1)], trimap=trimaps)


def test_a_network_that_takes_no_trimap(gfm: Path) -> None:
    frame, trimap = coloured(), classes(coloured())
    with Matter(gfm, **OPTIONS) as matter:
        for use in (
            lambda: matter(frame, trimap=trimap),
            lambda: matter([frame], trimap=[trimap]),
            lambda: matter.prepare(frame, trimap=trimap),
            lambda: matter.finish(frame, np.zeros((32, 64), np.float32), trimap=trimap),
        ):
            with pytest.raises(FrameError, match=r"trimap .* gfm"):
                use()


def test_infer_takes_what_prepare_gave(sim: Path, gfm: Path) -> None:
    with Matter(sim, **OPTIONS) as matter, Matter(gfm, **OPTIONS) as other:
        with pytest.raises(FrameError, match="ndarray"):
            matter.infer(np.zeros((1, 3, *SIZE), np.float32))
        with pytest.raises(FrameError, match="shape"):
            other.infer(matter.prepare(random_frame(), trimap=a_trimap()))
        with Matter(sim, trimap_from=other, **OPTIONS) as guided:
            prepared = guided.prepare(coloured())
        with pytest.raises(FrameError, match="prepare"):
            matter.infer(prepared)


# ------------------------------------------------------------------------------------- bad engines


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trimap_from": 3}, "trimap_from .* int"),
        ({"trimap_from": "no.engine"}, r"no\.engine"),
        ({"hybrid": (1 / 3, 1 / 3)}, "hybrid .* sim"),
        ({"hybrid": (1 / 3, 1 / 2)}, "hybrid .* sim"),
    ],
)
def test_bad_options(sim: Path, options: Any, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        Matter(sim, **options, **OPTIONS)


def test_trimap_from_for_a_network_that_takes_none(gfm: Path) -> None:
    with pytest.raises(EngineError, match=r"trimap_from .* gfm"):
        Matter(gfm, trimap_from=gfm, **OPTIONS)


def small_windows(about: Manifest) -> Manifest:
    return replace(about, parts={"classifier": tiny_sim.classifier_manifest(((32, 320),))})


def wrong_part(about: Manifest) -> Manifest:
    part = replace(about.parts["classifier"], extra_inputs=(ExtraInput("trimap", 3),))
    return replace(about, parts={"classifier": part})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: replace(m, parts={}), "classifier"),
        (small_windows, "32x320.*32x352"),
        (wrong_part, "'trimap': 3.*cam"),
        (
            lambda m: replace(m, extra_inputs=(*m.extra_inputs, ExtraInput("depth", 1))),
            "'depth': 1.*pip install --upgrade",
        ),
    ],
)
def test_engines_that_cannot_be_guided(tmp_path: Path, change: Any, message: str) -> None:
    path = tiny_sim.build(tmp_path / "sim.engine", change(tiny_sim.manifest(((32, 352),))))
    with pytest.raises(EngineError, match=message) as caught:
        Matter(path, **OPTIONS)
    if "depth" not in message:
        assert "python -m export.build --model sim --backbone resnet50" in str(caught.value)


def test_only_the_sizes_that_may_run_need_windows(tmp_path: Path) -> None:
    about = tiny_sim.manifest((SIZE, (32, 352)))
    part = replace(about.parts["classifier"], models=about.parts["classifier"].models[-1:])
    assert part.models[0].size == SIZE
    path = tiny_sim.build(tmp_path / "sim.engine", replace(about, parts={"classifier": part}))
    with pytest.raises(EngineError, match="32x320, 32x352"):
        Matter(path, **OPTIONS)
    with Matter(path, size=SIZE, **OPTIONS) as matter:
        assert matter(random_frame(), trimap=a_trimap()).alpha.shape == SIZE


def test_a_classifier_makes_no_matte(tmp_path: Path) -> None:
    about = tiny_sim.classifier_manifest((SIZE,))
    graph = tiny_sim.classifier_graph(SIZE, 1).SerializeToString()
    engine_file.write(tmp_path / "c.engine", about, {about.models[0].onnx: graph})
    with pytest.raises(EngineError, match="sim_classifier"):
        Matter(tmp_path / "c.engine", **OPTIONS)


def test_a_classifier_that_answers_nan_is_an_error(tmp_path: Path) -> None:
    graph = tiny_sim.classifier_graph(SIZE, 1)
    graph.graph.node[-1].output[0] = "raw"
    graph.graph.node.append(helper.make_node("Sqrt", ["raw"], ["cam"]))  # of negative maps too
    onnx.checker.check_model(graph)
    about = tiny_sim.manifest()
    members: dict[str, bytes | Path] = {
        about.models[0].onnx: tiny_sim.guided_graph(SIZE, 1).SerializeToString(),
        "classifier/64x96.onnx": graph.SerializeToString(),
    }
    engine_file.write(tmp_path / "sim.engine", about, members)
    with (
        Matter(tmp_path / "sim.engine", **OPTIONS) as matter,
        pytest.raises(BackendError, match=r"'cam'.*NaN.*--fp16"),
    ):
        matter(random_frame(), trimap=a_trimap())


# ----------------------------------------------------------------------------------------- describe


def test_describe(sim: Path, gfm: Path) -> None:
    with Matter(sim, **OPTIONS) as matter:
        text = matter.describe()
        for line in (
            r"network +sim resnet50, 46.61 M parameters",
            r"classifier +sim_classifier resnet50, 23.55 M parameters",
            r"size +64×96.*",
            r"weights +sim_classifier.pth \(none stated, SHA-256 7+\)",
            r"backend +loaded with the first frame that needs it",
            r"verified +never.*",
            r"trimap +given with each frame",
        ):
            assert re.search(f"^{line}$", text, re.MULTILINE), line
        assert "RoSTa" not in text
        matter(random_frame(), trimap=a_trimap())
        assert re.search(r"^backend +onnxruntime on cpu: ONNX R", matter.describe(), re.MULTILINE)
    with Matter(sim, trimap_from=gfm, **OPTIONS) as matter:
        source = re.escape(f"from {gfm} if none is given: gfm efficientnet-lite0, RoSTa tt, 1.23 M")
        assert re.search(rf"^trimap +{source}", matter.describe(), re.MULTILINE)


def test_random_weights_of_a_part_are_said_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    about = tiny_sim.manifest()
    part = about.parts["classifier"]
    part = replace(
        part,
        weights=replace(part.weights, random=True),
        verification=(Verification("openvino", SIZE, "float32", "passed", mad=0.25),),
    )
    path = tiny_sim.build(tmp_path / "sim.engine", about, parts={"classifier": part})
    source = Tiny(tmp_path).build(
        change=lambda m: replace(m, weights=replace(m.weights, random=True))
    )
    with (
        caplog.at_level(logging.WARNING, "matter"),
        Matter(path, trimap_from=source, **OPTIONS) as matter,
    ):
        text = matter.describe()
    assert f"{path}, part classifier, holds random weights" in caplog.text
    assert f"{source} holds random weights" in caplog.text
    assert text.count("RANDOM WEIGHTS") == 2
    assert "sim.pth" in text
    assert re.search("openvino +float32 +2.5e-01 .*passed", text)
