"""The build itself, stage by stage. Its options are resolved.

An engine holds a network and, for SIM, a part: its patch classifier. Both go through the same
steps. Large networks set their order: resnet101 holds 2 GB of float32 weights, so each graph goes
to disk as soon as it is made, in a folder beside the output, and the networks are let go before a
backend loads the engine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import hashlib
import importlib.metadata
import shlex
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from matter_sdk.export import (
    calibration,
    cost,
    graph,
    pictures,
    plans,
    precision,
    quantise,
    settling,
    timing,
    unpool_plugin,
    verify,
)
from matter_sdk.export.errors import BuildError, UsageError
from matter_sdk.export.options import CLASSIFIED, DEFAULT_SIZE, BuildOptions
from matter_sdk.export.report import (
    Report,
    Stage,
    count_text,
    size_text,
    some,
    stages_table,
    verification_heading,
    verification_table,
)
from matter_sdk.sdk import __version__
from matter_sdk.sdk.backends import ORDER
from matter_sdk.sdk.engine import file as engine
from matter_sdk.sdk.engine.manifest import (
    CPU_ARITHMETIC,
    ExtraInput,
    Head,
    InputInfo,
    Int8Graph,
    Manifest,
    ModelEntry,
    NetworkInfo,
    PlanEntry,
    Verification,
    WeightsFile,
    WeightsInfo,
)
from matter_sdk.sdk.errors import MatterError
from matter_sdk.training import checkpoints, networks
from matter_sdk.training.evaluation import complexity
from matter_sdk.training.weights import released
from torch import nn

if TYPE_CHECKING:
    from matter_sdk.export.pictures import Inputs

# Weights of an engine made with --random-weights are the same every time.
RANDOM_SEED = 0

# The part of an engine that makes the semantic trimap.
CLASSIFIER = "classifier"


@dataclass(frozen=True)
class _Subject:
    """A network to build: the engine's own, whose ``part`` is empty, or a part of the engine.

    ``inputs`` gives the verification inputs of a size, one for each picture, and ``frames`` those
    that INT8 is calibrated on, where the user gave some.
    """

    part: str
    network: Any
    weights: WeightsInfo
    sizes: tuple[tuple[int, int], ...]
    batch: int
    inputs: Callable[[tuple[int, int]], list[Inputs]]
    frames: Callable[[tuple[int, int]], list[Inputs]] | None = None

    @property
    def prefix(self) -> str:
        """What the names of its members begin with."""
        return f"{self.part}/" if self.part else ""

    def label(self, size: tuple[int, int]) -> str:
        """What tells a stage from those of other networks and sizes."""
        words = [self.part] if self.part else []
        words += [_text(size)] if len(self.sizes) > 1 else []
        return "".join(f" {word}" for word in words)


@dataclass(frozen=True)
class _Sized:
    """What was built for one size, all of it on disk."""

    entry: ModelEntry
    label: str
    onnx: Path
    data: Path | None
    emulation: Path | None
    plans: tuple[tuple[str, Path], ...]  # member and file
    int8: tuple[Path, Path | None] | None
    truth: verify.Reference


@dataclass(frozen=True)
class _Built:
    """A network of the engine with all that goes into it."""

    manifest: Manifest
    sized: tuple[_Sized, ...]

    def members(self) -> dict[str, bytes | Path]:
        """Members of the engine, and the files that hold them."""
        files: dict[str, bytes | Path] = {}
        for built in self.sized:
            files[built.entry.onnx] = built.onnx
            if built.data is not None and built.entry.data is not None:
                files[built.entry.data] = built.data
            files.update(built.plans)
            if built.int8 is not None and built.entry.int8 is not None:
                file, data = built.int8
                files[built.entry.int8.onnx] = file
                if data is not None and built.entry.int8.data is not None:
                    files[built.entry.int8.data] = data
        return files


def run(options: BuildOptions, *, report: Report | None = None) -> Path:
    """Build, verify, write; returns the engine's path.

    Raises:
        BuildError: see the message; nothing is written.
        UsageError: a size that the network itself refuses.
    """
    report = report or Report()
    report.line(f"Building {options.output} ({_title(options)})")
    for runtime, reason in options.skipped:
        report.line(f"  no plan for {runtime}: {reason}")
    with (
        _errors(),
        tempfile.TemporaryDirectory(
            prefix=f".{options.output.name}.", dir=options.output.parent
        ) as name,
    ):
        return _run(options, report, Path(name))


def _run(options: BuildOptions, report: Report, folder: Path) -> Path:
    subjects = _subjects(options, report)
    built = {subject.part: _build(options, subject, folder, report) for subject in subjects}
    del subjects
    gc.collect()  # the networks and their exported programs refer to each other

    members = {name: file for network in built.values() for name, file in network.members().items()}
    draft = folder / "draft.engine"
    with report.stage("draft engine") as stage:
        engine.write(draft, _whole(built), members)
        stage.bytes = draft.stat().st_size
    with contextlib.closing(engine.EngineFile.open(draft, trust_plans=True)) as opened:
        for part, network in built.items():
            file = opened.part(part) if part else opened
            built[part] = _verified(options, file, network, report)
    draft.unlink()
    manifest = _whole(built)
    failed = _failures(built)
    if failed:
        _conclude(options, report, manifest)
        raise BuildError(f"verification: {failed}; nothing was written. {_remedy(options, built)}")
    with report.stage(f"write {options.output.name}") as stage:
        for network in built.values():
            note = onnx.ModelProto()
            note.metadata_props.add(key="matter", value=network.manifest.to_json(brief=True))
            graphs = [sized.onnx for sized in network.sized]
            graphs += [sized.int8[0] for sized in network.sized if sized.int8 is not None]
            for path in graphs:
                # Protocol buffers that follow each other are one message: so the manifest joins
                # the graph without reading a gigabyte of weights again.
                with path.open("ab") as graph_file:
                    graph_file.write(note.SerializeToString())
        engine.write(options.output, manifest, members)
        stage.bytes = options.output.stat().st_size
    _conclude(options, report, manifest)
    report.line(f"\nNext: {_next_command(options.output, manifest)}")
    return options.output


def _whole(built: Mapping[str, _Built]) -> Manifest:
    """The engine's manifest with those of its parts."""
    parts = {part: network.manifest for part, network in built.items() if part}
    return dataclasses.replace(built[""].manifest, parts=parts)


