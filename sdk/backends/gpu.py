"""Probe for NVIDIA GPUs through the driver, so that no GPU package is needed."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from typing import Any

_NOT_INITIALIZED = 3  # what cuInit answers in the child of a fork whose parent has called it

_lost = False  # by a fork


def _driver() -> Any:
    """The CUDA driver, begun; None where there is none that works."""
    global _lost
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    result = driver.cuInit(0)
    _lost = _lost or result == _NOT_INITIALIZED
    return driver if result == 0 else None


@functools.cache
def gpu_count() -> int:
    """Count the NVIDIA GPUs this process may use; 0 without a driver."""
    driver, count = _driver(), ctypes.c_int(0)
    if driver is None or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


if hasattr(os, "register_at_fork"):  # what the parent counted may not be used
    os.register_at_fork(after_in_child=gpu_count.cache_clear)


def capability() -> str | None:
    """Return the compute capability of the first NVIDIA GPU, such as "9.0"; None without a GPU."""
    driver = _driver()
    if driver is None:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    steps = (
        lambda: driver.cuDeviceGet(ctypes.byref(device), 0),
        lambda: driver.cuDeviceGetAttribute(ctypes.byref(major), 75, device),  # CAPABILITY_MAJOR
        lambda: driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, device),  # CAPABILITY_MINOR
    )
    if any(step() != 0 for step in steps):
        return None
    return f"{major.value}.{minor.value}"


def no_gpu(library: str, number: int) -> str | None:
    """Say why ``library`` cannot use GPU ``number``; None if it can."""
    count = gpu_count()
    if _lost:
        return (
            "this process was forked from one that had begun CUDA, which does not work in both: "
            "start children by multiprocessing.get_context('spawn')"
        )
    if count == 0:
        return f"{library} is installed but no NVIDIA GPU is visible"
    if number >= count:
        return f"GPU {number} was asked for, visible are {count} (cuda:0 to cuda:{count - 1})"
    return None
