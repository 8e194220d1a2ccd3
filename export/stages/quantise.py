"""Quantise the float32 graph to INT8 for CPU backends, as an explicit Q/DQ graph.

Activations are uint8 with a scale and zero point each. Weights are int8, symmetric, with a scale
for each output channel. Biases stay float. ONNX Runtime's quantiser writes the graph; here we
choose which operators it may touch. In floating point stay

* the first and last convolutions and what lies between them and an input or a head: the picture has
  8 bits already, and a head's logits decide everything;
* what a comparison reads (a max-pool's offsets), which must stay exact;
* convolutions too small to gain anything, such as those of squeeze-and-excitation;
* the blocks that cost the matte most, found by :func:`search`.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matter_sdk.export import cost, examples, onnx_files
from matter_sdk.export.errors import BuildError
from matter_sdk.export.stages import Context, Graph, Subject, verify
from matter_sdk.sdk.describe import some
from matter_sdk.sdk.engine.manifest import Int8Graph
from matter_sdk.training import networks

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

MATRIX = ("Conv", "MatMul")

# Operators between convolutions that runtimes leave in 8 bits. Not Resize: at 288×512 it cost as
# much as it saved. A Relu takes the scale of what comes before it.
_BETWEEN = ("Relu", "Add", "Concat", "MaxPool")
_COMPARISONS = ("Equal", "Greater", "Less", "ArgMax")

# A convolution with a smaller share of all multiply-accumulates stays float.
SMALL_PART = 5e-4
# The search ends once this share of them is in floating point: INT8 would not pay.
MOST_FLOAT = 0.4
# Or once the error is this share of its bound.
TARGET = 0.5


def quantise(
    context: Context,
    subject: Subject,
    model: ir.Model,
    truth: verify.Reference,
    kept: frozenset[str],
) -> tuple[Int8Graph, Graph]:
    """Write the 8-bit graph.

    Args:
        context, subject: what is built.
        model: the float32 graph.
        truth: the PyTorch network's answers.
        kept: the convolutions that another size's graph keeps in floating point.

    Returns:
        The manifest's entry, and the graph.

    Raises:
        BuildError: the matte stays past its bound.
    """
    options, report, size = context.options, context.report, truth.size
    names = tuple(networks.inputs(subject.network))
    given = None if subject.frames is None else subject.frames(size)
    tensors = truth.tensors if given is None else examples.batched(given, subject.batch)
    frames = (dict(zip(names, inputs, strict=True)) for inputs in tensors)
    count = len(subject.inputs(size)) if given is None else len(given)
    bound = verify.share_bound("int8", steady=not subject.weights.random)
    path = context.folder / subject.prefix / subject.name("model-int8", size)
    with (
        report.stage(f"quantise{subject.label(size)}") as stage,
        tempfile.TemporaryDirectory(dir=path.parent) as scratch,
    ):
        quantiser = Quantiser(model, frames, Path(scratch))
        trial = Path(scratch) / "trial.onnx"

        def error(float32: frozenset[str]) -> float:
            quantiser.write(float32, trial)
            return verify.share(verify.session(trial, fused=True), truth)

        float32, reached = search(quantiser, error, bound, quantiser.always | kept)
        part = f"{quantiser.part(float32):.0%}"
        stage.note = (
            f"{count} frames; SAD {reached:.1%} of the matte, {part} of the MACs stay float"
        )
        if reached > bound:
            raise BuildError(
                f"--int8: with {part} of the multiply-accumulates in floating point SAD is still "
                f"{reached:.0%} of the matte; expected at most {bound:.0%}. Build without --int8, "
                "or give frames like yours with --calibrate"
            )
        graph = Graph(path, quantiser.write(float32, path))
        stage.bytes = graph.bytes
    listed = quantiser.ordered(float32)
    found = quantiser.ordered(float32 - quantiser.always)
    report.line(
        f"  {len(listed)} convolutions stay float; found by search: {some(found) or 'none'}"
    )
    entry = Int8Graph(
        subject.prefix + path.name,
        subject.prefix + graph.data.name if graph.data else None,
        listed,
        count,
        "" if options.calibrate is None else options.calibrate.name,
    )
    return entry, graph


class Quantiser:
    """A float32 graph that can be quantised many times; the first time calibrates it.

    Args:
        model: the float32 graph; not changed.
        frames: the network's inputs by name, float32 batch×C×H×W.
        folder: an empty one, for the graph and its ranges.

    Attributes:
        always: convolutions and matrix products that stay in floating point in any case.
    """

    def __init__(
        self,
        model: ir.Model,
        frames: Iterable[Mapping[str, NDArray[Any]]],
        folder: Path,
    ) -> None:
        self._model = model.clone()
        _set_apart(self._model)
        self._source = folder / "float32.onnx"
        self._external = onnx_files.save(self._model, self._source) is not None
        self._ranges = folder / "ranges.json"
        self._frames: _Frames | None = _Frames(frames)
        self._macs = {
            _name(node): cost.node_macs(node) for node in model.graph if node.op_type in MATRIX
        }
        ends = {_name(node) for node in _before_comparisons(model)} | _ends(model)
        small = SMALL_PART * sum(self._macs.values())
        self._ends = ends
        self.always = frozenset(
            name for name, count in self._macs.items() if count < small or name in ends
        )

    def write(self, float32: Iterable[str], target: Path) -> Path | None:
        """Quantise all but the convolutions named; return the file of external weights, if any.

        Raises:
            BuildError: the quantiser cannot handle the graph.
        """
        import onnx_ir as ir
        from onnxruntime import quantization

        kept = set(float32)
        skipped = kept | self._ends | _unread(self._model, kept | self._ends)
        warnings = logging.getLogger()  # the quantiser's, at the root logger, to graph authors
        level = warnings.level
        warnings.setLevel(logging.ERROR)
        try:
            quantization.quantize_static(
                self._source,
                target,
                self._frames,
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=[*MATRIX, *_BETWEEN],
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                nodes_to_exclude=sorted(skipped),
                use_external_data_format=self._external,
                calibrate_method=quantization.CalibrationMethod.MinMax,
                extra_options={"QuantizeBias": False},
                calibration_cache_path=self._ranges,
            )
        except (OSError, MemoryError):
            raise  # said elsewhere, for every step of a build
        except Exception as error:  # ONNX Runtime raises types of its own
            raise BuildError(
                f"--int8: the graph cannot be quantised ({_line(error)}); expected one that ONNX "
                "Runtime's quantiser takes. Build without --int8"
            ) from error
        finally:
            warnings.setLevel(level)
        self._frames = None  # from now on the ranges are read from their file
        model = ir.load(target)
        ir.external_data.load_to_model(model)
        onnx_files.sign(model)
        target.with_name(target.name + ".data").unlink(missing_ok=True)
        return onnx_files.save(model, target)

    def part(self, float32: Iterable[str]) -> float:
        """Return the share of the multiply-accumulates that these take."""
        return sum(self._macs[name] for name in float32) / max(sum(self._macs.values()), 1)

    def blocks(self, float32: Iterable[str]) -> dict[str, frozenset[str]]:
        """Return the other convolutions, by their block of layers."""
        kept, found = set(float32), dict[str, set[str]]()
        for name in self._macs:
            if name not in kept:
                module = name.partition("/")[0]
                found.setdefault(module.rsplit(".", 2)[0], set()).add(name)
        return {block: frozenset(names) for block, names in found.items()}

    def ordered(self, float32: Iterable[str]) -> tuple[str, ...]:
        """Return the names in the graph's order."""
        kept = set(float32)
        return tuple(name for name in self._macs if name in kept)


