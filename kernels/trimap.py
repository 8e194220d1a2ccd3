"""What SIM reads beside the image: the trimap, its distance maps and the semantic trimap.

Semantic Image Matting (CVPR 2021). Unlike the other kernels, these take NumPy arrays alone.

A trimap is uint8 H×W: 0 background, 128 unknown, 255 foreground.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from matter_sdk.kernels import _arrays
from matter_sdk.kernels.spec import KernelError

BACKGROUND, UNKNOWN, FOREGROUND = 0, 128, 255

CLASSES = (
    "defocus",
    "fire",
    "fur",
    "glass_ice",
    "hair_easy",
    "hair_hard",
    "insect",
    "motion",
    "net",
    "plant_flower",
    "plant_leaf",
    "plant_tree",
    "plastic_bag",
    "sharp",
    "smoke_cloud",
    "spider_web",
    "texture_holed",  # lace
    "texture_smooth",  # silk
    "water_drop",
    "water_spray",
)
"""What a transition may look like, in the order of the semantic trimap's channels."""

# Widths of the distance maps' Gaussians, in pixels: parts of the 320 that SIM was trained at.
_SIGMAS = tuple(sigma * 320 for sigma in (0.02, 0.08, 0.16))

# Sides of the windows that the classifier sees.
_WINDOWS = (320, 800)
# Pixels a side of one value of its class activation maps.
_STRIDE = 32

Trimap = NDArray[np.uint8]
Classifier = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]


def resize_trimap(trimap: Trimap, size: tuple[int, int]) -> Trimap:
    """Resize a trimap and never claim to know more than it did.

    A pixel is background or foreground only where all that lies under it is, and unknown
    elsewhere: a thin unknown line stays, and an edge between the two becomes unknown where a pixel
    touches both.

    Args:
        trimap: uint8 H×W of 0, 128 and 255.
        size: height and width of the result, 1..32768 each.

    Returns:
        uint8 height×width of 0, 128 and 255, a new array.

    Raises:
        KernelError: another dtype, shape, size or value, or an array on a GPU.
    """
    trimap = _checked(trimap)
    height, width = _arrays.check_size(size, "give the size that the network runs at")
    top, bottom = _footprints(trimap.shape[0], height)
    left, right = _footprints(trimap.shape[1], width)
    area = (bottom - top)[:, None] * (right - left)
    result = np.full((height, width), UNKNOWN, np.uint8)
    for value in (BACKGROUND, FOREGROUND):
        total = cv2.integral((trimap == value).view(np.uint8))
        below, above = total[bottom], total[top]
        inside = below[:, right] - below[:, left] - above[:, right] + above[:, left]
        result[inside == area] = value
    return result


def two_channel(trimap: Trimap) -> NDArray[np.float32]:
    """Split a trimap as SIM reads it: where the background is known, and where the foreground.

    Args:
        trimap: uint8 H×W of 0, 128 and 255.

    Returns:
        float32 2×H×W of 0 and 1: background, foreground; both 0 where the trimap is unknown.

    Raises:
        KernelError: another dtype, shape or value, or an array on a GPU.
    """
    trimap = _checked(trimap)
    return np.stack([trimap == BACKGROUND, trimap == FOREGROUND]).astype(np.float32)


