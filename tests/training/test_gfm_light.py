"""The light GFM: cost, shapes, what its parts see, its ImageNet weights."""

import itertools
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from matter_sdk.training import checkpoints, networks
from matter_sdk.training.networks.efficientnet_lite import CHANNELS, EfficientNetLite0
from tests.training.released import multiply_accumulates

ROSTAS = ("tt", "ft", "bt", "rim")
BACKBONE = "efficientnet-lite0"


def network(rosta: str = "tt") -> torch.nn.Module:
    torch.manual_seed(0)
    return networks.create("gfm", backbone=BACKBONE, rosta=rosta).eval()


def test_at_most_320_million_multiply_accumulates_at_288x512() -> None:
    with torch.device("meta"):
        cost = multiply_accumulates(network(), 288, 512)
    assert 280e6 < cost <= 320e6


@pytest.mark.parametrize("rosta", ROSTAS)
@pytest.mark.parametrize("size", [(64, 96), (32, 160), (288, 512)])
def test_heads_have_the_image_size_and_lie_in_0_1(rosta: str, size: tuple[int, int]) -> None:
    net = network(rosta)
    with torch.inference_mode():
        outputs = net(torch.randn(1, 3, *size))
    for name, tensor in outputs.items():
        assert tensor.shape[2:] == size, name
        assert tensor.min() >= 0, name
        assert tensor.max() <= 1, name
    for head, channels in net.heads.items():
        assert outputs[head].shape[1] == channels


def test_a_glance_s_classes_sum_to_1() -> None:
    for rosta, classes in (("tt", 3), ("ft", 2), ("bt", 2)):
        with torch.inference_mode():
            glance = network(rosta)(torch.randn(2, 3, 64, 96))["glance"]
        assert glance.shape[1] == classes
        torch.testing.assert_close(glance.sum(1), torch.ones(2, 64, 96))


def test_every_parameter_takes_part_in_training() -> None:
    for rosta in ROSTAS:
        net = network(rosta).train()
        outputs = net(torch.randn(2, 3, 64, 64))
        sum(tensor.square().sum() for tensor in outputs.values()).backward()
        assert not [name for name, p in net.named_parameters() if p.grad is None]


def test_the_glance_sees_the_picture_at_half_its_size_and_the_focus_all_of_it() -> None:
    """A checkerboard of single pixels vanishes in the mean of 2×2."""
    net = network()
    plain = torch.zeros(1, 3, 64, 64)
    checks = torch.ones(64, 64)
    checks[::2, ::2] = checks[1::2, 1::2] = -1
    with torch.inference_mode():
        one, other = net(plain), net(plain + checks)
    assert torch.equal(one["glance"], other["glance"])
    assert (one["focus"] - other["focus"]).abs().max() > 1e-4


def test_taps_have_their_strides_and_odd_sides_are_rounded_up() -> None:
    taps = EfficientNetLite0().eval()(torch.randn(1, 3, 144, 256))
    for tap, channels, stride in zip(taps, CHANNELS, (2, 4, 8, 16, 32), strict=True):
        assert tap.shape == (1, channels, -(-144 // stride), 256 // stride)


@pytest.mark.parametrize("size", [(8, 8), (9, 9), (9, 8), (8, 9)])
def test_padding_is_that_of_tensorflow_same(size: tuple[int, int]) -> None:
    """SAME, by its definition: ⌈side/2⌉ outputs; the smaller half of the padding comes first."""
    stem = EfficientNetLite0()._conv_stem
    x = torch.randn(1, 3, *size)
    padding = []
    for side in reversed(size):
        total = max((-(-side // 2) - 1) * 2 + 3 - side, 0)
        padding += [total // 2, total - total // 2]
    expected = functional.conv2d(functional.pad(x, padding), stem.weight, stride=2)
    torch.testing.assert_close(stem(x), expected)


def test_weights_of_the_public_package_load_strictly(tmp_path: Path) -> None:
    """The package's classifier has a sixteenth block, a head and a classifier, which are left."""
    state = EfficientNetLite0().state_dict()
    drawn = {k: torch.rand_like(v) if v.is_floating_point() else v for k, v in state.items()}
    extra = {"_conv_head.weight": torch.rand(1280, 320, 1, 1), "_fc.bias": torch.rand(1000)}
    extra |= {"_bn1.weight": torch.rand(1280)}
    extra |= {"_blocks.15._bn2.bias": torch.rand(320)}
    path = tmp_path / "efficientnet-lite0.pth"
    torch.save(drawn | extra, path)
    net = network()
    report = checkpoints.load_backbone(net, path)
    assert set(report.ignored) == set(extra)
    for key, tensor in net.encoder.state_dict().items():
        assert torch.equal(tensor, drawn[key]), key
    del drawn["_blocks.3._bn1.weight"]
    torch.save(drawn | extra, path)
    with pytest.raises(checkpoints.CheckpointError, match=r"_blocks\.3\._bn1\.weight"):
        checkpoints.load_backbone(network(), path)


def test_the_pooled_context_may_be_left_out() -> None:
    """What is left is the whole network whose pooled context gives nothing."""
    torch.manual_seed(0)
    whole = network()
    without = networks.create("gfm", backbone=BACKBONE, without=["pyramid"]).eval()
    assert without.without == ("pyramid",)
    without.load_state_dict({key: whole.state_dict()[key] for key in without.state_dict()})
    image = torch.randn(1, 3, 64, 96)
    context = whole.decoders["tt"].glance.context
    with torch.inference_mode():
        spoken = whole(image)
        with context.register_forward_hook(lambda module, x, y: torch.zeros_like(y)):
            torch.testing.assert_close(without(image), whole(image))
    assert not torch.equal(spoken["glance"], without(image)["glance"])
    both = networks.create("gfm", backbone=BACKBONE, rosta="en-median", without=["pyramid"])
    assert both.without == both.bt.without == ("pyramid",)


def test_there_is_no_bridge_to_leave_out() -> None:
    with pytest.raises(ValueError, match="bridge"):
        networks.create("gfm", backbone=BACKBONE, rosta="tt", without=["bridge"])


def test_the_graph_s_first_convolution_is_that_of_the_halved_picture() -> None:
    stem = network().encoder._conv_stem
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        assert torch.allclose(stem.plain()(x), stem(x), atol=1e-5)


def test_plate_mode_keeps_its_first_convolution(tmp_path: Path) -> None:
    """Six channels in place of ImageNet's three; everything behind them is taken."""
    source = EfficientNetLite0()
    torch.save(source.state_dict(), tmp_path / "efficientnet-lite0.pth")
    plated = networks.create("gfm-plate")
    stem = plated.encoder._conv_stem.weight.clone()
    report = checkpoints.load_backbone(plated, tmp_path / "efficientnet-lite0.pth")
    assert report.kept == ("_conv_stem.weight",)
    assert torch.equal(plated.encoder._conv_stem.weight, stem)
    assert torch.equal(plated.encoder._bn0.weight, source._bn0.weight)


def test_with_a_plate_a_picture_like_it_differs_from_another() -> None:
    torch.manual_seed(0)
    plated = networks.create("gfm-plate", backbone=BACKBONE, rosta="tt").eval()
    image, other = torch.randn(2, 1, 3, 64, 96)
    with torch.inference_mode():
        empty, full = plated(image, image), plated(image, other)
    assert empty["alpha"].shape == (1, 1, 64, 96)
    assert (empty["focus"] - full["focus"]).abs().max() > 1e-4


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
