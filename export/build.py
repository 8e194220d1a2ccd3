"""``python -m export.build``: a checkpoint → a verified ``.engine`` file.

    python -m export.build --model gfm --fp16

Progress and tables go to stderr, the engine's path alone to stdout. Exit status: 0 built, 1 failed
build or verification (nothing is written, an engine of the same name stays as it was), 2 usage.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    check,
    libraries_missing,
)
from matter_sdk.sdk.command_line import Parser, run, size, start, whole
from matter_sdk.training import networks

__all__ = ["BuildError", "BuildOptions", "UsageError", "build", "main"]


def build(options: BuildOptions) -> Path:
    """Build an engine and verify it; returns its path.

    Raises:
        UsageError: options that cannot be met; found before anything heavy is imported.
        BuildError: a step failed, or an artefact's matte is past its bound. Nothing is written.
    """
    checked = check(options)
    libraries_missing()
    from matter_sdk.export import pipeline  # torch and onnx

    return pipeline.run(checked)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""

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
    )
    known = "; ".join(f"{name}: {', '.join(networks.backbones(name))}" for name in networks.names())
    rostas = "; ".join(
        f"{name}: {', '.join(networks.rostas(name))}"
        for name in networks.names()
        if len(networks.rostas(name)) > 1
    )
    parts = "; ".join(
        f"{name}: {', '.join(networks.parts(name))}"
        for name in networks.names()
        if networks.parts(name)
    )
    sizes = ", ".join(f"{height}x{width}" for height, width in DEFAULT_SIZES)
    what = parser.add_argument_group("network")
    what.add_argument("--model", metavar="NAME", help=f"one of: {', '.join(networks.names())}")
    what.add_argument("--backbone", metavar="NAME", help=f"default: the demo checkpoint's. {known}")
    what.add_argument(
        "--rosta",
        metavar="NAME",
        help="representation of semantics and transition areas, for those that have several. "
        f"{rostas}",
    )
    what.add_argument(
        "--without",
        metavar="PART",
        action="append",
        help=f"leave out a part, as the papers' ablation studies do; repeatable. {parts}",
    )
    what.add_argument(
        "--weights",
        metavar="PATH",
        action="append",
        help="checkpoint, .safetensors or a released .pth; default: the demo checkpoint. For "
        f"--rosta {ENSEMBLE} one of all, or three times: {', '.join(ENSEMBLED)}",
    )
    what.add_argument(
        "--classifier",
        metavar="PATH",
        help="sim: checkpoint of its patch classifier, which travels in the engine",
    )
    what.add_argument(
        "--random-weights",
        action="store_true",
        help="fresh weights: for timing, the matte means nothing",
    )
    form = parser.add_argument_group("form")
    form.add_argument(
        "--size",
        type=size,
        metavar="HxW",
        action="append",
        default=[],
        help=f"network height and width; repeatable, the first is the main one (default: {sizes})",
    )
    form.add_argument(
        "--batch", type=whole, metavar="N", default=1, help="images in one run (default: 1)"
    )
    form.add_argument("--fp16", action="store_true", help="float16 GPU plans and stored weights")
    form.add_argument(
        "--bf16", action="store_true", help="bfloat16 GPU plans, float16 stored weights"
    )
    form.add_argument(
        "--int8", action="store_true", help="a graph in 8 bits too, for CPUs where it is faster"
    )
    form.add_argument(
        "--calibrate",
        metavar="PATH",
        help="folder of pictures or video that --int8 measures ranges on (default: the "
        "verification pictures)",
    )
    form.add_argument(
        "--opset",
        type=whole,
        metavar="N",
        default=18,
        help=f"ONNX operator set, {OPSETS.start} to {OPSETS.stop - 1}",
    )
    form.add_argument(
        "--target",
        metavar="NAME",
        action="append",
        help=f"repeatable: {', '.join(TARGETS)} (default: auto, which is onnx and every TensorRT "
        "that can build here)",
    )
    form.add_argument(
        "--unpool",
        metavar="FORM",
        default="graph",
        help=f"{' or '.join(UNPOOLS)} (default: graph): max-unpools as plain operators, or in "
        "plans of the full TensorRT as a plugin, which such a plan then needs",
    )
    form.add_argument(
        "--output", metavar="PATH", help="default: MODEL.engine in the current directory"
    )
    given = parser.parse_args(arguments)
    if given.model is None:
        raise UsageError(
            f"--model is missing; expected one of {', '.join(networks.names())}: python -m "
            "export.build --model "
            f"{networks.names()[0]} --fp16"
        )
    if given.fp16 and given.bf16:
        raise UsageError(
            "--fp16 and --bf16 contradict each other; expected at most one: leave one out"
        )
    for flag in (
        "model",
        "backbone",
        "rosta",
        "without",
        "weights",
        "classifier",
        "calibrate",
        "output",
    ):
        value = getattr(given, flag)
        values = value if isinstance(value, list) else [] if value is None else [value]
        if not all(text.strip() for text in values):
            raise UsageError(f"--{flag} is empty; expected a value, or no --{flag}")
    return BuildOptions(
        model=given.model,
        backbone=given.backbone,
        rosta=given.rosta,
        without=tuple(given.without or ()),
        weights=tuple(Path(path).expanduser() for path in given.weights or ()),
        classifier=None if given.classifier is None else Path(given.classifier).expanduser(),
        random_weights=given.random_weights,
        sizes=tuple(given.size),
        precision="fp16" if given.fp16 else "bf16" if given.bf16 else "fp32",
        int8=given.int8,
        calibrate=None if given.calibrate is None else Path(given.calibrate).expanduser(),
        targets=tuple(given.target or ("auto",)),
        output=None if given.output is None else Path(given.output).expanduser(),
        opset=given.opset,
        batch=given.batch,
        unpool=given.unpool,
    )


if __name__ == "__main__":
    start(main)  # stopped by the system as by Ctrl-C: the temporary folder goes