def _subjects(options: BuildOptions, report: Report) -> list[_Subject]:
    """The networks, with their weights: the engine's own and then its parts."""
    shown = _Shown()
    parts = []
    classifier = None
    if options.model in CLASSIFIED:
        part = _classifier(options, shown, report)
        classifier = part.network
        parts.append(part)

    @functools.cache  # a semantic trimap takes seconds
    def inputs(size: tuple[int, int]) -> list[Inputs]:
        return pictures.inputs(network, shown[size], size, classifier)

    with report.stage("load weights") as stage:
        torch.manual_seed(RANDOM_SEED)
        network: Any = networks.create(
            options.model,
            backbone=options.backbone,
            rosta=options.rosta,
            without=options.without,
        )
        if not options.weights:
            _settle(network, inputs(_settling_size(options)))
        weights = _load(network, options.weights, stage)
    _check_sizes(options, network)
    frames = None
    if options.calibrate is not None:
        with report.stage("read calibration frames") as stage:
            with_plate = "plate" in networks.inputs(network)
            given = calibration.pictures(options.calibrate, with_plate=with_plate)
            stage.note = f"{len(given)} of {options.calibrate.name}"

        def frames(size: tuple[int, int]) -> list[Inputs]:
            return pictures.inputs(network, given, size, classifier)

    own = _Subject("", network, weights, options.sizes, options.batch, inputs, frames)
    return [own, *parts]


def _classifier(options: BuildOptions, shown: _Shown, report: Report) -> _Subject:
    """The part that makes the semantic trimap: a graph for each size of its windows."""

    def inputs(window: tuple[int, int]) -> list[Inputs]:
        size = next(size for size in options.sizes if window in pictures.window_sizes([size]))
        return pictures.windows(network, shown[size], size, window)

    with report.stage(f"load {CLASSIFIER} weights") as stage:
        torch.manual_seed(RANDOM_SEED)
        network: Any = networks.create(CLASSIFIED[options.model])
        if options.classifier is None:
            size = _settling_size(options)
            largest = pictures.window_sizes([size])[-1]
            _settle(network, pictures.windows(network, shown[size], size, largest))
        files = () if options.classifier is None else (options.classifier,)
        weights = _load(network, files, stage)
    windows = pictures.window_sizes(options.sizes)
    return _Subject(CLASSIFIER, network, weights, windows, 1, inputs)


