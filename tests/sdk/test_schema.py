"""The strict reader of tables: what each type takes, and how an error names its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Self

import pytest

from matter_sdk.sdk.engine.schema import (
    GIVEN,
    REQUIRED,
    Place,
    Rule,
    build,
    entries,
    number,
    one_of,
    pattern,
    read,
    whole,
)


class WrongError(ValueError):
    pass


AT = Place(WrongError, "a.toml:", "a.toml")


@dataclass(frozen=True)
class Inner:
    count: Annotated[int, whole(1, 9)]


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: Annotated[str, GIVEN] = "given"
    word: Annotated[str, one_of("red", "blue")]
    code: Annotated[str, pattern("[a-z]+", "small letters"), REQUIRED] = "abc"
    ratio: Annotated[float, number(0, 1)] = 0.0
    on: bool = False
    perhaps: Annotated[str, pattern("x+", "x")] | None
    pair: Annotated[tuple[int, int], Rule("[low, high]", lambda pair: pair[0] < pair[1])] = (0, 1)
    inner: tuple[Inner, ...] = ()
    one: Inner | None = None
    table: Mapping[Annotated[str, pattern("[a-z]", "a letter")], int] = field(default_factory=dict)
    free: Any = None

    def checked(self, at: Place) -> Self:
        if self.on and not self.ratio:
            raise at.field("ratio").wrong(self.ratio, "more than 0 where it is on")
        return self


LEAST: dict[str, Any] = {"word": "red", "code": "z"}


def test_every_type_is_read() -> None:
    values = {
        "ratio": 0,
        "on": False,
        "perhaps": "xx",
        "pair": [1, 2],
        "inner": [{"count": 1}, {"count": 9}],
        "one": {"count": 2},
        "table": {"a": 5},
        "free": [{}],
    }
    found = read(Outer, LEAST | values, AT)
    assert found == Outer(
        word="red",
        code="z",
        ratio=0.0,
        perhaps="xx",
        pair=(1, 2),
        inner=(Inner(1), Inner(9)),
        one=Inner(2),
        table={"a": 5},
        free=[{}],
    )
    assert type(found.ratio) is float


def test_what_may_be_left_out() -> None:
    assert read(Outer, LEAST, AT) == Outer(word="red", code="z", perhaps=None)
    assert read(Outer, LEAST | {"perhaps": None}, AT).perhaps is None


def test_several_tables_become_one() -> None:
    first, second = ({"word": "red", "code": "z"}, {"word": "blue"})
    found = entries(Outer, first, AT) | entries(Outer, second, AT)
    assert build(Outer, found | {"name": "both"}, AT).name == "both"
    assert build(Outer, found, AT).word == "blue"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x"}, "'name' is not known"),
        ({"wordd": "x"}, "'wordd' is not known; expected one of word, code, "),
        ({"word": "rde"}, "'word' is \"rde\"; expected one of 'red', 'blue'; did you mean 'red'?"),
        ({"word": 1}, "'word' is 1;"),
        ({"code": "A"}, "'code' is \"A\"; expected small letters"),
        ({"code": "a\n"}, "'code' is \"a\\n\";"),
        ({"ratio": 1}, "'ratio' is 1.0;"),
        ({"ratio": True}, "'ratio' is true;"),
        ({"ratio": float("nan")}, "'ratio' is NaN;"),
        ({"ratio": 10**400}, "'ratio' is 1000"),
        ({"ratio": "0"}, "'ratio' is \"0\";"),
        ({"on": 1}, "'on' is 1; expected true or false"),
        ({"on": True}, "'ratio' is 0.0; expected more than 0"),
        ({"perhaps": "y"}, "'perhaps' is \"y\";"),
        ({"pair": [1]}, "'pair' is [1]; expected [low, high]"),
        ({"pair": [2, 1]}, "'pair' is [2, 1]; expected [low, high]"),
        ({"pair": "12"}, "'pair' is \"12\";"),
        ({"pair": [1, None]}, "'pair[1]' is null;"),
        ({"inner": {}}, "'inner' is {};"),
        ({"inner": [{"count": 1}, {"count": 10}]}, "'inner[1].count' is 10;"),
        ({"inner": [3]}, "'inner[0]' is 3; expected a table"),
        ({"inner": [{}]}, "'inner[0].count' is missing; expected a whole number from 1 to 9"),
        (
            {"one": {"count": 1, "cuont": 1}},
            "'one.cuont' is not known; expected one of count; did you mean 'count'?",
        ),
        ({"one": {"count": True}}, "'one.count' is true;"),
        ({"table": []}, "'table' is [];"),
        ({"table": {"B": 1}}, "'table' is \"B\"; expected a letter"),
        ({"table": {"b": 1.0}}, "'table.b' is 1.0;"),
    ],
)
def test_an_error_names_place_and_value(values: dict[str, Any], message: str) -> None:
    with pytest.raises(WrongError) as caught:
        read(Outer, LEAST | values, AT)
    assert str(caught.value).startswith(f"a.toml: {message}")


def test_what_is_missing_or_no_table() -> None:
    with pytest.raises(WrongError, match="'code' is missing"):
        read(Outer, {"word": "red"}, AT)
    with pytest.raises(WrongError, match=r"a.toml is \[\]"):
        read(Outer, [], AT)
    with pytest.raises(WrongError) as caught:
        read(Outer, LEAST | {"word": "x" * 1000}, AT)
    assert len(str(caught.value)) < 200
