"""Pieces that the matting networks share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

ROSTAS = ("tt", "ft", "bt")

# Glance classes of each representation of semantics and transition areas (RoSTa).
GLANCE_CHANNELS = {"tt": 3, "ft": 2, "bt": 2}


class ConvBnRelu(nn.Sequential):
    """Convolution (3×3 unless told otherwise, same size), batch norm, ReLU."""

    def __init__(self, inside: int, outside: int, *, dilation: int = 1) -> None:
        super().__init__(
            OrderedDict(
                conv=nn.Conv2d(inside, outside, 3, padding=dilation, dilation=dilation),
                bn=nn.BatchNorm2d(outside),
                relu=nn.ReLU(inplace=True),
            )
        )


class PyramidPooling(nn.Module):
    """Pyramid pooling module (Zhao et al., CVPR 2017): context at bins of 1×1, 3×3 and 5×5.

    The pooled maps are brought back to H×W with ``align_corners=True``, unlike every other
    upsampling of these networks: the released weights were trained so.
    """

    def __init__(self, channels: int, outside: int, bins: tuple[int, ...] = (1, 3, 5)) -> None:
        super().__init__()
        self.bins = bins
        self.stages = nn.ModuleList(nn.Conv2d(channels, channels, 1, bias=False) for _ in bins)
        self.bottleneck = nn.Conv2d(channels * (len(bins) + 1), outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×outside×H×W."""
        context = [
            functional.interpolate(
                stage(functional.adaptive_avg_pool2d(x, bin_)),
                x.shape[2:],
                mode="bilinear",
                align_corners=True,
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
        """The kernels that the convolution uses, of the weight's shape."""
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), keepdim=True)
        return (self.weight - mean) / (torch.sqrt(variance + 1e-12) + 1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×outside×H/stride×W/stride."""
        return self._conv_forward(x, self.standardised(), self.bias)

    def plain(self) -> nn.Conv2d:
        """An ordinary convolution that gives the same: what an exported graph holds."""
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
    """Bilinear, half-pixel centres (``align_corners=False``)."""
    if factor == 1:
        return x
    return functional.interpolate(
        x, scale_factor=float(factor), mode="bilinear", align_corners=False
    )


def check_inputs(inputs: Mapping[str, int], given: Sequence[Tensor], multiple: int = 1) -> None:
    """Refuse inputs that a network cannot take.

    Args:
        inputs: name -> channels, in the order of `given`.
        multiple: what height and width are a multiple of.

    Raises:
        ValueError: an input that is not N×channels×H×W, has another N, H or W than the first, or
            is empty.
    """
    first, *_ = zip(inputs, given, strict=True)
    for (name, channels), x in zip(inputs.items(), given, strict=True):
        fits = x.ndim == 4 and x.shape[1] == channels and x.numel() > 0
        if not fits or x.shape[2] % multiple or x.shape[3] % multiple:
            sides = "any" if multiple == 1 else f"multiples of {multiple}"
            raise ValueError(
                f"{name} of shape {tuple(x.shape)}; expected N×{channels}×H×W with H and W {sides}"
                ": resize or pad it first"
            )
        if x.shape[::2] != first[1].shape[::2] or x.shape[3] != first[1].shape[3]:
            raise ValueError(
                f"{name} of shape {tuple(x.shape)} beside {first[0]} of shape "
                f"{tuple(first[1].shape)}; expected the same N, H and W: resize it to the "
                f"{first[0]}"
            )


def collaborative_fusion(glance: Tensor, focus: Tensor, rosta: str) -> Tensor:
    """Collaborative matting (GFM, section 3.5): join semantics and details into one matte.

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
    classes = {**GLANCE_CHANNELS, "unified": 3}.get(rosta)
    if classes is None:
        raise ValueError(f"rosta {rosta!r}; expected one of tt, ft, bt, unified")
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
