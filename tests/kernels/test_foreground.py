from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from matter_sdk.kernels import KernelError, foreground

Array = NDArray[Any]


def window_sums(values: Array, reach: int) -> Array:
    """Sums over windows of 2 * reach + 1 pixels a side, cut off at the edges."""
    total = np.zeros((values.shape[0] + 1, values.shape[1] + 1, *values.shape[2:]))
    total[1:, 1:] = values.cumsum(0).cumsum(1)
    low = [np.maximum(np.arange(n) - reach, 0) for n in values.shape[:2]]
    high = [np.minimum(np.arange(n) + reach, n - 1) + 1 for n in values.shape[:2]]
    at = np.ix_
    return np.asarray(
        total[at(high[0], high[1])]
        - total[at(low[0], high[1])]
        - total[at(high[0], low[1])]
        + total[at(low[0], low[1])]
    )


def means(colours: Array, weights: Array, reach: int) -> tuple[Array, Array]:
    """Weighted means, 0 where nothing weighs, and where something does."""
    weight = window_sums(weights, reach)[..., None]
    total = window_sums(colours * weights[..., None], reach)
    return np.where(weight > 0.5, total / np.maximum(weight, 1), 0), weight > 0.5


def interpolated(grid: Array, block: int, length: int, axis: int) -> Array:
    """Between the centres of blocks, the outermost ones repeated."""
    place = ((np.arange(length) + 0.5) / block - 0.5).clip(0, grid.shape[axis] - 1)
    first = np.floor(place).astype(int)
    following = np.minimum(first + 1, grid.shape[axis] - 1)
    part = (place - first).reshape([-1 if n == axis else 1 for n in range(grid.ndim)])
    return np.asarray(grid.take(first, axis) * (1 - part) + grid.take(following, axis) * part)


def solved(f: Array, b: Array, alpha: Array, image: Array) -> Array:
    a = alpha[..., None]
    share = a / (a**2 + (1 - a) ** 2)
    return np.asarray((f + share * (image - a * f - (1 - a) * b)).clip(0, 255))


def levels(alpha: Array) -> Array:
    return np.floor(np.nan_to_num(alpha.astype(np.float64), nan=0).clip(0, 1) * 255 + 0.5)


