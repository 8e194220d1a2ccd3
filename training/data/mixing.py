"""Photographs with masks of several sets, mixed by weight, before their own and other backgrounds.

Each draw follows an entry of the recipe (``[[mix]]``, :class:`training.recipes.Mix`): which set,
what its labels mean, how much of the picture is shown, and how often it is put before another
background. A picture is placed as a rectangle in the frame: where it keeps its own background it
has to cover the frame; before another one it may lie anywhere, but a side at which the photograph
cut its subject stays outside the frame or at its edge.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matter_sdk.training import scenes
from matter_sdk.training.composition import Rssn, compose_rssn, estimate_layers, fit, resize
from matter_sdk.training.data import augment, datasets
from matter_sdk.training.data import plate_pairs as plates
from matter_sdk.training.data.datasets import Dataset
from matter_sdk.training.data.layer_sources import Procedural, generator
from matter_sdk.training.data.layers import Image, Layers, Mask, compose
from matter_sdk.training.data.mattes import KNOWN, Cache
from matter_sdk.training.recipes import Mix, Recipe

# Squeezes up to this show more of a picture whose shape is not the frame's.
_SQUEEZE = 1.35
# Share of composites in which a second subject stands behind the first.
_SECOND = 0.15
# Share of composites whose subject holds a drawn thing, and how long that is beside the subject.
_HELD, _LENGTHS = 0.15, (0.15, 0.5)
_DRAW = 4  # see training.data.layer_sources
# Denoising takes longer than all the rest of a draw.
_RSSN = Rssn(denoise=0.0, blur=0.4, noise=0.0)


class Mixed:
    """A recipe's entries as one source.

    Args:
        recipe: with ``mix`` and ``backgrounds``.
        root: the folder that holds the sets, by their names in the recipe.
        cache: where mattes are kept.
        with_plate: whether the layers have a plate. Nothing keeps its own background then.
        seed: of everything that is drawn.

    Raises:
        DatasetError: a set is missing, or not as its entry says.
    """

    def __init__(
        self,
        recipe: Recipe,
        root: Path,
        cache: Cache,
        *,
        with_plate: bool = False,
        seed: int = 0,
    ) -> None:
        self.cache, self.with_plate, self.seed = cache, with_plate, seed
        self.entries = [
            _Entry(mix, [datasets.open(root / name, "masks") for name in mix.data])
            for mix in recipe.mix
        ]
        self.backgrounds = [datasets.open(root / name, "masks") for name in recipe.backgrounds]
        weights = np.array([mix.weight for mix in recipe.mix])
        self._shares = weights / weights.sum()
        self._peopled = [e for e in self.entries if e.sets and e.mix.labels != "none"]

    def __len__(self) -> int:
        return sum(len(entry.pictures) for entry in self.entries)

    def sets(self) -> list[tuple[Dataset, str]]:
        """Return the datasets with masks, and what their labels mean."""
        found = {
            dataset.name: (dataset, entry.mix.labels)
            for entry in self.entries
            for dataset in entry.sets
            if entry.mix.labels != "none"
        }
        return list(found.values())

    def check(self) -> None:
        """Check every file's header; DatasetError if one is not as expected."""
        for dataset in (*(d for entry in self.entries for d in entry.sets), *self.backgrounds):
            dataset.check()

    def draw(self, index: int, size: tuple[int, int]) -> Layers:
        """Draw sample ``index``, from 0 on; foreground and background are the image itself."""
        rng = generator(_DRAW, self.seed, index)
        entry = self.entries[rng.choice(len(self.entries), p=self._shares)]
        if entry.sets:
            layers = self._photograph(rng, entry, size)
        else:
            layers = Procedural(self.with_plate, decoys=self.with_plate, first=index).draw(0, size)
            if rng.random() < entry.mix.composed:
                layers = self._composed(rng, layers.foreground, layers.alpha, size)
        shots = [layers.image] if layers.plate is None else [layers.image, layers.plate]
        weather = int(rng.integers(2**31))  # of one place, so that it is the same in both shots
        shots = [
            augment.camera(rng, augment.light(np.random.default_rng(weather), shot))
            for shot in shots
        ]
        known = np.full(size, KNOWN, np.uint8) if layers.known is None else layers.known
        parts: list[NDArray[Any]] = [layers.alpha, known, *shots]
        if rng.random() < 0.5:
            parts = [np.ascontiguousarray(part[:, ::-1]) for part in parts]
        alpha, known, image = parts[:3]
        plate = parts[3] if layers.plate is not None else None
        return Layers(image, alpha, image, image, plate, known=known)

    def _photograph(self, rng: np.random.Generator, entry: _Entry, size: tuple[int, int]) -> Layers:
        if entry.mix.labels == "none":  # nobody is there
            dataset, item = entry.pictures[rng.integers(len(entry.pictures))]
            image = fit(dataset.read(item).image, size, rng, float(rng.uniform(0.5, 1)))
            plate = plates.plate(rng, image) if self.with_plate else None
            return Layers(image, np.zeros(size, np.float32), image, image, plate)
        composed = self.with_plate or rng.random() < entry.mix.composed
        image, alpha, known = self._subject(rng, entry, size, alone=composed)
        if not composed:
            return Layers(image, alpha, image, image, known=known)
        if rng.random() < _HELD:
            image, alpha = _holding(rng, image, alpha)
        return self._composed(rng, image, alpha, size)

    def _composed(
        self, rng: np.random.Generator, image: Image, alpha: Mask, size: tuple[int, int]
    ) -> Layers:
        """A subject before another background, with a second one behind it at times."""
        empty = background = self._background(rng, size)
        others = np.zeros(size, np.float32)
        settings = replace(_RSSN, blur=0.0) if self.with_plate else _RSSN
        if self._peopled and rng.random() < _SECOND:
            entry = self._peopled[rng.integers(len(self._peopled))]
            second, others, _ = self._subject(rng, entry, size, alone=True)
            background = compose_rssn(rng, second, background, others, settings).image
            if self.with_plate and rng.random() < 0.5:  # it stands in the plate too
                empty, others = background, np.zeros_like(others)
            settings = replace(_RSSN, blur=0.0)
        composite = compose_rssn(rng, image, background, alpha, settings, scale=size[0] / 1080)
        plate = plates.plate(rng, empty) if self.with_plate else None
        return replace(composite, alpha=1 - (1 - alpha) * (1 - others), plate=plate)

    def _background(self, rng: np.random.Generator, size: tuple[int, int]) -> Image:
        dataset = self.backgrounds[rng.integers(len(self.backgrounds))]
        picture = dataset.read(int(rng.integers(len(dataset)))).image
        return augment.light(rng, fit(picture, size, rng, float(rng.uniform(0.5, 1))), 0.5)

    def _subject(
        self, rng: np.random.Generator, entry: _Entry, size: tuple[int, int], *, alone: bool
    ) -> tuple[Image, Mask, NDArray[np.uint8]]:
        """A picture as it lies in the frame: colours (of the foreground ``alone``, or all of it),
        alpha and what is known."""
        pictures = entry.pictures if alone else entry.agreed
        dataset, item = pictures[rng.integers(len(pictures))]
        whole = dataset.read(item).image
        alpha, known = self.cache.read(dataset, item, entry.mix.labels)
        place = _place(rng, alpha, size, entry.mix.crop, free=alone)
        part = place.part(whole), place.part(alpha), place.part(known)
        visible = place.visible()
        shape = visible[0].stop - visible[0].start, visible[1].stop - visible[1].start
        image, soft = resize(part[0], shape), np.clip(resize(part[1], shape), 0, 1)
        certain = np.where(resize((part[2] == KNOWN).astype(np.float32), shape) > 0.99, KNOWN, 0)
        certain = np.maximum(certain, np.where(resize(part[2], shape) >= 96, 128, 0))
        if alone:
            image = augment.light(rng, estimate_layers(image, soft)[0], 0.5)
        colours = np.zeros((*size, 3), np.uint8)
        matte, told = np.zeros(size, np.float32), np.full(size, KNOWN, np.uint8)
        colours[visible], matte[visible], told[visible] = image, soft, certain
        return colours, matte, told


