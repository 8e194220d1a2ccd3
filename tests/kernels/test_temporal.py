from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from matter_sdk.kernels import KernelError, temporal_filter

STILL, MOVED, STRENGTH = 4, 8, 0.8
SIZE = (288, 512)  # the network's, from 720×1280
ROWS, COLUMNS = np.mgrid[:720:1.0, :1280:1.0]
ROOM = (128 + 60 * np.sin(COLUMNS / 90) + 40 * np.cos(ROWS / 70))[..., None] + [0, 10, -15]


def motion_of(delta: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The largest change in the 3×3 neighbourhood, from the definition."""
    strongest = delta.reshape(*delta.shape[:2], -1).max(axis=2).astype(np.int64)
    padded = np.pad(strongest, 1)
    height, width = strongest.shape
    shifted = [padded[j : j + height, i : i + width] for j in range(3) for i in range(3)]
    return np.max(shifted, axis=0)


def reference(
    previous: NDArray[Any] | None, current: NDArray[Any], delta: NDArray[np.uint8]
) -> NDArray[np.float64]:
    now = np.nan_to_num(current.astype(np.float64), nan=0.0)
    strongest = delta.reshape(*delta.shape[:2], -1).max(axis=2)
    if previous is None or previous.shape != current.shape or np.mean(strongest > MOVED) > 0.5:
        return now
    before = np.where(np.isnan(previous) | np.isnan(current), now, previous)
    keep = STRENGTH * np.clip((MOVED - motion_of(delta)) / (MOVED - STILL), 0, 1)
    return now + keep * (before - now)


def mattes(*size: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    return random.random(size, np.float32), random.random(size, np.float32)


def changes(*size: int, seed: int = 0, most: int = 13) -> NDArray[np.uint8]:
    """Below, between and above the bounds; sparse, so that a neighbourhood can be still."""
    random = np.random.default_rng(seed + 1)
    delta = random.integers(0, most, size, np.uint8)
    return np.where(random.random(size) < 0.2, delta, delta // 4).astype(np.uint8)


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (37, 53), (5, 513), (3, 1100)])
def test_matches_the_definition(size: tuple[int, int], channels: tuple[int, ...]) -> None:
    previous, current = mattes(*size)
    delta = changes(*size, *channels)
    result = temporal_filter(previous, current, delta)
    assert result.shape == size
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, reference(previous, current, delta), rtol=0, atol=2e-7)


def test_every_change_at_the_middle_and_beside_it() -> None:
    for level in range(256):
        for place in [(1, 1), (0, 0), (2, 1)]:
            delta = np.zeros((3, 3), np.uint8)
            delta[place] = level
            previous, current = np.ones((3, 3), np.float32), np.zeros((3, 3), np.float32)
            result = temporal_filter(previous, current, delta)
            expected = STRENGTH * min(1, max(0, (MOVED - level) / (MOVED - STILL)))
            assert result[1, 1] == pytest.approx(expected, abs=1e-7)


@given(
    pairs=st.lists(
        st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)), min_size=1, max_size=20
    ),
    level=st.integers(0, 255),
)
@settings(max_examples=200)
def test_the_result_lies_between_the_two(pairs: list[tuple[float, float]], level: int) -> None:
    previous, current = (np.array([side], np.float32) for side in zip(*pairs, strict=True))
    result = temporal_filter(previous, current, np.full(previous.shape, level, np.uint8))
    assert (result >= np.minimum(previous, current)).all()
    assert (result <= np.maximum(previous, current)).all()


def test_what_moved_is_taken_as_it_is() -> None:
    previous, current = mattes(40, 60)
    delta = np.zeros((40, 60), np.uint8)
    delta[10:20, 10:20] = MOVED
    result = temporal_filter(previous, current, delta)
    np.testing.assert_array_equal(result[9:21, 9:21], current[9:21, 9:21])
    assert (result[:8] != current[:8]).mean() > 0.9


@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_cut_is_more_than_half(channels: tuple[int, ...]) -> None:
    previous, current = mattes(10, 130)
    delta = np.zeros((10, 130, *channels), np.uint8)
    # Far apart, so that without a cut the rest would stand still.
    delta[:5, :, ...] = MOVED + 1
    half = temporal_filter(previous, current, delta)
    assert (half[7:] != current[7:]).any()
    delta[9, 129, ...] = MOVED + 1
    np.testing.assert_array_equal(temporal_filter(previous, current, delta), current)
    delta[delta > MOVED] = MOVED  # as much as moves, not more
    assert (temporal_filter(previous, current, delta)[7:] != current[7:]).any()


def test_begins_with_the_first_and_with_another_size() -> None:
    _, current = mattes(20, 30)
    still = np.zeros((20, 30), np.uint8)
    for previous in (None, np.ones((20, 31), np.float32), np.ones((30, 20), np.float32)):
        result = temporal_filter(previous, current, still)
        np.testing.assert_array_equal(result, current)
        assert not np.shares_memory(result, current)


def test_nan_is_never_kept() -> None:
    previous, current = mattes(20, 600)
    previous[3], current[5, 500:] = np.nan, np.nan
    previous[6], current[6] = np.nan, np.nan
    for delta in (np.zeros((20, 600), np.uint8), np.full((20, 600), 200, np.uint8)):
        result = temporal_filter(previous, current, delta)
        np.testing.assert_array_equal(result[3], current[3])
        assert (result[5, 500:] == 0).all()
        assert (result[6] == 0).all()
        np.testing.assert_allclose(result, reference(previous, current, delta), rtol=0, atol=2e-7)
    assert not np.isnan(temporal_filter(None, current, delta)).any()


def test_out_may_be_either_matte() -> None:
    previous, current = mattes(9, 700)
    delta = changes(9, 700)
    expected = temporal_filter(previous, current, delta)
    for index in range(2):
        pair = [previous.copy(), current.copy()]
        assert temporal_filter(*pair, delta, out=pair[index]) is pair[index]
        np.testing.assert_array_equal(pair[index], expected)


def test_large_mattes_on_several_threads_give_the_same_values() -> None:
    previous, current = mattes(2200, 1600)
    delta = changes(2200, 1600, 3)
    result = temporal_filter(previous, current, delta)
    for rows in (slice(0, 50), slice(1075, 1125), slice(2150, 2200)):
        part = temporal_filter(previous[rows], current[rows], delta[rows])
        np.testing.assert_array_equal(result[rows][1:-1], part[1:-1])


# ---- what it is for: synthetic clips, seen by a camera with noise


def subject(column: float, row: float = 360) -> NDArray[np.float64]:
    """The true alpha of a disc with a soft rim."""
    return np.clip(0.5 - (np.hypot(COLUMNS - column, ROWS - row) - 150) / 6, 0, 1)


def reduced(image: NDArray[Any]) -> NDArray[Any]:
    return cv2.resize(image, SIZE[::-1], interpolation=cv2.INTER_AREA)


def seen(alpha: NDArray[Any], contrast: float, noise: float, random: Any) -> NDArray[np.uint8]:
    """The camera's frame of a subject that is `contrast` levels brighter, at the network's size."""
    scene = ROOM + contrast * alpha[..., None]
    scene = scene + random.normal(0, noise, scene.shape)
    return reduced(np.clip(np.rint(scene), 0, 255).astype(np.uint8))


@pytest.mark.parametrize(("noise", "beyond"), [(1, 0), (2, 2e-3), (3, 0.12)])
def test_a_camera_s_noise_does_not_open_the_gate(noise: float, beyond: float) -> None:
    random = np.random.default_rng(0)
    frames = [seen(np.zeros(()), 0, noise, random) for _ in range(2)]
    motion = motion_of(cv2.absdiff(*frames))
    assert np.mean(motion > STILL) <= beyond
    assert np.mean(motion >= MOVED) <= 5e-4


def test_a_moving_subject_of_little_contrast_opens_it() -> None:
    random = np.random.default_rng(0)
    truth = [subject(600), subject(605)]
    frames = [seen(alpha, 16, 2, random) for alpha in truth]
    moving = np.abs(reduced(truth[0]) - reduced(truth[1])) > 0.25
    motion = motion_of(cv2.absdiff(*frames))[moving]
    assert moving.sum() > 500
    assert np.median(motion) >= MOVED
    assert np.mean(motion > STILL) > 0.98


def test_a_still_clip_flickers_less_than_a_fifth_as_much() -> None:
    random = np.random.default_rng(0)
    truth = subject(600)
    small = reduced(truth)
    rim = (small > 0) & (small < 1)
    before, raw, filtered = None, [], []
    last = seen(truth, 60, 3, random)
    for _ in range(12):
        frame = seen(truth, 60, 3, random)
        alpha = np.clip(small + random.normal(0, 0.05, SIZE), 0, 1).astype(np.float32)
        before = temporal_filter(before, alpha, cv2.absdiff(frame, last))
        last = frame
        raw.append(alpha)
        filtered.append(before)
    flicker = [np.abs(np.diff(clip[4:], axis=0))[:, rim].mean() for clip in (raw, filtered)]
    assert flicker[1] < flicker[0] / 5.5
    error = [np.abs(clip[-1] - small)[rim].mean() for clip in (raw, filtered)]
    assert error[1] < error[0] / 2


def test_a_moving_subject_leaves_no_ghost() -> None:
    random = np.random.default_rng(0)
    before, last, old = None, None, None
    for step in range(6):
        truth = subject(400 + 25 * step)
        small = reduced(truth)
        frame = seen(truth, 40, 2, random)
        alpha = np.clip(small + random.normal(0, 0.02, SIZE), 0, 1).astype(np.float32)
        delta = np.zeros_like(frame) if last is None else cv2.absdiff(frame, last)
        filtered = temporal_filter(before, alpha, delta)
        if old is not None:
            errors = [np.abs(matte - small).mean() for matte in (alpha, filtered)]
            assert errors[1] <= errors[0] + 1e-4
            left = (old > 0.99) & (small == 0)  # where the subject was, and is no more
            assert left.sum() > 300
            np.testing.assert_array_equal(filtered[left], alpha[left])
        before, last, old = filtered, frame, small


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"current": np.zeros((4, 6))}, r"current has dtype float64, expected float32"),
        ({"current": np.zeros((4, 6), np.uint8)}, r"current has dtype uint8.*by 255"),
        (
            {"current": np.zeros((1, 4, 6), np.float32)},
            r"current is 1×4×6, expected H×W.*one by one",
        ),
        ({"current": np.zeros((0, 6), np.float32)}, r"current is 0×6"),
        ({"previous": np.zeros((4, 6))}, r"previous has dtype float64, expected float32"),
        ({"previous": np.zeros((4, 6, 1), np.float32)}, r"previous is 4×6×1, expected H×W"),
        ({"previous": "first"}, r"previous is a builtins.str"),
        ({"frame_delta": np.zeros((4, 6), np.int16)}, r"frame_delta has dtype int16.*absdiff"),
        ({"frame_delta": np.zeros((8, 12), np.uint8)}, r"is 8×12, expected 4×6 or 4×6×3.*reduce"),
        ({"frame_delta": np.zeros((4, 6, 4), np.uint8)}, r"is 4×6×4, expected 4×6 or 4×6×3"),
        ({"frame_delta": None}, r"frame_delta is None, expected uint8 h×w .*zeros"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "previous": np.zeros((4, 6), np.float32),
        "current": np.zeros((4, 6), np.float32),
        "frame_delta": np.zeros((4, 6), np.uint8),
    }
    with pytest.raises(KernelError, match=message):
        temporal_filter(**(arguments | change))
