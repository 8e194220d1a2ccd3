"""Which CPU this is, as far as choices depend on it."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path

# What Linux calls instructions that add up 8-bit products in 32 bits: VNNI and AMX, Arm's SDOT.
_DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})
_SPEED = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8",
          "asimd", "asimddp", "bf16", "i8mm")  # fmt: skip


def usable_cores() -> int:
    """How many cores this process may use (its affinity, not the machine's count)."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


@functools.cache
def name() -> str:
    """The CPU's model, such as ``Intel(R) Xeon(R) Processor, family 6 model 143``."""
    facts = _facts()
    text = facts.get("model name") or platform.processor() or platform.machine() or "unknown"
    # In a virtual machine several generations share a name.
    if "cpu family" in facts:
        text += f", family {facts['cpu family']} model {facts.get('model', '?')}"
    return text


@functools.cache
def has_dot_product() -> bool:
    """Whether it is known to add up 8-bit products in 32 bits.

    Without such instructions a runtime may add pairs of them in 16 bits, which overflow.
    """
    return not _DOT_PRODUCTS.isdisjoint(_flags())


def instructions() -> tuple[str, ...]:
    """Those that a network's speed depends on most, as Linux calls them, such as ``avx2``."""
    flags = _flags()
    return tuple(name for name in _SPEED if name in flags)


def _flags() -> list[str]:
    facts = _facts()
    return facts.get("flags", facts.get("Features", "")).split()


@functools.cache
def _facts() -> dict[str, str]:
    """What Linux says of the first processor; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}