class _Shown(dict[tuple[int, int], list[pictures.Picture]]):
    """The verification pictures of each size, drawn when they are first asked for."""

    def __missing__(self, size: tuple[int, int]) -> list[pictures.Picture]:
        self[size] = pictures.pictures(size)
        return self[size]


def _settling_size(options: BuildOptions) -> tuple[int, int]:
    """The engine's main size, or the default where that has more pixels: it costs less."""
    height, width = options.sizes[0]
    large = height * width > DEFAULT_SIZE[0] * DEFAULT_SIZE[1]
    return DEFAULT_SIZE if large else options.sizes[0]


def _settle(network: nn.Module, inputs: Sequence[Inputs]) -> None:
    (tensors,) = pictures.batched(inputs, len(inputs))
    settling.settle(network, tuple(map(torch.from_numpy, tensors)))


def _load(network: nn.Module, files: Sequence[Path], stage: Stage) -> WeightsInfo:
    """Fill the network from its checkpoints, or leave its random weights where there are none."""
    if not files:
        stage.note = "random weights: for timing only"
        weights = WeightsInfo("random", "", True, "")
    else:
        loaded = (
            checkpoints.load_ensemble(network, files)
            if len(files) > 1
            else [checkpoints.load(network, files[0])]
        )
        stage.bytes = sum(file.stat().st_size for file in files)
        stage.note = "; ".join(map(str, loaded))
        stated = [one.metadata for one in loaded]
        licences = [one.get("licence", one.get("license", "not stated")) for one in stated]
        first, *more = (WeightsFile(file.name, _sha256(file)) for file in files)
        licence = ", ".join(dict.fromkeys(licences))
        weights = WeightsInfo(first.source, first.sha256, False, licence, tuple(more))
    network.eval().requires_grad_(False)
    return weights


def _check_sizes(options: BuildOptions, network: nn.Module) -> None:
    multiple: Any = network.size_multiple
    for height, width in options.sizes:
        if height % multiple or width % multiple:
            raise UsageError(
                f"--size {height}x{width} does not fit {options.model}; expected multiples of "
                f"{multiple}"
            )


