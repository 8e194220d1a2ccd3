"""Max-pool and max-unpool as plain operators: PyTorch, the kernels and the runtimes agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from matter_sdk import kernels
from matter_sdk.export import onnx_files
from matter_sdk.export.stages import graph, plans, precision
from matter_sdk.export.stages.verify import session
from matter_sdk.sdk.backends.openvino import process_core
from matter_sdk.training.networks.unpool import MaxPool, MaxUnpool

OPERATORS = {
    *("MaxPool", "Pad", "Slice", "Equal", "Where"),
    *("Unsqueeze", "Concat", "Reshape", "DepthToSpace"),
}


def features(*shape: int, seed: int = 0) -> Tensor:
    """As after a ReLU, rounded so that ties are common."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).mul(4).round().relu()


def size_of(x: Tensor) -> tuple[int, int]:
    return x.shape[2], x.shape[3]


def reference(x: Tensor, decoded: Tensor) -> Tensor:
    """`decoded` unpooled to where PyTorch's pooling of `x` found the maxima."""
    _, indices = F.max_pool2d(x, 3, 2, 1, return_indices=True)
    return F.max_unpool2d(decoded, indices, [2, 2], [2, 2], output_size=size_of(x))


small = arrays.arrays(
    np.float32,
    st.tuples(st.just(1), st.integers(1, 3), st.integers(2, 7), st.integers(2, 7)),
    elements=st.integers(-3, 3).map(float),
)


@settings(deadline=None)  # timings of a busy machine say nothing
@given(image=small)
def test_three_forms_agree(image: NDArray[np.float32]) -> None:
    x = torch.from_numpy(image)
    values, offsets = MaxPool()(x)
    expected = F.max_pool2d(x, 3, 2, 1)
    kernel_values, kernel_offsets = kernels.max_pool_offsets(image)
    assert torch.equal(values, expected)
    np.testing.assert_array_equal(kernel_values, expected.numpy())
    np.testing.assert_array_equal(offsets.numpy(), kernel_offsets)

    decoded = torch.arange(1.0, values.numel() + 1).reshape(values.shape)
    expected = reference(x, decoded)
    assert torch.equal(MaxUnpool()(decoded, offsets, size_of(x)), expected)
    unpooled = kernels.max_unpool(decoded.numpy(), kernel_offsets, size=size_of(x))
    np.testing.assert_array_equal(unpooled, expected.numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_bits_are_those_of_pytorch(dtype: torch.dtype) -> None:
    x = features(2, 5, 33, 40).to(dtype)
    values, offsets = MaxPool()(x)
    decoded = features(*values.shape, seed=1).sub(1).mul(-1).to(dtype)  # some are -0
    assert bool(((decoded == 0) & decoded.signbit()).any())
    received, expected = MaxUnpool()(decoded, offsets, size_of(x)), reference(x, decoded)
    assert received.dtype == dtype
    np.testing.assert_array_equal(received.numpy().view(np.uint8), expected.numpy().view(np.uint8))
    unpooled = kernels.max_unpool(
        decoded.numpy(), offsets.numpy().astype(np.uint8), size=size_of(x)
    )
    np.testing.assert_array_equal(unpooled.view(np.uint8), expected.numpy().view(np.uint8))


def test_gradients_are_those_of_pytorch() -> None:
    weight = features(1, 4, 33, 40, seed=2)

    def gradients(own: bool) -> list[Tensor]:
        x = features(1, 4, 33, 40).requires_grad_()
        scale = features(1, 4, 17, 20, seed=1).requires_grad_()
        if own:
            values, offsets = MaxPool()(x)
            y = MaxUnpool()(values * scale, offsets, size_of(x))
        else:
            values, indices = F.max_pool2d(x, 3, 2, 1, return_indices=True)
            y = F.max_unpool2d(values * scale, indices, [2, 2], [2, 2], output_size=size_of(x))
        (y * weight).sum().backward()
        return [leaf.grad for leaf in (x, scale) if leaf.grad is not None]

    for received, expected in zip(gradients(True), gradients(False), strict=True):
        assert bool(expected.any())
        assert torch.equal(received, expected)


def test_a_window_that_lost_its_pixel_has_a_gradient_too() -> None:
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 1, 1] = 1  # the maximum of all four windows
    values, offsets = MaxPool()(x)
    decoded = torch.ones_like(values).requires_grad_()
    y = MaxUnpool()(decoded, offsets)
    assert int(y.count_nonzero()) == 1
    y.sum().backward()
    assert decoded.grad is not None
    assert torch.equal(decoded.grad, torch.ones_like(decoded))


