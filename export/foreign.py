"""An ONNX network of others → the graphs, the manifest and the verification of an engine."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxscript.optimizer
import torch
from numpy.typing import NDArray
from onnx import TensorProto, version_converter
from torch.nn import functional

from matter_sdk import kernels
from matter_sdk.export import examples, onnx_files
from matter_sdk.export.cost import count_macs, dims
from matter_sdk.export.errors import BuildError, UsageError
from matter_sdk.export.foreign_graphs import fold_sides, sort, widen
from matter_sdk.export.import_onnx import ImportOptions
from matter_sdk.export.options import BuildOptions
from matter_sdk.export.pipeline import errors, finish
from matter_sdk.export.plain_operators import Place, rewrite
from matter_sdk.export.progress import Report
from matter_sdk.export.stages import Built, Context, Graph, Size, Sized, Subject, graph, pack, text
from matter_sdk.export.stages.verify import Reference
from matter_sdk.sdk import __version__
from matter_sdk.sdk.backends.operators import OPERATORS
from matter_sdk.sdk.engine.manifest import (
    FOREIGN,
    Head,
    Imported,
    Manifest,
    ModelEntry,
    NetworkInfo,
    WeightsInfo,
)
from matter_sdk.sdk.inference.trimaps import plain

OPSETS = range(18, 24)  # what an engine may hold, and what export writes
_BEYOND = 0.01  # alpha may leave 0..1 by this much, and is clipped


def read(options: ImportOptions) -> onnx.ModelProto:
    """Read the file, and check that it takes one picture, and a trimap if that is asked for.

    Raises:
        UsageError: it is no ONNX file, takes something else, or has no such output.
    """
    try:
        model = onnx.load(options.model)
        sort(model)
    except Exception as error:
        raise UsageError(
            f"{options.model} cannot be read as ONNX ({_line(error)}); expected a network"
        ) from error
    widen(model)
    for value, _ in _inputs(model, options):
        kind = value.type.tensor_type.elem_type
        if kind != TensorProto.FLOAT:
            raise UsageError(
                f"{options.model} takes {TensorProto.DataType.Name(kind)}; expected float32: "
                "export it so"
            )
    outputs = [output.name for output in model.graph.output]
    if options.head and options.head not in outputs:
        raise UsageError(f"--head is {options.head!r}; expected one of {', '.join(outputs)}")
    _check_sizes(model, options)
    return model


def own_size(model: onnx.ModelProto, options: ImportOptions) -> Size:
    """The model's own size.

    Raises:
        UsageError: it is symbolic.
    """
    height, width = _sides(_inputs(model, options)[0][0])[2:]
    if height is None or width is None:
        raise UsageError(
            f"{options.model} takes pictures of any size; expected --size, such as --size 320x320"
        )
    return height, width


def make(model: onnx.ModelProto, options: ImportOptions, *, report: Report | None = None) -> Path:
    """Make the engine; return its path.

    Raises:
        BuildError: see the message; nothing is written.
    """
    report = report or Report()
    sizes = ", ".join(map(text, options.sizes))
    report.line(f"Importing {options.model} to {options.output} ({sizes})")
    build = BuildOptions(FOREIGN, sizes=options.sizes, targets=("onnx",), output=options.output)
    prefix, beside = f".{options.output.name}.", options.output.parent
    with errors(), tempfile.TemporaryDirectory(prefix=prefix, dir=beside) as folder:
        context = Context(build, report, Path(folder))
        finish(context, {"": _built(context, model, options)})
    return options.output


def _built(context: Context, model: onnx.ModelProto, options: ImportOptions) -> Built:
    subject = Subject("", None, _weights(options), options.sizes, 1, lambda _: [])
    made = [_sized(context, subject, model, options, size) for size in options.sizes]
    sized = pack.shared(context, subject, made)
    macs = {text(one.entry.size): one.macs for one in sized}
    parameters = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    name = "".join(c if c.isascii() and c.isalnum() else "-" for c in options.model.stem)
    manifest = Manifest(
        matter=__version__,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        network=NetworkInfo(FOREIGN, name.strip("-") or "network", "none", parameters, macs),
        input=options.input(),
        extra_inputs=options.extra_inputs(),
        heads=(Head("alpha", 1),),
        fusion="alpha",
        batch=1,
        precision="fp32",
        models=tuple(one.entry for one in sized),
        weights=subject.weights,
        versions=pack.versions(()),
        imported=Imported(
            options.head or model.graph.output[0].name, options.channel or 0, options.activation
        ),
    )
    return Built(manifest, tuple(sized))


def _weights(options: ImportOptions) -> WeightsInfo:
    return WeightsInfo(options.model.name, options.digest(), False, "unknown")


def _sized(
    context: Context, subject: Subject, model: onnx.ModelProto, options: ImportOptions, size: Size
) -> Sized:
    with context.report.stage(f"plain graph{subject.label(size)}") as stage:
        plain = _plain(model, options, size)
        path = context.folder / subject.name("model", size)
        stored = Graph(path, onnx_files.save(plain, path))
        stage.bytes, stage.note = stored.bytes, f"{len(plain.graph)} operators"
    with context.report.stage(f"the file in ONNX Runtime{subject.label(size)}") as stage:
        truth = _reference(model, options, size)
        stage.note = f"{len(truth.tensors)} verification images"
    entry = ModelEntry(size, stored.onnx.name, stored.data.name if stored.data else None)
    return Sized(entry, subject.label(size), count_macs(plain), truth, stored, None, None, ())


# ---- the graph


def _plain(model: onnx.ModelProto, options: ImportOptions, size: Size) -> ir.Model:
    """The network at one size as an engine holds it: ``image`` in, or more, ``alpha`` out."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    inputs = _inputs(fixed, options)
    for value, channels in inputs:
        sides = value.type.tensor_type.shape.dim
        for dim, side in zip(sides, (1, channels, *size), strict=True):
            dim.dim_value = side
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    versions = [one.version for one in fixed.opset_import if one.domain in ("", "ai.onnx")]
    if versions and versions[0] not in OPSETS:
        try:
            fixed = version_converter.convert_version(fixed, OPSETS.start)
        except Exception as error:
            raise BuildError(
                f"operator set {versions[0]} cannot be converted to {OPSETS.start} "
                f"({_line(error)}); expected a network of {OPSETS.start} to {OPSETS.stop - 1}: "
                "export it so"
            ) from error
    fold_sides(fixed)
    made = ir.from_proto(fixed)
    onnxscript.optimizer.optimize(made, onnx_shape_inference=True)
    made = ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(made), data_prop=True))
    rewrite(made)
    _check_operators(made, {"BatchNormalization", "Constant"})  # gone soon
    _head(made, options, size)
    wanted = {"image": 3} | {extra.name: extra.channels for extra in options.extra_inputs()}
    _name_inputs(made, [value.name for value, _ in inputs], wanted, size)
    made = ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(made), data_prop=True))
    graph.fold_batch_norm(made)
    graph.simplify(made)
    graph.check(made, {"alpha": 1}, size, inputs=wanted)
    _check_operators(made)
    return made


