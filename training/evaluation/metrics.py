"""Errors of a matte, as the released code of GFM and AIM measures them.

Rhemann et al., *A Perceptually Motivated Online Benchmark for Image Matting* (CVPR 2009), define
Grad and Conn. The units are those of the papers' tables: SAD and Conn are sums / 1000, Grad is a
sum / 10, MSE and MAD are means over the pixels.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter
from skimage.measure import label

_GRAD_SIGMA = 1.4
# The sixth step is 0.6000000000000001, so 153/255 lies below it: the published values depend on it.
_CONN_STEPS = np.arange(0, 1.1, 0.1)
_CONN_TOLERANCE = 0.15  # differences in connectivity up to this are not seen


class MetricError(ValueError):
    """A prediction, alpha or trimap that cannot be compared."""


def evaluate(
    prediction: ArrayLike, alpha: ArrayLike, trimap: ArrayLike | None = None
) -> dict[str, float]:
    """Compare a predicted matte with the true one.

    Args:
        prediction: H×W floats in 0..1.
        alpha: H×W floats in 0..1, the truth.
        trimap: H×W uint8: 0 background, 128 transition, 255 foreground.

    Returns:
        ``sad``, ``mse``, ``mad``, ``grad``, ``conn`` over the whole image. With a trimap also
        ``sad_tran``, ``mse_tran``, ``mad_tran``, the known areas of the prediction being set to 0
        and 1 first (the means are over the transition's pixels, and 0 where there are none), and
        ``sad_fg``, ``sad_bg``, over the trimap's foreground and background.

    Raises:
        MetricError: shapes that differ or are not H×W, values that are not numbers in 0..1, a
            trimap of other values.
    """
    predicted = _matte(prediction, "prediction")
    truth = _matte(alpha, "alpha")
    if predicted.shape != truth.shape:
        raise MetricError(
            f"prediction is {_size(predicted)}; expected {_size(truth)} as alpha: resize it first"
        )
    errors = np.abs(predicted - truth)
    result = {
        "sad": errors.sum() / 1000,
        "mse": np.square(errors).mean(),
        "mad": errors.mean(),
        "grad": gradient_error(predicted, truth),
        "conn": connectivity_error(predicted, truth),
    }
    if trimap is not None:
        result |= _by_area(errors, predicted, truth, _trimap(trimap, truth))
    return {name: float(value) for name, value in result.items()}


def gradient_error(prediction: NDArray[np.float64], alpha: NDArray[np.float64]) -> float:
    """Return Grad: squared differences of the gradients' magnitudes, summed, / 10.

    The gradients are first derivatives of a Gaussian of σ = 1.4. H×W in 0..1.
    """
    return float(np.square(_gradient(prediction) - _gradient(alpha)).sum() / 10)


def _gradient(matte: NDArray[np.float64]) -> NDArray[np.float64]:
    down = gaussian_filter(matte, _GRAD_SIGMA, order=(1, 0))
    right = gaussian_filter(matte, _GRAD_SIGMA, order=(0, 1))
    return np.hypot(down, right)


def connectivity_error(prediction: NDArray[np.float64], alpha: NDArray[np.float64]) -> float:
    """Conn: difference in connectivity to the largest region that both mattes share, / 1000.

    H×W in 0..1. For each pixel, l is the highest of the thresholds 0, 0.1 … 1 at which it still
    belongs to the largest 4-connected region where both mattes reach the threshold. A matte's
    distance above l, unless it is below 0.15, is what it lacks in connectivity.
    """
    level = np.full(alpha.shape, -1.0)
    both = np.minimum(prediction, alpha)
    for before, step in pairwise(_CONN_STEPS):
        regions = label(both >= step, connectivity=1)
        sizes = np.bincount(regions.ravel())[1:]
        if sizes.size == 0:
            continue
        largest = regions == np.argmax(sizes) + 1
        level[(level == -1) & ~largest] = before
    level[level == -1] = 1
    return float(np.abs(_lack(prediction - level) - _lack(alpha - level)).sum() / 1000)


def _lack(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(distance >= _CONN_TOLERANCE, distance, 0)


def _by_area(
    errors: NDArray[np.float64],
    prediction: NDArray[np.float64],
    alpha: NDArray[np.float64],
    trimap: NDArray[np.uint8],
) -> dict[str, float]:
    # A ground truth whose trimap disagrees with it counts too: known areas are filled, not skipped.
    filled = np.select([trimap == 255, trimap == 0], [1.0, 0.0], prediction)
    known = np.abs(filled - alpha)
    pixels = int((trimap == 128).sum())
    return {
        "sad_tran": known.sum() / 1000,
        "mse_tran": np.square(known).sum() / pixels if pixels else 0.0,
        "mad_tran": known.sum() / pixels if pixels else 0.0,
        "sad_fg": errors[trimap == 255].sum() / 1000,
        "sad_bg": errors[trimap == 0].sum() / 1000,
    }


def _matte(values: ArrayLike, name: str) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.ndim != 2 or not array.size:
        raise MetricError(f"{name} has shape {array.shape}; expected H×W, not empty")
    if array.dtype.kind != "f":
        raise MetricError(f"{name} is {array.dtype}; expected floats in 0..1: divide by 255")
    if array.dtype != np.float64:
        # In float32 the grey value 153 (0.6 + 2e-8) would reach Conn's threshold of
        # 0.6 + 1e-16, which it must not; rounded in float64 it falls short again.
        array = np.round(array.astype(np.float64), 7)
    if not (array.min() >= 0 and array.max() <= 1):  # also catches NaN
        raise MetricError(
            f"{name} ranges over {array.min():g}..{array.max():g}; expected 0..1: clip or divide it"
        )
    return array


def _trimap(values: ArrayLike, alpha: NDArray[np.float64]) -> NDArray[np.uint8]:
    array = np.asarray(values)
    if array.shape != alpha.shape:
        raise MetricError(f"trimap has shape {array.shape}; expected {alpha.shape} as alpha")
    other = np.setdiff1d(array, (0, 128, 255))
    if other.size:
        raise MetricError(f"trimap holds the value {other[0]}; expected 0, 128 and 255 only")
    return array.astype(np.uint8)


def _size(array: NDArray[np.float64]) -> str:
    return "×".join(map(str, array.shape))
