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

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matter_sdk.sdk import command_line
from matter_sdk.sdk.command_line import Parser, UsageError, positive, typed, whole
from matter_sdk.training import recipes
from matter_sdk.training.fit.ingredients import say
from matter_sdk.training.fit.run import PRECISIONS, Options, train
from matter_sdk.training.recipes import RecipeError


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
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change an entry of the recipe",
    )
    add("--output", type=Path, help="folder of the run (default: runs/RECIPE)")
    add("--resume", action="store_true", help="continue from last.ckpt in --output")

    data = parser.add_argument_group("data")
    add = data.add_argument
    add("--data", type=Path, action="append", default=[], help="dataset; several: give it again")
    add("--background", type=Path, help="backgrounds to compose the dataset's foregrounds with")
    add(
        "--cache",
        type=Path,
        default=Path("runs/mattes"),
        help="folder for mattes made of masks (default: runs/mattes)",
    )
    add("--val-data", type=Path, help="dataset to validate on (default: the test split of --data)")
    add("--validation", type=positive, default=40, help="samples to validate on (default: 40)")
    add("--workers", type=whole, default=1, help="processes that prepare samples (default: 1)")

    start = parser.add_argument_group("start")
    add = start.add_argument
    add("--weights", default="", help="checkpoint to start from; none: from nothing")
    add("--backbone-weights", type=Path, help="ImageNet classifier to start the encoder from")
    add("--classifier", type=Path, help="SIM's trained patch classifier")
    add("--without", action="append", default=[], metavar="PART", help="part to leave out")
    add("--seed", type=whole, default=0, help="of all random choices (default: 0)")

    length = parser.add_argument_group("length")
    add = length.add_argument
    add("--steps", type=positive, help="steps of the whole run, instead of the recipe's epochs")
    add("--batch", type=positive, help="samples of a step on each device")
    add("--accumulate", type=positive, help="batches whose gradients make one step")
    add(
        "--early-stop",
        type=whole,
        default=0,
        metavar="N",
        help="end after N validations without a better SAD",
    )
    add(
        "--validate-every",
        type=whole,
        default=1000,
        help="in steps (default: 1000; 0: at the end)",
    )
    add("--save-every", type=positive, default=200, help="in steps (default: 200)")

    machine = parser.add_argument_group("machine")
    add = machine.add_argument
    add("--accelerator", choices=("auto", "cpu", "gpu"), default="auto")
    add("--devices", type=positive, default=1, help="GPUs, or processes on a CPU (default: 1)")
    add("--nodes", type=positive, default=1, help="machines (default: 1)")
    add(
        "--precision",
        choices=tuple(PRECISIONS),
        default="32",
        help="bf16 and 16 are mixed (default: 32)",
    )
    add(
        "--threads",
        type=whole,
        default=0,
        help="CPU threads (default: 0, all cores)",
    )
    return parser


def _options(arguments: Sequence[str]) -> Options | None:
    """None: only the list was asked for."""
    given = vars(_parser().parse_args(arguments))
    if given.pop("list"):
        return None
    name = given.pop("recipe")
    if name is None:
        raise UsageError(f"no --recipe; see {typed('training.train', ['--list'])}")
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
    """Run the command; return its exit status."""
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
        say(f"stopped at step {outcome.step} of {outcome.steps}; to go on:")
        say(command_line.typed("training.train", again))
        return 130
    say(" ".join(f"{name} {value:.4g}" for name, value in outcome.metrics.items()))
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
