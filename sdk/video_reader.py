"""Read a video as upright frames with their timestamps, through PyAV (FFmpeg's libraries)."""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, cast

import av
import av.error
import cv2
import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter

from kernels import YUV
from sdk import gpu_decoder
from sdk.errors import VideoError
from sdk.frames import letterboxed

log = logging.getLogger("matter")

# AVColorSpace numbers (ITU-T H.273, table 4): RGB, BT.709, FCC, BT.601 (625 and 525 lines), SMPTE
# 240M, BT.2020. Any other (unspecified, reserved) is guessed from the height, as players do.
_KNOWN_MATRICES = frozenset({0, 1, 4, 5, 6, 7, 9})
BT709, BT601 = 1, 6
MATRICES = {1: "bt709", 5: "bt601", 6: "bt601"}
_PLANAR = ("yuv420p", "yuvj420p", "nv12")
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
HD_HEIGHT = 720

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


class VideoReader:
    """The frames of a video file or stream address, uint8 H×W×3 BGR; with ``planes`` as
    ``kernels.YUV``, the decoder's own memory, where the file allows it.

    Frames come upright (the display matrix or the old ``rotate`` tag is applied to the pixels) and
    in the colours that the stream declares: BT.601, BT.709 or BT.2020 matrix, limited or full
    range; undeclared, BT.709 from 720 lines on and BT.601 below. HDR (PQ, HLG) is not tone-mapped.

    With ``planes`` and ``gpu``, the number of an NVIDIA GPU, NVDEC decodes a file where it can and
    planes are CuPy arrays (NV12); where it cannot, the CPU decodes as without. This has not run on
    a GPU yet.

    planes
        Whether frames come in planes: they were asked for, and the first frame is upright, 8-bit
        4:2:0 and of the BT.601 or BT.709 matrix. A later frame of another kind still comes as BGR.
    colours
        Of frames in planes: matrix, and whether the range is full; else None.
    size
        (height, width) of the upright frames.
    rate, time_base
        Average frames per second; seconds per tick of ``TimedFrame.pts``. Both ``Fraction``.
    duration, frames
        Seconds, and an estimate of the number of frames; None where the file does not say.
    rotation
        Degrees clockwise by which the stored pixels were turned: 0, 90, 180 or 270.
    pixel_aspect
        Width of a pixel over its height, after turning.
    on_gpu
        Whether frames in planes lie in a GPU's memory.
    has_audio
        Whether there is an audio track.
    notes
        What was changed: frames of another size than the first are scaled to fit into that, their
        shape kept, with black beside them. A warning is logged too.
    truncated, damaged
        After the last frame: the file ended before its time; number of packets that would not
        decode. Neither raises: all frames that decode are delivered, and a warning is logged.

    Iterate it (images) or ``timed()`` (images with timestamps), once. Raises VideoError if the file
    is missing, is no video, has no video track or no frame.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int = 2,
        timeout: float = 10.0,
        planes: bool = False,
        gpu: int | None = None,
    ) -> None:
        self.path = path
        self.is_address = isinstance(path, str) and "://" in path
        self.on_gpu = planes and gpu is not None and not self.is_address
        if self.on_gpu and not self._opened_on_gpu(threads, cast(int, gpu)):
            self.on_gpu = False
        if not self.on_gpu:
            self._container = _open(path, is_address=self.is_address, timeout=timeout)
            self._begin(threads, planes)

    def _opened_on_gpu(self, threads: int, number: int) -> bool:
        """Whether the file was opened for NVDEC and gives its frames in planes."""
        try:
            self._container = av.open(
                str(Path(self.path).absolute()), hwaccel=gpu_decoder.decoder(number)
            )
            self._begin(threads, planes=True)
        # TypeError: of a PyAV that has no frames on the GPU.
        except (av.error.FFmpegError, OSError, VideoError, TypeError) as error:
            log.info("%s is decoded by the CPU: GPU %d cannot (%s)", self.path, number, error)
            return False
        if self._first.format.name == gpu_decoder.KIND and self.planes:
            return True
        log.info("%s is decoded by the CPU: NVDEC does not give it in planes", self.path)
        self._container.close()
        return False

    def _begin(self, threads: int, planes: bool) -> None:
        self.planes = planes
        self.truncated = False
        self.damaged = 0
        self.notes: list[str] = []
        try:
            self._prepare(threads)
        except BaseException:
            self._container.close()
            raise

    def _prepare(self, threads: int) -> None:
        streams = self._container.streams
        # Cover art of a music file is a "video" of one picture.
        pictures = [s for s in streams.video if not _is_cover(s)]
        self.has_audio = bool(streams.audio)
        if not pictures:
            holds = ", ".join(f"{s.type} ({_codec_name(s)})" for s in streams) or "no track"
            raise VideoError(
                f"{self.path} holds {holds}, expected a video track; take a video file"
            )
        self._stream: Any = pictures[0]
        self._stream.thread_type = "AUTO"
        self._stream.codec_context.thread_count = threads
        self._colours = VideoReformatter()
        self.time_base: Fraction = self._stream.time_base or Fraction(1, 90000)
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.rate: Fraction = Fraction(rate) if rate else Fraction(25)
        self.duration: float | None = self._duration()
        # The container's length is that of its longest track, which may be the sound.
        self._says_its_length = bool(self._stream.duration or "DURATION" in self._stream.metadata)
        self.frames: int | None = self._stream.frames or None
        if self.frames is None and self.duration is not None:
            self.frames = max(1, round(self.duration * self.rate))

        self._packets = 0
        self._last_end = 0
        self._decoded = self._decode()
        first = next(self._decoded, None)
        if first is None:
            raise VideoError(
                f"{self.path} has a {_codec_name(self._stream)} video track without a frame that "
                "decodes, expected at least one; the file is empty or broken, write it again"
            )
        self._first: Any = first
        self._shape = (first.height, first.width)
        self._turn = _orientation(first, self._stream)
        height, width = self._shape
        self.size: tuple[int, int] = (width, height) if self._turn.transpose else (height, width)
        self.rotation: int = self._turn.degrees
        found = self._in_planes(first) if self.planes else None
        self.planes = found is not None
        self.colours = None if found is None else (found.matrix, found.full_range)
        aspect = Fraction(self._stream.sample_aspect_ratio or 1)
        self.pixel_aspect = 1 / aspect if self._turn.transpose else aspect
        hdr = _HDR_TRANSFERS.get(int(first.color_trc))
        if hdr:
            log.warning(
                "%s is HDR (%s); it is read as if it were not, and looks flat", self.path, hdr
            )

    def _duration(self) -> float | None:
        if self._stream.duration:
            return float(self._stream.duration * self.time_base)
        tag = self._stream.metadata.get("DURATION", "")  # Matroska's, "00:01:02.345000000"
        if re.fullmatch(r"\d+:\d+:\d+(\.\d+)?", tag):
            hours, minutes, seconds = tag.split(":")
            return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        if self._container.duration:
            return self._container.duration / av.time_base
        return None

    def __iter__(self) -> Iterator[Any]:
        for timed in self.timed():
            yield timed.image

    def timed(self) -> Iterator[TimedFrame]:
        """The frames with their timestamps, which grow strictly."""
        nominal = max(1, round(1 / (self.rate * self.time_base)))
        shift = round(start_of(self._container) / self.time_base)
        last: int | None = None
        frame = self._first
        self._first = None
        while frame is not None:
            # A raw stream keeps no time: its frames follow one another.
            pts = self._last_end if frame.pts is None else frame.pts - shift
            if last is not None and pts <= last:
                pts = last + 1
            last = pts
            duration = int(frame.duration or nominal)
            self._last_end = pts + duration
            yield TimedFrame(self._image(frame), pts, duration, float(pts * self.time_base))
            frame = next(self._decoded, None)

    def peek(self) -> Any:
        """The first frame, to know of what kind they are; before the iteration begins."""
        return self._image(self._first)

    def _decode(self) -> Iterator[Any]:
        """Frames as the decoder gives them; skips what is damaged, ends where the file does."""
        packets = self._container.demux(self._stream)
        flushed = False
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except av.error.FFmpegError as error:
                if self.is_address:
                    raise VideoError(
                        f"{self.path} broke off: {error.strerror}; is the sender still there?"
                    ) from error
                self.truncated = True
                break
            flushed = packet.size == 0
            self._packets += not flushed
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
        expected = self._stream.frames
        if expected and self._packets < expected:
            self.truncated = True
        elif not expected and self.duration is not None and self._says_its_length:
            start = (self._stream.start_time or 0) * self.time_base - start_of(self._container)
            missing = self.duration - float(self._last_end * self.time_base - start)
            self.truncated |= missing > max(0.2, 3 / float(self.rate))
        if self.truncated:
            of = f" of {expected}" if expected else ""
            log.warning(
                "%s ends in the middle: %d%s frames are there, and all that decode are used",
                self.path, self._packets, of,
            )  # fmt: skip
        elif self.damaged:
            log.warning("%s is damaged: %d of its packets do not decode", self.path, self.damaged)

    def _in_planes(self, frame: Any) -> YUV | None:
        """The frame's own planes, or None where they are not as ``YUV`` has them."""
        if (frame.height, frame.width) != self._shape or self._turn != _Turn():
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
        planar = self._colours.reformat(
            frame, width=frame.width, height=frame.height, format="gbrp",
            dst_color_range=ColorRange.JPEG, interpolation=EXACT, threads=1,
        )  # fmt: skip
        green, blue, red = (_plane(plane) for plane in planar.planes)
        image = self._turn(cv2.merge((blue, green, red)))
        if image.shape[:2] != self.size:
            image = letterboxed(image, self.size)
            self._note_size(frame)
        return image

    def _note_size(self, frame: Any) -> None:
        if not self.notes:
            self.notes.append(
                f"{self.path} changes its frames' size, from {self._shape[1]}×{self._shape[0]} to "
                f"{frame.width}×{frame.height}: those are fitted into the first, with black beside "
                f"them"
            )
            log.warning("%s", self.notes[0])

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        self._container.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _open(path: str | Path, *, is_address: bool, timeout: float) -> Any:
    remedy = "expected a video that FFmpeg reads (mp4, mov, mkv, webm, avi, …)"
    if is_address:
        options = {"rtsp_transport": "tcp"} if str(path).startswith("rtsp") else {}
        try:
            return av.open(str(path), timeout=timeout, options=options)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise VideoError(
                f"{path} cannot be opened: {getattr(error, 'strerror', None) or error}; "
                "check the address and that the sender runs"
            ) from error
    file = Path(path)
    is_sequence = "%" in file.name  # name%05d.png
    if not is_sequence:
        if not file.exists():
            raise VideoError(f"{path} does not exist, {remedy}; check the path")
        if file.is_dir():
            raise VideoError(f"{path} is a folder, {remedy}; for pictures give {path}/name%05d.png")
        if file.stat().st_size == 0:
            raise VideoError(f"{path} is empty (0 bytes), {remedy}")
    try:
        # An absolute path, so that a colon in a name is not taken for a protocol.
        return av.open(str(file.absolute()))
    except av.error.EOFError as error:
        raise VideoError(f"{path} holds no frame, expected at least one; write it again") from error
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(
            f"{path} is not a video or is broken ({getattr(error, 'strerror', None) or error}), "
            f"{remedy}; if its recording or download broke off, its index may be missing"
        ) from error


