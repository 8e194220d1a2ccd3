"""Errors over time, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from matter_sdk.training.evaluation.metrics import MetricError
from matter_sdk.training.evaluation.video_metrics import dtssd, flicker


def test_a_constant_error_does_not_change() -> None:
    truth = np.random.default_rng(0).uniform(0, 0.5, (5, 6, 7))
    assert dtssd(truth + 0.25, truth) == pytest.approx(0, abs=1e-9)
    assert flicker(truth + 0.25, np.zeros_like(truth)) > 0


def test_an_error_that_comes_and_goes() -> None:
    """It changes by 0.2 at a quarter of the pixels: √(0.2² / 4) each time."""
    truth = np.tile(np.linspace(0, 1, 4), (4, 3, 1))
    trembling = truth.copy()
    trembling[::2, :, 0] += 0.2
    assert dtssd(trembling, truth) == pytest.approx(100 * math.sqrt(0.2**2 / 4))
    assert flicker(trembling, truth) == pytest.approx(0.2 / 4)


def test_flicker_is_looked_for_where_the_truth_stands_still() -> None:
    truth = np.zeros((3, 2, 2))
    truth[1, 0] = 1  # the upper half blinks
    assert flicker(truth, truth) == 0
    wrong = truth.copy()
    wrong[2, 1, 1] = 0.5
    assert flicker(wrong, truth) == pytest.approx(0.5 / 4)  # of four still changes one is 0.5
    assert flicker(truth, np.arange(12).reshape(3, 2, 2) / 12) == 0  # nothing stands still


@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3), (2, 3, 4)])
def test_what_is_no_pair_of_clips_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(MetricError, match="expected two clips"):
        dtssd(np.zeros(shape), np.zeros(shape if len(shape) < 3 or shape[0] < 2 else (2, 3, 5)))
