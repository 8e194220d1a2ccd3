"""The build itself, stage by stage. Options come checked from :mod:`export.options`.

Large networks set the order: resnet101 holds 2 GB of float32 weights, so each graph goes to disk as
soon as it is made, in a folder beside the output, and the network is let go before a backend loads
the engine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import hashlib
import importlib.metadata
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from torch import nn

from export import cost, graph, plans, precision, verify
from export.errors import BuildError, UsageError
from export.options import Checked
from export.report import Report, count_text, size_text, stages_table, verification_table
from sdk import __version__, engine
from sdk.backends import ORDER
from sdk.errors import MatterError
from sdk.manifest import (
    Head,
    InputInfo,
    Manifest,
    ModelEntry,
    NetworkInfo,
    PlanEntry,
    Verification,
    WeightsInfo,
)
from training import checkpoints, networks

# Weights of an engine made with --random-weights are the same every time.
RANDOM_SEED = 0


@dataclass(frozen=True)
class _Sized:
    """What was built for one size, all of it on disk."""

    entry: ModelEntry
    onnx: Path
    data: Path | None
    emulation: Path | None
    plans: tuple[plans.Plan, ...]
    macs: int
    truth: verify.Reference


def run(checked: Checked, *, random: bool, report: Report | None = None) -> Path:
    """Build, verify, write; returns the engine's path.

    Raises:
        BuildError: see the message; nothing is written.
        UsageError: a size that the network itself refuses.
    """
    report = report or Report()
    report.line(f"Building {checked.output} ({_title(checked)})")
    for runtime, reason in checked.skipped:
        report.line(f"  no plan for {runtime}: {reason}")
    with (
        _errors(),
        tempfile.TemporaryDirectory(
            prefix=f".{checked.output.name}.", dir=checked.output.parent
        ) as name,
    ):
        return _run(checked, random, report, Path(name))


def _run(checked: Checked, random: bool, report: Report, folder: Path) -> Path:
    network, weights = _network(checked, report)
    _check_sizes(checked, network)
    sized = [
        _size(checked, network, size, index, folder, report)
        for index, size in enumerate(checked.sizes)
    ]
    manifest = _manifest(checked, network, weights, sized)
    del network
    gc.collect()  # the network and its exported programs refer to each other

    members: dict[str, bytes | Path] = {}
    for built in sized:
        members[built.entry.onnx] = built.onnx
        if built.data is not None and built.entry.data is not None:
            members[built.entry.data] = built.data
        members |= {
            plan.member(_suffix(checked, built.entry.size)): plan.path for plan in built.plans
        }
    draft = folder / "draft.engine"
    with report.stage("draft engine") as stage:
        engine.write(draft, manifest, members)
        stage.bytes = draft.stat().st_size
    entries, models = _verify(checked, draft, sized, report, steady=not random)
    draft.unlink()
    manifest = dataclasses.replace(manifest, models=models, verification=tuple(entries))
    failed = [entry for entry in entries if entry.status == "failed" and not _optional(entry)]
    if failed:
        _conclude(checked, report, manifest)
        worst = "; ".join(
            f"{entry.artefact} {_text(entry.size)} ({entry.precision}): {entry.reason}"
            for entry in failed
        )
        raise BuildError(f"verification: {worst}; nothing was written. {_remedy(checked, sized)}")
    with report.stage(f"write {checked.output.name}") as stage:
        note = onnx.ModelProto()
        note.metadata_props.add(key="matter", value=manifest.to_json(brief=True))
        for built in sized:
            # Protocol buffers that follow each other are one message: so the manifest joins the
            # graph without reading a gigabyte of weights again.
            with built.onnx.open("ab") as file:
                file.write(note.SerializeToString())
        engine.write(checked.output, manifest, members)
        stage.bytes = checked.output.stat().st_size
    _conclude(checked, report, manifest)
    report.line(f"\nNext: {_next_command(checked.output)}")
    return checked.output


def _network(checked: Checked, report: Report) -> tuple[nn.Module, WeightsInfo]:
    with report.stage("load weights") as stage:
        torch.manual_seed(RANDOM_SEED)
        network = networks.create(checked.model, backbone=checked.backbone, rosta=checked.rosta)
        if checked.weights is None:
            _settle(network, checked.sizes[0])
            weights = WeightsInfo("random", "", True, "")
            stage.note = "random weights: for timing only"
        else:
            loaded = checkpoints.load(network, checked.weights)
            stage.bytes = checked.weights.stat().st_size
            stage.note = str(loaded)
            with checked.weights.open("rb") as file:
                digest = _sha256(file)
            licence = loaded.metadata.get("licence", loaded.metadata.get("license", "not stated"))
            weights = WeightsInfo(checked.weights.name, digest, False, licence)
        network.eval().requires_grad_(False)
    return network, weights


def _settle(network: nn.Module, size: tuple[int, int]) -> None:
    """Give fresh BatchNorms the statistics of two pictures.

    As they are made, they let values grow from layer to layer, past what float16 holds, and an
    engine for timing would be built with half of its layers in float32.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain average
    with torch.no_grad():
        tensors = verify.reference(network.eval(), verify.pictures(size)[:2], size, 2).tensors
        network.train()(*map(torch.from_numpy, tensors[0]))


