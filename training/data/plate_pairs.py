"""Plates: the photograph of the empty place that plate mode compares a frame with.

Nothing is ever quite as it was: between the two shots the camera was touched, the exposure and the
white balance adapted, a curtain moved, and the subject's shadow came or went.
"""

from __future__ import annotations

import cv2
import numpy as np

from matter_sdk.training.data.layers import Image, compose
from matter_sdk.training.data.silhouettes import blob, fill
from matter_sdk.training.data.textures import noise, palette


def plate(rng: np.random.Generator, empty: Image) -> Image:
    """Take another shot of an empty background, as plate mode would get it.

    Args:
        rng: where the second shot's circumstances come from.
        empty: uint8 H×W×3 RGB, the background without the subject and its shadow.

    Returns:
        uint8 H×W×3 RGB: shifted, turned and zoomed by a little, exposed and balanced otherwise,
        with noise of its own and, now and then, with a small thing that has moved.
    """
    height, width = empty.shape[:2]
    reach = min(height, width)
    shot = empty
    if rng.random() < 0.25:  # something small came or went
        for _ in range(int(rng.integers(1, 4))):
            centre = rng.uniform(0, 1, 2) * (width, height)
            outline = blob(rng, centre, reach * rng.uniform(0.01, 0.06), 0.3)
            colour = np.broadcast_to(palette(rng, 1)[0].astype(np.uint8), shot.shape)
            shot = compose(colour, shot, fill([outline], height, width))
    if rng.random() < 0.75:  # the camera moved: mostly under a pixel, sometimes by many
        shift = rng.normal(0, 0.003 if rng.random() < 0.7 else 0.012, 2) * reach
        angle = rng.normal(0, 0.15 if rng.random() < 0.7 else 0.6)
        matrix = cv2.getRotationMatrix2D(
            (width / 2, height / 2), angle, 1 + abs(rng.normal(0, 0.003))
        )
        matrix[:, 2] += shift
        shot = cv2.warpAffine(
            shot, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
    lit = shot.astype(np.float32)
    if rng.random() < 0.8:  # automatic exposure and white balance adapted to the subject
        gain = np.exp(rng.normal(0, 0.12)) * (1 + rng.normal(0, 0.03, 3))
        lit *= gain.astype(np.float32)
        if rng.random() < 0.3:
            lit = np.float32(255) * np.clip(lit / np.float32(255), 0, 1) ** np.float32(
                np.exp(rng.normal(0, 0.12))
            )
    if rng.random() < 0.3:  # the light of the room changed, here more than there
        lit *= np.exp(0.12 * noise(rng, height, width, 0.0))[..., None]
    if rng.random() < 0.2:  # focus breathes
        lit = cv2.GaussianBlur(lit, (0, 0), rng.uniform(0.3, 1.2))
    return np.clip(lit + 0.5, 0, 255).astype(np.uint8)
