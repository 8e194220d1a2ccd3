"""AIM against the reference output and its published size, whole and with parts left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from matter_sdk.export import cost, onnx_files
from matter_sdk.export.stages import graph, plans, precision
from matter_sdk.export.stages.verify import session
from matter_sdk.training import checkpoints, networks
from matter_sdk.training.checkpoints import CheckpointError
from matter_sdk.training.networks.aim import AIM
from tests.training import released

SIZE = (96, 128)


def meta(without: tuple[str, ...] = ()) -> AIM:
    with torch.device("meta"):
        return AIM(without)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def normal(*shape: int) -> Tensor:
    """The reference's input, where the shape is its own."""
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> AIM:
    """With the reference's weights, from a file such as the released one: under ``state_dict``."""
    network = meta().eval()
    state = {"state_dict": released.reference_weights("aim")}
    released.load_and_remove(network, state, tmp_path_factory.mktemp("aim"))
    return network


# ── The published network ───────────────────────────────────────────────────────────────────────


def test_reference_output(network: AIM) -> None:
    with torch.inference_mode():
        outputs = network(normal(1, 3, *SIZE))
    assert list(outputs) == ["glance", "focus", "alpha"]
    released.assert_reference(outputs, "aim")


def test_parameters_and_multiply_accumulates() -> None:
    network = meta().eval()
    classifier = 512 * 1000 + 1000  # resnet.fc, which the forward pass never reads
    assert count(network) + classifier == released.listing("aim")["parameters"] == 55_298_191
    macs = released.multiply_accumulates(network, 800, 800)
    assert macs / 1e9 == pytest.approx(released.listing("aim")["gmacs_800"], abs=1e-3)


def test_contract() -> None:
    with torch.device("meta"):
        network = networks.create("aim").eval()
    assert (network.name, network.backbone, network.rosta) == ("aim", "resnet34", "unified")
    assert (network.heads, network.fusion) == ({"glance": 3, "focus": 1}, "unified")
    spec, image = network.input_spec, np.array([0.485, 0.456, 0.406]) * 255
    assert spec.colour == "rgb"
    np.testing.assert_allclose(spec.mean, image)
    outputs = network(torch.empty(2, 3, 64, 32, device="meta"))
    shapes = {head: tuple(tensor.shape) for head, tensor in outputs.items()}
    assert shapes == {"glance": (2, 3, 64, 32), "focus": (2, 1, 64, 32), "alpha": (2, 1, 64, 32)}


def test_alpha_is_equation_2(network: AIM) -> None:
    with torch.inference_mode():
        outputs = network(normal(1, 3, *SIZE))
    u = outputs["glance"].argmax(1, keepdim=True) / 2
    assert len(u.unique()) == 3
    known = 2 * (u - 0.5).abs()
    assert torch.equal(outputs["alpha"], (1 - known) * outputs["focus"] + known * u)


@pytest.mark.parametrize("shape", [(1, 3, 33, 64), (1, 3, 64, 48), (1, 4, 64, 64), (3, 64, 64)])
def test_image_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected N×3×H×W .* multiples of 32: resize") as error:
        meta()(torch.empty(shape, device="meta"))
    assert str(shape) in str(error.value)


# ── Gradients ───────────────────────────────────────────────────────────────────────────────────


def reached(network: AIM, head: str) -> set[str]:
    """The parts (``matting.md0``, say) of which every parameter has a gradient from a head."""
    network.zero_grad(set_to_none=True)
    network.train()(normal(2, 3, 64, 64))[head].sum().backward()
    parts: dict[str, bool] = {}
    for name, parameter in network.named_parameters():
        part = ".".join(name.split(".")[:2])
        parts[part] = parts.get(part, True) and parameter.grad is not None
    return {part for part, whole in parts.items() if whole}


