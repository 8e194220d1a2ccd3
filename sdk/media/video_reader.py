"""Read a video as upright frames with their timestamps, through PyAV (FFmpeg's libraries)."""

from __future__ import annotations

import functools
import logging
import re
import struct
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

import av
import av.error
import cv2
import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter
from PIL import Image

from matter_sdk.kernels import YUV
from matter_sdk.sdk import limits
from matter_sdk.sdk.arrays import letterboxed
from matter_sdk.sdk.closing import Closing
from matter_sdk.sdk.errors import VideoError
from matter_sdk.sdk.media import nvdec as gpu_decoder
from matter_sdk.sdk.media.video_colours import (
    BT601,
    BT709,
    BT2020,
    HDR_TRANSFERS,
    KNOWN_MATRICES,
    SRGB_CURVE,
    UNSPECIFIED,
    Said,
    Tags,
    check_matrix,
    said_by_picture,
    side_data,
    tags_of,
    to_srgb,
)
from matter_sdk.sdk.media.video_source import (
    Source,
    Tracks,
    as_video_error,
    codec_name,
    local_path,
    reason,
    sequence_numbers,
)

log = logging.getLogger("matter")

MATRICES = {1: "bt709", 5: "bt601", 6: "bt601"}
_PLANAR = ("yuv420p", "yuvj420p", "nv12")
HD_HEIGHT = 720
_DECODED_ON = 1.0  # s: what begins further ahead is sought by the file's index

# Exact rounding: without ACCURATE_RND swscale's fast YUV -> RGB path darkens every pixel by 1 to
# 1.5 levels on average. Planar GBR is its quickest exact output (1.5 ms against 4.0 ms for packed
# BGR at 1280×720 on one core), and OpenCV interleaves the planes in 0.3 ms.
EXACT = 0x2 | 0x40000  # SWS_BILINEAR | SWS_ACCURATE_RND; PyAV names the second from 18 on only


class TimedFrame(NamedTuple):
    """A frame and when it is shown: ``pts`` and ``duration`` count ``time_base`` seconds."""

    image: Any  # uint8 H×W×3 BGR, or YUV
    pts: int
    duration: int
    time: float  # seconds


class _Shown(NamedTuple):
    """A decoded frame on the clock."""

    frame: Any
    pts: int
    duration: int


