"""The file path in the decoder's planes: the same pictures as through BGR, and no conversion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from matter_sdk.kernels import YUV
from matter_sdk.sdk import FrameError, Matte, Matter, VideoError
from matter_sdk.sdk.arrays import picture
from matter_sdk.sdk.background import Background
from matter_sdk.sdk.video import VideoBackground, VideoReader, VideoWriter, matte_video
from tests.sdk.checks import smooth_frame
from tests.sdk.clips import decode, write_clip

SIZE = (64, 128)
COLOURS = [("bt601", False), ("bt709", False), ("bt601", True), ("bt709", True)]


def calm_frame(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Of colours that planes can hold and halve without much loss."""
    return (70 + 0.4 * smooth_frame(size, seed)).astype(np.uint8)


def planes_of(image: np.ndarray, matrix: str = "bt601", full: bool = False) -> YUV:
    return YUV.from_bgr(image, matrix=matrix, full_range=full)


@pytest.mark.parametrize(("matrix", "full"), COLOURS)
@pytest.mark.parametrize("size", [(48, 64), (37, 53)])
def test_what_is_written_in_planes_is_read_in_planes(
    tmp_path: Path, matrix: str, full: bool, size: tuple[int, int]
) -> None:
    """Bit for bit, since the encoder is asked to lose nothing; an odd side gains a last line."""
    frames = [planes_of(smooth_frame(size, seed), matrix, full) for seed in range(3)]
    path = tmp_path / "x.mp4"
    with VideoWriter(path, size, crf=0, colours=(matrix, full)) as writer:
        for frame in frames:
            writer.write(frame)
    with VideoReader(path, planes=True) as reader:
        assert reader.planes
        assert reader.colours == (matrix, full)
        found = list(reader)
    for read, written in zip(found, frames, strict=True):
        assert (read.layout, read.matrix, read.full_range) == ("i420", matrix, full)
        for one, other in zip(read.planes, written.planes, strict=True):
            np.testing.assert_array_equal(one[: other.shape[0], : other.shape[1]], other)


