"""Everything that was built → manifest, members, the ``.engine`` file."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import onnx

from matter_sdk.export import onnx_files
from matter_sdk.export.stages import Built, Context, Graph, Sized, Subject, plans, text
from matter_sdk.sdk import __version__
from matter_sdk.sdk.engine import file as engine
from matter_sdk.sdk.engine.manifest import ExtraInput, Head, InputInfo, Manifest, NetworkInfo
from matter_sdk.training import networks

_LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino")


def pack(context: Context, subject: Subject, sized: Sequence[Sized]) -> Built:
    """Store the weights of all sizes once, and write the network's manifest."""
    network, options = subject.network, context.options
    sized = shared(context, subject, sized)
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
            {text(one.entry.size): one.macs // subject.batch for one in sized},
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
        models=tuple(one.entry for one in sized),
        plans=tuple(entry for one in sized for entry, _ in one.plans),
        weights=subject.weights,
        versions=versions(options.runtimes),
    )
    return Built(manifest, tuple(sized))


def whole(built: Mapping[str, Built]) -> Manifest:
    """The engine's manifest, with those of its parts."""
    parts = {part: network.manifest for part, network in built.items() if part}
    return dataclasses.replace(built[""].manifest, parts=parts)


@contextlib.contextmanager
def draft(context: Context, built: Mapping[str, Built]) -> Iterator[engine.EngineFile]:
    """An engine to verify, which is gone afterwards."""
    path = context.folder / "draft.engine"
    with context.report.stage("draft engine") as stage:
        engine.write(path, whole(built), _members(built))
        stage.bytes = path.stat().st_size
    with contextlib.closing(engine.EngineFile.open(path, trust_plans=True)) as opened:
        yield opened
    path.unlink()


def write(context: Context, built: Mapping[str, Built]) -> None:
    """Write the engine, with each network's manifest in its graphs too."""
    output = context.options.output
    with context.report.stage(f"write {output.name}") as stage:
        for network in built.values():
            note = onnx.ModelProto()
            note.metadata_props.add(key="matter", value=network.manifest.to_json(brief=True))
            for graph in (x for one in network.sized for x in (one.graph, one.int8) if x):
                # Protocol buffers that follow each other are one message: so the manifest joins
                # the graph without reading a gigabyte of weights again.
                with graph.onnx.open("ab") as file:
                    file.write(note.SerializeToString())
        engine.write(output, whole(built), _members(built))
        stage.bytes = output.stat().st_size


def _members(built: Mapping[str, Built]) -> dict[str, Any]:
    return {name: file for network in built.values() for name, file in network.members().items()}


def shared(context: Context, subject: Subject, sized: Sequence[Sized]) -> list[Sized]:
    """Return the same, with the weights that graphs share in one member of the engine."""
    made = list(sized)
    if len(made) < 2:
        return made
    home = context.folder / subject.prefix
    of = f" of {subject.part}" if subject.part else ""
    with context.report.stage(f"share weights{of}") as stage:
        stage.bytes = 0
        data = home / "weights.data"
        if onnx_files.share([one.graph.onnx for one in made], data):
            stage.bytes += data.stat().st_size
            for at, one in enumerate(made):
                entry = dataclasses.replace(one.entry, data=subject.prefix + data.name)
                made[at] = dataclasses.replace(one, graph=Graph(one.graph.onnx, data), entry=entry)
        data = home / "weights-int8.data"
        if onnx_files.share([one.int8.onnx for one in made if one.int8], data):
            stage.bytes += data.stat().st_size
            for at, one in enumerate(made):
                if one.int8 is not None and one.entry.int8 is not None:
                    int8 = dataclasses.replace(one.entry.int8, data=subject.prefix + data.name)
                    made[at] = dataclasses.replace(
                        one,
                        int8=Graph(one.int8.onnx, data),
                        entry=dataclasses.replace(one.entry, int8=int8),
                    )
        stage.note = f"once for {len(made)} sizes"
    return made


def versions(runtimes: Sequence[str]) -> Mapping[str, str]:
    """Return the versions of the libraries that built an engine."""
    found = {}
    for name in (*_LIBRARIES, *(plans.MODULES[runtime][0] for runtime in runtimes)):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
