"""SIM and its classifiers: published sizes, released layouts, a forward pass written out flat."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from matter_sdk.kernels import distance_maps, semantic_trimap, two_channel
from matter_sdk.training import networks
from matter_sdk.training.checkpoints import CheckpointError, load, load_backbone
from matter_sdk.training.networks.blocks import StandardisedConv2d
from matter_sdk.training.networks.sim import SIM
from matter_sdk.training.networks.sim_classifier import AlphaDiscriminator, PatchClassifier
from tests.training import released, released_sim_forward

State = dict[str, Tensor]
NAMES = ("sim", "sim_classifier")


def meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return networks.create(name)


def inputs_of(network: nn.Module, height: int, width: int, batch: int = 1) -> list[Tensor]:
    """Numbers in 0..1 for each input."""
    device = next(network.parameters()).device
    generator = None if device.type == "meta" else torch.Generator().manual_seed(1)
    return [
        torch.rand(batch, channels, height, width, generator=generator, device=device)
        for channels in network.inputs.values()
    ]


def written(content: object, folder: Path) -> Path:
    path = folder / "weights.pth"
    torch.save(content, path)
    return path


def refusal(network: nn.Module, path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        load(network, path)
    return str(error.value)


# ── Sizes ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", NAMES)
def test_parameters(name: str) -> None:
    listed = released.listing(name)["parameters"]
    assert sum(parameter.numel() for parameter in meta(name).parameters()) == listed
    assert listed == {"sim": 46_609_840, "sim_classifier": 23_552_148}[name]


def gmacs(network: nn.Module) -> dict[str, float]:
    """By module; "Global" is the sum: for one image of 800×800."""
    counter = FlopCounterMode(display=False)
    with counter:
        network(*inputs_of(network, 800, 800, batch=2))  # ASPP trains on two or more
    return {
        module: sum(flops.values()) / 2 / 2 / 1e9  # two images, two operations each
        for module, flops in counter.get_flop_counts().items()
    }


def test_multiply_accumulates() -> None:
    network = meta("sim")
    training = gmacs(network.train())
    assert training["Global"] == pytest.approx(610.3, abs=0.05)
    alone = training["Global"] - training["SIM.colours"] - training["SIM.weights"]
    assert alone == pytest.approx(released.listing("sim")["gmacs_800"], abs=1e-3)
    evaluating = gmacs(network.eval())
    assert "SIM.weights" not in evaluating
    assert evaluating["Global"] == pytest.approx(alone + training["SIM.colours"], abs=1e-6)


def test_multiply_accumulates_of_the_classifier() -> None:
    listed = released.listing("sim_classifier")["gmacs_800"]
    assert gmacs(meta("sim_classifier").eval())["Global"] == pytest.approx(listed, abs=1e-3)


# ── Released layouts ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("component", ["", "module.", "net."])
@pytest.mark.parametrize("name", NAMES)
def test_released_checkpoint_loads(name: str, component: str, tmp_path: Path) -> None:
    listed = released.listing(name)
    state = {component + key: t for key, t in released.hollow_state(listed).items()}
    content = {"state_dict": state, "epoch": 7, "best_sad": np.float64(28.0)}
    network = meta(name)
    report = load(network, written(content, tmp_path))
    assert (report.layout, report.ignored) == ("released", ())
    # Each tensor holds its place in the list: all were taken, each once, in its own shape.
    wanted = {i: tuple(shape) for i, (_, shape, _, _) in enumerate(listed["keys"])}
    own = network.state_dict()
    assert {int(tensor.flatten()[0]): tuple(tensor.shape) for tensor in own.values()} == wanted
    assert len(own) == report.loaded == len(wanted)


def test_bare_state_dict_loads(tmp_path: Path) -> None:
    state = released.hollow_state(released.listing("sim"))
    assert load(meta("sim"), written(state, tmp_path)).loaded == len(state)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("sim", "encoder.conv1_side.weight"),
        ("sim", "decoder.conv_up4_fb.4.weight"),
        ("sim", "decoder.conv_up4_attn.0.bias"),
        ("sim", "decoder.global_module.convs.4.2.running_var"),
        ("sim_classifier", "net.layer3.5.bn3.bias"),
        ("sim_classifier", "net.fc.bias"),
    ],
)
def test_missing_misshapen_and_unexpected_keys(name: str, key: str, tmp_path: Path) -> None:
    component = "net." if name == "sim_classifier" else ""
    state = released.hollow_state(released.listing(name))
    state = {component + key: tensor for key, tensor in state.items()}
    tensor, bare = state.pop(key), key.removeprefix("net.")
    message = refusal(meta(name), written(state, tmp_path))
    assert f"1 missing ({bare})" in message
    assert f"a damaged or changed {name} resnet50: fetch it again" in message
    message = refusal(meta(name), written(state | {key: tensor[None]}, tmp_path))
    assert f"1 misshapen ({bare} 1×" in message
    message = refusal(meta(name), written(state | {key: tensor, f"{key}.x": tensor}, tmp_path))
    assert f"1 unexpected ({bare}.x)" in message


def test_component_before_some_names_only(tmp_path: Path) -> None:
    state = released.hollow_state(released.listing("sim_classifier"))
    mixed = {key if i % 2 else f"net.{key}": t for i, (key, t) in enumerate(state.items())}
    assert "holds several sets of weights: net, ." in refusal(
        meta("sim_classifier"), written(mixed, tmp_path)
    )


@pytest.mark.parametrize(
    ("found", "wanted", "hint"),
    [
        ("sim_classifier", "sim", "sim_classifier resnet50; pass it as --classifier"),
        ("sim_classifier", "gfm", "sim_classifier resnet50; pass it as --classifier of --model"),
        ("sim", "sim_classifier", "sim resnet50; pass it as --weights"),
        ("sim", "aim", "sim resnet50; pass --model sim"),
        ("aim", "sim", "aim resnet34 unified; pass --model aim"),
        ("gfm_r34_tt", "sim", "gfm resnet34 tt; pass --model gfm --backbone resnet34 --rosta tt"),
    ],
)
def test_checkpoint_of_another_network(found: str, wanted: str, hint: str, tmp_path: Path) -> None:
    state = released.hollow_state(released.listing(found))
    if found == "sim_classifier":
        state = {f"net.{key}": tensor for key, tensor in state.items()}
    message = refusal(meta(wanted), written(state, tmp_path))
    assert f"This looks like {hint}" in message


def imagenet() -> State:
    """ResNet-50 in torchvision's format."""
    state = released.hollow_state(released.listing("sim_classifier"))
    state["conv1.weight"] = torch.zeros(1).expand(64, 3, 7, 7)
    state["fc.weight"] = torch.zeros(1).expand(1000, 2048)
    state["fc.bias"] = torch.zeros(1).expand(1000)
    return state


