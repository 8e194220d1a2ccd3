"""A lighter GFM: the glance at half the resolution, the focus at all of it.

GFM's hybrid-resolution test (IJCV 2022) runs the network twice: coarse for what the subject is,
fine for its edge. Here that is part of the network:

* the encoder (EfficientNet-Lite0) and the glance decoder see the picture at half its size; the
  glance ends at stride 8 of the picture, as logits in an exported graph;
* the focus decoder has a shallow stem of its own at full size, and takes the glance's features for
  context.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional

from matter_sdk.kernels.spec import ROSTAS, InputSpec
from matter_sdk.training.networks.blocks import collaborative_fusion, upsample
from matter_sdk.training.networks.efficientnet_lite import CHANNELS, EfficientNetLite0, SameConv2d
from matter_sdk.training.networks.gfm_light import (
    Ending,
    GFMLight,
    GFMPlate,
    Separable,
    resize_like,
)

GLANCE_STRIDE = 8


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
        self.ending = Ending()

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


class GFMLite(GFMLight):
    """GFM with the glance at half resolution; ``rosta`` is ``tt``, ``ft``, ``bt`` or ``rim``.

    ``without`` may name ``pyramid``, the glance's pooled context. There is no bridge block.

    ``forward(x)``: as :class:`GFMLight`.
    """

    backbone = "efficientnet-lite0"
    parts = ("pyramid",)
    encoder_type = _HalfResolution
    decoder_type = _Collaborative
    glance_stride = GLANCE_STRIDE
    input_spec = InputSpec("rgb", (127.0, 127.0, 127.0), (128.0, 128.0, 128.0))  # the encoder's


class GFMPlateLite(GFMPlate):
    """:class:`GFMLite` that also sees a plate; see :class:`GFMPlate`."""

    backbone = GFMLite.backbone
    encoder_type = _HalfResolution
    decoder_type = _Collaborative
    glance_stride = GLANCE_STRIDE
    input_spec = GFMLite.input_spec
