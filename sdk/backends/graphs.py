"""What an ONNX graph may hold, checked from its bytes before any runtime sees it.

A runtime trusts a graph: given hostile indices, missing weights or a cycle, one or another of them
reads foreign memory, crashes, or compiles for ever. And a tensor may keep its data in another file,
named by a free-form path. So a graph is taken only if it is of the kind that ``export`` writes:

* encoded canonically (``sdk.backends.onnx_reader``), so that all parsers agree about it;
* a plain list of the operators of ``sdk.backends.operators``, each value made once and before it is
  used, indices and sizes constant and in range, weights present;
* every tensor's data complete, and inside the engine;
* shapes and types as inferred here, those of inputs and outputs as in the manifest;
* within limits of nodes, memory and work.

Whatever needs more is no engine: ``export`` builds one from its checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from matter_sdk.sdk.backends import check_graph
from matter_sdk.sdk.backends.onnx_reader import Message, read_model, whole_numbers
from matter_sdk.sdk.backends.operators import (
    BOOL,
    FLOAT,
    HALF,
    INT8,
    INT32,
    INT64,
    ITEM_BYTES,
    MAX_ELEMENTS,
    MAX_RANK,
    TYPE_NAMES,
    UINT8,
    Refused,
    Tensor,
    infer,
    work,
)
from matter_sdk.sdk.errors import BackendError, EngineError

if TYPE_CHECKING:
    from matter_sdk.sdk.engine.file import EngineFile
    from matter_sdk.sdk.engine.manifest import Manifest, ModelEntry

OPSETS = range(17, 24)
"""Versions of the default operator set: export writes 18 to 23."""
MAX_NODES = 20_000
MAX_NAME = 512
MAX_MEMORY = 16 << 30
"""Most memory in bytes that a network may need by our estimate: weights and living values."""
MEMORY_A_PIXEL = 4_096
"""And of that, values for each pixel of a batch, beyond ``MEMORY_FREE``."""
MEMORY_FREE = 256 << 20
WORK_A_PIXEL = 4_000_000
"""Most multiply-accumulates for each pixel of a batch, beyond ``WORK_FREE``."""
WORK_FREE = 1 << 30

_IR_VERSIONS = range(7, 14)
_SMALL = 4096  # elements of a constant whose numbers are looked at
_ATTRIBUTES = {
    1: ("f", float),
    2: ("i", int),
    3: ("s", bytes),
    6: ("floats", list),
    7: ("ints", list),
}
_NUMPY: dict[int, Any] = {
    FLOAT: np.float32,
    UINT8: np.uint8,
    INT8: np.int8,
    INT32: np.int32,
    INT64: np.int64,
    BOOL: np.bool_,
    HALF: np.float16,
}
_RANGES = {INT8: (-128, 127), UINT8: (0, 255), INT32: (-(1 << 31), (1 << 31) - 1), BOOL: (0, 1)}


class Graph(NamedTuple):
    """A serialised graph, and the member with the weights that it refers to: both as checked."""

    content: bytes
    data: memoryview | None


def read_graph(engine: EngineFile, model: ModelEntry) -> Graph:
    """Return the graph of one network size, checked.

    Raises:
        EngineError: says what the graph holds, what was expected, and how to build it again.
    """
    graph = engine.read(model.onnx)
    data = engine.read(model.data) if model.data else None
    # With what the verdict depends on: two sizes of a manifest may name one graph.
    about = (model.onnx, model.data, model.size)
    if about not in engine.vetted:
        try:
            check(graph, engine.manifest, model, data or b"")
        except (EngineError, BackendError) as error:
            raise EngineError(
                f"{engine.path}: {model.onnx!r}: {error}. Such a graph is not run; what needs it "
                f"is built from its checkpoint: {engine.manifest.build_command(engine.path.name)}"
            ) from error
        engine.vetted.add(about)
    return Graph(bytes(graph), data)


def check(
    content: bytes | memoryview,
    manifest: Manifest,
    model: ModelEntry,
    data: bytes | memoryview = b"",
) -> None:
    """Refuse a serialised graph that is not what ``export`` writes for this manifest and size.

    ``data``: the content of the member with external weights, ``model.data``.

    Raises:
        EngineError: names the node or tensor, what was found and what was expected.
        BackendError: inputs or outputs are not the manifest's.
    """
    message = read_model(content)
    opset = _header(message)
    graph = message["graph"]
    if len(graph["node"]) > MAX_NODES:
        raise EngineError(f"{len(graph['node']):,} nodes; expected {MAX_NODES:,} at most")
    inputs = dict(map(_declared, graph["input"]))
    outputs = dict(map(_declared, graph["output"]))
    if len(inputs) != len(graph["input"]) or len(outputs) != len(graph["output"]):
        raise EngineError("an input or output stands twice; expected each once")
    check_graph(
        manifest,
        model,
        {name: value.shape for name, value in inputs.items()},
        {name: value.shape for name, value in outputs.items()},
    )
    unknown = sorted(set(outputs) - {head.name for head in manifest.heads})
    if unknown or any(value.dtype != FLOAT for value in (*inputs.values(), *outputs.values())):
        raise EngineError(
            f"outputs that are no heads ({', '.join(unknown) or 'none'}) or numbers other than "
            f"float32; expected the manifest's heads as float32"
        )
    place = PurePosixPath(model.data).name if model.data else None
    known = dict(inputs)
    for tensor in graph["initializer"]:
        name = _name(tensor.get("name", ""))
        if name in known:
            raise EngineError(f"the value {name!r} is made twice; expected once")
        known[name] = _initializer(name, tensor, place, memoryview(data))
    weights = sum(tensor.bytes for tensor in known.values() if tensor.constant)
    pixels = manifest.batch * math.prod(model.size)
    given = sum(tensor.bytes for tensor in inputs.values())
    budget = _Budget(weights + given, pixels, _last_uses(graph["node"], outputs))
    for at, node in enumerate(graph["node"]):
        _node(at, node, known, opset, budget)
    for name, value in outputs.items():
        if name in inputs or known.get(name, value._replace(shape=())).shape != value.shape:
            raise EngineError(
                f"the output {name!r} is not made by a node or of another shape than declared; "
                f"expected {list(value.shape)}"
            )
        if known[name].dtype != FLOAT:
            raise EngineError(
                f"the output {name!r} is {TYPE_NAMES[known[name].dtype]}; expected float32"
            )
    for name, value in map(_declared, graph["value_info"]):
        found = known.get(name)
        if found is None or (found.dtype, found.shape) != (value.dtype, value.shape):
            raise EngineError(
                f"the value {name!r} is declared as {_text(value)}; expected "
                f"{'a value of the graph' if found is None else _text(found)}"
            )


def _text(tensor: Tensor) -> str:
    return f"{TYPE_NAMES[tensor.dtype]}{list(tensor.shape)}"


def _header(message: Message) -> int:
    """Check what stands around the graph; returns the version of the operator set."""
    version = message.get("ir_version", 0)
    if version not in _IR_VERSIONS or "graph" not in message:
        raise EngineError(
            f"the graph is not a well-formed ONNX model (IR version {version}); expected version "
            f"{_IR_VERSIONS[0]} to {_IR_VERSIONS[-1]} and a graph"
        )
    sets = [(entry.get("domain", ""), entry.get("version", 0)) for entry in message["opset_import"]]
    if len(sets) != 1 or sets[0][0] not in ("", "ai.onnx") or sets[0][1] not in OPSETS:
        raise EngineError(
            f"operator sets {sets[:4]}; expected one, the default of version {OPSETS[0]} to "
            f"{OPSETS[-1]}"
        )
    return int(sets[0][1])


def _name(name: str) -> str:
    if not 0 < len(name) <= MAX_NAME:
        raise EngineError(f"a name of {len(name)} characters; expected 1 to {MAX_NAME}")
    return name


def _shape(sides: Iterable[int], name: str) -> tuple[int, ...]:
    shape = tuple(sides)
    if len(shape) > MAX_RANK or not all(side > 0 for side in shape):
        raise EngineError(f"{name!r} has the shape {list(shape[:9])}; expected sides of 1 and more")
    if math.prod(shape) > MAX_ELEMENTS:
        raise EngineError(
            f"{name!r} has the shape {list(shape)}; expected {MAX_ELEMENTS:,} numbers at most"
        )
    return shape


def _dtype(number: int, name: str) -> int:
    if number not in ITEM_BYTES:
        raise EngineError(
            f"{name!r} has numbers of type {number}; expected {', '.join(TYPE_NAMES.values())}"
        )
    return number


def _declared(value: Message) -> tuple[str, Tensor]:
    """The name, type and shape of an input, output or noted value."""
    name = _name(value.get("name", ""))
    about = value.get("type", {}).get("tensor_type", {})
    if "shape" not in about or not all("dim_value" in side for side in about["shape"]["dim"]):
        raise EngineError(f"{name!r} has no fixed shape; expected one")
    shape = _shape((side["dim_value"] for side in about["shape"]["dim"]), name)
    return name, Tensor(_dtype(about.get("elem_type", 0), name), shape)


# ------------------------------------------------------------------------------------ initialisers


def _initializer(name: str, tensor: Message, place: str | None, outside: memoryview) -> Tensor:
    """Check that a tensor's data are whole and inside the engine, and look at small ones.

    ``outside``: the content of the member ``place``, which holds external data.
    """
    dtype = _dtype(tensor.get("data_type", 0), name)
    shape = _shape(tensor["dims"], name)
    known = Tensor(dtype, shape, constant=True)
    held = [key for key in ("raw_data", "float_data", "int32_data", "int64_data") if key in tensor]
    if tensor.get("data_location", 0) == 1 or tensor["external_data"]:
        if held or tensor.get("data_location", 0) != 1:
            raise EngineError(f"{name!r} has data inside and outside of the graph; expected one")
        key, data = "raw_data", _external(name, known, tensor["external_data"], place, outside)
    elif tensor.get("data_location", 0) != 0 or len(held) != 1:
        raise EngineError(f"{name!r} has {len(held)} kinds of data; expected one")
    else:
        (key,) = held
        data = tensor[key]
    if key in ("int32_data", "int64_data"):
        if known.elements > _SMALL:
            raise EngineError(f"{name!r} has {known.elements:,} numbers one by one; expected bytes")
        return known._replace(values=_listed(known, name, key, data))
    if len(data) != known.bytes or (key == "float_data" and dtype != FLOAT):
        raise EngineError(
            f"{name!r} has {len(data):,} bytes of {key}; expected {known.bytes:,} for "
            f"{_text(known)}"
        )
    if dtype == BOOL and known.elements and max(data) > 1:
        raise EngineError(f"{name!r} has truth values of {max(data)}; expected 0 and 1")
    if known.elements > _SMALL:
        return known
    values = np.frombuffer(data, np.dtype(_NUMPY[dtype]).newbyteorder("<"))
    return known._replace(values=values.reshape(shape))


def _listed(known: Tensor, name: str, key: str, data: memoryview) -> Any:
    """The numbers of ``int32_data`` or ``int64_data``."""
    numbers = whole_numbers(data)
    wide = key == "int64_data"
    low, high = (-(1 << 63), (1 << 63) - 1) if wide else _RANGES.get(known.dtype, (0, -1))
    if wide != (known.dtype == INT64) or len(numbers) != known.elements:
        raise EngineError(f"{name!r} has {len(numbers)} numbers in {key}; expected {_text(known)}")
    if not all(low <= number <= high for number in numbers):
        raise EngineError(
            f"{name!r} has numbers beyond {TYPE_NAMES[known.dtype]}; expected {low} to {high}"
        )
    return np.array(numbers, _NUMPY[known.dtype]).reshape(known.shape)


def _external(
    name: str, known: Tensor, entries: list[Message], place: str | None, outside: memoryview
) -> memoryview:
    """A tensor's data in the engine's own member, whose content is ``outside``."""
    about = {entry.get("key", ""): entry.get("value", "") for entry in entries}
    if len(about) != len(entries) or not set(about) <= {"location", "offset", "length"}:
        raise EngineError(
            f"{name!r} has external data by {sorted(about)}; expected location, offset, length"
        )
    if place is None or about.get("location") != place:
        expected = f"{place!r} only" if place else "no external data"
        raise EngineError(
            f"{name!r} would read {about.get('location', '')!r} from outside the engine; expected "
            f"{expected}"
        )
    offset, length = (_digits(name, about.get(key, "0")) for key in ("offset", "length"))
    length = length if "length" in about else known.bytes
    if length != known.bytes or offset + length > len(outside):
        raise EngineError(
            f"{name!r} would read {length:,} bytes at {offset:,} of {place!r}; expected "
            f"{known.bytes:,} within its {len(outside):,}"
        )
    return outside[offset : offset + length]


def _digits(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise EngineError(f"{name!r} has external data at {text[:40]!r}; expected a whole number")
    return int(text)


# -------------------------------------------------------------------------------------------- nodes


class _Budget:
    """Memory and work of a graph, added up node by node.

    Memory is that of runtimes that free a value after its last use and keep every constant.
    """

    def __init__(self, weights: int, pixels: int, last_uses: Mapping[str, int]) -> None:
        self.last_uses = last_uses
        self._dying: dict[int, list[int]] = {}
        self.kept = weights
        self.living = self.peak = self.work = 0
        self._most_living = MEMORY_FREE + MEMORY_A_PIXEL * pixels
        self._most_work = WORK_FREE + WORK_A_PIXEL * pixels

    def add(self, at: int, name: str, result: Tensor, cost: int) -> None:
        """Count one node's result; raises Refused beyond a limit."""
        self.work += cost
        if result.constant:
            self.kept += result.bytes
        else:
            self.living += result.bytes
            self._dying.setdefault(self.last_uses.get(name, at), []).append(result.bytes)
        self.peak = max(self.peak, self.living)
        self.living -= sum(self._dying.pop(at, ()))
        if self.peak > self._most_living or self.kept + self.peak > MAX_MEMORY:
            raise Refused(
                f"an estimated {self.kept + self.peak:,} bytes of memory; expected at most "
                f"{min(self._most_living + self.kept, MAX_MEMORY):,}"
            )
        if self.work > self._most_work:
            raise Refused(
                f"{self.work:,} multiply-accumulates; expected at most {self._most_work:,}"
            )


