"""The kernels that are timed, each on what it gets in practice.

A case makes, for a frame size, the kernel's call and arguments. Its baselines are the functions of
one name in the modules of `benchmarks.baselines`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks import inputs
from matter_sdk import kernels
from matter_sdk.kernels import InputSpec
from matter_sdk.kernels.yuv import YUV

SPEC = InputSpec("rgb", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
LEVEL = 1 / min(SPEC.std)  # one level of 0..255 on the network's scale
Size = tuple[int, int]


@dataclass(frozen=True)
class Bound:
    """How far a baseline's result may be from the kernel's: at most, or in the mean where given."""

    most: float = np.inf
    mean: float = np.inf


@dataclass(frozen=True)
class Contest:
    """A kernel's call, its arguments, and what its baselines must give.

    Attributes:
        call: the kernel; takes `arrays`, `options` and `out` by name.
        arrays: by argument; on a GPU, they are copied there.
        options: what else both sides get.
        moved: bytes that must be read and written once.
        baseline: name of the functions in `benchmarks.baselines`.
        bound: of the difference to each baseline, in the result's units.
        bounds: by library, where they differ.
    """

    call: Callable[..., Any]
    arrays: dict[str, Any]
    options: dict[str, Any]
    moved: int
    baseline: str
    bound: Bound
    bounds: dict[str, Bound] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A row of the table for each frame size, or a single one where `fixed` names its size."""

    name: str
    make: Callable[[Size], Contest]
    fixed: str = ""


def preprocess(size: Size, interpolation: str) -> Contest:
    """A BGR frame for the network: resized, RGB, normalised."""
    options = {"size": inputs.NETWORK, "spec": SPEC, "interpolation": interpolation}
    frame = inputs.frame(*size)
    area = inputs.NETWORK[0] * inputs.NETWORK[1]
    touched = frame.nbytes if interpolation == "area" else min(frame.nbytes, 4 * 3 * area)
    # OpenCV rounds to 8 bits in between, the others do not.
    return Contest(
        kernels.preprocess,
        {"frame": frame},
        options,
        touched + 12 * area,
        "preprocess",
        Bound(most=1e-4),
        {"OpenCV": Bound(most=1.01 * LEVEL)},
    )


def preprocess_yuv(size: Size) -> Contest:
    """An I420 frame for the network, without a BGR frame in between."""
    planes = i420(inputs.frame(*size))

    def call(y: Any, u: Any, v: Any, **options: Any) -> Any:
        return kernels.preprocess(YUV((y, u, v), matrix="bt601"), **options)

    return Contest(
        call,
        planes,
        {"size": inputs.NETWORK, "spec": SPEC},
        sum(plane.nbytes for plane in planes.values()) + 12 * inputs.NETWORK[0] * inputs.NETWORK[1],
        "preprocess_yuv",
        # OpenCV repeats colours over 2×2 pixels and rounds in between.
        Bound(mean=LEVEL),
    )


