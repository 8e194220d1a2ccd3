"""Which graphs are taken, and that a hostile one reaches no runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from matter_sdk.sdk import Matter
from matter_sdk.sdk.backends import graphs
from matter_sdk.sdk.backends.onnx_reader import read_model, whole_numbers
from matter_sdk.sdk.engine import file as engine
from matter_sdk.sdk.engine.file import EngineFile
from matter_sdk.sdk.engine.manifest import Head, Manifest
from matter_sdk.sdk.errors import EngineError, MatterError
from tests.sdk import tiny_sim
from tests.sdk.conftest import Tiny, externalise

SIZE = (32, 64)
ABOUT = replace(Tiny(Path()).manifest(fusion="alpha"), heads=(Head("alpha", 1),))
MEAN = helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1], keepdims=1)


def model(
    *nodes: onnx.NodeProto,
    tensors: dict[str, NDArray[Any]] | None = None,
    channels: int = 1,
    size: tuple[int, int] = SIZE,
) -> onnx.ModelProto:
    """A graph from ``image`` to ``alpha``."""
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, count, *size])
        for name, count in (("image", 3), ("alpha", channels))
    ]
    held = [numpy_helper.from_array(np.asarray(a), n) for n, a in (tensors or {}).items()]
    graph = helper.make_graph(list(nodes), "g", ends[:1], ends[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def plain() -> onnx.ModelProto:
    weight = {"w": np.full((1, 3, 3, 3), 0.5, np.float32), "b": np.zeros(1, np.float32)}
    return model(
        helper.make_node("Conv", ["image", "w", "b"], ["alpha"], pads=[1] * 4), tensors=weight
    )


def check(proto: onnx.ModelProto | bytes, about: Manifest = ABOUT, data: int = 0) -> None:
    content = proto if isinstance(proto, bytes) else proto.SerializeToString()
    graphs.check(content, about, about.models[0], bytes(data))


def refusal(proto: onnx.ModelProto | bytes, **options: Any) -> str:
    with pytest.raises(MatterError) as caught:
        check(proto, **options)
    assert "expected" in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def varint(value: int, extra: int = 0) -> bytes:
    """A number in protobuf's form, ``extra`` bytes longer than it must be."""
    result = []
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    result.append(value)
    return bytes([*(byte | 128 for byte in result), *[128] * (extra - 1), 0] if extra else result)


def field(number: int, content: bytes, tag_extra: int = 0, length_extra: int = 0) -> bytes:
    return varint(number << 3 | 2, tag_extra) + varint(len(content), length_extra) + content


# -------------------------------------------------------------------------------------------- taken


def test_graphs_of_engines_are_taken(tiny: Tiny) -> None:
    check(plain())
    for fusion in ("tt", "ft", "alpha"):
        about = tiny.manifest(fusion=fusion)
        check(tiny.graph(SIZE, fusion=fusion), about)
    about = tiny_sim.manifest()
    check(tiny_sim.guided_graph((64, 96), 1), about)


@pytest.mark.parametrize("op", ["Max", "Min", "Add", "Mul"])
def test_elementwise_operators(op: str) -> None:
    check(one(op, "k", tensors={"k": np.zeros((1, 1, 1, 64), np.float32)}))
    assert "expected ones that fit" in refusal(one(op, "k", tensors={"k": np.zeros(3, np.float32)}))


