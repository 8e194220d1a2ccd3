"""Readers of the published matting datasets, in the folders that their authors unpack to.

    dataset = datasets.open("AIM-500", split="test")
    dataset.check()                      # every header, before any training starts
    sample = dataset.read(0)             # decoded now: image, alpha, trimap, ...

Opening lists folders and decodes nothing; ``layouts`` says what is where.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from matter_sdk.sdk import FrameError, picture_size, read_picture, read_values
from matter_sdk.training.data.layers import Image, Mask
from matter_sdk.training.data.layouts import (
    LAYOUTS,
    MASKS,
    SPLITS,
    DatasetError,
    Item,
    recognise,
)


@dataclass(frozen=True)
class Sample:
    """One entry, decoded. Colours are uint8 H×W×3 RGB.

    ``image`` is the photograph, or the composed picture of a composed test set; of an entry that
    is a foreground to be composed it is that foreground (:meth:`Dataset.require` tells them apart
    before anything is read).
    """

    name: str
    image: Image
    alpha: Mask | None  # H×W in 0..1
    trimap: NDArray[np.uint8] | None  # H×W, 0 background, 128 transition, 255 foreground
    foreground: Image | None
    background: Image | None
    kind: str
    category: str

    @property
    def matte(self) -> Mask:
        """The alpha matte; DatasetError if there is none."""
        if self.alpha is None:
            raise DatasetError(
                f"{self.name} has no alpha matte; a folder of pictures and mattes is needed here"
            )
        return self.alpha


@dataclass(frozen=True)
class Dataset:
    """A split of a dataset: the files of each item. :meth:`read` decodes them."""

    name: str
    layout: str
    root: Path
    split: str
    items: tuple[Item, ...]

    def __len__(self) -> int:
        return len(self.items)

    def has(self, *parts: str) -> bool:
        """Tell whether every item has all of these ``PARTS``."""
        return all(getattr(item, part) is not None for part in parts for item in self.items)

    def require(self, *parts: str) -> None:
        """Raise DatasetError unless every item has all of these ``PARTS``."""
        for part in parts:
            lacking = [item.name for item in self.items if getattr(item, part) is None]
            if lacking:
                raise DatasetError(
                    f"{self.root} ({self.layout}, {self.split}): {len(lacking)} of {len(self)} "
                    f"items have no {part}, such as {lacking[0]}; expected one for every item"
                )

    def read(self, index: int) -> Sample:
        """Decode one item; raises as :func:`read`."""
        return read(self.items[index], self._turns)

    def check(self) -> None:
        """Check every file's header; decode nothing.

        Raises:
            DatasetError: a file is no picture, or not of the size of the others of its item; the
                message names the first and counts the rest.
        """
        problems = []
        for item in self.items:
            try:
                files = item.files()
                sizes = {
                    part: _header(path, self._turns and part not in MASKS)
                    for part, path in files.items()
                }
                _same_size(item, sizes)
            except DatasetError as error:
                problems.append(str(error))
        if problems:
            more = f" ({len(problems) - 1} more like it)" if len(problems) > 1 else ""
            raise DatasetError(problems[0] + more)

    @property
    def _turns(self) -> bool:
        # The published datasets' own code ignores the camera's Exif orientation, and their mattes
        # fit the pictures as they are stored; people's own mattes are drawn on what a viewer shows.
        return self.layout == "pairs"


def open(  # noqa: A001 - datasets.open, as tarfile.open or gzip.open
    path: str | Path, layout: str | None = None, split: str = "train"
) -> Dataset:
    """List a dataset's files.

    Args:
        path: the dataset's folder.
        layout: one of ``LAYOUTS``; by default recognised by its folders.
        split: ``train``, or ``test`` (which some datasets call validation).

    Raises:
        DatasetError: a folder is missing or empty, a picture lacks its matte, or no layout fits.
            The same for an unknown layout or split.
    """
    root = Path(path)
    if split not in SPLITS:
        raise DatasetError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
    if layout is not None and layout not in LAYOUTS:
        raise DatasetError(f"layout is {layout!r}; expected one of {', '.join(LAYOUTS)}")
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder; expected the folder of a dataset")
    layout = layout or recognise(root)
    items = sorted(LAYOUTS[layout](root, split), key=lambda item: item.name)
    for one, other in itertools.pairwise(items):
        if one.name == other.name:
            files = (next(iter(item.files().values())) for item in (one, other))
            raise DatasetError(f"{' and '.join(map(str, files))} have the same name; rename one")
    return Dataset(root.resolve().name, layout, root, split, tuple(items))


def read(item: Item, turns: bool = True) -> Sample:
    """Decode the files of one item.

    Args:
        item: its files.
        turns: whether to turn photographs as their Exif orientation says.

    Raises:
        DatasetError: a file cannot be decoded, is not of the image's size, or a matte has colours.
    """
    files = item.files()
    masks = {part: _mask(files[part]) for part in MASKS if part in files}
    colours = {part: _colours(path, turns) for part, path in files.items() if part not in MASKS}
    sizes = {part: picture.shape[1::-1] for part, picture in colours.items()}
    _same_size(item, sizes | {part: mask.shape[1::-1] for part, mask in masks.items()})
    trimap = masks.get("trimap")
    return Sample(
        item.name,
        colours["image"] if "image" in colours else colours["foreground"],
        masks.get("alpha"),
        None if trimap is None else _three_levels(trimap),
        colours.get("foreground"),
        colours.get("background"),
        item.kind,
        item.category,
    )


# --- decoding -----------------------------------------------------------------------------------


def _colours(path: Path, turns: bool) -> Image:
    try:
        return cv2.cvtColor(read_picture(path, upright=turns), cv2.COLOR_BGR2RGB)
    except FrameError as error:
        raise DatasetError(str(error)) from error


def _mask(path: Path) -> Mask:
    """A picture in shades of grey of 8 or 16 bits, as float32 in 0..1."""
    try:
        picture = read_values(path)
    except FrameError as error:
        raise DatasetError(str(error)) from error
    if picture.dtype not in (np.uint8, np.uint16):
        raise DatasetError(f"{path} holds {picture.dtype}; expected 8 or 16 bits of grey")
    full = np.iinfo(picture.dtype).max
    if picture.ndim == 3:
        colours = picture[..., :3]
        # A JPEG of a grey picture may be a little off grey; a photograph is far off.
        if int((colours.max(2) - colours.min(2)).max()) > full // 8:
            raise DatasetError(f"{path} has colours; expected a matte in shades of grey")
        picture = colours[..., 0]
    return picture.astype(np.float32) / np.float32(full)


def _three_levels(trimap: Mask) -> NDArray[np.uint8]:
    # Known is what is (all but) black or white: some trimaps are JPEGs or write 127 for unknown.
    return np.where(trimap < 0.06, 0, np.where(trimap > 0.94, 255, 128)).astype(np.uint8)


def _header(path: Path, turns: bool) -> tuple[int, int]:
    """(width, height) by a file's header."""
    try:
        return picture_size(path, upright=turns)
    except FrameError as error:
        raise DatasetError(str(error)) from error


def _same_size(item: Item, sizes: dict[str, tuple[int, int]]) -> None:
    """Whether all parts have the size of the first; width, height."""
    files = item.files()
    (main, expected), *others = sizes.items()
    for part, size in others:
        if size != expected:
            raise DatasetError(
                f"{files[part]} is {size[0]}×{size[1]}; expected {expected[0]}×{expected[1]} "
                f"as {files[main]}"
            )
