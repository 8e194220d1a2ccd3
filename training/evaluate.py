"""``python -m training.evaluate``: how good are the mattes, and what did deployment cost them?

    python -m training.evaluate --engine gfm.engine --data AIM-500
    python -m training.evaluate --weights gfm.safetensors --engine gfm.engine:onnxruntime \\
        --engine gfm-fp16.engine:openvino --data procedural

Tables go to stdout and, with a line for each picture and the worst cases drawn, to ``--output``.
Progress goes to stderr. Exit status: 0 done, 2 something is not as expected, said in one line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matter_sdk.sdk import command_line
from matter_sdk.sdk.command_line import Parser, UsageError, positive, size, whole
from matter_sdk.sdk.files import replace_text
from matter_sdk.training import machine, networks
from matter_sdk.training.data.layers import KINDS
from matter_sdk.training.evaluation import tables
from matter_sdk.training.evaluation.judge import measure
from matter_sdk.training.evaluation.pictures import (
    COUNT,
    PROCEDURAL,
    Composites,
    EvaluationError,
    Photographs,
    Pictures,
    Scenes,
)
from matter_sdk.training.evaluation.tables import Result

if TYPE_CHECKING:
    from matter_sdk.training.evaluation.systems import System

RUNS = Path("runs/evaluate")


@dataclass(frozen=True)
class Subject:
    """One ``--engine`` or ``--weights``; ``backend`` is what an engine's suffix named."""

    path: Path
    engine: bool
    backend: str | None = None


@dataclass(frozen=True)
class Options:
    """What to evaluate, on what. ``limit``: pictures at most, 0 for all."""

    subjects: tuple[Subject, ...]
    data: str
    layout: str | None = None
    split: str = "test"
    background: Path | None = None
    count: int = COUNT
    limit: int = 0
    sizes: tuple[tuple[int, int], ...] = ()
    backend: str | None = None
    device: str | None = None
    threads: int | None = None
    model: str | None = None
    backbone: str | None = None
    rosta: str | None = None
    without: tuple[str, ...] = ()
    classifier: Path | None = None
    worst: int = 8
    workers: int | None = None
    output: Path | None = None


def run(options: Options, command: str) -> list[Path]:
    """Evaluate, print the tables, and return the files that were written.

    Raises:
        EvaluationError, DatasetError, CheckpointError, UnknownNetwork, MatterError, MetricError:
            something is not as it must be; most of that is found before the first matte.
    """
    pictures = open_pictures(options)
    with contextlib.ExitStack() as opened:
        systems = open_systems(options, opened)
        listed = measure(systems, pictures, options.workers)
        results = dict(zip(titles(systems), listed, strict=True))
        found = tables.every(results)
        print("\n\n".join(table.text() for table in found))
        output = options.output or RUNS / pictures.name
        output.mkdir(parents=True, exist_ok=True)
        about = {**machine.facts(command), **pictures.facts()}
        paths = [output / f"results.{ending}" for ending in ("md", "csv", "json")]
        replace_text(paths[0], markdown(about, systems, found))
        replace_text(paths[1], tables.comma_separated(results))
        replace_text(paths[2], json.dumps(record(about, systems, results), indent=1) + "\n")
        if options.worst:
            from matter_sdk.training.evaluation import worst

            paths += worst.draw(systems, results, pictures, options.worst, output)
    return paths


def open_pictures(options: Options) -> Pictures:
    """Open what ``--data`` names.

    Raises:
        EvaluationError, DatasetError: see ``training.evaluation.pictures``.
    """
    if options.data == PROCEDURAL:
        if options.background is not None:
            raise EvaluationError(
                f"--background {options.background} with --data {PROCEDURAL}, whose scenes have "
                f"backgrounds and plates of their own; expected photographs with mattes: leave it "
                f"out, or name their folder"
            )
        return Scenes(min(options.count, options.limit or options.count))
    photographs = Photographs(options.data, options.layout, options.split, options.limit)
    if options.background is None:
        return photographs
    return Composites(photographs, options.background)


