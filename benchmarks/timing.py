"""Interleaved timing: rivals that share each round share whatever else the machine does."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FEWEST_ROUNDS = 5  # even where one round is longer than the budget
SLOW_ROUNDS = 3  # for a function that would use up the budget by itself


@dataclass(frozen=True)
class Statistics:
    """Of one function's times, in seconds."""

    count: int
    median: float
    p10: float
    p90: float
    minimum: float


def statistics_of(samples: Sequence[float]) -> Statistics:
    """Median, tenth and ninetieth percentile (interpolated between samples) and the least."""
    if len(samples) == 1:
        (only,) = samples
        return Statistics(1, only, only, only, only)
    tenths = statistics.quantiles(samples, n=10, method="inclusive")
    return Statistics(len(samples), statistics.median(samples), tenths[0], tenths[-1], min(samples))


def interleave(
    functions: Mapping[str, Callable[[], Any]],
    budget: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Statistics]:
    """Time `functions` in turns until `budget` seconds have gone by.

    Every round calls each of them once, in an order of its own, so that none always finds the
    caches as the same other left them. Two calls come first, as a warm-up. A function that takes
    more than a third of the budget by itself stays for a few rounds only.
    """
    names = list(functions)
    slow = set()
    for name in names:
        functions[name]()  # compiles, fills pools and caches
        begin = clock()
        functions[name]()
        if clock() - begin > budget / SLOW_ROUNDS:
            slow.add(name)
    samples: dict[str, list[float]] = {name: [] for name in names}
    finish = clock() + budget
    orders = random.Random(0)
    rounds = 0
    while rounds < FEWEST_ROUNDS or clock() < finish:
        for name in orders.sample(names, len(names)):
            if name in slow and rounds >= SLOW_ROUNDS:
                continue
            begin = clock()
            functions[name]()
            samples[name].append(clock() - begin)
        rounds += 1
    return {name: statistics_of(times) for name, times in samples.items()}
