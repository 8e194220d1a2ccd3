"""A network's graph, from the picture as a browser has it to alpha at the picture's size.

Around the network stand, in ONNX operators, the formulas of ``kernels/include``: ``resample.h`` and
``preprocess.h`` before it, ``fusion.h``, the filter over time of ``temporal.h`` and the guided
enlargement of ``composite.h`` behind it.
What is a whole number there is one here, and roundings come in the same order. So alpha is that of
``Matter(engine)(picture)`` in float32, but for the last digits of the network's own arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from matter_sdk.export.browser import resampling
from matter_sdk.export.browser.nodes import PREFIX, Nodes
from matter_sdk.export.browser.resampling import Axis
from matter_sdk.export.errors import BuildError
from matter_sdk.sdk.engine.manifest import FUSIONS, Head, Manifest, ModelEntry

PICTURE, ALPHA = f"{PREFIX}picture", f"{PREFIX}alpha"
SMALL, STEADY = f"{PREFIX}small", f"{PREFIX}steady"  # out, and of the frame before in
BEFORE, KEPT = f"{PREFIX}before", f"{PREFIX}kept"
Size = tuple[int, int]
_STILL, _MOVED, _STRENGTH = 4, 8, np.float32(0.8)  # as in temporal.h
_EPSILON = np.float32(3e-3)  # guide_epsilon in composite.h


def check(manifest: Manifest) -> None:
    """Raise BuildError for a network that wants more than a picture, or several at once."""
    extra = ", ".join(one.name for one in manifest.extra_inputs)
    if extra or not {"focus", "alpha"} & FUSIONS[manifest.fusion].keys():
        found = f"takes {extra}" if extra else "gives no matte"
        raise BuildError(
            f"the engine's {manifest.network.name} {found}; "
            f"expected a network that mattes a picture alone. Take an engine of gfm"
        )
    if manifest.batch != 1:
        raise BuildError(
            f"the engine's batch is {manifest.batch}; expected 1. Build it again without --batch"
        )


def picture_graph(graph: bytes, manifest: Manifest, model: ModelEntry) -> bytes:
    """Return the graph of one network size with all that stands around it.

    Its inputs:

    * ``PICTURE``: uint8 H×W×4: red, green, blue, and a channel that is not read.
    * ``BEFORE`` and ``KEPT``: what the frame before gave as ``SMALL`` and ``STEADY``. Where
      ``KEPT`` is below 0 there was none.

    Its outputs:

    * ``ALPHA``: float32 H×W in 0..1.
    * ``SMALL``: the picture at the matte's size, blue, green, red, float32 3×h×w, whole levels.
    * ``STEADY``: alpha at that size, filtered over time, float32 h×w; ``ALPHA`` is made of it.

    External weights stay external.

    Raises:
        BuildError: see ``check``.
    """
    check(manifest)
    network = onnx.load_model_from_string(graph)
    nodes = Nodes()
    shape = nodes("Shape", PICTURE)
    sides = [nodes("Gather", shape, nodes.whole(at), axis=0) for at in (0, 1)]
    planes = nodes("Transpose", PICTURE, perm=[2, 0, 1])
    planes = nodes("Gather", planes, nodes.whole([2, 1, 0]), axis=0)  # blue, green, red
    axes = _axes(nodes, sides, model.size)
    small = _resized(nodes, planes, axes)
    _normalised(nodes, small, manifest)
    nodes.extend(network.graph.node)
    alpha, size = _fused(nodes, manifest, model.size)
    if size != model.size:
        axes = _axes(nodes, sides, size)
        small = _resized(nodes, planes, axes)
    _rounded(nodes, small, output=SMALL)
    _steadied(nodes, alpha, size)
    _enlarged(nodes, planes, axes)
    network.graph.ClearField("node")
    network.graph.node.extend(nodes.nodes)
    network.graph.initializer.extend(nodes.constants)
    for field in ("input", "output", "value_info"):
        network.graph.ClearField(field)
    network.graph.input.extend(
        [
            helper.make_tensor_value_info(PICTURE, TensorProto.UINT8, ["height", "width", 4]),
            helper.make_tensor_value_info(BEFORE, TensorProto.FLOAT, [3, *size]),
            helper.make_tensor_value_info(KEPT, TensorProto.FLOAT, size),
        ]
    )
    network.graph.output.extend(
        [
            helper.make_tensor_value_info(ALPHA, TensorProto.FLOAT, ["height", "width"]),
            helper.make_tensor_value_info(SMALL, TensorProto.FLOAT, [3, *size]),
            helper.make_tensor_value_info(STEADY, TensorProto.FLOAT, size),
        ]
    )
    return network.SerializeToString()


def _axes(nodes: Nodes, sides: list[str], size: Size) -> list[Axis]:
    return [resampling.axis(nodes, side, n) for side, n in zip(sides, size, strict=True)]


def _resized(nodes: Nodes, planes: str, axes: list[Axis]) -> str:
    """uint8 3×H×W at a size: float32 3×h×w in 0..255."""
    rows, columns = axes
    # Sums over rows are below 2^24, exact in float32; those over both may pass 2^31.
    tall = resampling.resampled(nodes, planes, rows, np.float32)
    both = resampling.resampled(nodes, nodes.turned(tall.values), columns, np.int64)
    small = nodes.reshape(nodes.turned(nodes.cast(both.values, np.float32)), 3, -1, 0)
    totals = (nodes.cast(one.total, np.float32) for one in (tall, both))
    return nodes("Mul", small, nodes.inverse(nodes("Mul", *totals)))


def _rounded(nodes: Nodes, values: str, output: str = "") -> str:
    return nodes("Floor", nodes("Add", values, nodes.real(0.5)), output=output)


def _normalised(nodes: Nodes, small: str, manifest: Manifest) -> None:
    """The network's own input."""
    given = manifest.input
    if given.colour == "rgb":
        small = nodes("Gather", small, nodes.whole([2, 1, 0]), axis=0)
    mean = nodes.real(np.reshape(given.mean, (3, 1, 1)))
    gain = nodes.real(np.reshape([1.0 / std for std in given.std], (3, 1, 1)))
    tensor = nodes("Mul", nodes("Sub", small, mean), gain)
    nodes("Unsqueeze", tensor, nodes.whole([0]), output=given.name)


