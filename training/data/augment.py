"""What cameras, light and compression do to a picture: the last step of a mixed draw."""

from __future__ import annotations

import cv2
import numpy as np

from matter_sdk.training.composition import add_noise
from matter_sdk.training.data.layers import Image


def light(rng: np.random.Generator, image: Image, strength: float = 1.0) -> Image:
    """Change exposure, contrast, gamma, white balance and saturation at random; at times to grey.

    Args:
        rng: decides.
        image: uint8 H×W×3 RGB.
        strength: 0 leaves the picture as it is.
    """
    values = image.astype(np.float32) / 255
    values = values ** np.float32(np.exp(strength * rng.normal(0, 0.25)))
    gains = np.exp(strength * (rng.normal(0, 0.12) + rng.normal(0, 0.05, 3)))
    values = values * gains.astype(np.float32)
    contrast = np.exp(strength * rng.normal(0, 0.15))
    values = (values - 0.45) * np.float32(contrast) + np.float32(0.45)
    grey = values.mean(2, keepdims=True)
    saturation = 0.0 if rng.random() < 0.04 * strength else np.exp(strength * rng.normal(0, 0.25))
    values = grey + (values - grey) * np.float32(saturation)
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)


def camera(rng: np.random.Generator, image: Image) -> Image:
    """Lose resolution, blur, add noise and compress as JPEG, each at random; uint8 H×W×3."""
    height, width = image.shape[:2]
    chances = rng.random(4)
    if chances[0] < 0.15:
        share = rng.uniform(0.4, 0.9)
        small = max(8, round(width * share)), max(8, round(height * share))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    if chances[1] < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.6)))
    if chances[2] < 0.35:
        image = add_noise(rng, image, float(rng.uniform(1, 12)))
    if chances[3] < 0.3:
        quality = int(rng.integers(25, 95))
        encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(image)
