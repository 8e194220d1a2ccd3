"""What training draws from: procedural scenes, photographs with mattes, and composites of them.

A source draws by number: ``source.draw(index, (height, width))`` follows from the source's
settings, its seed and the index alone, so that a run is the same with any number of worker
processes and goes on exactly where it was stopped. Indices run on over the epochs:
``len(source)`` draws make one, in which every item comes once, in an order of the epoch's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from matter_sdk.training import scenes
from matter_sdk.training.composition import (
    Rssn,
    compose_rssn,
    estimate_layers,
    fit,
    resize,
    type_wise,
)
from matter_sdk.training.data.datasets import Dataset, Sample
from matter_sdk.training.data.layers import Image, Layers, Mask


class Source(Protocol):
    """Where layers come from."""

    def __len__(self) -> int:
        """Draws in an epoch."""

    def draw(self, index: int, size: tuple[int, int]) -> Layers:
        """Draw sample ``index``, from 0 on, at ``size`` = (height, width)."""


@dataclass(frozen=True)
class Crops:
    """How a window is chosen in a picture.

    The side is one of ``sides``, in pixels of the picture, and the window is around a random
    pixel of the transition area, moved to lie inside the picture. It has the shape of what is
    drawn; its area is that of the square. Where the picture is too small, the window is the
    largest that fits.

    Without sides the window is the whole picture, squeezed into what is drawn, as AIM does with
    DUTS. The sides of GFM and AIM are the default; MSIA's are 512, 640 and 800.
    """

    sides: tuple[int, ...] = (640, 960, 1280)
    flip: float = 0.5  # probability of a horizontal flip

    def choose(
        self, rng: np.random.Generator, sample: Sample, size: tuple[int, int]
    ) -> tuple[slice, slice]:
        """Choose rows and columns of a window for ``size`` in a sample that has a matte."""
        height, width = sample.image.shape[:2]
        if not self.sides:
            return slice(0, height), slice(0, width)
        side, aspect = float(rng.choice(self.sides)), size[0] / size[1]
        down, across = side * math.sqrt(aspect), side / math.sqrt(aspect)
        shrink = min(1.0, height / down, width / across)
        rows, columns = max(1, round(down * shrink)), max(1, round(across * shrink))
        y, x = _transition_pixel(rng, sample)
        top = min(max(y - rows // 2, 0), height - rows)
        left = min(max(x - columns // 2, 0), width - columns)
        return slice(top, top + rows), slice(left, left + columns)


def _transition_pixel(rng: np.random.Generator, sample: Sample) -> tuple[int, int]:
    """A random pixel of the trimap's transition area, or of fractional alpha; any, if none is."""
    if sample.trimap is not None:
        transition = sample.trimap == 128
    else:  # what is all but 0 or 1 comes from compression, and may be anywhere
        transition = (sample.matte > 0.02) & (sample.matte < 0.98)
    where = np.flatnonzero(transition)
    count = len(where) or transition.size
    place = int(rng.integers(count))
    return divmod(int(where[place]) if len(where) else place, transition.shape[1])


class Procedural:
    """The built-in scenes (:mod:`training.scenes`), each of them once and never again.

    Args:
        with_plate: whether the layers have a plate.
        decoys: whether other bodies often stand in the background, and in the plate too.
        length: draws in an epoch; there is no end of scenes.
        first: number of the first scene. Training and validation keep apart by it.
    """

    def __init__(
        self,
        with_plate: bool = False,
        *,
        decoys: bool = False,
        length: int = 10_000,
        first: int = 0,
    ) -> None:
        self.with_plate, self.decoys = with_plate, decoys
        self.length, self.first = length, first

    def __len__(self) -> int:
        return self.length

    def draw(self, index: int, size: tuple[int, int]) -> Layers:
        """Draw the scene of number ``first + index``."""
        return scenes.layers(self.first + index, size, self.with_plate, self.decoys)


class Natural:
    """Photographs with mattes, cropped: GFM's ORI-Track, and DUTS for AIM.

    Foreground and background are the dataset's own, or estimated in the window.

    Args:
        dataset: with images and mattes.
        crops: how windows are chosen.
        seed: of the order, the windows and the flips.

    Raises:
        DatasetError: an item has no image or no matte.
    """

    def __init__(self, dataset: Dataset, crops: Crops | None = None, *, seed: int = 0) -> None:
        dataset.require("image", "alpha")
        self.dataset, self.crops, self.seed = dataset, crops or Crops(), seed

    def __len__(self) -> int:
        return len(self.dataset)

    def draw(self, index: int, size: tuple[int, int]) -> Layers:
        """Draw a window of the photograph whose turn it is."""
        epoch, item = _turn(self.seed, index, len(self))
        rng = generator(_DRAW, self.seed, epoch, item)
        return _Window(rng, self.dataset.read(item), self.crops, size).layers()


