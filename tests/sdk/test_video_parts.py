"""Videos cut at key frames: the parts, joined, are what one go makes of the whole."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from matter_sdk.sdk.errors import VideoError
from matter_sdk.sdk.inference.quality import QUALITIES
from matter_sdk.sdk.media.video_parts import RUN_IN
from matter_sdk.sdk.video import (
    UnlikeParts,
    VideoPart,
    VideoReader,
    cut_video,
    join_video,
    matte_video,
)
from tests.sdk.clips import (
    NETWORK,
    TICK,
    TIME_BASE,
    FakeMatte,
    FakeMatter,
    audio_packets,
    decode,
    tones,
    write_clip,
)

COUNT = 200
KEYS = 25


def uneven(count: int) -> list[int]:
    """Times of a variable frame rate, of 30 frames a second on average."""
    steps = np.random.default_rng(3).integers(TICK // 3, 2 * TICK, count)
    return [int(time) for time in np.cumsum(steps)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise that moves, then stands still but for its light, then moves: all that has a memory."""
    random = np.random.default_rng(1)
    scene = random.integers(60, 190, (48, 64, 3))
    images = []
    for number in range(COUNT):
        still = 20 <= number < 190
        image = np.roll(scene, 0 if still else number, 1) + random.integers(0, 3)
        images.append(cv2.GaussianBlur(image.astype(np.uint8), (0, 0), 2))
    path = tmp_path_factory.mktemp("parts") / "clip.mp4"
    return write_clip(path, images, pts=uneven(COUNT), audio="aac", keys=KEYS)


class Wavering(FakeMatter):
    """A network that never answers alike: what a frame shows depends on those before it."""

    def __init__(self, quality: str = "balanced") -> None:
        super().__init__()
        self.quality = replace(QUALITIES[quality], hybrid=None)
        self.inferred = 0

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        small = cv2.resize(frame, NETWORK, interpolation=cv2.INTER_AREA)
        return small.transpose(2, 0, 1)[None].astype(np.float32)

    def infer(self, tensor: np.ndarray) -> np.ndarray:
        self.inferred += 1
        return np.asarray(np.sin(tensor[0, 0] * 7 + tensor.sum() / 50) / 2 + 0.5, np.float32)

    def finish(self, frame: np.ndarray, alpha: np.ndarray) -> FakeMatte:
        return FakeMatte(frame, cv2.resize(alpha, (frame.shape[1], frame.shape[0])))


def matted(
    clip: Path, parts: Sequence[VideoPart], folder: Path, suffix: str, **options: Any
) -> list[tuple[VideoPart, Path]]:
    pieces = []
    for number, part in enumerate(parts):
        piece = folder / f"part{number}{suffix}"
        quality = options.pop("quality", "balanced")
        report = matte_video(Wavering(quality), clip, piece, part=part, audio=False, **options)
        options["quality"] = quality
        assert not report.truncated
        pieces.append((part, piece))
    return pieces


