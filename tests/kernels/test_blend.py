from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels import KernelError, alpha_blend

BYTES = st.integers(0, 255)


def scene(*size: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[Any]]:
    """Foreground, background and alpha: noise with plain areas of 0 and 1, as mattes have."""
    random = np.random.default_rng(seed)
    foreground = random.integers(0, 256, (*size, 3), np.uint8)
    background = random.integers(0, 256, (*size, 3), np.uint8)
    alpha = random.random(size, np.float32)
    alpha[..., : size[-1] // 3] = 0
    alpha[..., -(size[-1] // 3) :] = 1
    return foreground, background, alpha


def exact(foreground: Any, background: Any, alpha: Any) -> NDArray[np.float64]:
    weight = np.nan_to_num(alpha.astype(np.float64), nan=0.0).clip(0, 1)[..., None]
    return weight * np.asarray(foreground, np.float64) + (1 - weight) * np.asarray(
        background, np.float64
    )


def assert_rounded(result: NDArray[np.uint8], value: NDArray[np.float64]) -> None:
    """Nearest integer; within float32's rounding of a half, either neighbour."""
    assert result.dtype == np.uint8
    assert np.abs(result - value).max() <= 0.5 + 5e-5


@pytest.mark.parametrize("size", [(1, 1), (7, 127), (5, 128), (9, 129), (33, 500), (2, 30, 300)])
def test_matches_the_compositing_equation(size: tuple[int, ...]) -> None:
    foreground, background, alpha = scene(*size)
    result = alpha_blend(foreground, background, alpha)
    assert result.shape == foreground.shape
    assert_rounded(result, exact(foreground, background, alpha))


def test_every_pair_of_values_at_some_alphas() -> None:
    foreground = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    foreground = np.broadcast_to(foreground[:, None], (256, 256, 3))
    background = foreground.transpose(1, 0, 2)
    for weight in (0.0, 1e-7, 0.1, 1 / 3, 0.5, 0.999, 1 - 1e-7, 1.0):
        alpha = np.full((256, 256), weight, np.float32)
        assert_rounded(
            alpha_blend(foreground, background, alpha), exact(foreground, background, alpha)
        )


def test_halves_round_up_and_nothing_is_truncated() -> None:
    foreground = np.full((1, 2, 3), 3, np.uint8)
    background = np.full((1, 2, 3), 2, np.uint8)
    alpha = np.array([[0.5, 0.75]], np.float32)
    assert alpha_blend(foreground, background, alpha)[0, :, 0].tolist() == [3, 3]


def test_alpha_0_and_1_are_exact() -> None:
    foreground, background, _ = scene(40, 300)
    none, full = np.zeros((40, 300), np.float32), np.ones((40, 300), np.float32)
    np.testing.assert_array_equal(alpha_blend(foreground, background, none), background)
    np.testing.assert_array_equal(alpha_blend(foreground, background, full), foreground)


@given(front=BYTES, back=BYTES, alphas=st.lists(st.floats(0, 1, width=32), min_size=2, max_size=9))
@settings(max_examples=200)
def test_monotone_between_the_two(front: int, back: int, alphas: list[float]) -> None:
    alpha = np.sort(np.array([alphas], np.float32))
    image = np.ones((1, len(alphas), 3), np.uint8)
    result = alpha_blend(image * front, image * back, alpha)[0, :, 0].astype(int)
    steps = np.diff(result) * (1 if front >= back else -1)
    assert (steps >= 0).all()
    assert result.min() >= min(front, back)
    assert result.max() <= max(front, back)


def test_an_unknown_alpha_shows_the_background() -> None:
    foreground, background, alpha = scene(3, 400)
    alpha[:, 130:200] = np.nan  # among others, and
    alpha[1] = np.nan  # as a whole row
    result = alpha_blend(foreground, background, alpha)
    unknown = np.isnan(alpha)
    np.testing.assert_array_equal(result[unknown], background[unknown])
    assert_rounded(result, exact(foreground, background, alpha))


def test_alpha_is_clamped() -> None:
    foreground, background, _ = scene(1, 6)
    alpha = np.array([[-0.5, -np.inf, -0.0, 1.5, np.inf, 1.0]], np.float32)
    result = alpha_blend(foreground, background, alpha)
    np.testing.assert_array_equal(result[0, :3], background[0, :3])
    np.testing.assert_array_equal(result[0, 3:], foreground[0, 3:])


@pytest.mark.parametrize(
    "colour", [(255, 0, 17), [255, 0, 17], np.array([255, 0, 17]), np.array([255, 0, 17], np.uint8)]
)
@pytest.mark.parametrize("size", [(6, 200), (2, 6, 200)])
def test_a_colour_is_an_image_of_it(colour: Any, size: tuple[int, ...]) -> None:
    foreground, _, alpha = scene(*size)
    image = np.broadcast_to(np.array([255, 0, 17], np.uint8), foreground.shape)
    expected = alpha_blend(foreground, image, alpha)
    np.testing.assert_array_equal(alpha_blend(foreground, colour, alpha), expected)
    assert_rounded(expected, exact(foreground, image, alpha))


def test_one_background_for_a_batch_by_broadcasting() -> None:
    foreground, background, alpha = scene(3, 10, 150)
    repeated = np.broadcast_to(background[0], foreground.shape)
    result = alpha_blend(foreground, repeated, alpha)
    for n in range(3):
        np.testing.assert_array_equal(
            result[n], alpha_blend(foreground[n], background[0], alpha[n])
        )


def test_in_place_over_either_image() -> None:
    foreground, background, alpha = scene(20, 300)
    expected = alpha_blend(foreground, background, alpha)
    for index in range(2):
        images = [foreground.copy(), background.copy()]
        assert alpha_blend(*images, alpha, out=images[index]) is images[index]
        np.testing.assert_array_equal(images[index], expected)


def test_large_images_on_several_threads_give_the_same_bytes() -> None:
    foreground, background, alpha = scene(2200, 2000)
    result = alpha_blend(foreground, background, alpha)
    for rows in (slice(0, 100), slice(1050, 1150), slice(2100, 2200)):
        part = alpha_blend(foreground[rows], background[rows], alpha[rows])
        np.testing.assert_array_equal(result[rows], part)


@pytest.mark.parametrize(
    "view",
    [lambda a: a[3:-3, 2:-5], lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: a[::2, ::3]],
    ids=["crop", "rows up", "mirrored", "steps"],
)
def test_any_strides(view: Any) -> None:
    images = [view(array) for array in scene(40, 300)]
    expected = alpha_blend(*(np.ascontiguousarray(image) for image in images))
    np.testing.assert_array_equal(alpha_blend(*images), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"foreground": np.zeros((4, 6, 3))}, r"foreground has dtype float64, expected uint8"),
        ({"foreground": np.zeros((4, 6, 4), np.uint8)}, r"foreground is 4×6×4, expected H×W×3"),
        ({"foreground": np.zeros((4, 6), np.uint8)}, r"foreground is 4×6, expected H×W×3"),
        ({"foreground": np.zeros((0, 6, 3), np.uint8)}, r"foreground is 0×6×3, expected every"),
        ({"background": np.zeros((4, 6, 3))}, r"background has dtype float64, expected uint8"),
        ({"background": np.zeros((4, 5, 3), np.uint8)}, r"background is 4×5×3, expected 4×6×3"),
        ({"background": (0, 0)}, r"background is the colour \(0, 0\), expected three whole"),
        ({"background": (0, 0, 256)}, r"\(0, 0, 256\), expected three whole numbers in 0..255"),
        ({"background": (0, 0.5, 1)}, r"\(0, 0.5, 1\), expected three .*round them"),
        ({"background": "white"}, r"background is a builtins.str, expected a NumPy array"),
        ({"alpha": np.zeros((4, 6))}, r"alpha has dtype float64, expected float32"),
        ({"alpha": np.zeros((4, 6), np.uint8)}, r"alpha has dtype uint8.*by 255"),
        ({"alpha": np.zeros((4, 5), np.float32)}, r"alpha is 4×5, expected 4×6 beside foreground"),
        ({"alpha": np.zeros((4, 6, 1), np.float32)}, r"alpha is 4×6×1, .*alpha\[..., 0\]"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "foreground": np.zeros((4, 6, 3), np.uint8),
        "background": np.zeros((4, 6, 3), np.uint8),
        "alpha": np.zeros((4, 6), np.float32),
    }
    with pytest.raises(KernelError, match=message):
        alpha_blend(**(arguments | change))
