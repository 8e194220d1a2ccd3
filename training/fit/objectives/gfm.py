"""GFM, with and without a plate."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from matter_sdk.training import networks
from matter_sdk.training.data.layers import Layers
from matter_sdk.training.data.representations import focus_target, glance_target
from matter_sdk.training.fit.losses import collaborative_loss, gfm_loss
from matter_sdk.training.fit.objectives.base import (
    Arrays,
    Objective,
    ObjectiveError,
    Tensors,
    colours,
    floats,
    full_precision,
    matte,
    normalise,
    planes,
)


class GFMObjective(Objective):
    """GFM (IJCV 2022): the losses of glance, focus and collaborative matting (equation 8).

    With RIM "three groups of losses corresponding to the outputs of three RoSTa-specific layers
    and a CM loss on the final alpha matte" (section "RoSTa Integration"): ``glance_tt`` …
    ``collaborative_bt``, and ``collaborative``.

    Args:
        network: a GFM.
        consistency: weight of the difference between the mattes of two views of a picture, so that
            a video does not flicker. A third of each batch are then second views of another third:
            shifted by up to 4 pixels, exposed otherwise, with noise. 0: none.
    """

    def __init__(self, network: nn.Module, *, consistency: float = 0.0) -> None:
        super().__init__(network)
        self.consistency = consistency

    def forward(self, batch: Tensors) -> Tensors:
        """See :class:`Objective`."""
        if not self.consistency:
            return super().forward(batch)
        batch, shift = second_views(batch)
        outputs = self.network(*self.inputs(batch))
        with full_precision(batch):
            outputs = floats(outputs)
            difference = views_difference(outputs["alpha"], shift)
            losses = self.losses(outputs, floats(batch))
        return losses | {"consistency": self.consistency * difference}

    @staticmethod
    def targets(
        layers: Layers, rosta: str, rng: np.random.Generator, *, kernel: int | None = None
    ) -> Arrays:
        """``kernel``: the transition's ellipse in pixels; 25 for tt, 50 for ft and bt."""
        del rng  # nothing is random here
        arrays = matte(layers) | colours(layers)
        if layers.known is not None:
            arrays["known"] = layers.known[None]
        if rosta != "rim":
            return arrays | semantics(layers, rosta, kernel)
        for part in networks.JOINED:
            own = semantics(layers, part, kernel)
            arrays |= {f"{name}_{part}": array for name, array in own.items()}
        return arrays

    def losses(self, outputs: Tensors, batch: Tensors) -> Tensors:
        """See the class."""
        if self.network.rosta != "rim":
            return gfm_loss(outputs, batch)
        losses: Tensors = {}
        for part in networks.JOINED:
            own = {head: outputs[f"{head}_{part}"] for head in ("glance", "focus", "alpha")}
            wanted = {name: batch[f"{name}_{part}"] for name in ("classes", "mask", "focus")}
            group = gfm_loss(own, batch | wanted)
            losses |= {f"{name}_{part}": value for name, value in group.items()}
        return losses | {"collaborative": collaborative_loss(outputs["alpha"], batch)}


class GFMPlateObjective(GFMObjective):
    """GFM with a plate, a photograph of the same place without the subject: GFM's losses."""

    @staticmethod
    def targets(
        layers: Layers, rosta: str, rng: np.random.Generator, *, kernel: int | None = None
    ) -> Arrays:
        """As GFM's, and ``plate``."""
        if layers.plate is None:
            raise ObjectiveError(
                "these layers have no plate; gfm-plate needs one: draw procedural scenes "
                "with_plate=True"
            )
        arrays = GFMObjective.targets(layers, rosta, rng, kernel=kernel)
        return arrays | {"plate": planes(layers.plate)}

    def inputs(self, batch: Tensors) -> tuple[Tensor, ...]:
        """Image and plate."""
        return tuple(normalise(batch[name], self.network) for name in ("image", "plate"))


_FARTHEST = 4  # pixels that a second view is shifted by


def second_views(batch: Tensors) -> tuple[Tensors, tuple[int, int]]:
    """Replace a batch's last third by its first third again; return how far that was shifted.

    All of it is shifted by the same rows and columns, wrapping around; the network's input alone
    differs in exposure and noise. A plate, taken at another time, stays where it was.
    """
    image = batch["image"]
    third = max(1, len(image) // 3)
    down, right = (int(v) for v in torch.randint(-_FARTHEST, _FARTHEST + 1, (2,)))
    seen = {}
    for name, tensor in batch.items():
        again = tensor[:third]
        if name != "plate":
            again = again.roll((down, right), (-2, -1))
        seen[name] = torch.cat([tensor[: len(image) - third], again])
    colours = seen["image"][-third:].float()
    gain = 1 + 0.08 * torch.randn(third, 1, 1, 1, device=image.device)
    noise = 4 * torch.rand(third, 1, 1, 1, device=image.device) * torch.randn_like(colours)
    second = (colours * gain + noise).round().clamp(0, 255).to(image.dtype)
    seen["image"] = torch.cat([seen["image"][:-third], second])
    return seen, (down, right)


def views_difference(alpha: Tensor, shift: tuple[int, int]) -> Tensor:
    """Return the mean difference between the mattes of a batch's first and last third.

    Args:
        alpha: N×1×H×W, of a batch as :func:`second_views` gives it.
        shift: what it gives beside.
    """
    third, edge = max(1, len(alpha) // 3), 2 * _FARTHEST
    inside = (..., slice(edge, -edge), slice(edge, -edge))  # what came in by wrapping lies outside
    moved = alpha[:third].roll(shift, (-2, -1))
    return (alpha[-third:][inside] - moved[inside]).abs().mean()


def semantics(layers: Layers, rosta: str, kernel: int | None) -> Arrays:
    """Return the targets of glance and focus.

    ``classes`` is H×W, −1 where the labels say nothing; ``mask`` and ``focus`` are 1×H×W.
    """
    classes, mask = glance_target(layers.alpha, rosta, kernel, layers.kind)
    if layers.known is not None:
        classes = np.where(layers.known == 0, -1, classes)
    focus = focus_target(layers.alpha, rosta)
    return {"classes": classes, "mask": mask[None], "focus": focus[None]}
