from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matter_sdk.kernels import KernelError
from matter_sdk.kernels.yuv import YUV

# Blue, green and red at full strength, and white, in Y, U and V: the values of the textbooks.
TEXTBOOK = {
    ("bt601", False): [(41, 240, 110), (145, 54, 34), (81, 90, 240), (235, 128, 128)],
    ("bt601", True): [(29, 255, 107), (150, 44, 21), (76, 85, 255), (255, 128, 128)],
    ("bt709", False): [(32, 240, 118), (173, 42, 26), (63, 102, 240), (235, 128, 128)],
    ("bt709", True): [(18, 255, 116), (182, 30, 12), (54, 99, 255), (255, 128, 128)],
}
BGR = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
LAYOUTS = pytest.mark.parametrize("layout", ["i420", "nv12"])
SETTINGS = pytest.mark.parametrize(("matrix", "full_range"), TEXTBOOK)


def noise(*shape: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def samples(frame: YUV) -> list[Any]:
    """Y, U and V of either layout."""
    if frame.layout == "i420":
        return list(frame.planes)
    return [frame.planes[0], frame.planes[1][..., 0], frame.planes[1][..., 1]]


@LAYOUTS
@SETTINGS
def test_pure_colours(layout: str, matrix: str, full_range: bool) -> None:
    for colour, expected in zip(BGR, TEXTBOOK[matrix, full_range], strict=True):
        image = np.broadcast_to(np.array(colour, np.uint8), (3, 5, 3))
        frame = YUV.from_bgr(image, layout=layout, matrix=matrix, full_range=full_range)
        assert (frame.layout, frame.matrix, frame.full_range) == (layout, matrix, full_range)
        for plane, value in zip(samples(frame), expected, strict=True):
            assert np.unique(plane).tolist() == [value]
        # A step of U or V is up to 2.1 levels of blue or red, and its rounding half of that.
        assert np.abs(frame.bgr().astype(int) - image).max() <= 2


@SETTINGS
def test_grey_comes_back_exactly(matrix: str, full_range: bool) -> None:
    levels = np.arange(256, dtype=np.uint8) if full_range else noise(1, 256)[0]
    image = np.repeat(levels.reshape(16, 16, 1), 3, axis=2)
    frame = YUV.from_bgr(image, matrix=matrix, full_range=full_range)
    y, u, v = frame.planes
    assert (u == 128).all()
    assert (v == 128).all()
    grey = y.astype(np.float64) if full_range else (y - 16.0) * 255 / 219
    np.testing.assert_array_equal(frame.bgr(), np.floor(grey + 0.5)[..., None].repeat(3, axis=2))
    assert np.abs(grey - levels.reshape(16, 16)).max() <= (0 if full_range else 0.5 * 255 / 219)


@given(colour=st.tuples(*[st.integers(0, 255)] * 3), full_range=st.booleans())
def test_a_colour_is_the_formula_rounded(colour: tuple[int, int, int], full_range: bool) -> None:
    blue, green, red = colour
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    u, v = (blue - y) / 1.8556, (red - y) / 1.5748
    if not full_range:
        y, u, v = 16 + y * 219 / 255, u * 224 / 255, v * 224 / 255
    frame = YUV.from_bgr(np.array([[colour]], np.uint8), full_range=full_range)
    for plane, value in zip(frame.planes, (y, 128 + u, 128 + v), strict=True):
        assert abs(plane.item() - min(value, 255)) <= 0.5 + 1e-4


@LAYOUTS
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 1), (4, 6), (5, 7)])
def test_colour_is_the_mean_of_its_pixels(layout: str, size: tuple[int, int]) -> None:
    image = noise(*size, 3)
    frame = YUV.from_bgr(image, layout=layout, matrix="bt601", full_range=True)
    _, u, v = samples(frame)
    blue, green, red = np.moveaxis(image.astype(np.float64), -1, 0)
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    assert u.shape == ((size[0] + 1) // 2, (size[1] + 1) // 2)
    for plane, full in ((u, (blue - y) / 1.772), (v, (red - y) / 1.402)):
        for (row, column), sample in np.ndenumerate(plane):
            block = full[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert abs(sample - min(128 + block.mean(), 255)) <= 0.5 + 1e-4
    assert all(plane.flags.c_contiguous for plane in frame.planes)


def test_bgr_is_opencv_s() -> None:
    planes = noise(9, 8).reshape(9, 8)
    planes[:6] = planes[:6].clip(16)  # darker than black, OpenCV clips luminance first
    u, v = planes[6:].reshape(2, 3, 4)
    image = YUV((planes[:6], u, v), matrix="bt601").bgr()
    expected = cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420)
    assert np.abs(image.astype(int) - expected).max() <= 2
    interleaved = YUV((planes[:6], np.stack([u, v], axis=-1)), matrix="bt601").bgr()
    np.testing.assert_array_equal(interleaved, image)


@LAYOUTS
@SETTINGS
def test_there_and_back(layout: str, matrix: str, full_range: bool) -> None:
    # Blocks of one colour, whose last ones are cut at the odd edge.
    image = noise(4, 5, 3).repeat(2, axis=0).repeat(2, axis=1)[:7, :9]
    frame = YUV.from_bgr(image, layout=layout, matrix=matrix, full_range=full_range)
    again = frame.bgr()
    assert again.shape == image.shape
    assert again.dtype == np.uint8
    assert np.abs(again.astype(int) - image).max() <= 3


def test_rows_may_lie_apart() -> None:
    image = noise(9, 20, 3)
    frame = YUV.from_bgr(image[:, 2:12])
    for plane, other in zip(frame.planes, YUV.from_bgr(image[:, 2:12].copy()).planes, strict=True):
        np.testing.assert_array_equal(plane, other)
    crop = YUV((noise(8, 20)[:6, :8], noise(5, 20)[:3, :4], noise(5, 20)[:3, 4:8]))
    solid = YUV(tuple(plane.copy() for plane in crop.planes))
    np.testing.assert_array_equal(crop.bgr(), solid.bgr())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: YUV((noise(2, 2),)),
            r"planes is tuple of 1 length, expected \(y, u, v\)",
        ),
        (lambda: YUV(noise(3, 2, 2)), r"planes is ndarray of 3 length, expected \(y, u, v\)"),  # type: ignore[arg-type]
        (lambda: YUV((noise(2, 2),) * 2, "bt707"), r"matrix is 'bt707', .*did you mean 'bt709'"),
        (lambda: YUV.from_bgr(noise(2, 2, 4)), r"image is 2×2×4, expected H×W×3"),
        (lambda: YUV.from_bgr(noise(2, 2)), r"image is 2×2, expected H×W×3"),
        (lambda: YUV.from_bgr(noise(0, 2, 3)), r"image is 0×2×3"),
        (lambda: YUV.from_bgr(noise(2, 2, 3) / 255), r"image has dtype float64, expected uint8"),
        (lambda: YUV.from_bgr(noise(2, 2, 3).tolist()), r"image is a builtins.list"),
        (lambda: YUV.from_bgr(noise(2, 2, 3), layout="nv21"), r"layout is 'nv21', .*'nv12'"),
        (lambda: YUV.from_bgr(noise(2, 2, 3), matrix="709"), r"matrix is '709', .*'bt709'"),
        (lambda: YUV((noise(4, 4), noise(2, 3, 2))).bgr(), r"frame.uv is 2×3×2, expected 2×2×2"),
        (lambda: YUV((noise(4, 4) / 1, noise(2, 2, 2))).bgr(), r"frame.y has dtype float64"),
        (lambda: YUV((noise(4, 4, 1), noise(2, 2, 2))).bgr(), r"frame.y is 4×4×1, expected H×W"),
    ],
)
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(KernelError, match=message):
        call()
