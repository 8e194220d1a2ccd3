"""A light GFM for video: MobileNetV3-Large encoder, depthwise-separable decoders.

The plan is that of *Bridging Composite and Real* (IJCV 2022), section 3: one shared encoder, a
glance decoder that tells what is foreground, background and transition, a focus decoder that finds
the matte where it is fractional, and collaborative matting that joins them. What is ours is the
choice of layers, made for a few milliseconds on a laptop's CPU:

* both decoders end below full resolution: the glance at stride 4 (its borders lie inside the
  transition area, where the focus decides; an exported graph ends there too), the focus at stride
  2 with a depth-to-space to 1;
* the focus decoder's last block sees the input's own pixels, folded to stride 2, so that strands
  thinner than a feature pixel survive;
* the glance ends in a softmax instead of three sigmoids: trained from nothing it converges sooner,
  and two classes can't saturate into a tie.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from matter_sdk.kernels.spec import ROSTAS
from matter_sdk.training.networks import JOINED, size_multiple
from matter_sdk.training.networks.blocks import GFM_PARTS, IMAGENET, collaborative_fusion, left_out
from matter_sdk.training.networks.mobilenetv3 import CHANNELS, MobileNetV3

GLANCE_STRIDE = 4


class Separable(nn.Sequential):
    """Depthwise 3×3, pointwise 1×1, batch norm, ReLU."""

    def __init__(self, inside: int, outside: int, dilation: int = 1, *, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inside, inside, 3, stride, dilation, dilation, groups=inside, bias=False),
            nn.Conv2d(inside, outside, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(inplace=True),
        )


class _Joining(Separable):
    """The same of several feature maps side by side, of so many channels each."""

    def __init__(self, parts: tuple[int, ...], outside: int) -> None:
        super().__init__(sum(parts), outside)
        self.parts = parts

    def forward(self, *features: Tensor) -> Tensor:
        """N×parts×H×W each → N×outside×H×W."""
        return super().forward(torch.cat(features, 1))

    def plain(self) -> nn.Module:
        """See ``export.stages.graph.export_onnx``."""
        return _Joined(self)


class _Joined(nn.Module):
    """What an exported graph has of ``_Joining``: a convolution of each map, and their sum.

    The maps need not be copied side by side, which costs a CPU as much as a convolution.
    """

    def __init__(self, whole: _Joining) -> None:
        super().__init__()
        layers: Any = whole
        depthwise, pointwise, norm, self.activation = layers
        scale = norm.weight.data / torch.sqrt(norm.running_var + norm.eps)
        parts = zip(
            depthwise.weight.data.split(whole.parts),
            pointwise.weight.data.split(whole.parts, 1),
            strict=True,
        )
        self.depthwise, self.pointwise = nn.ModuleList(), nn.ModuleList()
        for each, mixed in parts:
            count, outside = len(each), len(mixed)
            alone = nn.Conv2d(count, count, 3, padding=1, groups=count, bias=False)
            alone.weight.data = each
            last = nn.Conv2d(count, outside, 1, bias=not self.pointwise)  # the first one's for all
            last.weight.data = mixed * scale[:, None, None, None]
            if last.bias is not None:
                last.bias.data = norm.bias.data - norm.running_mean * scale
            self.depthwise.append(alone)
            self.pointwise.append(last)

    def forward(self, *features: Tensor) -> Tensor:
        layers = zip(self.depthwise, self.pointwise, features, strict=True)
        total, *rest = (pointwise(depthwise(x)) for depthwise, pointwise, x in layers)
        for one in rest:
            total = total + one
        return self.activation(total)


class _PyramidPooling(nn.Module):
    """Context at bins of 1, 3 and 5 (section 3.2), each squeezed by a 1×1 convolution.

    Without bins, what is left is the 1×1 convolution that joins them.
    """

    def __init__(self, inside: int, outside: int, bins: tuple[int, ...]) -> None:
        super().__init__()
        self.bins = bins
        self.squeeze = nn.ModuleList(nn.Conv2d(inside, 32, 1) for _ in bins)
        self.join = nn.Sequential(
            nn.Conv2d(inside + 32 * len(bins), outside, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        context = [
            resize_like(squeeze(functional.adaptive_avg_pool2d(x, bin_)), x)
            for bin_, squeeze in zip(self.bins, self.squeeze, strict=True)
        ]
        return self.join(torch.cat([x, *context], 1))


class _Bridge(nn.Module):
    """The bridge block (section 3.3): three dilated convolutions with a wider view.

    Without dilations, what is left is the convolution that leads to them.
    """

    def __init__(self, inside: int, outside: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.enter = Separable(inside, outside)
        self.dilated = nn.ModuleList(Separable(outside, outside, d) for d in dilations)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for layer in self.dilated:
            x = x + layer(x)
        return x


class _GlanceDecoder(nn.Module):
    def __init__(self, classes: int, *, pyramid: bool) -> None:
        super().__init__()
        _, c4, c8, c16, c32 = CHANNELS
        self.context = _PyramidPooling(c32, 128, (1, 3, 5) if pyramid else ())
        self.stage16 = _Joining((128, c16), 96)
        self.stage8 = _Joining((96, c8), 64)
        self.stage4 = _Joining((64, c4), 48)
        self.predict = nn.Conv2d(48, classes, 3, padding=1)

    def forward(self, e4: Tensor, e8: Tensor, e16: Tensor, e32: Tensor) -> tuple[Tensor, Tensor]:
        psp = self.context(e32)  # N×128×H/32×W/32
        x = self.stage16(resize_like(psp, e16), e16)  # N×96×H/16×W/16
        x = self.stage8(resize_like(x, e8), e8)  # N×64×H/8×W/8
        x = self.stage4(resize_like(x, e4), e4)  # N×48×H/4×W/4
        return psp, self.predict(x)  # N×classes×H/4×W/4


class _FocusDecoder(nn.Module):
    def __init__(self, channels: int, *, bridge: bool) -> None:
        super().__init__()
        c2, c4, c8, c16, c32 = CHANNELS
        self.bridge = _Bridge(c32 + 128, 128, (1, 2, 4) if bridge else ())
        self.stage16 = _Joining((128, c16), 96)
        self.stage8 = _Joining((96, c8), 64)
        self.stage4 = _Joining((64, c4), 48)
        self.stage2 = _Joining((48, c2, 4 * channels), 32)
        self.predict = nn.Conv2d(32, 4, 3, padding=1)

    def forward(
        self,
        image: Tensor,
        e2: Tensor,
        e4: Tensor,
        e8: Tensor,
        e16: Tensor,
        e32: Tensor,
        psp: Tensor,
    ) -> Tensor:
        x = self.bridge(torch.cat([e32, psp], 1))  # N×128×H/32×W/32
        x = self.stage16(resize_like(x, e16), e16)  # N×96×H/16×W/16
        x = self.stage8(resize_like(x, e8), e8)  # N×64×H/8×W/8
        x = self.stage4(resize_like(x, e4), e4)  # N×48×H/4×W/4
        pixels = functional.pixel_unshuffle(image, 2)  # N×12×H/2×W/2, or 24 with a plate
        x = self.stage2(resize_like(x, e2), e2, pixels)  # N×32×H/2×W/2
        return torch.sigmoid(functional.pixel_shuffle(self.predict(x), 2))  # N×1×H×W


class _Collaborative(nn.Module):
    """One glance and one focus decoder over the shared encoder's features."""

    def __init__(self, rosta: str, channels: int = 3, without: Collection[str] = ()) -> None:
        super().__init__()
        self.rosta = rosta
        self.glance = _GlanceDecoder(ROSTAS[rosta].classes, pyramid="pyramid" not in without)
        self.focus = _FocusDecoder(channels, bridge="bridge" not in without)
        self.ending = Ending()

    def forward(self, image: Tensor, features: list[Tensor]) -> dict[str, Tensor]:
        e2, e4, e8, e16, e32 = features
        psp, logits = self.glance(e4, e8, e16, e32)
        enlarged = functional.interpolate(logits, scale_factor=GLANCE_STRIDE, mode="bilinear")
        glance = torch.softmax(enlarged, 1)
        focus = self.focus(image, e2, e4, e8, e16, e32, psp)
        alpha = collaborative_fusion(glance, focus, self.rosta)
        return {"glance": self.ending(logits, glance), "focus": focus, "alpha": alpha}


