"""A plot of labelled points as SVG: small, and readable without a library."""

from __future__ import annotations

import html
import math
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 600, 420  # of a panel
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 40, 52  # margins around its axes
LETTER, LINE = 6.4, 14  # pixels that a label takes: a letter's width, a line's height
ORDERS = 100  # in which labels are placed, of which the best counts
ANGLES = (0, 180, -90, 90, -30, 30, -150, 150, -60, 60, -120, 120, -75, 75, -105, 105)


Place = tuple[float, float]


class Point(NamedTuple):
    """``x`` above 0, ``y`` not below it, and the colour of both point and label."""

    name: str
    x: float
    y: float
    colour: str = "#1d4ed8"


class Box(NamedTuple):
    """A rectangle that nothing else may cover."""

    left: float
    top: float
    right: float
    bottom: float

    def covers(self, other: Box) -> bool:
        """Tell whether the two share a pixel."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """Return the place in it that is nearest to a point."""
        return min(max(x, self.left), self.right), min(max(y, self.top), self.bottom)


def draw(panels: Sequence[tuple[str, Sequence[Point]]], across: str, up: str) -> str:
    """Draw panels beside each other, with the same axes.

    Args:
        panels: title and points of each; one point or more in all.
        across: name of the x axis, which is logarithmic.
        up: name of the y axis, which begins at 0.

    Returns:
        SVG.
    """
    points = [point for _, given in panels for point in given]
    least, most = min(p.x for p in points) / 1.3, max(p.x for p in points) * 1.3
    highest = 1.3 * max(p.y for p in points) or 1.0
    parts = [
        _panel(at * WIDTH, title, given, (least, most), highest, across, up)
        for at, (title, given) in enumerate(panels)
    ]
    size = f'width="{len(panels) * WIDTH}" height="{HEIGHT}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{"".join(parts)}</svg>\n'
    )


def _panel(
    shift: float,
    title: str,
    points: Sequence[Point],
    range_x: tuple[float, float],
    highest: float,
    across: str,
    up: str,
) -> str:
    inner = Box(shift + LEFT, TOP, shift + WIDTH - RIGHT, HEIGHT - BOTTOM)
    begin, end = map(math.log, range_x)

    def x(value: float) -> float:
        share = (math.log(value) - begin) / (end - begin)
        return inner.left + share * (inner.right - inner.left)

    def y(value: float) -> float:
        return inner.bottom - value / highest * (inner.bottom - inner.top)

    lines = [_text(shift + LEFT, TOP - 16, title, weight="bold")]
    for value in _steps_of_ten(*range_x):
        lines.append(_line(x(value), inner.top, x(value), inner.bottom))
        lines.append(_text(x(value), inner.bottom + 18, f"{value:g}", anchor="middle"))
    for value in _even_steps(highest):
        lines.append(_line(inner.left, y(value), inner.right, y(value)))
        lines.append(_text(inner.left - 8, y(value) + 4, f"{value:g}", anchor="end"))
    middle = (inner.left + inner.right) / 2, (inner.top + inner.bottom) / 2
    lines.append(_text(middle[0], HEIGHT - 12, across, anchor="middle"))
    turned = f' transform="rotate(-90 {shift + 18:g} {middle[1]:g})"'
    lines.append(_text(shift + 18, middle[1], up, anchor="middle", more=turned))
    places = [(x(point.x), y(point.y)) for point in points]
    labels = place(places, [point.name for point in points], inner)
    for point, at, label in zip(points, places, labels, strict=True):
        if not _plain(label, at, places):
            lines.append(_line(*at, *label.nearest(*at), colour=point.colour))
        circle = f'cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="4.5"'
        lines.append(f'<circle {circle} fill="{point.colour}"/>\n')
        lines.append(_text(label.left, label.bottom - 3, point.name, colour=point.colour))
    return "".join(lines)


def _plain(label: Box, at: Place, places: Sequence[Place]) -> bool:
    """Tell whether a label stands so near to its point that nobody takes it for another's."""

    def distance(place: Place) -> float:
        return math.dist(place, label.nearest(*place))

    return distance(at) <= LINE and all(
        distance(other) > 1.6 * distance(at) for other in places if other != at
    )


