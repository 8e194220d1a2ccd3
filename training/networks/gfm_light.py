"""A light GFM for video: the glance at half the resolution, the focus at all of it.

GFM's hybrid-resolution test (IJCV 2022) runs the network twice: coarse for what the subject is,
fine for its edge. Here that is part of the network:

* the encoder (EfficientNet-Lite0) and the glance decoder see the picture at half its size; the
  glance ends at stride 8 of the picture, as logits in an exported graph;
* the focus decoder has a shallow stem of its own at full size, and takes the glance's features for
  context.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from matter_sdk.kernels.spec import ROSTAS, InputSpec
from matter_sdk.training.networks import JOINED, size_multiple
from matter_sdk.training.networks.blocks import collaborative_fusion, left_out, upsample
from matter_sdk.training.networks.efficientnet_lite import CHANNELS, EfficientNetLite0, SameConv2d

GLANCE_STRIDE = 8


class Separable(nn.Sequential):
    """Depthwise 3×3, pointwise 1×1, batch norm, ReLU."""

    def __init__(self, inside: int, outside: int, dilation: int = 1, *, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inside, inside, 3, stride, dilation, dilation, groups=inside, bias=False),
            nn.Conv2d(inside, outside, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(inplace=True),
        )


def _convolution(inside: int, outside: int, kernel: int, stride: int = 1) -> nn.Sequential:
    padding = kernel // 2
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(inplace=True),
    )


class _Up(nn.Module):
    """One step up: the features at the larger size plus another map of that size.

    A 1×1 convolution brings the other map to ``outside`` channels where it has another number.
    """

    def __init__(self, inside: int, beside: int, outside: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(inside, outside, 1, bias=False)
        self.beside = nn.Identity() if beside == outside else nn.Conv2d(beside, outside, 1)
        self.mix = Separable(outside, outside)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return self.mix(resize_like(self.narrow(x), other) + self.beside(other))


class _GlanceDecoder(nn.Module):
    """Feature maps of the half-size picture → features and logits at stride 8 of the picture."""

    channels = 32

    def __init__(self, classes: int, *, context: bool) -> None:
        super().__init__()
        _, c4, c8, c16, c32 = CHANNELS
        self.enter = _convolution(c32, 96, 1)
        self.context = nn.Conv2d(c32, 96, 1) if context else None
        self.up16 = _Up(96, c16, 64)
        self.up8 = _Up(64, c8, 48)
        self.up4 = _Up(48, c4, self.channels)
        self.predict = nn.Conv2d(self.channels, classes, 3, padding=1)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        _, e4, e8, e16, e32 = features
        x = self.enter(e32)
        if self.context is not None:
            x = x + self.context(e32.mean((2, 3), keepdim=True))
        x = self.up4(self.up8(self.up16(x, e16), e8), e4)
        return x, self.predict(x)


class _FocusDecoder(nn.Module):
    """The picture and the glance's features → the matte where it is fractional."""

    def __init__(self, channels: int, context: int) -> None:
        super().__init__()
        self.stem2 = _convolution(channels, 16, 3, 2)
        self.stem4 = Separable(16, 24, stride=2)
        self.up4 = _Up(context, 24, 24)
        self.up2 = _Up(24, 16, 16)
        self.predict = nn.Conv2d(16, 4, 1)  # each of the 2×2 pixels; `up2` saw 3×3

    def forward(self, image: Tensor, context: Tensor) -> Tensor:
        x2 = self.stem2(image)  # N×16×H/2×W/2
        x4 = self.stem4(x2)  # N×24×H/4×W/4
        x = self.up2(self.up4(context, x4), x2)
        return torch.sigmoid(functional.pixel_shuffle(self.predict(x), 2))  # N×1×H×W


class _Collaborative(nn.Module):
    """One glance and one focus decoder over the shared encoder's features."""

    def __init__(self, rosta: str, channels: int = 3, without: Collection[str] = ()) -> None:
        super().__init__()
        self.rosta = rosta
        self.glance = _GlanceDecoder(ROSTAS[rosta].classes, context="pyramid" not in without)
        self.focus = _FocusDecoder(channels, _GlanceDecoder.channels)
        self.ending = _Ending()

    def forward(self, image: Tensor, features: list[Tensor]) -> dict[str, Tensor]:
        context, logits = self.glance(features)
        glance = torch.softmax(upsample(logits, GLANCE_STRIDE), 1)
        focus = self.focus(image, context)
        alpha = collaborative_fusion(glance, focus, self.rosta)
        return {"glance": self.ending(logits, glance), "focus": focus, "alpha": alpha}


