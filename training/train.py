"""Train a light GFM on procedural scenes.

    python -m training.train --steps 2000 --output runs/demo
    python -m training.train --steps 4000 --output runs/demo --resume

Every step's scenes follow from its number alone, so a run that was interrupted goes on as if it
had not been. ``last.pt`` holds all that resuming needs and ``network.safetensors`` the averaged
weights; both are replaced whole, never half-written.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

# Heights and widths that steps are drawn from, of about the same number of pixels each.
SIZES = ((256, 256), (224, 320), (320, 224), (192, 352), (288, 256))
VALIDATION_SIZE = (288, 512)
# Scenes of validation have seeds that no training step reaches.
VALIDATION_SEED = 1 << 40


@dataclass(frozen=True)
class Options:
    """What a run is made of."""

    output: Path
    rosta: str = "tt"
    steps: int = 2000
    batch: int = 12
    rate: float = 2e-3
    scale: float = 1.0  # of the sizes that scenes are drawn at; small ones first converge sooner
    transition: int = 21  # diameter of the transition's ellipse; 25 in the paper, at 320 pixels
    average: float = 0.998  # weight averaging: share of the average that a step keeps
    bf16: bool = False
    resume: bool = False
    save_every: int = 200
    validation: int = 40  # scenes
    calibration: int = 50  # batches
    workers: int = 1
    threads: int = 0


class Scenes:
    """Map-style dataset: (seed, height, width) → one training sample."""

    def __init__(self, rosta: str, transition: int) -> None:
        self.rosta, self.transition = rosta, transition

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, Any]:
        import torch

        from training.layers import compose
        from training.representations import focus_target, glance_target
        from training.scenes import layers

        seed, height, width = key
        drawn = layers(seed, (height, width))
        classes, mask = glance_target(drawn.alpha, self.rosta, self.transition)

        def planes(image: Any) -> Tensor:
            return torch.from_numpy(image.transpose(2, 0, 1).copy())

        return {
            "image": planes(drawn.image),
            "composed": planes(compose(drawn.foreground, drawn.background, drawn.alpha)),
            "foreground": planes(drawn.foreground),
            "background": planes(drawn.background),
            "classes": torch.from_numpy(classes),
            "mask": torch.from_numpy(mask)[None],
            "alpha": torch.from_numpy(drawn.alpha)[None],
            "focus": torch.from_numpy(focus_target(drawn.alpha, self.rosta))[None],
        }


def batches(
    first: int, steps: int, batch: int, scale: float = 1.0
) -> Iterator[list[tuple[int, int, int]]]:
    """Keys of :class:`Scenes` for each step from ``first`` on; one size a step."""
    import numpy as np

    for step in range(first, steps):
        drawn = SIZES[np.random.default_rng(step).integers(len(SIZES))]
        height, width = (max(32, round(side * scale / 32) * 32) for side in drawn)
        yield [(step * batch + k, height, width) for k in range(batch)]


def _rate(options: Options, step: int) -> float:
    """Linear warm-up, then a cosine to a hundredth."""
    warm = min(1.0, (step + 1) / 200)
    return options.rate * warm * (0.01 + 0.99 * (1 + math.cos(math.pi * step / options.steps)) / 2)


def _replace(path: Path, state: Any) -> None:
    import torch

    partial = path.with_name(f".{path.name}.partial")
    torch.save(state, partial)
    partial.replace(path)


def validate(network: nn.Module, count: int) -> dict[str, float]:
    """Mean metrics of an evaluated network over ``count`` scenes that training never shows."""
    import numpy as np
    import torch

    from training.metrics import evaluate
    from training.objectives import normalise
    from training.scenes import scene

    totals: dict[str, float] = {}
    network.eval()
    for index in range(count):
        image, alpha = scene(VALIDATION_SEED + index, VALIDATION_SIZE)
        with torch.inference_mode():
            x = normalise(torch.from_numpy(image.transpose(2, 0, 1).copy())[None], network)
            prediction = network(x)["alpha"][0, 0].numpy()
        for key, value in evaluate(prediction.astype(np.float64), alpha.astype(np.float64)).items():
            totals[key] = totals.get(key, 0.0) + value / count
    return totals


def calibrate(network: nn.Module, options: Options) -> None:
    """Measure the batch norms' statistics again: those of averaged weights are not the average of
    the statistics."""
    from torch.optim.swa_utils import update_bn
    from torch.utils.data import DataLoader

    from training.objectives import normalise

    keys = list(batches(options.steps, options.steps + options.calibration, options.batch))
    loader: Any = DataLoader(
        Scenes(options.rosta, options.transition),  # type: ignore[arg-type]
        batch_sampler=keys,
        num_workers=options.workers,
    )
    update_bn((normalise(batch["image"], network) for batch in loader), network)


def train(options: Options) -> dict[str, float]:
    """Run, save, and return the validation metrics.

    Raises:
        FileNotFoundError: ``resume`` without a ``last.pt`` in the output folder.
    """
    import torch
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
    from torch.utils.data import DataLoader
    from tqdm import tqdm

    from training.checkpoints import save
    from training.losses import gfm_loss
    from training.networks import create
    from training.objectives import normalise

    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = create("gfm", backbone="mobilenetv3", rosta=options.rosta)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = AveragedModel(
        network, multi_avg_fn=get_ema_multi_avg_fn(options.average), use_buffers=True
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.rate, weight_decay=1e-2)
    step, seconds = 0, 0.0
    options.output.mkdir(parents=True, exist_ok=True)
    last = options.output / "last.pt"
    if options.resume:
        state = torch.load(last, weights_only=True)
        network.load_state_dict(state["network"])
        averaged.load_state_dict(state["averaged"])
        optimiser.load_state_dict(state["optimiser"])
        step, seconds = state["step"], state["seconds"]

    loader: Any = DataLoader(
        Scenes(options.rosta, options.transition),  # type: ignore[arg-type]
        batch_sampler=list(batches(step, options.steps, options.batch, options.scale)),
        num_workers=options.workers,
        prefetch_factor=4 if options.workers else None,
    )
    started = time.monotonic() - seconds
    log = (options.output / "log.jsonl").open("a")
    bar = tqdm(loader, initial=step, total=options.steps, unit="step", dynamic_ncols=True)
    smooth: dict[str, float] = {}

    def keep() -> None:
        _replace(
            last,
            {
                "network": network.state_dict(),
                "averaged": averaged.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step,
                "seconds": time.monotonic() - started,
            },
        )

    for batch in bar:
        network.train()
        for group in optimiser.param_groups:
            group["lr"] = _rate(options, step)
        x = normalise(batch.pop("image"), network).contiguous(memory_format=torch.channels_last)
        for key in ("composed", "foreground", "background"):
            batch[key] = batch[key].float() / 255
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
            outputs = network(x)
        losses = gfm_loss({name: head.float() for name, head in outputs.items()}, batch)
        total = torch.stack(list(losses.values())).sum()
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        averaged.update_parameters(network)
        step += 1
        for name, value in losses.items():
            smooth[name] = 0.98 * smooth.get(name, value.item()) + 0.02 * value.item()
        bar.set_postfix({name: f"{value:.3f}" for name, value in smooth.items()})
        if step % 20 == 0:
            log.write(json.dumps({"step": step, **smooth}) + "\n")
            log.flush()
        if step % options.save_every == 0 or step == options.steps:
            keep()
    with torch.no_grad():  # what is validated is what is stored
        for parameter in averaged.module.parameters():
            if parameter.ndim >= 2:
                parameter.copy_(parameter.half())
    calibrate(averaged.module, options)
    metrics = validate(averaged.module, options.validation)
    seconds = time.monotonic() - started
    metadata = {
        "network": "gfm",
        "backbone": "mobilenetv3",
        "rosta": options.rosta,
        "steps": str(step),
        "batch": str(options.batch),
        "hours": f"{seconds / 3600:.2f}",
        "data": "procedural scenes (training/scenes.py)",
        "validation": json.dumps(metrics),
        "licence": "MIT",
    }
    save(averaged.module, options.output / "network.safetensors", metadata, half=True)
    return metrics


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.train", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the run")
    parser.add_argument("--rosta", choices=("tt", "ft", "bt"), default="tt")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--scale", type=float, default=1.0, help="of the scenes' sizes")
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    parser.add_argument("--resume", action="store_true", help="go on from last.pt in --output")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw scenes")
    parser.add_argument("--threads", type=int, default=0, help="threads of the network; 0: all")
    parser.add_argument("--validation", type=int, default=40, help="scenes to validate on")
    return parser.parse_args()


def main() -> int:
    """Train as the flags say; see the module's docstring."""
    arguments = _arguments()
    if arguments.resume and not (arguments.output / "last.pt").exists():
        print(f"no last.pt in {arguments.output}; leave out --resume to begin", file=sys.stderr)
        return 2
    metrics = train(Options(**vars(arguments)))
    print(" ".join(f"{name} {value:.4g}" for name, value in metrics.items()), file=sys.stderr)
    print(arguments.output / "network.safetensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
