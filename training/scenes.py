"""Procedural scenes with a known alpha matte, for training and verification without a dataset.

A body with hair, fur, soft or transparent edges stands before a background that is more often
than not out of focus. Colours come from noise, dead leaves, built structures and small crops of
the photographs that scikit-image carries. A scene follows from its seed alone.

>>> image, alpha = scene(7, (288, 512))
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from matter_sdk.training.data.layers import Image, Layers, Mask, compose
from matter_sdk.training.data.plate_pairs import plate
from matter_sdk.training.data.silhouettes import Part, body, fill, strands, thing
from matter_sdk.training.data.textures import noise, palette, pattern, texture


def scene(seed: int, size: tuple[int, int]) -> tuple[Image, Mask]:
    """Draw the scene of a seed at ``size`` = (height, width).

    Returns:
        image uint8 H×W×3 RGB, alpha float32 H×W in 0..1.
    """
    drawn = layers(seed, size)
    return drawn.image, drawn.alpha


def layers(
    seed: int, size: tuple[int, int], with_plate: bool = False, decoys: bool = False
) -> Layers:
    """Draw a scene as :func:`scene` does, and return all that it was composed of.

    Args:
        seed: the scene.
        size: height and width.
        with_plate: whether to add a plate (:mod:`training.data.plate_pairs`); the rest stays the
            same.
        decoys: whether other bodies, as sharp as the subject, often stand in the background and in
            the plate too: then only the plate tells the subject from them.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    parts = _place(rng, height, width)
    alpha = _matte(rng, parts, height, width)
    foreground = _paint(rng, parts, height, width)
    background, empty = _backdrop(rng, alpha, foreground, height, width)
    if decoys and rng.random() < 0.6:
        others = _place(rng, height, width)
        there = _matte(rng, others, height, width)
        painted = _paint(rng, others, height, width)
        background, empty = (compose(painted, behind, there) for behind in (background, empty))
    image = _camera(rng, compose(foreground, background, alpha))
    second = _camera(rng, plate(rng, empty)) if with_plate else None
    return Layers(image, alpha, foreground, background, second)


def held_thing(rng: np.random.Generator, side: int) -> tuple[Image, Mask]:
    """Draw a thing with a sharp edge: its colours, defined everywhere, and alpha, side×side."""
    parts = [Part(part.outline * side, part.material) for part in thing(rng)]
    alpha = fill([part.outline for part in parts], side, side)
    return _paint(rng, parts, side, side), alpha


def _place(rng: np.random.Generator, height: int, width: int) -> list[Part]:
    """One body, sometimes two or three, in pixels; an empty list once in a while.

    Bodies fit into the picture, stand far away, or are so near that the borders cut them.
    """
    if rng.random() < 0.02:
        return []
    parts: list[Part] = []
    near, far = ((0.8, 1.35), (1.35, 2.3), (0.45, 0.8))[rng.choice(3, p=(0.5, 0.38, 0.12))]
    for index in range(int(rng.choice((1, 2, 3), p=(0.8, 0.15, 0.05)))):
        side = min(height, width) * rng.uniform(near, far) * (0.7 if index else 1.0)
        spread = 0.28 if index else 0.12
        left = width / 2 - side / 2 + rng.normal(0, spread) * (width - 0.4 * side)
        top = height / 2 - side / 2 + rng.normal(0.03, 0.08) * height
        parts += [Part(part.outline * side + (left, top), part.material) for part in body(rng)]
    return parts


