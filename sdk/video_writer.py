"""Write a video whole or not at all: H.264, ProRes 4444, VP9 or a sequence of PNG files.

The file grows under a temporary name beside its final one (``.name.partial.mp4``) and is renamed
once its trailer is written, so that a half-written file never stands under the final name.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import av
import av.error
import cv2
import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter

from kernels import YUV
from sdk.cpu import usable_cores
from sdk.cutout import hide_removed
from sdk.errors import VideoError
from sdk.video_reader import BT601, BT709, EXACT, HD_HEIGHT, start_of


class _Format(NamedTuple):
    codec: str
    pixels: str
    options: dict[str, str]


# x264's veryfast with the motion search of superfast. A noisy 1280×720 clip at crf 18, one thread:
# veryfast 17.4 ms a frame, 1.17 MB, 43.2 dB; this 11.3 ms, 1.24 MB, 43.0 dB; superfast 11.9 ms,
# 3.2 MB, since that also leaves out macroblock-tree rate control, which pays for itself.
_H264 = _Format(
    "libx264",
    "yuv420p",
    {"preset": "veryfast", "subq": "1", "motion-est": "dia", "weightp": "0", "crf": "20"},
)
_PRORES = _Format(
    "prores_ks", "yuva444p10le", {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"}
)
_VP9 = {"deadline": "good", "cpu-used": "5", "row-mt": "1", "crf": "24", "b": "0"}
_FORMATS: dict[tuple[str, bool], _Format] = {
    (".mp4", False): _H264,
    (".m4v", False): _H264,
    (".mov", False): _H264,
    (".mkv", False): _H264,
    (".webm", False): _Format("libvpx-vp9", "yuv420p", _VP9),
    (".mov", True): _PRORES,
    (".webm", True): _Format("libvpx-vp9", "yuva420p", _VP9),
}
OPAQUE_OUTPUTS = ".mp4, .m4v, .mov or .mkv (H.264), .webm (VP9)"
ALPHA_OUTPUTS = ".mov (ProRes 4444), .webm (VP9)"
SEQUENCES = "a folder or name%05d.png (PNG files)"
_SWSCALE_MATRIX = {BT709: 1, BT601: 5}  # swscale counts otherwise than the streams' tags
_NUMBER = re.compile(r"%0?\d*d")


def check_output(path: str | Path, *, alpha: bool = False, inputs: Iterable[Any] = ()) -> Path:
    """``path`` if a VideoWriter can write there, else VideoError; nothing is written.

    ``inputs`` are the files that are read meanwhile: none of them may be the output.
    """
    out = Path(path)
    works = f"{ALPHA_OUTPUTS if alpha else OPAQUE_OUTPUTS}, {SEQUENCES}"
    if not is_sequence(out):
        suffix = out.suffix.lower()
        if (suffix, alpha) not in _FORMATS:
            carries = " with alpha" if alpha else ""
            raise VideoError(f"output {path} ends in {suffix}, expected{carries} one of {works}")
        if out.is_dir():
            raise VideoError(
                f"output {path} is a folder, expected the name of a file; works: {works}"
            )
    elif out.suffix and not _NUMBER.search(out.name):
        raise VideoError(
            f"output {path} names one picture, expected a sequence; write {out.stem}%05d.png"
        )
    elif _existing_frames(out):
        raise VideoError(
            f"output {path} already holds frames, expected an empty place; remove them or "
            "choose another name, so that old and new frames do not mix"
        )
    if not out.parent.is_dir():
        raise VideoError(
            f"the folder of output {path} does not exist, expected a folder; mkdir -p {out.parent}"
        )
    if not os.access(out.parent, os.W_OK) or (out.exists() and not os.access(out, os.W_OK)):
        raise VideoError(
            f"output {path} may not be written, expected write permission; choose another"
        )
    for source in inputs:
        if isinstance(source, (str, Path)) and _same_file(out, source):
            raise VideoError(f"output {path} is also an input, expected another name; choose one")
    return out


def is_sequence(path: str | Path) -> bool:
    """Whether an output is a folder or numbered files, and no video file."""
    return Path(path).suffix.lower() in ("", ".png")


def _existing_frames(path: Path) -> bool:
    if not path.suffix:
        return path.exists() and (not path.is_dir() or any(path.iterdir()))
    start, end = _NUMBER.split(path.name, maxsplit=1)
    return path.parent.is_dir() and any(
        name.name.startswith(start) and name.name.endswith(end) for name in path.parent.iterdir()
    )


def _same_file(output: Path, source: str | Path) -> bool:
    try:
        return output.exists() and output.samefile(source)
    except OSError:  # the source is no file: an address, a colour, a name
        return False


class VideoWriter:
    """Write frames to ``path``; the suffix and ``alpha`` choose the format.

    ======================  =========================  ==============================
    output                  without alpha              with alpha
    ======================  =========================  ==============================
    .mp4 .m4v .mkv          H.264                      (refused)
    .mov                    H.264                      ProRes 4444
    .webm                   VP9                        VP9 with alpha
    folder, name%05d.png    PNG, BGR                   PNG, BGRA
    ======================  =========================  ==============================

    Alpha is straight (not premultiplied). Where it is 0 nothing of a frame's colours is written
    (``sdk.cutout``), whatever they were: whoever ignores alpha sees none of it. From 720 lines on
    the colours are BT.709, below BT.601, limited range, converted and tagged alike. H.264 and VP9
    share one chroma sample among 2×2 pixels, so an odd width or height is made even by repeating
    the last column or row.

    size
        (height, width) of the frames.
    rate, time_base
        Nominal frames per second, and seconds per tick of ``pts``. MP4 and MOV keep
        timestamps exactly, Matroska and WebM to the millisecond.
    colours
        Matrix ("bt601" or "bt709") and whether the range is full, of H.264 and VP9 without alpha;
        by default the matrix that players take for this height, and limited range. Frames in
        planes must be of these.
    crf, preset
        Quality of H.264 and VP9 (lower is better, 18 looks lossless), and x264's speed from
        ``ultrafast`` to ``veryslow``; by default what keeps up with live video on two cores.
    audio_from
        A file whose audio tracks are copied without re-encoding; a codec that the container
        does not take is transcoded to AAC (WebM: Opus), which ``notes`` then says.

    Use it as a context manager: leaving the block finishes the file, and so does an interrupt
    (KeyboardInterrupt), since what was done up to there is playable; any other error removes it.
    Raises VideoError where it cannot write, before the first frame if that can be known.
    """

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        *,
        rate: Fraction | float = 30,
        time_base: Fraction | None = None,
        alpha: bool = False,
        crf: int | None = None,
        preset: str | None = None,
        pixel_aspect: Fraction | int = 1,
        audio_from: str | Path | None = None,
        threads: int | None = None,
        colours: tuple[str, bool] | None = None,
    ) -> None:
        self.path = check_output(path, alpha=alpha, inputs=[audio_from])
        self.size = size
        self.frames = 0
        self.notes: list[str] = []
        self._alpha = alpha
        self._rate = Fraction(rate).limit_denominator(1001)
        self._time_base = time_base or 1 / self._rate
        self._end = 0.0
        self._output: _Container | _Sequence
        try:
            if is_sequence(self.path):
                self._output = _Sequence(self.path)
                if audio_from is not None and _has_audio(audio_from):
                    self.notes.append("a PNG sequence has no audio: the track is left out")
            else:
                if threads is None:
                    # A second one costs a tenth more work, and gains nothing beside a network that
                    # keeps both cores of a small machine busy.
                    threads = 1 if usable_cores() <= 2 else 2
                self._output = _Container(
                    self, crf, preset, Fraction(pixel_aspect), threads, colours
                )
                if audio_from is not None:
                    self._output.add_audio(audio_from, self.notes)
        except (OSError, av.error.FFmpegError) as error:
            raise self._failure(error) from error
        self._open = True

    def write(
        self, image: np.ndarray | YUV, pts: int | None = None, duration: int | None = None
    ) -> None:
        """Add a frame: uint8 H×W×3 BGR, or H×W×4 BGRA for an output with alpha.

        Or one in planes, of the matrix and range in ``colours``, for H.264 and VP9 without alpha.

        ``pts``, ``duration``: in ticks of ``time_base``; ``pts`` must grow. Without them frames
        follow one another at ``rate``. The array is read before the call returns.
        """
        self._check(image)
        if not self._open:
            raise VideoError(f"{self.path} is finished, expected an open writer; make a new one")
        tick = 1 / (self._rate * self._time_base)
        pts = round(self.frames * tick) if pts is None else pts
        duration = max(1, round(tick)) if duration is None else duration
        self._end = float((pts + duration) * self._time_base)
        if self._alpha and not isinstance(image, YUV):
            colours = hide_removed(image[..., :3], np.ascontiguousarray(image[..., 3]))
            image = np.dstack((colours, image[..., 3]))
        try:
            self._output.write(image, pts, duration)
        except (OSError, ValueError, av.error.FFmpegError) as error:
            raise self._failure(error) from error
        self.frames += 1

    def _check(self, image: np.ndarray | YUV) -> None:
        if isinstance(image, YUV):
            of = getattr(self._output, "colours", None)
            if image.shape != self.size or (image.matrix, image.full_range) != of:
                kind = "none in planes" if of is None else f"{of[0]}, full range: {of[1]}"
                raise VideoError(
                    f"frame {self.frames} is {image.shape} in planes ({image.matrix}, full range: "
                    f"{image.full_range}), expected {self.size}, {kind}"
                )
            return
        wanted = (*self.size, 4 if self._alpha else 3)
        if image.shape != wanted or image.dtype != np.uint8:
            raise VideoError(
                f"frame {self.frames} is {image.dtype} {image.shape}, expected uint8 {wanted}"
            )

    def finish(self, *, all_audio: bool = True) -> Path:
        """Complete the file and give it its name; returns its path.

        ``all_audio=False`` ends the audio with the picture (after an interrupt). Without a frame
        there is nothing to finish: VideoError, and no file.
        """
        if not self._open:
            return self.path
        try:
            if not self.frames:
                raise VideoError(
                    f"no frame was written to {self.path}, expected one; nothing is kept"
                )
            self._output.finish(None if all_audio else self._end)
        except VideoError:
            self.abort()
            raise
        except (OSError, ValueError, av.error.FFmpegError) as error:
            self.abort()
            raise self._failure(error) from error
        self._open = False
        return self.path

    def abort(self) -> None:
        """Give up: remove what was written. Safe to call twice, and after ``finish()``."""
        if self._open:
            self._open = False
            self._output.abort()

    def _failure(self, error: Exception) -> VideoError:
        reason = getattr(error, "strerror", None) or error
        return VideoError(
            f"{self.path} cannot be written: {reason}; is the disk full or the name taken?"
        )

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        if kind is None or (interrupted and self.frames):
            self.finish(all_audio=not interrupted)
        else:
            self.abort()


class _Container:
    """A container file with one video track, and audio tracks that keep pace with it."""

    def __init__(
        self,
        writer: VideoWriter,
        crf: int | None,
        preset: str | None,
        pixel_aspect: Fraction,
        threads: int,
        colours: tuple[str, bool] | None,
    ) -> None:
        self._final = writer.path
        suffix = writer.path.suffix.lower()
        self._partial = writer.path.with_name(f".{writer.path.stem}.partial{suffix}").absolute()
        self._format = _FORMATS[suffix, writer._alpha]
        self._time_base = writer._time_base
        options = dict(self._format.options)
        if crf is not None and "crf" in options:
            options["crf"] = str(crf)
        if preset is not None and "preset" in options:  # as x264 means it, without our changes
            options = {"preset": preset, "crf": options["crf"]}
        height, width = writer.size
        halved = "420" in self._format.pixels
        self._pad = (height % 2, width % 2) if halved else (0, 0)
        self._colours = VideoReformatter()
        if colours is None or self._format.pixels != "yuv420p":
            colours = ("bt709" if height >= HD_HEIGHT else "bt601", False)
        self._matrix = BT709 if colours[0] == "bt709" else BT601
        self._range = ColorRange.JPEG if colours[1] else ColorRange.MPEG
        self.colours = colours if self._format.pixels == "yuv420p" else None
        self._audio: dict[int, _AudioTrack] = {}
        self._waiting: Any = None
        self._audio_source: Any = None

        self._file: Any = None
        self._partial.touch()  # FFmpeg opens late; a place that cannot be written shows now
        try:
            # The index in front, so that a player can start before it has the whole file.
            faststart = {"movflags": "+faststart"} if suffix in (".mp4", ".m4v", ".mov") else {}
            self._file = av.open(str(self._partial), "w", container_options=faststart)
            self._video = self._file.add_stream(
                self._format.codec, rate=writer._rate, options=options
            )
            context = self._video.codec_context
            context.width, context.height = width + self._pad[1], height + self._pad[0]
            context.pix_fmt = self._format.pixels
            context.time_base = writer._time_base
            context.sample_aspect_ratio = pixel_aspect
            context.colorspace = context.color_primaries = context.color_trc = self._matrix
            context.color_range = self._range
            context.thread_count = threads
            # The encoder hands a frame's duration on to its packet: else the last frame has none.
            context.flags |= int(av.codec.context.Flags.frame_duration)
        except BaseException:
            self.abort()
            raise

    def add_audio(self, source: str | Path, notes: list[str]) -> None:
        try:
            self._audio_source = av.open(str(Path(source).absolute()))
            start = start_of(self._audio_source)
            for track in self._audio_source.streams.audio:
                if track.codec_context is None:
                    notes.append(f"audio track {track.index} is of an unknown codec: left out")
                    continue
                self._audio[track.index] = _AudioTrack(self._file, track, start, self._final, notes)
            if self._audio:
                tracks = [track.source for track in self._audio.values()]
                self._packets = self._audio_source.demux(tracks)
        except BaseException:
            self.abort()
            raise

    def write(self, image: np.ndarray | YUV, pts: int, duration: int) -> None:
        if isinstance(image, YUV):
            frame = self._frame_of(image)
        else:
            image = self._padded(np.ascontiguousarray(image))
            kind = "bgra" if image.shape[2] == 4 else "bgr24"
            frame = self._colours.reformat(
                av.VideoFrame.from_numpy_buffer(image, kind), format=self._format.pixels,
                src_color_range=ColorRange.JPEG, dst_color_range=self._range,
                dst_colorspace=_SWSCALE_MATRIX[self._matrix],
                interpolation=EXACT, threads=1,
            )  # fmt: skip
        frame.pts, frame.time_base, frame.duration = pts, self._time_base, duration
        self._pump(float(pts * self._time_base))
        self._file.mux(self._video.encode(frame))

    def _padded(self, image: np.ndarray) -> np.ndarray:
        """With a last row and column more where a side is odd and colour stands for two."""
        down, right = self._pad
        if not (down or right):
            return image
        return cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_REPLICATE)

    def _frame_of(self, image: YUV) -> Any:
        """Planes as a frame of FFmpeg's, copied: the encoder may look at it for a while."""
        y, *colour = image.planes
        u, v = colour if len(colour) == 2 else (colour[0][..., 0], colour[0][..., 1])
        height, width = image.shape
        frame: Any = av.VideoFrame(width + self._pad[1], height + self._pad[0], "yuv420p")
        for plane, values in zip(frame.planes, (self._padded(y), u, v), strict=True):
            rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
            rows[:, : plane.width] = values
        frame.colorspace = self._matrix
        frame.color_range = self._range
        return frame

    def _pump(self, until: float | None) -> None:
        """Pass the audio on up to ``until`` seconds; None: all that there is."""
        while self._audio:
            if self._waiting is None:
                try:
                    self._waiting = next(self._packets)
                except (
                    StopIteration,
                    av.error.FFmpegError,
                ):  # the file's end, or where it broke off
                    return self._end_audio()
            packet = self._waiting
            if packet.dts is not None:
                track = self._audio[packet.stream_index]
                if until is not None and track.time(packet) > until:
                    return None
                track.write(packet)
            self._waiting = None
        return None

    def _end_audio(self) -> None:
        for track in self._audio.values():
            track.flush()
        self._audio = {}

    def finish(self, audio_until: float | None) -> None:
        self._pump(audio_until)
        self._end_audio()
        self._file.mux(self._video.encode(None))
        self._file.close()
        self._close_audio()
        self._partial.replace(self._final)

    def abort(self) -> None:
        if self._file is not None:
            # It is thrown away: that its trailer cannot be written does not matter.
            with suppress(OSError, ValueError, av.error.FFmpegError):
                self._file.close()
        self._close_audio()
        self._partial.unlink(missing_ok=True)

    def _close_audio(self) -> None:
        self._audio = {}
        if self._audio_source is not None:
            self._audio_source.close()


