"""MSIA-matte."""

from __future__ import annotations

import numpy as np

from matter_sdk.training.data.layers import Layers
from matter_sdk.training.fit.losses import l1_loss, ssim_loss
from matter_sdk.training.fit.objectives.base import Arrays, Objective, Tensors, matte


class MSIAObjective(Objective):
    """MSIA-matte (2020, section 3.4): λ₁ L1 + λ₂ SSIM (equation 8).

    λ₁ is 1, λ₂ is 0.1 in the first epoch and 0.025 in the following.
    """

    @staticmethod
    def targets(layers: Layers, rosta: str, rng: np.random.Generator) -> Arrays:
        """Image and alpha."""
        del rosta, rng
        return matte(layers)

    def losses(self, outputs: Tensors, batch: Tensors) -> Tensors:
        """See the class."""
        weight = 0.1 if self.epoch == 0 else 0.025
        return {
            "l1": l1_loss(outputs["alpha"], batch["alpha"]),
            "ssim": weight * ssim_loss(outputs["alpha"], batch["alpha"]),
        }
