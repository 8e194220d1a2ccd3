"""What a network costs at a size, told without computing anything or making its weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from matter_sdk.training.networks import inputs

PAPERS_SIZE = (800, 800)
"""The size at which the papers of GFM and AIM count."""


def multiply_accumulates(network: nn.Module, size: tuple[int, int]) -> int:
    """Count the multiply-accumulates of convolutions and matrix products for one image.

    Args:
        network: in eval mode, on PyTorch's meta device; on another it would really run.
        size: height and width.
    """
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(
            *(torch.empty(1, count, *size, device="meta") for count in inputs(network).values())
        )
    return int(counter.get_total_flops()) // 2