def test_imagenet_classifier_is_no_patch_classifier(tmp_path: Path) -> None:
    message = refusal(meta("sim_classifier"), written(imagenet(), tmp_path))
    assert "conv1.weight 64×3×7×7, expected 64×4×7×7" in message
    assert "can only start an encoder" in message


@pytest.mark.parametrize("name", [*NAMES, "sim_discriminator"])
def test_imagenet_classifier_fills_the_encoder(name: str, tmp_path: Path) -> None:
    network = meta(name)
    report = load_backbone(network, written(imagenet(), tmp_path))
    fresh = r"conv1\..*"
    if name == "sim":
        # The stem is another, and what reads its features: layer 1's first convolutions.
        fresh = r"(conv|bn)[123](_side)?\..*|layer1\.0\.(conv1|bn1|downsample)\..*"
    own = network.encoder.state_dict()
    assert set(report.kept) == {key for key in own if re.fullmatch(fresh, key)}
    filled = {key for key, tensor in own.items() if not tensor.is_meta}
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    assert filled - counters == own.keys() - set(report.kept) - counters
    assert set(report.ignored) == imagenet().keys() - (own.keys() - set(report.kept))


# ── The released layers one by one ──────────────────────────────────────────────────────────────


def drawn(name: str) -> State:
    """Weights that keep every layer near unit size; standardised kernels make it √fan-in times
    that, which the norms behind them take back. The heads are spread over 0..1."""
    state = released.drawn_state(released.listing(name))
    for key, tensor in state.items():
        if (
            re.fullmatch(r"decoder\.(global_module|conv_up[123])\..*weight", key)
            and tensor.ndim > 2
        ):
            name_of_norm = re.sub(r"\d+(?=\.weight)", lambda i: str(int(i[0]) + 1), key)
            state[name_of_norm.replace("weight", "running_var")] *= tensor[0].numel()
        if re.fullmatch(r"decoder\.conv_up4_.*\.4\.weight", key):
            state[key] = tensor.abs() / 2 if "alpha" in key else 3 * tensor
    return state


