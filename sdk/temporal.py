"""A matte over time: steady where the picture stands still, and led by what comes next.

``kernels.temporal_filter`` does the work, at the network's size. The filter starts anew by itself
on a cut and where the size changes.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Generic, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels import temporal_filter
from sdk.frames import picture

T = TypeVar("T")
Alpha = NDArray[np.float32]


class _Step(NamedTuple, Generic[T]):
    item: T
    alpha: Alpha
    small: NDArray[np.uint8]  # the frame at the matte's size
    steady: Alpha  # filtered from the past on


class TemporalFilter(Generic[T]):
    """Filters the mattes of one video; each goes in with its frame and comes out with its item.

    With ``lookahead`` n a matte comes out when n more frames are known, and is the mean of what the
    filter makes of it from the past on and from those n frames back: it neither lags behind what
    appears nor trembles. Not safe for several threads.
    """

    def __init__(self, lookahead: int = 0) -> None:
        self._lookahead = lookahead
        self._waiting: deque[_Step[T]] = deque()
        self._last: _Step[T] | None = None

    def push(self, item: T, frame: Any, alpha: Alpha) -> list[tuple[T, Alpha]]:
        """Add a frame's alpha, float32 h×w at the network's size; what is ready, in order."""
        small = picture(frame, (alpha.shape[0], alpha.shape[1]))
        last = self._last
        if last is None or last.small.shape != small.shape:
            steady = alpha
            ready = self.flush()
        else:
            steady = temporal_filter(last.steady, alpha, cv2.absdiff(small, last.small))
            ready = []
        self._last = _Step(item, alpha, small, steady)
        self._waiting.append(self._last)
        while len(self._waiting) > self._lookahead:
            ready.append(self._pop())
        return ready

    def flush(self) -> list[tuple[T, Alpha]]:
        """What still waits, at the end of a video."""
        ready = []
        while self._waiting:
            ready.append(self._pop())
        return ready

    def reset(self) -> None:
        """Start anew with the next frame, as after a cut. What waits is kept."""
        self._last = None

    def _pop(self) -> tuple[T, Alpha]:
        first = self._waiting.popleft()
        if not self._waiting:
            return first.item, first.steady
        later = self._waiting[-1]
        back, small = later.alpha, later.small
        for step in (*list(self._waiting)[-2::-1], first):
            back = temporal_filter(back, step.alpha, cv2.absdiff(step.small, small))
            small = step.small
        return first.item, (first.steady + back) * np.float32(0.5)
