"""The command ``python -m benchmarks``: kernels, frames, streams, service, exports."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import (
    engines,
    exports,
    frames,
    gpu_frames,
    hair,
    inputs,
    kernel_times,
    live,
    photographs,
    programs_page,
    registers,
    scale,
    serving,
)
from matter_sdk.sdk import QUALITIES, command_line
from matter_sdk.sdk.command_line import Parser, positive, size
from matter_sdk.sdk.cpu import usable_cores
from matter_sdk.training.data.datasets import DatasetError

RESULTS = Path("benchmarks/results")


def kernels(args: argparse.Namespace) -> list[Path]:
    """Time the kernels, or draw what they do to hair, or compile those for CUDA."""
    if args.hair is not None:
        print(hair.draw(args.hair))
        return [args.hair]
    if args.registers:
        with tempfile.TemporaryDirectory() as folder:
            print(registers.table(registers.compile_all(Path(folder))))
        return []
    budget = 0.3 if args.quick else 3.0  # seconds for each kernel and size
    return kernel_times.report(args.threads, args.sizes, args.only, budget, args.output, args.given)


def whole_frames(args: argparse.Namespace) -> list[Path]:
    """Time networks, frames, streams and files, or Matter beside other programs."""
    for beside in ("engine", "mediapipe", "isnet", "people", "sets"):
        if getattr(args, beside) and not args.baselines:
            raise ValueError(f"--{beside} is given, expected it with --baselines alone")
    if args.baselines:
        return programs_page.report(
            *(args.engine, max(args.threads), 3.0 if args.quick else 15.0),
            *(args.mediapipe, args.isnet, args.people, args.sets),
            every=args.every,
            quick=args.quick,
            output=args.output,
            given=args.given,
        )
    old = None
    if args.compare is not None:
        old = json.loads(args.compare.read_text(encoding="utf-8"))
        frames.changes(old, frames.Run())  # refused before anything takes an hour
    return frames.report(
        *(args.networks, args.threads, 3.0 if args.quick else 15.0, args.output, args.given),
        args.questions,
        compiled=args.compiled,
        old=old,
    )


def on_gpu(args: argparse.Namespace) -> list[Path]:
    """Time kernels, networks and frames on a GPU, or say why not."""
    return gpu_frames.report(2.0 if args.quick else 10.0, args.output, args.given)


def live_streams(args: argparse.Namespace) -> list[Path]:
    """Run live streams beside processes that take all cores, and the temporal filter alone; or
    find how many are carried."""
    if args.scale:
        return scale.report(args.engine, list(scale.SIZES), args.seconds, args.output, args.given)
    times = args.minutes * len(args.streams) if len(args.minutes) == 1 else args.minutes
    if len(times) != len(args.streams):
        raise ValueError(
            f"--minutes has {len(times)} values and --streams {len(args.streams)}; expected one "
            "for each, or one for all"
        )
    runs = [(count, 60 * time) for count, time in zip(args.streams, times, strict=True)]
    return live.report(args.engine, runs, args.busy, args.output, args.given)


def service(args: argparse.Namespace) -> list[Path]:
    """Load the web service: memory over many requests, latency at twice its capacity."""
    return serving.report(
        [
            *("--quality", args.quality, "--threads", str(args.threads)),
            *("--queue", str(args.queue), str(args.engine)),
        ],
        args.requests,
        args.size,
        args.queue,
        args.seconds,
        args.output,
        args.given,
    )


def export_table(args: argparse.Namespace) -> list[Path]:
    """Build every network, for what it costs and how exact it is."""
    cases = [case for case in exports.CASES if args.only in str(case)]
    if not cases:
        known = ", ".join(map(str, exports.CASES))
        raise ValueError(f"--only {args.only!r} fits no network; expected a part of: {known}")
    return exports.report(cases, args.size, args.output, args.given)


def real_pictures(args: argparse.Namespace) -> list[Path]:
    """Measure mattes of photographs with masks."""
    mattes = dict(text.split("=", 1) for text in args.mattes)
    return photographs.report(
        args.sets,
        args.engine,
        {name: Path(folder) for name, folder in mattes.items()},
        threads=args.threads,
        every=args.every,
        output=args.output,
        given=args.given,
        picture=args.sheet,
    )


def numbers(kind: Callable[[str], Any], least: float) -> Callable[[str], list[Any]]:
    """Return the type of an option like ``1,2``."""

    def read(text: str) -> list[Any]:
        values = [kind(part) for part in text.split(",")]
        if not min(values) >= least:
            raise argparse.ArgumentTypeError(f"{text!r}, expected {least:g} or more")
        return values

    read.__name__ = "numbers"
    return read


def names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Return the type of an option like ``720p,1080p``."""

    def read(text: str) -> list[str]:
        for name in text.split(","):
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r}, expected some of {','.join(known)}")
        return text.split(",")

    return read


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    given = list(sys.argv[1:] if argv is None else argv)
    parser = Parser("benchmarks")
    commands = parser.add_subparsers(required=True)

    def command(name: str, run: Callable[..., list[Path]], shown: str) -> Callable[..., Any]:
        added = commands.add_parser(name, help=shown)
        added.add_argument("--output", type=Path, default=RESULTS, help="folder of the page")
        added.set_defaults(run=run, given=given)
        return added.add_argument

    counts = numbers(int, 1)
    option = command("kernels", kernels, "every kernel beside its baselines")
    option("--sizes", type=names(list(inputs.SIZES)), default=list(inputs.SIZES), metavar="720p,…")
    option("--threads", type=counts, default=[1], metavar="1,2")
    option("--only", default="", metavar="NAME", help="kernels whose name holds this")
    option("--quick", action="store_true", help="a tenth of the time")
    option("--registers", action="store_true", help="instead: what the CUDA kernels take")
    option("--hair", type=Path, metavar="FILE.jpg", help="instead: draw composites of hair")

    option = command("frames", whole_frames, "networks, frames, streams and files")
    known = list(engines.NETWORKS)
    option("--networks", nargs="+", choices=known, default=known)
    questions = names(frames.QUESTIONS)
    option("--questions", type=questions, default=frames.QUESTIONS, metavar="network,…")
    option("--threads", type=counts, default=[1, 2], metavar="1,2")
    option("--compiled", action="store_true", help="torch.compile too: takes minutes")
    option("--quick", action="store_true", help="a fifth of the time")
    option("--compare", type=Path, metavar="OLD.json", help="say what moved since then")
    option("--baselines", action="store_true", help="instead: Matter beside other programs")
    option("--engine", type=Path, help="of the light network, with --baselines (default: built)")
    option("--mediapipe", type=Path, metavar="FOLDER", help="its npm package (default: from npm)")
    option("--isnet", type=Path, metavar="FOLDER", help="its npm package (default: from npm)")
    option("--people", type=Path, nargs="+", default=[], metavar="SET", help="photographs, masks")
    option("--sets", type=Path, nargs="+", default=[], metavar="SET", help="not people alone")
    option("--every", type=positive, default=1, metavar="N", help="only every n-th photograph")

    option = command("gpu", on_gpu, "kernels, networks and frames on a GPU")
    option("--quick", action="store_true", help="a fifth of the time")

    option = command("streams", live_streams, "live streams on an overloaded machine; flicker")
    option("--engine", type=Path, required=True)
    option("--streams", type=counts, default=[1], metavar="1,2,4")
    option("--minutes", type=numbers(float, 0.01), default=[10.0], metavar="10,3,3")
    option("--busy", type=positive, default=usable_cores(), metavar="N", help="other processes")
    option("--scale", action="store_true", help="instead: how many streams one process carries")
    option("--seconds", type=positive, default=4, metavar="N", help="of each try of --scale")

    option = command(
        "service", service, "the web service: memory, and latency at twice its capacity"
    )
    option("--engine", type=Path, required=True)
    option("--quality", choices=tuple(QUALITIES), default="live")
    option("--threads", type=positive, default=1, metavar="N", help="of the network")
    option("--requests", type=positive, default=10_000, metavar="N")
    option("--size", type=size, default=(240, 320), metavar="HxW", help="of the pictures")
    option("--queue", type=positive, default=16, metavar="N", help="requests that may wait")
    option("--seconds", type=positive, default=60, metavar="N", help="at twice its capacity")

    option = command("exports", export_table, "every network's cost, and its export's drift")
    option("--size", type=size, default=exports.SIZE, metavar="HxW")
    option("--only", default="", metavar="NAME", help="networks whose name holds this")

    option = command("photographs", real_pictures, "mattes of photographs with masks")
    option("--engine", type=Path, action="append", default=[], help="repeatable")
    option("--mattes", action="append", default=[], metavar="NAME=FOLDER")
    option("--every", type=positive, default=1, metavar="N", help="only every n-th picture")
    option("--threads", type=positive, default=usable_cores(), metavar="N")
    option("--sheet", type=Path, metavar="FILE.jpg", help="24 pictures, drawn")
    option("sets", type=Path, nargs="+", metavar="SET")

    return command_line.run(
        "benchmarks",
        lambda: _run(parser.parse_args(given)),
        refused=lambda: (DatasetError, OSError, ValueError),
    )


def _run(args: argparse.Namespace) -> int:
    try:
        paths = args.run(args)
    except subprocess.CalledProcessError as error:
        print(error.stderr or error, file=sys.stderr)
        return 1
    print(*paths, sep="\n", end="\n" if paths else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
