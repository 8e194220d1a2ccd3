"""Pieces that the matting networks share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from matter_sdk.kernels.spec import ROSTAS, InputSpec

IMAGENET = InputSpec("rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""RGB / 255, less ImageNet's mean, over its deviation."""

# Parts of GFM that its ablation study leaves out: pyramid pooling module and bridge block.
GFM_PARTS = ("pyramid", "bridge")


def check_image(x: Tensor, multiple: int) -> None:
    """Refuse an image that a network cannot take.

    Raises:
        ValueError: not N×3×H×W with H and W multiples of `multiple`, or empty.
    """
    check_inputs({"image": 3}, (x,), multiple)


def check_inputs(inputs: Mapping[str, int], given: Sequence[Tensor], multiple: int = 1) -> None:
    """Refuse inputs that a network cannot take.

    Args:
        inputs: name -> channels, in the order of `given`.
        multiple: what height and width are a multiple of.

    Raises:
        ValueError: an input that is not N×channels×H×W, has another N, H or W than the first, or
            is empty.
    """
    remedy = f" with H and W multiples of {multiple}: resize or pad it first"
    if multiple == 1:
        remedy = ": a single one is a batch of one, x[None]"
    first = given[0]
    for (name, channels), x in zip(inputs.items(), given, strict=True):
        fits = not any(side % multiple for side in x.shape[2:])
        if x.ndim != 4 or x.shape[1] != channels or not fits or not x.numel():
            raise ValueError(f"{name} of shape {tuple(x.shape)}; expected N×{channels}×H×W{remedy}")
        if x.shape[0] != first.shape[0] or x.shape[2:] != first.shape[2:]:
            raise ValueError(
                f"{name} of shape {tuple(x.shape)}; expected the N, H and W of "
                f"{next(iter(inputs))}, {tuple(first.shape)}: resize one to the other's"
            )


def left_out(without: Collection[str], parts: Sequence[str]) -> tuple[str, ...]:
    """Return the parts that `without` names, in the order of `parts`.

    Raises:
        ValueError: `without` names something else. ``training.networks.create`` names the near
            match.
    """
    unknown = [part for part in without if part not in parts]
    if unknown:
        raise ValueError(f"without {unknown[0]!r}; expected parts of {', '.join(parts)}")
    return tuple(part for part in parts if part in without)


