"""Backgrounds: what each specification gives, and the error of each wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from matter_sdk.sdk.background import COLOURS, Background, BlurBackground, cover
from matter_sdk.sdk.errors import BackgroundError

FRAME: NDArray[np.uint8] = np.random.default_rng(2).integers(0, 256, (72, 128, 3), np.uint8)


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_hexadecimal_colour(red: int, green: int, blue: int) -> None:
    colour = (blue, green, red)
    assert Background.open(f"#{red:02x}{green:02X}{blue:02x}").at(FRAME) == colour
    assert Background.open(colour).at(FRAME, 7) == colour
    assert Background.open(list(colour)).at(FRAME) == colour
    assert Background.open(np.array(colour, np.uint8)).at(FRAME) == colour


def test_short_and_named_colours() -> None:
    assert Background.open("#f80").at(FRAME) == (0, 0x88, 0xFF)
    assert Background.open(" Green ").at(FRAME) == (0, 255, 0)
    assert COLOURS["grey"] == COLOURS["gray"]
    assert Background.open("navy").at(FRAME) == (128, 0, 0)


def test_a_background_is_taken_as_it_is() -> None:
    opened = Background.open("red")
    assert Background.open(opened) is opened
    opened.close()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "gren",
            r"'gren' is neither a file nor a known colour; did you mean 'green'\?; exp",
        ),
        ("bluur", r"did you mean 'blur'\?"),
        (
            "no/such.jpg",
            r"'no/such.jpg' is neither a file nor a known colour; expected a col",
        ),
        ("", r"is an empty string; expected a colour"),
        ("a\0b.jpg", r"cannot be looked for|neither a file"),
        ("a" * 300, r"cannot be looked for|neither a file"),
        ("#12345", r"'#12345'; expected a colour as '#rrggbb'"),
        ("#gggggg", r"expected a colour as '#rrggbb'"),
        ("blur:", r"'blur:'; expected 'blur' or 'blur:N'"),
        ("blur:0", r"'blur:0'; expected 'blur' or"),
        ("blur:nan", r"expected 'blur' or"),
        ("blur:1e9", r"expected 'blur' or"),
        ("blur:much", r"expected 'blur' or"),
        ((1, 2), r"is \(1, 2\); expected a colour \(blue, green, red\) of whole numbers in 0..255"),
        ((1, 2, 256), r"expected a colour \(blue"),
        ((0.5, 0.5, 0.5), r"expected a colour \(blue"),
        ((True, 0, 0), r"expected a colour \(blue"),
        (None, r"the background is a NoneType; expected a colour"),
        (np.zeros((4, 4, 4), np.uint8), r"uint8 array of shape \(4, 4, 4\); expected uint8 H×W×3"),
        (np.zeros((4, 4, 3)), r"float64 array of shape \(4, 4, 3\); expected uint8 H×W×3"),
        (np.zeros((0, 4, 3), np.uint8), r"expected uint8 H×W×3"),
    ],
)
def test_wrong_background(spec: Any, message: str) -> None:
    with pytest.raises(BackgroundError, match=message):
        Background.open(spec)


def test_file_that_is_no_image(tmp_path: Path) -> None:
    for name, content in (("text.jpg", b"not a picture"), ("empty.png", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BackgroundError, match=f"{name}.*; expected JPEG"):
            Background.open(tmp_path / name)
    with pytest.raises(BackgroundError, match="is a folder"):
        Background.open(tmp_path)


def test_image_of_the_frames_size_is_itself() -> None:
    assert np.array_equal(Background.open(FRAME).at(FRAME), FRAME)


@pytest.mark.parametrize(
    ("shape", "rows", "columns"),
    [
        ((72, 256), slice(0, 72), slice(64, 192)),  # too wide: cropped left and right
        ((144, 128), slice(36, 108), slice(0, 128)),  # too tall: cropped above and below
    ],
)
def test_cover_crops_at_the_centre(shape: tuple[int, int], rows: slice, columns: slice) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    np.testing.assert_array_equal(cover(image, (72, 128)), image[rows, columns])


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_cover_fits_every_size(source: tuple[int, int], size: tuple[int, int]) -> None:
    image = np.full((*source, 3), 93, np.uint8)
    result = cover(image, size)
    assert result.shape == (*size, 3)
    assert (result == 93).all()


def test_scaled_images_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "bäckground.png"
    path.write_bytes(cv2.imencode(".png", FRAME[:50, :60])[1].tobytes())
    background = Background.open(str(path))
    first = background.at(FRAME)
    assert first is background.at(FRAME, 1)
    assert background.at(FRAME[:40]).shape == (40, 128, 3)
    for height in range(1, 9):
        background.at(FRAME[:height])
    assert background.at(FRAME) is not first  # only the last few sizes are
    np.testing.assert_array_equal(background.at(FRAME), first)


def test_blur_smooths_more_with_more_strength_and_keeps_the_mean() -> None:
    deviations = []
    for spec in ("blur:5", "blur", "blur:100"):
        blurred = Background.open(spec).at(FRAME)
        assert (blurred.shape, blurred.dtype) == (FRAME.shape, np.uint8)
        assert blurred.mean() == pytest.approx(FRAME.mean(), abs=4)
        deviations.append(blurred.std())
    assert FRAME.std() > deviations[0] > deviations[1] > deviations[2]
    assert BlurBackground().strength == 25


def test_blur_looks_the_same_at_every_resolution() -> None:
    y, x = np.mgrid[:720, :1280]
    large = np.where((x // 160 + y // 160) % 2, 255, 0).astype(np.uint8)[..., None].repeat(3, 2)
    small = cv2.resize(large, (640, 360), interpolation=cv2.INTER_AREA)
    shrunk = cv2.resize(
        Background.open("blur:30").at(large), (640, 360), interpolation=cv2.INTER_AREA
    )
    assert np.abs(shrunk.astype(int) - Background.open("blur:30").at(small)).max() <= 6


def test_blur_leaves_the_subject_out_where_alpha_is_known() -> None:
    frame = np.zeros((72, 128, 3), np.uint8)
    frame[:, :40] = 255  # a white subject on black
    alpha = (frame[..., 0] / 255).astype(np.float32)
    background = Background.open("blur:60")
    smeared = background.at(frame)[:, 41:47]
    clean = background.at(frame, 0, alpha)[:, 41:47]
    assert smeared.mean() > 20
    assert clean.mean() < 5


def test_a_video_is_handed_to_the_video_module(tmp_path: Path) -> None:
    from matter_sdk.sdk.video import VideoBackground

    path = tmp_path / "loop.avi"
    # Written by OpenCV, so that PyAV is not its own witness.
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 36))
    for grey in (40, 120, 200):
        writer.write(np.full((36, 64, 3), grey, np.uint8))
    writer.release()
    background = Background.open(str(path))
    assert isinstance(background, VideoBackground)
    shown = [background.at(FRAME, index) for index in (0, 1, 2, 3)]
    background.close()
    assert all(image.shape == FRAME.shape for image in shown)
    assert [round(float(image.mean()) / 40) * 40 for image in shown] == [40, 120, 200, 40]


def test_a_video_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"not a video")
    with pytest.raises(BackgroundError, match=r"background .*x\.mp4"):
        Background.open(tmp_path / "x.mp4")
