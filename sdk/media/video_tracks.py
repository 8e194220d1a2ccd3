"""What goes along with the pictures into another container: sound, subtitles, chapters, tags.

A track is copied packet by packet where the container holds its codec, and transcoded where it does
not; what is lost or changed is noted. Whether a container holds a codec its muxer says itself.
"""

from __future__ import annotations

import errno
import io
import logging
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import av.error

from matter_sdk.sdk.media.video_source import Tracks, codec_name

log = logging.getLogger("matter")

# Of the place that is written to; any other error is of the track itself.
_OF_THE_DISK = frozenset(
    (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EBADF, errno.EPIPE)
)
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_NAMES = {"aac": "AAC", "libopus": "Opus", "pcm_s16le": "PCM", "pcm_s24le": "PCM"}
_TEXTS = frozenset(("subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text"))
# Tags of a file that describe the clip. Others tell of a place or a device, or are the container's
# own, which are made anew.
_DESCRIPTIONS = frozenset(
    ("title", "artist", "album", "comment", "description", "copyright", "date", "genre",
     "creation_time")
)  # fmt: skip
_OF_THE_CONTAINER = frozenset(
    ("major_brand", "minor_version", "compatible_brands", "encoder", "software", "duration")
)
_TEXT_IN = {"mp4": "mov_text", "mov": "mov_text", "ipod": "mov_text", "webm": "webvtt"}


def of_the_disk(error: BaseException) -> bool:
    """Whether an error is of the place that is written to, and not of what is written."""
    return getattr(error, "errno", None) in _OF_THE_DISK


class TrackWriter:
    """The tracks of a source on their way into ``output``; ``notes`` says what changes.

    ``suffix`` is the output's, for the notes.
    """

    def __init__(self, output: Any, tracks: Tracks, suffix: str, notes: list[str]) -> None:
        self._tracks = tracks
        self._notes = notes
        self._ways: dict[int, _Way] = {}
        for stream in tracks.streams:
            way = _way_of(stream, output, suffix, notes)
            if way is not None:
                self._ways[stream.index] = way
        tracks.only(self._ways)
        if tracks.left_out:
            notes.append(f"left out: {', '.join(tracks.left_out)}")
        kept = _DESCRIPTIONS & tracks.tags.keys()
        output.metadata.update({name: tracks.tags[name] for name in kept})
        others = sorted(tracks.tags.keys() - kept - _OF_THE_CONTAINER)
        if others:
            notes.append(f"tags of the file left out: {', '.join(map(repr, others))[:200]}")
        if tracks.chapters:
            try:
                output.set_chapters(tracks.chapters)
            except (av.error.FFmpegError, ValueError):
                notes.append(f"{suffix} does not take the chapters: left out")

    def write(self, until: float | None) -> None:
        """Pass on what there is up to ``until`` seconds; None: all."""
        for packet in self._tracks.take(until):
            self._ways[packet.stream_index].write(packet)

    def finish(self) -> None:
        """Pass on what encoders still hold, and note what could not be written."""
        for way in self._ways.values():
            way.finish()
            if way.lost:
                self._notes.append(f"{way.lost} packets of {way.name} could not be kept")
        self._tracks.only(())
        self._ways = {}


def _way_of(stream: Any, output: Any, suffix: str, notes: list[str]) -> _Way | None:
    name = codec_name(stream)
    kind = "audio" if stream.type == "audio" else "subtitles"
    if stream.codec_context is None:
        notes.append(f"{kind} track {stream.index} is of an unknown codec: left out")
        return None
    way: _Way
    if _takes(output.format.name, stream):
        way = _Way(output, stream)
        way.stream = output.add_stream_from_template(stream)
    elif stream.type == "audio":
        encoder = _encoder_for(stream, output.format.name)
        if encoder is None:
            notes.append(f"{suffix} does not take {name} audio, nor can it be transcoded: left out")
            return None
        way = _Transcoded(output, stream, *encoder)
        notes.append(f"{suffix} does not take {name} audio: transcoded to {_NAMES[encoder[0]]}")
        if way.changes:
            notes.append(f"the {name} audio changes: {', '.join(way.changes)}")
    else:
        target = _TEXT_IN.get(output.format.name, "subrip")
        try:
            if name not in _TEXTS:
                raise ValueError("pictures")
            way = _Text(output, stream, target)
        except (ValueError, av.error.FFmpegError):
            notes.append(f"{suffix} does not take {name} subtitles: left out")
            return None
        notes.append(f"{suffix} does not take {name} subtitles: converted to {target}")
    if "language" in stream.metadata:
        way.stream.metadata["language"] = stream.metadata["language"]
    if "title" in stream.metadata:
        way.stream.metadata["title"] = stream.metadata["title"]
    with suppress(AttributeError, ValueError):
        way.stream.disposition = stream.disposition
    return way


def _takes(container: str, stream: Any) -> bool:
    """Whether a container holds a track as it is: a trial into memory says so."""
    try:
        with av.open(io.BytesIO(), "w", format=container) as trial:
            copy = trial.add_stream_from_template(stream)
            trial.start_encoding()
            if codec_name(stream).startswith("pcm"):  # MP4 looks at the layout at its end only
                silence = av.Packet(bytes(1152))
                silence.pts = silence.dts = 0
                silence.stream = copy
                trial.mux(silence)
    except (ValueError, av.error.FFmpegError):
        return False
    return True


