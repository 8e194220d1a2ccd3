"""Videos as the field has them: odd clocks, sound, colours, texts; outputs that others touch."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from matter_sdk.sdk.errors import VideoError
from matter_sdk.sdk.media import colour_profiles
from matter_sdk.sdk.media.picture_reader import read_picture
from matter_sdk.sdk.media.video_source import Clock, Source
from matter_sdk.sdk.video import (
    VideoBackground,
    VideoReader,
    VideoWriter,
    check_output,
    matte_video,
)
from tests.sdk.clips import (
    HEIGHT,
    WIDTH,
    FakeMatter,
    audio_packets,
    decode,
    number_of,
    read_image,
    tones,
    write_clip,
)

GREEN = (0, 255, 0)
RATE = 25


def write(
    path: Path,
    *,
    count: int = 20,
    video: str = "libx264",
    audio: str | None = None,
    layout: str = "stereo",
    start: float = 0.0,
    options: dict[str, str] | None = None,
    tags: tuple[int, int, int] | None = None,
    pixels: str = "yuv420p",
    title: str | None = None,
    tone_at: float = 0.0,
) -> Path:
    """A clip of numbered frames with B-frames, and a tone. ``tags``: primaries, curve, matrix."""
    with av.open(str(path), "w") as out:
        if title is not None:
            out.metadata["title"] = title
        stream: Any = out.add_stream(video, rate=RATE, options=options or {})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        if tags is not None:
            context = stream.codec_context
            context.color_primaries, context.color_trc, context.colorspace = tags
        sound: Any = None
        if audio is not None:
            sound = out.add_stream(audio, rate=48000, layout=layout)
        samples = 0
        for index, image in enumerate(tones(count)):
            frame = av.VideoFrame.from_ndarray(image, "bgr24").reformat(format=pixels)
            frame.time_base, frame.pts = Fraction(1, 1000), round(1000 * (start + index / RATE))
            out.mux(stream.encode(frame))
            while sound is not None and samples < 48000 * (index + 1) / RATE:
                times = (samples + np.arange(960)) / 48000
                wave = np.where(times < tone_at, 0, 0.2 * np.sin(2 * np.pi * 440 * times))
                wave = wave.astype(np.float32)
                part = av.AudioFrame.from_ndarray(
                    np.tile(wave, (sound.layout.nb_channels, 1)), "fltp", layout
                )
                part.sample_rate, part.time_base = 48000, Fraction(1, 48000)
                part.pts = samples + round(48000 * start)
                out.mux(sound.encode(part))
                samples += 960
        out.mux(stream.encode(None))
        if sound is not None:
            out.mux(sound.encode(None))
    return path


def matte(source: Any, output: Path, **options: Any) -> Any:
    return matte_video(FakeMatter(), source, output, background=GREEN, **options)


def sound_of(path: Path) -> tuple[str, str, float]:
    """Codec, layout and seconds of the first audio track, all of it decoded."""
    with av.open(str(path)) as file:
        context = file.streams.audio[0].codec_context
        samples = sum(frame.samples for frame in file.decode(audio=0))
        return context.name, context.layout.name, samples / context.sample_rate


def grows(times: list[Any]) -> bool:
    return all(after > before for before, after in pairwise(times))


# Clocks


@pytest.mark.parametrize(
    ("suffix", "video", "audio"), [(".ts", "libx264", "aac"), (".mpg", "mpeg2video", "mp2")]
)
@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
def test_joined_recordings_follow_one_another(
    tmp_path: Path, suffix: str, video: str, audio: str, output: str
) -> None:
    part = write(tmp_path / f"part{suffix}", video=video, audio=audio)
    joined = tmp_path / f"joined{suffix}"
    joined.write_bytes(part.read_bytes() * 3)
    report = matte(joined, tmp_path / output)
    images, times = decode(tmp_path / output)
    assert [number_of(image) for image in images] == list(range(20)) * 3
    assert grows(times)
    assert times[0] < Fraction(1, 10)
    assert max(after - before for before, after in pairwise(times)) < Fraction(1, 5)
    heard = [time for time, _ in audio_packets(tmp_path / output)]
    assert grows(heard)
    assert abs(heard[-1] - times[-1]) < Fraction(3, 10)
    assert any("jumps 2 times" in note for note in report.notes)
    assert not report.truncated


@pytest.mark.parametrize("suffix", [".flv", ".mp4"])
def test_joined_files_that_ffmpeg_reads_in_part_are_noted(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matter_sdk.sdk.media.video_source._UNREAD", 1)
    part = write(tmp_path / f"part{suffix}", audio="aac")
    joined = tmp_path / f"joined{suffix}"
    joined.write_bytes(part.read_bytes() * 2)
    for path, noted in ((part, False), (joined, True)):
        report = matte(path, tmp_path / f"{path.stem}.mkv")
        assert any("behind the last frame" in note for note in report.notes) == noted


@pytest.mark.parametrize(
    ("name", "video"),
    [("late.mkv", "libx264"), ("late.flv", "libx264"), ("late.webm", "libvpx"), ("l.mp4", "mpeg4")],
)
def test_a_clock_that_starts_later_counts_from_the_first_frame(
    tmp_path: Path, name: str, video: str
) -> None:
    source = write(tmp_path / name, video=video, start=10, options={"deadline": "realtime"})
    with VideoReader(source) as reader:
        assert reader.duration == pytest.approx(0.8, abs=0.1)
        assert reader.frames == pytest.approx(20, abs=2)
    report = matte(source, tmp_path / "out.mp4")
    _, times = decode(tmp_path / "out.mp4")
    assert float(times[0]) == pytest.approx(0, abs=0.05)
    assert float(times[-1]) == pytest.approx(19 / RATE, abs=0.05)
    assert not report.truncated
    assert any("starts at 10." in note or "starts at 9.9" in note for note in report.notes)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_b_frames_in_avi_come_at_even_steps(tmp_path: Path, codec: str) -> None:
    source = write(tmp_path / "old.avi", video=codec, options={"bf": "3"})
    with VideoReader(source) as reader:
        frames = list(reader.timed())
        assert not reader.truncated
        assert reader.notes == []
    assert [number_of(frame.image) for frame in frames] == list(range(20))
    assert [round(frame.time * RATE, 3) for frame in frames] == list(range(20))


def rewrite(source: Path, target: Path, change: Any) -> Path:
    """Copy packets; ``change`` may alter the n-th of a kind: (kind, n, packet)."""
    counts: dict[str, int] = {}
    with av.open(str(source)) as file, av.open(str(target), "w") as out:
        streams = {s.index: out.add_stream_from_template(s) for s in file.streams}
        for packet in file.demux():
            if packet.dts is None:
                continue
            kind = packet.stream.type
            counts[kind] = counts.get(kind, 0) + 1
            packet = change(kind, counts[kind], packet) or packet
            packet.stream = streams[packet.stream_index]
            out.mux(packet)
    return target


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv", "out.webm", "out.mov"])
def test_two_sounds_with_one_time_do_not_end_the_job(tmp_path: Path, output: str) -> None:
    last: list[int] = []

    def twice(kind: str, count: int, packet: Any) -> None:
        if kind == "audio":
            if count in (7, 8, 20):
                packet.pts = packet.dts = last[-1]
            last.append(packet.dts)

    whole = write(tmp_path / "a.mkv", audio="aac", options={"bf": "0"})
    report = matte(rewrite(whole, tmp_path / "twice.mkv", twice), tmp_path / output)
    assert report.frames == 20
    assert grows([time for time, _ in audio_packets(tmp_path / output)])
    assert sound_of(tmp_path / output)[2] == pytest.approx(0.8, abs=0.15)
    assert any("does not grow" in note for note in report.notes)


def test_frames_with_one_time_are_all_kept(tmp_path: Path) -> None:
    def still(kind: str, count: int, packet: Any) -> None:
        if count in (5, 6):
            packet.pts = packet.dts = 120

    whole = write(tmp_path / "a.mkv", options={"bf": "0"})
    with VideoReader(rewrite(whole, tmp_path / "b.mkv", still)) as reader:
        frames = list(reader.timed())
        assert any("time that does not grow" in note for note in reader.notes)
    assert len(frames) == 20
    assert grows([frame.pts for frame in frames])
    assert frames[-1].time == pytest.approx(19 / RATE)


@pytest.mark.parametrize("wrong", [2.5, 500.0, 40000.0])
@pytest.mark.parametrize("kind", ["audio", "video"])
def test_a_single_wrong_time_is_put_right(
    tmp_path: Path, kind: str, wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And neither what follows nor the other track is moved. No muxer writes such a file."""
    whole = write(tmp_path / "a.mkv", audio="aac", options={"bf": "0"})
    matte(whole, tmp_path / "expected.mp4")
    demux = Source._demux

    def leaping(packets: Any) -> Any:
        count = 0
        for packet in packets:
            count += packet.stream.type == kind
            if packet.stream.type == kind and count == 9:
                packet.pts = packet.dts = packet.dts + round(wrong / packet.time_base)
            yield packet

    def wrapped(self: Source) -> None:
        demux(self)
        self._packets = leaping(self._packets)

    monkeypatch.setattr(Source, "_demux", wrapped)
    report = matte(whole, tmp_path / "out.mp4")
    images, times = decode(tmp_path / "out.mp4")
    assert [number_of(image) for image in images] == list(range(20))
    assert [float(time - times[0]) for time in times] == pytest.approx(
        [index / RATE for index in range(20)], abs=0.03
    )
    for one, other in zip(
        audio_packets(tmp_path / "out.mp4"), audio_packets(tmp_path / "expected.mp4"), strict=True
    ):
        assert abs(one[0] - other[0]) < Fraction(3, 100)
    assert any("far from the others" in note for note in report.notes)
    assert not any("jumps" in note for note in report.notes)


