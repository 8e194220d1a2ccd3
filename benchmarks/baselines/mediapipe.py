"""MediaPipe's selfie segmentation in LiteRT, as its graph and its demo run it.

Frames are squeezed to the model's size, and the mask is enlarged with linear interpolation. The
demo in Python then shows the frame where the mask is above 0.1 and the background elsewhere, with
NumPy (``demo=True``); others blend.
"""

from __future__ import annotations

import importlib
from typing import Any

import cv2
import numpy as np

from benchmarks.baselines.program import Frame, Program, Tensor

MODELS = {
    "256×256": "selfie_segmentation.tflite",
    "144×256": "selfie_segmentation_landscape.tflite",
}
"""Both models of the npm package, by height×width."""


class SelfieSegmentation(Program):
    """One of ``MODELS``.

    Raises:
        ModuleNotFoundError: LiteRT is not installed.
    """

    def __init__(self, model: bytes, threads: int, *, demo: bool = False) -> None:
        try:
            interpreter: Any = importlib.import_module("ai_edge_litert.interpreter").Interpreter
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "ai-edge-litert is not installed: pip install 'matter-sdk[benchmarks]'"
            ) from error
        self._network = interpreter(model_content=model, num_threads=threads)
        self._network.allocate_tensors()
        (source,), (result,) = self._network.get_input_details(), self._network.get_output_details()
        self._source, self._result = source["index"], result["index"]
        self._size = tuple(map(int, source["shape"][1:3]))
        self._demo = demo

    def prepare(self, frame: Frame) -> Tensor:
        """See the class: 1×h×w×3 RGB in 0..1."""
        small = cv2.resize(frame, self._size[::-1], interpolation=cv2.INTER_LINEAR)
        return cv2.cvtColor(small, cv2.COLOR_BGR2RGB)[None] * np.float32(1 / 255)

    def run(self, prepared: Tensor) -> Tensor:
        """See the class."""
        self._network.set_tensor(self._source, prepared)
        self._network.invoke()
        return self._network.get_tensor(self._result)[0, ..., 0]

    def blend(self, frame: Frame, background: Frame, alpha: Tensor) -> Frame:
        """Blend, or choose as the demo does."""
        if not self._demo:
            return super().blend(frame, background, alpha)
        return np.where(np.stack((alpha,) * 3, axis=-1) > 0.1, frame, background)
