"""Mutate engines at random and see that each is refused, or runs as it should.

    python -m tests.sdk.fuzz_engine --count 10000

Every mutation comes from a seed and its number alone, so that a finding can be run again
(``--only NUMBER``). It changes a graph (nodes, attributes, tensors, the encoding), its references
to the weights beside it, those weights, the manifest or the archive; for half of them the checksums
are made anew, as an attacker would. A worker process opens the engine with each CPU runtime and
mattes a frame. Outcomes:

* ``refused``: a MatterError, in one line and printable;
* ``same``: the matte of the engine that was not mutated;
* ``another``: the engine of another network, with right checksums, on which all runtimes agree
  (or whose numbers overflow: ``not finite``).

Anything else is a finding: a crash, another exception, more than ``SECONDS`` or ``MEGABYTES``, a
matte that differs without right checksums, or runtimes that disagree (one of them may have read
what it should not).
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import hashlib
import io
import json
import os
import random
import select
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from matter_sdk.sdk import Matter
from matter_sdk.sdk.backends.operators import OPERATORS
from matter_sdk.sdk.engine.manifest import Head
from matter_sdk.sdk.errors import MatterError, printable
from tests.sdk.conftest import Tiny

SECONDS = 20.0
MEGABYTES = 2000
WORKER_TURNS = 1000  # mutations to one worker process
SIZE = (32, 64)

INTEGERS = (0, 1, -1, 2, 3, 4, 7, 31, 32, 64, 255, 1000, 1 << 16, (1 << 31) - 1, 1 << 31,
            -(1 << 31), 1 << 40, (1 << 63) - 1, -(1 << 63))  # fmt: skip
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-30, 1e30, float("inf"), float("-inf"), float("nan"))
TEXTS = ("", "a", "../x", "/etc/passwd", "\x1b[2J", "\0", "é", "\u202e", "a" * 10_000, "image")
WORDS = (b"linear", b"nearest", b"cubic", b"SAME_UPPER", b"VALID", b"edge", b"reflect", b"wrap",
         b"DCR", b"x", b"\xff")  # fmt: skip
HOSTILE = ("GatherND", "ScatterElements", "ScatterND", "Gather", "GatherElements", "Loop", "If",
           "Scan", "OneHot", "Tile", "NonMaxSuppression", "RoiAlign", "GridSample", "Constant",
           "ConstantOfShape", "Range", "TopK", "Split", "LSTM", "Einsum", "Nonsense")  # fmt: skip


# ----------------------------------------------------------------------------------------- engines


def rich() -> onnx.ModelProto:
    """A graph with most of the operators that export writes, from ``image`` to ``alpha``."""
    rng = np.random.default_rng(5)

    def weight(*shape: int) -> Any:
        return (rng.standard_normal(shape) / np.prod(shape[1:])).astype(np.float32)

    tensors = {
        "w1": weight(4, 3, 3, 3).astype(np.float16),
        "b1": weight(4),
        "wd": weight(4, 1, 3, 3),
        "up": np.array([1, 1, 2, 2], np.float32),
        "sides": np.array([1, 4, *SIZE]),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "begin": np.array([0, 1]),
        "end": np.array([33, 1 << 62]),
        "axes": np.array([2, 3]),
        "ones": np.array([1, 1]),
        "scale": np.float32(0.02),
        "zero": np.uint8(128),
        "w8": rng.integers(-99, 99, (4, 4, 1, 1), np.int8),
        "s8": np.full(4, 0.01, np.float32),
        "z8": np.zeros(4, np.int8),
        "flat": np.array([1, 4]),
        "square": weight(4, 4),
        "back": np.array([1, 4, 1, 1]),
        "low": np.float32(-1),
        "high": np.float32(1),
        "third": np.float32(1 / 765),
        "w2": weight(1, 8, 1, 1),
        "marks": np.array(2, np.int32),
        "places": rng.integers(0, 4, (1, 1, *SIZE), np.int32),
    }
    node = helper.make_node
    nodes = [
        node("Mul", ["image", "third"], ["x"]),
        node("Cast", ["w1"], ["w1.float"], to=1),
        node("Conv", ["x", "w1.float", "b1"], ["c1"], strides=[2, 2], pads=[1] * 4, group=1,
             kernel_shape=[3, 3], dilations=[1, 1], auto_pad="NOTSET"),
        node("HardSwish", ["c1"], ["h1"]),
        node("Conv", ["h1", "wd"], ["c2"], group=4, pads=[2] * 4, dilations=[2, 2]),
        node("Relu", ["c2"], ["r2"]),
        node("MaxPool", ["r2"], ["p2"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
        node("Resize", ["p2", "", "up"], ["u2"], mode="linear",
             coordinate_transformation_mode="half_pixel"),
        node("Add", ["u2", "r2"], ["a2"]),
        node("ReduceMean", ["a2", "axes"], ["m2"], keepdims=1),
        node("Reshape", ["m2", "flat"], ["f2"]),
        node("Gemm", ["f2", "square"], ["g2"], transB=1, alpha=1.0),
        node("HardSigmoid", ["g2"], ["hs"], alpha=0.2, beta=0.5),
        node("Reshape", ["hs", "back"], ["gate"]),
        node("Mul", ["a2", "gate"], ["gated"]),
        node("QuantizeLinear", ["gated", "scale", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "scale", "zero"], ["dq"]),
        node("DequantizeLinear", ["w8", "s8", "z8"], ["wq"], axis=0),
        node("Conv", ["dq", "wq"], ["c3"]),
        node("Clip", ["c3", "low", "high"], ["k3"]),
        node("DepthToSpace", ["k3"], ["d3"], blocksize=2, mode="CRD"),
        node("Resize", ["a2", "", "", "sides"], ["u3"], mode="linear",
             coordinate_transformation_mode="align_corners"),
        node("Pad", ["u3", "pads"], ["p3"], mode="constant"),
        node("Slice", ["p3", "begin", "end", "axes", "ones"], ["s3"]),
        node("Equal", ["places", "marks"], ["asked"]),
        node("Where", ["asked", "d3", "low"], ["w3"]),
        node("Softmax", ["u3"], ["soft"], axis=1),
        node("Transpose", ["soft"], ["t3"], perm=[0, 1, 2, 3]),
        node("Concat", ["t3", "u3"], ["all"], axis=1),
        node("Conv", ["all", "w2"], ["c4"]),
        node("Add", ["c4", "w3"], ["sum"]),
        node("Sigmoid", ["sum"], ["alpha"]),
    ]  # fmt: skip
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, *SIZE])
        for name, channels in (("image", 3), ("alpha", 1))
    ]
    # The slice takes 32 of the 34 rows, and 65 columns of 66: as many as an alpha has, or not.
    tensors["end"] = np.array([33, 65])
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in tensors.items()]
    graph = helper.make_graph(nodes, "rich", values[:1], values[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


class Base(NamedTuple):
    """An engine before its mutation: the manifest's JSON and the other members."""

    manifest: dict[str, Any]
    members: dict[str, bytes]


