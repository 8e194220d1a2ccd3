"""The matting networks, by name.

>>> network = create("gfm", backbone="resnet34", rosta="tt")
>>> network(image)["alpha"]

Nothing here imports torch until :func:`create` is called, so that a command can check its
flags first.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

# Network -> (backbones, representations of semantics and transition areas). The first of each is
# the default.
_NETWORKS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "gfm": (
        ("mobilenetv3", "resnet34", "resnet34_2b", "resnet101", "densenet121"),
        ("tt", "ft", "bt", "rim"),
    ),
}


class UnknownNetwork(ValueError):
    """A network, backbone or RoSTa that does not exist; the message names the near match."""


def names() -> tuple[str, ...]:
    """Names that :func:`create` knows."""
    return tuple(_NETWORKS)


def backbones(name: str) -> tuple[str, ...]:
    """Backbones of a network, the default first."""
    return _NETWORKS[_known("network", name, names())][0]


def rostas(name: str) -> tuple[str, ...]:
    """Representations of semantics and transition areas of a network, the default first."""
    return _NETWORKS[_known("network", name, names())][1]


def create(name: str, *, backbone: str | None = None, rosta: str | None = None) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        name: one of :func:`names`.
        backbone: one of :func:`backbones`; the first of them by default.
        rosta: representation of semantics and transition areas, one of :func:`rostas`.

    Returns:
        A module whose ``forward`` takes float32 N×3×H×W on the scale that ``input_spec`` tells
        (H and W multiples of ``size_multiple``) and returns a dict with at least ``alpha``,
        N×1×H×W in 0..1.

    Raises:
        UnknownNetwork: an option that does not exist.
    """
    backbone = _known(f"backbone of {name}", backbone or backbones(name)[0], backbones(name))
    rosta = _known(f"RoSTa of {name}", rosta or rostas(name)[0], rostas(name))
    if backbone == "mobilenetv3":
        from training.networks.gfm_light import GFMLight

        return GFMLight(rosta)
    from training.networks.gfm import GFM

    return GFM(backbone, rosta)


def _known(kind: str, value: str, options: Sequence[str]) -> str:
    if value in options:
        return value
    near = difflib.get_close_matches(value, options, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UnknownNetwork(f"unknown {kind}: {value!r}; expected one of {', '.join(options)}.{hint}")
