"""Textures for procedural scenes: coloured noise, dead leaves, and crops of photographs.

Everything is uint8 RGB and follows from the random generator that is passed in.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Mask = NDArray[np.float32]

# Photographs that the scikit-image package carries, whose crops serve as textures.
PHOTOGRAPHS = ("astronaut", "brick", "camera", "chelsea", "coffee", "grass", "gravel", "rocket")
_TILE = 320


@functools.cache
def photographs() -> tuple[Image, ...]:
    """Load scikit-image's photographs, uint8 RGB."""
    from skimage import data

    images = []
    for name in PHOTOGRAPHS:
        image = getattr(data, name)()
        images.append(np.stack([image] * 3, -1) if image.ndim == 2 else image[..., :3])
    return tuple(images)


def palette(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Draw ``count`` colours, float32 in 0..255, with the muted saturation of real scenes."""
    # Most of the world is brown, skin, straw and leaf; the rest is anything.
    centre = rng.normal(16, 12) if rng.random() < 0.5 else rng.uniform(0, 180)
    hue = centre + rng.normal(0, 20, count)
    saturation = np.clip(rng.gamma(2.0, 30.0, count), 0, 255)
    value = rng.uniform(15, 250, count)
    hsv = np.stack([hue % 180, saturation, value], -1)[None].astype(np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0].astype(np.float32)


def noise(rng: np.random.Generator, height: int, width: int, roughness: float) -> Mask:
    """Sum octaves of smooth noise: zero mean and unit deviation, float32 H×W.

    ``roughness`` 0 keeps the coarsest octave only, 1 gives all of them equal weight.
    """
    longest = max(height, width)
    total = np.zeros((2, 2), np.float32)
    cells, weight = 2, 1.0
    while cells < longest and weight > 0.02:  # from octave to octave, so that few are large
        shape = (max(2, cells * height // longest), max(2, cells * width // longest))
        total = cv2.resize(total, shape[::-1], interpolation=cv2.INTER_CUBIC)
        total += weight * rng.standard_normal(shape, np.float32)
        cells, weight = cells * 2, weight * roughness
    total = cv2.resize(total, (width, height), interpolation=cv2.INTER_CUBIC)
    total -= total.mean()
    return total / max(float(total.std()), 1e-6)


def _coloured_noise(rng: np.random.Generator) -> Image:
    low, high, tint = palette(rng, 3)
    blend = 0.5 + 0.28 * noise(rng, _TILE, _TILE, rng.uniform(0.2, 0.95))[..., None]
    image = low + (high - low) * blend
    if rng.random() < 0.5:
        image += (tint - image) * np.clip(0.3 * noise(rng, _TILE, _TILE, 0.6), 0, 1)[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


def _streaks(rng: np.random.Generator) -> Image:
    """Fine strands in one direction: fur, grass, wood, cloth."""
    grain = rng.standard_normal((_TILE, _TILE)).astype(np.float32)
    length = int(rng.integers(7, 31))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    reach = length / 2 * np.array([np.cos(angle), np.sin(angle)])
    centre = length / 2
    cv2.line(
        kernel,
        tuple(np.round(centre - reach).astype(int).tolist()),
        tuple(np.round(centre + reach).astype(int).tolist()),
        1.0,
    )
    grain = cv2.filter2D(grain, -1, kernel / max(float(kernel.sum()), 1.0))
    grain = grain / max(float(grain.std()), 1e-6) * rng.uniform(0.08, 0.25)
    patches = 0.25 * noise(rng, _TILE, _TILE, 0.5)
    low, high = palette(rng, 2)
    image = low + (high - low) * np.clip(0.5 + grain + patches, 0, 1)[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


def _dead_leaves(rng: np.random.Generator) -> Image:
    """Overlapping discs and polygons with a power law of sizes, whose statistics are those of
    natural images (Lee, Mumford and Huang, IJCV 2001)."""
    colours = palette(rng, 24)
    image = np.empty((_TILE, _TILE, 3), np.uint8)
    image[:] = colours[0].astype(np.uint8)
    smallest = rng.uniform(3, 14)
    for _ in range(int(rng.integers(80, 260))):
        radius = min(smallest * rng.random() ** -0.6, 120)
        centre = rng.uniform(0, _TILE, 2)
        colour = colours[rng.integers(24)].tolist()
        if rng.random() < 0.5:
            cv2.circle(
                image, tuple(centre.astype(int).tolist()), int(radius), colour, -1, cv2.LINE_AA
            )
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
            corners = centre + radius * np.stack([np.cos(angles), np.sin(angles)], -1)
            cv2.fillPoly(image, [corners.astype(np.int32)], colour, cv2.LINE_AA)
    grain = noise(rng, _TILE, _TILE, 0.9)[..., None] * rng.uniform(2, 14)
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def _structure(rng: np.random.Generator) -> Image:
    """Built things: walls, shelves, stripes, windows."""
    colours = palette(rng, 12)
    image = np.empty((_TILE, _TILE, 3), np.float32)
    image[:] = colours[0]
    axis = rng.integers(2)
    position = 0.0
    while position < _TILE:
        step = rng.uniform(8, 90)
        band = slice(int(position), int(position + step))
        colour = colours[rng.integers(12)]
        if axis:
            image[:, band] = colour
        else:
            image[band] = colour
        position += step
    for _ in range(int(rng.integers(0, 14))):
        x, y = rng.uniform(-20, _TILE, 2).astype(int)
        w, h = rng.uniform(8, 140, 2).astype(int)
        cv2.rectangle(
            image,
            (int(x), int(y)),
            (int(x + w), int(y + h)),
            colours[rng.integers(12)].tolist(),
            -1,
        )
    image *= 1 + 0.06 * noise(rng, _TILE, _TILE, 0.7)[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


def _photograph(rng: np.random.Generator) -> Image:
    """A crop small enough to be a texture and not an object, turned, mirrored and recoloured."""
    source = photographs()[rng.integers(len(PHOTOGRAPHS))]
    side = int(rng.uniform(40, 200))
    y = int(rng.integers(0, source.shape[0] - side))
    x = int(rng.integers(0, source.shape[1] - side))
    crop = np.rot90(source[y : y + side, x : x + side], int(rng.integers(4)))
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    image = cv2.resize(np.ascontiguousarray(crop), (_TILE, _TILE), interpolation=cv2.INTER_CUBIC)
    return recolour(rng, image, 1.0)


def recolour(rng: np.random.Generator, image: Image, strength: float) -> Image:
    """Change hue, saturation, contrast and brightness at random."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.int16)
    hsv[..., 0] = (hsv[..., 0] + int(rng.normal(0, 14 * strength))) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(1 - 0.6 * strength, 1 + 0.4 * strength), 0, 255)
    rgb = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)
    gain = rng.uniform(1 - 0.45 * strength, 1 + 0.35 * strength)
    return cv2.convertScaleAbs(rgb, alpha=gain, beta=rng.uniform(-30, 30) * strength)