def packets(*times: float, index: int = 0, kind: str = "video") -> list[Any]:
    stream = SimpleNamespace(type=kind)
    return [
        SimpleNamespace(
            dts=round(1000 * time), pts=round(1000 * time), duration=200,
            time_base=Fraction(1, 1000), stream_index=index, stream=stream,
        )
        for time in times
    ]  # fmt: skip


def on_the_clock(clock: Clock, given: list[Any]) -> list[float]:
    for packet in given:
        clock.set(packet)
    return [packet.dts / 1000 for packet in given]


def test_tracks_share_a_jump_even_if_one_comes_late_to_it() -> None:
    clock = Clock(Fraction(1), broadcast=True)
    video = packets(1, 1.2, 1.4, 1, 1.2)
    sound = packets(1, 1.2, 1.4, 1, 1.2, index=1, kind="audio")
    order = [*zip(video[:2], sound[:2], strict=True), (sound[2], sound[3], video[2], video[3])]
    for together in [*order, (video[4], sound[4])]:
        for packet in together:
            clock.set(packet)
    assert [p.dts for p in video] == [0, 200, 400, 600, 800]
    assert [p.dts for p in sound] == [0, 200, 400, 600, 800]
    assert clock.jumps == 1


def test_a_wrong_time_without_warning_does_not_move_what_follows() -> None:
    clock = Clock(Fraction(0), broadcast=True)
    times = on_the_clock(clock, packets(0, 0.2, 26000, 0.6, 0.8))
    assert times == [0, 0.2, 0.4, 0.6, 0.8]


