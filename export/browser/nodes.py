"""Write ONNX nodes one after another, as expressions are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

PREFIX = "matter/"  # no network's values are named so


Constants: TypeAlias = dict[tuple[str, tuple[int, ...], bytes], onnx.TensorProto]


class Nodes:
    """Nodes and constants of a graph; its methods return the names of values.

    Attributes:
        nodes: in the order of their making.
    """

    def __init__(self, name: str = PREFIX, constants: Constants | None = None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._name = name
        self._constants: Constants = {} if constants is None else constants

    @property
    def constants(self) -> list[onnx.TensorProto]:
        """What the nodes read besides each other; equal ones are there once."""
        return list(self._constants.values())

    def __call__(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node with one output, which may be given a name."""
        output = output or f"{self._name}{len(self.nodes)}"
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

    def turned(self, value: str) -> str:
        """Turn rows×columns: 1×columns×rows."""
        return self("Unsqueeze", self("Transpose", value, perm=[1, 0]), self.whole([0]))

    def either(self, condition: str, *branches: Callable[[Nodes], Sequence[str]]) -> Sequence[str]:
        """Values of float32 by one of two branches, the first where the condition is true.

        Each gets nodes of its own, which may read all values made so far.
        """
        graphs = []
        for at, branch in enumerate(branches):
            name = f"{self._name}{len(self.nodes)}/{at}/"
            nodes = Nodes(name, self._constants)
            values = [
                helper.make_tensor_value_info(value, TensorProto.FLOAT, None)
                for value in branch(nodes)
            ]
            graphs.append(helper.make_graph(nodes.nodes, name, [], values))
        names = [f"{self._name}{len(self.nodes)}/{at}" for at in range(len(graphs[0].output))]
        then, other = graphs
        node = helper.make_node("If", [condition], names, then_branch=then, else_branch=other)
        self.nodes.append(node)
        return names

    def swept(self, operator: str, *values: str) -> str:
        """Join several values by an operator of two, from the left."""
        result, *others = values
        for other in others:
            result = self(operator, result, other)
        return result
