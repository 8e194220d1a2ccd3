"""Composition of training images: RSSN of the GFM paper and AIM's type-wise augmentation.

RSSN (section "RSSN: A Novel Composition Route" of the GFM paper, its Pipeline 1) takes away what
tells a pasted foreground from its new background: the colours of the old background in its edges,
resolution, sharpness and noise. Each step is a plain function; :func:`compose_rssn` runs them.

    python -m training.composition --image llama.jpg --alpha llama.png --background hills.jpg \\
        --output sheet.png

draws a contact sheet of every step.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from matter_sdk.sdk import MatterError, write_picture
from matter_sdk.sdk.command_line import Parser, UsageError, positive, run, whole
from matter_sdk.training.data.layers import Image, Layers, Mask, compose

KERNELS = (20, 30, 40, 50, 60)
"""Sides of the averaging kernels of the large-aperture effect, in pixels of the pictures."""


@dataclass(frozen=True)
class Rssn:
    """Settings of RSSN; the paper's by default. A probability of 0 switches a step off, as in the
    paper's Table 4."""

    denoise: float = 0.5  # probability, for the foreground and for the background by itself
    blur: float = 0.5  # probability
    noise: float = 0.5  # probability
    kernels: tuple[int, ...] = KERNELS
    sigma: float = 10.0  # of the noise, in levels of 0..255


def type_wise(settings: Rssn, kind: str) -> Rssn:
    """Return the settings for an image of this kind (AIM, section 4.2).

    Photographs without a salient object mostly have bokeh, so the background of every NS image is
    blurred.
    """
    return replace(settings, blur=1.0) if kind == "NS" else settings


def estimate_layers(image: Image, alpha: Mask, method: str = "ml") -> tuple[Image, Image]:
    """Estimate foreground and background colours of a photograph, defined everywhere.

    Args:
        image: uint8 H×W×3 RGB.
        alpha: H×W in 0..1.
        method: ``cf``, the closed form that the paper cites (Levin et al. 2007), or ``ml``, the
            multi-level solver of the same kind of problem (Germer et al. 2020), a fast one. Both
            are PyMatting's.

    Returns:
        Two uint8 H×W×3 pictures, such that ``compose`` of them gives about the image.
    """
    threads_after_fork()
    from pymatting import estimate_foreground_cf, estimate_foreground_ml

    solve = {"cf": estimate_foreground_cf, "ml": estimate_foreground_ml}[method]
    colours = image.astype(np.float64) / 255
    layers = solve(colours, alpha.astype(np.float64), return_background=True)
    foreground, background = (_levels(layer * 255) for layer in layers)
    return foreground, background


def threads_after_fork() -> None:
    """Let PyMatting be used in data workers; call it before PyMatting is imported.

    Numba's first choice on Linux, GNU's OpenMP, cannot be used after a fork. Numba is imported only
    here, as that takes a second.
    """
    import numba

    if numba.config.THREADING_LAYER == "default":  # type: ignore[attr-defined]
        numba.config.THREADING_LAYER = "forksafe"  # type: ignore[attr-defined]


def denoise(image: Image, strength: float = 5.0) -> Image:
    """Remove a photograph's noise, uint8 H×W×3.

    The paper uses BM3D, but the packages of it are for non-commercial use only or under the GPL;
    OpenCV's non-local means, BM3D's forerunner, is the nearest under a free licence that suits us.

    Args:
        image: uint8 H×W×3.
        strength: about the standard deviation of the noise that goes, in levels. 5 is what good
            cameras leave; fur survives it.
    """
    # Searches 15 pixels around: OpenCV's default of 21 takes twice as long, and came out further
    # from the clean picture on a photograph with added noise of 3, 5 and 8.
    return cv2.fastNlMeansDenoisingColored(image, None, strength, strength, 7, 15)


