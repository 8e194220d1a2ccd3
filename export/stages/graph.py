"""Export a PyTorch network as a plain ONNX graph that every runtime reads.

Operators of the default ONNX domain only, no BatchNormalization, static shapes, and float32 inputs
and outputs that have the names of the network's inputs and heads.
"""

from __future__ import annotations

import ast
import contextlib
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes
import torch
from onnxscript import opset18
from onnxscript.rewriter import RewriteRuleSet
from onnxscript.rewriter.rules.common import (
    fuse_batchnorm_into_conv_rule,
    fuse_batchnorm_into_conv_transpose_rule,
)
from torch import Tensor, nn

from matter_sdk.export import onnx_files
from matter_sdk.export.cost import count_macs, dims, weight_bytes
from matter_sdk.export.errors import BuildError
from matter_sdk.export.options import FULL
from matter_sdk.export.plain_operators import take_place
from matter_sdk.export.stages import Context, Graph, Size, Subject, geometry, precision
from matter_sdk.sdk.describe import count_text
from matter_sdk.training import networks

# ONNX operators as functions. Any: their annotations do not know onnx_ir's tensors.
op: Any = opset18

_FOLDING = RewriteRuleSet([fuse_batchnorm_into_conv_rule, fuse_batchnorm_into_conv_transpose_rule])

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Inputs of a network that takes a picture alone.
IMAGE: Mapping[str, int] = MappingProxyType({"image": 3})


def export(
    context: Context, subject: Subject, size: Size, like: ir.Model | None = None
) -> tuple[ir.Model, Graph]:
    """Export the network at one size, or take over its graph of another size.

    Args:
        context: of the build.
        subject: the network.
        size: height and width.
        like: what this returned for another size; it is left as it was.

    Returns:
        The float32 model, which shares the network's weights, and the graph that is stored.

    Raises:
        BuildError: see :func:`export_onnx`.
    """
    options, report, network = context.options, context.report, subject.network
    of: dict[str, Any] = {
        "inputs": networks.inputs(network),
        "strides": getattr(network, "head_strides", {}),
        "batch": subject.batch,
    }
    with report.stage(f"export ONNX{subject.label(size)}") as stage:
        model = resized(network, network.heads, like, size, **of) if like is not None else None
        taken = ", taken over from another size" if model is not None else ""
        if model is None:
            model = export_onnx(network, network.heads, size, opset=options.opset, **of)
        stage.bytes = weight_bytes(model)
        macs = count_text(count_macs(model))
        stage.note = f"opset {options.opset}, {len(model.graph)} operators, {macs} MACs{taken}"
    path = context.folder / subject.prefix / subject.name("model", size)
    with report.stage(f"write {subject.prefix}{path.name}") as stage:
        half = options.precision not in FULL
        stored = Graph(path, onnx_files.save(precision.store_half(model) if half else model, path))
        stage.bytes = stored.bytes
        stage.note = "float16 weights, cast to float32 at load" if half else "float32 weights"
    return model, stored


