"""Recipes: how each network is trained, as files that one reads in a minute.

``training/recipes/NAME.toml`` holds the entries of :class:`Recipe`. With ``extends = "OTHER"`` a
file takes over another's and changes some.

>>> load("gfm-resnet34-tt").batch
32

Nothing here imports torch.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from matter_sdk.sdk.engine.schema import (
    GIVEN,
    Place,
    Rule,
    build,
    entries,
    number,
    one_of,
    whole,
)
from matter_sdk.sdk.errors import expected_one_of
from matter_sdk.training import networks

_FOLDER = Path(__file__).parent


class RecipeError(ValueError):
    """A recipe that does not exist or cannot be used; the message says where and what instead."""


Positive = Annotated[int, whole(1)]
Count = Annotated[int, whole(0)]
Share = Annotated[float, number(0, 1.0001)]
Rate = Annotated[float, number(0, 10)]
Fraction = Annotated[float, number(0, 1)]
Size = Annotated[tuple[Positive, Positive], Rule("[height, width]")]


@dataclass(frozen=True, kw_only=True)
class Mix:
    """An entry of ``[[mix]]``: photographs that are drawn with a weight."""

    weight: Annotated[float, number(0, 1e6)]
    # Folders of data sets in that which --data names; none: procedural scenes.
    data: tuple[str, ...] = ()
    # What 128 in masks means (training.data.mattes.matte). none: nobody is in the pictures.
    labels: Annotated[str, one_of("hard", "trimap", "none")] = "hard"
    crop: Annotated[str, one_of("whole", "torso")] = "whole"  # torso: the subject's upper part
    composed: Share = 0.0  # share that is put before other backgrounds
    # Pictures whose mask a judge agrees with less than this serve only for that.
    agreement: Share = 0.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained: the entries of a recipe file.

    Those with a value here may be left out.
    """

    name: Annotated[str, GIVEN]  # the file's
    summary: str

    # The network, as `training.networks.create` calls it.
    network: Annotated[str, one_of(*networks.names())]
    backbone: str = ""  # "": the network's default
    rosta: str = ""
    without: tuple[str, ...] = ()
    # The paper's encoder starts from ImageNet weights (--backbone-weights).
    imagenet: bool = False
    # A checkpoint to start from, a path seen from the working folder; --weights names another.
    weights: str = ""
    # Take of it what has a place in the network, and leave the rest as it is.
    partial: bool = False

    # The data.
    source: Annotated[str, one_of("procedural", "natural", "composed", "mixed")]
    data: str = ""  # what --data is to hold, in words
    # With source = "mixed": what is drawn, and sets with nobody in them that go behind it.
    mix: tuple[Mix, ...] = ()
    backgrounds: tuple[str, ...] = ()
    # Sides of the squares that are cut from a picture; without any, all of it is taken.
    crops: tuple[Positive, ...] = ()
    # Heights and widths of the network's input, one of which is drawn for each step.
    sizes: Annotated[tuple[Size, ...], Rule("at least one [height, width]", bool)]
    scale: Annotated[float, number(0.05, 8)] = 1.0  # of these; small ones first converge sooner
    # Composites of each foreground in an epoch, by the dataset's layout.
    composites: Mapping[str, Positive] = field(default_factory=dict)
    by_type: bool = False  # AIM's augmentation: blur behind non-salient subjects

    # The length, in epochs or in steps.
    epochs: Count = 0
    epochs_composed: Count = 0  # with --background, where it differs
    steps: Count = 0
    batch: Positive  # samples of a step on each device
    accumulate: Positive = 1  # batches whose gradients make one step

    # The optimiser. `poly`: rate · (1 − step / steps)^power; `cosine`: to a hundredth.
    optimiser: Annotated[str, one_of("adam", "adamw", "sgd")]
    rate: Rate
    encoder_rate: Rate = 0.0  # of an encoder with weights; 0: as the rest
    schedule: Annotated[str, one_of("constant", "poly", "cosine")] = "constant"
    power: Annotated[float, number(0, 10)] = 0.9
    warm_up: Count = 0  # steps in which the rate rises to its height
    momentum: Fraction = 0.9  # of sgd
    weight_decay: Fraction = 0.0
    clip: Annotated[float, number(0, 1e6)] = 0.0  # of the gradient's norm; 0: none

    # Weight averaging: what each step keeps of the average; 0: none. The average's batch norms
    # are measured on `calibration` batches before it is validated and stored.
    average: Fraction = 0.0
    calibration: Count = 0
    half: bool = False  # store kernels as float16

    # Settings of `training.fit.objectives`.
    objective: Mapping[str, Any] = field(default_factory=dict)

    def describe(self) -> str:
        """Describe the network in a few words: ``gfm resnet34 tt without bridge``."""
        rosta = self.rosta or networks.rostas(self.network)[0]
        words = [self.network, self.backbone or networks.backbones(self.network)[0]]
        words += [rosta] if rosta != "none" else []
        return " ".join(words + [f"without {part}" for part in self.without])

    def length(self) -> str:
        """Describe the length: ``500 epochs``, ``500 epochs (composed: 100)`` or ``2000 steps``."""
        if self.steps:
            return f"{self.steps} steps"
        composed = f" (composed: {self.epochs_composed})" if self.epochs_composed else ""
        return f"{self.epochs} epochs{composed}"


def names() -> tuple[str, ...]:
    """Return the names of the recipes that come with the package."""
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
    found = _entries(path, ()) | entries(Recipe, changes or {}, _place("the command line"))
    recipe = build(Recipe, found | {"name": path.stem}, _place(path.name))
    if (recipe.steps > 0) == (recipe.epochs > 0):
        raise RecipeError(
            f"{path.name}: epochs is {recipe.epochs} and steps {recipe.steps}; expected exactly "
            "one of them above 0"
        )
    _check_network(path.name, recipe)
    if recipe.rosta == "en-median":
        raise RecipeError(
            f"{path.name}: rosta is 'en-median', which joins three trained networks; expected one "
            "of tt, ft, bt: train each, then load_ensemble"
        )
    return recipe


def changed(text: str) -> tuple[str, Any]:
    """Parse ``KEY=VALUE`` of the command line as a line of a recipe file.

    A string needs no quotes.

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
    """Format name, network, wanted data and length of recipes in columns."""
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
    """The entries of a file and of what it extends, read."""
    if path in seen:
        raise RecipeError(f"{path.name}: extends itself; expected another recipe")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"{path.name}: {error}; expected a TOML file") from error
    base = values.pop("extends", None)
    own = entries(Recipe, values, _place(path.name))
    if base is None:
        return own
    if not isinstance(base, str):
        raise _place(path.name).field("extends").wrong(base, "the name of a recipe")
    return _entries(_path(base), (*seen, path)) | own


def _place(where: str) -> Place:
    return Place(RecipeError, f"{where}:", where)


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
