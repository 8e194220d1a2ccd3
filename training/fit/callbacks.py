"""What happens between the steps of a run: validating, stopping, keeping the state."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import Callback, Trainer
from numpy.typing import NDArray
from torch import Tensor

from matter_sdk.sdk.files import replace
from matter_sdk.training.checkpoints import save
from matter_sdk.training.evaluation.metrics import evaluate
from matter_sdk.training.fit import batch_norm
from matter_sdk.training.fit.batches import Key, Samples, loader
from matter_sdk.training.fit.records import Records
from matter_sdk.training.fit.task import Task

# Rows of the picture of sample mattes.
_ROWS = 4
_METRICS = ("sad", "mse", "mad", "grad", "conn")


class AfterStep(Callback):
    """What happens after a step, not after each of the batches that it is accumulated from."""

    def after_step(self, trainer: Trainer, task: Task) -> None:
        """Do it."""
        raise NotImplementedError

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """Call ``after_step`` where the batch ends a step."""
        if pl_module.stepped(batch_idx):
            self.after_step(trainer, pl_module)


class Validation(AfterStep):
    """Every so many steps, and after the last: validate what would be stored, and store it as
    ``network.safetensors`` if its SAD is the least so far.

    That is the weight average with its own batch norm statistics and, if the recipe says so, with
    kernels rounded to half precision; without averaging, the network as it is.

    Args:
        samples: what to validate on.
        keys: of these samples.
        every: steps between two validations; 0: only after the last step.
        patience: validations without a better SAD after which the run stops; 0: it does not.
        folder: of the run.
        metadata: strings to store with the network.
    """

    def __init__(
        self,
        samples: Samples,
        keys: list[Key],
        *,
        every: int,
        patience: int,
        folder: Path,
        records: Records,
        metadata: dict[str, str],
    ) -> None:
        self.samples = samples
        self.keys = keys
        self.every = every
        self.patience = patience
        self.folder = folder
        self.records = records
        self.metadata = metadata
        self.best: dict[str, float] = {}
        self.best_step = 0
        self.waited = 0

    def state_dict(self) -> dict[str, Any]:
        """Return what the checkpoint holds."""
        return {"best": self.best, "best_step": self.best_step, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what the checkpoint holds."""
        self.best = state_dict["best"]
        self.best_step = state_dict["best_step"]
        self.waited = state_dict["waited"]

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:  # noqa: ARG002
        """Keep a run stopped that has stopped early."""
        trainer.should_stop = trainer.should_stop or self._waited_enough()

    def after_step(self, trainer: Trainer, task: Task) -> None:
        """Validate if it is time."""
        step = trainer.global_step
        if step == trainer.max_steps or (self.every and step % self.every == 0):
            self.validate(trainer, task)
            trainer.should_stop = trainer.should_stop or self._waited_enough()

    def validate(self, trainer: Trainer, task: Task) -> None:
        """Validate, record, and store the network if it is the best."""
        self.records.flush(trainer)
        network = task.network
        in_training = {key: tensor.clone() for key, tensor in network.state_dict().items()}
        try:
            self._prepare(task)
            metrics, rows = self._metrics(trainer, task)
            self.waited += 1
            if not self.best or metrics["sad"] < self.best["sad"]:
                self.best, self.best_step, self.waited = metrics, trainer.global_step, 0
                if trainer.is_global_zero:
                    metadata = self.metadata | {
                        "steps": str(trainer.global_step),
                        "hours": f"{task.seconds() / 3600:.2f}",
                        "validation": json.dumps(metrics),
                    }
                    path = self.folder / "network.safetensors"
                    save(network, path, metadata, half=task.recipe.half)
        finally:
            network.load_state_dict(in_training)
            network.train()
        self.records.validated(trainer, metrics, rows)

    def _waited_enough(self) -> bool:
        return self.patience > 0 and self.waited >= self.patience

    def _prepare(self, task: Task) -> None:
        """Make the network what would be stored."""
        network, recipe = task.network, task.recipe
        if task.averaged is not None:
            network.load_state_dict(task.averaged.module.state_dict())
        if recipe.half:
            with torch.no_grad():
                for parameter in network.parameters():
                    if parameter.ndim >= 2:
                        parameter.copy_(parameter.half())
        if task.averaged is not None and recipe.calibration:
            # Always the same samples, and none of those that were trained on.
            keys = task.keys(task.steps, task.steps + recipe.calibration)
            batches = loader(task.samples, keys, task.workers)
            batch_norm.measure(
                network, task.objective.predict, (_to(batch, task) for batch in batches)
            )

    def _metrics(
        self, trainer: Trainer, task: Task
    ) -> tuple[dict[str, float], list[dict[str, NDArray[Any]]]]:
        """Mean metrics over all samples, each process taking its share, and the first rows."""
        mine = [[key] for key in self.keys[trainer.global_rank :: trainer.world_size]]
        totals = dict.fromkeys(_METRICS, 0.0)
        rows: list[dict[str, NDArray[Any]]] = []
        task.network.eval()
        for batch in loader(self.samples, mine, task.workers):
            with torch.no_grad():
                prediction = task.objective.predict(_to(batch, task))[0, 0].cpu().numpy()
            alpha = batch["alpha"][0, 0].numpy()
            for name, value in evaluate(prediction.astype(float), alpha.astype(float)).items():
                totals[name] += value
            if len(rows) < _ROWS:
                shown = {name: batch[name] for name in ("image", "plate") if name in batch}
                pictures = {name: t[0].permute(1, 2, 0).numpy() for name, t in shown.items()}
                rows.append(pictures | {"alpha": alpha, "prediction": prediction})
        sums = torch.tensor(list(totals.values()), dtype=torch.float64, device=task.device)
        means = trainer.strategy.reduce(sums, reduce_op="sum") / len(self.keys)
        return dict(zip(_METRICS, means.tolist(), strict=True)), rows