def test_a_long_pause_in_a_file_stays() -> None:
    clock = Clock(Fraction(0), broadcast=False)
    assert on_the_clock(clock, packets(0, 0.2, 300, 300.2)) == [0, 0.2, 300, 300.2]
    clock = Clock(Fraction(0), broadcast=True)
    assert on_the_clock(clock, packets(0, 0.2, 300, 300.2)) == [0, 0.2, 0.4, 0.6]


# Sound


def tone_begins(path: Path) -> float:
    """Seconds from the first frame until the tone is heard."""
    first = decode(path)[1][0]
    with av.open(str(path)) as file:
        for frame in file.decode(audio=0):
            loud = np.abs(frame.to_ndarray().astype(np.float64))
            loud /= np.iinfo(frame.to_ndarray().dtype).max if loud.max() > 2 else 1
            heard = np.flatnonzero(loud.reshape(-1, loud.shape[-1])[0] > 0.1)
            if len(heard):
                packed = 1 if frame.format.is_planar else frame.layout.nb_channels
                begin = frame.pts * frame.time_base
                return float(begin - first) + heard[0] / packed / frame.sample_rate
    raise AssertionError(f"no tone in {path}")


@pytest.mark.parametrize("output", ["out.mp4", "out.mov", "out.mkv", "out.webm"])
@pytest.mark.parametrize(
    ("name", "video", "audio", "pixels"),
    [
        ("in.mp4", "libx264", "aac", "yuv420p"),
        ("in.m4v", "libx264", "aac", "yuv420p"),
        ("in.mov", "prores_ks", "pcm_s16le", "yuv422p10le"),
        ("in.webm", "libvpx-vp9", "libopus", "yuv420p"),
        ("in.mkv", "libx265", "flac", "yuv420p"),
        ("in.avi", "mpeg4", "libmp3lame", "yuv420p"),
        ("in.ts", "libx264", "ac3", "yuv420p"),
        ("in.mpg", "mpeg2video", "mp2", "yuv420p"),
        ("in.flv", "flv", "libmp3lame", "yuv420p"),
        ("in.wmv", "wmv2", "libmp3lame", "yuv420p"),
    ],
)
def test_every_container_keeps_times_sound_and_title(
    tmp_path: Path, name: str, video: str, audio: str, pixels: str, output: str
) -> None:
    source = write(
        tmp_path / name, video=video, audio=audio, pixels=pixels, title="Über Köpfe", tone_at=0.4
    )
    report = matte(source, tmp_path / output)
    images, times = decode(tmp_path / output)
    assert [number_of(image) for image in images] == list(range(20)) == list(range(report.frames))
    assert 0 <= times[0] <= 0.03  # the track that comes first, sound's run-in too, begins at 0
    own = decode(source)[1]
    assert [float(time - times[0]) for time in times] == pytest.approx(
        [float(time - own[0]) for time in own], abs=0.001
    )
    assert sound_of(tmp_path / output)[2] == pytest.approx(sound_of(source)[2], abs=0.05)
    assert tone_begins(tmp_path / output) == pytest.approx(tone_begins(source), abs=0.012)
    with av.open(str(source)) as given, av.open(str(tmp_path / output)) as file:
        assert float(file.duration / av.time_base) == pytest.approx(0.8, abs=0.06)
        assert file.metadata.get("title") == given.metadata.get("title")


