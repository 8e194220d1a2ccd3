"""What an engine is, as text: for ``Matter.describe``, ``export.info`` and the end of a build."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from matter_sdk.sdk import cpu
from matter_sdk.sdk.engine.manifest import (
    FOREIGN,
    FUSIONS,
    InputInfo,
    Manifest,
    ModelEntry,
    Verification,
    WeightsInfo,
)
from matter_sdk.sdk.errors import printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from matter_sdk.sdk.inference.network import Network
    from matter_sdk.sdk.inference.sizes import Scales

Line = tuple[str, str]  # what it is about ("" goes on with the line before), how it is

_PRECISIONS = {
    "fp32": "float32 plans and stored weights",
    "tf32": "TF32 plans, float32 stored weights",
    "fp16": "float16 plans and stored weights",
    "bf16": "bfloat16 plans, float16 stored weights",
    "int8": "8-bit weights and activations",
}
# Measures of a verification table: title, field, form.
_MEASURES = (
    ("SAD", "sad", "{:.4f}"),
    ("MSE", "mse", "{:.1e}"),
    ("MAD", "mad", "{:.1e}"),
    ("Grad", "grad", "{:.4f}"),
    ("Conn", "conn", "{:.4f}"),
    ("of alpha", "share", "{:.2%}"),
    ("largest", "largest", "{:.1e}"),
)


def text(lines: Sequence[Line]) -> str:
    """Join lines to a text of two columns."""
    return printable("\n".join(f"{about:<12}{how}".rstrip() for about, how in lines))


# ── A manifest ──────────────────────────────────────────────────────────────────────────────────


def facts(manifest: Manifest, models: Sequence[ModelEntry]) -> list[Line]:
    """The network, its weights and sizes, and what they were measured to take."""
    lines = [("network", title(manifest))]
    lines += _listed("weights", _weights(manifest.weights))
    lines += _listed("size", [_size(manifest, model) for model in models])
    lines += _listed("precision", _precision(manifest, models))
    lines += _listed("INT8", [line for model in models for line in _int8(model)])
    return lines + _listed("measured", [_measured(model) for model in models if model.measured])


def layout(manifest: Manifest) -> list[Line]:
    """What goes into the network and comes out of it, and the plans."""
    inputs = [f"{manifest.input.name} 3×H×W: {_normalisation(manifest.input)}"]
    inputs += [f"{extra.name} {extra.channels}×H×W" for extra in manifest.extra_inputs]
    inputs.append(f"sides are multiples of {manifest.input.multiple}; {manifest.batch} in a run")
    heads = [f"{head.name} {head.channels}×{_plane(head.stride)}" for head in manifest.heads]
    if manifest.fusion in FUSIONS[manifest.fusion]:
        rule = f"{manifest.fusion} is the result"
    else:
        rule = f"joined to alpha by the rule {manifest.fusion}"
    plans = []
    for plan in manifest.plans:
        plans.append(f"{plan.runtime} {plan.version}, {plan.gpus()}, {size_text(plan.size)}")
    lines = _listed("inputs", inputs)
    lines.append(("heads", f"{', '.join(heads)}; {rule}"))
    if manifest.imported is not None:
        one = manifest.imported
        how = f"alpha is channel {one.channel} of {one.head!r}, activation {one.activation}"
        lines.append(("imported", how))
    return lines + _listed("plans", plans or ["none"])


def title(manifest: Manifest) -> str:
    """Name a network in a few words: ``gfm resnet34, RoSTa tt, 55.29 M parameters``."""
    network = manifest.network
    words = f"{network.name} {network.backbone}"
    if network.rosta != "none":
        words += f", RoSTa {network.rosta}"
    if network.without:
        words += f", without {' and '.join(network.without)}"
    if network.parameters:
        words += f", {count_text(network.parameters)} parameters"
    return words


def verification_heading(manifest: Manifest) -> str:
    """What a verification table is about."""
    judged = "alpha"
    if manifest.fusion == "cam":
        judged = "activation maps, relative to their range,"
    random = "; random weights: bounds are wide, and the results mean nothing"
    source = (
        "the given file's in ONNX Runtime"
        if manifest.network.name == FOREIGN
        else ("the PyTorch network's")
    )
    return (
        f"Difference of {judged} from {source}, mean over the verification images; largest: of "
        f"one pixel, not bounded{random if manifest.weights.random else ''}:"
    )


def verification_table(entries: Sequence[Verification], *, sizes: bool) -> list[str]:
    """One row an artefact; ``sizes`` adds the column that tells several network sizes apart.

    SAD and Conn in thousands, Grad in tens, as the benchmarks of the field print them; MSE, MAD and
    the largest difference on alpha in 0..1; "of alpha" is SAD as a part of the sum of alpha.
    Measures that no artefact has are left out: a classifier's activation maps have no gradient or
    connectivity error.
    """
    measures = [one for one in _MEASURES if any(getattr(x, one[1]) is not None for x in entries)]
    header = ["artefact", "precision", *(title for title, _, _ in measures), "bound", "result"]
    rows = []
    for entry in entries:
        numbers = [_number(getattr(entry, field), form) for _, field, form in measures]
        bound = ", ".join(f"{name} {value:.0e}" for name, value in entry.bound.items()) or "–"
        result = f"{entry.status}: {entry.reason}" if entry.reason else entry.status
        row = [entry.artefact, entry.precision, *numbers, bound, result]
        rows.append([size_text(entry.size), *row] if sizes else row)
    return table(["size", *header] if sizes else header, rows, left=3 if sizes else 2)


# ── An open engine ──────────────────────────────────────────────────────────────────────────────


def engine(network: Network) -> list[Line]:
    """Describe the file, its network, the sizes that may run, and the backend in use."""
    manifest = network.manifest
    lines = [("engine", f"{network.path} (schema {manifest.schema}, made {manifest.created})")]
    lines += facts(manifest, network.models)
    lines.append(("backend", running(network)))
    return lines + _listed("not taken", [f"{name}: {reason}" for name, reason in network.passed])


def part(name: str, network: Network) -> list[Line]:
    """Describe a further network of the same file."""
    (_, first), *others = facts(network.manifest, network.models)
    return [(name, first), *others, ("backend", running(network)), *verified(network)]


def hybrid(scales: Scales) -> Line:
    """Describe the scales of a hybrid-resolution test."""
    glance, focus = (str(Fraction(scale).limit_denominator(100)) for scale in scales)
    how = f"glance at {glance} of the frame, focus at {focus}: the nearest two sizes"
    if scales[0] == scales[1]:
        how = f"one pass at {glance} of the frame: the nearest size"
    return "hybrid", how


def trimap(source: Network | None) -> Line:
    """Say where trimaps come from."""
    if source is None:
        return "trimap", "given with each frame"
    random = ", RANDOM WEIGHTS" if source.manifest.weights.random else ""
    return "trimap", f"from {source.path} if none is given: {title(source.manifest)}{random}"


def plate(image: NDArray[np.uint8] | None) -> Line:
    """Describe the plate that frames are compared with."""
    if image is None:
        return "plate", "none yet: matter.plate = image"
    return "plate", size_text(image.shape[:2])


def verified(network: Network) -> list[Line]:
    """List the verification results of the sizes that may run."""
    sizes = [model.size for model in network.models]
    entries = [entry for entry in network.manifest.verification if entry.size in sizes]
    if not entries:
        return [("verified", "never: the engine holds no verification report")]
    rows = verification_table(entries, sizes=len(sizes) > 1)
    return [("verified", verification_heading(network.manifest)), *(("", row) for row in rows)]


def running(network: Network) -> str:
    """Describe the backend of the size that was loaded first."""
    backend = network.first
    if backend is None:
        return "loaded with the first frame that needs it"
    return f"{backend.name} on {backend.device}: {backend.detail}"


# ── Numbers and tables ──────────────────────────────────────────────────────────────────────────


def size_text(size: Sequence[int]) -> str:
    """Height and width: 288×512."""
    return f"{size[0]}×{size[1]}"


def bytes_text(count: int) -> str:
    """Bytes: 812 B, 12.3 MB, 1.99 GB (powers of ten)."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def count_text(count: int) -> str:
    """A large count: 4.21 M, 1.87 G."""
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= factor:
            return f"{count / factor:.2f}{unit}"
    return str(count)