def _fused(nodes: Nodes, manifest: Manifest, size: Size) -> tuple[str, Size]:
    """Alpha as the network gives it, float32 h×w, and that size: ``fusion.h``."""
    heads = {head.name: head for head in manifest.heads}
    zero, one = nodes.real(0), nodes.real(1)
    if manifest.fusion == "alpha":
        alpha = nodes("Clip", nodes.reshape("alpha", *_size_of(heads["alpha"], size)), zero, one)
        return alpha, _size_of(heads["alpha"], size)
    told, own = _size_of(heads["focus"], size), _size_of(heads["glance"], size)
    focus = nodes.reshape("focus", *told)
    count = FUSIONS[manifest.fusion]["glance"]
    glance = nodes("Squeeze", "glance", nodes.whole([0]))
    if own != told:
        down, across = (resampling.known(nodes, *pair) for pair in zip(own, told, strict=True))
        glance = resampling.across(nodes, glance, count, across)
        glance = resampling.down(nodes, glance, down)
    planes = (nodes.select(glance, at, at + 1) for at in range(count))
    first, second, *third = (nodes.reshape(plane, *told) for plane in planes)
    # Ties go to the lowest class.
    rises = nodes("Greater", second, first)
    if manifest.fusion == "ft":
        total = nodes("Add", nodes.cast(rises, np.float32), focus)
        return nodes("Min", total, one), told
    if manifest.fusion == "bt":
        return nodes("Max", nodes("Sub", nodes.cast(rises, np.float32), focus), zero), told
    best = nodes("Where", rises, second, first)
    unsure = nodes("Where", rises, focus, zero)
    return nodes("Where", nodes("Greater", third[0], best), one, unsure), told


