"""Results of an evaluation, one for each picture, and the tables that the papers make of them."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from matter_sdk.training.data.layers import KINDS

# Of training.evaluation.metrics.evaluate -> as the papers write it, and their number of decimals.
MEASURES: dict[str, tuple[str, int]] = {
    "sad": ("SAD", 2),
    "mse": ("MSE", 4),
    "mad": ("MAD", 4),
    "grad": ("Grad", 2),
    "conn": ("Conn", 2),
    "sad_tran": ("SAD-TRAN", 2),
    "mse_tran": ("MSE-TRAN", 4),
    "mad_tran": ("MAD-TRAN", 4),
    "sad_fg": ("SAD-FG", 2),
    "sad_bg": ("SAD-BG", 2),
}
AVERAGE = "Avg."


@dataclass(frozen=True)
class Result:
    """One picture by one system.

    ``index``: the picture's place in its set. ``trimap``: "own", the dataset's, or "made" from
    alpha. ``seconds``: of the system for this picture. ``measures``: those of
    ``training.evaluation.metrics.evaluate``. ``apart``: mean absolute difference of alpha from the
    first system's; 0 for that one.
    """

    index: int
    picture: str
    kind: str
    category: str
    trimap: str
    size: tuple[int, int]
    seconds: float
    measures: Mapping[str, float]
    apart: float = 0.0


@dataclass(frozen=True)
class Table:
    """A title, a head and lines of cells: a word, then numbers."""

    title: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    note: str = ""

    def text(self) -> str:
        """Aligned, for a terminal."""
        lines = ["  ".join(cells).rstrip() for cells in self._padded()]
        lines.insert(1, "─" * max(map(len, lines)))
        return "\n".join([self.title, *lines, *([self.note] if self.note else [])])

    def markdown(self) -> str:
        """Aligned too, so that it can be read as it is."""
        head, *lines = ("| " + " | ".join(cells) + " |" for cells in self._padded())
        word, *numbers = ("-" * (width + 1) for width in self._widths())
        rule = "|".join([f"{word}-", *(f"{number}:" for number in numbers)])
        note = f"\n\n{self.note}" if self.note else ""
        return "\n".join([f"## {self.title}\n", head, f"|{rule}|", *lines]) + note

    def _widths(self) -> list[int]:
        return [max(map(len, column)) for column in zip(self.head, *self.lines, strict=True)]

    def _padded(self) -> list[list[str]]:
        word, *numbers = self._widths()
        return [
            [first.ljust(word), *map(str.rjust, others, numbers)]
            for first, *others in (self.head, *self.lines)
        ]


def means(results: Sequence[Result]) -> dict[str, float]:
    """Return the mean of each measure over the pictures, in the order of :data:`MEASURES`."""
    return {
        name: statistics.fmean(result.measures[name] for result in results) for name in MEASURES
    }


def groups(
    results: Sequence[Result], key: Callable[[Result], str], order: Sequence[str] = ()
) -> dict[str, list[Result]]:
    """The results of each kind or category; those of ``order`` first, then by the alphabet."""
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(key(result), []).append(result)
    first = [name for name in order if name in found]
    return {name: found[name] for name in first + sorted(found.keys() - set(first))}


def kind(result: Result) -> str:
    """For :func:`groups`."""
    return result.kind


def category(result: Result) -> str:
    """For :func:`groups`; pictures without one are a group too."""
    return result.category or "none"


def worst(results: Sequence[Result], count: int) -> list[Result]:
    """Return the ``count`` results of highest SAD, highest first; of equal ones the earlier."""
    return sorted(results, key=lambda result: (-result.measures["sad"], result.index))[:count]


def number(name: str, value: float) -> str:
    """Format a measure with the papers' number of decimals."""
    return f"{value:.{MEASURES[name][1]}f}"


def whole(systems: Mapping[str, Sequence[Result]]) -> Table:
    """Make a line for each system: its means over all pictures."""
    lines = tuple(
        (title, *(number(name, value) for name, value in means(results).items()))
        for title, results in systems.items()
    )
    head = (name for name, _ in MEASURES.values())
    count = len(next(iter(systems.values())))
    return Table(f"Whole set, {count} picture{'s' if count > 1 else ''}", ("", *head), lines)


def by_group(
    systems: Mapping[str, Sequence[Result]],
    what: str,
    key: Callable[[Result], str],
    order: Sequence[str] = (),
) -> Table | None:
    """SAD in each kind or category and the mean over these, as in AIM's Table 2.

    None where there is one group only, which is the whole.
    """
    lines = []
    head: list[str] = []
    for title, results in systems.items():
        found = groups(results, key, order)
        if len(found) < 2:
            return None
        head = [f"{name} ({len(some)})" for name, some in found.items()]
        sads = [means(some)["sad"] for some in found.values()]
        values = [*sads, statistics.fmean(sads)]
        lines.append((title, *(number("sad", value) for value in values)))
    note = f"{AVERAGE}: of the columns, whatever their number of pictures, as in the paper."
    return Table(f"SAD by {what}", ("", *head, AVERAGE), tuple(lines), note)


def deployment(systems: Mapping[str, Sequence[Result]]) -> Table | None:
    """What each system differs by from the first, and how long it takes; None for a single one."""
    if len(systems) < 2:
        return None
    first, *_ = systems
    reference = means(systems[first])
    lines = []
    for title, results in systems.items():
        found = means(results)
        changes = (found[name] - reference[name] for name in ("sad", "mse", "grad", "conn"))
        apart = [result.apart for result in results]
        lines.append(
            (
                title,
                *(("" if title == first else f"{change:+.1e}") for change in changes),
                *(
                    "" if title == first else f"{value:.1e}"
                    for value in (statistics.fmean(apart), max(apart))
                ),
                f"{1e3 * seconds(results):.1f}",
            )
        )
    head = ("", "ΔSAD", "ΔMSE", "ΔGrad", "ΔConn", "alpha apart", "at most", "ms")
    note = (
        "Alpha apart: mean absolute difference of alpha from the first line's, over all pictures, "
        "and of the picture where it is largest. ms: median of the pictures, from a frame to its "
        "matte."
    )
    return Table(f"What differs from {first}", head, tuple(lines), note)


def seconds(results: Sequence[Result]) -> float:
    """Median seconds for a picture: the first one of a size, which loads the network, is no more
    than one of many."""
    return statistics.median(result.seconds for result in results)


def every(systems: Mapping[str, Sequence[Result]]) -> list[Table]:
    """Make all tables that these results allow."""
    found = [
        whole(systems),
        by_group(systems, "type", kind, KINDS),
        by_group(systems, "category", category),
        deployment(systems),
    ]
    return [table for table in found if table is not None]


def comma_separated(systems: Mapping[str, Sequence[Result]]) -> str:
    """Write CSV: a line for each picture and system, all digits."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    facts = ("system", "picture", "kind", "category", "trimap", "height", "width")
    writer.writerow((*facts, *MEASURES, "apart", "seconds"))
    for title, results in systems.items():
        for result in results:
            values = (result.measures[name] for name in MEASURES)
            writer.writerow(
                (
                    *(title, result.picture, result.kind, result.category, result.trimap),
                    *result.size,
                    *(*values, result.apart, result.seconds),
                )
            )
    return stream.getvalue()