def bases(folder: Path) -> list[Base]:
    """The engines that are mutated."""
    tiny = Tiny(folder)
    alpha = {"fusion": "alpha", "heads": (Head("alpha", 1),)}
    paths = [
        tiny.build("rich", graph=rich(), change=lambda m: replace(m, **alpha)),
        tiny.build("two", sizes=(SIZE, (64, 32))),
        tiny.build_external("external", sizes=(SIZE, (64, 32))),
        tiny.build_external("rich external", graph=rich(), change=lambda m: replace(m, **alpha)),
    ]
    found = []
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        found.append(Base(json.loads(members.pop("manifest.json")), members))
    return found


# ---------------------------------------------------------------------------------------- mutations


class Mutation:
    """One engine to be mutated; what was done is in ``said``."""

    def __init__(self, base: Base, rng: random.Random) -> None:
        self.manifest = copy.deepcopy(base.manifest)
        self.members = dict(base.members)
        self.rng = rng
        self.anew = rng.random() < 0.5  # the checksums
        self.said: list[str] = []
        self.parts: list[tuple[str, bytes, dict[str, Any]]] | None = None

    def content(self) -> bytes:
        """The mutated engine's bytes."""
        kind = self.rng.choices(
            ("graph", "references", "wire", "manifest", "archive"), (6, 3, 2, 2, 2)
        )[0]
        for _ in range(self.rng.choice((1, 1, 1, 2, 3))):
            if kind == "graph":
                self._graph()
            elif kind == "references":
                with contextlib.suppress(IndexError, KeyError, ValueError):  # nothing to change
                    self._references()
            elif kind == "wire":
                self._wire()
            elif kind == "manifest":
                self.anew = True  # what the manifest says of itself has no checksum but the ZIP's
                self._values()
        if self.anew:
            self._sign()
        if kind == "manifest" and self.rng.random() < 0.3:
            text = self._text()
        else:
            text = json.dumps(self.manifest).encode("utf-8", "surrogatepass")
        packed = self._pack(text)
        if kind == "archive":
            packed = self._archive(packed)
        return packed

    def _sign(self) -> None:
        if isinstance(self.manifest, dict):
            self.manifest["members"] = {
                name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
                for name, content in self.members.items()
            }

    def _pick(self, choices: Iterable[Any]) -> Any:
        return self.rng.choice(list(choices))

    # -- graph

    def _graph(self) -> None:
        name = self._pick(name for name in self.members if name.endswith(".onnx"))
        model = onnx.ModelProto.FromString(self.members[name])
        change = self._pick((self._nodes, self._nodes, self._attributes, self._attributes,
                             self._tensors, self._tensors, self._around))  # fmt: skip
        with contextlib.suppress(IndexError, ValueError, TypeError):  # nothing there to change
            change(model)
        self.members[name] = model.SerializeToString()

    def _names(self, graph: onnx.GraphProto) -> list[str]:
        made = [name for node in graph.node for name in node.output]
        return [*made, *(t.name for t in graph.initializer), "image", "", "nowhere"]

    def _nodes(self, model: onnx.ModelProto) -> None:
        graph, rng = model.graph, self.rng
        at = rng.randrange(len(graph.node))
        node = graph.node[at]
        how = self._pick(("op", "input", "input", "fewer", "more", "output", "drop", "twice",
                          "move", "domain", "index", "name", "outputs"))  # fmt: skip
        self.said.append(f"{how} of {node.op_type} {at}")
        if how == "op":
            node.op_type = self._pick((*sorted(OPERATORS), *HOSTILE))
        elif how == "input":
            node.input[rng.randrange(len(node.input))] = self._pick(self._names(graph))
        elif how == "fewer":
            del node.input[rng.randrange(len(node.input)) :]
        elif how == "more":
            node.input.append(self._pick(self._names(graph)))
        elif how == "output":
            node.output[0] = self._pick(self._names(graph))
        elif how == "outputs":
            node.output.append("more")
        elif how == "drop":
            del graph.node[at]
        elif how == "twice":
            graph.node.add().CopyFrom(node)
        elif how == "domain":
            node.domain = self._pick(("ai.onnx", "com.microsoft", "ai.onnx.ml", "x"))
        elif how == "name":
            node.name = self._pick(TEXTS[:3] + TEXTS[6:])
        elif how == "move":
            moved = onnx.NodeProto()
            moved.CopyFrom(node)
            del graph.node[at]
            graph.node.insert(rng.randrange(len(graph.node)), moved)
        else:  # read by an index that is out of range
            index = numpy_helper.from_array(np.array([[self._pick(INTEGERS)]]), "index")
            graph.initializer.append(index)
            reader = helper.make_node(self._pick(HOSTILE[:5]), [node.input[0], "index"], ["read"])
            graph.node.insert(at, reader)
            node.input[0] = "read"

    def _attributes(self, model: onnx.ModelProto) -> None:
        nodes = [node for node in model.graph.node if node.attribute]
        node = self._pick(nodes)
        attribute = self._pick(node.attribute)
        how = self._pick(("value", "value", "value", "drop", "twice", "name", "type", "length",
                          "other", "graph", "tensor"))  # fmt: skip
        self.said.append(f"{how} of {node.op_type}.{attribute.name}")
        if how == "value":
            if attribute.ints:
                attribute.ints[self.rng.randrange(len(attribute.ints))] = self._pick(INTEGERS)
            elif attribute.type == 1:
                attribute.f = self._pick(FLOATS)
            elif attribute.type == 3:
                attribute.s = self._pick(WORDS)
            else:
                attribute.i = self._pick(INTEGERS)
        elif how == "drop":
            node.attribute.remove(attribute)
        elif how == "twice":
            node.attribute.add().CopyFrom(attribute)
        elif how == "name":
            attribute.name = self._pick(("axis", "pads", "group", "mode", "x", ""))
        elif how == "type":
            attribute.type = self.rng.randrange(15)
        elif how == "length":
            attribute.ints.extend([1] * self._pick((1, 2, 500)))
        elif how == "other":
            node.attribute.append(helper.make_attribute(
                self._pick(("axis", "ceil_mode", "output_padding", "auto_pad", "to", "axes")),
                self._pick((1, [1, 1], "SAME_LOWER", 0.5))))  # fmt: skip
        elif how == "graph":
            attribute.g.CopyFrom(copy.deepcopy(model.graph))  # not into itself
        else:
            attribute.t.CopyFrom(model.graph.initializer[0])

    def _tensors(self, model: onnx.ModelProto) -> None:
        tensor = self._pick(model.graph.initializer)
        how = self._pick(("dims", "rank", "type", "cut", "more", "numbers", "numbers", "numbers",
                          "outside", "entry", "location", "name", "drop", "two", "none", "as input",
                          "string"))  # fmt: skip
        self.said.append(f"{how} of {tensor.name}")
        if how == "dims":
            tensor.dims[self.rng.randrange(len(tensor.dims))] = self._pick(INTEGERS)
        elif how == "rank":
            tensor.dims.append(1)
        elif how == "type":
            tensor.data_type = self.rng.randrange(24)
        elif how == "cut":
            tensor.raw_data = tensor.raw_data[: self.rng.randrange(len(tensor.raw_data))]
        elif how == "more":
            tensor.raw_data += bytes(self._pick((1, 4, 10_000)))
        elif how == "numbers":
            self._numbers(model)
        elif how == "outside":
            raw = tensor.raw_data
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            entries = {
                "location": self._pick(
                    ("model.onnx.data", "model.onnx", "/etc/passwd", "../x", "*/_ORT_MEM_ADDR_/*")
                ),
                "offset": str(self._pick(INTEGERS)),
                "length": str(len(raw)),
            }
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=value)
        elif how == "entry":
            entry = self._pick(tensor.external_data)
            entry.value = self._pick((str(self._pick(INTEGERS)), "../x", "", "0x10", "1e3", " 4"))
        elif how == "location":
            tensor.data_location = self.rng.randrange(3)
        elif how == "name":
            tensor.name = self._pick(self._names(model.graph))
        elif how == "drop":
            model.graph.initializer.remove(tensor)
        elif how == "two":
            tensor.int32_data.append(self._pick(INTEGERS[:15]))
        elif how == "none":
            tensor.ClearField("raw_data")
        elif how == "as input":
            model.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
        else:
            tensor.string_data.append(b"x")

    def _numbers(self, model: onnx.ModelProto) -> None:
        """Change sizes, axes, scales: the numbers that a runtime takes at their word."""
        wanted = [
            tensor
            for tensor in model.graph.initializer
            if tensor.raw_data
            and not tensor.data_location
            and (tensor.data_type != 1 or np.prod(tensor.dims) <= 4)
        ]
        tensor = self._pick(wanted)
        array = numpy_helper.to_array(tensor).copy().reshape(-1)
        at = self.rng.randrange(array.size)
        self.said[-1] = f"number {at} of {tensor.name}"
        if array.dtype.kind == "f":
            array[at] = self._pick(FLOATS)
        else:
            about = np.iinfo(array.dtype)
            array[at] = self._pick(n for n in INTEGERS if about.min <= n <= about.max)
        shaped = numpy_helper.from_array(array.reshape(tuple(tensor.dims)), tensor.name)
        tensor.CopyFrom(shaped)

    def _around(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        how = self._pick(("input", "output", "note", "opset", "ir", "function", "training",
                          "sparse", "symbol", "prop", "rename", "wild"))  # fmt: skip
        self.said.append(f"{how} around the graph")
        if how in ("input", "output", "symbol"):
            value = self._pick(graph.input if how != "output" else graph.output)
            side = self._pick(value.type.tensor_type.shape.dim)
            if how == "symbol":
                side.dim_param = "n"
            else:
                side.dim_value = self._pick(INTEGERS)
        elif how == "note":
            name = self._pick(self._names(graph))
            shape = [self._pick(INTEGERS) for _ in range(4)]
            graph.value_info.append(helper.make_tensor_value_info(name, 1, shape))
        elif how == "opset":
            model.opset_import[0].version = self._pick((1, 7, 11, 13, 17, 18, 19, 21, 23, 25, 99))
        elif how == "ir":
            model.ir_version = self._pick(INTEGERS)
        elif how == "function":
            function = helper.make_function(
                "x", "Relu", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])],
                [helper.make_opsetid("", 17)])  # fmt: skip
            model.functions.append(function)
        elif how == "training":
            model.training_info.add().algorithm.CopyFrom(graph)
        elif how == "sparse":
            values = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
            index = numpy_helper.from_array(np.array([self._pick(INTEGERS)]), "i")
            graph.sparse_initializer.append(helper.make_sparse_tensor(values, index, [8]))
        elif how == "prop":
            model.metadata_props.add(key="a", value=self._pick(TEXTS[:1] + TEXTS[6:]))
        elif how == "rename":
            graph.output[0].name = self._pick(self._names(graph))
        else:
            graph.value_info[0].type.map_type.key_type = 7

    # -- weights beside the graphs

    def _references(self) -> None:
        name = self._pick(name for name in self.members if name.endswith(".onnx"))
        model = onnx.ModelProto.FromString(self.members[name])
        tensors = [tensor for tensor in model.graph.initializer if tensor.external_data]
        if not tensors:
            self._graph()
            return
        tensor, other = self._pick(tensors), self._pick(tensors)
        about = {entry.key: entry for entry in tensor.external_data}
        data = self.members["model.onnx.data"]
        how = self._pick(("offset", "offset", "offset", "length", "length", "location", "swap",
                          "dims", "twice", "drop", "numbers", "numbers", "cut", "more",
                          "member"))  # fmt: skip
        self.said.append(f"{how} of {tensor.name} beside {name}")
        if how in ("offset", "length"):
            entry = about[how]
            near = int(entry.value) + self._pick((-64, -4, -1, 1, 2, 4, 64))
            end = len(data) - int(about["length"].value)
            entry.value = self._pick(
                (str(near), str(near), str(end), str(end + 1), str(len(data)), f"0{entry.value}",
                 f"+{entry.value}", f"{entry.value} ", "\u0664", str(self._pick(INTEGERS)))
            )  # fmt: skip
        elif how == "location":
            about[how].value = self._pick(
                ("model.onnx", "manifest.json", "./model.onnx.data", "x/../model.onnx.data",
                 "MODEL.ONNX.DATA", "/proc/self/mem", "*/_ORT_MEM_ADDR_/*", *TEXTS)
            )  # fmt: skip
        elif how == "swap":
            there = {entry.key: entry for entry in other.external_data}
            about["offset"].value, there["offset"].value = (
                there["offset"].value,
                about["offset"].value,
            )
        elif how == "dims":
            tensor.dims[:] = list(other.dims)
            if self.rng.random() < 0.5 and tensor is not other:
                tensor.ClearField("external_data")
                tensor.external_data.extend(other.external_data)
        elif how == "twice":
            tensor.external_data.append(self._pick(tensor.external_data))
        elif how == "drop":
            tensor.external_data.remove(self._pick(tensor.external_data))
        elif how == "numbers":
            changed = bytearray(data)
            for _ in range(self._pick((1, 8))):
                changed[self.rng.randrange(len(changed))] = self._pick((0, 1, 127, 128, 255))
            self.members["model.onnx.data"] = bytes(changed)
        elif how == "cut":
            self.members["model.onnx.data"] = data[: self.rng.randrange(len(data))]
        elif how == "more":
            self.members["model.onnx.data"] = data + bytes(self._pick((1, 4096)))
        elif how == "member" and isinstance(self.manifest.get("models"), list):
            one = self._pick(self.manifest["models"])
            one["data"] = self._pick((None, "model.onnx", one["onnx"], "x/model.onnx.data"))
        self.members[name] = model.SerializeToString()

    # -- encoding

    def _wire(self) -> None:
        name = self._pick(name for name in self.members if name.endswith(".onnx"))
        content = bytearray(self.members[name])
        at = self.rng.randrange(len(content))
        how = self._pick(("flip", "flip", "insert", "cut", "end", "twice", "overlong", "swap",
                          "unknown"))  # fmt: skip
        self.said.append(f"{how} at {at} of {name}")
        if how == "flip":
            content[at] ^= 1 << self.rng.randrange(8)
        elif how == "insert":
            content[at:at] = self.rng.randbytes(self._pick((1, 2, 5)))
        elif how == "cut":
            del content[at : at + self._pick((1, 2, 50))]
        elif how == "end":
            del content[at:]
        elif how == "twice":
            content += content[: self._pick((len(content), at))]
        elif how == "overlong":  # one byte as two, with the same value
            if content[at] < 128:
                content[at : at + 1] = bytes((content[at] | 128, 0))
        elif how == "swap":
            other = self.rng.randrange(len(content))
            content[at], content[other] = content[other], content[at]
        else:
            content += bytes((0xFA, 0x3F, 1, 0))
        self.members[name] = bytes(content)

    # -- manifest

    def _values(self) -> None:
        places: list[tuple[Any, Any]] = []
        waiting: list[Any] = [self.manifest]
        while waiting:
            one = waiting.pop()
            keys = one.keys() if isinstance(one, dict) else range(len(one))
            for key in keys:
                places.append((one, key))
                if isinstance(one[key], (dict, list)):
                    waiting.append(one[key])
        place, key = self._pick(places)
        how = self._pick(("value", "value", "drop", "other", "deep", "text", "number"))
        self.said.append(f"{how} of manifest {key}"[:80])
        if how == "value":
            place[key] = self._pick((None, True, [], {}, *INTEGERS, *FLOATS, *TEXTS))
        elif how == "drop":
            del place[key]
        elif how == "other":
            other, there = self._pick(places)
            place[key] = copy.deepcopy(other[there])
        elif how == "deep":
            for _ in range(self._pick((3, 50, 200))):
                place[key] = [place[key]]
        elif how == "text":
            place[key] = self._pick(TEXTS) + str(place[key])[:50] + self._pick(TEXTS)
        else:
            place[key] = 10 ** self._pick((5, 30, 400))

    def _text(self) -> bytes:
        """The manifest's text, damaged as no JSON writer would."""
        text = json.dumps(self.manifest).encode("utf-8", "surrogatepass")
        at = self.rng.randrange(max(len(text), 1))
        how = self._pick((b"[" * 100_000, b'{"a":1,"a":2}', b"\xff", b"NaN", b"\0", b"9" * 10_000,
                          b" " * (2 << 20), b"\xef\xbb\xbf"))  # fmt: skip
        self.said.append(f"{how[:10]!r} in the manifest's text")
        return text[:at] + how + text[at:]

    # -- archive

    def _pack(self, text: bytes) -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, content in [*self.members.items(), ("manifest.json", text)]:
                archive.writestr(zipfile.ZipInfo(name), content)
        return packed.getvalue()

    def _archive(self, packed: bytes) -> bytes:
        content = bytearray(packed)
        directory = packed.index(b"PK\x01\x02")
        how = self._pick(("directory", "directory", "directory", "end", "header", "cut", "before",
                          "after", "member", "compress", "again", "comment"))  # fmt: skip
        self.said.append(f"{how} of the archive")
        rng = self.rng
        if how in ("directory", "end", "header"):
            first, last = {
                "directory": (directory, len(content)),
                "end": (len(content) - 22, len(content)),
                "header": (0, 60),
            }[how]
            for _ in range(self._pick((1, 1, 2, 4))):
                content[rng.randrange(first, last)] = self._pick((0, 1, 8, 127, 255))
        elif how == "cut":
            del content[rng.randrange(len(content)) :]
        elif how == "before":
            content[:0] = bytes(self._pick((1, 22, 4096)))
        elif how == "after":
            content += self._pick((b"\0", bytes(22), b"PK\x05\x06" + bytes(18), packed))
        elif how == "comment":
            content[-2:] = b"\x05\0"
            content += b"hello"
        else:
            changed = io.BytesIO()
            with zipfile.ZipFile(io.BytesIO(packed)) as old, zipfile.ZipFile(changed, "w") as new:
                for name in old.namelist():
                    method = self._pick((0, 8, 12, 14)) if how == "compress" else 0
                    new.writestr(zipfile.ZipInfo(name), old.read(name), method)
                if how == "member":
                    new.writestr(self._pick(("x", "../x", "MODEL.ONNX", "a\\b", "é", "a/")), b"x")
                elif how == "again":
                    new.writestr(self._pick(("manifest.json", "model.onnx")), b"{}")
            content = bytearray(changed.getvalue())
        return bytes(content)


