from __future__ import annotations

import ctypes
import functools
import math
import mmap
import types
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from matter_sdk.kernels import YUV, InputSpec, KernelError, _cpu, _host, preprocess

IMAGENET = InputSpec("rgb", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
SIZES = st.integers(1, 40)
CHANNELS = {"bgr": (3,), "rgb": (3,), "bgra": (4,), "gray": ()}
INTERPOLATIONS = ["area", "bilinear"]


def random_frame(*shape: int, seed: int = 0, low: int = 0, high: int = 256) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(low, high, shape, dtype=np.uint8)


def random_yuv(
    height: int,
    width: int,
    layout: str = "i420",
    seed: int = 0,
    luma: tuple[int, int] = (0, 256),
    chroma: tuple[int, int] = (0, 256),
    **options: Any,
) -> YUV:
    y = random_frame(height, width, seed=seed, low=luma[0], high=luma[1])
    half = ((height + 1) // 2, (width + 1) // 2, 2)
    uv = random_frame(*half, seed=seed + 1, low=chroma[0], high=chroma[1])
    if layout == "nv12":
        return YUV((y, uv), **options)
    return YUV((y, uv[..., 0].copy(), uv[..., 1].copy()), **options)


def axis_matrix(source: int, output: int, interpolation: str) -> NDArray[np.float64]:
    """Weights output×source of one axis, from the definition and in float64."""
    scale = source / output
    place = np.arange(source)
    if scale >= 1 and interpolation == "area":
        begin = np.arange(output)[:, None] * scale
        overlap = np.minimum(begin + scale, place + 1) - np.maximum(begin, place)
        return np.maximum(overlap, 0) / scale
    centre = np.clip((np.arange(output)[:, None] + 0.5) * scale - 0.5, 0, source - 1)
    return np.maximum(0, 1 - np.abs(centre - place))


def resized(pixels: Any, size: tuple[int, int], interpolation: str) -> NDArray[np.float64]:
    """H×W×C to C×height×width in float64."""
    rows = axis_matrix(pixels.shape[0], size[0], interpolation)
    columns = axis_matrix(pixels.shape[1], size[1], interpolation)
    return rows @ pixels.transpose(2, 0, 1).astype(np.float64) @ columns.T


def normalised(planes: NDArray[np.float64], spec: InputSpec) -> NDArray[np.float64]:
    return (planes - np.reshape(spec.mean, (3, 1, 1))) / np.reshape(spec.std, (3, 1, 1))


def reference(
    frame: NDArray[np.uint8],
    size: tuple[int, int],
    spec: InputSpec,
    order: str = "bgr",
    interpolation: str = "area",
) -> NDArray[np.float64]:
    if order == "gray":
        frame = np.repeat(frame[..., None], 3, axis=-1)
    frame = frame[..., :3]
    if order != "gray" and order[:3] != spec.colour:
        frame = frame[..., ::-1]
    return normalised(resized(frame, size, interpolation), spec)


def rgb_of(
    y: Any, u: Any, v: Any, matrix: str, full_range: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """3×… RGB from samples on the scale 0..255, in float64: limited to 0..255, and as it came."""
    red, blue = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[matrix]
    luma = np.array([red, 1 - red - blue, blue])
    to_yuv = np.stack(
        [
            luma,
            (np.array([0, 0, 1]) - luma) / (2 * (1 - blue)),
            (np.array([1, 0, 0]) - luma) / (2 * (1 - red)),
        ]
    )
    black, white, chroma = (0, 255, 255) if full_range else (16, 235, 224)
    y, u, v = (np.asarray(plane, np.float64) for plane in (y, u, v))
    levels = np.stack([(y - black) / (white - black), (u - 128) / chroma, (v - 128) / chroma])
    rgb = np.tensordot(np.linalg.inv(to_yuv), levels, 1) * 255
    return np.clip(rgb, 0, 255), rgb


def yuv_reference(
    frame: YUV, size: tuple[int, int], spec: InputSpec, interpolation: str = "area"
) -> NDArray[np.float64]:
    planes = [plane if plane.ndim == 3 else plane[..., None] for plane in frame.planes]
    y, u, v = np.concatenate([resized(plane, size, interpolation) for plane in planes])
    rgb, _ = rgb_of(y, u, v, frame.matrix, frame.full_range)
    return normalised(rgb if spec.colour == "rgb" else rgb[::-1], spec)


def by_pixels(frame: Any, size: tuple[int, int], spec: InputSpec, **options: Any) -> Any:
    """preprocess() by the header's functions for one pixel, which the CUDA kernel calls."""
    plain = types.SimpleNamespace(preprocess=functools.partial(_host.preprocess, plain=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cpu, "_host", plain)
        return preprocess(frame, size, spec, **options)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("order", CHANNELS)
@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_orders_match_the_definition(order: str, colour: str, interpolation: str) -> None:
    frame = random_frame(37, 53, *CHANNELS[order])
    spec = InputSpec(colour, mean=(10, 120, 200), std=(50, 60, 70))
    options: Any = {"order": order, "interpolation": interpolation}
    result = preprocess(frame, (16, 32), spec, **options)
    assert result.shape == (1, 3, 16, 32)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    np.testing.assert_allclose(result[0], reference(frame, (16, 32), spec, **options), atol=2e-5)


@given(
    height=SIZES,
    width=SIZES,
    out_height=SIZES,
    out_width=SIZES,
    order=st.sampled_from(list(CHANNELS)),
    interpolation=st.sampled_from(INTERPOLATIONS),
)
@settings(max_examples=200, deadline=None)
def test_any_size_matches_the_definition_and_the_gpu_formula(
    height: int, width: int, out_height: int, out_width: int, order: str, interpolation: str
) -> None:
    frame = random_frame(height, width, *CHANNELS[order], seed=height * 41 + width)
    arguments: Any = (frame, (out_height, out_width), InputSpec())
    options: Any = {"order": order, "interpolation": interpolation}
    result = preprocess(*arguments, **options)
    np.testing.assert_allclose(result[0], reference(*arguments, **options), atol=1e-4)
    np.testing.assert_array_equal(result, by_pixels(*arguments, **options))


@given(
    height=SIZES,
    width=SIZES,
    out_height=SIZES,
    out_width=SIZES,
    layout=st.sampled_from(["i420", "nv12"]),
    interpolation=st.sampled_from(INTERPOLATIONS),
    matrix=st.sampled_from(["bt601", "bt709"]),
    full_range=st.booleans(),
    colour=st.sampled_from(["rgb", "bgr"]),
)
@settings(max_examples=200, deadline=None)
def test_any_yuv_matches_the_definition_and_the_gpu_formula(
    height: int,
    width: int,
    out_height: int,
    out_width: int,
    layout: str,
    interpolation: str,
    matrix: str,
    full_range: bool,
    colour: str,
) -> None:
    frame = random_yuv(height, width, layout, matrix=matrix, full_range=full_range)
    arguments: Any = (frame, (out_height, out_width), InputSpec(colour, (9, 8, 7), (2, 3, 4)))
    result = preprocess(*arguments, interpolation=interpolation)
    expected = yuv_reference(*arguments, interpolation)
    np.testing.assert_allclose(result[0], expected, atol=1e-4)
    np.testing.assert_array_equal(result, by_pixels(*arguments, interpolation=interpolation))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(
    ("source", "size"),
    [
        ((720, 1280), (72, 128)),  # sums of 16 bits
        ((254, 90), (4, 30)),  # weights of a column add up to 127, the most that these take
        ((258, 90), (4, 30)),  # and to 129
        ((30, 1021), (20, 33)),
        ((521, 1021), (20, 33)),  # sums beyond 2^24: float32 rounds, once
        ((2903, 2909), (2, 3)),  # sums beyond 2^31
    ],
)
def test_sums_of_any_magnitude(
    source: tuple[int, int], size: tuple[int, int], interpolation: str
) -> None:
    for order in ("bgr", "gray"):
        frame = random_frame(*source, *CHANNELS[order], low=200)
        arguments: Any = (frame, size, InputSpec())
        options: Any = {"order": order, "interpolation": interpolation}
        result = preprocess(*arguments, **options)
        np.testing.assert_allclose(result[0], reference(*arguments, **options), rtol=4e-7)
        np.testing.assert_array_equal(result, by_pixels(*arguments, **options))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("frame", [random_frame(45, 70, 3), random_yuv(45, 70)], ids=["bgr", "yuv"])
def test_float16_and_uint8_are_the_float32_result_rounded(frame: Any, interpolation: str) -> None:
    call = functools.partial(preprocess, frame, (20, 80), interpolation=interpolation)
    half = call(IMAGENET, dtype="float16")
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, call(IMAGENET).astype(np.float16))
    np.testing.assert_array_equal(
        half, by_pixels(frame, (20, 80), IMAGENET, interpolation=interpolation, dtype=np.float16)
    )
    whole = call(InputSpec(), dtype=np.uint8)
    assert whole.dtype == np.uint8
    np.testing.assert_array_equal(whole, np.floor(call(InputSpec()) + np.float32(0.5)))
    np.testing.assert_array_equal(
        whole, by_pixels(frame, (20, 80), InputSpec(), interpolation=interpolation, dtype="uint8")
    )


@pytest.mark.parametrize("std", [1e-9, 1e-3, 1e-2, 1e3, 1e8])
def test_float16_of_any_magnitude(std: float) -> None:
    frame = np.arange(256, dtype=np.uint8).reshape(16, 16)
    spec = InputSpec("rgb", (127.3,) * 3, (std,) * 3)  # infinities to subnormals and zero
    single = preprocess(frame, (16, 16), spec, order="gray")
    half = preprocess(frame, (16, 16), spec, order="gray", dtype="float16")
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(half.view(np.uint16), single.astype(np.float16).view("u2"))


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.uint8])
def test_the_dtype_is_that_of_out(kind: type) -> None:
    frame = random_frame(9, 8, 3)
    out: Any = np.empty((1, 3, 5, 6), kind)
    assert preprocess(frame, (5, 6), InputSpec(), out=out) is out
    np.testing.assert_array_equal(out, preprocess(frame, (5, 6), InputSpec(), dtype=kind))


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


@pytest.mark.parametrize(
    ("size", "interpolation"),
    [
        *((size, "area") for size in [(96, 128), (61, 90), (50, 300), (48, 64)]),
        *((size, "bilinear") for size in [(96, 128), (61, 90), (48, 64), (13, 17), (9, 64)]),
    ],
)
def test_interpolation_is_that_of_opencv_and_torch(
    size: tuple[int, int], interpolation: str
) -> None:
    frame = random_frame(48, 64, 3)
    ours = preprocess(frame, size, InputSpec("bgr"), interpolation=interpolation)[0]
    single = frame.astype(np.float32)
    opencv = cv2.resize(single, size[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(ours.transpose(1, 2, 0), opencv, atol=1e-2)
    tensor = torch.from_numpy(single.transpose(2, 0, 1))[None]
    theirs = torch.nn.functional.interpolate(
        tensor, size, mode="bilinear", align_corners=False, antialias=False
    )
    np.testing.assert_allclose(ours, theirs[0].numpy(), atol=1e-3)


def test_normalised_within_one_grey_level_of_opencv() -> None:
    frame = random_frame(360, 640, 3)
    ours = preprocess(frame, (144, 256), IMAGENET)[0]
    small = cv2.resize(frame, (256, 144), interpolation=cv2.INTER_AREA)[..., ::-1]
    theirs = (small.transpose(2, 0, 1) - np.reshape(IMAGENET.mean, (3, 1, 1))) / np.reshape(
        IMAGENET.std, (3, 1, 1)
    )
    assert np.abs(ours - theirs).max() <= 1 / min(IMAGENET.std)


@given(
    value=st.integers(0, 255),
    height=SIZES,
    width=SIZES,
    out_height=SIZES,
    out_width=SIZES,
    interpolation=st.sampled_from(INTERPOLATIONS),
)
@settings(max_examples=100, deadline=None)
def test_a_plain_image_stays_plain(
    value: int, height: int, width: int, out_height: int, out_width: int, interpolation: str
) -> None:
    frame = np.full((height, width, 3), value, np.uint8)
    call = functools.partial(preprocess, frame, (out_height, out_width), InputSpec())
    result = call(interpolation=interpolation)
    np.testing.assert_allclose(result, value, rtol=3e-7)  # two roundings of float32
    assert (call(interpolation=interpolation, dtype="uint8") == value).all()


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


@pytest.mark.parametrize("frame", [random_frame(2200, 2400, 3), random_yuv(2200, 2400)])
def test_large_frames_on_several_threads_give_the_same_bits(frame: Any) -> None:
    arguments: Any = (frame, (32, 64), IMAGENET)
    np.testing.assert_array_equal(preprocess(*arguments), by_pixels(*arguments))


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[5:-7, 3:-2],
        lambda a: a[::-1],
        lambda a: a[:, ::-1],
        lambda a: a[..., ::-1],
        lambda a: a[::2, ::3],
        lambda a: a.transpose(1, 0, 2),
        lambda a: np.broadcast_to(a[:1], a.shape),
        np.asfortranarray,
    ],
    ids=["crop", "rows up", "mirrored", "channels up", "steps", "turned", "one row", "fortran"],
)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_any_strides(view: Any, interpolation: str) -> None:
    frame = view(random_frame(64, 80, 3))
    call = functools.partial(preprocess, size=(32, 12), spec=IMAGENET, interpolation=interpolation)
    np.testing.assert_array_equal(call(frame), call(np.ascontiguousarray(frame)))


@pytest.mark.skipif(not hasattr(mmap, "MAP_PRIVATE"), reason="needs mprotect")
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("order", CHANNELS)
def test_nothing_is_read_beyond_the_frame(order: str, interpolation: str) -> None:
    # The frame ends where memory does: a read beyond it ends the process.
    shape = (40, 67, *CHANNELS[order])
    size, page = math.prod(shape), mmap.PAGESIZE
    length = (size + page - 1) // page * page
    memory = mmap.mmap(-1, length + page)
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    fence = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + length
    assert protect(fence, page, 0) == 0
    frame = np.frombuffer(memory, np.uint8, size, length - size).reshape(shape)
    frame[...] = random_frame(*shape)
    for view in (frame, frame[::-1]):
        for small in ((12, 20), (40, 67), (1, 1), (60, 70)):
            arguments: Any = (small, InputSpec())
            options: Any = {"order": order, "interpolation": interpolation}
            np.testing.assert_array_equal(
                preprocess(view, *arguments, **options), by_pixels(view, *arguments, **options)
            )


@pytest.mark.parametrize("layout", ["i420", "nv12"])
def test_rows_of_planes_may_lie_apart(layout: str) -> None:
    frame = random_yuv(30, 46, layout)
    room = [np.full((p.shape[0], p.shape[1] + 18, *p.shape[2:]), 7, np.uint8) for p in frame.planes]
    for padded, plane in zip(room, frame.planes, strict=True):
        padded[:, : plane.shape[1]] = plane
    apart = YUV(
        tuple(padded[:, : plane.shape[1]] for padded, plane in zip(room, frame.planes, strict=True))
    )
    expected = preprocess(frame, (16, 16), IMAGENET)
    np.testing.assert_array_equal(preprocess(apart, (16, 16), IMAGENET), expected)


def test_i420_and_nv12_are_one() -> None:
    arguments: Any = ((20, 30), IMAGENET)
    expected = preprocess(random_yuv(35, 71, "i420"), *arguments)
    np.testing.assert_array_equal(preprocess(random_yuv(35, 71, "nv12"), *arguments), expected)


@given(height=SIZES, width=SIZES, out_height=SIZES, out_width=SIZES, full_range=st.booleans())
@settings(max_examples=50, deadline=None)
def test_yuv_without_colour_is_grey(
    height: int, width: int, out_height: int, out_width: int, full_range: bool
) -> None:
    frame = random_yuv(height, width, chroma=(128, 129), full_range=full_range)
    red, green, blue = preprocess(frame, (out_height, out_width), InputSpec())[0]
    np.testing.assert_array_equal(red, green)
    np.testing.assert_array_equal(red, blue)
    luma = resized(frame.planes[0][..., None], (out_height, out_width), "area")[0]
    expected = luma if full_range else (luma - 16) * (255 / 219)
    np.testing.assert_allclose(red, np.clip(expected, 0, 255), atol=1e-4)


@pytest.mark.parametrize(("level", "full_range"), [((16, 235), False), ((0, 255), True)])
def test_black_and_white_of_yuv_are_those_of_rgb(level: tuple[int, int], full_range: bool) -> None:
    for value, expected in zip(level, (0, 255), strict=True):
        y, uv = np.full((6, 8), value, np.uint8), np.full((3, 4, 2), 128, np.uint8)
        result = preprocess(YUV((y, uv), full_range=full_range), (4, 5), InputSpec())
        np.testing.assert_allclose(result, expected, rtol=2e-7)


@pytest.mark.parametrize("size", [(24, 32), (10, 21), (13, 7)])
def test_yuv_converted_first_and_averaged_then_is_the_same(size: tuple[int, int]) -> None:
    # Both are linear, so their order is free, where no colour is beyond RGB.
    frame = random_yuv(48, 64, luma=(80, 170), chroma=(112, 144), matrix="bt601")
    y, u, v = frame.planes
    u, v = (plane.repeat(2, 0).repeat(2, 1) for plane in (u, v))
    rgb, unlimited = rgb_of(y, u, v, "bt601", False)
    np.testing.assert_array_equal(rgb, unlimited)
    result = preprocess(frame, size, InputSpec())[0]
    np.testing.assert_allclose(result, resized(rgb.transpose(1, 2, 0), size, "area"), atol=1e-4)

    i420 = np.concatenate([plane.reshape(-1) for plane in frame.planes]).reshape(72, 64)
    opencv = cv2.cvtColor(i420, cv2.COLOR_YUV2RGB_I420)  # rounds to 8 bits
    np.testing.assert_allclose(result, resized(opencv, size, "area"), atol=1.0)


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
        (np.zeros((3, 8, 8), np.uint8), {}, r"3×8×8"),
        (np.zeros((8, 8, 2), np.uint8), {}, r"8×8×2, expected H×W×3"),
        (np.zeros((8,), np.uint8), {}, r"frame is 8, expected H×W×3"),
        (np.uint8(3), {}, r"frame is a numpy.uint8"),
        (np.zeros((1, 1, 8, 8, 3), np.uint8), {}, r"1×1×8×8×3, expected H×W×3"),
        (
            np.zeros((8, 8, 3), np.uint8),
            {"order": "gray"},
            r"8×8×3, expected H×W or a batch .*'bgr'",
        ),
        (np.zeros((0, 8, 3), np.uint8), {}, r"frame is 0×8×3"),
        (np.zeros((0, 8, 8, 3), np.uint8), {}, r"0×8×8×3"),
        (np.zeros((8, 8, 3), np.uint8), {"order": "bgrx"}, r"'bgrx'.* did you mean 'bgr"),
        (np.zeros((8, 8, 3), np.uint8), {"size": (0, 8)}, r"size is 0×8"),
        (np.zeros((8, 8, 3), np.uint8), {"size": (8, 40000)}, r"8×40000 .*1..32768"),
        (np.zeros((8, 8, 3), np.uint8), {"size": 8}, r"size is 8"),
        (np.zeros((8, 8, 3), np.uint8), {"size": (8.5, 8)}, r"expected two whole numbers"),
        (np.zeros((8, 8, 3), np.uint8), {"spec": "rgb"}, r"spec is 'rgb'"),
        (np.zeros((1, 32769, 3), np.uint8), {}, r"1×32769 .*expected at most 32768"),
        (
            np.zeros((8, 8, 3), np.uint8),
            {"interpolation": "linear"},
            r"interpolation is 'linear', expected one of .* did you mean 'bilinear'",
        ),
        (np.zeros((8, 8, 3), np.uint8), {"dtype": "float64"}, r"dtype is 'float64', expected"),
        (np.zeros((8, 8, 3), np.uint8), {"dtype": "fp16"}, r"dtype is 'fp16', expected"),
        (
            np.zeros((8, 8, 3), np.uint8),
            {"dtype": "uint8", "spec": IMAGENET},
            r"spec has mean .* and std .* for a uint8 result, expected 0 and 1",
        ),
        (
            np.zeros((8, 8, 3), np.uint8),
            {"out": np.zeros((1, 3, 32, 32), np.uint8), "spec": IMAGENET},
            r"spec has mean .* for a uint8 result",
        ),
        (
            np.zeros((8, 8, 3), np.uint8),
            {"out": np.zeros((1, 3, 32, 32), np.float16), "dtype": "float32"},
            r"out has dtype float16, expected float32",
        ),
        (random_yuv(8, 8), {"order": "bgr"}, r"order is 'bgr' for a YUV frame"),
        (random_yuv(1, 32769), {}, r"1×32769 .*expected at most 32768"),
        (
            YUV((np.zeros((8, 8), np.uint8), np.zeros((4, 5, 2), np.uint8))),
            {},
            r"frame.uv is 4×5×2, expected 4×4×2",
        ),
        (
            YUV((np.zeros((8, 8), np.uint16), np.zeros((4, 4, 2), np.uint8))),
            {},
            r"frame.y has dtype uint16, expected uint8",
        ),
    ],
)
def test_bad_input_is_named(frame: Any, options: dict[str, Any], message: str) -> None:
    arguments = {"size": (32, 32), "spec": InputSpec(), **options}
    with pytest.raises(KernelError, match=message):
        preprocess(frame, **arguments)
