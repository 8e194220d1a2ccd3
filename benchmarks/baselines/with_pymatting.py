"""What PyMatting offers."""

from __future__ import annotations

from typing import Any

import numpy as np
from pymatting import estimate_foreground_ml

from benchmarks.baselines import Calls


def foreground(frame: Any, alpha: Any) -> Calls:
    """Its multi-level method: another estimate than blur fusion, of the same thing."""

    def estimate() -> Any:
        image = frame.astype(np.float32) / 255
        result = estimate_foreground_ml(image, alpha)
        return np.rint(np.clip(result, 0, 1) * 255).astype(np.uint8)

    return {"estimate_foreground_ml": estimate}
