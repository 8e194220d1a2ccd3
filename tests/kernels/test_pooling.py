from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from matter_sdk.kernels import KernelError, _host, max_pool_offsets, max_unpool

# window -> kernel, stride and padding of PyTorch's pooling
POOLINGS = {3: (3, 2, 1), 2: (2, 2, 0)}
DTYPES = [np.float32, np.float16]
# Rows shorter and longer than the chunks of the host's loops, odd and even, and thin pictures.
SIZES = [
    (1, 1),
    (1, 2),
    (2, 1),
    (5, 3),
    (2, 40),
    (9, 31),
    (6, 33),
    (7, 64),
    (4, 65),
    (3, 150),
    (70, 9),
]

both = pytest.mark.parametrize("window", POOLINGS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


pytestmark = pytest.mark.usefixtures("one_thread")


def bits(array: NDArray[Any]) -> NDArray[Any]:
    return array.view(f"u{array.dtype.itemsize}")


def torch_pool(x: NDArray[Any], window: int) -> tuple[NDArray[Any], Any]:
    import torch

    kernel, stride, padding = POOLINGS[window]
    values, indices = torch.nn.functional.max_pool2d(
        torch.from_numpy(x), kernel, stride, padding, return_indices=True
    )
    return values.numpy(), indices


def torch_unpool(x: NDArray[Any], indices: Any, size: tuple[int, int]) -> NDArray[Any]:
    import torch

    result = torch.nn.functional.max_unpool2d(
        torch.from_numpy(x), indices, [2, 2], [2, 2], output_size=size
    )
    return result.numpy()


def offsets_of(indices: Any, width: int, window: int) -> NDArray[np.int64]:
    """PyTorch's flat indices as offsets within each window."""
    flat = indices.numpy()
    padding = POOLINGS[window][2]
    i, j = np.indices(flat.shape[2:])
    return (flat // width - 2 * i + padding) * window + flat % width - 2 * j + padding


def features(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> NDArray[Any]:
    """As after a ReLU: half of them are 0. Integers, so that ties are common; some -0, some NaN."""
    random = np.random.default_rng(seed)
    x = random.integers(-4, 5, shape).clip(0).astype(dtype)
    x[random.random(shape) < 0.1] = -0.0
    x[random.random(shape) < 0.01] = np.nan
    return x


def assert_pools_as_pytorch(x: NDArray[Any], window: int) -> None:
    values, offsets = max_pool_offsets(x, window=window)
    expected, indices = torch_pool(x, window)
    assert (values.dtype, offsets.dtype) == (x.dtype, np.uint8)
    np.testing.assert_array_equal(bits(values), bits(expected))
    np.testing.assert_array_equal(offsets, offsets_of(indices, x.shape[3], window))


@both
@each_dtype
@pytest.mark.parametrize("size", SIZES)
def test_pooling_matches_pytorch(size: tuple[int, int], dtype: Any, window: int) -> None:
    height, width = (max(side, 2) if window == 2 else side for side in size)
    assert_pools_as_pytorch(features((2, 3, height, width), dtype), window)
    assert_pools_as_pytorch(np.full((1, 1, height, width), -np.inf, dtype), window)
    ordinary = np.random.default_rng(1).standard_normal((1, 2, height, width)).astype(dtype)
    assert_pools_as_pytorch(ordinary, window)


values_with_ties = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, np.inf, -np.inf, np.nan, 6e-8])
pictures = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays.arrays(
        dtype,
        st.tuples(st.just(1), st.integers(1, 2), st.integers(2, 6), st.integers(2, 40)),
        elements=st.one_of(values_with_ties, st.integers(-2, 2).map(float)).map(
            lambda value: dtype(value).item()
        ),
    )
)


