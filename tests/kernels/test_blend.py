from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from matter_sdk.kernels import KernelError, _srgb, alpha_blend
from matter_sdk.kernels.yuv import YUV

BYTES = st.integers(0, 255)
SIZES = [(1, 1), (7, 127), (5, 128), (9, 129), (33, 500), (2, 30, 300)]


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
    """Nearest integer; 0.004 beside a half, where alpha in 32768ths decides, either neighbour."""
    assert result.dtype == np.uint8
    assert np.abs(result - value).max() <= 0.504


def in_integers(foreground: Any, background: Any, alpha: Any) -> NDArray[np.int64]:
    """The definition in the docstring."""
    weight = np.nan_to_num(alpha.astype(np.float64), nan=0.0).clip(0, 1)
    whole = np.floor(weight * 32768 + 0.5).astype(np.int64)[..., None]
    front, back = np.asarray(foreground, np.int64), np.asarray(background, np.int64)
    return back + ((front - back) * whole + 16384) // 32768


@pytest.mark.parametrize("size", SIZES)
def test_matches_the_compositing_equation(size: tuple[int, ...]) -> None:
    foreground, background, alpha = scene(*size)
    result = alpha_blend(foreground, background, alpha)
    assert result.shape == foreground.shape
    assert_rounded(result, exact(foreground, background, alpha))
    np.testing.assert_array_equal(result, in_integers(foreground, background, alpha))


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


def test_one_background_for_a_batch() -> None:
    foreground, background, alpha = scene(3, 10, 150)
    result = alpha_blend(foreground, background[0], alpha)
    repeated = np.broadcast_to(background[0], foreground.shape)
    np.testing.assert_array_equal(result, alpha_blend(foreground, repeated, alpha))
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


# ---- floats


def floats(*size: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[Any]]:
    """As `scene`, on a scale of its own with values below 0."""
    foreground, background, alpha = scene(*size)
    return (
        (foreground / 100 - 1).astype(np.float32),
        (background / 100 - 1).astype(np.float32),
        alpha,
    )


@pytest.mark.parametrize("size", SIZES)
def test_floats_match_the_compositing_equation(size: tuple[int, ...]) -> None:
    foreground, background, alpha = floats(*size)
    result = alpha_blend(foreground, background, alpha)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, exact(foreground, background, alpha), atol=5e-7)


def test_floats_are_exact_at_0_and_1_and_where_both_are_alike() -> None:
    foreground, background, alpha = floats(9, 300)
    foreground[0, :3] = np.inf, np.nan, 3e38
    background[0, -3:] = -np.inf, np.nan, 3e38
    alpha[1, 100], alpha[2, ::7], alpha[3, ::5] = np.nan, -1, 2
    result = alpha_blend(foreground, background, alpha)
    shown, hidden = alpha >= 1, ~(alpha > 0)
    np.testing.assert_array_equal(result[shown], foreground[shown])
    np.testing.assert_array_equal(result[hidden], background[hidden])
    np.testing.assert_array_equal(alpha_blend(background, background, alpha), background)


def test_floats_over_a_colour() -> None:
    foreground, _, alpha = floats(9, 300)
    colour = (-0.25, 1e-3, 700)
    expected = alpha_blend(foreground, np.broadcast_to(np.float32(colour), foreground.shape), alpha)
    for given_as in (colour, list(colour), np.array(colour), np.array(colour, np.float32)):
        np.testing.assert_array_equal(alpha_blend(foreground, given_as, alpha), expected)


def test_the_plain_strips_of_floats_are_as_if_computed() -> None:
    foreground, background, alpha = floats(1, 512)
    alpha[:, :200], alpha[:, 300:] = 0, 1
    result = alpha_blend(foreground, background, alpha)
    for x in range(512):  # a strip of one pixel each
        part = np.s_[:, x : x + 1]
        one = alpha_blend(foreground[part], background[part], alpha[part])
        np.testing.assert_array_equal(result[part], one)


# ---- premultiplied


@pytest.mark.parametrize("size", SIZES)
def test_premultiplied_adds_the_foreground(size: tuple[int, ...]) -> None:
    foreground, background, alpha = scene(*size)
    result = alpha_blend(foreground, background, alpha, premultiplied=True)
    value = exact(np.zeros_like(foreground), background, alpha) + foreground
    assert (value > 256).any() or value.size == 3  # some saturate
    assert_rounded(result, value.clip(0, 255))

    fore, back, alpha = floats(*size)
    result = alpha_blend(fore, back, alpha, premultiplied=True)
    value = exact(np.zeros_like(fore), back, alpha) + fore
    np.testing.assert_allclose(result, value, atol=5e-7)


