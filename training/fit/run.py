"""One run: its options, and the trainer that Lightning makes of them.

torch and Lightning are imported once the options hold, so that a wrong one is told at once.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matter_sdk.sdk.command_line import UsageError
from matter_sdk.training.recipes import Recipe

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


@dataclass(frozen=True)
class Options:
    """What a run is made of: its recipe, and the flags beside it."""

    recipe: Recipe
    output: Path
    data: tuple[Path, ...] = ()
    background: Path | None = None
    cache: Path = Path("runs/mattes")
    val_data: Path | None = None
    weights: str = ""  # instead of the recipe's; "none": from nothing
    backbone_weights: Path | None = None
    classifier: Path | None = None  # of sim
    precision: str = "32"
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    workers: int = 1
    threads: int = 0
    seed: int = 0
    resume: bool = False
    early_stop: int = 0
    validation: int = 40
    validate_every: int = 1000
    save_every: int = 200

    @property
    def samples_a_step(self) -> int:
        """Samples of a step, over all processes and batches."""
        return self.recipe.batch * self.recipe.accumulate * self.devices * self.nodes

    def settings(self) -> dict[str, Any]:
        """Return what must stay the same for a run to be the same, as plain values."""
        free = {"name", "summary", "data", "weights", "partial", "imagenet"}
        free |= {"epochs", "epochs_composed", "steps", "batch", "accumulate"}
        entries = {k: v for k, v in dataclasses.asdict(self.recipe).items() if k not in free}
        entries["samples a step"] = self.samples_a_step
        entries["precision"] = self.precision
        entries["seed"] = self.seed
        return json.loads(json.dumps(entries))


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    ``metrics`` are those of ``network.safetensors``, empty as long as there is none.
    """

    step: int
    steps: int
    metrics: dict[str, float]
    interrupted: bool
    first: bool  # of several processes


def train(options: Options) -> Outcome:
    """Train as ``options`` say, or go on with a run.

    Raises:
        UsageError: a run that is there already, or not there, or another; weights or data that are
            not there; a device that this machine does not have.
        training.data.datasets.DatasetError: data that are not as expected.
        training.checkpoints.CheckpointError: weights that do not fit.
        training.fit.objectives.ObjectiveError: settings that the network's objective does not know.
    """
    recipe = options.recipe
    last = options.output / "last.ckpt"
    if options.resume and not last.exists():
        raise UsageError(f"no last.ckpt in {options.output}; leave out --resume to begin")
    if not options.resume and last.exists():
        raise UsageError(
            f"{options.output} holds a run already; add --resume to go on with it, or name another "
            "folder with --output"
        )
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    if options.resume:
        _same_run(options, last)
    from lightning.pytorch import Trainer
    from lightning.pytorch.strategies import DDPStrategy
    from lightning.pytorch.utilities.exceptions import MisconfigurationException

    _quiet()
    from matter_sdk.training import networks
    from matter_sdk.training.fit import batches, ingredients, objectives
    from matter_sdk.training.fit.autocast import keep_depthwise_float32
    from matter_sdk.training.fit.batch_norm import JoinBatchNorms
    from matter_sdk.training.fit.callbacks import Interruption, Keep, Validation, WholeCheckpoints
    from matter_sdk.training.fit.records import Records
    from matter_sdk.training.fit.task import Task

    network = networks.create(
        recipe.network,
        backbone=recipe.backbone or None,
        rosta=recipe.rosta or None,
        without=recipe.without,
    )
    multiple: int = network.size_multiple  # type: ignore[assignment]
    source, epochs = ingredients.source(options)
    shown, shown_keys = ingredients.validation(options, multiple)
    steps = recipe.steps or max(1, epochs * len(source) // options.samples_a_step)
    on_cpu = options.accelerator == "cpu" or (
        options.accelerator == "auto" and not torch.accelerator.is_available()
    )
    helpers = ingredients.helpers(options)
    if not options.resume:
        ingredients.load_weights(network, options)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if on_cpu and options.precision == "bf16":
        keep_depthwise_float32(network)

    rosta = str(getattr(network, "rosta", "none"))
    samples, to_validate = (
        batches.Samples(drawn, recipe.network, rosta, options.seed, recipe.objective)
        for drawn in (source, shown)
    )
    task = Task(
        recipe,
        objectives.create(network, **recipe.objective, **helpers),
        samples,
        sizes=batches.sizes(recipe, multiple),
        steps=steps,
        seed=options.seed,
        workers=options.workers,
        settings=options.settings(),
    )
    records = Records(options.output, options.samples_a_step)
    validation = Validation(
        to_validate,
        shown_keys,
        every=options.validate_every,
        patience=options.early_stop,
        folder=options.output,
        records=records,
        metadata=_metadata(options),
    )
    interruption = Interruption()
    several = options.devices * options.nodes > 1
    try:
        trainer = Trainer(
            accelerator=options.accelerator,
            devices=options.devices,
            num_nodes=options.nodes,
            # Batch norms are joint, so that no buffer differs between processes.
            strategy=DDPStrategy(broadcast_buffers=False) if several else "auto",
            plugins=[WholeCheckpoints(), *([JoinBatchNorms(on_cpu)] if several else [])],
            precision=PRECISIONS[options.precision],  # type: ignore[arg-type]
            max_steps=steps,
            max_epochs=-1,  # for Lightning a run is one long epoch
            accumulate_grad_batches=recipe.accumulate,
            gradient_clip_val=recipe.clip or None,
            callbacks=[
                records,
                validation,
                interruption,
                Keep(last, options.save_every, records),
            ],
            default_root_dir=options.output,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except MisconfigurationException as error:
        asked = f"--accelerator {options.accelerator} --devices {options.devices}"
        raise UsageError(f"{asked}: {' '.join(str(error).split())}") from error
    options.output.mkdir(parents=True, exist_ok=True)
    trainer.fit(task, ckpt_path=last if options.resume else None, weights_only=True)
    return Outcome(
        trainer.global_step, steps, validation.best, interruption.asked, trainer.is_global_zero
    )


def _quiet() -> None:
    """Lightning's advice is about choices that are made here."""
    warnings.filterwarnings("ignore", module="lightning")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _same_run(options: Options, last: Path) -> None:
    import torch

    try:
        run = torch.load(last, weights_only=True, mmap=True, map_location="cpu")["run"]
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UsageError(
            f"{last} is no checkpoint of a run ({reason}); begin another with --output"
        ) from error
    before, now = run["settings"], options.settings()
    for key in (*before, *(key for key in now if key not in before)):
        if before.get(key) != now.get(key):
            raise UsageError(
                f"{last.parent} was begun with {key} {before.get(key)!r}, not {now.get(key)!r}; "
                "give what it was begun with, or begin another run with --output"
            )


def _metadata(options: Options) -> dict[str, str]:
    data = [path.name for path in options.data]
    if options.background is not None:
        data.append(f"before {options.background.name}")
    return {
        "recipe": options.recipe.name,
        "batch": str(options.samples_a_step),
        "data": ", ".join(data) or "procedural scenes (training/scenes.py)",
        "precision": options.precision,
    }
