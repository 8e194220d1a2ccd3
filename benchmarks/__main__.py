"""The command ``python -m benchmarks``: kernels, networks and frames, exports, and more."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from matter_sdk.sdk import command_line
from matter_sdk.sdk.command_line import Parser, size
from matter_sdk.sdk.cpu import usable_cores
from matter_sdk.training.data.datasets import DatasetError

from benchmarks import (
    aims,
    exports,
    gpu,
    gpu_networks,
    live,
    machine,
    photographs,
    pictures,
    pipeline,
    report,
    resources,
    scenes,
    temporal,
)
from benchmarks.measure import VARIABLES, Row, chosen

RESULTS = Path("benchmarks/results")
BUDGET, QUICK = 3.0, 0.3  # seconds for each kernel and size


def measured(threads: int, sizes: Sequence[str], only: str, budget: float) -> list[Row]:
    """The rows of a run in a process of its own, with so many threads."""
    command = [sys.executable, "-m", "benchmarks.measure", "--threads", str(threads)]
    command += ["--sizes", *sizes, "--only", only, "--budget", str(budget)]
    environment = os.environ | dict.fromkeys(VARIABLES, str(threads))
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return [report.row_from(row) for row in json.loads(result.stdout)]


def kernels(args: argparse.Namespace) -> int:
    """Time the kernels beside their rivals; write and print the report."""
    facts = machine.describe()
    facts["command"] = "python -m benchmarks " + " ".join(args.given)
    facts["load_before"] = machine.load_average()
    budget = QUICK if args.quick else BUDGET
    rows = [
        row for threads in args.threads for row in measured(threads, args.sizes, args.only, budget)
    ]
    missing = gpu.why_not()
    device = missing or gpu.rows(chosen(args.only, args.sizes))
    facts["load_after"] = machine.load_average()
    kind = machine.kind(facts["cpu"], facts["cores"], "" if missing else gpu.name())
    paths = report.write(args.output, f"kernels-{kind}", facts, rows, device)
    print(report.markdown(facts, rows, device))
    print(*paths, sep="\n")
    return 0


def export_table(args: argparse.Namespace) -> int:
    """Build every network; write and print what it costs and how exact it is."""
    cases = [case for case in exports.CASES if args.only in str(case)]
    if not cases:
        known = ", ".join(map(str, exports.CASES))
        print(f"--only {args.only!r} fits no network; expected a part of: {known}", file=sys.stderr)
        return 2
    command = " ".join(["python -m benchmarks", *args.given])
    print(*exports.report(cases, args.size, args.output, command), sep="\n")
    return 0


def resource_table(args: argparse.Namespace) -> int:
    """Compile the CUDA kernels; print what they take."""
    if resources.nvcc() is None:
        print("nvcc is not installed: install the CUDA toolkit, or set CUDA_HOME", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        try:
            usages = resources.compile_all(Path(folder))
        except subprocess.CalledProcessError as error:
            print(error.stderr, file=sys.stderr)
            return 1
    text = resources.table(usages)
    print(text)
    if args.output is not None:
        args.output.mkdir(parents=True, exist_ok=True)
        path = args.output / "resources.md"
        title = "# Registers of the CUDA kernels\n\n`python -m benchmarks resources`\n\n"
        path.write_text(title + text + "\n", encoding="utf-8")
        print(path)
    return 0


def whole_frames(args: argparse.Namespace) -> int:
    """Time whole networks, frames and files beside their rivals."""
    command = " ".join(["python -m benchmarks", *args.given])
    budget = 3.0 if args.quick else 15.0
    try:
        old = json.loads(args.compare.read_text(encoding="utf-8")) if args.compare else None
        if old is not None:
            pipeline.changes(old, [], [])  # before anything takes an hour
    except (OSError, ValueError) as error:
        print(f"--compare {args.compare}: {error}", file=sys.stderr)
        return 2
    paths = pipeline.report(
        *(args.networks, args.threads, budget, args.output, command),
        compiled=args.compiled,
        alone=args.alone,
        old=old,
    )
    print(*paths, sep="\n")
    return 0


def on_gpu(args: argparse.Namespace) -> int:
    """Time whole networks and frames on a GPU, or say why not."""
    command = " ".join(["python -m benchmarks", *args.given])
    paths = gpu_networks.report(2.0 if args.quick else 10.0, args.output, command)
    print(*paths, sep="\n", end="\n" if paths else "")
    return 0


def _filmed(args: argparse.Namespace) -> str:
    """The command, with the engine's name where its path was given."""
    given = (args.engine.name if Path(one) == args.engine else one for one in args.given)
    return " ".join(["python -m benchmarks", *given])


