"""The ONNX graph: what it holds, and that it computes what PyTorch computes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from matter_sdk.export import cost, onnx_files, random_weights
from matter_sdk.export.errors import BuildError
from matter_sdk.export.stages import graph
from matter_sdk.export.stages.verify import session
from matter_sdk.training.networks.blocks import StandardisedConv2d

SIZE = (64, 96)
HEADS = {"glance": 3, "focus": 1}
KEYS = Path(__file__).resolve().parents[1] / "data/reference/checkpoints/gfm_r34_tt.json.gz"


@pytest.fixture(scope="module")
def network(tiny: ModuleType) -> torch.nn.Module:
    return tiny.Tiny().eval()


@pytest.fixture(scope="module")
def model(network: torch.nn.Module) -> ir.Model:
    return graph.export_onnx(network, HEADS, SIZE)


def image(batch: int = 1, size: tuple[int, int] = SIZE) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(0, 255, (batch, 3, *size)).astype(np.float32)


def largest_difference(
    model: ir.Model, network: torch.nn.Module, x: NDArray[np.float32], folder: Path
) -> float:
    onnx_files.save(model, folder / "model.onnx")
    heads = session(folder / "model.onnx")(x)
    with torch.no_grad():
        expected = network(torch.from_numpy(x))
    return max(float(np.abs(heads[name] - expected[name].numpy()).max()) for name in HEADS)


def test_graph_computes_what_pytorch_computes(
    model: ir.Model, network: torch.nn.Module, tmp_path: Path
) -> None:
    assert largest_difference(model, network, image(), tmp_path) < 1e-5


def test_batch_of_two_at_another_size(network: torch.nn.Module, tmp_path: Path) -> None:
    model = graph.export_onnx(network, HEADS, (96, 64), batch=2)
    assert largest_difference(model, network, image(2, (96, 64)), tmp_path) < 1e-5
    loaded = onnx.load(tmp_path / "model.onnx")
    shapes = {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*loaded.graph.input, *loaded.graph.output)
    }
    assert shapes == {"image": [2, 3, 96, 64], "glance": [2, 3, 96, 64], "focus": [2, 1, 96, 64]}


def test_what_the_graph_holds(model: ir.Model, tmp_path: Path) -> None:
    assert onnx_files.save(model, tmp_path / "model.onnx") is None
    onnx.checker.check_model(tmp_path / "model.onnx", full_check=True)
    loaded = onnx.load(tmp_path / "model.onnx")
    kinds = {node.op_type for node in loaded.graph.node}
    assert {node.domain for node in loaded.graph.node} == {""}
    assert not kinds & {"BatchNormalization", "Gather", "GatherND", "Where", "Identity", "Constant"}
    assert [(entry.domain, entry.version) for entry in loaded.opset_import] == [("", 18)]
    assert not loaded.functions
    for value in (*loaded.graph.input, *loaded.graph.output):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [value.name for value in loaded.graph.output] == ["glance", "focus"]
    # The exporter notes where in the source each node comes from: paths of the building machine.
    assert str(Path.home()).encode() not in loaded.SerializeToString()
    assert b".py" not in loaded.SerializeToString()


def test_only_the_batch_norm_without_a_convolution_stays_as_two_operators(model: ir.Model) -> None:
    names = [node.name or "" for node in model.graph]
    assert [name for name in names if "bn" in name] == ["dense_bn/Mul", "dense_bn/Add"]


@pytest.mark.parametrize(
    ("kind", "weight"), [("Conv", (6, 2, 3, 3)), ("ConvTranspose", (4, 3, 2, 2))]
)
@pytest.mark.parametrize("bias", [False, True])
def test_folding_a_batch_norm_into_grouped_convolutions(
    kind: str, weight: tuple[int, ...], bias: bool, tmp_path: Path
) -> None:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    x, kernel, offset = draw(1, 4, 8, 8), draw(*weight), draw(6) if bias else None
    gamma, beta, mean, variance = draw(6), draw(6), draw(6), draw(6).abs() + 0.5
    convolution = F.conv2d if kind == "Conv" else F.conv_transpose2d
    expected = F.batch_norm(
        convolution(x, kernel, offset, groups=2), mean, variance, gamma, beta, eps=1e-3
    )
    constants = {"kernel": kernel, "gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
    if offset is not None:
        constants["offset"] = offset
    inputs = ["image", "kernel"] + (["offset"] if bias else [])
    helper = onnx.helper
    nodes = [
        helper.make_node(kind, inputs, ["y"], group=2, name="conv"),
        helper.make_node(
            "BatchNormalization", ["y", "gamma", "beta", "mean", "variance"], ["z"], epsilon=1e-3
        ),
    ]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", 1, x.shape)],
        [helper.make_tensor_value_info("z", 1, expected.shape)],
        [onnx.numpy_helper.from_array(value.numpy(), name) for name, value in constants.items()],
    )
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    model = ir.from_proto(proto)
    assert graph.fold_batch_norm(model) == 1
    assert [node.op_type for node in model.graph] == [kind]
    onnx_files.save(model, tmp_path / "model.onnx")
    received = session(tmp_path / "model.onnx")(x.numpy())["z"]
    np.testing.assert_allclose(received, expected.numpy(), atol=2e-5)


@pytest.mark.parametrize(("length", "windows"), [(16, 3), (9, 5), (1, 5), (7, 7), (12, 4)])
def test_averaging_is_adaptive_pooling(length: int, windows: int) -> None:
    x = torch.randn(1, 1, length, generator=torch.Generator().manual_seed(0))
    expected = F.adaptive_avg_pool1d(x, windows)[0, 0].numpy()
    np.testing.assert_allclose(
        graph.averaging(length, windows) @ x[0, 0].numpy(), expected, atol=1e-6
    )


def test_pooling_that_divides_is_an_ordinary_pool(tmp_path: Path) -> None:
    class Pool(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            y = F.adaptive_avg_pool2d(x, (4, 3))
            return {"y": F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=True)}

    model = graph.export_onnx(Pool(), {"y": 3}, (32, 96))
    assert [node.op_type for node in model.graph] == ["AveragePool", "Resize"]
    onnx_files.save(model, tmp_path / "model.onnx")
    x = image(1, (32, 96))
    expected = Pool()(torch.from_numpy(x))["y"].numpy()
    received = session(tmp_path / "model.onnx")(x)["y"]
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-3)


def test_external_weights_lie_beside_the_graph_under_a_bare_name(
    model: ir.Model, network: torch.nn.Module, tmp_path: Path
) -> None:
    data = onnx_files.save(model, tmp_path / "model.onnx", external_bytes=1000)
    assert data == tmp_path / "model.onnx.data"
    loaded = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    places = {
        entry.value
        for tensor in loaded.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    assert places == {"model.onnx.data"}
    x = image()
    with torch.no_grad():
        expected = network(torch.from_numpy(x))["focus"].numpy()
    received = session(tmp_path / "model.onnx")(x)["focus"]
    np.testing.assert_allclose(received, expected, atol=1e-5)


def two_graphs(folder: Path) -> list[Path]:
    """Two graphs with a weight in common, and with one that is each graph's own."""
    rng = np.random.default_rng(3)
    common = rng.standard_normal((3, 3, 8, 8)).astype(np.float32)
    paths = []
    for side in (32, 64):
        own = rng.standard_normal((1, 3, side, side)).astype(np.float32)
        tensors = {
            "common": common,
            "again": common.copy(),
            "own": own,
            "bias": np.ones(3, np.float32),
            "marks": np.arange(300).reshape(1, 300),  # whole numbers: the check looks at them
        }
        nodes = [
            onnx.helper.make_node(
                "Conv", ["image", "common", "bias"], ["x"], auto_pad="SAME_UPPER"
            ),
            onnx.helper.make_node("Conv", ["x", "again"], ["y"], auto_pad="SAME_UPPER"),
            onnx.helper.make_node("Add", ["y", "own"], ["alpha"]),
        ]
        ends = [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, side, side])
            for name in ("image", "alpha")
        ]
        held = [onnx.numpy_helper.from_array(array, name) for name, array in tensors.items()]
        made = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], held)
        opsets = [onnx.helper.make_opsetid("", 18)]
        paths.append(folder / f"{side}.onnx")
        onnx.save(onnx.helper.make_model(made, opset_imports=opsets, ir_version=10), paths[-1])
    return paths


