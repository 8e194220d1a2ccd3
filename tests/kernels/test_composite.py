from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from matter_sdk.kernels import KernelError, alpha_blend, collaborative_fusion, composite
from tests.kernels.test_foreground import (
    Array,
    assert_close,
    estimates,
    levels,
    picture,
    solved,
    window_sums,
)


def area(values: Array, length: int, axis: int) -> Array:
    """Averages of equal parts of an axis, pixels divided where parts end inside them."""
    source = values.shape[axis]
    cut = np.linspace(0, source, length + 1)
    total = np.concatenate([np.zeros_like(values.take([0], axis)), values.cumsum(axis)], axis)
    whole = np.minimum(cut.astype(int), source - 1)
    part = (cut - whole).reshape([-1 if n == axis else 1 for n in range(values.ndim)])
    at = total.take(whole, axis) + part * values.take(whole, axis)
    return np.asarray(np.diff(at, axis=axis) * (length / source))


def linear(values: Array, length: int, axis: int) -> Array:
    """Between pixel centres, the outermost ones repeated."""
    place = (np.arange(length) + 0.5) * values.shape[axis] / length - 0.5
    place = place.clip(0, values.shape[axis] - 1)
    first = np.floor(place).astype(int)
    following = np.minimum(first + 1, values.shape[axis] - 1)
    part = (place - first).reshape([-1 if n == axis else 1 for n in range(values.ndim)])
    return np.asarray(values.take(first, axis) * (1 - part) + values.take(following, axis) * part)


def resized(values: Array, size: tuple[int, int]) -> Array:
    for axis in range(2):
        smaller = size[axis] < values.shape[axis]
        values = (area if smaller else linear)(values, size[axis], axis)
    return values


def led(small: Array, alpha: Array, frame: Array, epsilon: float = 3e-3) -> Array:
    """The guided upsampling of `alpha` by `frame`, given the small frame."""
    count = window_sums(np.ones(alpha.shape), 1)

    def mean(values: Array) -> Array:
        return window_sums(values, 1) / count.reshape(count.shape + (1,) * (values.ndim - 2))

    level, colour = levels(alpha) / 255, small / 255
    centre = mean(colour)
    covariance = mean(colour * level[..., None]) - centre * mean(level)[..., None]
    outer = mean(colour[..., :, None] * colour[..., None, :])
    matrix = outer - centre[..., :, None] * centre[..., None, :] + epsilon * np.eye(3)
    slopes = mean(np.linalg.solve(matrix, covariance[..., None])[..., 0])
    rest = alpha - (slopes * colour).sum(-1)
    size = frame.shape[:2]
    return np.asarray(resized(rest, size) + (resized(slopes, size) * frame / 255).sum(-1))


def reference(
    frame: Array, background: Array, alpha: Array, guided: bool, clean: bool
) -> tuple[Array, Array]:
    """The picture (not rounded) and alpha, step by step in float64."""
    size = frame.shape[:2]
    image = frame.astype(np.float64)
    matte = np.nan_to_num(alpha.astype(np.float64), nan=0).clip(0, 1)
    small_size = min(size[0], alpha.shape[0]), min(size[1], alpha.shape[1])
    matte = resized(matte, small_size)
    level = levels(matte)
    matte = np.where(level == 0, 0, np.where(level == 255, 1, matte))
    small = np.floor(resized(image, small_size) + 0.5)
    full = led(small, matte, image) if guided and small_size != size else resized(matte, size)
    full = full.clip(0, 1)
    colours = image
    if clean:
        f, b = (np.floor(values + 0.5) for values in estimates(small, matte))
        colours = solved(resized(f, size), resized(b, size), full, image)
    return full[..., None] * colours + (1 - full[..., None]) * background, full


