"""How good mattes are on photographs with masks: engines beside other programs' mattes.

    python -m benchmarks photographs --engine gfm.engine --mattes mediapipe=mattes/mediapipe SET...

A SET is a folder of ``images`` and ``masks`` (layout ``masks`` of ``training.data.datasets``). Of a
set that ``training/data/held_out.txt`` lists only the held-out pictures count. ``--mattes`` takes
what another program wrote, ``FOLDER/SET/NAME.png``; MediaPipe and ISNet run beside Matter in
``python -m benchmarks frames --baselines``.

IoU is that of alpha ≥ 0.5. SAD, MAD and Grad are ``training.evaluation.metrics``'s, means over the
pictures; where a mask says nothing (128), the truth is taken for the matte.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import hardware, page
from matter_sdk.training.data import datasets
from matter_sdk.training.data.datasets import Dataset, Sample
from matter_sdk.training.data.layers import Mask
from matter_sdk.training.evaluation.metrics import gradient_error

WIDTH = 1200  # pixels of a sheet
MEASURES = ("IoU", "SAD", "MAD", "Grad")

Matting = Callable[[Dataset, Sample], Mask | None]
"""The matte of a picture; None where there is none to compare."""


def of_engine(path: Path, threads: int) -> Matting:
    """Return an engine's mattes, as an application gets them."""
    from matter_sdk.sdk import Matter

    matter = Matter(path, threads=threads)
    return of_function(lambda frame: matter(frame).alpha)


def of_function(matte: Callable[[NDArray[np.uint8]], Mask]) -> Matting:
    """Return the mattes of what takes uint8 H×W×3 BGR and gives alpha, H×W."""
    return lambda _, sample: matte(np.ascontiguousarray(sample.image[..., ::-1]))


def of_folder(folder: Path) -> Matting:
    """Return what another program wrote: ``FOLDER/SET/NAME.png``."""

    def read(dataset: Dataset, sample: Sample) -> Mask | None:
        stored = cv2.imread(str(folder / dataset.name / f"{sample.name}.png"), cv2.IMREAD_GRAYSCALE)
        return None if stored is None else stored.astype(np.float32) / np.float32(255)

    return read


def measured(alpha: Mask, mask: Mask) -> dict[str, float]:
    """Measure a matte against a mask, both H×W in 0..1."""
    known = np.ones(mask.shape, bool)
    values = np.round(mask * 255)
    if np.isin(values, (0, 128, 255)).all():
        known = values != 128
    alpha = np.where(known, alpha, mask)
    mine, true = alpha >= 0.5, mask >= 0.5
    either = (mine | true)[known].sum()
    error = np.abs(alpha - mask)[known]
    return {
        "IoU": float((mine & true)[known].sum() / either) if either else 1.0,
        "SAD": float(error.sum() / 1000),
        "MAD": float(error.mean()),
        "Grad": gradient_error(alpha.astype(np.float64), mask.astype(np.float64)),
    }


def open_set(folder: Path) -> Dataset:
    """Open a set.

    Raises:
        DatasetError: the folder is no set of photographs with masks.
    """
    dataset = datasets.open(folder, "masks", "test")
    dataset.require("image", "alpha")
    return dataset


def table(
    sets: Sequence[Path], contestants: dict[str, Matting], every: int = 1
) -> dict[str, dict[str, dict[str, float]]]:
    """Measure: set → contestant → mean of each measure, and the number of pictures.

    Raises:
        DatasetError: a folder is no set of photographs with masks.
    """
    result: dict[str, dict[str, dict[str, float]]] = {}
    for folder in sets:
        dataset = open_set(folder)
        rows: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
        for index in range(0, len(dataset), every):
            sample = dataset.read(index)
            for name, matting in contestants.items():
                alpha = matting(dataset, sample)
                if alpha is not None:
                    rows[name].append(measured(alpha, sample.matte))
        result[dataset.name] = {
            name: {
                **{key: float(np.mean([row[key] for row in of])) for key in MEASURES},
                "pictures": len(of),
            }
            for name, of in rows.items()
            if of
        }
    return result


def markdown(result: dict[str, dict[str, dict[str, float]]]) -> str:
    """Write the table, a row for each set."""
    names = list(dict.fromkeys(name for row in result.values() for name in row))
    lines = []
    for name, row in result.items():
        count = max(int(facts["pictures"]) for facts in row.values())
        lines.append([name, str(count), *(_cell(row.get(one)) for one in names)])
    return " / ".join(MEASURES) + "\n\n" + page.table(["set", "pictures", *names], lines)


def _cell(row: dict[str, float] | None) -> str:
    if row is None:
        return "–"
    return f"{row['IoU']:.3f} / {row['SAD']:.2f} / {row['MAD']:.3f} / {row['Grad']:.1f}"


def sheet(sets: Sequence[Dataset], matting: Matting, count: int, height: int = 150) -> NDArray[Any]:
    """Draw every n-th picture of each set, unchosen, beside its subject on green.

    Args:
        sets: to take pictures from, as many from each.
        matting: of the subjects.
        count: pictures in all.
        height: of each picture at most, in pixels.

    Returns:
        uint8 H×W×3 RGB, ``WIDTH`` wide.
    """
    lines: list[NDArray[Any]] = []
    row: list[NDArray[Any]] = []
    each = max(1, count // len(sets))
    for dataset, index in [(one, index) for one in sets for index in _spread(len(one), each)]:
        sample = dataset.read(index)
        alpha = matting(dataset, sample)
        if alpha is None:
            continue
        shown = np.array([60, 170, 110]) * (1 - alpha[..., None]) + sample.image * alpha[..., None]
        pair = np.hstack([sample.image, shown.astype(np.uint8)])
        size = round(pair.shape[1] * height / pair.shape[0]), height
        row.append(cv2.resize(pair, size, interpolation=cv2.INTER_AREA))
        line = np.hstack(row)
        if line.shape[1] >= WIDTH:  # a full row: to the common width
            size = WIDTH, round(height * WIDTH / line.shape[1])
            lines.append(cv2.resize(line, size, interpolation=cv2.INTER_AREA))
            row = []
    if row:
        line = np.hstack(row)
        white = ((0, 0), (0, WIDTH - line.shape[1]), (0, 0))
        lines.append(np.pad(line, white, constant_values=255))
    return np.vstack(lines)


def _spread(length: int, count: int) -> range:
    """Return ``count`` numbers below ``length`` at equal distances, fewer where there are fewer."""
    step = max(1, length // count)
    return range(step // 2, min(length, step * count), step)


def report(
    sets: Sequence[Path],
    engines: Sequence[Path],
    mattes: dict[str, Path],
    *,
    threads: int,
    every: int,
    output: Path,
    given: Sequence[str],
    picture: Path | None = None,
) -> list[Path]:
    """Measure and write the page; returns the files.

    ``picture``: a JPEG of 24 pictures, with the first contestant's mattes.
    """
    contestants = {path.stem: of_engine(path, threads) for path in engines}
    contestants |= {name: of_folder(folder) for name, folder in mattes.items()}
    facts = hardware.begin(given)
    result = table(sets, contestants, every)
    paths = page.write(output, "photographs", facts, markdown(result), {"sets": result})
    if picture is not None:
        opened = [open_set(folder) for folder in sets]
        drawn = sheet(opened, next(iter(contestants.values())), 24)
        quality = [cv2.IMWRITE_JPEG_QUALITY, 82]
        picture.write_bytes(cv2.imencode(".jpg", drawn[..., ::-1], quality)[1].tobytes())
        paths.append(picture)
    return paths
