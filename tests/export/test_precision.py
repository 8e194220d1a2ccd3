"""Half-precision graphs: types, what stays float32, and how far they are from float32."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray

from matter_sdk.export import cost, onnx_files
from matter_sdk.export.errors import BuildError
from matter_sdk.export.stages import graph, plans, precision
from matter_sdk.export.stages.verify import session
from matter_sdk.training import networks
from matter_sdk.training.networks.unpool import MaxPool, MaxUnpool

SIZE = (64, 96)
HEADS = {"glance": 3, "focus": 1}
FLOAT, FLOAT16, BFLOAT16 = ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16


@pytest.fixture(scope="module")
def model(tiny: ModuleType) -> ir.Model:
    return graph.export_onnx(tiny.Tiny(), HEADS, SIZE)


@pytest.fixture(scope="module")
def image() -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(0, 255, (1, 3, *SIZE)).astype(np.float32)


def heads(model: ir.Model, x: NDArray[np.float32], folder: Path) -> dict[str, NDArray[np.float32]]:
    onnx_files.save(model, folder / "x.onnx")
    return dict(session(folder / "x.onnx")(x))


def largest(a: dict[str, NDArray[np.float32]], b: dict[str, NDArray[np.float32]]) -> float:
    return max(float(np.abs(a[name] - b[name]).max()) for name in HEADS)


def test_tf32_rounds_the_factors_of_products(
    model: ir.Model, image: NDArray[np.float32], tmp_path: Path
) -> None:
    """PyTorch's convolution of the same rounded numbers, and no product of others."""
    emulated = precision.in_tf32(model)
    assert emulated.graph.inputs[0].dtype == FLOAT
    convolutions = [node for node in model.graph if node.op_type == "Conv"]
    first = convolutions[0]
    weight = first.inputs[1].const_value.numpy()  # type: ignore[union-attr]
    padding = first.attributes.get_ints("pads")[:2]  # type: ignore[index]
    stride = first.attributes.get_ints("strides")
    expected = torch.nn.functional.conv2d(
        torch.from_numpy(eleven_bits(image)),
        torch.from_numpy(eleven_bits(weight)),
        None if len(first.inputs) < 3 else torch.from_numpy(first.inputs[2].const_value.numpy()),  # type: ignore[union-attr]
        stride=tuple(stride),
        padding=tuple(padding),
    )
    for changed in (model.clone(), emulated):
        graph_ = changed.graph
        result = next(node for node in graph_ if node.name == first.name).outputs[0]
        graph_.outputs.append(result)
        onnx_files.save(changed, tmp_path / "x.onnx")
        found = session(tmp_path / "x.onnx")(image)[str(result.name)]
        close = np.allclose(found, expected.numpy(), rtol=1e-5, atol=1e-4)
        assert close == (changed is emulated)


