"""What a run tells of itself: a bar, ``log.jsonl``, TensorBoard and pictures of sample mattes."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from matter_sdk.sdk.files import replace, replace_text
from matter_sdk.training.data.layers import Image, compose
from matter_sdk.training.evaluation.sheets import grey
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

# Steps between two looks at the losses: each look waits for a GPU.
_EVERY = 20


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
        """Open all three where the run is to go on."""
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
        """Keep the losses of a step."""
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
        """Write what waits; every process has to call it."""
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
        picture = sheet(rows)
        (self.folder / "samples").mkdir(exist_ok=True)
        _, packed = cv2.imencode(".png", picture[..., ::-1])
        replace(
            self.folder / "samples" / f"step-{step:06}.png", lambda file: file.write(packed.data)
        )
        if self._board is not None:
            self._board.add_image("samples", picture, step, dataformats="HWC")
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
    for line in log.read_text().splitlines() if log.exists() else ():
        try:
            if json.loads(line)["step"] > step:
                break
        except json.JSONDecodeError:
            break
        kept.append(line + "\n")
    replace_text(log, "".join(kept))


def sheet(rows: Sequence[dict[str, NDArray[Any]]], width: int = 320) -> Image:
    """Pictures of sample mattes, one row each: image, truth, prediction, and the prediction over a
    colour; a plate, where there is one, follows the image.

    Args:
        rows: ``image`` and perhaps ``plate`` uint8 H×W×3, ``alpha`` and ``prediction`` float H×W
            in 0..1.
        width: of each picture, in pixels.
    """
    green = np.array((60, 170, 90), np.uint8)
    lines = []
    for row in rows:
        image = row["image"]
        colour = np.broadcast_to(green, image.shape)
        over = compose(image, np.ascontiguousarray(colour), row["prediction"].astype(np.float32))
        pictures = {"image": image}
        if "plate" in row:
            pictures["plate"] = row["plate"]
        pictures |= {
            "truth": grey(row["alpha"]),
            "prediction": grey(row["prediction"]),
            "over a colour": over,
        }
        lines.append(np.hstack([_cell(p, width, label) for label, p in pictures.items()]))
    return np.vstack(lines)


def _cell(picture: Image, width: int, label: str) -> Image:
    height = round(picture.shape[0] * width / picture.shape[1])
    cell = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    strip = np.full((20, width, 3), 32, np.uint8)
    place, font, white = (6, 15), cv2.FONT_HERSHEY_SIMPLEX, (235, 235, 235)
    cv2.putText(strip, label, place, font, 0.45, white, 1, cv2.LINE_AA)
    return np.vstack([strip, cell])
