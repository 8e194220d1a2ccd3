"""INT8 graphs: scales and numbers by NumPy's own formula, what stays float, and the search."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.nn import functional as F

from matter_sdk.export import onnx_files
from matter_sdk.export.errors import BuildError
from matter_sdk.export.stages import graph, quantise
from matter_sdk.export.stages.quantise import Quantiser, search
from matter_sdk.export.stages.verify import session

SIZE = (32, 64)


class Chain(nn.Module):
    """Three convolutions, of which the second is neither first nor last."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.a, self.b, self.c = (
            nn.Conv2d(3, 8, 3, 1, 1),
            nn.Conv2d(8, 8, 3, 1, 1),
            nn.Conv2d(8, 1, 1),
        )
        for conv in (self.a, self.b, self.c):
            conv.weight.data = torch.randn(conv.weight.shape, generator=generator) / 5
            conv.bias.data = torch.randn(conv.out_channels, generator=generator) / 5
        self.c.weight.data *= 10
        self.b.weight.data *= torch.logspace(-2, 0, 8)[:, None, None, None]  # unlike channels

    def forward(self, x: Any) -> dict[str, Any]:
        return {"alpha": self.c(F.relu(self.b(F.relu(self.a(x))))).sigmoid()}


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.uniform(0, 1, (1, 3, *SIZE)).astype(np.float32) for _ in range(3)]


@pytest.fixture(scope="module")
def chain_model() -> ir.Model:
    return graph.export_onnx(Chain(), {"alpha": 1}, SIZE)


@pytest.fixture(scope="module")
def tiny_model(tiny: ModuleType) -> ir.Model:
    return graph.export_onnx(tiny.Tiny(), {"glance": 3, "focus": 1}, (64, 96))


def quantiser_of(model: ir.Model, frames: Sequence[np.ndarray], folder: Path) -> Quantiser:
    return Quantiser(model, ({"image": frame} for frame in frames), folder)


