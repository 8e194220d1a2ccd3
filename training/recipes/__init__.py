"""Recipes: how each network is trained, as files that one reads in a minute.

``training/recipes/NAME.toml`` holds the entries of :class:`Recipe`. With ``extends = "OTHER"`` a
file takes over another's and changes some.

>>> load("gfm-resnet34-tt").batch
32

Nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matter_sdk.sdk.errors import expected_one_of
from matter_sdk.training import networks

_FOLDER = Path(__file__).parent

# Returns the value of an entry as the recipe holds it, or raises ValueError.
_Reader = Callable[[Any], Any]


class RecipeError(ValueError):
    """A recipe that does not exist or cannot be used; the message says where and what instead."""


def _entry(expected: str, read: _Reader, default: Any = dataclasses.MISSING) -> Any:
    """A field of :class:`Recipe`: what its value is to be, in words and as a function that returns
    the value or raises ValueError."""
    return dataclasses.field(default=default, metadata={"expected": expected, "read": read})


def _need(holds: bool) -> None:
    if not holds:
        raise ValueError


def _text(default: Any = dataclasses.MISSING) -> Any:
    def read(value: Any) -> str:
        _need(isinstance(value, str))
        return value

    return _entry("a string", read, default)


def _choice(*options: str, default: Any = dataclasses.MISSING) -> Any:
    def read(value: Any) -> str:
        _need(value in options)
        return value

    return _entry(f"one of {', '.join(options)}", read, default)


def _truth(default: Any) -> Any:
    def read(value: Any) -> bool:
        _need(isinstance(value, bool))
        return value

    return _entry("true or false", read, default)


def _whole(least: int, default: Any = dataclasses.MISSING) -> Any:
    def read(value: Any) -> int:
        _need(isinstance(value, int) and not isinstance(value, bool) and value >= least)
        return value

    return _entry(f"a whole number of at least {least}", read, default)


def _number(least: float, below: float, default: Any = dataclasses.MISSING) -> Any:
    def read(value: Any) -> float:
        _need(isinstance(value, int | float) and not isinstance(value, bool))
        _need(least <= value < below)
        return float(value)

    return _entry(f"a number of at least {least:g} and below {below:g}", read, default)


def _list(expected: str, item: _Reader, default: Any = ()) -> Any:
    def read(value: Any) -> tuple[Any, ...]:
        _need(isinstance(value, list | tuple))
        return tuple(item(element) for element in value)

    return _entry(f"a list of {expected}", read, default)


def _string(value: Any) -> str:
    _need(isinstance(value, str))
    return value


def _side(value: Any) -> int:
    _need(isinstance(value, int) and not isinstance(value, bool) and value > 0)
    return value


def _pair(value: Any) -> tuple[int, int]:
    _need(isinstance(value, list | tuple) and len(value) == 2)
    return _side(value[0]), _side(value[1])


def _anything(value: Any) -> Any:
    return value


def _table(expected: str, item: _Reader) -> dict[str, Any]:
    """The metadata of a field that is a table, empty by default."""

    def read(value: Any) -> dict[str, Any]:
        _need(isinstance(value, dict))
        return {key: item(element) for key, element in value.items()}

    return {"expected": f"a table of {expected}", "read": read}


@dataclass(frozen=True, kw_only=True)
class Mix:
    """An entry of ``[[mix]]``: photographs that are drawn with a weight."""

    weight: float = _number(0, 1e6)
    # Folders of data sets in that which --data names; none: procedural scenes.
    data: tuple[str, ...] = _list("strings", _string)
    # What 128 in masks means (training.data.mattes.matte). none: nobody is in the pictures.
    labels: str = _choice("hard", "trimap", "none", default="hard")
    crop: str = _choice("whole", "torso", default="whole")  # torso: the subject's upper part
    composed: float = _number(0, 1.0001, 0.0)  # share that is put before other backgrounds
    # Pictures whose mask a judge agrees with less than this serve only for that.
    agreement: float = _number(0, 1.0001, 0.0)


def _mix(value: Any) -> Mix:
    _need(isinstance(value, dict))
    fields = {field.name: field for field in dataclasses.fields(Mix)}
    _need(set(value) <= set(fields) and "weight" in value)
    return Mix(**{key: fields[key].metadata["read"](entry) for key, entry in value.items()})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained. The entries of a recipe file; those with a value here may be
    left out."""

    name: str  # the file's
    summary: str = _text()

    # The network, as `training.networks.create` calls it.
    network: str = _choice(*networks.names())
    backbone: str = _text("")  # "": the network's default
    rosta: str = _text("")
    without: tuple[str, ...] = _list("strings", _string)
    # The paper's encoder starts from ImageNet weights (--backbone-weights).
    imagenet: bool = _truth(False)
    # A checkpoint to start from, a path seen from the working folder; --weights names another.
    weights: str = _text("")
    # Take of it what has a place in the network, and leave the rest as it is.
    partial: bool = _truth(False)

    # The data.
    source: str = _choice("procedural", "natural", "composed", "mixed")
    data: str = _text("")  # what --data is to hold, in words
    # With source = "mixed": what is drawn, and sets with nobody in them that go behind it.
    mix: tuple[Mix, ...] = _list(
        f"tables of {', '.join(field.name for field in dataclasses.fields(Mix))}", _mix
    )
    backgrounds: tuple[str, ...] = _list("strings", _string)
    # Sides of the squares that are cut from a picture; without any, all of it is taken.
    crops: tuple[int, ...] = _list("whole numbers above 0", _side)
    # Heights and widths of the network's input, one of which is drawn for each step.
    sizes: tuple[tuple[int, int], ...] = _list("[height, width]", _pair, dataclasses.MISSING)
    scale: float = _number(0.05, 8, 1.0)  # of these; small ones first converge sooner
    # Composites of each foreground in an epoch, by the dataset's layout.
    composites: dict[str, int] = dataclasses.field(
        default_factory=dict, metadata=_table("whole numbers above 0, by layout", _side)
    )
    by_type: bool = _truth(False)  # AIM's augmentation: blur behind non-salient subjects

    # The length, in epochs or in steps.
    epochs: int = _whole(0, 0)
    epochs_composed: int = _whole(0, 0)  # with --background, where it differs
    steps: int = _whole(0, 0)
    batch: int = _whole(1)  # samples of a step on each device
    accumulate: int = _whole(1, 1)  # batches whose gradients make one step

    # The optimiser. `poly`: rate · (1 − step / steps)^power; `cosine`: to a hundredth.
    optimiser: str = _choice("adam", "adamw", "sgd")
    rate: float = _number(0, 10)
    encoder_rate: float = _number(0, 10, 0.0)  # of an encoder with weights; 0: as the rest
    schedule: str = _choice("constant", "poly", "cosine", default="constant")
    power: float = _number(0, 10, 0.9)
    warm_up: int = _whole(0, 0)  # steps in which the rate rises to its height
    momentum: float = _number(0, 1, 0.9)  # of sgd
    weight_decay: float = _number(0, 1, 0.0)
    clip: float = _number(0, 1e6, 0.0)  # of the gradient's norm; 0: none

    # Weight averaging: what each step keeps of the average; 0: none. The average's batch norms
    # are measured on `calibration` batches before it is validated and stored.
    average: float = _number(0, 1, 0.0)
    calibration: int = _whole(0, 0)
    half: bool = _truth(False)  # store kernels as float16

    # Settings of `training.fit.objectives`.
    objective: dict[str, Any] = dataclasses.field(
        default_factory=dict, metadata=_table("settings", _anything)
    )

    def describe(self) -> str:
        """The network in a few words: ``gfm resnet34 tt without bridge``."""
        rosta = self.rosta or networks.rostas(self.network)[0]
        words = [self.network, self.backbone or networks.backbones(self.network)[0]]
        words += [rosta] if rosta != "none" else []
        return " ".join(words + [f"without {part}" for part in self.without])

    def length(self) -> str:
        """For a table: ``500 epochs``, ``500 (composed 100) epochs`` or ``2000 steps``."""
        if self.steps:
            return f"{self.steps} steps"
        composed = f" (composed: {self.epochs_composed})" if self.epochs_composed else ""
        return f"{self.epochs} epochs{composed}"


