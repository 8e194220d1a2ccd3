"""What is taken for a frame besides an array in BGR, and what a matte gives besides arrays."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from matter_sdk.sdk import FrameError, Matte, Matter, MatterError
from matter_sdk.sdk.media.given import frame_of, swapped


@pytest.fixture
def matter(engine_path: Path) -> Iterator[Matter]:
    with Matter(engine_path, backend="onnxruntime") as opened:
        yield opened


def encoded(frame: np.ndarray) -> bytes:
    return cv2.imencode(".png", frame)[1].tobytes()


@pytest.mark.parametrize("kind", ["path", "text", "file", "pillow", "rgb", "batch"])
def test_forms_of_a_frame_give_one_matte(
    matter: Matter, frame: np.ndarray, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(frame))
    rgb = np.ascontiguousarray(frame[..., ::-1])
    given: dict[str, Any] = {
        "path": path,
        "text": str(path),
        "file": io.BytesIO(encoded(frame)),
        "pillow": Pillow.fromarray(rgb),
        "rgb": rgb,
        "batch": [path, Pillow.fromarray(rgb)],
    }
    expected = matter(frame).alpha
    found = matter(given[kind], order="rgb" if kind == "rgb" else "bgr")
    for one in found if kind == "batch" else [found]:
        np.testing.assert_array_equal(one.alpha, expected)


def test_an_open_file_on_the_disk(tmp_path: Path, frame: np.ndarray) -> None:
    (tmp_path / "a.png").write_bytes(encoded(frame))
    with (tmp_path / "a.png").open("rb") as file:
        np.testing.assert_array_equal(frame_of(file), frame)
    with (tmp_path / "a.png").open("r", encoding="latin-1") as text, pytest.raises(FrameError):
        frame_of(text)
    with pytest.raises(FrameError, match="no picture"):
        frame_of(io.BytesIO(b"no picture"))


@pytest.mark.parametrize("how", ["file", "pillow"])
def test_a_photograph_is_turned_upright(tmp_path: Path, frame: np.ndarray, how: str) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    Pillow.fromarray(frame[..., ::-1]).save(tmp_path / "a.png", exif=exif)
    given: Any = tmp_path / "a.png" if how == "file" else Pillow.open(tmp_path / "a.png")
    np.testing.assert_array_equal(frame_of(given), np.rot90(frame, -1))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_modes_of_pillow(frame: np.ndarray, mode: str, tmp_path: Path) -> None:
    """The same as from a file of that picture, where there is a format for it."""
    image = Pillow.fromarray(frame[..., ::-1]).convert(mode)
    if "A" in mode:
        image.putalpha(Pillow.fromarray(frame[..., 0]))
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    np.testing.assert_array_equal(frame_of(image), frame_of(path))
    assert frame_of(image).shape == (32, 64, 4 if "A" in mode else 3)


def test_a_pillow_image_that_cannot_be(frame: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(FrameError, match="32 bits"):
        frame_of(Pillow.fromarray(frame[..., 0].astype(np.float32)))
    (tmp_path / "cut.png").write_bytes(encoded(frame)[:900])
    with pytest.raises(FrameError):
        frame_of(Pillow.open(tmp_path / "cut.png"))


def test_an_order_that_is_none(matter: Matter, frame: np.ndarray) -> None:
    with pytest.raises(FrameError, match="'gbr'"):
        matter(frame, order="gbr")


def test_rgb_comes_back_as_rgb(frame: np.ndarray) -> None:
    alpha = np.linspace(0, 1, 32 * 64, dtype=np.float32).reshape(32, 64)
    bgr, behind = Matte(frame, alpha), np.full((32, 64, 3), (10, 60, 200), np.uint8)
    rgb = bgr.ordered("rgb")
    assert rgb.ordered("bgr").ordered("bgr") is not rgb
    np.testing.assert_array_equal(rgb.frame, swapped(frame))
    np.testing.assert_array_equal(rgb.foreground(), swapped(bgr.foreground()))
    np.testing.assert_array_equal(rgb.cutout(), swapped(bgr.cutout()))
    for one, other in ((behind, swapped(behind)), ((1, 2, 3), (3, 2, 1)), ("orange", "orange")):
        np.testing.assert_array_equal(rgb.over(other), swapped(bgr.over(one)))
        np.testing.assert_array_equal(
            np.asarray(rgb.to_pil(other)), swapped(bgr.over(one, clean=True))
        )


def test_what_a_matte_saves(tmp_path: Path, frame: np.ndarray) -> None:
    alpha = np.zeros((32, 64), np.float32)
    alpha[8:24, 8:40] = 1
    matte = Matte(frame, alpha)
    assert matte.save(tmp_path / "new" / "x.png") == tmp_path / "new" / "x.png"
    stored = cv2.imread(str(tmp_path / "new" / "x.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, matte.cutout())
    assert (stored[28:, 50:, :3] == 0).all()  # the room is not in the file
    file = io.BytesIO()
    matte.ordered("rgb").save(file)
    assert file.getvalue() == matte._repr_png_() == (tmp_path / "new" / "x.png").read_bytes()
    assert matte.to_pil().mode == "RGBA"
    matte.save(tmp_path / "x.jpg", "blue")
    assert cv2.imread(str(tmp_path / "x.jpg"))[30, 60].tolist() == pytest.approx([255, 0, 0], abs=9)
    for name in ("x.jpg", "x.doc", "x"):
        with pytest.raises(MatterError, match=name):
            matte.save(tmp_path / name)


def test_a_batch(tmp_path: Path, matter: Matter, frame: np.ndarray) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "b.png"):
        (photos / name).write_bytes(encoded(frame))
    (photos / "bad.jpg").write_bytes(b"no picture")
    told: list[tuple[int, int]] = []
    written = matter.batch(photos, tmp_path / "out", progress=lambda *done: told.append(done))
    assert written == {photos / f"{x}.png": tmp_path / "out" / f"{x}.png" for x in "ab"}
    assert told == [(1, 3), (2, 3), (3, 3)]
    stored = cv2.imread(str(tmp_path / "out" / "a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, matter(frame).cutout())
    matter.batch(photos / "a.*", tmp_path / "out", background="blue")
    assert cv2.imread(str(tmp_path / "out" / "a.png"), cv2.IMREAD_UNCHANGED).shape == (32, 64, 3)
    before = (photos / "a.png").read_bytes()
    with pytest.raises(FrameError, match=r"a\.png"):
        matter.batch(photos, photos)
    assert (photos / "a.png").read_bytes() == before
    for wrong in (photos / "bad.jpg", tmp_path / "nowhere.png"):
        with pytest.raises(FrameError):
            matter.batch(wrong, tmp_path / "out")
