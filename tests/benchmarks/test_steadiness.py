"""Synthetic clips are composed of what they say, and the figures tell what they should."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from benchmarks import steadiness
from benchmarks.clips import clip
from tests.sdk.conftest import Tiny

SIZE = (64, 96)


def test_a_clip_rests_and_sways() -> None:
    shown = clip(3, SIZE, count=36, sway=12.0)
    assert len(shown.frames) == len(shown.alphas) == 36
    changes = [np.abs(b - a).mean() for a, b in zip(shown.alphas, shown.alphas[1:], strict=False)]
    assert sum(change == 0 for change in changes) >= 9
    assert max(changes) > 0.005
    columns = np.arange(SIZE[1])
    middles = [float((a.sum(0) * columns).sum() / a.sum()) for a in shown.alphas]
    assert max(middles) - middles[0] > 2
    assert middles[0] - min(middles) > 2
    again = clip(3, SIZE, count=36, sway=12.0)
    assert all(np.array_equal(a, b) for a, b in zip(shown.frames, again.frames, strict=True))


@pytest.mark.parametrize(("rest", "still"), [(0.0, 0), (1 / 3, 12), (2 / 3, 24), (1.0, 34)])
def test_a_clip_rests_as_long_as_it_should(rest: float, still: int) -> None:
    alphas = clip(3, SIZE, count=36, sway=20.0, rest=rest).alphas
    changes = [np.abs(b - a).mean() for a, b in itertools.pairwise(alphas)]
    assert abs(sum(change == 0 for change in changes) - still) <= 3


def test_reuse_is_measured_beside_the_filter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steadiness, "REUSED_SIZE", SIZE)
    engine = Tiny(tmp_path).build(sizes=((32, 64),))
    talking, noisy, moving = steadiness.measure_reuse(engine, seeds=(3,), count=12)
    assert talking.taken > max(moving.taken, 0.2)
    assert 0 < talking.by_reuse < talking.by_filter
    assert moving.by_reuse <= moving.by_filter
    assert noisy.mae_with == pytest.approx(noisy.mae_without, rel=0.1)
    assert "talking head | " in steadiness.reuse_markdown([talking])


def test_where_alpha_is_plain_the_frame_is_subject_or_background() -> None:
    one, other = clip(3, SIZE, count=9, noise=0.0), clip(3, SIZE, count=9, noise=0.0)
    still = [np.maximum(a, b) == 0 for a, b in zip(one.alphas, one.alphas[1:], strict=False)]
    for at, where in enumerate(still):
        assert np.array_equal(one.frames[at][where], other.frames[at + 1][where])


@pytest.mark.parametrize("ahead", [0, 3])
def test_the_filter_steadies_noise_and_leaves_truth_alone(ahead: int) -> None:
    shown = clip(3, SIZE, count=18, sway=6.0, noise=0.5)
    rng = np.random.default_rng(0)
    noisy = [
        np.clip(a + rng.normal(0, 0.1, a.shape), 0, 1).astype(np.float32) for a in shown.alphas
    ]
    plain = steadiness.figures(shown, noisy)
    steady = steadiness.figures(shown, steadiness.filtered(shown, noisy, ahead))
    assert steady[0] < 0.5 * plain[0]  # flicker
    assert steady[1] < 0.6 * plain[1]  # dtSSD
    assert steady[2] < 1.02 * plain[2]  # SAD
    exact = steadiness.figures(shown, steadiness.filtered(shown, shown.alphas, ahead))
    assert exact[0] < 0.02 * plain[0]  # what moves lags by that much
    assert steadiness.figures(shown, shown.alphas)[1:3] == (0.0, 0.0)
