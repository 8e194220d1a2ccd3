"""Live streams on a machine that is too busy: do they stay young, small and right?

A paced source gives frames whose number stands in their pixels, as black and white squares. What
becomes of it is checked on every matte: the network's input carries the number on to alpha, where
it is compared with that of the picture that the matte holds. Other processes take all cores.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matter_sdk.sdk import Matter, MatterPool
from numpy.typing import NDArray

from benchmarks import machine, plots, scenes, tables

BITS = 12
_SPIN = "while True: pass"


class Numbered(Matter):
    """A ``Matter`` that carries the number in a frame's pixels to its alpha, and compares them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.compared = self.mismatches = 0

    def prepare(self, frame: Any, *, trimap: Any = None) -> Any:
        """See ``Matter``; the first values of the tensor are the number's bits."""
        tensor = super().prepare(frame, trimap=trimap)
        tensor[0, 0, 0, :BITS] = bits_of(frame)
        return tensor

    def infer(self, prepared: Any) -> NDArray[np.float32]:
        """See ``Matter``."""
        return self.infer_batch([prepared])[0]

    def infer_batch(self, prepared: Sequence[Any]) -> list[NDArray[np.float32]]:
        """See ``Matter``; alpha is the number's bits where the frame shows them."""
        alphas = super().infer_batch(prepared)
        for tensor, alpha in zip(prepared, alphas, strict=True):
            draw(alpha, tensor[0, 0, 0, :BITS], 1.0)
        return alphas

    def finish(self, frame: Any, alpha: NDArray[np.float32], *, trimap: Any = None) -> Any:
        """See ``Matter``; counts what does not belong together."""
        self.compared += 1
        self.mismatches += not np.array_equal(read(alpha, 0.5), bits_of(frame))
        return super().finish(frame, alpha, trimap=trimap)


def draw(picture: NDArray[Any], bits: Any, high: float) -> None:
    """Write bits, in place, as squares along the upper border."""
    for bit, (rows, columns) in zip(bits, _squares(picture.shape), strict=True):
        picture[rows, columns] = high if bit else 0


def read(picture: NDArray[Any], middle: float) -> NDArray[np.bool_]:
    """The bits that ``draw`` wrote, from the middle of each square."""
    values = []
    for rows, columns in _squares(picture.shape):
        y, x = (rows.start + rows.stop) // 2, (columns.start + columns.stop) // 2
        values.append(float(picture[y, x].mean()) > middle)
    return np.array(values)


