"""Open a video and put all of its packets on one clock, for the reader and the writer."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import av
import av.error

from matter_sdk.sdk.errors import MatterError, VideoError
from matter_sdk.sdk.files import as_path
from matter_sdk.sdk.media import picture_video

BACKWARDS = Fraction(1, 10)  # s: less is jitter; more is the clock of another recording
# An index behind the last frame is smaller than this, as a share of a file or in bytes.
_UNREAD_SHARE, _UNREAD = 0.25, 1 << 18
LEAP = 1  # s: what leaps further waits for the next packet to confirm it
GAP = 10  # s that a broadcast's clock may leap within one recording
GAP_ELSEWHERE = 3600  # s: files with an index keep long pauses, and no leap of hours
NUMBER = re.compile(r"%0?(\d*)d")
_REMEDY = "expected a video that FFmpeg reads (mp4, mov, mkv, webm, avi, …)"


@contextmanager
def as_video_error(what: str) -> Iterator[None]:
    """Raise whatever fails inside as VideoError, ``what`` first; errors of the SDK pass."""
    try:
        yield
    except (MatterError, MemoryError):
        raise
    except Exception as error:
        raise VideoError(f"{what}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """An exception in a few words."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def local_path(path: str | Path) -> str | Path:
    """``path`` with a ``file:`` address as the path that it means; another address as it is."""
    if not isinstance(path, str) or not path.startswith("file:"):
        return path
    named = path[5:].removeprefix("//") if not path.startswith("file:///") else path[7:]
    decoded = url2pathname(urlsplit(path).path)
    return Path(decoded if Path(decoded).exists() or not Path(named).exists() else named)


def open_container(path: str | Path, *, timeout: float | None = 10.0, hwaccel: Any = None) -> Any:
    """Open a file, numbered pictures (``name%05d.png``) or an address with PyAV.

    ``timeout``: seconds that an address may take to answer. Raises VideoError, with the remedy.
    """
    # Titles may be in any encoding: what is not UTF-8 is replaced.
    settings: dict[str, Any] = {"metadata_errors": "replace"}
    if hwaccel is not None:
        settings["hwaccel"] = hwaccel
    if isinstance(path, str) and "://" in path:
        options = {"rtsp_transport": "tcp"} if path.startswith("rtsp") else {}
        try:
            container = av.open(path, timeout=timeout, options=options, **settings)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise VideoError(
                f"{path} cannot be opened: {reason(error)}; check the address and that the sender "
                "runs"
            ) from error
    else:
        file = as_path(path, "the video", VideoError)
        name, options = _checked(file)
        try:
            # An absolute path, so that a colon in a name is not taken for a protocol.
            source = picture_video.as_video(file) if picture_video.is_picture(file) else name
            container = av.open(source, options=options, **settings)
        except av.error.EOFError as error:
            raise VideoError(
                f"{path} holds no frame, expected at least one; write it again"
            ) from error
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise VideoError(
                f"{path} is not a video or is broken ({reason(error)}), {_REMEDY}; if its "
                "recording or download broke off, its index may be missing"
            ) from error
    # PyAV asks FFmpeg to guess missing times of presentation, which it does wrongly for B-frames
    # in AVI; the decoder knows better.
    container.flags &= ~av.container.Flags.gen_pts.value
    return container


def _checked(file: Path) -> tuple[str, dict[str, str]]:
    """What FFmpeg is to open for a path, and with which options; VideoError where it cannot be."""
    try:
        exists = file.exists()
        if not exists and NUMBER.search(file.name):
            return _numbered(file)
        if not exists:
            raise VideoError(f"{file} does not exist, {_REMEDY}; check the path")
        if file.is_dir():
            raise VideoError(
                f"{file} is a folder, {_REMEDY}; for pictures give {file}/name%05d.png"
            )
        if file.is_file() and file.stat().st_size == 0:
            raise VideoError(f"{file} is empty (0 bytes), {_REMEDY}")
        picture = file.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
        # The name of one picture is a name, whatever % it holds.
        return str(file.absolute()), {"pattern_type": "none"} if picture else {}
    except (OSError, ValueError) as error:
        raise VideoError(f"{file} cannot be opened ({reason(error)}), {_REMEDY}") from error


def _numbered(file: Path) -> tuple[str, dict[str, str]]:
    numbers = sequence_numbers(file)
    if not numbers:
        raise VideoError(f"{file}: there is no such picture, {_REMEDY}; check the name's pattern")
    before, width, after = _parts(file.name)
    folder = str(file.parent.absolute())
    literal = [text.replace("%", "%%") for text in (f"{folder}/{before}", after)]
    return f"{literal[0]}%0{width or 1}d{literal[1]}", {"start_number": str(numbers[0])}


