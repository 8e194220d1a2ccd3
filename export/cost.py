"""Count the multiply-accumulates and bytes of a graph, from its static shapes."""

from __future__ import annotations

import math

import onnx_ir as ir

from matter_sdk.export.errors import BuildError
from matter_sdk.sdk.describe import count_text
from matter_sdk.sdk.engine.manifest import FOREIGN, NetworkInfo


def count_macs(model: ir.Model) -> int:
    """Count the multiply-accumulates of one run, of convolutions and matrix products."""
    return sum(map(node_macs, model.graph))


def node_macs(node: ir.Node) -> int:
    """Count the multiply-accumulates of one operator: 0 unless it is one of those."""
    if node.op_type == "Conv":
        return math.prod(dims(node.outputs[0])) * math.prod(dims(node.inputs[1])[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(dims(node.inputs[0])) * math.prod(dims(node.inputs[1])[1:])
    if node.op_type in ("MatMul", "Gemm"):
        left = dims(node.inputs[0])
        transposed = node.op_type == "Gemm" and node.attributes.get_int("transA", 0) == 1
        return math.prod(dims(node.outputs[0])) * left[0 if transposed else -1]
    return 0


def weight_bytes(model: ir.Model) -> int:
    """Count the bytes of all constants."""
    return sum(
        value.const_value.nbytes
        for value in model.graph.initializers.values()
        if value.const_value is not None
    )


def dims(value: ir.Value | None) -> tuple[int, ...]:
    """Return the static shape of a value.

    Raises:
        BuildError: it has none.
    """
    if (
        value is None
        or value.shape is None
        or not all(isinstance(side, int) for side in value.shape)
    ):
        raise BuildError(
            f"{value.name if value else 'an input'} has the shape "
            f"{value.shape if value else None}; expected a static shape"
        )
    return tuple(int(side) for side in value.shape)  # type: ignore[arg-type]


def costs_text(network: NetworkInfo, *, whole: bool) -> str:
    """Return parameters and multiply-accumulates in words.

    ``whole``: an engine's own network, which is also counted at the size that papers use.
    """
    import torch

    from matter_sdk.training import networks
    from matter_sdk.training.evaluation import complexity
    from matter_sdk.training.weights import released

    parameters = f"{count_text(network.parameters)} parameters"
    macs = [f"{count_text(count)} at {size}" for size, count in network.macs.items()]
    unused = released.unused_parameters(network.backbone) if whole else 0
    if unused:
        count = network.parameters + unused * (3 if network.rosta == "en-median" else 1)
        parameters += f" ({count_text(count)} with what released files hold and nothing reads)"
    papers = "{}x{}".format(*complexity.PAPERS_SIZE)
    if whole and papers not in network.macs and network.name != FOREIGN:
        with torch.device("meta"):
            hollow = networks.create(
                network.name,
                backbone=network.backbone,
                rosta=network.rosta,
                without=network.without,
            ).eval()
        there = complexity.multiply_accumulates(hollow, complexity.PAPERS_SIZE)
        macs.append(f"{count_text(there)} at {papers}, as the papers count")
    return (
        f"{parameters}; multiply-accumulates {'an image' if whole else 'a window'}: "
        + ", ".join(macs)
    )
