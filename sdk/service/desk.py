"""Work in a few threads, behind a queue of bounded length."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from matter_sdk.sdk.service.refusals import Refused

T = TypeVar("T")


class Desk:
    """So many workers, and so many who may wait for one. Use it from one event loop.

    Nobody waits longer than the queue's length takes: who comes to a full one is sent away at once.

    Args:
        workers: threads.
        queue: the most that wait.
        took: told the seconds that a piece of work waited, and that it took.
    """

    def __init__(self, workers: int, queue: int, took: Callable[[float, float], object]) -> None:
        self.workers, self.queue = workers, queue
        self._took = took
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="matter-desk")
        self._inside = 0
        self._usual = 0.0  # seconds of work, of late

    @property
    def waiting(self) -> int:
        """How many wait for a worker."""
        return max(0, self._inside - self.workers)

    @property
    def working(self) -> int:
        """How many workers are busy."""
        return min(self._inside, self.workers)

    def check(self) -> None:
        """Refuse who would have to wait in a full queue.

        Raises:
            Refused: 429, with the seconds after which there should be room.
        """
        if self._inside >= self.workers + self.queue:
            raise Refused(
                429,
                "QueueFull",
                f"{self.waiting} requests wait, as many as may; try again later",
                max(1, math.ceil(self._inside * self._usual / self.workers)),
            )

    async def run(self, work: Callable[[], T], gone: Callable[[], Awaitable[object]]) -> T:
        """Have a worker do it; give it up while it waits if ``gone()`` ends first.

        Raises:
            Refused: 429 for a full queue; 499 where ``gone()`` ended.
        """
        self.check()
        loop = asyncio.get_running_loop()
        came = time.perf_counter()

        def timed() -> T:
            begun = time.perf_counter()
            try:
                return work()
            finally:
                took = time.perf_counter() - begun
                self._usual = took if not self._usual else 0.9 * self._usual + 0.1 * took
                self._took(begun - came, took)

        self._inside += 1
        future = self._threads.submit(timed)
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._leave))
        watch = asyncio.ensure_future(gone())
        watch.add_done_callback(lambda _: future.cancel())  # in vain once it has begun
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if watch.done() and future.cancelled():
                raise Refused(499, "ClientGone", "the client did not wait") from None
            raise
        finally:
            watch.cancel()

    def _leave(self) -> None:
        self._inside -= 1

    def close(self) -> None:
        """Wait for those at work and end the threads."""
        self._threads.shutdown(cancel_futures=True)
