"""What `kernels.composite` makes of hair, drawn beside the truth.

Two 1080p frames with a known matte are put over another, bright background. The "network's answer"
is the known matte averaged to 512×288: what that loses is what the kernels have to win back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.page import table
from matter_sdk.kernels import composite

Image = NDArray[np.uint8]
HEIGHT, WIDTH = 1080, 1920
MATTE = (288, 512)
CROP = (165, 220)
ZOOM = 2
MODES: dict[str, dict[str, Any]] = {  # of composite
    "plain blending": {"guided": False, "clean": False},
    "foreground estimate": {"guided": False, "clean": True},
    "guided, foreground estimate": {"guided": True, "clean": True},
}


class Shot(NamedTuple):
    """A frame, and what it was made of."""

    name: str
    frame: Image
    foreground: Image
    alpha: NDArray[np.float32]
    corner: tuple[int, int]  # of the part that is shown


def hairy_matte() -> NDArray[np.float32]:
    """Draw a head with curved strands of one to three pixels, twice as large and averaged."""
    random, scale = np.random.default_rng(5), 2
    canvas = np.zeros((HEIGHT * scale, WIDTH * scale), np.uint8)
    centre = np.array([WIDTH * 0.5, HEIGHT * 0.75]) * scale
    axes = np.array([WIDTH * 0.18, HEIGHT * 0.38]) * scale
    cv2.ellipse(canvas, centre.astype(int).tolist(), axes.astype(int).tolist(), 0, 0, 360, 255, -1)
    for _ in range(900):
        bearing, length = random.uniform(np.pi, 2 * np.pi), random.uniform(0.1, 0.6)
        bend, steps = random.normal(0, 0.5), np.linspace(0.9, 1 + length, 24)
        turn = bearing + bend * (steps - 0.9) ** 2
        line = centre + axes * steps[:, None] * np.stack([np.cos(turn), np.sin(turn)], -1)
        thick = int(random.integers(1, 5))
        cv2.polylines(canvas, [line.astype(np.int32)], False, 255, thick, cv2.LINE_AA)
    small = cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255


def before_a_screen() -> Shot:
    """Draw strands in the colours of scikit-image's cat before a green screen, with noise."""
    from skimage import data

    random = np.random.default_rng(1)
    fur = data.chelsea()[:250, 60:400, ::-1]
    fur = cv2.resize(fur, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    subject = (fur * 0.7 + random.normal(0, 5, (HEIGHT, WIDTH, 1))).clip(0, 255)
    screen = np.array([70, 190, 60]) * np.linspace(0.85, 1.15, HEIGHT)[:, None, None]
    alpha = hairy_matte()
    frame = screen + alpha[..., None] * (subject - screen) + random.normal(0, 2, subject.shape)
    return Shot(
        "green screen", rounded(frame), rounded(subject), alpha, (HEIGHT * 2 // 5, WIDTH * 3 // 5)
    )


def before_a_room() -> Shot:
    """Draw a procedural scene of `training.scenes`: hair before a cluttered picture."""
    from matter_sdk.training.scenes import layers

    drawn = layers(14, (HEIGHT, WIDTH))
    foreground = np.ascontiguousarray(drawn.foreground[..., ::-1])
    frame = np.ascontiguousarray(drawn.image[..., ::-1])
    return Shot("scene", frame, foreground, drawn.alpha, (10, 480))


def rounded(values: NDArray[Any]) -> Image:
    """Round to bytes."""
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def bright() -> Image:
    """Draw the new background: a bright wall, a little lighter to one side."""
    light = np.linspace(225, 250, WIDTH)[None, :, None] * np.array([1.0, 0.99, 0.96])
    return rounded(np.broadcast_to(light, (HEIGHT, WIDTH, 3)))


def draw(path: Path) -> str:
    """Write the picture, whose name ends with .jpg or .png.

    Returns:
        A table of mean absolute errors to the truth where alpha is neither 0 nor 1, in levels of
        0..255.
    """
    behind = bright()
    rows, errors = [], []
    for shot in (before_a_screen(), before_a_room()):
        share = shot.alpha[..., None]
        truth = rounded(behind + share * (shot.foreground.astype(np.float32) - behind))
        answer = cv2.resize(shot.alpha, MATTE[::-1], interpolation=cv2.INTER_AREA)
        pictures = {"frame": shot.frame}
        for name, options in MODES.items():
            pictures[name] = composite(shot.frame, behind, answer, **options)
        pictures["truth"] = truth
        soft = (shot.alpha > 0) & (shot.alpha < 1)
        gaps = {
            name: float(np.abs(pictures[name].astype(np.float32) - truth)[soft].mean())
            for name in MODES
        }
        errors.append([shot.name, *(f"{gaps[name]:.1f}" for name in MODES)])
        cells = []
        for name, picture in pictures.items():
            top, left = shot.corner
            part = picture[top : top + CROP[0], left : left + CROP[1]]
            part = cv2.resize(part, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST)
            title = np.full((34, part.shape[1], 3), 32, np.uint8)
            text = name + (f": {gaps[name]:.1f}" if name in gaps else "")
            cv2.putText(title, text, (8, 24), 0, 0.7, (255, 255, 255), 1, cv2.LINE_AA)
            cells.append(np.vstack((title, part)))
        rows.append(np.hstack(cells))
    quality = [cv2.IMWRITE_JPEG_QUALITY, 85]
    path.write_bytes(cv2.imencode(path.suffix, np.vstack(rows), quality)[1].tobytes())
    return table(["frame", *MODES], errors)
