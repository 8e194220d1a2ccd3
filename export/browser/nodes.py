"""Write ONNX nodes one after another, as expressions are written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper

PREFIX = "matter/"  # no network's values are named so


class Nodes:
    """Nodes and constants of a graph; its methods return the names of values.

    Attributes:
        nodes: in the order of their making.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], onnx.TensorProto] = {}

    @property
    def constants(self) -> list[onnx.TensorProto]:
        """What the nodes read besides each other; equal ones are there once."""
        return list(self._constants.values())

    def __call__(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node with one output, which may be given a name."""
        output = output or f"{PREFIX}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def extend(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """Add another graph's nodes."""
        self.nodes.extend(nodes)

    def constant(self, value: ArrayLike, dtype: Any) -> str:
        """Add a constant."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"{PREFIX}constant/{len(self._constants)}"
            self._constants[key] = numpy_helper.from_array(array, name)
        return self._constants[key].name

    def whole(self, value: ArrayLike) -> str:
        """Add a constant of int64."""
        return self.constant(value, np.int64)

    def real(self, value: ArrayLike) -> str:
        """Add a constant of float32."""
        return self.constant(value, np.float32)

    def cast(self, value: str, dtype: Any) -> str:
        """Convert to a NumPy type."""
        return self("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def inverse(self, value: str) -> str:
        """1 / value, rounded. (Runtimes make ``1 / a * b`` to ``b / a``, but not this.)"""
        return self("Div", self.real(2), self("Add", value, value))

    def reshape(self, value: str, *sides: int) -> str:
        """Give another shape: -1 is what is left, 0 what it was."""
        return self("Reshape", value, self.whole(sides))

    def select(self, value: str, first: int, end: int, axis: int = 0) -> str:
        """Take ``first`` .. ``end - 1`` on an axis."""
        return self("Slice", value, *map(self.whole, ([first], [end], [axis])))

    def swept(self, operator: str, *values: str) -> str:
        """Join several values by an operator of two, from the left."""
        result, *others = values
        for other in others:
            result = self(operator, result, other)
        return result
