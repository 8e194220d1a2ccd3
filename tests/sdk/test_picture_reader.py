"""One reader of pictures: colour, orientation, transparency, animation, places, damage."""

from __future__ import annotations

import io
import os
import re
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms

from matter_sdk.sdk import BackgroundError, FrameError, VideoError
from matter_sdk.sdk.background import Background
from matter_sdk.sdk.media import colour_profiles, picture_reader
from matter_sdk.sdk.media.picture_reader import is_animation, read_grey, read_picture, read_values
from matter_sdk.sdk.video import VideoBackground, VideoReader

# (red, green, blue) in sRGB -> the same colours in Display P3, by Apple's published matrices.
SRGB = np.array([[200, 40, 60], [40, 180, 60], [30, 60, 200], [128, 128, 128], [250, 240, 230]])
P3_TO_XYZ = np.array(
    [[0.48657, 0.26567, 0.19822], [0.22897, 0.69174, 0.07929], [0, 0.04511, 1.04394]]
)
ADOBE_TO_XYZ = np.array(
    [[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]]
)
SRGB_TO_XYZ = np.array(
    [[0.41239, 0.35758, 0.18048], [0.21264, 0.71517, 0.07219], [0.01933, 0.11919, 0.95053]]
)


def linear(values: Any) -> Any:
    values = np.asarray(values) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def srgb_curve(values: Any) -> Any:
    values = np.clip(values, 0, 1)
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055) * 255


def in_space(matrix: Any, curve: Any = srgb_curve) -> Any:
    """SRGB's colours as uint8 of another space, and a picture 8×40 of them."""
    stored = curve(linear(SRGB) @ SRGB_TO_XYZ.T @ np.linalg.inv(matrix).T)
    return np.repeat(np.repeat(np.rint(stored).astype(np.uint8)[None], 8, 0), 8, 1)


def shown(path: Path) -> Any:
    """The middle of each of the five patches, RGB."""
    return read_picture(path)[4, 4::8, ::-1].astype(int)


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png[:33] + chunk + png[33:]  # after IHDR