def _holding(rng: np.random.Generator, image: Image, alpha: Mask) -> tuple[Image, Mask]:
    """Put a drawn thing before a subject, its middle somewhere on the subject."""
    rows, columns = np.nonzero(alpha > 0.9)
    if not len(rows):
        return image, alpha
    tall = int(rows.max() - rows.min()) + 1
    side = max(16, min(round(tall * rng.uniform(*_LENGTHS)), *alpha.shape))
    place = int(rng.integers(len(rows)))
    top = min(max(int(rows[place]) - side // 2, 0), alpha.shape[0] - side)
    left = min(max(int(columns[place]) - side // 2, 0), alpha.shape[1] - side)
    colours, inside = scenes.held_thing(rng, side)
    part = np.s_[top : top + side, left : left + side]
    image, alpha = image.copy(), alpha.copy()
    image[part] = compose(colours, image[part], inside)
    alpha[part] = 1 - (1 - alpha[part]) * (1 - inside)
    return image, alpha


class _Entry:
    """An entry of the mix with its sets' pictures, which all come as often."""

    def __init__(self, mix: Mix, sets: list[Dataset]) -> None:
        self.mix, self.sets = mix, sets
        for dataset in sets:
            dataset.require(*(("image",) if mix.labels == "none" else ("image", "alpha")))
        self.pictures = [(dataset, item) for dataset in sets for item in range(len(dataset))]
        self.agreed = [
            (dataset, item)
            for dataset, item in self.pictures
            if dataset.items[item].agreement >= mix.agreement
        ]


class _Place:
    """Where a picture lies in the frame: its rectangle, in pixels of the frame."""

    def __init__(
        self, shape: tuple[int, int], size: tuple[int, int], rectangle: tuple[float, ...]
    ) -> None:
        top, left, height, width = rectangle
        self._rows = _overlap(top, height, size[0], shape[0])
        self._columns = _overlap(left, width, size[1], shape[1])

    def part(self, picture: NDArray[Any]) -> NDArray[Any]:
        """What of the picture is seen."""
        return picture[self._rows[1], self._columns[1]]

    def visible(self) -> tuple[slice, slice]:
        """Where in the frame it is seen."""
        return self._rows[0], self._columns[0]


def _overlap(start: float, length: float, frame: int, picture: int) -> tuple[slice, slice]:
    """The part of the frame that a picture covers along one side, and the part of the picture."""
    first = min(max(0, round(start)), frame - 1)
    last = max(min(frame, round(start + length)), first + 1)
    scale = picture / length
    begin = min(max(0, round((first - start) * scale)), picture - 1)
    end = max(min(picture, round((last - start) * scale)), begin + 1)
    return slice(first, last), slice(begin, end)


def _place(
    rng: np.random.Generator, alpha: Mask, size: tuple[int, int], crop: str, *, free: bool
) -> _Place:
    """Choose where a picture lies in a frame of ``size``.

    Args:
        rng: decides.
        alpha: of the whole picture.
        size: height and width of the frame.
        crop: ``whole``: all of the subject, or most of it; ``torso``: its upper part, as before a
            webcam.
        free: the picture need not cover the frame, as nothing is seen of it but the subject.
    """
    (height, width), (h, w) = alpha.shape, size
    inside = alpha > 0.5
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        rows, columns, free = np.arange(height), np.arange(width), False
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    edge = 3  # pixels at the border that masks often leave out
    held = [True] * 4
    if free:
        held = [top < edge, bottom > height - edge, left < edge, right > width - edge]
    stretch = (w / h) / (width / height) if not free else 1.0
    stretch = min(max(stretch, 1 / _SQUEEZE), _SQUEEZE) ** rng.uniform(0.3, 1)
    stretch *= math.exp(rng.normal(0, 0.08))
    if crop == "torso":
        scale = h / ((bottom - top) * rng.uniform(0.22, 0.75))
    elif free:
        share = math.exp(rng.uniform(math.log(0.16), math.log(1.15)))
        scale = share * min(h / (bottom - top), 1.6 * w / ((right - left) * stretch))
    else:
        scale = max(h / height, w / (width * stretch)) * (1 + rng.exponential(0.15))
    # A picture held at both opposite sides must be as long as the frame.
    if held[0] and held[1]:
        scale = max(scale, h / height)
    if held[2] and held[3]:
        scale = max(scale, w / (width * stretch))
    down, across = scale, scale * stretch
    # Where the subject's middle and top are to be in the frame.
    middle = (left + right) / 2 * across
    if crop == "torso":
        upper = inside[top : top + max(1, (bottom - top) // 5)]
        middle = float(np.flatnonzero(upper.any(0)).mean()) * across
        y = h * rng.uniform(0.0, 0.35) - top * down
    else:
        y = rng.uniform(min(0.0, h - (bottom - top) * down), max(0.0, h - (bottom - top) * down))
        y -= top * down
    spread = 0.16 if crop == "torso" or not free else 0.3
    x = w * rng.normal(0.5, spread) - middle
    y = _held(y, height * down, h, held[0], held[1])
    x = _held(x, width * across, w, held[2], held[3])
    return _Place((height, width), size, (y, x, height * down, width * across))


def _held(start: float, length: float, frame: float, first: bool, last: bool) -> float:
    """A place at which a held side of the picture is not inside the frame."""
    if last:
        start = max(start, frame - length)
    return min(start, 0.0) if first else start