# ------------------------------------------------------------------------------------------- worker


class Outcome(NamedTuple):
    """What became of one mutation; ``kind`` begins with "BAD" for a finding."""

    number: int
    kind: str
    text: str = ""
    said: str = ""


def runtimes() -> list[str]:
    """The CPU runtimes that are installed."""
    try:
        import openvino  # noqa: F401
    except ImportError:
        return ["onnxruntime"]
    return ["onnxruntime", "openvino"]


class Worker:
    """Makes mutations and judges them, in a process of its own."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.bases = bases(folder)
        self.frame = np.random.default_rng(7).integers(0, 256, (*SIZE, 3), np.uint8)
        self.tall = np.ascontiguousarray(self.frame.transpose(1, 0, 2))
        self.expected = [self._mattes(self._written(self._whole(base))) for base in self.bases]

    @staticmethod
    def _whole(base: Base) -> bytes:
        mutation = Mutation(base, random.Random(0))
        mutation._sign()
        return mutation._pack(json.dumps(mutation.manifest).encode())

    def _written(self, content: bytes) -> Path:
        path = self.folder / "mutated.engine"
        path.write_bytes(content)
        return path

    def _mattes(self, path: Path) -> dict[str, list[Any]]:
        found = {}
        for name in runtimes():
            with Matter(path, backend=name, threads=1, guided=False) as matter:
                found[name] = [matter(frame).alpha for frame in (self.frame, self.tall)]
        return found

    def judge(self, number: int) -> Outcome:
        """Make one mutation and say what became of it."""
        rng = random.Random(f"{self.seed} {number}")
        at = rng.randrange(len(self.bases))
        mutation = Mutation(self.bases[at], rng)
        content = mutation.content()
        said = "; ".join(mutation.said) + (" (checksums anew)" if mutation.anew else "")
        try:
            found = self._mattes(self._written(content))
        except MatterError as error:
            text = str(error)
            if "\n" in text or printable(text) != text:
                return Outcome(number, "BAD message", repr(text)[:300], said)
            return Outcome(number, "refused", text[:300], said)
        except Exception:  # noqa: BLE001 - whatever is no MatterError is a finding
            return Outcome(number, "BAD exception", traceback.format_exc()[-800:], said)
        return Outcome(number, self._compared(found, self.expected[at], mutation.anew), "", said)

    @staticmethod
    def _compared(found: Any, expected: Any, anew: bool) -> str:
        def near(one: list[Any], other: list[Any], share: float = 0.0) -> bool:
            return all(
                a.shape == b.shape and np.mean(~(np.abs(a - b) <= 2e-2)) <= share
                for a, b in zip(one, other, strict=True)
            )

        if all(near(found[name], expected[name]) for name in found):
            return "same"
        if not anew:
            return "BAD matte that differs"
        if not all(np.isfinite(alpha).all() for alphas in found.values() for alpha in alphas):
            return "another, not finite"  # runtimes differ in what becomes of NaN
        first, *others = found.values()
        # Where two classes are as likely, rounding decides about a pixel, and runtimes round 8-bit
        # products in different places. Foreign memory would change more than some pixels.
        agree = all(near(first, other, share=0.05) for other in others)
        return "another" if agree else "BAD disagreement"


def work(seed: int) -> None:
    """The worker's loop: numbers on stdin, outcomes as JSON on stdout."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        os.chdir(name)
        worker = Worker(Path(name), seed)
        for line in sys.stdin:
            order = line.strip()
            if order == "crash":  # for the supervisor's own tests
                os.abort()
            elif order == "hang":
                time.sleep(3600)
            elif order == "swell":
                kept = bytearray(os.urandom(1 << 20) * 300)
                time.sleep(3600)
                del kept
            print(json.dumps(worker.judge(int(order))), flush=True)


