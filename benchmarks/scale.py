"""How many live streams one process carries, at several sizes of frames.

Cameras of 30 frames a second share one network (``MatterPool``), and each matte is blended over a
colour. A number of streams is *carried* where fewer than one frame in a hundred is dropped and 95
of 100 composites come within ``LATE`` of their frames, in one of two tries. One stream, two, four
and so on are tried until they are not carried, then the numbers between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import hardware, inputs, live, page
from matter_sdk.sdk import MatterPool

SIZES = {"360p": (360, 640)} | {name: inputs.SIZES[name] for name in ("720p", "1080p")}
RATE = 30
LATE = 0.1  # seconds: three frames
DROPPED = 0.01
SETTLE = 1.0  # seconds at the beginning that do not count
MOST = 64  # streams

Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class Carried:
    """So many streams of a size. Milliseconds of latency and of processor time a frame; ``dropped``
    is a share of all frames; ``cores``: of the processors' time that the process took."""

    size: str
    streams: int
    fps: float
    dropped: float
    p50: float
    p95: float
    cpu: float
    cores: float
    carried: bool


def camera(
    frames: Sequence[Frame], seconds: float, phase: float, given: list[float]
) -> Iterator[Frame]:
    """Yield drawn frames in turn on time, and note when; ``phase`` seconds after the others."""
    begin = time.monotonic() + phase
    for at in range(int(RATE * seconds)):
        time.sleep(max(0.0, begin + at / RATE - time.monotonic()))
        given.append(time.monotonic())
        yield frames[at % len(frames)]


def measure(engine: Path, size: str, streams: int, seconds: float) -> Carried:
    """Run so many streams of frames that move."""
    subject = inputs.subject(*SIZES[size])
    frames = [np.roll(subject, 16 * at, axis=1) for at in range(8)]
    given: list[list[float]] = [[] for _ in range(streams)]
    with MatterPool(engine, quality="live", device="cpu") as pool:
        pool.matter(frames[0])  # loads what frames of this shape need
        sources = [
            camera(frames, seconds, at / RATE / streams, times) for at, times in enumerate(given)
        ]
        begin, busy = time.monotonic(), time.process_time()
        seen = live.watch(pool, sources, seconds / 20).seen
        took, busy = time.monotonic() - begin, time.process_time() - busy
    first = SETTLE if seconds > 2 * SETTLE else 0.0
    latencies = [late for found in seen for at, late in found if at - late >= first]
    due = sum(at - begin >= first for times in given for at in times)
    dropped = max(0.0, 1 - len(latencies) / due)
    p50, p95 = np.percentile(latencies, (50, 95)) if latencies else (np.inf, np.inf)
    return Carried(
        size,
        streams,
        len(latencies) / streams / (took - first),
        dropped,
        1e3 * float(p50),
        1e3 * float(p95),
        1e3 * busy / max(1, sum(map(len, seen))),
        busy / took,
        bool(dropped < DROPPED and p95 <= LATE),
    )


def search(carries: Callable[[int], bool]) -> int:
    """The most streams that are carried, where more never are; ``carries`` is asked a few times."""
    least, most = 0, 1
    while most <= MOST and carries(most):
        least, most = most, 2 * most
    while most - least > 1:
        middle = (least + most) // 2
        if middle <= MOST and carries(middle):
            least = middle
        else:
            most = middle
    return least


def markdown(rows: Sequence[Carried], most: dict[str, int]) -> str:
    """Write the table, and what its columns are."""
    head = ("size", "streams", "frames/s each", "dropped", "ms p50", "p95", "CPU ms a frame",
            "cores at work", "carried")  # fmt: skip
    lines = [
        (row.size, str(row.streams), f"{row.fps:.1f}", f"{row.dropped:.1%}", f"{row.p50:.0f}",
         f"{row.p95:.0f}", f"{row.cpu:.1f}", f"{row.cores:.2f}", "yes" if row.carried else "no")
        for row in rows
    ]  # fmt: skip
    found = ", ".join(f"**{count}** at {size}" for size, count in most.items())
    return (
        f"Live streams of {RATE} frames a second in one process, `live`, over a colour: {found}. "
        f"Carried: less than {DROPPED:.0%} dropped, and 95 % of the composites within "
        f"{1e3 * LATE:.0f} ms of their frames.\n\n{page.table(head, lines)}"
    )


def report(
    engine: Path,
    sizes: Sequence[str],
    seconds: float,
    output: Path,
    given: Sequence[str],
) -> list[Path]:
    """Find how many streams are carried at each size, ``seconds`` for each try; write the page.

    Returns:
        The files.
    """
    cv2.setNumThreads(1)
    facts = hardware.begin(given) | {"engine": engine.name}
    rows: list[Carried] = []
    most: dict[str, int] = {}

    for size in sizes:

        def carries(streams: int, size: str = size) -> bool:
            for _ in range(2):  # something else may have happened on the machine
                rows.append(measure(engine, size, streams, seconds))
                if rows[-1].carried:
                    return True
            return False

        most[size] = search(carries)
    rows.sort(key=lambda row: (list(sizes).index(row.size), row.streams))
    text = f"{engine.name}.\n\n{markdown(rows, most)}"
    return page.write(output, "scale", facts, text, {"rows": [asdict(row) for row in rows]})
