"""``python -m training.ablations``: the papers' ablations, trained small on procedural scenes.

    python -m training.ablations --network gfm --steps 200

Every variant of a network is trained by ``training.train``, on the same scenes from the same seed,
in a folder of its own, and measured by ``training.evaluate`` on its fixed procedural set. A run may
be stopped at any time; the same command goes on where it was.

Fresh weights, few steps, small scenes, one seed: this shows that every variant trains and is
measured alike, and says little about the papers' tables, which are of pretrained encoders, many
epochs and photographs. A difference here may be chance.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matter_sdk.sdk import command_line
from matter_sdk.sdk.command_line import Parser, UsageError, positive, size, whole
from matter_sdk.training import evaluate, networks
from matter_sdk.training.evaluation.pictures import PROCEDURAL
from matter_sdk.training.fit.run import Options, train
from matter_sdk.training.recipes import Recipe

RUNS = Path("runs/ablations")
# What all the networks here can take, and the five levels of the Laplacian loss.
MULTIPLE, SMALLEST = 32, 64

# What is left out, by the rows of the papers' tables: GFM (IJCV 2022), Table 4; MSIA-matte (2020),
# Table 3, where the first row lacks all three; AIM (IJCAI 2021), Table 3.
VARIANTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "gfm": ((), ("pyramid",), ("bridge",)),
    "msia": ((), ("adaptive",), ("sed", "adaptive"), ("ini", "sed", "adaptive")),
    "aim": ((), ("se",), ("attention",), ("se", "attention")),
}


@dataclass(frozen=True)
class Settings:
    """How each variant is trained and measured.

    Attributes:
        steps: of each run.
        batch: scenes of a step.
        size: height and width that scenes are drawn at.
        rate: learning rate of AdamW, constant.
        seed: of the weights and the order of scenes.
        count: scenes to measure on.
        backbone: of GFM.
        device: "cpu" or "cuda".
        workers: processes that draw scenes.
    """

    steps: int = 200
    batch: int = 4
    size: tuple[int, int] = (96, 160)
    rate: float = 3e-4
    seed: int = 0
    count: int = 40
    backbone: str = "resnet34"
    device: str = "cpu"
    workers: int = 1


def options(network: str, without: tuple[str, ...], settings: Settings, output: Path) -> Options:
    """Return the run of a variant: a network without some of its parts."""
    recipe = Recipe(
        name="ablation",
        summary="",
        network=network,
        backbone=settings.backbone if network == "gfm" else "",
        without=without,
        source="procedural",
        sizes=(settings.size,),
        steps=settings.steps,
        batch=settings.batch,
        optimiser="adamw",
        rate=settings.rate,
        weight_decay=1e-2,
    )
    folder = output / network / "-".join(("without", *without) if without else ("whole",))
    return Options(
        recipe,
        folder,
        accelerator="cpu" if settings.device == "cpu" else "gpu",
        workers=settings.workers,
        seed=settings.seed,
        resume=(folder / "last.ckpt").exists(),
        validation=1,
        validate_every=0,
    )


def run(chosen: Iterable[str], settings: Settings, output: Path, command: str) -> list[Path]:
    """Train what ``output`` does not hold yet, measure, and print the tables; return the files.

    Raises:
        UsageError: settings that cannot be, or others than those of the runs in ``output``.
        KeyboardInterrupt: Ctrl-C; the run that was under way can go on.
    """
    check(settings)
    paths = []
    for network in chosen:
        subjects = []
        known = networks.parts(network, settings.backbone if network == "gfm" else None)
        for without in (parts for parts in VARIANTS[network] if set(parts) <= set(known)):
            one = options(network, without, settings, output)
            print(f"{one.recipe.describe()}: {one.output}", file=sys.stderr)
            outcome = train(one)
            if outcome.interrupted and outcome.step < outcome.steps:
                raise KeyboardInterrupt
            subjects.append(evaluate.Subject(one.output / "network.safetensors", engine=False))
        measured = evaluate.Options(
            tuple(subjects),
            PROCEDURAL,
            count=settings.count,
            sizes=(settings.size,),
            device=settings.device,
            worst=0,
            output=output / network,
        )
        paths += evaluate.run(measured, command)
    return paths


def check(settings: Settings) -> None:
    """Raise UsageError for settings that no network here can be trained with."""
    height, width = settings.size
    if height % MULTIPLE or width % MULTIPLE or min(height, width) < SMALLEST:
        raise UsageError(
            f"--size {height}x{width} does not fit; expected multiples of {MULTIPLE} from "
            f"{SMALLEST} up"
        )
    if settings.batch < 2:
        raise UsageError(
            f"--batch {settings.batch} is too small; expected 2 or more, since a batch norm after "
            f"global pooling has one value for each picture"
        )
    if settings.backbone not in networks.backbones("gfm"):
        raise UsageError(
            f"--backbone {settings.backbone} is not known; expected one of "
            f"{', '.join(networks.backbones('gfm'))}"
        )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        UsageError: received, expected, remedy, in one line.
    """
    defaults = Settings()
    flags = Parser(
        "training.ablations",
        "Train the papers' ablations small, and measure them.",
        "Few steps from fresh weights say little about the papers' tables.",
    )
    add = flags.add_argument
    known = tuple(VARIANTS)
    add("--network", action="append", choices=known, help="repeatable (default: all of them)")
    add("--steps", type=positive, default=defaults.steps, metavar="N")
    add("--batch", type=positive, default=defaults.batch, metavar="N", help="scenes")
    add("--size", type=size, default=defaults.size, metavar="HxW", help="that scenes are drawn at")
    add("--rate", type=float, default=defaults.rate, help="learning rate")
    add("--seed", type=whole, default=defaults.seed)
    add("--count", type=positive, default=defaults.count, metavar="N", help="scenes to measure on")
    add("--backbone", default=defaults.backbone, metavar="NAME", help="of GFM")
    add("--device", default="cpu", choices=("cpu", "cuda"), help="(default: %(default)s)")
    add("--workers", type=whole, default=1, help="processes that draw scenes")
    add("--output", type=Path, default=RUNS, metavar="DIR")
    return flags.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    words = sys.argv[1:] if arguments is None else arguments

    def command() -> int:
        given = vars(parse(words))
        output, chosen = given.pop("output"), given.pop("network") or tuple(VARIANTS)
        line = command_line.typed("training.ablations", words)
        print(*run(chosen, Settings(**given), output, line), sep="\n")
        return 0

    return command_line.run(
        "training.ablations",
        command,
        refused=evaluate.expected,
        interrupted="what was done is kept; the same command goes on",
    )


if __name__ == "__main__":
    sys.exit(main())