@settings(deadline=None)  # the first example waits for PyTorch
@given(x=pictures, window=st.sampled_from(list(POOLINGS)))
def test_any_picture_pools_and_unpools_as_in_pytorch(x: NDArray[Any], window: int) -> None:
    assert_pools_as_pytorch(x, window)
    values, offsets = max_pool_offsets(x, window=window)
    _, indices = torch_pool(x, window)
    size = (x.shape[2], x.shape[3])
    # Decoder features are not the pooled values.
    decoded = np.arange(values.size).reshape(values.shape).astype(x.dtype) - 3
    for sent in (values, decoded):
        result = max_unpool(sent, offsets, window=window, size=size)
        np.testing.assert_array_equal(bits(result), bits(torch_unpool(sent, indices, size)))


@both
@each_dtype
@pytest.mark.parametrize("size", SIZES[3:])
def test_unpooling_matches_pytorch(size: tuple[int, int], dtype: Any, window: int) -> None:
    x = features((2, 3, *size), dtype, seed=1)
    values, offsets = max_pool_offsets(x, window=window)
    _, indices = torch_pool(x, window)
    decoded = features(values.shape, dtype, seed=2)
    result = max_unpool(decoded, offsets, window=window, size=size)
    assert result.dtype == dtype
    np.testing.assert_array_equal(bits(result), bits(torch_unpool(decoded, indices, size)))


def test_windows_do_share_their_maximum() -> None:
    # The reason for the rule about who wins; were it never so, the tests above would prove little.
    x = np.random.default_rng(0).standard_normal((1, 1, 64, 64)).astype(np.float32)
    _, offsets = max_pool_offsets(x)
    assert np.count_nonzero(max_unpool(np.ones_like(x[..., ::2, ::2]), offsets)) < 0.9 * 32 * 32


@both
@each_dtype
def test_the_rows_compute_what_each_window_does(window: int, dtype: Any) -> None:
    # `plain` is the text that the GPU runs.
    for size in SIZES[3:]:
        x = features((2, 2, *size), dtype, seed=3)
        values, offsets = max_pool_offsets(x, window=window)
        plain_values, plain_offsets = np.empty_like(values), np.empty_like(offsets)
        if dtype == np.float16:
            _host.max_pool_half(bits(x), bits(plain_values), plain_offsets, window, plain=True)
        else:
            _host.max_pool_float(x, plain_values, plain_offsets, window, plain=True)
        np.testing.assert_array_equal(bits(values), bits(plain_values))
        np.testing.assert_array_equal(offsets, plain_offsets)


def test_every_half_finds_its_place_among_the_others() -> None:
    # Each half beside 1 and beside its own neighbours in the order of the bits. But for signalling
    # NaNs, which PyTorch makes quiet ones on their way; here they stay as they are.
    halves = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16).view(np.float16)
    halves = halves[~np.isnan(halves) | (bits(halves) & 0x200 > 0)]
    for other in (halves[::-1], np.roll(halves, 1), np.ones_like(halves)):
        x = np.stack([halves, other]).reshape(1, 1, 2, -1)
        assert_pools_as_pytorch(np.ascontiguousarray(x), 2)
        assert_pools_as_pytorch(np.ascontiguousarray(x), 3)


