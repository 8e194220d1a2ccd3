"""From frames to alphas, for streams and videos alike: each stage timed, in the order of frames.

A stage takes items that have an ``image``, a frame, and hands them on beside what it made of it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import numpy as np

from sdk.errors import BackendError
from sdk.statistics import Meter
from sdk.temporal import TemporalFilter


class Item(Protocol):
    """What goes through the stages."""

    @property
    def image(self) -> Any:
        """The frame."""


I = TypeVar("I", bound=Item)  # noqa: E741
T = TypeVar("T")
R = TypeVar("R")

NOT_FINITE = (
    "the network's alpha holds NaN or infinity, expected 0..1; "
    "build the engine again without --fp16, or take another backend"
)


def check_streamable(matter: Any) -> None:
    """Raise what ``matter`` itself says against a video: no trimaps, or no plate."""
    check = getattr(matter, "check_streamable", None)  # not all that stands in for a Matter has it
    if check is not None:
        check()


def prepared(matter: Any, items: Iterable[I], meter: Meter) -> Iterator[tuple[I, Any]]:
    """What the network takes of each frame."""
    for item in items:
        with meter("preprocess"):
            tensor = matter.prepare(item.image)
        yield item, tensor


def inferred(
    matter: Any, tensors: Iterable[tuple[I, Any]], meter: Meter, lanes: int
) -> Iterator[tuple[I, np.ndarray]]:
    """Alphas at the network's size; ``lanes`` frames are in the network at once.

    Raises:
        BackendError: the network answered NaN or infinity. It is looked at before upsampling, where
            it is small: a broken matte must never be shown, since over a background NaN may let the
            room through.
    """

    def infer(given: tuple[I, Any]) -> tuple[I, np.ndarray]:
        item, tensor = given
        with meter("network"):
            alpha = matter.infer(tensor)
            if not np.isfinite(alpha).all():
                raise BackendError(NOT_FINITE)
        return item, alpha

    return in_order(infer, tensors, lanes)


def filtered(
    matter: Any,
    items: Iterable[tuple[I, np.ndarray]],
    *,
    temporal: bool | None = None,
    lookahead: int | None = None,
    again: threading.Event | None = None,
) -> Iterator[tuple[I, np.ndarray]]:
    """The alphas over time, or as they are; by the matter's quality where nothing is said.

    The filter begins anew where ``again`` is set, and with another plate.
    """
    quality = getattr(matter, "quality", None)  # as in check_streamable
    if temporal is None:
        temporal = quality is not None and quality.temporal
    if not temporal:
        yield from items
        return
    if lookahead is None:
        lookahead = 0 if quality is None else quality.lookahead
    steady: TemporalFilter[I] = TemporalFilter(lookahead)
    plate = getattr(matter, "plate", None)
    for item, alpha in items:
        newer = getattr(matter, "plate", None)
        if newer is not plate or (again is not None and again.is_set()):
            steady.reset()
            plate = newer
            if again is not None:
                again.clear()
        yield from steady.push(item, item.image, alpha)
    yield from steady.flush()


def in_order(work: Callable[[T], R], items: Iterable[T], workers: int) -> Generator[R, None, None]:
    """``work`` of each item, in their order; so many are at work at once."""
    if workers == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="matter-lane") as pool:
        begun: deque[Future[R]] = deque()
        try:
            for item in items:
                begun.append(pool.submit(work, item))
                if len(begun) > workers:  # one more waits, so that no worker does
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