def png(picture: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(picture).save(file, "PNG", **options)
    return file.getvalue()


P3 = colour_profiles.of_cicp(12, 13)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp", "a.jpg", "a.avif"])
def test_display_p3_becomes_srgb(tmp_path: Path, name: str) -> None:
    lossless = {"a.webp": {"lossless": True}, "a.jpg": {"quality": 100, "subsampling": 0}}
    options = lossless.get(name, {"quality": 100, "subsampling": "4:4:4"} if "avif" in name else {})
    Pillow.fromarray(in_space(P3_TO_XYZ)).save(tmp_path / name, icc_profile=P3, **options)
    assert np.abs(shown(tmp_path / name) - SRGB).max() <= (2 if name != "a.avif" else 6)


def test_profiles_without_icc(tmp_path: Path) -> None:
    """PNG's cICP and cHRM with gAMA, and Adobe RGB that a camera says by Exif alone."""
    wide = in_space(P3_TO_XYZ)
    (tmp_path / "cicp.png").write_bytes(with_chunk(png(wide), b"cICP", bytes((12, 13, 0, 1))))
    assert np.abs(shown(tmp_path / "cicp.png") - SRGB).max() <= 2

    def power(values: Any) -> Any:
        return np.clip(values, 0, 1) ** (256 / 563) * 255

    adobe = in_space(ADOBE_TO_XYZ, power)
    points = (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
    named = with_chunk(png(adobe), b"gAMA", struct.pack(">I", round(1e5 * 256 / 563)))
    named = with_chunk(named, b"cHRM", struct.pack(">8I", *points))
    (tmp_path / "chrm.png").write_bytes(named)
    assert np.abs(shown(tmp_path / "chrm.png") - SRGB).max() <= 2

    exif = Pillow.Exif()
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    file = tmp_path / "camera.jpg"
    Pillow.fromarray(adobe).save(file, exif=exif, quality=100, subsampling=0)
    assert np.abs(shown(file) - SRGB).max() <= 3


def test_srgb_and_untagged_pictures_are_taken_as_they_are(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, options in (("tagged", {"icc_profile": icc}), ("plain", {})):
        (tmp_path / name).write_bytes(png(picture, **options))
        assert np.array_equal(read_picture(tmp_path / name)[..., ::-1], picture)
    (tmp_path / "broken").write_bytes(png(picture, icc_profile=b"no profile at all" * 20))
    assert np.array_equal(read_picture(tmp_path / "broken")[..., ::-1], picture)


def test_a_profile_of_linear_light(tmp_path: Path) -> None:
    """Gamma 1: 55 of 255 is linear light, and 128 in sRGB."""
    linear_light = colour_profiles.of_png(None, 1.0)
    assert linear_light is not None
    (tmp_path / "rgb.png").write_bytes(
        png(np.full((4, 4, 3), 55, np.uint8), icc_profile=linear_light)
    )
    assert np.abs(read_picture(tmp_path / "rgb.png").astype(int) - 128).max() <= 1


def test_hdr_is_refused(tmp_path: Path) -> None:
    for transfer in (16, 18):
        content = with_chunk(
            png(np.zeros((4, 4, 3), np.uint8)), b"cICP", bytes((9, transfer, 0, 1))
        )
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(FrameError, match="HDR"):
            read_picture(tmp_path / "a.png")


def test_cmyk(tmp_path: Path) -> None:
    ink = np.zeros((8, 8, 4), np.uint8)
    ink[..., 1:3] = 255  # magenta and yellow: red
    for name in ("a.jpg", "a.tif"):
        Pillow.fromarray(ink, "CMYK").save(tmp_path / name)
        blue, green, red = read_picture(tmp_path / name)[4, 4]
        assert red > 200
        assert blue < 60
        assert green < 60


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path: Path, name: str, orientation: int) -> None:
    """The upright picture has its bright corner at the top left, whatever way it is stored."""
    upright = np.zeros((40, 60), np.uint8)
    upright[:20, :30] = 250
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright.T[::-1, ::-1],
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    Pillow.fromarray(np.dstack([stored] * 3)).save(tmp_path / name, exif=exif)
    found = read_picture(tmp_path / name)
    assert found.shape == (40, 60, 3)
    assert found[5, 5, 0] > 200
    assert max(found[35, 5, 0], found[5, 55, 0], found[35, 55, 0]) < 50
    assert picture_reader.picture_size(tmp_path / name) == (60, 40)


def transparent(mode: str) -> tuple[Pillow.Image, dict[str, Any]]:
    rgba = np.full((10, 12, 4), 90, np.uint8)
    rgba[..., 3] = 255
    rgba[:5, :, 3] = 0
    if mode == "key":  # a colour that stands for transparent
        plain = np.full((10, 12, 3), 90, np.uint8)
        plain[:5] = (1, 2, 3)
        return Pillow.fromarray(plain), {"transparency": (1, 2, 3)}
    image = Pillow.fromarray(rgba)
    return (image.quantize(8) if mode == "P" else image.convert(mode)), {}


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.png", "RGBA"), ("a.png", "LA"), ("a.png", "P"), ("a.png", "key")]
    + [("a.webp", "RGBA"), ("a.tif", "RGBA"), ("a.gif", "RGBA")],
)
def test_transparency(tmp_path: Path, name: str, mode: str) -> None:
    image, options = transparent(mode)
    image.save(tmp_path / name, **options)
    found = read_picture(tmp_path / name, transparency=True)
    assert found.shape == (10, 12, 4)
    assert (found[:4, :, 3] == 0).all()
    assert (found[6:, :, 3] == 255).all()
    assert read_picture(tmp_path / name).shape == (10, 12, 3)


def test_an_opaque_alpha_channel_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(np.full((4, 4, 4), 255, np.uint8)))
    assert read_picture(tmp_path / "a.png", transparency=True).shape == (4, 4, 3)


def test_a_transparent_background_is_black_there(tmp_path: Path) -> None:
    image, _ = transparent("RGBA")
    image.save(tmp_path / "logo.png")
    behind = Background.open(tmp_path / "logo.png").at(np.zeros((10, 12, 3), np.uint8))
    assert (behind[:5] == 0).all()
    assert (behind[5:] == 90).all()


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.avif"])
def test_animations(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    pictures = [Pillow.new("RGB", (64, 48), (50 * number,) * 3) for number in range(4)]
    durations = [100, 200, 100, 50]
    pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], duration=durations)
    assert is_animation(tmp_path / name)
    assert np.abs(read_picture(tmp_path / name).astype(int)).max() <= 8
    assert "the first of its 4 pictures" in caplog.text
    found = list(picture_reader.read_animation(tmp_path / name))
    assert [int(one.image.mean() / 50 + 0.5) for one in found] == [0, 1, 2, 3]
    assert [one.time for one in found] == pytest.approx([0, 0.1, 0.3, 0.4], abs=0.002)


def test_a_still_is_no_animation(tmp_path: Path) -> None:
    Pillow.new("RGB", (64, 48)).save(tmp_path / "a.webp")
    assert not is_animation(tmp_path / "a.webp")
    assert not is_animation(tmp_path / "missing")
    assert not is_animation(Path(__file__))


def test_heic(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    Pillow.fromarray(in_space(P3_TO_XYZ)).resize((200, 80), 0).save(
        tmp_path / "a.heic", icc_profile=P3, quality=100, chroma=444
    )
    found = read_picture(tmp_path / "a.heic")
    assert found.shape == (80, 200, 3)
    assert np.abs(found[40, 20::40, ::-1].astype(int) - SRGB).max() <= 4


def test_heic_without_its_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_reader, "_formats", lambda: ("PNG",))
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    with pytest.raises(FrameError, match=r"matter-sdk\[heic\]"):
        read_picture(tmp_path / "a.heic")


