"""Tell frames in which nothing happens: they need no network of their own.

By the measure of the filter over time (``kernels.temporal_filter``): nothing happens where no pixel
at the network's size changes by more than what that filter takes for noise. It would keep most of
the last alpha there, so that an alpha which is taken over is no further off than the filter's own.

A frame is compared with the last one that the network saw, not with the one before it: slow changes
add up. Averages of larger blocks would not do: what moves inside of one leaves its average alone.
"""

from __future__ import annotations

from typing import Any

import cv2

LEVELS = 4
"""The most by which a channel of any pixel may change, of 255: the filter's own ``STILL``."""


class Stillness:
    """Count the frames of one video that may do with the alpha of an earlier one.

    ``most``: in a row; 0 for none. Use it from one thread.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._seen: Any = None  # the last frame that was not still
        self._about: Any = None
        self._row = 0

    def still(self, small: Any, about: Any = None) -> bool:
        """Whether a frame hardly differs from the last one that was not still.

        ``small``: the frame at the network's size, uint8 h×w×3 in the CPU's memory. ``about``: what
        else alpha depends on, such as the plate: with another object in its place nothing is still.
        """
        seen = self._seen
        if (
            seen is not None
            and seen.shape == small.shape
            and about is self._about
            and self._row < self.most
            and cv2.norm(seen, small, cv2.NORM_INF) <= LEVELS
        ):
            self._row += 1
            return True
        self._seen, self._about, self._row = small, about, 0
        return False

    def reset(self) -> None:
        """Begin anew: the next frame is not still."""
        self._seen = None