def _build(options: BuildOptions, subject: _Subject, folder: Path, report: Report) -> _Built:
    """All that goes into the engine for one of its networks."""
    home = folder / subject.prefix
    home.mkdir(exist_ok=True)
    network = subject.network
    # INT8 begins with the smallest, where a search for what to keep in floating point costs least.
    kept: frozenset[str] = frozenset()
    by_size = {}
    for size in sorted(subject.sizes, key=lambda size: size[0] * size[1]):
        by_size[size] = _size(options, subject, size, kept, home, report)
        int8 = by_size[size][0].entry.int8
        kept = frozenset(int8.float32 if int8 else ())
    made = [by_size[size] for size in subject.sizes]
    built = _shared(subject, [one for one, _, _ in made], home, report)
    spec = network.input_spec
    names = networks.inputs(network)
    image, *extra = names
    strides = getattr(network, "head_strides", {})
    manifest = Manifest(
        matter=__version__,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        network=NetworkInfo(
            network.name,
            network.backbone,
            network.rosta,
            sum(parameter.numel() for parameter in network.parameters()),
            {_text(one.entry.size): macs // subject.batch for one, macs, _ in made},
            tuple(getattr(network, "without", ())),
        ),
        input=InputInfo(
            name=image,
            colour=spec.colour,
            mean=spec.mean,
            std=spec.std,
            multiple=network.size_multiple,
        ),
        extra_inputs=tuple(ExtraInput(name, names[name]) for name in extra),
        heads=tuple(
            Head(name, channels, strides.get(name, 1)) for name, channels in network.heads.items()
        ),
        fusion=network.fusion,
        batch=subject.batch,
        precision=options.precision,
        models=tuple(one.entry for one in built),
        plans=tuple(plan for _, _, plans_ in made for plan in plans_),
        weights=subject.weights,
        versions=_versions(options),
    )
    return _Built(manifest, tuple(built))


def _shared(
    subject: _Subject, built: Sequence[_Sized], home: Path, report: Report
) -> Sequence[_Sized]:
    """The same, with the weights that graphs of several sizes hold in one member of the engine."""
    if len(built) < 2:
        return built
    of = f" of {subject.part}" if subject.part else ""
    with report.stage(f"share weights{of}") as stage:
        stage.bytes = 0
        data = home / "weights.data"
        if graph.share([one.onnx for one in built], data):
            entry = subject.prefix + data.name
            built = [
                dataclasses.replace(
                    one, data=data, entry=dataclasses.replace(one.entry, data=entry)
                )
                for one in built
            ]
            stage.bytes += data.stat().st_size
        data = home / "weights-int8.data"
        if graph.share([one.int8[0] for one in built if one.int8], data):
            entry = subject.prefix + data.name
            built = [
                dataclasses.replace(
                    one,
                    int8=one.int8 and (one.int8[0], data),
                    entry=dataclasses.replace(
                        one.entry,
                        int8=one.entry.int8 and dataclasses.replace(one.entry.int8, data=entry),
                    ),
                )
                for one in built
            ]
            stage.bytes += data.stat().st_size
        stage.note = f"once for {len(built)} sizes"
    return built


def _size(
    options: BuildOptions,
    subject: _Subject,
    size: tuple[int, int],
    kept: frozenset[str],
    home: Path,
    report: Report,
) -> tuple[_Sized, int, list[PlanEntry]]:
    """Everything for one size, up to the point where the engine can be put together.

    ``kept``: what another size's INT8 graph has in floating point.

    Returns:
        What was built, the multiply-accumulates of a run, and the manifest's entries of the plans.
    """
    label = subject.label(size)
    network = subject.network
    with report.stage(f"PyTorch reference{label}") as stage:
        single = subject.inputs(size)
        truth = verify.reference(network, pictures.batched(single, subject.batch), size)
        stage.note = f"{len(single)} verification images"
    with report.stage(f"export ONNX{label}") as stage:
        model = graph.export_onnx(
            network,
            network.heads,
            size,
            inputs=networks.inputs(network),
            strides=getattr(network, "head_strides", {}),
            batch=subject.batch,
            opset=options.opset,
        )
        macs = cost.count_macs(model)
        stage.bytes = cost.weight_bytes(model)
        stage.note = f"opset {options.opset}, {len(model.graph)} operators, {count_text(macs)} MACs"
    main = size == subject.sizes[0]
    name = "model.onnx" if main else f"model-{_text(size)}.onnx"
    with report.stage(f"write {subject.prefix}{name}") as stage:
        stored = model if options.precision == "fp32" else precision.store_half(model)
        data = graph.save(stored, home / name)
        stage.bytes = (home / name).stat().st_size + (data.stat().st_size if data else 0)
        stage.note = (
            "float32 weights"
            if options.precision == "fp32"
            else "float16 weights, cast to float32 at load"
        )
        del stored
    source, emulation, large = _for_gpu(options, model, truth, home, label, report)
    int8, files8 = None, None
    if options.int8 and not subject.part:
        int8, files8 = _int8(options, subject, model, truth, kept, home, report)
    del model
    files, entries = [], []
    for runtime in options.runtimes:
        with report.stage(f"plan {runtime}{label}") as stage:
            warnings: list[str] = []
            target = home / f"{runtime}-{_text(size)}.plan"
            given: Path = source
            plugins: tuple[str, ...] = ()
            if options.unpool == "plugin" and runtime == "tensorrt":
                given, plugins = unpool_plugin.write(source), (unpool_plugin.NAME,)
            plan = plans.build(runtime, given, target, warn=warnings.append, plugins=plugins)
            stage.bytes = target.stat().st_size
            capability = plan.compute_capability
            where = f"compute capability {capability}" if capability else "any GPU"
            stage.note = ", ".join((f"{runtime} {plan.version}", where, *plugins))
            if given != source:
                _discard(given)
        for warning in dict.fromkeys(warnings):
            report.line(f"  {runtime}: {warning}")
        member = subject.prefix + plan.member(None if main else size)
        files.append((member, plan.path))
        entries.append(PlanEntry(runtime, plan.version, capability, size, member, plugins))
    _discard(source)
    entry = ModelEntry(
        size,
        subject.prefix + name,
        subject.prefix + data.name if data else None,
        float32=large,
        int8=int8,
    )
    built = _Sized(entry, label, home / name, data, emulation, tuple(files), files8, truth)
    return built, macs, entries


def _for_gpu(
    options: BuildOptions,
    model: ir.Model,
    truth: verify.Reference,
    folder: Path,
    label: str,
    report: Report,
) -> tuple[Path, Path | None, tuple[str, ...]]:
    """The strongly typed graph for plans, its emulation for verification (both files), and the
    operators that are float32 in them since their values are too large."""
    source = folder / f"typed-{_text(truth.size)}.onnx"
    if options.precision == "fp32":
        if options.runtimes:
            graph.save(model, source)
        return source, None, ()
    half = precision.HALVES[options.precision]
    keep = precision.protected(model, half)
    named: tuple[str, ...] = ()
    if half == ir.DataType.FLOAT16:  # bfloat16 reaches as far as float32
        with report.stage(f"measure ranges{label}") as stage:
            ranges = _ranges(model, truth, folder)
            large = precision.too_large(model, ranges) - keep
            top = max(ranges, key=lambda name: ranges[name], default="")
            stage.note = f"largest {ranges.get(top, 0.0):.3g}, float16 holds 65504"
        keep |= large
        named = tuple(node.name or "" for node in model.graph if node.name in large)
        if named:
            report.line(f"  float32, since values pass {precision.LIMIT:.0e}: {some(named)}")
    with report.stage(f"{half.name.lower()} graph{label}") as stage:
        typed = precision.typed(model, half, keep)
        if options.runtimes:
            graph.save(typed, source)
        emulation = folder / f"emulated-{_text(truth.size)}.onnx"
        graph.save(precision.emulated(typed, half), emulation)
        stage.bytes = cost.weight_bytes(typed)
        kinds = Counter(node.op_type for node in model.graph if node.name in keep)
        shown = [f"{count} {kind}" for kind, count in kinds.most_common(4)]
        shown += ["…"] if len(kinds) > 4 else []
        stage.note = f"{len(keep)} of {len(model.graph)} operators stay float32"
        stage.note += f": {', '.join(shown)}" if shown else ""
    return source, emulation, named


def _int8(
    options: BuildOptions,
    subject: _Subject,
    model: ir.Model,
    truth: verify.Reference,
    kept: frozenset[str],
    home: Path,
    report: Report,
) -> tuple[Int8Graph, tuple[Path, Path | None]]:
    """The graph in 8 bits: its entry in the manifest, and its files."""
    size, label = truth.size, subject.label(truth.size)
    names = tuple(networks.inputs(subject.network))
    given = None if subject.frames is None else subject.frames(size)
    tensors = truth.tensors if given is None else pictures.batched(given, subject.batch)
    frames = (dict(zip(names, inputs, strict=True)) for inputs in tensors)
    count = len(subject.inputs(size)) if given is None else len(given)
    steady = not subject.weights.random
    bound = verify.share_bound("int8", steady=steady)

    name = "model-int8.onnx" if size == subject.sizes[0] else f"model-int8-{_text(size)}.onnx"
    with (
        report.stage(f"quantise{label}") as stage,
        tempfile.TemporaryDirectory(dir=home) as scratch,
    ):
        quantiser = quantise.Quantiser(model, frames, Path(scratch))
        trial = Path(scratch) / "trial.onnx"

        def error(float32: frozenset[str]) -> float:
            quantiser.write(float32, trial)
            return verify.share(verify.session(trial, fused=True), truth)

        float32, reached = quantise.search(quantiser, error, bound, quantiser.always | kept)
        stage.note = (
            f"{count} frames; SAD {reached:.1%} of the matte, {quantiser.part(float32):.0%} of the "
            "MACs stay float"
        )
        if reached > bound:
            raise BuildError(
                f"--int8: with {quantiser.part(float32):.0%} of the multiply-accumulates in "
                f"floating point SAD is still {reached:.0%} of the matte; expected at most "
                f"{bound:.0%}. Build without --int8, or give frames like yours with --calibrate"
            )
        data = quantiser.write(float32, home / name)
        stage.bytes = (home / name).stat().st_size + (data.stat().st_size if data else 0)
    listed = quantiser.ordered(float32)
    found = quantiser.ordered(float32 - quantiser.always)
    report.line(
        f"  {len(listed)} convolutions stay float; found by search: {some(found) or 'none'}"
    )
    entry = Int8Graph(
        subject.prefix + name,
        subject.prefix + data.name if data else None,
        listed,
        count,
        "" if options.calibrate is None else options.calibrate.name,
    )
    return entry, (home / name, data)


def _ranges(model: ir.Model, truth: verify.Reference, folder: Path) -> dict[str, float]:
    """Largest magnitude of each value of the float32 graph over the verification images."""
    path = folder / "ranges.onnx"
    measured, names = precision.with_ranges(model)
    graph.save(measured, path)
    run = verify.session(path)
    worst = np.zeros(len(names))
    for inputs in truth.tensors:
        # maximum(), unlike max(), lets a NaN through: it must count as too large
        worst = np.maximum(worst, [float(value) for value in run(*inputs).values()])
    _discard(path)
    return dict(zip(names, worst.tolist(), strict=True))


def _verified(
    options: BuildOptions, file: engine.EngineFile, built: _Built, report: Report
) -> _Built:
    """The same with the verification of each size, as the engine's own backends run it."""
    entries: list[Verification] = []
    models: list[ModelEntry] = []
    steady = not built.manifest.weights.random
    runtimes = {plan.runtime for plan in built.manifest.plans}
    names = [name for name in ORDER if name not in plans.MODULES or name in runtimes]
    stored = "float32" if options.precision == "fp32" else "float16 weights"
    half = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}[options.precision]
    for sized in built.sized:
        entry, label = sized.entry, sized.label
        if sized.emulation is not None:
            with report.stage(f"verify {half} graph{label}") as stage:
                run_emulation = verify.session(sized.emulation)
                entries.append(
                    verify.compare(f"{half} graph", half, run_emulation, sized.truth, steady=steady)
                )
                stage.note = entries[-1].status
                del run_emulation
            _discard(sized.emulation)
        judged = [(name, half if name in plans.MODULES else stored) for name in reversed(names)]
        if verify.cpu_has_bfloat16():
            judged.append(("openvino", "bfloat16 unasked"))
        if entry.int8 is not None:
            judged += [("onnxruntime", "int8"), ("openvino", "int8")]
            judged += [("openvino", "int8 bfloat16")] if verify.cpu_has_bfloat16() else []
        choices = []
        for name, of in judged:
            kind = "" if of in (stored, half) else f" {of.removesuffix(' unasked')}"
            with report.stage(f"verify {name}{kind}{label}") as stage:
                one = verify.backend(file, entry, name, of, sized.truth, steady=steady)
                if one.status == "passed" and name in CPU_ARITHMETIC:
                    choices.append((name, one.precision))
                elif one.status == "failed" and _optional(one):
                    one = dataclasses.replace(one, reason=f"{one.reason}; not used")
                stage.note = one.status
                entries.append(one)
        if choices:
            with report.stage(f"time CPU backends{label}") as stage:
                measured = timing.measure(file, entry, choices, sized.truth.tensors[0])
                best, *others = (
                    f"{x.backend} {x.arithmetic} {x.ms:.1f} ms" for x in measured.timings
                )
                stage.note = best
            if others:
                report.line(f"  not {', '.join(others)}")
            brief = timing.prefers(measured, "openvino", "bfloat16")
            entry = dataclasses.replace(
                entry, measured=measured, cpu_precision="bfloat16" if brief else "float32"
            )
        models.append(entry)
    manifest = dataclasses.replace(
        built.manifest, models=tuple(models), verification=tuple(entries)
    )
    return dataclasses.replace(built, manifest=manifest)