@pytest.mark.parametrize("op", ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
def test_comparisons(op: str) -> None:
    check(
        model(
            MEAN,
            helper.make_node(op, ["mean", "k"], ["a"]),
            helper.make_node("And", ["a", "a"], ["b"]),
            helper.make_node("Cast", ["b"], ["c"], to=1),
            helper.make_node("Where", ["b", "c", "mean"], ["alpha"]),
            tensors={"k": np.zeros(1, np.float32)},
        )
    )


def test_every_spelling_of_a_tensor(tiny: Tiny) -> None:
    proto = plain()
    bias = proto.graph.initializer[1]
    bias.ClearField("raw_data")
    bias.float_data.append(0.25)
    check(proto)
    quantised = model(
        helper.make_node("QuantizeLinear", ["image", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("ReduceMean", ["d"], ["alpha"], axes=[1], keepdims=1),
        tensors={"s": np.float32(0.5), "z": np.uint8(3)},
    )
    zero = quantised.graph.initializer[1]
    zero.ClearField("raw_data")
    zero.int32_data.append(255)
    check(quantised)
    zero.int32_data[0] = 256
    assert "beyond uint8" in refusal(quantised)
    zero.int32_data[0] = -1
    assert "beyond uint8" in refusal(quantised)


# --------------------------------------------------------------------------------------------- wire


def resealed(change: Callable[[bytes], bytes]) -> bytes:
    """The plain model with the bytes of its graph changed."""
    proto = plain()
    graph = change(proto.graph.SerializeToString())
    head = proto.SerializeToString().split(field(7, proto.graph.SerializeToString()))
    assert len(head) == 2
    return head[0] + field(7, graph) + head[1]


WIRE: dict[str, Callable[[], bytes]] = {
    "no model": lambda: b"",
    "a cut number": lambda: b"\x3a",
    "a cut message": lambda: b"\x3a\x05\x00",
    "a group": lambda: b"\x3b",
    "field 0": lambda: b"\x00\x00",
    "a number without end": lambda: b"\x08" + b"\xff" * 11,
    "wire type 7": lambda: b"\x3f\x00",
    "an over-long tag": lambda: resealed(lambda g: g + field(14, b"", tag_extra=1)),
    "a tag of 5 bytes and 33 bits": lambda: resealed(
        lambda g: g + varint((13 << 3 | 2) + (1 << 32)) + b"\x00"
    ),
    "an over-long length": lambda: b"\x08\x08" + field(7, b"", length_extra=3),
    "an over-long value": lambda: b"\x08\x88\x80\x00" + plain().SerializeToString()[2:],
    "an unknown field": lambda: plain().SerializeToString() + field(100, b"x"),
    "an unknown field inside": lambda: resealed(lambda g: g + field(99, b"x")),
    "the graph twice": lambda: plain().SerializeToString() * 2,
    "the version twice": lambda: b"\x08\x08" + plain().SerializeToString(),
    "fields out of order": lambda: plain().SerializeToString() + b"\x08\x08",
    "a name that is not UTF-8": lambda: resealed(lambda g: g.replace(b"alpha", b"alph\xff")),
    "a name with an escape": lambda: resealed(lambda g: g.replace(b"alpha", b"alph\x1b")),
    "a name with a NUL": lambda: resealed(lambda g: g.replace(b"alpha", b"alph\x00")),
    "junk after the end": lambda: plain().SerializeToString() + b"\xff",
}


@pytest.mark.parametrize("what", WIRE)
def test_what_is_not_canonical_is_refused(what: str) -> None:
    assert "not a well-formed ONNX model" in refusal(WIRE[what]())


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=12), st.integers(0, 12), st.data())
def test_what_is_taken_reads_the_same_everywhere(
    junk: bytes, gone: int, data: st.DataObject
) -> None:
    content = plain().SerializeToString()
    at = data.draw(st.integers(0, len(content)))
    content = content[:at] + junk + content[at + gone :]
    try:
        read_model(content)
    except EngineError:
        return
    parsed = onnx.ModelProto.FromString(content)
    assert parsed.SerializeToString(deterministic=True) == content
    parsed.DiscardUnknownFields()
    assert parsed.SerializeToString(deterministic=True) == content


def test_too_many_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matter_sdk.sdk.backends.onnx_reader.MAX_FIELDS", 20)
    assert "too many fields" in refusal(plain())


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, (1 << 63) - 1, -1, -(1 << 63)])
def test_whole_numbers(number: int) -> None:
    packed = varint(number & (1 << 64) - 1)
    assert whole_numbers(memoryview(packed * 2)) == [number, number]
    with pytest.raises(EngineError):
        whole_numbers(memoryview(varint(number & (1 << 64) - 1, 1)))


# ----------------------------------------------------------------------------- what no engine holds


def with_attribute(value: Any, kind: int | None = None) -> onnx.ModelProto:
    node = helper.make_node("Relu", ["mean"], ["alpha"])
    node.attribute.append(helper.make_attribute("a", value, attr_type=kind))
    return model(MEAN, node)


def in_function() -> onnx.ModelProto:
    proto = plain()
    node = helper.make_node("Relu", ["x"], ["y"])
    sets = [helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("d", "f", ["x"], ["y"], [node], sets))
    return proto