class Composed:
    """Foregrounds of a dataset before other backgrounds, by RSSN: GFM's COMP-Track.

    In an epoch every foreground meets ``k`` backgrounds, all different; other epochs choose
    others. A window is cut and resized before anything is composed, so the costly steps see no
    more pixels than the network does. Noise is added last, and is that of the network's pixels.

    Args:
        dataset: with mattes, and foregrounds or images to estimate them from.
        backgrounds: with images; mattes that they may have are not looked at.
        crops: how windows are chosen.
        rssn: probabilities and strengths; the paper's by default.
        k: backgrounds for each foreground and epoch, the paper's K.
        by_type: whether RSSN depends on an item's kind as in AIM.
        seed: of everything that is drawn.

    Raises:
        DatasetError: an item lacks what is needed.
    """

    def __init__(
        self,
        dataset: Dataset,
        backgrounds: Dataset,
        crops: Crops | None = None,
        rssn: Rssn | None = None,
        *,
        k: int = 5,
        by_type: bool = False,
        seed: int = 0,
    ) -> None:
        dataset.require("alpha")
        if not dataset.has("foreground"):
            dataset.require("image")
        backgrounds.require("image")
        self.dataset, self.backgrounds, self.crops = dataset, backgrounds, crops or Crops()
        self.rssn, self.k, self.by_type, self.seed = rssn or Rssn(), k, by_type, seed

    def __len__(self) -> int:
        return len(self.dataset) * self.k

    def draw(self, index: int, size: tuple[int, int]) -> Layers:
        """Compose the foreground whose turn it is with one of its backgrounds."""
        epoch, place = _turn(self.seed, index, len(self))
        item, turn = divmod(place, self.k)
        rng = generator(_DRAW, self.seed, epoch, item, turn)
        window = _Window(rng, self.dataset.read(item), self.crops, size)
        foreground = window.foreground()
        background = self.backgrounds.read(self.partners(epoch, item)[turn]).image
        settings = type_wise(self.rssn, window.kind) if self.by_type else self.rssn
        composed = compose_rssn(
            rng,
            foreground,
            window.behind(background),
            window.alpha,
            settings,
            scale=window.scale,
            kind=window.kind,
            category=window.category,
        )
        return replace(composed, trimap=window.trimap)

    def partners(self, epoch: int, item: int) -> list[int]:
        """Choose a foreground's backgrounds of an epoch; some come twice if there are too few."""
        rng = generator(_PARTNERS, self.seed, epoch, item)
        count = len(self.backgrounds)
        return rng.choice(count, self.k, replace=count < self.k).tolist()


class Joined:
    """Several sources as one, shuffled together: AIM trains on three composed datasets."""

    def __init__(self, sources: Sequence[Source], *, seed: int = 0) -> None:
        self.sources, self.seed = tuple(sources), seed

    def __len__(self) -> int:
        return sum(len(source) for source in self.sources)

    def draw(self, index: int, size: tuple[int, int]) -> Layers:
        """Draw from the source whose turn it is."""
        epoch, place = _turn(self.seed, index, len(self))
        for source in self.sources:
            if place < len(source):
                break
            place -= len(source)
        return source.draw(epoch * len(source) + place, size)


# What randomness is for. It comes first, as NumPy takes (0, 0) and (0, 0, 0) for the same seed.
# 4 is that of training.data.mixing.
_ORDER, _PARTNERS, _DRAW = 1, 2, 3


def generator(purpose: int, *numbers: int) -> np.random.Generator:
    """Return a random generator that follows from its purpose and some numbers."""
    return np.random.default_rng((purpose, *numbers))


def _turn(seed: int, index: int, length: int) -> tuple[int, int]:
    """The epoch of a draw, and which of ``length`` items has its turn."""
    epoch, place = divmod(index, length)
    return epoch, int(generator(_ORDER, seed, epoch).permutation(length)[place])


class _Window:
    """The part of a sample that a draw is about, resized and maybe flipped."""

    def __init__(
        self, rng: np.random.Generator, sample: Sample, crops: Crops, size: tuple[int, int]
    ) -> None:
        self.rng, self.size, self.sample = rng, size, sample
        self.where = crops.choose(rng, sample, size)
        self.flipped = bool(rng.random() < crops.flip)
        self.kind, self.category = sample.kind, sample.category
        rows, columns = self.where
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        self.scale = math.sqrt(size[0] * size[1] / area)
        # Averages of many ones come out a little over 1.
        self.alpha: Mask = np.clip(self.cut(sample.matte), 0, 1)
        self.trimap = None if sample.trimap is None else self.cut(sample.trimap, levels=True)

    def cut(self, picture: NDArray[Any], levels: bool = False) -> NDArray[Any]:
        """The same window of any part of the sample; one with levels keeps them."""
        part = picture[self.where]
        if levels:
            part = cv2.resize(part, self.size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        else:
            part = resize(part, self.size)
        return np.ascontiguousarray(part[:, ::-1] if self.flipped else part)

    def foreground(self) -> Image:
        """The dataset's foreground, or an estimate of it."""
        if self.sample.foreground is not None:
            return self.cut(self.sample.foreground)
        return estimate_layers(self.cut(self.sample.image), self.alpha)[0]

    def behind(self, background: Image) -> Image:
        """The part of another picture that lies here, if that just covers the whole sample."""
        height, width = self.sample.image.shape[:2]
        rows, columns = (part.stop - part.start for part in self.where)
        cover = max(height / background.shape[0], width / background.shape[1])
        largest = min(background.shape[0] / rows, background.shape[1] / columns)
        part = fit(background, self.size, self.rng, 1 / (cover * largest))
        return np.ascontiguousarray(part[:, ::-1] if self.rng.random() < 0.5 else part)

    def layers(self) -> Layers:
        """The sample's own layers."""
        image = self.cut(self.sample.image)
        foreground, background = (
            None if part is None else self.cut(part)
            for part in (self.sample.foreground, self.sample.background)
        )
        if foreground is None or background is None:
            estimated = estimate_layers(image, self.alpha)
            foreground = estimated[0] if foreground is None else foreground
            background = estimated[1] if background is None else background
        return Layers(
            image,
            self.alpha,
            foreground,
            background,
            trimap=self.trimap,
            kind=self.kind,
            category=self.category,
        )


class Whole:
    """The pictures of a dataset in their order, uncropped: what validation sees.

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
        """Read picture ``index``, shrunk to lie within ``size`` where it is larger.

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
