"""``python -m export.info FILE``: show what an engine is.

    python -m export.info gfm.engine
    matter info --json

Shows the manifest, the verification and a summary of each graph's layers; with ``--json`` the
manifest as it is in the file. Nothing of the engine is run. Exit status: 0 shown, 1 no readable
engine, 2 usage.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from matter_sdk.sdk.command_line import Parser, engine_path, run
from matter_sdk.sdk.describe import (
    bytes_text,
    count_text,
    facts,
    layout,
    table,
    text,
    verification_heading,
    verification_table,
)
from matter_sdk.sdk.engine.file import EngineFile
from matter_sdk.sdk.engine.manifest import ModelEntry
from matter_sdk.sdk.errors import printable

if TYPE_CHECKING:
    from matter_sdk.export.graph_summary import Stage, Summary

# Rows of the table of stages, whose smallest are added up; and of that of the largest layers.
_STAGES, _LARGEST = 12, 4
_INDENT = "  "


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run("export.info", lambda: _show(_parse(arguments)))


def _show(given: argparse.Namespace) -> int:
    with EngineFile.open(engine_path(given.file)) as engine:
        shown = engine.manifest.to_json() if given.json else printable("\n".join(describe(engine)))
    try:
        print(shown, flush=True)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        "export.info",
        "Show what an engine is: network, weights, verification, layers.",
        "Exit status: 0 shown, 1 no readable engine, 2 usage.",
    )
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="engine, such as gfm.engine (default: the one that came with the package)",
    )
    parser.add_argument("--json", action="store_true", help="the manifest as it is in the file")
    return parser.parse_args(arguments)


def describe(engine: EngineFile) -> Iterator[str]:
    """Describe an engine, line by line.

    Raises:
        EngineError: a graph that is no ONNX model, or reads something outside the engine.
    """
    manifest = engine.manifest
    size = bytes_text(engine.path.stat().st_size)
    made = manifest.created.replace("T", " ").removesuffix("Z")
    yield f"{engine.path}: {size}, made by Matter SDK {manifest.matter} on {made} UTC"
    yield from _network(engine)
    for name in manifest.parts:
        yield ""
        yield f"── part: {name} " + "─" * 40
        yield from _network(engine.part(name))
    yield ""
    yield "Members"
    lengths = {name: bytes_text(member.bytes) for name, member in manifest.members.items()}
    width = max(map(len, lengths), default=0)
    yield from (f"{_INDENT}{name.ljust(width)}  {size}" for name, size in lengths.items())
    yield "Versions"
    yield _INDENT + ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    yield "The command that builds it"
    yield _INDENT + manifest.build_command(engine.path.name)


def _network(engine: EngineFile) -> Iterator[str]:
    """One network: what its manifest says, its verification, its layers."""
    manifest = engine.manifest
    lines = text([*facts(manifest, manifest.models), *layout(manifest)])
    yield from (_INDENT + line for line in lines.splitlines())
    yield ""
    yield verification_heading(manifest)
    for line in verification_table(manifest.verification, sizes=len(manifest.models) > 1):
        yield _INDENT + line
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnx_ir")):
        yield ""
        yield "The layers need onnx_ir, which is not installed: pip install 'matter-sdk[export]'"
        return
    from matter_sdk.export.graph_summary import summary

    first, *others = manifest.models
    found = summary(engine, first)
    yield ""
    yield from _layers(first, found)
    for model in others:  # the same layers at another size
        yield ""
        yield f"{model.onnx}: the same network; {_counted(summary(engine, model))}"


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
    weights = ", ".join(f"{bytes_text(count)} {kind}" for kind, count in found.bytes.items())
    cast = f" ({found.cast} tensors are cast to float32 at load)" if found.cast else ""
    return f"{sum(found.kinds.values())} operators; constants: {weights}{cast}"


def _shares(macs: int, count: int, found: Summary) -> list[str]:
    """Multiply-accumulates and bytes, each with its share of the whole."""
    every = sum(layer.bytes for layer in found.layers)
    return [
        count_text(macs),
        f"{macs / max(found.macs, 1):.1%}",
        bytes_text(count),
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


if __name__ == "__main__":
    sys.exit(main())
