"""Networks of a few thousand parameters that have what the builder must cope with.

`Tiny` stands in for GFM: convolutions with and without a BatchNorm behind them, one BatchNorm with
no convolution before it, a transposed convolution, adaptive pooling to sides that do not divide,
both kinds of bilinear upsampling, a squeeze-and-excitation gate, glance and focus heads.

`TinyPlate` is the same beside a plate.

`TinyUnpool` for AIM: max-pools that overlap and unpools by their offsets, attention over channels.

`TinyTrimap` and `TinyClassifier` for SIM: several inputs, standardised and grouped convolutions,
atrous pyramid pooling, a clamped head without bias; a head at a stride of 32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matter_sdk.kernels import InputSpec
from matter_sdk.training.networks.blocks import (
    AtrousPyramidPooling,
    SqueezeExcitation,
    StandardisedConv2d,
    collaborative_fusion,
)
from matter_sdk.training.networks.unpool import MaxPool, MaxUnpool

IMAGENET = InputSpec("rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


class Tiny(nn.Module):
    """Stands in for GFM; BatchNorm statistics are random, since default ones hide mistakes."""

    name, backbone, rosta, fusion = "gfm", "efficientnet-lite0", "tt", "tt"
    size_multiple = 32

    def __init__(self) -> None:
        super().__init__()
        self.heads = {"glance": 3, "focus": 1}
        self.input_spec = InputSpec()
        generator = torch.Generator().manual_seed(5)
        self.stem = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.stem_bn = nn.BatchNorm2d(8)
        self.down = nn.Conv2d(8, 16, 5, 8, 2)
        self.down_bn = nn.BatchNorm2d(16)
        self.dense_bn = nn.BatchNorm2d(24)
        self.mix = nn.Conv2d(24, 16, 1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 16, 1), nn.Sigmoid())
        self.up = nn.ConvTranspose2d(16, 16, 2, 2, groups=2)
        self.up_bn = nn.BatchNorm2d(16)
        self.glance = nn.Conv2d(16, 3, 3, 1, 1)
        self.focus = nn.Conv2d(24, 1, 3, 1, 1)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                count = module.num_features
                module.running_mean = torch.randn(count, generator=generator)
                module.running_var = 0.5 + torch.rand(count, generator=generator)
                module.weight.data = 0.5 + torch.rand(count, generator=generator)
                module.bias.data = torch.randn(count, generator=generator)
            elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                fan = module.weight[0].numel()
                module.weight.data = (
                    torch.randn(module.weight.shape, generator=generator) / fan**0.5
                )
                if module.bias is not None:
                    module.bias.data = torch.randn(module.bias.shape, generator=generator)
        self.stem.weight.data /= 100  # the input is 0..255

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        s = F.relu(self.stem_bn(self.stem(x)))
        d = F.relu(self.down_bn(self.down(s)))
        pooled = F.adaptive_avg_pool2d(d[:, :8], (3, 5))
        context = F.interpolate(pooled, size=d.shape[2:], mode="bilinear", align_corners=True)
        d = self.mix(F.relu(self.dense_bn(torch.cat([d, context], 1))))
        d = self.up_bn(self.up(d * self.gate(d)))
        d = F.interpolate(d, scale_factor=4, mode="bilinear", align_corners=False)
        glance = F.interpolate(self.glance(d), scale_factor=2, mode="bilinear", align_corners=False)
        focus = self.focus(torch.cat([d, s], 1))
        focus = F.interpolate(focus, size=x.shape[2:], mode="bilinear", align_corners=False)
        glance, focus = glance.sigmoid(), focus.sigmoid()
        return {
            "glance": glance,
            "focus": focus,
            "alpha": collaborative_fusion(glance, focus, self.rosta),
        }


class TinyPlate(Tiny):
    """Stands in for the GFM that also reads a plate."""

    name = "gfm-plate"

    def __init__(self) -> None:
        super().__init__()
        self.inputs = {"image": 3, "plate": 3}

    def forward(self, x: Tensor, plate: Tensor) -> dict[str, Tensor]:
        return super().forward(x - plate / 2)


class TinyUnpool(nn.Module):
    name, backbone, rosta, fusion = "aim", "resnet34", "unified", "unified"
    size_multiple = 32
    input_spec = IMAGENET

    def __init__(self) -> None:
        super().__init__()
        self.heads = {"glance": 3, "focus": 1}
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8))
        self.down = nn.Sequential(nn.Conv2d(8, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16))
        self.pool, self.unpool = MaxPool(), MaxUnpool()
        self.attention = nn.Conv2d(2, 1, 7, padding=3)
        self.se = SqueezeExcitation(16, 4)
        self.reduce = nn.Conv2d(16, 8, 1)
        self.glance = nn.Conv2d(8, 3, 3, 1, 1)
        self.focus = nn.Conv2d(8, 1, 3, 1, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        s = F.relu(self.stem(x))
        p, offsets = self.pool(s)
        d = F.relu(self.down(p))
        gate = torch.cat([d.mean(1, keepdim=True), d.amax(1, keepdim=True)], 1)
        d = self.se(d + d * torch.sigmoid(self.attention(gate)))
        up = self.unpool(self.reduce(d), offsets)
        glance = torch.sigmoid(self.glance(up))
        focus = torch.sigmoid(self.focus(up + s))
        alpha = collaborative_fusion(glance, focus, "unified")
        return {"glance": glance, "focus": focus, "alpha": alpha}


class TinyTrimap(nn.Module):
    name, backbone, rosta, fusion = "sim", "resnet50", "none", "alpha"
    size_multiple = 8
    input_spec = InputSpec(std=(255.0, 255.0, 255.0))

    def __init__(self) -> None:
        super().__init__()
        self.inputs = {"image": 3, "trimap": 2, "clicks": 6, "semantic": 20}
        self.heads = {"alpha": 1, "foreground": 3, "background": 3}
        self.stem = nn.Conv2d(11, 8, 3, 2, 1, bias=False)
        self.side = nn.Conv2d(20, 8, 7, 2, 3, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.group = nn.Conv2d(8, 16, 3, 2, 1, groups=4, bias=False)
        self.group_bn = nn.BatchNorm2d(16)
        self.aspp = AtrousPyramidPooling(16, 8, (2, 3), convolution=StandardisedConv2d)
        self.up = StandardisedConv2d(16, 8, 3, padding=1, bias=False)
        self.up_bn = nn.BatchNorm2d(8)
        self.alpha = nn.Conv2d(8 + 5, 1, 3, padding=1, bias=False)
        self.colours = nn.Conv2d(8 + 5, 6, 3, padding=1, bias=False)

    def forward(
        self, image: Tensor, trimap: Tensor, clicks: Tensor, semantic: Tensor
    ) -> dict[str, Tensor]:
        x = torch.cat([(image - 0.45) / 0.225, clicks, trimap], 1)
        x = F.relu(self.bn(self.stem(x) + self.side(semantic)))
        y = self.aspp(F.leaky_relu(self.group_bn(self.group(x)), 0.01))
        y = F.interpolate(y, scale_factor=2, mode="nearest")
        y = F.leaky_relu(self.up_bn(self.up(torch.cat([x, y], 1))), 0.01)
        y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
        y = torch.cat([y, image, trimap], 1)
        colours = torch.sigmoid(self.colours(y))
        return {
            "alpha": self.alpha(y).clamp(0, 1),
            "foreground": colours[:, :3],
            "background": colours[:, 3:],
        }


class TinyClassifier(nn.Module):
    name, backbone, rosta, fusion = "sim_classifier", "resnet50", "none", "cam"
    size_multiple = 8
    input_spec = IMAGENET

    def __init__(self) -> None:
        super().__init__()
        self.inputs = {"image": 3, "trimap": 1}
        self.heads = {"cam": 20}
        self.head_strides = {"cam": 32}
        self.conv = nn.Conv2d(4, 16, 5, 4, 2, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.down = nn.Conv2d(16, 16, 8, 8, 4)
        self.fc = nn.Linear(16, 20)

    def forward(self, image: Tensor, trimap: Tensor) -> dict[str, Tensor]:
        x = F.relu(self.bn(self.conv(torch.cat([image, trimap], 1))))
        rows, columns = (-(-side // 32) for side in image.shape[2:])
        x = F.relu(self.down(x))[:, :, :rows, :columns]
        cam = F.conv2d(x, self.fc.weight[:, :, None, None])
        return {"logits": self.fc(x.mean((2, 3))), "cam": cam}
