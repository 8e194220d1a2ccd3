"""Video in, matte, video out: the whole way, each stage in a thread of its own.

    from matter_sdk import Matter
    from matter_sdk.sdk.video import matte_video

    report = matte_video(Matter("gfm.engine"), "in.mp4", "out.mp4", background="beach.jpg")

``VideoReader`` and ``VideoWriter`` live in modules of their own and are to be had from here.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from matter_sdk.kernels import YUV
from matter_sdk.sdk.arrays import picture
from matter_sdk.sdk.background import Background, cover, cover_planes, planes_like
from matter_sdk.sdk.errors import BackgroundError, NoMatteError, VideoError
from matter_sdk.sdk.matte import Matte, nothing
from matter_sdk.sdk.media.video_reader import TimedFrame, VideoReader
from matter_sdk.sdk.media.video_source import local_path
from matter_sdk.sdk.media.video_writer import VideoWriter, check_output, is_sequence
from matter_sdk.sdk.stream import Ahead
from matter_sdk.sdk.streaming.stages import check_streamable, filtered, finished, inferred, prepared
from matter_sdk.sdk.streaming.statistics import Meter

if TYPE_CHECKING:
    from matter_sdk.sdk.streaming.frame_graph import FrameGraph

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

# Of a background: 5/25 s in floating point may fall just short of frame 5; and how far behind it
# decodes on before it seeks.
_SLACK = 1e-3
_DECODED_ON = 1.0
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

    It runs at the output's own time, and where that leaps it seeks: ``at`` takes ``time`` in
    seconds, or reckons it from the frame's ``index`` at ``rate`` frames a second (by default the
    background's own rate).
    Raises BackgroundError where the video cannot be read. Safe to use from several threads.
    """

    reads_alpha = reads_frame = False

    def __init__(self, path: str | Path, *, rate: Fraction | float | None = None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._frames: Ahead[TimedFrame] | None = None
        self._current: TimedFrame | None = None
        self._offset = 0.0  # the output's time at which this turn of the loop began
        self._length: float | None = None  # of a turn, in seconds, where it is known
        self._fitted: tuple[Any, TimedFrame, Any] | None = None  # for what, from what, itself
        self._begin = 0.0  # the first frame's time in the file
        try:
            self._restart(0.0)
        except VideoError as error:
            raise BackgroundError(f"background {error}") from error
        self._begin = cast(TimedFrame, self._current).time
        self.rate = float(rate if rate is not None else self._rate)

    def _restart(self, offset: float, start: float = 0.0) -> None:
        """Begin a turn of the loop at the output's time ``offset``, ``start`` seconds into it."""
        if self._frames is not None:
            self._frames.close()
        first = 0.0 if start <= 0 else self._begin + start
        reader = VideoReader(self.path, threads=1, planes=True, start=first)
        self._rate = reader.rate
        self._tick = float(reader.time_base)
        if self._length is None and reader.duration:
            self._length = reader.duration - self._begin
        self._frames = Ahead(_whole(reader), depth=2)
        self._current = next(self._frames)
        self._offset = offset

    def _seek(self, seconds: float) -> None:
        """Go to the turn and the place of the output's time ``seconds``, by the file's index."""
        if not self._length:
            self._restart(0.0, start=seconds)
            if self._end() + _SLACK >= seconds:
                return
            self._length = self._end()  # the last frame came: now the length is known
        turn = int((seconds + _SLACK) / self._length)
        self._restart(turn * self._length, start=seconds - turn * self._length)

    def _end(self) -> float:
        """When the frame of the moment ends, in seconds from the beginning of its turn."""
        current = cast(TimedFrame, self._current)
        return current.time + current.duration * self._tick - self._begin

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
        size = (frame.shape[0], frame.shape[1])

        def fit(image: np.ndarray | YUV) -> np.ndarray:
            covering = cover_planes(image, size) if isinstance(image, YUV) else cover(image, size)
            return covering if isinstance(covering, np.ndarray) else picture(covering)

        return cast(np.ndarray, self._fit(size, fit, index, time))

    def planes_at(
        self,
        frame: YUV,
        index: int = 0,
        alpha: np.ndarray | None = None,
        *,
        time: float | None = None,
    ) -> YUV:
        """The background for a frame in planes: of its size, layout, matrix and range."""
        del alpha
        kind = (frame.layout, frame.matrix, frame.full_range)

        def fit(image: np.ndarray | YUV) -> YUV:
            if isinstance(image, YUV):
                covering = cover_planes(image, frame.shape)
                if (image.layout, image.matrix, image.full_range) == kind:
                    return covering
                return planes_like(picture(covering), frame)
            return planes_like(cover(image, frame.shape), frame)

        return cast(YUV, self._fit((frame.shape, kind), fit, index, time))

    def _fit(
        self, kind: Any, fit: Callable[[Any], Any], index: int, time: float | None
    ) -> np.ndarray | YUV:
        """The frame of the moment as ``fit`` makes it, once for each ``kind`` in a row."""
        with self._lock:
            seconds = index / self.rate if time is None else max(0.0, time)
            if self._current is None:
                raise BackgroundError(f"background {self.path} is closed, expected an open one")
            try:
                self._go_to(seconds)
            except VideoError as error:
                raise BackgroundError(f"background {error}") from error
            current = self._current
            if self._fitted is None or self._fitted[0] != kind or self._fitted[1] is not current:
                self._fitted = (kind, current, fit(current.image))
            return self._fitted[2]  # type: ignore[no-any-return]

    def _go_to(self, seconds: float) -> None:
        """Make the frame of the moment the one that is shown at the output's time ``seconds``."""
        current = cast(TimedFrame, self._current)
        ahead = seconds - self._offset - (current.time - self._begin)
        if ahead < -_SLACK or ahead > _DECODED_ON:
            self._seek(seconds)
        while seconds - self._offset >= self._end() - _SLACK:
            following = next(cast("Ahead[TimedFrame]", self._frames), None)
            if following is not None:
                self._current = following
                continue
            self._length = max(self._end(), 1e-2)
            self._restart(self._offset + self._length)

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        with self._lock:
            if self._frames is not None:
                self._frames.close()
            self._frames = self._current = None


class _Moment(Background):
    """A video background at one time of the output."""

    reads_alpha = reads_frame = False

    def __init__(self, video: VideoBackground, time: float) -> None:
        self._video, self._time = video, time

    def at(self, frame: np.ndarray, index: int = 0, alpha: np.ndarray | None = None) -> np.ndarray:
        """See ``Background.at``."""
        return self._video.at(frame, index, alpha, time=self._time)

    def planes_at(self, frame: YUV, index: int = 0, alpha: np.ndarray | None = None) -> YUV:
        """See ``Background.planes_at``."""
        return self._video.planes_at(frame, index, alpha, time=self._time)


def _at_time(background: Background, time: float) -> Background:
    return _Moment(background, time) if isinstance(background, VideoBackground) else background


def _whole(reader: VideoReader) -> Iterator[TimedFrame]:
    with reader:
        yield from reader.timed()


class _Composite(NamedTuple):
    timed: TimedFrame
    picture: Any


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
    hardware: bool = False,
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
        Take sound, subtitles, chapters and tags along, as ``VideoWriter`` does with ``audio_from``.
    crf, preset
        As in ``VideoWriter``.
    hardware
        Decode by NVDEC where the matter runs on a GPU and the file allows it: see
        ``VideoReader``. This has not run on a GPU yet.
    progress
        Called in the calling thread after each frame with (frames done, frames expected or None).

    A frame that has no matte (``NoMatteError``) shows the background alone, and the report's
    ``notes`` say how many there were and why.

    A source that ends in the middle gives an output that ends there too, and ``truncated`` in the
    report. Interrupted (KeyboardInterrupt), the output is finished, moved to its name if it has a
    frame, and VideoInterrupted (a KeyboardInterrupt) is raised with the report. On any error
    the output is removed and the error raised: VideoError, BackgroundError, or the matter's.
    """
    check_streamable(matter)
    check_output(
        output, alpha=alpha, inputs=[local_path(source), background], crf=crf, preset=preset
    )
    meter = Meter()
    # A sequence of pictures takes BGR alone, and so may what stands in for a Matter.
    planes = not alpha and getattr(matter, "takes_planes", False) and not is_sequence(output)
    gpu = _gpu_of(matter) if hardware else None
    sound = audio and not is_sequence(output)
    with VideoReader(source, planes=planes, gpu=gpu, tracks=sound) as reader:
        behind = None if alpha else Background.open(background)
        graph = None if behind is None else _graph(matter, reader.peek(), behind)
        writer = VideoWriter(
            output, reader.size, rate=reader.rate, time_base=reader.time_base, alpha=alpha,
            crf=crf, preset=preset, pixel_aspect=reader.pixel_aspect, colours=reader.colours,
            tags=reader.tags, audio_from=reader if audio else None,
        )  # fmt: skip
        decoded = Ahead(_decode(reader, meter), depth=3)
        stages: list[Ahead[Any]] = []  # between decoding and writing
        if behind is not None and graph is not None:
            pictures = _launched(matter, graph, decoded, behind, meter)
        else:
            stages.append(Ahead(prepared(matter, decoded, meter), depth=1))
            alphas = inferred(matter, stages[0], meter, getattr(matter, "lanes", 1))
            stages.append(Ahead(alphas, depth=1))
            stages.append(Ahead(filtered(matter, stages[1]), depth=1))
            pictures = _composited(matter, stages[2], behind, meter)
        # Encoding has its thread too: an interrupt hits the calling thread alone, and never
        # between a frame's encoding and its way into the file.
        stopped = threading.Event()
        written = Ahead(_write(pictures, writer, meter, stopped), depth=2)

        def stop() -> None:
            stopped.set()
            # Files are touched again only when the threads that use them are done.
            decoded.close(timeout=None)
            for stage in stages:
                stage.close()
            written.close(timeout=None)

        def report(*, interrupted: bool = False) -> VideoReport:
            spent = {stage: meter.total(stage) for stage in STAGES}
            return VideoReport(
                Path(output), writer.frames, time.perf_counter() - begin, reader.size,
                spent, reader.truncated, interrupted,
                (*reader.notes, *writer.notes, *meter.notes()),
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


def _decode(reader: VideoReader, meter: Meter) -> Iterator[TimedFrame]:
    frames = reader.timed()
    while True:
        with meter("decode"):
            timed = next(frames, None)
        if timed is None:
            return
        yield timed


def _gpu_of(matter: Any) -> int | None:
    """The number of the GPU that a matter runs on."""
    kind, _, number = str(getattr(matter, "device", "cpu")).partition(":")
    return int(number or 0) if kind == "cuda" else None


def _graph(matter: Any, frame: Any, behind: Background) -> FrameGraph | None:
    """The whole way as one CUDA graph, where the matter can do that."""
    make = getattr(matter, "frame_graph", None)
    return None if make is None else cast("FrameGraph | None", make(frame, behind))


def _launched(
    matter: Any, graph: FrameGraph, frames: Iterable[TimedFrame], behind: Background, meter: Meter
) -> Iterator[_Composite]:
    """Composites by way of a CUDA graph: while one is handed on, the next is being made."""
    submitted: deque[TimedFrame] = deque()

    def result() -> _Composite:
        timed = submitted.popleft()
        with meter("network"):
            try:
                return _Composite(timed, graph.result())
            except NoMatteError as error:
                meter.withhold(error)
        return _Composite(timed, _over(nothing(timed.image), behind, timed))

    try:
        for timed in frames:
            if not graph.takes(timed.image):  # a file may change from planes to pictures
                while submitted:
                    yield result()
                graph = cast("FrameGraph", _graph(matter, timed.image, behind))
            with meter("preprocess"):
                graph.submit(timed.image)
            submitted.append(timed)
            if graph.waiting == graph.DEPTH:
                yield result()
        while submitted:
            yield result()
    finally:
        graph.close()


def _composited(
    matter: Any,
    frames: Iterable[tuple[TimedFrame, np.ndarray]],
    behind: Background | None,
    meter: Meter,
) -> Iterator[_Composite]:
    for index, (timed, alpha) in enumerate(frames):
        with meter("composite"):
            matte = finished(matter, timed.image, alpha)
            made = matte.cutout() if behind is None else _over(matte, behind, timed, index)
        yield _Composite(timed, made)


def _over(matte: Matte, behind: Background, timed: TimedFrame, index: int = 0) -> Any:
    """The composite, in planes where the frame came so."""
    over = matte.over_planes if isinstance(timed.image, YUV) else matte.over
    return over(_at_time(behind, timed.time), index=index)


def _write(
    pictures: Iterable[_Composite], writer: VideoWriter, meter: Meter, stopped: threading.Event
) -> Iterator[int]:
    for count, (timed, composite) in enumerate(pictures, 1):
        with meter("encode"):
            writer.write(composite, timed.pts, timed.duration)
        yield count
    if not stopped.is_set():
        with meter("encode"):
            writer.finish()
