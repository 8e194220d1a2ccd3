"""Draw the worst mattes of each system, and those of all systems side by side."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matter_sdk.training.evaluation import sheets, tables
from matter_sdk.training.evaluation.judge import bgr
from matter_sdk.training.evaluation.pictures import Picture, Pictures
from matter_sdk.training.evaluation.tables import Result

if TYPE_CHECKING:
    from matter_sdk.training.evaluation.systems import System


def draw(
    systems: Sequence[System],
    results: Mapping[str, Sequence[Result]],
    pictures: Pictures,
    count: int,
    output: Path,
) -> list[Path]:
    """A contact sheet of each system's worst pictures, and one of them all beside each other.

    Mattes are made again, since keeping them all would take memory by the number of pictures.
    """
    paths = []
    for system, (title, some) in zip(systems, results.items(), strict=True):
        worst = tables.worst(some, count)
        page = sheets.sheet(
            f"{title}: the worst {len(worst)} of {len(some)}",
            f"{pictures.name} · mean SAD {tables.means(some)['sad']:.2f}",
            ("picture", "truth", "prediction", sheets.DIFFERENCE),
            _rows(system, worst, pictures),
        )
        paths.append(output / f"worst-{re.sub(r'[^A-Za-z0-9.]+', '-', title)}.png")
        sheets.write(paths[-1], page)
    if len(systems) > 1:
        first = next(iter(results.values()))
        worst = tables.worst(first, count)
        page = sheets.sheet(
            f"Side by side: the first one's worst {len(worst)} of {len(first)}",
            pictures.name,
            ("picture", *(["plate"] if pictures.plates else []), "truth", *results),
            _beside(systems, results, worst, pictures),
        )
        paths.append(output / "side-by-side.png")
        sheets.write(paths[-1], page)
    return paths


def _rows(system: System, worst: Sequence[Result], pictures: Pictures) -> Iterator[Any]:
    for place, result in enumerate(worst, 1):
        picture = pictures.read(result.index)
        alpha = _matte(system, picture)
        shown = {name: _shown(name, result) for name in ("sad", "mse", "grad", "conn")}
        title = f"{place}. {picture.name} · {shown.pop('sad')}"
        note = " · ".join([f"{picture.kind} {picture.category}".strip(), *shown.values()])
        tiles = (picture.image, picture.alpha, alpha, sheets.difference(alpha, picture.alpha))
        yield sheets.Row(title, note, tiles)


def _beside(
    systems: Sequence[System],
    results: Mapping[str, Sequence[Result]],
    worst: Sequence[Result],
    pictures: Pictures,
) -> Iterator[Any]:
    for place, result in enumerate(worst, 1):
        picture = pictures.read(result.index)
        mattes = [_matte(system, picture) for system in systems]
        note = " · ".join(_shown("sad", some[result.index]) for some in results.values())
        plate = [] if picture.plate is None else [picture.plate]
        tiles: list[NDArray[Any]] = [picture.image, *plate, picture.alpha, *mattes]
        yield sheets.Row(f"{place}. {picture.name}", note, tuple(tiles))


def _matte(system: System, picture: Picture) -> NDArray[np.float32]:
    plate = None if picture.plate is None else bgr(picture.plate)
    return system.matte(bgr(picture.image), picture.trimap, plate)


def _shown(name: str, result: Result) -> str:
    return f"{tables.MEASURES[name][0]} {tables.number(name, result.measures[name])}"