def test_tags_describe_the_clip_and_not_its_maker(tmp_path: Path) -> None:
    source = write(tmp_path / "plain.mkv", options={"bf": "0"})
    tags = {
        "title": "Köpfe",
        "artist": "A",
        "date": "2024",
        "location": "+52.5+013.4/",
        "x\x1b": "y",
    }
    with av.open(str(source)) as a, av.open(str(tmp_path / "in.mkv"), "w") as out:
        out.metadata.update(tags)
        streams = {stream: out.add_stream_from_template(stream) for stream in a.streams}
        for packet in a.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                out.mux(packet)
    report = matte(tmp_path / "in.mkv", tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as file:
        kept = {name: file.metadata.get(name) for name in tags}
    assert kept == {
        "title": "Köpfe",
        "artist": "A",
        "date": "2024",
        "location": None,
        "x\x1b": None,
    }
    (note,) = (note for note in report.notes if "location" in note)
    assert note.isprintable() and "52.5" not in note


@pytest.mark.parametrize(
    ("name", "audio", "output", "codec"),
    [
        ("web.webm", "libopus", "out.mov", "pcm_s16le"),
        ("talk.mkv", "flac", "out.mov", "pcm_s"),
        ("talk.mkv", "ac3", "out.webm", "opus"),
        ("talk.mkv", "libopus", "out.m4v", "aac"),
        ("web.webm", "libopus", "out.mp4", "opus"),
        ("talk.mkv", "pcm_s16le", "out.webm", "opus"),
        ("talk.mkv", "libmp3lame", "out.mp4", "mp3"),
    ],
)
@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
def test_sound_is_kept_or_becomes_what_the_container_holds(
    tmp_path: Path, name: str, audio: str, output: str, codec: str, layout: str
) -> None:
    if audio == "libmp3lame" and layout == "5.1":
        pytest.skip("MP3 has no 5.1")
    video = "libvpx" if name.endswith("webm") else "libx264"
    source = write(
        tmp_path / name, video=video, audio=audio, layout=layout, options={"deadline": "realtime"}
    )
    report = matte(source, tmp_path / output)
    found, kept, seconds = sound_of(tmp_path / output)
    assert codec in found
    assert kept in (layout, {"mono": "1 channels", "stereo": "2 channels"}.get(layout))
    assert seconds == pytest.approx(0.8, abs=0.1)
    assert bool(report.notes) == (found not in audio and audio != "libmp3lame")
    assert all("disk" not in note for note in report.notes)


def test_a_layout_that_cannot_stay_is_noted(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv", audio="pcm_s16le", layout="quad")
    report = matte(source, tmp_path / "out.webm")
    _, layout, _ = sound_of(tmp_path / "out.webm")
    assert layout == "quad" or any(f"becomes {layout}" in note for note in report.notes)


def test_damaged_sound_is_a_gap_and_noted(tmp_path: Path) -> None:
    def broken(kind: str, count: int, packet: Any) -> Any:
        if kind != "audio" or not 10 <= count < 15:
            return None
        damaged = av.Packet(b"\xff" * packet.size)
        damaged.pts, damaged.dts, damaged.time_base = packet.pts, packet.dts, packet.time_base
        damaged.stream = packet.stream
        return damaged

    whole = write(tmp_path / "a.mkv", audio="aac", options={"bf": "0"})
    report = matte(rewrite(whole, tmp_path / "b.mkv", broken), tmp_path / "out.webm")
    assert sound_of(tmp_path / "out.webm")[2] == pytest.approx(0.8, abs=0.1)  # filled by silence
    assert any("could not be kept" in note for note in report.notes)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None: ...

    handler = functools.partial(Quiet, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_address_keeps_its_sound(tmp_path: Path, server: str) -> None:
    source = write(tmp_path / "a talk.mkv", audio="aac")
    expected = [data for _, data in audio_packets(source)]
    for index, address in enumerate(
        (f"{server}/a%20talk.mkv", f"file://{source}", source.as_uri(), f"file:{source}")
    ):
        out = tmp_path / f"out{index}.mp4"
        matte(address, out)
        assert [data for _, data in audio_packets(out)] == expected


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
def test_a_pipe_keeps_its_sound(tmp_path: Path) -> None:
    source = write(tmp_path / "a.ts", audio="aac")
    os.mkfifo(tmp_path / "pipe")
    feed = threading.Thread(
        target=lambda: (tmp_path / "pipe").write_bytes(source.read_bytes()), daemon=True
    )
    feed.start()
    assert matte(tmp_path / "pipe", tmp_path / "out.mp4").frames == 20
    assert sound_of(tmp_path / "out.mp4")[2] == pytest.approx(0.8, abs=0.1)


def test_a_writer_takes_the_sound_of_another_file(tmp_path: Path) -> None:
    source = write(tmp_path / "in.ts", audio="aac", start=5)
    with VideoWriter(tmp_path / "out.mp4", (HEIGHT, WIDTH), rate=RATE, audio_from=source) as writer:
        for image in tones(20):
            writer.write(image)
    assert sound_of(tmp_path / "out.mp4")[2] == pytest.approx(0.8, abs=0.1)
    assert abs(audio_packets(tmp_path / "out.mp4")[0][0]) < Fraction(1, 10)
    with VideoReader(source) as reader, pytest.raises(VideoError, match="keeps no sound"):
        VideoWriter(tmp_path / "b.mp4", (HEIGHT, WIDTH), audio_from=reader)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.ts", "out.mp4"]


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.webm"])
def test_a_writer_moves_times_that_do_not_grow(tmp_path: Path, name: str) -> None:
    writer = VideoWriter(tmp_path / name, (HEIGHT, WIDTH), time_base=Fraction(1, 1000))
    for image, pts in zip(tones(5), (0, 40, 40, 30, 120), strict=True):
        writer.write(image, pts)
    writer.finish()
    assert any("2 frames" in note for note in writer.notes)
    images, times = decode(tmp_path / name)
    assert [number_of(image) for image in images] == list(range(5))
    assert [round(1000 * time) for time in times] == [0, 40, 41, 42, 120]


def with_texts(path: Path) -> Path:
    """A clip with two subtitles and two chapters."""
    text = path.with_suffix(".srt")
    text.write_text(
        "1\n00:00:00,100 --> 00:00:00,300\nEins\n\n2\n00:00:00,400 --> 00:00:00,600\nZwei ä\n"
    )
    plain = write(path.with_name("plain.mkv"), audio="aac", options={"bf": "0"})
    with av.open(str(plain)) as a, av.open(str(text)) as b, av.open(str(path), "w") as out:
        streams = {s: out.add_stream_from_template(s) for s in (*a.streams, *b.streams)}
        streams[b.streams[0]].metadata["language"] = "ger"
        out.set_chapters(
            [
                {"id": n, "start": 400 * n, "end": 400 * n + 400, "time_base": Fraction(1, 1000),
                 "metadata": {"title": f"Teil {n}"}} for n in range(2)
            ]
        )  # fmt: skip
        packets = [p for file in (a, b) for p in file.demux() if p.dts is not None]
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            packet.stream = streams[packet.stream]
            out.mux(packet)
    return path


@pytest.mark.parametrize(
    ("output", "codec"), [("o.mkv", "subrip"), ("o.mp4", "mov_text"), ("o.webm", "webvtt")]
)
def test_subtitles_and_chapters_are_kept(tmp_path: Path, output: str, codec: str) -> None:
    report = matte(with_texts(tmp_path / "in.mkv"), tmp_path / output)
    with av.open(str(tmp_path / output)) as file:
        track = file.streams.subtitles[0]
        assert track.codec_context.name in (codec, "srt")
        assert track.language == "ger"
        data = [(float(p.pts * p.time_base), bytes(p)) for p in file.demux(track) if p.size > 2]
        assert [chapter["metadata"]["title"] for chapter in file.chapters()] == ["Teil 0", "Teil 1"]
    assert [time for time, _ in data] == pytest.approx([0.1, 0.4], abs=0.03)
    assert "Zwei ä".encode() in data[1][1]
    assert any("subtitles: converted" in note for note in report.notes) == (codec != "subrip")


# Colours


@pytest.mark.parametrize("tags", [(12, 1, 1), (12, 13, 1), (9, 14, 9), (1, 13, 1), (5, 6, 5)])
@pytest.mark.parametrize(
    ("output", "alpha"), [("o.mp4", False), ("o.webm", False), ("o.mov", True)]
)
def test_colour_tags_are_kept(
    tmp_path: Path, tags: tuple[int, int, int], output: str, alpha: bool
) -> None:
    source = write(tmp_path / "in.mp4", count=3, tags=tags)
    assert matte(source, tmp_path / output, alpha=alpha).notes == ()
    with VideoReader(source) as one, VideoReader(tmp_path / output) as other:
        assert one.tags == other.tags == tags[:2]
        assert np.abs(next(iter(one)).astype(int) - next(iter(other)))[:20].mean() < 6


def test_png_files_name_colours_that_are_not_srgb(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", count=2, tags=(12, 13, 1))
    matte(source, tmp_path / "frames", alpha=True)
    assert read_image(tmp_path / "frames" / "00000.png").shape == (HEIGHT, WIDTH, 4)
    with VideoReader(tmp_path / "frames" / "%05d.png") as reader:
        assert reader.tags == (12, 13)
        assert len(list(reader)) == 2


@pytest.mark.parametrize("curve", [16, 18])
def test_hdr_is_converted_and_noted(tmp_path: Path, curve: int) -> None:
    source = write(tmp_path / "in.mp4", count=2, tags=(9, curve, 9), pixels="yuv420p10le")
    with VideoReader(source, planes=True) as reader:
        assert not reader.planes
        assert reader.tags == (1, 13)
        assert any("is HDR" in note for note in reader.notes)
        image = next(iter(reader))
    # The eight squares are black: number 0. Code 100 below them is a grey of few nits in HDR.
    assert image[: HEIGHT // 3].max() < 12
    grey = image[-10:].reshape(-1, 3).mean(0)
    assert np.ptp(grey) < 4
    if curve == 16:  # SMPTE ST 2084, nits
        root = (100 / 255) ** (32 / 2523)
        nits = 1e4 * ((root - 0.8359375) / (18.8515625 - 18.6875 * root)) ** (8192 / 1305)
    else:  # ITU-R BT.2100, of a screen of 1,000 nits
        nits = 1000 * ((100 / 255) ** 2 / 3) ** 1.2
    expected = 255 * (1.055 * (nits / 203) ** (1 / 2.4) - 0.055)
    assert grey.mean() == pytest.approx(expected, abs=8)


def test_colours_that_would_be_wrong_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="YCgCo"):
        VideoReader(write(tmp_path / "in.mp4", count=2, tags=(1, 1, 8)))


ADOBE = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)  # white, red, green, blue


def write_png(path: Path, icc: bytes) -> Path:
    image = tones(4)[3]
    image[HEIGHT // 2 :] = (40, 90, 200)
    data = cv2.imencode(".png", image)[1].tobytes()
    content = b"iCCP" + b"a profile\0\0" + zlib.compress(icc)
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    path.write_bytes(data[:33] + chunk + data[33:])
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_pictures_are_turned_as_exif_says(tmp_path: Path, suffix: str) -> None:
    image = np.zeros((32, 48, 3), np.uint8)
    image[:16, :24], image[16:, :24] = 255, 120
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}{suffix}"
        Image.fromarray(image).save(path, exif=exif)
        upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))
        with VideoReader(path) as reader:
            found = next(iter(reader))
        assert found.shape == upright.shape
        assert np.abs(found.astype(int) - upright).mean() < 4


READ = """
import sys
from matter_sdk.sdk.video import VideoReader
from tests.sdk.clips import number_of
for _ in range(3):
    with VideoReader(sys.argv[1]) as reader:
        print([number_of(image) for image in reader], *reader.tags, len(reader.notes))
"""


@pytest.mark.parametrize("kind", ["P3", "Adobe RGB", "none"])
def test_a_png_with_a_profile_is_read(tmp_path: Path, kind: str) -> None:
    """In a process of its own: PyAV's side data used to end it."""
    profiles = {
        "P3": colour_profiles.of_cicp(12, 13), "Adobe RGB": colour_profiles.of_png(ADOBE, 1 / 2.2)
    }  # fmt: skip
    write_png(tmp_path / "x7.png", profiles.get(kind) or b"")
    path = tmp_path / "x%d.png"
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)],
        check=False, capture_output=True, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    said = "[3] 2 2 0" if kind == "none" else "[3] 1 13 1"
    assert done.stdout.splitlines() == [said] * 3, done.stderr
    expected = read_picture(tmp_path / "x7.png").astype(int)
    for given in (path, tmp_path / "x7.png"):
        with VideoReader(given) as reader:
            assert np.abs(next(iter(reader)) - expected).max() <= 1


