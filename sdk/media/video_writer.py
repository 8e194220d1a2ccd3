"""Write a video whole or not at all: H.264, ProRes 4444, VP9 or a sequence of PNG files.

The file grows in a private folder beside its final name (``.name.….partial``) and is moved once its
trailer is written, so that a half-written file never stands under the final name.
"""

from __future__ import annotations

import errno
import logging
import os
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

from matter_sdk.kernels import YUV
from matter_sdk.sdk.cpu import usable_cores
from matter_sdk.sdk.errors import MatterError, VideoError
from matter_sdk.sdk.files import as_path
from matter_sdk.sdk.media import hardware_encoder
from matter_sdk.sdk.media.cutout import hide_removed
from matter_sdk.sdk.media.video_colours import BT601, BT709, BT2020, Tags, png_with_tags
from matter_sdk.sdk.media.video_files import Place, SequencePlace
from matter_sdk.sdk.media.video_reader import EXACT, HD_HEIGHT, VideoReader
from matter_sdk.sdk.media.video_source import NUMBER, Source, Tracks, reason, sequence_numbers
from matter_sdk.sdk.media.video_tracks import TrackWriter, of_the_disk

log = logging.getLogger("matter")


class _Format(NamedTuple):
    codec: str
    pixels: str
    options: dict[str, str]


# x264's veryfast with the motion search of superfast. A noisy 1280×720 clip at crf 20, one thread:
# 10.9 ms a frame, 6.2 kB, 43.3 dB. Superfast: 14.3 ms, 21.4 kB, 44.1 dB, since that
# also leaves out macroblock-tree rate control, which pays for itself. Ultrafast: 6.4 ms, 16.7 kB,
# 43.9 dB.
_H264 = _Format(
    "libx264",
    "yuv420p",
    {"preset": "veryfast", "subq": "1", "motion-est": "dia", "weightp": "0", "crf": "20"},
)
# Ultrafast with what makes files small at little cost. The same clip: 6.5 ms, 7.5 kB, 43.1 dB; cut
# out over a colour 5.6 ms, 6.9 kB, 45.1 dB against 8.4 ms, 5.1 kB, 45.4 dB of the above.
_QUICK = {
    "preset": "ultrafast",
    "x264-params": "cabac=1:no-deblock=0:8x8dct=1:aq-mode=1:mbtree=1:rc-lookahead=5:scenecut=40",
}
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
_SWSCALE_MATRIX = {BT709: 1, BT601: 5, BT2020: 9}  # swscale counts otherwise than streams' tags
_CRF = {"libx264": 51, "libvpx-vp9": 63}  # the highest of each codec
_PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow",
    "placebo",
)  # fmt: skip
_MOST_PIXELS = 16384  # of a side: what H.264 and VP9 can say, beside the memory of players


def check_output(
    path: str | Path,
    *,
    alpha: bool = False,
    inputs: Iterable[Any] = (),
    crf: int | None = None,
    preset: str | None = None,
) -> Path:
    """``path`` if a VideoWriter can write there, else VideoError; nothing is written.

    ``inputs`` are the files that are read meanwhile: none of them may be the output. ``crf`` and
    ``preset`` must be ones that the output's codec knows.
    """
    out = as_path(path, "the output", VideoError)
    try:
        return _checked(out, alpha, inputs, crf, preset)
    except OSError as error:
        raise VideoError(
            f"output {path} cannot be written ({reason(error)}), expected a path; choose another"
        ) from error


def _checked(
    out: Path, alpha: bool, inputs: Iterable[Any], crf: int | None, preset: str | None
) -> Path:
    works = f"{ALPHA_OUTPUTS if alpha else OPAQUE_OUTPUTS}, {SEQUENCES}"
    if not is_sequence(out):
        suffix = out.suffix.lower()
        if (suffix, alpha) not in _FORMATS:
            carries = " with alpha" if alpha else ""
            raise VideoError(f"output {out} ends in {suffix}, expected{carries} one of {works}")
        if out.is_dir():
            raise VideoError(
                f"output {out} is a folder, expected the name of a file; works: {works}"
            )
        most = _CRF.get(_FORMATS[suffix, alpha].codec)
        if crf is not None and most is not None and not 0 <= crf <= most:
            raise VideoError(f"crf is {crf}, expected 0 (best) to {most} for {suffix}")
        if preset is not None and preset not in _PRESETS:
            raise VideoError(f"preset is {preset!r}, expected one of {', '.join(_PRESETS)}")
    elif out.suffix and len(NUMBER.findall(out.name)) != 1:
        raise VideoError(
            f"output {out} names one picture, expected a sequence; write {out.stem}%05d.png"
        )
    elif _existing_frames(out):
        raise VideoError(
            f"output {out} already holds frames, expected an empty place; remove them or "
            "choose another name, so that old and new frames do not mix"
        )
    if not out.parent.is_dir():
        raise VideoError(
            f"the folder of output {out} does not exist, expected a folder; mkdir -p {out.parent}"
        )
    if not os.access(out.parent, os.W_OK) or (out.exists() and not os.access(out, os.W_OK)):
        raise VideoError(
            f"output {out} may not be written, expected write permission; choose another"
        )
    for source in inputs:
        if isinstance(source, (str, Path)) and _same_file(out, source):
            raise VideoError(f"output {out} is also an input, expected another name; choose one")
    return out