def over_time(args: argparse.Namespace) -> int:
    """Measure what the filter over time does to mattes."""
    command = _filmed(args)
    print(*temporal.report(args.engine, args.output, command), sep="\n")
    return 0


def live_streams(args: argparse.Namespace) -> int:
    """Run live streams beside processes that take all cores."""
    command = _filmed(args)
    times = args.minutes * len(args.streams) if len(args.minutes) == 1 else args.minutes
    if len(times) != len(args.streams):
        print(
            f"--minutes has {len(times)} values and --streams {len(args.streams)}; expected one "
            "for each, or one for all",
            file=sys.stderr,
        )
        return 2
    runs = [(count, 60 * time) for count, time in zip(args.streams, times, strict=True)]
    paths = live.report(args.engine, runs, args.busy, args.output, command)
    print(*paths, sep="\n")
    return 0


def aim_table(args: argparse.Namespace) -> int:
    """Set every aim beside the figure in the results."""
    command = " ".join(["python -m benchmarks", *args.given])
    print(*aims.report(args.output, command), sep="\n")
    return 0


def everything(args: argparse.Namespace) -> int:
    """Run the benchmarks of speed one after the other, each in a process of its own."""
    quick = ["--quick"] if args.quick else []
    lengths = ["--minutes", "0.2" if args.quick else "10,3,3"]
    results = ["--output", str(args.output)]
    with tempfile.TemporaryDirectory() as folder:
        engine = Path(folder, "gfm.engine")
        build = ["--model", "gfm", "--fp16", "--target", "onnx", "--output", str(engine)]
        build += ["--size", "288x512", "--size", "192x320"]
        filmed = ["--engine", str(engine)]
        for module, *flags in (
            ("export.build", *build),
            ("benchmarks", "kernels", "--threads", "1,2", *quick, *results),
            ("benchmarks", "pipeline", "--compiled", *quick, *results),
            ("benchmarks", "temporal", *filmed, *results),
            ("benchmarks", "live", *filmed, "--streams", "1,2,4", *lengths, *results),
            ("benchmarks", "gpu", *quick, *results),
        ):
            print(f"\n$ python -m {' '.join([module, *flags])}\n", flush=True)
            status = subprocess.run([sys.executable, "-m", module, *flags], check=False).returncode
            if status:
                print(f"python -m {module} ended with status {status}", file=sys.stderr)
                return status
    return aim_table(args)


def real_pictures(args: argparse.Namespace) -> int:
    """Measure mattes of photographs with masks."""
    try:
        mattes = dict(text.split("=", 1) for text in args.mattes)
        paths = photographs.report(
            args.sets,
            args.engine,
            {name: Path(folder) for name, folder in mattes.items()},
            threads=args.threads,
            every=args.every,
            output=args.output,
            command=photographs.command(args.engine, mattes, args.sets),
            picture=args.sheet,
        )
    except (DatasetError, ValueError) as error:
        print(f"benchmarks photographs: {error}", file=sys.stderr)
        return 2
    print(*paths, sep="\n")
    return 0


def draw(args: argparse.Namespace) -> int:
    """Draw what `composite` makes of hair; print the table beside it."""
    picture, text = pictures.draw(args.output)
    print(text.read_text(encoding="utf-8"))
    print(picture, text, sep="\n")
    return 0


def numbers(text: str) -> list[int]:
    """``1,2`` as numbers."""
    values = [int(part) for part in text.split(",")]
    if min(values) < 1:
        raise ValueError(text)
    return values


def minutes(text: str) -> list[float]:
    """``10,0.5`` as numbers."""
    values = [float(part) for part in text.split(",")]
    if not min(values) > 0:
        raise ValueError(text)
    return values


