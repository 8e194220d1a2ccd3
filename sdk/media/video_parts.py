"""Cut a video at its key frames into parts that are matted apart, and join what came of them.

    parts = cut_video("in.mp4")
    for number, part in enumerate(parts):             # in any order, on any machine
        matte_video(matter, "in.mp4", f"part{number}.mp4", part=part, audio=False)
    join_video([(part, f"part{n}.mp4") for n, part in enumerate(parts)], "out.mp4", "in.mp4")

gives the frames that ``matte_video`` gives in one go. A part is read from some frames before its
first one on (``RUN_IN``), so that the filter over time has forgotten where it began; and those
begin with a whole second, at which the network looks anew whatever was before.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import av
import av.error

from matter_sdk.sdk.errors import VideoError
from matter_sdk.sdk.media.video_files import Place
from matter_sdk.sdk.media.video_source import Source, as_video_error, local_path
from matter_sdk.sdk.media.video_tracks import TrackWriter

SECONDS = 20.0
"""Least length of a part. At 30 frames a second its run-in is 1.6 to 2.6 seconds more of work."""
RUN_IN = 48
"""Least number of frames before a part. The filter over time keeps 0.8 of its last result where
nothing moves: another beginning is less than a level of 255 after 25 frames, and 0.006 after 48."""


class UnlikeParts(VideoError):
    """Parts that do not fit together: the video changes its frames' size or colours on its way."""


@dataclass(frozen=True)
class VideoPart:
    """The frames of a video from ``begin`` on and before ``end`` (None: to the last).

    Frames from ``start`` on are matted too, and only those of the part are written. All three count
    ``time_base`` seconds, as ``TimedFrame.pts`` does.
    """

    begin: int
    end: int | None
    start: int
    time_base: Fraction

    @property
    def second(self) -> float:
        """Where a ``VideoReader`` is to start: a tick before, so that ``start`` is not missed."""
        return max(0.0, float((self.start - 1) * self.time_base))

    def holds(self, pts: int) -> bool:
        """Whether a frame is one of the part."""
        return pts >= self.begin and (self.end is None or pts < self.end)

    def read(self, frames: Iterator[Any], lookahead: int) -> Iterator[Any]:
        """Of a video's ``TimedFrame``s those that are matted; ``lookahead`` more at the end."""
        for frame in frames:
            if self.end is not None and frame.pts >= self.end:
                lookahead -= 1
                if lookahead < 0:
                    return
            if frame.pts >= self.start:
                yield frame


def cut_video(
    path: str | Path, *, seconds: float = SECONDS, run_in: int = RUN_IN
) -> list[VideoPart]:
    """Cut a video file at key frames into parts of ``seconds`` at least; nothing is decoded.

    Returns one part or more; none for what has to be matted in one go: an address, a pipe, numbered
    pictures, and a file that is damaged or whose times are missing, repeated or leap.

    Raises:
        VideoError: it cannot be opened.
    """
    if not Path(local_path(path)).is_file():
        return []
    source = Source(path)
    try:
        times, keys = _times(source)
        base = source.video.time_base if times else Fraction(1)
    finally:
        source.close()
    if not times:
        return []
    begins = [times[0]]
    for key in keys:
        ahead, left = (key - begins[-1]) * base, (times[-1] - key) * base
        if ahead >= seconds and left >= seconds / 2:
            begins.append(key)

    def start_of(begin: int) -> int:
        first = times[max(0, bisect_left(times, begin) - run_in)]
        return times[bisect_left(times, int(float(first * base)), key=lambda t: int(t * base))]

    ends = [*begins[1:], None]
    return [
        VideoPart(begin, end, start_of(begin), base)
        for begin, end in zip(begins, ends, strict=True)
    ]


def _times(source: Source) -> tuple[list[int], list[int]]:
    """When the frames and the key frames are shown, in order; nothing for what cannot be cut."""
    none: tuple[list[int], list[int]] = ([], [])
    times: list[int] = []
    keys: list[int] = []
    packets = 0
    if source.video is None or source.video.time_base is None:
        return none
    try:
        for packet in source:
            if not packet.size:
                continue
            packets += 1
            if packet.pts is None or packet.dts is None or packet.is_corrupt:
                return none
            if packet.is_discard:  # an edit list hides it
                continue
            times.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
    except av.error.FFmpegError:
        return none
    times.sort()
    even = all(one < other for one, other in pairwise(times))
    whole = packets >= source.video.frames
    if not (times and even and whole) or source.clock.jumps or source.clock.wrong:
        return none
    return times, sorted(keys)


