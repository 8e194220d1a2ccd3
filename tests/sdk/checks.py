"""What several kinds of network are held to alike."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from matter_sdk.sdk import BackendError, ClosedError, FrameError, Matter
from matter_sdk.sdk.stream import fail_safe
from matter_sdk.sdk.video import matte_video

# The closed forms are of alpha as the network gives it: interpolated, each frame for itself.
OPTIONS: dict[str, Any] = {
    "backend": "onnxruntime",
    "threads": 1,
    "guided": False,
    "temporal": False,
}


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


def close(found: Any, expected: Any) -> None:
    """Equal but for the rounding of float32."""
    np.testing.assert_allclose(found, expected, atol=1e-6)


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
                close(alpha, expected)


def lanes_keep_apart(
    matter: Matter,
    frames: Sequence[NDArray[np.uint8]],
    expected: Sequence[NDArray[Any]],
    calls: int,
    compare: Callable[[Any, Any], None] = close,
) -> None:
    """Each frame so often from a thread of its own, all at once, gives its own alpha."""
    with ThreadPoolExecutor(len(frames)) as pool:
        work = [
            pool.submit(lambda f=frame: [matter(f).alpha for _ in range(calls)]) for frame in frames
        ]
        for alpha, job in zip(expected, work, strict=True):
            for found in job.result():
                compare(found, alpha)


def smooth_frame(size: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    """Blobs of colour, as pictures have them: uint8 H×W×3."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), np.uint8)
    return np.asarray(cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def skip_where_refused(path: Path, backend: str) -> None:
    """Skip the test, with the reason, where a backend cannot run an engine on this machine."""
    try:
        Matter(path, backend=backend).close()
    except BackendError as error:
        pytest.skip(str(error))
