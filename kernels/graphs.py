"""The memory that a captured CUDA graph works in.

Kernels make arrays for what passes between them. A graph writes into these at every launch, long
after the call that was captured has let go of them, so they must live as long as the graph.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_local = threading.local()
_for_ever: list[Any] = []


@contextmanager
def keeping(arrays: list[Any]) -> Iterator[None]:
    """What kernels make while this thread captures a graph inside is added to `arrays`.

    Keep them as long as the graph. Without this they are kept for ever.
    """
    before = kept()
    _local.arrays = arrays
    try:
        yield
    finally:
        _local.arrays = before


def kept() -> list[Any]:
    """Where this thread's kernels put what they make during a capture."""
    arrays: list[Any] = getattr(_local, "arrays", _for_ever)
    return arrays
