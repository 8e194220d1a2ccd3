"""Mattes for photographs that only have a mask.

A mask is right but for a band around its edge, with hair and fur. There the closed-form matting
of Levin et al. (*A Closed-Form Solution to Natural Image Matting*, 2008; PyMatting's) tells alpha
from the colours on both sides. It fails where both sides look alike: such parts of the band stay
unknown. What is found is kept in a folder, since a picture takes a quarter of a second and training
reads it many times.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from matter_sdk.sdk import files
from matter_sdk.training.composition import threads_after_fork
from matter_sdk.training.data.datasets import Dataset
from matter_sdk.training.data.layers import Image, Mask

UNLABELLED, CLASS_ONLY, KNOWN = 0, 128, 255
"""What labels say of a pixel: nothing; in which area of a trimap it lies; its alpha."""

# Half the band's width around a hard edge, as a share of the subject's height: street photographs'
# masks are off by 2 pixels in 500, and their hair by more.
_BAND = 0.012
# A matte is refused where it departs from the mask, or stays undecided, by more than this on
# average over the band nearby.
_DISAGREEMENT, _INDECISION = 0.45, 0.45


def matte(image: Image, mask: Mask, labels: str) -> tuple[Mask, NDArray[np.uint8]]:
    """Estimate alpha from a photograph and its mask; tell what is known of each pixel.

    Args:
        image: uint8 H×W×3 RGB.
        mask: H×W in 0..1.
        labels: what about ½ (128) means: with ``hard`` nothing is said there; with ``trimap`` it is
            a band that holds the edge.

    Returns:
        Alpha in 0..1, and :data:`UNLABELLED`, :data:`CLASS_ONLY` or :data:`KNOWN`, uint8, both H×W.
    """
    middle = (mask > 0.25) & (mask < 0.75)
    inside = (mask > 0.5) & ~middle
    known = np.full(mask.shape, KNOWN, np.uint8)
    if labels == "trimap":
        band, foreground = middle, inside
    else:
        inside = _without_specks(inside)
        rows = np.flatnonzero(inside.any(1))
        height = int(rows[-1] - rows[0] + 1) if len(rows) else 0
        radius = max(2, round(_BAND * height))
        foreground = cv2.erode(inside.astype(np.uint8), _disc(radius)) > 0
        band = (cv2.dilate(inside.astype(np.uint8), _disc(radius)) > 0) & ~foreground & ~middle
        known[middle] = UNLABELLED
    if not (band.any() and foreground.any() and (~band & ~foreground).any()):
        return inside.astype(np.float32), np.where(band, CLASS_ONLY, known).astype(np.uint8)
    alpha = _closed_form(image, np.where(band, 0.5, foreground))
    if labels == "trimap":  # the edge, where the matte does not find one
        inside = alpha > 0.5
    side = 2 * max(2, round(0.01 * max(mask.shape))) + 1
    trusted = _mean_over(np.abs(alpha - inside), band, side) < _DISAGREEMENT
    trusted &= _mean_over(4 * alpha * (1 - alpha), band, side) < _INDECISION
    known[band & ~trusted] = CLASS_ONLY
    return np.where(band & trusted, alpha, inside).astype(np.float32), known


def _disc(radius: int) -> NDArray[np.uint8]:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def _without_specks(inside: NDArray[np.bool_], share: float = 2e-4) -> NDArray[np.bool_]:
    """Without holes and islands of less than a share of the picture: faults of the labels."""
    result = inside.copy()
    for value in (True, False):
        where = (result == value).astype(np.uint8)
        _, parts, facts, _ = cv2.connectedComponentsWithStats(where, connectivity=4)
        small = facts[:, cv2.CC_STAT_AREA] < share * inside.size
        small[0] = False
        result[small[parts]] = not value
    return result


def _closed_form(image: Image, trimap: NDArray[np.float64]) -> Mask:
    """Alpha by closed-form matting, its faint remainders brought to 0 and 1."""
    threads_after_fork()
    import pymatting

    alpha = pymatting.estimate_alpha_cf(
        image / 255.0, trimap.astype(np.float64), laplacian_kwargs={"epsilon": 1e-5}
    )
    return np.clip((alpha - 0.06) / 0.88, 0, 1).astype(np.float32)


def _mean_over(values: NDArray[np.floating], where: NDArray[np.bool_], side: int) -> Mask:
    """The mean of the values in a square around each pixel, of those ``where`` holds."""
    weight = where.astype(np.float32)
    total = cv2.boxFilter(values.astype(np.float32) * weight, -1, (side, side), normalize=False)
    count = cv2.boxFilter(weight, -1, (side, side), normalize=False)
    return total / np.maximum(count, 1)


class Cache:
    """Mattes of a data set's pictures in a folder, each made when it is first asked for.

    Args:
        folder: where they are kept, in a folder of the data set's name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, dataset: Dataset, index: int, labels: str) -> tuple[Mask, NDArray[np.uint8]]:
        """Return :func:`matte` of a dataset's picture, from the folder or made now.

        Raises:
            DatasetError: the picture or its mask cannot be read.
        """
        path = self.path(dataset, index)
        if path.is_file():
            stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            if stored is not None and stored.ndim == 3:
                return stored[..., 0].astype(np.float32) / np.float32(255), stored[..., 1]
        sample = dataset.read(index)
        alpha, known = matte(sample.image, sample.matte, labels)
        values = np.round(alpha * 255).astype(np.uint8)
        stored = np.dstack([values, known, np.zeros_like(known)])
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded = cv2.imencode(".png", stored)[1].tobytes()
        files.replace(path, lambda file: file.write(encoded))
        return values.astype(np.float32) / np.float32(255), known

    def path(self, dataset: Dataset, index: int) -> Path:
        """Return the file of a picture's matte."""
        return self.folder / dataset.name / f"{dataset.items[index].name}.png"

    def fill(self, sets: Sequence[tuple[Dataset, str]]) -> None:
        """Make what is missing, with progress on stderr; once stopped, go on from there."""
        missing = [
            (dataset, index, labels)
            for dataset, labels in sets
            for index in range(len(dataset))
            if not self.path(dataset, index).is_file()
        ]
        shown = 0.0
        for done, (dataset, index, labels) in enumerate(missing, 1):
            self.read(dataset, index, labels)
            if time.monotonic() - shown > 10 or done == len(missing):
                shown = time.monotonic()
                print(f"mattes of {dataset.name}: {done} of {len(missing)}", file=sys.stderr)