def _check_operators(model: ir.Model, besides: Set[str] = frozenset()) -> None:
    unknown = sorted({node.op_type for node in model.graph} - OPERATORS - besides)
    if unknown:
        raise BuildError(
            f"the network holds {', '.join(unknown)}; expected operators that an engine may hold, "
            "which can be checked before they run (SECURITY.md). Export it with others"
        )


def _head(model: ir.Model, options: ImportOptions, size: Size) -> None:
    """Leave one output, ``alpha``: the chosen channel in 0..1 at the network's size."""
    outputs = model.graph.outputs
    chosen = next((x for x in outputs if x.name == options.head), outputs[0])
    shape = dims(chosen)
    if len(shape) == 3:
        shape = (shape[0], 1, *shape[1:])
    if len(shape) != 4 or shape[0] != 1:
        raise BuildError(
            f"the output {chosen.name!r} is {list(shape)}; expected 1×C×h×w. Choose another: --head"
        )
    outputs.clear()
    outputs.append(chosen)
    last = chosen.producer()
    if last is None:
        raise BuildError(f"the output {chosen.name!r} is made by no operator; expected a network")
    end = ir.Node("", "Identity", [chosen], name="alpha")
    model.graph.append(end)
    place, value = Place(model.graph, end), chosen
    if len(dims(chosen)) == 3:
        value = place.make("Reshape", value, place.constant(shape, np.int64))
    if options.activation != "none":
        axis = {"axis": 1} if options.activation == "softmax" else {}
        value = place.make(options.activation.capitalize(), value, **axis)
    channel = _channel(options, chosen.name or "", shape[1])
    if shape[1] > 1:
        ends = [place.constant([at], np.int64) for at in (channel, channel + 1, 1)]
        value = place.make("Slice", value, *ends)
    if shape[2:] != size:
        to = place.constant((1, 1, *size), np.int64)
        value = place.make(
            "Resize", value, None, None, to, mode="linear", coordinate_transformation_mode=_PIXELS
        )
    end.replace_input_with(0, value)
    for other in [*model.graph.inputs, *(x for node in model.graph for x in node.outputs)]:
        if other.name in ("image", "trimap", "alpha"):
            other.name = f"{other.name}.given"
    outputs.clear()
    outputs.append(end.outputs[0])
    end.outputs[0].name = "alpha"
    end.outputs[0].dtype, end.outputs[0].shape = ir.DataType.FLOAT, ir.Shape((1, 1, *size))


