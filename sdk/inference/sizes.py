"""Choose which of an engine's sizes a frame runs at: as asked, by aspect ratio, or by scale."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from matter_sdk.sdk.engine.manifest import FUSIONS, MAX_SIDE, Manifest, ModelEntry
from matter_sdk.sdk.errors import EngineError

log = logging.getLogger("matter")

Scales = tuple[float, float]

# Sizes are of one shape up to here, on a log scale: rounding to multiples of 32 stretches small
# ones by 5 % or 6 %, and 16:9 and 16:10 differ by 11 %.
_ALIKE = 0.08
_SQUEEZED = math.log(1.6)  # 4:3 in 16:9 is 1.33, a square in 3:2 is 1.5


def held(models: Iterable[ModelEntry]) -> str:
    """Write the sizes as messages and the command line do: ``288x512, 384x384``."""
    return ", ".join(f"{model.size[0]}x{model.size[1]}" for model in models)


def chosen(path: Path, manifest: Manifest, size: Any) -> tuple[ModelEntry, ...]:
    """Select the models that may run: all of an engine's, or the one of ``size``.

    Raises:
        EngineError: for a size that the engine does not hold; the message has the build command.
    """
    if size is None:
        return manifest.models
    multiple = manifest.input.multiple
    if (
        not isinstance(size, (tuple, list))
        or len(size) != 2
        or not all(isinstance(s, (int, np.integer)) and not isinstance(s, bool) for s in size)
    ):
        raise EngineError(
            f"size is {size!r}; expected (height, width), one that {path} holds: "
            f"{held(manifest.models)}"
        )
    height, width = int(size[0]), int(size[1])
    for model in manifest.models:
        if model.size == (height, width):
            return (model,)
    valid = all(0 < side <= MAX_SIDE and side % multiple == 0 for side in (height, width))
    if not valid:
        raise EngineError(
            f"size is {height}x{width}; expected multiples of {multiple} up to {MAX_SIDE}, and one "
            f"that {path} holds: {held(manifest.models)}"
        )
    raise EngineError(
        f"size is {height}x{width}; expected one that {path} holds: {held(manifest.models)}. "
        f"Build it in: {_build_with(path, manifest, (height, width))}"
    )


def nearest_aspect(
    models: Sequence[ModelEntry], frame: Sequence[int], pixels: str = "first"
) -> ModelEntry:
    """Choose the size whose aspect ratio is nearest to the frame's, on a log scale.

    ``frame`` is a shape that begins with height and width. ``pixels``: of sizes as near, the
    "first"; of those of nearly that shape, the one of the "fewest" or the "most" pixels.
    """
    if len(models) == 1:
        return models[0]
    nearest = min(models, key=lambda model: _stretch(model.size, frame))
    if pixels == "first":
        return nearest
    alike = [model for model in models if _stretch(model.size, nearest.size) <= _ALIKE]
    choose = min if pixels == "fewest" else max
    return choose(alike, key=lambda model: math.prod(model.size))


class ShapeNotes:
    """Warn, once, if frames are of another shape than any size that they could run at.

    What a network sees squeezed it mattes worse: 3.2 times doubles the error of GFM.
    """

    def __init__(self, models: Sequence[ModelEntry]) -> None:
        self._models = models
        self._last: Sequence[int] | None = None
        self._said = False

    def __call__(self, frame: Sequence[int]) -> None:
        """Look at a frame's shape."""
        if self._said or frame == self._last:
            return
        self._last = frame
        model = nearest_aspect(self._models, frame)
        if _stretch(model.size, frame) <= _SQUEEZED:
            return
        self._said = True
        (height, width), (high, wide) = model.size, (int(side) for side in frame[:2])
        log.warning(
            "frames of %dx%d (height x width) are squeezed into the network's %dx%d, the nearest "
            "aspect ratio that this engine holds or was given, and their mattes are worse for it; "
            "build an engine with a --size HxW of their shape",
            *(high, wide, height, width),
        )


def nearest_scale(models: Sequence[ModelEntry], frame: Sequence[int], scale: float) -> ModelEntry:
    """Choose the size nearest to ``scale`` times the frame's: log distance, both sides summed."""
    return min(models, key=lambda model: _distance(model, frame, scale))