class _Heads(nn.Module):
    """A network that returns its heads alone, as a tuple in their order."""

    def __init__(self, network: nn.Module, heads: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.heads = tuple(heads)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = self.network(*inputs)
        return tuple(outputs[head] for head in self.heads)


def export_onnx(
    network: nn.Module,
    heads: Mapping[str, int],
    size: tuple[int, int],
    *,
    inputs: Mapping[str, int] = IMAGE,
    strides: Mapping[str, int] | None = None,
    batch: int = 1,
    opset: int = 18,
) -> ir.Model:
    """Export a network at one size.

    A module with a method ``plain()`` is replaced by the module that this returns.

    Args:
        network: takes ``inputs`` in their order, float32 N×channels×H×W, and returns a dict that
            holds at least ``heads``. It is left as it was.
        heads: the outputs and their channels.
        size: height and width.
        inputs: the inputs' names, which the graph takes over, and their channels.
        strides: output stride per head (default 1): a head is ⌈H/stride⌉×⌈W/stride⌉.
        batch: images in one run.
        opset: version of the default ONNX operator set.

    Returns:
        A model that shares memory with the network's weights, except for those folded.

    Raises:
        BuildError: the exporter failed, or the graph is not what the module docstring promises.
    """
    zeros = tuple(torch.zeros(batch, channels, *size) for channels in inputs.values())
    try:
        with _quiet(), _as_exported(network, heads) as wrapped:
            program = torch.onnx.export(
                wrapped,
                zeros,
                dynamo=True,
                input_names=list(inputs),
                output_names=list(heads),
                opset_version=opset,
                custom_translation_table=_TRANSLATIONS,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise BuildError(f"the ONNX export failed: {_innermost(error)}") from error
    if program is None:
        raise BuildError("the ONNX export returned nothing; expected a graph")
    model: ir.Model = program.model
    fold_batch_norm(model)
    _name_nodes(model)
    simplify(model)
    check(model, heads, size, inputs=inputs, strides=strides, batch=batch)
    return model


def resized(
    network: nn.Module,
    heads: Mapping[str, int],
    model: ir.Model,
    size: tuple[int, int],
    *,
    inputs: Mapping[str, int] = IMAGE,
    strides: Mapping[str, int] | None = None,
    batch: int = 1,
) -> ir.Model | None:
    """Return an exported model at another size, or None where it takes an export.

    The arguments are :func:`export_onnx`'s; ``model`` is what that returned.
    """
    with _as_exported(network, heads) as wrapped:
        made = geometry.resized(wrapped, model, size, inputs=inputs, batch=batch)
    if made is not None:
        check(made, heads, size, inputs=inputs, strides=strides, batch=batch)
    return made


@contextlib.contextmanager
def _as_exported(network: nn.Module, heads: Mapping[str, int]) -> Iterator[nn.Module]:
    """Return the network's heads in eval mode and of plain parts; then it is as it was."""
    wrapped = _Heads(network, tuple(heads))
    modes = {module: module.training for module in wrapped.modules()}
    try:
        with _plain(wrapped.eval()):
            yield wrapped
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextlib.contextmanager
def _plain(network: nn.Module) -> Iterator[None]:
    """Replace modules that have a ``plain()`` by what it returns, for a while.

    Otherwise a kernel that is computed from weights is computed in every run, and no batch norm can
    be folded into it.
    """
    replaced: list[tuple[nn.Module, str, nn.Module]] = []
    try:
        for path, module in list(network.named_modules(remove_duplicate=False)):
            make = getattr(module, "plain", None)
            if callable(make):
                parent, _, name = path.rpartition(".")
                place = network.get_submodule(parent)
                replaced.append((place, name, module))
                setattr(place, name, make())
        yield
    finally:
        for place, name, module in reversed(replaced):
            setattr(place, name, module)


# The exporter's note of the modules that an operator comes from, outermost first.
_SCOPES = "pkg.torch.onnx.name_scopes"


def _name_nodes(model: ir.Model) -> None:
    """Name operators after their module: ``encoder.layer1.0.conv1/Conv``, for reports and profiles.

    A convolution is named after its weights: a batch norm may be folded into it.
    """
    taken: Counter[str] = Counter()
    for node in model.graph:
        weight = next((x.name for x in node.inputs[1:] if x is not None and x.is_initializer()), "")
        scopes = node.metadata_props.get(_SCOPES)
        if weight and weight.endswith(".weight"):
            module = weight.removesuffix(".weight")
        elif scopes:
            module = ["", *ast.literal_eval(scopes)][-2]  # the last is the operator itself
        else:
            continue
        module = module.removeprefix("network").removeprefix(".")
        name = f"{module}/{node.op_type}" if module else node.op_type
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"


def fold_batch_norm(model: ir.Model) -> int:
    """Fold every BatchNormalization; return how many there were.

    onnxscript's rules fold those right after a convolution. The others (a dense block normalises
    the sum of many) become a Mul and an Add, which runtimes fuse with the activation:
    y = γ (x - μ) / √(σ² + ε) + β is one scale and one shift a channel.
    """
    count = sum(node.op_type == "BatchNormalization" for node in model.graph)
    _FOLDING.apply_to_model(model)
    for node in [node for node in model.graph if node.op_type == "BatchNormalization"]:
        x = node.inputs[0]
        if x is None:
            raise BuildError(f"BatchNormalization {node.name} has no input; expected one")
        gamma, beta, mean, variance = (
            _constant(value).astype(np.float64) for value in node.inputs[1:5]
        )
        scale = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
        take_place(node.outputs[0], _affine(model.graph, node, x, scale, beta - mean * scale))
        model.graph.remove(node, safe=True)
    return count


def check(
    model: ir.Model,
    heads: Mapping[str, int],
    size: tuple[int, int],
    *,
    inputs: Mapping[str, int] = IMAGE,
    strides: Mapping[str, int] | None = None,
    batch: int = 1,
) -> None:
    """Check that every runtime can read a graph; the arguments are :func:`export_onnx`'s.

    Raises:
        BuildError: naming what is wrong.
    """
    for node in model.graph:
        if node.domain not in ("", "ai.onnx"):
            raise BuildError(
                f"the graph holds {node.domain}::{node.op_type} ({node.name}); expected operators "
                "of the default ONNX domain only"
            )
        if node.op_type == "BatchNormalization":
            raise BuildError(
                f"BatchNormalization {node.name} is left in the graph; expected it folded"
            )
        if any(
            value.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
            for value in node.attributes.values()
        ):
            raise BuildError(
                f"{node.op_type} {node.name} holds a graph of its own; expected a plain list of "
                "operators"
            )
    if model.functions:
        raise BuildError(
            f"the graph calls functions {sorted(map(str, model.functions))}; expected none"
        )
    received = {value.name: dims(value) for value in (*model.graph.inputs, *model.graph.outputs)}
    expected: dict[str, tuple[int, ...]] = {
        name: (batch, channels, *size) for name, channels in inputs.items()
    }
    for head, channels in heads.items():
        stride = (strides or {}).get(head, 1)
        expected[head] = (batch, channels, *(-(-side // stride) for side in size))
    if received != expected:
        raise BuildError(f"the graph's inputs and outputs are {received}; expected {expected}")
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.dtype != ir.DataType.FLOAT:
            raise BuildError(f"{value.name} is {value.dtype}; expected FLOAT")


def _pool(x: Any, output_size: Sequence[int]) -> Any:
    """Translate aten::adaptive_avg_pool2d of a static shape into plain operators.

    The exporter's own translation gathers every window, which TensorRT refuses. Where the sides
    divide it is an AveragePool. Elsewhere windows overlap and differ in size, but averaging is
    linear along each axis: two small matrix products.
    """
    height, width = int(x.shape[-2]), int(x.shape[-1])
    rows, columns = (int(side) for side in output_size)
    if (rows, columns) == (1, 1):
        return op.ReduceMean(x, op.Constant(value_ints=[2, 3]), keepdims=1)
    if height % rows == 0 and width % columns == 0:
        window = [height // rows, width // columns]
        return op.AveragePool(x, kernel_shape=window, strides=window)
    left, right = averaging(height, rows), averaging(width, columns)
    across = op.MatMul(x, op.Constant(value=ir.tensor(np.ascontiguousarray(right.T))))
    return op.MatMul(op.Constant(value=ir.tensor(left)), across)


def averaging(length: int, windows: int) -> NDArray[np.float32]:
    """Return adaptive average pooling as a windows×length matrix.

    Row i averages ⌊iL/W⌋ to ⌈(i+1)L/W⌉.
    """
    matrix = np.zeros((windows, length), np.float32)
    for row in range(windows):
        start, stop = row * length // windows, -(-(row + 1) * length // windows)
        matrix[row, start:stop] = 1 / (stop - start)
    return matrix


_TRANSLATIONS: dict[Any, Any] = {
    torch.ops.aten.adaptive_avg_pool2d.default: _pool,
    torch.ops.aten._adaptive_avg_pool2d.default: _pool,
}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter about torchvision's operators, none of which is used here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        logger.setLevel(level)


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else '(no message)'}"


def _constant(value: ir.Value | None) -> NDArray[Any]:
    if value is None or value.const_value is None:
        raise BuildError(
            f"{value.name if value else 'an input'} of a BatchNormalization is not constant; "
            "expected weights"
        )
    return value.const_value.numpy()


def _affine(
    graph: ir.Graph,
    node: ir.Node,
    x: ir.Value,
    scale: NDArray[np.float64],
    shift: NDArray[np.float64],
) -> ir.Value:
    name = node.outputs[0].name
    factor = _initializer(graph, f"{name}.scale", scale.reshape(-1, 1, 1))
    term = _initializer(graph, f"{name}.shift", shift.reshape(-1, 1, 1))
    scaled = ir.Node("", "Mul", [x, factor], name=f"{node.name}.scale")
    shifted = ir.Node("", "Add", [scaled.outputs[0], term], name=f"{node.name}.shift")
    for part, suffix in ((scaled, "scaled"), (shifted, "shifted")):
        part.metadata_props.update(node.metadata_props)
        part.outputs[0].name = f"{name}.{suffix}"
        part.outputs[0].dtype, part.outputs[0].shape = ir.DataType.FLOAT, x.shape
    graph.insert_before(node, [scaled, shifted])
    return shifted.outputs[0]


def _initializer(graph: ir.Graph, name: str, array: NDArray[Any]) -> ir.Value:
    tensor = ir.tensor(np.ascontiguousarray(array, np.float32), name=name)
    value = ir.Value(
        name=name,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(ir.DataType.FLOAT),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value


def simplify(model: ir.Model) -> None:
    """Drop what no result needs, and the exporter's notes, which hold local paths."""
    for step in (
        passes.IdentityEliminationPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(),
        passes.RemoveUnusedNodesPass(),
    ):
        step(model)
    onnx_files.sign(model)