def _failures(built: Mapping[str, _Built]) -> str:
    """What is past its bound, in words; empty where nothing is."""
    return "; ".join(
        f"{part + ' ' if part else ''}{entry.artefact} {_text(entry.size)} ({entry.precision}): "
        f"{entry.reason}"
        for part, network in built.items()
        for entry in network.manifest.verification
        if entry.status == "failed" and not _optional(entry)
    )


def _remedy(options: BuildOptions, built: Mapping[str, _Built]) -> str:
    ties = max(sized.truth.ties for network in built.values() for sized in network.sized)
    if ties > verify.MANY_TIES:
        return (
            f"The network's glance classes tie at {ties:.0%} of the pixels, so its matte is "
            "arbitrary in any arithmetic: use trained --weights"
        )
    if options.int8 and any(
        entry.status == "failed" and "int8" in entry.precision
        for network in built.values()
        for entry in network.manifest.verification
    ):
        return "Build without --int8, or give frames like yours with --calibrate"
    if options.precision == "fp32":
        return "Try another --opset"
    return f"Build without --{options.precision}"


def _optional(entry: Verification) -> bool:
    """bfloat16 on a CPU is an offer: past its bound it is not taken, and the build goes on."""
    return entry.artefact == "openvino" and "bfloat16" in entry.precision


