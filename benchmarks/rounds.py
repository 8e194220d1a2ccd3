"""Interleaved timing: what takes turns in a round shares whatever else the machine does."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TURN = 5  # calls of a turn: after four, times no longer fall
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
    """Return median, tenth and ninetieth percentile (interpolated) and the least."""
    if len(samples) == 1:
        (only,) = samples
        return Statistics(1, only, only, only, only)
    tenths = statistics.quantiles(samples, n=10, method="inclusive")
    return Statistics(len(samples), statistics.median(samples), tenths[0], tenths[-1], min(samples))


@dataclass(frozen=True)
class Times:
    """Of one function, called several times in each of its turns.

    Attributes:
        first: of the first call: the caches and the memory are as the others left them.
        steady: of the last one: they are as the same function left them.
    """

    first: Statistics
    steady: Statistics


@dataclass(frozen=True)
class Turns:
    """Seconds of each of a function's turns, in the order of the rounds.

    Attributes:
        first: of its first call.
        steady: of its last one.
        work: of processor time, all threads of the process: a call's mean, with the pause after.
    """

    first: list[float] = field(default_factory=list)
    steady: list[float] = field(default_factory=list)
    work: list[float] = field(default_factory=list)

    def over(self, other: Turns) -> Statistics:
        """Divide the last call of each turn by the other's of the same round."""
        pairs = zip(self.steady, other.steady, strict=False)  # a slow one has fewer
        return statistics_of([mine / theirs for mine, theirs in pairs])


def take_turns(
    functions: Mapping[str, Callable[[], Any]],
    budget: float,
    clock: Callable[[], float] = time.perf_counter,
    pause: float = 0,
) -> dict[str, Turns]:
    """Call `functions` in turns until `budget` seconds have gone by.

    In every round each of them has one turn of `TURN` calls, in an order of its own, so that none
    always comes after the same other. Two calls come first, as a warm-up. A function of which a
    turn takes more than a third of the budget stays for a few rounds, with two calls each. After
    each turn come `pause` seconds, in which threads that wait by spinning can stop.
    """

    def timed(name: str) -> float:
        begin = clock()
        functions[name]()
        return clock() - begin

    names = list(functions)
    slow = set()
    for name in names:
        timed(name)  # compiles, fills pools and caches
        if TURN * timed(name) > budget / SLOW_ROUNDS:
            slow.add(name)
    found = {name: Turns() for name in names}
    finish = clock() + budget
    orders = random.Random(0)
    rounds = 0
    while rounds < FEWEST_ROUNDS or clock() < finish:
        for name in orders.sample(names, len(names)):
            if name not in slow or rounds < SLOW_ROUNDS:
                begin = time.process_time()
                turn = [timed(name) for _ in range(2 if name in slow else TURN)]
                if pause:
                    time.sleep(pause)
                found[name].work.append((time.process_time() - begin) / len(turn))
                found[name].first.append(turn[0])
                found[name].steady.append(turn[-1])
        rounds += 1
    return found


def interleave(
    functions: Mapping[str, Callable[[], Any]],
    budget: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Times]:
    """Time `functions` as ``take_turns`` calls them."""
    return {
        name: Times(statistics_of(turns.first), statistics_of(turns.steady))
        for name, turns in take_turns(functions, budget, clock).items()
    }


def ratios(
    first: Callable[[], Any],
    second: Callable[[], Any],
    budget: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Statistics:
    """Divide times of `first` by those of `second`: small differences on a noisy machine.

    The two are called in turns (A B, B A, A B, …) until `budget` seconds have gone by, and each
    call is divided by its neighbour.
    """
    found: list[float] = []
    finish = clock() + budget
    while len(found) < FEWEST_ROUNDS or clock() < finish:
        times = {}
        for call in (first, second) if len(found) % 2 else (second, first):
            begin = clock()
            call()
            times[call] = clock() - begin
        found.append(times[first] / times[second])
    return statistics_of(found)