# Video backgrounds


def test_a_background_that_falls_behind_seeks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "behind.mp4", count=50, options={"g": "5"})
    decoded: list[float] = []
    timed = VideoReader.timed

    def counted(self: VideoReader) -> Any:
        for frame in timed(self):
            decoded.append(frame.time)
            yield frame

    monkeypatch.setattr(VideoReader, "timed", counted)
    background = VideoBackground(path)
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for seconds in (0.0, 3600.5, 36000.1, 1.9, 1.2, 0.0, 0.04, 7199.98):
        shown = number_of(background.at_time(seconds).at(frame))
        assert shown == int((seconds % 2 + 1e-6) * RATE)
    background.close()
    assert len(decoded) < 60


@pytest.mark.parametrize("name", ["b.gif", "b.ts", "b.avi", "b.mkv"])
def test_backgrounds_of_other_formats_leap_too(tmp_path: Path, name: str) -> None:
    if name == "b.gif":
        path = write(tmp_path / name, count=50, video="gif", pixels="rgb8")
    else:
        path = write(tmp_path / name, count=50, options={"g": "10"})
    background = VideoBackground(path)
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for seconds in (0.0, 600.5, 1.0):
        shown = number_of(background.at_time(seconds).at(frame))
        assert abs(shown - int((seconds % 2) * RATE)) <= 1
    background.close()


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
@pytest.mark.parametrize("second", [0.0, 0.05, 1.0, 1.97, 5.0])
def test_reading_begins_where_it_is_told(tmp_path: Path, name: str, second: float) -> None:
    path = write(tmp_path / name, count=50, options={"g": "10"})
    with VideoReader(path, start=second) as reader:
        frames = list(reader.timed())
    first = min(49, int(second * RATE + 1e-6))
    assert [number_of(frame.image) for frame in frames] == list(range(first, 50))
    assert frames[0].time == pytest.approx(first / RATE, abs=0.05)


