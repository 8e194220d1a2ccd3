"""Checkpoint → the networks to build, with their weights and what they are verified on."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from matter_sdk.export import calibration, examples, random_weights
from matter_sdk.export.options import CLASSIFIED, DEFAULT_SIZE, BuildOptions
from matter_sdk.export.progress import Stage
from matter_sdk.export.stages import Context, Size, Subject
from matter_sdk.sdk.engine.manifest import WeightsFile, WeightsInfo
from matter_sdk.training import checkpoints, networks

if TYPE_CHECKING:
    from matter_sdk.export.examples import Inputs

# Weights of an engine made with --random-weights are the same every time.
RANDOM_SEED = 0

# The part of an engine that makes the semantic trimap.
CLASSIFIER = "classifier"


def load(context: Context) -> list[Subject]:
    """The networks with their weights: the engine's own, then its parts.

    Raises:
        CheckpointError: weights that do not fit the network.
        BuildError: calibration frames that cannot be read.
    """
    options, report = context.options, context.report
    shown = _Shown()
    parts = []
    classifier = None
    if options.model in CLASSIFIED:
        part = _classifier(context, shown)
        classifier = part.network
        parts.append(part)

    @functools.cache  # a semantic trimap takes seconds
    def inputs(size: Size) -> list[Inputs]:
        return examples.inputs(network, shown[size], size, classifier)

    with report.stage("load weights") as stage:
        torch.manual_seed(RANDOM_SEED)
        network: Any = networks.create(
            options.model,
            backbone=options.backbone,
            rosta=options.rosta,
            without=options.without,
        )
        if not options.weights:
            _fit(network, inputs(_fitted_size(options)))
        weights = _load(network, options.weights, stage)
    frames = None
    if options.calibrate is not None:
        with report.stage("read calibration frames") as stage:
            with_plate = "plate" in networks.inputs(network)
            given = calibration.pictures(options.calibrate, with_plate=with_plate)
            stage.note = f"{len(given)} of {options.calibrate.name}"

        def frames(size: Size) -> list[Inputs]:
            return examples.inputs(network, given, size, classifier)

    own = Subject("", network, weights, options.sizes, options.batch, inputs, frames)
    return [own, *parts]


def _classifier(context: Context, shown: _Shown) -> Subject:
    """The part that makes the semantic trimap: a graph for each size of its windows."""
    options = context.options

    def inputs(window: Size) -> list[Inputs]:
        size = next(size for size in options.sizes if window in examples.window_sizes([size]))
        return examples.windows(network, shown[size], size, window)

    with context.report.stage(f"load {CLASSIFIER} weights") as stage:
        torch.manual_seed(RANDOM_SEED)
        network: Any = networks.create(CLASSIFIED[options.model])
        if options.classifier is None:
            size = _fitted_size(options)
            largest = examples.window_sizes([size])[-1]
            _fit(network, examples.windows(network, shown[size], size, largest))
        files = () if options.classifier is None else (options.classifier,)
        weights = _load(network, files, stage)
    windows = examples.window_sizes(options.sizes)
    return Subject(CLASSIFIER, network, weights, windows, 1, inputs)


class _Shown(dict[Size, list[examples.Picture]]):
    """The verification pictures of each size, drawn when they are first asked for."""

    def __missing__(self, size: Size) -> list[examples.Picture]:
        self[size] = examples.pictures(size)
        return self[size]


def _fitted_size(options: BuildOptions) -> Size:
    """The engine's main size, or the default where that has more pixels: it costs less."""
    height, width = options.sizes[0]
    large = height * width > DEFAULT_SIZE[0] * DEFAULT_SIZE[1]
    return DEFAULT_SIZE if large else options.sizes[0]


def _fit(network: nn.Module, inputs: Sequence[Inputs]) -> None:
    (tensors,) = examples.batched(inputs, len(inputs))
    random_weights.fit(network, tuple(map(torch.from_numpy, tensors)))


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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