def some(names: Sequence[str], shown: int = 8) -> str:
    """The first few of many names."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Lines of a table; the first ``left`` columns and the last start left, numbers end right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        aligned = [
            cell.ljust(width) if column < left or column == len(header) - 1 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(aligned).rstrip()

    return [line(header), "  ".join("-" * width for width in widths), *map(line, rows)]


def _listed(about: str, entries: Sequence[str]) -> list[Line]:
    return [(about if at == 0 else "", entry) for at, entry in enumerate(entries)]


def _weights(weights: WeightsInfo) -> list[str]:
    if weights.random:
        return ["*** RANDOM WEIGHTS: for timing only, the results mean nothing ***"]
    first = f"{weights.source} ({weights.licence}, SHA-256 {weights.sha256})"
    return [first, *(f"{file.source} (SHA-256 {file.sha256})" for file in weights.more)]


def _size(manifest: Manifest, model: ModelEntry) -> str:
    macs = manifest.network.macs.get(f"{model.size[0]}x{model.size[1]}")
    cost = f", {count_text(macs)} multiply-accumulates" if macs else ""
    return f"{size_text(model.size)}{cost}, in {model.cpu_precision} on a CPU"


def _precision(manifest: Manifest, models: Sequence[ModelEntry]) -> list[str]:
    return [f"{manifest.precision}: {_PRECISIONS[manifest.precision]}"] + [
        f"float32 at {size_text(model.size)}, as values pass float16's range: {some(model.float32)}"
        for model in models
        if model.float32
    ]


def _int8(model: ModelEntry) -> list[str]:
    int8 = model.int8
    if int8 is None:
        return []
    source = f"frames of {int8.source}" if int8.source else "verification images"
    return [
        f"{size_text(model.size)}, {int8.onnx}, calibrated on {int8.frames} {source}",
        f"convolutions in floating point: {some(int8.float32) or 'none'}",
    ]


def _measured(model: ModelEntry) -> str:
    """What the choice among CPU backends follows."""
    measured = model.measured
    if measured is None:
        return ""
    times = (f"{one.backend} {one.arithmetic} {one.ms:.1f} ms" for one in measured.timings)
    place = "this CPU" if measured.cpu == cpu.name() else f"another CPU ({measured.cpu})"
    busy = "" if measured.load is None else f", load {measured.load:.1f}"
    return (
        f"{size_text(model.size)}: {', '.join(times)}; at the build, on {place}, "
        f"{measured.threads} thread{'s' if measured.threads > 1 else ''}{busy}"
    )


def _normalisation(image: InputInfo) -> str:
    colour = image.colour.upper()
    if not any(image.mean) and set(image.std) == {1.0}:
        return f"{colour} in 0..255"
    if not any(image.mean) and set(image.std) == {255.0}:
        return f"{colour} in 0..1"
    mean, std = (", ".join(f"{value:g}" for value in part) for part in (image.mean, image.std))
    return f"{colour} in 0..255, less ({mean}), over ({std})"


def _plane(stride: int) -> str:
    return "H×W" if stride == 1 else f"H/{stride}×W/{stride}"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