def _check_sizes(checked: Checked, network: nn.Module) -> None:
    multiple: Any = network.size_multiple
    for height, width in checked.sizes:
        if height % multiple or width % multiple:
            raise UsageError(
                f"--size {height}x{width} does not fit {checked.model}; expected multiples of "
                f"{multiple}"
            )


def _size(
    checked: Checked,
    network: nn.Module,
    size: tuple[int, int],
    index: int,
    folder: Path,
    report: Report,
) -> _Sized:
    """Everything for one size, up to the point where the engine can be put together."""
    label = f" {_text(size)}" if len(checked.sizes) > 1 else ""
    heads: Any = network.heads
    with report.stage(f"PyTorch reference{label}") as stage:
        images = verify.pictures(size)
        truth = verify.reference(network, images, size, checked.batch)
        stage.note = f"{len(images)} verification images"
    with report.stage(f"export ONNX{label}") as stage:
        model = graph.export_onnx(network, heads, size, batch=checked.batch, opset=checked.opset)
        macs = cost.count_macs(model)
        stage.bytes = cost.weight_bytes(model)
        stage.note = f"opset {checked.opset}, {len(model.graph)} operators, {count_text(macs)} MACs"
    name = "model.onnx" if index == 0 else f"model-{_text(size)}.onnx"
    with report.stage(f"write {name}") as stage:
        stored = model if checked.precision == "fp32" else precision.store_half(model)
        data = graph.save(stored, folder / name)
        stage.bytes = (folder / name).stat().st_size + (data.stat().st_size if data else 0)
        stage.note = (
            "float32 weights"
            if checked.precision == "fp32"
            else "float16 weights, cast to float32 at load"
        )
        del stored
    source, emulation = _for_gpu(checked, model, truth, folder, label, report)
    del model
    built = []
    for runtime in checked.plans:
        with report.stage(f"plan {runtime}{label}") as stage:
            warnings: list[str] = []
            target = folder / f"{runtime}-{_text(size)}.plan"
            plan = plans.build(runtime, source, target, warn=warnings.append)
            stage.bytes = target.stat().st_size
            capability = plan.compute_capability
            where = f"compute capability {capability}" if capability else "any GPU"
            stage.note = f"{runtime} {plan.version}, {where}"
        for warning in dict.fromkeys(warnings):
            report.line(f"  {runtime}: {warning}")
        built.append(plan)
    _discard(source)
    entry = ModelEntry(size, name, data.name if data else None)
    return _Sized(entry, folder / name, data, emulation, tuple(built), macs, truth)


def _for_gpu(
    checked: Checked,
    model: ir.Model,
    truth: verify.Reference,
    folder: Path,
    label: str,
    report: Report,
) -> tuple[Path, Path | None]:
    """The strongly typed graph for plans, and its emulation for verification (both files)."""
    source = folder / f"typed-{_text(truth.size)}.onnx"
    if checked.precision == "fp32":
        if checked.plans:
            graph.save(model, source)
        return source, None
    half = precision.HALVES[checked.precision]
    keep = precision.protected(model, half)
    large: set[str] = set()
    if half == ir.DataType.FLOAT16:  # bfloat16 reaches as far as float32
        with report.stage(f"measure ranges{label}") as stage:
            ranges = _ranges(model, truth, folder)
            large = precision.too_large(model, ranges)
            top = max(ranges, key=lambda name: ranges[name], default="")
            stage.note = f"largest {ranges.get(top, 0.0):.3g}, float16 holds 65504"
        if large:
            named = [node.name or "" for node in model.graph if node.name in large]
            report.line(f"  float32, since values pass {precision.LIMIT:.0e}: {_some(named)}")
    with report.stage(f"{half.name.lower()} graph{label}") as stage:
        typed = precision.typed(model, half, keep | large)
        if checked.plans:
            graph.save(typed, source)
        emulation = folder / f"emulated-{_text(truth.size)}.onnx"
        graph.save(precision.emulated(typed, half), emulation)
        stage.bytes = cost.weight_bytes(typed)
        stage.note = f"{len(keep | large)} of {len(model.graph)} operators stay float32"
    return source, emulation


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


