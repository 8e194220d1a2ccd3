"""Ten drawn frames for the filter over time."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.sdk.checks import smooth_frame

CUT = 7
"""The index of the first frame of another room."""


def drawn_film() -> list[NDArray[np.uint8]]:
    """A still room with a camera's noise and a disc that moves through it; then another room.

    uint8 90×160×3 each.
    """
    noise = np.random.default_rng(5)
    frames = []
    for at in range(10):
        room = smooth_frame((90, 160), 11 if at < CUT else 12)
        centre = (40 + 6 * max(0, at - 2), 45)  # it stands still at first
        cv2.circle(room, centre, 16, (240, 60, 40), -1, cv2.LINE_AA)
        shaken = room + noise.normal(0, 1.5, room.shape)
        frames.append(np.rint(shaken).clip(0, 255).astype(np.uint8))
    return frames
