"""Silhouettes for procedural scenes: bodies put together from rounded limbs, with hair and fur.

Shapes are drawn in a unit square (x right, y down) as lists of :class:`Part`, and rendered at
twice the size with anti-aliased lines, so that strands thinner than a pixel get their true share
of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Mask = NDArray[np.float32]
Points = NDArray[np.float64]
_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


@dataclass(frozen=True)
class Part:
    """One piece of a body: a closed outline (N×2, unit square) and the index of its material."""

    outline: Points
    material: int


def ellipse(centre: ArrayLike, rx: float, ry: float, angle: float = 0.0) -> Points:
    """Return the outline of an ellipse around ``centre`` (x, y), turned by ``angle`` radians."""
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    px, py = rx * np.cos(t), ry * np.sin(t)
    return np.stack([c * px - s * py, s * px + c * py], -1) + np.asarray(centre)


def limb(start: Points, end: Points, radius: float, taper: float) -> Points:
    """Return a capsule from ``start`` to ``end`` whose radius shrinks by the factor ``taper``."""
    way = end - start
    heading = np.arctan2(way[1], way[0])
    t = np.linspace(np.pi / 2, 3 * np.pi / 2, 16) + heading
    back = start + radius * np.stack([np.cos(t), np.sin(t)], -1)
    front = end + radius * taper * np.stack([np.cos(t + np.pi), np.sin(t + np.pi)], -1)
    return np.concatenate([back, front])


def blob(rng: np.random.Generator, centre: ArrayLike, radius: float, rough: float) -> Points:
    """Draw a closed curve around a centre, with random low harmonics."""
    t = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    r = np.ones_like(t)
    for k in range(2, 7):
        r += rough / k * rng.normal() * np.cos(k * t + rng.uniform(0, 2 * np.pi))
    r = radius * np.clip(r, 0.3, 2)
    stretch = rng.uniform(0.7, 1.4)
    curve = np.stack([r * np.cos(t) * stretch, r * np.sin(t) / stretch], -1)
    return curve + np.asarray(centre)


def _wobble(rng: np.random.Generator, outline: Points, amount: float) -> Points:
    """Take away the ruler's perfection: a smooth displacement of the whole outline."""
    count = len(outline)
    t = np.linspace(0, 2 * np.pi, count, endpoint=False)
    shift = np.zeros_like(outline)
    for k in (1, 2, 3, 5):
        phase = rng.uniform(0, 2 * np.pi, 2)
        shift += amount / k * rng.normal(size=2) * np.cos(k * t[:, None] + phase)
    return outline + shift


def portrait(rng: np.random.Generator) -> list[Part]:
    """Draw head and shoulders, often cut by the lower border; sometimes arms."""
    x = rng.uniform(0.3, 0.7)
    head = rng.uniform(0.08, 0.2)
    y = rng.uniform(0.15, 0.5)
    neck = y + head * 1.25
    wide = head * rng.uniform(1.7, 2.8)
    drop = neck + head * rng.uniform(0.3, 0.7)
    torso = np.array(
        [
            (x - head * 0.45, neck - head * 0.3),
            (x + head * 0.45, neck - head * 0.3),
            (x + head * 0.6, neck + head * 0.15),
            (x + wide * 0.85, drop),
            (x + wide, drop + head * 0.8),
            (x + wide * rng.uniform(0.8, 1.15), 1.1),
            (x - wide * rng.uniform(0.8, 1.15), 1.1),
            (x - wide, drop + head * 0.8),
            (x - wide * 0.85, drop),
            (x - head * 0.6, neck + head * 0.15),
        ]
    )
    parts = [Part(_smooth(torso), 1)]
    if rng.random() < 0.4:
        side = rng.choice([-1, 1])
        elbow = np.array([x + side * wide * rng.uniform(1.0, 1.6), drop + rng.uniform(0.0, 0.4)])
        hand = np.array([x + side * rng.uniform(-0.3, 0.4), rng.uniform(0.2, 0.9)])
        shoulder = np.array([x + side * wide * 0.8, drop + head * 0.4])
        parts.append(Part(limb(shoulder, elbow, head * 0.45, 0.8), 1))
        parts.append(Part(limb(elbow, hand, head * 0.36, 0.75), 2))
    parts.append(Part(ellipse((x, y - head * 0.1), head * 1.02, head * rng.uniform(1.1, 1.5)), 0))
    parts.append(Part(ellipse((x, y), head * 0.8, head * 1.15, rng.normal(0, 0.15)), 2))
    if rng.random() < 0.5:  # long hair beside the face
        length = rng.uniform(0.8, 2.6) * head
        for side in (-1, 1):
            top = np.array([x + side * head * 0.8, y - head * 0.4])
            parts.insert(1, Part(limb(top, top + (side * head * 0.2, length), head * 0.4, 0.8), 0))
    return parts + _features(rng, np.array([x, y]), head)