def place(places: Sequence[Place], names: Sequence[str], inside: Box) -> list[Box]:
    """Find a place for each label, near its point, over no point and no other label.

    Labels choose one after the other. Of many orders the one counts whose labels are nearest.

    Args:
        places: of the points.
        names: their labels.
        inside: where the labels have to stay.
    """
    orders = random.Random(0)
    tried = [
        _in_order(places, names, inside, orders.sample(range(len(names)), len(names)))
        for _ in range(ORDERS)
    ]
    return min(tried, key=lambda found: found[0])[1]


def _in_order(
    places: Sequence[Place], names: Sequence[str], inside: Box, order: Sequence[int]
) -> tuple[float, list[Box]]:
    """Place labels in an order; return a cost, and them.

    The cost is how far they are from their points, and much more for what a line crosses.
    """
    points = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in places]
    found: dict[int, Box] = {}
    drawn: list[Box] = []
    cost = 0.0
    for index in order:
        at = places[index]
        solid = [*found.values(), *points[:index], *points[index + 1 :]]
        chosen, penalty = Box(*at, *at), 1e5  # where there is no room at all
        for box in _places(*at, LETTER * len(names[index]) + 6):
            within = inside.left <= box.left and box.right <= inside.right
            if not within or box.top < inside.top or box.bottom > inside.bottom:
                continue
            line = [] if _plain(box, at, places) else _along(at, box.nearest(*at))
            if any(box.covers(other) for other in solid):
                continue
            crossed = any(one.covers(other) for one in line for other in (*solid, *drawn))
            if not crossed and not any(box.covers(other) for other in drawn):
                chosen, penalty = box, 10.0 * bool(line)
                break
            if penalty > 1e3:
                chosen, penalty = box, 1e3
        found[index] = chosen
        if not _plain(chosen, at, places):
            drawn += _along(at, chosen.nearest(*at))
        cost += penalty + math.dist(at, chosen.nearest(*at))
    return cost, [found[index] for index in range(len(places))]


def _along(begin: Place, end: Place) -> list[Box]:
    """Cover a line with small boxes."""
    steps = max(2, int(math.dist(begin, end) / 3))
    at = [
        (
            begin[0] + (end[0] - begin[0]) * step / steps,
            begin[1] + (end[1] - begin[1]) * step / steps,
        )
        for step in range(steps)
    ]
    return [Box(x - 1, y - 1, x + 1, y + 1) for x, y in at]


def _places(x: float, y: float, width: float) -> Iterator[Box]:
    """Beside the point, above and below it, then all around, farther and farther away."""
    for away in range(9, 170, 8):
        for angle in ANGLES if away > 9 else ANGLES[:4]:
            across = away * math.cos(math.radians(angle))
            top = y + away * math.sin(math.radians(angle)) - LINE / 2
            left = x + across - width * (0.5 if abs(across) < 1 else across < 0)
            yield Box(left, top, left + width, top + LINE)


def _steps_of_ten(least: float, most: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between two values."""
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    values = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    return [value for value in values if least <= value <= most]


def _even_steps(highest: float) -> list[float]:
    """Five or more even steps from 0."""
    step = next(step for step in reversed(_steps_of_ten(highest / 1e3, highest / 4)))
    return [step * at for at in range(int(highest / step) + 1)]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = "#e5e7eb") -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}"/>\n'


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    weight: str = "normal",
    colour: str = "#374151",
    more: str = "",
) -> str:
    look = f'text-anchor="{anchor}" font-weight="{weight}" fill="{colour}"{more}'
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{html.escape(text)}</text>\n'
