from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.timing import FEWEST_ROUNDS, SLOW_ROUNDS, interleave, statistics_of


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


def test_every_round_calls_each_once_after_each_other_one() -> None:
    clock = Clock()
    functions = {name: clock.function(name, 1) for name in "abc"}
    result = interleave(functions, budget=90, clock=clock)
    warm_up, calls = clock.calls[:6], clock.calls[6:]
    assert warm_up == ["a", "a", "b", "b", "c", "c"]
    rounds = [calls[at : at + 3] for at in range(0, len(calls), 3)]
    assert len(rounds) == 30
    assert all(sorted(turn) == ["a", "b", "c"] for turn in rounds)
    assert len(set(map(tuple, rounds))) == 6  # every order occurs
    assert all(times.count == 30 for times in result.values())


def test_times_are_each_function_s_own() -> None:
    clock = Clock()
    functions = {"fast": clock.function("fast", 1, 3), "slow": clock.function("slow", 10)}
    result = interleave(functions, budget=120, clock=clock)
    assert result["slow"].median == result["slow"].minimum == 10
    assert (result["fast"].minimum, result["fast"].median) == (1, 2)


def test_a_short_budget_still_gives_some_rounds() -> None:
    clock = Clock()
    result = interleave({"a": clock.function("a", 0.001)}, budget=0.004, clock=clock)
    assert result["a"].count == FEWEST_ROUNDS


def test_a_slow_rival_leaves_after_a_few_rounds() -> None:
    clock = Clock()
    functions = {"fast": clock.function("fast", 1), "slow": clock.function("slow", 50)}
    result = interleave(functions, budget=100, clock=clock)
    assert result["slow"].count == SLOW_ROUNDS
    assert result["fast"].count == FEWEST_ROUNDS


def test_an_error_of_a_function_is_not_swallowed() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interleave({"broken": broken}, budget=1)
