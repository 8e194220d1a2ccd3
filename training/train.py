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
    add("--list", action="store_true", help="list the recipes and exit")
    add("--recipe", help="a recipe's name, or the path of a .toml file")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a value of the recipe; repeatable",
    )
    add("--output", type=Path, help="folder of the run (default: runs/RECIPE)")
    add("--resume", action="store_true", help="continue from the run's last.ckpt")

    data = parser.add_argument_group("data")
    add = data.add_argument
    add("--data", type=Path, action="append", default=[], help="dataset; repeatable")
    add("--background", type=Path, help="backgrounds to compose the dataset's foregrounds with")
    add(
        "--cache",
        type=Path,
        default=Path("runs/mattes"),
        help="folder for mattes made from masks (default: %(default)s)",
    )
    add("--val-data", type=Path, help="dataset to validate on (default: the test split of --data)")
    add(
        "--validation",
        type=positive,
        default=40,
        help="number of samples to validate on (default: %(default)s)",
    )
    add(
        "--workers",
        type=whole,
        default=1,
        help="processes that prepare samples (default: %(default)s)",
    )

    start = parser.add_argument_group("start")
    add = start.add_argument
    add("--weights", default="", help="checkpoint to start from (default: random weights)")
    add("--backbone-weights", type=Path, help="ImageNet classifier to start the encoder from")
    add("--classifier", type=Path, help="SIM's trained patch classifier")
    add(
        "--without",
        action="append",
        default=[],
        metavar="PART",
        help="part to leave out; repeatable",
    )
    add("--seed", type=whole, default=0, help="of all random draws (default: %(default)s)")

    length = parser.add_argument_group("length")
    add = length.add_argument
    add("--steps", type=positive, help="length of the run (default: the recipe's)")
    add("--batch", type=positive, help="samples per step and device (default: the recipe's)")
    add("--accumulate", type=positive, help="batches per optimiser step (default: the recipe's)")
    add(
        "--early-stop",
        type=whole,
        default=0,
        metavar="N",
        help="stop after N validations without improvement (default: never)",
    )
    add(
        "--validate-every",
        type=whole,
        default=1000,
        metavar="STEPS",
        help="0: only at the end (default: %(default)s)",
    )
    add(
        "--save-every",
        type=positive,
        default=200,
        metavar="STEPS",
        help="how often last.ckpt is written (default: %(default)s)",
    )

    machine = parser.add_argument_group("machine")
    add = machine.add_argument
    add("--accelerator", choices=("auto", "cpu", "gpu"), default="auto")
    add(
        "--devices",
        type=positive,
        default=1,
        help="GPUs, or processes on a CPU (default: %(default)s)",
    )
    add("--nodes", type=positive, default=1, help="machines (default: %(default)s)")
    add(
        "--precision",
        choices=tuple(PRECISIONS),
        default="32",
        help="32, or mixed precision with bf16 or float16 (default: %(default)s)",
    )
    add(
        "--threads",
        type=whole,
        default=0,
        help="CPU threads for the network; 0 means all cores (default: %(default)s)",
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