def _name_inputs(
    model: ir.Model, given: Sequence[str], wanted: Mapping[str, int], size: Size
) -> None:
    """Let the graph take what an engine's takes, ``wanted``, in its order and by its names.

    ``given``: the names that the file has for them, or for the one that joins their channels.
    """
    held = {value.name: value for value in model.graph.inputs}
    renamed = [held[name] if name in held else held[f"{name}.given"] for name in given]
    if len(renamed) == len(wanted):
        for value, name in zip(renamed, wanted, strict=True):
            value.name = name
    else:
        (joined,) = renamed
        place = Place(model.graph, model.graph[0])
        renamed = [
            ir.Value(
                name=name,
                shape=ir.Shape((1, channels, *size)),
                type=ir.TensorType(ir.DataType.FLOAT),
            )
            for name, channels in wanted.items()
        ]
        joined.replace_all_uses_with(place.make("Concat", *renamed, axis=1))
    model.graph.inputs.clear()
    model.graph.inputs.extend(renamed)


_PIXELS = "half_pixel"


def _channel(options: ImportOptions, name: str, channels: int) -> int:
    if channels == 1 and options.channel in (None, 0):
        return 0
    if options.channel is None or options.channel >= channels:
        raise UsageError(
            f"--channel is {options.channel}; expected which of the {channels} channels of "
            f"{name!r} is the subject, 0 to {channels - 1}"
        )
    return options.channel


# ---- what it is compared with


def _reference(model: onnx.ModelProto, options: ImportOptions, size: Size) -> Reference:
    """The file in ONNX Runtime, in float32, on the verification pictures.

    Raises:
        UsageError: its answers are not within 0..1.
        BuildError: ONNX Runtime refuses it, or it answers NaN.
    """
    import onnxruntime

    spec = options.input().spec()
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 3
    names = [options.head] if options.head else None
    inputs = [value.name for value, _ in _inputs(model, options)]
    tensors, answers = [], []
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), quiet, providers=["CPUExecutionProvider"]
        )
        for picture in examples.pictures(size):
            made = [kernels.preprocess(picture.image, size, spec, order="rgb")]
            if options.trimap:
                made.append(plain(kernels.resize_trimap(picture.trimap, size))[np.newaxis])
            joined = made if len(inputs) == len(made) else [np.concatenate(made, axis=1)]
            (answer, *_) = session.run(names, dict(zip(inputs, joined, strict=True)))
            tensors.append(tuple(made))
            answers.append(_alpha(answer, options, size))
    except (UsageError, BuildError):
        raise
    except Exception as error:  # ONNX Runtime's have no common base
        raise BuildError(
            f"ONNX Runtime cannot run {options.model} at {text(size)} ({_line(error)}); expected "
            "a network that takes this --size"
        ) from error
    heads = tuple({"alpha": answer} for answer in answers)
    return Reference(FOREIGN, size, "alpha", tuple(tensors), heads, tuple(answers))


