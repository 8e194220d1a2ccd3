"""Filter alphas over time: steady where the picture stands still.

``kernels.temporal_filter`` does the work, at the network's size and where the frames lie. The
filter restarts by itself on a cut and where the size changes.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Generic, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from matter_sdk.kernels import temporal_filter
from matter_sdk.sdk.arrays import array_module, device_of, on_gpu, picture, synchronize

KEEP = 0.8  # what the kernel keeps of the last result where nothing moves

T = TypeVar("T")
Alpha = NDArray[np.float32]


class _Step(NamedTuple, Generic[T]):
    item: T
    alpha: Alpha
    small: Any  # the frame at the matte's size, uint8 h×w×3
    steady: Alpha  # filtered from the past on


class TemporalFilter(Generic[T]):
    """Filter the alphas of one video; each goes in with its frame and comes out with its item.

    With ``lookahead`` n an alpha comes out when n more frames are known: an average over those
    before and after it, nearer ones weighing more, as far as nothing moved between. Use it from one
    thread.
    """

    def __init__(self, lookahead: int = 0) -> None:
        self._lookahead = lookahead
        self._waiting: deque[_Step[T]] = deque()
        self._last: _Step[T] | None = None

    def push(self, item: T, frame: Any, alpha: Alpha) -> list[tuple[T, Alpha]]:
        """Add a frame's alpha, float32 h×w at the network's size; return those ready, in order."""
        small = picture(frame, (alpha.shape[0], alpha.shape[1]))
        last = self._last
        if last is None or last.small.shape != small.shape:
            steady = alpha
            ready = self.flush()
        else:
            steady = synchronize(temporal_filter(last.steady, alpha, _change(small, last.small)))
            ready = []
        self._last = _Step(item, alpha, small, steady)
        self._waiting.append(self._last)
        while len(self._waiting) > self._lookahead:
            ready.append(self._pop())
        return ready

    def flush(self) -> list[tuple[T, Alpha]]:
        """Return what still waits, at the end of a video."""
        ready = []
        while self._waiting:
            ready.append(self._pop())
        return ready

    def reset(self) -> None:
        """Restart with the next frame, as after a cut. What waits is kept."""
        self._last = None

    def _pop(self) -> tuple[T, Alpha]:
        first = self._waiting.popleft()
        if not self._waiting:
            return first.item, first.steady
        back, small = self._waiting[-1].alpha, self._waiting[-1].small
        for step in list(self._waiting)[-2::-1]:
            back = temporal_filter(back, step.alpha, _change(step.small, small))
            small = step.small
        both = temporal_filter(back, first.steady, _change(first.small, small))
        share = np.float32(_share(len(self._waiting)) / KEEP)
        with device_of(both):
            return first.item, synchronize(first.steady + share * (both - first.steady))


def _change(one: Any, other: Any) -> Any:
    """How much two pictures differ, each channel for itself."""
    if not on_gpu(one):
        return cv2.absdiff(one, other)
    cupy = array_module(one)
    with device_of(one):
        return cupy.maximum(one, other) - cupy.minimum(one, other)


def _share(ahead: int) -> float:
    """Of so many frames to come in an average with weights KEEP to the power of the distance."""
    coming = sum(KEEP**distance for distance in range(1, ahead + 1))
    return coming / (coming + 1 / (1 - KEEP))