def nearest_pair(
    pairs: Iterable[tuple[ModelEntry, ModelEntry]], frame: Sequence[int], scales: Scales
) -> tuple[ModelEntry, ModelEntry]:
    """Choose the pair of sizes that is together nearest to ``scales`` times the frame's."""
    return min(
        pairs,
        key=lambda pair: sum(map(_distance, pair, itertools.repeat(frame), scales)),
    )


def resolve_scales(
    path: Path, manifest: Manifest, hybrid: Any, size: Any, preferred: Scales | None
) -> Scales | None:
    """The scales of two passes, or None for one.

    ``hybrid`` is what ``Matter`` was given: two scales, False, or None for those that its quality
    prefers, as far as this engine holds two heads and two sizes of one shape.

    Raises:
        EngineError: as ``check_scales``.
    """
    if hybrid is False:
        return None
    if hybrid is not None:
        return check_scales(path, manifest, hybrid, size)
    possible = (
        size is None
        and not manifest.extra_inputs
        and "glance" in FUSIONS[manifest.fusion]
        and any(_stretch(one.size, two.size) <= _ALIKE for one, two in pairs_of(manifest.models))
    )
    return preferred if possible else None


def pairs_of(models: Sequence[ModelEntry]) -> list[tuple[ModelEntry, ModelEntry]]:
    """List every two sizes of which the first has fewer pixels."""
    return [
        (small, large)
        for small in models
        for large in models
        if math.prod(small.size) < math.prod(large.size)
    ]


def check_scales(path: Path, manifest: Manifest, hybrid: Any, size: Any) -> Scales:
    """Check the two scales of a hybrid-resolution test against an engine; return them.

    Raises:
        EngineError: for other than two numbers 0 < glance ≤ focus ≤ 1, beside ``size``, or for an
            engine whose heads or sizes do not allow it.
    """
    if (
        not isinstance(hybrid, (tuple, list))
        or len(hybrid) != 2
        or not all(isinstance(scale, Real) and not isinstance(scale, bool) for scale in hybrid)
        or not 0 < hybrid[0] <= hybrid[1] <= 1
    ):
        raise EngineError(
            f"hybrid is {hybrid!r}; expected two scales of the frame above 0 and up to 1, the "
            f"glance's first and not the larger, such as (1/3, 1/2)"
        )
    if size is not None:
        raise EngineError(
            f"hybrid and size={size!r} were both given; expected one: hybrid chooses the sizes by "
            f"the frame's"
        )
    scales = float(hybrid[0]), float(hybrid[1])
    if scales[0] == scales[1]:
        return scales
    if "glance" not in FUSIONS[manifest.fusion]:
        raise EngineError(
            f"hybrid is {hybrid!r} and {path} holds {manifest.network.name} with the one head "
            f"alpha; expected a network with the heads glance and focus, which two passes can give "
            f"apart. With equal scales there is one pass: hybrid=({scales[0]:.3g}, {scales[0]:.3g})"
        )
    if not pairs_of(manifest.models):
        wanted = _rescaled(manifest, scales[1] / scales[0])
        raise EngineError(
            f"hybrid is {hybrid!r} and {path} holds {held(manifest.models)}; expected two sizes of "
            f"which one is smaller. Build a second one in, such as: "
            f"{_build_with(path, manifest, wanted)}"
        )
    return scales


def _stretch(one: Sequence[int], other: Sequence[int]) -> float:
    """How far two aspect ratios differ, on a log scale."""
    return abs(math.log(one[0] / one[1] * other[1] / other[0]))


def _distance(model: ModelEntry, frame: Sequence[int], scale: float) -> float:
    return sum(
        abs(math.log(side / (length * scale)))
        for side, length in zip(model.size, frame, strict=False)
    )


def _rescaled(manifest: Manifest, ratio: float) -> tuple[int, int]:
    """The first size held times ``ratio`` > 1, in whole multiples and never the same."""
    multiple = manifest.input.multiple
    height, width = (
        max(side + multiple, round(side * ratio / multiple) * multiple)
        for side in manifest.models[0].size
    )
    return height, width


def _build_with(path: Path, manifest: Manifest, size: tuple[int, int]) -> str:
    """The command that builds the engine again with one more size."""
    extended = replace(manifest, models=(*manifest.models, ModelEntry(size, "model.onnx")))
    return extended.build_command(path.name)