def is_sequence(path: str | Path) -> bool:
    """Whether an output is a folder or numbered files, and no video file."""
    return Path(path).suffix.lower() in ("", ".png")


def _existing_frames(path: Path) -> bool:
    if not path.suffix:
        return path.exists() and (not path.is_dir() or any(path.iterdir()))
    return bool(sequence_numbers(path))


def _same_file(output: Path, source: str | Path) -> bool:
    try:
        return output.exists() and output.samefile(source)
    except (OSError, ValueError):  # the source is no file: an address, a colour, a name
        return False


class VideoWriter:
    """Write frames to ``path``; the suffix and ``alpha`` choose the format.

    | output | without alpha | with alpha |
    |---|---|---|
    | .mp4 .m4v .mkv | H.264 | (refused) |
    | .mov | H.264 | ProRes 4444 |
    | .webm | VP9 | VP9 with alpha |
    | folder, name%05d.png | PNG, BGR | PNG, BGRA |

    Alpha is straight (not premultiplied). Where it is 0 nothing of a frame's colours is written
    (``sdk.media.cutout``): software that ignores alpha shows none of it. From 720 lines on the
    colours are BT.709, below BT.601, limited range, converted and tagged alike. H.264
    and VP9 share one chroma sample among 2×2 pixels, so an odd width or height is made even by
    repeating the last column or row.

    Args:
        size: (height, width) of the frames.
        rate, time_base: nominal frames per second, and seconds per tick of ``pts``. MP4 and MOV
            keep timestamps exactly, Matroska and WebM to the millisecond.
        colours: matrix ("bt601" or "bt709") and whether the range is full, of H.264 and VP9 without
            alpha; by default the matrix that players take for this height, and limited range.
            Frames in planes must be of these.
        tags: primaries and curve of the colours, as numbers of ITU-T H.273 (``VideoReader.tags``);
            what is 2 follows the matrix. A PNG file names its own where they are not BT.709's.
        crf, preset: quality of H.264 (0 to 51) and VP9 (0 to 63; lower is better, 18 looks
            lossless), and x264's speed from ``ultrafast`` to ``veryslow``; by default what keeps up
            with live video on two cores. H.264 of crf 0 is lossless, which browsers do not play.
        audio_from: a file, or the VideoReader (with its tracks) of the frames, whose sound,
            subtitles, chapters and describing tags (title, artist, date and so on; never a place or
            a device) are copied; sound of a codec that the container does not take is transcoded to
            AAC (.mov: PCM, .webm: Opus).
        gpu: the number of an NVIDIA GPU whose NVENC encodes H.264, unless crf is 0 or a preset of
            x264 is given; where it cannot, x264 does. Files are somewhat larger at the same
            quality. This has not run on a GPU yet.
        hardware: likewise, without ``gpu``, for the first encoder in hardware that opens: NVENC,
            VideoToolbox, Quick Sync or AMF. This has not run on any of them yet.
        quick: encode H.264 faster and into larger files, unless a preset is given: for ``live``
            quality.

    Attributes:
        notes: what was changed or left out, in words; complete after ``finish``.

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
        audio_from: str | Path | VideoReader | None = None,
        threads: int | None = None,
        colours: tuple[str, bool] | None = None,
        tags: tuple[int, int] = (2, 2),
        gpu: int | None = None,
        hardware: bool = False,
        quick: bool = False,
    ) -> None:
        self.path = check_output(path, alpha=alpha, inputs=[audio_from], crf=crf, preset=preset)
        if not all(1 <= side <= _MOST_PIXELS for side in size):
            raise VideoError(
                f"frames of {path} are {size[1]}×{size[0]}, expected sides of 1 to {_MOST_PIXELS}"
            )
        self.size = size
        self.frames = 0
        self.notes: list[str] = []
        self._alpha = alpha
        try:
            self._rate = Fraction(rate).limit_denominator(1001)
        except (ValueError, OverflowError, TypeError):  # NaN, infinity
            self._rate = Fraction(0)
        if not 0 < self._rate <= 100_000:
            raise VideoError(f"the rate of {path} is {rate}, expected frames per second above 0")
        self._time_base = time_base or 1 / self._rate
        self._end = 0.0
        self._last: int | None = None  # the last frame's pts
        self._moved = 0
        self._output: _Container | _Sequence
        try:
            if is_sequence(self.path):
                if audio_from is not None and _has_audio(audio_from):
                    self.notes.append("a PNG sequence has no audio: the track is left out")
                self._output = _Sequence(self.path, Tags(*tags))
            else:
                if threads is None:
                    # A second one costs a tenth more work, and gains nothing beside a network that
                    # keeps both cores of a small machine busy.
                    threads = 1 if usable_cores() <= 2 else 2
                self._output = _Container(
                    self, crf, preset, Fraction(pixel_aspect), threads, colours, Tags(*tags), gpu,
                    hardware=hardware, quick=quick,
                )  # fmt: skip
                if audio_from is not None:
                    self._output.add_tracks(audio_from, self.notes)
        except MatterError:
            raise
        except Exception as error:
            raise self._failure(error) from error
        self._open = True

    def write(
        self, image: np.ndarray | YUV, pts: int | None = None, duration: int | None = None
    ) -> None:
        """Add a frame: uint8 H×W×3 BGR, or H×W×4 BGRA for an output with alpha.

        Or one in planes, of the matrix and range in ``colours``, for H.264 and VP9 without alpha.

        ``pts``, ``duration``: in ticks of ``time_base``; a ``pts`` that does not grow is moved by a
        tick, and ``notes`` says so. Without them frames follow one another at ``rate``. The array
        is read before the call returns.
        """
        self._check(image)
        if not self._open:
            raise VideoError(f"{self.path} is finished, expected an open writer; make a new one")
        tick = 1 / (self._rate * self._time_base)
        pts = round(self.frames * tick) if pts is None else pts
        if self._last is not None and pts <= self._last:
            pts = self._last + 1
            self._moved += 1
        self._last = pts
        duration = max(1, round(tick)) if duration is None else duration
        self._end = float((pts + duration) * self._time_base)
        if self._alpha and not isinstance(image, YUV):
            colours = hide_removed(image[..., :3], np.ascontiguousarray(image[..., 3]))
            image = np.dstack((colours, image[..., 3]))
        try:
            self._output.write(image, pts, duration)
        except MatterError:
            raise
        except Exception as error:
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
        except Exception as error:
            self.abort()
            raise self._failure(error) from error
        self._open = False
        if self._moved:
            self.notes.append(f"{self._moved} frames were given a time that does not grow: moved")
        return self.path

    def abort(self) -> None:
        """Give up: remove what was written. Safe to call twice, and after ``finish()``."""
        if self._open:
            self._open = False
            self._output.abort()

    def _failure(self, error: Exception) -> VideoError:
        why = reason(error)
        if of_the_disk(error):
            why += "; free some space or choose another place"
        elif getattr(error, "errno", None) in (errno.EACCES, errno.EPERM, errno.EISDIR):
            why += "; choose another name or place"
        return VideoError(f"{self.path} cannot be written: {why}")

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
        tags: Tags,
        gpu: int | None,
        *,
        hardware: bool,
        quick: bool,
    ) -> None:
        self._suffix = suffix = writer.path.suffix.lower()
        self._format = _FORMATS[suffix, writer._alpha]
        self._time_base = writer._time_base
        options = dict(self._format.options)
        if quick and self._format.codec == "libx264":
            options = {**_QUICK, "crf": options["crf"]}
        if crf is not None and "crf" in options:
            options["crf"] = str(crf)
            if crf == 0 and self._format.codec == "libx264":
                writer.notes.append(
                    "crf 0 is lossless H.264, which browsers and QuickTime do not play; they play "
                    "crf 1"
                )
        elif crf is not None:
            writer.notes.append(f"{self._format.codec} knows no crf: it is left out")
        if preset is not None and "preset" in options:  # as x264 means it, without our changes
            options = {"preset": preset, "crf": options["crf"]}
        height, width = writer.size
        halved = "420" in self._format.pixels
        self._pad = (height % 2, width % 2) if halved else (0, 0)
        codec, taken = self._format.codec, self._format.pixels
        if (hardware or gpu is not None) and codec == "libx264" and preset is None and crf != 0:
            size = height + self._pad[0], width + self._pad[1]
            for encoder in hardware_encoder.encoders(int(options["crf"]), gpu):
                why = hardware_encoder.refused(encoder, size)
                if not why:
                    codec, taken, options = encoder
                    log.info("encoding %s by %s", writer.path, codec)
                    break
                log.info("%s does not encode %s: %s", encoder.codec, writer.path, why)
        self._colours = VideoReformatter()
        own = colours
        if colours is None or self._format.pixels != "yuv420p":
            colours = ("bt709" if height >= HD_HEIGHT else "bt601", False)
        self._matrix = BT709 if colours[0] == "bt709" else BT601
        self._tags = tags.filled(self._matrix)
        self._range = ColorRange.JPEG if colours[1] else ColorRange.MPEG
        self.colours = colours if self._format.pixels == "yuv420p" else None
        if own is None and self._tags.primaries == BT2020:  # which has a matrix of its own
            self._matrix, self.colours = BT2020, None
        self._tracks: TrackWriter | None = None
        self._source: Source | None = None

        self._file: Any = None
        self._place = Place(writer.path)
        try:
            self._file = self._place.open()
            self._video = self._file.add_stream(codec, rate=writer._rate, options=options)
            context = self._video.codec_context
            context.width, context.height = width + self._pad[1], height + self._pad[0]
            context.pix_fmt = taken
            context.time_base = writer._time_base
            context.sample_aspect_ratio = pixel_aspect
            context.colorspace = self._matrix
            context.color_primaries, context.color_trc = self._tags
            context.color_range = self._range
            context.thread_count = threads
            # The encoder hands a frame's duration on to its packet: else the last frame has none.
            context.flags |= int(av.codec.context.Flags.frame_duration)
        except BaseException:
            self.abort()
            raise

    def add_tracks(self, source: str | Path | VideoReader, notes: list[str]) -> None:
        """Take sound, subtitles, chapters and tags along; before the first frame."""
        try:
            self._tracks = TrackWriter(self._file, self._tracks_of(source), self._suffix, notes)
        except BaseException:
            self.abort()
            raise

    def _tracks_of(self, source: str | Path | VideoReader) -> Tracks:
        if isinstance(source, VideoReader):
            if source.tracks is None:
                raise VideoError(
                    f"the reader of {source.path} keeps no sound, expected "
                    "VideoReader(…, tracks=True)"
                )
            return source.tracks
        self._source = Source(source)
        return self._source.pull()

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
        frame.colorspace, frame.color_range = self._matrix, self._range
        frame.color_primaries, frame.color_trc = self._tags
        frame.pts, frame.time_base, frame.duration = pts, self._time_base, duration
        if self._tracks is not None:
            self._tracks.write(float(pts * self._time_base))
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
        return frame

    def finish(self, audio_until: float | None) -> None:
        if self._tracks is not None:
            self._tracks.write(audio_until)
            self._tracks.finish()
        self._file.mux(self._video.encode(None))
        self._file.close()
        self._close_source()
        self._place.publish()

    def abort(self) -> None:
        if self._file is not None:
            # It is thrown away: that its trailer cannot be written does not matter.
            with suppress(OSError, ValueError, av.error.FFmpegError):
                self._file.close()
        self._close_source()
        self._place.remove()

    def _close_source(self) -> None:
        self._tracks = None
        if self._source is not None:
            self._source.close()


class _Sequence:
    """PNG files, numbered from 0; they appear under their names only once all are written."""

    def __init__(self, path: Path, tags: Tags) -> None:
        self._place = SequencePlace(path)
        self._tags = tags
        self._count = 0

    def write(self, image: Any, pts: int, duration: int) -> None:  # noqa: ARG002
        good, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 2])
        if not good:
            raise ValueError("PNG encoding failed")
        file = self._place.numbered(self._count)
        file.write_bytes(png_with_tags(data.tobytes(), self._tags))
        self._count += 1

    def finish(self, audio_until: float | None) -> None:  # noqa: ARG002
        self._place.publish()

    def abort(self) -> None:
        self._place.remove()


def _has_audio(source: str | Path | VideoReader) -> bool:
    if isinstance(source, VideoReader):
        return source.has_audio
    opened = Source(source)
    opened.close()
    return opened.has_audio