def _parts(name: str) -> tuple[str, str, str]:
    """A pattern's text before its number, the number's width, and the text after it."""
    *_, directive = NUMBER.finditer(name)
    before, after = name[: directive.start()], name[directive.end() :]
    return before.replace("%%", "%"), directive[1], after.replace("%%", "%")


def sequence_numbers(file: Path) -> list[int]:
    """The numbers of the files that ``name%05d.png`` stands for, in order."""
    if not NUMBER.search(file.name) or not file.parent.is_dir():
        return []
    before, digits, after = _parts(file.name)
    pattern = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    numbers = (pattern.fullmatch(other.name) for other in file.parent.iterdir())
    width = int(digits or 1)
    return sorted(
        int(found[1]) for found in numbers if found and str(int(found[1])).zfill(width) == found[1]
    )


def start_of(container: Any, video: Any = None) -> Fraction:
    """When a file's clock starts, in seconds: the time that counts as zero."""
    start = Fraction(container.start_time or 0, av.time_base)
    if not -1 < start < 0:
        return start
    # A little below zero is what an encoder of sound needs to begin; muxers know how to keep it.
    shown = None if video is None else video.start_time
    return min(Fraction(0), Fraction(shown or 0) * (video.time_base if shown else 1))


@dataclass
class _Track:
    part: int = 0
    last: Fraction | None = None  # the last packet's time as it stands in the file
    end: Fraction | None = None  # and when it ends on the clock
    written: int | None = None  # its decoding time on the clock, in ticks


class Clock:
    """The one rule for time: it counts from the first of the file, and grows.

    A recording may start its clock anywhere, and joined recordings set it back in the middle. Each
    stretch of the file is a part with an offset of its own, so that it begins where the part before
    ends. Tracks share the offsets, which keeps them together, and change parts each in its turn,
    since a demuxer hands out a track's last packet of a part late.

    ``jumps``: how often the clock was set; ``repeated``: packets of sound or text whose time did
    not grow and was moved by a millisecond; ``wrong``: packets whose time leapt to nowhere.
    """

    def __init__(self, start: Fraction, *, broadcast: bool) -> None:
        self.jumps = 0
        self.repeated = 0
        self.wrong = 0
        self._offsets = [-start]
        self._gap = GAP if broadcast else GAP_ELSEWHERE
        self._tracks: dict[int, _Track] = {}

    def leaps(self, packet: Any) -> bool:
        """Whether a packet's time is so far ahead that the next of its track must confirm it."""
        track = self._tracks.get(packet.stream_index)
        if track is None or track.last is None or packet.dts is None:
            return False
        return bool(packet.dts * packet.time_base - track.last > LEAP)

    def correct(self, packet: Any, following: Any) -> None:
        """Put a packet that leaps behind the one before if the one that follows belongs there."""
        track = self._tracks[packet.stream_index]
        if following.dts is None or track.last is None:
            return
        raw = following.dts * following.time_base
        if -BACKWARDS <= raw - track.last <= LEAP and raw < packet.dts * packet.time_base:
            back = packet.dts - round((track.last + raw) / 2 / packet.time_base)
            packet.dts -= back
            packet.pts = None if packet.pts is None else packet.pts - back
            self.wrong += 1

    def set(self, packet: Any) -> None:
        """Put a packet's times on the clock. One without any is left as it is."""
        if packet.dts is not None and packet.pts is not None:
            far = max(GAP, 20 * (packet.duration or 0) * packet.time_base)
            if abs(packet.pts - packet.dts) * packet.time_base > far:
                packet.pts = packet.dts if packet.stream.type != "video" else None
                self.wrong += 1
        begin = packet.dts if packet.dts is not None else packet.pts
        if begin is None:
            return
        base = packet.time_base
        track = self._tracks.setdefault(packet.stream_index, _Track())
        raw = begin * base
        kind = packet.stream.type
        # Pictures are stored in the order of decoding: their times of presentation go to and fro.
        tells = kind != "video" or packet.dts is not None
        if tells and track.last is not None:
            ahead = raw + self._offsets[track.part] - max(t.end or 0 for t in self._tracks.values())
            if raw - track.last < -BACKWARDS or (ahead > self._gap and kind != "subtitle"):
                shown = begin if packet.pts is None else packet.pts
                track.part = self._part(track, raw, shown * base, kind)
        if tells:
            track.last = raw
        shift = round(self._offsets[track.part] / base)
        moved = begin + shift
        if kind != "video" and track.written is not None and moved <= track.written:
            moved = track.written + max(1, round(Fraction(1, 1000) / base))
            self.repeated += 1
        track.written = moved
        if packet.dts is not None or kind != "video":
            packet.dts = moved
        if packet.pts is not None:
            # The time of presentation moves along; sound is heard as it is decoded.
            packet.pts = packet.pts + shift if kind == "video" else max(packet.pts + shift, moved)
        until = (moved if packet.pts is None else max(moved, packet.pts)) + (packet.duration or 0)
        track.end = max(track.end or Fraction(0), until * base)

    def _part(self, track: _Track, raw: Fraction, shown: Fraction, kind: str) -> int:
        """The part in which a track goes on, made if no other track is there yet."""
        expected = track.end or Fraction(0)
        best: tuple[Fraction, int] | None = None
        for part, offset in enumerate(self._offsets):
            late = raw + offset - expected
            # An earlier part only just where the track left it: after a single wrong time.
            least, most = (-BACKWARDS, 1) if part < track.part else (-1, GAP)
            if (
                part != track.part
                and least <= late <= most
                and (best is None or abs(late) < best[0])
            ):
                best = (abs(late), part)
        if best is not None:
            return best[1]
        if kind == "subtitle":  # texts follow the pictures
            return len(self._offsets) - 1
        self.jumps += 1
        ends = max(other.end or Fraction(0) for other in self._tracks.values())
        self._offsets.append(ends - shown)
        return len(self._offsets) - 1


