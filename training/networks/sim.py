"""Semantic Image Matting: a matting network that knows what kind of transition each pixel is in.

Sun, Tang and Tai, *Semantic Image Matting* (CVPR 2021). Beside the image and its trimap the network
reads a semantic trimap, which tells for each unknown pixel how much it looks like each of 20
matting classes (`kernels.semantic_trimap` makes it with `training.networks.sim_classifier`). The
layers are those of the released weights.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from matter_sdk.kernels.spec import InputSpec
from matter_sdk.training.networks import size_multiple
from matter_sdk.training.networks.blocks import (
    AtrousPyramidPooling,
    StandardisedConv2d,
    check_inputs,
    upsample,
)
from matter_sdk.training.networks.resnet import Bottleneck, initialise, layer

# Of ImageNet, for RGB in 0..1.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class Encoder(nn.Module):
    """ResNet-50 of stride 8, whose layers 3 and 4 are dilated in place of their strides.

    The stem has three 3×3 convolutions, and a 7×7 of its own for the semantic trimap.
    """

    # The stem is not ImageNet's, and gives layer 1 other features and twice as many.
    unused_in_backbone = (
        "conv1.",
        "bn1.",
        "layer1.0.conv1.",
        "layer1.0.bn1.",
        "layer1.0.downsample.",
        "fc.",
    )
    unmatched_in_backbone = (
        *unused_in_backbone[:-1],
        "conv1_side.",
        "conv2.",
        "bn2.",
        "conv3.",
        "bn3.",
    )
    channels = (128, 256, 2048)

    def __init__(self, inside: int, semantic: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, 64, 3, 2, 1, bias=False)
        self.conv1_side = nn.Conv2d(semantic, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.conv3 = nn.Conv2d(64, 128, 3, 1, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(128)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = layer(Bottleneck, 128, 64, 3)
        self.layer2 = layer(Bottleneck, 256, 128, 4, 2)
        self.layer3 = layer(Bottleneck, 512, 256, 6, dilation=2)
        self.layer4 = layer(Bottleneck, 1024, 512, 3, dilation=4)
        initialise(self)

    def forward(self, x: Tensor, semantic: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """N×inside×H×W and the semantic trimap → features at strides 2, 4 and 8."""
        x = self.relu(self.bn1(self.conv1(x) + self.conv1_side(semantic)))  # N×64×H/2×W/2
        x = self.relu(self.bn2(self.conv2(x)))
        stem = self.relu(self.bn3(self.conv3(x)))  # N×128×H/2×W/2
        low = self.layer1(self.maxpool(stem))  # N×256×H/4×W/4
        high = self.layer4(self.layer3(self.layer2(low)))  # N×2048×H/8×W/8
        return stem, low, high


class Decoder(nn.Module):
    """FPN decoder: ASPP, then three steps up, each joined by the encoder's features.

    All convolutions have standardised kernels.
    """

    def __init__(self, channels: tuple[int, int, int]) -> None:
        super().__init__()
        stem, low, high = channels
        self.aspp = AtrousPyramidPooling(high, 256, (12, 24, 36), convolution=StandardisedConv2d)
        self.up1 = nn.Sequential(_standardised(high + 256, 256), _standardised(256, 256))
        self.up2 = nn.Sequential(_standardised(256 + low, 256))
        self.up3 = nn.Sequential(_standardised(256 + stem, 64))

    def forward(self, stem: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Features at strides 2, 4 and 8 → N×64×H×W."""
        x = self.up1(torch.cat([high, self.aspp(high)], 1))  # N×256×H/8×W/8
        x = self.up2(torch.cat([upsample(x, 2), low], 1))  # N×256×H/4×W/4
        x = self.up3(torch.cat([upsample(x, 2), stem], 1))  # N×64×H/2×W/2
        return upsample(x, 2)


def _standardised(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=StandardisedConv2d(inside, outside, 3, padding=1),
            bn=nn.BatchNorm2d(outside),
            relu=nn.LeakyReLU(inplace=True),
        )
    )


def _head(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, 32, 3, padding=1),
        nn.LeakyReLU(inplace=True),
        nn.Conv2d(32, 16, 3, padding=1),
        nn.LeakyReLU(inplace=True),
        nn.Conv2d(16, outside, 1, bias=False),
    )


class SIM(nn.Module):
    """Semantic Image Matting."""

    name = "sim"
    backbone = "resnet50"
    rosta = "none"
    fusion = "alpha"
    size_multiple = size_multiple("sim")
    input_spec = InputSpec(std=(255.0, 255.0, 255.0))  # RGB in 0..1; SIM normalises it itself

    def __init__(self) -> None:
        super().__init__()
        self.inputs = {"image": 3, "trimap": 2, "clicks": 6, "semantic": 20}
        self.heads = {"alpha": 1, "foreground": 3, "background": 3}
        self.encoder = Encoder(3 + 6 + 2, 20)
        self.decoder = Decoder(self.encoder.channels)
        # The heads for colour and alpha see the decoder's features and again the input itself.
        self.alpha = _head(64 + 3 + 3 + 2, 1)
        self.colours = _head(64 + 3 + 3 + 2, 6)
        self.weights = _head(64, 3)

    def forward(
        self, image: Tensor, trimap: Tensor, clicks: Tensor, semantic: Tensor
    ) -> dict[str, Tensor]:
        """Matte an image by its trimap.

        Args:
            image: N×3×H×W, RGB in 0..1; H and W multiples of 8. While training, N is 2 or more:
                ASPP has a batch norm over the image's mean.
            trimap: N×2×H×W, 1 where background and where foreground is known
                (`kernels.two_channel`).
            clicks: N×6×H×W, how near these are (`kernels.distance_maps`).
            semantic: N×20×H×W in 0..1, the semantic trimap (`kernels.semantic_trimap`).

        Returns:
            ``alpha`` N×1×H×W, ``foreground`` and ``background`` N×3×H×W, all in 0..1. While
            training also the learnt content-sensitive weights of the gradient equation
            ∇I = λ_α ∇α + λ_F ∇F + λ_B ∇B: ``weight_alpha``, ``weight_foreground`` and
            ``weight_background``, N×1×H×W in 0..1 (λ₁, 1 − λ₂ and λ₂ on the paper's slides, which
            tie the last two together; in the released weights each has a channel of its own).

        Raises:
            ValueError: an input of another shape.
        """
        check_inputs(self.inputs, (image, trimap, clicks, semantic), self.size_multiple)
        mean, std = (image.new_tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _STD))
        normalised = (image - mean) / std
        features = self.encoder(torch.cat([normalised, clicks, trimap], 1), semantic)
        x = self.decoder(*features)  # N×64×H×W
        y = torch.cat([x, normalised, image, trimap], 1)  # N×72×H×W
        colours = torch.sigmoid(self.colours(y))
        result = {
            "alpha": self.alpha(y).clamp(0, 1),
            "foreground": colours[:, :3],
            "background": colours[:, 3:],
        }
        if self.training:
            weights = torch.sigmoid(self.weights(x))
            names = ("weight_foreground", "weight_background", "weight_alpha")
            result |= dict(zip(names, weights.split(1, 1), strict=True))
        return result
