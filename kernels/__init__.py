"""The pixel work around a matting network: one source, compiled for the CPU and for CUDA.

Every kernel takes NumPy arrays, or arrays on a CUDA device (CuPy, torch; anything with
``__cuda_array_interface__`` or DLPack), and answers in kind: NumPy or CuPy. Each has an allocating
form and one that writes into `out` and returns that very object. Wrong arguments raise
`KernelError`.

What SIM reads beside the image is prepared by the functions of `kernels.trimap`: of NumPy arrays
alone, once for a trimap.
"""

from __future__ import annotations

from matter_sdk.kernels.blending import alpha_blend
from matter_sdk.kernels.blur_fusion import foreground
from matter_sdk.kernels.compositing import composite
from matter_sdk.kernels.fusion import collaborative_fusion
from matter_sdk.kernels.pooling import max_pool_offsets, max_unpool
from matter_sdk.kernels.preprocessing import preprocess
from matter_sdk.kernels.spec import InputSpec, KernelError
from matter_sdk.kernels.temporal import temporal_filter
from matter_sdk.kernels.trimap import (
    distance_maps,
    resize_trimap,
    semantic_trimap,
    two_channel,
    windows,
)
from matter_sdk.kernels.yuv import YUV

__all__ = [
    "YUV",
    "InputSpec",
    "KernelError",
    "alpha_blend",
    "collaborative_fusion",
    "composite",
    "distance_maps",
    "foreground",
    "max_pool_offsets",
    "max_unpool",
    "preprocess",
    "resize_trimap",
    "semantic_trimap",
    "temporal_filter",
    "two_channel",
    "windows",
]
