"""Share one engine fairly among several streams.

    with MatterPool("gfm.engine") as pool:
        cameras = [pool.stream(0, live=True), pool.stream("rtsp://door", live=True)]
        for one, other in zip(*cameras):
            ...

A stream asks for the network one frame at a time, and streams are served in turn, so that a fast
source gets no more than a slow one while both wait. Frames that wait together run together where
the engine was built with a batch. Two run side by side, each with half of the threads, unless
``lanes`` says otherwise: threads that share one frame wait for one another, which costs a small
network a fifth of its time.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matter_sdk.sdk.closing import Closing
from matter_sdk.sdk.cpu import usable_cores
from matter_sdk.sdk.errors import ClosedError, NoMatteError
from matter_sdk.sdk.matter import Matter
from matter_sdk.sdk.shielded import shielded
from matter_sdk.sdk.stream import Stream, stream
from matter_sdk.sdk.streaming.matting import Wrapped

Alpha = NDArray[np.float32]
LANES = 2


class MatterPool(Closing):
    """Streams that share one ``Matter``.

    Args:
        matter: an engine's path, or None as for ``Matter``, opened with ``options`` as ``Matter``
            takes them and closed with the pool; or an open ``Matter``, which stays open.
        options: of ``Matter``. ``lanes`` is 2 by default where there is more than one thread.

    Raises:
        MatterError: as ``Matter``.
    """

    def __init__(
        self, matter: str | os.PathLike[str] | Matter | None = None, **options: Any
    ) -> None:
        self._owned = not isinstance(matter, Matter)
        if options.get("threads") != 1 and usable_cores() > 1:
            options.setdefault("lanes", LANES)
        self.matter = matter if isinstance(matter, Matter) else Matter(matter, **options)
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Any, Future[Alpha]]] = deque()
        self._closed = False
        self._process = os.getpid()
        self._threads = [
            threading.Thread(target=self._serve, name="matter-pool", daemon=True)
            for _ in range(self.matter.lanes)
        ]
        for thread in self._threads:
            thread.start()

    def stream(self, source: Any, *, live: bool = False, lookahead: int | None = None) -> Stream:
        """Open a stream, as ``Matter.stream``; its ``stats()`` are its own.

        Raises:
            ClosedError: after ``close``.
        """
        self._check_open()
        return stream(_Member(self), source, live=live, lookahead=lookahead)

    def infer(self, prepared: Any) -> Alpha:
        """Run ``Matter.infer`` in turn with all others that wait.

        Raises:
            ClosedError: after ``close``, also for a frame that waited meanwhile.
        """
        return shielded(lambda: self._infer(prepared))

    def _infer(self, prepared: Any) -> Alpha:
        answer: Future[Alpha] = Future()
        with self._changed:
            self._check_open()
            self._waiting.append((prepared, answer))
            self._changed.notify_all()
        return answer.result()

    def close(self) -> None:
        """End the streams, and close the engine if it was opened here. Safe to call twice."""
        shielded(self._close)

    def _close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        if self._owned:
            self.matter.close()

    def _check_open(self) -> None:
        if os.getpid() != self._process:
            raise ClosedError(
                "this MatterPool was opened before a fork, and its threads did not come along; "
                "expected one of this process. Open it in the child"
            )
        if self._closed:
            raise ClosedError("this MatterPool is closed; expected an open one. Make a new one")

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    waiting = list(self._waiting)
                    self._waiting.clear()
                    break
                turn = self._next()
            try:
                self._answer(turn)
            except NoMatteError:  # of one of them: the others' streams must not suffer for it
                for one in turn:
                    try:
                        self._answer([one])
                    except BaseException as error:  # noqa: BLE001 - as below
                        one[1].set_exception(error)
            except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
                for _, answer in turn:
                    answer.set_exception(error)
        for _, answer in waiting:
            answer.set_exception(ClosedError("this MatterPool was closed while a frame waited"))

    def _answer(self, turn: list[tuple[Any, Future[Alpha]]]) -> None:
        alphas = self.matter.infer_batch([prepared for prepared, _ in turn])
        for (_, answer), alpha in zip(turn, alphas, strict=True):
            answer.set_result(alpha)

    def _next(self) -> list[tuple[Any, Future[Alpha]]]:
        """Those that wait longest, as many as the engine's batch. As no stream waits with more than
        one frame, this is a fair turn."""
        count = min(len(self._waiting), self.matter.manifest.batch)
        return [self._waiting.popleft() for _ in range(count)]


class _Member(Wrapped):
    """What a stream of a pool takes for its ``Matter``."""

    def __init__(self, pool: MatterPool) -> None:
        super().__init__(pool.matter)
        self._pool = pool

    def infer(self, prepared: Any) -> Alpha:
        """See ``MatterPool.infer``."""
        return self._pool.infer(prepared)