_FIELDS = {field.name: field for field in dataclasses.fields(Recipe) if field.name != "name"}


def names() -> tuple[str, ...]:
    """The recipes that come with the package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def load(name: str | Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        name: one of :func:`names`, or the path of a ``.toml`` file.
        changes: entries that replace those of the file.

    Raises:
        RecipeError: no such recipe; a file that is not TOML; an entry that is unknown, missing or
            of the wrong kind; a network, backbone, RoSTa or part that does not exist.
    """
    path = _path(name)
    entries = _entries(path, ())
    _check(path.name, entries)
    _check("the command line", changes or {})
    entries |= changes or {}
    read = {key: _FIELDS[key].metadata["read"](value) for key, value in entries.items()}
    missing = [
        key
        for key, field in _FIELDS.items()
        if key not in read
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        expected = _FIELDS[missing[0]].metadata["expected"]
        raise RecipeError(f"{path.name}: no {missing[0]!r}; expected {expected}")
    recipe = Recipe(name=path.stem, **read)
    if not recipe.sizes:
        raise RecipeError(f"{path.name}: sizes is []; expected at least one [height, width]")
    if (recipe.steps > 0) == (recipe.epochs > 0):
        raise RecipeError(
            f"{path.name}: epochs is {recipe.epochs} and steps {recipe.steps}; expected one of the "
            "two above 0"
        )
    _check_network(path.name, recipe)
    if recipe.rosta == "en-median":
        raise RecipeError(
            f"{path.name}: rosta is 'en-median', which joins three trained networks; expected one "
            "of tt, ft, bt: train each, then load_ensemble"
        )
    return recipe


def changed(text: str) -> tuple[str, Any]:
    """``KEY=VALUE`` of the command line → key and value, read as in a recipe file. A string needs
    no quotes.

    Raises:
        RecipeError: no ``=``.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise RecipeError(f"{text!r}; expected KEY=VALUE, such as rate=1e-4")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def table(recipes: Sequence[Recipe]) -> str:
    """Name, network, wanted data and length of recipes, in columns."""
    rows = [("recipe", "network", "data", "length", "")]
    rows += [
        (recipe.name, recipe.describe(), recipe.data or "none", recipe.length(), recipe.summary)
        for recipe in recipes
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[4]]).rstrip())
    return "\n".join(lines)


def _path(name: str | Path) -> Path:
    if Path(name).suffix == ".toml":
        path = Path(name)
        if not path.is_file():
            raise RecipeError(f"{path}: no such file; expected a recipe")
        return path
    path = _FOLDER / f"{name}.toml"
    if str(name) not in names():
        raise RecipeError(
            f"unknown recipe {str(name)!r}; expected the path of a .toml file, or "
            f"{expected_one_of(name, names()).removeprefix('expected ')}"
        )
    return path


def _entries(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """The entries of a file and of what it extends."""
    if path in seen:
        raise RecipeError(f"{path.name}: extends itself; expected another recipe")
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"{path.name}: {error}; expected a TOML file") from error
    base = entries.pop("extends", None)
    if base is None:
        return entries
    if not isinstance(base, str):
        raise RecipeError(f"{path.name}: extends is {base!r}; expected the name of a recipe")
    return _entries(_path(base), (*seen, path)) | entries


def _check(where: str, entries: Mapping[str, Any]) -> None:
    for key, value in entries.items():
        if key not in _FIELDS:
            raise RecipeError(f"{where}: unknown key {key!r}; {expected_one_of(key, _FIELDS)}")
        metadata = _FIELDS[key].metadata
        try:
            metadata["read"](value)
        except ValueError:
            raise RecipeError(
                f"{where}: {key} is {value!r}; expected {metadata['expected']}"
            ) from None


def _check_network(where: str, recipe: Recipe) -> None:
    backbone = recipe.backbone or networks.backbones(recipe.network)[0]
    parts = networks.parts(recipe.network, backbone)
    for value, kind, options in (
        (recipe.backbone, "backbone", networks.backbones(recipe.network)),
        (recipe.rosta, "rosta", networks.rostas(recipe.network)),
        *((part, "without", parts) for part in recipe.without),
    ):
        if value and value not in options:
            raise RecipeError(
                f"{where}: {kind} of {recipe.network} is {value!r}; "
                f"{expected_one_of(value, options)}"
            )