def open_systems(options: Options, opened: contextlib.ExitStack) -> list[System]:
    """Open every engine and checkpoint, in the order given; ``opened`` closes them."""
    import torch

    from matter_sdk.training.evaluation import systems

    if options.threads:
        torch.set_num_threads(options.threads)
    checkpoints = {
        subject: systems.Checkpoint.of(
            subject.path, options.model, options.backbone, options.rosta, options.without
        )
        for subject in options.subjects
        if not subject.engine
    }
    engines: dict[Subject, System] = {}
    for subject in options.subjects:
        if subject.engine:
            engines[subject] = systems.Engine(
                subject.path,
                subject.backend or options.backend,
                options.sizes,
                options.device,
                options.threads,
            )
            opened.callback(engines[subject].close)
    # A checkpoint runs at the sizes of the engine beside it, so that the two can be compared.
    beside = next((engine.sizes for engine in engines.values()), (systems.DEFAULT_SIZE,))
    found = [
        engines.get(subject)
        or systems.open_checkpoint(
            checkpoints[subject],
            options.sizes or beside,
            options.device,
            options.classifier if checkpoints[subject].model == systems.SIM else None,
        )
        for subject in options.subjects
    ]
    for system, subject in zip(found, options.subjects, strict=True):
        others = {other.path for other in options.subjects if other.path.name == subject.path.name}
        if len(others) > 1:  # runs/a/network.safetensors beside runs/b/network.safetensors
            system.name = str(subject.path)
    return found


def titles(systems: Sequence[System]) -> list[str]:
    """Return a title for each system, no two alike."""
    found: list[str] = []
    for system in systems:
        again = sum(title.split(" #")[0] == system.title for title in found)
        found.append(f"{system.title} #{again + 1}" if again else system.title)
    return found


def record(
    about: Mapping[str, Any], systems: Sequence[System], results: Mapping[str, Sequence[Result]]
) -> dict[str, Any]:
    """Return everything, for the JSON file."""

    def summary(some: Sequence[Result]) -> dict[str, float]:
        return {"pictures": len(some), **tables.means(some)}

    return {
        **about,
        "systems": [
            {
                "title": title,
                "runtime": system.runtime,
                "stored": system.stored,
                "computes": system.computes,
                "sizes": [f"{height}x{width}" for height, width in system.sizes],
                "description": system.describe().splitlines(),
                "seconds per picture": tables.seconds(some),
                "all": summary(some),
                "by type": {
                    name: summary(part)
                    for name, part in tables.groups(some, tables.kind, KINDS).items()
                },
                "by category": {
                    name: summary(part)
                    for name, part in tables.groups(some, tables.category).items()
                },
                "pictures": [asdict(result) for result in some],
            }
            for system, (title, some) in zip(systems, results.items(), strict=True)
        ],
    }


