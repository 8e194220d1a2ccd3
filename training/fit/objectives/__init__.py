"""What each network learns from and what it minimises.

:func:`targets` takes a scene's layers to the arrays that a network's losses want; it runs in the
processes that draw the data. :func:`create` joins a network and its losses into one module:

>>> objective = create(network)
>>> losses = objective(batch)  # named; their sum is minimised
>>> alpha = objective.eval().predict(batch)

Where the trainer sets ``objective.epoch`` before each epoch, what changes from epoch to epoch
(MSIA-matte's λ₂) follows it.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from torch import nn

from matter_sdk.sdk.errors import expected_one_of
from matter_sdk.training import networks
from matter_sdk.training.data.layers import Layers
from matter_sdk.training.fit.objectives.aim import AIMObjective
from matter_sdk.training.fit.objectives.base import Arrays, Objective, ObjectiveError, normalise
from matter_sdk.training.fit.objectives.gfm import GFMObjective, GFMPlateObjective
from matter_sdk.training.fit.objectives.msia import MSIAObjective
from matter_sdk.training.fit.objectives.sim import SIMObjective

__all__ = ["Objective", "ObjectiveError", "create", "normalise", "targets"]

_OBJECTIVES: dict[str, type[Any]] = {
    "gfm": GFMObjective,
    "gfm-plate": GFMPlateObjective,
    "aim": AIMObjective,
    "msia": MSIAObjective,
    "sim": SIMObjective,
}


def targets(
    layers: Layers, network: str, rosta: str, rng: np.random.Generator, **settings: Any
) -> Arrays:
    """Make a network's targets from a scene: arrays for ``torch.utils.data.default_collate``.

    Args:
        layers: the scene, H×W multiples of the network's ``size_multiple``.
        network: one of :func:`training.networks.names`.
        rosta: its representation of semantics and transition areas.
        rng: for SIM's random trimap.
        settings: ``kernel`` (GFM, AIM), ``saliency`` (AIM), ``widths`` (SIM). Those of
            :func:`create` may stand among them.

    Returns:
        C×H×W: ``image`` and, where the losses compose, ``composed``, ``foreground`` and
        ``background``, uint8; ``plate`` (gfm-plate); ``alpha`` float32. GFM and AIM: ``classes``
        int64 H×W, ``mask`` and ``focus`` float32, for RIM each with the suffixes ``_tt``, ``_ft``
        and ``_bt``. SIM: ``trimap`` (2 channels), ``clicks`` (6) and ``mask`` float32, and
        ``category``, one int64, −1 where the scene's is none of the matting classes.

    Raises:
        ObjectiveError: an unknown network, setting or RoSTa, or layers without what it needs.
    """
    objective = _objective(network, rosta)
    given = _known(network, objective, objective.targets, settings)
    return objective.targets(layers, rosta, rng, **given)


def create(network: nn.Module, **settings: Any) -> Objective:
    """Create the objective of a network.

    Parameters that require gradients are those to optimise; SIM's holds more than the network's.

    Args:
        network: as :func:`training.networks.create` builds it.
        settings: ``consistency`` (GFM), ``saliency`` (AIM), ``classifier`` and
            ``discriminator`` (SIM). Those of :func:`targets` may stand among them.

    Raises:
        ObjectiveError: a network that has no objective, or an unknown or missing setting.
    """
    name = str(getattr(network, "name", type(network).__name__))
    objective = _objective(name, str(getattr(network, "rosta", "none")))
    return objective(network, **_known(name, objective, objective.__init__, settings))


def _objective(network: str, rosta: str) -> type[Any]:
    if network not in _OBJECTIVES:
        raise ObjectiveError(
            f"{network!r} has no objective; expected one of {', '.join(_OBJECTIVES)}"
        )
    if rosta == "en-median":
        raise ObjectiveError(
            "en-median is the ensemble of three networks, each trained alone: train tt, ft and bt"
        )
    if rosta not in networks.rostas(network):
        raise ObjectiveError(
            f"rosta is {rosta!r}; expected one of {', '.join(networks.rostas(network))}"
        )
    return _OBJECTIVES[network]


def _known(
    network: str, objective: type[Any], taker: Any, settings: dict[str, Any]
) -> dict[str, Any]:
    """Those of the settings that ``taker`` takes; the others are its counterpart's, or unknown."""
    every = [*_keywords(objective.targets), *_keywords(objective.__init__)]
    for name in settings:
        if name not in every:
            raise ObjectiveError(
                f"unknown setting of {network}: {name!r}; "
                f"{expected_one_of(name, dict.fromkeys(every))}"
            )
    return {name: settings[name] for name in _keywords(taker) if name in settings}


def _keywords(function: Any) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
