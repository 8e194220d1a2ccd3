"""`python -m training.train` with a network of a few parameters in place of each one.

Run as a script it is that command: Lightning starts a run's other processes by the same words.
"""

import os
import sys
from typing import Any

import torch
from torch import Tensor, nn

from matter_sdk.kernels.spec import InputSpec
from matter_sdk.training import networks, train
from matter_sdk.training.evaluation import pictures
from matter_sdk.training.fit import objectives
from matter_sdk.training.fit.losses import alpha_loss

# Of a few features in training. Processes draw it each for their own batch, so that no split of a
# batch gives what another gives.
DROPOUT = float(os.environ.get("TINY_DROPOUT", "0.2"))
# GFM's loss in the transition too, which divides by an area that is the whole batch's.
TRANSITION = os.environ.get("TINY_TRANSITION") == "1"


class Tiny(nn.Module):
    """Two convolutions around a batch norm."""

    name = "gfm"
    backbone = "efficientnet-lite0"
    rosta = "tt"
    size_multiple = 8
    input_spec = InputSpec()

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Conv2d(4, 1, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.layers(x))


class Objective(nn.Module):
    """L1 and its square: means over samples of one size, as they are with any split of a batch."""

    def __init__(self, network: nn.Module, **_: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        difference = self.predict(batch) - batch["alpha"]
        losses = {"l1": difference.abs().mean(), "l2": difference.square().mean()}
        if TRANSITION:
            losses["transition"] = alpha_loss(self.predict(batch), batch["alpha"], batch["mask"])
        return losses

    def predict(self, batch: dict[str, Tensor]) -> Tensor:
        return self.network(batch["image"].float() / 255)


def use(patch: Any = setattr) -> None:
    """Put them in place; ``patch`` is setattr or a MonkeyPatch's."""
    patch(networks, "create", Tiny)
    patch(objectives, "create", Objective)
    patch(pictures, "SIZE", (32, 48))


if __name__ == "__main__":
    use()
    sys.exit(train.main())