def _versions(options: BuildOptions) -> Mapping[str, str]:
    names = [
        "torch",
        "onnx",
        "onnxscript",
        "onnxruntime",
        "openvino",
        *(plans.MODULES[x][0] for x in options.runtimes),
    ]
    versions = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _conclude(options: BuildOptions, report: Report, manifest: Manifest) -> None:
    report.line()
    for line in stages_table(report.stages):
        report.line(line)
    everything = {"": manifest, **manifest.parts}
    report.line()
    for part, one in everything.items():
        report.line(f"{part + ': ' if part else ''}{_costs(one.network, whole=not part)}")
    for part, one in everything.items():
        report.line(f"\n{part + ': ' if part else ''}{verification_heading(one)}")
        for line in verification_table(one.verification, sizes=len(one.models) > 1):
            report.line(line)
    if options.output.is_file() and report.stages[-1].name.startswith("write "):
        report.line(f"\n{options.output}: {size_text(options.output.stat().st_size)}")


def _costs(network: NetworkInfo, *, whole: bool) -> str:
    """Parameters and multiply-accumulates, of the engine's own network as papers count them too."""
    parameters = f"{count_text(network.parameters)} parameters"
    macs = [f"{count_text(count)} at {size}" for size, count in network.macs.items()]
    unused = released.unused_parameters(network.backbone) if whole else 0
    if unused:
        count = network.parameters + unused * (3 if network.rosta == "en-median" else 1)
        parameters += f" ({count_text(count)} with what released files hold and nothing reads)"
    papers = _text(complexity.PAPERS_SIZE)
    if whole and papers not in network.macs:
        with torch.device("meta"):
            hollow = networks.create(
                network.name,
                backbone=network.backbone,
                rosta=network.rosta,
                without=network.without,
            ).eval()
        there = complexity.multiply_accumulates(hollow, complexity.PAPERS_SIZE)
        macs.append(f"{count_text(there)} at {papers}, as the papers count")
    return (
        f"{parameters}; multiply-accumulates {'an image' if whole else 'a window'}: "
        + ", ".join(macs)
    )


