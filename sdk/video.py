"""Video in, matte, video out: the whole way, each stage in a thread of its own.

    from sdk import Matter
    from sdk.video import matte_video

    report = matte_video(Matter("gfm.engine"), "in.mp4", "out.mp4", background="beach.jpg")

``VideoReader`` and ``VideoWriter`` live in modules of their own and are to be had from here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdk.background import Background, cover
from sdk.errors import BackgroundError, VideoError
from sdk.stream import Ahead, check_streamable, checked
from sdk.video_reader import TimedFrame, VideoReader
from sdk.video_writer import VideoWriter, check_output

__all__ = [
    "TimedFrame",
    "VideoBackground",
    "VideoInterrupted",
    "VideoReader",
    "VideoReport",
    "VideoWriter",
    "check_output",
    "matte_video",
]

STAGES = ("decode", "preprocess", "network", "composite", "encode")


@dataclass(frozen=True)
class VideoReport:
    """What was done, and where the time went.

    ``stages`` are the seconds that each stage was at work. Stages run at the same time, so they
    add up to more than ``seconds``, the time on the clock from the first frame to the finished
    file; ``fps`` is frames over ``seconds``. ``notes`` says what was left out or changed.
    """

    path: Path
    frames: int
    seconds: float
    size: tuple[int, int]  # (height, width)
    stages: dict[str, float]
    truncated: bool = False
    interrupted: bool = False
    notes: tuple[str, ...] = ()
    fps: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fps", self.frames / self.seconds if self.seconds else 0.0)

    def __str__(self) -> str:
        """A table for a person: milliseconds a frame of each stage, then the frame rate."""
        lines = [
            f"{stage:<11}{1000 * seconds / max(1, self.frames):8.1f} ms a frame"
            for stage, seconds in self.stages.items()
        ]
        height, width = self.size
        lines.append(
            f"{self.frames} frames of {width}×{height} in {self.seconds:.1f} s: "
            f"{self.fps:.1f} frames/s"
        )
        if self.truncated:
            lines.append("the source ends in the middle; all of its frames that decode were used")
        return "\n".join(lines)


class VideoInterrupted(KeyboardInterrupt):
    """``matte_video`` was interrupted and its output finished; ``report`` tells how far it came."""

    def __init__(self, report: VideoReport) -> None:
        super().__init__(f"interrupted after {report.frames} frames; {report.path} is playable")
        self.report = report


class VideoBackground(Background):
    """A video behind the subject, looped, scaled to cover the frame and cropped at its centre.

    It runs at the output's own time: ``at`` takes ``time`` in seconds, or reckons it from the
    frame's ``index`` at ``rate`` frames a second (by default the background's own rate).
    Raises BackgroundError where the video cannot be read. Safe to use from several threads.
    """

    def __init__(self, path: str | Path, *, rate: Fraction | float | None = None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._frames: Ahead[TimedFrame] | None = None
        self._current: TimedFrame | None = None
        self._offset = 0.0  # the output's time at which this turn of the loop began
        self._fitted: tuple[tuple[int, int], TimedFrame, np.ndarray] | None = None
        self._restart(0.0)
        self.rate = float(rate if rate is not None else self._rate)

    def _restart(self, offset: float) -> None:
        if self._frames is not None:
            self._frames.close()
        try:
            reader = VideoReader(self.path, threads=1)
        except VideoError as error:
            raise BackgroundError(f"background {error}") from error
        self._rate = reader.rate
        self._tick = float(reader.time_base)
        self._frames = Ahead(_whole(reader), depth=2)
        self._current = next(self._frames)
        self._begin = self._current.time
        self._offset = offset

    def at(
        self,
        frame: np.ndarray,
        index: int = 0,
        alpha: np.ndarray | None = None,
        *,
        time: float | None = None,
    ) -> np.ndarray:
        """The background for ``frame``: uint8 H×W×3 BGR of its height and width."""
        del alpha
        with self._lock:
            seconds = index / self.rate if time is None else max(0.0, time)
            if seconds < self._offset:
                self._restart(0.0)
            self._advance(seconds)
            return self._fit(frame.shape[:2])

    def _advance(self, seconds: float) -> None:
        while self._frames is not None and self._current is not None:
            end = self._current.time + self._current.duration * self._tick - self._begin
            # A thousandth of slack: 5/25 s in floating point may fall just short of frame 5.
            if seconds - self._offset < end - 1e-3:
                return
            following = next(self._frames, None)
            if following is None:
                self._restart(self._offset + max(end, 1e-2))
            else:
                self._current = following

    def _fit(self, shape: tuple[int, ...]) -> np.ndarray:
        current = self._current
        size = (shape[0], shape[1])
        if current is None:
            raise BackgroundError(f"background {self.path} is closed, expected an open one")
        if self._fitted is None or self._fitted[0] != size or self._fitted[1] is not current:
            self._fitted = (size, current, cover(current.image, size))
        return self._fitted[2]

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        with self._lock:
            if self._frames is not None:
                self._frames.close()
            self._frames = self._current = None


def _whole(reader: VideoReader) -> Iterator[TimedFrame]:
    with reader:
        yield from reader.timed()


class _Clock:
    """Seconds at work per stage. Each stage is timed by one thread only, so no lock is needed."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - begin