def in_training() -> onnx.ModelProto:
    proto = plain()
    proto.training_info.add().algorithm.CopyFrom(proto.graph)
    return proto


def sparse() -> onnx.ModelProto:
    proto = plain()
    values = numpy_helper.from_array(np.ones(1, np.float32), "v")
    indices = numpy_helper.from_array(np.array([1 << 40]), "i")
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [8]))
    return proto


def symbolic() -> onnx.ModelProto:
    proto = plain()
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "h"
    return proto


STRANGE: dict[str, Callable[[], onnx.ModelProto]] = {
    "a subgraph": lambda: with_attribute(plain().graph),
    "subgraphs": lambda: with_attribute([plain().graph, plain().graph]),
    "a tensor attribute": lambda: with_attribute(numpy_helper.from_array(np.zeros(1))),
    "several texts": lambda: with_attribute(["a", "b"]),
    "a function": in_function,
    "a training graph": in_training,
    "a sparse tensor": sparse,
    "a symbolic side": symbolic,
}


@pytest.mark.parametrize("what", STRANGE)
def test_what_has_no_place_in_an_engine(what: str) -> None:
    assert "not a well-formed ONNX model" in refusal(STRANGE[what]())


def one(op: str, *more: str, tensors: dict[str, Any] | None = None, **attributes: Any) -> Any:
    """A graph of the mean, one operator and a sum that makes it an alpha again."""
    return model(
        MEAN,
        helper.make_node(op, ["mean", *more], ["x"], **attributes),
        helper.make_node("Add", ["mean", "x"], ["alpha"]),
        tensors={name: np.asarray(value) for name, value in (tensors or {}).items()},
    )


def conv(weight: tuple[int, ...] = (1, 3, 3, 3), bias: int = 1, **attributes: Any) -> Any:
    tensors = {"w": np.zeros(weight, np.float32), "b": np.zeros(bias, np.float32)}
    attributes = {"pads": [1] * 4, **attributes}
    return model(
        helper.make_node("Conv", ["image", "w", "b"], ["alpha"], **attributes), tensors=tensors
    )


def renamed(old: str, new: str) -> onnx.ModelProto:
    proto = plain()
    for node in proto.graph.node:
        for names in (node.input, node.output):
            for at, name in enumerate(names):
                names[at] = new if name == old else name
    return proto


def noted(*shape: int, kind: int = TensorProto.FLOAT, name: str = "mean") -> onnx.ModelProto:
    proto = model(MEAN, helper.make_node("Relu", ["mean"], ["alpha"]))
    proto.graph.value_info.append(helper.make_tensor_value_info(name, kind, shape))
    return proto


def versions(*sets: tuple[str, int], ir: int = 8) -> onnx.ModelProto:
    proto = plain()
    proto.ir_version = ir
    del proto.opset_import[:]
    proto.opset_import.extend(helper.make_opsetid(*entry) for entry in sets)
    return proto


def bare_tensor(**fields: Any) -> onnx.ModelProto:
    proto = plain()
    weight = proto.graph.initializer[0]
    for name, value in fields.items():
        if value is None:
            weight.ClearField(name)
        elif isinstance(value, list):
            weight.ClearField(name)
            getattr(weight, name).extend(value)
        else:
            setattr(weight, name, value)
    return proto


