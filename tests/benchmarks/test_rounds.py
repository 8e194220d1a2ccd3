from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable

import pytest

from benchmarks.rounds import (
    FEWEST_ROUNDS,
    SLOW_ROUNDS,
    TURN,
    interleave,
    ratios,
    statistics_of,
    take_turns,
)


class Clock:
    """A clock that goes on only while a function says that it works."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def function(self, name: str, *seconds: float) -> Callable[[], None]:
        """Takes `seconds` in turns."""

        def call() -> None:
            self.now += seconds[self.calls.count(name) % len(seconds)]
            self.calls.append(name)

        return call


def test_statistics_of_known_samples() -> None:
    result = statistics_of([float(value) for value in range(10, -1, -1)])
    assert (result.count, result.median, result.p10, result.p90) == (11, 5, 1, 9)
    assert result.minimum == 0
    one = statistics_of([2.5])
    assert (one.count, one.median, one.p10, one.p90, one.minimum) == (1, 2.5, 2.5, 2.5, 2.5)


def test_every_round_gives_each_a_turn_of_some_calls() -> None:
    clock = Clock()
    functions = {name: clock.function(name, 1) for name in "abc"}
    result = interleave(functions, budget=30 * 3 * TURN, clock=clock)
    warm_up, calls = clock.calls[:6], clock.calls[6:]
    assert warm_up == ["a", "a", "b", "b", "c", "c"]
    turns = calls[::TURN]
    assert calls == [name for name in turns for _ in range(TURN)]
    rounds = [turns[at : at + 3] for at in range(0, len(turns), 3)]
    assert len(rounds) == 30
    assert all(sorted(turn) == ["a", "b", "c"] for turn in rounds)
    assert len(set(map(tuple, rounds))) == 6  # every order occurs
    assert all(times.first.count == times.steady.count == 30 for times in result.values())


def test_times_are_each_function_s_own() -> None:
    clock = Clock()
    fast = clock.function("fast", 9, 9, *(3, *(2,) * (TURN - 2), 1) * 99)  # after the warm-up
    functions = {"fast": fast, "slow": clock.function("slow", 10)}
    result = interleave(functions, budget=20 * 15 * TURN, clock=clock)
    assert result["slow"].first.median == result["slow"].steady.minimum == 10
    assert (result["fast"].first.median, result["fast"].steady.median) == (3, 1)


def test_a_short_budget_still_gives_some_rounds() -> None:
    clock = Clock()
    result = interleave({"a": clock.function("a", 1)}, budget=16, clock=clock)
    assert result["a"].steady.count == FEWEST_ROUNDS


def test_a_slow_one_leaves_after_a_few_rounds() -> None:
    clock = Clock()
    functions = {"fast": clock.function("fast", 1), "slow": clock.function("slow", 50)}
    result = interleave(functions, budget=100, clock=clock)
    assert result["slow"].steady.count == SLOW_ROUNDS
    assert clock.calls.count("slow") == 2 + 2 * SLOW_ROUNDS
    assert result["fast"].steady.count == FEWEST_ROUNDS


def test_an_error_of_a_function_is_not_swallowed() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interleave({"broken": broken}, budget=1)


def test_a_ratio_is_of_neighbours() -> None:
    """A machine that gets slower and slower changes each time, and no ratio."""
    clock = Clock()
    slower = [1.0 + at for at in range(50)]
    long = clock.function("long", *(1.5 * value for value in slower))
    short = clock.function("short", *slower)
    found = ratios(long, short, budget=100, clock=clock)
    assert found.minimum == found.median == found.p90 == 1.5
    assert found.count >= FEWEST_ROUNDS
    assert clock.calls[:4] == ["short", "long", "long", "short"]
    assert sum(1.5 * value + value for value in slower[: found.count - 1]) < 100


def test_turns_are_compared_with_the_other_s_of_the_same_round() -> None:
    clock = Clock()
    slower = [1.0 + at // TURN for at in range(-2, 50 * TURN)]  # each round; two are a warm-up
    functions = {
        "long": clock.function("long", *(1.5 * value for value in slower)),
        "short": clock.function("short", *slower),
    }
    found = take_turns(functions, budget=200, clock=clock)
    ratio = found["long"].over(found["short"])
    assert ratio.minimum == ratio.median == ratio.p90 == 1.5
    assert ratio.count == len(found["short"].steady) >= FEWEST_ROUNDS


def test_processor_time_is_of_all_threads_and_of_a_call() -> None:
    def work() -> None:
        begin = time.thread_time()
        while time.thread_time() - begin < 0.02:
            pass

    def both() -> None:
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    found = take_turns({"one": work, "two": both}, budget=0.01)
    assert statistics.median(found["one"].work) == pytest.approx(0.02, rel=0.3)
    assert statistics.median(found["two"].work) == pytest.approx(0.04, rel=0.3)
