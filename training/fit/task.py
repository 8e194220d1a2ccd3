"""One network's training as Lightning's trainer runs it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from matter_sdk.training.fit.batches import Batches, Samples, loader
from matter_sdk.training.recipes import Recipe


class Task(LightningModule):
    """Network, losses, optimiser, learning rate, weight average and the samples of each step.

    Args:
        recipe: how to train.
        objective: what to minimise; it holds the network (``training.fit.objectives``).
        samples: what to train on.
        sizes: heights and widths that steps are drawn from.
        steps: of the whole run.
        seed: of all that is random in the network.
        workers: processes that prepare samples.
        settings: plain values that the checkpoint tells the run by.
    """

    def __init__(
        self,
        recipe: Recipe,
        objective: Any,
        samples: Samples,
        *,
        sizes: tuple[tuple[int, int], ...],
        steps: int,
        seed: int,
        workers: int,
        settings: dict[str, Any],
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.objective: Any = objective
        self.samples = samples
        self.sizes = sizes
        self.steps = steps
        self.seed = seed
        self.workers = workers
        self.settings = settings
        self.share = schedule(recipe, steps)
        self._earlier = 0.0  # seconds of the run until it was resumed
        self._started = time.monotonic()
        self.averaged: AveragedModel | None = None
        if recipe.average:
            average = get_ema_multi_avg_fn(recipe.average)
            self.averaged = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
            self.averaged.requires_grad_(False)

    @property
    def network(self) -> nn.Module:
        """The network in training; :attr:`averaged` holds the average of its weights."""
        return self.objective.network

    def keys(self, first: int, steps: int) -> Batches:
        """Return the keys of this process's batches from step ``first`` up to ``steps``."""
        return Batches(
            self.sizes,
            self.recipe.batch,
            self.recipe.accumulate,
            first,
            steps,
            self.trainer.global_rank,
            self.trainer.world_size,
        )

    def train_dataloader(self) -> Any:
        """Load the samples of the steps that are left; Lightning has read the checkpoint by now."""
        return loader(self.samples, self.keys(self.trainer.global_step, self.steps), self.workers)

    def configure_optimizers(self) -> Any:
        """Build the recipe's optimiser and learning rate schedule."""
        recipe = self.recipe
        parameters = self._groups()
        decay: dict[str, Any] = {"lr": recipe.rate, "weight_decay": recipe.weight_decay}
        optimiser: torch.optim.Optimizer
        if recipe.optimiser == "sgd":
            optimiser = torch.optim.SGD(parameters, momentum=recipe.momentum, **decay)
        else:
            kind = torch.optim.AdamW if recipe.optimiser == "adamw" else torch.optim.Adam
            optimiser = kind(parameters, **decay)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, self.share)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _groups(self) -> list[dict[str, Any]]:
        """All that is trained, the encoder by itself where it has a rate of its own."""
        trained = [p for p in self.objective.parameters() if p.requires_grad]
        if not self.recipe.encoder_rate:
            return [{"params": trained}]
        encoder: Any = self.network.encoder
        own = [p for p in encoder.parameters() if p.requires_grad]
        names = {id(p) for p in own}
        rest = [p for p in trained if id(p) not in names]
        return [{"params": rest}, {"params": own, "lr": self.recipe.encoder_rate}]

    def stepped(self, batch_idx: int) -> bool:
        """Tell whether the batch of this number was the last of its step."""
        return (batch_idx + 1) % self.recipe.accumulate == 0

    def seconds(self) -> float:
        """Return how long the run has taken, before it was resumed included."""
        return self._earlier + time.monotonic() - self._started

    def on_train_start(self) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Seed the network's randomness by the batch's number, as the samples are."""
        place = batch_idx * self.trainer.world_size + self.trainer.global_rank
        torch.manual_seed((self.seed << 32) + place)
        # The losses of some networks change from epoch to epoch (MSIA, equation 8).
        drawn = self.trainer.global_step * self.settings["samples a step"]
        self.objective.epoch = drawn // len(self.samples.source)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Any]:  # noqa: ARG002
        """Return the sum of the losses, and each of them for the log."""
        losses: dict[str, Tensor] = self.objective(batch)
        total = torch.stack(list(losses.values())).sum()
        return {"loss": total, "losses": {key: value.detach() for key, value in losses.items()}}

    def optimizer_step(self, *arguments: Any, **settings: Any) -> None:
        """Step the optimiser, then the weight average."""
        super().optimizer_step(*arguments, **settings)
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the run's settings and seconds to what Lightning keeps."""
        checkpoint["run"] = {"settings": self.settings, "seconds": self.seconds()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the seconds of the run so far."""
        self._earlier = checkpoint["run"]["seconds"]


def schedule(recipe: Recipe, steps: int) -> Callable[[int], float]:
    """Return a function: step, counted from 0 → learning rate as a share of the recipe's."""

    def share(step: int) -> float:
        warm = min(1.0, (step + 1) / recipe.warm_up) if recipe.warm_up else 1.0
        done = min(step / steps, 1.0)
        if recipe.schedule == "poly":
            return warm * (1 - done) ** recipe.power
        if recipe.schedule == "cosine":
            return warm * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)
        return warm

    return share