class Ending(nn.Module):
    """The glance's output: probabilities in PyTorch, logits in an exported graph.

    The SDK upsamples the logits and takes the arg-max: that is cheaper, and softmax does not change
    the ranking.
    """

    def forward(self, logits: Tensor, glance: Tensor) -> Tensor:
        """Return ``glance``, the probabilities at the image's size."""
        del logits
        return glance

    def plain(self) -> nn.Module:
        """See ``export.stages.graph.export_onnx``."""
        return _Logits()


class _Logits(nn.Module):
    def forward(self, logits: Tensor, glance: Tensor) -> Tensor:
        del glance
        return logits


class _Integration(nn.Module):
    """RoSTa integration module: the three mattes and the image → one matte."""

    def __init__(self) -> None:
        super().__init__()
        self.refine = nn.Sequential(Separable(24, 16), nn.Conv2d(16, 4, 3, padding=1))

    def forward(self, image: Tensor, alphas: list[Tensor]) -> Tensor:
        x = functional.pixel_unshuffle(torch.cat([image, *alphas], 1), 2)  # N×24×H/2×W/2
        mean = torch.stack(alphas).mean(0)
        return mean + functional.pixel_shuffle(self.refine(x), 2)


class GFMLight(nn.Module):
    """Light GFM; ``rosta`` is ``tt``, ``ft``, ``bt`` or ``rim``.

    ``without`` names parts to leave out, as in the paper's ablation study: ``pyramid``, ``bridge``.

    ``forward(x)``: RGB, ImageNet-normalised, float32 N×3×H×W, H and W multiples of 32 → dict of
    ``glance`` (N×3 or N×2, probabilities), ``focus`` (N×1) and ``alpha`` (N×1), all ×H×W in 0..1.
    With ``rim`` also ``glance_tt`` … ``alpha_bt``, and ``alpha`` is the integration module's: its
    raw output while training, clamped to 0..1 in eval mode.
    """

    name = "gfm"
    backbone = "mobilenetv3"
    parts: ClassVar[tuple[str, ...]] = GFM_PARTS
    encoder_type: ClassVar[type[nn.Module]] = MobileNetV3
    decoder_type: ClassVar[type[nn.Module]] = _Collaborative
    glance_stride = GLANCE_STRIDE
    size_multiple = size_multiple("gfm")
    input_spec = IMAGENET

    def __init__(self, rosta: str, without: Collection[str] = ()) -> None:
        super().__init__()
        self.rosta = rosta
        self.without = left_out(without, self.parts)
        self.encoder = self.encoder_type()
        parts = JOINED if rosta == "rim" else (rosta,)
        self.decoders = nn.ModuleDict(
            {part: self.decoder_type(part, without=without) for part in parts}
        )
        self.integration = _Integration() if rosta == "rim" else None
        self.heads = (
            {"alpha": 1} if rosta == "rim" else {"glance": ROSTAS[rosta].classes, "focus": 1}
        )
        self.fusion = "alpha" if rosta == "rim" else rosta
        self.head_strides = {} if rosta == "rim" else {"glance": self.glance_stride}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """See the class."""
        features = self.encoder(x)
        outputs = {part: decoder(x, features) for part, decoder in self.decoders.items()}
        if self.integration is None:
            return outputs[self.rosta]
        result = {"glance": outputs["tt"]["glance"], "focus": outputs["tt"]["focus"]}
        for part, heads in outputs.items():
            result.update({f"{head}_{part}": tensor for head, tensor in heads.items()})
        alpha = self.integration(x, [heads["alpha"] for heads in outputs.values()])
        result["alpha"] = alpha if self.training else alpha.clamp(0, 1)
        return result


