"""The light GFM: shapes, size, and what it has in common with the published networks."""

import itertools

import pytest
import torch

from training import networks
from training.networks.mobilenetv3 import CHANNELS, MobileNetV3

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


def test_encoder_takes_weights_in_torchvision_layout() -> None:
    source, target = MobileNetV3(), MobileNetV3()
    state = {**source.state_dict(), "classifier.0.weight": torch.zeros(1)}
    target.load_torchvision(state)
    for a, b in zip(source.parameters(), target.parameters(), strict=True):
        assert torch.equal(a, b)
    del state["features.1.block.0.0.weight"]
    with pytest.raises(RuntimeError, match=r"features\.1\.block\.0\.0\.weight"):
        target.load_torchvision(state)


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
    assert len(pairs) == 25
    for backbone, rosta in pairs:
        with torch.device("meta"):
            network = networks.create("gfm", backbone=backbone, rosta=rosta)
        assert (network.backbone, network.rosta) == (backbone, rosta)