def test_premultiplied_is_the_straight_blend_of_a_multiplied_foreground() -> None:
    fore, back, alpha = floats(9, 300)
    multiplied = fore * alpha[..., None]
    result = alpha_blend(multiplied, back, alpha, premultiplied=True)
    np.testing.assert_allclose(result, alpha_blend(fore, back, alpha), atol=1e-6)


def test_premultiplied_at_0_and_1() -> None:
    foreground, background, _ = scene(40, 300)
    none, full = np.zeros((40, 300), np.float32), np.ones((40, 300), np.float32)
    none[3] = np.nan
    result = alpha_blend(foreground, background, none, premultiplied=True)
    total = foreground.astype(int) + background
    np.testing.assert_array_equal(result, total.clip(0, 255))
    result = alpha_blend(foreground, background, full, premultiplied=True)
    np.testing.assert_array_equal(result, foreground)
    endless = np.full(background.shape, np.inf, np.float32)
    result = alpha_blend(foreground.astype(np.float32), endless, full, premultiplied=True)
    np.testing.assert_array_equal(result, foreground)


# ---- linear light


def decoded(values: Any) -> NDArray[np.float64]:
    """IEC 61966-2-1, written out."""
    stored = np.asarray(values, np.float64) / 255
    return np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)


def encoded(light: NDArray[np.float64]) -> NDArray[np.float64]:
    return 255 * np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * light.clip(1e-9) ** (1 / 2.4) - 0.055
    )


@pytest.mark.parametrize("size", SIZES)
def test_linear_blends_light(size: tuple[int, ...]) -> None:
    foreground, background, alpha = scene(*size)
    result = alpha_blend(foreground, background, alpha, linear=True)
    value = encoded(exact(decoded(foreground), decoded(background), alpha))
    assert result.dtype == np.uint8
    assert np.abs(result - value).max() <= 0.5 + 1e-3


def test_linear_gives_back_every_value() -> None:
    values = np.arange(256, dtype=np.uint8)
    foreground = np.repeat(np.tile(values, (256, 1))[..., None], 3, axis=2)
    background = foreground.transpose(1, 0, 2)
    for weight, expected in ((0, background), (1e-12, background), (1, foreground)):
        alpha = np.full((256, 256), weight, np.float32)
        result = alpha_blend(foreground, background, alpha, linear=True)
        np.testing.assert_array_equal(result, expected)
    near_one = np.full((256, 256), np.nextafter(np.float32(1), np.float32(0)))
    result = alpha_blend(foreground, background, near_one, linear=True)
    np.testing.assert_array_equal(result, foreground)
    for weight in (0.1, 0.5, 0.9):
        alpha = np.full((256, 256), weight, np.float32)
        same = alpha_blend(foreground, foreground, alpha, linear=True)
        np.testing.assert_array_equal(same, foreground)


def test_linear_over_a_colour_and_an_unknown_alpha() -> None:
    foreground, _, alpha = scene(5, 300)
    alpha[2] = np.nan
    image = np.broadcast_to(np.array([255, 0, 17], np.uint8), foreground.shape)
    result = alpha_blend(foreground, (255, 0, 17), alpha, linear=True)
    np.testing.assert_array_equal(result, alpha_blend(foreground, image, alpha, linear=True))
    np.testing.assert_array_equal(result[2], image[2])


def test_no_bin_of_the_tables_holds_two_steps() -> None:
    light, codes, steps = _srgb.tables()
    assert np.diff(codes).max() == 1
    np.testing.assert_allclose(light, decoded(np.arange(256)), rtol=1e-7)
    np.testing.assert_allclose(encoded(steps[:255].astype(np.float64)) % 1, 0.5, atol=2e-4)


# ---- frames in planes


def frame(height: int, width: int, layout: str, seed: int = 0, **settings: Any) -> YUV:
    random = np.random.default_rng(seed)
    half = ((height + 1) // 2, (width + 1) // 2)
    y = random.integers(0, 256, (height, width), np.uint8)
    if layout == "nv12":
        return YUV((y, random.integers(0, 256, (*half, 2), np.uint8)), **settings)
    u, v = random.integers(0, 256, (2, *half), np.uint8)
    return YUV((y, u, v), **settings)


def chroma(image: YUV) -> NDArray[np.uint8]:
    """U and V, h×w×2, of either layout."""
    return image.planes[1] if image.layout == "nv12" else np.stack(image.planes[1:], axis=-1)


def block_means(alpha: NDArray[np.float32]) -> NDArray[np.float64]:
    weight = np.nan_to_num(alpha.astype(np.float64), nan=0.0).clip(0, 1)
    height, width = alpha.shape
    return np.array(
        [
            [weight[y : y + 2, x : x + 2].mean() for x in range(0, width, 2)]
            for y in range(0, height, 2)
        ]
    )


@pytest.mark.parametrize("layout", ["i420", "nv12"])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (3, 127), (4, 128), (5, 385), (8, 300)])
def test_planes_match_the_compositing_equation(layout: str, size: tuple[int, int]) -> None:
    front, back = frame(*size, layout, 1), frame(*size, layout, 2)
    _, _, alpha = scene(*size, seed=3)
    alpha[0, 0], alpha[-1, -1] = 1.5, np.nan
    result = alpha_blend(front, back, alpha)
    assert result.layout == layout
    luminance = exact(front.planes[0][..., None], back.planes[0][..., None], alpha)
    assert_rounded(result.planes[0], luminance[..., 0])
    value = exact(chroma(front), chroma(back), block_means(alpha).astype(np.float64))
    assert np.abs(chroma(result) - value).max() <= 0.508


