"""Tables that several baselines use."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def decode() -> NDArray[np.float32]:
    """Return the linear light, 0..1, of each sRGB code."""
    code = np.arange(256) / 255
    light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)


def encode_65536() -> NDArray[np.uint8]:
    """Return the sRGB code of each 65,535th of light."""
    light = np.arange(65536) / 65535
    code = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * code).astype(np.uint8)


def keep_of() -> NDArray[np.float32]:
    """Return how much of the last matte the temporal filter keeps, by motion in levels."""
    return (0.8 * np.clip((8 - np.arange(256)) / 4, 0, 1)).astype(np.float32)


def axis(source: int, output: int, interpolation: str) -> NDArray[np.float32]:
    """Return the weights, output×source, that bring an axis to another length."""
    scale, place = source / output, np.arange(source)
    if interpolation == "area" and scale >= 1:
        begin = np.arange(output)[:, None] * scale
        overlap = np.minimum(begin + scale, place + 1) - np.maximum(begin, place)
        return (np.maximum(overlap, 0) / scale).astype(np.float32)
    centre = np.clip((np.arange(output)[:, None] + 0.5) * scale - 0.5, 0, source - 1)
    return np.maximum(0, 1 - np.abs(centre - place)).astype(np.float32)
