"""The manifest of an engine: what ``export/`` knows about a network and ``sdk/`` needs to run it.

It is written once, by the export, as ``manifest.json`` in the engine file and (without checksums
and verification) in the ``metadata_props`` of the ONNX graph. Reading validates every field
(``sdk.engine.schema``): a wrong type, an unknown name or a value out of range is an EngineError
that names the field, the value and what was expected.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Self

from matter_sdk.sdk.engine.schema import REQUIRED, Place, Rule, one_of, pattern, read, whole
from matter_sdk.sdk.errors import EngineError, printable
from matter_sdk.sdk.installation import command

if TYPE_CHECKING:
    from matter_sdk.kernels import InputSpec

SCHEMA = 4
"""The schema that this package writes; every schema from 1 up to it is read."""

MAX_SIDE = 8192
"""Largest network height or width accepted, in pixels."""

MAX_MANIFEST = 1 << 20
"""Longest manifest accepted, in bytes; one of thirty sizes with verification has some 100,000."""
MAX_DEPTH = 12
MAX_VALUES = 50_000
MAX_STRING = 4096
"""Deepest nesting, most values and longest string (also a name) in a manifest."""
MAX_DIGITS = 20

MANIFEST = "manifest.json"
FOREIGN = "imported"
"""The network's name in an engine that was made of an ONNX file of others."""

# What each fusion rule reads: head name -> channels.
FUSIONS: dict[str, dict[str, int]] = {
    "tt": {"glance": 3, "focus": 1},
    "ft": {"glance": 2, "focus": 1},
    "bt": {"glance": 2, "focus": 1},
    "unified": {"glance": 3, "focus": 1},
    "alpha": {"alpha": 1},
    "cam": {"cam": 20},  # a classifier's class activation maps: no matte of its own
}
ACTIVATIONS = ("none", "sigmoid", "softmax")
"""What turns an output of an imported network to 0..1."""
PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8")
CPU_PRECISIONS = ("float32", "bfloat16")
# What each CPU backend can compute in. "int8 bfloat16": INT8, and bfloat16 in place of float32.
CPU_ARITHMETIC: dict[str, tuple[str, ...]] = {
    "openvino": ("float32", "bfloat16", "int8", "int8 bfloat16"),
    "onnxruntime": ("float32", "int8"),
}
RUNTIMES = ("tensorrt", "tensorrt-rtx")
RTX_SERVES = ("8.0", "8.6", "8.9", "12.0+")
"""What a plan of TensorRT for RTX serves where nothing else was asked for: not 7.5, 9.0 or 10.x."""
STATUSES = ("passed", "failed", "not run")

CREATED_FORMAT = "%Y-%m-%dT%H:%M:%SZ"

_MEMBER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*(/[A-Za-z0-9_][A-Za-z0-9._+-]*)*")


def _is_member(name: str) -> bool:
    return len(name) <= 255 and _MEMBER.fullmatch(name) is not None


def _is_time(text: str) -> bool:
    try:
        year = datetime.strptime(text, CREATED_FORMAT).year
    except ValueError:
        return False
    return 1980 <= year <= 2107  # what a ZIP's time stamp can say


def _is_size(size: tuple[int, int]) -> bool:
    return all(0 < side <= MAX_SIDE for side in size)


