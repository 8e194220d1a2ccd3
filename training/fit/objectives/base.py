"""What every objective shares: a network and its losses, and targets of all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from matter_sdk.training.data.layers import Layers, compose

Arrays = dict[str, NDArray[Any]]
Tensors = dict[str, Tensor]


class ObjectiveError(ValueError):
    """A network that cannot be trained so, or data that lack what it learns from."""


def normalise(image: Tensor, network: nn.Module) -> Tensor:
    """Convert uint8 RGB N×3×H×W to the network's input scale, float32."""
    spec: Any = network.input_spec
    mean, std = (
        torch.tensor(v, device=image.device).view(1, 3, 1, 1) for v in (spec.mean, spec.std)
    )
    return (image.float() - mean) / std


class Objective(nn.Module):
    """A network and its losses.

    Attributes:
        network: what is trained.
        epoch: counted from 0; the trainer sets it.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.epoch = 0

    def forward(self, batch: Tensors) -> Tensors:
        """Compute a batch's losses, scalars by name, weighted: their sum is minimised.

        Args:
            batch: what :func:`targets` gives, stacked: uint8 or float32 N×C×H×W and int64. H and W
                are multiples of the network's ``size_multiple``.
        """
        outputs = self.network(*self.inputs(batch))
        with full_precision(batch):
            return self.losses(floats(outputs), floats(batch))

    @torch.no_grad()
    def predict(self, batch: Tensors) -> Tensor:
        """Matte a batch, float32 N×1×H×W in 0..1; in eval mode as an engine does."""
        return self.network(*self.inputs(batch))["alpha"].float().clamp(0, 1)

    def inputs(self, batch: Tensors) -> tuple[Tensor, ...]:
        """Return the network's inputs."""
        return (normalise(batch["image"], self.network),)

    def losses(self, outputs: Tensors, batch: Tensors) -> Tensors:
        """Compute the losses of the network's outputs; colours of the batch are in 0..1."""
        raise NotImplementedError


def full_precision(batch: Tensors) -> torch.autocast:
    """Compute losses in float32 whatever the network is."""
    return torch.autocast(batch["image"].device.type, enabled=False)


def floats(tensors: Tensors) -> Tensors:
    """Convert colours to 0..1 and half-precision outputs to float32; classes stay."""
    return {
        name: tensor.float() / 255
        if tensor.dtype == torch.uint8
        else (tensor.float() if tensor.is_floating_point() else tensor)
        for name, tensor in tensors.items()
    }


def planes(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """H×W×3 → 3×H×W, contiguous."""
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def matte(layers: Layers) -> Arrays:
    """The targets of every network: ``image`` uint8 3×H×W and ``alpha`` float32 1×H×W."""
    return {"image": planes(layers.image), "alpha": layers.alpha[None]}


def colours(layers: Layers) -> Arrays:
    """``composed`` is the image before camera and compression: equation 7's own composition."""
    composed = compose(layers.foreground, layers.background, layers.alpha)
    return {
        "composed": planes(composed),
        "foreground": planes(layers.foreground),
        "background": planes(layers.background),
    }