def test_same_as_the_released_layers_one_by_one(tmp_path: Path) -> None:
    state = drawn("sim")
    network = meta("sim")
    released.load_and_remove(network, state, tmp_path)
    # 40 features wide at stride 8, so that ASPP's dilation of 36 meets some; not square.
    given = inputs_of(network, 64, 320)
    # In training mode there are the weights too; but batch norms and dropout as in the released
    # evaluation.
    network.eval()
    network.training = True
    with torch.inference_mode():
        expected = released_sim_forward.sim(state, *given)
        found = network(*given)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert tensor.std() > 0.02, f"{name} says nothing: {tensor.mean()} ± {tensor.std()}"
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=2e-4)
    alpha = expected["alpha"]
    assert ((alpha > 0) & (alpha < 1)).float().mean() > 0.5
    network.eval()
    with torch.inference_mode():
        assert list(network(*given)) == ["alpha", "foreground", "background"]


def test_classifier_same_as_the_released_layers_one_by_one(tmp_path: Path) -> None:
    state = drawn("sim_classifier")
    network = meta("sim_classifier").eval()
    released.load_and_remove(network, state, tmp_path)
    given = inputs_of(network, 70, 100)
    with torch.inference_mode():
        expected = released_sim_forward.classifier(state, *given)
        found = network(*given)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert tensor.std() > 0.02
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-4)


# ── The contract of a network ───────────────────────────────────────────────────────────────────


def test_outputs() -> None:
    network = meta("sim")
    assert (network.name, network.backbone, network.rosta) == ("sim", "resnet50", "none")
    assert (network.fusion, network.size_multiple) == ("alpha", 8)
    assert network.heads == {"alpha": 1, "foreground": 3, "background": 3}
    assert network.inputs == {"image": 3, "trimap": 2, "clicks": 6, "semantic": 20}
    weights = {f"weight_{part}": 1 for part in ("foreground", "background", "alpha")}
    for mode, expected in ((False, network.heads), (True, network.heads | weights)):
        found = network.train(mode)(*inputs_of(network, 24, 40, batch=2))
        assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
            name: (2, channels, 24, 40) for name, channels in expected.items()
        }


def test_encoder_features() -> None:
    encoder = meta("sim").encoder
    given = [torch.empty(1, channels, 64, 96, device="meta") for channels in (11, 20)]
    shapes = [tuple(feature.shape) for feature in encoder(*given)]
    assert shapes == [(1, 128, 32, 48), (1, 256, 16, 24), (1, 2048, 8, 12)]
    assert encoder.channels == (128, 256, 2048)


def test_every_channel_of_every_input_reaches_the_matte() -> None:
    torch.manual_seed(0)
    network = SIM()
    image, trimap, clicks, semantic = given = [
        x.requires_grad_() for x in inputs_of(network, 32, 32, batch=2)
    ]
    through_the_encoder = network.encoder(torch.cat([image, clicks, trimap], 1), semantic)[-1]
    for outcome in (through_the_encoder, network(*given)["alpha"]):
        for gradient in torch.autograd.grad(outcome.square().sum(), given):
            assert (gradient.abs().amax((0, 2, 3)) > 0).all()


def test_all_weights_learn() -> None:
    torch.manual_seed(0)
    network = SIM().train()
    found = network(*inputs_of(network, 32, 32, batch=2))
    sum(tensor.sum() for tensor in found.values()).backward()
    still = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


@pytest.mark.parametrize(
    ("which", "shape", "message"),
    [
        (0, (1, 3, 60, 64), r"image of shape .*; expected N×3×H×W with H and W multiples of 8"),
        (0, (1, 4, 64, 64), r"image of shape .*; expected N×3×H×W"),
        (0, (3, 64, 64), r"image of shape .*; expected N×3×H×W"),
        (0, (1, 3, 64, 0), r"image of shape .*; expected N×3×H×W"),
        (1, (1, 1, 64, 64), r"trimap of shape .*; expected N×2×H×W with H and W multiples of 8"),
        (1, (1, 2, 64, 72), r"trimap of shape .*; expected the N, H and W of image, \(1, 3, 64"),
        (2, (2, 6, 64, 64), r"clicks of shape .*; expected the N, H and W of image"),
        (3, (1, 20, 8, 8), r"semantic of shape .*; expected the N, H and W of image"),
        (3, (64, 64), r"semantic of shape .*; expected N×20×H×W"),
    ],
)
def test_inputs_of_a_wrong_shape(which: int, shape: tuple[int, ...], message: str) -> None:
    network = meta("sim")
    given = inputs_of(network, 64, 64)
    given[which] = torch.empty(shape, device="meta")
    with pytest.raises(ValueError, match=message) as error:
        network(*given)
    assert str(shape) in str(error.value)


