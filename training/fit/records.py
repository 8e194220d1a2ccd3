"""What a run tells of itself: a bar, ``log.jsonl``, TensorBoard and pictures of sample mattes."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from numpy.typing import NDArray
from PIL.Image import Image as Pillow
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from matter_sdk.sdk.files import replace_text
from matter_sdk.training.data.layers import compose
from matter_sdk.training.evaluation import sheets

# Steps between two looks at the losses: each look waits for a GPU.
_EVERY = 20
_COLOUR = (60, 170, 90)  # behind the sample mattes


class Records(Callback):
    """Progress bar, ``log.jsonl`` and TensorBoard.

    The log has one line a step with the learning rate and each loss, averaged over processes, and
    one for each validation. All lines up to a checkpoint's step are on disk before the checkpoint
    is; those beyond it are dropped on resuming, so that no step stands there twice.
    """

    def __init__(self, folder: Path, samples_a_step: int) -> None:
        self.folder = folder
        self.samples_a_step = samples_a_step
        self._waiting: list[tuple[int, float, dict[str, Tensor]]] = []
        self._sums: dict[str, Tensor] = {}
        self._smooth: dict[str, float] = {}
        self._bar: Any = None
        self._board: SummaryWriter | None = None
        self._since = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:  # noqa: ARG002
        """Open all three at the step from which the run goes on."""
        self._since = time.monotonic()
        if not trainer.is_global_zero:
            return
        step = trainer.global_step
        cut(self.folder / "log.jsonl", step)
        self._board = SummaryWriter(str(self.folder), purge_step=step + 1 if step else None)
        self._bar = tqdm(
            initial=step, total=trainer.max_steps, unit="step", dynamic_ncols=True, smoothing=0.1
        )

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """Keep a step's losses."""
        parts = pl_module.recipe.accumulate
        for key, value in outputs["losses"].items():
            self._sums[key] = self._sums.get(key, torch.zeros_like(value)) + value / parts
        if not pl_module.stepped(batch_idx):
            return
        # The rate of the step that was taken: Lightning has already set the next one's.
        rate = pl_module.recipe.rate * pl_module.share(trainer.global_step - 1)
        self._waiting.append((trainer.global_step, rate, self._sums))
        self._sums = {}
        if self._bar is not None:
            self._bar.update()
        if trainer.global_step % _EVERY == 0:
            self.flush(trainer)

    def flush(self, trainer: Trainer) -> None:
        """Write what waits; every process must call it."""
        if not self._waiting:
            return
        names = list(self._waiting[0][2])
        table = torch.stack(
            [torch.stack([losses[name] for name in names]) for *_, losses in self._waiting]
        )
        values = trainer.strategy.reduce(table.float(), reduce_op="mean").tolist()
        if trainer.is_global_zero:
            for (step, rate, _), row in zip(self._waiting, values, strict=True):
                losses = dict(zip(names, row, strict=True))
                self._write({"step": step, "rate": rate, **losses})
                for name, value in losses.items():
                    self._smooth[name] = 0.98 * self._smooth.get(name, value) + 0.02 * value
                    self._scalar(f"loss/{name}", value, step)
                self._scalar("rate", rate, step)
            now = time.monotonic()
            speed = self.samples_a_step * len(self._waiting) / max(now - self._since, 1e-9)
            self._since = now
            told = {name: f"{value:.3f}" for name, value in self._smooth.items()}
            self._bar.set_postfix(told | {"images/s": f"{speed:.1f}"})
        self._waiting = []

    def validated(
        self, trainer: Trainer, metrics: dict[str, float], rows: Sequence[dict[str, NDArray[Any]]]
    ) -> None:
        """Record a validation: its metrics, and a picture of some of its mattes."""
        if not trainer.is_global_zero:
            return
        step = trainer.global_step
        self._write({"step": step, "validation": metrics})
        for name, value in metrics.items():
            self._scalar(f"validation/{name}", value, step)
        told = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        tqdm.write(f"step {step}: {told}", file=self._bar.fp)
        page = sheet(step, rows)
        (self.folder / "samples").mkdir(exist_ok=True)
        sheets.write(self.folder / "samples" / f"step-{step:06}.png", page)
        if self._board is not None:
            self._board.add_image("samples", np.asarray(page), step, dataformats="HWC")
        self._since = time.monotonic()  # the validation's time is not the training's

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:  # noqa: ARG002
        """Close them."""
        if self._bar is not None:
            self._bar.close()
        if self._board is not None:
            self._board.close()

    def _scalar(self, name: str, value: float, step: int) -> None:
        if self._board is not None:
            self._board.add_scalar(name, value, step)

    def _write(self, line: dict[str, Any]) -> None:
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


def cut(log: Path, step: int) -> None:
    """Drop a log's lines beyond ``step``, and a last one that was cut short."""
    kept = []
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        try:
            if json.loads(line)["step"] > step:
                break
        except json.JSONDecodeError:
            break
        kept.append(line + "\n")
    replace_text(log, "".join(kept))


def sheet(step: int, rows: Sequence[dict[str, NDArray[Any]]]) -> Pillow:
    """Draw sample mattes, a row each: image, plate if there is one, truth, prediction, and the
    prediction over a colour.

    Args:
        step: of the run, for the title.
        rows: ``image`` and perhaps ``plate`` uint8 H×W×3, ``alpha`` and ``prediction`` float H×W
            in 0..1.
    """
    plate = ["plate"] if "plate" in rows[0] else []
    lines = []
    for row in rows:
        colour = np.full_like(row["image"], _COLOUR)
        over = compose(row["image"], colour, row["prediction"].astype(np.float32))
        shown = [row[name] for name in ("image", *plate, "alpha", "prediction")]
        lines.append(sheets.Row("", "", (*shown, over)))
    columns = ("image", *plate, "truth", "prediction", "over a colour")
    return sheets.sheet("Sample mattes", f"step {step}", columns, lines)