def distance_maps(trimap: Trimap) -> NDArray[np.float32]:
    """Tell how near the known background and the known foreground are: SIM's six "clicks".

    Each is exp(-d² / 2s²), d being the Euclidean distance to the nearest pixel of the class, for s
    of 2, 8 and 16 % of 320 pixels.

    Args:
        trimap: uint8 H×W of 0, 128 and 255.

    Returns:
        float32 6×H×W in 0..1: background at the three widths, then foreground; 0 everywhere where
        a class is absent.

    Raises:
        KernelError: another dtype, shape or value, or an array on a GPU.
    """
    trimap = _checked(trimap)
    maps = np.zeros((2 * len(_SIGMAS), *trimap.shape), np.float32)
    for group, value in enumerate((BACKGROUND, FOREGROUND)):
        elsewhere = (trimap != value).view(np.uint8)
        if elsewhere.all():
            continue
        distance = cv2.distanceTransform(elsewhere, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        # Whole numbers, whose roots OpenCV rounds one way or another with where the array lies.
        squared = np.rint(distance * distance)
        for at, sigma in enumerate(_SIGMAS, group * len(_SIGMAS)):
            np.exp(squared * (-0.5 / sigma**2), out=maps[at])
    return maps


def windows(size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """List the windows in which the classifier looks at a picture for its semantic trimap.

    Squares of 320 and then of 800 pixels, each a half of its side after the one before and the last
    at the edge; where the picture is smaller than a window, the window ends with it. Together they
    cover every pixel with either size. (The published code leaves part of a picture between 400 and
    800 pixels a side out of the larger.)

    Args:
        size: height and width of the picture, 1 or more each.

    Returns:
        (top, left, height, width) of each, row by row; none comes twice.

    Raises:
        KernelError: another size.
    """
    sides = _arrays.check_size(size, "give the height and width of the picture")
    found: list[tuple[int, int, int, int]] = []
    for window in _WINDOWS:
        height, width = (min(window, side) for side in sides)
        tops, lefts = _positions(sides[0], height), _positions(sides[1], width)
        found += [(top, left, height, width) for top in tops for left in lefts]
    return list(dict.fromkeys(found))


def semantic_trimap(
    image: NDArray[np.float32], trimap: Trimap, classify: Classifier
) -> NDArray[np.float32]:
    """Make the semantic trimap: for each unknown pixel, how much it looks like each of `CLASSES`.

    The classifier's activation maps of each window (those of `windows` that hold unknown pixels)
    are enlarged bilinearly and averaged where windows overlap. Then the whole is brought to 0..1 by
    its least and greatest value over all classes and pixels, those that no window saw counting as
    0, and limited to the unknown region.

    Args:
        image: float32 3×H×W, RGB with ImageNet's mean and standard deviation.
        trimap: uint8 H×W of 0, 128 and 255.
        classify: called for each window of a×b pixels with its image 1×3×a×b and its trimap / 255,
            1×1×a×b, both float32; returns its class activation maps,
            float32 1×20×⌈a/32⌉×⌈b/32⌉.

    Returns:
        float32 20×H×W in 0..1, and 0 outside the unknown region; 0 everywhere if nothing is unknown
        or all maps are equal.

    Raises:
        KernelError: another dtype, shape or value, maps that are not finite, or an array on a GPU.

    Paper: Semantic Image Matting, CVPR 2021, "Semantic Trimap".
    """
    trimap = _checked(trimap)
    _on_host("image", image)
    _arrays.check_dtype("image", image, np.float32, remedy="pass it as preprocess returns it")
    if image.shape != (3, *trimap.shape):
        raise KernelError(
            f"image is {_arrays.text(image.shape)}, expected {_arrays.text((3, *trimap.shape))} "
            f"beside trimap {_arrays.text(trimap.shape)}: resize one to the other's size"
        )
    unknown = trimap == UNKNOWN
    scaled = (trimap / np.float32(255)).astype(np.float32, copy=False)
    total = np.zeros((len(CLASSES), *trimap.shape), np.float32)
    seen = np.zeros(trimap.shape, np.float32)
    for top, left, height, width in windows(trimap.shape):
        there = np.s_[top : top + height, left : left + width]
        if not unknown[there].any():
            continue
        cam = classify(
            np.ascontiguousarray(image[:, there[0], there[1]])[np.newaxis],
            np.ascontiguousarray(scaled[there])[np.newaxis, np.newaxis],
        )
        _check_maps(cam, height, width)
        for into, activation in zip(total, cam[0], strict=True):
            into[there] += cv2.resize(activation, (width, height), interpolation=cv2.INTER_LINEAR)
        seen[there] += 1
    total /= np.maximum(seen, 1)
    least, greatest = float(total.min()), float(total.max())
    if not (np.isfinite(least) and np.isfinite(greatest)):
        raise KernelError(
            f"the class activation maps reach from {least} to {greatest}, expected finite numbers: "
            "run the classifier in float32"
        )
    if least == greatest:
        return np.zeros_like(total)
    total -= least
    total /= greatest - least
    total *= unknown
    return total


def _checked(trimap: Any) -> Trimap:
    """`trimap` itself, if it is one."""
    _on_host("trimap", trimap)
    _arrays.check_dtype(
        "trimap", trimap, np.uint8, remedy="give 0 (background), 128 (unknown), 255 (foreground)"
    )
    if trimap.ndim != 2:
        raise KernelError(
            f"trimap is {_arrays.text(trimap.shape)}, expected H×W: drop its channels, "
            "trimap[..., 0], and pass pictures one by one"
        )
    _arrays.check_not_empty("trimap", trimap)
    _arrays.check_sides("trimap", trimap.shape)
    known = (trimap == BACKGROUND) | (trimap == UNKNOWN) | (trimap == FOREGROUND)
    if not known.all():
        strange = np.unique(trimap[~known])
        more = f" and {len(strange) - 1} other values" if len(strange) > 1 else ""
        raise KernelError(
            f"trimap holds {strange[0]}{more}, expected 0 (background), 128 (unknown) and 255 "
            "(foreground) only: set what is in between to 128, "
            "trimap[(trimap > 0) & (trimap < 255)] = 128"
        )
    return trimap


def _on_host(name: str, array: Any) -> None:
    """Raise KernelError unless `array` is a NumPy array."""
    if isinstance(array, np.ndarray):
        return
    kind = f"a {type(array).__module__}.{type(array).__qualname__}"
    remedy = "convert it with numpy.asarray first"
    if array is not None and _arrays.is_on_cuda(array):
        kind, remedy = "on a CUDA device", "trimaps are prepared on the CPU, copy it there"
    raise KernelError(f"{name} is {kind}, expected a NumPy array: {remedy}")


def _check_maps(cam: Any, height: int, width: int) -> None:
    """Raise KernelError unless `cam` is what a classifier returns for a window of that size."""
    expected = (1, len(CLASSES), -(-height // _STRIDE), -(-width // _STRIDE))
    _on_host("what classify returned", cam)
    _arrays.check_dtype("what classify returned", cam, np.float32, remedy="convert it there")
    if cam.shape != expected:
        raise KernelError(
            f"classify returned {_arrays.text(cam.shape)} for a window of {height}×{width}, "
            f"expected {_arrays.text(expected)}: return the class activation maps of SIM's "
            "classifier"
        )


def _footprints(inside: int, outside: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and one after the last of the `inside` pixels that each of `outside` pixels touches."""
    edges = np.arange(outside + 1, dtype=np.int64) * inside
    return edges[:-1] // outside, -(-edges[1:] // outside)


def _positions(side: int, window: int) -> list[int]:
    """Where windows begin along a side: half a window apart, the last at the end."""
    return [*range(0, side - window, max(window // 2, 1)), side - window]
