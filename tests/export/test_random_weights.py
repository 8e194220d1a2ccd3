"""Random weights that behave: every head covers its range, whatever it ends in."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from matter_sdk.export import random_weights
from matter_sdk.training import networks
from matter_sdk.training.networks.resnet import Bottleneck

SIZE = (64, 96)


def inputs(network: nn.Module, pictures: int = 4) -> tuple[Tensor, ...]:
    """Smooth, as pictures are: noise at a tenth of the size, enlarged."""
    generator = torch.Generator().manual_seed(0)
    return tuple(
        nn.functional.interpolate(
            torch.rand(pictures, count, 6, 10, generator=generator), SIZE, mode="bilinear"
        )
        for count in networks.inputs(network).values()
    )


@pytest.mark.parametrize("name", ["Tiny", "TinyPlate", "TinyUnpool", "TinyTrimap"])
def test_heads_cover_their_range(tiny: ModuleType, name: str) -> None:
    torch.manual_seed(0)
    network = getattr(tiny, name)()
    x = inputs(network)
    random_weights.fit(network, x)
    assert not network.training
    with torch.no_grad():
        results = network(*x)
    for head in network.heads:
        for channel in results[head].unbind(1):
            assert 0.3 < channel.mean() < 0.7, head
            assert 0.1 < channel.std() < 0.4, head
            certain = ((channel < 1e-3) | (channel > 1 - 1e-3)).float().mean()
            assert certain < 0.35, head  # neither saturated nor cut off
    if "glance" in results:
        classes = torch.bincount(results["glance"].argmax(1).flatten(), minlength=3)
        assert classes.min() > 0.05 * classes.sum()


def test_as_made_a_clamped_alpha_would_verify_nothing(tiny: ModuleType) -> None:
    """What the fit is for: its own test must be able to fail."""
    torch.manual_seed(0)
    network = tiny.TinyTrimap()
    nn.init.constant_(network.alpha.weight, -0.1)
    x = inputs(network)
    with torch.no_grad():
        assert network.eval()(*x)["alpha"].max() < 0.01
    random_weights.fit(network, x)
    with torch.no_grad():
        assert network(*x)["alpha"].std() > 0.1


def test_batch_norms_hold_the_statistics_of_what_reaches_them() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.Dropout(0.5),
        nn.Conv2d(8, 4, 3),
        nn.BatchNorm2d(4),
    )
    x = 100 * torch.randn(4, 3, 16, 16)
    random_weights.fit(network, (x,))
    seen = []
    network[4].register_forward_hook(lambda module, given, result: seen.append(result))
    with torch.no_grad():
        first = network[1](network[0](x))
        network(x)
    for result in (first, seen[0]):  # no dropout in between, or the second would be off
        torch.testing.assert_close(
            result.mean((0, 2, 3)), torch.zeros(result.shape[1]), atol=1e-4, rtol=0
        )
        torch.testing.assert_close(
            result.var((0, 2, 3)), torch.ones(result.shape[1]), atol=1e-3, rtol=0
        )


def test_one_value_a_picture_says_too_little() -> None:
    """Two pictures that are nearly alike would else blow up every other one."""
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3))
    random_weights.fit(network, (torch.full((2, 3, 8, 8), 5.0),))
    assert torch.equal(network[1].running_var, torch.ones(3))
    assert torch.equal(network[1].running_mean, torch.zeros(3))


def test_residual_branches_are_small() -> None:
    block = Bottleneck(16, 4)
    random_weights.fit(block, (torch.randn(2, 16, 8, 8),))
    assert torch.equal(block.bn3.weight, torch.full((16,), 0.25))


def test_hooks_are_removed_even_after_a_failure(tiny: ModuleType) -> None:
    network = tiny.TinyTrimap()
    with pytest.raises(TypeError):
        random_weights.fit(network, (torch.zeros(1, 3, *SIZE),))
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