# Texts


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.mov", "a.webm"])
def test_a_title_that_is_not_utf8_is_read(tmp_path: Path, name: str) -> None:
    video = "libvpx" if name.endswith("webm") else "mpeg4"
    path = write(tmp_path / name, count=5, video=video, title="Caf@@ am See")
    path.write_bytes(path.read_bytes().replace(b"Caf@@", b"Caf\xe9s"))
    with VideoReader(path) as reader:
        assert len(list(reader)) == 5
    assert matte(path, tmp_path / "out.mp4").frames == 5


def test_an_unknown_codec_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.avi", count=3, video="mpeg4")
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"ZZZ9"))
    with pytest.raises(VideoError, match="codec"):
        VideoReader(path)


@pytest.mark.parametrize("path", ["a\0b.mp4", "x" * 300 + ".mp4", "\udcff.mp4", "nul\0://x"])
def test_odd_paths_are_errors(tmp_path: Path, path: str) -> None:
    given = path if "://" in path else str(tmp_path / path)
    with pytest.raises(VideoError):
        VideoReader(given)
    if "\udcff" not in path:
        with pytest.raises(VideoError):
            VideoWriter(given, (HEIGHT, WIDTH))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [(0, 64), (48, -2), (40000, 64), (48, 1 << 40)])
