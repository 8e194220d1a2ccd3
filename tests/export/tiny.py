"""A network of a few thousand parameters that has what the builder must cope with.

Convolutions with and without a BatchNorm behind them, one BatchNorm with no convolution before it,
a transposed convolution, adaptive pooling to sides that do not divide, both kinds of bilinear
upsampling, a squeeze-and-excitation gate, glance and focus heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels import InputSpec
from training.networks.blocks import collaborative_fusion


class Tiny(nn.Module):
    """Stands in for GFM; BatchNorm statistics are random, since default ones hide mistakes."""

    name, backbone, rosta, fusion = "gfm", "mobilenetv3", "tt", "tt"
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
