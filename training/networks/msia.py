"""MSIA-matte: semantics and superficial traces, assembled at the resolution of each.

Qiao, Liu, Zhu, Yang, Wang, Zhang and Wei, *Multi-scale Information Assembly for Image Matting*
(Computer Graphics Forum 39(7), 2020), section 3. No code was released, so where the paper is silent
a comment beside the line tells what was chosen and why. The largest choice is that of strides. The
paper's baseline upsamples the ASPP features by 4 to meet the low-level features of ResNeXt block 1,
and its decoder upsamples the assembly by 2 to meet F_ini:

=================  ======  =========  =========================================================
features           stride  channels   which
=================  ======  =========  =========================================================
low-level          4       256        block 1 is ResNeXt's first stage, after its max-pool
F_ini              4       64         of the same size
F_sed              8       256        after one convolution of stride 2
semantics, F_aspp  16      2048, 256  4 times the low-level stride: upsampled by 2, F_aspp meets
                                      F_sed
F_IA               8       512        after two convolutions and upsampling by 2 it meets F_ini
alpha              4       1          then upsampled by 4
=================  ======  =========  =========================================================
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional

from matter_sdk.training.networks import size_multiple
from matter_sdk.training.networks.blocks import (
    IMAGENET,
    AtrousPyramidPooling,
    ConvBnRelu,
    DecoderBlock,
    check_image,
    left_out,
    upsample,
)
from matter_sdk.training.networks.resnet import ResNeXt101Encoder, initialise


class InformationAssembly(nn.Module):
    """Information assembly (section 3.3): F_IA = Cat(W_aspp · F_aspp, W_sed · F_sed), equation 4.

    The two scalars are learnt, and share out the weight (equations 2 and 3):
    W_aspp / (W_aspp + W_sed) + ε and W_sed / (W_aspp + W_sed) + ε.

    Args:
        adaptive: with the scalars; otherwise a plain concatenation.
    """

    # The paper names ε but no value; this one is that of fast normalised fusion in EfficientDet
    # (Tan et al., CVPR 2020), which shares out weights likewise.
    epsilon = 1e-4

    def __init__(self, *, adaptive: bool) -> None:
        super().__init__()
        self.adaptive = adaptive
        if adaptive:
            # What is learnt is ω with W = softplus(ω). The paper has ε to keep the denominator from
            # zero, but prints it outside of the fraction, where it cannot. A softplus can: it is
            # positive and, unlike a ReLU, has a gradient everywhere; and the weight decay of the
            # paper's training then draws both to log 2, hence to balance, rather than to 0 / 0.
            self.omega_aspp = nn.Parameter(torch.zeros(()))
            self.omega_sed = nn.Parameter(torch.zeros(()))

    def weights(self) -> tuple[Tensor, Tensor]:
        """The shares of F_aspp and F_sed, scalars; their sum is 1 + 2 ε."""
        w_aspp = functional.softplus(self.omega_aspp)
        w_sed = functional.softplus(self.omega_sed)
        both = w_aspp + w_sed
        return w_aspp / both + self.epsilon, w_sed / both + self.epsilon

    def forward(self, f_aspp: Tensor, f_sed: Tensor) -> Tensor:
        """N×A×h×w and N×B×h×w → N×(A + B)×h×w."""
        if self.adaptive:
            w_aspp, w_sed = self.weights()
            f_aspp, f_sed = w_aspp * f_aspp, w_sed * f_sed
        return torch.cat([f_aspp, f_sed], 1)


class MSIA(nn.Module):
    """MSIA-matte with ResNeXt-101 32×8d.

    Args:
        without: parts to leave out, as in Table 3 of the paper (section 4.4): ``"ini"`` (the
            low-level features themselves stand for F_ini), ``"sed"`` (F_ini at half its size stands
            for F_sed), ``"adaptive"`` (plain concatenation). Without ``ini`` and ``sed`` there are
            no superficial traces to assemble: the ASPP features, upsampled by 4, meet the low-level
            features directly, which without all three is the paper's baseline.

    Raises:
        ValueError: an unknown part.
    """

    name = "msia"
    backbone = "resnext101"
    rosta = "none"
    fusion = "alpha"
    size_multiple = size_multiple("msia")
    input_spec = IMAGENET

    def __init__(self, without: Collection[str] = ()) -> None:
        super().__init__()
        self.without = left_out(without, ("ini", "sed", "adaptive"))
        self.heads = {"alpha": 1}
        self.encoder = ResNeXt101Encoder()
        low, high = self.encoder.channels
        # The rates of DeepLabv3 (2017) for output stride 16, and its 256 channels.
        self.aspp = AtrousPyramidPooling(high, 256, (6, 12, 18))

        # Superficial traces branch (section 3.2). Each convolution has batch norm and ReLU, as all
        # of the backbone and of ASPP do.
        self.ini: nn.Module | None = None
        if "ini" not in self.without:
            self.ini = nn.Sequential(ConvBnRelu(low, 64), ConvBnRelu(64, 64))
        f_ini = 64 if self.ini is not None else low
        self.sed: nn.Module | None = None
        if "sed" not in self.without:
            # The strided convolution has the kernel and the width of the three that follow: section
            # 4.4 counts it among "four cascaded convolutional layers".
            self.sed = nn.Sequential(
                ConvBnRelu(f_ini, 256, stride=2), *(ConvBnRelu(256, 256) for _ in range(3))
            )
        f_sed = 256 if self.sed is not None else f_ini

        # Information assembly decoder (section 3.3)
        self.assembly = InformationAssembly(adaptive="adaptive" not in self.without)
        self.decoder: nn.Module | None = None
        if self.ini is not None or self.sed is not None:
            # 256 channels, of ASPP and of F_sed: the assembly adds none.
            self.decoder = DecoderBlock(256 + f_sed, (256, 256), 2)
        # 64 channels, those of F_ini, before the last convolution.
        self.refine = ConvBnRelu(256 + f_ini, 64)
        self.predict = nn.Conv2d(64, 1, 3, padding=1)

        # "A random Gaussian distribution" (section 4.1) for all but the backbone; narrow at the
        # end, so that training starts from mattes around ½ rather than from a saturated sigmoid.
        for part in (self.aspp, self.ini, self.sed, self.decoder, self.refine, self.predict):
            if part is not None:
                initialise(part)
        nn.init.normal_(self.predict.weight, std=0.01)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Matte an image.

        Args:
            x: N×3×H×W, RGB, ImageNet-normalised; H and W multiples of 16.

        Returns:
            ``alpha``, N×1×H×W in 0..1.

        Raises:
            ValueError: an image of another shape.
        """
        check_image(x, self.size_multiple)
        low, high = self.encoder(x)  # N×256×H/4×W/4, N×2048×H/16×W/16
        f_aspp = self.aspp(high)  # N×256×H/16×W/16
        f_ini = low if self.ini is None else self.ini(low)  # N×64×H/4×W/4
        if self.decoder is None:
            f_cat = self.assembly(upsample(f_aspp, 4), low)  # N×512×H/4×W/4
        else:
            # Averaging 2×2 pixels is bilinear downsampling by 2.
            f_sed = functional.avg_pool2d(f_ini, 2) if self.sed is None else self.sed(f_ini)
            f_ia = self.assembly(upsample(f_aspp, 2), f_sed)  # N×512×H/8×W/8
            f_cat = torch.cat([self.decoder(f_ia), f_ini], 1)  # equation 5: N×320×H/4×W/4
        alpha = torch.sigmoid(self.predict(self.refine(f_cat)))  # N×1×H/4×W/4
        return {"alpha": upsample(alpha, 4)}