def pattern(rng: np.random.Generator, height: int, width: int) -> Mask:
    """Draw spots, stripes or a check with wavering edges, float32 H×W in 0..1."""
    reach = min(height, width)
    across, along = np.meshgrid(
        np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    )
    bend = reach * rng.uniform(0, 0.12)
    across += bend * noise(rng, height, width, 0.4)
    along += bend * noise(rng, height, width, 0.4)
    angle, period = rng.uniform(0, np.pi), reach * rng.uniform(0.03, 0.25)
    turned = (np.cos(angle) * across + np.sin(angle) * along) * np.float32(2 * np.pi / period)
    other = (np.cos(angle) * along - np.sin(angle) * across) * np.float32(2 * np.pi / period)
    kind = rng.integers(3)
    wave = np.sin(turned)
    if kind:
        wave *= np.sin(other)
    if kind == 2:
        wave = np.sign(wave)
    hardness, threshold = rng.uniform(1, 6), rng.uniform(-0.4, 0.4)
    return np.clip(0.5 + hardness * (wave - threshold), 0, 1).astype(np.float32)


_MAKERS = (_coloured_noise, _streaks, _dead_leaves, _structure, _photograph)
_SHARES = (0.2, 0.2, 0.15, 0.15, 0.3)


@functools.cache
def _bank(count: int = 400) -> tuple[Image, ...]:
    """Textures that scenes draw from; made once a process, always the same."""
    rng = np.random.default_rng(20211)
    return tuple(_MAKERS[rng.choice(len(_MAKERS), p=_SHARES)](rng) for _ in range(count))


def texture(rng: np.random.Generator, height: int, width: int, zoom: float = 1.0) -> Image:
    """Draw a texture, uint8 height×width×3 RGB; ``zoom`` above 1 shows it magnified."""
    bank = _bank()
    tile = bank[rng.integers(len(bank))]
    if rng.random() < 0.5:
        tile = tile[:, ::-1]
    if rng.random() < 0.5:
        tile = tile.transpose(1, 0, 2)
    # An affine map with mirrored borders: any size from one tile, without a visible seam.
    angle, scale = rng.uniform(0, 360), zoom * rng.uniform(0.8, 1.6)
    matrix = cv2.getRotationMatrix2D((_TILE / 2, _TILE / 2), angle, scale)
    matrix[:, 2] += (width / 2 - _TILE / 2, height / 2 - _TILE / 2)
    matrix[:, 2] += rng.uniform(-60, 60, 2)
    image = cv2.warpAffine(
        np.ascontiguousarray(tile), matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101
    )
    return recolour(rng, image, 0.8)
