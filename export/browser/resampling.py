"""``kernels/include/resample.h`` in ONNX operators: a picture's side beside the network's.

The picture's side is known only when the graph runs, the network's when it is made. As there, an
axis is cut into units by the greatest common divisor of the two, and weights are whole numbers.
Work goes along rows in memory: what lies across is transposed, which runtimes do fast for matrices.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from matter_sdk.export.browser.nodes import Nodes


class Axis(NamedTuple):
    """A side that is resampled: from ``source`` to ``output`` pixels, whole scalars of the graph.

    Attributes:
        source: how many pixels there are.
        output: how many there shall be.
        pixel: units of one of the source's: ``output`` over the common divisor.
        step: units of one of the output's: ``source`` over it.
    """

    source: str
    output: str
    pixel: str
    step: str

    def back(self) -> Axis:
        """The other way."""
        return Axis(self.output, self.source, self.step, self.pixel)


def axis(nodes: Nodes, side: str, length: int) -> Axis:
    """From a side of the picture, whole scalar ``side``, to the network's."""
    divisors = nodes.whole([d for d in range(1, length + 1) if length % d == 0])
    divides = nodes("Equal", nodes("Mod", side, divisors), nodes.whole(0))
    common = nodes("ReduceMax", nodes("Where", divides, divisors, nodes.whole(1)), keepdims=0)
    output = nodes.whole(length)
    step, pixel = (nodes("Div", one, common) for one in (side, output))
    return Axis(side, output, pixel, step)


def limited(nodes: Nodes, axis: Axis) -> Axis:
    """The same where the side shrinks; where it would grow it stays as long as it is."""
    grows, one = nodes("Less", axis.source, axis.output), nodes.whole(1)
    output = nodes("Min", axis.source, axis.output)
    pixel, step = (nodes("Where", grows, one, units) for units in (axis.pixel, axis.step))
    return Axis(axis.source, output, pixel, step)


class Sums(NamedTuple):
    """Weighted sums along an axis: each is ``total`` times the value, both of one type."""

    values: str
    total: str


def resampled(nodes: Nodes, values: str, axis: Axis, dtype: type) -> Sums:
    """Resample batch×source×N of any type: (batch · output)×N of ``dtype``.

    Averages of footprints where the side shrinks, interpolated where it grows, as ``axis_taps``.
    """
    zero, one, two = (nodes.whole(number) for number in range(3))
    grows = nodes("Less", axis.source, axis.output)
    index = nodes("Range", zero, axis.output, one)
    index = nodes("Unsqueeze", index, nodes.whole([1]))
    begin = nodes("Mul", index, axis.step)
    end = nodes("Add", begin, axis.step)
    # Half units, as centres lie at half pixels.
    whole = nodes("Mul", two, axis.pixel)
    centre = nodes("Sub", nodes("Add", begin, end), axis.pixel)
    centre = nodes("Max", centre, zero)
    unit = nodes("Where", grows, whole, axis.pixel)
    first = nodes("Div", nodes("Where", grows, centre, begin), unit)
    last = nodes("Div", nodes("Sub", end, one), axis.pixel)
    most = nodes("ReduceMax", nodes("Sub", last, first), keepdims=0)
    most = nodes("Where", grows, one, most)
    at = nodes("Add", first, nodes("Range", zero, nodes("Add", most, one), one))
    left = nodes("Mul", at, axis.pixel)
    right = nodes("Add", left, axis.pixel)
    covered = nodes("Sub", nodes("Min", right, end), nodes("Max", left, begin))
    near = nodes("Sub", whole, nodes("Abs", nodes("Sub", centre, nodes("Mul", at, whole))))
    weights = nodes("Max", nodes("Where", grows, near, covered), zero)  # output×taps
    at = nodes("Min", at, nodes("Sub", axis.source, one))
    taken = nodes.cast(nodes("Gather", values, at, axis=1), dtype)  # batch×output×taps×N
    weights = nodes("Unsqueeze", nodes.cast(weights, dtype), nodes.whole([0, 2]))
    sums = nodes("Squeeze", nodes("MatMul", weights, taken), nodes.whole([2]))
    width = nodes("Gather", nodes("Shape", values), nodes.whole([2]), axis=0)
    sums = nodes("Reshape", sums, nodes("Concat", nodes.whole([-1]), width, axis=0))
    total = nodes("Where", grows, whole, axis.step)
    return Sums(sums, total)


class Between(NamedTuple):
    """Where the pixels of a longer side lie between those of its source, as ``between_pixels``.

    Attributes:
        first: the source's pixel before, int64; there is one for each pixel of the longer side.
        part: how far from it to the one after, float32; 0 at the last.
        after: for each pixel of the source the one after it, itself at the end.
    """

    first: str
    part: str
    after: str


def between(nodes: Nodes, axis: Axis) -> Between:
    """The places of all pixels of the output, which is no shorter than the source."""
    zero, one, two = (nodes.whole(number) for number in range(3))
    total = nodes("Mul", two, axis.pixel)
    odd = nodes("Range", one, nodes("Mul", two, axis.output), two)
    position = nodes("Max", nodes("Sub", nodes("Mul", odd, axis.step), axis.pixel), zero)
    first = nodes("Div", position, total)
    rest = nodes("Sub", position, nodes("Mul", first, total))
    part = nodes("Div", nodes.cast(rest, np.float32), nodes.cast(total, np.float32))
    after = nodes("Range", one, nodes("Add", axis.source, one), one)
    after = nodes("Min", after, nodes("Sub", axis.source, one))
    return Between(first, part, after)


def known(nodes: Nodes, source: int, output: int) -> Between:
    """``between`` for sides that are known already."""
    common = int(np.gcd(source, output))
    sides = (source, output, output // common, source // common)
    return between(nodes, Axis(*map(nodes.whole, sides)))


def down(nodes: Nodes, planes: str, places: Between) -> str:
    """Interpolate N×h×w along its columns: N×H×w."""
    part = nodes("Unsqueeze", places.part, nodes.whole([1]))
    rises = nodes("Sub", nodes("Gather", planes, places.after, axis=1), planes)
    risen = nodes("Mul", part, nodes("Gather", rises, places.first, axis=1))
    return nodes("Add", nodes("Gather", planes, places.first, axis=1), risen)


def across(nodes: Nodes, planes: str, count: int, places: Between) -> str:
    """Interpolate N×h×w along its rows: N×h×W. ``count``: N."""
    turned = nodes.turned(nodes("Flatten", planes, axis=2))
    wide = nodes("Squeeze", down(nodes, turned, places), nodes.whole([0]))
    return nodes.reshape(nodes.turned(wide), count, -1, 0)