def _features(rng: np.random.Generator, face: Points, size: float) -> list[Part]:
    """Eyes, mouth and sometimes glasses of a person's face."""
    if rng.random() < 0.25:  # seen from behind, or too far away
        return []
    parts = [
        Part(ellipse(face + (side * size * 0.32, -size * 0.15), size * 0.11, size * 0.06), 3)
        for side in (-1, 1)
    ]
    parts.append(Part(ellipse(face + (0, size * 0.6), size * 0.26, size * 0.07), 3))
    if rng.random() < 0.2:
        bar = np.array([size * 0.65, 0.0])
        middle = face - (0, size * 0.15)
        parts.append(Part(limb(middle - bar, middle + bar, size * 0.13, 1.0), 3))
    return parts


def figure(rng: np.random.Generator) -> list[Part]:
    """Draw a whole person, standing, walking or sitting."""
    hip = np.array([rng.uniform(0.4, 0.6), rng.uniform(0.5, 0.62)])
    tall = rng.uniform(0.26, 0.36)  # from hip to neck
    neck = hip + (rng.normal(0, 0.05), -tall)
    head = tall * rng.uniform(0.2, 0.27)
    broad = tall * rng.uniform(0.26, 0.4)
    parts = []
    spread = rng.uniform(0.02, 0.3)
    for side in (-1, 1):  # two legs with knees
        knee = hip + (side * spread * rng.uniform(0.2, 0.7), tall * rng.uniform(0.4, 0.75))
        foot = knee + (rng.normal(0, 0.08), tall * rng.uniform(0.5, 0.8))
        thick = tall * rng.uniform(0.14, 0.2)
        parts += [Part(limb(hip, knee, thick, 0.8), 1), Part(limb(knee, foot, thick * 0.8, 0.6), 1)]
        parts.append(Part(ellipse(foot + (side * 0.02, 0.01), thick * 0.9, thick * 0.45), 3))
    if rng.random() < 0.3:  # a skirt or a coat
        hem = np.array(
            [hip + (s * rng.uniform(0.1, 0.25), rng.uniform(0.1, 0.35)) for s in (1, -1)]
        )
        waist = np.array([hip + (s * broad * 0.7, -tall * 0.4) for s in (-1, 1)])
        parts.append(Part(np.concatenate([waist, hem]), 0))
    parts.append(Part(limb(hip, neck + (0, tall * 0.2), broad * rng.uniform(0.7, 1), 1.1), 2))
    for side in (-1, 1):
        shoulder = neck + (side * broad * 0.9, tall * 0.2)
        elbow = shoulder + (side * rng.uniform(-0.02, 0.15), rng.uniform(-0.12, 0.16))
        hand = elbow + rng.normal(0, 0.1, 2)
        thick = tall * rng.uniform(0.09, 0.13)
        parts.append(Part(limb(shoulder, elbow, thick, 0.85), 2))
        parts.append(Part(limb(elbow, hand, thick * 0.85, 0.7), int(rng.integers(1, 3))))
    face = neck - (0, head * 1.1)
    parts.append(Part(ellipse(face - (0, head * 0.15), head * 0.95, head * 1.15), 0))
    parts.append(Part(ellipse(face, head * 0.8, head), 1))
    return parts + _features(rng, face, head)


def animal(rng: np.random.Generator) -> list[Part]:
    """Draw an animal from the side: body, neck, head, ears, legs and tail."""
    facing = rng.choice([-1.0, 1.0])
    scale = rng.uniform(0.7, 1.35)
    body = np.array([rng.uniform(0.4, 0.6), rng.uniform(0.45, 0.65)])
    long, tall = 0.24 * scale, rng.uniform(0.1, 0.17) * scale
    head = rng.uniform(0.07, 0.13) * scale
    front = body + (facing * long * 0.8, -tall * 0.3)
    face = front + (facing * rng.uniform(0.02, 0.2) * scale, -rng.uniform(0.05, 0.3) * scale)
    parts = []
    for place in (-0.75, -0.5, 0.5, 0.8):
        hip = body + (facing * long * place, tall * 0.4)
        foot = hip + (rng.normal(0, 0.05) * scale, rng.uniform(0.12, 0.36) * scale)
        parts.append(
            Part(limb(hip, foot, tall * rng.uniform(0.25, 0.45), rng.uniform(0.4, 0.8)), 1)
        )
    tail = body - (facing * long * 0.95, tall * 0.3)
    tip = tail + (-facing * rng.uniform(0.02, 0.25) * scale, rng.uniform(-0.3, 0.25) * scale)
    parts.append(Part(limb(tail, tip, tall * rng.uniform(0.12, 0.4), rng.uniform(0.3, 1.2)), 0))
    parts.append(Part(ellipse(body, long, tall, facing * rng.normal(-0.1, 0.12)), 0))
    parts.append(Part(limb(front, face, tall * rng.uniform(0.5, 0.9), rng.uniform(0.5, 0.9)), 0))
    parts += _head(rng, face, head, facing)
    return parts


