"""The two classifiers beside SIM: of patches for its semantic trimap, of mattes for its training.

Sun, Tang and Tai, *Semantic Image Matting* (CVPR 2021): "Semantic Trimap" and "Multi-Class
Discriminator". Both tell the 20 matting classes apart, `kernels.trimap.CLASSES`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from matter_sdk.kernels.trimap import CLASSES
from matter_sdk.training.networks import size_multiple
from matter_sdk.training.networks.blocks import IMAGENET, check_inputs
from matter_sdk.training.networks.resnet import Bottleneck, ResNetEncoder

_BLOCKS = (3, 4, 6, 3)


class PatchClassifier(nn.Module):
    """ResNet-50 over a patch and its trimap: which matting classes there are, and where."""

    name = "sim_classifier"
    backbone = "resnet50"
    rosta = "none"
    fusion = "cam"
    size_multiple = size_multiple("sim_classifier")
    input_spec = IMAGENET

    def __init__(self) -> None:
        super().__init__()
        self.inputs = {"image": 3, "trimap": 1}
        self.heads = {"cam": len(CLASSES)}
        self.head_strides = {"cam": 32}
        self.encoder = ResNetEncoder(Bottleneck, _BLOCKS, 3 + 1)
        self.fc = nn.Linear(self.encoder.channels[-1], len(CLASSES))

    def forward(self, image: Tensor, trimap: Tensor) -> dict[str, Tensor]:
        """Classify a patch.

        Args:
            image: N×3×H×W, RGB, ImageNet-normalised; H and W any.
            trimap: N×1×H×W, 0 background, ½ unknown, 1 foreground (a trimap / 255).

        Returns:
            ``logits`` N×20, and ``cam`` N×20×⌈H/32⌉×⌈W/32⌉, the class activation maps (Zhou et al.,
            *Learning Deep Features for Discriminative Localization*, CVPR 2016): the same linear
            layer for each pixel, without its bias.

        Raises:
            ValueError: an input of another shape.
        """
        check_inputs(self.inputs, (image, trimap))
        features = self.encoder(torch.cat([image, trimap], 1))[-1]  # N×2048×⌈H/32⌉×⌈W/32⌉
        cam = functional.conv2d(features, self.fc.weight[:, :, None, None])
        return {"logits": self.fc(features.mean((2, 3))), "cam": cam}


class AlphaDiscriminator(nn.Module):
    """The same over a matte alone: trained on true mattes, it judges those of SIM."""

    name = "sim_discriminator"
    backbone = "resnet50"
    rosta = "none"
    size_multiple = size_multiple("sim_discriminator")

    def __init__(self) -> None:
        super().__init__()
        self.inputs = {"alpha": 1}
        self.encoder = ResNetEncoder(Bottleneck, _BLOCKS, 1)
        self.fc = nn.Linear(self.encoder.channels[-1], len(CLASSES))

    def forward(self, alpha: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Classify a matte.

        Args:
            alpha: N×1×H×W in 0..1; H and W any.

        Returns:
            logits N×20, for the classification loss L_c; and what the feature reconstruction loss
            L_f compares: the outputs of layers 1 to 4, N×256×⌈H/4⌉×⌈W/4⌉ to
            N×2048×⌈H/32⌉×⌈W/32⌉, and the last one's mean, N×2048.

        Raises:
            ValueError: an alpha of another shape.
        """
        check_inputs(self.inputs, (alpha,))
        _, *features = self.encoder(alpha)
        pooled = features[-1].mean((2, 3))
        return self.fc(pooled), [*features, pooled]
