"""SIM's forward pass written out over a released state dict: slow, flat, and without modules.

It names every layer as the released checkpoints do, so a tensor that our table of names sends to
the wrong place shows up as a different matte.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


def sim(
    state: State, image: Tensor, trimap: Tensor, clicks: Tensor, semantic: Tensor
) -> dict[str, Tensor]:
    """``alpha``, ``foreground``, ``background`` and the three weights."""
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    normalised = (image - mean) / std
    x = torch.cat([normalised, clicks, trimap], 1)
    x = F.conv2d(x, state["encoder.conv1.weight"], None, 2, 1) + F.conv2d(
        semantic, state["encoder.conv1_side.weight"], None, 2, 3
    )
    x = _bn(state, "encoder.bn1", x).relu()
    x = _bn(state, "encoder.bn2", _conv(state, "encoder.conv2", x, padding=1)).relu()
    stem = _bn(state, "encoder.bn3", _conv(state, "encoder.conv3", x, padding=1)).relu()
    low = _blocks(state, "encoder.layer1", F.max_pool2d(stem, 3, 2, 1), [(1, 1)] * 3)
    x = _blocks(state, "encoder.layer2", low, [(2, 1), (1, 1), (1, 1), (1, 1)])
    x = _blocks(state, "encoder.layer3", x, [(1, 1)] + [(1, 2)] * 5)
    high = _blocks(state, "encoder.layer4", x, [(1, 2), (1, 4), (1, 4)])

    x = torch.cat([high, _aspp(state, high)], 1)
    for i in (0, 3):
        x = _up_block(state, "decoder.conv_up1", i, x)
    x = _up_block(state, "decoder.conv_up2", 0, torch.cat([_double(x), low], 1))
    x = _up_block(state, "decoder.conv_up3", 0, torch.cat([_double(x), stem], 1))
    x = _double(x)

    y = torch.cat([x, normalised, image, trimap], 1)
    colours = _head(state, "decoder.conv_up4_fb", y).sigmoid()
    weights = _head(state, "decoder.conv_up4_attn", x).sigmoid()
    return {
        "alpha": _head(state, "decoder.conv_up4_alpha", y).clamp(0, 1),
        "foreground": colours[:, 0:3],
        "background": colours[:, 3:6],
        "weight_foreground": weights[:, 0:1],
        "weight_background": weights[:, 1:2],
        "weight_alpha": weights[:, 2:3],
    }


def classifier(state: State, image: Tensor, trimap: Tensor) -> dict[str, Tensor]:
    """``logits`` and ``cam``."""
    x = _conv(state, "conv1", torch.cat([image, trimap], 1), stride=2, padding=3)
    x = F.max_pool2d(_bn(state, "bn1", x).relu(), 3, 2, 1)
    for i, count in enumerate((3, 4, 6, 3), 1):
        x = _blocks(state, f"layer{i}", x, [(1 if i == 1 else 2, 1)] + [(1, 1)] * (count - 1))
    return {
        "logits": F.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"]),
        "cam": torch.einsum("kc,nchw->nkhw", state["fc.weight"], x),
    }


def _blocks(state: State, name: str, x: Tensor, plan: list[tuple[int, int]]) -> Tensor:
    """Bottlenecks; ``plan``: stride and dilation of each."""
    for i, (stride, dilation) in enumerate(plan):
        block = f"{name}.{i}"
        y = _bn(state, f"{block}.bn1", _conv(state, f"{block}.conv1", x)).relu()
        y = _conv(state, f"{block}.conv2", y, stride, dilation, dilation)
        y = _bn(state, f"{block}.bn2", y).relu()
        y = _bn(state, f"{block}.bn3", _conv(state, f"{block}.conv3", y))
        if i == 0:
            x = _conv(state, f"{block}.downsample.0", x, stride)
            x = _bn(state, f"{block}.downsample.1", x)
        x = (x + y).relu()
    assert f"{name}.{len(plan)}.conv1.weight" not in state
    return x


def _aspp(state: State, x: Tensor) -> Tensor:
    name = "decoder.global_module"
    branches = []
    for i, rate in enumerate((0, 12, 24, 36)):
        y = _standardised(state, f"{name}.convs.{i}.0", x, rate, max(rate, 1))
        branches.append(_bn(state, f"{name}.convs.{i}.1", y).relu())
    y = _standardised(state, f"{name}.convs.4.1", x.mean((2, 3), keepdim=True), 0, 1)
    y = _bn(state, f"{name}.convs.4.2", y).relu()
    branches.append(F.interpolate(y, x.shape[2:], mode="bilinear"))
    y = _standardised(state, f"{name}.project.0", torch.cat(branches, 1), 0, 1)
    return _bn(state, f"{name}.project.1", y).relu()


def _up_block(state: State, name: str, i: int, x: Tensor) -> Tensor:
    x = _standardised(state, f"{name}.{i}", x, 1, 1)
    return F.leaky_relu(_bn(state, f"{name}.{i + 1}", x), 0.01)


def _head(state: State, name: str, x: Tensor) -> Tensor:
    x = F.leaky_relu(_conv(state, f"{name}.0", x, padding=1), 0.01)
    x = F.leaky_relu(_conv(state, f"{name}.2", x, padding=1), 0.01)
    return _conv(state, f"{name}.4", x)


def _standardised(state: State, name: str, x: Tensor, padding: int, dilation: int) -> Tensor:
    kernels = state[f"{name}.weight"].double().flatten(1)
    kernels = kernels - kernels.mean(1, keepdim=True)
    variance = kernels.square().sum(1, keepdim=True) / (kernels.shape[1] - 1)
    kernels = kernels / ((variance + 1e-12).sqrt() + 1e-5)
    kernels = kernels.view(state[f"{name}.weight"].shape).float()
    return F.conv2d(x, kernels, state.get(f"{name}.bias"), 1, padding, dilation)


def _conv(
    state: State, name: str, x: Tensor, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Tensor:
    bias = state.get(f"{name}.bias")
    return F.conv2d(x, state[f"{name}.weight"], bias, stride, padding, dilation)


def _bn(state: State, name: str, x: Tensor) -> Tensor:
    entries = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(state[f"{name}.{entry}"] for entry in entries))


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
