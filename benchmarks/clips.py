"""Synthetic clips with a known alpha: a drawn scene whose subject moves before a still background.

Every frame is composed anew from the subject's colours and alpha, both moved by the same fractions
of a pixel, and has camera noise of its own.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Alpha = NDArray[np.float32]
Frame = NDArray[np.uint8]
Size = tuple[int, int]
LOOP = 24  # frames after which a file's clip begins again


@dataclass(frozen=True)
class Clip:
    """``frames``: uint8 H×W×3 BGR. ``alphas``: float32 H×W, the truth. ``sway``: pixels by which
    the subject moves to either side."""

    seed: int
    sway: float
    frames: tuple[Frame, ...]
    alphas: tuple[Alpha, ...]


@functools.lru_cache(maxsize=4)  # two sizes of two lengths, wanted for every network
def clip(
    seed: int,
    size: Size = (288, 512),
    count: int = 48,
    sway: float = 20.0,
    noise: float = 2.0,
    rest: float = 1 / 3,
) -> Clip:
    """Draw the clip of a scene's seed (``training.scenes``).

    The subject sways once to the right and once to the left, resting in between: it stands still in
    a share of the frames, ``rest``. ``noise``: standard deviation of the camera's, in levels.
    """
    from matter_sdk.kernels import alpha_blend
    from matter_sdk.training.scenes import layers

    drawn = layers(seed, size)
    rng = np.random.default_rng(seed)
    height, width = size
    frames, alphas = [], []
    for at in range(count):
        move = np.array([[1, 0, sway * _path(at / count, rest)], [0, 1, 0]], np.float32)
        alpha = cv2.warpAffine(drawn.alpha, move, (width, height), flags=cv2.INTER_LINEAR)
        colours = cv2.warpAffine(
            drawn.foreground, move, (width, height), borderMode=cv2.BORDER_REPLICATE
        )
        image = alpha_blend(colours, drawn.background, alpha).astype(np.float32)
        image += rng.normal(0, noise, image.shape)
        frames.append(np.rint(np.clip(image, 0, 255)).astype(np.uint8)[..., ::-1].copy())
        alphas.append(np.clip(alpha, 0, 1))
    return Clip(seed, sway, tuple(frames), tuple(alphas))


def moving_subject(size: Size) -> tuple[Frame, ...]:
    """Return the ``LOOP`` frames of which a file's clip is made: the subject sways by a
    sixteenth of their width."""
    return clip(3, size, LOOP, sway=size[1] / 16).frames


def write_clip(path: Path, size: Size, frames: int) -> None:
    """Write so many frames of the moving subject to a video file."""
    from matter_sdk.sdk.video import VideoWriter

    moving = moving_subject(size)
    with VideoWriter(path, size) as writer:
        for number in range(frames):
            writer.write(moving[number % LOOP])


def _path(time: float, rest: float) -> float:
    """Where a subject is in 0..1 of the clip: to 1, to -1, and back, with three rests before."""
    places = (0, 0, 1, 1, -1, -1, 0)
    times = [at // 2 / 3 + at % 2 * rest / 3 for at in range(len(places))]
    for (begin, start), (end, goal) in itertools.pairwise(zip(times, places, strict=True)):
        if time <= end and begin < end:
            eased = (1 - np.cos(np.pi * (time - begin) / (end - begin))) / 2
            return float(start + (goal - start) * eased)
    return 0.0
