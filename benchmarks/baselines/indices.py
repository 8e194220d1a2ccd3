"""PyTorch's index of a maximum from the offset within its window."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def flat(offsets: NDArray[np.uint8], window: int) -> NDArray[np.int64]:
    """Turn N×C×h×w offsets of windows with stride 2 into indices into planes of 2h×2w."""
    height, width = offsets.shape[2:]
    padding = window - 2
    rows = 2 * np.arange(height)[:, None] - padding + offsets // window
    columns = 2 * np.arange(width) - padding + offsets % window
    result: Any = rows.astype(np.int64) * (2 * width) + columns
    return result
