"""AIM-Net: automatic matting of every kind of image, opaque, transparent or without salient object.

Li, Zhang and Tao, *Deep Automatic Natural Image Matting* (IJCAI 2021), section 3. The blocks have
the names of Table 2 in its supplement: E and M (backbone), PPM, SD and SE (semantic decoder), SPA,
MD and MU (matting decoder). The layers are those of the released weights, which settle what the
table leaves open:

* the pyramid features enter each semantic block through a 3×3 convolution of their own;
* the spatial attention is taken before SE0, and guides as MD0 + MD0 · SPA (the table writes
  SPA + SPA · MD0).
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from matter_sdk.training.networks import size_multiple
from matter_sdk.training.networks.blocks import (
    IMAGENET,
    BridgeBlock,
    ConvBnRelu,
    DecoderBlock,
    PyramidPooling,
    SqueezeExcitation,
    check_image,
    collaborative_fusion,
    left_out,
    upsample,
)
from matter_sdk.training.networks.resnet import ResNet34PoolingEncoder
from matter_sdk.training.networks.unpool import MaxUnpool


class SpatialAttention(nn.Module):
    """SPA (section 3.3): where in the image the matting decoder shall look."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×1×H×W in 0..1."""
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)  # N×2×H×W
        return torch.sigmoid(self.conv(pooled))


class SemanticDecoder(nn.Module):
    """Unified semantic decoder (section 3.2): background, transition or foreground.

    Args:
        attention: with a squeeze-and-excitation module after each block.
        guide: with the spatial attention that guides the matting decoder.
    """

    def __init__(self, *, attention: bool, guide: bool) -> None:
        super().__init__()

        def se(channels: int) -> nn.Module:
            return SqueezeExcitation(channels, 16) if attention else nn.Identity()

        self.ppm = PyramidPooling(512, 512, align_corners=False)
        self.sd4, self.se4 = DecoderBlock(1024, (512, 512, 256), 2), se(256)
        self.psp4 = ConvBnRelu(512, 256)
        self.sd3, self.se3 = DecoderBlock(512, (256, 256, 128), 2), se(128)
        self.psp3 = ConvBnRelu(512, 128)
        self.sd2, self.se2 = DecoderBlock(256, (128, 128, 64), 2), se(64)
        self.psp2 = ConvBnRelu(512, 64)
        self.sd1, self.se1 = DecoderBlock(128, (64, 64, 64), 2), se(64)
        self.psp1 = ConvBnRelu(512, 64)
        self.sd0, self.se0 = DecoderBlock(128, (64, 64), 2), se(64)
        self.spa = SpatialAttention() if guide else None
        self.final = nn.Conv2d(64, 3, 3, padding=1)

    def forward(self, e4: Tensor) -> tuple[Tensor, Tensor | None]:
        """N×512×H/32×W/32 → logits, N×3×H×W, and the spatial attention, N×1×H×W, if there is."""
        ppm = self.ppm(e4)  # N×512×H/32×W/32
        x = self.se4(self.sd4(torch.cat([ppm, e4], 1)))  # N×256×H/16×W/16
        x = torch.cat([upsample(self.psp4(ppm), 2), x], 1)  # N×512×H/16×W/16
        x = self.se3(self.sd3(x))  # N×128×H/8×W/8
        x = torch.cat([upsample(self.psp3(ppm), 4), x], 1)  # N×256×H/8×W/8
        x = self.se2(self.sd2(x))  # N×64×H/4×W/4
        x = torch.cat([upsample(self.psp2(ppm), 8), x], 1)  # N×128×H/4×W/4
        x = self.se1(self.sd1(x))  # N×64×H/2×W/2
        x = torch.cat([upsample(self.psp1(ppm), 16), x], 1)  # N×128×H/2×W/2
        x = self.sd0(x)  # N×64×H×W
        spa = None if self.spa is None else self.spa(x)  # N×1×H×W
        return self.final(self.se0(x)), spa


class MattingDecoder(nn.Module):
    """Semantic guided matting decoder (section 3.3): alpha in the transition area.

    MU, max-unpooling by the encoder's own indices, takes each value back to the pixel that was the
    maximum there, which keeps fine structures in place.
    """

    def __init__(self) -> None:
        super().__init__()
        self.md5 = BridgeBlock(512)
        self.md4 = DecoderBlock(1024, (512, 512, 256))
        self.md3 = DecoderBlock(512, (256, 256, 128))
        self.md2 = DecoderBlock(256, (128, 128, 64))
        self.md1 = DecoderBlock(128, (64, 64, 64))
        self.md0 = DecoderBlock(128, (64, 64))
        self.mu = MaxUnpool()
        self.final = nn.Conv2d(64, 1, 3, padding=1)

    def forward(self, e: list[Tensor], m: list[Tensor], spa: Tensor | None) -> Tensor:
        """E0 … E4, the offsets of M0 … M4 and the spatial attention → logits, N×1×H×W."""
        x = self.md4(torch.cat([self.md5(e[4]), e[4]], 1))  # N×256×H/32×W/32
        x = self.mu(x, m[4])  # MU4: N×256×H/16×W/16
        x = self.md3(torch.cat([x, e[3]], 1))  # N×128×H/16×W/16
        x = self.mu(x, m[3])  # MU3: N×128×H/8×W/8
        x = self.md2(torch.cat([x, e[2]], 1))  # N×64×H/8×W/8
        x = self.mu(x, m[2])  # MU2: N×64×H/4×W/4
        x = self.md1(torch.cat([x, e[1]], 1))  # N×64×H/4×W/4
        x = self.mu(self.mu(x, m[1]), m[0])  # MU1, MU0: N×64×H×W
        x = self.md0(torch.cat([x, e[0]], 1))  # N×64×H×W
        if spa is not None:
            x = x + x * spa  # SPAR
        return self.final(x)


class AIM(nn.Module):
    """AIM-Net with the unified semantic representation: trimap, duomap or unimap.

    Args:
        without: parts to leave out, as in Table 3 of the paper: ``"se"`` (squeeze-and-excitation),
            ``"attention"`` (spatial attention).

    Raises:
        ValueError: an unknown part.
    """

    name = "aim"
    backbone = "resnet34"
    rosta = "unified"
    fusion = "unified"
    size_multiple = size_multiple("aim")
    input_spec = IMAGENET

    def __init__(self, without: Collection[str] = ()) -> None:
        super().__init__()
        self.without = left_out(without, ("se", "attention"))
        self.heads = {"glance": 3, "focus": 1}
        self.encoder = ResNet34PoolingEncoder()
        self.semantic = SemanticDecoder(
            attention="se" not in self.without, guide="attention" not in self.without
        )
        self.matting = MattingDecoder()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Matte an image.

        Args:
            x: N×3×H×W, RGB, ImageNet-normalised; H and W multiples of 32.

        Returns:
            ``glance`` N×3×H×W (background, transition, foreground), ``focus`` and ``alpha``
            N×1×H×W, all in 0..1. With U the glance's class as 0, ½ or 1 and M the focus,
            α = (1 - 2 |U - ½|) · M + 2 |U - ½| · U (equation 2): M where U is ½, else U.

        Raises:
            ValueError: an image of another shape.
        """
        check_image(x, self.size_multiple)
        e, m = self.encoder(x)
        semantic, spa = self.semantic(e[4])
        glance = torch.sigmoid(semantic)
        focus = torch.sigmoid(self.matting(e, m, spa))
        alpha = collaborative_fusion(glance, focus, self.fusion)
        return {"glance": glance, "focus": focus, "alpha": alpha}