def scene(
    size: tuple[int, int], small: tuple[int, int], seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
    """Frame, background and the matte that a network of the size `small` gives."""
    frame, alpha = picture(*size, seed=seed)
    background, _ = picture(*size, seed=seed + 1)
    return frame, background, resized(alpha, small).astype(np.float32)


both = pytest.mark.parametrize("guided", [True, False], ids=["guided", "bilinear"])
cleaned = pytest.mark.parametrize("clean", [True, False], ids=["clean", "plain"])


@both
@cleaned
@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((270, 480), (72, 128)),
        ((300, 401), (90, 130)),
        ((120, 97), (120, 97)),
        ((60, 70), (90, 140)),
        ((90, 70), (40, 140)),
        ((64, 64), (63, 2)),
        ((5, 200), (1, 1)),
        ((1, 1), (1, 1)),
        ((2, 3), (1, 2)),
    ],
)
def test_matches_the_steps_one_by_one(
    size: tuple[int, int], small: tuple[int, int], guided: bool, clean: bool
) -> None:
    frame, background, alpha = scene(size, small)
    full = np.empty(size, np.float32)
    result = composite(frame, background, alpha, guided=guided, clean=clean, alpha_out=full)
    picture, matte = reference(frame, background, alpha, guided, clean)
    # The small frame is averaged with weights of 8 bits, so that it may be off by one.
    assert np.abs(full - matte).max() < (0.03 if guided else 1e-6)
    difference = np.abs(result - picture)
    assert difference.max() <= 0.5 + (8 if guided or clean else 1e-4)
    if full.size > 100:  # enough for a mean
        assert np.abs(full - matte).mean() < (1e-3 if guided else 1e-7)
        assert difference.mean() <= 0.26 + (0.1 if guided or clean else 0)


def test_whole_factors_match_closely() -> None:
    """Averages of 4×4 have exact weights: nothing but rounding is left."""
    frame, background, alpha = scene((240, 320), (60, 80))
    full = np.empty((240, 320), np.float32)
    result = composite(frame, background, alpha, alpha_out=full)
    expected, matte = reference(frame, background, alpha, True, True)
    np.testing.assert_allclose(full, matte, atol=2e-4)
    assert_close(result, np.floor(expected + 0.5))


