"""Matte the frames of any source, in order.

    for matte in matter.stream("clip.mp4"):           # every frame, in order
        ...
    for matte in matter.stream(0, live=True):         # a camera: the newest frame wins
        ...

Decoding and the network run in threads of their own (``sdk.streaming.pipeline``), so that on two
cores the caller's work (compositing, showing, encoding) overlaps with both.
"""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from matter_sdk.sdk.closing import Closing
from matter_sdk.sdk.errors import VideoError
from matter_sdk.sdk.media.sources import open_source
from matter_sdk.sdk.shielded import shielded
from matter_sdk.sdk.streaming.matting import Matting
from matter_sdk.sdk.streaming.pipeline import Pipeline, measured
from matter_sdk.sdk.streaming.prefetch import Prefetcher
from matter_sdk.sdk.streaming.statistics import Meter, Stats

if TYPE_CHECKING:
    from matter_sdk.sdk.matte import Matte

T = TypeVar("T")
log = logging.getLogger("matter")


class _Arrived(NamedTuple):
    image: Any
    stamp: float  # when it came


class Stream(Closing, Iterator["Matte"]):
    """Mattes in the order of their frames; ``stream()`` returns one.

    It ends, and its threads with it, when it is read to its end, closed, left in a ``with`` block
    or dropped.
    """

    def __init__(
        self,
        matter: Matting,
        source: Any,
        *,
        live: bool = False,
        timeout: float | None = None,
        temporal: bool | None = None,
        lookahead: int | None = None,
    ) -> None:
        matter.check_streamable()
        self._timeout = timeout
        self._first = True
        self._stamp = time.perf_counter()
        self._meter = Meter()
        try:
            shielded(lambda: self._begin(matter, source, live, temporal, lookahead))
        except BaseException:
            self.close()
            raise

    def _begin(
        self,
        matter: Matting,
        source: Any,
        live: bool,
        temporal: bool | None,
        lookahead: int | None,
    ) -> None:
        frames = open_source(source, live=live, planes=matter.takes_planes)
        self._pipeline = Pipeline(matter, _arriving(frames, self._meter), self._meter, live=live)
        # One matte ahead: the network works while the caller shows the last one, yet what is
        # shown is never older than one turn of the caller's loop.
        self._mattes = self._pipeline.alphas(temporal=temporal, lookahead=lookahead)

    @property
    def latency(self) -> float:
        """Seconds since the frame of the last matte arrived."""
        return time.perf_counter() - self._stamp

    @property
    def dropped(self) -> int:
        """Frames that were passed over because a newer one had come."""
        return self._pipeline.frames.dropped

    @property
    def stats(self) -> Callable[[], Stats]:
        """``stats()``: how long each stage takes, how old the mattes are, what was passed over.

        Keeping it does not keep the stream alive.
        """
        return functools.partial(_stats, self._meter, self._pipeline.frames)

    def reset(self) -> None:
        """Restart the filter over time. A cut and another frame size do that by themselves."""
        self._pipeline.again.set()

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Matte:
        # A network compiles and a camera warms up before the first matte: that is no failure.
        patience = self._timeout
        if patience is not None and self._first:
            patience = max(patience, 20.0)
        matte = self.next_within(patience)
        if matte is None:
            self.close(timeout=0.05)
            raise VideoError(
                f"no matte for {patience:g} s, expected the next frame within that time; "
                "is the camera or the stream still there?"
            )
        return matte

    def next_within(self, seconds: float | None) -> Matte | None:
        """The next matte, or None if there is none within so many seconds; the stream stays open.

        Raises:
            StopIteration: at the end.
        """
        try:
            item, alpha = self._mattes.get(seconds)
        except TimeoutError:
            return None
        except BaseException:
            self.close()
            raise
        self._first = False
        self._stamp = item.stamp
        with self._meter("finish"):
            matte = self._pipeline.finish(item, alpha)
        self._meter.handed_out(self.latency)
        return matte

    def close(self, timeout: float = 5.0) -> None:
        """Stop the threads and release the source. Safe to call twice.

        A source that hangs for ``timeout`` seconds is left behind in its daemon thread.
        """
        shielded(lambda: self._close(timeout))

    @property
    def alive(self) -> bool:
        """Whether any of its threads runs."""
        return self._pipeline.alive

    def _close(self, timeout: float) -> None:
        if hasattr(self, "_pipeline"):  # not if the source could not be opened
            self._pipeline.close(timeout)

    def __del__(self) -> None:
        # `for matte in stream(0): break` must not keep the camera: the threads hold no reference
        # to the stream, so it goes with the loop. At the interpreter's end they are gone already.
        if not sys.is_finalizing():
            self.close()


def _stats(meter: Meter, frames: Prefetcher[Any]) -> Stats:
    return meter.stats(frames.dropped)


def _arriving(frames: Iterable[Any], meter: Meter) -> Iterator[_Arrived]:
    for frame in measured(frames, meter, "capture"):
        yield _Arrived(frame, time.perf_counter())


