"""Make random weights behave like trained ones.

Fresh weights let values grow from layer to layer beyond float16's range, saturate sigmoids, tie the
glance's classes and clamp alpha to 0 everywhere. An engine for timing would keep half of its layers
in float32, and its verification would compare constants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from matter_sdk.training.networks import inputs
from matter_sdk.training.networks.resnet import BasicBlock, Bottleneck

# Mean and deviation of the values before a head's last function: a sigmoid then gives 0.05 to 0.95
# for most pixels, and a clamp cuts off one in ten.
_BEFORE = {"Sigmoid": (0.0, 1.5), "Softmax": (0.0, 1.5), "Clamp": (0.5, 0.3)}
# Weight of a residual branch, as small as a trained one: dozens of full-size branches are chaotic,
# and amplify float32's rounding to 1e-3.
_BRANCH = 0.25


def fit(network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Fit a network's batch norms and heads to some pictures in one pass, in place.

    Each batch norm takes the statistics of its input, unless that has one value a picture. The
    convolution before each head's sigmoid, softmax or clamp is scaled and shifted so that the head
    covers its range.

    Args:
        network: with fresh weights; in eval mode afterwards.
        inputs: batch×C×H×W each, in the network's order.
    """
    network.eval()
    for module in network.modules():
        if isinstance(module, Bottleneck):
            nn.init.constant_(module.bn3.weight, _BRANCH)
        elif isinstance(module, BasicBlock):
            nn.init.constant_(module.bn2.weight, _BRANCH)
    heads = {id(weight): _BEFORE[kind] for kind, weight in _last_weights(network)}
    hooks = []
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(_take_statistics))
        elif isinstance(module, nn.Conv2d) and id(module.weight) in heads:
            hooks.append(module.register_forward_hook(_Spread(*heads[id(module.weight)])))
    try:
        with torch.no_grad():
            network(*inputs)
    finally:
        for hook in hooks:
            hook.remove()


def _take_statistics(module: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
    (x,) = inputs
    if x[0, 0].numel() > 1:
        variance, mean = torch.var_mean(x, (0, 2, 3))
        module.running_var.copy_(variance)  # type: ignore[union-attr]
        module.running_mean.copy_(mean)  # type: ignore[union-attr]


class _Spread:
    """Forward hook that gives each channel of a convolution's output this mean and deviation."""

    def __init__(self, mean: float, deviation: float) -> None:
        self.mean, self.deviation = mean, deviation

    def __call__(self, conv: nn.Conv2d, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        (x,) = inputs
        if conv.bias is None:
            # Without a bias, the weights' part along the mean input shifts the output. It adds to
            # the deviation, so it is taken away first.
            mean = x.mean((0, 2, 3))
            along = mean[None, :, None, None] / (mean.square().sum() * conv.weight[0, 0].numel())
            conv.weight.sub_(output.mean((0, 2, 3)).view(-1, 1, 1, 1) * along)
            output = conv._conv_forward(x, conv.weight, None)
            conv.weight.mul_(self.deviation / output.std((0, 2, 3)).view(-1, 1, 1, 1))
            conv.weight.add_(self.mean * along)
        else:
            scale = self.deviation / output.std((0, 2, 3))
            conv.weight.mul_(scale.view(-1, 1, 1, 1))
            conv.bias.sub_(output.mean((0, 2, 3))).mul_(scale).add_(self.mean)
        return conv._conv_forward(x, conv.weight, conv.bias)


def _last_weights(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The last function of each head, and the weights of the convolution before it.

    Of the network and of the networks that it is made of: no gradient passes an arg-max.
    """
    for module in network.modules():
        if not hasattr(module, "heads"):
            continue
        with torch.enable_grad():
            results: Mapping[str, Tensor] = module(
                *(torch.zeros(1, count, 64, 64) for count in inputs(module).values())
            )
        for result in results.values():
            yield from _before(result.grad_fn, "")


def _before(node: Any, last: str) -> Iterator[tuple[str, Tensor]]:
    """Walk back from a result to its convolutions; ``last`` is the function passed on the way."""
    name = type(node).__name__
    if name.startswith("Convolution"):
        weight = getattr(node.next_functions[1][0], "variable", None)
        if last and weight is not None:
            yield last, weight
    elif "BatchNorm" not in name and node is not None:
        kind = next((kind for kind in _BEFORE if name.startswith(kind)), last)
        for before, _ in node.next_functions:
            yield from _before(before, kind)
