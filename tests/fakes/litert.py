"""Stands in for LiteRT's interpreter: the mask of a picture is its red channel."""

from __future__ import annotations

from typing import Any

import numpy as np


class Interpreter:
    """Takes 1×h×w×3 and gives 1×h×w×1; ``model_content`` is ``b"h w"``."""

    def __init__(self, model_content: bytes, num_threads: int) -> None:
        self.height, self.width = map(int, model_content.split())
        self.ready = False
        self.given: Any = None
        self.found: Any = None

    def allocate_tensors(self) -> None:
        self.ready = True

    def get_input_details(self) -> list[dict[str, Any]]:
        return [{"index": 3, "shape": np.array([1, self.height, self.width, 3])}]

    def get_output_details(self) -> list[dict[str, Any]]:
        return [{"index": 7, "shape": np.array([1, self.height, self.width, 1])}]

    def set_tensor(self, index: int, value: np.ndarray) -> None:
        assert (index, value.shape, value.dtype) == (3, (1, self.height, self.width, 3), np.float32)
        self.given = value.copy()

    def invoke(self) -> None:
        assert self.ready
        self.found = self.given[..., :1]

    def get_tensor(self, index: int) -> np.ndarray:
        assert index == 7
        return self.found