class VideoReader(Closing):
    """The frames of a video file or stream address, uint8 H×W×3 BGR; with ``planes`` as
    ``kernels.YUV``, the decoder's own memory, where the file allows it.

    Frames come upright (the display matrix or the old ``rotate`` tag is applied to the pixels) and
    in the colours that the stream declares: BT.601, BT.709 or BT.2020 matrix, limited or full
    range; undeclared, BT.709 from 720 lines on and BT.601 below. Primaries and curve stay the
    file's own (``tags``). But HDR (PQ, HLG) is converted to BT.709, with what is brighter than its
    white, 203 nits, cut off; and pictures with an ICC profile are converted to sRGB.

    Times count from the first of the file and grow strictly, whatever its clock does (``Clock``);
    ``notes`` says what had to be changed.

    With ``planes`` and ``gpu``, the number of an NVIDIA GPU, NVDEC decodes a file where it can and
    planes are CuPy arrays (NV12); where it cannot, the CPU decodes as without. This has not run on
    a GPU yet.

    Args:
        path: a file, numbered pictures (``name%05d.png``, from the lowest number that is there) or
            an address. A ``file:`` address counts as its path.
        threads, timeout: threads of the decoder; seconds that an address may take for an answer.
        start: second at which to begin: the first frame is the one that is shown then.

    Attributes:
        tracks: asked for, the packets of sound and subtitles are kept for a ``VideoWriter``; then
            its ``audio_from`` takes the reader. None otherwise.
        planes: whether frames come in planes: they were asked for, and the first frame is upright,
            8-bit 4:2:0 and of the BT.601 or BT.709 matrix. A later frame of another kind still
            comes as BGR.
        tags: primaries and curve of the frames as numbers of ITU-T H.273; 2 where the file says
            nothing.
        colours: of frames in planes: matrix, and whether the range is full; else None.
        size: (height, width) of the upright frames.
        rate, time_base: average frames per second; seconds per tick of ``TimedFrame.pts``. Both
            ``Fraction``.
        duration, frames: seconds, and an estimate of the number of frames; None where the file does
            not say.
        rotation: degrees clockwise by which the stored pixels were turned: 0, 90, 180 or 270.
        pixel_aspect: width of a pixel over its height, after turning.
        on_gpu: whether frames in planes lie in a GPU's memory.
        has_audio: whether there is an audio track.
        truncated, damaged: after the last frame: the file ended before its time; number of packets
            that would not decode. Neither raises: all frames that decode are delivered, and a
            warning is logged.
        notes: what was changed or cannot be shown, in words; complete after the last frame. Frames
            of another size than the first are scaled to fit into that, their shape kept, with black
            beside them.

    Iterate it (images) or ``timed()`` (images with timestamps), once. Raises VideoError if the file
    is missing, is no video, has no video track or no frame, and for whatever fails later.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int = 2,
        timeout: float = 10.0,
        planes: bool = False,
        gpu: int | None = None,
        tracks: bool = False,
        start: float = 0.0,
    ) -> None:
        self.path = path
        local = local_path(path)
        self.is_address = isinstance(local, str) and "://" in local
        self._keep = tracks
        self._from = start
        self.on_gpu = planes and gpu is not None and not self.is_address
        if self.on_gpu and not self._opened_on_gpu(threads, cast(int, gpu)):
            self.on_gpu = False
        if not self.on_gpu:
            self._open = functools.partial(Source, path, timeout=timeout, keep=tracks)
            self._source = self._open()
            self._begin(threads, planes)

    def _opened_on_gpu(self, threads: int, number: int) -> bool:
        """Whether the file was opened for NVDEC and gives its frames in planes."""
        try:
            decoder = gpu_decoder.decoder(number)
            opener = functools.partial(Source, self.path, hwaccel=decoder, keep=self._keep)
            self._open = functools.partial(gpu_decoder.within, number, opener)
            self._source = self._open()
            self._begin(threads, planes=True)
        # ImportError and RuntimeError: of CuPy.
        except (av.error.FFmpegError, OSError, VideoError, ImportError, RuntimeError) as error:
            log.info("decoding %s on the CPU: GPU %d cannot (%s)", self.path, number, error)
            return False
        if self._first.frame.format.name == gpu_decoder.KIND and self.planes:
            return True
        log.info("decoding %s on the CPU: NVDEC does not give it in planar YUV", self.path)
        self._source.close()
        return False

    def _begin(self, threads: int, planes: bool) -> None:
        self.planes = planes
        self.truncated = False
        self.damaged = 0
        self._moved = 0
        self._notes: list[str] = []
        self._refitted = False
        try:
            with as_video_error(f"{self.path} cannot be read"):
                self._prepare(threads)
                self._look_at_colours()
        except BaseException:
            self._source.close()
            raise

    def _prepare(self, threads: int) -> None:
        container = self._source.container
        self.has_audio = self._source.has_audio
        self._stream: Any = self._source.video
        if self._stream is None:
            streams = container.streams
            holds = ", ".join(f"{s.type} ({codec_name(s)})" for s in streams) or "no track"
            raise VideoError(
                f"{self.path} holds {holds}, expected a video track; take a video file"
            )
        if self._stream.codec_context is None:
            raise VideoError(
                f"{self.path} has a video track of a codec that this FFmpeg does not know, "
                "expected one that it decodes (H.264, HEVC, VP9, AV1, ProRes, …); convert it"
            )
        self._stream.thread_type = "AUTO"
        self._stream.codec_context.thread_count = threads
        context = self._stream.codec_context
        self._container_tags = Tags(int(context.color_primaries), int(context.color_trc))
        # Also for frames that turn out larger than the track says.
        context.options = {"max_pixels": str(limits.MAX_PIXELS)}
        self._colours = VideoReformatter()
        self.time_base: Fraction = self._stream.time_base or Fraction(1, 90000)
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.rate: Fraction = Fraction(rate) if rate else Fraction(25)
        limits.check_video(context.width, context.height, str(self.path), self.rate)
        if self.rate < Fraction(1, 1000):  # no rate, but a clock without one
            self.rate = Fraction(25)
        self._declared = self._duration()
        self.duration: float | None = self._declared
        begin = float(self._source.start)
        if (
            self._declared is not None
            and 0.5 <= begin < self._declared
            and re.search("matroska|flv", container.format.name)
        ):  # these count the length from zero, wherever the clock starts
            self.duration = self._declared - begin
        # The container's length is that of its longest track, which may be the sound.
        self._says_its_length = bool(self._stream.duration or "DURATION" in self._stream.metadata)
        self.frames: int | None = self._stream.frames or None
        if self.frames is None and self.duration is not None:
            self.frames = max(1, round(self.duration * self.rate))
        self._find_gap()
        self._first = self._first_frame(threads)
        first = self._first.frame
        self._shape = (first.height, first.width)
        said = self._said.orientation
        self._turn = _EXIF[said - 1] if said > 1 else _orientation(first, self._stream)
        height, width = self._shape
        self.size: tuple[int, int] = (width, height) if self._turn.transpose else (height, width)
        self.rotation: int = self._turn.degrees
        aspect = Fraction(self._stream.sample_aspect_ratio or 1)
        self.pixel_aspect = 1 / aspect if self._turn.transpose else aspect

    def _first_frame(self, threads: int) -> _Shown:
        """The frame to begin with; where ``start`` is far ahead, by seeking."""
        self._sought = False
        self._decode_anew()
        shown = next(self._shown, None)
        if shown is None:
            raise VideoError(
                f"{self.path} has a {codec_name(self._stream)} video track without a frame that "
                "decodes, expected at least one; the file is empty or broken, write it again"
            )
        begin = self._from / float(self.time_base)
        behind = self._from - float((shown.pts + shown.duration) * self.time_base)
        if behind > _DECODED_ON and shown.frame.pts is not None:
            for earlier in (0.0, 10.0):  # s: some formats seek a little too far
                found = None
                if self._source.seek(max(0.0, self._from - earlier), self._stream):
                    self._decode_anew()
                    found = next(self._shown, None)
                if found is not None and found.pts <= begin:
                    shown, self._sought = found, True
                    break
            else:
                self._source.close()
                self._source = self._open()
                self._stream = self._source.video
                self._stream.thread_type = "AUTO"
                self._stream.codec_context.thread_count = threads
                self._decode_anew()
                shown = next(self._shown, shown)
        while begin >= shown.pts + shown.duration:
            following = next(self._shown, None)
            if following is None:
                break
            shown = following
        return shown

    def _decode_anew(self) -> None:
        self._packets = 0
        self._last_end = 0
        self._begins: int | None = None  # the first packet's decoding time
        self._decoded = self._decode()
        self._shown = self._on_the_clock()

    def _find_gap(self) -> None:
        """Numbered pictures end where a number is missing: say so."""
        local = local_path(self.path)
        if self.is_address or Path(local).exists():
            return
        for number, following in pairwise(sequence_numbers(Path(local))):
            if following != number + 1:
                self.truncated = True
                self._note(f"number {number + 1} of {self.path} is missing: it is read up to there")
                return

    def _look_at_colours(self) -> None:
        first = self._first.frame
        check_matrix(first, self.path)
        self._to_srgb: Any = None
        self.tags = self._tags_of(first)
        hdr = HDR_TRANSFERS.get(self.tags.transfer)
        if hdr is not None:
            self.tags = Tags(BT709, SRGB_CURVE)
            self._note(
                f"{self.path} is HDR ({hdr}): converted to BT.709, what is brighter than white "
                "(203 nits) is cut off"
            )
        elif self._said.profile is not None:
            self._use(self._said.profile)
        found = self._in_planes(first) if self.planes else None
        self.planes = found is not None
        self.colours = None if found is None else (found.matrix, found.full_range)

    def _use(self, profile: bytes) -> None:
        """Convert frames by a picture's ICC profile, as pictures are."""
        try:
            self._to_srgb = to_srgb(profile)
        except ValueError as error:
            self._note(f"the ICC profile of {self.path} cannot be used ({error})")
        if self._to_srgb is not None:
            self.tags = Tags(BT709, SRGB_CURVE)
            self._note(f"the colours of {self.path} are converted to sRGB by its ICC profile")

    def _tags_of(self, frame: Any) -> Tags:
        """A frame's primaries and curve; what it does not say the container may."""
        return Tags(
            *(
                container if own == UNSPECIFIED else own
                for own, container in zip(tags_of(frame), self._container_tags, strict=True)
            )
        )

    def _note(self, text: str) -> None:
        self._notes.append(text)
        log.warning("%s", text)

    @property
    def notes(self) -> list[str]:
        """What was changed or cannot be shown, in words."""
        moved = (
            []
            if not self._moved
            else [f"{self._moved} frames of {self.path} had a time that does not grow: moved"]
        )
        damaged = [f"{self.damaged} packets of {self.path} do not decode"] if self.damaged else []
        return [*self._notes, *self._source.notes(), *moved, *damaged]

    @property
    def tracks(self) -> Tracks | None:
        """Sound, subtitles and chapters for a ``VideoWriter``, where they were asked for."""
        return self._source.tracks if self._keep else None

    def _duration(self) -> float | None:
        if self._stream.duration:
            return float(self._stream.duration * self.time_base)
        tag = self._stream.metadata.get("DURATION", "")  # Matroska's, "00:01:02.345000000"
        if re.fullmatch(r"\d+:\d+:\d+(\.\d+)?", tag):
            hours, minutes, seconds = tag.split(":")
            return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        if self._source.container.duration:
            return float(Fraction(self._source.container.duration, av.time_base))
        return None

    def __iter__(self) -> Iterator[Any]:
        for timed in self.timed():
            yield timed.image

    def timed(self) -> Iterator[TimedFrame]:
        """The frames with their timestamps, which grow strictly."""
        shown: _Shown | None = self._first
        while shown is not None:
            with as_video_error(f"{self.path} cannot be read on"):
                image = self._image(shown.frame)
            yield TimedFrame(image, shown.pts, shown.duration, float(shown.pts * self.time_base))
            with as_video_error(f"{self.path} cannot be read on"):
                shown = next(self._shown, None)

    def _on_the_clock(self) -> Iterator[_Shown]:
        """The decoded frames, each with a time after the one before."""
        nominal = max(1, round(1 / (self.rate * self.time_base)))
        last: int | None = None
        before: int | None = None  # the last frame's time before it was moved
        step = nominal
        late: int | None = None
        for frame in self._decoded:
            told = frame.pts
            if last is None and told is None and frame.dts is not None:
                # AVI keeps times of decoding alone, and the first frame comes out a little late.
                late = frame.dts - max(0, self._begins or 0)
            if late is not None:
                told = None if frame.dts is None else frame.dts - late
                if (
                    told is None and last is not None
                ):  # the decoder's last: as far as the one before
                    told = last + step
            pts = self._last_end if told is None else told  # a raw stream keeps no time at all
            if last is not None and pts <= last:
                # Where the clock stands still, frames follow one another.
                pts = last + (nominal if told == before else 1)
                self._moved += 1
            step = pts - last if last is not None else nominal
            last, before = pts, told
            duration = int(frame.duration or nominal)
            self._last_end = pts + duration
            yield _Shown(frame, pts, duration)

    def peek(self) -> Any:
        """The first frame, to know of what kind they are; before the iteration begins."""
        with as_video_error(f"{self.path} cannot be read"):
            return self._image(self._first.frame)

    def _decode(self) -> Iterator[Any]:
        """Frames as the decoder gives them; skips what is damaged, ends where the file does."""
        flushed = False
        self._said = Said()
        looked = False
        while True:
            try:
                packet = next(self._source)
            except StopIteration:
                break
            except av.error.FFmpegError as error:
                if self.is_address:
                    raise VideoError(
                        f"{self.path} broke off: {reason(error)}; is the sender still there?"
                    ) from error
                self.truncated = True
                break
            flushed = packet.size == 0
            self._packets += not flushed
            if self._begins is None:
                self._begins = packet.dts
            if not looked:
                looked = True
                self._said = said_by_picture(bytes(packet), codec_name(self._stream))
            yield from self._frames_of(packet)
        if not flushed:
            yield from self._frames_of(None)
        self._judge()

    def _frames_of(self, packet: Any) -> list[Any]:
        try:
            return self._stream.decode(packet)
        except av.error.EOFError:
            return []
        except av.error.FFmpegError:
            self.damaged += 1
            return []

    def _judge(self) -> None:
        """Decide at the end whether the file was whole, and say so if not."""
        if self.is_address:
            return
        # AVI counts fields and empty chunks too.
        partial = self._sought or self._source.container.format.name == "avi"
        expected = 0 if partial else self._stream.frames
        if expected and self._packets < expected:
            self.truncated = True
        elif (
            not expected
            and self._declared is not None
            and self._says_its_length
            and not self._source.clock.jumps
        ):
            # Some formats count their length from zero, others from their first frame.
            end, start = float(self._last_end * self.time_base), float(self._source.start)
            begin = (self._stream.start_time or 0) * float(self.time_base) - start
            missing = self._declared - max(end - begin, end + start)
            self.truncated |= missing > max(0.2, 3 / float(self.rate))
        if self.truncated:
            of = f" of {expected}" if expected else ""
            log.warning(
                "%s ends early: it holds %d%s frames; using all that decode",
                self.path, self._packets, of,
            )  # fmt: skip
        elif self.damaged:
            log.warning("%s is damaged: %d of its packets do not decode", self.path, self.damaged)

    def _in_planes(self, frame: Any) -> YUV | None:
        """The frame's own planes, or None where they are not as ``YUV`` has them."""
        if (frame.height, frame.width) != self._shape or self._turn != _Turn():
            return None
        if self._to_srgb is not None or self._tags_of(frame).transfer in HDR_TRANSFERS:
            return None
        matrix = MATRICES.get(_matrix_of(frame))
        if frame.format.name == gpu_decoder.KIND and matrix is not None:
            on_gpu = gpu_decoder.planes(frame)
            return None if on_gpu is None else YUV(on_gpu, matrix, _is_full(frame))
        if frame.format.name not in _PLANAR or matrix is None:
            return None
        first, *others = frame.planes
        if len(others) == 1:  # NV12: two samples beside each other
            uv = _plane(others[0], samples=2)
            planes: tuple[np.ndarray, ...] = (uv.reshape(len(uv), -1, 2),)
        else:
            planes = tuple(map(_plane, others))
        return YUV((_plane(first), *planes), matrix, _is_full(frame))

    def _image(self, frame: Any) -> np.ndarray | YUV:
        planes = self._in_planes(frame) if self.planes else None
        if planes is not None:
            return planes
        frame.colorspace = _matrix_of(frame)
        frame.color_range = 2 if _is_full(frame) else 1
        wanted: dict[str, Any] = {}
        tags = self._tags_of(frame)
        if tags.transfer in HDR_TRANSFERS:
            frame.color_primaries, frame.color_trc = tags.filled(BT2020).primaries, tags.transfer
            wanted = {"dst_color_primaries": BT709, "dst_color_trc": SRGB_CURVE}
        planar = self._colours.reformat(
            frame, width=frame.width, height=frame.height, format="gbrp",
            dst_color_range=ColorRange.JPEG, interpolation=EXACT, threads=1, **wanted,
        )  # fmt: skip
        green, blue, red = (_plane(plane) for plane in planar.planes)
        image = cv2.merge((blue, green, red))
        if self._to_srgb is not None:
            rgb = self._to_srgb.apply(Image.fromarray(cv2.merge((red, green, blue))))
            image = cv2.cvtColor(np.asarray(rgb), cv2.COLOR_RGB2BGR)
        image = self._turn(image)
        if image.shape[:2] != self.size:
            image = letterboxed(image, self.size)
            self._note_size(frame)
        return image

    def _note_size(self, frame: Any) -> None:
        if not self._refitted:
            self._refitted = True
            self._note(
                f"{self.path} changes its frames' size, from {self._shape[1]}×{self._shape[0]} to "
                f"{frame.width}×{frame.height}: those are fitted into the first, with black beside "
                f"them"
            )

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        self._source.close()


