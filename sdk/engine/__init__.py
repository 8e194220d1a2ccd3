"""The engine file: an archive of graphs, weights, plans and the manifest that describes them."""

from matter_sdk.sdk.engine.file import EngineFile

__all__ = ["EngineFile"]