def blur(image: Image, kernel: int) -> Image:
    """Blur as a large aperture does: the mean of ``kernel``×``kernel`` pixels; uint8 H×W×3.

    Even kernels have no centre; the anchor is the pixel right and below of it.
    """
    anchor = (kernel // 2, kernel // 2)
    return cv2.blur(image, (kernel, kernel), anchor=anchor, borderType=cv2.BORDER_REFLECT)


def add_noise(rng: np.random.Generator, image: Image, sigma: float = 10.0) -> Image:
    """Add Gaussian noise, independent in each pixel and channel; clipped to 0..255, uint8 H×W×3."""
    return _levels(image + np.float32(sigma) * rng.standard_normal(image.shape, np.float32))


def fit(
    background: Image,
    size: tuple[int, int],
    rng: np.random.Generator | None = None,
    share: float = 1.0,
) -> Image:
    """Cut a part of a background with the shape of ``size`` = (h, w), and resize it to that.

    Args:
        background: uint8 H×W×3.
        size: height and width of the result.
        rng: for a random place; the middle without.
        share: sides of the part, of those of the largest that there is.
    """
    height, width = background.shape[:2]
    scale = min(height / size[0], width / size[1]) * share
    part = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    where = (0.5, 0.5) if rng is None else rng.random(2)
    top, left = round(where[0] * (height - part[0])), round(where[1] * (width - part[1]))
    return resize(background[top : top + part[0], left : left + part[1]], size)


def resize(picture: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resize a picture or mask to ``size`` = (h, w): average if it shrinks, else interpolate."""
    if picture.shape[:2] == size:
        return picture
    shrinks = picture.shape[0] * picture.shape[1] > size[0] * size[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(picture, size[::-1], interpolation=how)


def compose_rssn(
    rng: np.random.Generator,
    foreground: Image,
    background: Image,
    alpha: Mask,
    settings: Rssn | None = None,
    *,
    scale: float = 1.0,
    kind: str = "SO",
    category: str = "",
) -> Layers:
    """Compose by RSSN: Pipeline 1 of the GFM paper, after the foreground's estimation.

    Args:
        rng: decides each step; the draws are the same in number whatever they decide.
        foreground: uint8 H×W×3 RGB, defined everywhere.
        background: uint8 H×W×3 RGB.
        alpha: H×W in 0..1.
        settings: probabilities and strengths; the paper's by default.
        scale: size of these pictures relative to those that the paper's kernels are for (shorter
            side 1080 and more): a crop of 640 that was resized to 320 has 0.5, and its blur is as
            wide in the scene as theirs.
        kind: passed on.
        category: passed on.

    Returns:
        Layers whose image may be noisy, and foreground and background as they were composed.
    """
    settings = settings or Rssn()
    clean, clean_behind, soft, noisy = rng.random(4) < (
        settings.denoise,
        settings.denoise,
        settings.blur,
        settings.noise,
    )
    kernel = round(float(rng.choice(settings.kernels)) * scale)
    if clean:
        foreground = denoise(foreground)
    if clean_behind:
        background = denoise(background)
    if soft:
        background = blur(background, max(1, kernel))
    image = compose(foreground, background, alpha)
    if noisy:
        image = add_noise(rng, image, settings.sigma)
    return Layers(image, alpha, foreground, background, kind=kind, category=category)


def _levels(values: NDArray[Any]) -> Image:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


# --- the contact sheet --------------------------------------------------------------------------


def steps(
    rng: np.random.Generator, image: Image, alpha: Mask, background: Image, kernel: int
) -> list[tuple[str, Image]]:
    """Take every step of RSSN; return their names and pictures, as the contact sheet shows them.

    Args:
        rng: of the noise.
        image: uint8 H×W×3 RGB, the photograph.
        alpha: H×W in 0..1, its matte.
        background: uint8 H×W×3 RGB.
        kernel: side of the averaging kernel.
    """
    foreground, _ = estimate_layers(image, alpha)
    clean, clean_behind = denoise(foreground), denoise(background)
    soft = blur(clean_behind, kernel)
    composite = compose(clean, soft, alpha)
    return [
        ("Photograph", image),
        ("Alpha matte", cv2.cvtColor(_levels(alpha * 255), cv2.COLOR_GRAY2RGB)),
        ("Estimated foreground", foreground),
        ("Foreground, denoised", clean),
        ("New background", background),
        (f"Background, denoised and blurred by {kernel}", soft),
        ("Composite", composite),
        ("Composite, with noise", add_noise(rng, composite)),
    ]


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser("training.composition", "Draw a contact sheet of RSSN's steps.")
    parser.add_argument("--image", type=Path, required=True, help="photograph of a subject")
    parser.add_argument("--alpha", type=Path, required=True, help="its alpha matte")
    parser.add_argument("--background", type=Path, required=True, help="another photograph")
    parser.add_argument("--output", type=Path, required=True, help="PNG or JPEG to write")
    parser.add_argument("--kernel", type=positive, choices=KERNELS, default=40, help="of the blur")
    parser.add_argument("--seed", type=whole, default=0, help="of the noise")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the contact sheet of RSSN's steps; return the command's exit status."""
    from matter_sdk.training.data.datasets import DatasetError

    return run(
        "training.composition",
        lambda: _draw(_arguments(arguments)),
        refused=lambda: (DatasetError, MatterError),
    )


def _draw(options: argparse.Namespace) -> int:
    from matter_sdk.training.data.datasets import Item, read
    from matter_sdk.training.evaluation import sheets

    if not cv2.haveImageWriter(str(options.output)):
        raise UsageError(f"--output {options.output} is no picture; expected .png or .jpg")
    subject = read(Item(options.image.stem, options.image, options.alpha))
    behind = read(Item(options.background.stem, options.background)).image
    photograph, alpha = subject.image, subject.matte
    background = fit(behind, alpha.shape)
    rng = np.random.default_rng(options.seed)
    names, tiles = zip(*steps(rng, photograph, alpha, background, options.kernel), strict=True)
    page = sheets.sheet("RSSN", options.image.name, names, [sheets.Row("", "", tiles)])
    print(write_picture(options.output, np.asarray(page)[..., ::-1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
