"""Video in, matte, video out, on tiny clips that PyAV makes by its own means."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from matter_sdk.sdk.errors import BackgroundError, VideoError
from matter_sdk.sdk.inference.quality import QUALITIES
from matter_sdk.sdk.video import (
    VideoBackground,
    VideoInterrupted,
    VideoReader,
    VideoWriter,
    check_output,
    matte_video,
)
from tests.sdk.clips import (
    HEIGHT,
    TICK,
    TIME_BASE,
    WIDTH,
    FakeMatter,
    audio_packets,
    decode,
    number_of,
    read_image,
    tones,
    write_clip,
    write_sound,
)

GREEN = (0, 255, 0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve numbered frames and a sine tone."""
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", tones(12), audio="aac")


def leftovers(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if "partial" in file.name]


# Reading


def test_reader_gives_every_frame_with_its_time(clip: Path) -> None:
    with VideoReader(clip) as reader:
        assert reader.size == (HEIGHT, WIDTH)
        assert reader.rate == 30
        assert reader.frames == 12
        assert reader.duration == pytest.approx(0.4)
        assert reader.has_audio
        assert reader.rotation == 0
        frames = list(reader.timed())
    assert [number_of(frame.image) for frame in frames] == list(range(12))
    assert [Fraction(frame.pts * reader.time_base) for frame in frames] == decode(clip)[1]
    assert frames[0].image.dtype == np.uint8
    assert not reader.truncated


