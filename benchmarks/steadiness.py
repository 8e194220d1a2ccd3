"""What the temporal filter does to a matte: flicker, dtSSD, and what it costs where things move.

The same mattes of an engine, frame by frame, unfiltered, filtered, and filtered with a look ahead,
on synthetic clips whose alpha is known (``benchmarks.clips``), at the network's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

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
