"""Sum up an engine's graph: operators, bytes of weights and multiply-accumulates by stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from matter_sdk.export.cost import dims, node_macs
from matter_sdk.sdk.backends.graphs import read_graph
from matter_sdk.sdk.engine.file import EngineFile
from matter_sdk.sdk.engine.manifest import ModelEntry
from matter_sdk.sdk.errors import EngineError

# Stages are named by as few components of the modules' names as make this many of them.
_FEW, _DEEPEST = 5, 3


@dataclass(frozen=True)
class Layer:
    """One operator. ``shape``: its result. ``bytes``: the weights that it reads."""

    name: str
    kind: str
    shape: tuple[int, ...]
    weight: tuple[int, ...]
    bytes: int
    macs: int


@dataclass(frozen=True)
class Stage:
    """Operators of one part of the network."""

    name: str
    operators: int
    bytes: int
    macs: int


@dataclass(frozen=True)
class Summary:
    """A graph, without the casts of its weights.

    Attributes:
        kinds: number of operators by kind.
        cast: number of weights stored as float16 and cast to float32 at load.
        bytes: size of all constants by type, such as "float16".
        layers: in the graph's order.
    """

    kinds: Mapping[str, int]
    cast: int
    bytes: Mapping[str, int]
    layers: tuple[Layer, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return sum(layer.macs for layer in self.layers)

    def stages(self) -> list[Stage]:
        """Return the network's stages, in the order of the graph.

        They are told apart by the first components of the operators' names, which are those of
        their modules; without such names, by the resolution of their results.
        """
        keys = [layer.name.rpartition("/")[0].split(".") for layer in self.layers]
        for depth in range(1, _DEEPEST + 1):
            named = [".".join(key[:depth]) for key in keys]
            if len(set(named) - {""}) >= _FEW:
                return _stages(zip(named, self.layers, strict=True))
        if any(named):
            return _stages(zip(named, self.layers, strict=True))
        sizes = ["×".join(map(str, layer.shape[2:])) for layer in self.layers]
        return _stages(zip(sizes, self.layers, strict=True))


def summary(engine: EngineFile, model: ModelEntry) -> Summary:
    """Read a graph of an engine without its weights.

    Raises:
        EngineError: no ONNX model, a reference to something outside the engine, or a shape that
            is not fixed.
    """
    content = read_graph(engine, model).content
    try:
        graph = ir.from_proto(onnx.load_model_from_string(content)).graph
        return _summary(graph)
    except Exception as error:  # protobuf's, onnx's and onnx_ir's own, of many types
        raise EngineError(
            f"{engine.path}: {model.onnx!r} cannot be read as a graph ({error}); expected one as "
            f"the export writes it. Build it again: "
            f"{engine.manifest.build_command(engine.path.name)}"
        ) from error


def _summary(graph: ir.Graph) -> Summary:
    casts = {node for node in graph if node.op_type == "Cast" and _constant(node.inputs[0])}
    nodes = [node for node in graph if node not in casts]
    sizes: Counter[str] = Counter()
    for value in graph.initializers.values():
        if value.const_value is not None:
            kind = value.const_value.dtype.numpy().name  # as NumPy calls it: float32, not FLOAT
            sizes[kind] += value.const_value.nbytes
    return Summary(
        kinds=dict(Counter(node.op_type for node in nodes).most_common()),
        cast=len(casts),
        bytes=dict(sizes.most_common()),
        layers=tuple(map(_layer, nodes)),
    )


def _layer(node: ir.Node) -> Layer:
    weights = [stored for value in node.inputs if (stored := _stored(value)) is not None]
    largest = max(weights, key=lambda tensor: tensor.nbytes, default=None)
    return Layer(
        node.name or node.op_type,
        node.op_type,
        dims(node.outputs[0]),
        tuple(largest.shape.numpy()) if largest is not None else (),
        sum(tensor.nbytes for tensor in weights),
        node_macs(node),
    )


def _stored(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The constant that a value is, or is cast from."""
    producer = value.producer() if value is not None else None
    if producer is not None and producer.op_type == "Cast":
        value = producer.inputs[0]
    return value.const_value if _constant(value) and value is not None else None


def _constant(value: ir.Value | None) -> bool:
    return value is not None and value.is_initializer() and value.const_value is not None


def _stages(named: Iterable[tuple[str, Layer]]) -> list[Stage]:
    found: dict[str, Stage] = {}
    for name, layer in named:
        so_far = found.get(name, Stage(name, 0, 0, 0))
        found[name] = Stage(
            name,
            so_far.operators + 1,
            so_far.bytes + layer.bytes,
            so_far.macs + layer.macs,
        )
    return list(found.values())
