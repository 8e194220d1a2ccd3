from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels import InputSpec, KernelError, _host, preprocess

IMAGENET = InputSpec("rgb", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
SIZES = st.integers(1, 40)


def random_frame(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def axis_matrix(source: int, output: int) -> NDArray[np.float64]:
    """Weights output×source of one axis, from the definition and in float64."""
    scale = source / output
    place = np.arange(source)
    if scale >= 1:
        begin = np.arange(output)[:, None] * scale
        overlap = np.minimum(begin + scale, place + 1) - np.maximum(begin, place)
        return np.maximum(overlap, 0) / scale
    centre = np.clip((np.arange(output)[:, None] + 0.5) * scale - 0.5, 0, source - 1)
    return np.maximum(0, 1 - np.abs(centre - place))


def reference(
    frame: NDArray[np.uint8], size: tuple[int, int], spec: InputSpec, order: str = "bgr"
) -> NDArray[np.float64]:
    pixels = frame.astype(np.float64)
    if order == "gray":
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    pixels = pixels[..., :3]
    if order != "gray" and order[:3] != spec.colour:
        pixels = pixels[..., ::-1]
    rows = axis_matrix(pixels.shape[0], size[0])
    columns = axis_matrix(pixels.shape[1], size[1])
    resized = np.einsum("yi,ijc,xj->cyx", rows, pixels, columns)
    return (resized - np.reshape(spec.mean, (3, 1, 1))) / np.reshape(spec.std, (3, 1, 1))


@pytest.mark.parametrize("order", ["bgr", "rgb", "bgra", "gray"])
@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_orders_match_the_definition(order: str, colour: str) -> None:
    shape = {"gray": (37, 53), "bgra": (37, 53, 4)}.get(order, (37, 53, 3))
    frame = random_frame(*shape)
    spec = InputSpec(colour, mean=(10, 120, 200), std=(50, 60, 70))
    result = preprocess(frame, (16, 32), spec, order=order)
    assert result.shape == (1, 3, 16, 32)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    np.testing.assert_allclose(result[0], reference(frame, (16, 32), spec, order), atol=2e-5)


@given(height=SIZES, width=SIZES, out_height=SIZES, out_width=SIZES)
@settings(max_examples=150, deadline=None)
def test_any_size_matches_the_definition_and_the_gpu_formula(
    height: int, width: int, out_height: int, out_width: int
) -> None:
    frame = random_frame(height, width, 3, seed=height * 41 + width)
    size = (out_height, out_width)
    result = preprocess(frame, size, InputSpec())
    np.testing.assert_allclose(result[0], reference(frame, size, InputSpec()), atol=1e-3)

    # The header's function for one pixel, which the CUDA kernel calls: the same bits.
    plain = np.empty_like(result)
    _host.preprocess(frame[None], plain, True, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), True)
    np.testing.assert_array_equal(result, plain)


@pytest.mark.parametrize("order", ["bgra", "gray"])
def test_other_channel_counts_match_the_gpu_formula(order: str) -> None:
    frame = random_frame(1, 45, 61, 4 if order == "bgra" else 1)
    result = preprocess(
        frame[..., 0] if order == "gray" else frame, (20, 70), IMAGENET, order=order
    )
    plain = np.empty_like(result)
    inverse = tuple(1.0 / value for value in IMAGENET.std)
    _host.preprocess(frame, plain, order == "bgra", IMAGENET.mean, inverse, True)  # type: ignore[arg-type]
    np.testing.assert_array_equal(result, plain)


@pytest.mark.parametrize(
    ("source", "size"),
    [
        ((720, 1280), (288, 512)),
        ((480, 640), (288, 512)),
        ((300, 301), (160, 160)),
        ((256, 512), (256, 512)),
    ],
)
def test_shrinking_is_inter_area(source: tuple[int, int], size: tuple[int, int]) -> None:
    frame = random_frame(*source, 3)
    ours = preprocess(frame, size, InputSpec("bgr"))[0].transpose(1, 2, 0)
    theirs = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
    # OpenCV rounds to 8 bits, and leaves out slivers under a thousandth of a pixel.
    assert np.abs(ours - theirs).max() <= 0.5 + 0.01


@pytest.mark.parametrize("size", [(96, 128), (61, 90), (50, 300)])
def test_enlarging_is_inter_linear(size: tuple[int, int]) -> None:
    frame = random_frame(48, 64, 3)
    ours = preprocess(frame, size, InputSpec("bgr"))[0].transpose(1, 2, 0)
    theirs = cv2.resize(frame.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(ours, theirs, atol=1e-2)


def test_normalised_within_one_grey_level_of_opencv() -> None:
    frame = random_frame(360, 640, 3)
    ours = preprocess(frame, (144, 256), IMAGENET)[0]
    small = cv2.resize(frame, (256, 144), interpolation=cv2.INTER_AREA)[..., ::-1]
    theirs = (small.transpose(2, 0, 1) - np.reshape(IMAGENET.mean, (3, 1, 1))) / np.reshape(
        IMAGENET.std, (3, 1, 1)
    )
    assert np.abs(ours - theirs).max() <= 1 / min(IMAGENET.std)


@given(value=st.integers(0, 255), height=SIZES, width=SIZES, out_height=SIZES, out_width=SIZES)
@settings(max_examples=100, deadline=None)
def test_a_plain_image_stays_plain(
    value: int, height: int, width: int, out_height: int, out_width: int
) -> None:
    frame = np.full((height, width, 3), value, np.uint8)
    result = preprocess(frame, (out_height, out_width), InputSpec())
    np.testing.assert_allclose(result, value, rtol=3e-7)  # two roundings of float32


def test_no_resize_and_no_normalisation_keeps_every_value() -> None:
    frame = random_frame(33, 47, 3)
    result = preprocess(frame, (33, 47), InputSpec("bgr"))
    np.testing.assert_array_equal(result[0], frame.transpose(2, 0, 1))


def test_a_batch_is_its_frames() -> None:
    frames = random_frame(3, 40, 60, 3)
    batch = preprocess(frames, (32, 32), IMAGENET)
    assert batch.shape == (3, 3, 32, 32)
    for frame, tensor in zip(frames, batch, strict=True):
        np.testing.assert_array_equal(preprocess(frame, (32, 32), IMAGENET)[0], tensor)


def test_large_frames_on_several_threads_give_the_same_bits() -> None:
    frame = random_frame(1, 2200, 2400, 3)
    threaded = preprocess(frame, (32, 64), IMAGENET)
    plain = np.empty_like(threaded)
    inverse = tuple(1.0 / value for value in IMAGENET.std)
    _host.preprocess(frame, plain, True, IMAGENET.mean, inverse, True)  # type: ignore[arg-type]
    np.testing.assert_array_equal(threaded, plain)


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[5:-7, 3:-2],
        lambda a: a[::-1],
        lambda a: a[:, ::-1],
        lambda a: a[..., ::-1],
        lambda a: a[::2, ::3],
        lambda a: a.transpose(1, 0, 2),
        np.asfortranarray,
    ],
    ids=["crop", "rows up", "mirrored", "channels up", "steps", "transposed", "fortran"],
)
def test_any_strides(view: Any) -> None:
    frame = view(random_frame(64, 80, 3))
    expected = preprocess(np.ascontiguousarray(frame), (32, 32), IMAGENET)
    np.testing.assert_array_equal(preprocess(frame, (32, 32), IMAGENET), expected)