def estimates(frame: Array, alpha: Array) -> tuple[Array, Array]:
    """f of the narrow pass (the frame where it finds none) and b, in float64."""
    height, width = alpha.shape
    block = int(np.clip((height + width) / 256 + 0.5, 1, 32))
    level = levels(alpha)
    image, a = frame.astype(np.float64), level[..., None] / 255

    def window(values: Array) -> Array:
        rows = np.add.reduceat(values, np.arange(0, height, block), 0)
        return window_sums(np.add.reduceat(rows, np.arange(0, width, block), 1), 2)

    def wide(grid: Array) -> Array:
        return interpolated(interpolated(grid, block, height, 0), block, width, 1)

    # Least squares with a ridge, block by block.
    ff, fb, bb = window(a * a), window(a * (1 - a)), window((1 - a) ** 2)
    sums = np.stack([window(a * image), window((1 - a) * image)], axis=-2)
    matrix = np.block([[ff[..., None], fb[..., None]], [fb[..., None], bb[..., None]]])
    matrix[..., 0, 0] += 0.01 * (ff + fb)[..., 0]
    matrix[..., 1, 1] += 0.01 * (bb + fb)[..., 0]
    solution = np.linalg.pinv(matrix, rcond=1e-12) @ sums * 1.01
    f, b = wide(solution[..., 0, :].clip(0, 255)), wide(solution[..., 1, :].clip(0, 255))

    first = np.floor(solved(f, b, level / 255, image) + 0.5)
    f, found = means(first, np.ceil(level**3 / 65536), max(block // 2, 1))
    return np.where(found, f, image), b


def reference(frame: Array, alpha: Array) -> NDArray[np.uint8]:
    """Blur fusion as the docstring has it."""
    level = levels(alpha)
    f, b = estimates(frame, alpha)
    result = np.floor(solved(f, b, level / 255, frame.astype(np.float64)) + 0.5)
    weight = window_sums(level, max(int(np.clip(sum(alpha.shape) / 256 + 0.5, 1, 32)) // 2, 1))
    plain = (level == 255) | (weight < 0.5)
    return np.where(plain[..., None], frame, result).astype(np.uint8)


def assert_close(result: Array, expected: Array) -> None:
    """The same, but for halves that float32 rounds the other way."""
    assert result.dtype == np.uint8
    difference = np.abs(result.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def picture(height: int, width: int, seed: int = 0) -> tuple[NDArray[np.uint8], Array]:
    """Smooth colours with noise, and a matte of discs with soft edges in plain areas."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    alpha = np.zeros((height, width), np.float32)
    for _ in range(3):
        row, column, radius = random.random(3) * [height, width, (height + width) / 8]
        distance = np.hypot(y - row, x - column) - radius
        alpha = np.maximum(alpha, (0.5 - distance / random.uniform(2, 30)).clip(0, 1))
    waves = 128 + 90 * np.sin(np.stack([x / 31, y / 23, (x + y) / 47], axis=-1))
    frame = (waves + random.integers(-30, 31, waves.shape)).astype(np.uint8)
    return frame, alpha.astype(np.float32)


def strands(height: int, width: int) -> tuple[Array, Array, Array]:
    """True colours, alpha and the screen's: a grey head of hair before a green screen."""
    random = np.random.default_rng(1)
    y, x = np.mgrid[:height, :width]
    radius = np.hypot(y - height * 0.6, x - width / 2) / (width * 0.25)
    bearing = np.arctan2(y - height * 0.6, x - width / 2)
    phases = random.random(8) * 6
    hairs = sum(np.sin(bearing * k * 9 + p + 3 * radius) for k, p in enumerate(phases, 3)) / 4
    alpha = ((1.5 - radius) * 2 + hairs * (radius > 0.9)).clip(0, 1) * (radius < 1.6)
    subject = np.stack([90 + 20 * np.sin(x / 17), 110 + 20 * np.sin(y / 13), 150 - x * 0.05], -1)
    screen = np.broadcast_to([40.0, 190.0, 60.0], subject.shape)
    return subject, alpha.astype(np.float32), screen


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 9), (40, 3), (33, 61), (130, 200), (270, 480), (600, 450), (37, 2100)]
)
def test_matches_the_formula(size: tuple[int, int]) -> None:
    frame, alpha = picture(*size)
    assert_close(foreground(frame, alpha), reference(frame, alpha))


def test_matches_the_formula_where_everything_is_in_transition() -> None:
    random = np.random.default_rng(0)
    frame = random.integers(0, 256, (300, 470, 3), np.uint8)
    alpha = random.random((300, 470), np.float32)
    assert_close(foreground(frame, alpha), reference(frame, alpha))


def test_sums_do_not_overflow_at_the_largest_window() -> None:
    frame = np.full((2000, 2200, 3), 255, np.uint8)
    alpha = np.full((2000, 2200), 0.999, np.float32)  # 255 in 8 bits
    alpha[::400, ::400] = 0.5
    assert (foreground(frame, alpha) == 255).all()


def test_large_pictures_on_several_threads_give_the_same_bytes() -> None:
    frame, alpha = picture(1780, 1775)
    assert_close(foreground(frame, alpha), reference(frame, alpha))


def test_the_frame_where_alpha_is_1_and_where_nothing_is_near() -> None:
    frame, alpha = picture(240, 300)
    result = foreground(frame, alpha)
    np.testing.assert_array_equal(result[alpha == 1], frame[alpha == 1])
    for level in (0.0, 0.001, 0.999, 1.0, np.nan, -3.0, 7.0, -np.inf, np.inf):
        plain = np.full(alpha.shape, level, np.float32)
        np.testing.assert_array_equal(foreground(frame, plain), frame)


@given(
    front=st.tuples(*[st.integers(0, 255)] * 3),
    back=st.tuples(*[st.integers(0, 255)] * 3),
    seed=st.integers(0, 99),
    size=st.tuples(st.integers(6, 70), st.integers(6, 70)),
)
@settings(max_examples=60, deadline=None)
def test_two_plain_colours_are_told_apart(
    front: tuple[int, ...], back: tuple[int, ...], seed: int, size: tuple[int, int]
) -> None:
    """Between one colour and another the solution is the first, up to ridge and rounding."""
    random = np.random.default_rng(seed)
    alpha = random.choice(np.array([0, 0.2, 0.4, 0.6, 0.8, 1], np.float32), size)
    weight = alpha[..., None].astype(np.float64)
    frame = np.rint(weight * front + (1 - weight) * back).astype(np.uint8)
    error = np.abs(foreground(frame, alpha).astype(int) - front)
    assert error[alpha > 0].max() <= 3 + 0.1 * np.abs(np.subtract(front, back)).max()


def test_green_leaves_the_hair() -> None:
    """The frame's own colours, blended, are wrong by many times what the estimate is."""
    subject, alpha, screen = strands(360, 480)
    weight = alpha[..., None].astype(np.float64)
    frame = np.rint(weight * subject + (1 - weight) * screen).astype(np.uint8)
    soft = (alpha > 0) & (alpha < 1)
    assert soft.mean() > 0.05

    def error(colours: Array) -> float:
        return float(np.abs(weight * (colours - subject))[soft].mean())

    assert error(frame) > 15 * error(foreground(frame, alpha))


def test_as_good_as_multi_level_estimation() -> None:
    """Against pymatting's estimate (Germer et al., ICPR 2020), which takes far longer."""
    pymatting = pytest.importorskip("pymatting")
    subject, alpha, screen = strands(180, 240)
    weight = alpha[..., None].astype(np.float64)
    frame = np.rint(weight * subject + (1 - weight) * screen).astype(np.uint8)
    theirs = 255 * pymatting.estimate_foreground_ml(frame / 255.0, alpha.astype(np.float64))
    ours = foreground(frame, alpha)
    errors = [float(np.abs(weight * (colours - subject)).sum()) for colours in (ours, theirs)]
    assert errors[0] < 1.1 * errors[1]


def test_crops_and_other_strides() -> None:
    frame, alpha = picture(140, 180)
    expected = foreground(frame[3:-7, 5:-4].copy(), alpha[3:-7, 5:-4].copy())
    np.testing.assert_array_equal(foreground(frame[3:-7, 5:-4], alpha[3:-7, 5:-4]), expected)
    mirrored = foreground(frame[:, ::-1], alpha[:, ::-1])
    np.testing.assert_array_equal(
        mirrored, foreground(frame[:, ::-1].copy(), alpha[:, ::-1].copy())
    )
    swapped = foreground(frame[..., ::-1], alpha)
    np.testing.assert_array_equal(swapped, foreground(frame, alpha)[..., ::-1])


def test_not_in_place() -> None:
    frame, alpha = picture(9, 9)
    with pytest.raises(KernelError, match=r"out is the frame itself"):
        foreground(frame, alpha, out=frame)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame": np.zeros((4, 6, 3))}, r"frame has dtype float64, expected uint8: frames hold"),
        ({"frame": np.zeros((4, 6, 4), np.uint8)}, r"frame is 4×6×4, expected H×W×3"),
        ({"frame": np.zeros((2, 4, 6, 3), np.uint8)}, r"frame is 2×4×6×3, .*one frame at a time"),
        ({"frame": np.zeros((0, 6, 3), np.uint8)}, r"frame is 0×6×3"),
        (
            {"frame": np.zeros((1, 32769, 3), np.uint8)},
            r"frame is 1×32769 .*expected at most 32768",
        ),
        ({"alpha": np.zeros((4, 6))}, r"alpha has dtype float64, expected float32"),
        ({"alpha": np.zeros((4, 6), np.uint8)}, r"alpha has dtype uint8.*by 255"),
        ({"alpha": np.zeros((4, 5), np.float32)}, r"alpha is 4×5, expected 4×6 beside frame 4×6×3"),
        ({"alpha": np.zeros((4, 6, 1), np.float32)}, r"alpha is 4×6×1, .*alpha\[..., 0\]"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "frame": np.zeros((4, 6, 3), np.uint8),
        "alpha": np.zeros((4, 6), np.float32),
    }
    with pytest.raises(KernelError, match=message):
        foreground(**(arguments | change))
