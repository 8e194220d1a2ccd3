"""Run an iterator in a thread of its own, a few items ahead of its reader."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from matter_sdk.sdk.closing import Closing
from matter_sdk.sdk.errors import ClosedError
from matter_sdk.sdk.shielded import shielded

T = TypeVar("T")


class Prefetcher(Closing, Generic[T]):
    """Iterate over ``source`` in a thread of its own, at most ``depth`` items ahead of the reader.

    With ``newest`` the thread never waits: a full queue drops its oldest item and counts it in
    ``dropped``. An error of the source is raised in the reader, after the items before it.
    ``close()``, or leaving the ``with`` block, stops the thread and closes the source.
    """

    def __init__(self, source: Iterable[T], *, depth: int = 4, newest: bool = False) -> None:
        self.dropped = 0
        self._source = source
        self._depth = depth
        self._newest = newest
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._finished = False
        self._process = os.getpid()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="matter-prefetch", daemon=True)
        try:
            shielded(self._thread.start)
        except BaseException:  # an interrupt: it may run, and nobody will ever read from it
            with self._changed:
                self._closed = True
                self._changed.notify_all()
            raise

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            iterator = iter(self._source)
            try:
                for item in iterator:
                    if not self._put(item):
                        break
            finally:
                # A generator holds files and cameras open; they are released in the thread that
                # used them, not whenever the garbage collector comes by.
                close = getattr(iterator, "close", None)
                if close is not None:
                    close()
        except BaseException as caught:  # noqa: BLE001 - it is raised again, in the reader's thread
            error = caught
        with self._changed:
            self._error = error
            self._finished = True
            self._changed.notify_all()

    def _put(self, item: T) -> bool:
        with self._changed:
            if self._newest and len(self._items) >= self._depth:
                self._items.popleft()
                self.dropped += 1
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._depth)
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self, timeout: float | None = None) -> T:
        """The next item; TimeoutError after ``timeout`` seconds, StopIteration at the end.

        Interrupted (KeyboardInterrupt), it loses no item.
        """
        if os.getpid() != self._process:
            raise ClosedError(
                "this stream was opened before a fork, and its threads did not come along; "
                "expected one of this process. Open it in the child"
            )
        turn: _Turn[T] = _Turn()
        try:
            return shielded(lambda: self._get(timeout, turn), lambda: self._give_up(turn))
        except BaseException:
            if turn.taken:  # the interrupt came after it
                with self._changed:
                    self._items.appendleft(turn.taken.pop())
            raise

    def _give_up(self, turn: _Turn[T]) -> None:
        with self._changed:
            turn.given_up = True
            self._changed.notify_all()

    def _get(self, timeout: float | None, turn: _Turn[T]) -> T:
        with self._changed:
            ready = self._changed.wait_for(
                lambda: self._items or self._finished or self._closed or turn.given_up, timeout
            )
            if not ready:
                raise TimeoutError(f"nothing came for {timeout} s")
            if turn.given_up:
                raise InterruptedError
            if self._items:
                turn.taken.append(self._items.popleft())
                self._changed.notify_all()
                return turn.taken[0]
            error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopIteration

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return self.get()

    def close(self, timeout: float | None = 5.0) -> None:
        """Stop. A source that hangs for ``timeout`` seconds is left behind in its daemon thread."""
        shielded(lambda: self._close(timeout))

    def _close(self, timeout: float | None) -> None:
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()


class _Turn(Generic[T]):
    """One call of ``Prefetcher.get``."""

    def __init__(self) -> None:
        self.given_up = False
        self.taken: list[T] = []
