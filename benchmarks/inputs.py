"""Frames as a camera gives them and mattes as a network does, to time on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIZES = {"720p": (720, 1280), "1080p": (1080, 1920), "2160p": (2160, 3840)}
NETWORK = (288, 512)


def frame(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Draw smooth shapes with a camera's noise: uint8 H×W×3 BGR."""
    random = np.random.default_rng(seed)
    rows = np.linspace(0, 6 + seed, height, dtype=np.float32)[:, None, None]
    columns = np.linspace(0, 9 + seed, width, dtype=np.float32)[:, None]
    phase = np.arange(3, dtype=np.float32)
    smooth = 128 + 70 * np.sin(columns + phase) * np.cos(rows - phase)
    noise = random.normal(0, 2, (height, width, 3)).astype(np.float32)
    return np.clip(np.rint(smooth + noise), 0, 255).astype(np.uint8)


def subject(height: int, width: int, seed: int = 3) -> NDArray[np.uint8]:
    """Draw a scene with a subject (``training.scenes``) that fills two fifths of it, with a
    camera's noise: uint8 H×W×3 BGR."""
    from matter_sdk.training.scenes import scene

    image = scene(seed, (height, width))[0][..., ::-1]
    noisy = image + np.random.default_rng(seed).normal(0, 2, image.shape).astype(np.float32)
    return np.ascontiguousarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def matte(height: int, width: int) -> NDArray[np.float32]:
    """Draw a head over shoulders, a tenth of it soft rim, strictly between 0 and 1: float32 H×W."""
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(width / height)
    head = np.hypot(columns, (rows + 0.25) / 1.3) - 0.4
    shoulders = np.hypot(columns / 1.5, rows - 1.1) - 0.75
    outside = np.minimum(head, shoulders)
    rim = np.quantile(np.abs(outside), 0.1)
    return np.clip(0.5 - outside / (2 * rim), 0, 1).astype(np.float32)


def noise(height: int, width: int) -> NDArray[np.float32]:
    """Draw a matte without a plain area, the worst case: float32 H×W."""
    return np.random.default_rng(1).random((height, width), np.float32)


def heads(
    coarse: tuple[int, int], fine: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw glance 1×3×h×w of the matte's trimap, and focus 1×1×h×w."""
    alpha = matte(*coarse)
    classes = (alpha > 0).astype(np.int64) + (alpha >= 1)
    glance = (np.random.default_rng(2).random((1, 3, *coarse)) / 2).astype(np.float32)
    glance[0] += classes == np.arange(3)[:, None, None]
    return glance, matte(*fine)[None, None]


def features(*shape: int) -> NDArray[np.float32]:
    """Draw what a ReLU leaves: half of it zeros, so that ties are common."""
    return np.maximum(np.random.default_rng(3).normal(size=shape), 0).astype(np.float32)
