"""The manifest of an engine: what ``export/`` knows about a network and ``sdk/`` needs to run it.

It is written once, by the export, as ``manifest.json`` in the engine file and (without checksums
and verification) in the ``metadata_props`` of the ONNX graph. Reading validates every field: a
wrong type, an unknown name or a value out of range is an EngineError that names the field, the
value and what was expected. Unknown fields are refused too, with the nearest known one: a misspelt
option that is quietly ignored would change results.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from matter_sdk.sdk.errors import EngineError, did_you_mean, expected_one_of, printable

if TYPE_CHECKING:
    from matter_sdk.kernels import InputSpec

SCHEMA = 3
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
GENERAL_COMMAND = "python -m export.build --model gfm --fp16 --output gfm.engine"

# What each fusion rule reads: head name -> channels.
FUSIONS: dict[str, dict[str, int]] = {
    "tt": {"glance": 3, "focus": 1},
    "ft": {"glance": 2, "focus": 1},
    "bt": {"glance": 2, "focus": 1},
    "unified": {"glance": 3, "focus": 1},
    "alpha": {"alpha": 1},
    "cam": {"cam": 20},  # a classifier's class activation maps: no matte of its own
}
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
CPU_PRECISIONS = ("float32", "bfloat16")
# What each CPU backend can compute in. "int8 bfloat16": INT8, and bfloat16 in place of float32.
CPU_ARITHMETIC: dict[str, tuple[str, ...]] = {
    "openvino": ("float32", "bfloat16", "int8", "int8 bfloat16"),
    "onnxruntime": ("float32", "int8"),
}
RUNTIMES = ("tensorrt", "tensorrt-rtx")
STATUSES = ("passed", "failed", "not run")

CREATED_FORMAT = "%Y-%m-%dT%H:%M:%SZ"

_MEMBER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*(/[A-Za-z0-9_][A-Za-z0-9._+-]*)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class NetworkInfo:
    """Which network: the options of ``training.networks.create`` and what it costs."""

    name: str
    backbone: str
    rosta: str
    parameters: int = 0
    macs: Mapping[str, int] = field(default_factory=dict)  # "HxW" -> multiply-accumulates
    without: tuple[str, ...] = ()  # parts left out, as in the papers' ablation studies


@dataclass(frozen=True)
class InputInfo:
    """The image input: x = (v - mean) / std with v in 0..255, channels in the order ``colour``."""

    name: str = "image"
    layout: str = "NCHW"
    dtype: str = "float32"
    colour: str = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    multiple: int = 32

    def spec(self) -> InputSpec:
        """The same as ``kernels.InputSpec``, which ``kernels.preprocess`` takes."""
        from matter_sdk.kernels import InputSpec

        return InputSpec(colour=self.colour, mean=self.mean, std=self.std)


@dataclass(frozen=True)
class ExtraInput:
    """An input of the graph beside the image: float32 N×channels×H×W."""

    name: str
    channels: int


@dataclass(frozen=True)
class Head:
    """One output of the graph: float32 N×channels×⌈H/stride⌉×⌈W/stride⌉.

    Probabilities, but for a classifier's ``cam``. A glance with a stride is logits from before the
    network's last enlargement: they are to be interpolated between pixel centres and then compared
    (``kernels.collaborative_fusion``), as the enlargement and a softmax would have it.
    """

    name: str
    channels: int
    stride: int = 1


@dataclass(frozen=True)
class Int8Graph:
    """The graph of a size in 8 bits, for CPU backends: uint8 activations, int8 weights.

    ``data`` as in ``ModelEntry``. ``float32`` names the convolutions and matrix products that stay
    in floating point. It was calibrated on so many ``frames`` of ``source``, the name of a folder
    or video, or on the verification pictures where that is empty.
    """

    onnx: str
    data: str | None = None
    float32: tuple[str, ...] = ()
    frames: int = 0
    source: str = ""


@dataclass(frozen=True)
class Timing:
    """Median milliseconds of a run of one CPU backend in one of its ``CPU_ARITHMETIC``."""

    backend: str
    arithmetic: str
    ms: float


@dataclass(frozen=True)
class Measured:
    """What the build measured on its CPU, in turns: the preferred first.

    ``load`` is how many processes wanted a core meanwhile, on average; None where the system does
    not say.
    """

    cpu: str
    threads: int
    load: float | None
    timings: tuple[Timing, ...]


@dataclass(frozen=True)
class ModelEntry:
    """The ONNX graph for one network size (height, width).

    ``data`` is the member that holds external weights, or None: the same one for all sizes that
    share weights. ``cpu_precision`` is what OpenVINO
    computes in: "bfloat16" only where the export verified it within its bound. ``float32`` names
    the operators that plans of half precision compute in float32, since their values were measured
    to pass what float16 holds. ``int8`` and ``measured`` may be None: a build without ``--int8``,
    and one before schema 3.
    """

    size: tuple[int, int]
    onnx: str
    data: str | None = None
    cpu_precision: str = "float32"
    float32: tuple[str, ...] = ()
    int8: Int8Graph | None = None
    measured: Measured | None = None

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
    """A TensorRT plan built ahead of time; ``compute_capability`` such as "9.0", None: any GPU.

    ``plugins`` names those of ``sdk.backends.unpool_plugin`` that it needs.
    """

    runtime: str
    version: str
    compute_capability: str | None
    size: tuple[int, int]
    file: str
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True)
class WeightsFile:
    """One more checkpoint of a network that is made of several."""

    source: str
    sha256: str


@dataclass(frozen=True)
class WeightsInfo:
    """The checkpoint that the engine was built from; ``random`` weights are for timing only.

    ``more``: the others of an ensemble, in its order.
    """

    source: str
    sha256: str
    random: bool
    licence: str
    more: tuple[WeightsFile, ...] = ()

    def sources(self) -> tuple[str, ...]:
        """The files' names, in order."""
        return (self.source, *(file.source for file in self.more))