@pytest.mark.parametrize("external", [False, True])
def test_what_graphs_have_in_common_is_stored_once(tmp_path: Path, external: bool) -> None:
    """Whether one of them had its weights in a file of its own or not."""
    paths = two_graphs(tmp_path)
    images = [image(size=(side, side)) for side in (32, 64)]
    expected = [session(path)(x)["alpha"] for path, x in zip(paths, images, strict=True)]
    if external:
        onnx_files.save(ir.load(paths[0]), paths[0], external_bytes=1000)
        assert (tmp_path / "32.onnx.data").exists()
    data = tmp_path / "weights.data"
    assert onnx_files.share(paths, data)
    size = 4 * 3 * 3 * 8 * 8
    large = [4 * 3 * 32 * 32, 300 * 8] if external else []
    assert size + sum(large) <= data.stat().st_size < size + sum(large) + 64 * (1 + len(large))
    assert {path.name for path in tmp_path.iterdir()} == {"32.onnx", "64.onnx", "weights.data"}
    for path, x, alpha in zip(paths, images, expected, strict=True):
        np.testing.assert_array_equal(session(path)(x)["alpha"], alpha)
    stored = onnx.load(paths[1], load_external_data=False).graph.initializer
    assert [t.name for t in stored if t.external_data] == ["common", "again"]


