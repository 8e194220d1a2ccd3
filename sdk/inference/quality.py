"""Named settings for how much work goes into a matte.

==========  ==============  ==============  ==========  ============  =====================  =======
name        network size    CPU arithmetic  two passes  enlarged      over time              old rim
==========  ==============  ==============  ==========  ============  =====================  =======
live        fewest pixels   fastest, INT8   no          interpolated  filtered               left
balanced    the first       as measured     no          by the frame  filtered               left
studio      most pixels     float32         1/3, 1/2    by the frame  filtered, looks ahead  removed
==========  ==============  ==============  ==========  ============  =====================  =======

The network size is one of the engine's, among those whose shape is nearest to the frame's. INT8 is
taken where the engine holds a graph of it that the build measured to be the fastest, and two passes
(the hybrid-resolution test) where it holds two sizes of the frame's shape. "By the frame": alpha
follows the frame's colours where it is enlarged (a guided filter, ``kernels.composite``). "Over
time": in streams and videos, see ``sdk.streaming.temporal_filter``; only files can look ahead.
There ``live`` and ``balanced`` also skip the network for up to three frames in a row where nothing
happens (``sdk.streaming.stillness``).
"Old rim": the old background's colour around the subject. To remove it ``Matte.over`` blends the
estimated colours of the subject and not the frame's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from matter_sdk.sdk.errors import EngineError, expected_one_of
from matter_sdk.sdk.inference.sizes import Scales

ARITHMETIC = ("fastest", "measured", "float32")


@dataclass(frozen=True)
class Quality:
    """The settings behind a name.

    Attributes:
        name: one of ``QUALITIES``, or "custom" where an option differs from it.
        pixels: which of the engine's sizes of one shape: that of the "fewest" pixels, the "first"
            that was built, or of the "most".
        arithmetic: of CPU backends: "fastest" takes what the build found the fastest, also a
            verified INT8 graph; "measured" the fastest in floating point; "float32" that.
        hybrid: scales of two passes where the engine can do them, or None for one.
        guided: whether alpha follows the frame's colours where it is enlarged.
        clean: whether ``Matte.over`` estimates the subject's own colours.
        temporal: whether streams and videos filter alpha over time.
        lookahead: frames that the filter looks ahead in files.
        reuse: frames in a row of streams and videos that may take over the alpha of the last one
            that the network saw, where nothing happens (``sdk.streaming.stillness``).
        quick: whether videos are encoded for speed (``VideoWriter``).
    """

    name: str
    pixels: str
    arithmetic: str
    hybrid: Scales | None
    guided: bool
    clean: bool
    temporal: bool
    lookahead: int
    reuse: int = 0
    quick: bool = False


QUALITIES: Mapping[str, Quality] = MappingProxyType(
    {
        quality.name: quality
        for quality in (
            Quality("live", "fewest", "fastest", None, False, False, True, 0, 3, quick=True),
            Quality("balanced", "first", "measured", None, True, False, True, 0, 3),
            Quality("studio", "most", "float32", (1 / 3, 1 / 2), True, True, True, 4),
        )
    }
)
"""The settings by name: "live", "balanced" (the default) and "studio"."""


def resolve(name: str, **options: Any) -> Quality:
    """Look up a quality by name and replace its fields by those ``options`` that are not None.

    Raises:
        EngineError: an unknown name, or a value that an option does not take.
    """
    if name not in QUALITIES:
        raise EngineError(f"quality is {name!r}; {expected_one_of(name, QUALITIES)}")
    given = {key: value for key, value in options.items() if value is not None}
    arithmetic = given.get("arithmetic", ARITHMETIC[0])
    if arithmetic not in ARITHMETIC:
        raise EngineError(
            f"arithmetic is {arithmetic!r}; {expected_one_of(arithmetic, ARITHMETIC)}"
        )
    for key in ("guided", "clean", "temporal"):
        if type(given.get(key, True)) is not bool:
            raise EngineError(f"{key} is {given[key]!r}; expected True or False")
    for key in ("lookahead", "reuse"):
        count = given.get(key, 0)
        if type(count) is not int or not 0 <= count <= 30:
            raise EngineError(f"{key} is {count!r}; expected a whole number from 0 to 30")
    named = QUALITIES[name]
    quality = replace(named, **given)
    return named if quality == named else replace(quality, name="custom")
