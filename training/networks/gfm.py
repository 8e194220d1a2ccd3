"""Glance and Focus Matting: one encoder, two decoders, collaborative matting.

Li, Zhang, Maybank and Tao, *Bridging Composite and Real: Towards End-to-End Deep Image Matting*
(IJCV 2022), section 3; the RoSTa integration module is described among its experiments. The layers
are those of the released weights. They differ from the text in one place and settle another: the
pyramid features are concatenated to the decoder's (the text says summed), and the bridge block's
three convolutions all have dilation 2.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from matter_sdk.kernels.spec import ROSTAS, InputSpec
from matter_sdk.training.networks import JOINED, size_multiple
from matter_sdk.training.networks.blocks import (
    GFM_PARTS,
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
from matter_sdk.training.networks.densenet import DenseNet121Encoder
from matter_sdk.training.networks.resnet import (
    BasicBlock,
    Bottleneck,
    ResNet34DeepEncoder,
    ResNetEncoder,
)


@dataclass(frozen=True)
class _Plan:
    """What one backbone fixes.

    ``widths``: the three convolutions of each decoder block, coarsest block first. ``deep``: the
    encoder keeps full resolution to its first feature, so the last block (D1) does not upsample
    and the head is a single convolution.
    """

    encoder: Callable[[], nn.Module]
    widths: tuple[tuple[int, int, int], ...]
    deep: bool = False


_PLAIN = ((512, 512, 256), (256, 256, 128), (128, 128, 64), (64, 64, 64))

_PLANS = {
    "resnet34": _Plan(lambda: ResNetEncoder(BasicBlock, (3, 4, 6, 3)), _PLAIN),
    "resnet34_2b": _Plan(ResNet34DeepEncoder, ((512, 512, 512),) * 2 + _PLAIN, deep=True),
    "resnet101": _Plan(
        lambda: ResNetEncoder(Bottleneck, (3, 4, 23, 3)),
        ((2048, 1024, 1024), (1024, 512, 512), (512, 256, 256), (256, 128, 64)),
    ),
    "densenet121": _Plan(DenseNet121Encoder, _PLAIN),
}


class Head(nn.Module):
    """The block D0, whose last convolution gives the logits at full resolution."""

    def __init__(self, inside: int, outside: int, deep: bool) -> None:
        super().__init__()
        self.refine = (
            nn.Sequential() if deep else nn.Sequential(ConvBnRelu(inside, 64), ConvBnRelu(64, 64))
        )
        self.predict = nn.Conv2d(64, outside, 3, padding=1)
        self.factor = 1 if deep else 2

    def forward(self, x: Tensor) -> Tensor:
        """N×inside×H/2×W/2 (deep: N×64×H×W) → logits, N×outside×H×W."""
        return upsample(self.predict(self.refine(x)), self.factor)


class GlanceDecoder(nn.Module):
    """Glance decoder (section 3.2), without its heads: blocks D4 … D1 over pyramid features.

    ``blocks.i`` is the paper's D^G_i; ``context.i`` brings the pyramid features to its resolution
    (``context.0``: to the heads'). Without the pyramid pooling the first block reads the encoder's
    coarsest features alone, and each other the block before. The heads read ``outside`` channels.
    """

    def __init__(self, plan: _Plan, channels: int, *, pyramid: bool) -> None:
        super().__init__()
        self.pyramid = PyramidPooling(channels, channels, align_corners=True) if pyramid else None
        self.blocks = nn.ModuleDict()
        self.context = nn.ModuleDict()
        inside = 2 * channels if pyramid else channels
        for level, widths in zip(range(len(plan.widths), 0, -1), plan.widths, strict=True):
            factor = 1 if plan.deep and level == 1 else 2
            self.blocks[str(level)] = DecoderBlock(inside, widths, factor)
            inside = widths[-1]
            if pyramid and (level > 1 or not plan.deep):
                self.context[str(level - 1)] = ConvBnRelu(channels, inside)
                inside *= 2
        self.outside = inside

    def forward(self, features: list[Tensor]) -> Tensor:
        """The encoder's features → N×outside×H/2×W/2 (deep: N×64×H×W), which every head reads."""
        coarse = features[-1]  # N×C×H/32×W/32
        pyramid = None if self.pyramid is None else self.pyramid(coarse)
        x = coarse if pyramid is None else torch.cat([pyramid, coarse], 1)
        for level, block in self.blocks.items():
            x = block(x)  # twice the resolution of the block before
            below = str(int(level) - 1)
            if below in self.context:
                context = self.context[below](pyramid)
                x = torch.cat([upsample(context, x.shape[2] // context.shape[2]), x], 1)
        return x


class FocusDecoder(nn.Module):
    """Focus decoder (section 3.3), without its heads: bridge block, then a U-Net's blocks.

    ``blocks.i`` is the paper's D^F_i. Its input joins the block before with the encoder's E_i; that
    of the first the bridge block's features, if there are, with the encoder's coarsest.
    """

    def __init__(self, plan: _Plan, channels: tuple[int, ...], *, bridge: bool) -> None:
        super().__init__()
        coarse = channels[-1]
        self.bridge = BridgeBlock(coarse) if bridge else None
        self.blocks = nn.ModuleDict()
        inside = coarse if bridge else 0
        for level, widths, skip in zip(
            range(len(plan.widths), 0, -1), plan.widths, reversed(channels), strict=False
        ):
            factor = 1 if plan.deep and level == 1 else 2
            self.blocks[str(level)] = DecoderBlock(inside + skip, widths, factor)
            inside = widths[-1]

    def forward(self, features: list[Tensor]) -> Tensor:
        """The encoder's features → N×128×H/2×W/2 (deep: N×64×H×W), which every head reads."""
        *skips, coarse = features
        x = coarse if self.bridge is None else torch.cat([self.bridge(coarse), coarse], 1)
        for block in self.blocks.values():
            x = block(x)
            if skips:
                x = torch.cat([x, skips.pop()], 1)
        return x


class RostaIntegration(nn.Module):
    """RoSTa integration module, RIM ("RoSTa Integration"): the three mattes → one.

    1×1 convolution to 16 channels, squeeze-and-excitation, 1×1 convolution; no activation, so the
    result may leave 0..1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Conv2d(3, 16, 1)
        self.attention = SqueezeExcitation(16, 4)
        self.predict = nn.Conv2d(16, 1, 1)

    def forward(self, alphas: Tensor) -> Tensor:
        """Mattes of tt, ft and bt, N×3×H×W → N×1×H×W."""
        return self.predict(self.attention(self.expand(alphas)))


class GFM(nn.Module):
    """Glance and Focus Matting with one of the published backbones.

    Args:
        backbone: ``resnet34``, ``resnet34_2b``, ``resnet101`` or ``densenet121``.
        rosta: what the glance distinguishes. ``tt``: background, transition, foreground; ``ft``:
            foreground or not; ``bt``: not background or background; ``rim``: all three, joined.
        without: parts to leave out, as in the paper's ablation study (Table 4): ``"pyramid"`` (the
            glance decoder's pyramid pooling module), ``"bridge"`` (the focus decoder's bridge
            block).

    Raises:
        ValueError: an unknown backbone, rosta or part. ``training.networks.create`` names the near
            match.
    """

    name = "gfm"
    size_multiple = size_multiple("gfm")
    input_spec = InputSpec()  # RGB in 0..255, as it is: GFM was trained without normalisation

    def __init__(self, backbone: str, rosta: str, without: Collection[str] = ()) -> None:
        super().__init__()
        if backbone not in _PLANS:
            raise ValueError(f"backbone {backbone!r}; expected one of {', '.join(_PLANS)}")
        if rosta not in (*JOINED, "rim"):
            raise ValueError(f"rosta {rosta!r}; expected one of {', '.join(JOINED)}, rim")
        self.backbone = backbone
        self.rosta = rosta
        self.without = left_out(without, GFM_PARTS)
        plan = _PLANS[backbone]
        parts = JOINED if rosta == "rim" else (rosta,)
        self.encoder = plan.encoder()
        channels: tuple[int, ...] = self.encoder.channels  # type: ignore[assignment]
        self.glance = GlanceDecoder(plan, channels[-1], pyramid="pyramid" not in self.without)
        self.focus = FocusDecoder(plan, channels, bridge="bridge" not in self.without)
        self.glance_heads = nn.ModuleDict(
            {part: Head(self.glance.outside, ROSTAS[part].classes, plan.deep) for part in parts}
        )
        self.focus_heads = nn.ModuleDict({part: Head(128, 1, plan.deep) for part in parts})
        self.rim: RostaIntegration | None = None
        self.heads = {"glance": ROSTAS[parts[0]].classes, "focus": 1}
        self.fusion = rosta
        if rosta == "rim":
            self.rim = RostaIntegration()
            self.heads = {"alpha": 1}
            self.fusion = "alpha"

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Matte an image.

        Args:
            x: N×3×H×W, RGB in 0..255; H and W multiples of 32.

        Returns:
            ``glance`` N×3×H×W or N×2×H×W and ``focus`` N×1×H×W, probabilities, and ``alpha``
            N×1×H×W. With ``rim`` also ``glance_tt``, ``focus_tt``, ``alpha_tt`` and so on for
            ``ft`` and ``bt``; then ``glance`` and ``focus`` are those of ``tt``, and ``alpha`` is
            the integration module's: its raw output while training, clamped to 0..1 in eval mode.

        Raises:
            ValueError: an image of another shape.
        """
        check_image(x, self.size_multiple)
        features = self.encoder(x)
        glance_features = self.glance(features)
        focus_features = self.focus(features)
        result: dict[str, Tensor] = {}
        for part in self.glance_heads:
            glance = torch.sigmoid(self.glance_heads[part](glance_features))
            focus = torch.sigmoid(self.focus_heads[part](focus_features))
            alpha = collaborative_fusion(glance, focus, part)
            result |= {f"glance_{part}": glance, f"focus_{part}": focus, f"alpha_{part}": alpha}
        if self.rim is None:
            return {head: result[f"{head}_{self.rosta}"] for head in ("glance", "focus", "alpha")}
        alpha = self.rim(torch.cat([result[f"alpha_{part}"] for part in JOINED], 1))
        result["glance"] = result["glance_tt"]
        result["focus"] = result["focus_tt"]
        result["alpha"] = alpha if self.training else alpha.clamp(0, 1)
        return result
