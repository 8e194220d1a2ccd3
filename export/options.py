"""The options of a build, checked before anything heavy is imported."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from matter_sdk.export.errors import UsageError
from matter_sdk.export.stages import plans
from matter_sdk.sdk import installation
from matter_sdk.sdk.errors import did_you_mean, expected_one_of
from matter_sdk.sdk.files import PICTURE_SUFFIXES
from matter_sdk.training import networks

PRECISIONS = ("fp32", "tf32", "fp16", "bf16")
FULL = ("fp32", "tf32")  # with float32 weights
TARGETS = ("auto", "tensorrt", "tensorrt-rtx", "onnx")
UNPOOLS = ("graph", "plugin")
SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")  # of sim: .pth.tar

DEFAULT_SIZE = (288, 512)  # height and width
# Of a build that names none: landscape, portrait and square, so that no picture is squeezed much.
# ``Matter`` takes the size nearest to each frame's aspect ratio.
DEFAULT_SIZES = (DEFAULT_SIZE, (512, 288), (384, 384))
# The RoSTa of the ensemble, and those of its networks in their order; each may have a checkpoint.
ENSEMBLE, ENSEMBLED = "en-median", networks.JOINED
# Networks that take a semantic trimap -> the network that makes it.
CLASSIFIED = {"sim": "sim_classifier"}
# The networks that hold a max-unpool.
UNPOOLED = ("aim",)
MAX_SIDE = 8192
MAX_PIXELS = 4096 * 4096  # beyond it the first layers alone pass 2**31 numbers
MAX_BATCH = 64

# 18 is the first with the Resize and ReduceMean used here; runtimes do not read more than 23.
OPSETS = range(18, 24)


class Demo(NamedTuple):
    """A demo checkpoint, and the network that it is of."""

    path: Path
    backbone: str
    rosta: str


@dataclass(frozen=True)
class BuildOptions:
    """One build. :meth:`resolve` checks it, and chooses what is left empty.

    Attributes:
        model: the network's name.
        backbone, rosta: of the network.
        without: parts of the network to leave out.
        weights: the checkpoint; for the ensemble also one each for tt, ft and bt. Empty: the demo
            checkpoint, or fresh random weights with ``random_weights``.
        classifier: the checkpoint of SIM's patch classifier.
        sizes: (height, width) each; the first is the engine's main one.
        precision: one of ``PRECISIONS``.
        int8: whether to write a graph in 8 bits for CPU backends too.
        calibrate: folder of pictures, or video, on which INT8 is calibrated; None: the
            verification pictures.
        targets: "onnx", TensorRT runtimes, or "auto" for all that can be built for here.
        output: the engine's path; "{model}" in it stands for the network's name.
        opset: ONNX operator set.
        batch: images in one run.
        unpool: "graph", or "plugin" for plans of the full TensorRT.
        turing: whether to build a second plan of TensorRT for RTX, for GPUs of Turing.
        skipped: filled by ``resolve``: runtimes of "auto" that are left out, and why.
    """

    model: str
    backbone: str = ""
    rosta: str = ""
    without: tuple[str, ...] = ()
    weights: tuple[Path, ...] = ()
    classifier: Path | None = None
    random_weights: bool = False
    sizes: tuple[tuple[int, int], ...] = ()
    precision: str = "fp32"
    int8: bool = False
    calibrate: Path | None = None
    targets: tuple[str, ...] = ("auto",)
    output: Path = Path("{model}.engine")
    opset: int = 18
    batch: int = 1
    unpool: str = "graph"
    turing: bool = False
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def runtimes(self) -> tuple[str, ...]:
        """The TensorRT runtimes among the targets."""
        return tuple(target for target in self.targets if target in plans.MODULES)

    def resolve(self) -> BuildOptions:
        """Check everything, and choose what is left empty.

        Nothing heavy is imported for it.

        Raises:
            UsageError: received, expected, remedy, in one line.
        """
        model = _among("--model", self.model, networks.names())
        if self.weights and self.random_weights:
            raise UsageError(
                f"--weights {self.weights[0]} and --random-weights contradict each other; expected "
                "one of them: leave --random-weights out to build a network that mattes"
            )
        for path in self.weights:
            _readable("--weights", path)
        if self.backbone:
            _among("--backbone", self.backbone, networks.backbones(model))
        if self.rosta:
            _among("--rosta", self.rosta, networks.rostas(model))
        backbone, rosta, without = self.backbone, self.rosta, self.without
        stated = _metadata(self.weights[0]) if self.weights else {}
        if stated.get("network") == model:  # our own checkpoints know what they are
            backbone = backbone or stated.get("backbone", "")
            rosta = rosta or stated.get("rosta", "")
            without = without or tuple(filter(None, stated.get("without", "").split(",")))
        without = _without(model, backbone or networks.backbones(model)[0], without)
        weights = self.weights
        if not weights and not self.random_weights:
            demo = None if without else demo_checkpoint(model, backbone, rosta)
            if demo is None:
                raise UsageError(_no_demo(self))
            backbone, rosta, weights = demo.backbone, demo.rosta, (demo.path,)
        backbone = backbone or networks.backbones(model)[0]
        rosta = rosta or networks.rostas(model)[0]
        _check_count(self.weights, _among("--rosta", rosta, networks.rostas(model)))
        targets, skipped = _targets(self.targets)
        return dataclasses.replace(
            self,
            backbone=_among("--backbone", backbone, networks.backbones(model)),
            rosta=rosta,
            without=without,
            weights=weights,
            classifier=_classifier(self),
            sizes=_sizes(model, self.sizes),
            precision=_among("precision", self.precision, PRECISIONS),
            calibrate=_calibrate(self),
            targets=targets,
            skipped=skipped,
            output=_output(Path(str(self.output).replace("{model}", model))),
            opset=_whole("--opset", self.opset, OPSETS.start, OPSETS.stop - 1),
            batch=_whole("--batch", self.batch, 1, MAX_BATCH),
            unpool=_unpool(model, self.unpool, targets),
            turing=_turing(self.turing, targets),
        )


def demo_folders() -> tuple[Path, ...]:
    """Return where demo checkpoints are looked for: ``weights`` beside this package, then here."""
    return Path(__file__).resolve().parent.parent / "weights", Path.cwd() / "weights"


def demo_checkpoint(model: str, backbone: str = "", rosta: str = "") -> Demo | None:
    """Find the first ``<model>-<backbone>-<rosta>.safetensors``, in the networks' own order.

    An empty ``backbone`` or ``rosta`` fits any.
    """
    for wanted in [backbone] if backbone else networks.backbones(model):
        for other in [rosta] if rosta else networks.rostas(model):
            for folder in demo_folders():
                path = folder / f"{model}-{wanted}-{other}.safetensors"
                if path.is_file():
                    return Demo(path, wanted, other)
    return None


def _no_demo(options: BuildOptions) -> str:
    backbone = options.backbone or networks.backbones(options.model)[0]
    rosta = options.rosta or networks.rostas(options.model)[0]
    network = f"--model {options.model}"
    if len(networks.backbones(options.model)) > 1:
        network += f" --backbone {backbone}"
    if len(networks.rostas(options.model)) > 1:
        network += f" --rosta {rosta}"
    network += "".join(f" --without {part}" for part in options.without)
    command = f"{installation.command('export.build')} {network}"
    command += "" if options.precision == "fp32" else f" --{options.precision}"
    command += " --int8" if options.int8 else ""
    weights = " ".join(f"--weights {name}" for name in _placeholders(rosta))
    if options.model in CLASSIFIED:
        weights += " --classifier PATH"
    return (
        f"there is no demo checkpoint for {network}; expected --weights with a checkpoint: "
        f"{command} {weights} (or, to measure its speed only: {command} --random-weights)"
    )


def _placeholders(rosta: str) -> tuple[str, ...]:
    return tuple(part.upper() for part in ENSEMBLED) if rosta == ENSEMBLE else ("PATH",)


def _check_count(weights: Sequence[Path], rosta: str) -> None:
    """One checkpoint; for the ensemble one of all, or one for each of its networks."""
    if len(weights) < 2 or (rosta == ENSEMBLE and len(weights) == len(ENSEMBLED)):
        return
    ensemble = " ".join(f"--weights {name}" for name in _placeholders(ENSEMBLE))
    expected = (
        f"one of all, or {ensemble}, in this order"
        if rosta == ENSEMBLE
        else f"one (only the ensemble takes more: --rosta {ENSEMBLE} {ensemble})"
    )
    raise UsageError(f"--weights is given {len(weights)} times; expected {expected}")


def _without(model: str, backbone: str, given: Sequence[str]) -> tuple[str, ...]:
    """The parts to leave out, in the network's own order."""
    parts = networks.parts(model, backbone)
    for part in given:
        if not parts:
            some = "; ".join(
                f"{name}: {', '.join(networks.parts(name))}"
                for name in networks.names()
                if networks.parts(name)
            )
            raise UsageError(
                f"--without {part}: {model} has no parts to leave out; expected no --without "
                f"(those that have: {some})"
            )
        _among("--without", part, parts)
    return tuple(part for part in parts if part in given)


