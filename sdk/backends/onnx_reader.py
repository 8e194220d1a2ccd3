"""Read an ONNX model strictly, so that every parser understands it as this one did.

Parsers of protobuf disagree about odd encodings: over-long numbers, fields that stand twice,
unknown fields, groups. A graph that we judge and a runtime then reads otherwise is not judged at
all. Hence only the canonical encoding is taken: what ``onnx`` itself writes, with known fields in
ascending order, singular fields once, numbers as short as can be. Such bytes survive parsing and
serialising unchanged.

The schema holds the fields of onnx.proto that our exporter writes. Subgraphs, functions, training
graphs, sparse tensors, sequences and symbolic dimensions have no place in it and are refused as
unknown fields.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from matter_sdk.sdk.errors import EngineError, printable

MAX_FIELDS = 2_000_000
"""Most fields in one model. The heaviest that our exporter writes has some 50,000."""
MAX_TEXT = 1 << 20
"""Longest text in a model, in bytes: the manifest that export notes there."""


class _Field(NamedTuple):
    name: str
    kind: str  # "int64", "int32", "float", "string", "bytes", "packed …", or the name of a message
    many: bool = False


_ENTRY = {1: _Field("key", "string"), 2: _Field("value", "string")}
_NOTES = _Field("metadata_props", "entry", True)
_SCHEMA: dict[str, dict[int, _Field]] = {
    "model": {
        1: _Field("ir_version", "int64"),
        2: _Field("producer_name", "string"),
        3: _Field("producer_version", "string"),
        4: _Field("domain", "string"),
        5: _Field("model_version", "int64"),
        6: _Field("doc_string", "string"),
        7: _Field("graph", "graph"),
        8: _Field("opset_import", "opset", True),
        14: _NOTES,
    },
    "opset": {1: _Field("domain", "string"), 2: _Field("version", "int64")},
    "entry": _ENTRY,
    "graph": {
        1: _Field("node", "node", True),
        2: _Field("name", "string"),
        5: _Field("initializer", "tensor", True),
        10: _Field("doc_string", "string"),
        11: _Field("input", "value", True),
        12: _Field("output", "value", True),
        13: _Field("value_info", "value", True),
        16: _NOTES,
    },
    "node": {
        1: _Field("input", "string", True),
        2: _Field("output", "string", True),
        3: _Field("name", "string"),
        4: _Field("op_type", "string"),
        5: _Field("attribute", "attribute", True),
        6: _Field("doc_string", "string"),
        7: _Field("domain", "string"),
        9: _NOTES,
    },
    "attribute": {
        1: _Field("name", "string"),
        2: _Field("f", "float"),
        3: _Field("i", "int64"),
        4: _Field("s", "bytes"),
        7: _Field("floats", "float", True),
        8: _Field("ints", "int64", True),
        13: _Field("doc_string", "string"),
        20: _Field("type", "int32"),
    },
    "tensor": {
        1: _Field("dims", "int64", True),
        2: _Field("data_type", "int32"),
        4: _Field("float_data", "packed float"),
        5: _Field("int32_data", "packed int"),
        7: _Field("int64_data", "packed int"),
        8: _Field("name", "string"),
        9: _Field("raw_data", "data"),
        12: _Field("doc_string", "string"),
        13: _Field("external_data", "entry", True),
        14: _Field("data_location", "int32"),
        16: _NOTES,
    },
    "value": {
        1: _Field("name", "string"),
        2: _Field("type", "type"),
        3: _Field("doc_string", "string"),
        4: _NOTES,
    },
    "type": {1: _Field("tensor_type", "tensor type")},
    "tensor type": {1: _Field("elem_type", "int32"), 2: _Field("shape", "shape")},
    "shape": {1: _Field("dim", "dimension", True)},
    "dimension": {1: _Field("dim_value", "int64")},
}
_WIRE = {"int64": 0, "int32": 0, "float": 5}  # everything else: 2, with a length

Message = dict[str, Any]
"""Fields by name: those that stand in the file; repeated ones always, as lists."""


def read_model(content: bytes | memoryview) -> Message:
    """Parse a serialised ``ModelProto``.

    Bytes and packed numbers are views of ``content``, not copies.

    Raises:
        EngineError: for what is not canonical, not known, or over a limit; says at which byte.
    """
    return _Reader(memoryview(content)).message("model", 0, len(content))


def whole_numbers(packed: memoryview) -> list[int]:
    """Return packed varints as signed 64-bit numbers.

    Raises:
        EngineError: an encoding that is not canonical.
    """
    reader = _Reader(packed)
    numbers, at = [], 0
    while at < len(packed):
        value, at = reader.varint(at, len(packed))
        numbers.append(_signed(value))
    return numbers


class _Reader:
    def __init__(self, content: memoryview) -> None:
        self.content = content
        self.fields = 0

    def message(self, kind: str, at: int, end: int) -> Message:
        schema = _SCHEMA[kind]
        result: Message = {field.name: [] for field in schema.values() if field.many}
        last = 0
        while at < end:
            begin = at
            tag, at = self.varint(at, end)
            number, wire = tag >> 3, tag & 7
            field = schema.get(number)
            if field is None:
                raise _refused(begin, f"{kind} has the field {number}", "none but known fields")
            if wire != _WIRE.get(field.kind, 2):
                raise _refused(begin, f"{kind}.{field.name} has wire type {wire}", "its own")
            if number < last or (number == last and not field.many):
                raise _refused(
                    begin, f"{kind}.{field.name} is out of order or stands twice", "order"
                )
            last = number
            self.fields += 1
            if self.fields > MAX_FIELDS:
                raise _refused(begin, "too many fields", f"at most {MAX_FIELDS:,}")
            value, at = self._value(field, at, end)
            if field.many:
                result[field.name].append(value)
            else:
                result[field.name] = value
        return result

    def _value(self, field: _Field, at: int, end: int) -> tuple[Any, int]:
        kind = field.kind
        if kind == "int64":
            number, at = self.varint(at, end)
            return _signed(number), at
        if kind == "int32":  # an enumeration or a type: never negative
            number, after = self.varint(at, end)
            if number > 0x7FFFFFFF:
                raise _refused(at, f"{field.name} is {number}", "31 bits")
            return number, after
        if kind == "float":
            if end - at < 4:
                raise _refused(at, "a number runs past the end", "a whole message")
            return struct.unpack_from("<f", self.content, at)[0], at + 4
        length, at = self.varint(at, end)
        if length > end - at:
            raise _refused(at, f"{field.name} runs past the end", "a whole message")
        stop = at + length
        if kind in _SCHEMA:
            return self.message(kind, at, stop), stop
        piece = self.content[at:stop]
        if kind in ("data", "packed float", "packed int"):
            return piece, stop
        if length > MAX_TEXT:
            raise _refused(at, f"{field.name} has {length:,} bytes", f"at most {MAX_TEXT:,}")
        if kind == "bytes":
            return bytes(piece), stop
        try:
            text = str(piece, "utf-8")
        except UnicodeDecodeError as error:
            raise _refused(at, f"{field.name} is not UTF-8", "UTF-8") from error
        if not text.isascii() or not text.isprintable():
            # Beyond ASCII two names may look alike; a control character may steer a terminal.
            if field.name in ("doc_string", "value") and printable(text) == text:
                return text, stop
            raise _refused(at, f"{field.name} is {text[:40]!r}", "printable ASCII")
        return text, stop

    def varint(self, at: int, end: int) -> tuple[int, int]:
        content = self.content
        if at >= end:
            raise _refused(at, "a number runs past the end", "a whole message")
        byte = content[at]
        if byte < 0x80:  # most of them
            return byte, at + 1
        begin, value, shift = at, byte & 0x7F, 7
        while True:
            at += 1
            if at >= end:
                raise _refused(begin, "a number runs past the end", "a whole message")
            byte = content[at]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise _refused(begin, "a number of more than 64 bits", "at most 64")
        if byte == 0 or value >> 64:
            raise _refused(begin, "a number is longer than it must be", "the shortest form")
        return value, at + 1


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _refused(at: int, found: str, expected: str) -> EngineError:
    return EngineError(
        f"the graph is not a well-formed ONNX model (at byte {at:,}: {printable(found)}; expected "
        f"{expected})"
    )
