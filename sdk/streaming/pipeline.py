"""The stages that a stream and a video share: decode, prepare, infer, filter, finish."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

import numpy as np

from matter_sdk.sdk.arrays import check_finite
from matter_sdk.sdk.errors import NoMatteError
from matter_sdk.sdk.matte import Matte, nothing
from matter_sdk.sdk.streaming.matting import Matting
from matter_sdk.sdk.streaming.prefetch import Prefetcher
from matter_sdk.sdk.streaming.statistics import Meter
from matter_sdk.sdk.streaming.stillness import Stillness
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

_SAME = np.zeros((1, 1), np.float32)  # stands for the alpha of the frame before


class _Looked(NamedTuple, Generic[I]):
    """An item, and its picture as the filter over time looks at it: whole, or small already."""

    item: I
    small: Any


class Pipeline(Generic[I]):
    """Frames on their way to mattes, in order, each stage timed.

    A file has a thread for each stage. A live source has one thread that decodes and always holds
    the newest frame, and one for the other stages: a frame is not prepared before the network is
    free, since a newer one may come meanwhile. Queues hold one item each, so that memory stays
    bounded and a live picture stays young.

    Args:
        matter: does the work.
        items: the source's frames.
        meter: takes the times of the stages.
        live: drop frames that come faster than mattes.
        stretch: tells of which stretch of the video an item is. With another one the network looks
            anew, even where nothing happens, so that a video may be matted from any of them on.

    Attributes:
        frames: the first stage, the source in a thread of its own.
        again: set it to restart the filter over time.
    """

    def __init__(
        self,
        matter: Matting,
        items: Iterable[I],
        meter: Meter,
        *,
        live: bool = False,
        stretch: Callable[[I], object] | None = None,
    ) -> None:
        self.again = threading.Event()
        self._matter = matter
        self._meter = meter
        self._live = live
        self._stretch = stretch
        self._stages: list[Prefetcher[Any]] = []
        self.frames: Prefetcher[I] = self.stage(items, depth=1 if live else 4, newest=live)

    def stage(self, items: Iterable[T], *, depth: int = 1, newest: bool = False) -> Prefetcher[T]:
        """Add a stage: ``items`` in a thread of their own."""
        added = Prefetcher(items, depth=depth, newest=newest)
        self._stages.append(added)
        return added

    def alphas(
        self, *, temporal: bool | None = None, lookahead: int | None = None
    ) -> Prefetcher[tuple[I, np.ndarray]]:
        """Each item with its alpha at the network's size, or with ``WITHHELD``.

        ``temporal`` and ``lookahead`` are of the filter over time; None: as the matter's quality.
        """
        tensors = self._prepared(self.frames)
        alphas = self._inferred(tensors if self._live else self.stage(tensors))
        steady = self._filtered(alphas if self._live else self.stage(alphas), temporal, lookahead)
        return self.stage(steady)

    def finish(self, item: I, alpha: np.ndarray) -> Matte:
        """The matte of an item; one of nothing where it has none."""
        return nothing(item.image) if alpha is WITHHELD else self._matter.finish(item.image, alpha)

    def close(self, timeout: float = 5.0) -> None:
        """Stop every stage. One that hangs for ``timeout`` seconds is left behind in its thread."""
        for stage in self._stages:  # upstream first: it wakes those that wait for a frame
            stage.close(timeout)

    @property
    def alive(self) -> bool:
        """Whether any of its threads runs."""
        return any(stage.alive for stage in self._stages)

    def _prepared(self, items: Iterable[I]) -> Iterator[tuple[_Looked[I], Any]]:
        # On a GPU the network is the least of a frame's costs.
        quality = self._matter.quality
        stillness = Stillness(quality.reuse if self._matter.device == "cpu" else 0)
        last: object = None
        for item in items:
            looked = _Looked(item, item.image)
            with self._meter("preprocess"):
                stretch = self._stretch(item) if self._stretch is not None else None
                if self.again.is_set() or stretch != last:
                    stillness.reset()
                    last = stretch
                plate = self._matter.plate
                try:
                    tensor = self._matter.prepare(item.image)
                except NoMatteError as error:
                    self._meter.withhold(error)
                    tensor = WITHHELD
                if tensor is WITHHELD:
                    stillness.reset()
                elif stillness.most or quality.temporal:
                    looked = _Looked(item, self._matter.look(item.image, tensor))
                    still = stillness.most and isinstance(tensor, np.ndarray)
                    if still and stillness.still(looked.small, plate):
                        tensor = _SAME
            yield looked, tensor

    def _inferred(
        self, tensors: Iterable[tuple[_Looked[I], Any]]
    ) -> Iterator[tuple[_Looked[I], np.ndarray]]:
        def infer(given: tuple[_Looked[I], Any]) -> tuple[_Looked[I], Any]:
            looked, tensor = given
            if tensor is WITHHELD or tensor is _SAME:
                return given
            with self._meter("network"):
                try:
                    alpha = self._matter.infer(tensor)
                    check_finite(alpha, "the network's alpha")  # not every matter is a Matter
                except NoMatteError as error:
                    return looked, error
            return looked, alpha

        last: Any = WITHHELD
        # A live matte must not wait for those before it: one at a time.
        for looked, alpha in in_order(infer, tensors, 1 if self._live else self._matter.lanes):
            last = last if alpha is _SAME else alpha
            if isinstance(last, NoMatteError):
                self._meter.withhold(last)
            yield looked, WITHHELD if isinstance(last, NoMatteError) else last

    def _filtered(
        self,
        items: Iterable[tuple[_Looked[I], np.ndarray]],
        temporal: bool | None,
        lookahead: int | None,
    ) -> Iterator[tuple[I, np.ndarray]]:
        """The alphas over time.

        The filter restarts where ``again`` is set, with another plate, and after a frame that
        has no matte. Such a frame passes as it is: nothing of the mattes before it may linger.
        """
        quality = self._matter.quality
        if not (quality.temporal if temporal is None else temporal):
            yield from ((looked.item, alpha) for looked, alpha in items)
            return
        if lookahead is None:
            lookahead = 0 if self._live else quality.lookahead
        steady: TemporalFilter[I] = TemporalFilter(lookahead)
        plate = self._matter.plate
        for (item, small), alpha in items:
            newer = self._matter.plate
            if newer is not plate or self.again.is_set():
                steady.reset()
                plate = newer
                self.again.clear()
            if alpha is WITHHELD:
                yield from steady.flush()
                steady.reset()
                yield item, alpha
                continue
            yield from steady.push(item, small, alpha)
        yield from steady.flush()


def measured(items: Iterable[T], meter: Meter, stage: str) -> Iterator[T]:
    """``items``, with the time that each takes; a generator among them is closed at the end."""
    iterator = iter(items)
    try:
        while True:
            with meter(stage):
                item = next(iterator, _END)
            if item is _END:
                return
            yield cast(T, item)
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()


_END = object()


def in_order(work: Callable[[T], R], items: Iterable[T], workers: int) -> Generator[R, None, None]:
    """``work`` of each item, in their order; so many are at work at once."""
    if workers == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="matter-slot") as pool:
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
