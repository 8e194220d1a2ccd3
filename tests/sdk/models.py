"""Small ONNX models from nodes."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, ...]],
    outputs: dict[str, tuple[int, ...]],
    batch: int,
    **constants: NDArray[np.float64],
) -> onnx.ModelProto:
    """All is float32; shapes are of one picture."""
    ends = [
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape])
            for name, shape in tensors.items()
        ]
        for tensors in (inputs, outputs)
    ]
    held = [numpy_helper.from_array(value.astype(np.float32), n) for n, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", *ends, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
