"""Write operators of other exporters as those that an engine's graph may hold.

``sdk.backends.operators`` lists the latter. Each rewrite is exact but for the order of additions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from matter_sdk.export.cost import dims


class Place:
    """Where a node stands, and what is put in its place."""

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self.graph, self.node = graph, node
        self._count = 0

    def constant(self, values: Any, dtype: Any) -> ir.Value:
        """An initialiser."""
        array = np.asarray(values, dtype)
        name = self._name("constant")
        value = ir.Value(
            name=name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
            const_value=ir.tensor(array, name=name),
        )
        self.graph.register_initializer(value)
        return value

    def make(self, op: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """The result of a new node before this one."""
        given = [ir.Attr(name, *_typed(value)) for name, value in attributes.items()]
        made = ir.Node("", op, list(inputs), given, name=self._name(op))
        result: ir.Value = made.outputs[0]
        result.name = self._name("result")
        self.graph.insert_before(self.node, made)
        return result

    def _name(self, what: str) -> str:
        self._count += 1
        return f"{self.node.outputs[0].name}.{what}.{self._count}"


def rewrite(model: ir.Model) -> None:
    """Rewrite what is known, in place; leave the rest, for the check of the engine to name."""
    for node in list(model.graph):
        rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        made = rule(Place(model.graph, node), node) if rule else None
        if made is None:
            continue
        results = made if isinstance(made, list) else [made]
        for old, new in zip(node.outputs, results, strict=False):
            take_place(old, new)
        model.graph.remove(node, safe=True)


def take_place(old: ir.Value, new: ir.Value) -> None:
    """Let readers of ``old`` read ``new``; as an output of the graph it takes that name."""
    name = old.name
    if new.type is None:
        new.type = old.type
    if new.shape is None:
        new.shape = old.shape
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    if new.is_graph_output():
        old.name, new.name = f"{name}.replaced", name


def _typed(value: Any) -> tuple[ir.AttributeType, Any]:
    if isinstance(value, int):
        return ir.AttributeType.INT, value
    if isinstance(value, float):
        return ir.AttributeType.FLOAT, value
    return ir.AttributeType.STRING, value


def _numbers(value: ir.Value | None) -> Sequence[Any] | None:
    known = value.const_value if value is not None else None
    return None if known is None else known.numpy().reshape(-1).tolist()


def _first(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    if value is None:
        raise ValueError(f"{node.op_type} {node.name} has no input")
    return value


def _same(_place: Place, node: ir.Node) -> ir.Value:
    return _first(node)


def _reshaped(place: Place, node: ir.Node) -> ir.Value:
    return place.make("Reshape", _first(node), place.constant(dims(node.outputs[0]), np.int64))


def _mean(place: Place, x: ir.Value) -> ir.Value:
    axes = place.constant([2, 3], np.int64)
    return place.make("ReduceMean", x, axes, keepdims=1)


def _global_average(place: Place, node: ir.Node) -> ir.Value:
    return _mean(place, _first(node))


def _split(place: Place, node: ir.Node) -> list[ir.Value]:
    x, axis = _first(node), node.attributes.get_int("axis", 0)
    results, start = [], 0
    for output in node.outputs:
        stop = start + dims(output)[axis]
        ends = [place.constant([at], np.int64) for at in (start, stop, axis)]
        results.append(place.make("Slice", x, *ends))
        start = stop
    return results


def _power(place: Place, node: ir.Node) -> ir.Value | None:
    x, exponent = _first(node), _numbers(node.inputs[1])
    if exponent == [2]:
        return place.make("Mul", x, x)
    return place.make("Sqrt", x) if exponent == [0.5] else None


def _resized(_place: Place, node: ir.Node) -> None:
    """Leave out the region and the scales where they are empty, in place."""
    for at in (1, 2):
        if len(node.inputs) > at and _numbers(node.inputs[at]) == []:
            node.replace_input_with(at, None)


def _parametric_relu(place: Place, node: ir.Node) -> ir.Value:
    x, zero = _first(node), place.constant(0, np.float32)
    below = place.make("Mul", place.make("Min", x, zero), node.inputs[1])
    return place.make("Add", place.make("Max", x, zero), below)


def _instance_normalisation(place: Place, node: ir.Node) -> ir.Value:
    x = _first(node)
    epsilon = place.constant(node.attributes.get_float("epsilon", 1e-5), np.float32)
    centred = place.make("Sub", x, _mean(place, x))
    spread = place.make("Add", _mean(place, place.make("Mul", centred, centred)), epsilon)
    result = place.make("Div", centred, place.make("Sqrt", spread))
    for op, value in (("Mul", node.inputs[1]), ("Add", node.inputs[2])):
        shape = place.constant((1, -1, 1, 1), np.int64)
        result = place.make(op, result, place.make("Reshape", value, shape))
    return result


def _sum(place: Place, node: ir.Node) -> ir.Value:
    result, *others = node.inputs
    if result is None:
        raise ValueError(f"Sum {node.name} has no input")
    for one in others:
        result = place.make("Add", result, one)
    return result


def _reduced_sum(place: Place, node: ir.Node) -> ir.Value | None:
    x, axes = _first(node), _numbers(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None:
        return None
    keep = node.attributes.get_int("keepdims", 1)
    mean = place.make("ReduceMean", x, place.constant(axes, np.int64), keepdims=keep)
    count = math.prod(dims(x)[axis] for axis in axes)
    return place.make("Mul", mean, place.constant(count, np.float32))


def _reciprocal(place: Place, node: ir.Node) -> ir.Value:
    return place.make("Div", place.constant(1, np.float32), _first(node))


_RULES: dict[str, Callable[[Place, ir.Node], ir.Value | list[ir.Value] | None]] = {
    "Dropout": _same,
    "Squeeze": _reshaped,
    "Flatten": _reshaped,
    "GlobalAveragePool": _global_average,
    "Split": _split,
    "Pow": _power,
    "PRelu": _parametric_relu,
    "Resize": _resized,
    "InstanceNormalization": _instance_normalisation,
    "Sum": _sum,
    "ReduceSum": _reduced_sum,
    "Reciprocal": _reciprocal,
}