class _Matted(NamedTuple):
    timed: TimedFrame
    alpha: np.ndarray


def matte_video(
    matter: Any,
    source: str | Path,
    output: str | Path,
    *,
    background: Any = "green",
    alpha: bool = False,
    audio: bool = True,
    crf: int | None = None,
    preset: str | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> VideoReport:
    """Matte every frame of ``source`` and write ``output``, with timestamps, turn and audio kept.

    matter
        ``sdk.Matter``, or anything with its ``prepare``, ``infer`` and ``finish``.
    output
        Chosen by its suffix, as in ``VideoWriter``.
    background
        Whatever ``Background.open`` takes: a colour, an image, a video (looped), ``"blur"``.
    alpha
        Write the cut-out with its alpha channel instead of a composite.
    audio
        Copy the audio tracks.
    crf, preset
        As in ``VideoWriter``.
    progress
        Called in the calling thread after each frame with (frames done, frames expected or None).

    A source that ends in the middle gives an output that ends there too, and ``truncated`` in the
    report. Interrupted (KeyboardInterrupt), the output is finished, moved to its name if it has a
    frame, and VideoInterrupted (a KeyboardInterrupt) is raised with the report. On any error
    the output is removed and the error raised: VideoError, BackgroundError, or the matter's.
    """
    check_streamable(matter)
    check_output(output, alpha=alpha, inputs=[source, background])
    clock = _Clock()
    with VideoReader(source) as reader:
        behind = None if alpha else Background.open(background)
        writer = VideoWriter(
            output, reader.size, rate=reader.rate, time_base=reader.time_base, alpha=alpha,
            crf=crf, preset=preset, pixel_aspect=reader.pixel_aspect,
            audio_from=source if audio and reader.has_audio and not reader.is_address else None,
        )  # fmt: skip
        decoded = Ahead(_decode(reader, clock), depth=3)
        matted = Ahead(_infer(matter, decoded, clock), depth=2)
        # Encoding has its thread too: an interrupt hits the calling thread alone, and never
        # between a frame's encoding and its way into the file.
        stopped = threading.Event()
        written = Ahead(_write(matter, matted, behind, writer, clock, stopped), depth=2)

        def stop() -> None:
            stopped.set()
            # Files are touched again only when the threads that use them are done.
            decoded.close(timeout=None)
            matted.close()
            written.close(timeout=None)

        def report(*, interrupted: bool = False) -> VideoReport:
            return VideoReport(
                Path(output), writer.frames, time.perf_counter() - begin, reader.size,
                clock.seconds, reader.truncated, interrupted, tuple(writer.notes),
            )  # fmt: skip

        begin = time.perf_counter()
        try:
            for done in written:
                if progress is not None:
                    progress(done, reader.frames)
            return report()
        except KeyboardInterrupt as interrupt:
            stop()
            if not writer.frames:
                raise
            writer.finish(all_audio=False)  # does nothing if the last frame was in already
            raise VideoInterrupted(report(interrupted=True)) from interrupt
        finally:
            stop()
            writer.abort()
            if behind is not None and behind is not background:
                behind.close()


def _decode(reader: VideoReader, clock: _Clock) -> Iterator[TimedFrame]:
    frames = reader.timed()
    while True:
        with clock("decode"):
            timed = next(frames, None)
        if timed is None:
            return
        yield timed


def _infer(matter: Any, frames: Ahead[TimedFrame], clock: _Clock) -> Iterator[_Matted]:
    for timed in frames:
        with clock("preprocess"):
            tensor = matter.prepare(timed.image)
        with clock("network"):
            alpha = checked(matter.infer(tensor))
        yield _Matted(timed, alpha)


def _write(
    matter: Any,
    frames: Ahead[_Matted],
    behind: Background | None,
    writer: VideoWriter,
    clock: _Clock,
    stopped: threading.Event,
) -> Iterator[int]:
    for index, (timed, alpha) in enumerate(frames):
        with clock("composite"):
            matte = matter.finish(timed.image, alpha)
            if behind is None:
                picture = matte.cutout()
            elif isinstance(behind, VideoBackground):
                picture = matte.over(behind.at(timed.image, index, time=timed.time))
            else:
                picture = matte.over(behind, index=index)
        with clock("encode"):
            writer.write(picture, timed.pts, timed.duration)
        yield index + 1
    if not stopped.is_set():
        with clock("encode"):
            writer.finish()
