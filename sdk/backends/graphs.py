"""What an ONNX graph refers to outside itself, read from its bytes without the onnx package.

An ONNX tensor may keep its data in another file, named by a free-form path. A runtime that is
handed a graph as bytes resolves such a path against the current directory, so a crafted graph could
read any file of the user (and ONNX Runtime knows a special name that stands for an address in
memory). Hence every ``external_data`` location in a graph is collected here, before a runtime sees
it, and must be the one data member that the manifest names.

The walk follows each field of the ONNX protobuf schema (onnx.proto, IR version 3 to 13) that can
lead to a tensor: graphs, training graphs, functions, nodes, attributes, nested subgraphs, sparse
tensors. Every occurrence of a field is visited (protobuf merges repeated singular messages), and
what cannot be parsed is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from sdk.errors import EngineError

if TYPE_CHECKING:
    from sdk.engine import EngineFile
    from sdk.manifest import ModelEntry

# message -> {field number: the message in it}, from onnx.proto.
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},  # external_data: StringStringEntryProto, key = 1, value = 2
}
_DEEPEST = 100  # protobuf's own limit for nested messages


def read_graph(engine: EngineFile, model: ModelEntry) -> bytes:
    """The graph of one network size, checked to refer to nothing outside the engine.

    Raises:
        EngineError: names the place that the graph would have read.
    """
    with engine.read(model.onnx) as view:
        graph = bytes(view)
    allowed = {PurePosixPath(model.data).name} if model.data else set()
    outside = sorted(external_locations(graph) - allowed)
    if outside:
        expected = f"{sorted(allowed)[0]!r} only" if allowed else "no external data"
        raise EngineError(
            f"{engine.path}: {model.onnx!r} would read {', '.join(map(repr, outside))} from "
            f"outside the engine; expected {expected}. Do not use this file; build the engine "
            f"again: {engine.manifest.build_command(engine.path.name)}"
        )
    return graph


def external_locations(graph: bytes) -> set[str]:
    """Every location that a tensor of a serialised ONNX model names as the place of its data.

    Raises:
        EngineError: if the bytes are not a well-formed protobuf message.
    """
    try:
        return set(_locations(memoryview(graph), "model", 0))
    except (IndexError, ValueError) as error:
        raise EngineError(
            f"the graph is not a well-formed ONNX model ({error}); expected one. Build the engine "
            f"again"
        ) from error


def _locations(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    children = _CHILDREN[kind]
    for number, content in _fields(message):
        child = children.get(number)
        if child == "entry":
            yield from _location(content)
        elif child is not None:
            yield from _locations(content, child, depth + 1)


def _location(entry: memoryview) -> Iterator[str]:
    # All values of an entry that anywhere has the key: a parser keeps the last of each.
    fields = [(number, bytes(content)) for number, content in _fields(entry)]
    if any(number == 1 and content == b"location" for number, content in fields):
        values = [content for number, content in fields if number == 2]
        yield from (value.decode("utf-8", "backslashreplace") for value in values or [b""])


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The length-delimited fields of a message; numbers are skipped, groups refused."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("field number 0")
        if wire == 0:
            _, at = _varint(message, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        elif wire == 2:
            length, at = _varint(message, at)
            if length > len(message) - at:
                raise ValueError("a field runs past the end")
            yield number, message[at : at + length]
            at += length
        else:
            raise ValueError(f"wire type {wire}")
    if at != len(message):
        raise ValueError("a field runs past the end")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]  # IndexError past the end
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
