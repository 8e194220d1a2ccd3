"""How a frame becomes a network's input, and the error of a kernel that is called wrongly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

COLOURS = ("rgb", "bgr")


class Rosta(NamedTuple):
    """A representation of semantics and transition areas (GFM, section 3.4).

    Attributes:
        classes: channels of the glance.
        mode: number of the rule by which kernels fuse glance and focus.
    """

    classes: int
    mode: int


ROSTAS = {"tt": Rosta(3, 0), "unified": Rosta(3, 0), "ft": Rosta(2, 1), "bt": Rosta(2, 2)}
"""Every representation, by its name in the papers."""


class KernelError(ValueError):
    """An array or option that a kernel cannot take.

    The message says what was received, what is expected, and what to do.
    """


@dataclass(frozen=True)
class InputSpec:
    """The input that a network was trained on: ``x = (v - mean) / std`` for each channel.

    It is part of the network's definition and travels in the engine's manifest.

    Attributes:
        colour: channel order that the network wants, ``"rgb"`` or ``"bgr"``.
        mean: three values on the scale 0..255, in the order of `colour`.
        std: three positive values on the same scale, in the order of `colour`.

    Raises:
        KernelError: an unknown colour order, other than three values, a value that is not finite,
            or a std that is not above zero.
    """

    colour: str = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.colour not in COLOURS:
            raise KernelError(
                f"colour is {self.colour!r}, expected one of {', '.join(map(repr, COLOURS))}: "
                "give the channel order that the network was trained on"
            )
        for name in ("mean", "std"):
            given = getattr(self, name)
            try:
                values = tuple(float(value) for value in given)
            except (TypeError, ValueError) as error:
                raise KernelError(
                    f"{name} is {given!r}, expected 3 numbers on the scale 0..255: "
                    f"one for each channel, in the order {self.colour}"
                ) from error
            if len(values) != 3:
                raise KernelError(
                    f"{name} has {len(values)} values {values}, expected 3: "
                    f"one for each channel, in the order {self.colour}"
                )
            if not all(math.isfinite(value) for value in values):
                raise KernelError(f"{name} is {values}, expected finite numbers")
            object.__setattr__(self, name, values)  # lists and integers from JSON become floats
        if not all(value > 0 for value in self.std):
            raise KernelError(
                f"std is {self.std}, expected values above 0: use 1.0 where nothing is divided"
            )
