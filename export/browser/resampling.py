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
    """A long side beside a short one.

    Attributes:
        side: pixels of the long side, a whole scalar of the graph; so are the units.
        length: pixels of the short side.
        long: units of a pixel of the short side: the long side over the common divisor.
        short: units of a pixel of the long side: the short side over it.
    """

    side: str
    length: int
    long: str
    short: str


def axis(nodes: Nodes, side: str, length: int) -> Axis:
    """A side of the picture, whole scalar ``side``, beside the network's, which is no longer."""
    divisors = nodes.whole([d for d in range(1, length + 1) if length % d == 0])
    divides = nodes("Equal", nodes("Mod", side, divisors), nodes.whole(0))
    common = nodes("ReduceMax", nodes("Where", divides, divisors, nodes.whole(1)), keepdims=0)
    long, short = (nodes("Div", one, common) for one in (side, nodes.whole(length)))
    return Axis(side, length, long, short)


def averaged(nodes: Nodes, values: str, axis: Axis, dtype: type, batch: int = 1) -> str:
    """The sums of the short side's footprints on the long one, as ``axis_taps`` weighs them.

    ``values``: batch×side×N of any type. The result: (batch · length)×N of ``dtype``, whole
    numbers: ``axis.long`` times the average.
    """
    pixel, step, one = axis.short, axis.long, nodes.whole(1)
    begin = nodes("Mul", nodes.whole(np.arange(axis.length)[:, None]), step)
    end = nodes("Add", begin, step)
    first = nodes("Div", begin, pixel)
    last = nodes("Div", nodes("Sub", end, one), pixel)
    most = nodes("ReduceMax", nodes("Sub", last, first), keepdims=0)
    at = nodes("Add", first, nodes("Range", nodes.whole(0), nodes("Add", most, one), one))
    left = nodes("Mul", at, pixel)
    cover = nodes("Sub", nodes("Min", nodes("Add", left, pixel), end), nodes("Max", left, begin))
    weights = nodes.cast(nodes("Max", cover, nodes.whole(0)), dtype)  # length×taps
    at = nodes("Min", at, nodes("Sub", axis.side, one))
    taken = nodes.cast(nodes("Gather", values, at, axis=1), dtype)  # batch×length×taps×N
    sums = nodes("MatMul", nodes("Unsqueeze", weights, nodes.whole([0, 2])), taken)
    width = nodes("Gather", nodes("Shape", values), nodes.whole([2]), axis=0)
    rows = nodes.whole([batch * axis.length])
    return nodes("Reshape", sums, nodes("Concat", rows, width, axis=0))


class Between(NamedTuple):
    """Where the pixels of a long side lie between those of a short one, as ``between_pixels``.

    Attributes:
        first: the pixel before, int64; there is one for each pixel of the long side.
        part: how far from it to the one after, float32; 0 at the last.
        after: for each pixel of the short side the one after it, itself at the end.
    """

    first: str
    part: str
    after: str


def between(nodes: Nodes, axis: Axis) -> Between:
    """The places of all pixels of the long side."""
    total = nodes("Mul", nodes.whole(2), axis.long)
    odd = nodes("Range", nodes.whole(1), nodes("Mul", nodes.whole(2), axis.side), nodes.whole(2))
    position = nodes("Sub", nodes("Mul", odd, axis.short), axis.long)
    position = nodes("Max", position, nodes.whole(0))
    first = nodes("Div", position, total)
    rest = nodes("Sub", position, nodes("Mul", first, total))
    part = nodes("Div", nodes.cast(rest, np.float32), nodes.cast(total, np.float32))
    after = np.minimum(np.arange(axis.length) + 1, axis.length - 1)
    return Between(first, part, nodes.whole(after))


def known(nodes: Nodes, side: int, length: int) -> Between:
    """``between`` for a long side that is known already."""
    common = int(np.gcd(side, length))
    units = nodes.whole(side // common), nodes.whole(length // common)
    return between(nodes, Axis(nodes.whole(side), length, *units))


def down(nodes: Nodes, planes: str, places: Between) -> str:
    """Interpolate N×h×w along its columns: N×H×w."""
    part = nodes("Unsqueeze", places.part, nodes.whole([1]))
    rises = nodes("Sub", nodes("Gather", planes, places.after, axis=1), planes)
    risen = nodes("Mul", part, nodes("Gather", rises, places.first, axis=1))
    return nodes("Add", nodes("Gather", planes, places.first, axis=1), risen)


def across(nodes: Nodes, planes: str, shape: tuple[int, int], places: Between) -> str:
    """Interpolate N×h×w along its rows: N×h×W. ``shape``: N and h."""
    count, height = shape
    turned = nodes("Transpose", nodes.reshape(planes, count * height, -1), perm=[1, 0])
    wide = nodes.reshape(
        down(nodes, nodes("Unsqueeze", turned, nodes.whole([0])), places), -1, count * height
    )
    return nodes.reshape(nodes("Transpose", wide, perm=[1, 0]), count, height, -1)
