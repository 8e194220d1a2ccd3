"""The best formulations that other libraries offer for what the kernels compute.

A module for each library, and in it a function with each kernel's name: it gets the kernel's
arguments, makes whatever can be made beforehand (buffers, tables), and returns named calls without
arguments that give the kernel's result. The calls hold only what has to happen for each frame.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

LIBRARIES = {
    "OpenCV": "with_opencv",
    "numba": "with_numba",
    "torch": "with_torch",
    "PyMatting": "with_pymatting",
}

Calls = dict[str, Callable[[], Any]]


def load(library: str) -> ModuleType | None:
    """Import the baselines made with a library; None where it is not installed."""
    try:
        return importlib.import_module(f"benchmarks.baselines.{LIBRARIES[library]}")
    except ImportError:
        return None
