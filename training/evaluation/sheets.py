"""Contact sheets: named columns of pictures and mattes, a row for each picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from matter_sdk.sdk.files import replace

DIFFERENCE = "difference"
"""The column whose two colours are told in its head."""

BOX = (260, 360)  # most height and width of a tile
GAP, MARGIN = 8, 24

_PAPER, _INK, _FAINT = (250, 250, 248), (28, 28, 30), (120, 120, 124)
# Of the difference: what was taken for subject and is not, and what was missed.
_TOO_MUCH, _MISSED = np.array([196, 48, 36]), np.array([24, 92, 176])


class Row(NamedTuple):
    """``tiles``: one for each column, of one height and width: uint8 H×W×3 RGB, or mattes, float
    H×W in 0..1."""

    title: str
    note: str
    tiles: tuple[NDArray[Any], ...]


def sheet(title: str, note: str, columns: Sequence[str], rows: Iterable[Row]) -> Image.Image:
    """Draw the rows below each other under a title; they are read one at a time."""
    strips = [_strip(row) for row in rows]
    width = len(columns) * BOX[1] + (len(columns) - 1) * GAP + 2 * MARGIN
    top = MARGIN + 78
    height = top + sum(strip.height for strip in strips) + MARGIN
    page = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, MARGIN - 6), title, _INK, _font(22))
    draw.text((MARGIN, MARGIN + 24), note, _FAINT, _font(14))
    for at, name in enumerate(columns):
        left = MARGIN + at * (BOX[1] + GAP)
        draw.text((left, top - 26), _fitting(draw, name, BOX[1]), _FAINT, _font(14))
        if name == DIFFERENCE:
            _legend(draw, left + BOX[1], top - 26)
    for strip in strips:
        page.paste(strip, (MARGIN, top))
        top += strip.height
    return page


def write(path: Path, page: Image.Image) -> None:
    """Write a PNG; an interrupted write leaves no partial file."""
    replace(path, lambda file: page.save(file, "PNG", optimize=True))


def difference(prediction: NDArray[np.float32], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colour where two mattes differ: red where the prediction takes background for subject, blue
    where it misses subject, white where they agree.

    H×W in 0..1 both → uint8 H×W×3 RGB.
    """
    signed = (prediction - alpha)[..., None]
    colour = np.where(signed > 0, _TOO_MUCH, _MISSED)
    return np.rint(255 + np.abs(signed) * (colour - 255)).astype(np.uint8)


def grey(matte: NDArray[Any]) -> NDArray[np.uint8]:
    """Turn a matte into a picture: float H×W in 0..1 → uint8 H×W×3."""
    levels = np.rint(np.clip(matte, 0, 1) * 255).astype(np.uint8)
    return np.repeat(levels[..., None], 3, 2)


def _strip(row: Row) -> Image.Image:
    """One row: its label above its tiles."""
    height, width = row.tiles[0].shape[:2]
    scale = min(BOX[0] / height, BOX[1] / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shown = [_resized(tile if tile.ndim == 3 else grey(tile), size) for tile in row.tiles]
    label = 24
    strip = Image.new(
        "RGB",
        (len(shown) * BOX[1] + (len(shown) - 1) * GAP, label + size[1] + 2 * GAP),
        _PAPER,
    )
    draw = ImageDraw.Draw(strip)
    draw.text((0, 2), row.title, _INK, _font(15))
    draw.text((strip.width, 2), row.note, _FAINT, _font(14), anchor="ra")
    for at, tile in enumerate(shown):
        left = at * (BOX[1] + GAP)
        strip.paste(Image.fromarray(tile), (left, label))
        frame = (left, label, left + size[0] - 1, label + size[1] - 1)
        draw.rectangle(frame, outline=(214, 214, 210))
    return strip


def _fitting(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """The text, or as much of its end as fits: file names tell more by theirs."""
    shown = text
    while len(text) > 1 and draw.textlength(shown, _font(14)) > width:
        text = text[1:]
        shown = f"…{text}"
    return shown


def _legend(draw: ImageDraw.ImageDraw, right: int, top: int) -> None:
    """What the two colours are, at the right end of the last column's head."""
    for name, colour in (("missed", _MISSED), ("too much", _TOO_MUCH)):
        draw.text((right, top), name, _FAINT, _font(14), anchor="ra")
        right -= int(draw.textlength(name, _font(14))) + 16
        red, green, blue = map(int, colour)
        draw.rectangle((right, top + 4, right + 10, top + 14), fill=(red, green, blue))
        right -= 12


def _resized(tile: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    shrinks = size[0] < tile.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized: NDArray[np.uint8] = cv2.resize(tile, size, interpolation=how)
    return resized


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
