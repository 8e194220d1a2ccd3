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
ORDERS = 60  # in which labels are placed, of which the best counts


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
    highest = 1.2 * max(p.y for p in points) or 1.0
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
    found = [
        _in_order(places, names, inside, orders.sample(range(len(names)), len(names)))
        for _ in range(ORDERS)
    ]
    return min(found, key=lambda labels: _cost(places, labels))


def _in_order(
    places: Sequence[Place], names: Sequence[str], inside: Box, order: Sequence[int]
) -> list[Box]:
    taken = [Box(x - 6, y - 6, x + 6, y + 6) for x, y in places]
    found = {}
    for index in order:
        at = places[index]
        tried = [
            box
            for box in _places(*at, LETTER * len(names[index]) + 6)
            if (box.left >= inside.left and box.right <= inside.right)
            and (box.top >= inside.top and box.bottom <= inside.bottom)
        ]
        free = [box for box in tried if not any(box.covers(other) for other in taken)]
        plain = [box for box in free if _plain(box, at, places)]
        found[index] = next(iter([*plain, *free, *tried, Box(*at, *at)]))
        taken.append(found[index])
    return [found[index] for index in range(len(places))]


def _cost(places: Sequence[Place], labels: Sequence[Box]) -> float:
    """How far labels are from their points, and much more for each thing that a line crosses."""
    cost = 0.0
    for index, (at, label) in enumerate(zip(places, labels, strict=True)):
        near = label.nearest(*at)
        cost += math.dist(at, near)
        if _plain(label, at, places):
            continue
        others = [*labels[:index], *labels[index + 1 :]]
        others += [Box(x - 5, y - 5, x + 5, y + 5) for x, y in places if (x, y) != at]
        line = [
            (at[0] + (near[0] - at[0]) * part / 20, at[1] + (near[1] - at[1]) * part / 20)
            for part in range(1, 21)
        ]
        cost += 300 * sum(any(math.dist(p, o.nearest(*p)) < 1 for p in line) for o in others)
    return cost


def _places(x: float, y: float, width: float) -> Iterator[Box]:
    """Beside the point, above and below it, then farther and farther away."""
    for away in range(9, 150, 7):
        for down in (0, -away, away):
            for left in (x + 9, x - 9 - width, x - width / 2):
                top = y + down - LINE / 2
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