def _classifier(options: BuildOptions) -> Path | None:
    """The checkpoint of the network that makes the semantic trimap; None: none, or random."""
    model, path = options.model, options.classifier
    if path is None:
        helper = CLASSIFIED.get(model)
        if helper is None or options.random_weights:
            return None
        demo = demo_checkpoint(helper)
        if demo is None:
            raise UsageError(
                f"--classifier is missing; expected the checkpoint of {model}'s patch classifier, "
                "which makes its semantic trimap and travels in the engine: --classifier PATH"
            )
        return demo.path
    if model not in CLASSIFIED:
        raise UsageError(
            f"--classifier {path} does not fit --model {model}, which takes no semantic trimap; "
            f"expected it with --model {', '.join(CLASSIFIED)} only: leave it out"
        )
    if options.random_weights:
        raise UsageError(
            f"--classifier {path} and --random-weights contradict each other; expected one of "
            "them: with --random-weights the classifier's are random too"
        )
    return _readable("--classifier", path)


def picture_files(folder: Path) -> list[Path]:
    """Return the pictures in a folder, sorted by name."""
    return sorted(
        path
        for path in _beside(folder)
        if path.suffix.lower() in PICTURE_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    )


def _calibrate(options: BuildOptions) -> Path | None:
    """A folder with pictures, or a file, which may be a video."""
    path = options.calibrate
    if path is None:
        return None
    if not options.int8:
        raise UsageError(
            f"--calibrate {path} is of no use without --int8; expected both: add --int8"
        )
    if not path.exists():
        raise UsageError(
            f"--calibrate {path} does not exist; expected a folder of pictures or a video"
            f"{did_you_mean(path.name, [other.name for other in _beside(path.parent)])}"
        )
    if path.is_dir() and not picture_files(path):
        raise UsageError(
            f"--calibrate {path} holds no picture; expected files ending in "
            f"{', '.join(sorted(PICTURE_SUFFIXES))}"
        )
    return path


