"""Engines of other people's networks: a matte, a segmentation, and one of strange operators."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnx.parser
import pytest

pytest.importorskip("onnxscript")

from matter_sdk.export import import_onnx
from matter_sdk.export.plain_operators import rewrite
from matter_sdk.sdk import EngineFile, Matter
from matter_sdk.sdk.engine.manifest import FOREIGN

# Red over 1/2, smoothly; an old operator set, and sides of any length.
MATTE = """
<ir_version: 7, opset_import: ["" : 11]>
matte (float[n, 3, h, w] picture) => (float[n, 1, h, w] mask)
<float[1, 3, 1, 1] weight = {8, 0, 0}, float[1] bias = {-4}>
{
    scores = Conv (picture, weight, bias)
    mask = Sigmoid (scores)
}
"""
# Two classes at a quarter of the sides; the second is blue.
SEGMENTATION = """
<ir_version: 8, opset_import: ["" : 17]>
segmentation (float[1, 3, 64, 96] alpha) => (float[1, 2, 16, 24] classes)
<float[2, 3, 1, 1] weight = {4, 4, 0, 0, 0, 8}, float[2] bias = {0, -2}>
{
    small = AveragePool <kernel_shape = [4, 4], strides = [4, 4]> (alpha)
    classes = Conv (small, weight, bias)
}
"""
# Operators that no engine holds, and a size that is computed from the picture's.
STRANGE = """
<ir_version: 8, opset_import: ["" : 18]>
strange (float[1, 3, h, w] input) => (float[1, h, w] out, float[1, 3] other)
<float[3] gain = {1, 2, 3}, float[3] shift = {0, 0.5, 0}, float[3, 1, 1] slope = {0.1, 0.2, 0.3},
 int64[3] parts = {1, 1, 1}, int64[1] two = {2}, int64[1] one = {1}, float square = {2}>
{
    normal = InstanceNormalization <epsilon = 0.001> (input, gain, shift)
    dropped = Dropout (normal)
    bent = PRelu (dropped, slope)
    r, g, b = Split <axis = 1> (bent, parts)
    squared = Pow (g, square)
    total = Sum (r, squared, b)
    mean = GlobalAveragePool (input)
    other = Flatten (mean)
    all = ReduceSum <keepdims = 1> (mean, one)
    moved = Add (total, all)
    half = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (moved)
    shape = Shape (input)
    two_ends = Slice (shape, two, four)
    empty = Constant <value_float = 0.0> ()
    sides = Concat <axis = 0> (first, two_ends)
    large = Resize <mode = "linear"> (half, , , sides)
    alpha = Sigmoid (large)
    out = Squeeze (alpha, one)
}
"""


def write(path: Path, text: str) -> Path:
    extra = "<float[3] gain"
    text = text.replace(extra, "<int64[1] four = {4}, int64[2] first = {1, 1}, float[3] gain")
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def run(*words: object) -> int:
    return import_onnx.main([str(word) for word in words])


def test_a_matting_network_of_any_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = write(tmp_path / "mine.onnx", MATTE)
    options = ["--range", "255", "--std", "255", "--size", "64x96", "--size", "96x64"]
    assert run(model, *options) == 0
    assert capsys.readouterr().out == "mine.engine\n"
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[..., 2] = np.linspace(0, 255, 96)
    with Matter("mine.engine") as matter:
        assert matter.manifest.network.name == FOREIGN
        assert matter.manifest.input.mean == (0, 0, 0)
        assert [model.size for model in matter.manifest.models] == [(64, 96), (96, 64)]
        expected = 1 / (1 + np.exp(4 - 8 / 255 * frame[..., 2].astype(np.float64)))
        assert np.abs(matter(frame).alpha - expected).max() < 1e-3
        assert "import" in matter.manifest.build_command()
    with EngineFile.open("mine.engine") as engine:
        states = {entry.artefact: entry.status for entry in engine.manifest.verification}
    assert states["onnxruntime"] == "passed"


def test_a_segmentation_at_a_stride(tmp_path: Path) -> None:
    model, engine = write(tmp_path / "a.onnx", SEGMENTATION), tmp_path / "a.engine"
    options = ["--activation", "softmax", "--channel", 1, "--mean", "0.5", "--std", "0.25"]
    assert run(model, "--output", engine, *options) == 0
    frame = np.full((64, 96, 3), (255, 40, 40), np.uint8)
    with Matter(engine) as matter:
        np.testing.assert_allclose(matter.manifest.input.mean, [127.5] * 3)
        np.testing.assert_allclose(matter.manifest.input.std, [63.75] * 3)
        blue, other = (np.array((255, 40)) / 255 - 0.5) / 0.25
        expected = 1 / (1 + np.exp(8 * other - (8 * blue - 2)))
        assert np.abs(matter(frame).alpha - expected).max() < 1e-3


def test_operators_that_no_engine_holds(tmp_path: Path) -> None:
    model, engine = write(tmp_path / "a.onnx", STRANGE), tmp_path / "a.engine"
    assert run(model, "--output", engine, "--size", "64x96") == 0
    with EngineFile.open(engine) as opened:
        passed = [one for one in opened.manifest.verification if one.status == "passed"]
    assert passed
    assert max(one.largest for one in passed if one.precision == "float32") < 1e-3
    frame = cv2.resize(np.random.default_rng(1).integers(0, 256, (8, 12, 3), np.uint8), (96, 64))
    with Matter(engine) as matter:
        assert 0 < matter(frame).alpha.std() < 0.5


def test_what_cannot_be_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    matte, small = write(tmp_path / "m.onnx", MATTE), write(tmp_path / "s.onnx", SEGMENTATION)
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    trimap = tmp_path / "t.onnx"
    write(trimap, MATTE.replace("float[n, 3, h, w] picture", "float[n, 4, h, w] picture"))
    logits = write(tmp_path / "l.onnx", MATTE.replace("Sigmoid", "Identity"))
    odd = MATTE.replace("Sigmoid (scores)", "Erf (scores)")
    erf = write(tmp_path / "e.onnx", odd.replace("-4", "4").replace("{8, 0, 0}", "{0, 0, 0}"))
    for words, status, named in (
        ([tmp_path / "no.onnx"], 2, "no.onnx"),
        ([tmp_path / "bad.onnx"], 2, "bad.onnx"),
        ([matte], 2, "--size"),
        ([matte, "--size", "64"], 2, "'64'"),
        ([matte, "--size", "64x96", "--mean", "1,2"], 2, "'1,2'"),
        ([matte, "--size", "64x96", "--head", "msk"], 2, "'msk'"),
        ([trimap, "--size", "64x96"], 2, "picture[None, 4"),
        ([small, "--size", "32x32"], 2, "32x32"),
        ([small, "--activation", "softmax"], 2, "--channel"),
        ([small, "--activation", "softmax", "--channel", 2], 2, "0 to 1"),
        ([logits, "--size", "64x96"], 2, "--activation sigmoid"),
        ([erf, "--size", "64x96"], 1, "Erf"),
    ):
        assert run(*words, "--output", tmp_path / "x.engine") == status, words
        error = capsys.readouterr().err.splitlines()[-1]
        assert named in error, error
        assert error.startswith("export.import_onnx: ")
    assert not list(tmp_path.glob("*x.engine*"))


def test_rewriting_leaves_what_it_does_not_know() -> None:
    import onnx_ir as ir

    text = MATTE.replace("Sigmoid (scores)", "Pow (scores, bias)")
    model = ir.from_proto(onnx.parser.parse_model(text))
    rewrite(model)
    assert [node.op_type for node in model.graph] == ["Conv", "Pow"]
