"""ResNet encoders (He et al., CVPR 2016), as the matting networks use them.

Module names are torchvision's (``conv1``, ``bn1``, ``layer1.0.conv1`` …), so ImageNet weights in
that format load as a backbone; the classifier ``fc`` is left out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from matter_sdk.training.networks.unpool import MaxPool


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inside: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inside, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×(width · expansion)×H/stride×W/stride."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1×1, 3×3 (which carries the stride, as in torchvision), 1×1 to four times the width.

    ``groups`` groups of ``width · base / 64`` channels each make it a block of ResNeXt (Xie et al.,
    CVPR 2017); ``dilation`` is the 3×3 convolution's.
    """

    expansion = 4

    def __init__(
        self,
        inside: int,
        width: int,
        stride: int = 1,
        *,
        dilation: int = 1,
        groups: int = 1,
        base: int = 64,
    ) -> None:
        super().__init__()
        outside = width * self.expansion
        inner = width * base // 64 * groups
        self.conv1 = nn.Conv2d(inside, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, dilation, dilation, groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outside, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outside)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inside, outside, stride)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×(width · expansion)×H/stride×W/stride."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def _shortcut(inside: int, outside: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inside == outside:
        return None
    return nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))


def layer(
    block: Callable[..., BasicBlock | Bottleneck],
    inside: int,
    width: int,
    blocks: int,
    stride: int = 1,
    *,
    dilation: int = 1,
) -> nn.Sequential:
    """A stage of a ResNet: ``blocks`` blocks, the first with the stride and a shortcut.

    A stage that is dilated in place of a stride of 2 has half the dilation in its first block, as
    in torchvision: that block still reads the features of the stage before.
    """
    entering = {"dilation": dilation // 2} if dilation > 1 else {}
    within = {"dilation": dilation} if dilation > 1 else {}
    first = block(inside, width, stride, **entering)
    outside = width * type(first).expansion
    return nn.Sequential(first, *(block(outside, width, **within) for _ in range(blocks - 1)))


class ResNetEncoder(nn.Module):
    """ResNet-34, -50 or -101: five features at strides 2, 4, 8, 16, 32 (E0 … E4 of the paper).

    Args:
        block, blocks: kind and number of each layer's blocks.
        inside: channels of the input; with other than 3 no ImageNet weights fit the stem.
    """

    # Prefixes in an ImageNet checkpoint that this encoder has no use for, and its own that such a
    # checkpoint does not hold.
    unused_in_backbone: tuple[str, ...] = ("fc.",)
    unmatched_in_backbone: tuple[str, ...] = ()

    def __init__(
        self, block: type[BasicBlock | Bottleneck], blocks: tuple[int, ...], inside: int = 3
    ) -> None:
        super().__init__()
        wide = block.expansion
        self.channels = (64, 64 * wide, 128 * wide, 256 * wide, 512 * wide)
        if inside != 3:
            self.unused_in_backbone = ("conv1.", "fc.")
            self.unmatched_in_backbone = ("conv1.",)
        self.conv1 = nn.Conv2d(inside, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = layer(block, 64, 64, blocks[0])
        self.layer2 = layer(block, 64 * wide, 128, blocks[1], 2)
        self.layer3 = layer(block, 128 * wide, 256, blocks[2], 2)
        self.layer4 = layer(block, 256 * wide, 512, blocks[3], 2)
        initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """N×inside×H×W → E0 … E4, the finest first."""
        e0 = self.relu(self.bn1(self.conv1(x)))  # N×64×H/2×W/2
        e1 = self.layer1(self.maxpool(e0))  # stride 4
        e2 = self.layer2(e1)
        e3 = self.layer3(e2)
        e4 = self.layer4(e3)  # stride 32
        return [e0, e1, e2, e3, e4]


class ResNet34PoolingEncoder(nn.Module):
    """ResNet-34 with every stride moved into a max-pool: the improved backbone of AIM (Table 2).

    E0, a 7×7 stem of stride 1, and M0 … M4, 3×3 max-pools of stride 2 that tell where each maximum
    was: two before layer 1, then one before each further layer. All strides of the layers are 1, so
    that the 1×1 shortcuts of layers 2 to 4 skip no pixel.
    """

    unused_in_backbone: tuple[str, ...] = ("fc.",)
    unmatched_in_backbone: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 1, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = MaxPool()
        self.layer1 = layer(BasicBlock, 64, 64, 3)
        self.layer2 = layer(BasicBlock, 64, 128, 4)
        self.layer3 = layer(BasicBlock, 128, 256, 6)
        self.layer4 = layer(BasicBlock, 256, 512, 3)
        initialise(self)

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """N×3×H×W → E0 … E4 (strides 1, 4, 8, 16, 32) and the offsets of M0 … M4."""
        e0 = self.relu(self.bn1(self.conv1(x)))  # N×64×H×W
        p0, m0 = self.maxpool(e0)  # N×64×H/2×W/2
        p1, m1 = self.maxpool(p0)
        e1 = self.layer1(p1)  # N×64×H/4×W/4
        p2, m2 = self.maxpool(e1)
        e2 = self.layer2(p2)  # N×128×H/8×W/8
        p3, m3 = self.maxpool(e2)
        e3 = self.layer3(p3)  # N×256×H/16×W/16
        p4, m4 = self.maxpool(e3)
        e4 = self.layer4(p4)  # N×512×H/32×W/32
        return [e0, e1, e2, e3, e4], [m0, m1, m2, m3, m4]


class ResNeXt101Encoder(nn.Module):
    """ResNeXt-101 32×8d (Xie et al., CVPR 2017) of output stride 16: the backbone of MSIA-matte.

    Gives the low-level features of block 1 (layer 1) and the semantics of the last. Layer 4 is
    dilated by 2 in place of its stride.
    """

    unused_in_backbone: tuple[str, ...] = ("fc.",)
    unmatched_in_backbone: tuple[str, ...] = ()
    channels = (256, 2048)

    def __init__(self) -> None:
        super().__init__()
        block = partial(Bottleneck, groups=32, base=8)
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = layer(block, 64, 64, 3)
        self.layer2 = layer(block, 256, 128, 4, 2)
        self.layer3 = layer(block, 512, 256, 23, 2)
        self.layer4 = layer(block, 1024, 512, 3, dilation=2)
        initialise(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """N×3×H×W → low-level features, N×256×H/4×W/4, and semantics, N×2048×H/16×W/16."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        low = self.layer1(x)
        return low, self.layer4(self.layer3(self.layer2(low)))


class ResNet34DeepEncoder(nn.Module):
    """ResNet-34 with full-resolution first stages: ``r2b`` of GFM's ablation study, after BASNet.

    A 3×3 stem of stride 1 and no max-pool, so layers 1 to 4 run at strides 1, 2, 4 and 8, and two
    more layers, each a 2×2 max-pool and three basic blocks, reach stride 32. Six features, E1 … E6.
    """

    unused_in_backbone: tuple[str, ...] = ("conv1.", "bn1.", "fc.")
    unmatched_in_backbone: tuple[str, ...] = ("stem.", "layer5.", "layer6.")

    def __init__(self) -> None:
        super().__init__()
        self.channels = (64, 128, 256, 512, 512, 512)
        self.stem = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(3, 64, 3, padding=1),
                bn=nn.BatchNorm2d(64),
                relu=nn.ReLU(inplace=True),
            )
        )
        self.layer1 = layer(BasicBlock, 64, 64, 3)
        self.layer2 = layer(BasicBlock, 64, 128, 4, 2)
        self.layer3 = layer(BasicBlock, 128, 256, 6, 2)
        self.layer4 = layer(BasicBlock, 256, 512, 3, 2)
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.layer5 = layer(BasicBlock, 512, 512, 3)
        self.layer6 = layer(BasicBlock, 512, 512, 3)
        initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """N×3×H×W → E1 … E6, the finest first."""
        e1 = self.layer1(self.stem(x))  # N×64×H×W
        e2 = self.layer2(e1)
        e3 = self.layer3(e2)
        e4 = self.layer4(e3)  # stride 8
        e5 = self.layer5(self.pool(e4))
        e6 = self.layer6(self.pool(e5))  # stride 32
        return [e1, e2, e3, e4, e5, e6]


def initialise(encoder: nn.Module) -> None:
    """He's initialisation of every convolution; batch norms start as the identity."""
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