def close_up(rng: np.random.Generator) -> list[Part]:
    """Draw an animal's head and chest, filling the picture."""
    face = np.array([rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.55)])
    head = rng.uniform(0.18, 0.34)
    chest = face + (rng.uniform(-0.3, 0.3), rng.uniform(0.45, 0.8))
    parts = [
        Part(
            limb(
                face + (0, head * 0.4), chest, head * rng.uniform(0.8, 1.1), rng.uniform(1.1, 2.0)
            ),
            0,
        )
    ]
    if rng.random() < 0.5:
        rump = face + (rng.choice([-1, 1]) * rng.uniform(0.4, 0.8), rng.uniform(0.1, 0.5))
        parts.insert(
            0, Part(ellipse(rump, head * rng.uniform(1, 2), head * rng.uniform(0.9, 1.6)), 1)
        )
    return parts + _head(rng, face, head, 0.0)


def _head(rng: np.random.Generator, face: Points, size: float, facing: float) -> list[Part]:
    parts = []
    for side in (-1, 1):  # ears: pointed, round or hanging
        root = face + (side * size * rng.uniform(0.45, 0.75), -size * 0.6)
        kind = rng.random()
        if kind < 0.5:
            tip = root + (side * size * rng.uniform(0, 0.4), -size * rng.uniform(0.5, 1.3))
            ear = limb(root, tip, size * rng.uniform(0.25, 0.4), 0.2)
        elif kind < 0.75:
            ear = ellipse(root, size * 0.4, size * 0.42)
        else:
            tip = root + (side * size * rng.uniform(0.2, 0.5), size * rng.uniform(0.5, 1.3))
            ear = limb(root, tip, size * rng.uniform(0.2, 0.35), rng.uniform(0.5, 1.1))
        parts.append(Part(ear, 1))
    if rng.random() < 0.12:  # horns or antlers
        for side in (-1, 1):
            root = face + (side * size * 0.4, -size * 0.7)
            for _ in range(int(rng.integers(1, 4))):
                tip = root + (side * size * rng.uniform(0, 1.4), -size * rng.uniform(0.3, 1.2))
                parts.append(Part(limb(root, tip, size * rng.uniform(0.1, 0.22), 0.7), 2))
                root = tip
    parts.append(Part(ellipse(face, size, size * rng.uniform(0.8, 1.05)), 0))
    muzzle = face + (facing * size * rng.uniform(0.4, 1.0), size * rng.uniform(0.2, 0.5))
    parts.append(
        Part(ellipse(muzzle, size * rng.uniform(0.35, 0.6), size * rng.uniform(0.3, 0.5)), 2)
    )
    for side in (-1, 1):  # eyes, and a nose: what makes a face one object
        eye = face + (side * size * 0.4 + facing * size * 0.2, -size * 0.15)
        parts.append(Part(ellipse(eye, size * 0.12, size * 0.12), 3))
    parts.append(Part(ellipse(muzzle - (0, size * 0.1), size * 0.12, size * 0.09), 3))
    return parts


