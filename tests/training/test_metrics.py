"""Metrics against the released code's figures, closed forms, and slow versions of each."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from matter_sdk.training.evaluation.metrics import MetricError, evaluate
from tests.training.released import REFERENCE

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def sample() -> Arrays:
    """Prediction and alpha as 8-bit values / 255, and the trimap, of the reference sample."""
    folder = REFERENCE / "metrics"
    alpha = cv2.imread(str(folder / "sample5_alpha.png"), cv2.IMREAD_UNCHANGED) / 255
    trimap = cv2.imread(str(folder / "sample5_trimap.png"), cv2.IMREAD_UNCHANGED)
    noise = 0.05 * np.random.default_rng(5).standard_normal(alpha.shape)
    prediction = np.round(255 * np.clip(gaussian_filter(alpha, 2) + noise, 0, 1)) / 255
    return prediction, alpha, trimap


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_same_as_the_released_code(sample: Arrays, dtype: type) -> None:
    reference = json.loads((REFERENCE / "metrics" / "metrics.json").read_text())["sample5"]
    prediction, alpha, trimap = sample
    found = evaluate(prediction.astype(dtype), alpha.astype(dtype), trimap)
    for name, value in found.items():
        expected = reference[name.replace("_tran", "_trimap")]
        assert value == pytest.approx(expected, rel=1e-6 if dtype is np.float64 else 1e-5), name
    assert set(found) == {
        *("sad", "mse", "mad", "grad", "conn"),
        *("sad_tran", "mse_tran", "mad_tran", "sad_fg", "sad_bg"),
    }
    without = evaluate(prediction, alpha)
    assert set(without) == {"sad", "mse", "mad", "grad", "conn"}


def test_perfect_prediction(sample: Arrays) -> None:
    _, alpha, _ = sample
    trimap = np.where(alpha == 1, 255, np.where(alpha == 0, 0, 128)).astype(np.uint8)
    assert set(evaluate(alpha, alpha, trimap).values()) == {0.0}


def test_closed_forms() -> None:
    alpha = np.zeros((20, 30))
    alpha[:, 10:] = 1
    prediction = np.clip(alpha + 0.2, 0, 1)  # wrong by 0.2 on the 200 pixels of background
    trimap = np.full((20, 30), 255, np.uint8)
    trimap[:, :5], trimap[:, 5:10] = 0, 128
    found = evaluate(prediction, alpha, trimap)
    assert found["sad"] == pytest.approx(200 * 0.2 / 1000)
    assert found["mad"] == pytest.approx(200 * 0.2 / 600)
    assert found["mse"] == pytest.approx(200 * 0.04 / 600)
    assert found["sad_tran"] == pytest.approx(100 * 0.2 / 1000)
    assert found["mad_tran"] == pytest.approx(0.2)
    assert found["mse_tran"] == pytest.approx(0.04)
    assert found["sad_bg"] == pytest.approx(100 * 0.2 / 1000)
    assert found["sad_fg"] == 0


def test_no_transition() -> None:
    found = evaluate(np.ones((4, 4)), np.ones((4, 4)), np.full((4, 4), 255, np.uint8))
    assert (found["sad_tran"], found["mse_tran"], found["mad_tran"]) == (0, 0, 0)


def random_mattes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    alpha = np.clip(gaussian_filter(rng.standard_normal((14, 17)), 1.5) * 3 + 0.5, 0, 1)
    prediction = np.clip(alpha + rng.normal(0, 0.2, alpha.shape), 0, 1)
    # A few values exactly on the thresholds.
    return np.round(prediction * 20) / 20, np.round(alpha * 20) / 20


def slow_grad(prediction: np.ndarray, alpha: np.ndarray) -> float:
    """Each derivative as a sum over a sampled kernel of ±4 σ, mirrored at the border."""
    sigma = 1.4
    reach = int(4 * sigma + 0.5)
    offsets = range(-reach, reach + 1)
    gauss = {d: math.exp(-(d**2) / (2 * sigma**2)) for d in offsets}
    total = sum(gauss.values())

    def magnitude(matte: np.ndarray) -> np.ndarray:
        height, width = matte.shape
        padded = np.pad(matte, reach, mode="symmetric")
        result = np.zeros_like(matte)
        for y, x in np.ndindex(height, width):
            down = right = 0.0
            for dy in offsets:
                for dx in offsets:
                    value = padded[y + dy + reach, x + dx + reach]
                    weight = value * gauss[dy] * gauss[dx] / total**2 / sigma**2
                    down += dy * weight
                    right += dx * weight
            result[y, x] = math.sqrt(down**2 + right**2)
        return result

    return float(((magnitude(prediction) - magnitude(alpha)) ** 2).sum() / 10)


def slow_conn(prediction: np.ndarray, alpha: np.ndarray) -> float:
    """Regions by flood fill; the level of each pixel as the definition says."""
    height, width = alpha.shape
    steps = np.arange(0, 1.1, 0.1)
    level = np.full(alpha.shape, np.nan)
    for before, step in pairwise(steps):
        open_ = {
            (y, x)
            for y in range(height)
            for x in range(width)
            if prediction[y, x] >= step and alpha[y, x] >= step
        }
        best: set[tuple[int, int]] = set()
        for seed in sorted(open_):
            if seed not in open_:
                continue
            region, front = set(), [seed]
            open_.discard(seed)
            while front:
                y, x = front.pop()
                region.add((y, x))
                for pixel in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    if pixel in open_:
                        open_.discard(pixel)
                        front.append(pixel)
            if len(region) > len(best):
                best = region
        for y, x in np.ndindex(height, width):
            if best and np.isnan(level[y, x]) and (y, x) not in best:
                level[y, x] = before
    level[np.isnan(level)] = 1
    total = 0.0
    for y, x in np.ndindex(height, width):
        above = [matte[y, x] - level[y, x] for matte in (prediction, alpha)]
        lacks = [distance if distance >= 0.15 else 0 for distance in above]
        total += abs(lacks[0] - lacks[1])
    return total / 1000


@pytest.mark.parametrize("seed", range(4))
def test_grad_and_conn_against_slow_versions(seed: int) -> None:
    prediction, alpha = random_mattes(seed)
    found = evaluate(prediction, alpha)
    assert found["grad"] > 0
    assert found["conn"] > 0
    assert found["grad"] == pytest.approx(slow_grad(prediction, alpha), rel=1e-9)
    assert found["conn"] == pytest.approx(slow_conn(prediction, alpha), rel=1e-9)


GOOD = np.full((4, 5), 0.5)


@pytest.mark.parametrize(
    ("prediction", "alpha", "trimap", "message"),
    [
        (GOOD[:3], GOOD, None, "prediction is 3×5; expected 4×5 as alpha: resize it first"),
        (GOOD[None], GOOD, None, r"prediction has shape \(1, 4, 5\); expected H×W"),
        (GOOD[:0], GOOD[:0], None, r"prediction has shape \(0, 5\); expected H×W, not empty"),
        (GOOD.astype(np.uint8), GOOD, None, "prediction is uint8; expected floats in 0..1: divide"),
        (GOOD, GOOD * 510, None, r"alpha ranges over 255\.\.255; expected 0\.\.1: clip"),
        (GOOD * np.nan, GOOD, None, r"prediction ranges over nan\.\.nan; expected 0\.\.1"),
        (GOOD, GOOD, np.zeros((5, 4), np.uint8), r"trimap has shape \(5, 4\); expected \(4, 5\)"),
        (GOOD, GOOD, np.ones((4, 5), np.uint8), "trimap holds the value 1; expected 0, 128 and"),
    ],
)
def test_bad_input(
    prediction: np.ndarray, alpha: np.ndarray, trimap: np.ndarray | None, message: str
) -> None:
    with pytest.raises(MetricError, match=message):
        evaluate(prediction, alpha, trimap)