def test_sixteen_bits(tmp_path: Path) -> None:
    for name in ("a.png", "a.tif"):
        for shape in ((6, 8), (6, 8, 3)):
            cv2.imwrite(str(tmp_path / name), np.full(shape, 0x8012, np.uint16))
            assert (read_picture(tmp_path / name) == 0x80).all()
            assert (read_values(tmp_path / name) == 0x8012).all()
            assert (read_grey(tmp_path / name) == 0x80).all()
    cv2.imwrite(str(tmp_path / "f.tif"), np.full((6, 8), 0.5, np.float32))
    with pytest.raises(FrameError, match="32"):
        read_picture(tmp_path / "f.tif")


@pytest.mark.parametrize("kind", [".jpg", ".png", ".webp", ".tif"])
def test_a_picture_that_was_cut_short_is_refused(tmp_path: Path, kind: str) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    content = cv2.imencode(kind, picture)[1].tobytes()
    (tmp_path / "a").write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(FrameError, match=re.escape(str(tmp_path / "a"))):
        read_picture(tmp_path / "a")


def test_the_second_decoder(tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    sun = cv2.imencode(".ras", picture)[1]  # which Pillow is not asked for
    sun.tofile(tmp_path / "b.ras")
    assert np.array_equal(read_picture(tmp_path / "b.ras"), picture)


def test_pipes(tmp_path: Path) -> None:
    content = png(np.full((9, 16, 3), 90, np.uint8))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def feed() -> None:
        pipe.write_bytes(content)

    for read in (read_picture, lambda path: Background.open(str(path)).at(np.zeros((9, 16, 3)))):
        writer = threading.Thread(target=feed)
        writer.start()
        assert (read(pipe) == 90).all()
        writer.join(10)


@pytest.mark.parametrize("name", ["missing.png", "a\0b.png", "x" * 5000, ".", "empty", "text"])
def test_what_is_no_picture(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("not a picture")
    for read in (read_picture, read_values, read_grey, picture_reader.picture_size):
        with pytest.raises(FrameError):
            read(tmp_path / name)
    with pytest.raises(BackgroundError):
        Background.open(tmp_path / name)


def test_pictures_that_are_too_large(tmp_path: Path) -> None:
    """Known by the header: 24,000×24,000 is 1.7 MB of PNG and 1.7 GB of memory."""
    for width, height in ((40_000, 2), (24_000, 24_000)):
        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        chunk = b"IHDR" + head
        rows = zlib.compress(bytes(100))
        content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
        content += struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", len(rows)) + b"IDAT"
        content += rows + struct.pack(">I", zlib.crc32(b"IDAT" + rows))
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(FrameError):
            read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.avif"])
def test_an_animation_is_a_video(tmp_path: Path, name: str) -> None:
    pictures = [Pillow.new("RGB", (64, 48), (50 * number,) * 3) for number in range(4)]
    durations = [100, 200, 100, 50]
    pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], duration=durations)
    with VideoReader(tmp_path / name) as reader:
        found = [(round(frame.image.mean() / 50), frame.time) for frame in reader.timed()]
    assert [number for number, _ in found] == [0, 1, 2, 3]
    assert [time for _, time in found] == pytest.approx([0, 0.1, 0.3, 0.4], abs=0.002)
    behind = Background.open(tmp_path / name)
    assert isinstance(behind, VideoBackground)
    behind.close()


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp", "a.heic", "a.bmp"])
def test_a_still_is_a_video_of_one_frame(tmp_path: Path, name: str) -> None:
    """In its own colours and upright, as where it is read as a picture."""
    if name == "a.heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    exif = Pillow.Exif()
    exif[0x0112] = 6
    options = {} if name == "a.bmp" else {"icc_profile": P3, "exif": exif}
    Pillow.fromarray(in_space(P3_TO_XYZ)).resize((200, 80)).save(tmp_path / name, **options)
    with VideoReader(tmp_path / name) as reader:
        (frame,) = reader.timed()
        # HEIF turns by a box of its own, whatever Exif says.
        assert reader.size == ((80, 200) if name in ("a.bmp", "a.heic") else (200, 80))
    assert np.array_equal(frame.image, read_picture(tmp_path / name))
    assert (frame.time, frame.duration * reader.time_base) == (0, pytest.approx(1 / 25, abs=1e-3))


def test_a_broken_picture_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "a.webp").write_bytes(b"RIFF....WEBP")
    with pytest.raises(VideoError, match=r"a\.webp"):
        VideoReader(tmp_path / "a.webp")