class _AudioTrack:
    """One audio track on its way into another container: copied, or transcoded if it must be."""

    def __init__(
        self, output: Any, source: Any, start: Fraction, path: Path, notes: list[str]
    ) -> None:
        self.source = source
        self._shift = round(start / source.time_base)
        self._output = output
        name = source.codec_context.name
        self._copied = True
        try:
            self._stream = output.add_stream_from_template(source)
        except ValueError:
            self._copied = False
            opus = path.suffix.lower() == ".webm"
            rate = 48000 if opus else min(48000, source.codec_context.sample_rate)
            self._stream = output.add_stream("libopus" if opus else "aac", rate=rate)
            notes.append(
                f"{path.suffix} does not take {name} audio: transcoded to "
                f"{'Opus' if opus else 'AAC'}"
            )
        if "language" in source.metadata:
            self._stream.metadata["language"] = source.metadata["language"]

    def time(self, packet: Any) -> float:
        """When the packet is heard, in seconds of the output."""
        return float((packet.dts - self._shift) * packet.time_base)

    def write(self, packet: Any) -> None:
        if self._shift:
            packet.dts -= self._shift
            if packet.pts is not None:
                packet.pts -= self._shift
        if self._copied:
            packet.stream = self._stream
            self._output.mux(packet)
            return
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:  # a damaged packet is a gap in the sound, no more
            return
        for frame in frames:
            self._output.mux(self._stream.encode(frame))

    def flush(self) -> None:
        if not self._copied:
            self._output.mux(self._stream.encode(None))


class _Sequence:
    """PNG files, numbered from 0; they appear under their names only once all are written."""

    def __init__(self, path: Path) -> None:
        self._final = path
        if path.suffix:
            self._folder, self._name = path.parent, path.name
            self._partial = path.with_name(f".{_NUMBER.sub('', path.stem)}.partial")
        else:
            self._folder, self._name = path, "%05d.png"
            self._partial = path.with_name(f".{path.name}.partial")
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir()
        self._count = 0

    def write(self, image: Any, pts: int, duration: int) -> None:  # noqa: ARG002
        good, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 2])
        if not good:
            raise ValueError("PNG encoding failed")
        (self._partial / (self._name % self._count)).write_bytes(data.tobytes())
        self._count += 1

    def finish(self, audio_until: float | None) -> None:  # noqa: ARG002
        self._folder.mkdir(exist_ok=True)
        for file in sorted(self._partial.iterdir()):
            file.replace(self._folder / file.name)
        self._partial.rmdir()

    def abort(self) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)


def _has_audio(path: str | Path) -> bool:
    with av.open(str(Path(path).absolute())) as source:
        return bool(source.streams.audio)
