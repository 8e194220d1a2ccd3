"""The whole builder on the tiny network: what an engine holds, what a failure leaves behind."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

pytest.importorskip("torch")

from matter_sdk.export import cost, onnx_files, random_weights
from matter_sdk.export.build import BuildError, BuildOptions, build, main
from matter_sdk.export.progress import Report
from matter_sdk.export.stages import graph, plans, verify
from matter_sdk.sdk.engine import file as engine
from matter_sdk.sdk.engine.file import EngineFile
from matter_sdk.sdk.engine.manifest import Head, Manifest, NetworkInfo
from matter_sdk.training import checkpoints, networks
from tests.export import tiny
from tests.sdk import conftest

SMALL = BuildOptions("gfm", random_weights=True, sizes=((64, 96),), targets=("onnx",))


def options(output: Path, **changes: Any) -> BuildOptions:
    return dataclasses.replace(SMALL, output=output, **changes)


@pytest.fixture
def checkpoint(stand_in: ModuleType, tmp_path: Path) -> Path:
    path = tmp_path / "mine.safetensors"
    checkpoints.save(stand_in.Tiny(), path, {"licence": "MIT"})
    return path


def test_an_engine_of_two_sizes_in_float16(
    stand_in: ModuleType, checkpoint: Path, tmp_path: Path
) -> None:
    path = build(
        options(
            tmp_path / "x.engine",
            weights=(checkpoint,),
            random_weights=False,
            precision="fp16",
            sizes=((64, 96), (96, 64)),
        )
    )
    assert path == tmp_path / "x.engine"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["mine.safetensors", "x.engine"]
    with EngineFile.open(path) as engine:  # checks every member's SHA-256
        manifest = engine.manifest
        graphs = {model.onnx: bytes(engine.read(model.onnx)) for model in manifest.models}
    assert list(graphs) == ["model.onnx", "model-96x64.onnx"]
    assert [model.size for model in manifest.models] == [(64, 96), (96, 64)]
    assert manifest.precision == "fp16"
    assert manifest.weights.licence == "MIT"
    assert not manifest.weights.random
    assert manifest.weights.source == "mine.safetensors"
    parameters = sum(parameter.numel() for parameter in stand_in.Tiny().parameters())
    assert manifest.network.parameters == parameters
    # Convolutions see as many positions at both sizes; the adaptive pooling differs a little.
    macs = manifest.network.macs
    assert macs["64x96"] == pytest.approx(macs["96x64"], rel=0.01)
    with zipfile.ZipFile(path) as archive:  # any unzip tool gives graphs that ONNX reads
        archive.extractall(tmp_path / "unzipped")
    assert {model.data for model in manifest.models} == {"weights.data"}
    for name in graphs:
        onnx.checker.check_model(tmp_path / "unzipped" / name, full_check=True)
        model = onnx.load(tmp_path / "unzipped" / name)
        (note,) = [entry.value for entry in model.metadata_props if entry.key == "matter"]
        brief = Manifest.from_json(note)
        expected = dataclasses.replace(manifest, members={}, verification=())
        assert brief == expected
        assert any(
            tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer
        )
    judged = {(entry.artefact, entry.size): entry for entry in manifest.verification}
    for size in ((64, 96), (96, 64)):
        for artefact in ("float16 graph", "onnxruntime"):
            entry = judged[artefact, size]
            assert entry.status == "passed", entry
            assert entry.mad is not None
            assert entry.mad <= entry.bound["mad"]
        assert judged["onnxruntime-cuda", size].status in ("not run", "passed")


def test_the_engine_mattes_as_pytorch_does(
    stand_in: ModuleType, checkpoint: Path, tmp_path: Path
) -> None:
    """Through the SDK, on a frame that the verification has not seen."""
    import torch

    from matter_sdk.sdk import Matter

    path = build(
        options(tmp_path / "x.engine", weights=(checkpoint,), random_weights=False, batch=2)
    )
    frame = np.random.default_rng(3).integers(0, 255, (64, 96, 3), np.uint8)
    with Matter(path, backend="onnxruntime") as matter:
        alpha = matter(frame).alpha
    rgb = np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1)[None], np.float32)
    with torch.no_grad():
        expected = stand_in.Tiny().eval()(torch.from_numpy(rgb))["alpha"][0, 0].numpy()
    assert np.abs(alpha - expected).mean() < 1e-4


def test_bfloat16_with_random_weights(stand_in: ModuleType, tmp_path: Path) -> None:
    path = build(options(tmp_path / "x.engine", precision="bf16"))
    with EngineFile.open(path) as engine:
        assert engine.manifest.precision == "bf16"
        assert engine.manifest.weights.random
        judged = {entry.artefact: entry for entry in engine.manifest.verification}
    assert judged["bfloat16 graph"].status == "passed"
    assert judged["bfloat16 graph"].precision == "bfloat16"


def test_tf32_with_random_weights(stand_in: ModuleType, tmp_path: Path) -> None:
    """Weights stay float32; what a GPU would round is verified by emulation."""
    path = build(options(tmp_path / "x.engine", precision="tf32"))
    with EngineFile.open(path) as engine:
        manifest = engine.manifest
    judged = {entry.artefact: entry for entry in manifest.verification}
    assert manifest.precision == "tf32"
    assert "--tf32" in manifest.build_command()
    assert (judged["tf32 graph"].status, judged["tf32 graph"].precision) == ("passed", "tf32")
    assert judged["onnxruntime"].precision == "float32"
    assert judged["tf32 graph"].mad > judged["onnxruntime"].mad > 0  # type: ignore[operator]


def test_a_plan_for_tensorrt_rtx(stand_in: ModuleType, tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    path = build(options(tmp_path / "x.engine", precision="fp16", targets=("tensorrt-rtx",)))
    version = trt.__version__
    assert version.count(".") == 3
    with EngineFile.open(path) as engine:
        (plan,) = engine.manifest.plans
        judged = {entry.artefact: entry for entry in engine.manifest.verification}
    assert plan.file == f"plans/tensorrt-rtx-{version}.plan"
    assert plan.compute_capability is None
    assert plan.serves == ("8.0", "8.6", "8.9", "12.0+")
    assert judged["tensorrt-rtx"].status in ("not run", "passed")
    if plans.gpu.capability() is None:
        assert judged["tensorrt-rtx"].reason == "no NVIDIA GPU here"


def test_a_second_plan_for_turing(stand_in: ModuleType, tmp_path: Path) -> None:
    """A bit of the header for each of 7.5, 8.0, 8.6, 8.9, 12.0, 12.1 and what comes later."""
    pytest.importorskip("tensorrt_rtx")
    asked = options(tmp_path / "x.engine", precision="fp16", targets=("tensorrt-rtx",), turing=True)
    with EngineFile.open(build(asked)) as engine:
        manifest = engine.manifest
        masks = [bytes(engine.read(plan.file))[0x20] for plan in manifest.plans]
    assert [plan.fits("7.5") for plan in manifest.plans] == [False, True]
    assert [plan.fits("8.9") for plan in manifest.plans] == [True, False]
    assert masks == [0x7E, 0x01]
    assert "--turing" in manifest.build_command()


def test_a_plan_is_float32_and_can_be_captured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    flags = (trt.BuilderFlag.TF32, trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    seen: list[bool] = []
    finish = trt.Builder.build_serialized_network

    def build_network(builder: Any, network: Any, config: Any) -> Any:
        seen.extend(map(config.get_flag, flags))
        return finish(builder, network, config)

    monkeypatch.setattr(trt.Builder, "build_serialized_network", build_network)
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, 8))
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1, 8))
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", [value], [out]),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.save(model, tmp_path / "x.onnx")
    for tf32 in (False, True):
        plans.build("tensorrt-rtx", tmp_path / "x.onnx", tmp_path / "x.plan", warn=print, tf32=tf32)
    assert seen == [False, True, True, True]


def test_the_classifier_travels_in_the_engine(sim_engine: Path) -> None:
    with EngineFile.open(sim_engine) as engine:
        manifest, part = engine.manifest, engine.part("classifier").manifest
    assert manifest.inputs == {"image": 3, "trimap": 2, "clicks": 6, "semantic": 20}
    assert [(head.name, head.stride) for head in part.heads] == [("cam", 32)]
    assert (part.network.name, part.batch, part.fusion) == ("sim_classifier", 1, "cam")
    assert part.inputs == {"image": 3, "trimap": 1}
    # One graph for each size of window that the engine's size has.
    assert {model.size: model.onnx for model in part.models} == {
        (320, 320): "classifier/model.onnx",
        (328, 400): "classifier/model-328x400.onnx",
    }
    assert manifest.models[0].data == "model.onnx.data"
    assert part.models[0].data == "classifier/weights.data"  # two sizes share it
    assert set(manifest.members) == set(manifest.files())
    for one in (manifest, part):
        judged = {(entry.artefact, entry.size): entry for entry in one.verification}
        for model in one.models:
            for artefact in ("float16 graph", "onnxruntime"):
                entry = judged[artefact, model.size]
                assert entry.status == "passed"
                assert entry.mad is not None
                assert 0 < entry.mad <= entry.bound["mad"]
                assert (entry.sad is None) == (one is part)  # the classifier makes no matte


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_both_networks_of_an_engine_run(sim_engine: Path, backend: str) -> None:
    """Through the SDK's backends, on pictures that the verification has not seen."""
    pytest.importorskip(backend)
    from matter_sdk.sdk.backends import open_backend

    rng = np.random.default_rng(5)
    with EngineFile.open(sim_engine) as engine:
        for file in (engine, engine.part("classifier")):
            model = dataclasses.replace(file.manifest.models[0], cpu_precision="float32")
            opened, _ = open_backend(file, model, backend=backend, threads=1)
            inputs = [
                rng.random((1, count, *model.size), np.float32)
                for count in file.manifest.inputs.values()
            ]
            results = {name: np.array(value) for name, value in opened.run(*inputs).items()}
            opened.close()
            stored = onnx.load_from_string(bytes(file.read(model.onnx)))
            assert [value.name for value in stored.graph.input] == list(file.manifest.inputs)
            for head in file.manifest.heads:
                sides = [-(-side // head.stride) for side in model.size]
                assert results[head.name].shape == (1, head.channels, *sides)
                assert np.isfinite(results[head.name]).all()
                assert results[head.name].std() > 0.01  # not constant


def test_a_part_past_its_bound_fails_the_build(
    stand_in: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(verify.MAD_BOUND["sim_classifier"], "float32", 0.0)
    sim = BuildOptions("sim", random_weights=True, sizes=((40, 64),), targets=("onnx",))
    with pytest.raises(BuildError, match=r"verification: classifier onnxruntime 40x64 \(float32\)"):
        build(dataclasses.replace(sim, output=tmp_path / "sim.engine"))
    assert list(tmp_path.iterdir()) == []


def test_max_unpooling_in_half_precision(stand_in: ModuleType, tmp_path: Path) -> None:
    path = build(options(tmp_path / "x.engine", model="aim", precision="fp16"))
    with EngineFile.open(path) as engine:
        judged = {entry.artefact: entry for entry in engine.manifest.verification}
        assert engine.manifest.fusion == "unified"
    assert judged["float16 graph"].status == "passed"
    assert judged["onnxruntime"].status == "passed"


def test_operators_whose_values_pass_float16_are_named(
    stand_in: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def loud() -> Any:
        network = stand_in.Tiny()
        network.stem_bn.weight.data *= 1e5
        network.down.weight.data /= 1e5
        network.focus.weight.data[:, 16:] /= 1e5
        return network

    monkeypatch.setattr(networks, "create", lambda name, **options: loud())
    checkpoints.save(loud(), tmp_path / "loud.safetensors")
    path = build(
        options(
            tmp_path / "x.engine",
            weights=(tmp_path / "loud.safetensors",),
            random_weights=False,
            precision="fp16",
        )
    )
    with EngineFile.open(path) as engine:
        (model,) = engine.manifest.models
        judged = {entry.artefact: entry for entry in engine.manifest.verification}
    # Those that give or read the stem's features, and no others.
    assert {"stem/Conv", "down/Conv", "focus/Conv"} <= set(model.float32)
    assert not {"mix/Conv", "gate.1/Conv", "glance/Conv"} & set(model.float32)
    assert "float32, since values pass 3e+04: stem/Conv" in capsys.readouterr().err
    assert judged["float16 graph"].status == "passed"


def test_the_ensembles_files_stand_in_the_manifest(
    stand_in: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = []
    for name, licence in (("tt", "MIT"), ("ft", "MIT"), ("bt", "own")):
        files.append(tmp_path / f"{name}.safetensors")
        checkpoints.save(stand_in.Tiny(), files[-1], {"licence": licence})
    taken = []

    def load_ensemble(network: Any, paths: Any) -> list[Any]:
        taken.extend(paths)
        return [checkpoints.load(network, path) for path in paths]

    monkeypatch.setattr(checkpoints, "load_ensemble", load_ensemble)
    path = build(
        options(
            tmp_path / "x.engine", rosta="en-median", weights=tuple(files), random_weights=False
        )
    )
    with EngineFile.open(path) as engine:
        weights = engine.manifest.weights
    assert taken == files
    assert weights.sources() == ("tt.safetensors", "ft.safetensors", "bt.safetensors")
    assert [one.sha256 for one in weights.more] == [
        hashlib.sha256(file.read_bytes()).hexdigest() for file in files[1:]
    ]
    assert weights.licence == "MIT, own"


@pytest.mark.parametrize(
    ("backbone", "rosta"),
    [("resnet34", "rim"), ("efficientnet-lite0", "rim"), ("efficientnet-lite0", "en-median")],
)
def test_graphs_with_several_representations_pass_the_check(
    tmp_path: Path, backbone: str, rosta: str
) -> None:
    """Integration modules, through the checked loader."""
    pytest.importorskip("openvino")
    import torch

    from matter_sdk.sdk.backends import open_backend

    torch.manual_seed(1)
    network = networks.create("gfm", backbone=backbone, rosta=rosta).eval()
    size = (128, 192)
    # Smooth pictures, several: batch norms that are fitted to less blow rounding up.
    coarse = torch.randn(4, 3, 8, 12, generator=torch.Generator().manual_seed(2))
    shown = torch.nn.functional.interpolate(coarse, size, mode="bilinear")
    random_weights.fit(network, (shown,))  # else the matte is black all over
    image = shown[:1].numpy()
    model = graph.export_onnx(network, network.heads, size)
    onnx_files.save(model, tmp_path / "model.onnx")
    manifest = dataclasses.replace(
        conftest.Tiny(tmp_path).manifest((size,), fusion=network.fusion),
        heads=tuple(Head(name, channels) for name, channels in network.heads.items()),
    )
    engine.write(tmp_path / "x.engine", manifest, {"model.onnx": tmp_path / "model.onnx"})
    with torch.no_grad():
        expected = network(torch.from_numpy(image))["alpha"].numpy()
    assert expected.std() > 0
    with EngineFile.open(tmp_path / "x.engine") as file:
        for name in ("onnxruntime", "openvino"):
            backend, _ = open_backend(file, manifest.models[0], backend=name)
            alpha = backend.run(image)["alpha"]
            assert np.mean(np.abs(alpha - expected) > 1e-3) < 0.01, name
            backend.close()


def test_weights_too_large_for_one_message(
    stand_in: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As resnet101's 2 GB: external weights inside the engine, with a threshold to match."""
    monkeypatch.setattr(onnx_files, "EXTERNAL_BYTES", 1000)
    path = build(options(tmp_path / "x.engine", precision="fp16"))
    with EngineFile.open(path) as engine:
        assert engine.manifest.models[0].data == "model.onnx.data"
        assert set(engine.manifest.members) == {"model.onnx", "model.onnx.data"}
        judged = {entry.artefact: entry for entry in engine.manifest.verification}
    assert judged["onnxruntime"].status == "passed"
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo("model.onnx").file_size < 60_000


def test_a_matte_past_its_bound_fails_and_leaves_an_old_engine_alone(
    stand_in: ModuleType,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(verify.MAD_BOUND["gfm"], "float32", 0.0)
    flags = ["--model", "gfm", "--weights", str(checkpoint), "--size", "64x96", "--target", "onnx"]
    output = tmp_path / "x.engine"
    for before in (None, b"old"):
        if before:
            output.write_bytes(before)
        assert main([*flags, "--output", str(output)]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "verification: onnxruntime 64x96 (float32): mad " in captured.err
        assert "is over 0e+00" in captured.err
        assert "failed: mad" in captured.err  # in the table too
        assert "Next:" not in captured.err
        left = {entry.name for entry in tmp_path.iterdir()}
        assert left == {"mine.safetensors"} | ({"x.engine"} if before else set())
        assert before is None or output.read_bytes() == before


def test_a_wrong_operator_is_found(
    stand_in: ModuleType, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The classic slip: align_corners on the wrong upsampling."""
    export = graph.export_onnx

    def slip(*arguments: Any, **more: Any) -> Any:
        model = export(*arguments, **more)
        for node in model.graph:
            if node.op_type == "Resize":
                node.attributes.add(
                    graph.ir.AttrString("coordinate_transformation_mode", "align_corners")
                )
        return model

    monkeypatch.setattr(graph, "export_onnx", slip)
    with pytest.raises(BuildError, match=r"heads .* is over 1e-03"):
        build(options(tmp_path / "x.engine", weights=(checkpoint,), random_weights=False))
    assert not (tmp_path / "x.engine").exists()


def test_a_plan_that_cannot_be_built_fails_the_build(
    stand_in: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorrt_rtx")

    def refuse(*arguments: Any, **more: Any) -> Any:
        raise BuildError("tensorrt-rtx 1.7 could not build the plan:\n  no reason given")

    monkeypatch.setattr(plans, "build", refuse)
    with pytest.raises(BuildError, match="could not build the plan"):
        build(options(tmp_path / "x.engine", targets=("tensorrt-rtx",)))
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_another_network_is_one_clear_error(
    stand_in: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    other = tmp_path / "other.pth"
    torch.save({"layer.weight": torch.zeros(3)}, other)
    flags = ["--model", "gfm", "--weights", str(other), "--target", "onnx"]
    assert main([*flags, "--output", str(tmp_path / "x.engine")]) == 1
    captured = capsys.readouterr()
    assert "other.pth" in captured.err
    assert "Traceback" not in captured.err
    assert [entry.name for entry in tmp_path.iterdir()] == ["other.pth"]


def test_an_interrupted_build_leaves_nothing(
    stand_in: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*arguments: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "verify", interrupt)
    flags = ["--model", "gfm", "--random-weights", "--size", "64x96", "--target", "onnx"]
    assert main([*flags, "--output", str(tmp_path / "x.engine")]) == 130
    assert "interrupted; nothing was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_clear_error(
    stand_in: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **more: Any) -> Any:
        raise OSError(28, "No space left on device", "model.onnx")

    monkeypatch.setattr(onnx_files, "save", full)
    with pytest.raises(BuildError, match=r"No space left on device \(model.onnx\)"):
        build(options(tmp_path / "x.engine"))
    assert list(tmp_path.iterdir()) == []


def test_int8_travels_beside_float(
    stand_in: ModuleType, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Calibrated on given pictures, verified by each backend, and run by the SDK."""
    pytest.importorskip("openvino")
    from matter_sdk.sdk import cpu
    from matter_sdk.sdk.backends import open_backend

    frames = tmp_path / "frames"
    frames.mkdir()
    rng = np.random.default_rng(4)
    for index in range(3):
        image = np.repeat(np.repeat(rng.integers(0, 256, (8, 12, 3), np.uint8), 8, 0), 8, 1)
        cv2.imwrite(str(frames / f"{index}.png"), image)
    path = build(
        options(
            tmp_path / "x.engine",
            weights=(checkpoint,),
            random_weights=False,
            int8=True,
            calibrate=frames,
            sizes=((64, 96), (32, 64)),
        )
    )
    image = rng.integers(0, 256, (1, 3, 64, 96)).astype(np.float32)
    with EngineFile.open(path) as file:
        manifest = file.manifest
        results = {}
        for arithmetic in ("float32", "int8"):
            backend, _ = open_backend(
                file, manifest.models[0], backend="onnxruntime", arithmetic=arithmetic
            )
            results[arithmetic] = np.array(backend.run(image)["focus"])
        stored = onnx.load_from_string(bytes(file.read("model-int8.onnx")))
    assert [model.onnx for model in manifest.models] == ["model.onnx", "model-32x64.onnx"]
    for model in manifest.models:
        assert model.int8 is not None
        assert (model.int8.frames, model.int8.source) == (3, "frames")
        assert {"stem/Conv", "glance/Conv", "focus/Conv"} <= set(model.int8.float32)
        assert "down/Conv" not in model.int8.float32
        assert (model.data, model.int8.data) == ("weights.data", "weights-int8.data")
    assert set(manifest.members) >= {"model-int8.onnx", "model-int8-32x64.onnx"}
    assert "--int8 --calibrate frames" in manifest.build_command()
    assert "QuantizeLinear" in {node.op_type for node in stored.graph.node}
    assert "matter" in {entry.key for entry in stored.metadata_props}
    assert 0 < np.abs(results["int8"] - results["float32"]).mean() < 0.05
    for artefact in ("onnxruntime", "openvino"):
        rows = [e for e in manifest.verification if (e.artefact, e.precision) == (artefact, "int8")]
        assert [row.size for row in rows] == [(64, 96), (32, 64)]
        for row in rows:
            assert row.status == "passed"
            assert row.share is not None
            assert 0 < row.share <= row.bound["share"] == 0.1
    for model in manifest.models:
        assert model.measured is not None
        timed = {(one.backend, one.arithmetic) for one in model.measured.timings}
        assert (model.measured.cpu, model.measured.threads) == (cpu.name(), cpu.usable_cores())
        assert all(one.ms > 0 for one in model.measured.timings)
        assert {("onnxruntime", "int8"), ("onnxruntime", "float32"), ("openvino", "int8")} <= timed
    assert "convolutions stay float" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["search", "backend"])
def test_int8_past_its_bound_fails_the_build(
    stand_in: ModuleType,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    if where == "search":
        monkeypatch.setitem(verify.SHARE_BOUND, "int8", 1e-9)
        message = r"--int8: with .*% of the multiply-accumulates in floating point SAD is still"
    else:  # the search is content, and the backends that verify are not
        monkeypatch.setattr(verify, "share", lambda run, truth: 0.0)
        monkeypatch.setitem(verify.SHARE_BOUND, "int8", 1e-9)
        message = r"verification: onnxruntime 64x96 \(int8\): share .* Build without --int8, or"
    with pytest.raises(BuildError, match=message):
        build(
            options(tmp_path / "x.engine", weights=(checkpoint,), random_weights=False, int8=True)
        )
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.safetensors"]


@pytest.mark.parametrize(
    ("name", "size", "more"), [("aim", (64, 96), {"opset": 23}), ("sim", (40, 64), {"batch": 2})]
)
def test_int8_of_other_networks(
    stand_in: ModuleType, tmp_path: Path, name: str, size: tuple[int, int], more: dict[str, int]
) -> None:
    """Max-unpooling and the newest operators; parts, which stay float, and batches."""
    pytest.importorskip("openvino")
    path = build(options(tmp_path / "x.engine", model=name, sizes=(size,), int8=True, **more))
    with EngineFile.open(path) as engine:
        manifest = engine.manifest
    assert manifest.models[0].int8 is not None
    judged = {(e.artefact, e.precision): e.status for e in manifest.verification}
    assert judged["onnxruntime", "int8"] == judged["openvino", "int8"] == "passed"
    for part in manifest.parts.values():
        assert all(model.int8 is None for model in part.models)


def test_the_share_is_of_the_sum_of_alpha() -> None:
    """A closed form: an alpha of 0.5 everywhere, off by 0.05 in half of the pixels."""
    answer = np.full((1, 1, 32, 32), 0.5, np.float32)
    wrong = answer.copy()
    wrong[..., :16] += 0.05
    heads = {"alpha": answer}
    truth = verify.Reference("sim", (32, 32), "alpha", ((answer,),), (heads,), (answer,))
    assert verify.share(lambda tensor: {"alpha": wrong}, truth) == pytest.approx(0.05)
    entry = verify.compare("x", "int8", lambda tensor: {"alpha": wrong}, truth)
    assert entry.share == pytest.approx(0.05)
    assert (entry.status, entry.bound) == ("passed", {"share": 0.1})
    assert verify.compare("x", "float16", lambda tensor: {"alpha": wrong}, truth).status == "failed"
    # An empty matte has a scale of its own: a hundredth of the pixels.
    empty = {"alpha": answer * 0}
    nothing = verify.Reference("sim", (32, 32), "alpha", ((answer,),), (empty,), (answer * 0,))
    assert verify.share(lambda tensor: {"alpha": wrong - answer}, nothing) == pytest.approx(2.5)


def test_stdout_holds_the_path_alone(
    stand_in: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "x.engine"
    flags = ["--model", "gfm", "--random-weights", "--size", "64x96", "--target", "onnx"]
    assert main([*flags, "--output", str(output)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{output}\n"
    for word in (
        "stage",
        "seconds",
        "SAD",
        "MSE",
        "Grad",
        "Conn",
        "largest",
        "parameters",
        "Next:",
    ):
        assert word in captured.err
    assert "onnxruntime-cuda" in captured.err
    assert "\x1b" not in captured.err  # a log, not a terminal


def test_finite_weights_that_answer_with_nan_are_refused() -> None:
    """A variance below 0, as a diverged training may leave it."""
    network = tiny.Tiny().eval()
    network.stem_bn.running_var.fill_(-1)
    picture = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    with pytest.raises(BuildError, match="NaN"):
        verify.reference(network, [(picture,)], (64, 64))


def test_nan_never_passes() -> None:
    zeros = np.zeros((1, 3, 32, 32), np.float32)
    heads = {"glance": zeros, "focus": zeros[:, :1]}
    truth = verify.Reference("gfm", (32, 32), "tt", ((zeros,),), (heads,), (zeros[:, :1],))
    wrong = {"glance": zeros, "focus": zeros[:, :1] + np.nan}
    entry = verify.compare("x", "float32", lambda tensor: wrong, truth)
    assert (entry.status, entry.reason) == ("failed", "focus holds NaN or infinity")
    assert verify.compare("x", "float32", lambda tensor: heads, truth).status == "passed"


def test_the_clock_in_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    class Terminal:
        encoding = "utf-8"

        def __init__(self) -> None:
            self.text = ""

        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            self.text += text
            return len(text)

        def flush(self) -> None:
            pass

    terminal = Terminal()
    report = Report(terminal)  # type: ignore[arg-type]
    with report.stage("one") as stage:
        stage.bytes = 1_500_000
        import time

        time.sleep(0.5)
    with pytest.raises(RuntimeError), report.stage("two"):
        raise RuntimeError
    last = [line.split("\r")[-1] for line in terminal.text.split("\n")]
    assert terminal.text.count("… one") >= 1
    assert "✓ one" in last[0]
    assert "1.5 MB" in last[0]
    assert "✗ two" in last[1]
    assert [stage.name for stage in report.stages] == ["one"]


def test_the_light_network_builds_from_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "export.build", "--model", "gfm", "--random-weights", "--fp16"]
    command += ["--backbone", "efficientnet-lite0", "--size", "32x64", "--target", "onnx"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "gfm.engine")],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "gfm.engine")
    with zipfile.ZipFile(tmp_path / "gfm.engine") as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["network"]["parameters"] < 6_000_000
    assert manifest["weights"]["random"]


def test_costs_are_told_as_the_papers_count() -> None:
    network = NetworkInfo("aim", "resnet34", "unified", 54_785_191, {"288x512": 43_920_000_000})
    assert cost.costs_text(network, whole=True) == (
        "54.79 M parameters (55.30 M with what released files hold and nothing reads); "
        "multiply-accumulates an image: 43.92 G at 288x512, 190.58 G at 800x800, "
        "as the papers count"
    )