def _matrix_of(frame: Any) -> int:
    """The declared matrix, or the one that players take where none is known."""
    declared = int(frame.colorspace)
    if declared in KNOWN_MATRICES:
        return declared
    return BT709 if frame.height >= HD_HEIGHT else BT601


def _is_full(frame: Any) -> bool:
    """Whether black is 0 and white 255."""
    declared = int(frame.color_range)
    return declared == 2 or (declared == 0 and frame.format.name.startswith("yuvj"))


def _plane(plane: Any, samples: int = 1) -> np.ndarray:
    """A plane's bytes, without copying them; rows are padded. They keep the frame alive."""
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width * samples]


class _Turn(NamedTuple):
    """One of the eight orientations: transpose first, then mirror."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @property
    def degrees(self) -> int:
        """Clockwise; a mirrored picture counts as the turn that is left without its mirror."""
        if self.transpose:
            return 90 if self.mirror_x else 270
        return 180 if self.mirror_y else 0

    def __call__(self, image: np.ndarray) -> np.ndarray:
        if self.transpose:
            image = cv2.transpose(image)
        if self.mirror_x and self.mirror_y:
            return cv2.flip(image, -1)
        if self.mirror_x or self.mirror_y:
            return cv2.flip(image, 1 if self.mirror_x else 0)
        return image


# Exif's eight, from 1 on.
_EXIF = (
    _Turn(),
    _Turn(mirror_x=True),
    _Turn(mirror_x=True, mirror_y=True),
    _Turn(mirror_y=True),
    _Turn(True),
    _Turn(True, mirror_x=True),
    _Turn(True, mirror_x=True, mirror_y=True),
    _Turn(True, mirror_y=True),
)


def _orientation(frame: Any, stream: Any) -> _Turn:
    """From the display matrix a b u / c d v / x y w: x' = ax + cy, y' = bx + dy, y downwards."""
    data: Any
    for data in side_data(frame, codec_name(stream)):
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = struct.unpack_from("=5i", bytes(memoryview(data)))
            if abs(b) + abs(c) > abs(a) + abs(d):
                return _Turn(True, mirror_x=c < 0, mirror_y=b < 0)
            return _Turn(False, mirror_x=a < 0, mirror_y=d < 0)
    tag = stream.metadata.get("rotate", "")
    # Side data that PyAV cannot list still tell their angle.
    degrees = int(tag) % 360 if re.fullmatch(r"-?\d{1,6}", tag) else -frame.rotation % 360
    return {
        90: _Turn(True, mirror_x=True),
        180: _Turn(False, mirror_x=True, mirror_y=True),
        270: _Turn(True, mirror_y=True),
    }.get(degrees, _Turn())
