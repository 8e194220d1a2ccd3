"""``python -m export.info FILE``: what an engine is, for a person.

    python -m export.info gfm.engine
    python -m export.info gfm.engine --json

The manifest, the verification and a summary of each graph's layers; with ``--json`` the manifest
as it stands in the file. Nothing of the engine is run, and onnx is all that it needs. Exit status:
0 shown, 1 no readable engine, 2 usage.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from matter_sdk.export.progress import (
    count_text,
    size_text,
    some,
    table,
    verification_heading,
    verification_table,
)
from matter_sdk.sdk.command_line import Parser, UsageError, run
from matter_sdk.sdk.engine.file import EngineFile
from matter_sdk.sdk.engine.manifest import FUSIONS, InputInfo, Manifest, ModelEntry
from matter_sdk.sdk.errors import printable

if TYPE_CHECKING:
    from matter_sdk.export.graph_summary import Stage, Summary

# Rows of the table of stages, whose smallest are added up; and of that of the largest layers.
_STAGES, _LARGEST = 12, 4
_INDENT = "  "


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return run("export.info", lambda: _show(_parse(arguments)))


def _show(given: argparse.Namespace) -> int:
    with EngineFile.open(given.file) as engine:
        text = engine.manifest.to_json() if given.json else "\n".join(describe(engine))
    try:
        print(text if given.json else printable(text), flush=True)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        "export.info",
        "Show what an engine is: network, weights, verification, layers.",
        "Exit status: 0 shown, 1 no readable engine, 2 usage.",
    )
    parser.add_argument("file", metavar="FILE", help="engine, such as gfm.engine")
    parser.add_argument("--json", action="store_true", help="the manifest as it is in the file")
    given = parser.parse_args(arguments)
    if not given.json and importlib.util.find_spec("onnx_ir") is None:
        raise UsageError(
            "not installed: onnx_ir, which reads the layers; expected it: pip install "
            "'matter-sdk[export]' (--json needs nothing)"
        )
    return given


def describe(engine: EngineFile) -> Iterator[str]:
    """Lines that tell what an engine is.

    Raises:
        EngineError: a graph that is no ONNX model, or refers to something outside the engine.
    """
    manifest = engine.manifest
    size = size_text(engine.path.stat().st_size)
    made = manifest.created.replace("T", " ").removesuffix("Z")
    yield f"{engine.path}: {size}, made by Matter SDK {manifest.matter} on {made} UTC"
    yield from _network(engine)
    for name in manifest.parts:
        yield ""
        yield f"── part: {name} " + "─" * 40
        yield from _network(engine.part(name))
    yield ""
    yield "Members"
    lengths = [(name, size_text(member.bytes)) for name, member in manifest.members.items()]
    yield from _aligned(lengths)
    yield "Versions"
    yield _INDENT + ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    yield "The command that builds it"
    yield _INDENT + manifest.build_command(engine.path.name)


def _network(engine: EngineFile) -> Iterator[str]:
    """One network: what its manifest says, its verification, its layers."""
    from matter_sdk.export.graph_summary import summary

    manifest = engine.manifest
    if manifest.weights.random:
        yield "*** RANDOM WEIGHTS: for timing only, its results mean nothing ***"
    yield from _aligned(list(_facts(manifest)))
    yield ""
    yield verification_heading(manifest)
    for line in verification_table(manifest.verification, sizes=len(manifest.models) > 1):
        yield _INDENT + line
    first, *others = manifest.models
    found = summary(engine, first)
    yield ""
    yield from _layers(first, found)
    for model in others:  # the same layers at another size
        yield ""
        yield f"{model.onnx}: the same network; {_counted(summary(engine, model))}"


def _facts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    network, weights = manifest.network, manifest.weights
    words = [network.name, f"backbone {network.backbone}"]
    words += [] if network.rosta == "none" else [f"RoSTa {network.rosta}"]
    words += [f"without {part}" for part in network.without]
    yield "network", f"{', '.join(words)}; {count_text(network.parameters)} parameters"
    if weights.random:
        yield "weights", "RANDOM"
    else:
        yield "weights", f"{', '.join(weights.sources())}; licence: {weights.licence}"
        for digest in (weights.sha256, *(file.sha256 for file in weights.more)):
            yield "", f"SHA-256 {digest}"
    yield "inputs", f"{manifest.input.name} 3×H×W: {_normalisation(manifest.input)}"
    for extra in manifest.extra_inputs:
        yield "", f"{extra.name} {extra.channels}×H×W"
    heads = [f"{head.name} {head.channels}×{_plane(head.stride)}" for head in manifest.heads]
    if manifest.fusion in FUSIONS[manifest.fusion]:
        rule = f"{manifest.fusion} is the result"
    else:
        rule = f"joined to alpha by the rule {manifest.fusion}"
    yield "heads", f"{', '.join(heads)}; {rule}"
    for index, model in enumerate(manifest.models):
        macs = count_text(network.macs.get(_text(model.size), 0))
        row = f"{_text(model.size)}, {macs} multiply-accumulates; on a CPU in {model.cpu_precision}"
        yield "" if index else "sizes", row
    yield "", f"sides are multiples of {manifest.input.multiple}; {manifest.batch} in a run"
    yield "precision", _precision(manifest)
    for model in manifest.models:
        if model.float32:
            kept = some(model.float32)
            yield "", f"float32 at {_text(model.size)}, as values pass float16's range: {kept}"
    yield from _on_cpu(manifest)
    for index, plan in enumerate(manifest.plans):
        capability = plan.compute_capability
        gpu = f"compute capability {capability}" if capability else "any GPU"
        row = f"{plan.runtime} {plan.version}, {gpu}, {_text(plan.size)}"
        yield "" if index else "plans", row
    if not manifest.plans:
        yield "plans", "none"


def _on_cpu(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """INT8 graphs, and what the build measured of CPU backends."""
    for model in manifest.models:
        if model.int8 is not None:
            int8 = model.int8
            source = f"frames of {int8.source}" if int8.source else "verification images"
            calibrated = f"calibrated on {int8.frames} {source}"
            yield "INT8", f"{_text(model.size)}, {int8.onnx}, {calibrated}"
            yield "", f"convolutions in floating point: {some(int8.float32) or 'none'}"
    for model in manifest.models:
        if model.measured is not None:
            busy = "" if model.measured.load is None else f", load {model.measured.load:.1f}"
            place = f"{model.measured.cpu}, {model.measured.threads} threads{busy}"
            yield "CPU", f"{_text(model.size)}, on {place}"
            for one in model.measured.timings:
                yield "", f"{one.backend} {one.arithmetic}: {one.ms:.1f} ms"


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


def _precision(manifest: Manifest) -> str:
    return {
        "fp32": "fp32: float32 weights and plans",
        "fp16": "fp16: plans in float16, stored weights in float16",
        "bf16": "bf16: plans in bfloat16, stored weights in float16",
        "int8": "int8: 8-bit weights and activations",
    }[manifest.precision]


def _layers(model: ModelEntry, found: Summary) -> Iterator[str]:
    yield f"{model.onnx}: {_counted(found)}"
    kinds = ", ".join(f"{count} {kind}" for kind, count in found.kinds.items())
    yield f"{_INDENT}operators: {kinds}"
    stages = _largest_stages(found.stages())
    rows = [
        [one.name or "(top level)", str(one.operators), *_shares(one.macs, one.bytes, found)]
        for one in stages
    ]
    header = ("stage", "operators", "MACs", "", "weights", "")
    for line in table(header, rows):
        yield _INDENT + line
    largest = sorted(found.layers, key=lambda layer: -layer.bytes)[:_LARGEST]
    rows = [
        [
            layer.name,
            "×".join(map(str, layer.weight)),
            "×".join(map(str, layer.shape)),
            *_shares(layer.macs, layer.bytes, found),
        ]
        for layer in largest
    ]
    for line in table(("largest layers", "kernel", "result", "MACs", "", "weights", ""), rows):
        yield _INDENT + line


def _counted(found: Summary) -> str:
    weights = ", ".join(f"{size_text(count)} {kind}" for kind, count in found.bytes.items())
    cast = f" ({found.cast} tensors are cast to float32 at load)" if found.cast else ""
    return f"{sum(found.kinds.values())} operators; constants: {weights}{cast}"


def _shares(macs: int, count: int, found: Summary) -> list[str]:
    """Multiply-accumulates and bytes, each with its share of the whole."""
    every = sum(layer.bytes for layer in found.layers)
    return [
        count_text(macs),
        f"{macs / max(found.macs, 1):.1%}",
        size_text(count),
        f"{count / max(every, 1):.1%}",
    ]


def _largest_stages(stages: Sequence[Stage]) -> list[Stage]:
    """The stages in their order; the smallest of many, and those without weights, added up."""
    from matter_sdk.export.graph_summary import Stage

    costly = [stage for stage in stages if stage.macs or stage.bytes]
    kept = sorted(costly, key=lambda stage: (-stage.macs, -stage.bytes))[:_STAGES]
    others = [stage for stage in stages if stage not in kept]
    if not others:
        return list(stages)
    rest = Stage(
        f"{len(others)} others",
        sum(stage.operators for stage in others),
        sum(stage.bytes for stage in others),
        sum(stage.macs for stage in others),
    )
    return [*(stage for stage in stages if stage in kept), rest]


def _aligned(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        yield f"{_INDENT}{name.ljust(width)}  {text}".rstrip()


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


if __name__ == "__main__":
    sys.exit(main())