def bits_of(frame: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The bits of a frame's number."""
    return read(frame, 127)


def _squares(shape: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    side = shape[1] // BITS
    high = max(2, shape[0] // 12)
    return ((slice(0, high), slice(at * side, (at + 1) * side)) for at in range(BITS))


def paced(size: tuple[int, int], rate: float, seconds: float) -> Iterator[NDArray[np.uint8]]:
    """Numbered frames, each its own array, at their times; a slow reader finds them late."""
    scene = scenes.frame(*size)
    begin = time.monotonic()
    for number in range(int(rate * seconds)):
        frame = np.roll(scene, 4 * (number % 64), axis=1)
        draw(frame, [number >> bit & 1 for bit in range(BITS)], 255)
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
        yield frame


@dataclass(frozen=True)
class Result:
    """One stream of a run. Milliseconds of latency, megabytes of memory.

    ``p99_early`` and ``p99_late`` are of the first and the last fifth of the time, and so is the
    memory, less the first tenth of all, in which buffers are made. ``latencies``: seconds since the
    begin, p50 and p99 of each of up to 60 equal parts; ``memory``: seconds and megabytes then.
    """

    streams: int
    stream: int
    seconds: float
    frames: int
    dropped: int
    fps: float
    p50: float
    p95: float
    p99: float
    p99_early: float
    p99_late: float
    most: float
    memory_early: float
    memory_late: float
    mismatches: int
    latencies: tuple[tuple[float, float, float], ...]
    memory: tuple[tuple[float, float], ...]


def run(engine: Path, streams: int, seconds: float, busy: int) -> list[Result]:
    """So many live streams of 60 frames a second at 720p for a time, beside ``busy`` processes
    that compute for nothing; each composes its mattes over a colour."""
    seen: list[list[tuple[float, float]]] = [[] for _ in range(streams)]  # when, how late
    stats: list[Any] = [None] * streams
    memory: list[tuple[float, float]] = []
    begin = time.monotonic()

    def consume(at: int, stream: Any) -> None:
        for matte in stream:
            matte.over("green")
            seen[at].append((time.monotonic() - begin, stream.latency))
        stats[at] = stream.stats()

    with (
        _busy(busy),
        contextlib.closing(Numbered(engine, quality="live", device="cpu")) as matter,
    ):
        pool = MatterPool(matter)
        opened = [
            pool.stream(paced(scenes.SIZES["720p"], 60, seconds), live=True) for _ in range(streams)
        ]
        threads = [
            threading.Thread(target=consume, args=(at, stream)) for at, stream in enumerate(opened)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            memory.append((time.monotonic() - begin, machine.resident()))
            time.sleep(seconds / 60)
        pool.close()
        mismatches = matter.mismatches
        if matter.compared != sum(map(len, seen)):
            raise RuntimeError(f"{matter.compared} mattes were compared, others were shown")
    took = max(at for found in seen for at, _ in found)
    return [
        _result(streams, at + 1, took, found, stats[at].dropped, memory, mismatches)
        for at, found in enumerate(seen)
    ]


def _result(
    streams: int,
    stream: int,
    took: float,
    seen: Sequence[tuple[float, float]],
    dropped: int,
    memory: Sequence[tuple[float, float]],
    mismatches: int,
) -> Result:
    times, latencies = np.array(seen).T
    latencies = 1e3 * latencies
    p50, p95, p99 = np.percentile(latencies, (50, 95, 99))
    settled = [size for at, size in memory if at > took / 10] or [memory[-1][1]]
    fifth = max(1, len(settled) // 5)
    early, late = times[0] + np.array((1, 4)) / 5 * (times[-1] - times[0])
    parts = np.minimum(times / took * 60, 59).astype(int)
    return Result(
        streams,
        stream,
        took,
        len(seen),
        dropped,
        len(seen) / took,
        float(p50),
        float(p95),
        float(p99),
        float(np.percentile(latencies[times <= early], 99)),
        float(np.percentile(latencies[times >= late], 99)),
        float(latencies.max()),
        float(np.median(settled[:fifth])),
        float(np.median(settled[-fifth:])),
        mismatches,
        tuple(
            (took * part / 60, *map(float, np.percentile(latencies[parts == part], (50, 99))))
            for part in np.unique(parts).tolist()
        ),
        tuple(memory),
    )


@contextlib.contextmanager
def _busy(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def report(
    engine: Path, runs: Sequence[tuple[int, float]], busy: int, output: Path, command: str
) -> list[Path]:
    """Run so many streams for so many seconds each, print and write; returns the files."""
    cv2.setNumThreads(1)
    facts = machine.describe() | {"command": command, "engine": engine.name, "busy": busy}
    results = [one for count, seconds in runs for one in run(engine, count, seconds, busy)]
    head = (
        *("streams", "stream", "seconds", "shown", "frames/s", "passed over"),
        *("ms p50", "p95", "p99", "p99 early", "late", "most", "MB early", "late", "mismatches"),
    )
    lines = [
        (
            *(
                str(r.streams),
                str(r.stream),
                f"{r.seconds:.0f}",
                str(r.frames),
                f"{r.fps:.1f}",
                str(r.dropped),
            ),
            *(f"{v:.0f}" for v in (r.p50, r.p95, r.p99, r.p99_early, r.p99_late, r.most)),
            *(f"{r.memory_early:.0f}", f"{r.memory_late:.0f}", str(r.mismatches)),
        )
        for r in results
    ]
    shown = tables.table(head, lines)
    text = (
        f"# Live streams on a busy machine\n\n`{command}`, {facts['date']}, {facts['cpu']}, "
        f"{facts['cores']} cores, {busy} other processes that want a core each.\n\n{engine.name}, "
        f"sources of 60 frames a second at 1280×720; latency from a frame's "
        f"arrival until its composite is there. Memory: the process's. *Early* and *late* are the "
        f"first and last fifth of the time, for memory after a tenth.\n\n{shown}\n"
    )
    print(text)
    data = facts | {"results": [asdict(result) for result in results]}
    paths = tables.write(output, "live", text, data)
    picture = paths[0].with_suffix(".png")
    plots.live(results, picture)
    return [*paths, picture]