@dataclass(frozen=True)
class Member:
    """Checksum and length of one member of the archive."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Verification:
    """How far one artefact's alpha is from the PyTorch network's on the verification images.

    ``share`` is SAD as a part of the matte's own scale, the sum of PyTorch's alpha.
    """

    artefact: str
    size: tuple[int, int]
    precision: str
    status: str
    reason: str = ""
    sad: float | None = None
    mse: float | None = None
    mad: float | None = None
    grad: float | None = None
    conn: float | None = None
    largest: float | None = None
    share: float | None = None
    bound: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """Everything about an engine but its weights. See the module docstring.

    ``extra_inputs``: what the graph takes beside the image, in order. ``parts``: further networks
    that travel in the same file, each with a manifest of its own whose members stand in this one's
    checksums (SIM's patch classifier is the part ``classifier``).
    """

    network: NetworkInfo
    input: InputInfo
    heads: tuple[Head, ...]
    fusion: str
    batch: int
    precision: str
    models: tuple[ModelEntry, ...]
    plans: tuple[PlanEntry, ...]
    weights: WeightsInfo
    versions: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, Member] = field(default_factory=dict)
    verification: tuple[Verification, ...] = ()
    extra_inputs: tuple[ExtraInput, ...] = ()
    parts: Mapping[str, Manifest] = field(default_factory=dict)
    matter: str = ""
    created: str = "1980-01-01T00:00:00Z"
    schema: int = SCHEMA

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Parse and validate.

        Raises:
            EngineError: names the field, its value and what was expected.
        """
        return _manifest(_Fields(_parse(text), ""))

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
        """The ``python -m export.build`` line that builds this engine again."""
        network = self.network
        words = ["python", "-m", "export.build", "--model", network.name]
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
        words += ["--output", output]
        return " ".join(shlex.quote(word) for word in words)


def check_member_name(name: str) -> None:
    """Refuse a member name that could leave the archive or mean different things on two systems.

    Allowed: letters, digits, ``. _ + -`` in parts that start with a letter, digit or underscore,
    parts joined by ``/``. So no absolute path, no "..", no drive, no backslash, no hidden or empty
    part.

    Raises:
        EngineError: for any other name.
    """
    if len(name) > 255 or not _MEMBER.fullmatch(name):
        raise EngineError(
            f"member {name[:300]!r} is not a plain path inside the archive; expected a name such "
            f"as 'model.onnx' or 'plans/tensorrt-rtx-1.7.plan'"
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


class _Fields:
    """One JSON object being read: checked getters, and no field left over at the end."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(where, value, "an object")
        self.values: dict[str, Any] = value
        self.where = where

    def path(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name

    def names(self, known: Iterable[str], optional: Iterable[str] = ()) -> None:
        required, every = tuple(known), (*known, *optional)
        for name in self.values:
            if name not in every:
                raise EngineError(
                    f"manifest field {self.path(name)!r} is not known; "
                    f"{expected_one_of(name, every)}"
                )
        for name in required:
            if name not in self.values:
                raise EngineError(
                    f"manifest field {self.path(name)!r} is missing; expected the fields "
                    f"{', '.join(required)}"
                )

    def text(self, name: str, default: str = "", among: Iterable[str] = ()) -> str:
        value = self.values.get(name, default)
        if not isinstance(value, str):
            raise _wrong(self.path(name), value, "a string")
        among = tuple(among)
        if among and value not in among:
            expected = "one of " + ", ".join(map(repr, among)) if among[1:] else repr(among[0])
            raise _wrong(self.path(name), value, expected + did_you_mean(value, among))
        return value

    def word(self, name: str) -> str:
        value = self.text(name)
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", value):
            raise _wrong(self.path(name), value, "a name of letters, digits, '_', '.' and '-'")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.values.get(name, [])
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise _wrong(self.path(name), value, "a list of strings")
        return tuple(value)

    def digest(self, name: str) -> str:
        value = self.text(name)
        if not _SHA256.fullmatch(value):
            raise _wrong(self.path(name), value, "64 hexadecimal digits")
        return value

    def integer(self, name: str, low: int, high: int, default: int = 0) -> int:
        return _integer(self.path(name), self.values.get(name, default), low, high)

    def boolean(self, name: str) -> bool:
        value = self.values[name]
        if not isinstance(value, bool):
            raise _wrong(self.path(name), value, "true or false")
        return value

    def triple(self, name: str, *, positive: bool = False) -> tuple[float, float, float]:
        value = self.values[name]
        kind = "three numbers above zero" if positive else "three numbers"
        if not isinstance(value, list) or len(value) != 3:
            raise _wrong(self.path(name), value, kind)
        numbers = [_number(self.path(name), entry, kind) for entry in value]
        if positive and min(numbers) <= 0:
            raise _wrong(self.path(name), value, kind)
        return numbers[0], numbers[1], numbers[2]

    def size(self, name: str, multiple: int) -> tuple[int, int]:
        value = self.values[name]
        expected = f"[height, width], each a multiple of {multiple} from {multiple} to {MAX_SIDE}"
        if not isinstance(value, list) or len(value) != 2:
            raise _wrong(self.path(name), value, expected)
        for side in value:
            if type(side) is not int or not 0 < side <= MAX_SIDE or side % multiple:
                raise _wrong(self.path(name), value, expected)
        return value[0], value[1]

    def member(self, name: str) -> str:
        value = self.text(name)
        try:
            check_member_name(value)
        except EngineError as error:
            raise EngineError(f"manifest field {self.path(name)!r}: {error}") from None
        return value

    def objects(self, name: str) -> list[_Fields]:
        value = self.values.get(name, [])
        if not isinstance(value, list):
            raise _wrong(self.path(name), value, "a list")
        return [_Fields(entry, f"{self.path(name)}[{index}]") for index, entry in enumerate(value)]

    def object(self, name: str) -> _Fields:
        return _Fields(self.values.get(name, {}), self.path(name))


def _wrong(where: str, value: object, expected: str) -> EngineError:
    shown = json.dumps(value, ensure_ascii=False)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    place = f"manifest field {where!r}" if where else "the manifest"
    return EngineError(f"{place} is {shown}; expected {expected}")


def _check_time(where: str, created: str) -> None:
    expected = "a UTC time such as '2026-01-31T12:00:00Z' in the years 1980 to 2107"
    try:
        year = datetime.strptime(created, CREATED_FORMAT).year
    except ValueError as error:
        raise _wrong(where, created, expected) from error
    if not 1980 <= year <= 2107:  # what a ZIP's time stamp can say
        raise _wrong(where, created, expected)


def _integer(where: str, value: object, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise _wrong(where, value, f"a whole number from {low} to {high}")
    return value


def _number(where: str, value: object, expected: str = "a number") -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(where, value, expected)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _wrong(where, value, expected)
    return number


def _manifest(fields: _Fields) -> Manifest:
    schema = fields.values.get("schema")
    if type(schema) is int and schema > SCHEMA:
        # First of all: nothing else about a future manifest can be judged.
        raise EngineError(
            f"the engine has schema {schema}, this package reads schema 1 to {SCHEMA}; upgrade the "
            f"package: pip install --upgrade matter-sdk"
        )
    fields.names(
        (
            "schema",
            "network",
            "input",
            "heads",
            "fusion",
            "batch",
            "precision",
            "models",
            "weights",
        ),
        (
            "matter",
            "created",
            "plans",
            "versions",
            "members",
            "verification",
            "extra_inputs",
            "parts",
        ),
    )
    fields.integer("schema", 1, SCHEMA)
    created = fields.text("created", Manifest.created)
    _check_time(fields.path("created"), created)
    input_info = _input(fields.object("input"))
    versions = fields.object("versions")
    manifest = Manifest(
        schema=SCHEMA,
        matter=fields.text("matter"),
        created=created,
        network=_network(fields.object("network")),
        input=input_info,
        heads=tuple(_head(entry) for entry in fields.objects("heads")),
        fusion=fields.text("fusion", among=FUSIONS),
        batch=fields.integer("batch", 1, 1024),
        precision=fields.text("precision", among=PRECISIONS),
        models=tuple(_model(entry, input_info.multiple) for entry in fields.objects("models")),
        plans=tuple(_plan(entry, input_info.multiple) for entry in fields.objects("plans")),
        weights=_weights(fields.object("weights")),
        versions={name: versions.text(name) for name in versions.values},
        members={name: _member(name, fields) for name in fields.object("members").values},
        verification=tuple(
            _verification(entry, input_info.multiple) for entry in fields.objects("verification")
        ),
        extra_inputs=tuple(_extra_input(entry) for entry in fields.objects("extra_inputs")),
        parts=_parts(fields.object("parts")),
    )
    _check_together(manifest, fields)
    return manifest


def _check_together(manifest: Manifest, fields: _Fields) -> None:
    """What no field shows by itself: heads that fit the fusion, sizes and files that agree."""
    heads = {head.name: head.channels for head in manifest.heads}
    if len(heads) != len(manifest.heads):
        raise EngineError(
            f"manifest field {fields.path('heads')!r} names a head twice: "
            f"{[h.name for h in manifest.heads]}; expected each once"
        )
    if len(manifest.inputs) != 1 + len(manifest.extra_inputs):
        raise EngineError(
            f"manifest field {fields.path('extra_inputs')!r} names an input twice: "
            f"{[manifest.input.name, *(x.name for x in manifest.extra_inputs)]}; expected each once"
        )
    for name, channels in FUSIONS[manifest.fusion].items():
        if heads.get(name) != channels:
            raise EngineError(
                f"manifest field {fields.path('heads')!r} is {heads}; the fusion "
                f"{manifest.fusion!r} expects {FUSIONS[manifest.fusion]}"
            )
    sizes = [model.size for model in manifest.models]
    models = fields.path("models")
    if not sizes:
        raise EngineError(f"manifest field {models!r} is empty; expected at least one network size")
    if len(set(sizes)) != len(sizes):
        raise EngineError(f"manifest field {models!r} has a size twice: {sizes}")
    for index, plan in enumerate(manifest.plans):
        if plan.size not in sizes:
            raise EngineError(
                f"manifest field '{fields.path('plans')}[{index}].size' is {list(plan.size)}; "
                f"expected one of the models' sizes: {[list(size) for size in sizes]}"
            )
    if MANIFEST in manifest.files():
        raise EngineError(
            f"the manifest names {MANIFEST!r} as a model or plan; expected another member"
        )


def _parts(fields: _Fields) -> dict[str, Manifest]:
    parts = {}
    for name in fields.values:
        part = fields.object(name)
        for forbidden in ("members", "parts"):  # members are the whole file's
            if part.values.get(forbidden):
                raise _wrong(part.path(forbidden), part.values[forbidden], "nothing in a part")
        parts[name] = _manifest(part)
    return parts


def _network(fields: _Fields) -> NetworkInfo:
    fields.names(("name", "backbone", "rosta"), ("parameters", "macs", "without"))
    macs = fields.object("macs")
    return NetworkInfo(
        name=fields.word("name"),
        backbone=fields.word("backbone"),
        rosta=fields.word("rosta"),
        parameters=fields.integer("parameters", 0, 10**12),
        macs={name: macs.integer(name, 0, 10**18) for name in macs.values},
        without=fields.texts("without"),
    )


def _input(fields: _Fields) -> InputInfo:
    fields.names(("name", "layout", "dtype", "colour", "mean", "std", "multiple"))
    return InputInfo(
        name=fields.text("name", among=("image",)),
        layout=fields.text("layout", among=("NCHW",)),
        dtype=fields.text("dtype", among=("float32",)),
        colour=fields.text("colour", among=("rgb", "bgr")),
        mean=fields.triple("mean"),
        std=fields.triple("std", positive=True),
        multiple=fields.integer("multiple", 1, 1024),
    )


def _extra_input(fields: _Fields) -> ExtraInput:
    fields.names(("name", "channels"))
    return ExtraInput(name=fields.word("name"), channels=fields.integer("channels", 1, 1024))


def _head(fields: _Fields) -> Head:
    fields.names(("name", "channels"), ("stride",))
    return Head(
        name=fields.word("name"),
        channels=fields.integer("channels", 1, 1024),
        stride=fields.integer("stride", 1, 1024, 1),
    )


def _model(fields: _Fields, multiple: int) -> ModelEntry:
    fields.names(("size", "onnx"), ("data", "cpu_precision", "float32", "int8", "measured"))
    int8, measured = (fields.values.get(name) for name in ("int8", "measured"))
    entry = ModelEntry(
        size=fields.size("size", multiple),
        onnx=fields.member("onnx"),
        data=None if fields.values.get("data") is None else fields.member("data"),
        cpu_precision=fields.text("cpu_precision", "float32", CPU_PRECISIONS),
        float32=fields.texts("float32"),
        int8=None if int8 is None else _int8(fields.object("int8")),
        measured=None if measured is None else _measured(fields.object("measured")),
    )
    if entry.int8 is None and entry.measured is not None:
        for timing in entry.measured.timings:
            if "int8" in timing.arithmetic:
                where = f"{fields.path('measured')}.timings"
                raise _wrong(where, timing.arithmetic, "no INT8 without an INT8 graph")
    return entry


def _int8(fields: _Fields) -> Int8Graph:
    fields.names(("onnx",), ("data", "float32", "frames", "source"))
    return Int8Graph(
        onnx=fields.member("onnx"),
        data=None if fields.values.get("data") is None else fields.member("data"),
        float32=fields.texts("float32"),
        frames=fields.integer("frames", 0, 10**6),
        source=fields.text("source"),
    )


def _measured(fields: _Fields) -> Measured:
    fields.names(("cpu", "threads", "timings"), ("load",))
    load = fields.values.get("load")
    timings = []
    for entry in fields.objects("timings"):
        entry.names(("backend", "arithmetic", "ms"))
        backend = entry.text("backend", among=CPU_ARITHMETIC)
        timings.append(
            Timing(
                backend,
                entry.text("arithmetic", among=CPU_ARITHMETIC[backend]),
                _number(entry.path("ms"), entry.values["ms"]),
            )
        )
    return Measured(
        cpu=fields.text("cpu"),
        threads=fields.integer("threads", 1, 1024),
        load=None if load is None else _number(fields.path("load"), load),
        timings=tuple(timings),
    )


def _plan(fields: _Fields, multiple: int) -> PlanEntry:
    fields.names(("runtime", "version", "size", "file"), ("compute_capability", "plugins"))
    capability = fields.values.get("compute_capability")
    if capability is not None and not re.fullmatch(r"\d+\.\d+", fields.text("compute_capability")):
        raise _wrong(fields.path("compute_capability"), capability, "null or such as '9.0'")
    return PlanEntry(
        runtime=fields.text("runtime", among=RUNTIMES),
        version=fields.word("version"),
        compute_capability=capability,
        size=fields.size("size", multiple),
        file=fields.member("file"),
        plugins=fields.texts("plugins"),
    )


def _weights(fields: _Fields) -> WeightsInfo:
    fields.names(("source", "sha256", "random", "licence"), ("more",))
    random = fields.boolean("random")
    more = []
    for entry in fields.objects("more"):
        entry.names(("source", "sha256"))
        more.append(WeightsFile(entry.text("source"), entry.digest("sha256")))
    return WeightsInfo(
        source=fields.text("source"),
        sha256="" if random and not fields.text("sha256") else fields.digest("sha256"),
        random=random,
        licence=fields.text("licence"),
        more=tuple(more),
    )


def _member(name: str, fields: _Fields) -> Member:
    check_member_name(name)
    entry = _Fields(fields.values["members"][name], f"members.{name}")
    entry.names(("sha256", "bytes"))
    return Member(sha256=entry.digest("sha256"), bytes=entry.integer("bytes", 0, 1 << 50))


def _verification(fields: _Fields, multiple: int) -> Verification:
    metrics = ("sad", "mse", "mad", "grad", "conn", "largest", "share")
    fields.names(("artefact", "size", "precision", "status"), ("reason", *metrics, "bound"))
    bound = fields.object("bound")
    numbers = {
        name: None
        if fields.values.get(name) is None
        else _number(fields.path(name), fields.values[name])
        for name in metrics
    }
    return Verification(
        artefact=fields.text("artefact"),
        size=fields.size("size", multiple),
        precision=fields.text("precision"),
        status=fields.text("status", among=STATUSES),
        reason=fields.text("reason"),
        bound={name: _number(bound.path(name), value) for name, value in bound.values.items()},
        **numbers,
    )
