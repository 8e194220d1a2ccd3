"""EN-median: the ensemble of GFM's three representations.

Li, Zhang, Maybank and Tao, *Bridging Composite and Real: Towards End-to-End Deep Image Matting*
(IJCV 2022), "RoSTa Integration": three networks, each trained alone with tt, ft or bt, and the
median of their mattes. More accurate than any of them, and three times the work; the integration
module (``rim``) learns to do the same in one network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from matter_sdk.training.networks import JOINED, create, size_multiple
from matter_sdk.training.networks.blocks import check_image


def median(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The middle one of three, elementwise, in minima and maxima: what every runtime has."""
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    return torch.maximum(low, torch.minimum(high, c))


class GFMEnsemble(nn.Module):
    """Three GFM of one backbone, ``tt``, ``ft`` and ``bt``, and the median of their mattes.

    `training.checkpoints.load_ensemble` fills it from three files.

    Args:
        backbone: any of GFM's.
        without: parts that each of the three leaves out.

    Raises:
        UnknownNetwork: another backbone or part.
    """

    name = "gfm"
    rosta = "en-median"
    fusion = "alpha"
    size_multiple = size_multiple("gfm")

    def __init__(self, backbone: str, without: Sequence[str] = ()) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = {"alpha": 1}
        self.tt, self.ft, self.bt = (
            create("gfm", backbone=backbone, rosta=rosta, without=without) for rosta in JOINED
        )
        self.without = self.tt.without
        self.input_spec = self.tt.input_spec

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Matte an image.

        Args:
            x: N×3×H×W on the scale of ``input_spec``; H and W multiples of 32.

        Returns:
            ``alpha``, the median, and ``alpha_tt``, ``alpha_ft`` and ``alpha_bt``, N×1×H×W in 0..1.

        Raises:
            ValueError: an image of another shape.
        """
        check_image(x, self.size_multiple)
        alphas = [network(x)["alpha"] for network in (self.tt, self.ft, self.bt)]
        named = {f"alpha_{rosta}": alpha for rosta, alpha in zip(JOINED, alphas, strict=True)}
        return {"alpha": median(*alphas), **named}
