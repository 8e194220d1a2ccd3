"""A video that starts again when it ends, asked for the frame of any moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from matter_sdk.sdk.errors import BackgroundError, VideoError
from matter_sdk.sdk.media.video_reader import TimedFrame, VideoReader
from matter_sdk.sdk.streaming.prefetch import Prefetcher

_SLACK = 1e-3  # seconds: 5/25 in floating point may fall just short of frame 5
_READ_ON = 1.0  # seconds ahead up to which reading on is taken to be faster than a seek


class VideoLoop:
    """A looped video with a thread that decodes ahead. Safe to use from several threads.

    ``rate`` is its own frame rate.

    Raises:
        BackgroundError: the video cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._frames: Prefetcher[TimedFrame] | None = None
        self._current: TimedFrame | None = None
        self._offset = 0.0  # the output's time at which this turn of the loop began
        self._length: float | None = None  # of a turn, in seconds, where it is known
        self._made: tuple[Any, TimedFrame, Any] | None = None  # key, source frame, result
        self._begin = 0.0  # the first frame's time in the file
        try:
            self._restart(0.0)
        except VideoError as error:
            raise BackgroundError(f"background {error}") from error
        self._begin = cast(TimedFrame, self._current).time

    def at(self, seconds: float, key: Any, make: Callable[[Any], Any]) -> Any:
        """Return ``make`` of the frame shown at ``seconds``; the last result is kept by ``key``.

        Raises:
            BackgroundError: the video cannot be read, or is closed.
        """
        with self._lock:
            if self._current is None:
                raise BackgroundError(f"background {self.path} is closed, expected an open one")
            try:
                self._go_to(max(0.0, seconds))
            except VideoError as error:
                raise BackgroundError(f"background {error}") from error
            current = self._current
            if self._made is None or self._made[0] != key or self._made[1] is not current:
                self._made = (key, current, make(current.image))
            return self._made[2]

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        with self._lock:
            if self._frames is not None:
                self._frames.close()
            self._frames = self._current = None

    def _restart(self, offset: float, start: float = 0.0) -> None:
        """Begin a turn of the loop at the output's time ``offset``, ``start`` seconds into it."""
        if self._frames is not None:
            self._frames.close()
        first = 0.0 if start <= 0 else self._begin + start
        reader = VideoReader(self.path, threads=1, planes=True, start=first)
        self.rate = float(reader.rate)
        self._tick = float(reader.time_base)
        if self._length is None and reader.duration:
            self._length = reader.duration - self._begin
        self._frames = Prefetcher(_frames_of(reader), depth=2)
        self._current = next(self._frames)
        self._offset = offset

    def _go_to(self, seconds: float) -> None:
        """Make the current frame the one that is shown at the output's time ``seconds``."""
        current = cast(TimedFrame, self._current)
        ahead = seconds - self._offset - (current.time - self._begin)
        if ahead < -_SLACK or ahead > _READ_ON:
            self._seek(seconds)
        while seconds - self._offset >= self._end() - _SLACK:
            following = next(cast("Prefetcher[TimedFrame]", self._frames), None)
            if following is not None:
                self._current = following
                continue
            self._length = max(self._end(), 1e-2)
            self._restart(self._offset + self._length)

    def _seek(self, seconds: float) -> None:
        """Go to the turn and place of the output's time ``seconds``, by the file's index."""
        if not self._length:
            self._restart(0.0, start=seconds)
            if self._end() + _SLACK >= seconds:
                return
            self._length = self._end()  # the last frame came: now the length is known
        turn = int((seconds + _SLACK) / self._length)
        self._restart(turn * self._length, start=seconds - turn * self._length)

    def _end(self) -> float:
        """When the current frame ends, in seconds from the beginning of its turn."""
        current = cast(TimedFrame, self._current)
        return current.time + current.duration * self._tick - self._begin


def _frames_of(reader: VideoReader) -> Iterator[TimedFrame]:
    with reader:
        yield from reader.timed()
