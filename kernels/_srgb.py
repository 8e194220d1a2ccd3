"""The sRGB curve (IEC 61966-2-1) in tables, for the twins' `blend_light` and `encode`."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 4096  # the steps of the curve lie at least 1 / 3295 apart: no bin holds two


def light(code: NDArray[Any]) -> NDArray[np.float64]:
    """Linear light of sRGB values, both in 0..1."""
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


@functools.cache
def tables() -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]:
    """Light of the 256 codes; codes of light i / `BINS`; light where a code turns into the next.

    The first and the third are float64 values rounded once. A light v has the code
    ``c + (v >= steps[c])`` with ``c = codes[int(v * BINS)]``.
    """
    code = np.arange(256)
    steps = light((code + 0.5) / 255).astype(np.float32)
    steps[255] = np.inf
    codes = np.searchsorted(steps, np.arange(BINS + 1) / BINS, side="right").astype(np.uint8)
    return light(code / 255).astype(np.float32), codes, steps