FAULTS: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    # nodes
    "a cycle": (
        lambda: model(
            helper.make_node("Add", ["alpha", "mean"], ["q"]),
            MEAN,
            helper.make_node("Relu", ["q"], ["alpha"]),
        ),
        "the input 'alpha', which no node before it makes",
    ),
    "a node that reads itself": (
        lambda: model(MEAN, helper.make_node("Add", ["mean", "alpha"], ["alpha"])),
        "the input 'alpha', which no",
    ),
    "a value from nowhere": (lambda: renamed("w", "gone"), "the input 'gone', which no"),
    "a value made twice": (lambda: renamed("alpha", "w"), "'w', which is made twice"),
    "an input that a node makes": (lambda: renamed("alpha", "image"), "made twice"),
    "no output": (lambda: renamed("alpha", "beta"), "'alpha' is not made by a node"),
    "an operator of another domain": (
        lambda: one("Relu", domain="com.microsoft"),
        "the domain 'com.microsoft'",
    ),
    "GatherND": (
        lambda: one("GatherND", "i", tensors={"i": np.array([[10**9]])}),
        "'GatherND' (node 1) has an operator that engines do not hold",
    ),
    "ScatterElements": (
        lambda: one("ScatterElements", "i", "mean", tensors={"i": np.zeros(SIZE, np.int64)}),
        "'ScatterElements' (node 1) has an operator",
    ),
    "Loop": (lambda: one("Loop"), "'Loop' (node 1) has an operator"),
    "two outputs": (
        lambda: model(
            helper.make_node("MaxPool", ["image"], ["alpha", "places"], kernel_shape=[1, 1])
        ),
        "2 outputs; expected one",
    ),
    "an unknown attribute": (lambda: one("Relu", alpha=1.0), "an attribute 'alpha'"),
    "an attribute of another type": (lambda: one("LeakyRelu", alpha=1), "alpha is a int"),
    "an infinite slope": (lambda: one("LeakyRelu", alpha=float("inf")), "alpha is inf"),
    "a concat of nothing": (
        lambda: one("Concat", "", axis=1),
        "2 inputs; expected 1 to 256",
    ),
    "an input left out": (
        lambda: one("Slice", "s", "", tensors={"s": np.array([1])}),
        "3 inputs; expected 3 to 5",
    ),
    "a bound that is no number": (
        lambda: one("Clip", "k", tensors={"k": np.float32("nan")}),
        "a bound of NaN",
    ),
    "too few inputs": (lambda: one("Add"), "1 inputs; expected 2"),
    "too many inputs": (lambda: one("Relu", "mean"), "2 inputs; expected 1"),
    # convolutions
    "a convolution without weights": (
        lambda: model(helper.make_node("Conv", ["image"], ["alpha"], kernel_shape=[3, 3])),
        "1 inputs; expected 2 to 3",
    ),
    "weights left out": (
        lambda: model(helper.make_node("Conv", ["image", "", ""], ["alpha"])),
        "3 inputs; expected 2",
    ),
    "weights from the picture": (
        lambda: model(helper.make_node("Conv", ["image", "image"], ["alpha"])),
        "weights that are computed",
    ),
    "weights of another rank": (lambda: conv((1, 3, 3)), "expected 4 dimensions"),
    "weights of other channels": (lambda: conv((1, 4, 3, 3)), "expected 3 channels"),
    "another kernel": (lambda: conv(kernel_shape=[5, 5]), "kernel_shape [5, 5]"),
    "a bias of another length": (lambda: conv(bias=2), "a bias of 2 numbers; expected 1"),
    "no stride": (lambda: conv(strides=[0, 1]), "strides is [0, 1]"),
    "negative pads": (lambda: conv(pads=[-1, 1, 1, 1]), "pads is [-1, 1, 1, 1]"),
    "pads of another rank": (lambda: conv(pads=[1, 1]), "pads is [1, 1]"),
    "huge pads": (lambda: conv(pads=[1 << 40] * 4), "expected 4 of 0 to 1024"),
    "a window beyond the picture": (lambda: conv(dilations=[100, 100]), "a window of 201"),
    "no groups": (lambda: conv(group=0), "group is 0"),
    "groups that do not fit": (lambda: conv((1, 1, 3, 3), group=2), "expected 3 channels"),
    "a pool of nothing but pads": (
        lambda: model(
            helper.make_node("MaxPool", ["image"], ["x"], kernel_shape=[1, 1], pads=[1] * 4)
        ),
        "pads [1, 1, 1, 1] of a window of 1",
    ),
    # indices, sizes and axes
    "a slice from outside": (
        lambda: one("Slice", "s", "e", "a",
                    tensors={"s": np.array([32]), "e": np.array([99]), "a": np.array([2])}),
        "a slice from 32 in steps of 1; expected within 32",
    ),
    "a slice of nothing": (
        lambda: one("Slice", "s", "s", "a", tensors={"s": np.array([3]), "a": np.array([2])}),
        "a result of shape",
    ),
    "a slice from the picture": (lambda: one("Slice", "mean", "mean"), "that are no constants"),
    "a slice backwards": (
        lambda: one("Slice", "s", "e", "a", "t", tensors={
            "s": np.array([3]), "e": np.array([0]), "a": np.array([2]), "t": np.array([-1])}),
        "steps of -1",
    ),
    "an axis that is not there": (
        lambda: model(helper.make_node("ReduceMean", ["image"], ["alpha"], axes=[4])),
        "axis 4; expected one of 4",
    ),
    "an axis twice": (
        lambda: model(helper.make_node("ReduceMean", ["image"], ["alpha"], axes=[1, -3])),
        "axes [1, 1]; expected each once",
    ),
    "a concat on no axis": (lambda: one("Concat", "mean", axis=7), "axis 7; expected one of 4"),
    "a concat of other sides": (
        lambda: one("Concat", "k", axis=1, tensors={"k": np.zeros((1, 1, 2, 2), np.float32)}),
        "on axis 1",
    ),
    "a reshape to more": (
        lambda: one("Reshape", "s", tensors={"s": np.array([1, 1, 64, 64])}),
        "expected as many elements",
    ),
    "a reshape by the picture": (lambda: one("Reshape", "mean"), "that are no constants"),
    "sides of another type": (
        lambda: one("Reshape", "s", tensors={"s": np.array([1, 1, 32, 64], np.int32)}),
        "sides of type int32",
    ),
    "a perm that is none": (lambda: one("Transpose", perm=[0, 1, 2, 2]), "perm [0, 1, 2, 2]"),
    "a pad below zero": (
        lambda: one("Pad", "p", tensors={"p": np.array([0, 0, 0, 0, 0, 0, -1, 0])}),
        "pads [0, 0, 0, 0, 0, 0, -1, 0]",
    ),
    "a resize of channels": (
        lambda: one("Resize", "", "", "s", tensors={"s": np.array([1, 2, 32, 64])}),
        "expected one of the plane",
    ),
    "a resize by a factor of nothing": (
        lambda: one("Resize", "", "s", tensors={"s": np.array([1, 1, 0, 1], np.float32)}),
        "scales [1.0, 1.0, 0.0, 1.0]",
    ),
    "a block of nothing": (lambda: one("DepthToSpace", blocksize=0), "blocksize is 0"),
    "a block of too much": (lambda: one("DepthToSpace", blocksize=2), "1 channels in blocks"),
    "an expansion beyond counting": (
        lambda: one("Expand", "s", tensors={"s": np.array([1 << 20, 1 << 20, 32, 64])}),
        "elements; expected 2,147,483,647 at most",
    ),
    "shapes that do not broadcast": (
        lambda: one("Mul", "k", tensors={"k": np.zeros(63, np.float32)}),
        "expected ones that fit",
    ),
    "other numbers": (
        lambda: one("Mul", "k", tensors={"k": np.zeros(64, np.float16)}),
        "float16, float32 numbers",
    ),
    "a scale of nothing": (
        lambda: one("QuantizeLinear", "s", "z", tensors={"s": np.float32(0), "z": np.uint8(0)}),
        "expected finite numbers above 0",
    ),
    # values
    "a note of another shape": (lambda: noted(1, 1, 31, 64), "expected float32[1, 1, 32, 64]"),
    "a note of another type": (lambda: noted(1, 1, *SIZE, kind=7), "declared as int64"),
    "a note of nothing": (lambda: noted(1, name="x"), "expected a value of the graph"),
    "another output": (
        lambda: model(helper.make_node("Relu", ["image"], ["alpha"])),
        "'alpha' is not made by a node or of another shape",
    ),
    # tensors
    "a tensor cut short": (lambda: bare_tensor(raw_data=b"\0" * 100), "has 100 bytes of raw_data"),
    "a tensor of more": (lambda: bare_tensor(dims=[1, 3, 3, 30]), "expected 1,080"),
    "a tensor without data": (lambda: bare_tensor(raw_data=None), "has 0 kinds of data"),
    "a tensor with two data": (lambda: bare_tensor(float_data=[1.0]), "has 2 kinds of data"),
    "a tensor of strings": (lambda: bare_tensor(data_type=8), "numbers of type 8"),
    "a tensor of doubles": (lambda: bare_tensor(data_type=11), "numbers of type 11"),
    "a negative side": (lambda: bare_tensor(dims=[1, -3, 3, 3]), "expected sides of 1"),
    "sides beyond counting": (lambda: bare_tensor(dims=[1 << 40, 1 << 40]), "at most"),
    "many dimensions": (lambda: bare_tensor(dims=[1] * 99), "expected sides of 1"),
    # around the graph
    "no operator set": (versions, "operator sets []"),
    "two operator sets": (lambda: versions(("", 17), ("a", 1)), "expected one"),
    "the default set twice": (lambda: versions(("", 17), ("", 17)), "expected one"),
    "a set of another domain": (lambda: versions(("com.microsoft", 17)), "expected one"),
    "an operator set of the future": (lambda: versions(("", 99)), "expected one"),
    "an IR of the future": (lambda: versions(("", 17), ir=99), "IR version 99"),
}  # fmt: skip