class ConvBnRelu(nn.Sequential):
    """3×3 convolution, batch norm, ReLU."""

    def __init__(self, inside: int, outside: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(
            OrderedDict(
                conv=nn.Conv2d(inside, outside, 3, stride, dilation, dilation),
                bn=nn.BatchNorm2d(outside),
                relu=nn.ReLU(inplace=True),
            )
        )


class DecoderBlock(nn.Sequential):
    """3×3 convolutions with batch norm and ReLU, then bilinear upsampling.

    Args:
        inside: channels of the input.
        widths: channels of each convolution, mostly three.
        factor: of the upsampling; 1 for none.
    """

    def __init__(self, inside: int, widths: Sequence[int], factor: int = 1) -> None:
        super().__init__(*(ConvBnRelu(a, b) for a, b in pairwise((inside, *widths))))
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """N×inside×H×W → N×widths[-1]×(H · factor)×(W · factor)."""
        return upsample(super().forward(x), self.factor)


class BridgeBlock(nn.Sequential):
    """Three 3×3 convolutions of dilation 2: local context in a wide field.

    After BASNet (Qin et al., CVPR 2019); GFM section 3.3, MD5 in AIM's Table 2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(*(ConvBnRelu(channels, channels, dilation=2) for _ in range(3)))


class PyramidPooling(nn.Module):
    """Pyramid pooling module (Zhao et al., CVPR 2017): context at bins of 1×1, 3×3 and 5×5.

    ``align_corners`` is that of the pooled maps' way back to H×W: true in GFM, unlike every other
    upsampling of these networks, and false in AIM. The released weights were trained so.
    """

    def __init__(self, channels: int, outside: int, *, align_corners: bool) -> None:
        super().__init__()
        self.bins = bins = (1, 3, 5)
        self.align_corners = align_corners
        self.stages = nn.ModuleList(nn.Conv2d(channels, channels, 1, bias=False) for _ in bins)
        self.bottleneck = nn.Conv2d(channels * (len(bins) + 1), outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×outside×H×W."""
        context = [
            functional.interpolate(
                stage(functional.adaptive_avg_pool2d(x, bin_)),
                x.shape[2:],
                mode="bilinear",
                align_corners=self.align_corners,
            )
            for bin_, stage in zip(self.bins, self.stages, strict=True)
        ]
        return functional.relu(self.bottleneck(torch.cat([*context, x], 1)))


class StandardisedConv2d(nn.Conv2d):
    """Convolution whose kernels are standardised: (w − mean) / (√(variance + 1e-12) + 1e-5).

    Mean and unbiased variance are those of one output channel's kernel (Qiao et al., *Micro-Batch
    Training with Batch-Channel Normalization and Weight Standardization*, 2019).
    """

    def standardised(self) -> Tensor:
        """Return the kernels that the convolution uses, of the weight's shape."""
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), keepdim=True)
        return (self.weight - mean) / (torch.sqrt(variance + 1e-12) + 1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×outside×H/stride×W/stride."""
        return self._conv_forward(x, self.standardised(), self.bias)

    def plain(self) -> nn.Conv2d:
        """Return an ordinary convolution that gives the same, for an exported graph."""
        with torch.device("meta"):
            conv = nn.Conv2d(
                self.in_channels,
                self.out_channels,
                self.kernel_size,  # type: ignore[arg-type]
                self.stride,  # type: ignore[arg-type]
                self.padding,  # type: ignore[arg-type]
                self.dilation,  # type: ignore[arg-type]
                self.groups,
                bias=False,
            )
        conv.weight = nn.Parameter(self.standardised().detach(), requires_grad=False)
        conv.bias = self.bias
        return conv


class AtrousPyramidPooling(nn.Module):
    """Atrous spatial pyramid pooling, ASPP (Chen et al., *DeepLabv3*, 2017, section 3.3).

    A 1×1 convolution, one dilated 3×3 for each rate and the image's mean beside each other, then a
    1×1 over all; each with batch norm and ReLU.

    Args:
        inside, outside: channels; each branch has ``outside`` of them.
        rates: dilations of the 3×3 convolutions.
        convolution: its class; SIM's kernels are standardised.
    """

    def __init__(
        self,
        inside: int,
        outside: int,
        rates: tuple[int, ...],
        *,
        convolution: type[nn.Conv2d] = nn.Conv2d,
    ) -> None:
        super().__init__()

        def branch(channels: int, kernel: int, rate: int = 1) -> nn.Sequential:
            padding = rate * (kernel // 2)
            return nn.Sequential(
                OrderedDict(
                    conv=convolution(
                        channels, outside, kernel, padding=padding, dilation=rate, bias=False
                    ),
                    bn=nn.BatchNorm2d(outside),
                    relu=nn.ReLU(inplace=True),
                )
            )

        self.branches = nn.ModuleList([branch(inside, 1), *(branch(inside, 3, r) for r in rates)])
        self.image = branch(inside, 1)
        self.project = branch((len(rates) + 2) * outside, 1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """N×inside×H×W → N×outside×H×W."""
        context = self.image(functional.adaptive_avg_pool2d(x, 1))  # N×outside×1×1
        everywhere = context.expand(-1, -1, *x.shape[2:])
        branches = [branch(x) for branch in self.branches]
        return self.dropout(self.project(torch.cat([*branches, everywhere], 1)))


class SqueezeExcitation(nn.Module):
    """Channel attention (Hu et al., CVPR 2018): x · sigmoid(W₂ relu(W₁ mean(x))), no biases."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction, bias=False)
        self.excite = nn.Linear(channels // reduction, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×C×H×W."""
        weights = functional.relu(self.squeeze(x.mean((2, 3))))  # N×C/reduction
        return x * torch.sigmoid(self.excite(weights))[:, :, None, None]


def upsample(x: Tensor, factor: int) -> Tensor:
    """Upsample bilinearly, with half-pixel centres (``align_corners=False``)."""
    if factor == 1:
        return x
    return functional.interpolate(
        x, scale_factor=float(factor), mode="bilinear", align_corners=False
    )


def collaborative_fusion(glance: Tensor, focus: Tensor, rosta: str) -> Tensor:
    """Join semantics and details into one matte: collaborative matting (GFM, section 3.5).

    Args:
        glance: N×3×H×W (``tt``, ``unified``: background, transition, foreground) or N×2×H×W
            (``ft``, ``bt``), probabilities. The class is their arg-max; the lowest of equals.
        focus: N×1×H×W in 0..1.
        rosta: ``tt`` or ``unified``: focus in the transition, 1 in the foreground, 0 in the
            background; ``ft``: min(1, class + focus), class 1 being foreground; ``bt``:
            max(0, class - focus), class 1 being everything but background.

    Returns:
        alpha, N×1×H×W in 0..1; gradients reach the focus alone.

    Raises:
        ValueError: an unknown rosta, or a glance of another number of classes.
    """
    if rosta not in ROSTAS:
        raise ValueError(f"rosta {rosta!r}; expected one of {', '.join(ROSTAS)}")
    classes = ROSTAS[rosta].classes
    if glance.shape[1] != classes:
        raise ValueError(
            f"glance has {glance.shape[1]} classes; {rosta} needs {classes}: "
            "pass the glance of the same network"
        )
    # Comparisons rather than argmax: the tie rule is then the same on every device and runtime.
    if classes == 3:
        background, transition, foreground = (glance[:, i : i + 1] for i in range(3))
        is_transition = (transition > background) & (transition >= foreground)
        is_foreground = (foreground > background) & (foreground > transition)
        return torch.where(is_transition, focus, is_foreground.to(focus.dtype))
    mask = (glance[:, 1:2] > glance[:, 0:1]).to(focus.dtype)
    return (mask + focus).clamp(max=1) if rosta == "ft" else (mask - focus).clamp(min=0)