def thing(rng: np.random.Generator) -> list[Part]:
    """Draw a vessel, a box, a plant or a rounded body, sometimes with a handle or a stem."""
    x, y = rng.uniform(0.35, 0.65), rng.uniform(0.4, 0.65)
    size = rng.uniform(0.14, 0.36)
    kind = rng.integers(4)
    if kind == 0:  # a vessel: superellipse with a rim
        power = rng.uniform(2, 8)
        t = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        body = np.stack([np.cos(t), np.sin(t)], -1)
        body = np.sign(body) * np.abs(body) ** (2 / power) * (size * rng.uniform(0.6, 1.2), size)
        narrow = 1 + rng.uniform(-0.4, 0.4) * body[:, 1:2] / size
        body = body * np.concatenate([narrow, np.ones_like(narrow)], 1) + (x, y)
        parts = [Part(body, 0), Part(ellipse((x, y - size * 0.9), size * 0.7, size * 0.18), 2)]
        if rng.random() < 0.6:
            handle = ellipse((x + rng.choice([-1, 1]) * size, y), size * 0.5, size * 0.45)
            parts.insert(0, Part(handle, 1))
        return parts
    if kind == 1:  # a plant: leaves from one place
        foot = np.array([x, rng.uniform(0.8, 1.05)])
        parts = []
        for _ in range(int(rng.integers(6, 26))):
            angle = rng.normal(-np.pi / 2, 0.7)
            length = size * rng.uniform(0.8, 2.4)
            tip = foot + length * np.array([np.cos(angle), np.sin(angle)])
            parts.append(
                Part(limb(foot, tip, size * rng.uniform(0.02, 0.12), 0.3), int(rng.integers(3)))
            )
        return parts
    if kind == 2:  # a crowd of rounded bodies
        return [
            Part(blob(rng, rng.normal((x, y), 0.1), size * rng.uniform(0.4, 0.9), 0.3), k % 4)
            for k in range(int(rng.integers(2, 5)))
        ]
    return [Part(blob(rng, (x, y), size, rng.uniform(0.1, 0.7)), 0)]


def body(rng: np.random.Generator) -> list[Part]:
    """Draw a random silhouette: about as many people as animals, the rest things."""
    kind = rng.choice(5, p=(0.24, 0.14, 0.18, 0.24, 0.2))
    parts = (portrait, figure, animal, close_up, thing)[kind](rng)
    tilt, zoom = rng.normal(0, 0.12), rng.uniform(0.8, 1.25)
    c, s = zoom * np.cos(tilt), zoom * np.sin(tilt)
    turn = np.array([[c, -s], [s, c]])
    centre = np.array([0.5, 0.55])
    return [
        Part(
            _wobble(rng, (p.outline - centre) @ turn.T + centre, rng.uniform(0, 0.012)), p.material
        )
        for p in parts
    ]


def _smooth(corners: Points) -> Points:
    """Chaikin's corner cutting, three times."""
    for _ in range(3):
        ahead = np.roll(corners, -1, 0)
        corners = np.stack([0.75 * corners + 0.25 * ahead, 0.25 * corners + 0.75 * ahead], 1)
        corners = corners.reshape(-1, 2)
    return corners


def fill(outlines: list[Points], height: int, width: int) -> Mask:
    """Return the anti-aliased coverage of closed outlines in pixels, float32 H×W in 0..1."""
    canvas = np.zeros((height, width), np.uint8)
    for outline in outlines:
        points = np.round(outline * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(canvas, [points], 255, cv2.LINE_AA, _SHIFT)
    return canvas.astype(np.float32) * np.float32(1 / 255)


def strands(
    rng: np.random.Generator,
    outline: Points,
    count: int,
    length: float,
    stiffness: float,
    canvas: NDArray[np.uint8],
) -> None:
    """Draw ``count`` curved strands that leave an outline (pixels), into a uint8 coverage canvas.

    ``length`` is the mean length in pixels; ``stiffness`` 0..1 is how straight and how parallel
    they grow.
    """
    if count < 1:
        return
    nodes = 7
    ahead, behind = np.roll(outline, -1, 0), np.roll(outline, 1, 0)
    tangent = ahead - behind
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], -1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    if np.sum(outline[:, 0] * ahead[:, 1] - ahead[:, 0] * outline[:, 1]) < 0:
        normal = -normal
    pick = rng.integers(0, len(outline), count)
    along = rng.random((count, 1))
    root = outline[pick] * along + ahead[pick] * (1 - along)
    angle = np.arctan2(normal[pick, 1], normal[pick, 0])
    angle += rng.normal(0, 0.7 - 0.45 * stiffness) + rng.normal(0, 0.55 - 0.4 * stiffness, count)
    bend = rng.normal(0, 0.5 * (1 - stiffness), count) + rng.normal(0, 0.08)
    step = length * rng.gamma(3.0, 1 / 3.0, count) / (nodes - 1)
    root = root - 2.0 * step[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1) * 0.5
    headings = angle[:, None] + bend[:, None] * np.arange(nodes - 1)[None]
    steps = step[:, None, None] * np.stack([np.cos(headings), np.sin(headings)], -1)
    curves = np.concatenate([root[:, None], root[:, None] + np.cumsum(steps, 1)], 1)
    curves = np.round(curves * (1 << _SHIFT)).astype(np.int32)
    bright = rng.integers(90, 256, 4)
    for k in range(4):  # four tones: strands of different thickness
        cv2.polylines(
            canvas,
            list(curves[k::4]),
            False,
            int(bright[k]),
            1 + int(rng.random() < 0.3),
            cv2.LINE_AA,
            _SHIFT,
        )
