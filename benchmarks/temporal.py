"""What the filter over time does to a matte: flicker, dtSSD, and what it costs where things move.

The same mattes of an engine, frame by frame, unfiltered, filtered, and filtered with a look ahead,
on synthetic clips whose alpha is known (``benchmarks.clips``), at the network's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import machine, tables
from benchmarks.clips import Clip, clip

SEEDS = (3, 8, 14, 21, 27, 33)
SWAYS = {"slow": 12.0, "fast": 140.0}  # pixels of 512 to either side, in a sixth of 48 frames each
AHEAD = 4
WAYS = {"unfiltered": None, "filtered": 0, f"filtered, {AHEAD} ahead": AHEAD}

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
    way: str
    flicker: float
    dtssd: float
    sad: float
    ghost: float


def measure(engine: Path, seeds: Sequence[int] = SEEDS, count: int = 48) -> list[Row]:
    """Every motion, every way."""
    from matter_sdk.sdk import Matter

    rows = []
    with Matter(engine, guided=False) as matter:
        for motion, sway in SWAYS.items():
            # Frames of four times the network's pixels, as a camera's: its noise is averaged.
            size = (2 * matter.size[0], 2 * matter.size[1])
            clips = [clip(seed, size, count, sway * size[1] / 512) for seed in seeds]
            raw = [[matter.infer(matter.prepare(f)) for f in shown.frames] for shown in clips]
            for way, ahead in WAYS.items():
                found = [
                    figures(shown, alphas if ahead is None else filtered(shown, alphas, ahead))
                    for shown, alphas in zip(clips, raw, strict=True)
                ]
                rows.append(Row(motion, way, *np.mean(found, axis=0).tolist()))
    return rows


def filtered(
    shown: Clip, alphas: Sequence[NDArray[np.float32]], ahead: int
) -> list[NDArray[np.float32]]:
    """The mattes of a clip as a stream filters them."""
    from matter_sdk.sdk.streaming.temporal_filter import TemporalFilter

    steady: TemporalFilter[None] = TemporalFilter(ahead)
    ready = []
    for frame, alpha in zip(shown.frames, alphas, strict=True):
        ready += steady.push(None, frame, alpha)
    return [alpha for _, alpha in (*ready, *steady.flush())]


def figures(shown: Clip, alphas: Sequence[NDArray[np.float32]]) -> tuple[float, ...]:
    """Flicker, dtSSD, SAD and ghost of one clip."""
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


def report(engine: Path, output: Path, command: str) -> list[Path]:
    """Measure, print the table, and write it with its data; returns the files."""
    rows = measure(engine)
    facts = machine.describe() | {"command": command, "engine": engine.name}
    head = ("motion", "way", "flicker", "dtSSD", "SAD", "ghost")
    lines = [
        (row.motion, row.way, *(f"{value:.2f}" for value in list(asdict(row).values())[2:]))
        for row in rows
    ]
    shown = tables.table(head, lines)
    print(shown)
    text = (
        f"# Mattes over time\n\n`{command}`, {facts['date']}, {facts['cpu']}.\n\n"
        f"{engine.name}, {len(SEEDS)} clips of 48 frames of each motion: the subject sways by "
        f"{SWAYS['slow']:g} or {SWAYS['fast']:g} pixels of 512 to either side, before a still "
        f"background, with camera noise of 2 levels.\n\n{shown}\n\n{NOTES}"
    )
    data = facts | {"rows": [asdict(row) for row in rows]}
    return tables.write(output, "temporal", text, data)
