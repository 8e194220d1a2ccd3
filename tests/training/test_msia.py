"""MSIA-matte: shapes and sizes that the paper's text implies, its ablations, its backbone."""

from __future__ import annotations

from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from matter_sdk.export import cost, onnx_files
from matter_sdk.export.stages import graph, plans
from matter_sdk.export.stages.verify import session
from matter_sdk.training import checkpoints, networks
from matter_sdk.training.networks.msia import MSIA, InformationAssembly
from matter_sdk.training.networks.resnet import Bottleneck, ResNeXt101Encoder, layer
from tests.training import released

PARTS = ("ini", "sed", "adaptive")
SUBSETS = list(chain.from_iterable(combinations(PARTS, count) for count in range(4)))
# torchvision's resnext101_32x8d has 88,791,336, of which its classifier 2048 · 1000 + 1000.
BACKBONE = 88_791_336 - 2_049_000


def meta(without: tuple[str, ...] = ()) -> MSIA:
    with torch.device("meta"):
        return MSIA(without)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def image(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> MSIA:
    torch.manual_seed(0)
    return MSIA().eval()


# ── The network of the paper ────────────────────────────────────────────────────────────────────


def test_contract() -> None:
    with torch.device("meta"):
        network = networks.create("msia").eval()
    assert (network.name, network.backbone, network.rosta) == ("msia", "resnext101", "none")
    assert (network.heads, network.fusion) == ({"alpha": 1}, "alpha")
    assert network.size_multiple == 16
    outputs = network(torch.empty(2, 3, 64, 48, device="meta"))
    assert {head: tuple(tensor.shape) for head, tensor in outputs.items()} == {
        "alpha": (2, 1, 64, 48)
    }


def test_features_meet_at_the_sizes_of_the_text() -> None:
    network = meta().eval()
    shapes: dict[str, tuple[int, ...]] = {}
    hooks = [
        module.register_forward_hook(lambda _m, _x, y, name=name: shapes.update({name: y.shape}))
        for name, module in network.named_children()
        if name != "encoder"
    ]
    network(torch.empty(1, 3, 512, 512, device="meta"))  # the paper's training size
    for hook in hooks:
        hook.remove()
    found = {name: tuple(shape[1:]) for name, shape in shapes.items()}
    assert found == {
        "aspp": (256, 32, 32),
        "ini": (64, 128, 128),
        "sed": (256, 64, 64),  # half of F_ini's size
        "assembly": (512, 64, 64),
        "decoder": (256, 128, 128),  # ×2: F_ini's size again
        "refine": (64, 128, 128),
        "predict": (1, 128, 128),
    }


@pytest.mark.parametrize("shape", [(1, 3, 40, 64), (1, 3, 64, 8), (1, 1, 64, 64), (64, 64)])
def test_image_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected N×3×H×W .* multiples of 16: resize") as error:
        meta()(torch.empty(shape, device="meta"))
    assert str(shape) in str(error.value)


def test_gradient_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    network = MSIA().train()
    network(image(2, 3, 32, 32))["alpha"].square().sum().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    # A convolution's bias before a batch norm has none: the norm takes it away again.
    assert [name for name in idle if not name.endswith("conv.bias")] == []


# ── Information assembly ────────────────────────────────────────────────────────────────────────


def test_shares_are_equations_2_and_3() -> None:
    assembly = InformationAssembly(adaptive=True)
    epsilon = assembly.epsilon
    assert [w.item() for w in assembly.weights()] == pytest.approx([0.5 + epsilon] * 2)
    with torch.no_grad():  # softplus(log(e^w - 1)) = w
        assembly.omega_aspp.fill_(np.log(np.expm1(3.0)))
        assembly.omega_sed.fill_(np.log(np.expm1(1.0)))
    assert [w.item() for w in assembly.weights()] == pytest.approx([0.75 + epsilon, 0.25 + epsilon])
    f_aspp, f_sed = image(2, 3, 4, 5), image(2, 2, 4, 5) + 1
    expected = torch.cat([f_aspp * (0.75 + epsilon), f_sed * (0.25 + epsilon)], 1)
    torch.testing.assert_close(assembly(f_aspp, f_sed), expected)


@pytest.mark.parametrize("omega", [-60.0, 60.0])
def test_shares_survive_extreme_weights(omega: float) -> None:
    assembly = InformationAssembly(adaptive=True)
    nn.init.constant_(assembly.omega_aspp, omega)
    nn.init.constant_(assembly.omega_sed, omega)
    w_aspp, w_sed = assembly.weights()
    assert w_aspp.item() == w_sed.item() == pytest.approx(0.5 + assembly.epsilon)
    w_aspp.backward()
    for parameter in assembly.parameters():
        assert torch.isfinite(parameter.grad)


# ── Table 3 ─────────────────────────────────────────────────────────────────────────────────────


def conv(inside: int, outside: int) -> int:
    """Parameters of a 3×3 convolution with bias and batch norm."""
    return 9 * inside * outside + outside + 2 * outside


def expected_parameters(without: tuple[str, ...]) -> int:
    aspp = 256 * 2048 * (1 + 9 + 9 + 9 + 1) + 5 * 256 * 256 + 6 * 512
    f_ini, total = 256, BACKBONE + aspp
    if "ini" not in without:
        f_ini, total = 64, total + conv(256, 64) + conv(64, 64)
    f_sed = f_ini
    if "sed" not in without:
        f_sed, total = 256, total + conv(f_ini, 256) + 3 * conv(256, 256)
    if not {"ini", "sed"} <= set(without):
        total += conv(256 + f_sed, 256) + conv(256, 256)
    if "adaptive" not in without:
        total += 2
    return total + conv(256 + f_ini, 64) + 9 * 64 + 1


@pytest.mark.parametrize("without", SUBSETS)
def test_parts_left_out(without: tuple[str, ...]) -> None:
    with torch.device("meta"):
        network = networks.create("msia", without=without).eval()
    assert network.without == without
    assert count(network) == expected_parameters(without)
    alpha = network(torch.empty(1, 3, 32, 64, device="meta"))["alpha"]
    assert alpha.shape == (1, 1, 32, 64)


def test_plain_concatenation_is_equal_shares(network: MSIA) -> None:
    plain = meta(("adaptive",)).eval()
    state = {k: t for k, t in network.state_dict().items() if not k.startswith("assembly.")}
    # A convolution is linear: what the shares do to its input, its weights can do.
    share = 0.5 + InformationAssembly.epsilon
    state["decoder.0.conv.weight"] = state["decoder.0.conv.weight"] * share
    plain.load_state_dict(state, assign=True)
    with torch.inference_mode():
        found, expected = (n(image(1, 3, 32, 48))["alpha"] for n in (plain, network))
    assert expected.std() > 0.001
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_baseline_concatenates_low_level_and_aspp_features() -> None:
    network = meta(PARTS).eval()
    received: list[Any] = []
    network.assembly.register_forward_hook(lambda _m, x, y: received.extend([*x, y]))
    network(torch.empty(1, 3, 64, 64, device="meta"))
    assert [tuple(x.shape) for x in received] == [
        (1, 256, 16, 16),  # ASPP features, upsampled by 4
        (1, 256, 16, 16),  # low-level features
        (1, 512, 16, 16),
    ]


def test_unknown_part() -> None:
    with pytest.raises(ValueError, match="without 'aspp'"):
        meta(("aspp",))


# ── Backbone ────────────────────────────────────────────────────────────────────────────────────


def torchvision_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of torchvision's ``resnext101_32x8d``, written out."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7)}

    def norm(name: str, channels: int) -> None:
        for entry in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{entry}"] = (channels,)
        shapes[f"{name}.num_batches_tracked"] = ()

    norm("bn1", 64)
    inside = 64
    for stage, blocks in enumerate((3, 4, 23, 3)):
        inner = outside = 256 * 2**stage
        for i in range(blocks):
            block = f"layer{stage + 1}.{i}"
            shapes[f"{block}.conv1.weight"] = (inner, inside, 1, 1)
            shapes[f"{block}.conv2.weight"] = (inner, inner // 32, 3, 3)
            shapes[f"{block}.conv3.weight"] = (outside, inner, 1, 1)
            for j in (1, 2, 3):
                norm(f"{block}.bn{j}", inner)
            if i == 0:
                shapes[f"{block}.downsample.0.weight"] = (outside, inside, 1, 1)
                norm(f"{block}.downsample.1", outside)
            inside = outside
    return shapes | {"fc.weight": (1000, 2048), "fc.bias": (1000,)}


def test_imagenet_classifier_fills_the_encoder(tmp_path: Path) -> None:
    state = {name: torch.ones(()).expand(shape) for name, shape in torchvision_shapes().items()}
    state = {k: t.long() if k.endswith("tracked") else t for k, t in state.items()}
    torch.save(state, tmp_path / "resnext101.pth")
    network = meta()
    report = checkpoints.load_backbone(network, tmp_path / "resnext101.pth")
    assert (report.ignored, report.kept) == (("fc.weight", "fc.bias"), ())
    for key, tensor in network.state_dict().items():
        assert tensor.is_meta != key.startswith("encoder.")


def test_backbone_has_the_published_size() -> None:
    with torch.device("meta"):
        encoder = ResNeXt101Encoder()
    assert count(encoder) == BACKBONE
    low, high = encoder(torch.empty(1, 3, 64, 96, device="meta"))
    assert (low.shape, high.shape) == ((1, 256, 16, 24), (1, 2048, 4, 6))


def test_dilation_keeps_what_a_strided_stage_sees() -> None:
    """Every second pixel of the dilated stage is the strided one's: ImageNet weights fit both."""
    torch.manual_seed(0)
    strided, dilated = layer(Bottleneck, 8, 4, 3, 2), layer(Bottleneck, 8, 4, 3, dilation=2)
    dilated.load_state_dict(strided.state_dict())
    x = image(1, 8, 12, 20)
    with torch.inference_mode():
        found, expected = dilated.eval()(x), strided.eval()(x)
    assert found.shape == (1, 16, 12, 20)
    torch.testing.assert_close(found[..., ::2, ::2], expected)


# ── ONNX and TensorRT ───────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def model(network: MSIA) -> ir.Model:
    """At 64×80, which is no multiple of 32."""
    return graph.export_onnx(network, network.heads, (64, 80))


def test_onnx_runtime_gives_the_same(model: ir.Model, network: MSIA, tmp_path: Path) -> None:
    onnx_files.save(model, tmp_path / "msia.onnx")
    x = image(1, 3, 64, 80)
    with torch.inference_mode():
        expected = network(x)["alpha"].numpy()
    found = session(tmp_path / "msia.onnx")(x.numpy())["alpha"]
    assert expected.std() > 0.001
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    (tmp_path / "msia.onnx").unlink()  # pytest would keep 400 MB of each run


def test_what_the_graph_holds(model: ir.Model) -> None:
    # The shares of the assembly are constants: softplus and division are folded.
    kinds = {node.op_type for node in model.graph}
    assert not kinds & {"Softplus", "Div", "BatchNormalization"}
    macs = released.multiply_accumulates(meta().eval(), 64, 80)
    assert cost.count_macs(model) == macs


def test_tensorrt_rtx_builds_a_plan(model: ir.Model, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    onnx_files.save(model, tmp_path / "msia.onnx")
    plan = plans.build("tensorrt-rtx", tmp_path / "msia.onnx", tmp_path / "p", warn=print)
    assert plan.path.stat().st_size > 4 * BACKBONE
    plan.path.unlink()
    (tmp_path / "msia.onnx").unlink()
