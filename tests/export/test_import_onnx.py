"""Engines of other people's networks: a matte, a segmentation, and one of strange operators."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnx.parser
import pytest

pytest.importorskip("onnxscript")

from matter_sdk.export import import_onnx
from matter_sdk.export.errors import BuildError
from matter_sdk.export.options import BuildOptions
from matter_sdk.export.plain_operators import rewrite
from matter_sdk.export.progress import Report
from matter_sdk.export.stages import Built, Context, verify
from matter_sdk.sdk import EngineFile, FrameError, Matter
from matter_sdk.sdk.describe import layout, text
from matter_sdk.sdk.engine.manifest import FOREIGN, Imported
from tests.sdk.conftest import Tiny

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
# A decoder as it is exported for symbolic sizes: each enlargement asks for its neighbour's sides.
DECODER = """
<ir_version: 8, opset_import: ["" : 15]>
decoder (float16[1, 3, h, w] picture) => (float16[1, 1, h, w] mask)
<int64[1] two = {2}, int64[1] zero = {0}, int64[1] four = {4}, float[0] none = {}>
{
    red = Conv (picture, weight)
    half = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (red)
    quarter = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (half)
    half_shape = Shape (half)
    half_sides = Slice (half_shape, two, four)
    quarter_shape = Shape (quarter)
    first = Slice (quarter_shape, zero, two)
    half_sizes = Concat <axis = 0> (first, half_sides)
    up_half = Resize <mode = "linear"> (quarter, , , half_sizes)
    near = Add (half, up_half)
    whole_shape = Shape (red)
    whole_sides = Slice (whole_shape, two, four)
    near_shape = Shape (near)
    second = Slice (near_shape, zero, two)
    whole_sizes = Concat <axis = 0> (second, whole_sides)
    up_whole = Resize <mode = "linear"> (near, none, none, whole_sizes)
    wide = Cast <to = 1> (up_whole)
    small = Sigmoid (wide)
    mask = Cast <to = 10> (small)
}
"""
# Alpha is red, green and the trimap; the trimap is a fourth channel, or apart.
JOINED = """
<ir_version: 8, opset_import: ["" : 18]>
guided (float[1, 4, h, w] all) => (float[1, 1, h, w] mask)
<float[1, 4, 1, 1] weight = {0.25, 0.25, 0, 0.5}>
{
    mask = Conv (all, weight)
}
"""
APART = """
<ir_version: 8, opset_import: ["" : 18]>
guided (float[n, 1, h, w] image, float[n, 3, h, w] trimap) => (float[n, 1, h, w] mask)
<float[1, 3, 1, 1] weight = {0.25, 0.25, 0}, float half = {0.5}>
{
    colours = Conv (trimap, weight)
    known = Mul (image, half)
    mask = Add (colours, known)
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
    with Matter("mine.engine", backend="onnxruntime") as matter:
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
    with Matter(engine, backend="onnxruntime") as matter:
        np.testing.assert_allclose(matter.manifest.input.mean, [127.5] * 3)
        np.testing.assert_allclose(matter.manifest.input.std, [63.75] * 3)
        blue, other = (np.array((255, 40)) / 255 - 0.5) / 0.25
        expected = 1 / (1 + np.exp(8 * other - (8 * blue - 2)))
        assert np.abs(matter(frame).alpha - expected).max() < 1e-3


@pytest.mark.parametrize("text", [JOINED, APART])
def test_a_network_with_a_trimap(tmp_path: Path, text: str) -> None:
    model, engine = write(tmp_path / "t.onnx", text), tmp_path / "t.engine"
    assert run(model, "--trimap", "--output", engine, "--size", "64x96") == 0
    frame = np.random.default_rng(2).integers(0, 256, (64, 96, 3), np.uint8)
    trimap = np.full((64, 96), 128, np.uint8)
    trimap[:16], trimap[48:] = 0, 255
    inside = frame[..., 1:].sum(2) / 255 / 4 + 128 / 255 / 2
    expected = np.select([trimap == 0, trimap == 255], [0, 1], inside)
    with Matter(engine, backend="onnxruntime") as matter:
        assert matter.manifest.inputs == {"image": 3, "trimap": 1}
        assert np.abs(matter(frame, trimap=trimap).alpha - expected).max() < 1e-5
        both = matter([frame, frame[::-1]], trimap=[trimap, trimap[::-1]])
        assert np.abs(both[1].alpha - expected[::-1]).max() < 1e-5
        assert "given with each frame" in matter.describe()
        with pytest.raises(FrameError, match="trimap"):
            matter(frame)


def test_a_trimap_from_another_engine(tmp_path: Path) -> None:
    model, engine = write(tmp_path / "t.onnx", JOINED), tmp_path / "t.engine"
    assert run(model, "--trimap", "--output", engine, "--size", "64x96") == 0
    frame = np.zeros((64, 96, 3), np.uint8)
    for at, colour in enumerate(((0, 0, 255), (0, 255, 0), (255, 0, 0))):  # red, green, blue
        frame[:, 32 * at : 32 * at + 32] = colour  # the classes of Tiny's glance
    source = Tiny(tmp_path).build()
    with Matter(engine, trimap_from=source, backend="onnxruntime") as matter:
        alpha = matter(frame).alpha
    unknown = 0.25 + 128 / 255 / 2
    np.testing.assert_allclose(alpha[32, [8, 48, 88]], [0, unknown, 1], atol=1e-5)


def test_how_it_was_imported_is_kept(tmp_path: Path) -> None:
    """The engine names a command line that makes it again."""
    model, engine = write(tmp_path / "a.onnx", SEGMENTATION), tmp_path / "a.engine"
    options = ["--activation", "softmax", "--channel", 1, "--mean", "0.5", "--std", "0.25"]
    assert run(model, "--output", engine, *options) == 0
    with EngineFile.open(engine) as opened:
        first = opened.manifest
        assert first.imported == Imported("classes", 1, "softmax")
        assert "channel 1 of 'classes', activation softmax" in text(layout(first))
        words = shlex.split(first.build_command("again.engine"))
    at = words.index("a.onnx")
    again = tmp_path / "again.engine"
    assert run(model, *words[at + 1 : -1], again) == 0
    with EngineFile.open(again) as opened:
        second = opened.manifest
    assert (second.imported, second.heads) == (first.imported, first.heads)
    np.testing.assert_allclose(second.input.mean, first.input.mean)


def test_operators_that_no_engine_holds(tmp_path: Path) -> None:
    model, engine = write(tmp_path / "a.onnx", STRANGE), tmp_path / "a.engine"
    assert run(model, "--output", engine, "--size", "64x96") == 0
    with EngineFile.open(engine) as opened:
        passed = [one for one in opened.manifest.verification if one.status == "passed"]
    assert passed
    assert max(one.largest for one in passed if one.precision == "float32") < 1e-3
    frame = cv2.resize(np.random.default_rng(1).integers(0, 256, (8, 12, 3), np.uint8), (96, 64))
    with Matter(engine, backend="onnxruntime") as matter:
        assert 0 < matter(frame).alpha.std() < 0.5


def test_a_decoder_of_float16_and_computed_sizes(tmp_path: Path) -> None:
    model, engine = tmp_path / "d.onnx", tmp_path / "d.engine"
    decoder = onnx.parser.parse_model(DECODER)
    red = np.array([1, 0, 0], np.float16).reshape(1, 3, 1, 1)
    decoder.graph.initializer.append(onnx.numpy_helper.from_array(red, "weight"))
    nodes = list(decoder.graph.node)[::-1]  # some converters append their casts
    del decoder.graph.node[:]
    decoder.graph.node.extend(nodes)
    onnx.save(decoder, model)
    assert run(model, "--output", engine, "--size", "64x96") == 0
    frame = np.full((64, 96, 3), (0, 0, 153), np.uint8)
    with Matter(engine, backend="onnxruntime") as matter:
        assert np.abs(matter(frame).alpha - 1 / (1 + np.exp(-1.2))).max() < 1e-5


def test_what_cannot_be_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    matte, small = write(tmp_path / "m.onnx", MATTE), write(tmp_path / "s.onnx", SEGMENTATION)
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    trimap = tmp_path / "t.onnx"
    write(trimap, MATTE.replace("float[n, 3, h, w] picture", "float[n, 4, h, w] picture"))
    logits = write(tmp_path / "l.onnx", MATTE.replace("Sigmoid", "Identity"))
    odd = MATTE.replace("Sigmoid (scores)", "Erf (scores)")
    erf = write(tmp_path / "e.onnx", odd.replace("-4", "4").replace("{8, 0, 0}", "{0, 0, 0}"))
    own = write(tmp_path / "o.onnx", MATTE.replace("Sigmoid", "Own"))
    circle = write(tmp_path / "c.onnx", MATTE.replace("(picture, weight", "(mask, weight"))
    for words, status, named in (
        ([own, "--size", "64x96"], 1, "Own"),
        ([circle, "--size", "64x96"], 2, "c.onnx"),
        ([tmp_path / "no.onnx"], 2, "no.onnx"),
        ([tmp_path / "bad.onnx"], 2, "bad.onnx"),
        ([matte], 2, "--size"),
        ([matte, "--size", "64"], 2, "'64'"),
        ([matte, "--size", "64x96", "--mean", "1,2"], 2, "'1,2'"),
        ([matte, "--size", "64x96", "--head", "msk"], 2, "'msk'"),
        ([trimap, "--size", "64x96"], 2, "picture[None, 4"),
        ([matte, "--size", "64x96", "--trimap"], 2, "picture[None, 3"),
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


@pytest.mark.parametrize(
    "maker",
    [
        "ConstantOfShape (sides)",
        "Expand (one, sides)",
        "Tile (one, sides)",
        "Range (none, many, step)",
        'Resize <mode = "nearest"> (one, , , sides)',
    ],
)
def test_constants_too_large_to_compute(
    maker: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = (
        "<int64[2] sides = {300000, 300000}, float[1, 1] one = {1}, "
        "int64 none = {0}, int64 many = {90000000000}, int64 step = {1}, "
    )
    nodes = f"{{ large = {maker} whole = ReduceMax <keepdims = 0> (large) "
    text = MATTE.replace('"" : 11', '"" : 17').replace("\n<float", f"\n{held} float")
    text = text.replace("{\n", nodes, 1)
    assert run(write(tmp_path / "b.onnx", text), "--size", "64x96") == 1
    assert "90000000000" in capsys.readouterr().err


def test_rewriting_leaves_what_it_does_not_know() -> None:
    import onnx_ir as ir

    text = MATTE.replace("Sigmoid (scores)", "Pow (scores, bias)")
    model = ir.from_proto(onnx.parser.parse_model(text))
    rewrite(model)
    assert [node.op_type for node in model.graph] == ["Conv", "Pow"]


def test_a_network_of_which_nothing_ran_is_refused(tmp_path: Path) -> None:
    manifest = Tiny(tmp_path).manifest()
    context = Context(BuildOptions(FOREIGN), Report(), tmp_path)
    passed, not_run = manifest.verification
    verify.check_passed(context, {"": Built(manifest, ())})
    assert passed.status == "passed"
    with pytest.raises(BuildError, match=not_run.reason):
        manifest = dataclasses.replace(manifest, verification=(not_run,))
        verify.check_passed(context, {"": Built(manifest, ())})