@pytest.mark.parametrize("value", [float("nan"), -float("inf")])
def test_training_that_went_wrong_reads_nothing_outside(value: float) -> None:
    x = torch.full((1, 1, 5, 5), value)
    values, offsets = MaxPool()(x)
    decoded = torch.ones_like(values).requires_grad_()
    MaxUnpool()(decoded, offsets, (5, 5)).sum().backward()
    assert decoded.grad is not None


def test_any_number_of_threads_gives_the_same() -> None:
    # Large enough that PyTorch splits each plane.
    x = features(1, 2, 700, 700)
    decoded = torch.arange(1.0, 2 * 350 * 350 + 1).reshape(1, 2, 350, 350)
    expected = reference(x, decoded)
    torch.set_num_threads(4)
    _, offsets = MaxPool()(x)
    assert torch.equal(MaxUnpool()(decoded, offsets), expected)


class Alone(nn.Module):
    """Pools and unpools the image, which the decoder's features are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.unpool = MaxPool(), MaxUnpool()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        values, offsets = self.pool(x)
        return {"y": self.unpool(values, offsets, size_of(x))}


class Network(nn.Module):
    """Between convolutions, and twice, as networks have it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 1, 1)
        self.pool, self.unpool = MaxPool(), MaxUnpool()

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x, outer = self.pool(torch.relu(self.stem(image)))
        x, inner = self.pool(torch.relu(self.middle(x)))
        x = self.unpool(self.unpool(x, inner), outer)
        return {"alpha": torch.sigmoid(self.head(x))}


@pytest.mark.parametrize("size", [(32, 48), (33, 35)])
def test_the_exported_graph_gives_the_same_bits(size: tuple[int, int], tmp_path: Path) -> None:
    model = graph.export_onnx(Alone(), {"y": 3}, size, batch=2)
    assert {node.op_type for node in model.graph} == OPERATORS
    (pool,) = (node for node in model.graph if node.op_type == "MaxPool")
    assert len(pool.outputs) == 1
    onnx_files.save(model, tmp_path / "x.onnx")
    x = features(2, 3, *size) - 3
    expected = reference(x, F.max_pool2d(x, 3, 2, 1)).numpy()
    received = session(tmp_path / "x.onnx")(x.numpy())["y"]
    np.testing.assert_array_equal(received, expected)


def test_openvino_gives_the_same(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    onnx_files.save(graph.export_onnx(Alone(), {"y": 3}, (32, 48)), tmp_path / "x.onnx")
    x = features(1, 3, 32, 48) - 3
    compiled = process_core().compile_model(
        tmp_path / "x.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    expected = reference(x, F.max_pool2d(x, 3, 2, 1)).numpy()
    np.testing.assert_array_equal(compiled(x.numpy())[0], expected)


@pytest.mark.parametrize("half", [None, ir.DataType.FLOAT16, ir.DataType.BFLOAT16])
def test_tensorrt_rtx_builds_a_plan(half: ir.DataType | None, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    model = graph.export_onnx(Network(), {"alpha": 1}, (64, 96))
    if half is not None:
        model = precision.typed(model, half, precision.protected(model, half))
    onnx_files.save(model, tmp_path / "x.onnx")
    plan = plans.build("tensorrt-rtx", tmp_path / "x.onnx", tmp_path / "x.plan", warn=print)
    assert plan.path.stat().st_size > 1000


class Rectified(nn.Module):
    """Between a ReLU, whose type a half-precision graph may choose, and a convolution by 1."""

    def __init__(self) -> None:
        super().__init__()
        self.alone = Alone()
        self.head = nn.Conv2d(3, 3, 1, groups=3, bias=False)
        nn.init.ones_(self.head.weight)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"y": self.head(self.alone(torch.relu(x))["y"])}


@pytest.mark.parametrize("kept", ["", "Relu"])
def test_half_precision_finds_every_maximum(kept: str, tmp_path: Path) -> None:
    # A ReLU may stay in float32 (its input was too large). What is pooled and what is compared with
    # it must then have one type still: rounded on one way only, no maximum would be found again.
    half = ir.DataType.FLOAT16
    model = graph.export_onnx(Rectified(), {"y": 3}, (32, 48))
    keep = precision.protected(model, half)
    keep |= {node.name or "" for node in model.graph if node.op_type == kept}
    made = precision.emulated(precision.typed(model, half, keep), half)
    onnx_files.save(made, tmp_path / "x.onnx")
    image = torch.randn((1, 3, 32, 48), generator=torch.Generator().manual_seed(0))
    x = image.relu() if kept else image.half().float().relu()
    expected = reference(x, F.max_pool2d(x, 3, 2, 1)).half().float().numpy()
    received = session(tmp_path / "x.onnx")(image.numpy())["y"]
    np.testing.assert_array_equal(received, expected)
