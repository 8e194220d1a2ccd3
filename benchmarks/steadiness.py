"""What a stream does to a matte over time, on synthetic clips whose alpha is known.

* The temporal filter: flicker, dtSSD, and what it costs where things move. The same mattes of an
  engine, frame by frame, unfiltered, filtered, and filtered with a look ahead, at the network's
  size.
* Alphas taken over where nothing happens (``reuse=``): error and time, with and without.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import page
from benchmarks.clips import Clip, clip

SEEDS = (3, 8, 14, 21, 27, 33)
SMODES = {"slow": 12.0, "fast": 140.0}  # pixels of 512 to either side, in a sixth of 48 frames each
AHEAD = 4
MODES = {"unfiltered": None, "filtered": 0, f"filtered, {AHEAD} ahead": AHEAD}

NOTES = """\
* **flicker**: mean absolute change of alpha from frame to frame where the true alpha does not
  change, × 1000. **dtSSD**: Erofeev et al., BMVC 2015, × 100. **SAD**: thousands, a frame's mean.
* **ghost**: mean alpha where the subject was one frame before and is no more (true alpha below 0.02
  now, above 0.98 then), × 1000: what a filter drags behind. Above the unfiltered line it is the
  filter's.
"""


@dataclass(frozen=True)
class Row:
    """Means over the clips of one kind of motion."""

    motion: str
    mode: str
    flicker: float
    dtssd: float
    sad: float
    ghost: float


def measure(engine: Path, seeds: Sequence[int] = SEEDS, count: int = 48) -> list[Row]:
    """Measure every motion in every mode."""
    from matter_sdk.sdk import Matter

    rows = []
    with Matter(engine, guided=False) as matter:
        for motion, sway in SMODES.items():
            # Frames of four times the network's pixels, as a camera's: its noise is averaged.
            size = (2 * matter.size[0], 2 * matter.size[1])
            clips = [clip(seed, size, count, sway * size[1] / 512) for seed in seeds]
            raw = [[matter.infer(matter.prepare(f)) for f in shown.frames] for shown in clips]
            for mode, ahead in MODES.items():
                found = [
                    figures(shown, alphas if ahead is None else filtered(shown, alphas, ahead))
                    for shown, alphas in zip(clips, raw, strict=True)
                ]
                rows.append(Row(motion, mode, *np.mean(found, axis=0).tolist()))
    return rows


def filtered(
    shown: Clip, alphas: Sequence[NDArray[np.float32]], ahead: int
) -> list[NDArray[np.float32]]:
    """Filter the mattes of a clip as a stream does."""
    from matter_sdk.sdk.streaming.temporal_filter import TemporalFilter

    steady: TemporalFilter[None] = TemporalFilter(ahead)
    ready = []
    for frame, alpha in zip(shown.frames, alphas, strict=True):
        ready += steady.push(None, frame, alpha)
    return [alpha for _, alpha in (*ready, *steady.flush())]


def figures(shown: Clip, alphas: Sequence[NDArray[np.float32]]) -> tuple[float, ...]:
    """Measure flicker, dtSSD, SAD and ghost of one clip."""
    from matter_sdk.training.evaluation.video_metrics import dtssd, flicker

    predicted = np.stack(alphas)
    size = predicted.shape[:0:-1]
    truth = np.stack([cv2.resize(a, size, interpolation=cv2.INTER_AREA) for a in shown.alphas])
    left = (truth[1:] < 0.02) & (truth[:-1] > 0.98)
    return (
        1000 * flicker(predicted, truth),
        dtssd(predicted, truth),
        float(np.abs(predicted - truth).sum((1, 2)).mean() / 1000),
        1000 * float(predicted[1:][left].mean()) if left.any() else 0.0,
    )


REUSED = {  # sway in pixels of 512, the share of frames at rest, the camera's noise in levels
    "talking head": (12.0, 2 / 3, 1.0),
    "talking head, noisy camera": (12.0, 2 / 3, 2.0),
    "always moving": (140.0, 0.0, 1.0),
}
REUSED_SIZE = (720, 1280)
REUSED_NOTES = """\
* **taken over**: frames that took over the alpha of an earlier one. **MAE**: mean absolute error of
  alpha, × 1000, with ``reuse=0`` and as in ``live``. **by reuse**, **by the filter**: mean absolute
  change of alpha that either makes, × 1000. **CPU ms**: processor time a frame, without composite.