def test_gradients_reach_what_each_head_is_made_of() -> None:
    torch.manual_seed(0)
    network = AIM()
    every = {".".join(name.split(".")[:2]) for name, _ in network.named_parameters()}
    encoder = {part for part in every if part.startswith("encoder.")}
    matting = {part for part in every if part.startswith("matting.")}
    semantic = every - encoder - matting
    # The spatial attention leads the focus's gradient into the semantic decoder.
    behind = {"semantic.se0", "semantic.final"}
    assert reached(network, "focus") == encoder | matting | semantic - behind
    assert reached(network, "glance") == encoder | semantic - {"semantic.spa"}
    assert reached(AIM(("attention",)), "focus") == encoder | matting


# ── Parts left out ──────────────────────────────────────────────────────────────────────────────


def test_parts_left_out_take_their_parameters_with_them() -> None:
    se = 2 * sum(channels * channels // 16 for channels in (256, 128, 64, 64, 64))
    spa = 2 * 7 * 7 + 1
    assert count(meta()) - count(meta(("se",))) == se
    assert count(meta()) - count(meta(("attention",))) == spa
    both = networks.create("aim", without=["attention", "se"])
    assert both.without == ("se", "attention")
    assert count(meta()) - count(both) == se + spa


def test_without_attention_is_a_closed_gate(network: AIM) -> None:
    without = meta(("attention",)).eval()
    state = {k: t for k, t in network.state_dict().items() if "spa" not in k}
    without.load_state_dict(state, assign=True)
    image = normal(1, 3, 64, 64)
    with torch.inference_mode():
        gate = network.semantic.spa.conv
        weight, bias = gate.weight.clone(), gate.bias.clone()
        gate.weight.zero_()
        gate.bias.fill_(-200)  # its sigmoid is 0
        closed = network(image)
        gate.weight.copy_(weight)
        gate.bias.copy_(bias)
        assert torch.equal(without(image)["focus"], closed["focus"])
        assert not torch.equal(network(image)["focus"], closed["focus"])


def test_without_se_every_block_passes_its_features_on(network: AIM) -> None:
    without = meta(("se",)).eval()
    state = {k: t for k, t in network.state_dict().items() if ".se" not in k}
    without.load_state_dict(state, assign=True)
    image = normal(1, 3, 64, 64)
    hooks = [
        getattr(network.semantic, f"se{i}").register_forward_hook(lambda module, x, y: x[0])
        for i in range(5)
    ]
    with torch.inference_mode():
        passed_on = network(image)
        for hook in hooks:
            hook.remove()
        assert torch.equal(without(image)["glance"], passed_on["glance"])
        assert not torch.equal(network(image)["glance"], passed_on["glance"])


def test_unknown_part() -> None:
    with pytest.raises(ValueError, match="without 'spa'"):
        meta(("spa",))
    with pytest.raises(networks.UnknownNetwork, match="did you mean 'attention'"):
        networks.create("aim", without=["atention"])


# ── Checkpoints ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def state() -> dict[str, Tensor]:
    return released.hollow_state(released.listing("aim"))


def written(state: dict[str, Tensor], folder: Path) -> Path:
    torch.save({"state_dict": state}, folder / "aim.pth")
    return folder / "aim.pth"


def refusal(network: nn.Module, path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        checkpoints.load(network, path)
    return str(error.value)


def test_released_checkpoint_loads(state: dict[str, Tensor], tmp_path: Path) -> None:
    network = meta()
    report = checkpoints.load(network, written(state, tmp_path))
    unused = ("resnet.fc.weight", "resnet.fc.bias")
    assert (report.layout, report.ignored) == ("released", unused)
    # Each tensor holds its place in the list: all were taken, each once, in its own shape.
    wanted = {
        i: tuple(shape)
        for i, (name, shape, _, alias) in enumerate(released.listing("aim")["keys"])
        if alias is None and name not in unused
    }
    tensors = network.state_dict().values()
    assert {int(tensor.flatten()[0]): tuple(tensor.shape) for tensor in tensors} == wanted
    assert len(network.state_dict()) == report.loaded == len(wanted)


@pytest.mark.parametrize(
    "key",
    [
        "resnet.layer4.1.bn2.bias",
        "encoder4.1.bn2.bias",  # the alias of the same tensor
        "encoder1.0.2.conv1.weight",
        "decoder3_g_se.fc.2.weight",
        "decoder0_g_spatial.bias",
        "decoder_final_l.weight",
    ],
)
def test_missing_key(key: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    del state[key]
    message = refusal(meta(), written(state, tmp_path))
    assert f"1 missing ({key})" in message
    assert "a damaged or changed aim resnet34 unified: fetch it again" in message


def test_aliases_that_differ(state: dict[str, Tensor], tmp_path: Path) -> None:
    state["encoder2.0.bn1.bias"] = state["encoder2.0.bn1.bias"] + 1
    message = refusal(meta(), written(state, tmp_path))
    assert "(resnet.layer2.0.bn1.bias and encoder2.0.bn1.bias)" in message


def test_other_networks_are_named(state: dict[str, Tensor], tmp_path: Path) -> None:
    message = refusal(meta(("se", "attention")), written(state, tmp_path))
    assert "of aim resnet34 unified without se,attention" in message
    assert "looks like aim resnet34 unified; pass --backbone resnet34" in message
    assert message.endswith("with no --without")
    message = refusal(meta(), written(released.hollow("resnet34", "tt"), tmp_path))
    assert "looks like gfm resnet34 tt; pass --model gfm --backbone resnet34 --rosta tt" in message


def test_imagenet_classifier_fills_the_encoder(state: dict[str, Tensor], tmp_path: Path) -> None:
    classifier = {
        key.removeprefix("resnet."): t for key, t in state.items() if key.startswith("resnet.")
    }
    network = meta()
    torch.save(classifier, tmp_path / "resnet34.pth")
    report = checkpoints.load_backbone(network, tmp_path / "resnet34.pth")
    assert (report.ignored, report.kept) == (("fc.weight", "fc.bias"), ())
    for key, tensor in network.state_dict().items():
        assert tensor.is_meta != key.startswith("encoder.")


# ── ONNX and TensorRT ───────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def model(network: AIM) -> ir.Model:
    """About 10 s, once: the exporter takes them for 574 nodes at any size."""
    return graph.export_onnx(network, network.heads, SIZE)


def test_graph_holds_what_every_runtime_has(model: ir.Model) -> None:
    kinds = {node.op_type for node in model.graph}
    pools = [node for node in model.graph if node.op_type == "MaxPool"]
    assert len(pools) == 5
    assert all(len(node.outputs) == 1 for node in model.graph)
    # The exporter's own MaxUnpool would be a ScatterND over indices, which TensorRT refuses.
    assert not {kind for kind in kinds if re.search("Unpool|Scatter|Gather|NonZero", kind)}
    macs = released.multiply_accumulates(meta().eval(), *SIZE)
    # The pooling to 3×3 and 5×5 bins, and the global means, are matrix products in the graph.
    assert cost.count_macs(model) == pytest.approx(macs, rel=1e-3)


def test_onnx_runtime_gives_the_reference_output(model: ir.Model, tmp_path: Path) -> None:
    onnx_files.save(model, tmp_path / "aim.onnx")
    heads = session(tmp_path / "aim.onnx")(normal(1, 3, *SIZE).numpy())
    reference = np.load(released.REFERENCE / "aim_1x3x96x128_every3.npz")
    for head in ("glance", "focus"):
        np.testing.assert_allclose(heads[head][..., ::3, ::3], reference[head], rtol=0, atol=1e-4)


@pytest.mark.parametrize("half", [None, ir.DataType.FLOAT16])
def test_tensorrt_rtx_builds_a_plan(
    half: ir.DataType | None, model: ir.Model, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx")
    if half is not None:
        model = precision.typed(model, half, precision.protected(model, half))
    onnx_files.save(model, tmp_path / "aim.onnx")
    warnings: list[Any] = []
    plan = plans.build("tensorrt-rtx", tmp_path / "aim.onnx", tmp_path / "p", warn=warnings.append)
    assert plan.path.stat().st_size > 100e6 / (1 if half is None else 2)
    plan.path.unlink()  # pytest would keep hundreds of megabytes of each run
    (tmp_path / "aim.onnx").unlink()
