"""The table, the data and the picture of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import plots, rivals
from benchmarks.cases import CASES, Aim
from benchmarks.gpu import GpuRow
from benchmarks.measure import Rival, Row
from benchmarks.tables import table
from benchmarks.timing import TURN, Statistics, Times

AIMS = {case.name: case.aim for case in CASES}
COLOURS = dict(zip(rivals.LIBRARIES, ("C0", "C2", "C1", "C3", "C4"), strict=True))


def row_from(data: dict[str, Any]) -> Row:
    """A row as `benchmarks.measure` wrote it."""

    def times(value: dict[str, Any] | None) -> Times | None:
        if value is None:
            return None
        return Times(**{call: Statistics(**part) for call, part in value.items()})

    listed = [Rival(**(rival | {"times": times(rival["times"])})) for rival in data["rivals"]]
    timed = {"ours": times(data["ours"]), "copy": times(data["copy"])}
    return Row(**(data | timed | {"rivals": listed}))


def ratio(row: Row, library: str, call: str = "steady") -> float | None:
    """How many times as long the library's best formulation takes; `call`: of `Times`."""
    best = row.best(library)
    if best is None or best.times is None:
        return None
    return float(getattr(best.times, call).median / getattr(row.ours, call).median)


def times_as(value: float) -> str:
    """A ratio with two digits: ``0.83×``, ``6.2×``, ``140×``."""
    return f"{value:.2g}×" if value < 9.95 else f"{value:.0f}×"


def aim_of(row: Row, aim: Aim) -> str:
    """The aim beside what came out: ``≥ 6×: 5.8, missed``."""
    parts = []
    reached = ratio(row, "OpenCV")
    if aim.ratio is not None and reached is not None:
        parts.append(f"≥ {aim.ratio:g}× OpenCV: {'met' if reached >= aim.ratio else 'missed'}")
    if aim.milliseconds is not None and row.size == "1080p":
        met = row.ours.steady.median * 1e3 < aim.milliseconds
        parts.append(f"< {aim.milliseconds:g} ms: {'met' if met else 'missed'}")
    return "; ".join(parts)


def milliseconds(times: Statistics) -> str:
    """Median with the tenth and ninetieth percentile."""
    return f"{times.median * 1e3:.3g} ({times.p10 * 1e3:.3g}–{times.p90 * 1e3:.3g})"


def summary(rows: Sequence[Row]) -> str:
    """One line for each kernel and size: times, speed, and each library's best as a ratio."""
    head = ["kernel", "size", "ms (p10–p90)", "GB/s", "of copy", *rivals.LIBRARIES]
    head += ["first: ms", "OpenCV", "aim"]
    lines = []
    for row in rows:
        ratios = [ratio(row, library) for library in rivals.LIBRARIES]
        first = ratio(row, "OpenCV", "first")
        lines.append(
            [
                row.case,
                row.size,
                milliseconds(row.ours.steady),
                f"{row.moved / row.ours.steady.median / 1e9:.1f}",
                f"{row.copy.steady.median / row.ours.steady.median:.0%}",
                *("" if value is None else times_as(value) for value in ratios),
                f"{row.ours.first.median * 1e3:.3g}",
                "" if first is None else times_as(first),
                aim_of(row, AIMS.get(row.case, Aim())),
            ]
        )
    return table(head, lines)


def formulations(rows: Sequence[Row]) -> str:
    """Every rival with its time, and how far its result is from the kernel's."""
    head = ["kernel", "size", "rival", "ms (p10–p90)", "ratio", "difference: most, mean"]
    lines = []
    for row in rows:
        for rival in row.rivals:
            if rival.times is None:
                continue
            most, mean = rival.difference or (0.0, 0.0)
            lines.append(
                [
                    row.case,
                    row.size,
                    f"{rival.library}: {rival.name}",
                    milliseconds(rival.times.steady),
                    times_as(rival.times.steady.median / row.ours.steady.median),
                    f"{most:.2g}, {mean:.2g}",
                ]
            )
    return table(head, lines)


def left_out(rows: Sequence[Row]) -> list[str]:
    """What was not measured, and why; each reason once."""
    said: dict[str, None] = {}
    for row in rows:
        for rival in row.rivals:
            if rival.note:
                what = f"{row.case}, {rival.library}: {rival.name}: " if rival.name else ""
                said[what + rival.note.removeprefix("not measured: " if not what else "")] = None
    return list(said)


def gpu_table(rows: Sequence[GpuRow]) -> str:
    """The same kernels on the GPU."""
    head = ["kernel", "size", "ms", "GB/s", "of copy", "launches", "torch max_unpool2d"]
    lines = []
    for row in rows:
        lines.append(
            [
                row.case,
                row.size,
                f"{row.ours * 1e3:.3g}",
                f"{row.moved / row.ours / 1e9:.0f}",
                f"{row.copy / row.ours:.0%}",
                str(row.launches),
                "" if row.torch is None else times_as(row.torch / row.ours),
            ]
        )
    return table(head, lines)