# ── The classifiers ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [(64, 96), (33, 31), (1, 1), (800, 320)])
def test_activation_maps(size: tuple[int, int]) -> None:
    network = meta("sim_classifier")
    found = network(*inputs_of(network, *size, batch=2))
    assert found["logits"].shape == (2, 20)
    assert found["cam"].shape == (2, 20, *(-(-side // 32) for side in size))
    assert (network.heads, network.head_strides) == ({"cam": 20}, {"cam": 32})
    assert (network.fusion, network.inputs) == ("cam", {"image": 3, "trimap": 1})


@pytest.fixture(scope="module")
def classifier() -> PatchClassifier:
    torch.manual_seed(0)
    return PatchClassifier().eval()


def test_logits_are_the_mean_of_the_activation_maps(classifier: PatchClassifier) -> None:
    with torch.inference_mode():
        found = classifier(*inputs_of(classifier, 64, 96))
    expected = found["cam"].mean((2, 3)) + classifier.fc.bias
    torch.testing.assert_close(found["logits"], expected)


def test_from_a_trimap_to_a_matte(classifier: PatchClassifier) -> None:
    # All that SIM needs, put together; the weights are random.
    trimap = np.full((48, 64), 128, np.uint8)
    trimap[:10], trimap[40:] = 0, 255
    rgb = np.random.default_rng(0).random((3, 48, 64), np.float32)
    mean, std = (
        np.float32(v).reshape(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )

    def classify(image: Any, trimap: Any) -> Any:
        with torch.inference_mode():
            return classifier(torch.from_numpy(image), torch.from_numpy(trimap))["cam"].numpy()

    semantic = semantic_trimap((rgb - mean) / std, trimap, classify)
    given = [rgb, two_channel(trimap), distance_maps(trimap), semantic]
    torch.manual_seed(0)
    network = SIM().eval()
    with torch.inference_mode():
        matte = network(*(torch.from_numpy(array)[None] for array in given))
    for head, channels in network.heads.items():
        assert matte[head].shape == (1, channels, 48, 64)
        assert 0 <= matte[head].min() < matte[head].max() <= 1


def test_discriminator() -> None:
    network = meta("sim_discriminator")
    assert isinstance(network, AlphaDiscriminator)
    # The classifier's layers, but for the stem's three channels of 64 kernels of 7×7.
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert parameters == 23_552_148 - 3 * 64 * 7 * 7
    logits, features = network(torch.empty(2, 1, 96, 65, device="meta"))
    assert logits.shape == (2, 20)
    assert [tuple(feature.shape) for feature in features] == [
        (2, 256, 24, 17),
        (2, 512, 12, 9),
        (2, 1024, 6, 5),
        (2, 2048, 3, 3),
        (2, 2048),
    ]


def test_discriminator_tells_what_a_matte_lacks() -> None:
    torch.manual_seed(0)
    network = AlphaDiscriminator().eval()
    alpha = torch.rand(1, 1, 64, 64, requires_grad=True)
    logits, features = network(alpha)
    torch.testing.assert_close(features[-1], features[-2].mean((2, 3)))
    torch.testing.assert_close(logits, network.fc(features[-1]))
    for feature in (logits, *features):
        (gradient,) = torch.autograd.grad(feature.sum(), alpha, retain_graph=True)
        assert gradient.abs().amax() > 0


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (64, 64), (1, 1, 0, 64)])
def test_alpha_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="alpha of shape"):
        meta("sim_discriminator")(torch.empty(shape, device="meta"))


# ── Weight standardisation ──────────────────────────────────────────────────────────────────────


@pytest.fixture
def convolution() -> StandardisedConv2d:
    torch.manual_seed(0)
    conv = StandardisedConv2d(5, 7, 3, padding=2, dilation=2)
    with torch.no_grad():
        conv.weight.add_(0.3)
        conv.weight[3] = 0.25  # a kernel without any variance
    return conv


def test_standardised_kernels_in_closed_form(convolution: StandardisedConv2d) -> None:
    kernels = convolution.weight.detach().numpy().astype(np.float64)
    mean = kernels.mean((1, 2, 3), keepdims=True)
    variance = kernels.var((1, 2, 3), keepdims=True, ddof=1)
    expected = (kernels - mean) / (np.sqrt(variance + 1e-12) + 1e-5)
    found = convolution.standardised().detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert not found[3].any()
    assert abs(found).max() > 1


def test_plain_convolution_is_the_same(convolution: StandardisedConv2d) -> None:
    plain = convolution.plain()
    assert type(plain) is nn.Conv2d
    x = torch.rand(2, 5, 9, 11)
    with torch.no_grad():
        torch.testing.assert_close(plain(x), convolution(x), rtol=0, atol=1e-6)
    plain.weight.data.zero_()
    assert convolution.weight.any()
