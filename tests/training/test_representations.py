"""RoSTa: trimaps and glance targets from alpha."""

import numpy as np
import pytest
from scipy import ndimage

from matter_sdk.kernels import collaborative_fusion
from matter_sdk.training.data.layers import KINDS
from matter_sdk.training.data.representations import (
    KERNEL,
    focus_target,
    glance_target,
    random_trimap,
    trimap,
    unified,
)
from matter_sdk.training.scenes import scene


def test_trimap_matches_distances_from_a_disc() -> None:
    yy, xx = np.mgrid[:101, :101]
    radius = np.hypot(yy - 50, xx - 50)
    alpha = (radius <= 30).astype(np.float32)
    areas = trimap(alpha, 21)
    # An ellipse of 21 reaches 10 pixels; one pixel of tolerance for its raster.
    assert (areas[radius < 18.5] == 255).all()
    assert (areas[(radius > 21) & (radius < 39)] == 128).all()
    assert (areas[radius > 41.5] == 0).all()


def test_trimap_keeps_every_fractional_pixel_in_the_transition() -> None:
    _, alpha = scene(3, (128, 160))
    areas = trimap(alpha, 5)
    fractional = (np.round(alpha * 255) > 0) & (np.round(alpha * 255) < 255)
    assert (areas[fractional] == 128).all()
    assert (alpha[areas == 255] > 0.99).all()
    assert (alpha[areas == 0] < 0.01).all()
    grown = ndimage.binary_dilation(areas == 255)
    assert not (areas[grown] == 0).any()  # the transition lies between


@pytest.mark.parametrize("rosta", ["tt", "ft", "bt", "unified"])
def test_fusing_perfect_heads_gives_alpha_back(rosta: str) -> None:
    """What the decoders are taught, joined by collaborative matting, is the matte itself."""
    _, alpha = scene(5, (96, 128))
    classes, mask = glance_target(alpha, rosta, 15)
    count = 3 if rosta in ("tt", "unified") else 2
    glance = np.eye(count, dtype=np.float32)[classes].transpose(2, 0, 1)[None]
    focus = (focus_target(alpha, rosta) * mask)[None, None].astype(np.float32)
    fused = collaborative_fusion(np.ascontiguousarray(glance), focus, rosta)[0, 0]
    np.testing.assert_allclose(fused, alpha, atol=1 / 255)


def test_unknown_rosta_is_named() -> None:
    with pytest.raises(ValueError, match="'xt'"):
        glance_target(np.zeros((8, 8), np.float32), "xt", 3)


def disc(radius: float = 40) -> tuple[np.ndarray, np.ndarray]:
    """A sharp disc's matte, and each pixel's distance from its edge (negative inside)."""
    yy, xx = np.mgrid[:161, :161]
    distance = np.hypot(yy - 80, xx - 80) - radius
    return (distance <= 0).astype(np.float32), distance


def test_masks_of_ft_and_bt_are_eroded_and_dilated_by_fifty_pixels() -> None:
    alpha, distance = disc()
    assert KERNEL == {"tt": 25, "ft": 50, "bt": 50, "unified": 25}
    surely, _ = glance_target(alpha, "ft")
    # Half of 50; two pixels for the raster, and as an even kernel has no middle.
    assert surely[distance < -27].all()
    assert not surely[distance > -23].any()
    maybe, _ = glance_target(alpha, "bt")
    assert maybe[distance < 23].all()
    assert not maybe[distance > 27].any()


def test_unified_map_is_equation_1_of_aim() -> None:
    areas = np.array([[0, 128, 255]], np.uint8)
    assert unified(areas, "SO").tolist() == [[0, 0.5, 1]]
    assert unified(areas, "STM").tolist() == [[0, 0.5, 0.5]]
    assert unified(areas, "NS").tolist() == [[0.5, 0.5, 0.5]]
    assert {unified(areas, kind).dtype for kind in KINDS} == {np.dtype(np.float32)}
    with pytest.raises(ValueError, match="kind is 'so'"):
        unified(areas, "so")


@pytest.mark.parametrize(("kind", "classes"), [("SO", {0, 1, 2}), ("STM", {0, 1}), ("NS", {1})])
def test_classes_of_the_unified_map(kind: str, classes: set[int]) -> None:
    alpha, _ = disc()
    glance, mask = glance_target(alpha, "unified", kind=kind)
    assert set(np.unique(glance)) == classes
    assert np.array_equal(mask, glance == 1)
    assert (glance.dtype, mask.dtype) == (np.int64, np.float32)
    if kind == "SO":
        assert np.array_equal(glance, glance_target(alpha, "tt")[0])


def test_random_trimaps_are_eroded_and_dilated_each_by_its_own() -> None:
    alpha, distance = disc()
    rng = np.random.default_rng(0)
    inner, outer = [], []
    for _ in range(200):
        areas = random_trimap(rng, alpha, (3, 21))
        inner.append(-distance[areas == 255].max())
        outer.append(distance[areas == 128].max())
    for widths in (inner, outer):  # from 1 to 10 pixels either way, give or take the raster
        assert 0 <= min(widths) < 2.5
        assert 8.5 < max(widths) <= 11.5
    assert abs(np.corrcoef(inner, outer)[0, 1]) < 0.2
    _, soft = scene(3, (96, 96))
    areas = random_trimap(rng, soft)
    assert (areas[(soft > 0.01) & (soft < 0.99)] == 128).all()


def test_a_random_trimap_follows_from_its_generator() -> None:
    alpha, _ = disc()
    first, second = (random_trimap(np.random.default_rng(4), alpha) for _ in range(2))
    assert np.array_equal(first, second)