def packets(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return [
            (packet.pts, packet.dts, packet.duration, packet.is_keyframe, packet.time_base)
            for packet in container.demux(video=0)
            if packet.size
        ]


def planes(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


def apart(one: Path, other: Path) -> int:
    """By how many levels the frames differ at most, as they are stored."""
    return max(
        int(np.abs(image.astype(int) - second).max())
        for image, second in zip(planes(one), planes(other), strict=True)
    )


def test_parts_begin_at_key_frames_and_hold_every_frame_once(clip: Path) -> None:
    parts = cut_video(clip, seconds=1)
    with av.open(str(clip)) as container:
        keys = {packet.pts for packet in container.demux(video=0) if packet.is_keyframe}
    with VideoReader(clip) as reader:
        times = [timed.pts for timed in reader.timed()]
    assert len(parts) > 3
    assert {part.begin for part in parts} <= keys
    assert [sum(part.holds(time) for part in parts) for time in times] == [1] * COUNT
    for part in parts:
        before = [time for time in times if part.start <= time < part.begin]
        assert len(before) >= min(RUN_IN, times.index(part.begin))
        at = times.index(part.start)  # the first of a whole second
        assert at == 0 or int(times[at] * TIME_BASE) > int(times[at - 1] * TIME_BASE)


@pytest.mark.parametrize(("suffix", "quality"), [(".mp4", "balanced"), (".mkv", "studio")])
def test_joined_parts_are_the_whole(clip: Path, tmp_path: Path, suffix: str, quality: str) -> None:
    """To a level of 255 at most, where the run-in's last hundredth of one turns a rounding."""
    whole, joined = tmp_path / f"whole{suffix}", tmp_path / f"joined{suffix}"
    matter = Wavering(quality)
    matte_video(matter, clip, whole, crf=0)
    parts = cut_video(clip, seconds=1.5)
    pieces = matted(clip, parts, tmp_path, suffix, crf=0, quality=quality)
    notes = join_video(pieces, joined, audio_from=clip)
    assert len(parts) > 2
    assert notes == []
    assert decode(joined)[1] == decode(whole)[1]
    assert apart(joined, whole) <= 1
    assert audio_packets(joined) == audio_packets(whole)
    assert [one[:3] + one[4:] for one in packets(joined)] == [
        one[:3] + one[4:] for one in packets(whole)
    ]
    if quality == "balanced":  # the alpha of still frames was taken over
        assert matter.inferred < COUNT - 50


def test_without_a_run_in_there_is_a_seam(clip: Path, tmp_path: Path) -> None:
    whole, joined = tmp_path / "whole.mp4", tmp_path / "joined.mp4"
    matte_video(Wavering(), clip, whole, crf=0)
    parts = [replace(part, start=part.begin) for part in cut_video(clip, seconds=1.5)]
    join_video(matted(clip, parts, tmp_path, ".mp4", crf=0), joined)
    assert apart(joined, whole) > 20


@pytest.mark.parametrize("suffix", [".mov", ".webm"])
def test_alpha_is_joined_too(clip: Path, tmp_path: Path, suffix: str) -> None:
    whole, joined = tmp_path / f"whole{suffix}", tmp_path / f"joined{suffix}"
    matte_video(Wavering(), clip, whole, alpha=True, audio=False)
    parts = cut_video(clip, seconds=3)
    join_video(matted(clip, parts, tmp_path, suffix, alpha=True), joined)
    with av.open(str(whole)) as one, av.open(str(joined)) as other:
        a, b = one.streams.video[0], other.streams.video[0]
        assert dict(a.metadata) == dict(b.metadata)
        assert a.average_rate == b.average_rate
        assert a.codec_context.codec_tag == b.codec_context.codec_tag
        sides = [
            [packet.has_sidedata("matroska_block_additional") for packet in file.demux(video=0)]
            for file in (one, other)
        ]
        assert sides[0] == sides[1]
    assert [one[0] for one in packets(joined)] == [one[0] for one in packets(whole)]


def test_the_joined_video_plays_from_any_part(clip: Path, tmp_path: Path) -> None:
    parts = cut_video(clip, seconds=1.5)
    out = tmp_path / "out.mp4"
    join_video(matted(clip, parts, tmp_path, ".mp4"), out)
    keys = [float(pts * base) for pts, _, _, key, base in packets(out) if key]
    begins = [float(part.begin * part.time_base) for part in parts]
    # MP4 tells of the first picture's time in milliseconds, and of the others' from there exactly.
    assert [begin - begins[0] for begin in begins] == pytest.approx(
        [key - keys[0] for key in keys if min(abs(key - begin) for begin in begins) < 2e-3]
    )


def test_parts_that_differ_are_not_joined(clip: Path, tmp_path: Path) -> None:
    first, second, *_ = cut_video(clip, seconds=1.5)
    pieces = matted(clip, [first], tmp_path, ".mp4")
    small = write_clip(tmp_path / "small.mp4", [np.zeros((32, 32, 3), np.uint8)] * 3)
    with pytest.raises(UnlikeParts, match=r"small\.mp4"):
        join_video([*pieces, (second, small)], tmp_path / "out.mp4")
    with pytest.raises(UnlikeParts, match=r"out\.mp4"):
        join_video([*pieces, (first, pieces[0][1])], tmp_path / "out.mp4")
    with pytest.raises(VideoError, match=r"gone\.mp4"):
        join_video([(first, tmp_path / "gone.mp4")], tmp_path / "out.mp4")
    assert {file.name for file in tmp_path.iterdir()} == {"part0.mp4", "small.mp4"}


def test_what_has_to_be_matted_in_one_go(clip: Path, tmp_path: Path) -> None:
    assert cut_video("rtsp://192.0.2.1/camera") == []
    cv2.imwrite(str(tmp_path / "p1.png"), tones(1)[0])
    assert cut_video(tmp_path / "p%d.png") == []
    avi = write_clip(tmp_path / "clip.avi", tones(12), codec="mpeg4", pts=range(12))
    assert cut_video(avi) == []  # which keeps no time of presentation
    stream = write_clip(tmp_path / "clip.ts", tones(60))
    assert len(cut_video(stream)) == 1
    twice = tmp_path / "twice.ts"  # whose clock is set back
    twice.write_bytes(stream.read_bytes() * 2)
    assert cut_video(twice) == []
    cut_off = tmp_path / "cut.mp4"
    shutil.copy(
        write_clip(tmp_path / "front.mp4", tones(60), options={"movflags": "+faststart"}), cut_off
    )
    with cut_off.open("r+b") as file:
        file.truncate(cut_off.stat().st_size * 2 // 3)
    assert cut_video(cut_off) == []
    with pytest.raises(VideoError, match=r"empty\.mp4"):
        (tmp_path / "empty.mp4").touch()
        cut_video(tmp_path / "empty.mp4")
    assert len(cut_video(clip)) == 1  # too short for another
