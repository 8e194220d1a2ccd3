"""What the processor is called and can do, on every system, as the compiled kernels find it."""

from __future__ import annotations

from matter_sdk.kernels import _cpu


def instructions() -> tuple[str, ...]:
    """Those that a network's speed depends on most and this process may use, as Linux calls them.

    Such as ``avx2`` or ``asimddp``; never more than the processor and the system both know.
    """
    return _cpu._host.instructions()


def name() -> str:
    """Return the model's name, or an empty text where it has none to give (Arm but Apple's)."""
    return _cpu._host.processor_name().strip()