@pytest.mark.parametrize(("rosta", "classes"), [("tt", 3), ("unified", 3), ("ft", 2), ("bt", 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_heads_are_fused_first(rosta: str, classes: int, dtype: Any) -> None:
    random = np.random.default_rng(0)
    frame, background, _ = scene((90, 120), (30, 40))
    glance = random.random((1, classes, 30, 40), np.float32).astype(dtype)
    focus = random.random((1, 1, 30, 40), np.float32).astype(dtype)
    alpha = collaborative_fusion(glance, focus, rosta).astype(np.float32)
    expected = composite(frame, background, alpha)
    np.testing.assert_array_equal(composite(frame, background, alpha[0, 0]), expected)
    result = composite(frame, background, glance=glance, focus=focus, rosta=rosta)
    np.testing.assert_array_equal(result, expected)


@both
@cleaned
def test_plain_mattes(guided: bool, clean: bool) -> None:
    frame, background, _ = scene((135, 150), (40, 50))
    options: dict[str, Any] = {"guided": guided, "clean": clean}
    for level, expected in [
        *((value, background) for value in (0.0, 0.0019, -4.0, np.nan, -np.inf)),
        *((value, frame) for value in (1.0, 0.9981, 3.0, np.inf)),
    ]:
        alpha = np.full((40, 50), level, np.float32)
        np.testing.assert_array_equal(composite(frame, background, alpha, **options), expected)
    half = composite(
        frame, background, np.full((40, 50), 0.5, np.float32), guided=guided, clean=False
    )
    np.testing.assert_array_equal(
        half, alpha_blend(frame, background, np.full((135, 150), 0.5, np.float32))
    )


@given(seed=st.integers(0, 999), clean=st.booleans())
@settings(max_examples=25, deadline=None)
def test_nothing_of_the_room_where_the_matte_knows_none(seed: int, clean: bool) -> None:
    """Two of the matte's pixels from anything else, 0 and 1 stay exactly that."""
    random = np.random.default_rng(seed)
    frame, background = random.integers(0, 256, (2, 130, 170, 3), np.uint8)
    alpha = np.zeros((40, 50), np.float32)
    row, column = random.integers(0, 40), random.integers(0, 50)
    alpha[row : row + 4, column : column + 6] = random.random()
    alpha[:, : random.integers(0, 20)] = 1
    alpha[random.integers(0, 40), random.integers(0, 50)] = np.nan
    full = np.empty((130, 170), np.float32)
    result = composite(frame, background, alpha, clean=clean, alpha_out=full)
    known = np.nan_to_num(alpha)
    reach = np.pad(known, 2, mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(reach, (5, 5))
    low, high = views.min((2, 3)), views.max((2, 3))
    for value, expected in ((0.0, background), (1.0, frame)):
        plain = ((low == value) & (high == value)).astype(np.float64)
        there = resized(plain, (130, 170)) == 1
        assert (full[there] == value).all()
        np.testing.assert_array_equal(result[there], expected[there])
    assert np.isfinite(full).all()
    assert full.min() >= 0
    assert full.max() <= 1


def test_bilinear_is_the_blend_of_the_enlarged_matte() -> None:
    frame, background, alpha = scene((200, 333), (50, 70))
    full = np.empty((200, 333), np.float32)
    result = composite(frame, background, alpha, guided=False, clean=False, alpha_out=full)
    np.testing.assert_allclose(full, resized(alpha, (200, 333)).clip(0, 1), atol=2.1e-3)
    share = full[..., None].astype(np.float64)
    real = share * frame + (1 - share) * background
    assert np.abs(result - real).max() <= 0.5001


def test_a_grey_frame_leads_nothing() -> None:
    """Without a contrast there is no edge to follow: the network's matte, interpolated."""
    _, background, alpha = scene((120, 160), (30, 40))
    frame = np.full((120, 160, 3), 77, np.uint8)
    led, bilinear = np.empty((2, 120, 160), np.float32)
    composite(frame, background, alpha, guided=True, alpha_out=led)
    composite(frame, background, alpha, guided=False, alpha_out=bilinear)
    np.testing.assert_array_equal(led, bilinear)


def hair(height: int, width: int) -> tuple[Array, Array, Array]:
    """Thin dark strands before something bright: frame, alpha and the strands' true colours."""
    random = np.random.default_rng(3)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    alpha = ((np.hypot(x - width / 2, y - height) - height * 0.5) < 0).astype(np.float64)
    for _ in range(60):
        bend, start, lean, top = random.normal(0, 20), random.random(), random.normal(0, 0.4), 0.0
        top = random.uniform(0.05, 0.5) * height
        strand = width * (0.25 + start / 2) + (height - y) * lean + bend * np.sin(y / 70 + start)
        alpha = np.maximum(alpha, (1.4 - np.abs(x - strand)).clip(0, 1) * (y > top))
    bright = 200 + 25 * np.stack([np.sin(x / 90), np.sin(y / 70), np.sin((x + y) / 80)], -1)
    dark = 45 + 15 * np.stack([np.sin(x / 9), np.cos(y / 11), np.sin((x - y) / 13)], -1)
    noise = random.normal(0, 3, (height, width, 3))
    frame = alpha[..., None] * dark + (1 - alpha[..., None]) * bright + noise
    return np.rint(frame).clip(0, 255).astype(np.uint8), alpha, dark


def test_guided_keeps_strands_of_hair() -> None:
    """At a factor of 3.75, most of the error that interpolation makes beside strands is gone."""
    frame, alpha, dark = hair(360, 480)
    small = resized(alpha, (96, 128)).astype(np.float32)
    edges = window_sums(((alpha > 0) & (alpha < 1)).astype(np.float64), 4) > 0
    behind = np.full((360, 480, 3), (90, 160, 70), np.uint8)
    truth = alpha[..., None] * dark + (1 - alpha[..., None]) * behind
    errors: dict[bool, tuple[float, float]] = {}
    for way in (False, True):
        full = np.empty((360, 480), np.float32)
        result = composite(frame, behind, small, guided=way, clean=way, alpha_out=full)
        errors[way] = (
            float(np.abs(full - alpha)[edges].mean()),
            float(np.abs(result - truth)[edges].mean()),
        )
    assert errors[True][0] < 0.2 * errors[False][0]
    assert errors[True][1] < 0.2 * errors[False][1]


def test_a_colour_is_an_image_of_it() -> None:
    frame, _, alpha = scene((100, 150), (30, 40))
    image = np.broadcast_to(np.array([255, 0, 17], np.uint8), frame.shape)
    expected = composite(frame, image, alpha)
    for colour in ((255, 0, 17), [255, 0, 17], np.array([255, 0, 17])):
        np.testing.assert_array_equal(composite(frame, colour, alpha), expected)


def test_in_place_over_either_picture() -> None:
    frame, background, alpha = scene((100, 150), (30, 40))
    expected = composite(frame, background, alpha)
    for index in range(2):
        pictures = [frame.copy(), background.copy()]
        assert composite(pictures[0], pictures[1], alpha, out=pictures[index]) is pictures[index]
        np.testing.assert_array_equal(pictures[index], expected)


def test_the_order_of_channels_does_not_matter() -> None:
    frame, background, alpha = scene((100, 150), (30, 40))
    swapped = composite(frame[..., ::-1], background[..., ::-1], alpha)[..., ::-1]
    difference = np.abs(swapped.astype(int) - composite(frame, background, alpha))
    assert difference.max() <= 1  # the order of float sums


def test_large_frames_on_several_threads_give_the_same_bytes() -> None:
    frame, background, alpha = scene((1780, 1775), (300, 300))
    full = np.empty((1780, 1775), np.float32)
    result = composite(frame, background, alpha, alpha_out=full)
    expected, matte = reference(frame, background, alpha, True, True)
    assert np.abs(full - matte).mean() < 1e-3
    assert np.abs(result - expected).mean() < 0.3


BASE: dict[str, Any] = {
    "frame": np.zeros((8, 12, 3), np.uint8),
    "background": (1, 2, 3),
    "alpha": np.zeros((4, 6), np.float32),
}
HEADS: dict[str, Any] = {
    "alpha": None,
    "glance": np.zeros((1, 3, 4, 6), np.float32),
    "focus": np.zeros((1, 1, 4, 6), np.float32),
    "rosta": "tt",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame": np.zeros((8, 12, 3))}, r"frame has dtype float64, expected uint8"),
        ({"frame": np.zeros((8, 12), np.uint8)}, r"frame is 8×12, expected H×W×3"),
        ({"frame": np.zeros((2, 8, 12, 3), np.uint8)}, r"frame is 2×8×12×3, .*one frame at a time"),
        ({"background": np.zeros((8, 12, 3))}, r"background has dtype float64, expected uint8"),
        ({"background": np.zeros((8, 9, 3), np.uint8)}, r"background is 8×9×3, expected 8×12×3"),
        ({"background": (0, 0, 300)}, r"background is the colour \(0, 0, 300\)"),
        ({"alpha": np.zeros((4, 6))}, r"alpha has dtype float64, expected float32"),
        ({"alpha": np.zeros((4, 6), np.uint8)}, r"alpha has dtype uint8.*by 255"),
        ({"alpha": np.zeros((2, 1, 4, 6), np.float32)}, r"alpha is 2×1×4×6"),
        ({"alpha": np.zeros((4, 6, 1), np.float32)}, r"alpha is 4×6×1"),
        ({"alpha": np.zeros((0, 6), np.float32)}, r"alpha is 0×6"),
        ({"alpha": np.zeros((1, 32769), np.float32)}, r"alpha is 1×32769 .*expected at most 32768"),
        ({"alpha": None}, r"the matte is given by nothing"),
        ({"focus": np.zeros((1, 1, 4, 6), np.float32)}, r"given by alpha, focus, expected alpha"),
        ({"rosta": "tt"}, r"the matte is given by alpha, rosta"),
        (HEADS | {"rosta": None}, r"the matte is given by glance, focus"),
        (HEADS | {"rosta": "ttt"}, r"rosta is 'ttt', expected .*did you mean 'tt'"),
        (
            HEADS | {name: np.concatenate([HEADS[name]] * 2) for name in ("glance", "focus")},
            r"alpha is 2×1×4×6",
        ),
        ({"alpha_out": np.zeros((4, 6), np.float32)}, r"alpha_out is 4×6, expected 8×12"),
        ({"alpha_out": np.zeros((8, 12))}, r"alpha_out has dtype float64, expected float32"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(KernelError, match=message):
        composite(**(BASE | change))
