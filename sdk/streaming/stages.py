"""From frames to alphas, for streams and videos alike: each stage timed, in the order of frames.

A stage takes items that have an ``image``, a frame, and hands them on beside what it made of it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from matter_sdk.sdk.arrays import check_finite
from matter_sdk.sdk.errors import NoMatteError
from matter_sdk.sdk.matte import Matte, nothing
from matter_sdk.sdk.streaming.statistics import Meter
from matter_sdk.sdk.streaming.temporal_filter import TemporalFilter


class Item(Protocol):
    """What goes through the stages."""

    @property
    def image(self) -> Any:
        """The frame."""


I = TypeVar("I", bound=Item)  # noqa: E741
T = TypeVar("T")
R = TypeVar("R")

WITHHELD = np.zeros((1, 1), np.float32)
"""Stands for the alpha of a frame that has no matte, and of which nothing may be shown."""
WITHHELD.flags.writeable = False


def check_streamable(matter: Any) -> None:
    """Raise what ``matter`` itself says against a video: no trimaps, or no plate."""
    check = getattr(matter, "check_streamable", None)  # not all that stands in for a Matter has it
    if check is not None:
        check()


def prepared(matter: Any, items: Iterable[I], meter: Meter) -> Iterator[tuple[I, Any]]:
    """What the network takes of each frame; ``WITHHELD`` of those that can have no matte."""
    for item in items:
        with meter("preprocess"):
            try:
                tensor = matter.prepare(item.image)
            except NoMatteError as error:
                meter.withhold(error)
                tensor = WITHHELD
        yield item, tensor


def inferred(
    matter: Any, tensors: Iterable[tuple[I, Any]], meter: Meter, lanes: int
) -> Iterator[tuple[I, np.ndarray]]:
    """Alphas at the network's size, or ``WITHHELD``; ``lanes`` frames are in the network at once.

    Whoever stands in for a ``Matter`` may give NaN or infinity too: that is no matte either.
    """

    def infer(given: tuple[I, Any]) -> tuple[I, np.ndarray]:
        item, tensor = given
        if tensor is WITHHELD:
            return item, WITHHELD
        with meter("network"):
            try:
                alpha = matter.infer(tensor)
                check_finite(alpha, "the network's alpha")
            except NoMatteError as error:
                meter.withhold(error)
                return item, WITHHELD
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

    The filter begins anew where ``again`` is set, with another plate, and after a frame that has no
    matte. Such a frame passes as it is: of the mattes before it nothing may linger there.
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
        if alpha is WITHHELD:
            yield from steady.flush()
            steady.reset()
            yield item, alpha
            continue
        yield from steady.push(item, item.image, alpha)
    yield from steady.flush()


def finished(matter: Any, image: Any, alpha: Any) -> Matte:
    """The matte of a frame; one of nothing where it has none."""
    if alpha is WITHHELD:
        return nothing(image)
    return cast(Matte, matter.finish(image, alpha))


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