# What the fields below hold.
Word = Annotated[
    str,
    pattern(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", "a name of letters, digits, '_', '.' and '-'"),
]
Digest = Annotated[str, pattern(r"[0-9a-f]{64}", "64 hexadecimal digits")]
MemberName = Annotated[
    str, Rule("a plain path inside the archive, such as 'plans/a-1.7.plan'", _is_member)
]
Size = Annotated[tuple[int, int], Rule(f"[height, width], each from 1 to {MAX_SIDE}", _is_size)]
Channels = Annotated[int, whole(1, 1024)]
Three = Annotated[tuple[float, float, float], Rule("three numbers")]
Time = Annotated[
    str,
    Rule("a UTC time such as '2026-01-31T12:00:00Z' in the years 1980 to 2107", _is_time),
]
_POSITIVE = Rule("three numbers above zero", lambda numbers: min(numbers) > 0)


@dataclass(frozen=True)
class NetworkInfo:
    """Which network: the options of ``training.networks.create`` and what it costs."""

    name: Word
    backbone: Word
    rosta: Word
    parameters: Annotated[int, whole(0, 10**12)] = 0
    # "HxW" -> multiply-accumulates
    macs: Mapping[str, Annotated[int, whole(0, 10**18)]] = field(default_factory=dict)
    without: tuple[str, ...] = ()  # parts left out, as in the papers' ablation studies


@dataclass(frozen=True)
class InputInfo:
    """The image input: x = (v - mean) / std with v in 0..255, channels in the order ``colour``."""

    name: Annotated[str, one_of("image"), REQUIRED] = "image"
    layout: Annotated[str, one_of("NCHW"), REQUIRED] = "NCHW"
    dtype: Annotated[str, one_of("float32"), REQUIRED] = "float32"
    colour: Annotated[str, one_of("rgb", "bgr"), REQUIRED] = "rgb"
    mean: Annotated[Three, REQUIRED] = (0.0, 0.0, 0.0)
    std: Annotated[Three, _POSITIVE, REQUIRED] = (1.0, 1.0, 1.0)
    multiple: Annotated[int, whole(1, 1024), REQUIRED] = 32

    def spec(self) -> InputSpec:
        """The same as ``kernels.InputSpec``, which ``kernels.preprocess`` takes."""
        from matter_sdk.kernels import InputSpec

        return InputSpec(colour=self.colour, mean=self.mean, std=self.std)


@dataclass(frozen=True)
class ExtraInput:
    """An input of the graph beside the image: float32 N×channels×H×W."""

    name: Word
    channels: Channels


@dataclass(frozen=True)
class Head:
    """One output of the graph: float32 N×channels×⌈H/stride⌉×⌈W/stride⌉.

    Probabilities, but for a classifier's ``cam``. A glance with a stride is logits from before the
    network's last enlargement: they are to be interpolated between pixel centres and then compared
    (``kernels.collaborative_fusion``), as the enlargement and a softmax would have it.
    """

    name: Word
    channels: Channels
    stride: Annotated[int, whole(1, 1024)] = 1


@dataclass(frozen=True)
class Int8Graph:
    """The graph of a size in 8 bits, for CPU backends: uint8 activations, int8 weights.

    ``data`` as in ``ModelEntry``. ``float32`` names the convolutions and matrix products that stay
    in floating point. It was calibrated on so many ``frames`` of ``source``, the name of a folder
    or video, or on the verification pictures where that is empty.
    """

    onnx: MemberName
    data: MemberName | None = None
    float32: tuple[str, ...] = ()
    frames: Annotated[int, whole(0, 10**6)] = 0
    source: str = ""


@dataclass(frozen=True)
class Timing:
    """Median milliseconds of a run of one CPU backend in one of its ``CPU_ARITHMETIC``."""

    backend: Annotated[str, one_of(*CPU_ARITHMETIC)]
    arithmetic: str
    ms: float

    def checked(self, at: Place) -> Self:
        """The arithmetic is one of the backend's."""
        at.field("arithmetic").hold(self.arithmetic, one_of(*CPU_ARITHMETIC[self.backend]))
        return self


@dataclass(frozen=True)
class Measured:
    """What the build measured on its CPU, in turns: the preferred first.

    ``load`` is how many processes wanted a core meanwhile, on average; None where the system does
    not say.
    """

    cpu: str
    threads: Annotated[int, whole(1, 1024)]
    load: float | None
    timings: tuple[Timing, ...]


@dataclass(frozen=True)
class ModelEntry:
    """The ONNX graph for one network size (height, width).

    ``data`` is the member that holds external weights, or None: the same one for all sizes that
    share weights. ``cpu_precision`` is what OpenVINO computes in: "bfloat16" only where the export
    verified it within its bound. ``float32`` names the operators that plans of half precision
    compute in float32, since their values were measured to pass what float16 holds. ``int8`` and
    ``measured`` may be None: a build without ``--int8``, and one before schema 3.
    """

    size: Size
    onnx: MemberName
    data: MemberName | None = None
    cpu_precision: Annotated[str, one_of(*CPU_PRECISIONS)] = "float32"
    float32: tuple[str, ...] = ()
    int8: Int8Graph | None = None
    measured: Measured | None = None

    def checked(self, at: Place) -> Self:
        """INT8 was measured only where there is an INT8 graph."""
        timings = self.measured.timings if self.measured else ()
        for index, timing in enumerate(timings):
            if self.int8 is None and "int8" in timing.arithmetic:
                where = at.field("measured").field("timings").item(index).field("arithmetic")
                raise where.wrong(timing.arithmetic, "no INT8 without an INT8 graph")
        return self

    def on_cpu(self, arithmetic: str) -> ModelEntry:
        """As a CPU backend runs it: the graph of this arithmetic, named by ``cpu_precision``."""
        if "int8" not in arithmetic:
            return dataclasses.replace(self, cpu_precision=arithmetic)
        if self.int8 is None:
            raise EngineError(
                f"there is no INT8 graph of {self.size[0]}x{self.size[1]}; expected one: build "
                f"the engine again with --int8"
            )
        return dataclasses.replace(
            self, onnx=self.int8.onnx, data=self.int8.data, cpu_precision=arithmetic
        )


@dataclass(frozen=True)
class PlanEntry:
    """A TensorRT plan built ahead of time, for one ``compute_capability`` such as "9.0".

    Where that is None, it is for those of ``serves``: "12.0+" is 12.0 and later. An empty
    ``serves`` is of a file from before it was recorded, and means ``RTX_SERVES``. ``plugins`` names
    those of ``sdk.backends.unpool_plugin`` that the plan needs.
    """

    runtime: Annotated[str, one_of(*RUNTIMES)]
    version: Word
    compute_capability: Annotated[str, pattern(r"\d+\.\d+", "null or such as '9.0'")] | None
    size: Size
    file: MemberName
    plugins: tuple[str, ...] = ()
    serves: tuple[Annotated[str, pattern(r"\d+\.\d+\+?", "such as '8.9' or '12.0+'")], ...] = ()

    def capabilities(self) -> tuple[str, ...]:
        """All that it serves, as in ``serves``."""
        one = self.compute_capability
        return (one,) if one is not None else self.serves or RTX_SERVES

    def fits(self, capability: str) -> bool:
        """Whether it serves a GPU of this compute capability, such as "8.9"."""
        return any(
            capability == served
            or (served.endswith("+") and _numbers(capability) >= _numbers(served[:-1]))
            for served in self.capabilities()
        )

    def gpus(self) -> str:
        """What it serves, in words: "compute capability 8.9, 12.0 and later"."""
        served = ", ".join(self.capabilities()).replace("+", " and later")
        return f"compute capability {served}"


def _numbers(capability: str) -> tuple[int, ...]:
    return tuple(map(int, capability.split(".")))


@dataclass(frozen=True)
class WeightsFile:
    """One more checkpoint of a network that is made of several."""

    source: str
    sha256: Digest


@dataclass(frozen=True)
class WeightsInfo:
    """The checkpoint that the engine was built from; ``random`` weights are for timing only.

    ``more``: the others of an ensemble, in its order.
    """

    source: str
    sha256: Annotated[str, pattern(r"([0-9a-f]{64})?", "64 hexadecimal digits")]
    random: bool
    licence: str
    more: tuple[WeightsFile, ...] = ()

    def checked(self, at: Place) -> Self:
        """Only random weights have no checksum."""
        if not self.sha256 and not self.random:
            raise at.field("sha256").wrong(self.sha256, "64 hexadecimal digits")
        return self

    def sources(self) -> tuple[str, ...]:
        """The files' names, in order."""
        return (self.source, *(file.source for file in self.more))


@dataclass(frozen=True)
class Imported:
    """How alpha comes of an imported network: ``channel`` of its output ``head``, activated."""

    head: str
    channel: Annotated[int, whole(0, 10**9)] = 0
    activation: Annotated[str, one_of(*ACTIVATIONS)] = "none"


@dataclass(frozen=True)
class Member:
    """Checksum and length of one member of the archive."""

    sha256: Digest
    bytes: Annotated[int, whole(0, 1 << 50)]


@dataclass(frozen=True)
class Verification:
    """How far one artefact's alpha is from the PyTorch network's on the verification images.

    ``share`` is SAD as a part of the matte's own scale, the sum of PyTorch's alpha.
    """

    artefact: str
    size: Size
    precision: str
    status: Annotated[str, one_of(*STATUSES)]
    reason: str = ""
    sad: float | None = None
    mse: float | None = None
    mad: float | None = None
    grad: float | None = None
    conn: float | None = None
    largest: float | None = None
    share: float | None = None
    bound: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything about an engine but its weights. See the module docstring.

    ``extra_inputs``: what the graph takes beside the image, in order. ``parts``: further networks
    that travel in the same file, each with a manifest of its own whose members stand in this one's
    checksums (SIM's patch classifier is the part ``classifier``). ``imported``: of a network of
    others alone; None in engines before schema 4.
    """

    network: NetworkInfo
    input: InputInfo
    heads: tuple[Head, ...]
    fusion: Annotated[str, one_of(*FUSIONS)]
    batch: Annotated[int, whole(1, 1024)]
    precision: Annotated[str, one_of(*PRECISIONS)]
    models: Annotated[tuple[ModelEntry, ...], Rule("at least one network size", bool)]
    plans: tuple[PlanEntry, ...] = ()
    weights: WeightsInfo
    versions: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[MemberName, Member] = field(default_factory=dict)
    verification: tuple[Verification, ...] = ()
    extra_inputs: tuple[ExtraInput, ...] = ()
    parts: Mapping[str, Manifest] = field(default_factory=dict)
    imported: Imported | None = None
    matter: str = ""
    created: Time = "1980-01-01T00:00:00Z"
    schema: Annotated[int, whole(1, SCHEMA), REQUIRED] = SCHEMA

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Parse and validate.

        Raises:
            EngineError: names the field, its value and what was expected.
        """
        values = _parse(text)
        schema = values.get("schema") if isinstance(values, dict) else None
        if type(schema) is int and schema > SCHEMA:
            # First of all: nothing else about a future manifest can be judged.
            raise EngineError(
                f"the engine has schema {schema}, this package reads schema 1 to {SCHEMA}; upgrade "
                f"the package: pip install --upgrade matter-sdk"
            )
        return read(cls, values, Place(EngineError, "manifest field", "the manifest"))

    def checked(self, at: Place) -> Self:
        """What no field shows by itself: heads that fit the fusion, sizes and files that agree."""
        for name, names in (("heads", [h.name for h in self.heads]), ("models", self._sizes())):
            if len(set(names)) != len(names):
                raise at.field(name).wrong(names, "each once")
        inputs = [self.input.name, *(extra.name for extra in self.extra_inputs)]
        if len(self.inputs) != len(inputs):
            raise at.field("extra_inputs").wrong(inputs, "each input once")
        heads = {head.name: head.channels for head in self.heads}
        if not heads.items() >= FUSIONS[self.fusion].items():
            expected = f"{FUSIONS[self.fusion]} for the fusion {self.fusion!r}"
            raise at.field("heads").wrong(heads, expected)
        multiple = self.input.multiple
        whole_size = Rule(
            f"[height, width], each a multiple of {multiple} from {multiple} to {MAX_SIDE}",
            lambda size: not any(side % multiple for side in size),
        )
        for name in ("models", "plans", "verification"):
            for index, entry in enumerate(getattr(self, name)):
                at.field(name).item(index).field("size").hold(entry.size, whole_size)
        for index, plan in enumerate(self.plans):
            if plan.size not in self._sizes():
                where = at.field("plans").item(index).field("size")
                raise where.wrong(plan.size, f"one of the models' sizes: {self._sizes()}")
        if MANIFEST in self.files():
            raise at.field("models").wrong(MANIFEST, "another member for a model or plan")
        for name, part in self.parts.items():
            for forbidden in ("members", "parts"):  # members are the whole file's
                if getattr(part, forbidden):
                    where = at.field("parts").field(name).field(forbidden)
                    raise where.wrong(list(getattr(part, forbidden)), "nothing in a part")
        return dataclasses.replace(self, schema=SCHEMA)

    def _sizes(self) -> list[tuple[int, int]]:
        return [model.size for model in self.models]

    def to_json(self, *, brief: bool = False) -> str:
        """As JSON; ``brief`` leaves out checksums and verification (for ONNX metadata)."""
        return json.dumps(
            self._values(brief),
            indent=None if brief else 2,
            ensure_ascii=False,
            allow_nan=False,
        )

    def _values(self, brief: bool) -> dict[str, Any]:
        left_out = ("members", "verification") if brief else ()
        order = ["schema", "matter", "created"]
        order += [f.name for f in dataclasses.fields(self) if f.name not in (*order, *left_out)]
        values = dataclasses.asdict(dataclasses.replace(self, parts={}))
        values["parts"] = {name: part._values(brief) for name, part in self.parts.items()}
        return {name: values[name] for name in order}

    def files(self) -> list[str]:
        """The members that ``models``, ``plans`` and those of ``parts`` name, each once."""
        names: list[str] = []
        for model in self.models:
            for graph in (model, model.int8):
                if graph is not None:
                    names += [graph.onnx] + ([graph.data] if graph.data else [])
        names += [plan.file for plan in self.plans]
        for part in self.parts.values():
            names += part.files()
        return list(dict.fromkeys(names))

    @property
    def inputs(self) -> dict[str, int]:
        """All inputs of the graph in their order: name -> channels."""
        return {self.input.name: 3} | {extra.name: extra.channels for extra in self.extra_inputs}

    def demo_weights(self) -> str:
        """The name of the demo checkpoint for this network, which the export finds by itself."""
        return f"{self.network.name}-{self.network.backbone}-{self.network.rosta}.safetensors"

    def build_command(self, output: str = "gfm.engine") -> str:
        """The command line of ``export.build`` that builds this engine again."""
        network = self.network
        if network.name == FOREIGN:
            return command("export.import_onnx", [*self._import_words(), "--output", output])
        words = ["--model", network.name]
        words += ["--backbone", network.backbone]
        words += [] if network.rosta == "none" else ["--rosta", network.rosta]
        for name in network.without:
            words += ["--without", name]
        if self.weights.random:
            words.append("--random-weights")
        elif self.weights.source != self.demo_weights():
            for source in self.weights.sources():
                words += ["--weights", source]
            for name, part in self.parts.items():
                words += [f"--{name}", part.weights.source]
        if self.precision != "fp32":
            words.append(f"--{self.precision}")
        quantised = next((model.int8 for model in self.models if model.int8), None)
        if quantised is not None:
            words.append("--int8")
            words += ["--calibrate", quantised.source] if quantised.source else []
        for model in self.models:
            words += ["--size", f"{model.size[0]}x{model.size[1]}"]
        if self.batch != 1:
            words += ["--batch", str(self.batch)]
        if any(plan.plugins for plan in self.plans):
            words += ["--unpool", "plugin"]
        if any(p.runtime == "tensorrt-rtx" and p.fits("7.5") for p in self.plans):
            words.append("--turing")
        words += ["--output", output]
        return command("export.build", words)

    def _import_words(self) -> list[str]:
        """The words for ``export.import_onnx``; before schema 4 nothing told of the output."""
        words = [self.weights.source, "--range", "255", "--colour", self.input.colour]
        for name, numbers in (("mean", self.input.mean), ("std", self.input.std)):
            words += [f"--{name}", ",".join(f"{number:g}" for number in numbers)]
        words += ["--trimap"] if self.extra_inputs else []
        if self.imported is not None:
            words += ["--head", self.imported.head, "--channel", str(self.imported.channel)]
            words += ["--activation", self.imported.activation]
        for model in self.models:
            words += ["--size", f"{model.size[0]}x{model.size[1]}"]
        return words


def check_member_name(name: str) -> None:
    """Refuse a member name that could leave the archive or mean different things on two systems.

    Allowed: letters, digits, ``. _ + -`` in parts that start with a letter, digit or underscore,
    parts joined by ``/``. So no absolute path, no "..", no drive, no backslash, no hidden or empty
    part.

    Raises:
        EngineError: for any other name.
    """
    if not _is_member(name):
        raise EngineError(
            f"member {name[:300]!r} is not a plain path inside the archive; expected a name such "
            f"as 'model.onnx' or 'plans/tensorrt-rtx-1.7.1.116.plan'"
        )


def _parse(text: str | bytes) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in pairs:
            if key in result:
                raise ValueError(f"the field {key!r} stands twice")
            result[key] = value
        return result

    def constant(name: str) -> float:
        raise ValueError(f"the number {name}")

    def whole(digits: str) -> int:
        if len(digits) > MAX_DIGITS:
            raise ValueError(f"a number of {len(digits)} digits")
        return int(digits)

    if len(text) > MAX_MANIFEST:
        raise EngineError(
            f"the manifest is {len(text):,} long; expected at most {MAX_MANIFEST:,} bytes"
        )
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        value = json.loads(text, object_pairs_hook=unique, parse_constant=constant, parse_int=whole)
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors are ValueErrors
        raise EngineError(
            f"the manifest is not valid JSON ({error}); expected an object"
        ) from error
    _check_size(value)
    return value


def _check_size(value: Any) -> None:
    """Refuse what is too deep, too much or too long, and text that could steer a terminal."""
    waiting, depth, count = [value], 0, 0
    while waiting:
        depth, count = depth + 1, count + len(waiting)
        if depth > MAX_DEPTH or count > MAX_VALUES:
            raise EngineError(
                f"the manifest has more than {MAX_VALUES:,} values or is nested more than "
                f"{MAX_DEPTH} deep; expected less"
            )
        inner: list[Any] = []
        for one in waiting:
            if isinstance(one, dict):
                inner += [*one, *one.values()]
            elif isinstance(one, list):
                inner += one
            elif isinstance(one, str) and (len(one) > MAX_STRING or printable(one) != one):
                raise EngineError(
                    f"the manifest holds the text {json.dumps(one[:40])} of {len(one):,} "
                    f"characters; expected at most {MAX_STRING:,}, and no control characters"
                )
        waiting = inner
