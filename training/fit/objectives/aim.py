"""AIM."""

from __future__ import annotations

import numpy as np
from torch import nn

from matter_sdk.training.data.layers import Layers
from matter_sdk.training.fit.losses import gfm_loss
from matter_sdk.training.fit.objectives.base import Arrays, Objective, Tensors, colours, matte
from matter_sdk.training.fit.objectives.gfm import semantics


class AIMObjective(Objective):
    """AIM (IJCAI 2021, section 3.3): GFM's losses over the unified representation.

    Args:
        saliency: pretraining on a saliency dataset (DUTS; section 4.2, "Transfer learning"). Its
            masks stand for mattes of salient opaque objects. Nothing tells foreground and
            background colours apart there, so the composition loss is left out. The paper says no
            more than that it pretrains; the rest of this is ours.
    """

    def __init__(self, network: nn.Module, *, saliency: bool = False) -> None:
        super().__init__(network)
        self.saliency = saliency

    @staticmethod
    def targets(
        layers: Layers,
        rosta: str,
        rng: np.random.Generator,
        *,
        kernel: int | None = None,
        saliency: bool = False,
    ) -> Arrays:
        """``kernel``: the transition's ellipse, 25 pixels; ``saliency``: as in the class."""
        del rng
        arrays = matte(layers)
        if not saliency:
            arrays |= colours(layers)
        return arrays | semantics(layers, rosta, kernel)

    def losses(self, outputs: Tensors, batch: Tensors) -> Tensors:
        """See the class."""
        return gfm_loss(outputs, batch, composition=not self.saliency)
