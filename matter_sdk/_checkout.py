"""A checkout's two names for one module: ``sdk.errors`` is ``matter_sdk.sdk.errors``.

Without this ``from sdk.errors import FrameError`` would load the file again, and its FrameError
would not be the one that the SDK raises.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec
from types import CodeType, ModuleType

PACKAGES = ("sdk", "kernels", "export", "training", "samples")


class _ShortNames(MetaPathFinder, InspectLoader):
    """Find ``package.module`` as ``matter_sdk.package.module``."""

    def find_spec(self, fullname: str, *_rest: object) -> ModuleSpec | None:
        package, dot, _ = fullname.partition(".")
        if not dot or package not in PACKAGES:
            return None
        real = find_spec(f"matter_sdk.{fullname}")
        if real is None:
            return None
        folder = real.submodule_search_locations is not None
        return ModuleSpec(fullname, self, origin=real.origin, is_package=folder)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(f"matter_sdk.{spec.name}")
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has just written the spec of the short name over the module's own.
        if module.__spec__ is not None and module.__spec__.loader is self:
            module.__spec__ = module.__spec__.loader_state

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the code that ``python -m export.build`` runs."""
        real = find_spec(f"matter_sdk.{fullname}")
        if real is None or real.origin is None:
            return None
        # Not real.loader: that of an editable installation may have no code to give.
        return SourceFileLoader(real.name, real.origin).get_code(real.name)

    def get_source(self, fullname: str) -> None:
        """Return nothing: the code is enough."""


def install() -> None:
    """Make the short names work. Call it once."""
    sys.meta_path.insert(0, _ShortNames())