def _alpha(answer: NDArray[Any], options: ImportOptions, size: Size) -> NDArray[np.float32]:
    """An answer of the network as alpha, float32 1×1×H×W."""
    if not np.isfinite(answer).all():
        raise BuildError("the network answers NaN or infinity; expected finite numbers")
    value = torch.from_numpy(np.asarray(answer, np.float32))
    value = value[:, None] if value.ndim == 3 else value
    if value.ndim != 4:
        raise BuildError(f"the output is {list(value.shape)}; expected 1×C×h×w")
    if options.activation == "sigmoid":
        value = value.sigmoid()
    elif options.activation == "softmax":
        value = value.softmax(1)
    channel = _channel(options, options.head or "the output", value.shape[1])
    value = value[:, channel : channel + 1]
    low, high = float(value.min()), float(value.max())
    if low < -_BEYOND or high > 1 + _BEYOND:
        raise UsageError(
            f"the output has values from {low:.3g} to {high:.3g}; expected 0 to 1. Choose "
            f"--activation {'softmax' if answer.ndim == 4 and answer.shape[1] > 1 else 'sigmoid'}"
        )
    if tuple(value.shape[2:]) != size:
        value = functional.interpolate(value, size, mode="bilinear", align_corners=False)
    result: NDArray[np.float32] = value.numpy()
    return result


# ---- what the file says


def _inputs(
    model: onnx.ModelProto, options: ImportOptions
) -> list[tuple[onnx.ValueInfoProto, int]]:
    """What is to be given, and in how many channels: a picture and a trimap, or both in one.

    Raises:
        UsageError: the network takes something else.
    """
    held = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in held]
    for order in (inputs, inputs[::-1]):
        for channels in ((4,), (3, 1)) if options.trimap else ((3,),):
            fits = [(1, count, None, None) for count in channels]
            if len(order) == len(fits) and all(map(_may_be, order, fits)):
                return list(zip(order, channels, strict=True))
    shown = ", ".join(f"{value.name}{_sides(value)}" for value in inputs)
    picture = "one picture, float32 1×3×H×W"
    if options.trimap:
        picture = f"{picture}, and a trimap 1×1×H×W, or both as 1×4×H×W"
    raise UsageError(
        f"{options.model} takes {shown or 'nothing'}; expected {picture}"
        f"{'' if options.trimap else '. If it takes a trimap too: --trimap'}"
    )


def _may_be(value: onnx.ValueInfoProto, wanted: Sequence[int | None]) -> bool:
    """Whether an input takes these sides; None stands for any."""
    own = _sides(value)
    return len(own) == len(wanted) and all(
        a == b or a is None or b is None for a, b in zip(own, wanted, strict=True)
    )


def _sides(value: onnx.ValueInfoProto) -> list[int | None]:
    """The sides of an input; None for a symbolic one."""
    return [side.dim_value or None for side in value.type.tensor_type.shape.dim]


def _check_sizes(model: onnx.ModelProto, options: ImportOptions) -> None:
    for value, channels in _inputs(model, options):
        for size in options.sizes:
            if not _may_be(value, (1, channels, *size)):
                fixed: Sequence[Any] = [side or "any" for side in _sides(value)]
                raise UsageError(
                    f"--size is {text(size)} and {options.model} takes "
                    f"{'×'.join(map(str, fixed))}; expected its own size"
                )


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__