def markdown(facts: dict[str, Any], rows: Sequence[Row], gpu: Sequence[GpuRow] | str) -> str:
    """The whole report."""
    versions = ", ".join(f"{name} {value}" for name, value in facts["versions"].items())
    before, after = (" ".join(map(str, facts[f"load_{when}"])) for when in ("before", "after"))
    parts = [
        "# Kernels beside their rivals",
        f"`{facts['command']}`, {facts['date']}, commit {facts['commit']}.",
        f"{facts['cpu']}, {facts['cores']} cores, {facts['system']}; load average before "
        f"{before}, after {after}. {versions}.",
        f"Kernel, rivals and a copy take turns within each round, of {TURN} calls each. Times are "
        "medians of the last calls, which find caches and memory as the ones before left them, "
        "with the tenth and ninetieth percentile; *first* stands for the first calls, which find "
        "what the others left. GB/s counts what must be read and written once; *of copy* is the "
        "time of `np.copyto` for as many bytes as a share of the kernel's. A library's figure is "
        "its best formulation's median by the kernel's: above 1 the kernel is faster. Kernels use "
        "a second thread only above about three million pixels (one million where colours are "
        "estimated), so that the stages beside them keep their cores.",
    ]
    for threads in sorted({row.threads for row in rows}):
        some = [row for row in rows if row.threads == threads]
        parts += [f"## {threads} thread{'s' if threads > 1 else ''}", summary(some)]
        parts += ["### Every formulation", formulations(some)]
        reasons = left_out(some)
        if reasons:
            parts.append("\n".join(["Left out:", "", *(f"* {reason}" for reason in reasons)]))
    parts += ["## GPU", gpu if isinstance(gpu, str) else gpu_table(gpu)]
    return "\n\n".join(parts) + "\n"


def plot(rows: Sequence[Row], path: Path) -> None:
    """A bar for each kernel and size: how many times as long the fastest rival of all takes."""
    from matplotlib.patches import Patch

    pyplot = plots.pyplot()

    counts = sorted({row.threads for row in rows})
    highest = max(sum(row.threads == threads for row in rows) for threads in counts) or 1
    height = 2.2 + 0.28 * highest
    figure, axes = pyplot.subplots(
        1, len(counts), figsize=(7.5 * len(counts), height), squeeze=False
    )
    shown = set()
    for axis, threads in zip(axes[0], counts, strict=True):
        some = [row for row in rows if row.threads == threads]
        for at, row in enumerate(some):
            found = {name: ratio(row, name) for name in rivals.LIBRARIES}
            best = min(((v, k) for k, v in found.items() if v is not None), default=None)
            if best is not None:
                shown.add(best[1])
                axis.barh(at, best[0] - 1, left=1, color=COLOURS[best[1]])
                ends = (best[0], found["OpenCV"] or 0, AIMS.get(row.case, Aim()).ratio or 0, 1)
                axis.text(max(ends) * 1.1, at, times_as(best[0]), va="center", fontsize=8)
            opencv = found["OpenCV"]
            if opencv is not None:
                axis.plot(opencv, at, "|", color="C0", markersize=11, markeredgewidth=2)
            aim = AIMS.get(row.case, Aim()).ratio
            if aim is not None:
                axis.plot(aim, at, "D", color="black", markersize=4, markerfacecolor="white")
        axis.set_yticks(range(len(some)), [f"{row.case}  {row.size}" for row in some], fontsize=8)
        axis.set_ylim(len(some) - 0.4, -0.6)
        axis.set_xscale("log")
        ticks = [0.5, 1, 2, 5, 10, 20, 50, 100, 200]
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
        axis.set_xlim(0.25, 400)
        axis.axvline(1, color="black", linewidth=0.8)
        axis.grid(axis="x", alpha=0.3)
        axis.set_title(f"{threads} thread{'s' if threads > 1 else ''}", fontsize=10)
        axis.set_xlabel("median of the rival / median of the kernel (log scale)", fontsize=9)
    handles: list[Any] = [Patch(color=COLOURS[k], label=f"fastest: {k}") for k in sorted(shown)]
    line = pyplot.Line2D
    handles.append(line([], [], color="C0", marker="|", linestyle="", label="best OpenCV form"))
    handles.append(
        line([], [], color="black", marker="D", markerfacecolor="white", linestyle="",
             markersize=4, label="aim, against OpenCV")
    )  # fmt: skip
    figure.legend(handles=handles, loc="lower center", ncols=4, fontsize=8, frameon=False)
    figure.suptitle(
        "Kernels beside the fastest rival: right of 1 the kernel is faster", fontsize=11
    )
    figure.tight_layout(rect=(0, 0.6 / height, 1, 1))
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def write(
    folder: Path, stem: str, facts: dict[str, Any], rows: Sequence[Row], gpu: Sequence[GpuRow] | str
) -> list[Path]:
    """`stem`.json, .md and .png in `folder`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}.{ending}" for ending in ("json", "md", "png")]
    device = gpu if isinstance(gpu, str) else [asdict(row) for row in gpu]
    data = {**facts, "rows": [asdict(row) for row in rows], "gpu": device}
    paths[0].write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    paths[1].write_text(markdown(facts, rows, gpu), encoding="utf-8")
    plot(rows, paths[2])
    return paths
