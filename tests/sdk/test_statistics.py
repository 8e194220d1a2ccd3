"""Percentiles of what was measured, and bounded memory."""

from __future__ import annotations

import numpy as np
import pytest

from matter_sdk.sdk.streaming import statistics
from matter_sdk.sdk.streaming.statistics import Meter, Times


def test_percentiles_in_milliseconds() -> None:
    seconds = np.random.default_rng(0).gamma(2.0, 0.01, 200)
    expected = np.percentile(seconds * 1e3, (50, 95, 99))
    found = Times.of(list(seconds), 7)
    assert (found.p50, found.p95, found.p99) == pytest.approx(tuple(expected))
    assert found.count == 7


def test_the_newest_are_kept_and_all_are_counted() -> None:
    meter = Meter()
    for at in range(3 * statistics._KEPT):
        meter.add("network", 1.0 if at < 2 * statistics._KEPT else 2.0)
        meter.handed_out(0.5)
    stats = meter.stats(dropped=4)
    assert meter.total("network") == 4 * statistics._KEPT  # two parts of 1 s, one of 2 s
    assert meter.total("capture") == 0
    assert stats.stages["network"] == Times(2000, 2000, 2000, 3 * statistics._KEPT)
    assert (stats.frames, stats.dropped) == (3 * statistics._KEPT, 4)
    assert stats.latency is not None
    assert stats.latency.p95 == 500
    assert "latency" not in stats.stages
    text = str(stats)
    assert "network      2000.0" in text
    assert f"{3 * statistics._KEPT} mattes" in text
    assert "4 frames passed over" in text


def test_before_the_first_matte() -> None:
    stats = Meter().stats()
    assert (stats.frames, stats.fps, stats.latency, dict(stats.stages)) == (0, 0.0, None, {})
    assert "0 mattes" in str(stats)