def stream(
    matter: Matting,
    source: Any,
    live: bool = False,
    *,
    timeout: float | None = None,
    temporal: bool | None = None,
    lookahead: int | None = None,
) -> Stream:
    """Matte every frame of ``source``, in order.

    ``matter`` has ``prepare``, ``infer`` and ``finish`` as ``sdk.Matter`` has. ``source`` is

    * an iterable of frames, uint8 H×W×3 BGR (each its own array: they are held while their
      matte is made), or one array N×H×W×3,
    * the path of a video file, upright and in its own colours (see ``sdk.video``),
    * a camera's index, or the address of a stream (``rtsp://``, ``http://``, ``udp://`` …).

    ``live``: the newest frame is taken and those that came meanwhile are dropped, so that the
    matte never lags behind; a file is then played at its own speed. Otherwise no frame is lost.
    ``timeout``: seconds without a matte after which VideoError is raised; None waits for ever.
    ``temporal``: filter the mattes over time (``sdk.streaming.temporal_filter``), which looks
    ``lookahead`` frames ahead: each matte then comes so many frames later. None: as the matter's
    ``quality`` says, and a live stream does not look ahead.

    Raises FrameError (at once) for a ``matter`` that needs a trimap and has no ``trimap_from``, or
    a plate and has none, VideoError where the source cannot be opened (at once) or breaks (after
    its last good frame), and whatever ``matter`` raises for a frame.
    """
    return Stream(
        matter, source, live=live, timeout=timeout, temporal=temporal, lookahead=lookahead
    )


def fail_safe(
    matter: Matting,
    source: Any,
    draw: Callable[[Any], np.ndarray],
    alone: Callable[[np.ndarray], np.ndarray],
    *,
    timeout: float = 2.0,
    retry: float = 1.0,
) -> Generator[tuple[np.ndarray, Stats | None], None, None]:
    """Yield live pictures that never show the room, each with the stream's statistics.

    A picture is ``draw(matte)`` of the newest frame. While there is no matte it is
    ``alone(blank)``, with None for statistics, 25 times a second; ``blank`` is a black frame of the
    last known size. Neither a frame nor the last composite is shown again. That is so

    * before the first matte, while the source opens and the network compiles;
    * after any failure of the source, the network or ``draw``: it is logged, and ``source`` is
      opened again ``retry`` seconds later;
    * while the source gives nothing for ``timeout`` seconds: that is logged too. A source that
      hangs is waited for, and never opened a second time beside the first.

    Ends when the source ends. ``source`` is as in ``stream``.

    Raises:
        FrameError: at once, for a ``matter`` that cannot work on a video.
        Exception: whatever ``alone`` raises.
    """
    matter.check_streamable()
    blank = np.zeros((720, 1280, 3), np.uint8)
    wait = _FIRST
    while True:
        opening = _Opening(matter, source)
        try:
            while (mattes := opening.stream(wait)) is None:
                yield alone(blank), None
                wait = _TICK
            came = time.monotonic()
            first, silent = True, False
            while True:
                patience = max(timeout, 20.0) if first else timeout  # a network compiles, once
                matte = mattes.next_within(wait)
                wait = _TICK if matte is None else timeout
                if matte is None:
                    if not silent and time.monotonic() - came >= patience:
                        silent = True
                        log.warning(
                            "no matte for %g s; showing the background only. Is the camera or the "
                            "stream still there?",
                            patience,
                        )
                    yield alone(blank), None
                    continue
                first, silent, came = False, False, time.monotonic()
                blank = np.zeros((*matte.frame.shape[:2], 3), np.uint8)
                picture = draw(matte)
                yield picture, mattes.stats()
        except StopIteration:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the room stays hidden
            log.warning(
                "matting failed (%s); showing the background only, retrying in %g s", error, retry
            )
        finally:
            opening.close()
        wait, again = _TICK, time.monotonic() + retry
        while True:
            yield alone(blank), None
            if time.monotonic() >= again and opening.gone:
                break
            time.sleep(min(_TICK, retry))


_TICK = 0.04
"""Seconds between two pictures of the background alone."""
_FIRST = 1.0
"""Seconds that the first picture of all may take, so that it has the size of the source's."""


class _Opening:
    """A live stream that opens in a thread of its own: an address may take ten seconds."""

    def __init__(self, matter: Matting, source: Any) -> None:
        self._opened: Prefetcher[Stream] = Prefetcher(_opened(matter, source))
        self._stream: Stream | None = None

    def stream(self, timeout: float) -> Stream | None:
        """The stream once it is open, or None after ``timeout`` seconds; raises what failed."""
        if self._stream is None:
            try:
                self._stream = self._opened.get(timeout)
            except TimeoutError:
                return None
        return self._stream

    def close(self) -> None:
        """Stop it without waiting for who hangs: that thread ends when its source says a word."""
        self._opened.close(timeout=0.05)
        if self._stream is not None:
            self._stream.close(timeout=0.05)

    @property
    def gone(self) -> bool:
        """Whether no thread of it is left."""
        return not self._opened.alive and (self._stream is None or not self._stream.alive)


def _opened(matter: Matting, source: Any) -> Iterator[Stream]:
    streamed = stream(matter, source, live=True)
    try:
        yield streamed
    except GeneratorExit:  # nobody took it
        streamed.close()
        raise
