"""Measure the mattes of several systems on the same pictures, in several processes if it pays."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from matter_sdk.training.evaluation.pictures import PROCEDURAL, EvaluationError, Pictures
from matter_sdk.training.evaluation.tables import Result

if TYPE_CHECKING:
    from matter_sdk.training.evaluation.systems import System

# Seconds of measuring that are worth the second or two in which another process starts.
POOL_PAYS = 6.0


class Judge:
    """Measures mattes: in this process, or in several others once that pays.

    Conn takes about a second for a megapixel, many times as long as a network.

    Args:
        workers: processes; 0 stays in this one.
        jobs: mattes that there will be.
    """

    def __init__(self, workers: int, jobs: int) -> None:
        self._workers, self._left = workers, jobs
        self._pool: ProcessPoolExecutor | None = None
        self._waiting: deque[Future[dict[str, float]]] = deque()

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def measure(
        self, prediction: NDArray[np.float32], alpha: NDArray[np.float32], trimap: NDArray[np.uint8]
    ) -> Future[dict[str, float]]:
        """Run ``training.evaluation.metrics.evaluate``, here or in another process.

        Blocks while too many mattes wait, so that memory does not grow with the pictures.
        """
        from matter_sdk.training.evaluation.metrics import evaluate

        self._left -= 1
        if self._pool is None:
            done: Future[dict[str, float]] = Future()
            start = time.perf_counter()
            done.set_result(evaluate(prediction, alpha, trimap))
            expected = (time.perf_counter() - start) * self._left
            if self._workers and self._left and expected > POOL_PAYS:
                self._pool = ProcessPoolExecutor(
                    min(self._workers, self._left),
                    # Never fork: a runtime's threads do not survive it.
                    multiprocessing.get_context("spawn"),
                    initializer=_leave_interrupts,
                )
            return done
        while len(self._waiting) >= 2 * self._workers:
            self._waiting.popleft().result()
        future = self._pool.submit(evaluate, prediction, alpha, trimap)
        self._waiting.append(future)
        return future


def _leave_interrupts() -> None:
    """Ctrl-C is for the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def measure(
    systems: Sequence[System],
    pictures: Pictures,
    workers: int | None = None,
    *,
    quiet: bool = False,
) -> list[list[Result]]:
    """Measure every picture by every system; return a list for each, in the pictures' order.

    Each picture is read once, and the systems take turns on it, so that a busy machine slows all of
    them alike. ``workers``: processes that measure; by default one for each core.

    Raises:
        EvaluationError: a network that reads a plate, and pictures without; a matte that is not
            finite.
    """
    from tqdm import tqdm

    from matter_sdk.sdk.cpu import usable_cores

    for system in systems:
        if "plate" in system.reads and not pictures.plates:
            raise EvaluationError(
                f"{system.name} reads a plate, a photograph of the place without the subject, and "
                f"{pictures.name} has none; expected pictures that do: --data {PROCEDURAL}, or "
                f"photographs with --background FOLDER, over which they are composed"
            )
    workers = usable_cores() if workers is None else workers
    jobs = len(pictures) * len(systems)
    waiting: list[list[tuple[Result, Future[dict[str, float]]]]] = [[] for _ in systems]
    bar = tqdm(total=jobs, unit="matte", disable=quiet or None, dynamic_ncols=True)
    with bar, Judge(0 if workers < 2 else workers, jobs) as judge:
        for index in range(len(pictures)):
            picture = pictures.read(index)
            frame = bgr(picture.image)
            plate = None if picture.plate is None else bgr(picture.plate)
            first: NDArray[np.float32] | None = None
            for system, kept in zip(systems, waiting, strict=True):
                start = time.perf_counter()
                alpha = system.matte(frame, picture.trimap, plate)
                seconds = time.perf_counter() - start
                if not np.isfinite(alpha).all():
                    raise EvaluationError(
                        f"{system.title} gives {picture.name} a matte with NaN or infinity; "
                        f"expected numbers: build the engine without --fp16, or take another "
                        f"backend"
                    )
                apart = 0.0 if first is None else float(np.abs(alpha - first).mean())
                first = alpha if first is None else first
                result = Result(
                    index=index,
                    picture=picture.name,
                    kind=picture.kind,
                    category=picture.category,
                    trimap="own" if picture.own else "made",
                    size=cast("tuple[int, int]", alpha.shape),
                    seconds=seconds,
                    measures={},
                    apart=apart,
                )
                kept.append((result, judge.measure(alpha, picture.alpha, picture.trimap)))
                bar.update()
        return [
            [Result(**(vars(result) | {"measures": future.result()})) for result, future in kept]
            for kept in waiting
        ]


def bgr(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Swap RGB and BGR, which ``Matter`` takes; contiguous."""
    return np.ascontiguousarray(image[..., ::-1])
