"""Matte a sequence of frames: decode ahead, infer, and hand out the mattes in order.

    for matte in matter.stream("clip.mp4"):           # every frame, in order
        ...
    for matte in matter.stream(0, live=True):         # a camera: the newest frame wins
        ...

Decoding and the network run in threads of their own, so that on two cores the caller's work
(compositing, showing, encoding) overlaps with both. The queues between them are short: memory
stays bounded and a live picture stays young.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from matter_sdk.sdk.errors import FrameError, VideoError
from matter_sdk.sdk.shielded import shielded
from matter_sdk.sdk.streaming.prefetch import Prefetcher
from matter_sdk.sdk.streaming.stages import check_streamable, filtered, finished, inferred, prepared
from matter_sdk.sdk.streaming.statistics import Meter, Stats

if TYPE_CHECKING:
    from matter_sdk.sdk.matte import Matte

T = TypeVar("T")
log = logging.getLogger("matter")


class _Arrived(NamedTuple):
    image: Any
    stamp: float  # when it came


class Stream(Iterator["Matte"]):
    """The iterator that ``stream()`` returns: mattes in the order of their frames.

    ``latency`` is the time in seconds from the arrival of the last matte's frame until now,
    ``dropped`` the number of frames that a live stream has passed over. It ends, and
    its threads with it, when it is read to its end, closed, left in a ``with`` block or dropped.
    """

    def __init__(
        self,
        matter: Any,
        source: Any,
        *,
        live: bool = False,
        timeout: float | None = None,
        temporal: bool | None = None,
        lookahead: int | None = None,
    ) -> None:
        check_streamable(matter)
        if lookahead is None and live:
            lookahead = 0
        self._matter = matter
        self._timeout = timeout
        self._first = True
        self._stamp = time.perf_counter()
        self._meter = Meter()
        self._again = threading.Event()
        self._stages: list[Prefetcher[Any]] = []
        try:
            shielded(lambda: self._begin(source, live, temporal, lookahead))
        except BaseException:
            self.close()
            raise

    def _begin(self, source: Any, live: bool, temporal: bool | None, lookahead: int | None) -> None:
        matter = self._matter
        self._frames: Prefetcher[_Arrived] = self._stage(
            _arriving(
                _frames(source, live=live, planes=getattr(matter, "takes_planes", False)),
                self._meter,
            ),
            depth=1 if live else 4,
            newest=live,
        )
        # Between a frame and its matte there is always a turn of the network. A file's next frame
        # is prepared during it; a live one is not, since a newer one may come.
        frames = prepared(matter, self._frames, self._meter)
        tensors = frames if live else self._stage(frames)
        # A live matte must not wait for the ones before it: one at a time.
        lanes = 1 if live else getattr(matter, "lanes", 1)
        alphas = inferred(matter, tensors, self._meter, lanes)
        # A file's next frame is in the network while the last one is filtered.
        alphas = filtered(
            matter,
            alphas if live else self._stage(alphas),
            temporal=temporal,
            lookahead=lookahead,
            again=self._again,
        )
        # One matte ahead: the network works while the caller shows the last one, yet what is
        # shown is never older than one turn of the caller's loop.
        self._mattes = self._stage(alphas)

    def _stage(self, items: Iterable[T], *, depth: int = 1, newest: bool = False) -> Prefetcher[T]:
        stage = Prefetcher(items, depth=depth, newest=newest)
        self._stages.append(stage)
        return stage

    @property
    def latency(self) -> float:
        """Seconds since the frame of the last matte arrived."""
        return time.perf_counter() - self._stamp

    @property
    def dropped(self) -> int:
        """Frames that were passed over because a newer one had come."""
        return self._frames.dropped

    @property
    def stats(self) -> Callable[[], Stats]:
        """``stats()``: how long each stage takes, how old the mattes are, what was passed over.

        Whoever keeps it does not keep the stream.
        """
        return functools.partial(_stats, self._meter, self._frames)

    def reset(self) -> None:
        """Let the filter over time begin anew. A cut and another size do that by themselves."""
        self._again.set()

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
            matte = finished(self._matter, item.image, alpha)
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
        return any(stage.alive for stage in self._stages)

    def _close(self, timeout: float) -> None:
        # Upstream first: it wakes the network's thread if that waits for a frame.
        for stage in self._stages:
            stage.close(timeout)

    def __del__(self) -> None:
        # `for matte in stream(0): break` must not keep the camera: the threads hold no reference
        # to the stream, so it goes with the loop. At the interpreter's end they are gone already.
        if not sys.is_finalizing() and hasattr(self, "_stages"):
            self.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _stats(meter: Meter, frames: Prefetcher[Any]) -> Stats:
    return meter.stats(frames.dropped)


def _arriving(frames: Iterable[Any], meter: Meter) -> Iterator[_Arrived]:
    iterator = iter(frames)
    try:
        while True:
            with meter("capture"):
                frame = next(iterator, _END)
            if frame is _END:
                return
            yield _Arrived(frame, time.perf_counter())
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()


_END = object()


def stream(
    matter: Any,
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
    matter: Any,
    source: Any,
    draw: Callable[[Any], np.ndarray],
    alone: Callable[[np.ndarray], np.ndarray],
    *,
    timeout: float = 2.0,
    retry: float = 1.0,
) -> Generator[tuple[np.ndarray, Stats | None], None, None]:
    """A live picture that never shows the room: yields (picture, the stream's statistics).

    While all is well the picture is ``draw(matte)`` of the newest frame. Without one it is
    ``alone(blank)``, where ``blank`` is a black frame of the last known size: neither the frame nor
    the last composite is shown again, there are no statistics, and ``alone`` goes on at 25 pictures
    a second, so that a window stays alive and a recording in time. That is so

    * before the first matte, while the source opens and the network compiles;
    * on any failure, of the source, of the network or of ``draw``, which is logged; ``source`` is
      opened anew ``retry`` seconds later;
    * while the source gives nothing for more than ``timeout`` seconds, which is logged too. One
      that hangs is waited for and not opened a second time beside the first, so that it never holds
      more than one camera and the threads of one stream.

    A source that ends, ends this. ``alone`` must not fail: what it raises is raised here. Takes
    ``source`` as ``stream`` does. A ``matter`` that can never work on a video is refused at once:
    FrameError.
    """
    check_streamable(matter)
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
                            "the background alone is shown: no matte for %g s; is the camera or "
                            "the stream still there?",
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
            log.warning("the background alone is shown, and it is tried again: %s", error)
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
    """A live stream that opens in a thread of its own: an address may take ten seconds for that."""

    def __init__(self, matter: Any, source: Any) -> None:
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


def _opened(matter: Any, source: Any) -> Iterator[Stream]:
    streamed = stream(matter, source, live=True)
    try:
        yield streamed
    except GeneratorExit:  # nobody took it
        streamed.close()
        raise


def _frames(source: Any, *, live: bool, planes: bool) -> Iterable[Any]:
    """The frames of any kind of source; opens it at once so that its errors come early."""
    if isinstance(source, bool):
        raise VideoError(
            f"source {source!r}, expected frames, a path, a camera index or an address"
        )
    if isinstance(source, (int, np.integer)):
        return _camera(int(source))
    if isinstance(source, (str, Path)):
        from matter_sdk.sdk.media.video_reader import VideoReader

        reader = VideoReader(source, planes=planes)
        return _paced(reader) if live and not reader.is_address else _whole(reader)
    if isinstance(source, np.ndarray) and source.ndim != 4:
        raise FrameError(
            f"source is one array of shape {source.shape}, expected N×H×W×3 or a sequence of "
            "frames; for a single frame call matter(frame)"
        )
    if isinstance(source, Iterable):
        return source
    raise VideoError(
        f"source of type {type(source).__name__}, expected an iterable of frames, a path, "
        "a camera index or a stream address"
    )


def _whole(reader: Any) -> Iterator[np.ndarray]:
    with reader:
        yield from reader


def _paced(reader: Any) -> Iterator[np.ndarray]:
    """A file's frames at the times at which a player would show them."""
    with reader:
        begin = first = None
        for timed in reader.timed():
            if begin is None or first is None:
                begin, first = time.monotonic(), timed.time
            time.sleep(max(0.0, begin + (timed.time - first) - time.monotonic()))
            yield timed.image


def _camera(index: int) -> Iterator[np.ndarray]:
    import cv2

    capture = cv2.VideoCapture(index)
    if not capture.isOpened():
        capture.release()
        raise VideoError(
            f"camera {index} cannot be opened, expected a camera that no other program uses; "
            "try another index (0, 1, …), a video file or a stream address"
        )
    # The driver's own queue would put its length on the latency; drivers that know no such
    # setting ignore it.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return _captured(capture, index)


def _captured(capture: Any, index: int) -> Iterator[np.ndarray]:
    try:
        while True:
            good, frame = capture.read()
            if not good or frame is None:
                raise VideoError(
                    f"camera {index} stopped giving frames; is it unplugged or in other hands?"
                )
            yield frame
    finally:
        capture.release()
