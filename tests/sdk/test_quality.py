"""Named settings: what they choose, and that every knob can be set beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from matter_sdk.kernels import composite
from matter_sdk.sdk import EngineError, Matter
from matter_sdk.sdk.inference.quality import QUALITIES, resolve
from tests.sdk.checks import smooth_frame

SIZES = ((64, 128), (32, 64), (96, 192), (64, 64))  # three of one shape
OPTIONS: dict[str, Any] = {"backend": "onnxruntime", "threads": 1}


def test_a_name_with_other_values_is_custom() -> None:
    assert resolve("live") is QUALITIES["live"]
    assert resolve("live", guided=False) == QUALITIES["live"]
    mine = resolve("live", guided=True, lookahead=2)
    assert (mine.name, mine.guided, mine.lookahead) == ("custom", True, 2)
    assert (mine.pixels, mine.arithmetic, mine.clean) == ("fewest", "fastest", False)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("livid", {}, r"'livid'.* did you mean 'live'"),
        ("live", {"arithmetic": "int4"}, "'int4'"),
        ("live", {"guided": 1}, "guided is 1; expected True or False"),
        ("live", {"lookahead": -1}, "lookahead is -1; expected a whole number from 0 to 30"),
        ("live", {"reuse": True}, "reuse is True; expected a whole number from 0 to 30"),
    ],
)
def test_what_is_refused(name: str, options: dict[str, Any], message: str, tiny: Any) -> None:
    with pytest.raises(EngineError, match=message):
        resolve(name, **options)
    with pytest.raises(EngineError, match=message):
        Matter(tiny.build(), quality=name, **options)


@pytest.mark.parametrize(
    ("name", "wide", "square"),
    [("live", (32, 64), (64, 64)), ("balanced", (64, 128), (64, 64)), ("studio", (96, 192), None)],
)
def test_the_size_by_quality(
    tiny: Any, name: str, wide: tuple[int, int], square: tuple[int, int] | None
) -> None:
    with Matter(tiny.build(sizes=SIZES), quality=name, hybrid=False, **OPTIONS) as matter:
        assert matter.size == wide
        assert matter.prepare(smooth_frame((100, 200))).shape[2:] == wide
        if square is not None:
            assert matter.prepare(smooth_frame((90, 90))).shape[2:] == square
        assert matter.quality is QUALITIES[name]


def test_studio_takes_two_passes_where_the_engine_has_two_sizes_of_a_shape(tiny: Any) -> None:
    for sizes, expected in ((SIZES, True), (((64, 128), (64, 64)), False)):
        with Matter(tiny.build(sizes=sizes), quality="studio", **OPTIONS) as matter:
            assert ("hybrid" in matter.describe()) == expected
    with Matter(tiny.build(sizes=SIZES), quality="studio", hybrid=False, **OPTIONS) as matter:
        assert "hybrid" not in matter.describe()


@pytest.mark.parametrize("guided", [False, True])
def test_enlarging_is_that_of_the_kernel(tiny: Any, guided: bool) -> None:
    """And over() makes in one pass what alpha and blending make in two."""
    frame = smooth_frame((90, 160))
    with Matter(tiny.build(), guided=guided, **OPTIONS) as matter:
        small = matter.infer(matter.prepare(frame))
        matte = matter(frame)
        alpha = np.empty(frame.shape[:2], np.float32)
        shown = composite(frame, (9, 8, 7), small, guided=guided, clean=False, alpha_out=alpha)
        np.testing.assert_allclose(matte.alpha, alpha, atol=3e-3)  # of 1/510 is made 0
        assert np.abs(matte.over((9, 8, 7)).astype(int) - shown).max() <= 1
        plain = Matter(tiny.build("other.engine"), guided=not guided, **OPTIONS)
        assert np.abs(plain(frame).alpha - matte.alpha).max() > 0.02
        plain.close()


def test_clean_estimates_colours_without_being_told(tiny: Any) -> None:
    frame = smooth_frame((90, 160))
    with (
        Matter(tiny.build(), clean=True, **OPTIONS) as clean,
        Matter(tiny.build("other.engine"), **OPTIONS) as plain,
    ):
        expected = plain(frame).over("green", clean=True)
        assert (clean(frame).over("green") == expected).all()
        assert (clean(frame).over("green", clean=False) == plain(frame).over("green")).all()
        assert (plain(frame).over("green") != expected).any()
