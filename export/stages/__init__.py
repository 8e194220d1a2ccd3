"""The stages of a build, in the order that :mod:`export.pipeline` lists: context in, artefact out.

Large networks set the rules: resnet101 holds 2 GB of float32 weights, so each graph goes to disk as
soon as it is made, in a folder beside the output.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from matter_sdk.export.examples import Inputs
    from matter_sdk.export.options import BuildOptions
    from matter_sdk.export.progress import Report
    from matter_sdk.export.stages.verify import Reference
    from matter_sdk.sdk.engine.manifest import (
        Int8Graph,
        Manifest,
        ModelEntry,
        PlanEntry,
        WeightsInfo,
    )

Size = tuple[int, int]  # height and width


@dataclass(frozen=True)
class Context:
    """A build: its resolved options, what it tells a person, and the folder of its files."""

    options: BuildOptions
    report: Report
    folder: Path


@dataclass(frozen=True)
class Subject:
    """A network to build: the engine's own, or a part of the engine, such as SIM's classifier.

    Attributes:
        part: its name in the engine; empty for the engine's own network.
        network: the PyTorch module, in eval mode.
        weights: where they come from.
        sizes: the main one first.
        batch: images in one run.
        inputs: gives the verification inputs of a size, one for each picture.
        frames: gives those that INT8 is calibrated on, where the user named some.
    """

    part: str
    network: Any
    weights: WeightsInfo
    sizes: tuple[Size, ...]
    batch: int
    inputs: Callable[[Size], list[Inputs]]
    frames: Callable[[Size], list[Inputs]] | None = None

    @property
    def prefix(self) -> str:
        """What the names of its members begin with."""
        return f"{self.part}/" if self.part else ""

    def label(self, size: Size) -> str:
        """What tells a stage from those of other networks and sizes."""
        words = [self.part] if self.part else []
        words += [text(size)] if len(self.sizes) > 1 else []
        return "".join(f" {word}" for word in words)

    def name(self, stem: str, size: Size) -> str:
        """The name of a graph's file: ``model.onnx`` for the main size, ``model-64x96.onnx``."""
        return f"{stem}.onnx" if size == self.sizes[0] else f"{stem}-{text(size)}.onnx"


@dataclass(frozen=True)
class Graph:
    """A graph on disk, with its file of external weights, if any."""

    onnx: Path
    data: Path | None

    @property
    def bytes(self) -> int:
        """Both files."""
        return sum(path.stat().st_size for path in (self.onnx, self.data) if path is not None)

    def members(self, onnx: str, data: str | None) -> dict[str, Path]:
        """The files by their names in the engine."""
        return {onnx: self.onnx} | ({data: self.data} if data and self.data else {})


@dataclass(frozen=True)
class Sized:
    """What was built for one size, all of it on disk.

    Attributes:
        entry: of the manifest.
        label: see ``Subject.label``.
        macs: multiply-accumulates of one run.
        truth: the PyTorch network's answers.
        graph: as it is stored.
        int8: the graph in 8 bits, if one was asked for.
        emulation: the half-precision graph in float32 arithmetic, for verification.
        plans: the manifest's entry and the file of each.
    """

    entry: ModelEntry
    label: str
    macs: int
    truth: Reference
    graph: Graph
    int8: Graph | None
    emulation: Path | None
    plans: tuple[tuple[PlanEntry, Path], ...]


@dataclass(frozen=True)
class Built:
    """A network of the engine with all that goes into it."""

    manifest: Manifest
    sized: tuple[Sized, ...]

    def members(self) -> dict[str, bytes | Path]:
        """Members of the engine, and the files that hold them."""
        files: dict[str, bytes | Path] = {}
        for one in self.sized:
            int8: Int8Graph | None = one.entry.int8
            files.update(one.graph.members(one.entry.onnx, one.entry.data))
            files.update({plan.file: path for plan, path in one.plans})
            if one.int8 is not None and int8 is not None:
                files.update(one.int8.members(int8.onnx, int8.data))
        return files


def text(size: Size) -> str:
    """(288, 512) as "288x512"."""
    return f"{size[0]}x{size[1]}"


def discard(path: Path) -> None:
    """Delete a graph and its external weights, which may be gigabytes."""
    path.unlink(missing_ok=True)
    path.with_name(path.name + ".data").unlink(missing_ok=True)
