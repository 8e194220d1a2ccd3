"""Pictures with a true matte, to evaluate on: those of a dataset, or procedural scenes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from matter_sdk.training.data.layers import Image, Mask, compose
from matter_sdk.training.data.representations import trimap

# Scenes of the fixed set have seeds that no training step reaches.
SEED = 1 << 40
SIZE = (288, 512)
COUNT = 40
PROCEDURAL = "procedural"


class EvaluationError(ValueError):
    """Pictures, engines or checkpoints that cannot be evaluated."""


@dataclass(frozen=True)
class Picture:
    """One picture and its truth.

    ``image`` and ``plate`` (a photograph of the place without the subject) are uint8 H×W×3 RGB,
    ``alpha`` is float32 H×W in 0..1, ``trimap`` uint8 H×W of 0, 128 and 255: the dataset's ``own``,
    or made from alpha by the papers' ellipse of 25 pixels. ``kind`` is SO, STM or NS (AIM, IJCAI
    2021) and ``category`` the dataset's own word, "" where it has none.
    """

    name: str
    image: Image
    alpha: Mask
    trimap: NDArray[np.uint8]
    own: bool = False
    kind: str = "SO"
    category: str = ""
    plate: Image | None = None


class Pictures(Protocol):
    """A set of pictures, each read when it is asked for."""

    name: str
    plates: bool  # whether each picture has one

    def __len__(self) -> int: ...

    def read(self, index: int) -> Picture:
        """Read the picture at ``index``."""

    def facts(self) -> dict[str, Any]:
        """Describe the set, for a results file."""


class Scenes:
    """The fixed set of procedural scenes: what validation in training sees, and nothing trains on.

    Deterministic: the scenes follow from their numbers, and a smaller ``count`` takes the first.
    """

    name = PROCEDURAL
    plates = True

    def __init__(self, count: int = COUNT, size: tuple[int, int] = SIZE) -> None:
        self._count, self._size = count, size

    def __len__(self) -> int:
        return self._count

    def read(self, index: int) -> Picture:
        """See :class:`Pictures`."""
        from matter_sdk.training.scenes import layers

        drawn = layers(SEED + index, self._size, with_plate=True)
        return Picture(
            name=f"scene-{index:04d}",
            image=drawn.image,
            alpha=drawn.alpha,
            trimap=trimap(drawn.alpha),
            kind=drawn.kind,
            category=drawn.category,
            plate=drawn.plate,
        )

    def facts(self) -> dict[str, Any]:
        """See :class:`Pictures`."""
        height, width = self._size
        return {"data": PROCEDURAL, "seed": SEED, "size": [height, width], "pictures": len(self)}


class Photographs:
    """A dataset whose samples have a picture and its matte each.

    ``limit``: how many, from the first; 0 for all.

    Raises:
        DatasetError: a folder, layout or file that is not what it should be, or samples without a
            picture or its matte.
    """

    plates = False  # no published dataset has any

    def __init__(
        self, path: str | Path, layout: str | None = None, split: str = "test", limit: int = 0
    ) -> None:
        from matter_sdk.training.data import datasets

        self._dataset = datasets.open(path, layout, split)
        self._dataset.require("image", "alpha")
        self._dataset.check()
        self.name = self._dataset.name
        self._count = min(len(self._dataset), limit or len(self._dataset))

    def __len__(self) -> int:
        return self._count

    def read(self, index: int) -> Picture:
        """See :class:`Pictures`."""
        sample = self._dataset.read(index)
        alpha = sample.matte
        return Picture(
            name=sample.name,
            image=sample.image,
            alpha=alpha,
            trimap=trimap(alpha) if sample.trimap is None else sample.trimap,
            own=sample.trimap is not None,
            kind=sample.kind,
            category=sample.category,
        )

    def facts(self) -> dict[str, Any]:
        """See :class:`Pictures`."""
        return {
            "data": self.name,
            "layout": self._dataset.layout,
            "split": self._dataset.split,
            "pictures": len(self),
        }


class Composites:
    """The subjects of photographs before other backgrounds, each with a plate.

    Nobody publishes photographs with a matte *and* a shot of the empty place; this is the nearest
    to them that has a truth. Each subject's colours are estimated, it meets the background whose
    turn it is, and the plate is another shot of that one: moved, exposed otherwise, with noise of
    its own (:mod:`training.data.plate_pairs`). What the subject's own shadow would do is missing.

    Args:
        photographs: with mattes.
        backgrounds: a folder of pictures, or a published set of them; mattes beside them are not
            looked at.

    Raises:
        DatasetError: backgrounds that cannot be read.
    """

    plates = True
    sigma = 2.0  # of the noise of either shot, in levels of 255

    def __init__(self, photographs: Photographs, backgrounds: str | Path) -> None:
        from matter_sdk.training.data import datasets

        self._photographs = photographs
        self._backgrounds = datasets.open(backgrounds)
        self._backgrounds.require("image")
        self.name = f"{photographs.name}-over-{self._backgrounds.name}"

    def __len__(self) -> int:
        return len(self._photographs)

    def read(self, index: int) -> Picture:
        """See :class:`Pictures`."""
        from matter_sdk.training.composition import add_noise, estimate_layers, fit
        from matter_sdk.training.data.plate_pairs import plate

        rng = np.random.default_rng((SEED, index))
        picture = self._photographs.read(index)
        foreground, _ = estimate_layers(picture.image, picture.alpha)
        other = self._backgrounds.read(index % len(self._backgrounds)).image
        background = fit(other, picture.alpha.shape)
        image = compose(foreground, background, picture.alpha)
        return replace(
            picture,
            image=add_noise(rng, image, self.sigma),
            plate=add_noise(rng, plate(rng, background), self.sigma),
        )

    def facts(self) -> dict[str, Any]:
        """See :class:`Pictures`."""
        return {
            **self._photographs.facts(),
            "backgrounds": self._backgrounds.name,
            "background pictures": len(self._backgrounds),
        }