def _readable(flag: str, path: Path) -> Path:
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{flag} {path} ends in {path.suffix or 'nothing'!r}; expected a checkpoint ending in "
            f"{', '.join(SUFFIXES)}"
        )
    if path.is_dir():
        raise UsageError(f"{flag} {path} is a folder; expected a checkpoint file in it")
    if not path.exists():
        beside = [other.name for other in _beside(path.parent) if other.suffix.lower() in SUFFIXES]
        raise UsageError(
            f"{flag} {path} does not exist; expected a checkpoint file"
            f"{did_you_mean(path.name, beside)}"
        )
    if not path.is_file():
        raise UsageError(f"{flag} {path} is not an ordinary file; expected a checkpoint file")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise UsageError(
            f"{flag} {path} cannot be read ({error.strerror}); expected a readable file: check "
            "its permissions"
        ) from error
    if empty:
        raise UsageError(
            f"{flag} {path} is empty; expected a checkpoint: copy or download it again"
        )
    return path


def _metadata(path: Path) -> dict[str, str]:
    """What our own checkpoints say they are; empty for any other file, or a damaged one."""
    if path.suffix.lower() != ".safetensors":
        return {}
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > 100_000_000:  # safetensors' own limit
                return {}
            values = json.loads(file.read(length))["__metadata__"]
        return {key: value for key, value in values.items() if isinstance(value, str)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError):
        return {}


