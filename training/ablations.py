"""``python -m training.ablations``: the papers' ablations, trained small on procedural scenes.

    python -m training.ablations --network gfm --steps 200

Every variant of a network learns from the same scenes, for the same number of steps and from the
same seed, and is measured on the fixed procedural set of ``training.evaluate``. What stands in the
results already is not trained again, so that a run may be stopped at any time and given again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from matter_sdk.sdk import command_line
from matter_sdk.sdk.command_line import Parser, positive, size, whole
from matter_sdk.sdk.engine import schema
from matter_sdk.sdk.files import replace_text
from matter_sdk.training import machine, networks
from matter_sdk.training.data.sources import Procedural
from matter_sdk.training.evaluate import expected
from matter_sdk.training.evaluation import tables
from matter_sdk.training.evaluation.judge import measure
from matter_sdk.training.evaluation.pictures import EvaluationError, Scenes
from matter_sdk.training.fit.batches import Batches, Samples, loader

if TYPE_CHECKING:
    from torch import nn

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

HONEST = (
    "Fresh weights, few steps, small procedural scenes, one seed: this shows that every variant "
    "trains and is measured alike, and says little about the papers' tables, which are of "
    "pretrained encoders, many epochs and photographs. A difference here may be chance."
)


@dataclass(frozen=True)
class Settings:
    """How each variant is trained. ``backbone``: of GFM. ``count``: scenes to measure on."""

    steps: int = 200
    batch: int = 4
    size: tuple[int, int] = (96, 160)
    rate: float = 3e-4
    seed: int = 0
    count: int = 40
    backbone: str = "resnet34"


class Variant(NamedTuple):
    """A network without some of its parts."""

    network: str
    without: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.network} without {' and '.join(self.without)}" if self.without else "all"


def draws(network: str, rosta: str, settings: Settings) -> tuple[Samples, Batches]:
    """Return what a network learns from, and the scene numbers of each step."""
    samples = Samples(Procedural(), network, rosta, settings.seed, settings={})
    return samples, Batches((settings.size,), settings.batch, 1, 0, settings.steps)


def train(network: nn.Module, settings: Settings, workers: int, device: str, title: str) -> float:
    """Train a network in place, with AdamW at a constant rate.

    Returns the mean loss over the last tenth of the steps.

    The same settings give the same weights, whatever the number of ``workers``.
    """
    import torch
    from matter_sdk.training.fit import objectives
    from tqdm import tqdm

    subject: Any = network
    objective = objectives.create(network).to(device).train()
    learnt = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=settings.rate)
    batches = loader(*draws(subject.name, subject.rosta, settings), workers)
    losses = []
    for batch in tqdm(batches, title, settings.steps, unit="step", disable=None):
        found = objective({name: tensor.to(device) for name, tensor in batch.items()})
        loss = torch.stack(list(found.values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)


def run_one(variant: Variant, settings: Settings, workers: int, device: str) -> dict[str, Any]:
    """Train and measure one variant; return its entry of the results."""
    import torch
    from matter_sdk.training.evaluation.systems import Torch

    torch.manual_seed(settings.seed)
    backbone = settings.backbone if variant.network == "gfm" else None
    network = networks.create(variant.network, backbone=backbone, without=variant.without)
    start = time.perf_counter()
    loss = train(network, settings, workers, device, str(variant))
    seconds = time.perf_counter() - start
    system = Torch(network, str(variant), (settings.size,), device)
    (results,) = measure([system], Scenes(settings.count))
    return {
        "network": variant.network,
        "without": list(variant.without),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "seconds": seconds,
        "loss": loss,
        "measures": tables.means(results),
    }


def run(
    chosen: Iterable[str],
    settings: Settings,
    output: Path,
    command: str,
    workers: int = 1,
    device: str = "cpu",
) -> list[Path]:
    """Train what ``output`` does not hold yet, and print the tables; return the files.

    Raises:
        EvaluationError: settings that cannot be, or others than those of the results in ``output``.
    """
    check(settings)
    paths = [output / f"results.{ending}" for ending in ("md", "json")]
    done = read(paths[1], settings)
    for name in chosen:
        for without in VARIANTS[name]:
            variant = Variant(name, without)
            if any(Variant(e["network"], tuple(e["without"])) == variant for e in done):
                print(f"{name}, {variant}: in {paths[1]} already", file=sys.stderr)
                continue
            done.append(run_one(variant, settings, workers, device))
            about = {**machine.facts(command), "device": device, "settings": asdict(settings)}
            output.mkdir(parents=True, exist_ok=True)
            replace_text(paths[0], markdown(about, done))
            replace_text(paths[1], json.dumps({**about, "variants": done}, indent=1) + "\n")
    print("\n\n".join(table.text() for table in summary(done)))
    return paths


def check(settings: Settings) -> None:
    """Raise EvaluationError for settings that no network here can be trained with."""
    height, width = settings.size
    if height % MULTIPLE or width % MULTIPLE or min(height, width) < SMALLEST:
        raise EvaluationError(
            f"--size {height}x{width} does not fit; expected multiples of {MULTIPLE} from "
            f"{SMALLEST} up"
        )
    if settings.batch < 2:
        raise EvaluationError(
            f"--batch {settings.batch} is too small; expected 2 or more, since a batch norm after "
            f"global pooling has one value for each picture"
        )
    if settings.backbone not in networks.backbones("gfm"):
        raise EvaluationError(
            f"--backbone {settings.backbone} is not known; expected one of "
            f"{', '.join(networks.backbones('gfm'))}"
        )


def read(path: Path, settings: Settings) -> list[dict[str, Any]]:
    """Read the variants of a results file; none where there is no file.

    Raises:
        EvaluationError: a file of other settings, or one that is no results file.
    """
    if not path.exists():
        return []
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        at = schema.Place(EvaluationError, f"{path}:", str(path)).field("settings")
        before = schema.read(Settings, held["settings"], at)
        done: list[dict[str, Any]] = held["variants"]
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationError(
            f"{path} is not a results file of this command; name another --output"
        ) from error
    for field in dataclasses.fields(Settings):
        one, other = (getattr(settings_, field.name) for settings_ in (before, settings))
        if one != other:
            raise EvaluationError(
                f"{path} was made with {field.name} {one}, not {other}; keep the settings, so that "
                f"variants can be compared, or name another --output"
            )
    return done


def summary(done: Sequence[dict[str, Any]]) -> list[tables.Table]:
    """Make a table for each network, its variants in the order of :data:`VARIANTS`."""
    shown = ("sad", "mse", "mad", "grad", "conn")
    found = []
    for name, variants in VARIANTS.items():
        held = {tuple(entry["without"]): entry for entry in done if entry["network"] == name}
        lines = tuple(
            (
                "whole" if not without else f"without {', '.join(without)}",
                f"{held[without]['parameters'] / 1e6:.2f}",
                *(tables.number(key, held[without]["measures"][key]) for key in shown),
                f"{held[without]['loss']:.4f}",
                f"{held[without]['seconds']:.0f}",
            )
            for without in variants
            if without in held
        )
        if lines:
            head = (tables.MEASURES[key][0] for key in shown)
            found.append(tables.Table(name, ("", "M parameters", *head, "loss", "seconds"), lines))
    return found


def markdown(about: dict[str, Any], done: Sequence[dict[str, Any]]) -> str:
    """Write the results as a Markdown page."""
    settings = about["settings"]
    height, width = settings["size"]
    where = about["gpu"] if about["device"] != "cpu" else about["cpu"]
    parts = [
        "# Ablations",
        f"`{about['command']}`, {about['date']}, {where}.",
        f"{settings['steps']} steps of {settings['batch']} procedural scenes at {height}×{width}, "
        f"AdamW at {settings['rate']:g}, seed {settings['seed']}; GFM on {settings['backbone']}. "
        f"Measured on {settings['count']} scenes that nothing trains on. Loss: of the last tenth "
        "of the steps.",
        HONEST,
        *(table.markdown() for table in summary(done)),
    ]
    return "\n\n".join(parts) + "\n"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        UsageError: received, expected, remedy, in one line.
    """
    defaults = Settings()
    flags = Parser("training.ablations", "Train the papers' ablations small, and measure them.")
    flags.add_argument(
        "--network",
        action="append",
        choices=tuple(VARIANTS),
        help="repeatable (default: all of them)",
    )
    flags.add_argument("--steps", type=positive, default=defaults.steps, metavar="N")
    flags.add_argument("--batch", type=positive, default=defaults.batch, metavar="N", help="scenes")
    flags.add_argument(
        "--size", type=size, default=defaults.size, metavar="HxW", help="that scenes are drawn at"
    )
    flags.add_argument("--rate", type=float, default=defaults.rate, help="learning rate")
    flags.add_argument("--seed", type=whole, default=defaults.seed)
    flags.add_argument(
        "--count", type=positive, default=defaults.count, metavar="N", help="scenes to measure on"
    )
    flags.add_argument("--backbone", default=defaults.backbone, metavar="NAME", help="of GFM")
    flags.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda or cuda:N")
    flags.add_argument("--workers", type=whole, default=1, help="processes that draw scenes")
    flags.add_argument("--output", type=Path, default=RUNS, metavar="DIR")
    return flags.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    words = sys.argv[1:] if arguments is None else arguments

    def command() -> int:
        given = vars(parse(words))
        options = {name: given.pop(name) for name in ("output", "workers", "device")}
        chosen = given.pop("network") or tuple(VARIANTS)
        line = command_line.typed("training.ablations", words)
        print(*run(chosen, Settings(**given), command=line, **options), sep="\n")
        return 0

    return command_line.run(
        "training.ablations", command, refused=expected, interrupted="what was done is kept"
    )


if __name__ == "__main__":
    sys.exit(main())
