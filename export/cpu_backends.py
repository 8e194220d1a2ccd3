"""Time the CPU backends and their precisions side by side."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matter_sdk.sdk import cpu
from matter_sdk.sdk.backends import open_backend
from matter_sdk.sdk.engine.manifest import Measured, Timing

if TYPE_CHECKING:
    from matter_sdk.export.examples import Inputs
    from matter_sdk.sdk.engine.file import EngineFile
    from matter_sdk.sdk.engine.manifest import ModelEntry

# A less exact precision is preferred only if it is clearly faster.
FASTER = 0.9
_EXACTNESS = {"float32": 0, "bfloat16": 1, "int8": 2, "int8 bfloat16": 2}
_ROUNDS, _SECONDS, _FEWEST = 15, 10.0, 3
_TURN = 3  # calls; the first one has caches and cores that the runtime before it used


def measure(
    engine: EngineFile, model: ModelEntry, choices: Sequence[tuple[str, str]], inputs: Inputs
) -> Measured:
    """Time each choice, a CPU backend and its precision, on all cores.

    They run in turns, so that a busy machine slows all of them alike. The fastest comes first.
    """
    opened = [
        open_backend(engine, model, backend=name, arithmetic=arithmetic)[0]
        for name, arithmetic in choices
    ]
    times: list[list[float]] = [[] for _ in choices]
    try:
        stop = time.perf_counter() + _SECONDS
        for round_ in range(_ROUNDS):
            for backend, kept in zip(opened, times, strict=True):
                for call in range(_TURN):
                    start = time.perf_counter()
                    backend.run(*inputs)
                    if call > 0:
                        kept.append(1e3 * (time.perf_counter() - start))
            if round_ + 1 >= _FEWEST and time.perf_counter() > stop:
                break
    finally:
        for backend in opened:
            backend.close()
    timings = [
        Timing(name, arithmetic, round(statistics.median(kept), 3))
        for (name, arithmetic), kept in zip(choices, times, strict=True)
    ]
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return Measured(cpu.name(), cpu.usable_cores(), load, tuple(ranked(timings)))


def ranked(timings: Sequence[Timing]) -> list[Timing]:
    """Sort by time; each step to a less exact precision must save a tenth."""
    return sorted(timings, key=lambda one: one.ms / FASTER ** _EXACTNESS[one.arithmetic])


def prefers(measured: Measured, backend: str, arithmetic: str) -> bool:
    """Return whether this is the first of a backend's floating-point choices."""
    floats = [x for x in measured.timings if x.backend == backend and "int8" not in x.arithmetic]
    return bool(floats) and floats[0].arithmetic == arithmetic
