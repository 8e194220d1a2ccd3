"""GFM against the reference output, its published sizes, and a forward pass written out flat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training import released, released_forward
from training import networks
from training import released as released_layouts
from training.networks.blocks import collaborative_fusion
from training.networks.gfm import GFM

pytestmark = pytest.mark.usefixtures("one_thread")


def meta(backbone: str, rosta: str) -> GFM:
    with torch.device("meta"):
        return GFM(backbone, rosta)


# ── The published networks ──────────────────────────────────────────────────────────────────────


def test_reference_output(tmp_path: Path) -> None:
    network = meta("resnet34", "tt").eval()
    released.load_and_remove(network, released.reference_weights("gfm_r34_tt"), tmp_path)
    with torch.inference_mode():
        outputs = network(released.reference_image("gfm_r34_tt"))
    released.assert_reference(outputs, "gfm_r34_tt")


@pytest.mark.parametrize(
    ("backbone", "rosta"),
    [("resnet34", "rim"), ("resnet34_2b", "bt"), ("densenet121", "tt")],
)
def test_same_as_the_released_layers_one_by_one(backbone: str, rosta: str, tmp_path: Path) -> None:
    state = released.drawn_weights(backbone, rosta)
    network = meta(backbone, rosta).eval()
    released.load_and_remove(network, state, tmp_path)
    # 64×96: the pyramid's bins overlap, and height and width can't be confused.
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = released_forward.forward(state, backbone, rosta, image)
        found = network(image)
    for head, tensor in expected.items():
        assert tensor.std() > 0.02, f"{head} says nothing: {tensor.mean()} ± {tensor.std()}"
        torch.testing.assert_close(found[head], tensor, rtol=0, atol=2e-4)


@pytest.mark.parametrize("backbone", released.BACKBONES)
def test_parameters_and_multiply_accumulates(backbone: str) -> None:
    for rosta in released.ROSTAS:
        network = meta(backbone, rosta).eval()
        listed = released.key_list(backbone, rosta)
        names = released_layouts.names(network)
        used = {name for aliases in names.values() for name in aliases}
        unused = sum(
            torch.Size(shape).numel()
            for name, shape, _, _ in listed["keys"]
            if name not in used and name.endswith(("weight", "bias"))
        )
        parameters = sum(parameter.numel() for parameter in network.parameters())
        assert parameters + unused == listed["parameters"]
        assert unused == released_layouts.unused_parameters(backbone)

        macs = released.multiply_accumulates(network, 800, 800)
        if rosta == "rim" and backbone != "resnet34_2b":
            # The released code computes the heads' pyramid features three times, we once.
            context = network.glance.context["0"].conv.weight
            macs += 2 * context.numel() * (800 // 32) ** 2
        assert macs / 1e9 == pytest.approx(listed["gmacs_800"], abs=1e-3)


# ── The contract of a network ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("backbone", "rosta"), released.NETWORKS)
def test_heads(backbone: str, rosta: str) -> None:
    with torch.device("meta"):
        network = networks.create("gfm", backbone=backbone, rosta=rosta).eval()
    assert (network.name, network.backbone, network.rosta) == ("gfm", backbone, rosta)
    outputs = network(torch.empty(2, 3, 64, 32, device="meta"))
    shapes = {head: tuple(tensor.shape) for head, tensor in outputs.items()}
    assert shapes["alpha"] == (2, 1, 64, 32)
    for head, channels in network.heads.items():
        assert shapes[head] == (2, channels, 64, 32)
    if rosta == "rim":
        assert (network.heads, network.fusion) == ({"alpha": 1}, "alpha")
        assert shapes["glance_tt"] == (2, 3, 64, 32)
        for part in ("ft", "bt"):
            assert shapes[f"glance_{part}"] == (2, 2, 64, 32)
        for part in ("tt", "ft", "bt"):
            assert shapes[f"focus_{part}"] == shapes[f"alpha_{part}"] == (2, 1, 64, 32)
        assert outputs["glance"] is outputs["glance_tt"]
    else:
        assert set(outputs) == {"glance", "focus", "alpha"}
        assert (network.heads["glance"], network.fusion) == (3 if rosta == "tt" else 2, rosta)


@pytest.mark.parametrize("backbone", released.BACKBONES)
def test_encoder_features(backbone: str) -> None:
    encoder = meta(backbone, "tt").encoder
    features = encoder(torch.empty(1, 3, 64, 128, device="meta"))
    assert tuple(feature.shape[1] for feature in features) == encoder.channels
    strides = [1, 2, 4, 8, 16, 32] if backbone == "resnet34_2b" else [2, 4, 8, 16, 32]
    assert [(64 // f.shape[2], 128 // f.shape[3]) for f in features] == [(s, s) for s in strides]


@pytest.fixture(scope="module")
def rim() -> GFM:
    torch.manual_seed(0)
    return GFM("resnet34", "rim")


def test_rim_alpha_is_clamped_only_in_eval_mode(rim: GFM) -> None:
    image = torch.full((2, 3, 64, 64), 100.0)
    with torch.no_grad():
        for bias, bound in ((9.0, 1.0), (-9.0, 0.0)):
            rim.rim.predict.bias.fill_(bias)
            assert torch.equal(rim.eval()(image)["alpha"].unique(), torch.tensor([bound]))
            assert abs(float(rim.train()(image)["alpha"].mean())) > 3


def test_heads_share_one_computation_of_the_pyramid_features(rim: GFM) -> None:
    calls: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, module in rim.glance.named_modules()
        if name.endswith(".conv")
    ]
    with torch.no_grad():
        rim.eval()(torch.zeros(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    assert len(calls) == len(set(calls)) == len(hooks)


def test_each_tensor_is_held_once(rim: GFM) -> None:
    state = rim.state_dict()
    assert len({tensor.data_ptr() for tensor in state.values()}) == len(state)


@pytest.mark.parametrize(
    "shape", [(1, 3, 33, 64), (1, 3, 64, 48), (1, 4, 64, 64), (3, 64, 64), (1, 3, 0, 32)]
)
def test_image_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected N×3×H×W .* multiples of 32: resize") as error:
        meta("resnet34", "tt")(torch.empty(shape, device="meta"))
    assert str(shape) in str(error.value)


def test_unknown_options() -> None:
    with pytest.raises(ValueError, match="backbone 'resnet50'; expected one of resnet34"):
        GFM("resnet50", "tt")
    with pytest.raises(ValueError, match="rosta 'tf'; expected one of tt, ft, bt, rim"):
        GFM("resnet34", "tf")


# ── Blocks ──────────────────────────────────────────────────────────────────────────────────────


def slow_fusion(glance: np.ndarray, focus: np.ndarray, rosta: str) -> np.ndarray:
    alpha = np.empty_like(focus)
    for n, _, y, x in np.ndindex(focus.shape):
        scores, value = list(glance[n, :, y, x]), focus[n, 0, y, x]
        label = scores.index(max(scores))  # the first of equals
        if rosta in ("tt", "unified"):
            alpha[n, 0, y, x] = (0.0, value, 1.0)[label]
        elif rosta == "ft":
            alpha[n, 0, y, x] = min(1.0, label + value)
        else:
            alpha[n, 0, y, x] = max(0.0, label - value)
    return alpha


@pytest.mark.parametrize("rosta", ["tt", "unified", "ft", "bt"])
def test_collaborative_fusion(rosta: str) -> None:
    rng = np.random.default_rng(3)
    classes = 3 if rosta in ("tt", "unified") else 2
    # Few levels, so that every kind of tie occurs: 8×8×2 pixels over at most 27 combinations.
    glance = rng.integers(0, 3, (2, classes, 8, 8)).astype(np.float32) / 2
    focus = rng.uniform(0, 1, (2, 1, 8, 8)).astype(np.float32)
    found = collaborative_fusion(torch.from_numpy(glance), torch.from_numpy(focus), rosta)
    np.testing.assert_array_equal(found.numpy(), slow_fusion(glance, focus, rosta))


def test_gradient_reaches_the_focus_in_the_transition_alone() -> None:
    glance = torch.eye(3)[:, None].reshape(3, 3, 1, 1)  # background, transition, foreground
    focus = torch.full((3, 1, 1, 1), 0.3, requires_grad=True)
    collaborative_fusion(glance, focus, "tt").sum().backward()
    assert focus.grad is not None
    assert focus.grad.flatten().tolist() == [0, 1, 0]


def test_fusion_of_wrong_classes() -> None:
    focus = torch.zeros(1, 1, 2, 2)
    with pytest.raises(ValueError, match="2 classes; tt needs 3"):
        collaborative_fusion(torch.zeros(1, 2, 2, 2), focus, "tt")
    with pytest.raises(ValueError, match="rosta 'rim'; expected one of tt, ft, bt, unified"):
        collaborative_fusion(torch.zeros(1, 3, 2, 2), focus, "rim")