"""


@dataclass(frozen=True)
class Reused:
    """Means over the clips of one kind."""

    kind: str
    taken: float
    mae_without: float
    mae_with: float
    by_reuse: float
    by_filter: float
    cpu_without: float
    cpu_with: float


def measure_reuse(engine: Path, seeds: Sequence[int] = SEEDS[:3], count: int = 48) -> list[Reused]:
    """Stream every kind of clip with reuse, without, and without the filter too."""
    from matter_sdk.sdk import Matter

    size = REUSED_SIZE
    kinds: dict[str, dict[str, Any]] = {
        "with": {}, "without": {"reuse": 0}, "plain": {"reuse": 0, "temporal": False}
    }  # fmt: skip
    rows = []
    with contextlib.ExitStack() as opened:
        matters = {
            kind: opened.enter_context(Matter(engine, quality="live", device="cpu", **options))
            for kind, options in kinds.items()
        }
        for name, (sway, rest, noise) in REUSED.items():
            found = []
            for seed in seeds:
                shown = clip(seed, size, count, sway * size[1] / 512, noise, rest)
                alphas, cpu, runs = {}, {}, {}
                for kind, matter in matters.items():
                    begin = time.process_time()
                    alphas[kind] = np.stack([m.alpha for m in matter.stream(shown.frames)])
                    cpu[kind] = 1e3 * (time.process_time() - begin) / count
                    runs[kind] = matter.stats().stages["network"].count
                found.append(
                    (
                        1 - runs["with"] / count,
                        _mae(alphas["without"], shown.alphas),
                        _mae(alphas["with"], shown.alphas),
                        _mae(alphas["with"], alphas["without"]),
                        _mae(alphas["without"], alphas["plain"]),
                        cpu["without"],
                        cpu["with"],
                    )
                )
            rows.append(Reused(name, *np.mean(found, axis=0).tolist()))
    return rows


def _mae(one: Any, other: Any) -> float:
    return 1000 * float(np.mean([np.abs(a - b).mean() for a, b in zip(one, other, strict=True)]))


def reuse_markdown(rows: Sequence[Reused]) -> str:
    """Write the table, and what its columns are."""
    head = ("clip", "taken over", "MAE without", "with", "by reuse", "by the filter",
            "CPU ms without", "with")  # fmt: skip
    lines = [
        (row.kind, f"{row.taken:.0%}", *(f"{value:.2f}" for value in astuple(row)[2:6]),
         *(f"{value:.1f}" for value in astuple(row)[6:]))
        for row in rows
    ]  # fmt: skip
    height, width = REUSED_SIZE
    return (
        f"Clips of {width}×{height}, `live`. The talking head rests in two thirds of the frames; "
        f"the noise of its camera is 1 level, or 2.\n\n{page.table(head, lines)}\n\n{REUSED_NOTES}"
    )


def markdown(rows: Sequence[Row]) -> str:
    """Write the table, and what its columns are."""
    lines = [
        (row.motion, row.mode, *(f"{value:.2f}" for value in astuple(row)[2:])) for row in rows
    ]
    return (
        f"{len(SEEDS)} clips of 48 frames of each motion: the subject sways by {SMODES['slow']:g} "
        f"or {SMODES['fast']:g} pixels of 512 to either side, before a still background, with "
        "camera noise of 2 levels.\n\n"
        f"{page.table(('motion', 'mode', 'flicker', 'dtSSD', 'SAD', 'ghost'), lines)}\n\n{NOTES}"
    )
