"""`composite` on frames in planes: I420 and NV12."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from matter_sdk.kernels import YUV, KernelError, composite
from tests.kernels.test_composite import (
    Array,
    both,
    cleaned,
    estimates,
    hair,
    led,
    levels,
    resized,
    scene,
    solved,
    window_sums,
)

in_layouts = pytest.mark.parametrize("layout", ["i420", "nv12"])


def planes_of(frame: YUV) -> tuple[Array, Array, Array]:
    """Y, U and V of either layout."""
    if frame.layout == "i420":
        return frame.planes  # type: ignore[return-value]
    y, uv = frame.planes
    return y, uv[..., 0], uv[..., 1]


def assert_same(frame: YUV, expected: YUV) -> None:
    for plane, other in zip(planes_of(frame), planes_of(expected), strict=True):
        np.testing.assert_array_equal(plane, other)


def doubled(plane: Array, size: tuple[int, int]) -> Array:
    """A colour plane with each sample for all of its pixels."""
    return np.repeat(np.repeat(plane, 2, 0), 2, 1)[: size[0], : size[1]]


def halved(values: Array) -> Array:
    """Means over the pixels of each colour sample."""
    odd = [(0, side % 2) for side in values.shape]
    even = np.pad(values, odd, mode="edge")
    return np.asarray(even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2).mean((1, 3)))


def reference(
    frame: YUV, background: YUV, alpha: Array, guided: bool, clean: bool
) -> tuple[list[Array], Array]:
    """The three planes (not rounded) and alpha, step by step in float64."""
    planes = [plane.astype(np.float64) for plane in planes_of(frame)]
    size = planes[0].shape
    small_size = min(size[0], alpha.shape[0]), min(size[1], alpha.shape[1])
    matte = resized(np.nan_to_num(alpha.astype(np.float64), nan=0).clip(0, 1), small_size)
    level = levels(matte)
    matte = np.where(level == 0, 0, np.where(level == 255, 1, matte))
    small = np.stack([np.floor(resized(plane, small_size) + 0.5) for plane in planes], -1)
    image = np.stack([planes[0], *(doubled(plane, size) for plane in planes[1:])], -1)
    if guided and small_size != size:
        full = led(small, matte, image, epsilon=1e-3)
    else:
        full = resized(matte, size)
    full = full.clip(0, 1)
    alphas = [full, halved(full), halved(full)]
    if clean:
        f, b = (resized(np.floor(values + 0.5), size) for values in estimates(small, matte))
        for c, plane in enumerate(planes):
            own = [values[..., c] if c == 0 else halved(values[..., c]) for values in (f, b)]
            f_c, b_c, colour = (values[..., None] for values in (*own, plane))
            planes[c] = solved(f_c, b_c, alphas[c], colour)[..., 0]
    behind = planes_of(background)
    return [a * c + (1 - a) * b for a, c, b in zip(alphas, planes, behind, strict=True)], full


def planar_scene(
    size: tuple[int, int], small: tuple[int, int], layout: str = "i420", **settings: Any
) -> tuple[YUV, YUV, NDArray[np.float32]]:
    frame, background, alpha = scene(size, small)
    pictures = [YUV.from_bgr(image, layout=layout, **settings) for image in (frame, background)]
    return pictures[0], pictures[1], alpha


@in_layouts
@both
@cleaned
@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((270, 480), (72, 128)),
        ((301, 403), (90, 130)),
        ((119, 97), (119, 97)),
        ((60, 71), (90, 140)),
        ((90, 70), (40, 140)),
        ((61, 130), (40, 80)),  # of more pixels than the planes of colour
        ((64, 64), (63, 2)),
        ((5, 201), (1, 1)),
        ((1, 1), (1, 1)),
        ((2, 3), (1, 2)),
    ],
)
def test_matches_the_steps_one_by_one(
    size: tuple[int, int], small: tuple[int, int], guided: bool, clean: bool, layout: str
) -> None:
    frame, background, alpha = planar_scene(size, small, layout)
    full = np.empty(size, np.float32)
    result = composite(frame, background, alpha, guided=guided, clean=clean, alpha_out=full)
    assert result.layout == layout
    planes, matte = reference(frame, background, alpha, guided, clean)
    # The small frame is averaged with weights of 8 bits, so that it may be off by one.
    assert np.abs(full - matte).max() < (0.03 if guided else 1e-6)
    for plane, expected in zip(planes_of(result), planes, strict=True):
        assert plane.dtype == np.uint8
        difference = np.abs(plane - expected)
        assert difference.max() <= 0.5 + (8 if guided or clean else 1e-4)
        if difference.size > 100:  # enough for a mean
            assert difference.mean() <= 0.26 + (0.1 if guided or clean else 0)
    if full.size > 100:
        assert np.abs(full - matte).mean() < (1e-3 if guided else 1e-7)


@in_layouts
def test_whole_factors_match_closely(layout: str) -> None:
    """Averages of 4×4, and of 2×2 samples of colour, have exact weights: rounding is left."""
    frame, background, alpha = planar_scene((240, 320), (60, 80), layout)
    full = np.empty((240, 320), np.float32)
    result = composite(frame, background, alpha, alpha_out=full)
    expected, matte = reference(frame, background, alpha, True, True)
    np.testing.assert_allclose(full, matte, atol=2e-4)
    for plane, values in zip(planes_of(result), expected, strict=True):
        difference = np.abs(plane.astype(int) - np.floor(values + 0.5))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3


@in_layouts
@both
@cleaned
def test_plain_mattes(guided: bool, clean: bool, layout: str) -> None:
    frame, background, _ = planar_scene((135, 151), (40, 50), layout)
    for level, expected in [
        *((value, background) for value in (0.0, 0.0019, -4.0, np.nan)),
        *((value, frame) for value in (1.0, 0.9981, 3.0)),
    ]:
        alpha = np.full((40, 50), level, np.float32)
        assert_same(composite(frame, background, alpha, guided=guided, clean=clean), expected)


@given(seed=st.integers(0, 999), clean=st.booleans())
@settings(max_examples=25, deadline=None)
def test_nothing_of_the_room_where_the_matte_knows_none(seed: int, clean: bool) -> None:
    """Two of the matte's pixels from anything else, 0 and 1 stay exactly that."""
    random = np.random.default_rng(seed)
    size = (131, 171)
    frame, background = (
        YUV(
            (
                random.integers(0, 256, size, np.uint8),
                random.integers(0, 256, (66, 86, 2), np.uint8),
            )
        )
        for _ in range(2)
    )
    alpha = np.zeros((40, 50), np.float32)
    row, column = random.integers(0, 40), random.integers(0, 50)
    alpha[row : row + 4, column : column + 6] = random.random()
    alpha[:, : random.integers(0, 20)] = 1
    full = np.empty(size, np.float32)
    result = composite(frame, background, alpha, clean=clean, alpha_out=full)
    reach = np.pad(alpha, 2, mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(reach, (5, 5))
    low, high = views.min((2, 3)), views.max((2, 3))
    for value, expected in ((0.0, background), (1.0, frame)):
        plain = ((low == value) & (high == value)).astype(np.float64)
        there = resized(plain, size) == 1
        assert (full[there] == value).all()
        whole = halved(there.astype(np.float64)) == 1
        planes = zip(planes_of(result), planes_of(expected), (there, whole, whole), strict=True)
        for plane, other, where in planes:
            np.testing.assert_array_equal(plane[where], other[where])
    assert full.min() >= 0
    assert full.max() <= 1


@both
@cleaned
def test_both_layouts_give_the_same(guided: bool, clean: bool) -> None:
    options: dict[str, Any] = {"guided": guided, "clean": clean}
    results = [
        composite(*planar_scene((75, 133), (20, 40), layout), **options)
        for layout in ("i420", "nv12")
    ]
    assert_same(*results)


@in_layouts
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("full_range", [False, True])
def test_a_colour_is_a_frame_of_it(layout: str, matrix: str, full_range: bool) -> None:
    settings: dict[str, Any] = {"layout": layout, "matrix": matrix, "full_range": full_range}
    frame, _, alpha = planar_scene((45, 135), (12, 40), **settings)
    colour = (200, 30, 90)
    image = np.broadcast_to(np.array(colour, np.uint8), (45, 135, 3))
    expected = composite(frame, YUV.from_bgr(image, **settings), alpha)
    for given_as in (colour, list(colour), np.array(colour)):
        result = composite(frame, given_as, alpha)
        assert (result.layout, result.matrix, result.full_range) == (layout, matrix, full_range)
        assert_same(result, expected)


@in_layouts
@pytest.mark.parametrize("size", [(100, 150), (101, 151)])
def test_in_place_over_either_frame(size: tuple[int, int], layout: str) -> None:
    frame, background, alpha = planar_scene(size, (30, 40), layout)
    expected = composite(frame, background, alpha)
    for index in range(2):
        frames = [YUV(tuple(p.copy() for p in given.planes)) for given in (frame, background)]
        assert composite(*frames, alpha, out=frames[index]) is frames[index]
        assert_same(frames[index], expected)


@in_layouts
def test_padded_rows(layout: str) -> None:
    frame, background, alpha = planar_scene((41, 77), (12, 20), layout)

    def padded(plane: Any) -> Any:
        room = np.full((plane.shape[0], plane.shape[1] + 13, *plane.shape[2:]), 255, plane.dtype)
        room[:, : plane.shape[1]] = plane
        return room[:, : plane.shape[1]]

    frames = [YUV(tuple(map(padded, given.planes))) for given in (frame, background)]
    assert_same(composite(*frames, padded(alpha)), composite(frame, background, alpha))


def test_large_frames_on_several_threads_give_the_same_bytes() -> None:
    frame, background, alpha = planar_scene((1031, 1043), (300, 300))  # two, with the estimate
    result = composite(frame, background, alpha)
    planes, _ = reference(frame, background, alpha, True, True)
    for plane, expected in zip(planes_of(result), planes, strict=True):
        assert np.abs(plane - expected).mean() < 0.3


@both
@cleaned
def test_planes_and_bgr_look_alike(guided: bool, clean: bool) -> None:
    """Of smooth pictures and a soft matte: colour at half resolution loses nothing there."""
    y, x = np.mgrid[:180, :240].astype(np.float32)
    frame = np.stack([30 + x / 2, y, 190 - x / 3], axis=-1).astype(np.uint8)
    background = np.stack([255 - y, 90 + x / 4, y / 2], axis=-1).astype(np.uint8)
    alpha = ((np.hypot(x[::4, ::4] - 120, y[::4, ::4] - 90) - 40) / 40).clip(0, 1)
    options: dict[str, Any] = {"guided": guided, "clean": clean}
    frames = [YUV.from_bgr(image, full_range=True) for image in (frame, background)]
    result = composite(*frames, alpha, **options).bgr().astype(int)
    difference = np.abs(result - composite(frame, background, alpha, **options))
    assert difference.max() <= 6
    assert difference.mean() <= 1


@pytest.mark.parametrize("full_range", [False, True])
def test_guided_keeps_strands_of_hair(full_range: bool) -> None:
    """As in BGR: of the error that interpolation makes beside strands, most is gone."""
    frame, alpha, _ = hair(360, 480)
    small = resized(alpha, (96, 128)).astype(np.float32)
    edges = window_sums(((alpha > 0) & (alpha < 1)).astype(np.float64), 4) > 0
    planes = YUV.from_bgr(frame, full_range=full_range)
    errors = []
    for way in (False, True):
        full = np.empty((360, 480), np.float32)
        composite(planes, (90, 160, 70), small, guided=way, alpha_out=full)
        errors.append(np.abs(full - alpha)[edges].mean())
    assert errors[1] < 0.2 * errors[0]


FRAME = YUV((np.zeros((8, 12), np.uint8), *np.zeros((2, 4, 6), np.uint8)))
WIDE = YUV((np.zeros((8, 14), np.uint8), *np.zeros((2, 4, 7), np.uint8)))
FULL = YUV(FRAME.planes, full_range=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame": np.zeros((8, 12, 3), np.uint8)}, r"background is a YUV behind an array"),
        (
            {"background": np.zeros((8, 12, 3), np.uint8)},
            r"background is a numpy.ndarray, expected 3 arrays in a .*YUV like the frame or a colo",
        ),
        (
            {"background": YUV((FRAME.planes[0], np.zeros((4, 6, 2), np.uint8)))},
            r"background is a YUV with layout='nv12', .*expected layout='i420'.*like the frame",
        ),
        (
            {"background": YUV(FRAME.planes, matrix="bt601")},
            r"matrix='bt601', .*expected .*matrix='bt709', .*convert it once",
        ),
        ({"background": FULL}, r"full_range=True, expected .*full_range=False like the frame or"),
        ({"background": WIDE}, r"background.y is 8×14, expected 8×12 like the frame: resize it"),
        ({"background": (1, 2, 300)}, r"\(1, 2, 300\), expected three whole numbers in 0..255"),
        ({"frame": WIDE}, r"background.y is 8×12, expected 8×14 like the frame"),
        (
            {"frame": YUV((FRAME.planes[0], *np.zeros((2, 4, 5), np.uint8)))},
            r"frame.u is 4×5, expected 4×6 beside y 8×12",
        ),
        (
            {"frame": YUV(tuple(np.zeros((1, n), np.uint8) for n in (32770, 16385, 16385)))},
            r"frame is 1×32770 .*expected at most 32768",
        ),
        ({"out": np.zeros((8, 12, 3), np.uint8)}, r"out is a numpy.ndarray, expected 3 arrays in"),
        ({"out": FULL}, r"out is a YUV with .*full_range=True"),
        ({"out": WIDE}, r"out.y is 8×14, expected 8×12"),
        ({"alpha": np.zeros((4, 6))}, r"alpha has dtype float64, expected float32"),
        ({"alpha_out": np.zeros((4, 6), np.float32)}, r"alpha_out is 4×6, expected 8×12"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "frame": FRAME,
        "background": FRAME,
        "alpha": np.zeros((4, 6), np.float32),
    }
    with pytest.raises(KernelError, match=message):
        composite(**(arguments | change))
