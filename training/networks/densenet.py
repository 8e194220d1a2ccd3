"""DenseNet-121 encoder (Huang et al., CVPR 2017), as GFM uses it.

Module names are torchvision's (``features.denseblock1.denselayer1.norm1`` …), so ImageNet weights
in that format load as a backbone; ``features.norm5`` and the classifier are left out.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from matter_sdk.training.networks.resnet import initialise

_GROWTH = 32
_BOTTLENECK = 4 * _GROWTH
_BLOCKS = (6, 12, 24, 16)


class _DenseLayer(nn.Module):
    """BN-ReLU-1×1, BN-ReLU-3×3: 32 new channels from all channels before."""

    def __init__(self, inside: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, _BOTTLENECK, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(_BOTTLENECK)
        self.conv2 = nn.Conv2d(_BOTTLENECK, _GROWTH, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.relu(self.norm2(self.conv1(self.relu(self.norm1(x))))))


class _DenseBlock(nn.Module):
    def __init__(self, inside: int, layers: int) -> None:
        super().__init__()
        for i in range(layers):
            self.add_module(f"denselayer{i + 1}", _DenseLayer(inside + i * _GROWTH))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.children():
            features.append(layer(torch.cat(features, 1)))
        return torch.cat(features, 1)


class _Transition(nn.Sequential):
    def __init__(self, inside: int) -> None:
        super().__init__(
            OrderedDict(
                norm=nn.BatchNorm2d(inside),
                relu=nn.ReLU(inplace=True),
                conv=nn.Conv2d(inside, inside // 2, 1, bias=False),
                pool=nn.AvgPool2d(2, 2),
            )
        )


class DenseNet121Encoder(nn.Module):
    """Five features at strides 2, 4, 8, 16, 32 (E0 … E4 of the paper).

    There is no ``pool0``: the stem's stride 2 is the only one before the first dense block. After
    the last block a convolution reduces 1024 channels to 512 (section 3.1), then a 2×2 max-pool.
    """

    unused_in_backbone: tuple[str, ...] = ("features.norm5.", "classifier.")
    unmatched_in_backbone: tuple[str, ...] = ("reduce.",)

    def __init__(self) -> None:
        super().__init__()
        self.channels = (64, 128, 256, 512, 512)
        stages: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            norm0=nn.BatchNorm2d(64),
            relu0=nn.ReLU(inplace=True),
        )
        inside = 64
        for i, layers in enumerate(_BLOCKS, 1):
            stages[f"denseblock{i}"] = _DenseBlock(inside, layers)
            inside += layers * _GROWTH
            if i < len(_BLOCKS):
                stages[f"transition{i}"] = _Transition(inside)
                inside //= 2
        self.features = nn.ModuleDict(stages)
        self.reduce = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(inside, 512, 3, padding=1),
                bn=nn.BatchNorm2d(512),
                relu=nn.ReLU(inplace=True),
                pool=nn.MaxPool2d(2, 2, ceil_mode=True),
            )
        )
        initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """N×3×H×W → E0 … E4, the finest first."""
        features = self.features
        x = features["relu0"](features["norm0"](features["conv0"](x)))
        outputs = [x]  # E0: N×64×H/2×W/2
        for i in (1, 2, 3):
            x = features[f"transition{i}"](features[f"denseblock{i}"](x))
            outputs.append(x)  # E1, E2, E3: strides 4, 8, 16
        outputs.append(self.reduce(features["denseblock4"](x)))  # E4: N×512×H/32×W/32
        return outputs