def test_reader_keeps_uneven_timestamps(tmp_path: Path) -> None:
    pts = [0, 100, 700, 2048, 2049, 9000]
    path = write_clip(tmp_path / "vfr.mp4", tones(6), pts=pts)
    with VideoReader(path) as reader:
        got = [round(frame.pts * reader.time_base / TIME_BASE) for frame in reader.timed()]
    assert got == pts


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_reader_turns_frames_upright(tmp_path: Path, degrees: int) -> None:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[: HEIGHT // 2, : WIDTH // 2] = (0, 0, 255)
    image[: HEIGHT // 2, WIDTH // 2 :] = (0, 255, 0)
    path = write_clip(tmp_path / "turned.mp4", [image] * 2, rotation=degrees)
    with VideoReader(path) as reader:
        assert reader.rotation == degrees
        upright = next(iter(reader))
    wanted = np.rot90(image, -degrees // 90)
    assert reader.size == wanted.shape[:2] == upright.shape[:2]
    assert np.abs(upright.astype(int) - wanted).mean() < 8


def test_reader_mirrors_where_the_display_matrix_does(tmp_path: Path) -> None:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, : WIDTH // 2] = 255
    one = 1 << 16
    matrix = [-one, 0, 0, 0, one, 0, 0, 0, 1 << 30]
    path = write_clip(tmp_path / "mirrored.mp4", [image] * 2, matrix=matrix)
    with VideoReader(path) as reader:
        assert np.abs(next(iter(reader)).astype(int) - image[:, ::-1]).mean() < 3


PATCHES = np.array(
    [(40, 60, 200), (200, 90, 30), (60, 180, 70), (128, 128, 128), (16, 16, 16), (240, 240, 240)]
)


def patches(height: int, width: int) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    step = width // len(PATCHES)
    for index, colour in enumerate(PATCHES):
        image[:, index * step : (index + 1) * step] = colour
    return image


def patch_values(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    step = width // len(PATCHES)
    return np.array(
        [
            image[height // 4 : -height // 4, i * step + step // 4 : (i + 1) * step - step // 4]
            .reshape(-1, 3)
            .mean(0)
            for i in range(len(PATCHES))
        ]
    )


def to_yuv(matrix: str, *, full: bool) -> np.ndarray:
    """The patches' Y'CbCr by the formulas of BT.601 and BT.709, 8 bits."""
    kr, kb = {"601": (0.299, 0.114), "709": (0.2126, 0.0722)}[matrix]
    blue, green, red = PATCHES.T / 255
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)
    if full:
        return np.stack([255 * luma, 128 + 255 * cb, 128 + 255 * cr], -1)
    return np.stack([16 + 219 * luma, 128 + 224 * cb, 128 + 224 * cr], -1)


@pytest.mark.parametrize(
    ("matrix", "full", "height", "tags"),
    [
        ("709", False, 96, (1, 1)),
        ("601", False, 96, (6, 1)),
        ("709", True, 96, (1, 2)),
        ("601", True, 96, (6, 2)),
        ("601", False, 96, (2, 0)),  # untagged: BT.601 below 720 lines
        ("709", False, 720, (2, 0)),  # and BT.709 from there on
    ],
)
def test_reader_respects_matrix_and_range(
    tmp_path: Path, matrix: str, full: bool, height: int, tags: tuple[int, int]
) -> None:
    width = 96
    yuv = np.rint(to_yuv(matrix, full=full)).astype(np.uint8)
    image = np.zeros((height, width, 3), np.uint8)
    for index, value in enumerate(yuv):
        image[:, index * 16 : (index + 1) * 16] = value
    chroma = image[::2, ::2]
    planes = [image[..., 0], chroma[..., 1], chroma[..., 2]]
    raw = np.concatenate([plane.ravel() for plane in planes]).reshape(height * 3 // 2, width)
    path = tmp_path / "patches.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=30, options={"crf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = tags
        frame = av.VideoFrame.from_ndarray(raw, "yuv420p")
        frame.colorspace, frame.color_range = tags
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with VideoReader(path) as reader:
        got = patch_values(next(iter(reader)))
    assert np.abs(got - PATCHES).max() < 2


@pytest.mark.parametrize(("height", "matrix"), [(96, 6), (720, 1)])
def test_written_colours_come_back_and_are_tagged(tmp_path: Path, height: int, matrix: int) -> None:
    image = patches(height, 192)
    path = tmp_path / "patches.mp4"
    with VideoWriter(path, image.shape[:2], crf=4) as writer:
        writer.write(image)
    with av.open(str(path)) as source:
        frame = next(source.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (matrix, 1)
        assert (frame.color_primaries, frame.color_trc) == (matrix, matrix)
        luma = np.frombuffer(frame.planes[0], np.uint8).reshape(height, -1)[:, :192]
    wanted = to_yuv("709" if matrix == 1 else "601", full=False)[:, 0]
    got = patch_values(np.repeat(luma[..., None], 3, -1))[:, 0]
    assert np.abs(got - wanted).max() < 1.5
    with VideoReader(path) as reader:
        assert np.abs(patch_values(next(iter(reader))) - PATCHES).max() < 3


# Bad input


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"nowhere\.mp4"):
        VideoReader(tmp_path / "nowhere.mp4")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="folder"):
        VideoReader(tmp_path)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError, match="0 bytes"):
        VideoReader(tmp_path / "empty.mp4")


def test_garbage(tmp_path: Path) -> None:
    path = tmp_path / "garbage.mp4"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(VideoError, match="not a video"):
        VideoReader(path)


def test_sound_only(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "sound.m4a")
    with pytest.raises(VideoError, match="aac"):
        VideoReader(path)


def test_video_without_frames(tmp_path: Path) -> None:
    path = tmp_path / "none.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        out.start_encoding()
    with pytest.raises(VideoError, match="no frame"):
        VideoReader(path)


def test_video_cut_off_before_its_first_frame(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", tones(3), options={"movflags": "faststart"})
    with av.open(str(path)) as source:
        first = min(p.pos for p in source.demux(video=0) if p.size)
    path.write_bytes(path.read_bytes()[:first])
    with pytest.raises(VideoError, match="h264"):
        VideoReader(path)


def test_index_cut_off(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    data = clip.read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 4])  # PyAV writes the index last
    with pytest.raises(VideoError, match="index"):
        VideoReader(path)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_file_that_ends_in_the_middle(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"movflags": "faststart"} if suffix == ".mp4" else {}
    whole = write_clip(tmp_path / f"whole{suffix}", tones(20), audio="aac", options=options)
    data = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(data[: len(data) * 6 // 10])
    with caplog.at_level(logging.WARNING):
        report = matte_video(FakeMatter(), cut, tmp_path / "out.mp4", background=GREEN)
    images, times = decode(tmp_path / "out.mp4")
    assert 4 <= report.frames < 20
    assert len(images) == report.frames
    assert [number_of(image) for image in images[:-1]] == list(range(report.frames - 1))
    assert times == sorted(times)
    if suffix != ".ts":  # a transport stream does not say how long it means to be
        assert report.truncated
        assert "ends early" in str(report)
        assert "ends early" in caplog.text


def test_damaged_packets_are_skipped(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", tones(20))
    with av.open(str(path)) as source:
        packets = [(p.pos, p.size) for p in source.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    start, size = packets[10]
    data[start : start + size] = bytes(size)
    path.write_bytes(data)
    with VideoReader(path) as reader:
        numbers = [number_of(image) for image in reader]
    assert set(range(10)) <= set(numbers)
    assert len(numbers) >= 18


@pytest.mark.parametrize(
    ("name", "alpha", "message"),
    [
        ("out.xyz", False, r"ends in \.xyz, expected one of \.mp4, .*H\.264"),
        ("out.mp4", True, r"ends in \.mp4, expected with alpha one of \.mov \(ProRes 4444\)"),
        ("out.png", True, r"names one picture, expected a sequence; write out%05d\.png"),
        ("missing/out.mp4", False, r"the folder of output .* does not exist"),
        ("folder.mp4", False, "is a folder"),
        ("full", True, "already holds frames"),
        ("full/a%03d.png", True, "already holds frames"),
    ],
)
def test_outputs_that_cannot_be(tmp_path: Path, name: str, alpha: bool, message: str) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a001.png").touch()
    with pytest.raises(VideoError, match=message):
        check_output(tmp_path / name, alpha=alpha)


def test_output_over_its_input(clip: Path) -> None:
    before = clip.read_bytes()
    with pytest.raises(VideoError, match="input"):
        matte_video(FakeMatter(), clip, clip, background=GREEN)
    assert clip.read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_output_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(VideoError, match="permission"):
            check_output(tmp_path / "out.mp4")
    finally:
        tmp_path.chmod(0o700)


def test_bad_output_is_refused_before_any_work(clip: Path, tmp_path: Path) -> None:
    matter = FakeMatter()
    with pytest.raises(VideoError):
        matte_video(matter, clip, tmp_path / "no" / "out.mp4", background=GREEN)
    assert not matter.seen


def test_writer_refuses_a_frame_of_another_size(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"frame 0 .*\(4, 4, 3\)"):  # noqa: SIM117
        with VideoWriter(tmp_path / "out.mp4", (HEIGHT, WIDTH)) as writer:
            writer.write(np.zeros((4, 4, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_writer_without_frames_leaves_nothing(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "out.mp4", (HEIGHT, WIDTH))
    with pytest.raises(VideoError, match="no frame"):
        writer.finish()
    assert list(tmp_path.iterdir()) == []


# The whole way


def test_each_alpha_meets_its_own_frame(clip: Path, tmp_path: Path) -> None:
    matter = FakeMatter()
    calls: list[tuple[int, int | None]] = []
    out = tmp_path / "out.mp4"
    report = matte_video(
        matter, clip, out, background=GREEN, progress=lambda *args: calls.append(args)
    )
    images, times = decode(out)
    assert matter.seen == list(range(12))
    assert matter.mismatches == 0
    assert [number_of(image) for image in images] == list(range(12))
    assert times == decode(clip)[1]
    assert calls == [(index + 1, 12) for index in range(12)]
    below = images[5][HEIGHT * 3 // 4 :].reshape(-1, 3).mean(0)
    assert np.abs(below - GREEN).max() < 8
    assert report.frames == 12
    assert report.size == (HEIGHT, WIDTH)
    assert not report.truncated
    assert report.fps == pytest.approx(12 / report.seconds)
    assert list(report.stages) == ["decode", "preprocess", "network", "composite", "encode"]
    assert all(seconds > 0 for seconds in report.stages.values())
    assert "frames/s" in str(report)
    assert leftovers(tmp_path) == []


def test_sound_is_copied_byte_for_byte(clip: Path, tmp_path: Path) -> None:
    report = matte_video(FakeMatter(), clip, tmp_path / "out.mp4", background=GREEN)
    wanted = audio_packets(clip)
    assert len(wanted) > 10
    assert audio_packets(tmp_path / "out.mp4") == wanted
    assert report.notes == ()


def test_sound_that_the_container_does_not_take_is_transcoded(clip: Path, tmp_path: Path) -> None:
    report = matte_video(FakeMatter(), clip, tmp_path / "out.webm", background=GREEN)
    assert report.notes == (".webm does not take aac audio: transcoded to Opus",)
    with av.open(str(tmp_path / "out.webm")) as source:
        assert source.streams.audio[0].codec_context.name in ("opus", "libopus")
        samples = np.concatenate([f.to_ndarray()[0] for f in source.decode(audio=0)])
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * 48000 / len(samples) == pytest.approx(440, abs=5)


def test_sound_can_be_left_out(clip: Path, tmp_path: Path) -> None:
    matte_video(FakeMatter(), clip, tmp_path / "out.mp4", background=GREEN, audio=False)
    with av.open(str(tmp_path / "out.mp4")) as source:
        assert not source.streams.audio


def test_uneven_timestamps_survive(tmp_path: Path) -> None:
    pts = [0, 100, 700, 2048, 2600, 9000]
    path = write_clip(tmp_path / "vfr.mp4", tones(6), pts=pts)
    matte_video(FakeMatter(), path, tmp_path / "out.mp4", background=GREEN)
    assert decode(tmp_path / "out.mp4")[1] == [at * TIME_BASE for at in pts]


def test_turned_video_comes_out_upright(tmp_path: Path) -> None:
    upright = [np.rot90(image).copy() for image in tones(6)]
    path = write_clip(tmp_path / "turned.mp4", upright, rotation=90, pixel_aspect=Fraction(3, 2))
    matte_video(FakeMatter(), path, tmp_path / "out.mp4", background=GREEN)
    images, _ = decode(tmp_path / "out.mp4")
    assert [number_of(image) for image in images] == list(range(6))
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert reader.rotation == 0
        assert reader.size == (HEIGHT, WIDTH)
        assert reader.pixel_aspect == Fraction(2, 3)


def test_odd_sizes_are_made_even(tmp_path: Path) -> None:
    image = patches(47, 95)
    with VideoWriter(tmp_path / "odd.mp4", (47, 95), crf=4) as writer:
        writer.write(image)
    images, _ = decode(tmp_path / "odd.mp4")
    assert images[0].shape == (48, 96, 3)
    assert np.abs(images[0][-1].astype(int) - images[0][-3]).mean() < 4  # repeated, not black


def test_transport_stream_begins_at_zero(tmp_path: Path) -> None:
    options = {"output_ts_offset": "20"}
    path = write_clip(tmp_path / "clip.ts", tones(8), audio="aac", options=options)
    with av.open(str(path)) as source:
        assert source.start_time > 1_000_000
    report = matte_video(FakeMatter(), path, tmp_path / "out.mp4", background=GREEN)
    _, times = decode(tmp_path / "out.mp4")
    assert report.frames == 8
    assert times[0] < Fraction(1, 10)
    assert audio_packets(tmp_path / "out.mp4")[0][0] < Fraction(1, 10)


# With alpha


def alpha_planes(path: Path, codec: str | None = None) -> list[np.ndarray]:
    """The BGRA frames of a video; WebM's alpha needs libvpx, FFmpeg's own decoder skips it."""
    with av.open(str(path)) as source:
        if codec is None:
            frames = list(source.decode(video=0))
        else:
            context: Any = av.CodecContext.create(codec, "r")
            frames = [
                frame
                for packet in source.demux(video=0)
                if packet.size
                for frame in context.decode(packet)
            ]
        return [frame.to_ndarray(format="bgra") for frame in frames]


@pytest.mark.parametrize(("name", "codec"), [("out.mov", None), ("out.webm", "libvpx-vp9")])
def test_alpha_video(clip: Path, tmp_path: Path, name: str, codec: str | None) -> None:
    out = tmp_path / name
    report = matte_video(FakeMatter(alpha=0.5), clip, out, alpha=True)
    images = alpha_planes(out, codec)
    assert report.frames == len(images) == 12
    assert [number_of(image[..., :3]) for image in images] == list(range(12))
    for image in images:
        assert np.abs(image[: HEIGHT // 2 - 4, :, 3].astype(int) - 128).max() < 8
        assert image[HEIGHT // 2 + 4 :, :, 3].max() < 8
    with av.open(str(out)) as source:
        if codec is None:
            assert source.streams.video[0].codec_context.codec_tag == "ap4h"
        else:
            assert source.streams.video[0].metadata.get("alpha_mode") == "1"


@pytest.mark.parametrize("name", ["cutouts", "cut%03d.png"])
def test_png_sequence(clip: Path, tmp_path: Path, name: str) -> None:
    report = matte_video(FakeMatter(), clip, tmp_path / name, alpha=True)
    folder = tmp_path / "cutouts" if name == "cutouts" else tmp_path
    files = sorted(folder.glob("*.png"))
    assert [file.name for file in files] == [
        f"{index:05d}.png" if name == "cutouts" else f"cut{index:03d}.png" for index in range(12)
    ]
    images = [read_image(file) for file in files]
    assert [number_of(image[..., :3]) for image in images] == list(range(12))
    assert (images[3][: HEIGHT // 2, :, 3] == 255).all()
    assert (images[3][HEIGHT // 2 :, :, 3] == 0).all()
    assert report.notes == ("a PNG sequence has no audio: the track is left out",)
    assert leftovers(tmp_path) == []


# Background


def background_clip(path: Path, count: int = 5) -> Path:
    images = [np.full((HEIGHT, WIDTH, 3), 40 * index, np.uint8) for index in range(count)]
    return write_clip(path, images)


def test_video_background_loops_at_the_outputs_time(tmp_path: Path) -> None:
    path = background_clip(tmp_path / "behind.mp4")
    background = VideoBackground(path, rate=60)  # the output runs twice as fast
    frame = np.zeros((24, 40, 3), np.uint8)
    levels = [round(background.at(frame, index).mean() / 40) for index in range(22)]
    assert levels == [(index // 2) % 5 for index in range(22)]
    assert background.at(frame, 0).shape == frame.shape
    assert round(background.at_time(3 / 30).at(frame).mean() / 40) == 3
    background.close()


def test_video_background_covers_and_crops(tmp_path: Path) -> None:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, WIDTH // 4 : -WIDTH // 4] = 255
    background = VideoBackground(write_clip(tmp_path / "behind.mp4", [image] * 2))
    tall = background.at(np.zeros((HEIGHT * 2, WIDTH, 3), np.uint8), 0)
    assert tall.shape == (HEIGHT * 2, WIDTH, 3)
    assert tall[:, 8:-8].min() > 200  # the black sides fell outside
    background.close()


def test_video_behind_a_video(clip: Path, tmp_path: Path) -> None:
    path = background_clip(tmp_path / "behind.mp4")
    matte_video(FakeMatter(), clip, tmp_path / "out.mp4", background=path)
    images, _ = decode(tmp_path / "out.mp4")
    below = [round(image[HEIGHT * 3 // 4 :].mean() / 40) for image in images]
    assert below == [index % 5 for index in range(12)]
    assert [number_of(image) for image in images] == list(range(12))


def test_video_background_of_another_rate(tmp_path: Path) -> None:
    behind = background_clip(tmp_path / "behind.mp4")  # 30 frames a second
    slow = write_clip(tmp_path / "slow.mp4", tones(6), pts=[index * 2 * TICK for index in range(6)])
    matte_video(FakeMatter(), slow, tmp_path / "out.mp4", background=str(behind))
    images, _ = decode(tmp_path / "out.mp4")
    below = [round(image[HEIGHT * 3 // 4 :].mean() / 40) for image in images]
    assert below == [2 * index % 5 for index in range(6)]


def test_background_that_cannot_be_read(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "behind.mp4").write_bytes(b"nothing")
    with pytest.raises(BackgroundError, match="behind"):
        matte_video(FakeMatter(), clip, tmp_path / "out.mp4", background=tmp_path / "behind.mp4")
    assert not (tmp_path / "out.mp4").exists()
    assert leftovers(tmp_path) == []


# Failing and being interrupted


def no_threads_left() -> bool:
    for _ in range(100):
        if not any(thread.name == "matter-prefetch" for thread in threading.enumerate()):
            return True
        time.sleep(0.02)
    return False


def test_an_error_of_the_network_ends_all_and_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="frame 5"):
        matte_video(FakeMatter(fail_at=5), clip, tmp_path / "out.mp4", background=GREEN)
    assert list(tmp_path.iterdir()) == []
    assert no_threads_left()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_shows_the_background_alone(
    clip: Path, tmp_path: Path, value: float
) -> None:
    report = matte_video(
        FakeMatter(alpha=value), clip, tmp_path / "out%03d.png", background=(0, 255, 0)
    )
    assert any("without a matte" in note and "NaN" in note for note in report.notes)
    for path in tmp_path.glob("out*.png"):
        assert (read_image(path) == (0, 255, 0)).all()


def test_an_error_of_the_disk_ends_all_and_leaves_nothing(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = VideoWriter.write

    def full(self: VideoWriter, *args: object) -> None:
        if self.frames == 4:
            raise VideoError("disk full")
        real(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(VideoWriter, "write", full)
    with pytest.raises(VideoError, match="disk full"):
        matte_video(FakeMatter(), clip, tmp_path / "out.mp4", background=GREEN)
    assert list(tmp_path.iterdir()) == []
    assert no_threads_left()


def test_an_error_keeps_the_file_that_was_there(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    out.write_bytes(b"what was there before")
    with pytest.raises(RuntimeError):
        matte_video(FakeMatter(fail_at=5), clip, out, background=GREEN)
    assert out.read_bytes() == b"what was there before"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("name", ["out.mp4", "frames"])
def test_interrupted_output_is_finished(clip: Path, tmp_path: Path, name: str) -> None:
    def interrupt(done: int, total: int | None) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(VideoInterrupted, match="playable") as caught:
        matte_video(FakeMatter(), clip, tmp_path / name, background=GREEN, progress=interrupt)
    report = caught.value.report
    assert report.interrupted
    assert 5 <= report.frames <= 12
    if name == "out.mp4":
        images, _ = decode(tmp_path / name)
    else:
        images = [read_image(file) for file in sorted((tmp_path / name).iterdir())]
    assert [number_of(image) for image in images] == list(range(report.frames))
    assert leftovers(tmp_path) == []
    assert no_threads_left()


def test_writer_interrupted_in_its_block_is_finished(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117
        with VideoWriter(tmp_path / "out.mp4", (HEIGHT, WIDTH)) as writer:
            for image in tones(4):
                writer.write(image)
            raise KeyboardInterrupt
    assert len(decode(tmp_path / "out.mp4")[0]) == 4
    assert leftovers(tmp_path) == []


INTERRUPTED = """
import signal, sys, time
from pathlib import Path
from matter_sdk.sdk.video import matte_video
from tests.sdk.clips import FakeMatter

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored

class Slow(FakeMatter):
    def infer(self, tensor):
        time.sleep(0.05)
        return super().infer(tensor)

def tell(done, total):
    print(done, flush=True)

try:
    matte_video(Slow(), sys.argv[1], sys.argv[2], background=(0, 255, 0), progress=tell)
except KeyboardInterrupt as error:
    print(error.report.frames, file=sys.stderr)
    sys.exit(130)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_ctrl_c_in_a_process_of_its_own_leaves_a_playable_file(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "long.mp4", tones(100), audio="aac")
    out = tmp_path / "out.mp4"
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(path), str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "8":
            assert not out.exists()  # nothing stands under the final name while it is half written
            process.send_signal(signal.SIGINT)
            break
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    frames = int(errors.split()[-1])
    images, _ = decode(out)
    assert 8 <= frames < 100
    assert [number_of(image) for image in images] == list(range(frames))
    length = audio_packets(out)[-1][0]
    assert abs(length - Fraction(frames * TICK) * TIME_BASE) < Fraction(1, 10)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(("quality", "found"), [("live", "bframes=0"), ("balanced", "bframes=3")])
def test_live_quality_encodes_quickly(clip: Path, tmp_path: Path, quality: str, found: str) -> None:
    """x264 notes its settings in the file."""
    matter = FakeMatter()
    matter.quality = replace(QUALITIES[quality], temporal=False)
    content = matte_video(matter, clip, tmp_path / "out.mp4", crf=21).path.read_bytes()
    assert found.encode() in content
    assert b"cabac=1" in content
    assert b"mbtree=1" in content
    assert b"crf=21.0" in content
    given = matte_video(matter, clip, tmp_path / "given.mp4", preset="ultrafast").path
    assert b"cabac=0" in given.read_bytes()  # as x264 means it
    assert [number_of(image) for image in decode(tmp_path / "out.mp4")[0]] == list(range(12))