@pytest.mark.parametrize("layout", ["i420", "nv12"])
def test_planes_at_0_and_1_and_in_plain_strips(layout: str) -> None:
    front, back = frame(7, 517, layout, 1), frame(7, 517, layout, 2)
    alpha = np.zeros((7, 517), np.float32)
    alpha[:, 300:] = 1  # a strip is plain, mixed, plain; the edge falls between blocks
    result = alpha_blend(front, back, alpha)
    for part, in_front, behind in zip(result.planes, front.planes, back.planes, strict=True):
        edge = 300 if part.shape[0] == 7 else 150
        np.testing.assert_array_equal(part[:, :edge], behind[:, :edge])
        np.testing.assert_array_equal(part[:, edge:], in_front[:, edge:])
    alpha[::2] = np.nan  # of each block half the pixels are unknown
    result = alpha_blend(front, back, alpha)
    np.testing.assert_array_equal(result.planes[0][::2], back.planes[0][::2])


@pytest.mark.parametrize("layout", ["i420", "nv12"])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("full_range", [False, True])
def test_planes_over_a_colour(layout: str, matrix: str, full_range: bool) -> None:
    settings: dict[str, Any] = {"matrix": matrix, "full_range": full_range}
    front = frame(9, 135, layout, **settings)
    _, _, alpha = scene(9, 135)
    colour = (200, 30, 90)
    image = np.broadcast_to(np.array(colour, np.uint8), (9, 135, 3))
    expected = alpha_blend(front, YUV.from_bgr(image, layout=layout, **settings), alpha)
    for given_as in (colour, list(colour), np.array(colour)):
        result = alpha_blend(front, given_as, alpha)
        assert (result.layout, result.matrix, result.full_range) == (layout, matrix, full_range)
        for part, other in zip(result.planes, expected.planes, strict=True):
            np.testing.assert_array_equal(part, other)


@pytest.mark.parametrize("layout", ["i420", "nv12"])
def test_planes_in_place_and_from_padded_rows(layout: str) -> None:
    front, back = frame(10, 262, layout, 1), frame(10, 262, layout, 2)
    _, _, alpha = scene(10, 262)
    expected = alpha_blend(front, back, alpha)
    for index in range(2):
        frames = [YUV(tuple(plane.copy() for plane in image.planes)) for image in (front, back)]
        assert alpha_blend(*frames, alpha, out=frames[index]) is frames[index]
        for part, other in zip(frames[index].planes, expected.planes, strict=True):
            np.testing.assert_array_equal(part, other)

    def padded(plane: Any) -> Any:
        room = np.zeros((plane.shape[0], plane.shape[1] + 13, *plane.shape[2:]), plane.dtype)
        room[:, : plane.shape[1]] = plane
        return room[:, : plane.shape[1]]

    frames = [YUV(tuple(map(padded, image.planes))) for image in (front, back)]
    result = alpha_blend(*frames, padded(alpha))
    for part, other in zip(result.planes, expected.planes, strict=True):
        np.testing.assert_array_equal(part, other)


