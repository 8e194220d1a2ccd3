"""``python -m export.build``: build a verified ``.engine`` file from a checkpoint.

    python -m export.build --model gfm --fp16

Progress and tables go to stderr, the engine's path alone to stdout. Exit status: 0 built, 1 failed
build or verification (nothing is written, an engine of the same name stays as it was), 2 usage.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from matter_sdk.export.errors import BuildError, UsageError
from matter_sdk.export.options import (
    DEFAULT_SIZES,
    ENSEMBLE,
    ENSEMBLED,
    OPSETS,
    TARGETS,
    UNPOOLS,
    BuildOptions,
    check_libraries,
)
from matter_sdk.sdk import installation
from matter_sdk.sdk.command_line import Parser, path, run, size, start, whole, word
from matter_sdk.training import networks

__all__ = ["BuildError", "BuildOptions", "UsageError", "build", "main"]


def build(options: BuildOptions) -> Path:
    """Build an engine and verify it; return its path.

    Raises:
        UsageError: an option that cannot be met; raised before anything heavy is imported.
        BuildError: a stage failed, or a matte differs too much. Nothing is written.
    """
    resolved = options.resolve()
    check_libraries()
    from matter_sdk.export import pipeline  # torch and onnx

    return pipeline.run(resolved)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""

    def command() -> int:
        print(build(_parse(arguments)))
        return 0

    return run("export.build", command)


def _parse(arguments: Sequence[str] | None) -> BuildOptions:
    parser = Parser(
        "export.build",
        "Build an engine: checkpoint, ONNX, precision, TensorRT plans, verification.",
        "Progress goes to stderr, the path alone to stdout. Exit status: 0 built, 1 failed "
        "build or verification, 2 usage.",
        argument_default=argparse.SUPPRESS,  # those of BuildOptions
    )
    sizes = ", ".join(f"{height}x{width}" for height, width in DEFAULT_SIZES)
    add = parser.add_argument_group("network").add_argument
    add("--model", type=word, metavar="NAME", help=f"one of: {', '.join(networks.names())}")
    add(
        "--backbone",
        type=word,
        metavar="NAME",
        help=f"default: the demo checkpoint's. {_each(networks.backbones)}",
    )
    add(
        "--rosta",
        type=word,
        metavar="NAME",
        help="representation of semantics and transition areas, for those that have several. "
        f"{_each(networks.rostas, fewest=2)}",
    )
    add(
        "--without",
        type=word,
        metavar="PART",
        action="append",
        help="leave out a part, as the papers' ablation studies do; repeatable. "
        f"{_each(networks.parts)}",
    )
    add(
        "--weights",
        type=path,
        metavar="PATH",
        action="append",
        help="checkpoint, .safetensors or a released .pth; default: the demo checkpoint. For "
        f"--rosta {ENSEMBLE} one of all, or three times: {', '.join(ENSEMBLED)}",
    )
    add(
        "--classifier",
        type=path,
        metavar="PATH",
        help="sim: checkpoint of its patch classifier, which travels in the engine",
    )
    add(
        "--random-weights",
        action="store_true",
        help="fresh weights: for timing, the matte means nothing",
    )
    form = parser.add_argument_group("form")
    add = form.add_argument
    add(
        "--size",
        dest="sizes",
        type=size,
        metavar="HxW",
        action="append",
        help=f"network height and width; repeatable, the first is the main one (default: {sizes})",
    )
    add("--batch", type=whole, metavar="N", help="images in one run (default: 1)")
    half = form.add_mutually_exclusive_group()
    for name, what in (
        ("tf32", "float32 weights; GPU plans multiply in TF32, which keeps 11 bits of each factor"),
        ("fp16", "float16 GPU plans and stored weights"),
        ("bf16", "bfloat16 GPU plans, float16 stored weights"),
    ):
        half.add_argument(
            f"--{name}", dest="precision", action="store_const", const=name, help=what
        )
    add("--int8", action="store_true", help="a graph in 8 bits too, for CPUs where it is faster")
    add(
        "--calibrate",
        type=path,
        metavar="PATH",
        help="folder of pictures or video that --int8 measures ranges on (default: the "
        "verification pictures)",
    )
    add(
        "--opset",
        type=whole,
        metavar="N",
        help=f"ONNX operator set, {OPSETS.start} to {OPSETS.stop - 1}",
    )
    add(
        "--target",
        dest="targets",
        metavar="NAME",
        action="append",
        help=f"repeatable: {', '.join(TARGETS)} (default: auto, which is onnx and every TensorRT "
        "that can build here)",
    )
    add(
        "--unpool",
        metavar="FORM",
        help=f"{' or '.join(UNPOOLS)} (default: graph): max-unpools as plain operators, or in "
        "plans of the full TensorRT as a plugin, which such a plan then needs",
    )
    add(
        "--turing",
        action="store_true",
        help="a second plan of TensorRT for RTX, for GPUs of compute capability 7.5",
    )
    add(
        "--output",
        type=path,
        metavar="PATH",
        help="default: MODEL.engine in the current directory",
    )
    given = vars(parser.parse_args(arguments))
    if "model" not in given:
        raise UsageError(
            f"--model is missing; expected one of {', '.join(networks.names())}: "
            + installation.command("export.build", ["--model", networks.names()[0], "--fp16"])
        )
    repeated = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    return BuildOptions(**(given | repeated))


def _each(choices: Callable[[str], Sequence[str]], fewest: int = 1) -> str:
    """The choices of the networks that have so many, as "gfm: a, b; aim: c"."""
    known = {name: choices(name) for name in networks.names()}
    return "; ".join(f"{name}: {', '.join(x)}" for name, x in known.items() if len(x) >= fewest)


if __name__ == "__main__":
    start(main)  # stopped by the system as by Ctrl-C: the temporary folder goes