def size_names(text: str) -> list[str]:
    """``720p,1080p`` as a list, each known."""
    names = text.split(",")
    unknown = [name for name in names if name not in scenes.SIZES]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"{unknown[0]!r} is no size, expected some of {','.join(scenes.SIZES)}"
        )
    return names


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    given = list(sys.argv[1:] if argv is None else argv)
    parser = Parser("benchmarks")
    commands = parser.add_subparsers(required=True)
    timing = commands.add_parser("kernels", help="every kernel beside its rivals")
    timing.add_argument("--sizes", type=size_names, default=list(scenes.SIZES), metavar="720p,…")
    timing.add_argument("--threads", type=numbers, default=[1], metavar="1,2")
    timing.add_argument("--output", type=Path, default=RESULTS)
    timing.add_argument("--only", default="", metavar="NAME", help="kernels whose name holds this")
    timing.add_argument("--quick", action="store_true", help="a tenth of the time")
    timing.set_defaults(run=kernels, given=given)
    exported = commands.add_parser("exports", help="every network's cost, and its export's drift")
    exported.add_argument("--size", type=size, default=exports.SIZE, metavar="HxW")
    exported.add_argument("--only", default="", metavar="NAME", help="networks that hold this")
    exported.add_argument("--output", type=Path, default=RESULTS)
    exported.set_defaults(run=export_table, given=given)
    for name, shown in (
        ("networks", "networks alone beside their rivals"),
        ("pipeline", "networks, frames and files beside their rivals"),
    ):
        whole = commands.add_parser(name, help=shown)
        whole.add_argument(
            "--networks",
            nargs="+",
            choices=list(pipeline.NETWORKS),
            default=list(pipeline.NETWORKS),
        )
        whole.add_argument("--threads", type=numbers, default=[1, 2], metavar="1,2")
        whole.add_argument(
            "--compiled",
            action="store_true",
            help="torch.compile too, with the most threads: takes minutes",
        )
        whole.add_argument("--quick", action="store_true", help="a fifth of the time")
        whole.add_argument(
            "--compare", type=Path, metavar="OLD.json", help="say what moved since then"
        )
        whole.add_argument("--output", type=Path, default=RESULTS)
        whole.set_defaults(run=whole_frames, given=given, alone=name == "networks")
    accelerated = commands.add_parser("gpu", help="networks and frames on a GPU")
    accelerated.add_argument("--quick", action="store_true", help="a fifth of the time")
    accelerated.add_argument("--output", type=Path, default=RESULTS)
    accelerated.set_defaults(run=on_gpu, given=given)
    filtered = commands.add_parser("temporal", help="flicker and dtSSD with and without the filter")
    filtered.add_argument("--engine", type=Path, required=True)
    filtered.add_argument("--output", type=Path, default=RESULTS)
    filtered.set_defaults(run=over_time, given=given)
    streams = commands.add_parser("live", help="live streams on a machine that is too busy")
    streams.add_argument("--engine", type=Path, required=True)
    streams.add_argument("--streams", type=numbers, default=[1], metavar="1,2,4")
    streams.add_argument("--minutes", type=minutes, default=[10.0], metavar="10,3,3")
    streams.add_argument("--busy", type=int, default=usable_cores(), metavar="N")
    streams.add_argument("--output", type=Path, default=RESULTS)
    streams.set_defaults(run=live_streams, given=given)
    real = commands.add_parser("photographs", help="mattes of photographs with masks")
    real.add_argument("--engine", type=Path, action="append", default=[], help="repeatable")
    real.add_argument("--mattes", action="append", default=[], metavar="NAME=FOLDER")
    real.add_argument("--every", type=int, default=1, metavar="N", help="only every n-th picture")
    real.add_argument("--threads", type=int, default=usable_cores(), metavar="N")
    real.add_argument("--output", type=Path, default=RESULTS)
    real.add_argument("--sheet", type=Path, metavar="FILE.jpg", help="24 pictures, drawn")
    real.add_argument("sets", type=Path, nargs="+", metavar="SET")
    real.set_defaults(run=real_pictures)
    collected = commands.add_parser("aims", help="every aim beside the figure in the results")
    collected.add_argument("--output", type=Path, default=RESULTS)
    collected.set_defaults(run=aim_table, given=given)
    every = commands.add_parser(
        "all", help="kernels, pipeline, temporal, live, gpu, and the aims: more than an hour"
    )
    every.add_argument("--quick", action="store_true", help="a few minutes of each")
    every.add_argument("--output", type=Path, default=RESULTS)
    every.set_defaults(run=everything, given=given)
    compiled = commands.add_parser("resources", help="registers and spills of the CUDA kernels")
    compiled.add_argument("--output", type=Path, help="folder for resources.md")
    compiled.set_defaults(run=resource_table)
    drawn = commands.add_parser("pictures", help="what composite makes of hair")
    drawn.add_argument("--output", type=Path, default=RESULTS)
    drawn.set_defaults(run=draw)
    return command_line.run("benchmarks", lambda: _run(parser, given))


def _run(parser: Parser, given: Sequence[str]) -> int:
    args = parser.parse_args(given)
    return int(args.run(args))


if __name__ == "__main__":
    sys.exit(main())