def eleven_bits(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rounded to nearest, from the definition."""
    fraction, exponent = np.frexp(values.astype(np.float64))
    return np.ldexp(np.round(fraction * 2**11), exponent - 11).astype(np.float32)


def test_stored_weights_are_half_and_computed_in_float32(
    model: ir.Model, image: NDArray[np.float32], tmp_path: Path
) -> None:
    stored = precision.store_half(model)
    onnx_files.save(stored, tmp_path / "model.onnx")
    onnx.checker.check_model(tmp_path / "model.onnx", full_check=True)
    sizes = {value.dtype: 0 for value in stored.graph.initializers.values()}
    for value in stored.graph.initializers.values():
        if value.const_value is not None:
            sizes[value.dtype] += value.const_value.size
    assert sizes[FLOAT16] > 0.8 * sum(sizes.values())  # the rest are small ones
    for node in stored.graph:
        if node.op_type != "Cast":
            assert all(x is None or x.dtype != FLOAT16 for x in (*node.inputs, *node.outputs))
    # The same as rounding the weights by hand.
    rounded = model.clone()
    for value in rounded.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.dtype == FLOAT and tensor.size >= precision.SMALL:
            value.const_value = ir.tensor(
                tensor.numpy().astype(np.float16).astype(np.float32), name=value.name
            )
    assert largest(heads(stored, image, tmp_path), heads(rounded, image, tmp_path)) < 1e-6


def test_a_weight_beyond_float16_stays_float32(model: ir.Model) -> None:
    name, weight = max(
        model.graph.initializers.items(),
        key=lambda item: item[1].const_value.size,  # type: ignore[union-attr]
    )
    assert name not in precision.store_half(model).graph.initializers
    other = model.clone()
    shape = cost.dims(weight)
    other.graph.initializers[name].const_value = ir.tensor(
        np.full(shape, 7e4, np.float32), name=name
    )
    assert name in precision.store_half(other).graph.initializers
    reader = other.graph.initializers[name].consumers()[0]
    assert precision.too_large(other, {}) == {reader.name}


def test_the_float32_graph_is_left_as_it_was(model: ir.Model) -> None:
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    for half in (FLOAT16, BFLOAT16):
        precision.emulated(precision.typed(model, half, []), half)
    precision.store_half(model)
    precision.with_ranges(model)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("half", [FLOAT16, BFLOAT16])
def test_typed_graph_has_float32_input_and_outputs_and_consistent_types(
    model: ir.Model, half: ir.DataType
) -> None:
    keep = precision.protected(model, half)
    typed = precision.typed(model, half, keep)
    for value in (*typed.graph.inputs, *typed.graph.outputs):
        assert value.dtype == FLOAT
    assert [value.name for value in typed.graph.outputs] == ["glance", "focus"]
    convolutions = [node for node in typed.graph if node.op_type == "Conv"]
    assert convolutions
    for node in typed.graph:
        if node.op_type in ("Cast", "Resize", "Slice", "Reshape"):
            continue
        kinds = {x.dtype for x in (*node.inputs, *node.outputs) if x is not None}
        kinds -= {ir.DataType.INT64}
        assert kinds == {FLOAT if node.name in keep else half}, node.name
    # The input is read as float32 and cast once, not once a reader.
    casts = [node for node in typed.graph if node.op_type == "Cast"]
    assert len({(node.inputs[0], node.attributes.get_int("to")) for node in casts}) == len(casts)


def test_float16_graph_passes_onnx_own_type_check(model: ir.Model, tmp_path: Path) -> None:
    typed = precision.typed(model, FLOAT16, precision.protected(model, FLOAT16))
    onnx_files.save(typed, tmp_path / "typed.onnx")
    onnx.checker.check_model(tmp_path / "typed.onnx", full_check=True)


@pytest.mark.parametrize(("half", "bits"), [(FLOAT16, 11), (BFLOAT16, 8)])
def test_emulation_is_as_coarse_as_the_type(
    model: ir.Model, image: NDArray[np.float32], tmp_path: Path, half: ir.DataType, bits: int
) -> None:
    typed = precision.typed(model, half, precision.protected(model, half))
    difference = largest(
        heads(precision.emulated(typed, half), image, tmp_path), heads(model, image, tmp_path)
    )
    # Some roundings of 2**-bits each: neither none (not emulated) nor nonsense.
    assert 0.1 * 2.0**-bits < difference < 30 * 2.0**-bits


@pytest.mark.parametrize(("half", "kind"), [(FLOAT16, torch.float16), (BFLOAT16, torch.bfloat16)])
def test_emulated_results_are_numbers_of_the_half_type(
    half: ir.DataType, kind: torch.dtype, tmp_path: Path
) -> None:
    """Against PyTorch: product and sum each rounded to the half type, step by step."""

    class Steps(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"y": torch.relu(x * 0.3711) + x}

    model = graph.export_onnx(Steps(), {"y": 3}, (32, 32))
    typed = precision.typed(model, half, [])
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    onnx_files.save(precision.emulated(typed, half), tmp_path / "x.onnx")
    received = session(tmp_path / "x.onnx")(x.numpy())["y"]
    z = x.to(kind)
    expected = (torch.relu(z * torch.tensor(0.3711).to(kind)) + z).float().numpy()
    np.testing.assert_array_equal(received, expected)


def test_saturated_classes_do_not_tie_in_a_float16_graph(tmp_path: Path) -> None:
    """sigmoid(9) and sigmoid(12) are both 1 in float16; the arg-max must still see the larger."""

    class Logits(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"glance": (x * 2).sigmoid()}

    model = graph.export_onnx(Logits(), {"glance": 3}, (32, 32))
    x = np.zeros((1, 3, 32, 32), np.float32)
    x[:, 1], x[:, 2] = 4.5, 6.0
    keep = precision.protected(model, FLOAT16)
    good = precision.emulated(precision.typed(model, FLOAT16, keep), FLOAT16)
    onnx_files.save(good, tmp_path / "good.onnx")
    assert (session(tmp_path / "good.onnx")(x)["glance"].argmax(1) == 2).all()
    bad = precision.emulated(precision.typed(model, FLOAT16, []), FLOAT16)
    onnx_files.save(bad, tmp_path / "bad.onnx")
    assert (session(tmp_path / "bad.onnx")(x)["glance"].argmax(1) == 1).all()


def test_layers_that_would_overflow_stay_float32(tmp_path: Path) -> None:
    class Loud(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            loud = torch.relu(x * 1000)
            return {"y": torch.tanh(loud * 1e-5)}

    model = graph.export_onnx(Loud(), {"y": 3}, (32, 32))
    x = np.random.default_rng(0).uniform(100, 255, (1, 3, 32, 32)).astype(np.float32)
    measured, names = precision.with_ranges(model)
    onnx_files.save(measured, tmp_path / "ranges.onnx")
    values = session(tmp_path / "ranges.onnx")(x).values()
    ranges = dict(zip(names, map(float, values), strict=True))
    assert max(ranges.values()) == pytest.approx(1000 * x.max(), rel=1e-6)
    large = precision.too_large(model, ranges)
    kinds = [node.op_type for node in model.graph if node.name in large]
    assert kinds == ["Mul", "Relu", "Mul"]  # the quiet end is not among them
    expected = np.tanh(x * 1e-2)
    for keep, good in ((large, True), (set(), False)):
        made = precision.emulated(precision.typed(model, FLOAT16, keep), FLOAT16)
        onnx_files.save(made, tmp_path / "x.onnx")
        received = session(tmp_path / "x.onnx")(x)["y"]
        assert bool(np.allclose(received, expected, atol=2e-3)) is good
    assert precision.too_large(model, dict.fromkeys(ranges, float("nan")))


def kept(model: ir.Model, half: ir.DataType = FLOAT16) -> list[str]:
    keep = precision.protected(model, half)
    return [node.name or "" for node in model.graph if node.name in keep]


@pytest.fixture(scope="module")
def unpooling(tiny: ModuleType) -> ir.Model:
    torch.manual_seed(1)
    network = tiny.TinyUnpool()
    return graph.export_onnx(network, network.heads, SIZE)


def test_max_pools_and_attention_over_channels_are_half(unpooling: ir.Model) -> None:
    """Only the squeeze-and-excitation's mean over planes and the heads' sigmoids stay float32."""
    assert kept(unpooling) == ["se/ReduceMean", "Sigmoid_2", "Sigmoid_3"]


@pytest.mark.parametrize("half", [FLOAT16, BFLOAT16])
def test_a_max_pool_in_half_precision_finds_the_same_pixels(
    half: ir.DataType, tmp_path: Path
) -> None:
    """Bit for bit what PyTorch pools and unpools from the rounded input."""

    class There(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool, self.unpool = MaxPool(), MaxUnpool()

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"y": self.unpool(*self.pool(x))}

    model = graph.export_onnx(There(), {"y": 3}, (32, 48))
    keep = precision.protected(model, half)
    assert not [
        node.op_type for node in model.graph if node.name in keep and "unpool" not in node.name
    ]
    onnx_files.save(precision.emulated(precision.typed(model, half, []), half), tmp_path / "x.onnx")
    x = torch.randn(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    x = torch.round(x * 64) / 64 + 1e-5  # so that many of a window's values tie once rounded
    kind = torch.float16 if half == FLOAT16 else torch.bfloat16
    rounded = x.to(kind).float()
    pooled, places = torch.nn.functional.max_pool2d(rounded, 3, 2, 1, return_indices=True)
    received = session(tmp_path / "x.onnx")(x.numpy())["y"]
    seen = torch.from_numpy(received)
    offsets_y = There()(rounded)["y"]
    assert torch.equal(seen, offsets_y)
    # Independent of our own pooling: a pixel that is not zero is its window's first maximum.
    first = torch.zeros_like(rounded).flatten(2)
    first.scatter_(2, places.flatten(2), pooled.flatten(2))
    assert torch.equal(seen.flatten(2), first)


def test_a_clamped_head_is_clamped_in_float32(tiny: ModuleType) -> None:
    network = tiny.TinyTrimap()
    model = graph.export_onnx(network, network.heads, SIZE, inputs=network.inputs)
    assert kept(model) == ["aspp/ReduceMean", "Sigmoid", "Clip", "Slice", "Slice_2"]


def test_a_median_of_mattes_is_taken_in_float32() -> None:
    class Median(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            a, b, c = (x / 255).sigmoid().split(1, 1)
            low, high = torch.minimum(a, b), torch.maximum(a, b)
            return {"alpha": torch.maximum(low, torch.minimum(high, c))}

    model = graph.export_onnx(Median(), {"alpha": 1}, (32, 32))
    keep = precision.protected(model, FLOAT16)
    kinds = [node.op_type for node in model.graph if node.name in keep]
    assert {"Max", "Min", "Sigmoid"} <= set(kinds)
    assert "Div" not in kinds  # before the sigmoid come logits


def test_a_sum_over_channels_stays_float32_only_if_it_may_overflow(unpooling: ir.Model) -> None:
    names = {node.op_type: node.name for node in unpooling.graph}
    (mean,) = [node for node in unpooling.graph if node.name == "ReduceMean"]
    source = mean.inputs[0]
    assert source is not None
    ranges = {source.name or "": 100.0}
    assert "ReduceMean" not in precision.too_large(unpooling, ranges)  # of 16 channels
    ranges = {source.name or "": precision.LIMIT / 10}
    large = precision.too_large(unpooling, ranges)
    assert "ReduceMean" in large
    assert names["ReduceMax"] not in large  # which adds nothing up


def test_the_border_of_a_max_pool_is_no_overflow(unpooling: ir.Model, tmp_path: Path) -> None:
    measured, names = precision.with_ranges(unpooling)
    onnx_files.save(measured, tmp_path / "ranges.onnx")
    x = np.random.default_rng(0).standard_normal((1, 3, *SIZE)).astype(np.float32)
    ranges = dict(
        zip(names, map(float, session(tmp_path / "ranges.onnx")(x).values()), strict=True)
    )
    assert np.isfinite(list(ranges.values())).all()
    assert precision.too_large(unpooling, ranges) == set()
    # What is pooled being too large, its comparisons are float32 with it.
    (pool,) = [node for node in unpooling.graph if node.op_type == "MaxPool"]
    source = pool.inputs[0]
    assert source is not None
    large = precision.too_large(unpooling, ranges | {source.name or "": 1e5})
    kinds = [node.op_type for node in unpooling.graph if node.name in large]
    assert kinds.count("Equal") == 8
    assert {"MaxPool", "Pad", "Slice"} <= set(kinds)


@pytest.mark.parametrize("half", [FLOAT16, BFLOAT16])
@pytest.mark.parametrize("name", ["TinyUnpool", "TinyTrimap", "TinyClassifier"])
def test_tensorrt_rtx_takes_the_operators_of_every_network(
    tiny: ModuleType, name: str, half: ir.DataType, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx")
    network = getattr(tiny, name)()
    model = graph.export_onnx(
        network,
        network.heads,
        SIZE,
        inputs=networks.inputs(network),
        strides=getattr(network, "head_strides", {}),
    )
    typed = precision.typed(model, half, precision.protected(model, half))
    onnx_files.save(typed, tmp_path / "typed.onnx")
    plans.build("tensorrt-rtx", tmp_path / "typed.onnx", tmp_path / "x.plan", warn=print)
    assert (tmp_path / "x.plan").stat().st_size > 1000


@pytest.mark.parametrize("half", [None, FLOAT16, BFLOAT16])
def test_tensorrt_rtx_builds_a_plan(
    model: ir.Model, half: ir.DataType | None, tmp_path: Path
) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    typed = (
        model if half is None else precision.typed(model, half, precision.protected(model, half))
    )
    onnx_files.save(typed, tmp_path / "typed.onnx", external_bytes=1000)
    warnings: list[str] = []
    plan = plans.build(
        "tensorrt-rtx", tmp_path / "typed.onnx", tmp_path / "x.plan", warn=warnings.append
    )
    assert plan.path.stat().st_size > 1000
    version = ".".join(trt.__version__.split(".")[:2])
    assert plan.member(None) == f"plans/tensorrt-rtx-{version}.plan"
    assert plan.member((64, 96)) == f"plans/tensorrt-rtx-{version}-64x96.plan"


def test_the_parsers_complaint_is_shown(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    helper = onnx.helper
    node = helper.make_node("MaxPool", ["image"], ["y", "i"], kernel_shape=[2, 2], name="pool")
    made = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("image", 1, [1, 1, 4, 4])],
        [
            helper.make_tensor_value_info("y", 1, [1, 1, 3, 3]),
            helper.make_tensor_value_info("i", 7, [1, 1, 3, 3]),
        ],
    )
    onnx.save(helper.make_model(made, ir_version=10), tmp_path / "x.onnx")
    with pytest.raises(BuildError, match="does not accept the graph") as caught:
        plans.build("tensorrt-rtx", tmp_path / "x.onnx", tmp_path / "x.plan", warn=print)
    assert "MaxPool" in str(caught.value)
    assert not (tmp_path / "x.plan").exists()


def test_name_of_a_plan_for_one_gpu() -> None:
    plan = plans.Plan("tensorrt", "11.4", "9.0", Path("x"))
    assert plan.member(None) == "plans/tensorrt-11.4-sm90.plan"
