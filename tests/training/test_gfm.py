"""GFM against the reference output, its published sizes, and a forward pass written out flat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from matter_sdk.training import checkpoints, networks
from matter_sdk.training.networks.blocks import collaborative_fusion
from matter_sdk.training.networks.gfm import GFM
from matter_sdk.training.weights import released as released_layouts
from tests.training import released, released_forward


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
    with pytest.raises(ValueError, match="backbone 'resnet50'"):
        GFM("resnet50", "tt")
    with pytest.raises(ValueError, match="rosta 'tf'"):
        GFM("resnet34", "tf")
    with pytest.raises(ValueError, match="without 'ppm'"):
        GFM("resnet34", "tt", ("ppm",))


# ── Parts left out ──────────────────────────────────────────────────────────────────────────────


def count(network: GFM) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def reduced(backbone: str, *without: str, rosta: str = "tt") -> GFM:
    with torch.device("meta"):
        return networks.create("gfm", backbone=backbone, rosta=rosta, without=without)


@pytest.mark.parametrize("backbone", released.BACKBONES)
def test_parts_left_out_take_their_parameters_with_them(backbone: str) -> None:
    whole = meta(backbone, "tt")
    wide = whole.encoder.channels[-1]
    # Three 3×3 convolutions with bias and batch norm; half of what the first block read.
    first = whole.focus.blocks[max(whole.focus.blocks)][0].conv.out_channels
    bridge = 3 * (9 * wide * wide + 3 * wide) + 9 * wide * first
    assert count(whole) - count(reduced(backbone, "bridge")) == bridge
    pyramid = sum(p.numel() for p in [*whole.glance.pyramid.parameters()])
    pyramid += sum(p.numel() for p in whole.glance.context.parameters())
    deep = backbone == "resnet34_2b"
    for level, block in whole.glance.blocks.items():
        pyramid += block[0].conv.weight[:, : block[0].conv.in_channels // 2].numel()
        if level == "1" and not deep:  # the head reads half as many
            pyramid += 9 * 64 * 64
    assert count(whole) - count(reduced(backbone, "pyramid")) == pyramid
    both = reduced(backbone, "bridge", "pyramid", rosta="rim")
    assert both.without == ("pyramid", "bridge")
    outputs = both.eval()(torch.empty(1, 3, 64, 32, device="meta"))
    assert outputs["alpha"].shape == (1, 1, 64, 32)


def test_what_is_left_reads_the_same_features(rim: GFM) -> None:
    """It is the whole network whose pyramid, or bridge block, gives zeros."""
    image = 255 * torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    decoders = {
        "pyramid": (rim.glance, [rim.glance.pyramid, *rim.glance.context.values()]),
        "bridge": (rim.focus, [rim.focus.bridge]),
    }
    for part, (whole, silent) in decoders.items():
        network = reduced("resnet34", part, rosta="rim").eval()
        state = rim.state_dict()
        for key, tensor in network.state_dict().items():  # the parts' features come first
            state[key] = state[key][:, -tensor.shape[1] :] if tensor.ndim == 4 else state[key]
        wanted = {key: state[key] for key in network.state_dict()}
        network.load_state_dict(wanted, assign=True)
        decoder = network.glance if part == "pyramid" else network.focus
        hooks = [m.register_forward_hook(lambda module, x, y: y.zero_()) for m in silent]
        with torch.inference_mode():
            features = rim.eval().encoder(image)
            silenced = whole(features)
            for hook in hooks:
                hook.remove()
            left = decoder(features)
            torch.testing.assert_close(left, silenced[:, -left.shape[1] :], rtol=1e-4, atol=1e-4)
            assert not torch.equal(whole(features), silenced)


def test_checkpoints_tell_the_parts_left_out(tmp_path: Path) -> None:
    torch.save(released.hollow("resnet34", "tt"), tmp_path / "whole.pth")
    with pytest.raises(checkpoints.CheckpointError) as caught:
        checkpoints.load(reduced("resnet34", "pyramid"), tmp_path / "whole.pth")
    message = str(caught.value)
    assert "of gfm resnet34 tt without pyramid" in message
    assert message.endswith("pass --backbone resnet34 --rosta tt with no --without")

    light = networks.create("gfm", backbone="efficientnet-lite0", without=["pyramid"])
    checkpoints.save(light, tmp_path / "light.safetensors")
    assert checkpoints.read_metadata(tmp_path / "light.safetensors")["without"] == "pyramid"
    checkpoints.load(
        networks.create("gfm", backbone="efficientnet-lite0", without=["pyramid"]),
        tmp_path / "light.safetensors",
    )
    with pytest.raises(checkpoints.CheckpointError, match=r"pass .* --without pyramid$"):
        checkpoints.load(
            networks.create("gfm", backbone="efficientnet-lite0"), tmp_path / "light.safetensors"
        )


def test_our_layout_is_known_without_a_pyramid(tmp_path: Path) -> None:
    keys = reduced("resnet34", "pyramid", rosta="ft").state_dict()
    torch.save({key: torch.zeros(1) for key in keys}, tmp_path / "ours.pth")
    with pytest.raises(checkpoints.CheckpointError, match="looks like gfm resnet34 ft"):
        checkpoints.load(networks.create("aim"), tmp_path / "ours.pth")


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
    with pytest.raises(ValueError, match="rosta 'rim'"):
        collaborative_fusion(torch.zeros(1, 3, 2, 2), focus, "rim")
