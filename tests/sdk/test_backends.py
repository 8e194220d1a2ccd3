"""Backends: closed-form results, the choice among them, and that nothing outside is read."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from matter_sdk.sdk import Matter, cpu
from matter_sdk.sdk.backends import ORDER, Backend, gpu, open_backend, runtime_cache, tensorrt
from matter_sdk.sdk.backends import onnxruntime as ort
from matter_sdk.sdk.backends.graphs import read_graph
from matter_sdk.sdk.backends.openvino import process_core
from matter_sdk.sdk.engine import file as engine
from matter_sdk.sdk.engine.file import EngineFile
from matter_sdk.sdk.engine.manifest import Head, Int8Graph, Measured, ModelEntry, PlanEntry, Timing
from matter_sdk.sdk.errors import BackendError, EngineError
from tests.sdk import tiny_sim
from tests.sdk.checks import lanes_keep_apart

INSTALLED = ["onnxruntime"]
try:
    import openvino  # noqa: F401

    INSTALLED.append("openvino")
except ImportError:
    pass
each_backend = pytest.mark.parametrize("name", INSTALLED)


def opened(path: Path, **options: Any) -> tuple[Backend, list[tuple[str, str]]]:
    with EngineFile.open(path) as file:
        return open_backend(file, file.manifest.models[0], **{"threads": 1, **options})


def random_image(batch: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(3).uniform(0, 255, (batch, 3, 32, 64)).astype(np.float32)


# ------------------------------------------------------------------------------------------ results


def test_onnxruntime_s_threads_do_not_spin_after_a_run(tiny: Any) -> None:
    backend, _ = opened(tiny.build(), backend="onnxruntime", threads=2)
    assert isinstance(backend, ort.OnnxRuntime)
    settings_ = backend._session.get_session_options()
    assert settings_.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@each_backend
@pytest.mark.parametrize("batch", [1, 3])
def test_closed_form(tiny: Any, name: str, batch: int) -> None:
    backend, passed = opened(tiny.build(batch=batch), backend=name)
    image = random_image(batch)
    heads = backend.run(image)
    glance, focus = tiny.heads(image)
    assert (backend.name, backend.device, passed) == (name, "cpu", [])
    assert heads["glance"].dtype == heads["focus"].dtype == np.float32
    np.testing.assert_allclose(heads["glance"], glance, atol=1e-6)
    np.testing.assert_allclose(heads["focus"], focus, atol=1e-6)
    assert "float32, 1 thread" in backend.detail
    backend.close()
    backend.close()


def two_inputs(size: tuple[int, int], batch: int = 1) -> onnx.ModelProto:
    """cam = (trimap, image) at every 32nd pixel, the inputs not in the manifest's order."""
    nodes = [
        helper.make_node("Concat", ["trimap", "image"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "weight"], ["cam"], strides=[32, 32]),
    ]
    ends = {"trimap": (1, *size), "image": (3, *size), "cam": (20, 2, 2)}
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape])
        for name, shape in ends.items()
    ]
    weight = numpy_helper.from_array(np.eye(20, 4, dtype=np.float32)[..., None, None], "weight")
    graph = helper.make_graph(nodes, "two", values[:2], values[2:], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def build_two_inputs(path: Path, batch: int, **changes: Any) -> Path:
    size = (40, 64)  # 40 = 32 + 8: the last value of the head stands for less than its stride
    manifest = tiny_sim.classifier_manifest((size,), batch)
    graph = two_inputs(size, batch).SerializeToString()
    engine.write(path, replace(manifest, **changes), {"classifier/40x64.onnx": graph})
    return path


@each_backend
@pytest.mark.parametrize("batch", [1, 3])
def test_two_inputs_and_a_strided_head(tmp_path: Path, name: str, batch: int) -> None:
    backend, _ = opened(build_two_inputs(tmp_path / "a.engine", batch), backend=name)
    rng = np.random.default_rng(5)
    image = rng.standard_normal((batch, 3, 40, 64)).astype(np.float32)
    trimap = rng.random((batch, 1, 40, 64), np.float32)
    cam = backend.run(image, trimap)["cam"]  # the manifest's order, not the graph's
    assert cam.shape == (batch, 20, 2, 2)
    np.testing.assert_allclose(cam[:, :1], trimap[:, :, ::32, ::32], rtol=1e-6)
    np.testing.assert_allclose(cam[:, 1:4], image[:, :, ::32, ::32], rtol=1e-6)
    assert not cam[:, 4:].any()
    with pytest.raises(ValueError, match=r"argument 2 is shorter"):
        backend.run(image)  # never with an input of the run before
    backend.close()


@each_backend
def test_inputs_and_strides_that_are_not_what_the_manifest_says(tmp_path: Path, name: str) -> None:
    path = build_two_inputs(tmp_path / "a.engine", 1, extra_inputs=())
    with pytest.raises(
        EngineError,
        match=r"trimap\[1, 1, 40, 64\].*image\[1, 3, 40, 64\]",
    ):
        opened(path, backend=name)
    path = build_two_inputs(tmp_path / "b.engine", 1, heads=(Head("cam", 20, 16),))
    with pytest.raises(EngineError, match=r"cam\[1, 20, 2, 2\].*cam\[1, 20, 3, 4\]"):
        opened(path, backend=name)


@each_backend
def test_a_part_loads_as_if_it_were_an_engine(tmp_path: Path, name: str) -> None:
    with EngineFile.open(tiny_sim.build(tmp_path / "sim.engine")) as file:
        part = file.part("classifier")
        backend, _ = open_backend(part, part.manifest.models[0], backend=name, threads=1)
    rng = np.random.default_rng(6)
    inputs = [rng.random((1, channels, 64, 96), np.float32) for channels in (3, 1)]
    expected = tiny_sim.classify(*inputs)
    np.testing.assert_allclose(backend.run(*inputs)["cam"], expected, atol=1e-6)


@each_backend
def test_external_weights_come_from_the_engine(
    tiny: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny.build_external()
    # Where a path relative to the current directory would lead, other weights lie in wait.
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    Path("model.onnx.data").write_bytes(bytes(1 << 12))
    backend, _ = opened(path, backend=name)
    image = random_image()
    heads = backend.run(image)
    for got, expected in zip((heads["glance"], heads["focus"]), tiny.heads(image), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_openvino_leaves_no_temporary_files(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    path = tiny.build_external()
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    opened(path, backend="openvino")
    assert list((tmp_path / "temp").iterdir()) == []


def test_openvino_computes_in_the_precision_that_was_verified(tiny: Any) -> None:
    pytest.importorskip("openvino")

    def brief(manifest: Any) -> Any:
        model = replace(manifest.models[0], cpu_precision="bfloat16")
        return replace(manifest, models=(model,))

    backend, _ = opened(tiny.build(change=brief), backend="openvino")
    capabilities = process_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    # A CPU without such instructions would only emulate them: it computes in float32.
    assert ("bfloat16" if "BF16" in capabilities else "float32") in backend.detail
    image = random_image()
    np.testing.assert_allclose(backend.run(image)["focus"], tiny.heads(image)[1], atol=0.02)


def test_openvino_has_one_core_in_a_process(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A core that is given back may leave signal handlers a stack in freed memory."""
    runtime = pytest.importorskip("openvino")
    opened(tiny.build(), backend="openvino")[0].close()
    monkeypatch.delattr(runtime, "Core")
    backend, _ = opened(tiny.build(), backend="openvino")
    assert backend.name == "openvino"


def test_openvino_computes_in_a_thread_of_its_own(tiny: Any) -> None:
    """A caller's thread that had computed and then ended during ``close`` would damage the heap."""
    pytest.importorskip("openvino")
    backend, _ = opened(tiny.build(sizes=((512, 1024),)), backend="openvino", threads=1)
    image = np.zeros((1, 3, 512, 1024), np.float32)
    backend.run(image)
    caller, everyone = time.thread_time(), time.process_time()
    for _ in range(10):
        backend.run(image)
    assert time.thread_time() - caller < (time.process_time() - everyone) / 2
    backend.close()


# ------------------------------------------------------------------------------------------- choice


def test_the_first_that_works_is_taken_and_the_others_are_named(
    engine_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "matter"):
        backend, passed = opened(engine_path)
    names = [name for name, _ in passed]
    assert names == list(ORDER[: len(names)])
    assert backend.name == ORDER[len(names)]
    assert all(reason for _, reason in passed)
    lines = [record.message for record in caplog.records if record.name == "matter"]
    assert len(lines) == 1
    assert f"running 32x64 with {backend.name} on {backend.device}" in lines[0]
    assert all(name in lines[0] for name in names)


def measured_as(*timings: tuple[str, str, float], cpu_name: str = "") -> Callable[[Any], Any]:
    """A change of the tiny engine's manifest: it has INT8, and this was measured."""
    measured = Measured(
        cpu_name or cpu.name(), 2, None, tuple(Timing(*timing) for timing in timings)
    )

    def change(manifest: Any) -> Any:
        (model,) = manifest.models
        model = replace(model, int8=Int8Graph("model-int8.onnx"), measured=measured)
        return replace(manifest, models=(model,))

    return change


def is_int8(backend: Backend) -> bool:
    """Whether the graph runs that stands for INT8 in the tiny engine."""
    return float(np.min(backend.run(random_image())["focus"])) > 0.999


def test_cpu_backends_are_tried_as_the_build_measured_them(tiny: Any) -> None:
    pytest.importorskip("openvino")
    order = [("onnxruntime", "float32", 3.0), ("openvino", "float32", 4.0)]
    for one, other in (order, order[::-1]):
        backend, _ = opened(tiny.build(change=measured_as(one, other)), device="cpu")
        assert backend.name == one[0]
        assert "float32" in backend.detail


def test_what_was_not_measured_comes_after_what_was(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    path = tiny.build(change=measured_as(("onnxruntime", "float32", 3.0)))
    assert opened(path, device="cpu")[0].name == "onnxruntime"
    monkeypatch.setattr(ort, "unavailable", lambda *_: "not today")
    backend, passed = opened(path, device="cpu")
    assert backend.name == "openvino"
    assert passed[-1] == ("onnxruntime", "not today")


def test_int8_is_taken_for_the_fastest_only(tiny: Any) -> None:
    path = tiny.build(
        change=measured_as(("onnxruntime", "int8", 1.0), ("onnxruntime", "float32", 2.0))
    )
    for arithmetic, wanted in (("fastest", True), ("measured", False), ("float32", False)):
        backend, _ = opened(path, device="cpu", arithmetic=arithmetic)
        assert backend.name == "onnxruntime"
        assert is_int8(backend) == wanted
        assert ("int8" if wanted else "float32") in backend.detail


def test_the_fastest_is_float_where_the_build_preferred_that(tiny: Any) -> None:
    path = tiny.build(
        change=measured_as(("onnxruntime", "float32", 2.0), ("onnxruntime", "int8", 1.9))
    )
    assert not is_int8(opened(path, device="cpu", arithmetic="fastest")[0])


def test_the_fastest_without_int8(engine_path: Path) -> None:
    backend, _ = opened(engine_path, device="cpu", arithmetic="fastest")
    assert "float32" in backend.detail


@each_backend
def test_an_exact_arithmetic(tiny: Any, name: str) -> None:
    path = tiny.build(change=measured_as())
    assert is_int8(opened(path, backend=name, arithmetic="int8")[0])
    assert not is_int8(opened(path, backend=name, arithmetic="float32")[0])
    path = tiny.build("plain.engine")
    with pytest.raises(EngineError, match=r"INT8.*32x64"):
        opened(path, backend=name, arithmetic="int8")


def test_an_arithmetic_that_a_backend_has_not(tiny: Any) -> None:
    with pytest.raises(BackendError, match=r"'onnxruntime'.*bfloat16.*openvino"):
        opened(tiny.build(), backend="onnxruntime", arithmetic="bfloat16")


def test_int8_of_another_cpu_needs_exact_sums(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny.build(
        change=measured_as(
            ("onnxruntime", "int8", 1.0), ("onnxruntime", "float32", 2.0), cpu_name="another"
        )
    )
    monkeypatch.setattr(cpu, "has_dot_product", lambda: True)
    assert is_int8(opened(path, device="cpu", arithmetic="fastest")[0])
    monkeypatch.setattr(cpu, "has_dot_product", lambda: False)
    backend, passed = opened(path, device="cpu", arithmetic="fastest")
    assert not is_int8(backend)
    assert "int8: it was verified on another CPU" in dict(passed)["onnxruntime"]
    monkeypatch.setattr(cpu, "name", lambda: "another")  # the one that verified it
    assert is_int8(opened(path, device="cpu", arithmetic="fastest")[0])


def test_without_bfloat16_the_next_is_taken(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    path = tiny.build(
        change=measured_as(
            ("openvino", "bfloat16", 1.0),
            ("onnxruntime", "float32", 2.0),
            ("openvino", "float32", 3.0),
        )
    )
    monkeypatch.setattr("matter_sdk.sdk.backends.openvino.has_bfloat16", lambda: False)
    backend, passed = opened(path, device="cpu")
    assert backend.name == "onnxruntime"
    assert passed[-1] == ("openvino", "bfloat16: this CPU has no bfloat16 arithmetic")


def test_describe_says_what_was_measured(tiny: Any) -> None:
    path = tiny.build(change=measured_as(("onnxruntime", "float32", 2.25)))
    with Matter(path, device="cpu") as matter:
        text = matter.describe()
    assert "32×64: onnxruntime float32 2.2 ms; at the build, on this CPU, 2 threads" in text
    assert "INT8" in text
    path = tiny.build(change=measured_as(("onnxruntime", "float32", 2.25), cpu_name="a Z80"))
    with Matter(path, device="cpu") as matter:
        assert "on another CPU (a Z80)" in matter.describe()


def test_what_fails_to_load_is_passed_over_with_its_reason(
    engine_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("openvino")

    def broken(*_: Any) -> Backend:
        raise RuntimeError("libtbb.so.12 is of another version\nand a long trace")

    monkeypatch.setattr("matter_sdk.sdk.backends.openvino.load", broken)
    with caplog.at_level(logging.WARNING, "matter"):
        backend, passed = opened(engine_path, device="cpu")
    assert backend.name == "onnxruntime"
    assert passed[-1] == (
        "openvino",
        "failed to load: RuntimeError: libtbb.so.12 is of another version",
    )
    assert "backend openvino failed to load" in caplog.text


def test_what_cannot_run_is_passed_over_and_closed(
    engine_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []

    class Broken(Backend):
        name, device, detail = "onnxruntime", "cpu", ""

        def run(self, image: Any, lane: int = 0) -> Any:
            raise MemoryError("no memory for activations")

        def close(self) -> None:
            closed.append(True)

    monkeypatch.setattr(ort, "load", lambda *_: Broken())
    with pytest.raises(BackendError, match="MemoryError: no memory"):
        opened(engine_path, backend="onnxruntime")
    assert closed == [True]


def test_backend_asked_for_that_is_not_there(
    engine_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "gpu_count", lambda: 0)
    with pytest.raises(
        BackendError,
        match=r"'tensorrt-rtx'.*onnxruntime",
    ):
        opened(engine_path, backend="tensorrt-rtx")


def test_unknown_backend_names_the_near_match(engine_path: Path) -> None:
    with pytest.raises(
        BackendError,
        match=r"'openvno'.*'openvino'",
    ):
        opened(engine_path, backend="openvno")


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "CPU", "", 3])
def test_unknown_device(engine_path: Path, device: Any) -> None:
    with pytest.raises(BackendError, match=rf"{device!r}.*'cpu', 'cuda'"):
        opened(engine_path, device=device)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, 10_000])
def test_wrong_threads(engine_path: Path, threads: Any) -> None:
    with pytest.raises(BackendError, match=rf"threads.*{threads!r}"):
        opened(engine_path, threads=threads)


def test_device_that_is_not_there_is_never_replaced(
    engine_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "gpu_count", lambda: 0)
    with pytest.raises(BackendError) as caught:
        opened(engine_path, device="cuda")
    assert "on device 'cuda'" in str(caught.value)
    for name in ORDER:
        assert f"{name}: " in str(caught.value)
    assert "openvino: it runs on the CPU, device='cuda' was asked for" in str(caught.value)


def test_device_cpu_passes_over_gpu_backends(engine_path: Path) -> None:
    backend, passed = opened(engine_path, device="cpu")
    assert backend.device == "cpu"
    assert ("tensorrt", "it runs on an NVIDIA GPU, device='cpu' was asked for") in passed


def test_threads_default_to_the_cores_this_process_may_use() -> None:
    if hasattr(os, "sched_getaffinity"):
        assert cpu.usable_cores() == len(os.sched_getaffinity(0))
    assert cpu.usable_cores() >= 1


def test_not_installed_says_how_to_install(
    engine_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendError) as caught:
        opened(engine_path)
    for line in (
        "tensorrt: not installed: pip install 'matter-sdk[tensorrt]'",
        "tensorrt-rtx: not installed: pip install 'matter-sdk[tensorrt-rtx]'",
        "onnxruntime-cuda: not installed: pip install onnxruntime-gpu",
        "openvino: not installed: pip install 'matter-sdk[openvino]'",
        "onnxruntime: not installed: pip install onnxruntime",
    ):
        assert line in str(caught.value)


@each_backend
def test_graph_that_is_not_what_the_manifest_says(tiny: Any, name: str) -> None:
    path = tiny.build(graph=tiny.graph((64, 32)))
    with pytest.raises(
        EngineError,
        match=r"image\[1, 3, 64, 32\].*image\[1, 3, 32, 64\]",
    ):
        opened(path, backend=name)
    path = tiny.build(graph=tiny.graph((32, 64), fusion="ft"))
    with pytest.raises(EngineError, match=r"glance\[1, 2, 32, 64\].*glance\[1, 3, 32, 64\]"):
        opened(path, backend=name)


@each_backend
def test_graph_that_is_no_graph(tiny: Any, name: str) -> None:
    path = tiny.folder / "a.engine"
    engine.write(path, tiny.manifest(), {"model.onnx": b"\x08\x08 not a graph"})
    with pytest.raises(EngineError, match="not a well-formed ONNX"):
        opened(path, backend=name)


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_onnx_runtime_on_cuda_is_tf32_if_asked_for_and_finds_pips_libraries(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """On a GPU from Ampere on its CUDA provider computes in TF32 unless told otherwise."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession
    given: list[Any] = []

    def here(graph: Any, options: Any, providers: list[Any]) -> Any:
        given.extend(providers)
        made = session(graph, options, providers=["CPUExecutionProvider"])
        monkeypatch.setattr(made, "get_providers", lambda: ["CUDAExecutionProvider"])
        return made

    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: given.append("preloaded"))
    monkeypatch.setattr(onnxruntime, "InferenceSession", here)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(gpu, "gpu_count", lambda: 1)
    path = tiny.build(change=lambda m: replace(m, precision=precision))
    opened(path, backend="onnxruntime-cuda")[0].close()
    first, (name, options), _ = given
    assert first == "preloaded"
    assert (name, bool(options["use_tf32"])) == ("CUDAExecutionProvider", precision == "tf32")


# ---------------------------------------------------------------------------------- TensorRT's plan


PLANS = (
    PlanEntry("tensorrt", "11.4.0.12", "9.0", (32, 64), "plans/a"),
    PlanEntry("tensorrt-rtx", "1.7.1.116", None, (32, 64), "plans/b"),
    PlanEntry("tensorrt-rtx", "1.7.1.116", "8.9", (32, 64), "plans/c"),
    PlanEntry("tensorrt-rtx", "1.7.1.116", None, (64, 64), "plans/d"),
)


@pytest.mark.parametrize(
    ("runtime", "version", "capability", "size", "file"),
    [
        ("tensorrt", "11.4.0.12", "9.0", (32, 64), "plans/a"),
        ("tensorrt", "11.4.0.12", "8.9", (32, 64), None),
        ("tensorrt", "11.4.0.13", "9.0", (32, 64), None),
        ("tensorrt", "11.4.0", "9.0", (32, 64), None),
        ("tensorrt-rtx", "1.7.2.116", "12.0", (32, 64), None),
        ("tensorrt-rtx", "1.7.1.116", "12.0", (32, 64), "plans/b"),
        ("tensorrt-rtx", "1.7.1.116", "8.9", (32, 64), "plans/c"),
        ("tensorrt-rtx", "1.7.1.116", "12.1", (32, 64), "plans/b"),
        ("tensorrt-rtx", "1.7.1.116", "7.5", (32, 64), None),
        ("tensorrt-rtx", "1.7.1.116", "9.0", (32, 64), None),
        ("tensorrt-rtx", "1.7.1.116", "10.3", (32, 64), None),
        ("tensorrt-rtx", "1.7.1.116", "8.9", (64, 64), "plans/d"),
        ("tensorrt-rtx", "1.7.1.116", "8.9", (96, 64), None),
    ],
)
def test_choice_of_a_plan(
    runtime: str, version: str, capability: str, size: tuple[int, int], file: str | None
) -> None:
    plan = tensorrt.choose_plan(PLANS, runtime, version, capability, size)
    assert (plan and plan.file) == file


def test_no_plan_says_which_there_are() -> None:
    text = tensorrt.no_plan(PLANS[:2], "tensorrt", "11.5.1", "8.9", (32, 64))
    for held in ("11.4.0.12 for compute capability 9.0", "8.0, 8.6, 8.9, 12.0 and later", "32x64"):
        assert held in text
    assert "(it holds: none)" in tensorrt.no_plan((), "tensorrt", "11.5.1", "8.9", (32, 64))


@pytest.mark.parametrize(
    ("version", "capability", "size", "remedy"),
    [
        ("1.7.1.116", "7.5", (32, 64), "--turing"),
        ("1.7.1.116", "9.0", (32, 64), "use tensorrt"),
        ("1.7.1.116", "8.9", (64, 32), "(it holds: "),
        ("1.8.0.1", "8.9", (32, 64), "installed is 1.8.0.1"),
    ],
)
def test_the_remedy_where_no_plan_fits(
    version: str, capability: str, size: tuple[int, int], remedy: str
) -> None:
    text = tensorrt.no_plan(PLANS, "tensorrt-rtx", version, capability, size)
    remedies = ("--turing", "use tensorrt", "installed is 1.8.0.1")
    assert remedy in text
    assert [other for other in remedies if other in text] in ([remedy], [])
    assert ("7.5" in text) == (capability == "7.5")


@pytest.mark.parametrize(
    ("count", "number", "expected"),
    [
        (0, 0, "tensorrt_rtx is installed but no NVIDIA GPU is visible"),
        (2, 2, "GPU 2 was asked for, visible are 2 (cuda:0 to cuda:1)"),
        (2, 1, None),
    ],
)
def test_reasons_of_a_gpu(
    monkeypatch: pytest.MonkeyPatch, count: int, number: int, expected: str | None
) -> None:
    monkeypatch.setattr(gpu, "gpu_count", lambda: count)
    assert gpu.no_gpu("tensorrt_rtx", number) == expected


def test_tensorrt_needs_a_gpu_then_cupy(engine_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelEntry((32, 64), "model.onnx")
    with EngineFile.open(engine_path) as file:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: name != "cupy" or None)
        monkeypatch.setattr(gpu, "gpu_count", lambda: 0)
        reason = tensorrt.unavailable("tensorrt-rtx", file, model, 0)
        assert reason == "tensorrt_rtx is installed but no NVIDIA GPU is visible"
        monkeypatch.setattr(gpu, "gpu_count", lambda: 1)
        reason = tensorrt.unavailable("tensorrt-rtx", file, model, 0)
        assert reason == (
            "tensorrt_rtx is installed but CuPy is not: pip install 'matter-sdk[nvidia]'"
        )


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_lanes_run_at_once_and_keep_apart(tiny: Any, name: str) -> None:
    """Each with an image of its own, many times over, through one Matter."""
    pytest.importorskip(name)
    frames = [np.full((32, 64, 3), 30 * number, np.uint8) for number in range(8)]
    with Matter(tiny.build(), backend=name, threads=2, lanes=2) as matter:
        assert matter.lanes == 2
        assert "2 threads in 2 lanes" in matter.runtime
        lanes_keep_apart(matter, frames, [tiny.alpha(frame) for frame in frames], calls=30)


def test_a_number_of_lanes_that_cannot_be(engine_path: Path) -> None:
    for lanes in (0, 1.5, 65):
        with pytest.raises(BackendError, match=rf"lanes.*\b{lanes}\b.*64"):
            Matter(engine_path, lanes=lanes)  # type: ignore[arg-type]


# ----------------------------------------------------------------------- networks kept by OpenVINO


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Path]]:
    """Lists the networks in a cache folder of the test's own."""
    pytest.importorskip("openvino")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.platform", "linux")
    return lambda: sorted((tmp_path / "cache").rglob("*.network"))


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names the graph of each network that OpenVINO compiles."""
    graphs: list[str] = []

    def read(engine: EngineFile, model: ModelEntry) -> Any:
        graphs.append(model.onnx)
        return read_graph(engine, model)

    monkeypatch.setattr("matter_sdk.sdk.backends.openvino.read_graph", read)
    return graphs


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_network_is_compiled_once(
    tiny: Any, kept: Callable[[], list[Path]], compiled: list[str], lanes: int
) -> None:
    path, image = tiny.build_external(), random_image()
    first, _ = opened(path, backend="openvino", threads=2, lanes=lanes)
    heads = {name: head.copy() for name, head in first.run(image).items()}
    (place,) = kept()
    assert place.stat().st_mode & 0o777 == 0o600
    again, _ = opened(path, backend="openvino", threads=2, lanes=lanes)
    assert compiled == ["model.onnx"]
    for lane in range(lanes):
        for name, head in again.run(image, lane=lane).items():
            np.testing.assert_array_equal(head, heads[name])
    assert again.lanes == lanes
    assert kept() == [place]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_a_kept_network_is_mapped_as_long_as_it_is_open(
    tiny: Any, kept: Callable[[], list[Path]]
) -> None:
    def is_mapped() -> bool:
        return str(place) in Path("/proc/self/maps").read_text()

    path, image = tiny.build_external(), random_image()
    opened(path, backend="openvino")
    (place,) = kept()
    assert not is_mapped()
    backend, _ = opened(path, backend="openvino")
    assert is_mapped()
    place.unlink()  # as when it was not used for longest
    runtime_cache.write_network("another", bytes(1000))
    gc.collect()
    np.testing.assert_allclose(backend.run(image)["focus"], tiny.heads(image)[1], atol=1e-5)
    backend.close()
    assert not is_mapped()


def test_what_a_network_depends_on_keeps_it_apart(
    tiny: Any,
    kept: Callable[[], list[Path]],
    compiled: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tiny.build()
    opened(path, backend="openvino")
    opened(path, backend="openvino", threads=2)
    opened(path, backend="openvino", threads=2, lanes=2)
    marked = opened(
        tiny.build("marked.engine", graph=tiny.marked(tiny.graph((32, 64)))), backend="openvino"
    )[0]
    assert np.all(marked.run(random_image())["focus"] == 1)  # not the first one's
    monkeypatch.setattr(cpu, "name", lambda: "another CPU")
    opened(path, backend="openvino")
    monkeypatch.setattr("matter_sdk.sdk.backends.openvino.__version__", "0.0.0")
    opened(path, backend="openvino")
    assert len(compiled) == len(kept()) == 6


@pytest.mark.parametrize("how", ["writable", "owner", "link", "damaged", "another's"])
def test_a_kept_network_that_cannot_be_trusted_is_compiled_again(
    tiny: Any, kept: Callable[[], list[Path]], compiled: list[str], how: str
) -> None:
    path, image = tiny.build(), random_image()
    opened(path, backend="openvino")
    (place,) = kept()
    if how == "writable":
        place.chmod(0o622)
    elif how == "owner":
        if os.geteuid():
            pytest.skip("only root may give a file away")
        os.chown(place, 65534, 65534)
    elif how == "link":
        place.symlink_to(place.rename(place.with_suffix(".other")))
    elif how == "damaged":
        content = bytearray(place.read_bytes())
        content[-1] ^= 1
        place.write_bytes(content)
    else:  # a whole one of this user, under a name that is not its own
        opened(path, backend="openvino", threads=2)
        (other,) = set(kept()) - {place}
        other.replace(place)
    before = len(compiled)
    backend, _ = opened(path, backend="openvino")
    np.testing.assert_allclose(backend.run(image)["focus"], tiny.heads(image)[1], atol=1e-5)
    assert len(compiled) == before + 1
    opened(path, backend="openvino")
    assert len(compiled) == before + 1  # replaced


def test_a_kept_network_that_openvino_refuses_is_compiled_again(
    tiny: Any, kept: Callable[[], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, image = tiny.build(), random_image()
    opened(path, backend="openvino")
    good = kept()[0].read_bytes()
    monkeypatch.setattr(
        runtime_cache, "read_network", lambda key: memoryview(bytearray(b"of another version"))
    )
    backend, _ = opened(path, backend="openvino")
    np.testing.assert_allclose(backend.run(image)["focus"], tiny.heads(image)[1], atol=1e-5)
    assert kept()[0].read_bytes()[:10] == good[:10]


def test_without_a_cache_folder_networks_are_compiled(
    tiny: Any, compiled: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    path = tiny.build()
    opened(path, backend="openvino")
    opened(path, backend="openvino")
    assert len(compiled) == 2


def test_networks_not_used_for_longest_are_forgotten(
    kept: Callable[[], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_cache, "MAX_NETWORKS", 3500)
    for at, key in enumerate("abc"):
        path = runtime_cache.write_network(key, bytes(1000))
        assert path is not None
        os.utime(path, (at, at))
    assert runtime_cache.read_network("a") == bytes(1000)  # so that b is the oldest
    assert runtime_cache.write_network("d", bytes(1000)) is not None
    assert [key for key in "abcd" if runtime_cache.read_network(key) is None] == ["b"]
    assert runtime_cache.write_network("e", bytes(4000)) is None
    assert len(kept()) == 3


def test_openvino_comes_without_its_converter() -> None:
    pytest.importorskip("openvino")
    code = (
        "from matter_sdk.sdk.backends.openvino import process_core; process_core(); "
        "import openvino, sys; assert 'openvino_telemetry' not in sys.modules; "
        "assert callable(openvino.convert_model); "
        "assert not hasattr(openvino, 'convert_modell')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(cpu.__file__).parents[1])