def test_sizes_over_limits_are_errors(tmp_path: Path, size: tuple[int, int]) -> None:
    for name in ("o.mp4", "o.webm", "frames"):
        with pytest.raises(VideoError, match="16384"):
            VideoWriter(tmp_path / name, size)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rate", [0, -25, float("nan"), float("inf"), 1e9])
def test_rates_that_are_none_are_errors(tmp_path: Path, rate: float) -> None:
    with pytest.raises(VideoError, match="rate"):
        VideoWriter(tmp_path / "o.mp4", (HEIGHT, WIDTH), rate=rate)
    assert list(tmp_path.iterdir()) == []


# Quality


@pytest.mark.parametrize(
    ("name", "crf", "good"),
    [("o.mp4", 0, True), ("o.mp4", 51, True), ("o.mp4", 52, False), ("o.mkv", -1, False),
     ("o.webm", 63, True), ("o.webm", 64, False), ("o.mov", 99, False)],
)  # fmt: skip
def test_crf_is_one_of_the_codecs(tmp_path: Path, name: str, crf: int, good: bool) -> None:
    if good:
        check_output(tmp_path / name, crf=crf)
    else:
        with pytest.raises(VideoError, match=f"crf .*{crf}"):
            VideoWriter(tmp_path / name, (HEIGHT, WIDTH), crf=crf)
    assert list(tmp_path.iterdir()) == []