def join_video(
    pieces: Sequence[tuple[VideoPart, str | Path]],
    output: str | Path,
    audio_from: str | Path | None = None,
) -> list[str]:
    """Join videos of a cut video's parts, in order, without a second encoding.

    Args:
        pieces: each part with the file that ``matte_video`` made of it.
        output: appears once it is complete; of the same format as the files.
        audio_from: a file whose sound, subtitles, chapters and tags are taken along.

    Returns:
        What was changed or left out, in words.

    Raises:
        UnlikeParts: the files differ in what their one track can say but once.
        VideoError: a file cannot be read, or the output not be written.
    """
    output = Path(output)
    read = [_Piece(part, Path(file)) for part, file in pieces]
    for piece in read[1:]:
        if piece.settings != read[0].settings:
            raise UnlikeParts(
                f"{piece.file} is {piece.settings[:4]}, expected {read[0].settings[:4]} and one "
                "set of codec headers as of the part before"
            )
    shown = list(chain.from_iterable(sorted(piece.times) for piece in read))
    if any(one >= other for one, other in pairwise(shown)):
        raise UnlikeParts(f"the parts of {output} overlap in time, expected one after another")
    notes: list[str] = []
    source = None if audio_from is None else Source(audio_from)
    place = Place(output)
    try:
        with as_video_error(f"{output} cannot be written"):
            _write(place, read, shown, source, notes)
        place.publish()
    finally:
        place.remove()
        if source is not None:
            source.close()
    return notes


class _Piece:
    """A file made of a part: what its header says, and when its packets are shown."""

    def __init__(self, part: VideoPart, file: Path) -> None:
        self.file = file
        with as_video_error(f"{file} cannot be read"), av.open(str(file)) as container:
            stream: Any = container.streams.video[0]
            context = stream.codec_context
            self.settings = (
                context.name, context.width, context.height, context.pix_fmt,
                stream.time_base, stream.sample_aspect_ratio, context.colorspace,
                context.color_range, context.color_primaries, context.color_trc, context.extradata,
            )  # fmt: skip
            self.base: Fraction = stream.time_base
            times: list[Any] = [packet.pts for packet in container.demux(stream) if packet.size]
        # The container may count from elsewhere; where the part begins is known exactly.
        self._shift = round(part.begin * part.time_base / self.base) - min(times)
        self.times = [time + self._shift for time in times]
        """In the order of decoding."""

    def packets(self) -> Iterator[Any]:
        """Its packets with their times in the whole."""
        with as_video_error(f"{self.file} cannot be read"), av.open(str(self.file)) as container:
            packet: Any
            for packet in container.demux(video=0):
                if packet.size:
                    packet.pts += self._shift
                    yield packet


def _write(
    place: Place, read: Sequence[_Piece], shown: Sequence[int], source: Source | None,
    notes: list[str],
) -> None:  # fmt: skip
    with place.open() as file, av.open(str(read[0].file)) as first:
        template = first.streams.video[0]
        stream = file.add_stream_from_template(template, opaque=True)
        # What a template does not take along, and of which muxers make a video with alpha.
        stream.rate = template.average_rate
        stream.codec_tag = template.codec_tag
        if template.metadata.get("alpha_mode") == "1":
            stream.pix_fmt = "yuva420p"
        tracks = None
        if source is not None:
            tracks = TrackWriter(file, source.pull(), place.file().suffix, notes)
        # Each file counts the times of decoding for itself. Here the n-th packet is decoded when
        # the n-th frame is shown, less as many frames as the order of decoding needs.
        decoded = chain.from_iterable(piece.times for piece in read)
        late = _late(decoded, shown)
        delay = shown[late] - shown[0]
        packets = chain.from_iterable(piece.packets() for piece in read)
        for number, packet in enumerate(packets):
            packet.dts = shown[number - late] if number >= late else shown[number] - delay
            if tracks is not None:
                tracks.write(float(packet.pts * read[0].base))
            packet.stream = stream
            file.mux(packet)
        if tracks is not None:
            tracks.write(None)
            tracks.finish()


def _late(decoded: Iterable[int], shown: Sequence[int]) -> int:
    """By how many frames decoding must be ahead, for none to be decoded after it is shown."""
    place = {time: number for number, time in enumerate(shown)}
    return max(number - place[time] for number, time in enumerate(decoded))