def i420(frame: Any) -> dict[str, Any]:
    """Convert a BGR frame to planes named y, u and v (BT.601, limited range)."""
    import cv2

    height, width = frame.shape[:2]
    flat = cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420).reshape(-1)
    area, quarter = height * width, height * width // 4
    half = (height // 2, width // 2)
    return {
        "y": flat[:area].reshape(height, width).copy(),
        "u": flat[area : area + quarter].reshape(half).copy(),
        "v": flat[area + quarter :].reshape(half).copy(),
    }


def collaborative_fusion(fine: Size, size: Size | None) -> Contest:
    """Trimap and focus to alpha; `size`: from heads of two sizes."""
    glance, focus = inputs.heads(inputs.NETWORK, fine)
    options: dict[str, Any] = {"rosta": "tt"} | ({} if size is None else {"size": size})
    height, width = size or fine
    return Contest(
        kernels.collaborative_fusion,
        {"glance": glance, "focus": focus},
        options,
        glance.nbytes + focus.nbytes + 4 * height * width,
        "collaborative_fusion",
        Bound(most=0 if size is None else 1e-3),
    )


def hybrid_fusion(size: Size) -> Contest:
    """Glance from a pass at the network's size, focus from one at half as much again."""
    height, width = (3 * side // 2 for side in inputs.NETWORK)
    return collaborative_fusion((height, width), size)


def logits_fusion(stride: int) -> Contest:
    """Trimap logits at a part of the focus's size, and focus, to alpha."""
    height, width = inputs.NETWORK
    glance, focus = inputs.heads((height // stride, width // stride), inputs.NETWORK)
    return Contest(
        kernels.collaborative_fusion,
        {"glance": glance, "focus": focus},
        {"rosta": "tt", "glance_size": inputs.NETWORK},
        glance.nbytes + 2 * focus.nbytes,
        "logits_fusion",
        Bound(mean=1e-3),  # a rounding may decide between two classes
    )


def alpha_blend(size: Size, matte: Callable[..., Any], **options: bool) -> Contest:
    """A frame over an image."""
    front, back, alpha = inputs.frame(*size), inputs.frame(*size, seed=1), matte(*size)
    return Contest(
        kernels.alpha_blend,
        {"foreground": front, "background": back, "alpha": alpha},
        options,
        3 * front.nbytes + alpha.nbytes,
        "alpha_blend",
        Bound(most=1),
    )


def alpha_blend_yuv(size: Size) -> Contest:
    """Both images in planes, as decoders give them."""
    front, back = i420(inputs.frame(*size)), i420(inputs.frame(*size, seed=1))
    alpha = inputs.matte(*size)

    def call(
        y: Any, u: Any, v: Any, back_y: Any, back_u: Any, back_v: Any, alpha: Any, out: Any = None
    ) -> Any:
        return kernels.alpha_blend(YUV((y, u, v)), YUV((back_y, back_u, back_v)), alpha, out=out)

    return Contest(
        call,
        front | {f"back_{name}": plane for name, plane in back.items()} | {"alpha": alpha},
        {},
        3 * sum(plane.nbytes for plane in front.values()) + alpha.nbytes,
        "alpha_blend_yuv",
        Bound(most=1),
    )


def composite(size: Size, **options: bool) -> Contest:
    """The network's matte brought to the frame, and the subject over an image, in one."""
    front, back = inputs.frame(*size), inputs.frame(*size, seed=1)
    alpha = inputs.matte(*inputs.NETWORK)
    # Filters and estimates of one kind, but not of one formula.
    alike = Bound(mean=2) if options["guided"] or options["clean"] else Bound(most=1)
    return Contest(
        kernels.composite,
        {"frame": front, "background": back, "alpha": alpha},
        options,
        3 * front.nbytes + alpha.nbytes,
        "composite",
        alike,
    )


def composite_yuv(size: Size, **options: bool) -> Contest:
    """The same in planes, as a video file's frames come and go."""
    front, back = i420(inputs.frame(*size)), i420(inputs.frame(*size, seed=1))
    alpha = inputs.matte(*inputs.NETWORK)

    def call(
        y: Any, u: Any, v: Any, back_y: Any, back_u: Any, back_v: Any, alpha: Any, **given: Any
    ) -> Any:
        return kernels.composite(YUV((y, u, v)), YUV((back_y, back_u, back_v)), alpha, **given)

    return Contest(
        call,
        front | {f"back_{name}": plane for name, plane in back.items()} | {"alpha": alpha},
        options,
        3 * sum(plane.nbytes for plane in front.values()) + alpha.nbytes,
        "composite_yuv",
        Bound(mean=2) if options["guided"] or options["clean"] else Bound(most=1),
    )


def foreground(size: Size) -> Contest:
    """The subject's own colours."""
    frame, alpha = inputs.frame(*size), inputs.matte(*size)
    return Contest(
        kernels.foreground,
        {"frame": frame, "alpha": alpha},
        {},
        2 * frame.nbytes + alpha.nbytes,
        "foreground",
        Bound(),  # where alpha is 0 every method says something else
    )


def temporal_filter(size: Size) -> Contest:
    """The network's matte steadied, with the difference of two noisy frames."""
    random = np.random.default_rng(4)
    alpha = inputs.matte(*size)
    previous = np.clip(alpha + random.normal(0, 0.02, size), 0, 1).astype(np.float32)
    delta = np.abs(random.normal(0, 2.5, (*size, 3))).astype(np.uint8)
    return Contest(
        kernels.temporal_filter,
        {"previous": previous, "current": alpha, "frame_delta": delta},
        {},
        3 * alpha.nbytes + delta.nbytes,
        "temporal_filter",
        Bound(most=1e-6),
    )


POOLED = (1, 64, 400, 400)  # AIM's first pooling at 800×800


def max_pool_offsets(_size: Size) -> Contest:
    """Values, and where in its window each maximum was."""
    x = inputs.features(*POOLED)
    return Contest(
        kernels.max_pool_offsets,
        {"x": x},
        {"window": 3},
        x.nbytes + x.nbytes // 4 + x.size // 4,
        "max_pool_offsets",
        Bound(most=0),
    )


def max_unpool(_size: Size) -> Contest:
    """Back to where the maxima were."""
    values, offsets = kernels.max_pool_offsets(inputs.features(*POOLED), window=3)
    return Contest(
        kernels.max_unpool,
        {"x": values, "offsets": offsets},
        {"window": 3},
        values.nbytes + offsets.nbytes + 4 * values.nbytes,
        "max_unpool",
        Bound(most=0),
    )


_part = functools.partial
NETWORK = "×".join(map(str, reversed(inputs.NETWORK)))
CASES = [
    Case("preprocess area", _part(preprocess, interpolation="area")),
    Case("preprocess bilinear", _part(preprocess, interpolation="bilinear")),
    Case("preprocess I420", preprocess_yuv),
    Case("alpha_blend", _part(alpha_blend, matte=inputs.matte)),
    Case("alpha_blend noise", _part(alpha_blend, matte=inputs.noise)),
    Case("alpha_blend linear", _part(alpha_blend, matte=inputs.matte, linear=True)),
    Case("alpha_blend I420", alpha_blend_yuv),
    Case("composite", _part(composite, guided=False, clean=False)),
    Case("composite guided", _part(composite, guided=True, clean=False)),
    Case("composite clean", _part(composite, guided=False, clean=True)),
    Case("composite guided clean", _part(composite, guided=True, clean=True)),
    Case("composite I420", _part(composite_yuv, guided=False, clean=False)),
    Case("composite I420 guided", _part(composite_yuv, guided=True, clean=False)),
    Case("composite I420 clean", _part(composite_yuv, guided=False, clean=True)),
    Case("composite I420 guided clean", _part(composite_yuv, guided=True, clean=True)),
    Case("foreground", foreground),
    Case(
        "collaborative_fusion",
        lambda _size: collaborative_fusion(inputs.NETWORK, None),
        fixed=NETWORK,
    ),
    Case("collaborative_fusion logits", lambda _size: logits_fusion(4), fixed=NETWORK),
    Case("collaborative_fusion hybrid", hybrid_fusion),
    Case("temporal_filter", lambda _size: temporal_filter(inputs.NETWORK), fixed=NETWORK),
    Case("max_pool_offsets", max_pool_offsets, fixed="×".join(map(str, POOLED))),
    Case("max_unpool", max_unpool, fixed="×".join(map(str, POOLED))),
]
