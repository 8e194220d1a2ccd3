"""The pixel work around a matting network: one source, compiled for the CPU and for CUDA."""

from __future__ import annotations

from kernels.spec import InputSpec, KernelError

__all__ = ["InputSpec", "KernelError"]
