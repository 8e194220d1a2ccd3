"""Every kernel beside its baselines and a copy of as many bytes, in turns.

Each number of threads has a process of its own, which writes JSON, since NumPy, numba and OpenMP
read their number of threads when they are loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import baselines, gpu_kernels, hardware, inputs, page
from benchmarks.cases import CASES, Bound, Case, Contest
from benchmarks.rounds import TURN, Statistics, Times, interleave
from matter_sdk.kernels.yuv import YUV

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
OURS, COPY = "kernels", "copy"


@dataclass
class Baseline:
    """One formulation of one library. `times` is None where `note` says why."""

    library: str
    name: str
    times: Times | None = None
    difference: tuple[float, float] | None = None  # to ours: at most, in the mean
    note: str = ""


@dataclass
class Row:
    """A kernel at a size, with everything that was measured in its rounds."""

    case: str
    size: str
    threads: int
    moved: int
    ours: Times
    copy: Times
    baselines: list[Baseline] = field(default_factory=list)

    def best(self, library: str) -> Baseline | None:
        """Return the library's fastest formulation."""
        timed = [r for r in self.baselines if r.library == library and r.times is not None]
        return min(timed, key=lambda one: one.times.steady.median, default=None)  # type: ignore[union-attr]


def arrays_of(result: Any) -> tuple[Any, ...]:
    """Return the arrays of a result: one, several, or a frame's planes."""
    if isinstance(result, YUV):
        return result.planes
    return result if isinstance(result, tuple) else (result,)


def difference(result: Any, other: Any) -> tuple[float, float]:
    """Return the largest and the mean absolute difference of the arrays that both have.

    Raises:
        ValueError: the shapes differ.
    """
    worst, total, count = 0.0, 0.0, 0
    for ours, theirs in zip(arrays_of(result), arrays_of(other), strict=False):
        if ours.shape != theirs.shape:
            raise ValueError(f"shapes {ours.shape} and {theirs.shape}")
        gap = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
        worst, total, count = max(worst, float(gap.max())), total + gap.sum(), count + gap.size
    return worst, float(total) / count


def our_call(contest: Contest) -> Callable[[], Any]:
    """Return the kernel as an application calls it in a loop: into the same `out`."""
    first = contest.call(**contest.arrays, **contest.options)
    return lambda: contest.call(**contest.arrays, **contest.options, out=first)