def _encoder_for(stream: Any, container: str) -> tuple[str, int, str, str] | None:
    """Codec, rate, layout and sample format of the sound that replaces a track's, or None."""
    source = stream.codec_context
    fine = source.format is not None and source.format.name.startswith(("s32", "dbl"))
    codec = {"webm": "libopus", "mov": "pcm_s24le" if fine else "pcm_s16le"}.get(container, "aac")
    rate = source.sample_rate or 48000
    if codec == "libopus" or (codec == "aac" and rate not in _AAC_RATES):
        rate = 48000
    own = source.layout.name
    count = source.layout.nb_channels
    usual = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1"}
    layouts = [own, usual.get(count, "7.1"), "5.1" if count > 6 else "stereo", "stereo", "mono"]
    for layout in dict.fromkeys(layouts):
        try:
            context: Any = av.CodecContext.create(codec, "w")
            context.sample_rate, context.layout = rate, layout
            formats = av.Codec(codec, "w").audio_formats
            context.format = formats[0] if formats else "s16"
            context.open()
        except (ValueError, av.error.FFmpegError):
            continue
        return codec, rate, layout, context.format.name
    return None


class _Way:
    """One track that is copied; ``lost`` counts packets that could not be written."""

    stream: Any

    def __init__(self, output: Any, source: Any) -> None:
        self._output = output
        self._source = source
        self.lost = 0
        self.changes: list[str] = []
        self.name = f"{source.type} track {source.index} ({codec_name(source)})"

    def write(self, packet: Any) -> None:
        """Pass a packet on. What is wrong with it must not end the job."""
        try:
            self._pass(packet)
        except (ValueError, av.error.FFmpegError) as error:
            if of_the_disk(error):
                raise
            self.lost += 1
            log.debug("%s: %s", self.name, error)

    def _pass(self, packet: Any) -> None:
        packet.stream = self.stream
        self._output.mux(packet)

    def finish(self) -> None:
        """Nothing is held back."""


class _Transcoded(_Way):
    """Sound that is decoded and encoded again; gaps become silence, overlaps are cut."""

    def __init__(
        self, output: Any, source: Any, codec: str, rate: int, layout: str, form: str
    ) -> None:
        super().__init__(output, source)
        context = source.codec_context
        self.stream = output.add_stream(codec, rate=rate)
        self.stream.layout = layout
        self.stream.codec_context.time_base = Fraction(1, rate)
        if codec == "aac":
            self.stream.codec_context.bit_rate = 96000 * max(1, len(self.stream.layout.channels))
        self._target = (form, layout, rate)
        self._graph: Any = None
        self._kind: tuple[Any, ...] = ()
        if context.layout.nb_channels != self.stream.layout.nb_channels:
            self.changes.append(f"{context.layout.name} becomes {layout}")
        if context.sample_rate and context.sample_rate != rate and codec != "libopus":
            self.changes.append(f"{context.sample_rate} Hz become {rate} Hz")

    def _pass(self, packet: Any) -> None:
        for frame in packet.decode():
            frame.time_base = packet.time_base
            frame.pts = packet.pts if frame.pts is None else frame.pts
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            if self._graph is None or kind != self._kind:
                self._drain()
                self._graph, self._kind = self._resampler(frame), kind
            self._graph.push(frame)
            self._encode()

    def _resampler(self, frame: Any) -> Any:
        """FFmpeg's resampler, which keeps to the frames' times by silence and cuts."""
        form, layout, rate = self._target
        graph = av.filter.Graph()
        chain = [
            graph.add_abuffer(
                sample_rate=frame.sample_rate, format=frame.format.name,
                layout=frame.layout.name, time_base=frame.time_base,
            ),
            graph.add("aresample", "async=1:min_hard_comp=0.04"),
            graph.add(
                "aformat", f"sample_fmts={form}:sample_rates={rate}:channel_layouts={layout}"
            ),
            graph.add("abuffersink"),
        ]  # fmt: skip
        for one, other in pairwise(chain):
            one.link_to(other)
        graph.configure()
        return graph

    def _encode(self) -> None:
        while True:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            self._output.mux(self.stream.encode(frame))

    def _drain(self) -> None:
        if self._graph is not None:
            self._graph.push(None)
            self._encode()

    def finish(self) -> None:
        """Encode what is still on its way."""
        for step in (self._rest, self._drain, self._flush):
            try:
                step()
            except (ValueError, av.error.FFmpegError) as error:
                if of_the_disk(error):
                    raise
                log.debug("%s: %s", self.name, error)

    def _rest(self) -> None:
        for frame in self._source.codec_context.decode(None) if self._graph is not None else ():
            self._graph.push(frame)
            self._encode()

    def _flush(self) -> None:
        self._output.mux(self.stream.encode(None))


class _Text(_Way):
    """Subtitles of one kind of text that become another."""

    def __init__(self, output: Any, source: Any, target: str) -> None:
        super().__init__(output, source)
        context = source.codec_context
        context.open(strict=False)
        trial: Any = av.CodecContext.create(target, "w")
        self.stream = output.add_stream(target)
        for coder in (trial, self.stream.codec_context):
            coder.subtitle_header = context.subtitle_header
            coder.time_base = Fraction(1, 1000)
        trial.open()

    def _pass(self, packet: Any) -> None:
        texts = self._source.codec_context.decode2(packet)
        if texts is None:
            return
        made = self.stream.codec_context.encode_subtitle(texts)
        made.time_base, made.pts, made.dts = packet.time_base, packet.pts, packet.dts
        made.duration = packet.duration
        made.stream = self.stream
        self._output.mux(made)
