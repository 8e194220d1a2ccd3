"""Whole pictures of a dataset, to validate on."""

from __future__ import annotations

import cv2
import numpy as np
from matter_sdk.training.data.datasets import Dataset
from matter_sdk.training.data.layers import Layers


class Whole:
    """The pictures of a dataset in their order, uncropped.

    Args:
        dataset: with images and mattes.
        multiple: what the sides that are drawn are multiples of.

    Raises:
        DatasetError: an item has no image or no matte.
    """

    def __init__(self, dataset: Dataset, multiple: int) -> None:
        dataset.require("image", "alpha")
        self.dataset = dataset
        self.multiple = multiple

    def __len__(self) -> int:
        return len(self.dataset)

    def draw(self, index: int, size: tuple[int, int]) -> Layers:
        """Picture ``index``, made smaller, where it has to be, to lie within ``size``.

        Foreground and background, which only losses want, are the image itself.
        """
        sample = self.dataset.read(index)
        height, width = sample.image.shape[:2]
        shrink = min(1.0, size[0] / height, size[1] / width)
        sides = tuple(
            max(self.multiple, int(side * shrink) // self.multiple * self.multiple)
            for side in (width, height)
        )
        image = cv2.resize(sample.image, sides, interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(sample.matte, sides, interpolation=cv2.INTER_AREA)
        trimap = sample.trimap
        if trimap is not None:
            trimap = cv2.resize(trimap, sides, interpolation=cv2.INTER_NEAREST_EXACT)
        return Layers(
            image,
            np.clip(alpha, 0, 1),
            image,
            image,
            trimap=trimap,
            kind=sample.kind,
            category=sample.category,
        )
