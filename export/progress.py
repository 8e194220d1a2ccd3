"""What a build tells a person: progress while it runs, tables at its end.

Everything goes to stderr. In a terminal the running stage is one line with a clock; in a log each
stage is one line when it is done.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from matter_sdk.sdk.errors import printable

if TYPE_CHECKING:
    from matter_sdk.sdk.engine.manifest import Manifest, Verification

_TICK_S = 0.2


@dataclass
class Stage:
    """One step of a build. ``bytes`` is what it produced, ``note`` a word on the outcome."""

    name: str
    seconds: float = 0.0
    bytes: int | None = None
    note: str = ""


class Report:
    """Stages as they run, kept for the table at the end."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.stages: list[Stage] = []
        self._live = self.stream.isatty()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Time a step and show it; the body may set ``bytes`` and ``note`` while it runs."""
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
        """One line of its own."""
        with self._lock:
            print(printable(text), file=self.stream, flush=True)

    def _show(self, stage: Stage, mark: str, end: str = "") -> None:
        size = "" if stage.bytes is None else size_text(stage.bytes)
        text = f"{mark} {stage.name:<42} {stage.seconds:7.1f} s {size:>10}  {stage.note}".rstrip()
        clear = "\r\x1b[K" if self._live else ""
        with self._lock:
            # A log's encoding may lack the marks: replaced, never an exception.
            encoding = self.stream.encoding or "utf-8"
            text = text.encode(encoding, "replace").decode(encoding)
            print(f"{clear}{printable(text)}", end=end, file=self.stream, flush=True)


def size_text(count: int) -> str:
    """Bytes for a person: 812 B, 12.3 MB, 1.99 GB (powers of ten)."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def count_text(count: int) -> str:
    """A large count for a person: 4.21 M, 1.87 G."""
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= factor:
            return f"{count / factor:.2f}{unit}"
    return str(count)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Lines of a table; the first ``left`` columns and the last start left, numbers end right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        aligned = [
            cell.ljust(width) if column < left or column == len(header) - 1 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(aligned).rstrip()

    return [line(header), "  ".join("-" * width for width in widths), *map(line, rows)]


def stages_table(stages: Sequence[Stage]) -> list[str]:
    """Stage, seconds, size."""
    rows = [
        [
            stage.name,
            f"{stage.seconds:.1f}",
            "" if stage.bytes is None else size_text(stage.bytes),
            stage.note,
        ]
        for stage in stages
    ]
    return table(("stage", "seconds", "size", ""), rows)


def verification_heading(manifest: Manifest) -> str:
    """What a verification table is about."""
    judged = "alpha"
    if manifest.fusion == "cam":
        judged = "activation maps, relative to their range,"
    random = "; random weights: bounds are wide, and the results mean nothing"
    return (
        f"Difference of {judged} from the PyTorch network's, mean over the verification images"
        f"{random if manifest.weights.random else ''}:"
    )


def verification_table(entries: Sequence[Verification], *, sizes: bool) -> list[str]:
    """One row an artefact; ``sizes`` adds the column that tells several network sizes apart.

    SAD and Conn in thousands, Grad in tens, as the benchmarks of the field print them; MSE, MAD and
    the largest difference on alpha in 0..1; "of alpha" is SAD as a part of the sum of alpha.
    Measures that no artefact has are left out: a classifier's activation maps have no gradient or
    connectivity error.
    """
    measures = [
        ("SAD", "sad", "{:.4f}"),
        ("MSE", "mse", "{:.1e}"),
        ("MAD", "mad", "{:.1e}"),
        ("Grad", "grad", "{:.4f}"),
        ("Conn", "conn", "{:.4f}"),
        ("of alpha", "share", "{:.2%}"),
        ("largest", "largest", "{:.1e}"),
    ]
    measures = [one for one in measures if any(getattr(x, one[1]) is not None for x in entries)]
    header = ["artefact", "precision", *(title for title, _, _ in measures), "bound", "result"]
    rows = []
    for entry in entries:
        numbers = [_number(getattr(entry, field), form) for _, field, form in measures]
        bound = ", ".join(f"{name} {value:.0e}" for name, value in entry.bound.items()) or "–"
        result = f"{entry.status}: {entry.reason}" if entry.reason else entry.status
        row = [entry.artefact, entry.precision, *numbers, bound, result]
        rows.append([f"{entry.size[0]}x{entry.size[1]}", *row] if sizes else row)
    return table(["size", *header] if sizes else header, rows, left=3 if sizes else 2)


def some(names: Sequence[str], shown: int = 8) -> str:
    """The first few of many names."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
