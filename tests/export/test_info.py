"""``python -m export.info``: what a person is told about an engine, and about what is none."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest

pytest.importorskip("onnx_ir")

from matter_sdk.export import info
from matter_sdk.export.graph_summary import Layer, Summary, summary
from matter_sdk.sdk.engine.file import EngineFile, write
from matter_sdk.sdk.engine.manifest import Int8Graph, Manifest, Measured, PlanEntry, Timing

REPOSITORY = Path(__file__).resolve().parents[2]


def shown(path: Path) -> str:
    with EngineFile.open(path) as engine:
        return "\n".join(info.describe(engine))


def test_a_stranger_learns_what_the_engine_is(sim_engine: Path) -> None:
    text = shown(sim_engine)
    manifest = Manifest.from_json(zipfile.ZipFile(sim_engine).read("manifest.json"))
    before, after = text.split("part: classifier")
    for half in (before, after):
        assert "*** RANDOM WEIGHTS" in half
        assert "float16 graph" in half
        assert "not run: no NVIDIA GPU here" in half or "passed" in half
    for words in (
        "sim resnet50, ",
        "image 3×H×W: RGB in 0..1\n",
        "trimap 2×H×W\n",
        "semantic 20×H×W\n",
        "alpha 1×H×W, foreground 3×H×W, background 3×H×W; alpha is the result",
        "328×400, ",
        "sides are multiples of 8; 1 in a run",
        "fp16: float16 plans",
        "SAD",
        "LeakyRelu",
        "aspp",
    ):
        assert words in before
    for words in (
        "cam 20×H/32×W/32; cam is the result",
        "RGB in 0..255, less (123.675, 116.28, 103.53), over (58.395, 57.12, 57.375)",
        "320×320, ",
        "classifier/model-328x400.onnx: the same network",
    ):
        assert words in after
    assert "SAD" not in after.split("Members")[0]  # the classifier makes no matte
    for name, member in manifest.members.items():
        assert name in text
        assert member.bytes > 0
    assert f"torch {manifest.versions['torch']}" in text
    assert manifest.build_command(sim_engine.name) in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_layers_are_counted_as_onnx_holds_them(sim_engine: Path) -> None:
    """Against the onnx package: operators, bytes by type, and convolutions by hand."""
    with EngineFile.open(sim_engine) as engine:
        (model,) = engine.manifest.models
        found = summary(engine, model)
        stored = onnx.load_model_from_string(bytes(engine.read(model.onnx)))
        macs = engine.manifest.network.macs["328x400"]
    kinds = [node.op_type for node in stored.graph.node if node.op_type != "Cast"]
    assert sum(found.kinds.values()) == len(kinds)
    assert found.kinds["Conv"] == kinds.count("Conv")
    assert "Cast" not in found.kinds
    halves = [t for t in stored.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16]
    assert found.cast == len(halves)
    assert found.bytes["float16"] == sum(2 * int(np.prod(tensor.dims)) for tensor in halves)
    assert found.macs == macs
    group = next(layer for layer in found.layers if layer.name == "group/Conv")
    assert group.weight == (16, 2, 3, 3)
    assert group.shape == (1, 16, 82, 100)
    assert group.bytes == 2 * 16 * 2 * 3 * 3 + 4 * 16  # a float16 kernel, a float32 bias
    assert group.macs == 16 * 82 * 100 * 2 * 3 * 3
    stages = found.stages()
    assert "aspp" in [stage.name for stage in stages]
    assert sum(stage.macs for stage in stages) == found.macs
    assert sum(stage.operators for stage in stages) == sum(found.kinds.values())


def layer(name: str, shape: tuple[int, ...] = (1, 4, 8, 8)) -> Layer:
    return Layer(name, "Conv", shape, (4, 4, 3, 3), 100, 1000)


def test_stages_are_as_coarse_as_tells_something() -> None:
    names = [f"encoder.layer{i}.0.conv{j}/Conv" for i in range(3) for j in range(2)]
    names += [f"decoder.up{i}/Conv" for i in range(3)]
    found = Summary({"Conv": len(names)}, 0, {}, tuple(map(layer, names)))
    assert [(stage.name, stage.operators) for stage in found.stages()] == [
        *((f"encoder.layer{i}", 2) for i in range(3)),
        *((f"decoder.up{i}", 1) for i in range(3)),
    ]


def test_without_names_stages_are_resolutions() -> None:
    layers = (layer("node_1"), layer("node_2", (1, 4, 4, 4)), layer("node_3"))
    found = Summary({"Conv": 3}, 0, {}, layers)
    assert [(stage.name, stage.operators) for stage in found.stages()] == [("8×8", 2), ("4×4", 1)]


def test_many_stages_are_added_up() -> None:
    names = [f"stage{i}/Conv" for i in range(40)]
    found = Summary({"Conv": 40}, 0, {}, tuple(map(layer, names)))
    rows = info._largest_stages(found.stages())
    assert len(rows) == 13
    assert (rows[-1].name, rows[-1].operators, rows[-1].macs) == ("28 others", 28, 28000)


def test_trained_weights_plans_int8_and_float32_operators(sim_engine: Path, tmp_path: Path) -> None:
    with EngineFile.open(sim_engine) as engine:
        manifest = engine.manifest
        members = {name: bytes(engine.read(name)) for name in manifest.files()}
    plan = PlanEntry("tensorrt-rtx", "1.7", None, (328, 400), "plans/x.plan")
    changed = dataclasses.replace(
        manifest,
        weights=dataclasses.replace(
            manifest.weights, source="sim.pth", sha256="ab" * 32, random=False, licence="MIT"
        ),
        network=dataclasses.replace(manifest.network, without=("se",)),
        models=(
            dataclasses.replace(
                manifest.models[0],
                float32=("stem/Conv", "bn/Mul"),
                int8=Int8Graph("q.onnx", None, ("a/Conv", "b/Conv"), 32, "clip.mp4"),
                measured=Measured("a Z80", 2, 0.5, (Timing("openvino", "int8", 4.25),)),
            ),
        ),
        plans=(plan,),
        parts={},
    )
    kept = {name: data for name, data in members.items() if name in changed.files()}
    path = tmp_path / "x.engine"
    write(path, changed, {**kept, "plans/x.plan": b"plan", "q.onnx": b"graph"})
    text = shown(path)
    assert "RANDOM" not in text
    for words in (
        "sim.pth (MIT, ",
        "SHA-256 " + "ab" * 32,
        "without se",
        "as values pass float16's range: stem/Conv, bn/Mul",
        "tensorrt-rtx 1.7, compute capability 8.0, 8.6, 8.9, 12.0 and later, 328×400",
        "328×400, q.onnx, calibrated on 32 frames of clip.mp4",
        "in floating point: a/Conv, b/Conv",
        "on another CPU (a Z80), 2 threads, load 0.5",
        "328×400: openvino int8 4.2 ms",
    ):
        assert words in text


def test_the_command(sim_engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert info.main([str(sim_engine)]) == 0
    assert capsys.readouterr().out.rstrip("\n") == shown(sim_engine)
    assert info.main([str(sim_engine), "--json"]) == 0
    text = capsys.readouterr().out
    assert text.rstrip("\n").encode() == zipfile.ZipFile(sim_engine).read("manifest.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file; expected an engine file"),
        (b"", "an empty file; expected an engine"),
        (b"\x08\x0a\x12\x05", "a bare ONNX model, not an engine"),
        (b"\x80\x02}", "a Python pickle, not an engine"),
    ],
)
def test_what_is_no_engine(
    content: bytes | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.engine"
    if content is not None:
        path.write_bytes(content)
    assert info.main([str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("export.info: failed: ")


def test_a_damaged_engine_and_a_graph_that_is_none(
    sim_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = bytearray(sim_engine.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path = tmp_path / "damaged.engine"
    path.write_bytes(damaged)
    assert info.main([str(path)]) == 1
    assert "is damaged" in capsys.readouterr().err
    with EngineFile.open(sim_engine) as engine:
        manifest = dataclasses.replace(engine.manifest, parts={})
        members = {name: bytes(engine.read(name)) for name in manifest.files()}
    members["model.onnx"] = b"\x3a\x04\x0a\x02\x22\x00"  # a graph of one node without an operator
    write(path, manifest, members)
    assert info.main([str(path)]) == 1
    error = capsys.readouterr().err
    assert "model.onnx" in error
    assert "is built from its checkpoint: python -m export.build --model sim" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("flags", "words"), [(["x", "y"], "y"), (["x", "--jsno"], "--jsno")])
def test_wrong_flags(flags: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert info.main(flags) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_torch_is_not_imported(sim_engine: Path) -> None:
    program = (
        "import sys\n"
        "from matter_sdk.export.info import main\n"
        "status = main(sys.argv[1:])\n"
        "heavy = {'torch', 'onnxscript', 'onnxruntime', 'openvino', 'tensorrt_rtx', 'kernels'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(sim_engine)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"


def test_a_reader_that_has_seen_enough(sim_engine: Path, tiny: ModuleType) -> None:
    command = f"{sys.executable} -m export.info {sim_engine} | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr == ""
