"""SIM's trimaps against closed forms, slow counting, and the same thing written in PyTorch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from matter_sdk.kernels import (
    KernelError,
    distance_maps,
    resize_trimap,
    semantic_trimap,
    two_channel,
    windows,
)
from matter_sdk.kernels.trimap import CLASSES

SIGMAS = [0.02 * 320, 0.08 * 320, 0.16 * 320]

trimaps = arrays.arrays(
    np.uint8,
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    elements=st.sampled_from([0, 128, 255]),
)
sizes = st.tuples(st.integers(1, 30), st.integers(1, 30))


def banded(height: int, width: int) -> NDArray[np.uint8]:
    """Background above, foreground below, and something unknown between: a slanted band."""
    y, x = np.mgrid[:height, :width]
    level = y - height / 2 + x / 9
    return np.select([level < -12, level > 12], [0, 255], 128).astype(np.uint8)


# ── Resizing ────────────────────────────────────────────────────────────────────────────────────


def touched(inside: int, outside: int, at: int) -> list[int]:
    """The pixels of a side of `inside` that pixel `at` of the resized side overlaps."""
    return [
        p
        for p in range(inside)
        if p * outside < (at + 1) * inside and (p + 1) * outside > at * inside
    ]


@settings(deadline=None)
@given(trimap=trimaps, size=sizes)
def test_resizing_knows_only_what_all_below_knows(
    trimap: NDArray[np.uint8], size: tuple[int, int]
) -> None:
    result = resize_trimap(trimap, size)
    assert result.shape == size
    assert result.dtype == np.uint8
    for y, x in np.ndindex(size):
        below = trimap[
            np.ix_(touched(trimap.shape[0], size[0], y), touched(trimap.shape[1], size[1], x))
        ]
        assert result[y, x] == (below[0, 0] if len(np.unique(below)) == 1 else 128)


@given(trimap=trimaps)
def test_resizing_to_the_same_size_changes_nothing(trimap: NDArray[np.uint8]) -> None:
    result = resize_trimap(trimap, (trimap.shape[0], trimap.shape[1]))
    np.testing.assert_array_equal(result, trimap)
    assert not np.shares_memory(result, trimap)


def test_a_line_of_one_pixel_stays_unknown() -> None:
    trimap = np.zeros((1080, 1920), np.uint8)
    trimap[:, 1002] = 128
    result = resize_trimap(trimap, (288, 512))
    assert (result[:, 1002 * 512 // 1920] == 128).all()
    assert np.count_nonzero(result) == 288


# ── Channels and distances ──────────────────────────────────────────────────────────────────────


def test_two_channels() -> None:
    found = two_channel(np.array([[0, 128, 255]], np.uint8))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[[1, 0, 0]], [[0, 0, 1]]])


def test_distance_to_a_line_and_to_a_point() -> None:
    trimap = np.full((70, 90), 128, np.uint8)
    trimap[:, 0] = 0
    trimap[20, 60] = 255
    found = distance_maps(trimap)
    assert found.shape == (6, 70, 90)
    assert found.dtype == np.float32
    y, x = np.mgrid[:70, :90]
    for at, sigma in enumerate(SIGMAS):
        line = np.exp(-(x**2) / (2 * sigma**2))
        point = np.exp(-((y - 20) ** 2 + (x - 60) ** 2) / (2 * sigma**2))
        np.testing.assert_allclose(found[at], line, rtol=0, atol=1e-6)
        np.testing.assert_allclose(found[3 + at], point, rtol=0, atol=1e-6)


@settings(deadline=None)
@given(trimap=trimaps)
def test_distances_counted_pixel_by_pixel(trimap: NDArray[np.uint8]) -> None:
    expected = np.zeros((6, *trimap.shape))
    for group, value in enumerate((0, 255)):
        known = np.argwhere(trimap == value)
        for y, x in np.ndindex(*trimap.shape):
            if len(known):
                squared = ((known - (y, x)) ** 2).sum(1).min()
                for at, sigma in enumerate(SIGMAS):
                    expected[3 * group + at, y, x] = math.exp(-squared / (2 * sigma**2))
    np.testing.assert_allclose(distance_maps(trimap), expected, rtol=0, atol=1e-6)


# ── Windows ─────────────────────────────────────────────────────────────────────────────────────


def published(side: int, window: int) -> list[int]:
    """Where the published windows begin along a side that is longer than they are."""
    return [*range(0, side - window, window // 2), side - window]


@settings(deadline=None)
@given(height=st.integers(1, 2500), width=st.integers(1, 2500))
def test_windows_of_each_size_cover_every_pixel(height: int, width: int) -> None:
    found = windows((height, width))
    assert len(found) == len(set(found))
    for window in (320, 800):
        a, b = min(window, height), min(window, width)
        chosen = [(top, left) for top, left, *sides in found if sides == [a, b]]
        # Windows stand in a grid, so a picture is covered where each of its sides is.
        tops, lefts = sorted({top for top, _ in chosen}), sorted({left for _, left in chosen})
        assert len(chosen) == len(tops) * len(lefts)
        for side, length, starts in ((height, a, tops), (width, b, lefts)):
            assert starts[0] == 0
            assert starts[-1] + length == side
            assert all(n - m <= length for m, n in itertools.pairwise(starts))
    assert {tuple(sides) for _, _, *sides in found} == {
        (min(window, height), min(window, width)) for window in (320, 800)
    }


@pytest.mark.parametrize("size", [(801, 1200), (1080, 1920), (1600, 1601), (2400, 960)])
def test_windows_of_large_pictures_are_the_published_ones(size: tuple[int, int]) -> None:
    expected = [
        (top, left, window, window)
        for window in (320, 800)
        for top in published(size[0], window)
        for left in published(size[1], window)
    ]
    assert windows(size) == expected


def test_windows_of_small_pictures() -> None:
    assert windows((1, 1)) == [(0, 0, 1, 1)]
    assert windows((200, 320)) == [(0, 0, 200, 320)]  # once, not once for each size
    assert windows((200, 500)) == [
        (0, 0, 200, 320),
        (0, 160, 200, 320),
        (0, 180, 200, 320),
        (0, 0, 200, 500),
    ]


# ── Semantic trimap ─────────────────────────────────────────────────────────────────────────────


class Classifier:
    """A linear map of the mean of each 32×32 pixels; it remembers where it looked."""

    def __init__(self) -> None:
        generator = np.random.default_rng(2)
        self.matrix = generator.standard_normal((20, 4)).astype(np.float32)
        self.seen: list[tuple[int, int]] = []

    def __call__(
        self, image: NDArray[np.float32], trimap: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        assert image.flags.c_contiguous
        assert trimap.flags.c_contiguous
        assert image.dtype == trimap.dtype == np.float32
        assert image.shape[2:] == trimap.shape[2:]
        assert set(np.unique(trimap)) <= {0, np.float32(128 / 255), 1}
        self.seen.append((image.shape[2], image.shape[3]))
        return self.activation(torch.from_numpy(np.concatenate([image, trimap], 1))).numpy()

    def activation(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(x, 32, ceil_mode=True)
        return F.conv2d(pooled, torch.from_numpy(self.matrix)[:, :, None, None])


def picture(height: int, width: int) -> NDArray[np.float32]:
    return np.random.default_rng(3).standard_normal((3, height, width)).astype(np.float32)


@pytest.mark.parametrize("size", [(350, 530), (200, 330), (40, 25)])
def test_semantic_trimap_as_pytorch_interpolates(size: tuple[int, int]) -> None:
    image, trimap = picture(*size), banded(*size)
    classify = Classifier()
    found = semantic_trimap(image, trimap, classify)

    x = torch.from_numpy(np.concatenate([image, trimap[None] / np.float32(255)]))[None]
    total, count = torch.zeros(1, 20, *size), torch.zeros(size)
    looked = 0
    for top, left, height, width in windows(size):
        there = (..., slice(top, top + height), slice(left, left + width))
        if (trimap[there] == 128).any():
            looked += 1
            cam = classify.activation(x[there])
            total[there] += F.interpolate(cam, (height, width), mode="bilinear")
            count[there] += 1
    mean = total / count.clamp(min=1)
    mean = (mean - mean.min()) / (mean.max() - mean.min())
    expected = (mean[0] * torch.from_numpy(trimap == 128)).numpy()
    assert found.dtype == np.float32
    assert found.shape == (20, *size)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert found.std() > 0.1
    assert len(classify.seen) == looked


def test_windows_without_unknown_pixels_are_passed_over() -> None:
    trimap = np.zeros((320, 960), np.uint8)
    trimap[100:140, 900:910] = 128
    classify = Classifier()
    found = semantic_trimap(picture(320, 960), trimap, classify)
    assert classify.seen == [(320, 320), (320, 800)]  # the last of either size
    assert found[:, trimap == 0].max() == 0
    assert found[:, trimap == 128].max() > 0


def test_nothing_unknown_and_nothing_to_tell_apart() -> None:
    classify = Classifier()
    known = np.full((40, 50), 255, np.uint8)
    np.testing.assert_array_equal(
        semantic_trimap(picture(40, 50), known, classify), np.zeros((20, 40, 50))
    )
    assert not classify.seen

    def flat(image: NDArray[np.float32], trimap: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.full((1, 20, 2, 2), 3, np.float32)

    found = semantic_trimap(picture(40, 50), banded(40, 50), flat)
    np.testing.assert_array_equal(found, np.zeros((20, 40, 50)))


def test_there_is_a_name_for_each_class() -> None:
    assert len(set(CLASSES)) == 20
    assert list(CLASSES) == sorted(CLASSES)  # as a folder of classes is read


# ── What they refuse ────────────────────────────────────────────────────────────────────────────

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "resize_trimap": lambda trimap: resize_trimap(trimap, (5, 6)),
    "two_channel": two_channel,
    "distance_maps": distance_maps,
    "semantic_trimap": lambda trimap: semantic_trimap(picture(40, 50), trimap, Classifier()),
}

every = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)


class OnCuda:
    """An array that says it is on a GPU; nothing may look further than that."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": (40, 50), "typestr": "|u1", "data": (0, False), "version": 3}


