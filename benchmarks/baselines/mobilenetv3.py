"""MobileNetV3-Large as an encoder.

Howard et al., *Searching for MobileNetV3* (ICCV 2019), Table 1. Keys are torchvision's
(``features.0.0.weight`` …), so ImageNet weights in that format load; the last 1×1 convolution and
the classifier, which serve classification only, are left out.
"""

from __future__ import annotations

from torch import Tensor, nn

# kernel, expanded channels, output channels, squeeze-and-excitation, hard-swish, stride
_BLOCKS = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)
# The last feature map before each halving of the resolution: strides 2, 4, 8, 16, 32.
_TAPS = (1, 3, 6, 12, 15)
CHANNELS = (16, 24, 40, 112, 160)


def _conv(
    inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    return [
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outside, eps=1e-3, momentum=0.01),
    ]


def _multiple_of_8(channels: int) -> int:
    """Rounded to a multiple of 8, but never down by more than a tenth (as torchvision does)."""
    rounded = max(8, (channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


class _SqueezeExcitation(nn.Module):
    """Channel gate with torchvision's names (``fc1``, ``fc2``) and hard sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = _multiple_of_8(channels // 4)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.fc2(nn.functional.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * nn.functional.hardsigmoid(gate)


class _InvertedResidual(nn.Module):
    def __init__(
        self,
        inside: int,
        kernel: int,
        expanded: int,
        outside: int,
        gate: bool,
        swish: bool,
        stride: int,
    ) -> None:
        super().__init__()
        activation = nn.Hardswish if swish else nn.ReLU
        layers: list[nn.Module] = []
        if expanded != inside:
            layers.append(nn.Sequential(*_conv(inside, expanded, 1), activation()))
        layers.append(
            nn.Sequential(*_conv(expanded, expanded, kernel, stride, expanded), activation())
        )
        if gate:
            layers.append(_SqueezeExcitation(expanded))
        layers.append(nn.Sequential(*_conv(expanded, outside, 1)))
        self.block = nn.Sequential(*layers)
        self.residual = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y = self.block(x)
        return x + y if self.residual else y


class MobileNetV3(nn.Module):
    """``features``, the layers by torchvision's names, drawn as torchvision draws them."""

    def __init__(self) -> None:
        super().__init__()
        features: list[nn.Module] = [nn.Sequential(*_conv(3, 16, 3, 2), nn.Hardswish())]
        inside = 16
        for kernel, expanded, outside, gate, swish, stride in _BLOCKS:
            features.append(
                _InvertedResidual(inside, kernel, expanded, outside, gate, swish, stride)
            )
            inside = outside
        self.features = nn.Sequential(*features)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
