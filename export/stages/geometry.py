"""Another size of an exported graph, without another export.

A size changes a convolutional network in two places: how much a convolution is padded, where its
padding depends on the size, and the sizes that it interpolates to. Both are read off the network
itself, which runs at either size on tensors without numbers. The graph is taken over only if
what was read at its own size is what it holds, node for node.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from matter_sdk.export.cost import dims

# Operators whose constants and attributes are the same at every size. An average pool's window, a
# reshape's target or a pooling matrix is not.
_FREE = frozenset(
    (
        *("Add", "Cast", "Clip", "Concat", "Conv", "DepthToSpace", "Div", "Exp", "HardSigmoid"),
        *("HardSwish", "LeakyRelu", "MaxPool", "Mul", "ReduceMean", "Relu", "Resize", "Sigmoid"),
        *("Softmax", "Sqrt", "Sub", "Tanh"),
    )
)
_SIZES = 3  # which input of a Resize


class _Geometry(NamedTuple):
    """What depends on the size, in the order of the operators.

    ``pads``: of each convolution, as ONNX has them: top, left, bottom, right. ``sizes``: the whole
    shape of each interpolation's result.
    """

    pads: list[tuple[int, ...]]
    sizes: list[tuple[int, ...]]


class _Recorder(TorchDispatchMode):
    """Notes the convolutions and interpolations that run, and what each tensor was made from."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[Any] = []  # so that ids hold
        self._sources: dict[int, set[int]] = {}
        self._padded: dict[int, list[int]] = {}
        self._pads: list[tuple[int, tuple[int, ...]]] = []
        self._sizes: list[tuple[int, tuple[int, ...]]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        sources = {id(x) for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        for tensor in tree_leaves(result):
            self._kept.append(tensor)
            self._sources.setdefault(id(tensor), set()).update(sources)
        name = func._schema.name
        if name == "aten::constant_pad_nd":
            self._padded[id(result)] = args[1]
        elif name == "aten::convolution":
            rows, columns = (*args[4], *args[4])[:2]
            left, right, top, bottom = self._padded.get(id(args[0]), (0, 0, 0, 0))
            pads = top + rows, left + columns, bottom + rows, right + columns
            self._pads.append((id(result), pads))
        elif name.startswith("aten::upsample"):
            self._sizes.append((id(result), tuple(result.shape)))
        return result

    def geometry(self, outputs: Any) -> _Geometry:
        """Return what was noted of operators that ``outputs`` depend on."""
        used: set[int] = set()
        waiting = {id(tensor) for tensor in tree_leaves(outputs)}
        while waiting:
            tensor = waiting.pop()
            used.add(tensor)
            waiting |= self._sources.get(tensor, set()) - used
        return _Geometry(
            [pads for tensor, pads in self._pads if tensor in used],
            [sizes for tensor, sizes in self._sizes if tensor in used],
        )


def _geometry(network: nn.Module, inputs: Mapping[str, int], batch: int, size: Any) -> _Geometry:
    """Run the network at one size, without numbers."""
    recorder = _Recorder()
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        tensors = [torch.zeros(batch, channels, *size) for channels in inputs.values()]
        with recorder:
            outputs = network(*tensors)
    return recorder.geometry(outputs)


def resized(
    network: nn.Module,
    model: ir.Model,
    size: tuple[int, int],
    *,
    inputs: Mapping[str, int],
    batch: int,
) -> ir.Model | None:
    """Return the graph of another size, or None where it takes an export.

    Args:
        network: as it was exported: in eval mode, with its ``plain()`` parts.
        model: its graph at another size. It is left as it was.
        size: height and width that are wanted.
        inputs: as of ``export_onnx``.
        batch: images in one run.
    """
    if any(node.op_type not in _FREE for node in model.graph):
        return None
    before = _geometry(network, inputs, batch, dims(model.graph.inputs[0])[2:])
    after = _geometry(network, inputs, batch, size)
    made = model.clone()
    graph = made.graph
    convolutions = [node for node in graph if node.op_type == "Conv"]
    resizes = [node for node in graph if node.op_type == "Resize"]
    if [_pads(node) for node in convolutions] != before.pads:
        return None
    if [_target(node) for node in resizes] != before.sizes:
        return None
    if tuple(map(len, before)) != tuple(map(len, after)):
        return None
    for node, pads in zip(convolutions, after.pads, strict=True):
        node.attributes["pads"] = ir.AttrInt64s("pads", pads)
    wanted: dict[ir.Value, tuple[int, ...]] = {}
    for node, target in zip(resizes, after.sizes, strict=True):
        value = node.inputs[_SIZES]
        if value is None or wanted.setdefault(value, target) != target:
            return None
    for value, target in wanted.items():
        if any(use.node.op_type != "Resize" or use.idx != _SIZES for use in value.uses()):
            return None
        value.const_value = ir.tensor(np.array(target, np.int64), name=value.name)
    for node in graph:
        for output in node.outputs:
            output.shape = None
    for value, channels in zip(graph.inputs, inputs.values(), strict=True):
        value.shape = ir.Shape((batch, channels, *size))
    passes.ShapeInferencePass(check_type=False)(made)
    known = all(x.shape is not None and x.shape.is_static() for node in graph for x in node.outputs)
    return made if known else None


def _pads(node: ir.Node) -> tuple[int, ...]:
    return tuple(node.attributes.get_ints("pads", (0, 0, 0, 0)))


def _target(node: ir.Node) -> tuple[int, ...]:
    sizes = node.inputs[_SIZES] if len(node.inputs) > _SIZES else None
    if sizes is None or sizes.const_value is None:
        return ()
    return tuple(sizes.const_value.numpy().tolist())