class _HalvingConv2d(SameConv2d):
    """The encoder's first convolution over the mean of each 2×2 pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.avg_pool2d(x, 2))

    def plain(self) -> nn.Module:
        """See ``export.stages.graph.export_onnx``: both at once, a 6×6 convolution of stride 4.

        CPUs have no fast average pool for three channels; alone it took a fifth of the network.
        """
        layer = nn.Conv2d(self.in_channels, self.out_channels, 6, 4, bias=False)
        layer.weight.data = self.weight.data.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
        return nn.Sequential(nn.ZeroPad2d((0, 2, 0, 2)), layer)


class _HalfResolution(EfficientNetLite0):
    """The encoder over the picture at half its size: strides 4 to 64 of the picture.

    Sides of the picture are multiples of 4.
    """

    first = _HalvingConv2d


class _Ending(nn.Module):
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

    ``without`` may name ``pyramid``, the glance's pooled context, as in the paper's ablation study.
    There is no bridge block.

    ``forward(x)``: RGB as ``input_spec`` says, float32 N×3×H×W, H and W multiples of 32 → dict of
    ``glance`` (N×3 or N×2, probabilities), ``focus`` (N×1) and ``alpha`` (N×1), all ×H×W in 0..1.
    With ``rim`` also ``glance_tt`` … ``alpha_bt``, and ``alpha`` is the integration module's: its
    raw output while training, clamped to 0..1 in eval mode.
    """

    name = "gfm"
    backbone = "efficientnet-lite0"
    parts = ("pyramid",)
    size_multiple = size_multiple("gfm")
    input_spec = InputSpec("rgb", (127.0, 127.0, 127.0), (128.0, 128.0, 128.0))  # the encoder's

    def __init__(self, rosta: str, without: Collection[str] = ()) -> None:
        super().__init__()
        self.rosta = rosta
        self.without = left_out(without, self.parts)
        self.encoder = _HalfResolution()
        parts = JOINED if rosta == "rim" else (rosta,)
        self.decoders = nn.ModuleDict(
            {part: _Collaborative(part, without=without) for part in parts}
        )
        self.integration = _Integration() if rosta == "rim" else None
        self.heads = (
            {"alpha": 1} if rosta == "rim" else {"glance": ROSTAS[rosta].classes, "focus": 1}
        )
        self.fusion = "alpha" if rosta == "rim" else rosta
        self.head_strides = {} if rosta == "rim" else {"glance": GLANCE_STRIDE}

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

    ``forward(x, plate)``: both RGB, normalised, float32 N×3×H×W, H and W multiples of 32 →
    as :class:`GFMLight`. What differs from the plate is the subject, so it need not know objects;
    the plate may be shifted by a few pixels, exposed otherwise, and lack the subject's shadow.
    """

    name = "gfm-plate"
    backbone = GFMLight.backbone
    inputs: ClassVar = {"image": 3, "plate": 3}
    size_multiple = size_multiple("gfm-plate")
    input_spec = GFMLight.input_spec

    def __init__(self, rosta: str) -> None:
        super().__init__()
        self.rosta = rosta
        self.encoder = _HalfResolution(channels=6)
        self.decoders = nn.ModuleDict({rosta: _Collaborative(rosta, channels=6)})
        self.heads = {"glance": ROSTAS[rosta].classes, "focus": 1}
        self.fusion = rosta
        self.head_strides = {"glance": GLANCE_STRIDE}

    def forward(self, x: Tensor, plate: Tensor) -> dict[str, Tensor]:
        """See the class."""
        both = torch.cat([x, plate - x], 1)  # N×6×H×W: the difference is what it has to see
        return self.decoders[self.rosta](both, self.encoder(both))


def resize_like(x: Tensor, like: Tensor) -> Tensor:
    """Resize bilinearly to the height and width of ``like``."""
    return functional.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)
