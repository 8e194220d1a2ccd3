"""One run on this process's threads: every case, its rivals and a copy, interleaved.

`benchmarks.__main__` starts it in a process of its own, since NumPy, numba and OpenMP read their
number of threads when they are loaded: ``python -m benchmarks.measure`` writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from matter_sdk.kernels.yuv import YUV

from benchmarks import rivals, scenes
from benchmarks.cases import CASES, Bound, Case, Contest
from benchmarks.timing import Times, interleave

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
OURS, COPY = "kernels", "copy"


@dataclass
class Rival:
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
    rivals: list[Rival] = field(default_factory=list)

    def best(self, library: str) -> Rival | None:
        """The library's fastest formulation."""
        timed = [r for r in self.rivals if r.library == library and r.times is not None]
        return min(timed, key=lambda rival: rival.times.steady.median, default=None)  # type: ignore[union-attr]


def arrays_of(result: Any) -> tuple[Any, ...]:
    """The arrays of a result: one, several, or a frame's planes."""
    if isinstance(result, YUV):
        return result.planes
    return result if isinstance(result, tuple) else (result,)


def difference(result: Any, other: Any) -> tuple[float, float]:
    """Largest and mean absolute difference of two results, of the arrays that both have.

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
    """The kernel as an application calls it in a loop: into the same `out`."""
    first = contest.call(**contest.arrays, **contest.options)
    return lambda: contest.call(**contest.arrays, **contest.options, out=first)


def copy_call(moved: int) -> Callable[[], Any]:
    """A copy that reads and writes `moved` bytes in all."""
    source = np.ones(moved // 2, np.uint8)
    target = np.empty_like(source)
    return lambda: np.copyto(target, source)


def contenders(contest: Contest) -> tuple[dict[str, Callable[[], Any]], list[Rival]]:
    """The rivals that compute what the kernel does, by ``library: name``, and all with a note."""
    expected = contest.call(**contest.arrays, **contest.options)
    calls, found = {}, []
    for library in rivals.LIBRARIES:
        module = rivals.load(library)
        if module is None:
            found.append(Rival(library, "", note=f"not measured: {library} is not installed"))
            continue
        make = getattr(module, contest.rivals, None)
        made: rivals.Calls = make(**contest.arrays, **contest.options) if make else {}
        for name, call in made.items():
            rival = Rival(library, name, difference=difference(expected, call()))
            bound = contest.bounds.get(library, contest.bound)
            rival.note = why_not(rival.difference or (0, 0), bound)
            if not rival.note:
                calls[f"{library}: {name}"] = call
            found.append(rival)
    return calls, found


def why_not(gap: tuple[float, float], bound: Bound) -> str:
    """Why a rival is no rival: its result is another; or an empty string."""
    for value, allowed, word in zip(gap, (bound.most, bound.mean), ("most", "mean"), strict=True):
        if not value <= allowed:
            return f"not measured: another result ({word} difference {value:.3g} > {allowed:.3g})"
    return ""


def measure(case: Case, size: str, threads: int, budget: float) -> Row:
    """Time one case at one size."""
    contest = case.make(scenes.SIZES[size])
    calls, found = contenders(contest)
    times = interleave({OURS: our_call(contest), **calls, COPY: copy_call(contest.moved)}, budget)
    for rival in found:
        rival.times = times.get(f"{rival.library}: {rival.name}")
    return Row(
        case.name, case.fixed or size, threads, contest.moved, times[OURS], times[COPY], found
    )


def chosen(only: str, sizes: Sequence[str]) -> list[tuple[Case, str]]:
    """Cases whose name holds `only`, with their sizes; those of a fixed size once."""
    cases = [case for case in CASES if only in case.name]
    return [(case, size) for case in cases for size in (sizes[:1] if case.fixed else sizes)]


def limit_threads(threads: int) -> None:
    """For the libraries that are told while they run."""
    import cv2

    cv2.setNumThreads(threads)
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(threads)


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure")
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