class Tracks:
    """What goes with the pictures: packets of sound and subtitles on the clock, chapters and tags.

    ``more``, where set, is called for further packets when none is left and says whether there may
    be one; without it, the caller that demuxes calls ``put``.
    """

    more: Callable[[], bool] | None = None

    def __init__(
        self,
        streams: Sequence[Any],
        chapters: Sequence[Any] = (),
        left_out: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.streams = list(streams)
        self.chapters = list(chapters)
        self.left_out = list(left_out)
        self.tags = {name.lower(): text for name, text in (tags or {}).items()}
        self._wanted = {stream.index for stream in streams}
        self._packets: deque[Any] = deque()

    def only(self, wanted: Iterable[int]) -> None:
        """Keep the packets of these tracks, by their index in the file, and drop all others."""
        self._wanted = set(wanted)
        kept = [packet for packet in self._packets if packet.stream_index in self._wanted]
        self._packets.clear()
        self._packets.extend(kept)

    def put(self, packet: Any) -> None:
        """Add a packet that has been put on the clock; one without a time says nothing."""
        if not packet.size or packet.dts is None or packet.stream_index not in self._wanted:
            return
        # An edit list cuts it off. What ends near zero is what a decoder of sound needs to begin.
        end = (packet.dts + (packet.duration or 0)) * packet.time_base
        if not (packet.is_discard and end < -BACKWARDS):
            self._packets.append(packet)

    def __bool__(self) -> bool:
        return bool(self._packets)

    def take(self, until: float | None) -> Iterator[Any]:
        """Packets in the file's order up to ``until`` seconds; None: all that there are."""
        while self._packets or (self._wanted and self.more is not None and self.more()):
            if not self._packets:
                continue
            packet = self._packets[0]
            if until is not None and packet.dts * packet.time_base > until:
                return
            yield self._packets.popleft()


class Source:
    """A video that is open: its container, the track of pictures, and what goes with it.

    ``video`` is the track of pictures, or None; ``tracks`` takes packets of sound and subtitles if
    ``keep`` says so. Raises VideoError where it cannot be opened.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        timeout: float | None = 10.0,
        hwaccel: Any = None,
        keep: bool = False,
    ) -> None:
        path = local_path(path)
        self.path = path
        self.keep = keep
        self.container = open_container(path, timeout=timeout, hwaccel=hwaccel)
        try:
            self._look()
        except BaseException:
            self.container.close()
            raise

    def _look(self) -> None:
        with as_video_error(f"{self.path} cannot be read"):
            streams = self.container.streams
            # Cover art of a music file is a "video" of one picture.
            pictures = [s for s in streams.video if not _is_cover(s)]
            known = [s for s in pictures if s.codec_context is not None]
            self.video = (known or pictures or [None])[0]
            self.start = start_of(self.container, self.video)
            flags = av.format.Flags(int(self.container.format.flags))
            self._broadcast = bool(flags & av.format.Flags.ts_discont)
            self.clock = Clock(self.start, broadcast=self._broadcast)
            kept = [s for s in streams if s.type in ("audio", "subtitle")]
            self._read = ([self.video] if self.video is not None else []) + kept
            others = [s for s in streams if s is not self.video and s not in kept]
            chapters = _chapters(self.container, self.start)
            if chapters and "mov" in self.container.format.name:  # their titles are a data track
                titles = next((s for s in others if s.type == "data"), None)
                others = [s for s in others if s is not titles]
            self.tracks = Tracks(kept, chapters, _names(others), self.container.metadata)
            address = isinstance(self.path, str) and "://" in self.path
            self._is_live = address and not self.container.duration
            self._demux()

    def _demux(self) -> None:
        self._packets = self.container.demux(self._read) if self._read else iter(())
        self._ready: deque[Any] = deque()
        self._held: dict[int, Any] = {}
        self._over: BaseException | None = None
        self._reached = 0  # the byte behind the last packet

    @property
    def has_audio(self) -> bool:
        """Whether there is an audio track."""
        return any(stream.type == "audio" for stream in self.tracks.streams)

    def __next__(self) -> Any:
        """The next packet of the pictures, on the clock; others go to ``tracks``.

        Raises StopIteration at the end, and FFmpegError where the file breaks off.
        """
        while True:
            packet = self._next()
            if packet.stream is self.video:
                return packet
            if self.keep:
                self.tracks.put(packet)

    def _next(self) -> Any:
        """The next packet of any track; one that leaps waits for the next of its track."""
        while not self._ready:
            if self._over is not None:
                raise self._over
            try:
                packet = next(self._packets)
            except (StopIteration, av.error.FFmpegError) as error:
                self._over = error
                self._release(self._held)
                continue
            self._reached = max(self._reached, (packet.pos or 0) + packet.size)
            held = self._held.pop(packet.stream_index, None)
            if held is not None:
                self.clock.correct(held, packet)
                self._release({packet.stream_index: held})
            # A live picture must not wait.
            if packet.size and not self._is_live and self.clock.leaps(packet):
                self._held[packet.stream_index] = packet
            else:
                self._release({packet.stream_index: packet})
        return self._ready.popleft()

    def _release(self, packets: dict[int, Any]) -> None:
        for packet in packets.values():
            self.clock.set(packet)
            self._ready.append(packet)
        packets.clear()

    def __iter__(self) -> Iterator[Any]:
        return self

    def seek(self, seconds: float, stream: Any) -> bool:
        """Go to the last key frame before ``seconds``; whether the format can."""
        try:
            self.container.seek(int((seconds + self.start) / stream.time_base), stream=stream)
        except (av.error.FFmpegError, OverflowError):
            return False
        self.clock = Clock(self.start, broadcast=self._broadcast)
        self._demux()
        return True

    def pull(self) -> Tracks:
        """The tracks of a file whose pictures nobody reads: they read it as they are asked."""

        def more() -> bool:
            try:
                next(self)
            except (StopIteration, av.error.FFmpegError):  # the end, or where the file broke off
                return bool(self.tracks)
            return True

        self.keep = True
        self.tracks.more = more
        return self.tracks

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        self.container.close()

    def notes(self) -> list[str]:
        """What the clock had to change up to here."""
        notes = []
        if self.start >= Fraction(1, 2) and not self.container.format.name.startswith("mpeg"):
            notes.append(
                f"the clock of {self.path} starts at {float(self.start):.2f} s: the output counts "
                "from its first frame"
            )
        size = _size(self.path) if isinstance(self._over, StopIteration) and self._reached else 0
        unread = size - self._reached
        if unread > max(_UNREAD_SHARE * size, _UNREAD):
            notes.append(
                f"{unread / size:.0%} of {self.path} lies behind the last frame that FFmpeg finds: "
                "were files joined? Convert each of them"
            )
        if self.clock.jumps:
            notes.append(
                f"the clock of {self.path} jumps {_times(self.clock.jumps)}: the parts follow one "
                "another"
            )
        if self.clock.wrong:
            notes.append(
                f"{self.clock.wrong} packets of {self.path} had a time far from the others: put "
                "in their place"
            )
        if self.clock.repeated:
            notes.append(
                f"{self.clock.repeated} packets of sound or subtitles had a time that does not "
                "grow: moved by a millisecond"
            )
        return notes


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _size(path: Any) -> int:
    """The bytes of a regular file; 0 of anything else."""
    try:
        return Path(path).stat().st_size if Path(path).is_file() else 0
    except (OSError, ValueError):
        return 0


def codec_name(stream: Any) -> str:
    """The name of a track's codec."""
    context = stream.codec_context
    return context.name if context is not None else "unknown codec"


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _names(streams: Sequence[Any]) -> list[str]:
    """Tracks that are not taken along: '2 data tracks'."""
    kinds = ["cover picture" if _is_cover(s) else f"{s.type} track" for s in streams]
    return [
        f"{kinds.count(kind)} {kind}{'s' if kinds.count(kind) > 1 else ''}"
        for kind in dict.fromkeys(kinds)
    ]


def _chapters(container: Any, start: Fraction) -> list[Any]:
    """The chapters on the clock."""
    chapters = []
    for chapter in container.chapters():
        base = chapter["time_base"] or Fraction(1, 1000)
        shift = round(start / base)
        begin, end = chapter["start"] - shift, chapter["end"] - shift
        if end > max(0, begin):
            chapters.append({**chapter, "start": max(0, begin), "end": end})
    return chapters