@pytest.mark.parametrize("what", FAULTS)
def test_what_a_runtime_might_stumble_over(what: str) -> None:
    make, message = FAULTS[what]
    assert message in refusal(make())


def test_an_engine_with_such_a_graph_says_what_to_do(tiny: Tiny) -> None:
    path = tiny.build(graph=one("GatherND", "i", tensors={"i": np.array([[0]])}), fusion="alpha")
    with pytest.raises(EngineError) as caught:
        Matter(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: 'model.onnx': 'GatherND' (node 1)")
    assert "is built from its checkpoint: python -m export.build --model gfm" in text


def test_memory_and_work_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MEMORY_FREE", 0)
    side = {"s": np.array([1, 1, 16 * 32, 16 * 64])}
    large = model(
        MEAN,
        helper.make_node("Resize", ["mean", "", "", "s"], ["large"]),
        helper.make_node("AveragePool", ["large"], ["alpha"], kernel_shape=[16, 16],
                         strides=[16, 16]),
        tensors=side,
    )  # fmt: skip
    check(large)
    monkeypatch.setattr(graphs, "MEMORY_A_PIXEL", 512)  # 16 · 16 · 4 bytes for each are more
    assert "bytes of memory; expected at most" in refusal(large)
    check(plain())
    monkeypatch.setattr(graphs, "WORK_FREE", 0)
    monkeypatch.setattr(graphs, "WORK_A_PIXEL", 26)  # 3 · 3 · 3 are more
    assert "multiply-accumulates; expected at most" in refusal(plain())


# ------------------------------------------------------------------------------------ outside reads


@pytest.mark.parametrize("how", ["absolute", "current directory", "parent", "address", "empty"])
def test_a_crafted_engine_reads_nothing_outside(
    tiny: Tiny, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The secret holds valid weights: an engine that could reach it would load and run."""
    graph = tiny.graph(SIZE)
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    location = {
        "absolute": str(tmp_path / "secret"),
        "current directory": "secret",
        "parent": "../secret",
        "address": "*/_ORT_MEM_ADDR_/*",
        "empty": "",
    }[how]
    secret = externalise(graph, location)
    (tmp_path / "secret").write_bytes(secret)
    (tmp_path / "inner" / "secret").write_bytes(secret)
    path = tiny.build(graph=graph)
    with pytest.raises(EngineError) as caught:
        Matter(path)
    assert f"would read {location!r} from outside the engine; expected no" in str(caught.value)


def external(tiny: Tiny, change: Callable[[TensorProto], None], held: int = 500) -> str:
    """The refusal of external weights, the first tensor of which was changed."""
    proto = tiny.graph(SIZE)
    externalise(proto, "model.onnx.data")
    change(proto.graph.initializer[0])
    about = tiny.manifest()
    about = replace(about, models=(replace(about.models[0], data="x/model.onnx.data"),))
    return refusal(proto, about=about, data=held)


def entry(key: str, value: str) -> Callable[[TensorProto], None]:
    def change(tensor: TensorProto) -> None:
        for one in tensor.external_data:
            if one.key == key:
                one.value = value
                return
        added = tensor.external_data.add()
        added.key, added.value = key, value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (entry("location", "other.data"), "'other.data' from outside the engine; expected 'model"),
        (entry("offset", "499"), "bytes at 499 of 'model.onnx.data'; expected 36 within its 500"),
        (entry("offset", "-4"), "external data at '-4'; expected a whole number"),
        (entry("offset", "9" * 30), "expected a whole number"),
        (entry("length", "35"), "would read 35 bytes"),
        (entry("length", "0x24"), "expected a whole number"),
        (entry("checksum", "1"), "expected location, offset, length"),
        (lambda tensor: tensor.external_data.add(key="offset", value="0"), "external data by"),
        (lambda tensor: tensor.ClearField("data_location"), "inside and outside"),
        (lambda tensor: setattr(tensor, "raw_data", bytes(36)), "inside and outside"),
    ],
)
def test_external_data_stay_in_their_member(
    tiny: Tiny, change: Callable[[TensorProto], None], message: str
) -> None:
    assert message in external(tiny, change)


def test_external_data_are_looked_at_like_others(tiny: Tiny) -> None:
    """A truth value of 2 in the weights' member."""
    shape = (1, 1, *SIZE)
    proto = model(
        MEAN,
        helper.make_node("Where", ["asked", "mean", "mean"], ["alpha"]),
        tensors={"asked": np.ones(shape, np.bool_)},
    )
    data = bytearray(externalise(proto, "model.onnx.data"))
    entry_ = replace(ABOUT.models[0], data="model.onnx.data")
    graphs.check(proto.SerializeToString(), ABOUT, entry_, bytes(data))
    data[7] = 2
    with pytest.raises(EngineError, match="'asked' has truth values of 2"):
        graphs.check(proto.SerializeToString(), ABOUT, entry_, bytes(data))


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_weights_that_are_called_like_a_graph(tiny: Tiny, name: str) -> None:
    """The member with the weights is no graph that a runtime would take for the checked one."""
    pytest.importorskip(name)
    path = tiny.build_external()
    with EngineFile.open(path) as file:
        proto, data = tiny.graph(SIZE), bytes(file.read("model.onnx.data"))
        manifest = file.manifest
    assert externalise(proto, "model.onnx") == data
    about = replace(manifest.models[0], data="x/model.onnx")
    other = tiny.graph(SIZE, fusion="ft").SerializeToString()
    members: dict[str, bytes | Path] = {
        "model.onnx": proto.SerializeToString(),
        "x/model.onnx": data + other,
    }
    engine.write(path, replace(manifest, models=(about,)), members)
    frame = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), np.uint8)
    with Matter(path, backend=name, guided=False) as matter:
        np.testing.assert_allclose(matter(frame).alpha, tiny.alpha(frame), atol=2e-2)


