"""Which mode an engine is run in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from matter_sdk.sdk.engine.manifest import Manifest
from matter_sdk.sdk.errors import EngineError
from matter_sdk.sdk.inference import sizes
from matter_sdk.sdk.inference.modes import Choice, GlanceMode, HybridMode, Mode, SingleMode
from matter_sdk.sdk.inference.network import Network
from matter_sdk.sdk.inference.plate import PlateMode, reads_plate
from matter_sdk.sdk.inference.trimaps import CLASSIFIER, TrimapMode


def open_mode(
    network: Network,
    *,
    pixels: str = "first",
    scales: sizes.Scales | None = None,
    trimap_from: Any = None,
    open_source: Callable[[Any], GlanceMode] | None = None,
) -> Mode:
    """The mode that a network and the options of ``Matter`` ask for.

    Args:
        network: of an engine, or another that says in a manifest what it reads.
        pixels: of ``Quality``.
        scales: of the hybrid-resolution test, or None.
        trimap_from: as given to ``Matter``.
        open_source: opens ``trimap_from`` as the mode whose glance head makes trimaps.

    Raises:
        EngineError: an engine or an option that does not fit the mode.
    """
    kind = _kind(network.manifest, scales)
    if kind is None:
        raise EngineError(
            f"{network.path} holds {network.manifest.network.name}, a classifier that makes no "
            f"matte; expected the engine of a matting network. It works as a part of one"
        )
    kind.check_engine(network, scales, trimap_from)
    choose: Choice = functools.partial(sizes.nearest_aspect, network.models, pixels=pixels)
    if kind is HybridMode and scales is not None:
        return HybridMode(network, scales)
    if kind is TrimapMode:
        source = open_source(trimap_from) if open_source and trimap_from is not None else None
        parts = network.manifest.parts
        classifier = network.part(CLASSIFIER) if CLASSIFIER in parts else None
        return TrimapMode(network, choose, classifier, source)
    if scales is not None:
        choose = functools.partial(sizes.nearest_scale, network.models, scale=scales[0])
    return PlateMode(network, choose) if kind is PlateMode else SingleMode(network, choose)


def _kind(manifest: Manifest, scales: sizes.Scales | None) -> type[Mode] | None:
    if manifest.fusion == "cam":
        return None
    if reads_plate(manifest):
        return PlateMode
    if manifest.extra_inputs:
        return TrimapMode
    return HybridMode if scales is not None and scales[0] < scales[1] else SingleMode
