"""GFM's forward pass written out over a released state dict: slow, flat, and without modules.

It names every layer as the released checkpoint does, so a tensor that our table of names sends to
the wrong place shows up as a different matte.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


def forward(state: State, backbone: str, rosta: str, image: Tensor) -> dict[str, Tensor]:
    """Image N×3×H×W → glance, focus and alpha; for rim the three alphas and ``alpha``."""
    deep = backbone == "resnet34_2b"
    features = {"resnet34_2b": _deep, "densenet121": _dense}.get(backbone, _residual)(state, image)
    coarse = features[-1]
    levels = len(features) - (0 if deep else 1)

    pyramid = _pyramid(state, coarse)
    g = torch.cat([pyramid, coarse], 1)
    f = torch.cat([_sequence(state, "bridge_block", coarse, 3, dilation=2), coarse], 1)
    skips = features[:-1]
    for i in range(levels, 0, -1):
        g = _sequence(state, f"decoder{i}_g", g, 3)
        f = _sequence(state, f"decoder{i}_f", f, 3)
        if not (deep and i == 1):
            g, f = _up(g, 2), _up(f, 2)
            psp = _sequence(state, f"psp{i}", pyramid, 1)
            g = torch.cat([_up(psp, 2 ** (levels - i + 1)), g], 1)
            f = torch.cat([f, skips.pop()], 1)

    def head(name: str, x: Tensor) -> Tensor:
        if deep:
            return torch.sigmoid(_conv(state, f"{name}.0", x, padding=1))
        x = _sequence(state, name, x, 2)
        return torch.sigmoid(_up(_conv(state, f"{name}.6", x, padding=1), 2))

    if rosta != "rim":
        glance, focus = head("decoder0_g", g), head("decoder0_f", f)
        return {"glance": glance, "focus": focus, "alpha": _fuse(glance, focus, rosta)}
    result = {}
    for part in ("tt", "ft", "bt"):
        glance, focus = head(f"decoder0_g_{part}", g), head(f"decoder0_f_{part}", f)
        result[f"alpha_{part}"] = _fuse(glance, focus, part)
    x = _conv(state, "rim.0", torch.cat(list(result.values()), 1))
    gate = F.linear(x.mean((2, 3)), state["rim.1.fc.0.weight"]).relu()
    gate = F.linear(gate, state["rim.1.fc.2.weight"]).sigmoid()
    result["alpha"] = _conv(state, "rim.2", x * gate[:, :, None, None]).clamp(0, 1)
    return result


def _fuse(glance: Tensor, focus: Tensor, rosta: str) -> Tensor:
    label = glance.argmax(1, keepdim=True).float()
    if rosta == "tt":
        return focus * (label == 1) + (label == 2)
    return (label + focus).clamp(max=1) if rosta == "ft" else (label - focus).clamp(min=0)


def _residual(state: State, x: Tensor) -> list[Tensor]:
    x = _bn(state, "encoder0.1", _conv(state, "encoder0.0", x, stride=2, padding=3)).relu()
    e1 = _blocks(state, "encoder1.1", F.max_pool2d(x, 3, 2, 1), 1)
    features = [x, e1]
    for i in (2, 3, 4):
        features.append(_blocks(state, f"encoder{i}", features[-1], 2))
    return features


def _deep(state: State, x: Tensor) -> list[Tensor]:
    x = _bn(state, "encoder0.1", _conv(state, "encoder0.0", x, padding=1)).relu()
    features = [_blocks(state, "encoder1", x, 1)]
    for i in (2, 3, 4):
        features.append(_blocks(state, f"encoder{i}", features[-1], 2))
    for i in (5, 6):
        pooled = F.max_pool2d(features[-1], 2, 2, ceil_mode=True)
        features.append(_blocks(state, f"encoder{i}", pooled, 1, first=1))
    return features


def _blocks(state: State, name: str, x: Tensor, stride: int, first: int = 0) -> Tensor:
    i = first
    while f"{name}.{i}.conv1.weight" in state:
        block = f"{name}.{i}"
        step = stride if i == first else 1
        shortcut = x
        if f"{block}.downsample.0.weight" in state:
            shortcut = _conv(state, f"{block}.downsample.0", x, stride=step)
            shortcut = _bn(state, f"{block}.downsample.1", shortcut)
        if f"{block}.conv3.weight" in state:
            y = _bn(state, f"{block}.bn1", _conv(state, f"{block}.conv1", x)).relu()
            y = _conv(state, f"{block}.conv2", y, stride=step, padding=1)
            y = _bn(state, f"{block}.bn2", y).relu()
            y = _bn(state, f"{block}.bn3", _conv(state, f"{block}.conv3", y))
        else:
            y = _conv(state, f"{block}.conv1", x, stride=step, padding=1)
            y = _bn(state, f"{block}.bn1", y).relu()
            y = _bn(state, f"{block}.bn2", _conv(state, f"{block}.conv2", y, padding=1))
        x = (y + shortcut).relu()
        i += 1
    return x


def _dense(state: State, x: Tensor) -> list[Tensor]:
    x = _bn(state, "encoder0.1", _conv(state, "encoder0.0", x, stride=2, padding=3)).relu()
    features = [x]
    for i in (1, 2, 3, 4):
        j = 1
        while f"encoder{i}.0.denselayer{j}.conv1.weight" in state:
            layer = f"encoder{i}.0.denselayer{j}"
            y = _conv(state, f"{layer}.conv1", _bn(state, f"{layer}.norm1", x).relu())
            y = _conv(state, f"{layer}.conv2", _bn(state, f"{layer}.norm2", y).relu(), padding=1)
            x = torch.cat([x, y], 1)
            j += 1
        if i < 4:
            y = _bn(state, f"encoder{i}.1.norm", x).relu()
            x = F.avg_pool2d(_conv(state, f"encoder{i}.1.conv", y), 2)
        else:
            x = _bn(state, "encoder4.2", _conv(state, "encoder4.1", x, padding=1)).relu()
            x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        features.append(x)
    return features


def _pyramid(state: State, x: Tensor) -> Tensor:
    context = []
    for i, bins in enumerate((1, 3, 5)):
        y = _conv(state, f"psp_module.stages.{i}.1", F.adaptive_avg_pool2d(x, bins))
        context.append(F.interpolate(y, x.shape[2:], mode="bilinear", align_corners=True))
    return _conv(state, "psp_module.bottleneck", torch.cat([*context, x], 1)).relu()


def _sequence(state: State, name: str, x: Tensor, count: int, dilation: int = 1) -> Tensor:
    for i in range(count):
        x = _conv(state, f"{name}.{3 * i}", x, padding=dilation, dilation=dilation)
        x = _bn(state, f"{name}.{3 * i + 1}", x).relu()
    return x


def _conv(
    state: State, name: str, x: Tensor, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Tensor:
    bias = state.get(f"{name}.bias")
    return F.conv2d(x, state[f"{name}.weight"], bias, stride, padding, dilation)


def _bn(state: State, name: str, x: Tensor) -> Tensor:
    entries = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(state[f"{name}.{entry}"] for entry in entries))


def _up(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
