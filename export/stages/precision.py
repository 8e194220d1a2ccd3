"""Write half precision into the graph.

TensorRT 11 and TensorRT for RTX have no builder flag for precision: the types in the graph decide.
A float32 graph has two half-precision forms.

* :func:`store_half`: float16 weights, each cast to float32 where it is used. A CPU runtime folds
  the casts as it loads the model, and computes in float32; the file is half as large.
* :func:`typed`: float16 or bfloat16 throughout, with float32 inputs and outputs. What must keep its
  range or resolution stays in float32 (:func:`protected`).

No CPU computes the second as a GPU does. :func:`emulated` makes it float32 arithmetic that rounds
every result to the half type, as a tensor core does: it accumulates in float32 and rounds once.
Verification runs that graph where there is no GPU.

A GPU's TF32 is no type: float32 numbers whose products are computed on factors of 11 bits. A plan
is told by a flag, and :func:`in_tf32` is what verification runs.

Other converters (onnxconverter-common, ONNX Runtime's) know float16 only, clip weights silently,
and keep float32 by operator, not by measured values.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from matter_sdk.export import onnx_files
from matter_sdk.export.cost import dims, weight_bytes
from matter_sdk.export.errors import BuildError
from matter_sdk.export.options import FULL
from matter_sdk.export.stages import Context, Subject, discard, text
from matter_sdk.sdk.describe import some

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from matter_sdk.export.stages.verify import Reference

FLOAT = ir.DataType.FLOAT
HALVES = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}

# Half of float16's largest number, 65504: other images than the verification's may go higher.
LIMIT = 3e4

# Smaller constants (a Resize's scales, a short bias) are not worth a Cast.
SMALL = 256

# Inputs that ONNX types float32 whatever the data's type: a Resize's region and scales.
_ALWAYS_FLOAT = {("Resize", 1), ("Resize", 2)}

# What lies between the last weights and a head, or a comparison: here half precision costs most.
# float16's sigmoid is exactly 1 from a logit of 8.3 on (float32's from 16.6), so two saturated
# classes tie, and the arg-max takes the lower one.
_PROBABILITIES = ("Sigmoid", "Softmax", "HardSigmoid")
_TRANSPARENT = (
    *_PROBABILITIES,
    *("Add", "Sub", "Mul", "Div", "Min", "Max", "Clip", "Where", "Identity", "Cast", "Pad"),
    *(
        "Concat",
        "Slice",
        "Split",
        "Reshape",
        "Transpose",
        "DepthToSpace",
        "Squeeze",
        "Unsqueeze",
        "Resize",
    ),
)
# Not Equal: it asks which pixel of its window a max-pool took (training.networks.unpool). Rounding
# keeps the order of numbers, so a match in half precision is exact; of two pixels that rounding
# made equal, the first is taken as usual.
_COMPARISONS = ("ArgMax", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")

# A runtime may sum in the operator's own type before it divides: float16 then overflows long before
# the mean does.
_SUMS = ("ReduceMean", "ReduceSum", "ReduceL2", "GlobalAveragePool")

# What a GPU computes in TF32.
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")

# Operators that move numbers and make none.
_MOVES = ("Pad", "Slice", "Split", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Expand")

# What TensorRT for RTX 1.7 refuses to compute in bfloat16.
_NO_BFLOAT16 = ("ConvTranspose", "HardSwish", "HardSigmoid")


@dataclass(frozen=True)
class Half:
    """The graph for plans.

    Attributes:
        source: the strongly typed graph; not written if no plan is asked for.
        emulation: the graph for verification; None in float32.
        float32: operators that stay float32 in both, since their values are too large.
    """

    source: Path
    emulation: Path | None = None
    float32: tuple[str, ...] = ()


def halve(context: Context, subject: Subject, model: ir.Model, truth: Reference) -> Half:
    """Write the strongly typed graph for plans, and its emulation for verification.

    Raises:
        BuildError: a value of the graph without a producer.
    """
    options, report = context.options, context.report
    folder, label = context.folder / subject.prefix, subject.label(truth.size)
    source = folder / f"typed-{text(truth.size)}.onnx"
    if options.precision in FULL:
        if options.runtimes:
            onnx_files.save(model, source)
        if options.precision == "fp32":
            return Half(source)
        emulation = folder / f"emulated-{text(truth.size)}.onnx"
        onnx_files.save(in_tf32(model), emulation)
        return Half(source, emulation)
    kind = HALVES[options.precision]
    keep = protected(model, kind)
    named: tuple[str, ...] = ()
    if kind == ir.DataType.FLOAT16:  # bfloat16 reaches as far as float32
        with report.stage(f"measure ranges{label}") as stage:
            ranges = _ranges(model, truth, folder)
            large = too_large(model, ranges) - keep
            top = max(ranges, key=lambda name: ranges[name], default="")
            stage.note = f"largest {ranges.get(top, 0.0):.3g}, float16 holds 65504"
        keep |= large
        named = tuple(node.name or "" for node in model.graph if node.name in large)
        if named:
            report.line(f"  float32, since values pass {LIMIT:.0e}: {some(named)}")
    with report.stage(f"{kind.name.lower()} graph{label}") as stage:
        graph = typed(model, kind, keep)
        if options.runtimes:
            onnx_files.save(graph, source)
        emulation = folder / f"emulated-{text(truth.size)}.onnx"
        onnx_files.save(emulated(graph, kind), emulation)
        stage.bytes = weight_bytes(graph)
        counts = Counter(node.op_type for node in model.graph if node.name in keep)
        shown = [f"{count} {name}" for name, count in counts.most_common(4)]
        shown += ["…"] if len(counts) > 4 else []
        stage.note = f"{len(keep)} of {len(model.graph)} operators stay float32"
        stage.note += f": {', '.join(shown)}" if shown else ""
    return Half(source, emulation, named)


def _ranges(model: ir.Model, truth: Reference, folder: Path) -> dict[str, float]:
    """Largest magnitude of each value of the float32 graph over the verification images."""
    from matter_sdk.export.stages.verify import session

    path = folder / "ranges.onnx"
    measured, names = with_ranges(model)
    onnx_files.save(measured, path)
    run = session(path)
    worst = np.zeros(len(names))
    for inputs in truth.tensors:
        # maximum(), unlike max(), lets a NaN through: it must count as too large
        worst = np.maximum(worst, [float(value) for value in run(*inputs).values()])
    discard(path)
    return dict(zip(names, worst.tolist(), strict=True))


def store_half(model: ir.Model) -> ir.Model:
    """Return a copy with float16 weights that are cast to float32; it computes in float32.

    Weights beyond float16's range, and constants of fewer than ``SMALL`` numbers, stay float32.
    """
    model = model.clone()
    graph = model.graph
    half = ir.DataType.FLOAT16
    for name, value in list(graph.initializers.items()):
        array = _floats(value)
        if array is None or array.size < SMALL or _largest(array) > float(np.finfo(np.float16).max):
            continue
        stored = _register(graph, f"{name}.float16", _rounded(array, half))
        cast = _cast(stored, FLOAT, f"{name}.float32")
        value.replace_all_uses_with(cast.outputs[0])
        graph.initializers.pop(name)
        graph.insert_before(graph[0], cast)
    return model


def typed(model: ir.Model, half: ir.DataType, float32: Iterable[str]) -> ir.Model:
    """Return a copy that computes in ``half``, but for the nodes named in ``float32``.

    Inputs and outputs stay float32. Where the type changes there is one Cast for all readers.
    """
    model = model.clone()
    graph = model.graph
    keep = set(float32)
    casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def as_type(value: ir.Value, wanted: ir.DataType, reader: ir.Node | None) -> ir.Value:
        if value.dtype == wanted:
            return value
        if (value, wanted) not in casts:
            array = _floats(value) if value.is_initializer() else None
            suffix = wanted.name.lower()
            if array is not None:
                casts[value, wanted] = _register(
                    graph, f"{value.name}.{suffix}", _rounded(array, wanted)
                )
            else:
                cast = _cast(value, wanted, f"{value.name}.{suffix}")
                if reader is None:
                    graph.append(cast)
                else:
                    graph.insert_before(reader, cast)
                casts[value, wanted] = cast.outputs[0]
        return casts[value, wanted]

    for node in list(graph):
        wanted = FLOAT if node.name in keep else half
        floating = False
        for index, value in enumerate(node.inputs):
            if value is None or value.dtype not in (FLOAT, half):
                continue
            if (node.op_type, index) in _ALWAYS_FLOAT:
                continue
            floating = True
            node.replace_input_with(index, as_type(value, wanted, node))
        if node.op_type == "Cast" and node.outputs[0].dtype == FLOAT:
            node.attributes["to"] = ir.AttrInt64("to", int(wanted))
            floating = True
        for output in node.outputs:
            if floating and output.dtype == FLOAT:
                _retype(output, wanted)
    for index, value in enumerate(graph.outputs):
        if value.dtype != FLOAT:
            name = value.name
            value.name = f"{name}.{half.name.lower()}"
            final = as_type(value, FLOAT, None)
            final.name = name
            graph.outputs[index] = final
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            graph.initializers.pop(name)
    return model


def emulated(model: ir.Model, half: ir.DataType) -> ir.Model:
    """Return a :func:`typed` graph in float32 arithmetic that rounds to ``half``."""
    model = model.clone()
    graph = model.graph
    nodes = list(graph)
    for name, value in list(graph.initializers.items()):
        if value.dtype == half:
            cast = _cast(value, FLOAT, f"{name}.value")
            value.replace_all_uses_with(cast.outputs[0])
            cast.replace_input_with(0, value)
            graph.insert_before(graph[0], cast)
    for node in nodes:
        if node.op_type == "Cast" and node.attributes.get_int("to") == int(half):
            node.attributes["to"] = ir.AttrInt64("to", int(FLOAT))
        for output in node.outputs:
            if output.dtype != half:
                continue
            _retype(output, FLOAT)
            rounded = _cast(output, half, f"{output.name}.rounded")
            widened = _cast(rounded.outputs[0], FLOAT, f"{output.name}.value")
            output.replace_all_uses_with(widened.outputs[0], replace_graph_outputs=True)
            rounded.replace_input_with(0, output)
            graph.insert_after(node, [rounded, widened])
    return model


def in_tf32(model: ir.Model) -> ir.Model:
    """Return a float32 graph whose products have factors of 11 bits, as those of TF32 do.

    A number is rounded by float32 arithmetic alone: with t = x · (2¹³ + 1), t - (t - x) is x
    rounded to its first 11 bits (Veltkamp), up to magnitudes of 4e34.
    """
    model = model.clone()
    graph = model.graph
    step = np.array(8193, np.float32)
    factor = _register(graph, "tf32.step", step)
    made: dict[ir.Value, ir.Value] = {}
    for node in list(graph):
        for index in range(2 if node.op_type in _PRODUCTS else 0):
            value = node.inputs[index]
            if value is None or value.dtype != FLOAT:
                continue
            if value not in made:
                name = f"{value.name}.tf32"
                array = _floats(value) if value.is_initializer() else None
                if array is not None:
                    scaled = array * step
                    made[value] = _register(graph, name, scaled - (scaled - array))
                else:
                    large = _node("Mul", [value, factor], f"{name}.large", FLOAT, value.shape)
                    both = [large.outputs[0], value]
                    less = _node("Sub", both, f"{name}.less", FLOAT, value.shape)
                    rest = [large.outputs[0], less.outputs[0]]
                    rounded = _node("Sub", rest, name, FLOAT, value.shape)
                    graph.insert_before(node, [large, less, rounded])
                    made[value] = rounded.outputs[0]
            node.replace_input_with(index, made[value])
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            graph.initializers.pop(name)
    return model


def protected(model: ir.Model, half: ir.DataType) -> set[str]:
    """Return the nodes that stay in float32 whatever the weights are.

    These are the nodes from each head and comparison back to the last convolution or matrix
    product, sums over whole planes, and what TensorRT does not compute in bfloat16. Sums over
    channels (AIM's spatial attention) have a few hundred terms: :func:`too_large` decides by what
    was measured.
    """
    refused = _NO_BFLOAT16 if half == ir.DataType.BFLOAT16 else ()
    keep = {
        node.name or "" for node in model.graph if node.op_type in refused or _over_planes(node)
    }
    open_values = list(model.graph.outputs)
    for node in model.graph:
        if node.op_type in _COMPARISONS:
            keep.add(node.name or "")
            open_values += [value for value in node.inputs if value is not None]
    seen: set[ir.Value] = set()
    while open_values:
        value = open_values.pop()
        producer = value.producer()
        if value in seen or producer is None or producer.op_type not in _TRANSPARENT:
            continue
        seen.add(value)
        keep.add(producer.name or "")
        if producer.op_type not in _PROBABILITIES:  # before it come logits: half holds those
            open_values += [x for x in producer.inputs if x is not None]
    return keep


def too_large(model: ir.Model, ranges: Mapping[str, float], limit: float = LIMIT) -> set[str]:
    """Return the nodes whose weights, inputs or results pass ``limit``: float16 could overflow.

    Args:
        model: float32 graph.
        ranges: the largest magnitude of each value: see :func:`with_ranges`.
    """

    def large(value: ir.Value | None, times: int = 1) -> bool:
        if value is None:
            return False
        producer = value.producer()
        if producer is not None and producer.op_type in _MOVES:
            # By what it moves: the border of minus infinity that a max-pool's comparisons have is
            # no sign of overflow.
            return any(large(x, times) for x in producer.inputs)
        array = _floats(value) if value.is_initializer() else None
        if array is not None:  # infinities are the same in every type
            array = array[np.isfinite(array)]
        magnitude = _largest(array) if array is not None else ranges.get(value.name or "", 0.0)
        return not magnitude * times <= limit  # so that infinity and NaN count as too large

    return {
        node.name or ""
        for node in model.graph
        if any(large(value, _summands(node)) for value in node.inputs)
        or any(large(value) for value in node.outputs)
    }


def with_ranges(model: ir.Model) -> tuple[ir.Model, list[str]]:
    """Return a copy whose outputs are the largest magnitudes of all float values.

    Values that are only moved are left out: a max-pool's border is minus infinity.

    Returns:
        The model, whose outputs are float32 scalars, and the name of the value that each is of.
    """
    model = model.clone()
    graph = model.graph
    values = [
        x for node in graph if node.op_type not in _MOVES for x in node.outputs if x.dtype == FLOAT
    ]
    graph.outputs.clear()
    for index, value in enumerate(values):
        magnitude = _node("Abs", [value], f"range{index}.abs", FLOAT, value.shape)
        largest = _node("ReduceMax", [magnitude.outputs[0]], f"range{index}", FLOAT, ir.Shape([]))
        largest.attributes["keepdims"] = ir.AttrInt64("keepdims", 0)
        producer = value.producer()
        if producer is None:
            raise BuildError(f"{value.name} has no producer; expected a node's result")
        graph.insert_after(producer, [magnitude, largest])
        graph.outputs.append(largest.outputs[0])
    return model, [value.name or "" for value in values]


def _reduced(node: ir.Node) -> tuple[int, ...]:
    """The axes of a sum or mean; empty for any other operator."""
    if node.op_type not in _SUMS:
        return ()
    rank = len(dims(node.inputs[0]))
    if node.op_type == "GlobalAveragePool":
        return tuple(range(2, rank))
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    if axes is not None and axes.const_value is not None:
        given = axes.const_value.numpy().tolist()
    else:  # of ReduceMean and ReduceL2 before opset 18
        given = list(node.attributes.get_ints("axes", ()))
    return tuple(axis % rank for axis in given) or tuple(range(rank))


def _over_planes(node: ir.Node) -> bool:
    """Whether a node sums over rows or columns of N×C×H×W."""
    return any(axis >= 2 for axis in _reduced(node))


def _summands(node: ir.Node) -> int:
    """How many numbers an operator adds up before it divides; 1 for those that do not."""
    axes = _reduced(node)
    return math.prod(dims(node.inputs[0])[axis] for axis in axes) if axes else 1


def _retype(value: ir.Value, dtype: ir.DataType) -> None:
    """Set a new type: ``value.dtype`` would change the type object that clones share."""
    value.type = ir.TensorType(dtype)


def _floats(value: ir.Value) -> NDArray[np.float32] | None:
    """A float32 constant's numbers; None for any other value."""
    if value.const_value is None or value.const_value.dtype != FLOAT:
        return None
    return value.const_value.numpy()


def _largest(array: NDArray[np.float32]) -> float:
    return float(max(array.max(initial=0.0), -array.min(initial=0.0)))  # no copy, as abs would be


def _rounded(array: NDArray[np.float32], dtype: ir.DataType) -> NDArray[Any]:
    kind = np.float16 if dtype == ir.DataType.FLOAT16 else ml_dtypes.bfloat16
    return array.astype(kind)


def _register(graph: ir.Graph, name: str, array: NDArray[Any]) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    value = ir.Value(
        name=name,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(tensor.dtype),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value


def _cast(value: ir.Value, dtype: ir.DataType, name: str) -> ir.Node:
    node = _node("Cast", [value], name, dtype, value.shape)
    node.attributes["to"] = ir.AttrInt64("to", int(dtype))
    return node


def _node(
    kind: str, inputs: list[ir.Value], name: str, dtype: ir.DataType, shape: ir.Shape | None
) -> ir.Node:
    node = ir.Node("", kind, inputs, name=name)
    node.outputs[0].name, node.outputs[0].dtype, node.outputs[0].shape = name, dtype, shape
    return node