def _verify(
    checked: Checked, draft: Path, sized: list[_Sized], report: Report, *, steady: bool
) -> tuple[list[Verification], tuple[ModelEntry, ...]]:
    entries: list[Verification] = []
    models: list[ModelEntry] = []
    runtimes = {plan.runtime for built in sized for plan in built.plans}
    names = [name for name in ORDER if name not in plans.MODULES or name in runtimes]
    stored = "float32" if checked.precision == "fp32" else "float16 weights"
    half = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}[checked.precision]
    with contextlib.closing(engine.EngineFile.open(draft)) as opened:
        for built in sized:
            entry, size = built.entry, _text(built.entry.size)
            label = f" {size}" if len(sized) > 1 else ""
            if built.emulation is not None:
                with report.stage(f"verify {half} graph{label}") as stage:
                    run_emulation = verify.session(built.emulation)
                    entries.append(
                        verify.compare(
                            f"{half} graph", half, run_emulation, built.truth, steady=steady
                        )
                    )
                    stage.note = entries[-1].status
                    del run_emulation
                _discard(built.emulation)
            for name in reversed(names):
                with report.stage(f"verify {name}{label}") as stage:
                    of = half if name in plans.MODULES else stored
                    entries.append(
                        verify.backend(opened, entry, name, of, built.truth, steady=steady)
                    )
                    stage.note = entries[-1].status
            with report.stage(f"verify openvino bfloat16{label}") as stage:
                outcome = verify.cpu_bfloat16(opened, entry, built.truth, steady=steady)
                stage.note = (
                    "no bfloat16 on this CPU, or no OpenVINO"
                    if outcome is None
                    else outcome[0].reason
                )
            if outcome is not None:
                entries.append(outcome[0])
                if outcome[1]:
                    entry = dataclasses.replace(entry, cpu_precision="bfloat16")
            models.append(entry)
    return entries, tuple(models)


def _remedy(checked: Checked, sized: Sequence[_Sized]) -> str:
    ties = max(built.truth.ties for built in sized)
    if ties > verify.MANY_TIES:
        return (
            f"The network's glance classes tie at {ties:.0%} of the pixels, so its matte is "
            "arbitrary in any arithmetic: use trained --weights"
        )
    if checked.precision == "fp32":
        return "Try another --opset"
    return f"Build without --{checked.precision}"


def _optional(entry: Verification) -> bool:
    """bfloat16 on a CPU is an offer: past its bound it is not taken, and the build goes on."""
    return entry.artefact == "openvino" and entry.precision == "bfloat16"


def _manifest(
    checked: Checked, network: nn.Module, weights: WeightsInfo, sized: list[_Sized]
) -> Manifest:
    spec: Any = network.input_spec
    multiple: Any = network.size_multiple
    heads: Any = network.heads
    return Manifest(
        matter=__version__,
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        network=NetworkInfo(
            checked.model,
            checked.backbone,
            checked.rosta,
            sum(parameter.numel() for parameter in network.parameters()),
            {_text(built.entry.size): built.macs // checked.batch for built in sized},
        ),
        input=InputInfo(
            name=graph.INPUT, colour=spec.colour, mean=spec.mean, std=spec.std, multiple=multiple
        ),
        heads=tuple(Head(name, channels) for name, channels in heads.items()),
        fusion=str(network.fusion),
        batch=checked.batch,
        precision=checked.precision,
        models=tuple(built.entry for built in sized),
        plans=tuple(
            PlanEntry(
                plan.runtime,
                plan.version,
                plan.compute_capability,
                built.entry.size,
                plan.member(_suffix(checked, built.entry.size)),
            )
            for built in sized
            for plan in built.plans
        ),
        weights=weights,
        versions=_versions(checked),
    )


def _versions(checked: Checked) -> Mapping[str, str]:
    names = [
        "torch",
        "onnx",
        "onnxscript",
        "onnxruntime",
        "openvino",
        *(plans.MODULES[x][0] for x in checked.plans),
    ]
    versions = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _conclude(checked: Checked, report: Report, manifest: Manifest) -> None:
    report.line()
    for line in stages_table(report.stages):
        report.line(line)
    network = manifest.network
    costs = ", ".join(f"{count_text(macs)} at {size}" for size, macs in network.macs.items())
    report.line(
        f"\n{count_text(network.parameters)} parameters; multiply-accumulates an image: {costs}"
    )
    pictures = "the verification images"
    if manifest.weights.random:
        pictures += "; random weights: the heads are judged, the matte means nothing"
    report.line(f"\nAgainst the PyTorch network, mean over {pictures}:")
    for line in verification_table(manifest.verification, sizes=len(checked.sizes) > 1):
        report.line(line)
    if checked.output.is_file() and report.stages[-1].name.startswith("write "):
        report.line(f"\n{checked.output}: {size_text(checked.output.stat().st_size)}")


def _next_command(path: Path) -> str:
    return f"python -m samples.image photo.jpg --engine {shlex.quote(str(path))}"


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Errors of the other packages, and of the disk, as a failed build."""
    try:
        yield
    except (MatterError, checkpoints.CheckpointError) as error:
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


def _some(names: Sequence[str], shown: int = 8) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _sha256(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _suffix(checked: Checked, size: tuple[int, int]) -> tuple[int, int] | None:
    return None if size == checked.sizes[0] else size


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _title(checked: Checked) -> str:
    sizes = ", ".join(map(_text, checked.sizes))
    source = checked.weights.name if checked.weights else "random weights"
    batch = f", batch {checked.batch}" if checked.batch > 1 else ""
    network = f"{checked.model} {checked.backbone} {checked.rosta}"
    return f"{network}, {sizes}{batch}, {checked.precision}, {source}"