def search(
    quantiser: Quantiser,
    error: Callable[[frozenset[str]], float],
    bound: float,
    start: frozenset[str],
) -> tuple[frozenset[str], float]:
    """Find the convolutions to keep in floating point so that the error is within its bound.

    The target is half of the bound: other pictures will differ, and runtimes round in different
    places. First each block of layers is kept float alone, to measure its gain. Then blocks go back
    to floating point, the largest gain for a multiply-accumulate first, until the target is met or
    ``MOST_FLOAT`` of the work is float. Errors do not add up, so each block is tried with those
    before it, and stays float only if it helps. Below the bound it must also take a larger share of
    the error than of the work.

    Args:
        quantiser: of the graph.
        error: gives the error with these convolutions in floating point.
        bound: the largest error allowed.
        start: the convolutions that are float from the beginning.

    Returns:
        The convolutions to keep, and the error, which may still be past the bound.
    """
    kept, reached = start, error(start)
    if reached <= bound * TARGET:
        return kept, reached
    gains = {
        names: (reached - error(kept | names)) / quantiser.part(names)
        for names in quantiser.blocks(kept).values()
    }
    for names in sorted(gains, key=lambda names: -gains[names]):
        if gains[names] <= 0 or reached <= bound * TARGET:
            break
        if quantiser.part(kept | names) > MOST_FLOAT:
            continue
        error_with = error(kept | names)
        least = 0.0 if reached > bound else reached * quantiser.part(names)
        if reached - error_with > least:
            kept, reached = kept | names, error_with
    return kept, reached


