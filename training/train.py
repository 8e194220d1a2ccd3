"""Train a network as a recipe says.

    python -m training.train --list
    python -m training.train --recipe demo --steps 2000
    python -m training.train --recipe gfm-resnet34-tt --data AM-2k --backbone-weights resnet34.pth
    python -m training.train --recipe demo --steps 4000 --resume

A run's folder holds ``last.ckpt``, from which ``--resume`` goes on exactly;
``network.safetensors``, the network with the least SAD in validation; ``log.jsonl``, every step's
losses; TensorBoard's events; and pictures of sample mattes in ``samples``. A run that is killed
loses at most the steps since ``last.ckpt``, and both files are whole at any moment.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matter_sdk.sdk import command_line
from matter_sdk.sdk.command_line import Parser, UsageError, positive, whole
from matter_sdk.training import recipes
from matter_sdk.training.recipes import Recipe, RecipeError

if TYPE_CHECKING:
    from matter_sdk.training.data.mixing import Mixed
    from matter_sdk.training.data.sources import Source
    from torch import nn

# Pictures of a dataset are validated at most this large, in pixels.
VALIDATION_SIDE = 1024
# Held-out pictures of the sets of a mix, at about the area of an engine's frame.
VALIDATION_MASKS = (448, 448)

_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
# Composites of a foreground in an epoch where the recipe does not say: the K of RSSN.
_COMPOSITES = 5


@dataclass(frozen=True)
class Options:
    """What a run is made of, beside its recipe."""

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
        """Over all processes and batches of a step."""
        return self.recipe.batch * self.recipe.accumulate * self.devices * self.nodes

    def settings(self) -> dict[str, Any]:
        """What has to stay the same for a run to be the same, as plain values."""
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
    """Run, or go on with, what ``options`` say.

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
    from matter_sdk.training.fit import batches, objectives
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
    source, epochs = _source(options)
    shown, shown_keys = _validation(options, multiple)
    steps = recipe.steps or max(1, epochs * len(source) // options.samples_a_step)
    on_cpu = options.accelerator == "cpu" or (
        options.accelerator == "auto" and not torch.accelerator.is_available()
    )
    helpers = _helpers(options)
    if not options.resume:
        _start(network, options)
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
            precision=_PRECISIONS[options.precision],  # type: ignore[arg-type]
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


def _source(options: Options) -> tuple[Source, int]:
    """What to train on, and for how many epochs (0 where the recipe counts in steps)."""
    from matter_sdk.training.data import datasets
    from matter_sdk.training.data.sources import Composed, Crops, Joined, Natural, Procedural

    recipe = options.recipe
    if recipe.source == "procedural":
        for flag, given in (("--data", options.data), ("--background", options.background)):
            if given:
                raise UsageError(f"{recipe.name} draws its scenes; leave out {flag}")
        plate = recipe.network == "gfm-plate"
        return Procedural(plate, decoys=plate), recipe.epochs
    if not options.data:
        raise UsageError(f"{recipe.name} needs --data PATH: {recipe.data}")
    if recipe.source == "mixed":
        mixed = _mixed(options)
        mixed.check()
        mixed.cache.fill(mixed.sets())
        return mixed, recipe.epochs
    if recipe.source == "composed" and options.background is None:
        raise UsageError(
            f"{recipe.name} composes; it needs --background PATH, a folder such as BG-20k"
        )
    opened = [datasets.open(path) for path in options.data]
    crops = Crops(recipe.crops)
    sources: list[Source] = []
    epochs = recipe.epochs
    if options.background is None:
        sources += [Natural(dataset, crops, seed=options.seed) for dataset in opened]
    else:
        backgrounds = datasets.open(options.background)
        for dataset in opened:
            count = recipe.composites.get(dataset.layout, _COMPOSITES)
            sources.append(
                Composed(
                    dataset, backgrounds, crops, k=count, by_type=recipe.by_type, seed=options.seed
                )
            )
        opened.append(backgrounds)
        if recipe.source == "natural" and not recipe.steps:
            epochs = recipe.epochs_composed or recipe.epochs
    for dataset in opened:
        dataset.check()
    return sources[0] if len(sources) == 1 else Joined(sources, seed=options.seed), epochs


def _mixed(options: Options) -> Mixed:
    from matter_sdk.training.data.mattes import Cache
    from matter_sdk.training.data.mixing import Mixed

    if len(options.data) != 1 or options.background is not None:
        raise UsageError(
            f"{options.recipe.name} takes one --data PATH, the folder of its sets, and no "
            "--background"
        )
    plate = options.recipe.network == "gfm-plate"
    cache = Cache(options.cache)
    return Mixed(options.recipe, options.data[0], cache, with_plate=plate, seed=options.seed)


def _validation(options: Options, multiple: int) -> tuple[Source, list[tuple[int, int, int]]]:
    """What to validate on, and the keys of its samples."""
    from matter_sdk.training.data import datasets
    from matter_sdk.training.data.sources import Joined, Procedural, Whole
    from matter_sdk.training.evaluation import pictures

    source: Source
    if options.val_data is None and options.recipe.source == "procedural":
        plate = options.recipe.network == "gfm-plate"
        source = Procedural(plate, length=options.validation, first=pictures.SEED)
        size = pictures.SIZE
    elif options.val_data is None and options.recipe.source == "mixed":
        labelled = [mix for mix in options.recipe.mix if mix.labels != "none"]
        names = dict.fromkeys(name for mix in labelled for name in mix.data)
        sets = [datasets.open(options.data[0] / name, "masks", "test") for name in names]
        source = Joined([Whole(dataset, multiple) for dataset in sets])
        size = VALIDATION_MASKS
    else:
        try:
            dataset = datasets.open(options.val_data or options.data[0], split="test")
            dataset.check()
            source = Whole(dataset, multiple)
        except datasets.DatasetError as error:
            raise UsageError(f"{error}, to validate on: name another with --val-data") from error
        size = (VALIDATION_SIDE, VALIDATION_SIDE)
    return source, [(index, *size) for index in range(min(len(source), options.validation))]


def _start(network: nn.Module, options: Options) -> None:
    """Fill the network from the checkpoints that it is to start from."""
    from matter_sdk.training import checkpoints

    recipe = options.recipe
    weights = options.weights or recipe.weights
    if weights and weights != "none":
        if not Path(weights).exists():
            raise UsageError(
                f"{recipe.name} starts from {weights}, which is not there; name another file with "
                "--weights, or begin from nothing with --weights none"
            )
        load = checkpoints.load_partial if recipe.partial else checkpoints.load
        _say(load(network, weights))
    elif options.backbone_weights is not None:
        _say(checkpoints.load_backbone(network, options.backbone_weights))
    elif recipe.imagenet:
        _say(
            f"{recipe.name}: the paper's encoder starts from ImageNet; without --backbone-weights "
            "this one starts from nothing"
        )


def _helpers(options: Options) -> dict[str, nn.Module]:
    """Trained networks that serve this one in training."""
    from matter_sdk.training import checkpoints, networks

    if options.recipe.network != "sim":
        if options.classifier is not None:
            raise UsageError(f"{options.recipe.name} has no classifier; leave out --classifier")
        return {}
    if options.classifier is None:
        raise UsageError(
            f"{options.recipe.name} needs --classifier FILE: the trained patch classifier that "
            "makes its semantic trimaps"
        )
    classifier = networks.create("sim_classifier")
    _say(checkpoints.load(classifier, options.classifier))
    return {"classifier": classifier}


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


def _say(text: object) -> None:
    print(text, file=sys.stderr)


def _parser() -> Parser:
    parser = Parser(
        "training.train",
        "Train a network as a recipe says.",
        "Progress goes to stderr, the path of the network to stdout. Exit status: 0 done, "
        "2 usage, 130 interrupted.",
    )
    add = parser.add_argument
    add("--list", action="store_true", help="show the recipes, and no more")
    add("--recipe", help="name of a recipe, or path of a .toml file")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="another value in it")
    add("--output", type=Path, help="folder of the run; default runs/RECIPE")
    add("--resume", action="store_true", help="go on from its last.ckpt")

    data = parser.add_argument_group("data")
    add = data.add_argument
    add("--data", type=Path, action="append", default=[], help="dataset; several: give it again")
    add("--background", type=Path, help="backgrounds to compose the dataset's foregrounds with")
    add("--cache", type=Path, default=Path("runs/mattes"), help="mattes of masks (runs/mattes)")
    add("--val-data", type=Path, help="dataset to validate on; default: the test split of --data")
    add("--validation", type=positive, default=40, help="samples to validate on (40)")
    add("--workers", type=whole, default=1, help="processes that prepare samples (1)")

    start = parser.add_argument_group("start")
    add = start.add_argument
    add("--weights", default="", help="checkpoint to start from; none: from nothing")
    add("--backbone-weights", type=Path, help="ImageNet classifier to start the encoder from")
    add("--classifier", type=Path, help="SIM's trained patch classifier")
    add("--without", action="append", default=[], metavar="PART", help="part to leave out")
    add("--seed", type=whole, default=0)

    length = parser.add_argument_group("length")
    add = length.add_argument
    add("--steps", type=positive, help="steps of the whole run, instead of the recipe's epochs")
    add("--batch", type=positive, help="samples of a step on each device")
    add("--accumulate", type=positive, help="batches whose gradients make one step")
    add("--early-stop", type=whole, default=0, metavar="N", help="after N validations no better")
    add("--validate-every", type=whole, default=1000, help="steps (1000); 0: at the end only")
    add("--save-every", type=positive, default=200, help="steps (200)")

    machine = parser.add_argument_group("machine")
    add = machine.add_argument
    add("--accelerator", choices=("auto", "cpu", "gpu"), default="auto")
    add("--devices", type=positive, default=1, help="GPUs, or processes on a CPU (1)")
    add("--nodes", type=positive, default=1, help="machines (1)")
    add("--precision", choices=tuple(_PRECISIONS), default="32", help="bf16 and 16 are mixed")
    add("--threads", type=whole, default=0, help="of the network on a CPU; 0: all")
    return parser


