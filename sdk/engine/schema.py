"""Read tables of JSON or TOML strictly into dataclasses: the reader of manifests and recipes.

The dataclass is the schema. A field's type says what its value is to be, and ``Annotated`` adds
rules to it:

>>> @dataclass(frozen=True)
... class Head:
...     name: str
...     channels: Annotated[int, whole(1, 1024)]
...     stride: Annotated[int, whole(1)] = 1
>>> read(Head, {"name": "focus", "channels": 1}, Place(ValueError, "head field"))
Head(name='focus', channels=1, stride=1)

Types: str, bool, int, float (finite; whole numbers too), Any, dataclasses, ``X | None``,
``tuple[X, ...]``, ``tuple[X, Y]`` and ``Mapping[str, X]``, each inside the others. A field may be
left out where it has a default and is not ``REQUIRED``, or may be None. Unknown names are refused,
with the nearest known one: a misspelt option that is quietly ignored would change results.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import (
    Annotated,
    Any,
    NamedTuple,
    Protocol,
    Self,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

from matter_sdk.sdk.errors import did_you_mean, expected_one_of

T = TypeVar("T")

REQUIRED = object()
"""In ``Annotated``: the table must have this field, though the dataclass has a default."""
GIVEN = object()
"""In ``Annotated``: the program fills in this field; a table must not have it."""


@dataclass(frozen=True)
class Rule:
    """What a value is to be: in words, and as a test of a value of the right type.

    ``known`` are the words to choose from, if any, for a hint at the nearest.
    """

    expected: str
    holds: Callable[[Any], bool] = lambda _: True
    known: tuple[str, ...] = ()


def whole(low: int, high: int | None = None) -> Rule:
    """A whole number from ``low`` to ``high``."""
    if high is None:
        return Rule(f"a whole number of at least {low}", lambda value: bool(value >= low))
    return Rule(f"a whole number from {low} to {high}", lambda value: bool(low <= value <= high))


def number(low: float, below: float) -> Rule:
    """A number of at least ``low`` and below ``below``."""
    expected = f"a number of at least {low:g} and below {below:g}"
    return Rule(expected, lambda value: bool(low <= value < below))


def one_of(*known: str) -> Rule:
    """One of these words."""
    expected = "one of " + ", ".join(map(repr, known)) if known[1:] else repr(known[0])
    return Rule(expected, lambda value: value in known, known)


def pattern(expression: str, expected: str) -> Rule:
    """Text that a regular expression matches from end to end."""
    return Rule(expected, lambda value: re.fullmatch(expression, value) is not None)


@dataclass(frozen=True)
class Place:
    """Where in a document a value stands, for its errors: ``manifest field 'models[0].size'``."""

    error: type[Exception]
    prefix: str
    document: str = "the document"
    path: str = ""

    def field(self, name: str) -> Place:
        """The field of this table."""
        return dataclasses.replace(self, path=f"{self.path}.{name}" if self.path else name)

    def item(self, index: int) -> Place:
        """The item of this list."""
        return dataclasses.replace(self, path=f"{self.path}[{index}]")

    def wrong(self, value: object, expected: str) -> Exception:
        """The error that says that the value here is another than expected."""
        shown = json.dumps(value, ensure_ascii=False, default=str)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        return self.error(f"{self} is {shown}; expected {expected}")

    def hold(self, value: Any, rule: Rule) -> None:
        """Raise the error unless the value meets the rule."""
        if not rule.holds(value):
            raise self.wrong(value, rule.expected + did_you_mean(value, rule.known))

    def __str__(self) -> str:
        return f"{self.prefix} {self.path!r}" if self.path else self.document


@runtime_checkable
class Checked(Protocol):
    """A dataclass with rules that span several fields."""

    def checked(self, at: Place) -> Self:
        """Itself, or as it is to be instead; raise ``at.wrong`` for what does not fit together."""


def read(kind: type[T], values: Any, at: Place) -> T:
    """Read a table into a dataclass.

    Args:
        kind: the dataclass; its annotations must resolve in its module.
        values: as ``json`` or ``tomllib`` return it.
        at: names the document and raises its errors.

    Raises:
        at.error: names the field, its value and what was expected.
    """
    return build(kind, entries(kind, values, at), at)


def entries(kind: type[Any], values: Any, at: Place) -> dict[str, Any]:
    """The fields that a table holds, each read and checked; others may still be missing.

    Raises:
        at.error: as in :func:`read`.
    """
    if not isinstance(values, dict):
        raise at.wrong(values, "a table")
    fields = _fields(kind)  # type: ignore[arg-type]
    hints = {name: field.hint for name, field in fields.items() if not field.given}
    for name in values:
        if name not in hints:
            raise at.error(f"{at.field(name)} is not known; {expected_one_of(name, hints)}")
    return {name: _read(hints[name], value, at.field(name)) for name, value in values.items()}


def build(kind: type[T], found: Mapping[str, Any], at: Place) -> T:
    """The dataclass of what :func:`entries` returned, of one table or of several joined.

    Raises:
        at.error: a field is missing, or fields do not fit together.
    """
    values = dict(found)
    for name, field in _fields(kind).items():  # type: ignore[arg-type]
        if name not in found and field.required:
            raise at.error(f"{at.field(name)} is missing; expected {_expected(field.hint)}")
        if name not in found and not field.has_default:
            values[name] = None
    result: Any = kind(**values)
    return cast(T, result.checked(at) if isinstance(result, Checked) else result)


class _Field(NamedTuple):
    """How a field of a dataclass is read."""

    hint: Any
    given: bool
    required: bool
    has_default: bool


@functools.cache
def _fields(kind: type[Any]) -> dict[str, _Field]:
    hints = get_type_hints(kind, include_extras=True)
    found = {}
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        defaults = (field.default, field.default_factory)
        has_default = any(default is not dataclasses.MISSING for default in defaults)
        required = REQUIRED in _marks(hint) or (
            not has_default and type(None) not in get_args(hint)
        )
        found[field.name] = _Field(hint, GIVEN in _marks(hint), required, has_default)
    return found


def _marks(hint: Any) -> tuple[Any, ...]:
    """What ``Annotated`` adds to a type."""
    return getattr(hint, "__metadata__", ())


def _rules(hint: Any) -> list[Rule]:
    return [mark for mark in _marks(hint) if isinstance(mark, Rule)]


def _read(hint: Any, value: Any, at: Place, expected: str = "") -> Any:
    """A value of any type; ``expected`` says it in words where the type alone would not."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        result = _read(inner[0], value, at, _expected(hint))
        for rule in _rules(hint):
            at.hold(result, rule)
        return result
    if origin in (Union, types.UnionType):  # X | None
        return None if value is None else _read(inner[0], value, at)
    expected = expected or _expected(hint)
    if hint is Any:
        return value
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return read(hint, value, at)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise at.wrong(value, expected)
        if inner[1:] != (...,) and len(value) != len(inner):
            raise at.wrong(value, expected)
        kinds = (inner[0],) * len(value) if inner[1:] == (...,) else inner
        return tuple(
            _read(kind, entry, at.item(index))
            for index, (kind, entry) in enumerate(zip(kinds, value, strict=True))
        )
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise at.wrong(value, expected)
        for name in value:
            for rule in _rules(inner[0]):
                at.hold(name, rule)
        return {name: _read(inner[1], entry, at.field(name)) for name, entry in value.items()}
    if hint is float:
        return _number(value, at, expected)
    if type(value) is not hint:
        raise at.wrong(value, expected)
    return value


def _number(value: Any, at: Place, expected: str) -> float:
    if type(value) not in (int, float):
        raise at.wrong(value, expected)
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise at.wrong(value, expected)
    return result


_WORDS = {str: "a string", bool: "true or false", int: "a whole number", float: "a number"}


def _expected(hint: Any) -> str:
    """What a value of this type is, in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return next((rule.expected for rule in _rules(hint)), _expected(inner[0]))
    if origin in (Union, types.UnionType):
        return _expected(inner[0])
    if origin is tuple:
        return "a list" if inner[1:] == (...,) else f"a list of {len(inner)}"
    return _WORDS.get(hint, "a table")
