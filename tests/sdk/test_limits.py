"""Limits on pictures and videos: told from their headers, before anything is decoded."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from matter_sdk.sdk.background import Background
from matter_sdk.sdk.errors import BackgroundError, FrameError, VideoError
from matter_sdk.sdk.limits import MAX_PIXELS, check_picture, check_video
from matter_sdk.sdk.media.picture_reader import read_picture
from matter_sdk.sdk.media.video_reader import VideoReader

SIDES = (24_000, 23_000)


def chunk(kind: bytes, content: bytes, length: int | None = None) -> bytes:
    claimed = len(content) if length is None else length
    return struct.pack(">I", claimed) + kind + content + struct.pack(">I", zlib.crc32(content))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def written(suffix: str, width: int, height: int) -> bytes:
    """A picture of grey as OpenCV writes it."""
    done, content = cv2.imencode(suffix, np.full((height, width, 3), 90, np.uint8))
    assert done
    return content.tobytes()


def tiff(order: str, large: bool, **tags: int) -> bytes:
    numbers = {"width": 256, "height": 257, "tile_width": 322, "tile_height": 323}
    form = f"{order}2HQ{'Q' if large else 'I'}" if large else f"{order}2H2I"
    kind = 16 if large else 4
    entries = b"".join(struct.pack(form, numbers[tag], kind, 1, side) for tag, side in tags.items())
    mark = b"II" if order == "<" else b"MM"
    if large:
        head = mark + struct.pack(f"{order}3HQ", 43, 8, 0, 16)
        return head + struct.pack(f"{order}Q", len(tags)) + entries + bytes(64)
    return mark + struct.pack(f"{order}HI", 42, 8) + struct.pack(f"{order}H", len(tags)) + entries


WIDTH, HEIGHT = SIDES
LARGE = {
    "png": png(*SIDES, chunk(b"IDAT", zlib.compress(bytes(100)))),
    "jpeg": b"\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xc2\x00\x11\x08"
    + struct.pack(">2H", HEIGHT, WIDTH)
    + bytes(20),
    "gif": b"GIF89a" + struct.pack("<2H", *SIDES) + bytes(9),
    "bmp": b"BM" + bytes(12) + struct.pack("<I2i", 40, WIDTH, -HEIGHT) + bytes(40),
    "old bmp": b"BM" + bytes(12) + struct.pack("<I2H", 12, WIDTH, HEIGHT) + bytes(40),
    "webp vp8x": b"RIFF\0\0\0\0WEBPVP8X\n\0\0\0\0\0\0\0"
    + (WIDTH - 1).to_bytes(3, "little")
    + (HEIGHT - 1).to_bytes(3, "little"),
    "tiff": tiff("<", False, width=WIDTH, height=HEIGHT),
    "big tiff": tiff(">", True, width=WIDTH, height=HEIGHT),
    "tiff of huge tiles": tiff(
        "<", False, width=10, height=10, tile_width=WIDTH, tile_height=HEIGHT
    ),
    "avif": b"\0\0\0\x18ftypavif" + bytes(20) + b"ispe\0\0\0\0" + struct.pack(">2I", *SIDES),
    "jp2": b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x16ihdr" + struct.pack(">2I", HEIGHT, WIDTH),
    "j2k": b"\xff\x4f\xff\x51" + bytes(4) + struct.pack(">2I", *SIDES) + bytes(30),
    "ppm": b"P6\n# made by hand\n24000 23000\n255\n",
    "pam": b"P7\nWIDTH 24000\nHEIGHT 23000\nDEPTH 3\nENDHDR\n",
    "hdr": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 23000 +X 24000\n",
    "sun": b"\x59\xa6\x6a\x95" + struct.pack(">2I", *SIDES),
}


@pytest.mark.parametrize("kind", LARGE)
def test_a_small_file_of_a_large_picture(kind: str) -> None:
    with pytest.raises(FrameError, match="24000×23000"):
        check_picture(LARGE[kind], "x")


@pytest.mark.parametrize(
    "suffix", [".png", ".jpg", ".bmp", ".webp", ".tiff", ".ppm", ".jp2", ".hdr", ".gif", ".avif"]
)
def test_what_opencv_writes_is_taken_and_its_size_is_known(
    suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        content = written(suffix, 60, 40)
    except cv2.error:
        pytest.skip(f"this OpenCV writes no {suffix}")
    check_picture(content, "x")
    monkeypatch.setattr("matter_sdk.sdk.limits.MAX_PIXELS", 2399)
    with pytest.raises(FrameError, match="60×40"):
        check_picture(content, "x")


@pytest.mark.parametrize(
    "content",
    [
        png(60, 40, chunk(b"IDAT", bytes(40), 0xFFFFFF00)),
        png(60, 40, chunk(b"tEXt", bytes(40), 1 << 30)),
        png(60, 40)[:30],
        png(60, 40)[:-20],
        b"II*\0\xff\xff\xff\xff",
        b"BM",
    ],
)
def test_what_claims_more_than_it_holds(content: bytes) -> None:
    with pytest.raises(FrameError, match="cut short"):
        check_picture(content, "x")


def test_a_long_side() -> None:
    with pytest.raises(FrameError, match="70000×1"):
        check_picture(png(70_000, 1), "x")
    check_picture(png(16_384, 8_192), "x")
    assert MAX_PIXELS == 16_384 * 8_192


@pytest.mark.parametrize("content", [b"", b"hello", bytes(100), b"\xff\xd8"])
def test_what_is_no_picture_is_left_to_the_decoder(content: bytes) -> None:
    check_picture(content, "x")


def test_readers_ask_first(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(LARGE["png"])
    with pytest.raises(FrameError, match="24000×23000"):
        read_picture(path)
    with pytest.raises(BackgroundError, match="24000×23000"):
        Background.open(path)


def test_videos() -> None:
    check_video(7680, 4320, "x", Fraction(240))
    check_video(640, 480, "x", Fraction(90_000))
    with pytest.raises(VideoError, match="24000×23000"):
        check_video(*SIDES, "x")
    with pytest.raises(VideoError, match="70000×2"):
        check_video(70_000, 2, "x")
    for rate in (10**6, -1, float("nan")):
        with pytest.raises(VideoError, match="100,000"):
            check_video(640, 480, "x", rate)


def test_a_video_of_large_frames(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png(*SIDES, chunk(b"IDAT", zlib.compress(bytes(100)))))
    with pytest.raises(VideoError):
        VideoReader(path)
    small = tmp_path / "small.png"
    small.write_bytes(written(".png", 64, 48))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matter_sdk.sdk.limits.MAX_PIXELS", 64 * 48 - 1)
        with pytest.raises(VideoError, match=r"64×48.*3,071"):
            VideoReader(small)
    VideoReader(small).close()
