"""Prepare a graph of others: its order, float16 to float32, what follows from its sides."""

from __future__ import annotations

import contextlib
import graphlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from matter_sdk.export.errors import BuildError

_SMALL = 4096  # elements of a constant that sides may be computed from
_LARGEST = 1 << 26  # elements of a constant that the optimizer may compute
# Operators that exporters compute sides with; none takes longer than its results are large.
_FOLDED = frozenset({
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "Constant", "ConstantOfShape", "Div",
    "Equal", "Expand", "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Greater",
    "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "Not",
    "Or", "Pad", "Range", "Reciprocal", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum",
    "Reshape", "Round", "ScatterElements", "ScatterND", "Sign", "Size", "Slice", "Split", "Sqrt",
    "Squeeze", "Sub", "Sum", "Tile", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip


def sort(model: onnx.ModelProto) -> None:
    """Put every node after those whose results it reads, in place: some files are in no order.

    Raises:
        ValueError: nodes that read each other's results.
    """
    nodes = list(model.graph.node)
    maker = {name: at for at, node in enumerate(nodes) for name in node.output if name}
    reads = {
        at: {maker[name] for name in node.input if name in maker} for at, node in enumerate(nodes)
    }
    order = list(graphlib.TopologicalSorter(reads).static_order())
    del model.graph.node[:]
    model.graph.node.extend(nodes[at] for at in order)


def widen(model: onnx.ModelProto) -> None:
    """Let a graph of float16 hold and compute float32, in place; its weights stay what they are."""
    graph = model.graph
    tensors = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                tensors.append(attribute.t)
            elif node.op_type == "Cast" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
    for tensor in tensors:
        if tensor.data_type == TensorProto.FLOAT16:
            wide = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT


def fold_sides(model: onnx.ModelProto) -> None:
    """Replace what is computed from the sides of tensors by constants, in place.

    The sides of the inputs must be known. One walk from the first node to the last: a resize by
    computed sides is known before the next one's are asked for.

    Raises:
        BuildError: a constant that is too large to compute.
    """
    graph = model.graph
    opsets = {one.domain: one.version for one in model.opset_import}
    types = {value.name: value.type for value in graph.input}
    known: dict[str, NDArray[Any]] = {}
    for tensor in graph.initializer:
        types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
        if math.prod(tensor.dims) <= _SMALL:
            known[tensor.name] = numpy_helper.to_array(tensor)
    results = {value.name for value in graph.output}
    kept = []
    for node in graph.node:
        for name, value in _values(node, types, known, opsets):
            known[name] = value
            tensor = numpy_helper.from_array(value, name)
            types[name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
            if name not in results:
                graph.initializer.append(tensor)
        if not (set(node.output) <= set(known) - results):
            kept.append(node)
            types |= _types(node, types, known, opsets)
    del graph.node[:]
    graph.node.extend(kept)


def _values(
    node: NodeProto,
    types: Mapping[str, TypeProto],
    known: Mapping[str, NDArray[Any]],
    opsets: Mapping[str, int],
) -> Iterator[tuple[str, NDArray[Any]]]:
    """The outputs of a node that computes small constants; nothing for another."""
    given = [name for name in node.input if name]
    if node.op_type == "Shape":
        sides = _sides(types.get(node.input[0]))
        if sides is not None:
            ends = {attribute.name: attribute.i for attribute in node.attribute}
            chosen = sides[ends.get("start", 0) : ends.get("end", len(sides))]
            yield node.output[0], np.array(chosen, np.int64)
    elif all(name in known for name in given):
        found = _types(node, types, known, opsets)  # before anything is computed: how much it is
        most = max((_elements(found.get(name)) for name in node.output if name), default=0)
        if _LARGEST < most < math.inf:
            raise BuildError(
                f"{node.op_type} makes a constant of {most} elements; expected at most {_LARGEST}"
            )
        if most > _SMALL or node.op_type not in _FOLDED:
            return
        with contextlib.suppress(Exception):  # an operator that the evaluator does not know
            evaluator = ReferenceEvaluator(node, opsets=dict(opsets))
            made = evaluator.run(None, {name: known[name] for name in given})
            for name, value in zip(node.output, made, strict=True):
                if name:
                    yield name, np.asarray(value)


def _types(
    node: NodeProto,
    types: Mapping[str, TypeProto],
    known: Mapping[str, NDArray[Any]],
    opsets: Mapping[str, int],
) -> Mapping[str, TypeProto]:
    """The types and sides of a node's outputs, as far as ONNX can tell."""
    given = [name for name in node.input if name]
    data = {name: numpy_helper.from_array(known[name], name) for name in given if name in known}
    with contextlib.suppress(Exception):  # what cannot be inferred stays unknown
        schema = onnx.defs.get_schema(node.op_type, opsets[node.domain], node.domain)
        found: Mapping[str, TypeProto] = onnx.shape_inference.infer_node_outputs(
            schema,
            node,
            {name: types[name] for name in given},
            data,
            opset_imports=[helper.make_opsetid(*one) for one in opsets.items()],
        )
        return found
    return {}


def _elements(kind: TypeProto | None) -> float:
    """How many elements a tensor has; infinitely many where it is not known."""
    sides = _sides(kind)
    return math.inf if sides is None else math.prod(sides)


def _sides(kind: TypeProto | None) -> list[int] | None:
    """The sides of a tensor; None unless all are known."""
    if kind is None or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    return (
        [dim.dim_value for dim in dims] if all(dim.HasField("dim_value") for dim in dims) else None
    )
