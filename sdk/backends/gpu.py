"""Probe for NVIDIA GPUs through the driver, so that no GPU package is needed."""

from __future__ import annotations

import ctypes
import functools
import sys


@functools.cache
def gpu_count() -> int:
    """Count the NVIDIA GPUs this process may use; 0 without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def no_gpu(library: str, number: int) -> str | None:
    """Say why ``library`` cannot use GPU ``number``; None if it can."""
    count = gpu_count()
    if count == 0:
        return f"{library} is installed but no NVIDIA GPU is visible"
    if number >= count:
        return f"GPU {number} was asked for, visible are {count} (cuda:0 to cuda:{count - 1})"
    return None
