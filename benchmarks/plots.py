"""Pictures of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.live import Result
    from benchmarks.pipeline import Contest


def pyplot() -> Any:
    """Matplotlib's, for files."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    return pyplot


def contests(measured: Sequence[Contest], path: Path) -> None:
    """Milliseconds of everyone in the frame and stream contests, the fastest above."""
    shown = [one for one in measured if one.question != "network"]
    columns = 4
    rows = -(-len(shown) // columns)
    drawing = pyplot()
    figure, axes = drawing.subplots(
        rows, columns, figsize=(4.6 * columns, 2.4 * rows), squeeze=False
    )
    for axis in axes.flat[len(shown) :]:
        axis.set_axis_off()
    for contest, axis in zip(shown, axes.flat, strict=False):
        ranked = sorted(contest.times.items(), key=lambda item: item[1].median)
        for at, (name, times) in enumerate(ranked):
            ours = name.startswith("Matter")
            axis.barh(at, 1e3 * times.median, color="C1" if ours else "C7")
            axis.plot([1e3 * times.p10, 1e3 * times.p90], [at, at], color="black", linewidth=1)
            axis.text(1e3 * times.p90, at, f"  {1e3 * times.median:.1f}", va="center", fontsize=7)
        axis.set_yticks(range(len(ranked)), [name for name, _ in ranked], fontsize=7)
        axis.set_ylim(len(ranked) - 0.4, -0.6)
        axis.margins(x=0.2)
        axis.tick_params(axis="x", labelsize=7)
        threads = f"{contest.threads} thread{'s' if contest.threads > 1 else ''}"
        axis.set_title(
            f"{contest.network}, {contest.question} {contest.size}, {threads}", fontsize=8
        )
    figure.suptitle("Milliseconds a frame, median with tenth and ninetieth percentile", fontsize=11)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    drawing.close(figure)


def live(results: Sequence[Result], path: Path) -> None:
    """Latency of every stream over the time of its run, and the memory of the process."""
    runs = sorted({result.streams for result in results})
    drawing = pyplot()
    figure, axes = drawing.subplots(
        2, len(runs), figsize=(4.6 * len(runs), 5), squeeze=False, sharex="col", sharey="row"
    )
    for count, (above, below) in zip(runs, axes.T, strict=True):
        some = [result for result in results if result.streams == count]
        for result in some:
            times, p50, p99 = zip(*result.latencies, strict=True)
            colour = f"C{result.stream - 1}"
            above.plot(times, p50, color=colour, label=f"stream {result.stream}")
            above.plot(times, p99, color=colour, linewidth=0.6)
        above.set_title(f"{count} stream{'s' if count > 1 else ''}", fontsize=9)
        above.legend(fontsize=7)
        below.plot(*zip(*some[0].memory, strict=True), color="black", linewidth=0.8)
        below.set_xlabel("seconds", fontsize=8)
    axes[0][0].set_ylabel("latency, ms: p50, and p99 (thin)", fontsize=8)
    axes[1][0].set_ylabel("memory, MB", fontsize=8)
    for axis in axes.flat:
        axis.set_ylim(bottom=0)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    drawing.close(figure)