def _steadied(nodes: Nodes, alpha: str, size: Size) -> None:
    """``STEADY``, of the alpha of this frame: ``temporal.h``."""
    zero = nodes.real(0)
    change = nodes("Abs", nodes("Sub", SMALL, BEFORE))
    change = nodes("Max", *(nodes.select(change, at, at + 1) for at in range(3)))
    moved = nodes.cast(nodes("Greater", change, nodes.real(_MOVED)), np.float32)
    half = nodes.real(size[0] * size[1] / 2)
    cut = nodes("Greater", nodes("ReduceSum", moved, keepdims=0), half)
    around = nodes("Unsqueeze", change, nodes.whole([0]))
    around = nodes("MaxPool", around, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    around = nodes("Squeeze", around, nodes.whole([0, 1]))
    left = nodes("Max", nodes("Sub", nodes.real(_MOVED), around), zero)
    left = nodes("Min", left, nodes.real(_MOVED - _STILL))
    keep = nodes("Mul", left, nodes.real(_STRENGTH / np.float32(_MOVED - _STILL)))
    anew = nodes("Or", cut, nodes("Less", KEPT, zero))
    keep = nodes("Where", anew, zero, keep)
    back = nodes("Mul", keep, nodes("Sub", KEPT, alpha))
    nodes("Add", alpha, back, output=STEADY)


def _led(nodes: Nodes, planes: str, axes: list[Axis]) -> Sequence[str]:
    """Alpha and the picture, both of the shorter of each two sides: the network's, the frame's."""
    large = nodes("And", *(nodes("GreaterOrEqual", axis.source, axis.output) for axis in axes))

    def as_they_are(nodes: Nodes) -> list[str]:
        return [nodes("Identity", one) for one in (nodes("Clip", STEADY, *_unit(nodes)), SMALL)]

    def resampled(nodes: Nodes) -> list[str]:
        rows, columns = (resampling.limited(nodes, axis.back()) for axis in axes)
        unit = nodes("Unsqueeze", nodes("Clip", STEADY, *_unit(nodes)), nodes.whole([0]))
        tall = resampling.resampled(nodes, unit, rows, np.float32)
        both = resampling.resampled(nodes, nodes.turned(tall.values), columns, np.float32)
        totals = (nodes.cast(one.total, np.float32) for one in (tall, both))
        alpha = nodes("Div", nodes("Transpose", both.values, perm=[1, 0]), nodes("Mul", *totals))
        limits = [resampling.limited(nodes, axis) for axis in axes]
        return [alpha, _rounded(nodes, _resized(nodes, planes, limits))]

    return nodes.either(large, as_they_are, resampled)


def _enlarged(nodes: Nodes, planes: str, axes: list[Axis]) -> None:
    """Alpha at the picture's size, led by its colours: the guided enlargement of ``composite.h``.

    A picture of the network's own size has the network's alpha as it is, as in a ``Matte``.
    """
    zero, one = _unit(nodes)
    same = nodes("And", *(nodes("Equal", axis.source, axis.output) for axis in axes))
    alpha, small = _led(nodes, planes, axes)
    level = _rounded(nodes, nodes("Mul", alpha, nodes.real(255)))
    settled = nodes("Where", nodes("Equal", level, zero), zero, alpha)
    settled = nodes("Where", nodes("Equal", level, nodes.real(255)), one, settled)
    settled = nodes("Where", same, alpha, settled)
    slopes = _windows(nodes, _slopes(nodes, level, small), whole=False)
    slopes = nodes("Where", same, zero, slopes)
    rest = nodes("Sub", settled, _product(nodes, slopes, small))
    rest = nodes("Unsqueeze", rest, nodes.whole([0]))
    rows, columns = (
        resampling.between(nodes, resampling.limited(nodes, axis).back()) for axis in axes
    )
    slopes, rest = (
        resampling.down(nodes, resampling.across(nodes, one, count, columns), rows)
        for one, count in ((slopes, 3), (rest, 1))
    )
    colours = nodes.cast(planes, np.float32)
    rest = nodes("Squeeze", rest, nodes.whole([0]))
    led = nodes("Add", _product(nodes, slopes, colours), rest)
    nodes("Clip", led, zero, one, output=ALPHA)


def _unit(nodes: Nodes) -> tuple[str, str]:
    return nodes.real(0), nodes.real(1)


def _product(nodes: Nodes, slopes: str, colours: str) -> str:
    return nodes("ReduceSum", nodes("Mul", slopes, colours), nodes.whole([0]), keepdims=0)


def _windows(nodes: Nodes, planes: str, *, whole: bool) -> str:
    """Of 3×3 windows, N×h×w: the means, or the sums of whole numbers with 0 beyond the edges."""
    planes = nodes("Unsqueeze", planes, nodes.whole([0]))
    pads, count = [1, 1, 1, 1], int(whole)
    means = nodes("AveragePool", planes, kernel_shape=[3, 3], pads=pads, count_include_pad=count)
    means = nodes("Squeeze", means, nodes.whole([0]))
    # A ninth of a sum below 2^20 is within a hundredth of it when it is made nine again.
    return nodes("Round", nodes("Mul", means, nodes.real(9))) if whole else means


def _slopes(nodes: Nodes, level: str, bgr: str) -> str:
    """The slopes of alpha for each window, 3×h×w: ``solve_slopes`` in its order of operations."""

    def multiply(one: str, other: str) -> str:
        return nodes("Mul", one, other)

    def subtract(value: str, *others: str) -> str:
        return nodes.swept("Sub", value, *others)

    def of(planes: str, *indices: int) -> str:
        return nodes("Gather", planes, nodes.whole(indices), axis=0)

    first, second = (0, 0, 0, 1, 1, 2), (0, 1, 2, 1, 2, 2)
    level = nodes("Unsqueeze", level, nodes.whole([0]))
    moments = [level, bgr, multiply(of(bgr, *first), of(bgr, *second)), multiply(level, bgr)]
    ones = nodes("Expand", nodes.real(1), nodes("Shape", level))
    sums = _windows(nodes, nodes("Concat", *moments, ones, axis=0), whole=True)
    counts = nodes.select(sums, 13, 14)  # of pixels
    total, colours = nodes.select(sums, 0, 1), nodes.select(sums, 1, 4)
    colour = subtract(
        multiply(counts, nodes.select(sums, 4, 10)),
        multiply(of(colours, *first), of(colours, *second)),
    )
    ridge = multiply(nodes.real(_EPSILON * np.float32(65025)), multiply(counts, counts))
    diagonal = nodes.real(np.reshape([1, 0, 0, 1, 0, 1], (6, 1, 1)))
    colour = nodes("Add", colour, multiply(ridge, diagonal))
    matte = subtract(multiply(counts, nodes.select(sums, 10, 13)), multiply(total, colours))
    bb, bg, br, gg, gr, rr = (nodes.select(colour, at, at + 1) for at in range(6))
    lb, lg, lr = (nodes.select(matte, at, at + 1) for at in range(3))
    inverse_b = nodes.inverse(bb)
    g_b, r_b = multiply(bg, inverse_b), multiply(br, inverse_b)
    inverse_g = nodes.inverse(subtract(gg, multiply(g_b, bg)))
    rest = subtract(gr, multiply(g_b, br))
    r_g = multiply(rest, inverse_g)
    inverse_r = nodes.inverse(subtract(rr, multiply(r_b, br), multiply(r_g, rest)))
    y = subtract(lg, multiply(g_b, lb))
    z = subtract(lr, multiply(r_b, lb), multiply(r_g, y))
    red = multiply(z, inverse_r)
    green = subtract(multiply(y, inverse_g), multiply(r_g, red))
    blue = subtract(multiply(lb, inverse_b), multiply(g_b, green), multiply(r_b, red))
    return multiply(nodes("Concat", blue, green, red, axis=0), nodes.real(np.float32(1) / 255))


def _size_of(head: Head, size: Size) -> Size:
    return -(-size[0] // head.stride), -(-size[1] // head.stride)
