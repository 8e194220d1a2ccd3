"""The baselines compute what the kernels do: at a size where that takes no time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import baselines, cases, inputs, kernel_times
from benchmarks.cases import CASES, Bound, Case, Contest
from matter_sdk.kernels.yuv import YUV


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "NETWORK", (24, 40))
    monkeypatch.setattr(inputs, "SIZES", {"tiny": (72, 128)})
    monkeypatch.setattr(cases, "POOLED", (1, 2, 12, 16))


def contest_of(case: Case) -> Contest:
    return case.make(inputs.SIZES["tiny"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_baseline_gives_the_kernel_s_result(case: Case, tiny: None) -> None:
    contest = contest_of(case)
    before = {name: array.copy() for name, array in contest.arrays.items()}
    calls, found = kernel_times.contenders(contest)
    assert calls
    missing = [one for one in found if one.name == ""]
    assert [one.note for one in found if one not in missing] == [""] * len(calls)
    assert all("is not installed" in one.note for one in missing)
    for name, array in contest.arrays.items():
        np.testing.assert_array_equal(array, before[name])  # the next round gets the same


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_kernel_s_call_gives_its_result_over_and_over(case: Case, tiny: None) -> None:
    contest = contest_of(case)
    expected = contest.call(**contest.arrays, **contest.options)
    call = kernel_times.our_call(contest)
    for _ in range(2):
        assert kernel_times.difference(call(), expected) == (0, 0)


def test_what_another_result_is_called() -> None:
    assert kernel_times.why_not((1.0, 0.1), Bound(most=1)) == ""
    assert "most difference 1.5 > 1" in kernel_times.why_not((1.5, 0.1), Bound(most=1))
    assert "mean difference 0.2 > 0.1" in kernel_times.why_not((9.0, 0.2), Bound(mean=0.1))
    assert "most difference nan" in kernel_times.why_not((float("nan"), 0.0), Bound(most=1))


def test_difference_looks_at_every_array() -> None:
    ones, bytes_ = np.ones((2, 2), np.float32), np.full((2, 2), 3, np.uint8)
    assert kernel_times.difference(ones, ones) == (0, 0)
    assert kernel_times.difference((ones, bytes_), (ones, bytes_ - 2)) == (2, 1)
    assert kernel_times.difference(bytes_ - 3, bytes_) == (3, 3)  # no wrapping round
    planes = (np.zeros((2, 2), np.uint8), np.ones((1, 1, 2), np.uint8))
    assert kernel_times.difference(YUV(planes), planes) == (0, 0)
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(1, 2\)"):
        kernel_times.difference(ones, ones[:1])


def test_a_library_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tiny: None) -> None:
    loaded = baselines.load
    monkeypatch.setattr(baselines, "load", lambda name: None if name == "numba" else loaded(name))
    contest = contest_of(CASES[0])
    calls, found = kernel_times.contenders(contest)
    notes = [one.note for one in found if one.library == "numba"]
    assert notes == ["not measured: numba is not installed"]
    assert not any(name.startswith("numba") for name in calls)


def test_a_baseline_with_another_result_is_not_timed(
    monkeypatch: pytest.MonkeyPatch, tiny: None
) -> None:
    from benchmarks.baselines import with_numba

    def wrong(**arrays: Any) -> Any:
        return {"too dark": lambda: arrays["background"] // 2}

    monkeypatch.setattr(with_numba, "alpha_blend", wrong)
    case = next(case for case in CASES if case.name == "alpha_blend")
    row = kernel_times.measure(case, "tiny", 1, budget=0.01)
    (found,) = [one for one in row.baselines if one.library == "numba"]
    assert found.times is None
    assert found.note.startswith("not measured: another result (most difference")
    assert row.best("numba") is None
    assert row.best("OpenCV") is not None


def test_the_matte_is_a_tenth_rim() -> None:
    for size in ((288, 512), (720, 1280)):
        alpha = inputs.matte(*size)
        assert 0.09 <= np.mean((alpha > 0) & (alpha < 1)) <= 0.11
        assert np.mean(alpha == 0) > 0.3
        assert np.mean(alpha == 1) > 0.1


def test_cases_of_one_size_come_once() -> None:
    assert [size for _, size in kernel_times.chosen("max_unpool", ["720p", "1080p"])] == ["720p"]
    assert [size for _, size in kernel_times.chosen("hybrid", ["720p", "1080p"])] == [
        "720p",
        "1080p",
    ]
    assert kernel_times.chosen("no such kernel", ["720p"]) == []