def _matte(rng: np.random.Generator, parts: list[Part], height: int, width: int) -> Mask:
    twice = [part.outline * 2 for part in parts]
    union = fill(twice, 2 * height, 2 * width)
    canvas = (union * 255).astype(np.uint8)
    # smooth, fur, long hair, flyaway strands; now and then two of them
    styles = rng.choice(4, 2 if rng.random() < 0.3 else 1, p=(0.28, 0.37, 0.2, 0.15))
    for style in styles if parts else ():
        _grow(rng, int(style), canvas, min(height, width) * 2)
    alpha = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    alpha = alpha.astype(np.float32) * np.float32(1 / 255)
    if rng.random() < 0.3:  # out of focus, all of it or one side
        sigma = rng.gamma(2.0, 0.9) * min(height, width) / 288 + 0.4
        soft = cv2.GaussianBlur(alpha, (0, 0), sigma)
        if rng.random() < 0.5:
            where = np.clip(noise(rng, height, width, 0.0), 0, 1)
            alpha += (soft - alpha) * where
        else:
            alpha = soft
    if parts and rng.random() < 0.06:  # a part of it is glass, gauze, a wing
        part = parts[rng.integers(len(parts))]
        where = cv2.GaussianBlur(fill([part.outline], height, width), (0, 0), 1.5)
        alpha *= 1 - where * np.clip(
            rng.uniform(0.3, 0.8) + 0.1 * noise(rng, height, width, 0.5), 0, 1
        )
    return np.clip(alpha, 0, 1)