class GFMPlate(nn.Module):
    """Light GFM that also sees a *plate*: a photograph of the same place without the subject.

    ``forward(x, plate)``: both RGB, ImageNet-normalised, float32 N×3×H×W, H and W multiples of 32 →
    as :class:`GFMLight`. What differs from the plate is the subject, so it need not know objects;
    the plate may be shifted by a few pixels, exposed otherwise, and lack the subject's shadow.
    """

    name = "gfm-plate"
    backbone = "mobilenetv3"
    inputs: ClassVar = {"image": 3, "plate": 3}
    encoder_type: ClassVar[Any] = MobileNetV3
    decoder_type: ClassVar[Any] = _Collaborative
    glance_stride = GLANCE_STRIDE
    size_multiple = size_multiple("gfm-plate")
    input_spec = GFMLight.input_spec

    def __init__(self, rosta: str) -> None:
        super().__init__()
        self.rosta = rosta
        self.encoder = self.encoder_type(channels=6)
        self.decoders = nn.ModuleDict({rosta: self.decoder_type(rosta, channels=6)})
        self.heads = {"glance": ROSTAS[rosta].classes, "focus": 1}
        self.fusion = rosta
        self.head_strides = {"glance": self.glance_stride}

    def forward(self, x: Tensor, plate: Tensor) -> dict[str, Tensor]:
        """See the class."""
        both = torch.cat([x, plate - x], 1)  # N×6×H×W: the difference is what it has to see
        return self.decoders[self.rosta](both, self.encoder(both))


def resize_like(x: Tensor, like: Tensor) -> Tensor:
    """Resize bilinearly to the height and width of ``like``."""
    return functional.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)
