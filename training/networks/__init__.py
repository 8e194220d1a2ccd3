"""The matting networks, by name.

>>> network = create("gfm", backbone="resnet34", rosta="tt")
>>> network(image)["alpha"]

Nothing here imports torch until :func:`create` is called, so that a command can check its
flags first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from matter_sdk.sdk.errors import expected_one_of

if TYPE_CHECKING:
    from torch import nn


class _Options(NamedTuple):
    """The first of ``backbones`` and ``rostas`` is the default; ``parts`` may be left out."""

    multiple: int  # see ``size_multiple``
    backbones: tuple[str, ...]
    rostas: tuple[str, ...] = ("none",)
    parts: tuple[str, ...] = ()


JOINED = ("tt", "ft", "bt")
"""RoSTas, representations of semantics and transition areas, that RIM and the ensemble join."""

# The matting networks.
_NETWORKS = {
    "gfm": _Options(
        32,
        (
            "efficientnet-lite0",
            "resnet34",
            "resnet34_2b",
            "resnet101",
            "densenet121",
        ),
        (*JOINED, "rim", "en-median"),
        ("pyramid", "bridge"),
    ),
    "gfm-plate": _Options(32, ("efficientnet-lite0",), JOINED),
    "aim": _Options(32, ("resnet34",), ("unified",), ("se", "attention")),
    "msia": _Options(16, ("resnext101",), parts=("ini", "sed", "adaptive")),
    "sim": _Options(8, ("resnet50",)),
}
# Parts of a network that one of its backbones does not have.
_LACKING: dict[tuple[str, str | None], tuple[str, ...]] = {
    ("gfm", "efficientnet-lite0"): ("bridge",),
}
# Networks that serve another: the one that makes SIM's semantic trimap, the one that judges its
# mattes in training.
_HELPERS = {
    "sim_classifier": _Options(8, ("resnet50",)),
    "sim_discriminator": _Options(8, ("resnet50",)),
}


class UnknownNetwork(ValueError):
    """A network, backbone or RoSTa that does not exist; the message names the near match."""


def names() -> tuple[str, ...]:
    """Return the matting networks' names.

    :func:`create` also knows ``sim_classifier`` and ``sim_discriminator``, which serve ``sim``.
    """
    return tuple(_NETWORKS)


def size_multiple(name: str) -> int:
    """Return what both sides of a network's input are multiples of."""
    return _options(name).multiple


def backbones(name: str) -> tuple[str, ...]:
    """Return a network's backbones, the default first."""
    return _options(name).backbones


def rostas(name: str) -> tuple[str, ...]:
    """Return a network's RoSTas, the default first."""
    return _options(name).rostas


def parts(name: str, backbone: str | None = None) -> tuple[str, ...]:
    """Return the parts that ``without`` may name; of one backbone, or of any."""
    lacking = _LACKING.get((name, backbone), ())
    return tuple(part for part in _options(name).parts if part not in lacking)


def create(
    name: str,
    *,
    backbone: str | None = None,
    rosta: str | None = None,
    without: Sequence[str] = (),
) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        name: one of :func:`names`.
        backbone: one of :func:`backbones`; the first of them by default.
        rosta: representation of semantics and transition areas, one of :func:`rostas`.
        without: parts to leave out, of :func:`parts`, as the papers' ablation studies do.

    Returns:
        A module whose ``forward`` takes the tensors that ``inputs`` names (name -> channels; the
        image first, on the scale that ``input_spec`` tells), float32 N×channels×H×W with H and W
        multiples of ``size_multiple``, and returns a dict: the matting networks' holds at least
        ``alpha``, N×1×H×W in 0..1. ``heads`` names the results that an engine holds (name ->
        channels) and ``fusion`` the rule that joins them.

    Raises:
        UnknownNetwork: an option that does not exist.
    """
    backbone = _known(f"backbone of {name}", backbone or backbones(name)[0], backbones(name))
    rosta = _known(f"RoSTa of {name}", rosta or rostas(name)[0], rostas(name))
    for part in without:
        _known(f"part of {name} {backbone}", part, parts(name, backbone))
    left_out = tuple(part for part in parts(name) if part in without)
    if name == "gfm-plate":
        from matter_sdk.training.networks.gfm_light import GFMPlate

        return GFMPlate(rosta)
    if name == "aim":
        from matter_sdk.training.networks.aim import AIM

        return AIM(left_out)
    if name == "msia":
        from matter_sdk.training.networks.msia import MSIA

        return MSIA(left_out)
    if name == "sim":
        from matter_sdk.training.networks.sim import SIM

        return SIM()
    if name == "sim_classifier":
        from matter_sdk.training.networks.sim_classifier import PatchClassifier

        return PatchClassifier()
    if name == "sim_discriminator":
        from matter_sdk.training.networks.sim_classifier import AlphaDiscriminator

        return AlphaDiscriminator()
    if rosta == "en-median":
        from matter_sdk.training.networks.gfm_ensemble import GFMEnsemble

        return GFMEnsemble(backbone, left_out)
    if backbone == "efficientnet-lite0":
        from matter_sdk.training.networks.gfm_light import GFMLight

        return GFMLight(rosta, left_out)
    from matter_sdk.training.networks.gfm import GFM

    return GFM(backbone, rosta, left_out)


def inputs(network: nn.Module) -> Mapping[str, int]:
    """Return a network's inputs in order, name -> channels; most take an image alone."""
    declared: Mapping[str, int] = getattr(network, "inputs", {"image": 3})
    return declared


def _options(name: str) -> _Options:
    every = _NETWORKS | _HELPERS
    return every[_known("network", name, tuple(every))]


def _known(kind: str, value: str, options: Sequence[str]) -> str:
    if value in options:
        return value
    raise UnknownNetwork(f"unknown {kind}: {value!r}; {expected_one_of(value, options)}")