def _grow(rng: np.random.Generator, style: int, canvas: NDArray[np.uint8], reach: float) -> None:
    """Fur (1), long hair (2) or single strands (3) from the outlines in a coverage canvas of twice
    the scene's size; ``reach`` is the canvas's shorter side."""
    if style == 0:
        return
    height, width = canvas.shape
    contours, _ = cv2.findContours(
        (canvas > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    for contour in contours:
        outline = contour[:, 0].astype(np.float64)
        # The picture's border cuts the body; no hair grows from the cut.
        inside = (outline > 1) & (outline < (width - 2, height - 2))
        outline = outline[inside.all(1)]
        if len(outline) < 30:
            continue
        if style == 2:  # only the upper part of the body grows long hair
            cut = np.quantile(outline[:, 1], rng.uniform(0.25, 0.7))
            outline = outline[outline[:, 1] <= cut]
        density, length = (
            (rng.uniform(0.3, 1.5), rng.uniform(0.005, 0.05) * reach),
            (rng.uniform(0.2, 1.0), rng.uniform(0.05, 0.16) * reach),
            (rng.uniform(0.02, 0.15), rng.uniform(0.03, 0.15) * reach),
        )[style - 1]
        count = int(min(density * len(outline), 2500))
        strands(rng, outline, count, length, rng.uniform(0, 1), canvas)


def _paint(rng: np.random.Generator, parts: list[Part], height: int, width: int) -> Image:
    """Foreground colours, defined everywhere: the hair's material lies under the parts."""
    zoom = rng.uniform(0.6, 2.0)
    materials = [texture(rng, height, width, zoom) for _ in range(3)]
    if rng.random() < 0.6:  # one coat: the materials of an animal resemble each other
        share = rng.uniform(0.5, 0.95)
        mean = materials[0].mean((0, 1))
        for k in (1, 2):
            shift = (mean - materials[k].mean((0, 1))) * share
            materials[k] = np.clip(materials[k] + shift, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:  # blotches: a piebald coat, a printed shirt, a face half in the sun
        other = texture(rng, height, width, zoom)
        hardness = rng.uniform(0.5, 8)
        where = np.clip(0.5 + hardness * noise(rng, height, width, rng.uniform(0, 0.5)), 0, 1)
        materials = [compose(other, material, where) for material in materials]
    for k in range(3):
        if rng.random() < 0.17:  # spots, stripes, checks: coats and clothes
            materials[k] = compose(
                _ink(rng, materials[k]), materials[k], pattern(rng, height, width)
            )
    dark = np.clip(palette(rng, 1)[0] * 0.3, 0, 255).astype(np.uint8)
    image = materials[0].astype(np.float32)
    light = rng.uniform(0, 2 * np.pi)
    for part in parts:
        box, mask = _within(part, height, width)
        if not mask.size:
            continue
        colour = np.float32(dark) if part.material == 3 else materials[part.material][box]
        image[box] += (colour - image[box]) * mask[..., None]
    if parts:
        # Shade as if the silhouette were inflated: darker where it turns from the light.
        union = fill([part.outline for part in parts], height, width)
        reach = min(height, width)
        height_map = cv2.GaussianBlur(union, (0, 0), reach * rng.uniform(0.02, 0.08))
        slope = cv2.Sobel(height_map, cv2.CV_32F, 1, 0) * np.float32(np.cos(light))
        slope += cv2.Sobel(height_map, cv2.CV_32F, 0, 1) * np.float32(np.sin(light))
        slope *= rng.uniform(0.1, 0.5) / max(float(np.abs(slope).max()), 1e-6)
        image *= 1 + slope[..., None]
        if rng.random() < 0.25:  # the sun behind it draws a bright rim
            rim = np.clip(union - cv2.GaussianBlur(union, (0, 0), reach * 0.012), 0, 1) * 2
            image += (
                rim[..., None]
                * np.float32(rng.uniform(40, 160))
                * (0.5 + 0.5 * np.sign(slope[..., None]))
            )
    if rng.random() < 0.25:  # half of it lies in the shade of something, with a soft or hard edge
        shade = np.clip(
            rng.uniform(0.7, 6) * noise(rng, height, width, rng.uniform(0, 0.4)) + 0.5, 0, 1
        )
        image *= (1 - rng.uniform(0.3, 0.75) * shade)[..., None]
    tones = 1 + rng.uniform(0.02, 0.12) * noise(rng, height, width, 0.9)
    painted = np.clip(image * (tones * _light(rng, height, width))[..., None], 0, 255)
    painted = painted.astype(np.uint8)
    if rng.random() < 0.35:  # nearer and farther parts of the subject are out of focus too
        soft = cv2.GaussianBlur(painted, (0, 0), min(height, width) * rng.uniform(0.003, 0.02))
        painted = compose(soft, painted, np.clip(0.5 + noise(rng, height, width, 0.2), 0, 1))
    return painted


def _within(part: Part, height: int, width: int) -> tuple[tuple[slice, slice], Mask]:
    """The part's box in the picture, and its coverage there."""
    low = np.clip(np.floor(part.outline.min(0)).astype(int) - 1, 0, (width, height))
    high = np.clip(np.ceil(part.outline.max(0)).astype(int) + 2, low, (width, height))
    wide, tall = (high - low).tolist()
    mask = fill([part.outline - low], tall, wide) if wide and tall else np.zeros((0, 0), np.float32)
    return (slice(low[1], high[1]), slice(low[0], high[0])), mask


def _ink(rng: np.random.Generator, material: Image) -> Image:
    """Another tone of a material, much darker or brighter."""
    mean = float(material.mean())
    gain = rng.uniform(0.1, 0.5) if mean > 90 or rng.random() < 0.5 else rng.uniform(1.8, 3.5)
    return np.clip(material * np.float32(gain) + (12 if gain > 1 else 0), 0, 255).astype(np.uint8)


def _light(rng: np.random.Generator, height: int, width: int) -> Mask:
    """Uneven light: a smooth field of gains around 1, H×W."""
    strength = rng.uniform(0, 0.45) if rng.random() < 0.6 else 0.0
    return np.exp(strength * noise(rng, height, width, rng.uniform(0, 0.4))).astype(np.float32)


def _backdrop(
    rng: np.random.Generator, alpha: Mask, foreground: Image, height: int, width: int
) -> tuple[Image, Image]:
    """The background, with the subject's shadow and without."""
    zoom = rng.uniform(0.6, 2.5)
    image = texture(rng, height, width, zoom)
    for _ in range(int(rng.integers(0, 3))):  # ground and wall, near and far
        other = texture(rng, height, width, rng.uniform(0.6, 2.5))
        line = height * rng.uniform(0.25, 0.9) + rng.normal(0, 0.15) * np.arange(width)
        line = line + rng.uniform(0, 0.05) * height * noise(rng, 2, width, 0.6)[0]
        edge = rng.uniform(0.5, 20)
        below = np.clip((np.arange(height)[:, None] - line[None]) / edge + 0.5, 0, 1)
        image = compose(other, image, below.astype(np.float32))
    if rng.random() < 0.35:  # large things behind: houses, rocks, furniture
        for _ in range(int(rng.integers(1, 4))):
            other = texture(rng, height, width, rng.uniform(0.6, 2.5))
            image = compose(other, image, _structure(rng, height, width))
    image = np.clip(image * _light(rng, height, width)[..., None], 0, 255).astype(np.uint8)
    blurred = rng.random() < 0.6
    if blurred and rng.random() < 0.6:  # things that are not the subject: far, and out of focus
        for _ in range(int(rng.integers(1, 4))):
            side = min(height, width) * rng.uniform(0.2, 0.6)
            corner = rng.uniform(-0.2, 0.9, 2) * (width, height)
            parts = [Part(p.outline * side + corner, p.material) for p in body(rng)]
            for part in parts:
                mask = fill([part.outline], height, width)
                image = compose(np.broadcast_to(palette(rng, 1)[0], image.shape), image, mask)
    if rng.random() < 0.12:  # camouflage: the background takes the subject's mean colour
        shift = foreground[::4, ::4].mean((0, 1)) - image[::4, ::4].mean((0, 1))
        image = np.clip(image + shift * rng.uniform(0.5, 1.0), 0, 255).astype(np.uint8)
    shadow = None
    if rng.random() < 0.3:  # the subject's shadow
        reach = min(height, width)
        offset = np.array(
            [[1, 0, rng.normal(0, 0.06) * reach], [0, 1, rng.uniform(0, 0.1) * reach]], np.float32
        )
        shadow = cv2.warpAffine(alpha, offset, (width, height))
        shadow = cv2.GaussianBlur(shadow, (0, 0), reach * rng.uniform(0.01, 0.06))
        shadow = 1 - rng.uniform(0.2, 0.6) * shadow[..., None]
    empty = _lens(rng, image, blurred)
    return (empty if shadow is None else (empty * shadow).astype(np.uint8)), empty


def _structure(rng: np.random.Generator, height: int, width: int) -> Mask:
    """Coverage of something with straight sides that stands on the ground or hangs in."""
    foot = rng.uniform(-0.1, 1.1) * width
    half = rng.uniform(0.05, 0.5) * width
    top = rng.uniform(-0.2, 0.8) * height
    lean, roof = rng.uniform(0.1, 1.0), rng.normal(0, 0.3) * half
    corners = [(foot - half, 1.2 * height), (foot - half * lean + roof, top)]
    corners += [(foot + half * lean + roof, top), (foot + half, 1.2 * height)]
    outline = np.array(corners)
    if rng.random() < 0.25:
        outline[:, 1] = height - outline[:, 1]
    return fill([outline], height, width)


def _lens(rng: np.random.Generator, image: Image, blurred: bool) -> Image:
    """The background as a lens that is focused on the subject shows it."""
    height, width = image.shape[:2]
    if blurred:
        kernel = max(3, int(min(height, width) * rng.uniform(0.02, 0.13)))
        soft = cv2.blur(cv2.blur(image, (kernel, kernel)), (kernel // 2 + 1, kernel // 2 + 1))
        if rng.random() < 0.3:  # the ground near the subject is as sharp as the subject
            start = rng.uniform(0.5, 0.9)
            ramp = np.clip((np.arange(height) / height - start) / 0.25, 0, 1).astype(np.float32)
            image = compose(image, soft, np.broadcast_to(ramp[:, None], (height, width)))
        else:
            image = soft
    elif rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5))
    return image


def _camera(rng: np.random.Generator, image: Image) -> Image:
    """Exposure, white balance, softness, noise and compression."""
    gains = rng.uniform(0.8, 1.35) * (1 + rng.normal(0, 0.05, 3))
    shot = np.clip(image * gains.astype(np.float32), 0, 255)
    if rng.random() < 0.3:
        shot = cv2.GaussianBlur(shot, (0, 0), rng.uniform(0.3, 1.0))
    if rng.random() < 0.5:
        grain = rng.standard_normal(shot.shape, np.float32)
        shot = np.clip(shot + grain * np.float32(rng.gamma(2.0, 2.0)), 0, 255)
    developed: Image = np.round(shot).astype(np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.integers(40, 96))
        _, packed = cv2.imencode(".jpg", developed, [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded: Any = cv2.imdecode(packed, cv2.IMREAD_COLOR)
        return decoded
    return developed