def test_a_read_only_frame_is_read() -> None:
    frame = random_frame(8, 8, 3)
    frame.flags.writeable = False
    assert preprocess(frame, (8, 8), InputSpec()).shape == (1, 3, 8, 8)


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), {}, r"dtype float32, expected uint8"),
        (np.full((8, 8, 3), np.nan), {}, r"dtype float64, expected uint8"),
        (np.zeros((8, 8, 3), np.uint16), {}, r"dtype uint16, expected uint8"),
        (np.zeros((8, 8), np.uint8), {}, r"frame is 8×8, expected H×W×3 .*order='gray'"),
        (np.zeros((8, 8, 4), np.uint8), {}, r"8×8×4, expected H×W×3 .*order='bgra'"),
        (np.zeros((8, 8, 1), np.uint8), {}, r"8×8×1, expected .*frame\[..., 0\]"),
        (np.zeros((3, 8, 8), np.uint8), {}, r"3×8×8, expected .*transpose"),
        (np.zeros((8, 8, 2), np.uint8), {}, r"8×8×2, expected H×W×3"),
        (np.zeros((8,), np.uint8), {}, r"frame is 8, expected H×W×3"),
        (np.uint8(3), {}, r"frame is a numpy.uint8, expected a NumPy array"),
        (np.zeros((1, 1, 8, 8, 3), np.uint8), {}, r"1×1×8×8×3, expected H×W×3"),
        (
            np.zeros((8, 8, 3), np.uint8),
            {"order": "gray"},
            r"8×8×3, expected H×W or a batch .*'bgr'",
        ),
        (np.zeros((0, 8, 3), np.uint8), {}, r"frame is 0×8×3, expected every side"),
        (np.zeros((0, 8, 8, 3), np.uint8), {}, r"0×8×8×3, expected every side"),
        (np.zeros((8, 8, 3), np.uint8), {"order": "bgrx"}, r"'bgrx'.* did you mean 'bgr"),
        (np.zeros((8, 8, 3), np.uint8), {"size": (0, 8)}, r"size is 0×8 .*expected each side"),
        (np.zeros((8, 8, 3), np.uint8), {"size": (8, 40000)}, r"8×40000 .*1..32768"),
        (np.zeros((8, 8, 3), np.uint8), {"size": 8}, r"size is 8, expected two whole numbers"),
        (np.zeros((8, 8, 3), np.uint8), {"size": (8.5, 8)}, r"expected two whole numbers"),
        (np.zeros((8, 8, 3), np.uint8), {"spec": "rgb"}, r"spec is 'rgb', expected a kernels.Inp"),
        (np.zeros((1, 32769, 3), np.uint8), {}, r"1×32769, expected at most 32768"),
    ],
)
def test_bad_input_is_named(frame: Any, options: dict[str, Any], message: str) -> None:
    arguments = {"size": (32, 32), "spec": InputSpec(), **options}
    with pytest.raises(KernelError, match=message):
        preprocess(frame, **arguments)
