"""The operators that a graph may hold, and the shapes and types of what they give.

The list is what our exporter writes for every network, and a few plain ones that compute each
number for itself. None takes an index, a shape or a size from data: those are constants, and are
checked against what they index. So whatever a runtime trusts without a look is known here.

``infer`` is the whole interface. Shapes are static; types are ONNX's numbers (``FLOAT`` …).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]

FLOAT, UINT8, INT8, INT32, INT64, BOOL, HALF = 1, 2, 3, 6, 7, 9, 10
ITEM_BYTES = {FLOAT: 4, UINT8: 1, INT8: 1, INT32: 4, INT64: 8, BOOL: 1, HALF: 2}
TYPE_NAMES = {
    FLOAT: "float32",
    UINT8: "uint8",
    INT8: "int8",
    INT32: "int32",
    INT64: "int64",
    BOOL: "bool",
    HALF: "float16",
}
MAX_RANK = 8
MAX_ELEMENTS = (1 << 31) - 1
"""Most elements of one tensor: runtimes count in 32 bits in places."""
MAX_STEP = 1024
"""Largest padding, stride or dilation."""


class Refused(ValueError):
    """What a graph may not hold, in a few words: what was found; expected what."""


class Tensor(NamedTuple):
    """What is known of a value before a run.

    Attributes:
        dtype: ONNX's number of its type.
        shape: static.
        constant: whether it is made of initialisers alone.
        values: its numbers, for initialisers of at most 4,096 elements; else None.
    """

    dtype: int
    shape: Shape
    constant: bool = False
    values: NDArray[Any] | None = None

    @property
    def elements(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """How much memory."""
        return self.elements * ITEM_BYTES[self.dtype]


Inputs = Sequence["Tensor | None"]
Attributes = Mapping[str, Any]
_Infer = Callable[[list[Any], "_Given"], "Tensor"]


class _Rule(NamedTuple):
    infer: _Infer
    least: int  # inputs that must be there
    most: int
    attributes: Mapping[str, type]
    required: tuple[str, ...] = ()


class _Given:
    """The attributes of a node, and the version of its operator set."""

    def __init__(self, values: Attributes, opset: int) -> None:
        self.values = values
        self.opset = opset

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        value = self.values.get(name, default)
        if not low <= value <= high:
            raise Refused(f"{name} is {value}; expected {low} to {high}")
        return int(value)

    def integers(
        self, name: str, default: Sequence[int], low: int, high: int = MAX_STEP
    ) -> tuple[int, ...]:
        value = tuple(self.values.get(name, default))
        if len(value) != len(default) or not all(low <= number <= high for number in value):
            raise Refused(f"{name} is {_short(value)}; expected {len(default)} of {low} to {high}")
        return value

    def word(self, name: str, default: str, among: Iterable[str]) -> str:
        value = self.values.get(name, default.encode())
        among = tuple(among)
        if value not in [word.encode() for word in among]:
            raise Refused(f"{name} is {value[:40]!r}; expected {' or '.join(among)}")
        return str(value.decode())

    def finite(self, *names: str) -> None:
        for name in names:
            if not math.isfinite(self.values.get(name, 0.0)):
                raise Refused(f"{name} is {self.values[name]}; expected a finite number")


def infer(op: str, inputs: Inputs, attributes: Attributes, opset: int) -> Tensor:
    """Check one node and return what is known of its only output.

    ``inputs`` has None where an optional input is left out. ``attributes`` are int, float, bytes,
    or lists of int.

    Raises:
        Refused: an operator that is not allowed, or one that is not well-formed.
    """
    rule = _RULES.get(op)
    if rule is None:
        raise Refused("an operator that engines do not hold; expected those that export writes")
    present = rule.least if op in ("Clip", "Resize") else len(inputs)  # others leave none out
    if not rule.least <= len(inputs) <= rule.most or any(x is None for x in inputs[:present]):
        raise Refused(f"{len(inputs)} inputs; expected {rule.least} to {rule.most}")
    for name, value in attributes.items():
        kind = rule.attributes.get(name)
        if kind is None:
            raise Refused(f"an attribute {name[:40]!r}; expected {_listed(rule.attributes)}")
        if not isinstance(value, kind):
            raise Refused(f"{name} is a {type(value).__name__}; expected {kind.__name__}")
    for name in rule.required:
        if name not in attributes:
            raise Refused(f"no attribute {name!r}; expected one")
    padded = [*inputs, *[None] * (rule.most - len(inputs))]
    result = rule.infer(padded, _Given(attributes, opset))
    if len(result.shape) > MAX_RANK or min(result.shape, default=1) < 1:
        raise Refused(f"a result of shape {list(result.shape)}; expected sides of 1 and more")
    if result.elements > MAX_ELEMENTS:
        raise Refused(
            f"a result of {result.elements:,} elements; expected {MAX_ELEMENTS:,} at most"
        )
    return result._replace(constant=all(x is None or x.constant for x in inputs))


def work(op: str, inputs: Inputs, result: Tensor) -> int:
    """Return about how many multiply-accumulates (or visits of an element) a node costs."""
    if op in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
        first, second = inputs[0], inputs[1]
        if first is None or second is None:
            return 0
        if op == "Conv":
            return result.elements * math.prod(second.shape[1:])
        if op == "ConvTranspose":
            return first.elements * math.prod(second.shape[1:])
        return result.elements * max(first.shape[-2:])
    return result.elements + sum(x.elements for x in inputs if x is not None)


# ------------------------------------------------------------------------------------------ helpers


def _short(values: Iterable[object]) -> str:
    text = str(list(values))
    return text if len(text) <= 60 else text[:57] + "..."


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _typed(x: Tensor, *types: int) -> Tensor:
    if x.dtype not in types:
        names = " or ".join(TYPE_NAMES[dtype] for dtype in types)
        raise Refused(f"{TYPE_NAMES[x.dtype]} numbers; expected {names}")
    return x


def _floats(*tensors: Tensor | None) -> int:
    """The type of tensors that must all be float32 or all float16."""
    dtypes = {x.dtype for x in tensors if x is not None}
    if len(dtypes) != 1 or not dtypes <= {FLOAT, HALF}:
        raise Refused(f"{_listed(TYPE_NAMES[d] for d in dtypes)} numbers; expected one float type")
    return dtypes.pop()


def _ranked(x: Tensor, rank: int) -> Tensor:
    if len(x.shape) != rank:
        raise Refused(f"an input of shape {list(x.shape)}; expected {rank} dimensions")
    return x


def _weights(x: Tensor, rank: int) -> Tensor:
    if not x.constant:
        raise Refused("weights that are computed from the picture; expected constants")
    return _ranked(x, rank)


def _numbers(x: Tensor | None, what: str, dtype: int = INT64) -> list[Any]:
    """The numbers of a small, constant vector."""
    if x is None or x.values is None:
        raise Refused(f"{what} that are no constants; expected an initialiser of few numbers")
    if x.dtype != dtype or len(x.shape) != 1:
        raise Refused(
            f"{what} of type {TYPE_NAMES[x.dtype]} and shape {list(x.shape)}; expected a vector of "
            f"{TYPE_NAMES[dtype]}"
        )
    return list(x.values.tolist())


def _axis(value: int, rank: int) -> int:
    if not -rank <= value < rank:
        raise Refused(f"axis {value}; expected one of {rank}")
    return value % rank


def _axes(values: Iterable[int], rank: int) -> list[int]:
    axes = [_axis(value, rank) for value in values]
    if len(set(axes)) != len(axes):
        raise Refused(f"axes {_short(axes)}; expected each once")
    return axes


def _broadcast(*shapes: Shape) -> Shape:
    try:
        return tuple(int(side) for side in np.broadcast_shapes(*shapes))
    except ValueError:
        raise Refused(f"shapes {_short(shapes)}; expected ones that fit together") from None


# ------------------------------------------------------------------------------------------- rules


def _unary(inputs: list[Any], given: _Given) -> Tensor:
    _floats(inputs[0])
    given.finite(*(name for name in given.values if name in ("alpha", "beta")))
    return Tensor(inputs[0].dtype, inputs[0].shape)


def _identity(inputs: list[Any], given: _Given) -> Tensor:
    del given
    return Tensor(inputs[0].dtype, inputs[0].shape)


def _clip(inputs: list[Any], given: _Given) -> Tensor:
    del given
    for bound in inputs[1:]:
        if bound is not None and (bound.shape or not bound.constant):
            raise Refused("bounds that are computed, or several; expected constant numbers")
        if bound is not None and bound.values is not None and np.isnan(bound.values):
            raise Refused("a bound of NaN; expected a number")
    return Tensor(_floats(*inputs), inputs[0].shape)


def _binary(inputs: list[Any], given: _Given) -> Tensor:
    del given
    return Tensor(_floats(*inputs), _broadcast(*(x.shape for x in inputs if x is not None)))


def _logical(inputs: list[Any], given: _Given) -> Tensor:
    del given
    return Tensor(BOOL, _broadcast(*(_typed(x, BOOL).shape for x in inputs)))


def _comparison(inputs: list[Any], given: _Given) -> Tensor:
    del given
    first, second = inputs
    _typed(first, FLOAT, HALF, INT32, INT64)
    _typed(second, first.dtype)
    return Tensor(BOOL, _broadcast(first.shape, second.shape))


def _where(inputs: list[Any], given: _Given) -> Tensor:
    del given
    condition, first, second = inputs
    _typed(condition, BOOL)
    _typed(first, FLOAT, HALF, INT32, INT64)
    _typed(second, first.dtype)
    return Tensor(first.dtype, _broadcast(*(x.shape for x in inputs)))


def _softmax(inputs: list[Any], given: _Given) -> Tensor:
    _axis(given.values.get("axis", -1), len(inputs[0].shape))
    return Tensor(_floats(inputs[0]), inputs[0].shape)


def _cast(inputs: list[Any], given: _Given) -> Tensor:
    (x,) = inputs
    to = given.values["to"]
    _typed(x, FLOAT, HALF, BOOL)
    if to not in (FLOAT, HALF):
        raise Refused(f"a cast to type {to}; expected float32 or float16")
    return Tensor(to, x.shape)


def _concat(inputs: list[Any], given: _Given) -> Tensor:
    tensors = [x for x in inputs if x is not None]
    first = tensors[0]
    axis = _axis(given.values["axis"], len(first.shape))
    total = 0
    for x in tensors:
        _typed(x, first.dtype)
        if len(x.shape) != len(first.shape) or any(
            side != other and at != axis
            for at, (side, other) in enumerate(zip(x.shape, first.shape, strict=True))
        ):
            raise Refused(
                f"shapes {list(first.shape)} and {list(x.shape)} on axis {axis}; expected equal "
                f"sides on the others"
            )
        total += x.shape[axis]
    return Tensor(first.dtype, (*first.shape[:axis], total, *first.shape[axis + 1 :]))


def _swept(given: _Given, shape: Shape, kernel: Sequence[int], *, pooled: bool = False) -> Shape:
    """The height and width over which a window goes."""
    given.word("auto_pad", "NOTSET", ("NOTSET",))
    ceil = pooled and given.integer("ceil_mode", 0, 0, 1)
    strides = given.integers("strides", (1, 1), 1)
    dilations = given.integers("dilations", (1, 1), 1)
    pads = given.integers("pads", (0, 0, 0, 0), 0)
    sides = []
    for at in (0, 1):
        span = dilations[at] * (kernel[at] - 1) + 1
        if pooled and max(pads[at], pads[at + 2]) >= span:
            raise Refused(f"pads {list(pads)} of a window of {span}; expected less")
        room = shape[at + 2] + pads[at] + pads[at + 2] - span
        if room < 0:
            raise Refused(f"a window of {span} in {shape[at + 2]} pixels; expected a smaller one")
        side = room // strides[at] + 1
        # Rounded up, a last window may be cut short, but it begins in the picture.
        if ceil and side * strides[at] < shape[at + 2] + pads[at] and room % strides[at]:
            side += 1
        sides.append(side)
    return tuple(sides)


def _convolved(inputs: list[Any], given: _Given) -> tuple[int, tuple[int, ...], int]:
    """Type, kernel and groups of a convolution of either kind, with its picture and weights."""
    x, weight, _ = inputs
    dtype = _floats(*inputs)
    _ranked(x, 4)
    _weights(weight, 4)
    kernel = given.integers("kernel_shape", weight.shape[2:], 1)
    group = given.integer("group", 1, 1, MAX_ELEMENTS)
    if kernel != weight.shape[2:]:
        raise Refused(f"kernel_shape {list(kernel)}; expected {list(weight.shape[2:])}")
    return dtype, kernel, group


def _conv(inputs: list[Any], given: _Given) -> Tensor:
    x, weight, bias = inputs
    dtype, kernel, group = _convolved(inputs, given)
    if x.shape[1] != weight.shape[1] * group or weight.shape[0] % group:
        raise Refused(
            f"weights of shape {list(weight.shape)} in {group} groups; expected {x.shape[1]} "
            f"channels"
        )
    if bias is not None and _weights(bias, 1).shape[0] != weight.shape[0]:
        raise Refused(f"a bias of {bias.shape[0]} numbers; expected {weight.shape[0]}")
    return Tensor(dtype, (x.shape[0], weight.shape[0], *_swept(given, x.shape, kernel)))


def _conv_transpose(inputs: list[Any], given: _Given) -> Tensor:
    x, weight, bias = inputs
    dtype, kernel, group = _convolved(inputs, given)
    channels = weight.shape[1] * group
    if x.shape[1] != weight.shape[0] or weight.shape[0] % group:
        raise Refused(
            f"weights of shape {list(weight.shape)} in {group} groups; expected {x.shape[1]} "
            f"channels"
        )
    if bias is not None and _weights(bias, 1).shape[0] != channels:
        raise Refused(f"a bias of {bias.shape[0]} numbers; expected {channels}")
    given.word("auto_pad", "NOTSET", ("NOTSET",))
    strides = given.integers("strides", (1, 1), 1)
    dilations = given.integers("dilations", (1, 1), 1)
    pads = given.integers("pads", (0, 0, 0, 0), 0)
    more = given.integers("output_padding", (0, 0), 0)
    sides = []
    for at in (0, 1):
        span = dilations[at] * (kernel[at] - 1) + 1
        if more[at] >= max(strides[at], dilations[at]) or max(pads[at], pads[at + 2]) >= span:
            raise Refused(f"pads {list(pads)} and {list(more)}; expected less than the window")
        full = strides[at] * (x.shape[at + 2] - 1) + span + more[at]
        sides.append(full - pads[at] - pads[at + 2])
    return Tensor(dtype, (x.shape[0], channels, *sides))


def _pool(inputs: list[Any], given: _Given) -> Tensor:
    (x,) = inputs
    _floats_or_bytes(_ranked(x, 4))
    kernel = given.integers("kernel_shape", (1, 1), 1, MAX_ELEMENTS)
    given.integer("storage_order", 0, 0, 0)
    given.integer("count_include_pad", 0, 0, 1)
    return Tensor(x.dtype, (*x.shape[:2], *_swept(given, x.shape, kernel, pooled=True)))


def _floats_or_bytes(x: Tensor) -> Tensor:
    return _typed(x, FLOAT, HALF, UINT8, INT8)


def _matmul(inputs: list[Any], given: _Given) -> Tensor:
    del given
    first, second = inputs
    dtype = _floats(first, second)
    if min(len(first.shape), len(second.shape)) < 2 or first.shape[-1] != second.shape[-2]:
        raise Refused(f"shapes {list(first.shape)} and {list(second.shape)}; expected matrices")
    batch = _broadcast(first.shape[:-2], second.shape[:-2])
    return Tensor(dtype, (*batch, first.shape[-2], second.shape[-1]))


def _gemm(inputs: list[Any], given: _Given) -> Tensor:
    first, second, third = inputs
    dtype = _floats(*inputs)
    given.finite("alpha", "beta")
    rows, inner = _ranked(first, 2).shape[:: -1 if given.integer("transA", 0, 0, 1) else 1]
    other, columns = _ranked(second, 2).shape[:: -1 if given.integer("transB", 0, 0, 1) else 1]
    if inner != other:
        raise Refused(f"shapes {list(first.shape)} and {list(second.shape)}; expected matrices")
    if third is not None and _broadcast(third.shape, (rows, columns)) != (rows, columns):
        raise Refused(f"a term of shape {list(third.shape)}; expected {[rows, columns]}")
    return Tensor(dtype, (rows, columns))


def _pad(inputs: list[Any], given: _Given) -> Tensor:
    x, pads, value = inputs
    given.word("mode", "constant", ("constant",))
    numbers, rank = _numbers(pads, "pads"), len(x.shape)
    if len(numbers) != 2 * rank or not all(0 <= number <= MAX_STEP for number in numbers):
        raise Refused(f"pads {_short(numbers)}; expected {2 * rank} of 0 to {MAX_STEP}")
    if value is not None:
        _typed(value, x.dtype)
        if value.elements != 1 or not value.constant:
            raise Refused(
                "padding that is computed, or of several values; expected a constant number"
            )
    sides = zip(numbers[:rank], x.shape, numbers[rank:], strict=True)
    return Tensor(x.dtype, tuple(map(sum, sides)))


def _slice(inputs: list[Any], given: _Given) -> Tensor:
    del given
    x, starts, ends, axes, steps = inputs
    rank = len(x.shape)
    begin, stop = _numbers(starts, "starts"), _numbers(ends, "ends")
    along = _axes(range(len(begin)) if axes is None else _numbers(axes, "axes"), rank)
    step = [1] * len(begin) if steps is None else _numbers(steps, "steps")
    if not len(begin) == len(stop) == len(along) == len(step):
        raise Refused("starts, ends, axes and steps of different lengths; expected one length")
    shape = list(x.shape)
    for first, last, axis, stride in zip(begin, stop, along, step, strict=True):
        side = x.shape[axis]
        if not -side <= first < side or not 1 <= stride <= side:
            raise Refused(f"a slice from {first} in steps of {stride}; expected within {side}")
        shape[axis] = len(range(side)[first:last:stride])
    return Tensor(x.dtype, tuple(shape))


def _reshape(inputs: list[Any], given: _Given) -> Tensor:
    x, shape = inputs
    zero = given.integer("allowzero", 0, 0, 1)
    wanted = _numbers(shape, "sides")
    for at, side in enumerate(wanted):
        if side == 0 and not zero and at < len(x.shape):
            wanted[at] = x.shape[at]
    if wanted.count(-1) == 1:
        rest = math.prod(side for side in wanted if side != -1)
        wanted[wanted.index(-1)] = x.elements // rest if rest > 0 else 0
    if min(wanted, default=1) < 1 or math.prod(wanted) != x.elements:
        raise Refused(
            f"a reshape of {list(x.shape)} to {_short(wanted)}; expected as many elements"
        )
    return Tensor(x.dtype, tuple(wanted))


def _transpose(inputs: list[Any], given: _Given) -> Tensor:
    (x,) = inputs
    order = list(given.values.get("perm", reversed(range(len(x.shape)))))
    if sorted(order) != list(range(len(x.shape))):
        raise Refused(f"perm {_short(order)}; expected an order of {len(x.shape)} axes")
    return Tensor(x.dtype, tuple(x.shape[axis] for axis in order))


def _unsqueeze(inputs: list[Any], given: _Given) -> Tensor:
    del given
    x, axes = inputs
    numbers = _numbers(axes, "axes")
    rank = len(x.shape) + len(numbers)
    if rank > MAX_RANK:
        raise Refused(f"{rank} dimensions; expected {MAX_RANK} at most")
    added = _axes(numbers, rank)
    rest = iter(x.shape)
    return Tensor(x.dtype, tuple(1 if at in added else next(rest) for at in range(rank)))


def _expand(inputs: list[Any], given: _Given) -> Tensor:
    del given
    x, shape = inputs
    wanted = _numbers(shape, "sides")
    if len(wanted) > MAX_RANK or not all(0 < side <= MAX_ELEMENTS for side in wanted):
        raise Refused(f"sides {_short(wanted)}; expected 1 and more")
    return Tensor(x.dtype, _broadcast(x.shape, tuple(wanted)))


def _depth_to_space(inputs: list[Any], given: _Given) -> Tensor:
    x = _ranked(inputs[0], 4)
    block = given.integer("blocksize", 0, 1, 64)
    given.word("mode", "DCR", ("CRD", "DCR"))
    batch, channels, height, width = x.shape
    if channels % block**2:
        raise Refused(f"{channels} channels in blocks of {block}; expected a multiple")
    return Tensor(_floats(x), (batch, channels // block**2, height * block, width * block))


def _resize(inputs: list[Any], given: _Given) -> Tensor:
    x, region, scales, sizes = inputs
    _ranked(x, 4)
    if region is not None or (scales is None) == (sizes is None):
        raise Refused("a region, or not one of scales and sizes; expected one of the two")
    given.word("mode", "nearest", ("linear", "nearest"))
    given.word("nearest_mode", "round_prefer_floor", ("floor", "round_prefer_floor"))
    given.word(
        "coordinate_transformation_mode",
        "half_pixel",
        ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"),
    )
    given.word("keep_aspect_ratio_policy", "stretch", ("stretch",))
    for name in ("antialias", "exclude_outside"):
        given.integer(name, 0, 0, 0)
    given.finite("cubic_coeff_a", "extrapolation_value")
    if scales is not None:
        factors = _numbers(scales, "scales", FLOAT)
        if len(factors) != 4 or not all(0 < factor <= 4096 for factor in factors):
            raise Refused(f"scales {_short(factors)}; expected 4 above 0")
        wanted = [math.floor(s * np.float32(f)) for s, f in zip(x.shape, factors, strict=True)]
    else:
        wanted = _numbers(sizes, "sizes")
    if len(wanted) != 4 or tuple(wanted[:2]) != x.shape[:2]:
        raise Refused(f"a resize of {list(x.shape)} to {_short(wanted)}; expected one of the plane")
    return Tensor(_floats(x), tuple(wanted))


def _reduce(inputs: list[Any], given: _Given) -> Tensor:
    x, axes = inputs
    rank = len(x.shape)
    given.integer("noop_with_empty_axes", 0, 0, 0)
    if "axes" in given.values and (axes is not None or given.opset >= 18):
        raise Refused("axes as an attribute; expected an input")
    numbers = given.values.get("axes", range(rank)) if axes is None else _numbers(axes, "axes")
    gone = _axes(numbers, rank)
    keep = given.integer("keepdims", 1, 0, 1)
    shape = [1 if at in gone else side for at, side in enumerate(x.shape) if keep or at not in gone]
    return Tensor(_floats(x), tuple(shape))


def _scaled(x: Tensor, scale: Tensor, zero: Tensor | None, given: _Given) -> None:
    """Check the scale and zero point of a (de)quantisation."""
    _typed(scale, FLOAT)
    if not scale.constant or len(scale.shape) > 1:
        raise Refused(f"a scale of shape {list(scale.shape)} that may not be; expected constants")
    if scale.values is not None and not (
        np.isfinite(scale.values).all() and (scale.values > 0).all()
    ):
        raise Refused("a scale of 0, below it, NaN or infinite; expected finite numbers above 0")
    if zero is not None and (zero.shape != scale.shape or not zero.constant):
        raise Refused(f"zero points of shape {list(zero.shape)}; expected {list(scale.shape)}")
    given.integer("block_size", 0, 0, 0)
    given.integer("saturate", 1, 1, 1)
    if scale.shape and scale.shape != (1,):
        axis = _axis(given.values.get("axis", 1), len(x.shape))
        if scale.shape[0] != x.shape[axis]:
            raise Refused(f"{scale.shape[0]} scales; expected {x.shape[axis]}")


def _quantize(inputs: list[Any], given: _Given) -> Tensor:
    x, scale, zero = inputs
    _typed(x, FLOAT)
    _scaled(x, scale, zero, given)
    return Tensor(_typed(zero, UINT8, INT8).dtype, x.shape)


def _dequantize(inputs: list[Any], given: _Given) -> Tensor:
    x, scale, zero = inputs
    _typed(x, UINT8, INT8)
    _scaled(x, scale, zero, given)
    if zero is not None:
        _typed(zero, x.dtype)
    return Tensor(FLOAT, x.shape)


_WINDOW: Mapping[str, type] = {
    "auto_pad": bytes,
    "dilations": list,
    "kernel_shape": list,
    "pads": list,
    "strides": list,
}
_REDUCED: Mapping[str, type] = {"axes": list, "keepdims": int, "noop_with_empty_axes": int}
_SCALES: Mapping[str, type] = {"axis": int, "block_size": int, "saturate": int}
_RESIZED: Mapping[str, type] = {
    "antialias": int,
    "coordinate_transformation_mode": bytes,
    "cubic_coeff_a": float,
    "exclude_outside": int,
    "extrapolation_value": float,
    "keep_aspect_ratio_policy": bytes,
    "mode": bytes,
    "nearest_mode": bytes,
}
_ANY = 256  # inputs of a Concat

_RULES: dict[str, _Rule] = {
    **{
        op: _Rule(_unary, 1, 1, {})
        for op in ("Abs", "Exp", "HardSwish", "Neg", "Relu", "Sigmoid", "Sqrt", "Tanh")
    },
    "HardSigmoid": _Rule(_unary, 1, 1, {"alpha": float, "beta": float}),
    "LeakyRelu": _Rule(_unary, 1, 1, {"alpha": float}),
    "Identity": _Rule(_identity, 1, 1, {}),
    "Clip": _Rule(_clip, 1, 3, {}),
    **{op: _Rule(_binary, 2, 2, {}) for op in ("Add", "Div", "Mul", "Sub")},
    **{op: _Rule(_binary, 1, 16, {}) for op in ("Max", "Min")},
    **{
        op: _Rule(_comparison, 2, 2, {})
        for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
    },
    **{op: _Rule(_logical, 2, 2, {}) for op in ("And", "Or")},
    "Where": _Rule(_where, 3, 3, {}),
    "Softmax": _Rule(_softmax, 1, 1, {"axis": int}),
    "Cast": _Rule(_cast, 1, 1, {"to": int}, ("to",)),
    "Concat": _Rule(_concat, 1, _ANY, {"axis": int}, ("axis",)),
    "Conv": _Rule(_conv, 2, 3, {**_WINDOW, "group": int}),
    "ConvTranspose": _Rule(
        _conv_transpose, 2, 3, {**_WINDOW, "group": int, "output_padding": list}
    ),
    "MaxPool": _Rule(
        _pool, 1, 1, {**_WINDOW, "ceil_mode": int, "storage_order": int}, ("kernel_shape",)
    ),
    "AveragePool": _Rule(
        _pool, 1, 1, {**_WINDOW, "ceil_mode": int, "count_include_pad": int}, ("kernel_shape",)
    ),
    "MatMul": _Rule(_matmul, 2, 2, {}),
    "Gemm": _Rule(_gemm, 2, 3, {"alpha": float, "beta": float, "transA": int, "transB": int}),
    "Pad": _Rule(_pad, 2, 3, {"mode": bytes}),
    "Slice": _Rule(_slice, 3, 5, {}),
    "Reshape": _Rule(_reshape, 2, 2, {"allowzero": int}),
    "Transpose": _Rule(_transpose, 1, 1, {"perm": list}),
    "Unsqueeze": _Rule(_unsqueeze, 2, 2, {}),
    "Expand": _Rule(_expand, 2, 2, {}),
    "DepthToSpace": _Rule(_depth_to_space, 1, 1, {"blocksize": int, "mode": bytes}, ("blocksize",)),
    "Resize": _Rule(_resize, 1, 4, _RESIZED),
    **{op: _Rule(_reduce, 1, 2, _REDUCED) for op in ("ReduceMax", "ReduceMean")},
    "QuantizeLinear": _Rule(_quantize, 3, 3, _SCALES),
    "DequantizeLinear": _Rule(_dequantize, 2, 3, _SCALES),
}

OPERATORS = frozenset(_RULES)
"""The operators that an engine's graph may hold, all of the default domain."""