class Interruption(AfterStep):
    """Ctrl-C and SIGTERM end the run after the step that is under way; a second Ctrl-C at once."""

    def __init__(self) -> None:
        self.asked = False

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:  # noqa: ARG002
        """Install the handlers, instead of Lightning's for SIGTERM, which gives up the step."""
        signal.signal(signal.SIGINT, self._ask)
        signal.signal(signal.SIGTERM, self._ask)

    def after_step(self, trainer: Trainer, task: Task) -> None:  # noqa: ARG002
        """Stop if any process was interrupted."""
        self.asked = trainer.strategy.reduce_boolean_decision(self.asked, all=False)
        trainer.should_stop = trainer.should_stop or self.asked

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:  # noqa: ARG002
        """Restore the default handlers."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("\nstopping after this step; Ctrl-C again to stop at once", file=sys.stderr)


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints through :func:`replace`.

    Its own way moves them from the system's temporary folder, which across file systems is a copy
    that can be cut short.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any = None,  # noqa: ARG002
    ) -> None:
        """Write ``checkpoint``; an interrupted write leaves the previous file."""
        replace(Path(path), lambda file: torch.save(checkpoint, file))


class Keep(AfterStep):
    """Every so many steps, and where the run ends, all that resuming needs: ``last.ckpt``.

    It has to be the last of the callbacks, so that the others have done their work of the step.
    """

    def __init__(self, path: Path, every: int, records: Records) -> None:
        self.path = path
        self.every = every
        self.records = records

    def after_step(self, trainer: Trainer, task: Task) -> None:  # noqa: ARG002
        """Save if it is time."""
        step = trainer.global_step
        if trainer.should_stop or step == trainer.max_steps or step % self.every == 0:
            self.records.flush(trainer)
            trainer.save_checkpoint(self.path)


def _to(batch: dict[str, Tensor], task: Task) -> dict[str, Tensor]:
    return {key: tensor.to(task.device, non_blocking=True) for key, tensor in batch.items()}
