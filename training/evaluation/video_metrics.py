"""Errors of a matte over time."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from matter_sdk.training.evaluation.metrics import MetricError

# Alpha that changes by less than an 8-bit level stands still.
_STILL = 1 / 255


def dtssd(prediction: ArrayLike, alpha: ArrayLike) -> float:
    """dtSSD: how far the change from frame to frame is off, × 100.

    The root of the mean squared difference of both mattes' temporal derivatives, averaged over the
    frames: M. Erofeev et al., *Perceptually Motivated Benchmark for Video Matting* (BMVC 2015),
    section 3, scaled by the number of pixels as the tables of later papers do.

    Args:
        prediction: T×H×W floats in 0..1, at least two frames.
        alpha: T×H×W floats in 0..1, the truth.

    Raises:
        MetricError: shapes that differ or are not T×H×W with T ≥ 2.
    """
    predicted, truth = _clips(prediction, alpha)
    errors = np.square(np.diff(predicted, axis=0) - np.diff(truth, axis=0))
    return float(100 * np.sqrt(errors.mean((1, 2))).mean())


def flicker(prediction: ArrayLike, alpha: ArrayLike) -> float:
    """Mean absolute change of the predicted alpha from frame to frame, over the pixels where the
    true alpha does not change; 0 where there are none.

    Args and Raises: as :func:`dtssd`.
    """
    predicted, truth = _clips(prediction, alpha)
    still = np.abs(np.diff(truth, axis=0)) < _STILL
    changes = np.abs(np.diff(predicted, axis=0))[still]
    return float(changes.mean()) if changes.size else 0.0


def _clips(
    prediction: ArrayLike, alpha: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    predicted, truth = np.asarray(prediction, np.float64), np.asarray(alpha, np.float64)
    if predicted.shape != truth.shape or truth.ndim != 3 or len(truth) < 2:
        raise MetricError(
            f"prediction is {predicted.shape} and alpha {truth.shape}; expected two clips T×H×W of "
            f"one shape with at least two frames"
        )
    return predicted, truth