def _sizes(model: str, given: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    sizes = tuple(given) or DEFAULT_SIZES
    multiple = networks.size_multiple(model)
    for size in sizes:
        if len(size) != 2 or not all(type(side) is int for side in size):
            raise UsageError(
                f"--size {size!r} is not a size; expected height and width, such as --size 288x512"
            )
        height, width = size
        text = f"--size {height}x{width}"
        if min(size) < multiple or max(size) > MAX_SIDE:
            raise UsageError(
                f"{text} is out of range; expected sides from {multiple} to {MAX_SIDE}: "
                f"{_nearest(size, multiple)}"
            )
        if height % multiple or width % multiple:
            raise UsageError(
                f"{text} does not fit {model}; expected multiples of {multiple}: "
                f"{_nearest(size, multiple)}"
            )
        if height * width > MAX_PIXELS:
            raise UsageError(
                f"{text} has {height * width / 1e6:.0f} million pixels; expected at most "
                f"{MAX_PIXELS / 1e6:.0f} million: "
                "build a smaller size, the matte is scaled to the picture"
            )
        if sizes.count(size) > 1:
            raise UsageError(f"{text} is given {sizes.count(size)} times; expected each size once")
    return sizes


def _nearest(size: tuple[int, int], multiple: int) -> str:
    sides = [min(MAX_SIDE, max(multiple, round(side / multiple) * multiple)) for side in size]
    return f"the nearest is --size {sides[0]}x{sides[1]}"


def _targets(given: Sequence[str]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The targets without "auto", and what of it cannot be built for here, with the reason."""
    if not given:
        raise UsageError(f"no --target is given; expected one of {', '.join(TARGETS)}")
    for target in given:
        _among("--target", target, TARGETS)
    targets, skipped = ["onnx"], []
    for runtime in plans.MODULES:
        reason = plans.missing(runtime)
        if runtime in given and reason:
            raise UsageError(
                f"--target {runtime} cannot be built here; expected {runtime} to be usable: "
                f"{reason}"
            )
        if runtime in given or ("auto" in given and not reason):
            targets.append(runtime)
        elif "auto" in given:
            skipped.append((runtime, reason))
    return tuple(targets), tuple(skipped)


def _unpool(model: str, given: str, wanted: Sequence[str]) -> str:
    """The form of max-unpools in plans of the full TensorRT."""
    if _among("--unpool", given, UNPOOLS) == "graph":
        return given
    if model not in UNPOOLED:
        raise UsageError(
            f"--unpool plugin does not fit --model {model}, which holds no max-unpool; expected it "
            f"with --model {', '.join(UNPOOLED)} only: leave it out"
        )
    if "tensorrt" not in wanted:
        reason = plans.missing("tensorrt") or "add --target tensorrt"
        raise UsageError(
            "--unpool plugin is for plans of the full TensorRT (TensorRT for RTX has no plugins); "
            f"expected one to be built, or --unpool graph: {reason}"
        )
    return given


def _turing(given: bool, wanted: Sequence[str]) -> bool:
    if given and "tensorrt-rtx" not in wanted:
        reason = plans.missing("tensorrt-rtx") or "add --target tensorrt-rtx"
        raise UsageError(
            f"--turing is for plans of TensorRT for RTX; expected one to be built, or no --turing: "
            f"{reason}"
        )
    return given


def _output(path: Path) -> Path:
    if path.is_dir():
        raise UsageError(
            f"--output {path} is a folder; expected a file name, such as {path / 'gfm.engine'}"
        )
    if path.suffix != ".engine":
        raise UsageError(
            f"--output {path} ends in {path.suffix or 'nothing'!r}; expected .engine, such as "
            f"{path.stem or 'gfm'}.engine"
        )
    folder = path.parent
    if not folder.exists():
        raise UsageError(
            f"--output {path}: the folder {folder} does not exist; make it: mkdir -p {folder}"
        )
    if not folder.is_dir():
        raise UsageError(f"--output {path}: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(
            f"--output {path}: the folder {folder} is not writable; check its permissions"
        )
    return path


def _whole(flag: str, value: int, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise UsageError(
            f"{flag} {value!r} is out of range; expected a whole number from {low} to {high}"
        )
    return value


def _among(flag: str, value: str, known: Iterable[str]) -> str:
    known = tuple(known)
    if value not in known:
        raise UsageError(f"{flag}: {value!r} is not known; {expected_one_of(value, known)}")
    return value


def _beside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def check_libraries() -> None:
    """Check that the libraries that every build needs are installed.

    Raises:
        UsageError: names those that are not, and the line that installs them.
    """
    needed = ("torch", "onnx", "onnxscript", "onnxruntime", "safetensors", "scipy", "skimage")
    absent = [name for name in needed if importlib.util.find_spec(name) is None]
    if absent:
        raise UsageError(
            f"not installed: {', '.join(absent)}; install them: pip install 'matter-sdk[export]'"
        )