def copy_call(moved: int) -> Callable[[], Any]:
    """Return a copy that reads and writes `moved` bytes in all."""
    source = np.ones(moved // 2, np.uint8)
    target = np.empty_like(source)
    return lambda: np.copyto(target, source)


def contenders(contest: Contest) -> tuple[dict[str, Callable[[], Any]], list[Baseline]]:
    """Find the baselines that give the kernel's result, by ``library: name``; and all, noted."""
    expected = contest.call(**contest.arrays, **contest.options)
    calls, found = {}, []
    for library in baselines.LIBRARIES:
        module = baselines.load(library)
        if module is None:
            found.append(Baseline(library, "", note=f"not measured: {library} is not installed"))
            continue
        make = getattr(module, contest.baseline, None)
        made: baselines.Calls = make(**contest.arrays, **contest.options) if make else {}
        for name, call in made.items():
            gap = difference(expected, call())
            note = why_not(gap, contest.bounds.get(library, contest.bound))
            if not note:
                calls[f"{library}: {name}"] = call
            found.append(Baseline(library, name, difference=gap, note=note))
    return calls, found


def why_not(gap: tuple[float, float], bound: Bound) -> str:
    """Say why a baseline is not timed: its result differs. Otherwise an empty string."""
    for value, allowed, word in zip(gap, (bound.most, bound.mean), ("most", "mean"), strict=True):
        if not value <= allowed:
            return f"not measured: another result ({word} difference {value:.3g} > {allowed:.3g})"
    return ""


def measure(case: Case, size: str, threads: int, budget: float) -> Row:
    """Time one case at one size."""
    contest = case.make(inputs.SIZES[size])
    calls, found = contenders(contest)
    times = interleave({OURS: our_call(contest), **calls, COPY: copy_call(contest.moved)}, budget)
    for one in found:
        one.times = times.get(f"{one.library}: {one.name}")
    return Row(
        case.name, case.fixed or size, threads, contest.moved, times[OURS], times[COPY], found
    )


def chosen(only: str, sizes: Sequence[str]) -> list[tuple[Case, str]]:
    """List the cases whose name holds `only`, with their sizes; those of a fixed size once."""
    cases = [case for case in CASES if only in case.name]
    return [(case, size) for case in cases for size in (sizes[:1] if case.fixed else sizes)]


def limit_threads(threads: int) -> None:
    """Limit the threads of the libraries that are told while they run."""
    import cv2

    cv2.setNumThreads(threads)
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(threads)


def row_from(data: dict[str, Any]) -> Row:
    """Read a row from its JSON."""

    def times(value: dict[str, Any] | None) -> Times | None:
        if value is None:
            return None
        return Times(**{call: Statistics(**part) for call, part in value.items()})

    listed = [Baseline(**(one | {"times": times(one["times"])})) for one in data["baselines"]]
    timed = {"ours": times(data["ours"]), "copy": times(data["copy"])}
    return Row(**(data | timed | {"baselines": listed}))


def ratio(row: Row, library: str, call: str = "steady") -> float | None:
    """Divide a library's best time by the kernel's; `call`: a field of `Times`."""
    best = row.best(library)
    if best is None or best.times is None:
        return None
    return float(getattr(best.times, call).median / getattr(row.ours, call).median)


def as_times(value: float | None) -> str:
    """Write a ratio with two digits: ``0.83×``, ``6.2×``, ``140×``; empty for None."""
    if value is None:
        return ""
    return f"{value:.2g}×" if value < 9.95 else f"{value:.0f}×"


def summary(rows: Sequence[Row]) -> str:
    """Write a line for each kernel and size: times, speed, each library's best as a ratio."""
    head = ["kernel", "size", "ms (p10–p90)", "GB/s", "of copy", *baselines.LIBRARIES]
    head += ["first: ms", "OpenCV"]
    lines = []
    for row in rows:
        steady = row.ours.steady
        p10, median, p90 = (f"{1e3 * t:.3g}" for t in (steady.p10, steady.median, steady.p90))
        lines.append(
            [
                row.case,
                row.size,
                f"{median} ({p10}–{p90})",
                f"{row.moved / steady.median / 1e9:.1f}",
                f"{row.copy.steady.median / steady.median:.0%}",
                *(as_times(ratio(row, library)) for library in baselines.LIBRARIES),
                f"{row.ours.first.median * 1e3:.3g}",
                as_times(ratio(row, "OpenCV", "first")),
            ]
        )
    return page.table(head, lines)


def left_out(rows: Sequence[Row]) -> list[str]:
    """List what was not measured, and why; each reason once."""
    said: dict[str, None] = {}
    for row in rows:
        for one in row.baselines:
            if one.note:
                what = f"{row.case}, {one.library}: {one.name}: " if one.name else ""
                said[what + one.note.removeprefix("not measured: " if not what else "")] = None
    return list(said)


def markdown(rows: Sequence[Row], gpu: str) -> str:
    """Write the page's section; `gpu`: what is said of a GPU."""
    parts = [
        f"Kernel, baselines and a copy take turns of {TURN} calls. *ms* is of a turn's last call, "
        "with everything in the caches, *first* of its first. *GB/s* counts what must be read and "
        "written once; *of copy* is the time of `np.copyto` for as many bytes, divided by the "
        "kernel's. A library's figure is its fastest formulation's time divided by the kernel's: "
        "above 1 the kernel is faster. Kernels use a second thread above three million pixels, one "
        "million where colours are estimated.",
    ]
    for threads in sorted({row.threads for row in rows}):
        some = [row for row in rows if row.threads == threads]
        parts += [f"### {page.plural(threads, 'thread')}", summary(some)]
        parts += ["\n".join(f"* {reason}" for reason in left_out(some))]
    return "\n\n".join(filter(None, [*parts, "### GPU", gpu]))


def measured(threads: int, sizes: Sequence[str], only: str, budget: float) -> list[Row]:
    """Measure in a process of its own with so many threads."""
    command = [sys.executable, "-m", "benchmarks.kernel_times", "--threads", str(threads)]
    command += ["--sizes", *sizes, "--only", only, "--budget", str(budget)]
    environment = os.environ | dict.fromkeys(VARIABLES, str(threads))
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return [row_from(row) for row in json.loads(result.stdout)]


def report(
    threads: Sequence[int],
    sizes: Sequence[str],
    only: str,
    budget: float,
    output: Path,
    given: Sequence[str],
) -> list[Path]:
    """Time the kernels, also on a GPU where there is one; write the page and return the files."""
    facts = hardware.begin(given)
    rows = [row for count in threads for row in measured(count, sizes, only, budget)]
    missing = gpu_kernels.why_not()
    there = [] if missing else gpu_kernels.rows(chosen(only, sizes))
    if there:
        facts["gpu"] = gpu_kernels.name()
    text = markdown(rows, missing or gpu_kernels.table(there))
    data = {"rows": [asdict(row) for row in rows], "gpu": [asdict(row) for row in there]}
    return page.write(output, "kernels", facts, text, data)


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernel_times")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--sizes", nargs="+", required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--budget", type=float, required=True)
    args = parser.parse_args(argv)
    for variable in VARIABLES:
        if os.environ.get(variable) != str(args.threads):
            parser.error(f"{variable} is {os.environ.get(variable)!r}, expected {args.threads}")
    limit_threads(args.threads)
    from tqdm import tqdm

    rows = []
    bar = tqdm(chosen(args.only, args.sizes), file=sys.stderr, dynamic_ncols=True)
    for case, size in bar:
        bar.set_description(f"{args.threads} thread(s), {case.name} {case.fixed or size}")
        rows.append(asdict(measure(case, size, args.threads, args.budget)))
    json.dump(rows, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
