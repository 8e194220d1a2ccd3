"""Matte a video file into another, each stage in a thread of its own.

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
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np

from matter_sdk.kernels import YUV
from matter_sdk.sdk.background import Background, VideoBackground
from matter_sdk.sdk.errors import NoMatteError, VideoError
from matter_sdk.sdk.matte import Matte, nothing
from matter_sdk.sdk.media.video_parts import UnlikeParts, VideoPart, cut_video, join_video
from matter_sdk.sdk.media.video_reader import TimedFrame, VideoReader
from matter_sdk.sdk.media.video_source import local_path
from matter_sdk.sdk.media.video_writer import VideoWriter, check_output, is_sequence
from matter_sdk.sdk.streaming.matting import Matting
from matter_sdk.sdk.streaming.pipeline import Pipeline, measured
from matter_sdk.sdk.streaming.statistics import Meter

if TYPE_CHECKING:
    from matter_sdk.sdk.streaming.frame_graph import FrameGraph

__all__ = [
    "TimedFrame",
    "UnlikeParts",
    "VideoBackground",
    "VideoInterrupted",
    "VideoPart",
    "VideoReader",
    "VideoReport",
    "VideoWriter",
    "check_output",
    "cut_video",
    "frame_at",
    "join_video",
    "matte_video",
]

T = TypeVar("T", bound=tuple[Any, ...])

STAGES = ("decode", "preprocess", "network", "composite", "encode")


@dataclass(frozen=True)
class VideoReport:
    """The result of ``matte_video``, and where the time went.

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
            lines.append("the source ends early; all of its frames that decode were used")
        return "\n".join(lines)


class VideoInterrupted(KeyboardInterrupt):
    """``matte_video`` was interrupted and its output finished; ``report`` has what was done."""

    def __init__(self, report: VideoReport) -> None:
        super().__init__(f"interrupted after {report.frames} frames; {report.path} is playable")
        self.report = report


def frame_at(source: str | Path, second: float) -> np.ndarray:
    """The frame that a video shows at a second, uint8 H×W×3 BGR; such as its own plate.

    Raises:
        VideoError: the video cannot be read, ends before, or is a pipe, which can be read but once.
    """
    if Path(source).is_fifo():
        raise VideoError(
            f"{source} is a pipe, which is read but once; expected a file to take the frame at "
            f"{second:g} s from"
        )
    with VideoReader(source) as reader:
        for timed in reader.timed():
            if timed.time >= second:
                return timed.image
    raise VideoError(f"{source} ends before second {second:g}; expected an earlier one")


class _Composite(NamedTuple):
    timed: TimedFrame
    picture: Any


def matte_video(
    matter: Matting,
    source: str | Path,
    output: str | Path,
    *,
    background: Any = "green",
    alpha: bool = False,
    audio: bool = True,
    crf: int | None = None,
    preset: str | None = None,
    hardware: bool = False,
    part: VideoPart | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> VideoReport:
    """Matte every frame of ``source`` and write ``output``; keep timestamps, rotation and audio.

    Args:
        matter: a ``Matter``, or what stands in for one (``sdk.streaming.matting``).
        output: chosen by its suffix, as in ``VideoWriter``.
        background: whatever ``Background.open`` takes: a colour, an image, a video (looped),
            ``"blur"``.
        alpha: write the cut-out with its alpha channel instead of a composite.
        audio: take sound, subtitles, chapters and tags along, as ``VideoWriter`` does with
            ``audio_from``.
        crf, preset: as in ``VideoWriter``.
        hardware: encode H.264 by an encoder in hardware if one opens, else by x264. Where the
            matter runs on a GPU, that is its NVENC, and its NVDEC decodes, if the files and the GPU
            allow it: see ``VideoReader`` and ``VideoWriter``. This has not run on such hardware
            yet.
        part: write the frames of this part alone (``cut_video``), for ``join_video``. Its audio is
            that of the whole: leave it out.
        progress: called in the calling thread after each frame with (frames done, frames expected
            or None).

    A frame without a matte (``NoMatteError``) shows the background only; the report's ``notes``
    say how many there were and why. If the source ends early, so does the output, and the report is
    ``truncated``. On an interrupt the output is finished if it has a frame.

    Raises:
        VideoInterrupted: a KeyboardInterrupt, with the report.
        VideoError, BackgroundError, MatterError: the output is removed.
    """
    matter.check_streamable()
    check_output(
        output, alpha=alpha, inputs=[local_path(source), background], crf=crf, preset=preset
    )
    meter = Meter()
    # A sequence of pictures takes BGR alone.
    planes = not alpha and matter.takes_planes and not is_sequence(output)
    gpu = _gpu_number(matter.device) if hardware else None
    sound = audio and not is_sequence(output)
    begin_at = 0.0 if part is None else part.second
    with VideoReader(source, planes=planes, gpu=gpu, tracks=sound, start=begin_at) as reader:
        behind = None if alpha else Background.open(background)
        graph = None if behind is None else matter.frame_graph(reader.peek(), behind)
        writer = VideoWriter(
            output, reader.size, rate=reader.rate, time_base=reader.time_base, alpha=alpha,
            crf=crf, preset=preset, pixel_aspect=reader.pixel_aspect, colours=reader.colours,
            tags=reader.tags, audio_from=reader if audio else None, gpu=gpu, hardware=hardware,
            quick=matter.quality.quick,
        )  # fmt: skip
        frames = reader.timed()
        if part is not None:
            frames = part.read(frames, matter.quality.lookahead if matter.quality.temporal else 0)
        pipeline = Pipeline(
            matter, measured(frames, meter, "decode"), meter, stretch=lambda timed: int(timed.time)
        )
        pictures: Iterable[_Composite]
        if behind is not None and graph is not None:
            pictures = _of(part, _launched(matter, graph, pipeline.frames, behind, meter))
        else:
            alphas = _of(part, pipeline.alphas())
            pictures = _composited(pipeline, alphas, behind, meter)
        # Encoding has its thread too: an interrupt hits the calling thread alone, and never
        # between a frame's encoding and its way into the file.
        stopped = threading.Event()
        written = pipeline.stage(_write(pictures, writer, meter, stopped), depth=2)

        def stop() -> None:
            stopped.set()
            # Files are touched again only when the threads that use them are done.
            pipeline.frames.close(timeout=None)
            pipeline.close()
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


def _of(part: VideoPart | None, items: Iterable[T]) -> Iterable[T]:
    """Those of a part; items begin with their frame."""
    return items if part is None else (item for item in items if part.holds(item[0].pts))


def _gpu_number(device: str) -> int | None:
    kind, _, number = device.partition(":")
    return int(number or 0) if kind == "cuda" else None


def _launched(
    matter: Matting,
    graph: FrameGraph,
    frames: Iterable[TimedFrame],
    behind: Background,
    meter: Meter,
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
                graph = cast("FrameGraph", matter.frame_graph(timed.image, behind))
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
    pipeline: Pipeline[TimedFrame],
    alphas: Iterable[tuple[TimedFrame, np.ndarray]],
    behind: Background | None,
    meter: Meter,
) -> Iterator[_Composite]:
    for index, (timed, alpha) in enumerate(alphas):
        with meter("composite"):
            matte = pipeline.finish(timed, alpha)
            made = matte.cutout() if behind is None else _over(matte, behind, timed, index)
        yield _Composite(timed, made)


def _over(matte: Matte, behind: Background, timed: TimedFrame, index: int = 0) -> Any:
    """The composite, in planes where the frame came so."""
    over = matte.over_planes if isinstance(timed.image, YUV) else matte.over
    return over(behind.at_time(timed.time), index=index)


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
