"""What all tests share: those marked `gpu` are skipped where there is no GPU."""

from __future__ import annotations

import functools

import pytest


@functools.cache
def why_no_gpu() -> str:
    """Why the tests marked `gpu` cannot run, or an empty string."""
    try:
        import cupy
    except ImportError as error:
        return f"CuPy cannot be imported: {error}"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no CUDA device: {error}"
    return "" if count else "no CUDA device"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is not None and why_no_gpu():
        pytest.skip(why_no_gpu())
