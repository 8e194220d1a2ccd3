"""Record what is shown live."""

from __future__ import annotations

import os
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matter_sdk.sdk.arrays import letterboxed
from matter_sdk.sdk.media.video_writer import VideoWriter


class Recorder:
    """Writes pictures, uint8 H×W×3 BGR, with the times at which they come.

    The first one sets the size; others are scaled to fit, with black beside them.

    Raises:
        VideoError: as ``VideoWriter``.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._writer: VideoWriter | None = None
        self._begin, self._last = time.monotonic(), -1

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Write one picture, shown now."""
        if self._writer is None:
            size = (picture.shape[0], picture.shape[1])
            self._writer = VideoWriter(self.path, size, time_base=Fraction(1, 1000))
            self._begin = time.monotonic()
        if picture.shape[:2] != self._writer.size:
            picture = letterboxed(picture, self._writer.size)
        self._last = max(self._last + 1, round(1000 * (time.monotonic() - self._begin)))
        self._writer.write(picture, self._last)

    def close(self) -> Path | None:
        """Finish the file and return its path; None, and no file, if no picture came."""
        return None if self._writer is None else self._writer.finish()
