"""Times of the stages of a stream or video, the age of its mattes, and frames left out."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

# Of each stage the newest times are kept: ten seconds at 50 frames a second.
_KEPT = 512
log = logging.getLogger("matter")


@dataclass(frozen=True)
class Times:
    """Percentiles of the newest times of a stage, in milliseconds, and how many there were."""

    p50: float
    p95: float
    p99: float
    count: int

    @classmethod
    def of(cls, seconds: Sequence[float], count: int) -> Times:
        """Of times in seconds, at least one."""
        p50, p95, p99 = np.percentile(seconds, (50, 95, 99)) * 1e3
        return cls(float(p50), float(p95), float(p99), count)


@dataclass(frozen=True)
class Stats:
    """What a stream has done so far.

    Attributes:
        frames: mattes that were handed out.
        dropped: frames of a live source that were passed over because a newer one had come.
        fps: mattes a second, over the newest.
        latency: from the arrival of a frame until its matte was handed out; None before the first.
        withheld: frames that had no matte, for which the background alone was to be shown.
        stages: capture, preprocess, network and finish, as far as they ran: time at work.
    """

    frames: int
    dropped: int
    fps: float
    latency: Times | None
    stages: Mapping[str, Times]
    withheld: int = 0

    def summary(self) -> str:
        """One line: frame rate, latency (half, and 95 % of the mattes), network, frames dropped."""
        if self.latency is None:
            return "no matte yet"
        network = self.stages.get("network")
        return (
            f"{self.fps:.0f} frames/s, {self.latency.p50:.0f} ms (95 %: {self.latency.p95:.0f}), "
            f"{'' if network is None else f'network {network.p50:.0f} ms, '}{self.dropped} dropped"
        )

    def __str__(self) -> str:
        """A table for a person."""
        rows = {**self.stages, **({"latency": self.latency} if self.latency else {})}
        lines = [f"{'ms':<11}{'p50':>8}{'p95':>8}{'p99':>8}"]
        lines += [f"{n:<11}{t.p50:>8.1f}{t.p95:>8.1f}{t.p99:>8.1f}" for n, t in rows.items()]
        lines.append(
            f"{self.frames} mattes, {self.fps:.1f} a second, {self.dropped} frames passed over"
        )
        if self.withheld:
            lines.append(f"{self.withheld} frames without a matte: background only")
        return "\n".join(lines)


class Meter:
    """Collects the times of a stream, and which frames had no matte; bounded, and safe to use from
    several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[str, deque[float]] = {}
        self._counts: dict[str, int] = {}
        self._totals: dict[str, float] = {}
        self._done: deque[float] = deque(maxlen=_KEPT)
        self._withheld: dict[str, int] = {}  # why -> how many

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time a block of a stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - begin)

    def add(self, stage: str, seconds: float) -> None:
        """Add a time of a stage."""
        with self._lock:
            self._times.setdefault(stage, deque(maxlen=_KEPT)).append(seconds)
            self._counts[stage] = self._counts.get(stage, 0) + 1
            self._totals[stage] = self._totals.get(stage, 0.0) + seconds

    def total(self, stage: str) -> float:
        """Seconds of a stage in all, of all its threads together."""
        with self._lock:
            return self._totals.get(stage, 0.0)

    def withhold(self, reason: Exception) -> None:
        """Count a frame that has no matte; the first for a reason is said in the log."""
        text = str(reason)
        with self._lock:
            count = self._withheld[text] = self._withheld.get(text, 0) + 1
        if count == 1:
            log.warning("no matte for a frame; showing the background only: %s", text)

    def notes(self) -> list[str]:
        """How many frames had no matte, and why; for a report."""
        with self._lock:
            return [
                f"{count} frame{'s' * (count > 1)} without a matte, showing the background only: "
                f"{text}"
                for text, count in self._withheld.items()
            ]

    def handed_out(self, latency: float) -> None:
        """Count a matte whose frame came ``latency`` seconds ago."""
        self.add(_LATENCY, latency)
        with self._lock:
            self._done.append(time.perf_counter())

    def stats(self, dropped: int = 0) -> Stats:
        """All of it, now."""
        with self._lock:
            times = {n: Times.of(list(t), self._counts[n]) for n, t in self._times.items()}
            done = list(self._done)
            withheld = sum(self._withheld.values())
        latency = times.pop(_LATENCY, None)
        fps = (len(done) - 1) / (done[-1] - done[0]) if len(done) > 1 else 0.0
        return Stats(latency.count if latency else 0, dropped, fps, latency, times, withheld)


_LATENCY = "latency"