def test_lossless_and_meaningless_crf_are_noted(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", count=2)
    assert any("crf 0" in note for note in matte(source, tmp_path / "a.mp4", crf=0).notes)
    assert matte(source, tmp_path / "b.webm", crf=0).notes == ()
    report = matte(source, tmp_path / "c.mov", alpha=True, crf=20)
    assert any("knows no crf" in note for note in report.notes)
    with pytest.raises(VideoError, match="'quick'"):
        matte(source, tmp_path / "d.mp4", preset="quick")


# Numbered pictures


@pytest.mark.parametrize("pattern", ["shot.%04d.png", "s%d.png", "100%.%04d.png", "50%/a%03d.jpg"])
def test_a_sequence_begins_at_any_number(tmp_path: Path, pattern: str) -> None:
    before, after = pattern.rsplit("%", 1)
    digits, suffix = after.split("d", 1)
    (tmp_path / pattern).parent.mkdir(exist_ok=True)
    for index in range(5):
        name = f"{before}{1001 + index:0{int(digits or 1)}d}{suffix}"
        cv2.imwrite(str(tmp_path / name), tones(5)[index])
    if before.startswith("100%"):
        pattern = pattern.replace("100%", "100%%", 1)
    with VideoReader(tmp_path / pattern) as reader:
        assert [number_of(image) for image in reader] == list(range(5))
        assert reader.notes == []


def test_a_sequence_with_a_gap_says_so(tmp_path: Path) -> None:
    for number in (7, 8, 10, 11):
        cv2.imwrite(str(tmp_path / f"a{number:03d}.png"), tones(1)[0])
    with VideoReader(tmp_path / "a%03d.png") as reader:
        assert len(list(reader)) == 2
        assert reader.truncated
        assert any("number 9 " in note for note in reader.notes)
    with pytest.raises(VideoError, match="picture"):
        VideoReader(tmp_path / "b%03d.png")


def test_a_name_with_a_percent_sign_is_a_name(tmp_path: Path) -> None:
    for name in ("50%d.mp4", "100%.mp4"):
        write(tmp_path / name, count=3)
        with VideoReader(tmp_path / name) as reader:
            assert len(list(reader)) == 3
    cv2.imwrite(str(tmp_path / "100%d.png"), tones(1)[0])
    with VideoReader(tmp_path / "100%d.png") as reader:
        assert len(list(reader)) == 1


# Files that we write


@pytest.mark.parametrize("name", ["out.mp4", "frames", "cut%03d.png"])
def test_nothing_of_others_is_followed_or_deleted(tmp_path: Path, name: str) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    planted = [
        tmp_path / guess
        for guess in (".out.partial.mp4", ".frames.partial", ".cut.partial", ".out.partial")
    ]
    for guess in planted:
        guess.symlink_to(precious)
    for fail_at in (1, None):
        try:
            matte_video(FakeMatter(fail_at), write(tmp_path / "in.mp4"), tmp_path / name)
        except RuntimeError:
            assert fail_at == 1
    assert precious.read_bytes() == b"mine"
    assert all(guess.is_symlink() for guess in planted)


def test_the_output_replaces_a_link_and_not_what_it_shows(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    (tmp_path / "out.mp4").symlink_to(precious)
    matte(write(tmp_path / "in.mp4"), tmp_path / "out.mp4")
    assert precious.read_bytes() == b"mine"
    assert len(decode(tmp_path / "out.mp4")[0]) == 20


def test_two_writers_of_one_video_do_not_mix(tmp_path: Path) -> None:
    one, other = (VideoWriter(tmp_path / "out.mp4", (HEIGHT, WIDTH)) for _ in range(2))
    for image in tones(6):
        one.write(image)
        other.write(255 - image)
    one.finish()
    assert [number_of(image) for image in decode(tmp_path / "out.mp4")[0]] == list(range(6))
    other.abort()
    assert [number_of(image) for image in decode(tmp_path / "out.mp4")[0]] == list(range(6))
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize("name", ["frames", "cut%03d.png"])
def test_two_writers_of_one_sequence_do_not_mix(tmp_path: Path, name: str) -> None:
    one, other = (VideoWriter(tmp_path / name, (HEIGHT, WIDTH)) for _ in range(2))
    for image in tones(4):
        one.write(image)
        other.write(255 - image)
    other.write(tones(1)[0])
    one.finish()
    with pytest.raises(VideoError, match="stay in") as caught:
        other.finish()
    folder = tmp_path / "frames" if name == "frames" else tmp_path
    files = sorted(folder.glob("*.png"))
    assert [number_of(read_image(file)) for file in files] == list(range(4))
    kept = Path(str(caught.value).rsplit(" stay in ", 1)[1])
    assert len(list(kept.iterdir())) == 5
    shutil.rmtree(kept)


def test_a_frame_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a%02d.png", (HEIGHT, WIDTH))
    for image in tones(3):
        writer.write(image)
    (tmp_path / "a02.png").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(VideoError, match=r"a02\.png"):
        writer.finish()
    assert not (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "a00.png").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX's")
def test_outputs_have_the_modes_of_new_files(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    matte(write(tmp_path / "in.mp4"), tmp_path / "out.mp4")
    matte(tmp_path / "in.mp4", tmp_path / "frames")
    modes = {(tmp_path / name).stat().st_mode for name in ("plain", "out.mp4", "frames/00000.png")}
    assert len(modes) == 1


def test_clips_of_other_tests_are_unchanged(tmp_path: Path) -> None:
    """Plain files note nothing."""
    source = write_clip(tmp_path / "plain.mp4", tones(5), audio="aac")
    assert matte(source, tmp_path / "out.mp4").notes == ()