def test_graphs_that_have_nothing_in_common_stay_as_they_are(tmp_path: Path) -> None:
    paths = two_graphs(tmp_path)
    before = paths[0].read_bytes()
    assert not onnx_files.share(paths[:1], tmp_path / "weights.data")
    assert not onnx_files.share([], tmp_path / "weights.data")
    assert paths[0].read_bytes() == before
    assert not (tmp_path / "weights.data").exists()


TRIMAP_SIZE = (40, 72)


@pytest.fixture(scope="module")
def of_trimaps(tiny: ModuleType) -> torch.nn.Module:
    """Four inputs, standardised and grouped convolutions; batch norms as after training."""
    torch.manual_seed(3)
    network = tiny.TinyTrimap()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
    random_weights.fit(network, tuple(several_inputs(network, TRIMAP_SIZE)))
    return network


def several_inputs(network: torch.nn.Module, size: tuple[int, int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    channels: dict[str, int] = network.inputs  # type: ignore[assignment]
    return [torch.rand(1, count, *size, generator=generator) for count in channels.values()]


def export_all(network: torch.nn.Module, size: tuple[int, int]) -> ir.Model:
    return graph.export_onnx(
        network,
        network.heads,  # type: ignore[arg-type]
        size,
        inputs=network.inputs,  # type: ignore[arg-type]
        strides=getattr(network, "head_strides", {}),
    )


def test_several_inputs_keep_their_names_and_order(
    of_trimaps: torch.nn.Module, tmp_path: Path
) -> None:
    model = export_all(of_trimaps, TRIMAP_SIZE)
    assert {value.name: cost.dims(value) for value in model.graph.inputs} == {
        "image": (1, 3, *TRIMAP_SIZE),
        "trimap": (1, 2, *TRIMAP_SIZE),
        "clicks": (1, 6, *TRIMAP_SIZE),
        "semantic": (1, 20, *TRIMAP_SIZE),
    }
    onnx_files.save(model, tmp_path / "model.onnx")
    x = several_inputs(of_trimaps, TRIMAP_SIZE)
    with torch.no_grad():
        expected = of_trimaps.eval()(*x)
    received = session(tmp_path / "model.onnx")(*(tensor.numpy() for tensor in x))
    for name, value in received.items():
        np.testing.assert_allclose(value, expected[name].numpy(), atol=1e-5)


def test_a_head_with_a_stride(tiny: ModuleType, tmp_path: Path) -> None:
    network = tiny.TinyClassifier().eval()
    size = (40, 72)
    model = export_all(network, size)
    (cam,) = model.graph.outputs
    assert cost.dims(cam) == (1, 20, 2, 3)  # ⌈40/32⌉ and ⌈72/32⌉
    onnx_files.save(model, tmp_path / "model.onnx")
    x = several_inputs(network, size)
    with torch.no_grad():
        expected = network(*x)["cam"].numpy()
    received = session(tmp_path / "model.onnx")(*(tensor.numpy() for tensor in x))["cam"]
    np.testing.assert_allclose(received, expected, atol=1e-5)
    with pytest.raises(BuildError, match="inputs and outputs"):
        graph.check(model, network.heads, size, inputs=network.inputs)  # without its stride


def test_kernels_are_standardised_once_and_their_batch_norms_folded(
    of_trimaps: torch.nn.Module,
) -> None:
    model = export_all(of_trimaps, TRIMAP_SIZE)
    # Of the sum of two convolutions alone is the batch norm left, as a scale and a shift.
    assert [node.op_type for node in model.graph if node.op_type in ("Mul", "Sqrt", "Pow")] == [
        "Mul"
    ]
    means = [node for node in model.graph if node.op_type == "ReduceMean"]
    assert len(means) == 1  # the pyramid pooling's, none of kernels
    for node in model.graph:
        if node.op_type == "Conv":
            weight = node.inputs[1]
            assert weight is not None
            assert weight.is_initializer()


def test_the_network_is_left_as_it_was(
    of_trimaps: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = of_trimaps.train()
    network.aspp.eval()  # type: ignore[union-attr]
    before = [(name, id(module), module.training) for name, module in network.named_modules()]
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    def unchanged() -> bool:
        after = [(name, id(module), module.training) for name, module in network.named_modules()]
        return after == before and all(
            torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items()
        )

    export_all(network, TRIMAP_SIZE)
    assert unchanged()
    with pytest.raises(BuildError, match="the ONNX export failed"):
        graph.export_onnx(network, {"alpha": 1}, TRIMAP_SIZE)  # three inputs are missing
    assert unchanged()

    def broken(self: StandardisedConv2d) -> torch.nn.Conv2d:
        raise ArithmeticError

    monkeypatch.setattr(StandardisedConv2d, "plain", broken)
    with pytest.raises(ArithmeticError):
        export_all(network, TRIMAP_SIZE)
    assert unchanged()


def test_operators_are_named_after_their_modules(of_trimaps: torch.nn.Module) -> None:
    model = export_all(of_trimaps, TRIMAP_SIZE)
    names = [node.name for node in model.graph]
    assert len(set(names)) == len(names)
    kinds = {node.name: node.op_type for node in model.graph}
    assert kinds["aspp.branches.1.conv/Conv"] == "Conv"  # standardised, its batch norm folded
    assert kinds["group/Conv"] == "Conv"
    assert kinds["aspp/Expand"] == "Expand"
    assert kinds["LeakyRelu_2"] == "LeakyRelu"  # of the network itself, not of a module


def test_max_unpooling_in_plain_operators(tiny: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = tiny.TinyUnpool().eval()
    model = graph.export_onnx(network, network.heads, SIZE)
    kinds = {node.op_type for node in model.graph}
    assert not kinds & {"MaxUnpool", "ScatterND", "ScatterElements", "GatherND", "GatherElements"}
    assert all(len(node.outputs) == 1 for node in model.graph)
    x = np.random.default_rng(0).standard_normal((1, 3, *SIZE)).astype(np.float32)
    assert largest_difference(model, network, x, tmp_path) < 1e-5


def test_a_custom_operator_is_refused(model: ir.Model) -> None:
    other = model.clone()
    other.graph[0].domain = "com.example"
    with pytest.raises(BuildError, match=r"com\.example::Conv"):
        graph.check(other, HEADS, SIZE)
    with pytest.raises(BuildError, match="inputs and outputs"):
        graph.check(model, HEADS, (32, 32))


def test_an_exporter_error_is_one_line() -> None:
    class Wrong(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            if x.sum() > 0:  # data-dependent: cannot be exported
                return {"y": x}
            return {"y": -x}

    with pytest.raises(BuildError, match="the ONNX export failed") as caught:
        graph.export_onnx(Wrong(), {"y": 3}, (32, 32))
    assert "\n" not in str(caught.value)


def test_multiply_accumulates_are_those_of_the_published_network() -> None:
    """131.808·10⁹ at 800×800, as the reference key list counts the published code's layers."""
    from matter_sdk.training import networks

    published = json.loads(gzip.decompress(KEYS.read_bytes()))["gmacs_800"]
    with torch.device("meta"):
        network = networks.create("gfm", backbone="resnet34", rosta="tt")
    network = network.to_empty(device="cpu")
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data.zero_()
    model = graph.export_onnx(network, HEADS, (800, 800))
    assert cost.count_macs(model) / 1e9 == pytest.approx(published, rel=2e-3)
