"""The light GFM: shapes, size, and what it has in common with the published networks."""

import itertools
from pathlib import Path

import pytest
import torch

from matter_sdk.training import checkpoints, networks
from matter_sdk.training.networks.mobilenetv3 import CHANNELS, MobileNetV3

# Those of one network; the ensemble, en-median, is three of it (test_gfm_ensemble.py).
ROSTAS = ("tt", "ft", "bt", "rim")


@pytest.mark.parametrize("rosta", ROSTAS)
def test_heads_have_the_image_size_and_lie_in_0_1(rosta: str) -> None:
    torch.manual_seed(0)
    network = networks.create("gfm", backbone="mobilenetv3", rosta=rosta).eval()
    with torch.inference_mode():
        outputs = network(torch.randn(2, 3, 64, 96))
    for name, tensor in outputs.items():
        channels = {"glance": 2, "glance_ft": 2, "glance_bt": 2, "glance_tt": 3}.get(name, 1)
        if name == "glance" and rosta in ("tt", "rim"):
            channels = 3
        assert tensor.shape == (2, channels, 64, 96), name
        assert tensor.min() >= 0, name
        assert tensor.max() <= 1, name
    for head, channels in network.heads.items():
        assert outputs[head].shape[1] == channels
    if rosta != "rim":
        torch.testing.assert_close(outputs["glance"].sum(1), torch.ones(2, 64, 96))


def test_every_form_is_under_six_million_parameters() -> None:
    for rosta in ROSTAS:
        network = networks.create("gfm", backbone="mobilenetv3", rosta=rosta)
        assert sum(p.numel() for p in network.parameters()) < 6e6


def test_every_parameter_takes_part_in_training() -> None:
    for rosta in ("bt", "rim"):
        network = networks.create("gfm", backbone="mobilenetv3", rosta=rosta).train()
        outputs = network(torch.randn(2, 3, 64, 64))
        sum(tensor.square().sum() for tensor in outputs.values()).backward()
        idle = [name for name, p in network.named_parameters() if p.grad is None]
        assert not idle


def test_encoder_is_mobilenet_v3_large() -> None:
    """The published features (without the last 1×1 of 160×960) have 2,971,952 − 155,520 parameters
    (torchvision's ``mobilenet_v3_large().features``, whose last layer holds 160·960 + 2·960)."""
    encoder = MobileNetV3()
    assert sum(p.numel() for p in encoder.parameters()) == 2_971_952 - 155_520
    for tap, channels, stride in zip(
        encoder(torch.randn(1, 3, 64, 96)), CHANNELS, (2, 4, 8, 16, 32), strict=True
    ):
        assert tap.shape == (1, channels, 64 // stride, 96 // stride)


def torchvision_file(folder: Path) -> tuple[MobileNetV3, Path]:
    """A file as torchvision writes ``mobilenet_v3_large``, and the encoder that it holds."""
    source = MobileNetV3()
    head = {"features.16.0.weight": (960, 160, 1, 1), "features.16.1.bias": (960,)}
    head |= {"classifier.0.weight": (1280, 960), "classifier.3.bias": (1000,)}
    classifier = {key: torch.zeros(shape) for key, shape in head.items()}
    torch.save(source.state_dict() | classifier, folder / "mobilenet_v3_large.pth")
    return source, folder / "mobilenet_v3_large.pth"


def test_encoder_takes_weights_in_torchvision_layout(tmp_path: Path) -> None:
    source, path = torchvision_file(tmp_path)
    network = networks.create("gfm", backbone="mobilenetv3")
    report = checkpoints.load_backbone(network, path)
    assert {key.rpartition(".")[0] for key in report.ignored} == {
        "features.16.0",
        "features.16.1",
        "classifier.0",
        "classifier.3",
    }
    assert report.kept == ()
    for a, b in zip(source.parameters(), network.encoder.parameters(), strict=True):
        assert torch.equal(a, b)
    state = torch.load(path, weights_only=True)
    del state["features.1.block.0.0.weight"]
    torch.save(state, path)
    with pytest.raises(checkpoints.CheckpointError, match=r"features\.1\.block\.0\.0\.weight"):
        checkpoints.load_backbone(network, path)


def test_plate_mode_keeps_its_first_convolution(tmp_path: Path) -> None:
    """Six channels in place of ImageNet's three; everything behind them is taken."""
    source, path = torchvision_file(tmp_path)
    network = networks.create("gfm-plate")
    stem = network.encoder.features[0][0].weight.clone()
    report = checkpoints.load_backbone(network, path)
    assert report.kept == ("features.0.0.weight",)
    assert torch.equal(network.encoder.features[0][0].weight, stem)
    assert torch.equal(network.encoder.features[0][1].weight, source.features[0][1].weight)


def test_parts_left_out() -> None:
    """What is left is the whole network whose pyramid or dilated convolutions give nothing."""
    torch.manual_seed(0)
    whole = networks.create("gfm", backbone="mobilenetv3").eval()
    image = torch.randn(1, 3, 64, 96)
    for part, silent, changed in (
        ("pyramid", whole.decoders["tt"].glance.context.squeeze, "glance"),
        ("bridge", whole.decoders["tt"].focus.bridge.dilated, "focus"),
    ):
        without = networks.create("gfm", backbone="mobilenetv3", without=[part]).eval()
        assert without.without == (part,)
        state = {key: whole.state_dict()[key] for key in without.state_dict()}
        for key, tensor in without.state_dict().items():  # the convolution that joins the bins
            state[key] = state[key][:, : tensor.shape[1]] if tensor.ndim == 4 else state[key]
        without.load_state_dict(state)
        hooks = [m.register_forward_hook(lambda module, x, y: y.zero_()) for m in silent]
        with torch.inference_mode():
            silenced = whole(image)
            for hook in hooks:
                hook.remove()
            torch.testing.assert_close(without(image), silenced)
            assert not torch.equal(whole(image)[changed], silenced[changed])
    both = networks.create(
        "gfm", backbone="mobilenetv3", rosta="en-median", without=["bridge", "pyramid"]
    )
    assert both.without == both.bt.without == ("pyramid", "bridge")


@pytest.mark.parametrize(
    ("options", "near"),
    [
        ({"name": "gmf"}, "'gfm'"),
        ({"name": "gfm", "backbone": "resnet43"}, "'resnet34'"),
        ({"name": "gfm", "rosta": "tf"}, "expected one of tt, ft, bt, rim"),
    ],
)
def test_unknown_options_name_the_near_match(options: dict[str, str], near: str) -> None:
    with pytest.raises(networks.UnknownNetwork, match=near):
        networks.create(**options)


def test_every_listed_pair_can_be_created() -> None:
    pairs = list(itertools.product(networks.backbones("gfm"), networks.rostas("gfm")))
    assert len(pairs) == 30
    for backbone, rosta in pairs:
        with torch.device("meta"):
            network = networks.create("gfm", backbone=backbone, rosta=rosta)
        assert (network.backbone, network.rosta) == (backbone, rosta)