# --------------------------------------------------------------------------------------- supervisor


class Supervisor:
    """Hands mutations to a worker and replaces it when it dies, hangs or swells."""

    def __init__(self, seed: int, *, seconds: float = SECONDS, megabytes: int = MEGABYTES) -> None:
        self.seed, self.seconds, self.megabytes = seed, seconds, megabytes
        self._worker: subprocess.Popen[str] | None = None
        self._errors: Any = None
        self._turns = 0

    def run(self, order: int | str) -> Outcome:
        """The outcome of one mutation."""
        if self._worker is None or self._turns >= WORKER_TURNS:
            self.close()
            self._start()
        self._turns += 1
        worker = self._worker
        if worker is None or worker.stdin is None or worker.stdout is None:
            raise RuntimeError("the worker could not be started")
        with contextlib.suppress(BrokenPipeError):
            worker.stdin.write(f"{order}\n")
            worker.stdin.flush()
        until = time.monotonic() + self.seconds + (60 if self._turns == 1 else 0)  # it imports
        number = order if isinstance(order, int) else -1
        kind = "BAD hang"
        while time.monotonic() < until:
            if select.select([worker.stdout], [], [], 0.05)[0]:
                line = worker.stdout.readline()
                if line:
                    return Outcome(*json.loads(line))
                kind = f"BAD crash ({worker.wait()})"
                break
            if _megabytes(worker.pid) > self.megabytes:
                kind = "BAD memory"
                break
        worker.kill()
        worker.wait()
        self._errors.seek(0)
        text = self._errors.read()[-400:]
        self.close()
        return Outcome(number, kind, text)

    def _start(self) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the worker
        self._worker = subprocess.Popen(
            [sys.executable, "-m", "tests.sdk.fuzz_engine", "--worker", "--seed", str(self.seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        self._turns = 0

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            with contextlib.suppress(BrokenPipeError):
                self._worker.communicate(timeout=30)
            self._worker = None
            self._errors.close()


def _megabytes(process: int) -> int:
    """The memory that a process has in use now."""
    try:
        text = Path(f"/proc/{process}/statm").read_text(encoding="ascii")
    except OSError:
        return 0
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def fuzz(
    numbers: Iterable[int], seed: int, show: Callable[[Outcome], None] = lambda outcome: None
) -> list[Outcome]:
    """Run mutations; returns their outcomes in order."""
    supervisor = Supervisor(seed)
    found = []
    try:
        for number in numbers:
            outcome = supervisor.run(number)
            found.append(outcome)
            show(outcome)
    finally:
        supervisor.close()
    return found


def main() -> int:
    """The command; its exit status is 1 where there is a finding."""
    parser = argparse.ArgumentParser(description="Mutate engines and see what becomes of them.")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="run this mutation alone, and show it")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.seed)
        return 0
    numbers: Iterable[int] = range(given.first, given.first + given.count)
    numbers = numbers if given.only is None else [given.only]
    begin = time.monotonic()
    counts: Counter[str] = Counter()

    def show(outcome: Outcome) -> None:
        counts[outcome.kind] += 1
        if outcome.kind.startswith("BAD") or given.only is not None:
            print(outcome, flush=True)
        if sum(counts.values()) % 500 == 0:
            print(f"{time.monotonic() - begin:.0f} s: {dict(counts)}", file=sys.stderr, flush=True)

    fuzz(numbers, given.seed, show)
    print(f"{time.monotonic() - begin:.0f} s: {dict(counts)}")
    return 1 if any(kind.startswith("BAD") for kind in counts) else 0


if __name__ == "__main__":
    sys.exit(main())
