"""From a prepared frame to alpha: networks, and the modes that run them.

What runs a network of one's own as ``Matter`` runs an engine's: derive from ``Network``, and

    stages = Stages(open_mode(network))
    (matte,) = stages.mattes([frame], [None])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matter_sdk.sdk.inference.network import Network
    from matter_sdk.sdk.inference.select import open_mode
    from matter_sdk.sdk.inference.stages import Stages

__all__ = ["Network", "Stages", "open_mode"]

_MODULES = {"Network": "network", "Stages": "stages", "open_mode": "select"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:  # at their first use: sdk.matte needs none of them, and they need it
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