def test_large_frames_in_planes_on_several_threads_give_the_same_bytes() -> None:
    front, back = frame(2200, 2000, "i420", 1), frame(2200, 2000, "i420", 2)
    _, _, alpha = scene(2200, 2000)
    result = alpha_blend(front, back, alpha)
    for top in (0, 1050, 2100):
        luma, half = np.s_[top : top + 100], np.s_[top // 2 : top // 2 + 50]
        parts = [
            YUV((image.planes[0][luma], *(plane[half] for plane in image.planes[1:])))
            for image in (front, back, result)
        ]
        again = alpha_blend(*parts[:2], alpha[luma])
        for one, other in zip(again.planes, parts[2].planes, strict=True):
            np.testing.assert_array_equal(one, other)


def test_planes_and_bgr_look_alike() -> None:
    # Smooth images and a matte that changes slowly: colour at half resolution loses nothing there.
    y, x = np.mgrid[:64, :96].astype(np.float32)
    front = np.stack([x * 2, y * 3, 190 - x], axis=-1).astype(np.uint8)
    back = np.stack([255 - y * 2, 90 + x, y * 2], axis=-1).astype(np.uint8)
    alpha = (x / 95).astype(np.float32)
    frames = [YUV.from_bgr(image, full_range=True) for image in (front, back)]
    result = alpha_blend(*frames, alpha).bgr().astype(int)
    assert np.abs(result - alpha_blend(front, back, alpha)).max() <= 6


I420 = frame(4, 6, "i420")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"foreground": np.zeros((4, 6, 3), np.uint8)},
            r"background is a YUV behind an array",
        ),
        (
            {"background": np.zeros((4, 6, 3), np.uint8)},
            r"background is a numpy.ndarray, expected 3 arrays in a .*YUV like .*"
            r"YUV.from_bgr\(image, layout='i420', matrix='bt709', full_range=False\)",
        ),
        (
            {"background": frame(4, 6, "nv12")},
            r"background is a YUV with layout='nv12', .*expected layout='i420'.*convert it once",
        ),
        (
            {"background": frame(4, 6, "i420", matrix="bt601")},
            r"matrix='bt601', .* expected .*matrix='bt709', .*convert it once",
        ),
        (
            {"background": frame(4, 6, "i420", full_range=True)},
            r"full_range=True, expected .*full_range=False like the foreground or a colour",
        ),
        ({"background": frame(4, 8, "i420")}, r"background.y is 4×8, expected 4×6 .*resize it"),
        ({"background": (1, 2, 300)}, r"\(1, 2, 300\), expected three whole numbers in 0..255"),
        (
            {"alpha": np.zeros((2, 3), np.float32)},
            r"alpha is 2×3, expected 4×6 beside fore",
        ),
        ({"alpha": np.zeros((4, 6))}, r"alpha has dtype float64, expected float32"),
        ({"out": np.zeros((4, 6, 3), np.uint8)}, r"out is a numpy.ndarray, expected 3 arrays in a"),
        (
            {"out": frame(4, 6, "i420", full_range=True)},
            r"out is a YUV with .*full_range=True",
        ),
        ({"out": frame(4, 8, "i420")}, r"out.y is 4×8, expected 4×6"),
        ({"premultiplied": True}, r"premultiplied=True with a YUV .*blend foreground.bgr\(\)"),
        ({"linear": True}, r"linear=True with a YUV foreground, expected images of uint8: blend"),
    ],
)
def test_errors_of_planes(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "foreground": I420,
        "background": I420,
        "alpha": np.zeros((4, 6), np.float32),
    }
    with pytest.raises(KernelError, match=message):
        alpha_blend(**(arguments | change))


F32 = np.zeros((4, 6, 3), np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"foreground": np.zeros((4, 6, 3))}, r"foreground has dtype float64, expected uint8"),
        ({"foreground": np.zeros((4, 6, 4), np.uint8)}, r"foreground is 4×6×4, expected H×W×3"),
        ({"foreground": np.zeros((4, 6), np.uint8)}, r"foreground is 4×6, expected H×W×3"),
        ({"foreground": np.zeros((0, 6, 3), np.uint8)}, r"foreground is 0×6×3"),
        ({"background": np.zeros((4, 6, 3))}, r"background has dtype float64, expected uint8"),
        ({"background": np.zeros((4, 5, 3), np.uint8)}, r"background is 4×5×3, expected 4×6×3"),
        ({"foreground": F32}, r"background has dtype uint8, expected float32"),
        ({"background": F32}, r"background has dtype float32, expected uint8"),
        ({"background": np.zeros((2, 4, 6, 3), np.uint8)}, r"background is 2×4×6×3, expected 4×6"),
        ({"foreground": F32, "background": (0, None, 1)}, r"expected three numbers .*convert them"),
        ({"foreground": F32, "background": (0, 1)}, r"\(0, 1\)"),
        ({"foreground": F32, "background": (0, np.nan, 1)}, r"nan.*, expected three numbers"),
        ({"foreground": F32, "background": (0, 1e39, 1)}, r"1e\+39"),
        (
            {"foreground": F32, "background": F32, "linear": True},
            r"linear=True with images of float32, expected uint8.*decode them",
        ),
        (
            {"linear": True, "premultiplied": True},
            r"linear=True with premultiplied=True, expected one of them: multiply",
        ),
        ({"background": (0, 0)}, r"background is the colour \(0, 0\)"),
        ({"background": (0, 0, 256)}, r"\(0, 0, 256\), expected three whole numbers in 0..255"),
        ({"background": (0, 0.5, 1)}, r"\(0, 0.5, 1\)"),
        ({"background": "white"}, r"background is a builtins.str"),
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