@every
def test_bad_trimaps_are_named(function: Callable[[Any], Any]) -> None:
    good = banded(40, 50)
    almost = good.copy()
    almost[3, 4], almost[5, 6] = 127, 254
    cases: list[tuple[Any, str]] = [
        (good.astype(np.float32), r"trimap has dtype float32, expected uint8: give 0 \(backgr"),
        (good > 0, r"trimap has dtype bool, expected uint8"),
        (np.stack([good] * 3, -1), r"trimap is 40×50×3, expected H×W: drop its channels"),
        (good[:0], r"trimap is 0×50, expected every side to be 1 or more"),
        (
            almost,
            r"trimap holds 127 and 1 other values?, expected 0 .*, 128 .* and 255 .* only: set",
        ),
        (good.tolist(), r"trimap is a builtins.list"),
        (OnCuda(), r"trimap is on a CUDA device"),
        (None, r"trimap is a builtins.NoneType"),
    ]
    for trimap, message in cases:
        with pytest.raises(KernelError, match=message):
            function(trimap)


@every
def test_trimaps_may_have_any_strides_and_are_left_alone(function: Callable[[Any], Any]) -> None:
    good = banded(40, 50)
    before = good.copy()
    expected = function(good)
    room = np.zeros((100, 80), np.uint8)
    spread = room[::2, ::2].T
    spread[...] = good
    np.testing.assert_array_equal(function(spread), expected)
    np.testing.assert_array_equal(good, before)


