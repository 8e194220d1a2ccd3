"""The engine file: an archive of graphs, weights, plans and the manifest that describes them."""

from matter_sdk.sdk.engine.file import EngineFile
from matter_sdk.sdk.engine.manifest import (
    ExtraInput,
    Head,
    Imported,
    InputInfo,
    Manifest,
    ModelEntry,
    NetworkInfo,
    WeightsInfo,
)

__all__ = [
    "EngineFile",
    "ExtraInput",
    "Head",
    "Imported",
    "InputInfo",
    "Manifest",
    "ModelEntry",
    "NetworkInfo",
    "WeightsInfo",
]
