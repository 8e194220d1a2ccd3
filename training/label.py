"""``python -m training.label``: masks for photographs that have none, by networks that agree.

    python -m training.label PHOTOGRAPHS --weights first.safetensors second.safetensors \\
        --output SETS/portraits

Every network sees every picture at several sizes, as it is and mirrored. Where nearly all of these
mattes say the same the mask is 0 or 255; elsewhere it is 128, the unknown band of a trimap. A
picture with too wide a band is left out. ``--output`` is a dataset in the ``masks`` layout, for a
recipe's ``[[mix]]`` with ``labels = "trimap"``.

Exit status: 0 done, 2 something is not as expected, said in one line.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from matter_sdk.sdk import command_line
from matter_sdk.sdk.command_line import Parser, UsageError, path
from matter_sdk.sdk.files import replacing
from matter_sdk.training import networks
from matter_sdk.training.data import datasets
from matter_sdk.training.data.layers import Image

SHORT_SIDES = (288, 384, 480)
"""Heights of a landscape frame, or widths of a portrait, that networks see a picture at."""

# A mean matte from here to its complement is undecided.
_UNDECIDED = 0.2
# The band's least half width, as a share of the picture's shorter side.
_BAND = 0.006
# Of the picture, undecided at most, or it is left out.
_MOST = 0.11


def trimap(mattes: Sequence[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Return 0, 128 and 255 where mattes of one picture say background, nothing sure, foreground.

    Args:
        mattes: each in 0..1, all H×W.
    """
    mean = np.mean(mattes, axis=0)
    reach = 2 * max(1, round(_BAND * min(mean.shape))) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    inside = cv2.erode((mean > 1 - _UNDECIDED).astype(np.uint8), disc)
    outside = cv2.erode((mean < _UNDECIDED).astype(np.uint8), disc)
    return np.where(inside, 255, np.where(outside, 0, 128)).astype(np.uint8)


def sure(mask: NDArray[np.uint8]) -> bool:
    """Tell whether a mask's band is narrow enough, and anything is foreground."""
    return bool((mask == 255).any() and (mask == 128).mean() < _MOST)


class Labeller:
    """Networks that label together.

    Args:
        weights: our checkpoints, which say which network they are of.

    Raises:
        EvaluationError, CheckpointError, UnknownNetwork: see ``training.evaluation.systems``.
    """

    def __init__(self, weights: Sequence[Path]) -> None:
        from matter_sdk.training.evaluation import systems

        self._systems = [
            systems.open_checkpoint(systems.Checkpoint.of(file), sizes)
            for file in weights
            for sizes in map(_shapes, SHORT_SIDES)
        ]

    def label(self, image: Image) -> NDArray[np.uint8]:
        """Return the :func:`trimap` of a picture, uint8 H×W×3 RGB."""
        frame = np.ascontiguousarray(image[..., ::-1])
        mirrored = np.ascontiguousarray(frame[:, ::-1])
        nothing = np.full(frame.shape[:2], 128, np.uint8)
        mattes = [system.matte(frame, nothing) for system in self._systems]
        mattes += [system.matte(mirrored, nothing)[:, ::-1] for system in self._systems]
        return trimap(mattes)


def _shapes(side: int) -> list[tuple[int, int]]:
    """A square, a portrait and a landscape size, of multiples of 32."""
    long = 32 * round(side * 16 / 9 / 32)
    return [(side, side), (long, side), (side, long)]


def run(photographs: Path, weights: Sequence[Path], output: Path) -> tuple[int, int]:
    """Label a folder's ``images/``; return how many were labelled, and how many left out."""
    dataset = datasets.open(photographs, "masks")
    if output.exists():
        raise UsageError(f"{output} exists; remove it, or name another folder as --output")
    labeller = Labeller(weights)
    images, masks = output / "images", output / "masks"
    images.mkdir(parents=True)
    masks.mkdir()
    kept = 0
    for number, item in enumerate(dataset.items):
        print(f"\r{number + 1} of {len(dataset)}", end="", file=sys.stderr, flush=True)
        mask = labeller.label(dataset.read(number).image)
        if item.image is None or not sure(mask):
            continue
        kept += 1
        shutil.copyfile(item.image, images / item.image.name)
        with replacing(masks / f"{item.name}.png") as file:
            file.write(cv2.imencode(".png", mask)[1].tobytes())
    print(file=sys.stderr)
    return kept, len(dataset) - kept


def expected() -> tuple[type[Exception], ...]:
    """Errors that say that something given is not as expected."""
    from matter_sdk.training.checkpoints import CheckpointError
    from matter_sdk.training.evaluation.pictures import EvaluationError

    return datasets.DatasetError, EvaluationError, CheckpointError, networks.UnknownNetwork


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""

    def command() -> int:
        parser = Parser("training.label", "Label photographs by networks that agree.")
        parser.add_argument("photographs", type=path, help="a folder with images/")
        parser.add_argument("--weights", type=path, nargs="+", required=True, metavar="FILE")
        parser.add_argument("--output", type=path, required=True, help="a new folder")
        given = parser.parse_args(arguments)
        kept, left = run(given.photographs, given.weights, given.output)
        print(f"{given.output}: {kept} pictures labelled, {left} left out as unsure")
        return 0

    return command_line.run(
        "training.label", command, refused=expected, interrupted="an incomplete folder is left"
    )


if __name__ == "__main__":
    command_line.start(main)
