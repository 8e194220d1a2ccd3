"""Objectives: what the losses of a network want of a sample, and the losses themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from training.layers import Layers, compose
from training.losses import gfm_loss
from training.representations import focus_target, glance_target


def targets(
    layers: Layers,
    network: str,
    rosta: str,
    rng: np.random.Generator,  # noqa: ARG001
    transition: int | None = None,
) -> dict[str, NDArray[Any]]:
    """What training sees of a sample: arrays C×H×W."""
    if network not in ("gfm", "gfm-plate"):
        raise ValueError(f"network is {network!r}; expected gfm or gfm-plate")

    def planes(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(image.transpose(2, 0, 1))

    classes, mask = glance_target(layers.alpha, rosta, transition)
    arrays: dict[str, NDArray[Any]] = {
        "image": planes(layers.image),
        "composed": planes(compose(layers.foreground, layers.background, layers.alpha)),
        "foreground": planes(layers.foreground),
        "background": planes(layers.background),
        "alpha": layers.alpha[None],
        "classes": classes,
        "mask": mask[None],
        "focus": focus_target(layers.alpha, rosta)[None],
    }
    if network == "gfm-plate" and layers.plate is not None:
        arrays["plate"] = planes(layers.plate)
    return arrays


class Objective(nn.Module):
    """The losses of a network, which it holds as ``network``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The named losses, whose sum is minimised."""
        outputs = {name: head.float() for name, head in self._run(batch).items()}
        colours = {
            key: batch[key].float() / 255 for key in ("composed", "foreground", "background")
        }
        return gfm_loss(outputs, batch | colours)

    def predict(self, batch: dict[str, Tensor]) -> Tensor:
        """Alpha N×1×H×W in 0..1, for validation and sample mattes."""
        return self._run(batch)["alpha"].float().clamp(0, 1)

    def _run(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        spec: Any = self.network.input_spec
        mean, std = (batch["alpha"].new_tensor(v).view(1, 3, 1, 1) for v in (spec.mean, spec.std))
        names = [name for name in ("image", "plate") if name in batch]
        return self.network(*((batch[name].float() - mean) / std for name in names))


def create(network: nn.Module) -> Objective:
    """The objective of a network.

    Raises:
        ValueError: a network that has none.
    """
    if getattr(network, "name", "") not in ("gfm", "gfm-plate"):
        raise ValueError(f"network is {getattr(network, 'name', '')!r}; expected gfm or gfm-plate")
    return Objective(network)
