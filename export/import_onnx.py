"""Make an engine of anybody's matting or segmentation network in ONNX.

    matter import model.onnx --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --size 320x320

The network takes one picture, float32 1×3×H×W, and gives a map of its subject. With ``--trimap`` it
takes a trimap too, of 0 background, 1/2 unknown and 1 foreground: as a fourth channel, or as a
second input 1×1×H×W. Its sizes may be fixed or symbolic; the engine holds those of ``--size``. Mean
and standard deviation are for channels in 0..1, or in 0..255 with ``--range 255``. The engine is
verified against the file itself in ONNX Runtime. Progress goes to stderr, the engine's path alone
to stdout. Exit status: 0 made, 1 failed, 2 usage.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from matter_sdk.export.errors import UsageError
from matter_sdk.sdk.command_line import Parser, path, run, size, start, whole, word
from matter_sdk.sdk.engine.manifest import ACTIVATIONS, ExtraInput, InputInfo
from matter_sdk.sdk.inference.trimaps import PLAIN

if TYPE_CHECKING:
    from matter_sdk.export.stages import Size

_LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "scipy", "skimage")


@dataclass(frozen=True)
class ImportOptions:
    """What is to be made of which file.

    Attributes:
        model: the ONNX file.
        output: the engine's path.
        sizes: (height, width) each; empty: the model's own, if that is fixed.
        mean, std: three each, of channels in 0..``range``.
        range: what white is in a channel before mean and standard deviation: 1 or 255.
        colour: order of the channels, "rgb" or "bgr".
        head: the output's name; empty: the only one, or the first.
        channel: which of the output's channels is the subject; None: it has one.
        activation: what turns the output to 0..1, one of ``ACTIVATIONS``.
        trimap: whether the network takes a trimap.
    """

    model: Path
    output: Path
    sizes: tuple[Size, ...] = ()
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    range: float = 1.0
    colour: str = "rgb"
    head: str = ""
    channel: int | None = None
    activation: str = "none"
    trimap: bool = False

    @property
    def multiple(self) -> int:
        """What all sides are multiples of, at most 32."""
        return math.gcd(32, *(side for one in self.sizes for side in one))

    def input(self) -> InputInfo:
        """The picture that the network takes, as an engine says it: of channels in 0..255."""
        white = 255 / self.range
        (r, g, b), (over_r, over_g, over_b) = self.mean, self.std
        return InputInfo(
            colour=self.colour,
            mean=(r * white, g * white, b * white),
            std=(over_r * white, over_g * white, over_b * white),
            multiple=self.multiple,
        )

    def extra_inputs(self) -> tuple[ExtraInput, ...]:
        """What the network takes beside the picture, as an engine says it."""
        return tuple(ExtraInput(*item) for item in PLAIN.items()) if self.trimap else ()

    def digest(self) -> str:
        """The file's SHA-256."""
        return hashlib.sha256(self.model.read_bytes()).hexdigest()


def import_onnx(options: ImportOptions) -> Path:
    """Make an engine and verify it; return its path.

    Raises:
        UsageError: a file or an option that does not fit.
        BuildError: the network cannot be an engine, or its mattes differ. Nothing is written.
    """
    if not options.model.is_file():
        raise UsageError(
            f"{options.model} is not a file; expected a network in ONNX. Check the path"
        )
    absent = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if absent:
        raise UsageError(
            f"not installed: {', '.join(absent)}; install them: pip install 'matter-sdk[export]'"
        )
    from matter_sdk.export import foreign  # onnx and torch

    model = foreign.read(options)
    sizes = options.sizes or (foreign.own_size(model, options),)
    return foreign.make(model, dataclasses.replace(options, sizes=sizes))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""

    def command() -> int:
        print(import_onnx(_parse(arguments)))
        return 0

    return run("export.import_onnx", command)


def _parse(arguments: Sequence[str] | None) -> ImportOptions:
    parser = Parser(
        "export.import_onnx",
        "Make an engine of a matting or segmentation network in ONNX.",
        "Exit status: 0 made, 1 failed (nothing is written), 2 usage.",
        argument_default=argparse.SUPPRESS,  # those of ImportOptions
    )
    add = parser.add_argument
    add("model", type=path, metavar="MODEL.onnx")
    add(
        "--output",
        type=path,
        metavar="PATH",
        help="file to write (default: MODEL.engine)",
    )
    add(
        "--size",
        dest="sizes",
        type=size,
        metavar="HxW",
        action="append",
        help="height and width; repeatable (default: the model's own, if it is fixed)",
    )
    add("--mean", type=three, metavar="R,G,B", help="subtract it from each channel (default: 0)")
    add("--std", type=three, metavar="R,G,B", help="then divide by it (default: 1)")
    add(
        "--range",
        type=float,
        choices=(1.0, 255.0),
        help="value of white, before --mean and --std (default: 1)",
    )
    add("--colour", choices=("rgb", "bgr"), help="order of the channels (default: rgb)")
    add(
        "--head",
        type=word,
        metavar="NAME",
        help="output that holds the matte (default: the first)",
    )
    add("--channel", type=whole, metavar="N", help="the channel of that output that is the subject")
    add(
        "--activation",
        choices=ACTIVATIONS,
        help="apply it to the output, to get 0..1 (default: none)",
    )
    add("--trimap", action="store_true", help="the network also takes a trimap, in 0..1")
    given = vars(parser.parse_args(arguments))
    default = Path(f"{given['model'].stem}.engine")
    return ImportOptions(**{"output": default, **given, "sizes": tuple(given.get("sizes", ()))})


def three(text: str) -> tuple[float, float, float]:
    """Three numbers, as ``0.5,0.5,0.5``; one stands for three."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise argparse.ArgumentTypeError(f"{text!r}, expected three numbers such as 0.5,0.5,0.5")
    return numbers[0], numbers[1], numbers[2]


if __name__ == "__main__":
    start(main)
