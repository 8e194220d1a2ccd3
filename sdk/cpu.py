"""Probe the CPU: its name, its usable cores and the instructions that choices depend on."""

from __future__ import annotations

import functools
import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

# What Linux calls instructions that add up 8-bit products in 32 bits: VNNI and AMX, Arm's SDOT.
_DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})


def usable_cores() -> int:
    """Count the cores this process may use: its affinity, or a container's quota if that is less.

    Threads beyond a quota use it up sooner, and then all of them stand still.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = cgroup_quota()
    if quota is not None:
        cores = min(cores, math.ceil(quota))  # half a core more is worth a thread
    return max(1, cores)


def cgroup_quota(root: Path = Path("/")) -> float | None:
    """How many cores Linux's control groups allow this process (``docker run --cpus``), or None.

    The least of its group and those above it, in version 2 (``cpu.max``) and 1 (``cfs_quota_us``).
    ``root``: where ``proc`` and the mounted groups are looked for.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return None
    allowed: list[float] = []
    for group in groups:
        number, _, place = group.partition(":")
        controllers, _, path = place.partition(":")
        old = "cpu" in controllers.split(",")
        if not old and (number, controllers) != ("0", ""):
            continue
        for mount, top in _mounted(mounts, old=old):
            inside = PurePosixPath(path)
            # Within a container the group's path may be that outside of it.
            below = inside.relative_to(top) if inside.is_relative_to(top) else PurePosixPath()
            for part in (below, *below.parents):
                quota = _quota(root / mount.lstrip("/") / part, old=old)
                if quota is not None:
                    allowed.append(quota)
    return min(allowed, default=None)


def _mounted(lines: list[str], *, old: bool) -> Iterator[tuple[str, str]]:
    """Where groups of a version are mounted, and which of them is there at the top."""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or len(kinds) < 3 or kinds[0] != ("cgroup" if old else "cgroup2"):
            continue
        if old and "cpu" not in kinds[-1].split(","):
            continue
        yield fields[4], fields[3]


def _quota(folder: Path, *, old: bool) -> float | None:
    try:
        if old:
            quota = int((folder / "cpu.cfs_quota_us").read_text())
            period = int((folder / "cpu.cfs_period_us").read_text())
        else:
            first, *rest = (folder / "cpu.max").read_text().split()
            quota, period = int(first), int(rest[0]) if rest else 100_000
    except (OSError, ValueError, IndexError):  # "max", or no such file
        return None
    return quota / period if quota > 0 and period > 0 else None


@functools.cache
def name() -> str:
    """Return the CPU's model, such as ``Intel(R) Xeon(R) Processor, family 6 model 143``."""
    from matter_sdk.kernels import processor  # loads NumPy

    facts = _facts()
    text = (
        facts.get("model name")
        or processor.name()
        or platform.processor()
        or platform.machine()
        or "unknown"
    )
    # In a virtual machine several generations share a name.
    if "cpu family" in facts:
        text += f", family {facts['cpu family']} model {facts.get('model', '?')}"
    return text


def has_dot_product() -> bool:
    """Whether it is known to add up 8-bit products in 32 bits.

    Without such instructions a runtime may add pairs of them in 16 bits, which overflow.
    """
    return not _DOT_PRODUCTS.isdisjoint(instructions())


def instructions() -> tuple[str, ...]:
    """Those that a network's speed depends on most, as Linux calls them, such as ``avx2``."""
    from matter_sdk.kernels import processor  # loads NumPy

    return processor.instructions()


@functools.cache
def _facts() -> dict[str, str]:
    """What Linux says of the first processor; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}