def _last_uses(nodes: list[Message], outputs: Iterable[str]) -> dict[str, int]:
    """Each value's last reader, by its position; a head lives to the end."""
    uses = {name: at for at, node in enumerate(nodes) for name in node["input"]}
    return uses | dict.fromkeys(outputs, len(nodes))


def _node(at: int, node: Message, known: dict[str, Tensor], opset: int, budget: _Budget) -> None:
    """Check one node and add its result to the ``known`` values."""
    op = node.get("op_type", "")
    try:
        if node.get("domain", "") not in ("", "ai.onnx"):
            raise Refused(f"the domain {node['domain'][:40]!r}; expected the default")
        if len(node.get("name", "")) > MAX_NAME:
            raise Refused(f"a name of {len(node['name'])} characters; expected {MAX_NAME} at most")
        inputs: list[Tensor | None] = []
        for name in node["input"]:
            if name and name not in known:
                raise Refused(f"the input {name!r}, which no node before it makes; expected one")
            inputs.append(known[name] if name else None)
        if len(node["output"]) != 1:
            raise Refused(f"{len(node['output'])} outputs; expected one")
        output = _name(node["output"][0])
        if output in known:
            raise Refused(f"the output {output!r}, which is made twice; expected once")
        result = infer(op, inputs, _attributes(node), opset)
        known[output] = result
        budget.add(at, output, result, work(op, inputs, result))
    except Refused as error:
        label = node.get("name", "") or f"node {at}"
        raise EngineError(f"{op[:40]!r} ({label[:80]}) has {error}") from error


def _attributes(node: Message) -> dict[str, Any]:
    """A node's attributes by name, each with the one value that its type says."""
    result: dict[str, Any] = {}
    for attribute in node["attribute"]:
        name, number = attribute.get("name", ""), attribute.get("type", 0)
        field, kind = _ATTRIBUTES.get(number, ("", object))
        held = [key for key in ("f", "i", "s") if key in attribute]
        held += [key for key in ("floats", "ints") if attribute[key]]
        # An empty list may stand for itself; each other value stands where its type says.
        if held != [field] and not (kind is list and not held):
            raise Refused(f"the attribute {name[:40]!r} of type {number} with {held}; expected one")
        if name in result:
            raise Refused(f"the attribute {name[:40]!r} twice; expected once")
        if number == 6:
            raise Refused(f"the attribute {name[:40]!r} of several floats; expected none such")
        result[name] = attribute[field] if held else []
    return result
