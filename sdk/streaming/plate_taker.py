"""Plate mode for a live stream that takes its plate itself."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from matter_sdk.sdk.matte import Matte, nothing
from matter_sdk.sdk.streaming.matting import Wrapped
from matter_sdk.sdk.streaming.pipeline import WITHHELD

if TYPE_CHECKING:
    from matter_sdk.sdk.matter import Matter


class PlateTaker(Wrapped):
    """A ``Matter`` in plate mode that takes the plate from its stream; for ``fail_safe``.

        taker = PlateTaker(matter)
        for picture, stats in fail_safe(taker, 0, draw, alone):
            show(picture, taker.hint())         # call taker.take() when the person asks for it

    Without a plate, or with one that no longer fits, frames have no matte and the stream shows the
    background alone.

    Raises:
        FrameError: the network of ``matter`` reads no plate.
    """

    COUNTDOWN = 5.0  # seconds to step out of the picture
    FRAMES = 9  # the plate is their median: less noise, and nothing that only passes by
    LARGEST = 1280  # pixels of its longer side: a median of more would keep the stream waiting

    def __init__(self, matter: Matter) -> None:
        super().__init__(matter)
        self.matter: Matter = matter
        self._lock = threading.Lock()
        self._taken: list[NDArray[np.uint8]] = []
        self._due: float | None = None
        matter.plate = None

    def take(self) -> None:
        """Forget the plate and begin the countdown to the next."""
        self.forget()
        self._due = time.monotonic() + self.COUNTDOWN

    def forget(self) -> None:
        """Show nothing until ``take``: after a failure the camera may have moved."""
        with self._lock:
            self.matter.plate = self._due = None
            self._taken = []

    def hint(self, take: str = "take the empty room") -> str:
        """What the person is to do; empty once there is a plate that fits.

        ``take`` is how to ask for ``take``, such as "p: take the empty room".
        """
        if self.matter.plate is not None:
            changed = self.matter.plate_fits is False
            return f"camera or room have changed. {take} again" if changed else ""
        if self._due is None:
            return take
        left = math.ceil(self._due - time.monotonic())
        return f"step out of the picture: {left}" if left > 0 else "stay out: taking the room"

    @property
    def takes_planes(self) -> bool:
        """No: the plate is a median of whole pictures."""
        return False

    def check_streamable(self) -> None:
        """Pass: the plate comes from the frames."""

    def prepare(self, frame: NDArray[np.uint8]) -> Any:
        """See ``Matting.prepare``; without a plate, the frame may become part of the next."""
        with self._lock:
            if self.matter.plate is not None:
                return self.matter.prepare(frame)
            if self._due is None or time.monotonic() < self._due:
                return WITHHELD
            scale = min(1, self.LARGEST / max(frame.shape[:2]))
            small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            self._taken.append(small)  # type: ignore[arg-type]
            if len(self._taken) == self.FRAMES:
                middle = self.FRAMES // 2
                self.matter.plate = np.partition(np.stack(self._taken), middle, axis=0)[middle]
                self._taken = []
            return WITHHELD

    def infer(self, prepared: Any) -> NDArray[np.float32]:
        """See ``Matting.infer``."""
        return WITHHELD if prepared is WITHHELD else self.matter.infer(prepared)

    def finish(self, frame: NDArray[np.uint8], alpha: NDArray[np.float32]) -> Matte:
        """See ``Matting.finish``."""
        return nothing(frame) if alpha is WITHHELD else self.matter.finish(frame, alpha)