def start_of(container: Any) -> Fraction:
    """The time that counts as zero, in seconds: broadcast formats start their clock anywhere."""
    name = container.format.name
    if container.start_time and ("mpegts" in name or name == "mpeg"):
        return Fraction(container.start_time, av.time_base)
    return Fraction(0)


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _codec_name(stream: Any) -> str:
    context = stream.codec_context
    return context.name if context is not None else "unknown codec"


def _matrix_of(frame: Any) -> int:
    """The declared matrix, or the one that players take where none is known."""
    declared = int(frame.colorspace)
    if declared in _KNOWN_MATRICES:
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


def _orientation(frame: Any, stream: Any) -> _Turn:
    """From the display matrix a b u / c d v / x y w: x' = ax + cy, y' = bx + dy, y downwards."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = struct.unpack_from("=5i", bytes(memoryview(data)))
            if abs(b) + abs(c) > abs(a) + abs(d):
                return _Turn(True, mirror_x=c < 0, mirror_y=b < 0)
            return _Turn(False, mirror_x=a < 0, mirror_y=d < 0)
    tag = stream.metadata.get("rotate", "0")
    degrees = int(tag) % 360 if tag.lstrip("-").isdigit() else 0
    return {
        90: _Turn(True, mirror_x=True),
        180: _Turn(False, mirror_x=True, mirror_y=True),
        270: _Turn(True, mirror_y=True),
    }.get(degrees, _Turn())