@pytest.mark.parametrize(
    ("window", "pixel_of"),
    [(3, lambda k: (k // 3 - 1, k % 3 - 1)), (2, lambda k: (k // 2, k % 2))],
)
def test_an_offset_points_at_its_pixel(window: int, pixel_of: Any) -> None:
    for k in range(window * window):
        x = np.zeros((1, 1, 3, 20), np.float32)
        offsets = np.full(x.shape, 255, np.uint8)
        x[0, 0, 1, 10], offsets[0, 0, 1, 10] = 5, k
        result = max_unpool(x, offsets, window=window)[0, 0]
        down, right = pixel_of(k)
        assert result[2 + down, 20 + right] == 5
        assert np.count_nonzero(result) == 1


@both
def test_offsets_beyond_the_window_point_nowhere(window: int) -> None:
    beyond = np.arange(window * window, 256, dtype=np.uint8)
    x = np.ones((1, 1, 2, beyond.size), np.float32)
    offsets = np.broadcast_to(beyond, x.shape)
    assert not max_unpool(x, offsets, window=window).any()


def test_the_last_of_the_windows_that_share_a_pixel_wins() -> None:
    x = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 2, 2)
    offsets = np.array([[8, 6], [2, 0]], np.uint8).reshape(x.shape)  # all at pixel (1, 1)
    for left_out, winner in ((None, 4), ((1, 1), 3), ((1, 0), 2), ((0, 1), 1)):
        if left_out is not None:
            offsets[0, 0, left_out[0], left_out[1]] = 255
        result = max_unpool(x, offsets)[0, 0]
        assert result[1, 1] == winner
        assert np.count_nonzero(result) == 1


@each_dtype
def test_large_maps_on_several_threads_give_the_same_bits(dtype: Any) -> None:
    x = features((1, 16, 600, 601), dtype)
    values, offsets = max_pool_offsets(x)
    expected, indices = torch_pool(x, 3)
    np.testing.assert_array_equal(bits(values), bits(expected))
    result = max_unpool(values, offsets, size=(600, 601))
    np.testing.assert_array_equal(bits(result), bits(torch_unpool(values, indices, (600, 601))))


def test_sizes_of_the_unpooled_picture() -> None:
    x, offsets = np.ones((1, 1, 3, 4), np.float32), np.zeros((1, 1, 3, 4), np.uint8)
    assert max_unpool(x, offsets).shape == (1, 1, 6, 8)
    assert max_unpool(x, offsets, size=(5, 7)).shape == (1, 1, 5, 7)
    larger = max_unpool(x, offsets, window=2, size=(7, 9))
    assert larger.shape == (1, 1, 7, 9)
    assert not larger[..., 6, :].any()
    assert not larger[..., 8].any()


def test_bad_input_of_pooling_is_named() -> None:
    good = np.zeros((1, 1, 4, 4), np.float32)
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (good.astype(np.float64), {}, r"x has dtype float64, expected float32 or float16: convert"),
        (good[0], {}, r"x is 1×4×4, expected N×C×H×W"),
        (good[:, :, :0], {}, r"x is 1×1×0×4, expected every side to be 1 or more"),
        (good[:, :, :1], {"window": 2}, r"x is 1×1×1×4, expected height and width of 2 or more"),
        (good[..., :1], {"window": 2}, r"x is 1×1×4×1, expected height and width of 2 or more"),
        (good, {"window": 4}, r"window is 4, expected 3 .* or 2"),
        (good, {"window": 3.0}, r"window is 3.0, expected 3"),
        (good, {"out": good}, r"out is a ndarray, expected 2 arrays"),
    ]
    for x, options, message in cases:
        with pytest.raises(KernelError, match=message):
            max_pool_offsets(x, **options)


def test_bad_input_of_unpooling_is_named() -> None:
    good, offsets = np.zeros((1, 1, 4, 5), np.float32), np.zeros((1, 1, 4, 5), np.uint8)
    cases: list[tuple[Any, Any, dict[str, Any], str]] = [
        (good, offsets.astype(np.int64), {}, r"offsets has dtype int64, expected uint8: .*indices"),
        (good, offsets[..., 1:], {}, r"offsets is 1×1×4×4, expected 1×1×4×5 as x"),
        (good[0], offsets, {}, r"x is 1×4×5, expected N×C×H×W"),
        (good, offsets, {"window": None}, r"window is None, expected 3"),
        (good, offsets, {"size": 8}, r"size is 8"),
        (good, offsets, {"size": (8, 9.5)}, r"size is \(8, 9.5\)"),
        (good, offsets, {"size": (6, 10)}, r"size is 6×10 .*, expected 7 or 8 by 9 or 10 for win"),
        (good, offsets, {"size": (8, 11)}, r"size is 8×11 .*, expected 7 or 8 by 9 or 10 for win"),
        (
            good,
            offsets,
            {"size": (7, 10), "window": 2},
            r"size is 7×10 .*, expected 8 or 9 by 10 or 11 for window 2",
        ),
    ]
    for x, places, options, message in cases:
        with pytest.raises(KernelError, match=message):
            max_unpool(x, places, **options)
