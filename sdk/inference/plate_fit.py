"""Tell whether a plate still shows the place that a frame shows.

Plate mode takes for the subject whatever differs from the plate. Once the camera has moved, or the
plate is of another room, that is the room itself. So both are compared first, small and in grey:

* tile by tile, by the correlation of their texture, which light and exposure leave alone. Of the
  plate's tiles with texture some are always covered, but not nearly all of them;
* shifted as a whole. If a shift of more than a shaking hand's makes many more tiles agree, that is
  how the camera has moved.

The limits are from 120 photographs of rooms and landscapes, with noise of 3 levels, at 1280×720:
of 960 frames that fit (a person or animal over up to 70 % of the picture, shaken by up to 4 pixels,
exposures of 0.75 to 1.35, other white balance) none was refused; of 960 that do not (moved by 30,
60 and 100 pixels or another place, with and without somebody in the way) 957 were.
"""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from matter_sdk.sdk.arrays import picture, to_cpu

LONGER_SIDE = 160
"""Longer side of the small pictures, in pixels. Smaller frames are not judged."""
_TILE = 10
_LEAST_TILES = 20  # of the plate with texture, for texture to tell
_TEXTURE = 12.0  # variance, in grey levels squared: above that of a camera's noise when small
_NOISE = 4.0
_ALIKE = 0.7  # correlation
_FEW = 0.08  # of the tiles that agree: less than any subject leaves
_SHAKE = 1.6  # small pixels, 13 of 1280
_BETTER = 0.1  # of the tiles more that agree, for a shift to be one of the camera's
_FARTHEST = 0.4  # of the longer side: of a greater shift nothing can be told
_FEW_FLAT = 0.2  # likewise of a plate without texture, where chance has more to say
_FLAT_ALIKE = 12.0  # grey levels

MOVED = (
    "the plate no longer fits, the camera has moved; expected the view of the plate. Take it "
    "again: matter.plate = image"
)
ANOTHER = (
    "the plate does not fit, nearly all of the picture differs from it; expected the place that it "
    "shows. Take it again: matter.plate = image"
)

Grey = NDArray[np.float32]


def small(frame: Any) -> Grey:
    """Shrink a checked frame for ``misfit``: grey float32 h×w in 0..255, of its aspect ratio."""
    height, width = frame.shape[:2]
    scale = min(1.0, LONGER_SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    grey = cv2.cvtColor(to_cpu(picture(frame, size)), cv2.COLOR_BGR2GRAY)
    return cast(Grey, grey.astype(np.float32))


def misfit(plate: Grey, frame: Grey) -> str | None:
    """Say why a plate does not fit a frame, ``MOVED`` or ``ANOTHER``; None if it does.

    Both are what ``small`` makes, of one aspect ratio. What is smaller than ``LONGER_SIDE``, or
    has fewer than three tiles on a side, is too small to tell: None.
    """
    if min(frame.shape) < 3 * _TILE or max(frame.shape) < LONGER_SIDE:
        return None
    if frame.shape != plate.shape:  # of another size, or rounded otherwise
        plate = cast(Grey, cv2.resize(plate, frame.shape[::-1], interpolation=cv2.INTER_AREA))
    plates, frames = _Tiles(plate), _Tiles(frame)
    textured = plates.variance > _TEXTURE
    if np.count_nonzero(textured) < _LEAST_TILES:
        return None if _flat_alike(plates, frames) > _FEW_FLAT else ANOTHER
    share = _alike(plates, frames, textured)
    if share <= _FEW:
        return ANOTHER
    across, down = cv2.phaseCorrelate(
        _edges(plate), _edges(frame), cv2.createHanningWindow(plate.shape[::-1], cv2.CV_32F)
    )[0]
    if not _SHAKE < np.hypot(across, down) < _FARTHEST * max(plate.shape):
        return None
    back = np.array([[1, 0, -across], [0, 1, -down]], np.float32)
    moved = cv2.warpAffine(frame, back, frame.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    better = _alike(plates, _Tiles(cast(Grey, moved)), textured)
    return MOVED if better > share + _BETTER else None


class _Tiles:
    """Means and variances of overlapping tiles, half a tile apart."""

    def __init__(self, grey: Grey) -> None:
        self.grey = grey
        self.mean = _means(grey)
        self.variance = _means(grey * grey) - self.mean**2


def _means(values: Grey) -> Grey:
    means = cv2.blur(values, (_TILE, _TILE), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    step = _TILE // 2
    return cast(Grey, means[: 1 - _TILE : step, : 1 - _TILE : step])


def _alike(one: _Tiles, other: _Tiles, where: NDArray[np.bool_]) -> float:
    """Of the tiles in question, how many correlate."""
    covariance = _means(one.grey * other.grey) - one.mean * other.mean
    scale = np.sqrt((one.variance.clip(0) + _NOISE) * (other.variance.clip(0) + _NOISE))
    return float(np.mean((covariance > _ALIKE * scale)[where]))


def _flat_alike(plate: _Tiles, frame: _Tiles) -> float:
    """Of the tiles of a plate without texture, how many are as flat and, but for the exposure, of
    its brightness."""
    flat = frame.variance <= _TEXTURE
    if not flat.any():
        return 0.0
    difference = (frame.mean - plate.mean)[flat]
    near = np.abs(difference - np.median(difference)) <= _FLAT_ALIKE
    return float(np.count_nonzero(near)) / flat.size


def _edges(grey: Grey) -> Grey:
    across, down = (cv2.Sobel(grey, cv2.CV_32F, x, 1 - x) for x in (1, 0))
    return cast(Grey, np.minimum(cv2.magnitude(across, down), 80))