@pytest.mark.parametrize("size", [(0, 5), (5, -1), (5, 40000), 5, (5, 6, 7), (5.0, 6)])
def test_bad_sizes_are_named(size: Any) -> None:
    for function in (lambda: resize_trimap(banded(40, 50), size), lambda: windows(size)):
        with pytest.raises(KernelError, match=r"^size is .*expected"):
            function()


def test_bad_images_and_classifiers_are_named() -> None:
    image, trimap = picture(40, 50), banded(40, 50)
    images: list[tuple[Any, str]] = [
        (image.astype(np.float64), r"image has dtype float64, expected float32"),
        (image[None], r"image is 1×3×40×50, expected 3×40×50 beside trimap 40×50"),
        (image[:, 1:], r"image is 3×39×50, expected 3×40×50 beside trimap"),
        (image.tolist(), r"image is a builtins.list"),
        (OnCuda(), r"image is on a CUDA device"),
    ]
    for wrong, message in images:
        with pytest.raises(KernelError, match=message):
            semantic_trimap(wrong, trimap, Classifier())
    cam = np.ones((1, 20, 2, 2), np.float32)
    cam[0, 3, 1, 1] = np.nan
    cams: list[tuple[Any, str]] = [
        (cam, r"activation maps reach from nan to nan, expected finite numbers"),
        (cam[:, :, :1], r"classify returned 1×20×1×2 for a window of 40×50, expected 1×20×2×2"),
        (cam.astype(np.float16), r"what classify returned has dtype float16, expected float32"),
        (None, r"what classify returned is a builtins.NoneType"),
    ]
    for wrong, message in cams:
        with pytest.raises(KernelError, match=message):
            semantic_trimap(image, trimap, lambda *_, wrong=wrong: wrong)