@pytest.fixture(scope="module")
def chain(
    chain_model: ir.Model, frames: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("chain")
    quantiser = quantiser_of(chain_model, frames, folder)
    assert quantiser.always == {"a/Conv", "c/Conv"}
    assert quantiser.write(quantiser.always, folder / "int8.onnx") is None
    return folder / "int8.onnx"


def producers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {x.name: onnx.numpy_helper.to_array(x) for x in model.graph.initializer}


def in_eight_bits(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """uint8 with a zero point, and back: the formula of QuantizeLinear."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255)
    zero = np.rint(-low / scale)
    return ((np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * scale).astype(np.float32)


def test_weights_have_a_scale_for_each_channel(chain: Path) -> None:
    model = onnx.load(chain)
    onnx.checker.check_model(model, full_check=True)
    made, constant = producers(model), constants(model)
    (conv,) = (node for node in model.graph.node if node.name == "b/Conv")
    dequantise = made[conv.input[1]]
    assert dequantise.op_type == "DequantizeLinear"
    assert [a.i for a in dequantise.attribute if a.name == "axis"] == [0]
    stored, scale, zero = (constant[name] for name in dequantise.input)
    weight = Chain().b.weight.detach().numpy()
    expected = np.abs(weight).max(axis=(1, 2, 3)) / 127
    np.testing.assert_allclose(scale, expected, rtol=1e-6)
    assert stored.dtype == np.int8
    assert not zero.any()
    np.testing.assert_array_equal(stored, np.rint(weight / scale[:, None, None, None]))
    assert constant[conv.input[2]].dtype == np.float32  # the bias


def test_what_is_kept_is_float(chain: Path) -> None:
    model = onnx.load(chain)
    made, constant = producers(model), constants(model)
    network = Chain()
    for name, conv in (("a", network.a), ("c", network.c)):
        (node,) = (node for node in model.graph.node if node.name == f"{name}/Conv")
        np.testing.assert_array_equal(constant[node.input[1]], conv.weight.detach().numpy())
        assert node.input[1] not in made
    assert model.graph.node[0].name == "a/Conv"  # and no pair stands at the picture
    assert {x.domain for x in model.opset_import} <= {"", "ai.onnx"}


def test_it_computes_what_numpy_says(chain: Path, frames: list[np.ndarray]) -> None:
    network = Chain().eval()

    def convolution(x: np.ndarray, conv: nn.Conv2d, weight: np.ndarray | None = None) -> np.ndarray:
        kernel = conv.weight if weight is None else torch.from_numpy(weight)
        with torch.no_grad():
            padding = conv.padding
            return F.conv2d(torch.from_numpy(x), kernel, conv.bias, 1, padding).numpy()

    first = [np.maximum(convolution(x, network.a), 0) for x in frames]
    second = [np.maximum(convolution(x, network.b), 0) for x in first]
    top, next_top = (max(float(x.max()) for x in values) for values in (first, second))
    weight = network.b.weight.detach().numpy()
    scale = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127
    rounded = (np.rint(weight / scale) * scale).astype(np.float32)
    run = session(chain)
    for frame, x, exact in zip(frames, first, second, strict=True):
        y = np.maximum(convolution(in_eight_bits(x, 0, top), network.b, rounded), 0)
        logit = convolution(in_eight_bits(y, 0, next_top), network.c)
        expected = 1 / (1 + np.exp(-logit))
        alpha = np.asarray(run(frame)["alpha"])
        unrounded = 1 / (1 + np.exp(-convolution(exact, network.c)))
        # A number that lies between two of the 256 falls to either side; few do.
        difference = np.abs(alpha - expected).mean()
        assert difference < 0.02 * np.abs(alpha - unrounded).mean()


def test_first_last_small_and_compared_stay_float(tiny: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    frames = [rng.standard_normal((1, 3, 64, 96)).astype(np.float32)]
    model = graph.export_onnx(tiny.TinyUnpool(), {"glance": 3, "focus": 1}, (64, 96))
    quantiser = quantiser_of(model, frames, tmp_path)
    first_and_last = {"stem.0/Conv", "glance/Conv", "focus/Conv"}
    assert first_and_last <= quantiser.always
    assert {"down.0/Conv", "reduce/Conv"} & quantiser.always == set()
    quantiser.write(quantiser.always, tmp_path / "int8.onnx")
    written = onnx.load(tmp_path / "int8.onnx")
    made = producers(written)
    compared = [
        name for node in written.graph.node if node.op_type == "Equal" for name in node.input
    ]
    assert compared
    while compared:  # back to the convolution before: no rounding on the way
        node = made.get(compared.pop())
        if node is not None and node.op_type != "Conv":
            assert node.op_type not in ("QuantizeLinear", "DequantizeLinear")
            compared += node.input
    assert "QuantizeLinear" in {node.op_type for node in written.graph.node}


def test_more_may_be_kept(tiny_model: ir.Model, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    frames = [rng.uniform(0, 255, (1, 3, 64, 96)).astype(np.float32)]
    quantiser = quantiser_of(tiny_model, frames, tmp_path)
    assert "gate.1/Conv" in quantiser.always  # of one pixel: too small to gain anything
    everything = quantiser.always | frozenset().union(*quantiser.blocks(quantiser.always).values())
    assert quantiser.part(everything) == pytest.approx(1)
    quantiser.write(quantiser.always, tmp_path / "some.onnx")
    quantiser.write(everything, tmp_path / "none.onnx")
    kinds = {node.op_type for node in onnx.load(tmp_path / "none.onnx").graph.node}
    assert "QuantizeLinear" not in kinds
    (frame,) = frames
    exact, kept, rounded = (
        session(tmp_path / name)(frame)["glance"]
        for name in ("float32.onnx", "none.onnx", "some.onnx")
    )
    assert np.abs(np.asarray(kept) - exact).max() < 1e-5
    assert 1e-4 < np.abs(np.asarray(rounded) - exact).mean() < 0.05


def test_external_weights_are_taken_and_kept(
    chain_model: ir.Model,
    frames: list[np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnx_files, "EXTERNAL_BYTES", 500)
    quantiser = quantiser_of(chain_model, frames, tmp_path)
    assert (tmp_path / "float32.onnx.data").exists()
    data = quantiser.write(quantiser.always, tmp_path / "int8.onnx")
    assert data == tmp_path / "int8.onnx.data"
    alpha = np.asarray(session(tmp_path / "int8.onnx")(frames[0])["alpha"])
    with torch.no_grad():
        expected = Chain()(torch.from_numpy(frames[0]))["alpha"].numpy()
    assert 0 < np.abs(alpha - expected).mean() < 0.01


def test_what_the_quantiser_refuses_is_one_clear_error(
    chain_model: ir.Model, frames: list[np.ndarray], tmp_path: Path
) -> None:
    quantiser = quantiser_of(chain_model, [frames[0][:, :2]], tmp_path)
    with pytest.raises(
        BuildError, match=r"--int8: the graph cannot be quantised \(.*invalid dimensions"
    ):
        quantiser.write(quantiser.always, tmp_path / "int8.onnx")


class Blocks:
    """A quantiser by its parts: each block costs an error and a part of the work."""

    def __init__(self, **blocks: tuple[float, float]) -> None:
        self.costs = blocks
        self.tried: list[frozenset[str]] = []

    def blocks(self, float32: frozenset[str]) -> dict[str, frozenset[str]]:
        return {name: frozenset([name]) for name in self.costs if name not in float32}

    def part(self, float32: frozenset[str]) -> float:
        return sum(self.costs[name][1] for name in float32)

    def error(self, float32: frozenset[str]) -> float:
        self.tried.append(float32)
        return sum(cost for name, (cost, _) in self.costs.items() if name not in float32)


def run(blocks: Blocks, bound: float) -> tuple[frozenset[str], float]:
    quantiser: Any = blocks
    return search(quantiser, blocks.error, bound, frozenset())


def test_nothing_is_searched_where_the_target_is_met() -> None:
    blocks = Blocks(a=(0.05, 0.5))
    assert run(blocks, 0.1) == (frozenset(), 0.05)
    assert len(blocks.tried) == 1


def test_the_search_keeps_what_gains_most_for_its_work() -> None:
    blocks = Blocks(heavy=(0.06, 0.3), light=(0.04, 0.01), cheap=(0.01, 0.02), none=(0.0, 0.1))
    kept, reached = run(blocks, 0.13)  # 0.11 at first, 0.065 wanted
    assert (kept, reached) == (frozenset({"light", "cheap"}), pytest.approx(0.06))
    kept, reached = run(blocks, 0.002)
    assert (kept, reached) == (frozenset({"light", "cheap", "heavy"}), pytest.approx(0.0))


def test_the_search_stops_at_a_share_of_the_work() -> None:
    blocks = Blocks(a=(0.06, 0.3), b=(0.05, 0.3), c=(0.005, 0.05))
    kept, reached = run(blocks, 0.001)
    assert kept == {"a", "c"}  # the first and, beyond b, what still fits
    assert reached == pytest.approx(0.05)
    assert blocks.part(kept) <= quantise.MOST_FLOAT


def test_within_the_bound_a_block_has_to_be_worth_its_work() -> None:
    blocks = Blocks(bad=(0.03, 0.1), par=(0.018, 0.3), rest=(0.045, 0.6))
    # Below the bound "bad" takes a third of the error for a tenth of the work, "par" then less of
    # the error than of the work; above the bound everything that helps is taken.
    assert run(blocks, 0.1)[0] == {"bad"}
    assert run(blocks, 0.06)[0] == {"bad", "par"}


def test_a_block_that_does_not_help_goes_back() -> None:
    blocks = Blocks(a=(0.05, 0.1), b=(0.04, 0.1))

    def error(float32: frozenset[str]) -> float:
        return {0: 0.1, 1: 0.06 if "a" in float32 else 0.07, 2: 0.08}[len(float32)]

    quantiser: Any = blocks
    assert search(quantiser, error, 0.02, frozenset()) == (frozenset({"a"}), 0.06)


def test_blocks_are_of_neighbouring_layers(tiny_model: ir.Model, tmp_path: Path) -> None:
    """Every convolution is in one block, in the graph's order."""
    frames = [np.zeros((1, 3, 64, 96), np.float32)]
    quantiser = quantiser_of(tiny_model, frames, tmp_path)
    blocks = quantiser.blocks(frozenset())
    names = [name for block in blocks.values() for name in block]
    assert len(names) == len(set(names))
    ordered = quantiser.ordered(names)
    places = {node.name: place for place, node in enumerate(tiny_model.graph)}
    assert all(places[one] < places[other] for one, other in pairwise(ordered))
    assert set(ordered) == set(names)
