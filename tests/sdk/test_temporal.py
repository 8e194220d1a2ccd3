"""Mattes over time: steady where nothing moves, never late where something does, in order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from matter_sdk.kernels import temporal_filter
from matter_sdk.sdk.streaming.temporal_filter import TemporalFilter

Alpha = NDArray[np.float32]
SIZE = (24, 40)


def still(level: int = 100, size: tuple[int, int] = (48, 80)) -> NDArray[np.uint8]:
    return np.full((*size, 3), level, np.uint8)


def trembling(count: int, seed: int = 0) -> list[Alpha]:
    rng = np.random.default_rng(seed)
    return [rng.uniform(0.3, 0.7, SIZE).astype(np.float32) for _ in range(count)]


def run(steady: TemporalFilter[int], frames: list[Any], alphas: list[Alpha]) -> list[Alpha]:
    """All of it, in order."""
    ready = []
    for number, (frame, alpha) in enumerate(zip(frames, alphas, strict=True)):
        ready += steady.push(number, frame, alpha)
    ready += steady.flush()
    assert [number for number, _ in ready] == list(range(len(frames)))
    return [alpha for _, alpha in ready]


def test_without_lookahead_it_is_the_kernels_recursion() -> None:
    alphas = trembling(6)
    found = run(TemporalFilter(), [still()] * 6, alphas)
    expected = alphas[0]
    for alpha, filtered in zip(alphas[1:], found[1:], strict=True):
        expected = temporal_filter(expected, alpha, np.zeros(SIZE, np.uint8))
        np.testing.assert_array_equal(filtered, expected)


def test_each_comes_out_so_many_frames_later() -> None:
    steady: TemporalFilter[int] = TemporalFilter(3)
    counts = [len(steady.push(at, still(), alpha)) for at, alpha in enumerate(trembling(7))]
    assert counts == [0, 0, 0, 1, 1, 1, 1]
    assert len(steady.flush()) == 3


def test_looking_ahead_trembles_less() -> None:
    alphas = trembling(40)
    spread = [
        np.std([alpha[12, 20] for alpha in run(TemporalFilter(n), [still()] * 40, alphas)[10:-6]])
        for n in (0, 4)
    ]
    alone = np.std([alpha[12, 20] for alpha in alphas[10:-6]])
    assert spread[1] < 0.95 * spread[0] < 0.95 * 0.5 * alone


@pytest.mark.parametrize("lookahead", [0, 4])
def test_what_moves_is_not_smeared(lookahead: int) -> None:
    """A bright square that jumps by its own width: alpha is that of its frame, exactly."""
    frames, alphas = [], []
    for step in range(4):
        frame, alpha = still(20), np.zeros(SIZE, np.float32)
        frame[8:40, 16 * step : 16 * step + 16] = 220
        alpha[4:20, 8 * step : 8 * step + 8] = 1
        frames.append(frame)
        alphas.append(alpha)
    for found, expected in zip(run(TemporalFilter(lookahead), frames, alphas), alphas, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("lookahead", [0, 2])
def test_it_begins_anew_on_a_cut_another_size_and_a_reset(lookahead: int) -> None:
    alphas = trembling(2)
    cut = run(TemporalFilter(lookahead), [still(20), still(220)], alphas)
    for found, expected in zip(cut, alphas, strict=True):
        np.testing.assert_array_equal(found, expected)
    other = [alphas[0], np.full((12, 20), 0.5, np.float32)]
    for found, expected in zip(
        run(TemporalFilter(lookahead), [still()] * 2, other), other, strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    steady: TemporalFilter[int] = TemporalFilter(lookahead)
    ready = steady.push(0, still(), alphas[0])
    steady.reset()
    ready += [*steady.push(1, still(), alphas[1]), *steady.flush()]
    for (_, found), expected in zip(ready, alphas, strict=True):
        np.testing.assert_array_equal(found, expected)