class _Frames:
    """Calibration inputs as the quantiser asks for them."""

    def __init__(self, frames: Iterable[Mapping[str, NDArray[Any]]]) -> None:
        self._rest = iter(frames)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        frame = next(self._rest, None)
        return None if frame is None else dict(frame)


def _line(error: Exception) -> str:
    """What an exception says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _name(node: ir.Node) -> str:
    return node.name or ""


def _ends(model: ir.Model) -> set[str]:
    """The first and last convolutions, and all between them and an input or a head."""
    found = set()
    reached = set(model.graph.inputs)
    for node in model.graph:
        if not reached.isdisjoint(node.inputs):
            found.add(_name(node))
            if node.op_type not in MATRIX:
                reached.update(node.outputs)
    return found | {_name(node) for node in _up_to_convolutions(model.graph.outputs)}


def _before_comparisons(model: ir.Model) -> set[ir.Node]:
    """Comparisons, and what stands between them and the convolutions before."""
    asking = {node for node in model.graph if node.op_type in _COMPARISONS}
    before = _up_to_convolutions(x for node in asking for x in node.inputs)
    return asking | {node for node in before if node.op_type not in MATRIX}


def _up_to_convolutions(values: Iterable[ir.Value | None]) -> set[ir.Node]:
    """Nodes from the values back to the convolutions and matrix products that they come from."""
    found: set[ir.Node] = set()
    rest = list(values)
    while rest:
        value = rest.pop()
        node = None if value is None else value.producer()
        if node is None or node in found:
            continue
        found.add(node)
        if node.op_type not in MATRIX:
            rest += node.inputs
    return found


def _set_apart(model: ir.Model) -> None:
    """Give a value that comparisons and others read a second name for the others; in place.

    The quantiser rounds a value for all who read it or for none.
    """
    import onnx_ir as ir

    exact = _before_comparisons(model)
    for node in exact:
        for value in node.outputs:
            uses = value.uses()
            others = [use for use in uses if use.node not in exact]
            if not others or len(others) == len(uses):
                continue
            same = ir.Node("", "Identity", [value], name=f"{value.name}.rounded")
            same.outputs[0].name = f"{value.name}.rounded"
            same.outputs[0].type, same.outputs[0].shape = value.type, value.shape
            for use in others:
                use.node.replace_input_with(use.idx, same.outputs[0])
            model.graph.insert_after(node, same)


def _unread(model: ir.Model, float32: set[str]) -> set[str]:
    """Operators between convolutions whose result no quantised convolution reads.

    And sums with a constant, which 8 bits would round too. But not a Relu right after a quantised
    convolution: its result is rounded anyway, and half of the numbers would be spent on what the
    Relu cuts off.
    """
    read: set[ir.Value | None] = set()
    unread = set()
    for node in reversed(model.graph):
        wanted = not read.isdisjoint(node.outputs)
        if node.op_type in MATRIX:
            wanted = _name(node) not in float32
        elif node.op_type in _BETWEEN:
            constant = any(x is not None and x.is_initializer() for x in node.inputs)
            before = node.inputs[0].producer() if node.inputs[0] is not None else None
            joined = (
                node.op_type == "Relu"
                and before is not None
                and before.op_type in MATRIX
                and _name(before) not in float32
            )
            if constant or not (wanted or joined):
                unread.add(_name(node))
        elif node.op_type not in ("Resize", "Identity"):
            wanted = False
        if wanted:
            read.update(node.inputs)
    return unread
