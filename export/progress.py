"""Show a build's progress on stderr.

In a terminal the running stage is one line with a clock. In a log each stage is one line, written
when it is done.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from matter_sdk.sdk.describe import bytes_text, table
from matter_sdk.sdk.errors import printable

_TICK_S = 0.2


@dataclass
class Stage:
    """One step of a build. ``bytes``: size of what it made. ``note``: a word on the outcome."""

    name: str
    seconds: float = 0.0
    bytes: int | None = None
    note: str = ""


class Report:
    """Shows stages as they run, and keeps them for the table at the end."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.stages: list[Stage] = []
        self._live = self.stream.isatty()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Time a step and show it; the body may set ``bytes`` and ``note``."""
        stage = Stage(name)
        start = time.perf_counter()
        done = threading.Event()

        def tick() -> None:
            while not done.wait(_TICK_S):
                stage.seconds = time.perf_counter() - start
                self._show(stage, "…")

        clock = threading.Thread(target=tick, daemon=True) if self._live else None
        if clock:
            clock.start()
        mark = "✗"
        try:
            yield stage
            mark = "✓"
        finally:
            done.set()
            if clock:
                clock.join()
            stage.seconds = time.perf_counter() - start
            self._show(stage, mark, end="\n")
        self.stages.append(stage)

    def line(self, text: str = "") -> None:
        """Write a line."""
        with self._lock:
            print(printable(text), file=self.stream, flush=True)

    def _show(self, stage: Stage, mark: str, end: str = "") -> None:
        size = "" if stage.bytes is None else bytes_text(stage.bytes)
        text = f"{mark} {stage.name:<42} {stage.seconds:7.1f} s {size:>10}  {stage.note}".rstrip()
        clear = "\r\x1b[K" if self._live else ""
        with self._lock:
            # A log's encoding may lack the marks: replaced, never an exception.
            encoding = self.stream.encoding or "utf-8"
            text = text.encode(encoding, "replace").decode(encoding)
            print(f"{clear}{printable(text)}", end=end, file=self.stream, flush=True)


def stages_table(stages: Sequence[Stage]) -> list[str]:
    """Return the lines of a table: stage, seconds, size, note."""
    rows = [
        [
            stage.name,
            f"{stage.seconds:.1f}",
            "" if stage.bytes is None else bytes_text(stage.bytes),
            stage.note,
        ]
        for stage in stages
    ]
    return table(("stage", "seconds", "size", ""), rows)