def _options(arguments: Sequence[str]) -> Options | None:
    """None: only the list was asked for."""
    given = vars(_parser().parse_args(arguments))
    if given.pop("list"):
        return None
    name = given.pop("recipe")
    if name is None:
        raise UsageError("no --recipe; see python -m training.train --list")
    changes: dict[str, Any] = dict(recipes.changed(text) for text in given.pop("set"))
    steps, without = given.pop("steps"), given.pop("without")
    if steps is not None:
        changes |= {"steps": steps, "epochs": 0}
    if without:
        changes["without"] = without
    for key in ("batch", "accumulate"):
        value = given.pop(key)
        if value is not None:
            changes[key] = value
    recipe = recipes.load(name, changes)
    given["output"] = given["output"] or Path("runs") / recipe.name
    given["data"] = tuple(given["data"])
    return Options(recipe=recipe, **given)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    return command_line.run(
        "training.train",
        lambda: _run(words),
        refused=_refused,
        interrupted="before the first step nothing is kept",
    )


def _run(words: Sequence[str]) -> int:
    options = _options(words)
    if options is None:
        print(recipes.table([recipes.load(name) for name in recipes.names()]))
        return 0
    outcome = train(options)
    if not outcome.first:
        return 0
    if outcome.interrupted and outcome.step < outcome.steps:
        again = [*words, *([] if options.resume else ["--resume"])]
        _say(f"stopped at step {outcome.step} of {outcome.steps}; to go on:")
        _say(command_line.typed("training.train", again))
        return 130
    _say(" ".join(f"{name} {value:.4g}" for name, value in outcome.metrics.items()))
    print(options.output / "network.safetensors")
    return 0


def _refused() -> tuple[type[Exception], ...]:
    """Errors of recipe, data and weights, which are said in one line."""
    from matter_sdk.training.checkpoints import CheckpointError
    from matter_sdk.training.data.datasets import DatasetError
    from matter_sdk.training.fit.objectives import ObjectiveError

    return RecipeError, CheckpointError, DatasetError, ObjectiveError


if __name__ == "__main__":
    sys.exit(main())
