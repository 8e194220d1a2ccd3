"""What several kinds of network are held to alike."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sdk import ClosedError, FrameError, Matter
from sdk.stream import fail_safe
from sdk.video import matte_video


def every_stream_is_refused(matter: Matter, message: str, folder: Path) -> None:
    """With this message, and before the source is opened."""

    def source() -> Any:
        raise AssertionError("the source was opened")
        yield

    with pytest.raises(FrameError, match=message):
        matter.stream(source())
    # The one that tries again after any failure would show the background alone for ever.
    with pytest.raises(FrameError, match=message):
        next(fail_safe(matter, source(), lambda m: m.frame, lambda blank: blank))
    with pytest.raises(FrameError, match=message):
        matte_video(matter, "no.mp4", folder / "out.mp4")


def closes_while_others_call(
    matter: Matter, frame: NDArray[np.uint8], expected: NDArray[Any], calls: int
) -> None:
    """Each call either gives a right matte or says that it is closed."""
    started = threading.Barrier(5)

    def work() -> list[NDArray[np.float32]]:
        results = []
        started.wait()
        for _ in range(calls):
            try:
                results.append(matter(frame).alpha)
            except ClosedError:
                break
        return results

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(work) for _ in range(4)]
        started.wait()
        matter.close()
        for job in jobs:
            for alpha in job.result():
                np.testing.assert_allclose(alpha, expected, atol=1e-6)


def smooth_frame(size: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    """Blobs of colour, as pictures have them: uint8 H×W×3."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), np.uint8)
    return np.asarray(cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