def markdown(
    about: Mapping[str, Any], systems: Sequence[System], found: Sequence[tables.Table]
) -> str:
    """Write the tables as a Markdown page."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    where = ", ".join(filter(None, (about["cpu"], about["gpu"], about["system"])))
    parts = [
        f"# {Path(about['data']).name}",
        f"`{about['command']}`, {about['date']}",
        f"{where}; {versions}.",
        "SAD and Conn in thousands, Grad in tens, MSE and MAD as means over pixels; TRAN, FG and "
        "BG: the trimap's transition, foreground and background.",
        *(table.markdown() for table in found),
        "## What ran",
        *(f"```\n{system.describe()}\n```" for system in systems),
    ]
    return "\n\n".join(parts) + "\n"


# ── Command ─────────────────────────────────────────────────────────────────────────────────────


def parse(arguments: Sequence[str]) -> Options:
    """Parse the command line.

    Raises:
        UsageError: received, expected, remedy, in one line.
    """
    parser = Parser(
        "training.evaluate",
        "Measure mattes against the truth, of engines and checkpoints side by side.",
        "docs/evaluation.md says what the measures and tables mean.",
    )
    what = parser.add_argument_group("what is evaluated")
    what.add_argument(
        "--engine",
        dest="subjects",
        action="append",
        type=_engine,
        metavar="FILE[:BACKEND]",
        help="an engine; repeatable. BACKEND as --backend, for this one alone",
    )
    what.add_argument(
        "--weights",
        dest="subjects",
        action="append",
        type=lambda text: Subject(Path(text).expanduser(), engine=False),
        metavar="FILE",
        help="a checkpoint, run in PyTorch; repeatable",
    )
    what.add_argument(
        "--backend", metavar="NAME", help="of engines (default: the first that works)"
    )
    what.add_argument("--device", metavar="NAME", help="cpu, cuda or cuda:N")
    what.add_argument("--threads", type=positive, metavar="N", help="of networks on the CPU")
    what.add_argument(
        "--size",
        dest="sizes",
        action="append",
        type=size,
        metavar="HxW",
        help="network height and width; repeatable (default: those of the engine, for a checkpoint "
        "those of the engine beside it, or 288x512)",
    )
    known = parser.add_argument_group("checkpoints that do not say what they are (.pth)")
    known.add_argument("--model", metavar="NAME", help=f"one of: {', '.join(networks.names())}")
    known.add_argument("--backbone", metavar="NAME")
    known.add_argument("--rosta", metavar="NAME")
    known.add_argument("--without", metavar="PART", action="append", default=[])
    known.add_argument(
        "--classifier", type=Path, metavar="FILE", help="sim: checkpoint of its patch classifier"
    )
    data = parser.add_argument_group("on what")
    data.add_argument(
        "--data",
        required=True,
        metavar="FOLDER",
        help=f"a dataset, or {PROCEDURAL}: the built-in scenes that validation in training sees",
    )
    data.add_argument("--layout", metavar="NAME", help="of the dataset (default: recognised)")
    data.add_argument("--split", choices=("train", "test"), default="test")
    data.add_argument(
        "--background",
        type=Path,
        metavar="DIR",
        help="compose the subjects over these pictures, which are their plates too",
    )
    data.add_argument(
        "--count",
        type=positive,
        default=COUNT,
        metavar="N",
        help=f"procedural scenes (default: {COUNT})",
    )
    data.add_argument(
        "--limit", type=positive, default=0, metavar="N", help="evaluate at most N pictures"
    )
    out = parser.add_argument_group("results")
    out.add_argument(
        "--worst",
        type=whole,
        default=8,
        metavar="N",
        help="how many of the worst pictures to draw (default: %(default)s)",
    )
    out.add_argument(
        "--workers", type=whole, metavar="N", help="processes that measure (default: the cores)"
    )
    out.add_argument("--output", type=Path, metavar="DIR", help=f"default: {RUNS}/NAME")
    given = vars(parser.parse_args(arguments))
    if not given["subjects"]:
        raise UsageError(
            "nothing to evaluate; expected --engine FILE or --weights FILE, one or several"
        )
    for name in ("subjects", "sizes", "without"):
        given[name] = tuple(given[name] or ())
    return Options(**given)


def _engine(text: str) -> Subject:
    """``gfm.engine`` or ``gfm.engine:onnxruntime``."""
    from matter_sdk.sdk.backends import ORDER

    path, colon, backend = text.rpartition(":")
    if not colon or Path(text).exists() or "/" in backend or "\\" in backend:
        return Subject(Path(text).expanduser(), engine=True)
    if backend not in ORDER:
        raise argparse.ArgumentTypeError(
            f"backend {backend!r} of {text!r} is not known; expected one of {', '.join(ORDER)}"
        )
    return Subject(Path(path).expanduser(), engine=True, backend=backend)


def expected() -> tuple[type[Exception], ...]:
    """Return the errors to report in one line; any other is a bug."""
    from matter_sdk.sdk import MatterError
    from matter_sdk.training.checkpoints import CheckpointError
    from matter_sdk.training.data.datasets import DatasetError
    from matter_sdk.training.evaluation.metrics import MetricError

    mine = (EvaluationError, networks.UnknownNetwork)
    return (*mine, DatasetError, CheckpointError, MetricError, MatterError, OSError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    words = sys.argv[1:] if arguments is None else arguments

    def command() -> int:
        line = command_line.typed("training.evaluate", words)
        print(*run(parse(words), line), sep="\n")
        return 0

    return command_line.run("training.evaluate", command, refused=expected)


if __name__ == "__main__":
    sys.exit(main())
