"""A picture taken apart into what it was composed of: what every source of training data gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Mask = NDArray[np.float32]

KINDS = ("SO", "STM", "NS")
"""Kinds of natural images (AIM, IJCAI 2021): salient opaque, salient transparent or meticulous,
non-salient."""


@dataclass(frozen=True)
class Layers:
    """image = camera(alpha · foreground + (1 − alpha) · background).

    Colours are uint8 H×W×3 RGB, ``foreground`` and ``background`` defined everywhere. ``plate`` is
    a second shot of the background without the subject, where the source has one. ``trimap`` is
    uint8 H×W of 0, 128 and 255 where the dataset brings its own. ``known`` is uint8
    H×W of ``training.data.mattes``' UNLABELLED, CLASS_ONLY and KNOWN; None where all of alpha is
    known. ``category`` is the dataset's own word ("" where it has none).
    """

    image: Image
    alpha: Mask  # H×W in 0..1
    foreground: Image
    background: Image
    plate: Image | None = None
    trimap: NDArray[np.uint8] | None = None
    known: NDArray[np.uint8] | None = None
    kind: str = "SO"
    category: str = ""


def compose(foreground: Image, background: Image, alpha: Mask) -> Image:
    """Return alpha · foreground + (1 − alpha) · background, rounded; uint8 H×W×3."""
    blend = background + (foreground.astype(np.float32) - background) * alpha[..., None]
    return (blend + 0.5).astype(np.uint8)