def _next_command(path: Path, manifest: Manifest) -> str:
    beside = {"trimap": " --trimap trimap.png", "plate": " --plate empty.jpg"}
    flags = "".join(flag for name, flag in beside.items() if name in manifest.inputs)
    return f"python -m samples.image photo.jpg{flags} --engine {shlex.quote(str(path))}"


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Errors of the other packages, and of the disk, as a failed build."""
    try:
        yield
    except (BuildError, UsageError):
        raise
    except MatterError as error:
        raise BuildError(str(error)) from error
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise BuildError(f"{error.strerror or error}{place}; nothing was written") from error
    except MemoryError as error:
        raise BuildError(
            "out of memory; nothing was written. Build a smaller --size or a lighter --backbone"
        ) from error


def _discard(path: Path) -> None:
    """Delete a graph and its external weights, which may be gigabytes."""
    path.unlink(missing_ok=True)
    path.with_name(path.name + ".data").unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _title(options: BuildOptions) -> str:
    words = [options.model, options.backbone]
    words += [] if options.rosta == "none" else [options.rosta]
    words += [f"without {part}" for part in options.without]
    words = [" ".join(words), ", ".join(map(_text, options.sizes))]
    words += [f"batch {options.batch}"] if options.batch > 1 else []
    words += [options.precision, "int8" if options.int8 else ""]
    words = [*filter(None, words), ", ".join(file.name for file in options.weights)]
    return ", ".join(word or "random weights" for word in words)
