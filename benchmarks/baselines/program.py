"""What all whole programs have in common: frames and backgrounds in, composites out."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Tensor = NDArray[np.float32]


class Program(abc.ABC):
    """A network, and what those who use it put around it.

    A subclass says how a frame becomes the network's input, and runs it. Enlarging and blending are
    OpenCV's unless it says otherwise. Frames are uint8 H×W×3 BGR.
    """

    trained: ClassVar[bool] = True  # else its matte means nothing

    @abc.abstractmethod
    def prepare(self, frame: Frame) -> Any:
        """Turn a frame into the network's input."""

    @abc.abstractmethod
    def run(self, prepared: Any) -> Tensor:
        """Run the network alone: float32 h×w in 0..1, at its own size."""

    def matte(self, frame: Frame) -> Tensor:
        """Return alpha of the frame's size, float32 H×W in 0..1."""
        alpha = self.run(self.prepare(frame)).astype(np.float32, copy=False)
        return np.asarray(cv2.resize(alpha, frame.shape[1::-1]))

    def blend(self, frame: Frame, background: Frame, alpha: Tensor) -> Frame:
        """Blend the frame over a background of its size."""
        return np.asarray(cv2.blendLinear(frame, background, alpha, 1 - alpha))

    def __call__(self, frame: Frame, background: Frame) -> Frame:
        """Return the composite of a frame over a background."""
        return self.blend(frame, background, self.matte(frame))
