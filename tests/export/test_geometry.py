"""A graph of another size that no export made: it is the one that an export would make."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matter_sdk.export import onnx_files
from matter_sdk.export.stages import graph
from matter_sdk.export.stages.verify import session

HEADS = {"glance": 2, "focus": 1}
STRIDES = {"glance": 8}
SIZE, OTHERS = (64, 96), [(96, 64), (72, 104), (64, 96)]


class Padded(nn.Module):
    """Pads by the size, as EfficientNet does; its third result is never exported."""

    def __init__(self, *, grid: bool = False) -> None:
        super().__init__()
        self.heads = HEADS
        self.stem = nn.Conv2d(3, 8, 3, 2, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.down = nn.Conv2d(8, 8, 5, 4, groups=8)
        self.glance = nn.Conv2d(8, 2, 1)
        self.focus = nn.Conv2d(16, 1, 3, 1, 1)
        self.grid = grid

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        fine = F.relu6(self.norm(self.stem(same(image, 3, 2))))
        coarse = self.down(same(fine, 5, 4))
        glance = self.glance(coarse * coarse.mean((2, 3), keepdim=True).sigmoid())
        up = F.interpolate(coarse, fine.shape[2:], mode="bilinear")
        if self.grid:
            up = up + torch.linspace(0, 1, fine.shape[3])
        focus = self.focus(torch.cat([fine, up], 1))
        whole = F.interpolate(glance, image.shape[2:], mode="bilinear")
        focus = F.interpolate(focus, image.shape[2:], mode="bilinear").sigmoid()
        return {"glance": glance, "focus": focus, "whole": whole}


def same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Pad so that a convolution gives ⌈side/stride⌉."""
    pads = []
    for side in (x.shape[3], x.shape[2]):
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


def exported(network: nn.Module, size: tuple[int, int]) -> ir.Model:
    return graph.export_onnx(network, HEADS, size, strides=STRIDES)


def told(model: ir.Model) -> list[Any]:
    """All that a graph holds, but for the numbers of its weights."""
    nodes = [
        (
            *(node.op_type, node.name, [value and value.name for value in node.inputs]),
            {name: str(value.value) for name, value in node.attributes.items()},
            [(output.name, tuple(output.shape or ()), output.dtype) for output in node.outputs],
        )
        for node in model.graph
    ]
    small = {
        name: value.const_value.numpy().tolist()
        for name, value in model.graph.initializers.items()
        if value.const_value is not None and value.const_value.size < 100
    }
    return [nodes, small, [(value.name, tuple(value.shape or ())) for value in model.graph.inputs]]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(3)
    return Padded().train()


@pytest.fixture(scope="module")
def model(network: nn.Module) -> ir.Model:
    return exported(network, SIZE)


@pytest.mark.parametrize("size", OTHERS)
def test_it_is_what_an_export_gives(
    network: nn.Module, model: ir.Model, size: tuple[int, int], tmp_path: Path
) -> None:
    before = told(model)
    made = graph.resized(network, HEADS, model, size, strides=STRIDES)
    assert made is not None
    assert network.training
    assert told(made) == told(exported(network, size))
    assert told(model) == before  # as it was
    onnx_files.save(made, tmp_path / "model.onnx")
    x = np.random.default_rng(0).uniform(0, 255, (1, 3, *size)).astype(np.float32)
    heads = session(tmp_path / "model.onnx")(x)
    with torch.no_grad():
        network.eval()
        expected = network(torch.from_numpy(x))
        network.train()
    for name in HEADS:
        np.testing.assert_allclose(heads[name], expected[name].numpy(), rtol=1e-4, atol=1e-4)


def test_what_depends_on_the_size_otherwise_is_exported_anew(tiny: ModuleType) -> None:
    other = tiny.Tiny().eval()  # pools to sides that do not divide
    model = graph.export_onnx(other, other.heads, (64, 96))
    assert graph.resized(other, other.heads, model, (96, 64)) is None
    grid = Padded(grid=True).eval()  # a constant as wide as the picture
    assert graph.resized(grid, HEADS, exported(grid, SIZE), (96, 64), strides=STRIDES) is None


def test_a_graph_that_is_not_the_network_s_is_not_taken(
    network: nn.Module, model: ir.Model
) -> None:
    other = Padded()
    other.stem = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
    assert graph.resized(other, HEADS, model, (96, 64), strides=STRIDES) is None
