"""Replace the max-unpools of a graph by the operator of the TensorRT plugin.

By default a max-unpool (:mod:`training.networks.unpool`) is Pad, Slice, Equal, Where and
DepthToSpace. With ``--unpool plugin``, the graph for plans of the full TensorRT holds
``MatterMaxUnpool`` instead, with the same two inputs: features and int32 offsets. No other runtime
reads that graph, so only the plan is stored in the engine.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import onnx_ir.passes.common as passes

from matter_sdk.export import onnx_files
from matter_sdk.export.errors import BuildError
from matter_sdk.sdk.backends.unpool_plugin import NAME

DOMAIN = "matter"

# The operators between a DepthToSpace and the Pads of features and offsets.
_BETWEEN = ("Concat", "Equal", "Reshape", "Slice", "Unsqueeze", "Where")
_OFFSETS = set(range(9))  # each is asked for once: training.networks.unpool


def write(source: Path) -> Path:
    """Write a graph with the plugin's operator beside the plain one; return its file.

    Raises:
        BuildError: the graph has no max-unpool.
    """
    model, count = with_plugin(ir.load(source))
    if not count:
        raise BuildError(
            "the graph holds no max-unpool; expected one for --unpool plugin: leave it out"
        )
    path = source.with_name(f"{source.stem}-plugin.onnx")
    onnx_files.save(model, path)
    return path


def with_plugin(model: ir.Model) -> tuple[ir.Model, int]:
    """Return a copy whose max-unpools are single operators, and how many there are.

    Args:
        model: a plain graph, or one in half precision.
    """
    model = model.clone()
    count = 0
    for node in list(model.graph):
        read = _read(node) if node.op_type == "DepthToSpace" else None
        if read is None:
            continue
        features, offsets = read
        old = node.outputs[0]
        unpool = ir.Node(DOMAIN, NAME, [features, offsets], name=f"{node.name}.{NAME}")
        new = unpool.outputs[0]
        new.type, new.shape = old.type, old.shape
        old.name, new.name = f"{old.name}.replaced", old.name
        model.graph.insert_before(node, unpool)
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        count += 1
    if count:
        model.graph.opset_imports[DOMAIN] = 1
        passes.RemoveUnusedNodesPass()(model)
    return model, count


def _read(shuffle: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """The features and offsets of the max-unpool that ends in this node; None if there is none."""
    padded: list[ir.Value] = []
    asked: set[int] = set()
    seen: set[ir.Node] = set()
    waiting = [shuffle.inputs[0]]
    while waiting:
        value = waiting.pop()
        producer = None if value is None else value.producer()
        if producer is None or producer in seen:  # a constant, or a way that was gone before
            continue
        seen.add(producer)
        if producer.op_type == "Pad":
            if producer.inputs[0] is not None and producer.inputs[0] not in padded:
                padded.append(producer.inputs[0])
        elif producer.op_type not in _BETWEEN:
            return None
        else:
            if producer.op_type == "Equal":
                constant = next((x for x in producer.inputs if x and x.const_value), None)
                if constant is None:
                    return None
                asked.add(int(constant.const_value.numpy().item()))  # type: ignore[union-attr]
            waiting += producer.inputs
    integers = [value for value in padded if value.dtype == ir.DataType.INT32]
    features = [value for value in padded if value.dtype != ir.DataType.INT32]
    if asked != _OFFSETS or (len(features), len(integers)) != (1, 1):
        return None
    return features[0], integers[0]