def test_nv12_is_written_too(tmp_path: Path) -> None:
    image = smooth_frame(SIZE)
    path = tmp_path / "x.mp4"
    with VideoWriter(path, SIZE, crf=0) as writer:
        writer.write(YUV.from_bgr(image, layout="nv12", matrix="bt601"))
    with VideoReader(path, planes=True) as reader:
        (read,) = reader
    for one, other in zip(read.planes, planes_of(image).planes, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("colours", [(1, 1), (6, 1), (1, 2), (6, 2)])
def test_frames_in_planes_are_the_pictures_that_players_show(
    tmp_path: Path, colours: tuple[int, int]
) -> None:
    """By FFmpeg's own conversion, which repeats colour where ours interpolates it: on patches, away
    from their edges, that is the same."""
    image = np.kron(smooth_frame((6, 9)), np.ones((16, 16, 1), np.uint8))
    path = write_clip(tmp_path / "x.mp4", [image], colours=colours)
    with VideoReader(path, planes=True) as planes, VideoReader(path) as plain:
        (one,), (other,) = planes, plain
    assert isinstance(one, YUV)
    difference = np.abs(picture(one).astype(int) - other).reshape(6, 16, 9, 16, 3)
    assert difference[:, 4:12, :, 4:12].max() <= 2


def test_other_videos_come_as_they_did(tmp_path: Path) -> None:
    """One that is turned, one of another subsampling: asked for in planes, they are BGR."""
    image = smooth_frame(SIZE)
    turned = write_clip(tmp_path / "turned.mp4", [image], rotation=90)
    with VideoWriter(tmp_path / "prores.mov", SIZE, alpha=True) as writer:
        writer.write(np.dstack([image, image[..., 0]]))
    for path in (turned, tmp_path / "prores.mov"):
        with VideoReader(path, planes=True) as reader:
            assert not reader.planes
            assert reader.colours is None
            assert isinstance(next(iter(reader)), np.ndarray)


@pytest.mark.parametrize(
    "wrong",
    [
        planes_of(smooth_frame((32, 128))),
        planes_of(smooth_frame(SIZE), "bt709"),
        planes_of(smooth_frame(SIZE), full=True),
    ],
    ids=["size", "matrix", "range"],
)
def test_planes_that_are_not_the_writers_are_refused(tmp_path: Path, wrong: YUV) -> None:
    writer = VideoWriter(tmp_path / "x.mp4", SIZE)
    with pytest.raises(VideoError, match=r"\(64, 128\), bt601.*False"):
        writer.write(wrong)
    writer.abort()
    writer = VideoWriter(tmp_path / "x.mov", SIZE, alpha=True)
    with pytest.raises(VideoError, match="none in planes"):
        writer.write(wrong)
    writer.abort()


# Mattes


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("clean", [False, True])
def test_a_matte_in_planes_is_that_of_the_picture(guided: bool, clean: bool) -> None:
    image = calm_frame((90, 160))
    small = cv2.resize(smooth_frame((30, 50), 1)[..., 0], (50, 30)).astype(np.float32) / 255
    planes = planes_of(image)
    one = Matte(planes, small, guided=guided, clean=clean)
    other = Matte(picture(planes), small, guided=guided, clean=clean)
    assert one.planes is planes
    assert other.planes is None
    np.testing.assert_array_equal(one.frame, other.frame)
    assert np.abs(one.alpha - other.alpha).mean() < 0.01
    behind = calm_frame((90, 160), 2)
    shown = picture(one.over_planes(behind)).astype(int)
    assert np.abs(shown - other.over(behind)).mean() < 1.5
    np.testing.assert_allclose(one.over(behind), other.over(behind), atol=255 * 0.05)


def test_over_planes_wants_planes() -> None:
    matte = Matte(smooth_frame(SIZE), np.ones(SIZE, np.float32))
    with pytest.raises(ValueError, match=r"over\(\)"):
        matte.over_planes("green")


@pytest.mark.parametrize("spec", ["green", "image", "blur", "video"])
def test_backgrounds_in_planes_are_their_pictures(tmp_path: Path, spec: str) -> None:
    frame = planes_of(smooth_frame((90, 160)), "bt709", full=True)
    alpha = np.zeros((90, 160), np.float32)
    alpha[20:60, 40:90] = 1
    given: Any = {
        "image": smooth_frame((100, 100), 1),
        "video": write_clip(tmp_path / "b.mp4", [smooth_frame((64, 96), 2)] * 3),
    }.get(spec, spec)
    behind = Background.open(given)
    expected = behind.at(picture(frame), 1, alpha)
    found = behind.planes_at(frame, 1, alpha)
    if isinstance(found, YUV):
        assert (found.layout, found.matrix, found.full_range) == ("i420", "bt709", True)
        assert np.abs(picture(found).astype(int) - expected).mean() < 3
    else:
        assert found == expected == (0, 255, 0)
    behind.close()


def test_a_video_background_of_the_frames_kind_is_not_converted(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "b.mp4", [smooth_frame(SIZE, 2)] * 3, colours=(6, 1))
    frame = planes_of(smooth_frame(SIZE))
    behind = VideoBackground(path)
    with VideoReader(path, planes=True) as reader:
        for one, other in zip(
            behind.planes_at(frame).planes, next(iter(reader)).planes, strict=True
        ):
            np.testing.assert_array_equal(one, other)
    behind.close()


def test_planes_that_do_not_fit_each_other_are_refused(tiny: Any) -> None:
    y = np.zeros(SIZE, np.uint8)
    with Matter(tiny.build(), backend="onnxruntime") as matter:
        for chroma in (np.zeros((32, 60), np.uint8), np.zeros((32, 64), np.float32)):
            with pytest.raises(FrameError, match="no planar frame"):
                matter(YUV((y, chroma, chroma)))


def test_a_file_in_planes_is_the_file_through_bgr(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same engine, source and background, once the quick way and once without planes."""
    frames = [calm_frame(SIZE, seed) for seed in range(4)]
    source = write_clip(tmp_path / "in.mp4", frames)
    seen: list[type] = []
    with Matter(tiny.build(), backend="onnxruntime") as matter:
        prepare = matter.prepare
        monkeypatch.setattr(matter, "prepare", lambda f: seen.append(type(f)) or prepare(f))
        for name, planes in (("planes", True), ("bgr", False)):
            monkeypatch.setattr(Matter, "takes_planes", planes)
            matte_video(matter, source, tmp_path / f"{name}.mp4", background="blur", crf=4)
    assert seen == [YUV] * 4 + [np.ndarray] * 4
    one, other = (decode(tmp_path / f"{name}.mp4")[0] for name in ("planes", "bgr"))
    for quick, slow in zip(one, other, strict=True):
        assert np.abs(quick.astype(int) - slow).mean() < 2