def test_external_data_beyond_the_member_are_refused(tiny: Tiny) -> None:
    path = tiny.build_external()
    with EngineFile.open(path) as file:
        graph, data = bytes(file.read("model.onnx")), bytes(file.read("model.onnx.data"))
        manifest = file.manifest
    engine.write(path, manifest, {"model.onnx": graph, "model.onnx.data": data[:40]})
    with pytest.raises(EngineError, match=r"within its 40"):
        Matter(path)


def test_only_the_manifests_own_member_may_be_named(tiny: Tiny) -> None:
    path = tiny.build_external()
    with EngineFile.open(path) as file:
        other = replace(file.manifest.models[0], data=None)
        with pytest.raises(EngineError, match=r"'model\.onnx\.data'"):
            graphs.read_graph(file, other)


def test_one_graph_under_two_names_of_weights(tiny: Tiny, tmp_path: Path) -> None:
    """The verdict about a graph with its weights in the engine is none about it without."""
    path = tiny.build_external()
    with EngineFile.open(path) as file:
        (model,) = file.manifest.models
        assert graphs.read_graph(file, model)
        assert graphs.read_graph(file, model)
        with pytest.raises(EngineError, match="from outside the engine"):
            graphs.read_graph(file, replace(model, data=None))
        with pytest.raises(EngineError, match="inputs are"):
            graphs.read_graph(file, replace(model, size=(64, 32)))


def test_a_batch_of_large_pictures_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    size = (4096, 8192)
    about = replace(ABOUT, batch=20, models=(replace(ABOUT.models[0], size=size),))
    proto = model(MEAN, helper.make_node("Relu", ["mean"], ["alpha"]), size=size)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 20
    monkeypatch.setattr(graphs, "MAX_MEMORY", 9 << 30)  # 8 GB for the pictures, 2.7 for each mean
    assert "bytes of memory; expected at most" in refusal(proto, about=about)
