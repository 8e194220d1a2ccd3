"""Live streams on an overloaded machine: latency, memory, and whether mattes fit their frames.

A paced source draws each frame's number into its pixels, as black and white squares. The network's
input carries the number on to alpha, where it is compared with that of the picture that the matte
holds. Other processes take all cores.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import hardware, inputs, page, steadiness
from matter_sdk.sdk import Matter, MatterPool

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
    """Read the bits that ``draw`` wrote, from the middle of each square."""
    values = []
    for rows, columns in _squares(picture.shape):
        y, x = (rows.start + rows.stop) // 2, (columns.start + columns.stop) // 2
        values.append(float(picture[y, x].mean()) > middle)
    return np.array(values)


def bits_of(frame: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Read the bits of a frame's number."""
    return read(frame, 127)


def _squares(shape: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    side = shape[1] // BITS
    high = max(2, shape[0] // 12)
    return ((slice(0, high), slice(at * side, (at + 1) * side)) for at in range(BITS))


def paced(size: tuple[int, int], rate: float, seconds: float) -> Iterator[NDArray[np.uint8]]:
    """Yield numbered frames, each its own array, on time; a slow reader finds them late."""
    scene = inputs.frame(*size)
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
    memory, less the first tenth of all, in which buffers are made.
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


def run(engine: Path, streams: int, seconds: float, busy: int) -> list[Result]:
    """Run so many live streams of 60 frames a second at 720p for a time, beside ``busy`` processes
    that compute for nothing; each composes its mattes over a colour."""
    with (
        _busy(busy),
        contextlib.closing(Numbered(engine, quality="live", device="cpu")) as matter,
        MatterPool(matter) as pool,
    ):
        sources = [paced(inputs.SIZES["720p"], 60, seconds) for _ in range(streams)]
        watched = watch(pool, sources, seconds / 60)
        mismatches = matter.mismatches
        if matter.compared != sum(map(len, watched.seen)):
            raise RuntimeError(f"{matter.compared} mattes were compared, others were shown")
    took = max(at for found in watched.seen for at, _ in found)
    return [
        _result(streams, at + 1, took, found, dropped, watched.memory, mismatches)
        for at, (found, dropped) in enumerate(zip(watched.seen, watched.dropped, strict=True))
    ]


class Watched(NamedTuple):
    """What streams did: of each when a composite was there and how old its frame was, in seconds,
    and how many frames were dropped; and when the process took how many megabytes."""

    seen: list[list[tuple[float, float]]]
    dropped: list[int]
    memory: list[tuple[float, float]]


def watch(pool: MatterPool, sources: Sequence[Iterable[Any]], every: float) -> Watched:
    """Show live streams over a colour, each in a thread, until all sources have ended; look at the
    memory ``every`` so many seconds."""
    seen: list[list[tuple[float, float]]] = [[] for _ in sources]
    memory: list[tuple[float, float]] = []
    begin = time.monotonic()
    opened = [pool.stream(source, live=True) for source in sources]

    def consume(stream: Any, found: list[tuple[float, float]]) -> None:
        for matte in stream:
            matte.over("green")
            found.append((time.monotonic() - begin, stream.latency))

    threads = [
        threading.Thread(target=consume, args=pair) for pair in zip(opened, seen, strict=True)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        memory.append((time.monotonic() - begin, hardware.resident()))
        time.sleep(every)
    return Watched(seen, [stream.dropped for stream in opened], memory)


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


def markdown(results: Sequence[Result]) -> str:
    """Write the table, and what its columns are."""
    head = (
        *("streams", "stream", "seconds", "shown", "frames/s", "dropped"),
        *("ms p50", "p95", "p99", "p99 early", "late", "most", "MB early", "late", "mismatches"),
    )
    lines = []
    for r in results:
        counts = (str(r.streams), str(r.stream), f"{r.seconds:.0f}", str(r.frames))
        times = (r.p50, r.p95, r.p99, r.p99_early, r.p99_late, r.most, r.memory_early)
        numbers = (f"{value:.0f}" for value in (*times, r.memory_late, r.mismatches))
        lines.append((*counts, f"{r.fps:.1f}", str(r.dropped), *numbers))
    return (
        "Sources of 60 frames a second at 1280×720. Latency: from a frame's arrival until its "
        "composite is there. Memory: the process's. *Early* and *late* are the first and last "
        f"fifth of the time, for memory after a tenth.\n\n{page.table(head, lines)}"
    )


def report(
    engine: Path,
    runs: Sequence[tuple[int, float]],
    busy: int,
    output: Path,
    given: Sequence[str],
) -> list[Path]:
    """Run so many streams for so many seconds each, the temporal filter and reuse; write the page.

    Returns:
        The files.
    """
    cv2.setNumThreads(1)
    facts = hardware.begin(given) | {"engine": engine.name, "busy": busy}
    results = [one for count, seconds in runs for one in run(engine, count, seconds, busy)]
    rows = steadiness.measure(engine)
    reused = steadiness.measure_reuse(engine)
    text = (
        f"{engine.name}.\n\n### Live, beside {busy} other processes that want a core each\n\n"
        f"{markdown(results)}\n\n### Mattes over time\n\n{steadiness.markdown(rows)}\n\n"
        f"### Alphas taken over\n\n{steadiness.reuse_markdown(reused)}"
    )
    data = {
        "results": [asdict(one) for one in results],
        "mattes": [asdict(row) for row in rows],
        "reused": [asdict(row) for row in reused],
    }
    return page.write(output, "streams", facts, text, data)
