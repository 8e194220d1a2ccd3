"""What every kernel promises, in one place; and, where there is a GPU, that both twins agree.

A kernel with several results returns a tuple and takes a tuple as `out`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from matter_sdk import kernels
from matter_sdk.kernels import (
    YUV,
    InputSpec,
    KernelError,
    alpha_blend,
    collaborative_fusion,
    composite,
    foreground,
    max_pool_offsets,
    max_unpool,
    preprocess,
    temporal_filter,
)

random = np.random.default_rng(0)


class Kernel(NamedTuple):
    call: Callable[..., Any]
    arrays: dict[str, Any]  # by argument
    options: dict[str, Any]


def bytes_of(*shape: int) -> Any:
    return random.integers(0, 256, shape, np.uint8)


def floats_of(*shape: int) -> Any:
    return random.random(shape, np.float32)


def planes_of(height: int, width: int, chroma: tuple[str, ...], *frames: str) -> dict[str, Any]:
    """The planes of frames by "frame.y" and so on; `chroma` is ("u", "v") or ("uv",)."""
    half = ((height + 1) // 2, (width + 1) // 2, *(2,) * (len(chroma) == 1))
    sizes = {"y": (height, width)} | dict.fromkeys(chroma, half)
    return {f"{frame}.{part}": bytes_of(*size) for frame in frames for part, size in sizes.items()}


def matte_of(height: int, width: int) -> Any:
    """A matte with plain areas of 0 and 1 and a transition between them."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return (0.5 + (np.hypot(y - height / 3, x) - width / 2) / 9).clip(0, 1)


def parts(result: Any) -> tuple[Any, ...]:
    """The arrays of a result, which is one array or a tuple of them."""
    return result if isinstance(result, tuple) else (result,)


def alike(result: Any, make: Callable[[Any], Any]) -> Any:
    """`result` with `make` applied to each array."""
    return tuple(map(make, result)) if isinstance(result, tuple) else make(result)


def assert_same(result: Any, expected: Any) -> None:
    assert isinstance(result, tuple) == isinstance(expected, tuple)
    for one, other in zip(parts(result), parts(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def misaligned(array: Any) -> Any:
    """The same values, contiguous, from an odd address on."""
    room = np.empty(array.nbytes + 1, np.uint8)
    view = room[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def odd_rows(array: Any) -> Any:
    """The same values, with a byte of something else behind every row."""
    *rest, width = array.shape
    room = np.zeros((*rest, width * array.itemsize + 1), np.uint8)
    view = room[..., :-1].view(array.dtype)
    view[...] = array
    return view


def planar(kernel: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`kernel` with the planes of its frames one by one, as arguments "frame.y" and so on."""

    @functools.wraps(kernel)
    def call(*, out: Any = None, **arguments: Any) -> Any:
        frames: dict[str, Any] = {}
        for name, value in arguments.items():
            frame, _, part = name.partition(".")
            frames[frame] = (*frames.get(frame, ()), value) if part else value
        for frame, value in frames.items():
            if f"{frame}.y" in arguments:
                frames[frame] = YUV(value, **options)
        result = kernel(**frames, out=YUV(out, **options) if isinstance(out, tuple) else out)
        return result.planes if isinstance(result, YUV) else result

    return call


SPEC = InputSpec("rgb", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
KERNELS = {
    "preprocess": Kernel(
        preprocess, {"frame": bytes_of(2, 45, 70, 3)}, {"size": (32, 96), "spec": SPEC}
    ),
    "preprocess bgra": Kernel(
        preprocess,
        {"frame": bytes_of(45, 70, 4)},
        {"size": (64, 32), "spec": SPEC, "order": "bgra"},
    ),
    "preprocess gray": Kernel(
        preprocess, {"frame": bytes_of(45, 70)}, {"size": (64, 32), "spec": SPEC, "order": "gray"}
    ),
    "preprocess bilinear half": Kernel(
        preprocess,
        {"frame": bytes_of(2, 45, 70, 3)},
        {"size": (20, 96), "spec": SPEC, "interpolation": "bilinear", "dtype": "float16"},
    ),
    "preprocess uint8": Kernel(
        preprocess,
        {"frame": bytes_of(45, 70, 3)},
        {"size": (20, 96), "spec": InputSpec(), "dtype": "uint8"},
    ),
    "preprocess i420": Kernel(
        planar(preprocess),
        {"frame.y": bytes_of(45, 71), "frame.u": bytes_of(23, 36), "frame.v": bytes_of(23, 36)},
        {"size": (32, 40), "spec": SPEC},
    ),
    "preprocess nv12 half": Kernel(
        planar(preprocess, matrix="bt601", full_range=True),
        {"frame.y": bytes_of(45, 70), "frame.uv": bytes_of(23, 35, 2)},
        {
            "size": (32, 40),
            "spec": InputSpec("bgr", mean=(1, 2, 3), std=(7, 8, 9)),
            "interpolation": "bilinear",
            "dtype": "float16",
        },
    ),
    **{
        f"collaborative_fusion {rosta}": Kernel(
            collaborative_fusion,
            {"glance": floats_of(2, classes, 9, 31), "focus": floats_of(2, 1, 9, 31)},
            {"rosta": rosta},
        )
        for rosta, classes in {"tt": 3, "unified": 3, "ft": 2, "bt": 2}.items()
    },
    "collaborative_fusion half": Kernel(
        collaborative_fusion,
        {
            "glance": floats_of(2, 3, 9, 31).astype(np.float16),
            "focus": floats_of(2, 1, 9, 31).astype(np.float16),
        },
        {"rosta": "tt"},
    ),
    **{
        f"collaborative_fusion {rosta} hybrid": Kernel(
            collaborative_fusion,
            {"glance": floats_of(2, classes, 9, 14), "focus": floats_of(2, 1, 13, 33)},
            {"rosta": rosta, "size": (26, 33)},
        )
        for rosta, classes in {"tt": 3, "ft": 2, "bt": 2}.items()
    },
    "collaborative_fusion hybrid half": Kernel(
        collaborative_fusion,
        {
            "glance": floats_of(2, 3, 9, 31).astype(np.float16),
            "focus": floats_of(2, 1, 12, 14).astype(np.float16),
        },
        {"rosta": "tt", "size": (8, 40)},
    ),
    **{
        f"collaborative_fusion {rosta} logits {way}": Kernel(
            collaborative_fusion,
            {"glance": floats_of(2, classes, 4, 9) * 8 - 4, "focus": floats_of(2, 1, *fine)},
            {"rosta": rosta, "glance_size": (16, 33), "size": size},
        )
        for rosta, classes in {"tt": 3, "ft": 2, "bt": 2}.items()
        for way, fine, size in (("", (16, 33), None), ("hybrid", (26, 45), (26, 45)))
    },
    "collaborative_fusion logits half": Kernel(
        collaborative_fusion,
        {
            "glance": floats_of(2, 3, 4, 9).astype(np.float16),
            "focus": floats_of(2, 1, 16, 33).astype(np.float16),
        },
        {"rosta": "tt", "glance_size": (16, 33)},
    ),
    "alpha_blend": Kernel(
        alpha_blend,
        {
            "foreground": bytes_of(2, 9, 150, 3),
            "background": bytes_of(2, 9, 150, 3),
            "alpha": floats_of(2, 9, 150),
        },
        {},
    ),
    "alpha_blend colour": Kernel(
        alpha_blend,
        {"foreground": bytes_of(9, 150, 3), "alpha": floats_of(9, 150)},
        {"background": (1, 2, 250)},
    ),
    "alpha_blend one background": Kernel(
        alpha_blend,
        {
            "foreground": bytes_of(2, 5, 131, 3),
            "background": bytes_of(5, 131, 3),
            "alpha": floats_of(2, 5, 131),
        },
        {},
    ),
    "alpha_blend float": Kernel(
        alpha_blend,
        {
            "foreground": floats_of(2, 5, 140, 3),
            "background": floats_of(2, 5, 140, 3),
            "alpha": floats_of(2, 5, 140),
        },
        {},
    ),
    **{
        f"alpha_blend {option}{' float' if make is floats_of else ''}": Kernel(
            alpha_blend,
            {
                "foreground": make(5, 135, 3),
                "background": make(5, 135, 3),
                "alpha": floats_of(5, 135),
            },
            {option: True},
        )
        for option, make in [
            ("premultiplied", bytes_of),
            ("premultiplied", floats_of),
            ("linear", bytes_of),
        ]
    },
    **{
        f"alpha_blend {'i420' if len(chroma) == 2 else 'nv12'} {height}x{width}": Kernel(
            planar(alpha_blend),
            planes_of(height, width, chroma, "foreground", "background")
            | {"alpha": floats_of(height, width)},
            {},
        )
        for chroma in (("u", "v"), ("uv",))
        for height, width in ((6, 144), (7, 133))
    },
    "alpha_blend i420 colour": Kernel(
        planar(alpha_blend),
        planes_of(6, 30, ("u", "v"), "foreground") | {"alpha": floats_of(6, 30)},
        {"background": (200, 30, 90)},
    ),
    "alpha_blend nv12 colour": Kernel(
        planar(alpha_blend),
        planes_of(6, 30, ("uv",), "foreground") | {"alpha": floats_of(6, 30)},
        {"background": (200, 30, 90)},
    ),
    **{
        f"max_pool_offsets {window} {dtype.__name__}": Kernel(
            max_pool_offsets,
            {"x": floats_of(2, 3, 9, 31).round(1).astype(dtype)},
            {"window": window},
        )
        for window in (2, 3)
        for dtype in (np.float32, np.float16)
    },
    **{
        f"max_unpool {window} {dtype.__name__} {size}": Kernel(
            max_unpool,
            {
                "x": floats_of(2, 3, 5, 17).astype(dtype),
                "offsets": random.integers(0, 10, (2, 3, 5, 17), np.uint8),
            },
            {"window": window, "size": size},
        )
        for window, sizes in {2: (None, (11, 35)), 3: (None, (9, 33))}.items()
        for size in sizes
        for dtype in (np.float32, np.float16)
    },
    # On a GPU, more strips than one thread counts.
    "temporal_filter": Kernel(
        temporal_filter,
        {
            "previous": floats_of(45, 70),
            "current": floats_of(45, 70),
            "frame_delta": bytes_of(45, 70) // 20,
        },
        {},
    ),
    "temporal_filter colour": Kernel(
        temporal_filter,
        {
            "previous": floats_of(9, 130),
            "current": floats_of(9, 130),
            "frame_delta": bytes_of(9, 130, 3) // 25,
        },
        {},
    ),
    "temporal_filter cut": Kernel(
        temporal_filter,
        {
            "previous": floats_of(9, 130),
            "current": floats_of(9, 130),
            "frame_delta": bytes_of(9, 130) // 2,
        },
        {},
    ),
    # A third stands still, and would be steadied were it no cut.
    "temporal_filter cut of two thirds": Kernel(
        temporal_filter,
        {
            "previous": floats_of(9, 90),
            "current": floats_of(9, 90),
            "frame_delta": np.repeat(np.uint8([[100] * 60 + [0] * 30]), 9, axis=0),
        },
        {},
    ),
    "foreground": Kernel(
        foreground, {"frame": bytes_of(70, 330, 3), "alpha": matte_of(70, 330)}, {}
    ),
    "composite": Kernel(
        composite,
        {
            "frame": bytes_of(120, 270, 3),
            "background": bytes_of(120, 270, 3),
            "alpha": matte_of(40, 96),
        },
        {},
    ),
    "composite colour": Kernel(
        composite,
        {"frame": bytes_of(45, 150, 3), "alpha": matte_of(12, 50)},
        {"background": (1, 2, 250), "clean": False},
    ),
    "composite bilinear": Kernel(
        composite,
        {
            "frame": bytes_of(45, 150, 3),
            "background": bytes_of(45, 150, 3),
            "alpha": floats_of(1, 1, 12, 50),
        },
        {"guided": False},
    ),
    "composite heads": Kernel(
        composite,
        {
            "frame": bytes_of(45, 70, 3),
            "glance": floats_of(1, 3, 18, 31),
            "focus": floats_of(1, 1, 18, 31),
        },
        {"background": (1, 2, 250), "rosta": "tt"},
    ),
    "composite half heads": Kernel(
        composite,
        {
            "frame": bytes_of(45, 70, 3),
            "glance": floats_of(1, 3, 18, 31).astype(np.float16),
            "focus": floats_of(1, 1, 18, 31).astype(np.float16),
        },
        {"background": (1, 2, 250), "rosta": "tt"},
    ),
    **{
        f"composite {'i420' if len(chroma) == 2 else 'nv12'} {height}x{width}": Kernel(
            planar(composite, full_range=True),
            planes_of(height, width, chroma, "frame", "background") | {"alpha": matte_of(*small)},
            options,
        )
        for chroma, (height, width), small, options in [
            (("u", "v"), (60, 130), (20, 48), {}),
            (("uv",), (61, 131), (20, 48), {}),
            (("u", "v"), (33, 71), (25, 60), {"clean": False}),  # more than the samples of colour
            (("uv",), (34, 66), (50, 40), {"guided": False}),
        ]
    },
    **{
        f"composite {'i420' if len(chroma) == 2 else 'nv12'} colour": Kernel(
            planar(composite),
            planes_of(45, 70, chroma, "frame")
            | {"glance": floats_of(1, 3, 18, 31), "focus": floats_of(1, 1, 18, 31)},
            {"background": (200, 30, 90), "rosta": "tt"},
        )
        for chroma in (("u", "v"), ("uv",))
    },
    "composite large matte": Kernel(
        composite,
        {
            "frame": bytes_of(45, 70, 3),
            "background": bytes_of(45, 70, 3),
            "alpha": matte_of(90, 50),
        },
        {},
    ),
    "foreground noise": Kernel(
        foreground, {"frame": bytes_of(41, 90, 3), "alpha": floats_of(41, 90)}, {}
    ),
}

every = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)


class OnCuda:
    """An array that says it is on a GPU; the dispatch must look no further than that."""

    def __init__(self, array: Any) -> None:
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (0, False),
            "version": 3,
        }


class Elsewhere:
    """An array on a device that DLPack numbers 10 (ROCm)."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 10, 0


def test_every_public_kernel_is_here() -> None:
    functions = {name for name in kernels.__all__ if name[0].islower()}
    # Those of trimap.py take NumPy arrays alone and have no out: test_trimap.py.
    functions -= {
        n for n in functions if getattr(kernels, n).__module__ == "matter_sdk.kernels.trimap"
    }
    assert functions == {kernel.call.__name__ for kernel in KERNELS.values()}


@every
def test_out_is_written_and_returned(kernel: Kernel) -> None:
    expected = kernel.call(**kernel.arrays, **kernel.options)
    out = alike(expected, lambda array: np.full_like(array, 7))
    result = kernel.call(**kernel.arrays, **kernel.options, out=out)
    assert all(one is other for one, other in zip(parts(result), parts(out), strict=True))
    assert_same(out, expected)


@every
def test_inputs_are_left_alone_and_the_result_is_new(kernel: Kernel) -> None:
    before = {name: array.copy() for name, array in kernel.arrays.items()}
    first = parts(kernel.call(**kernel.arrays, **kernel.options))
    second = parts(kernel.call(**kernel.arrays, **kernel.options))
    for one, other in zip(first, second, strict=True):
        assert one is not other
        assert not np.shares_memory(one, other)
    for name, array in kernel.arrays.items():
        assert not any(np.shares_memory(one, array) for one in first)
        np.testing.assert_array_equal(array, before[name])


@every
def test_a_wrong_out_is_named(kernel: Kernel) -> None:
    right = kernel.call(**kernel.arrays, **kernel.options)
    for at, array in enumerate(parts(right)):
        wide = np.empty((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        frozen = np.empty_like(array)
        frozen.flags.writeable = False
        for wrong, message in [
            (array.astype(np.float64), r"has dtype float64, expected"),
            (array[..., 1:], r"is .*, expected .*leave out=None"),
            (array[None], r"is .*, expected"),
            (wide[..., ::2], r"has strides .*, expected a C-contiguous array"),
            (frozen, r"is read-only"),
            *[(misaligned(array), r"begins at 0x")] * (array.itemsize > 1),
            (array.tolist(), r"is a builtins.list, expected a NumPy array"),
        ]:
            out: Any = wrong
            if isinstance(right, tuple):
                out = (*right[:at], wrong, *right[at + 1 :])
            with pytest.raises(KernelError, match=rf"^out\S* {message}"):
                kernel.call(**kernel.arrays, **kernel.options, out=out)
    if isinstance(right, tuple):
        with pytest.raises(KernelError, match=rf"^out is .*expected {len(right)} arrays"):
            kernel.call(**kernel.arrays, **kernel.options, out=right[0])


@every
def test_a_wrong_array_is_named(kernel: Kernel) -> None:
    for name, array in kernel.arrays.items():
        for wrong, message in [
            (array.astype(np.int32), rf"{name} has dtype int32, expected"),
            (array.tolist(), r"is a builtins.list, expected"),
            (array[:0], r"expected"),
            (array[..., :0], r"expected"),
        ]:
            with pytest.raises(KernelError, match=message):
                kernel.call(**(kernel.arrays | {name: wrong}), **kernel.options)


@every
def test_strides_do_not_matter(kernel: Kernel) -> None:
    expected = kernel.call(**kernel.arrays, **kernel.options)
    spread = {}
    for name, array in kernel.arrays.items():
        room = np.zeros(tuple(2 * side for side in array.shape), array.dtype)
        view = room[tuple(slice(None, None, 2) for _ in array.shape)]
        view[...] = array
        assert not view.flags.c_contiguous
        spread[name] = view
    assert_same(kernel.call(**spread, **kernel.options), expected)


@every
def test_addresses_do_not_matter(kernel: Kernel) -> None:
    expected = kernel.call(**kernel.arrays, **kernel.options)
    moved = {name: misaligned(array) for name, array in kernel.arrays.items()}
    assert_same(kernel.call(**moved, **kernel.options), expected)
    apart = {name: odd_rows(array) for name, array in kernel.arrays.items()}
    assert_same(kernel.call(**apart, **kernel.options), expected)


@every
def test_a_stream_needs_a_gpu(kernel: Kernel) -> None:
    with pytest.raises(KernelError, match=r"stream is 0"):
        kernel.call(**kernel.arrays, **kernel.options, stream=0)


@every
def test_devices_are_not_mixed(kernel: Kernel) -> None:
    out = kernel.call(**kernel.arrays, **kernel.options)
    with pytest.raises(KernelError, match=r"different devices: .*out\S* on cuda"):
        kernel.call(**kernel.arrays, **kernel.options, out=alike(out, OnCuda))
    name, array = next(iter(kernel.arrays.items()))
    with pytest.raises(KernelError, match=rf"different devices: {name} on cuda, "):
        kernel.call(**(kernel.arrays | {name: OnCuda(array)}), **kernel.options, out=out)
    with pytest.raises(
        KernelError, match=r"Elsewhere, expected a NumPy array or an array on a CUD"
    ):
        kernel.call(**(kernel.arrays | {name: Elsewhere()}), **kernel.options)


@every
def test_a_gpu_array_without_cupy_says_what_to_install(kernel: Kernel) -> None:
    try:
        import cupy  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("CuPy is installed")
    arrays = {name: OnCuda(array) for name, array in kernel.arrays.items()}
    with pytest.raises(KernelError, match=r"CuPy cannot be imported .*matter-sdk\[nvidia\]"):
        kernel.call(**arrays, **kernel.options)


@pytest.mark.gpu
@every
def test_the_gpu_twin_gives_the_same(kernel: Kernel) -> None:
    import cupy

    expected = kernel.call(**kernel.arrays, **kernel.options)
    arrays = {name: cupy.asarray(array) for name, array in kernel.arrays.items()}
    result = kernel.call(**arrays, **kernel.options)
    assert all(isinstance(array, cupy.ndarray) for array in parts(result))
    assert_same(alike(result, cupy.asnumpy), expected)

    out = alike(result, cupy.empty_like)
    stream = cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device().synchronize()
    kernel.call(**arrays, **kernel.options, out=out, stream=stream)
    stream.synchronize()
    assert_same(alike(out, cupy.asnumpy), expected)


@pytest.mark.gpu
@every
def test_the_gpu_twin_is_captured_in_a_graph(kernel: Kernel) -> None:
    import cupy

    arrays = {name: cupy.asarray(array) for name, array in kernel.arrays.items()}
    out = kernel.call(**arrays, **kernel.options)  # compiles, and fills CuPy's memory pool
    expected = alike(out, cupy.asnumpy)
    stream = cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device().synchronize()
    with stream:
        kernel.call(**arrays, **kernel.options, out=out)
        stream.synchronize()
        stream.begin_capture()
        kernel.call(**arrays, **kernel.options, out=out, stream=stream)
        graph = stream.end_capture()
        for array in parts(out):
            array.fill(0)
        graph.launch(stream)
        stream.synchronize()
    assert_same(alike(out, cupy.asnumpy), expected)


@pytest.mark.gpu
@every
def test_the_gpu_twin_takes_any_strides(kernel: Kernel) -> None:
    import cupy

    expected = kernel.call(**kernel.arrays, **kernel.options)
    spread = {}
    for name, array in kernel.arrays.items():
        room = cupy.zeros(tuple(2 * side for side in array.shape), array.dtype)
        view = room[tuple(slice(None, None, 2) for _ in array.shape)]
        view[...] = cupy.asarray(array)
        spread[name] = view
    result = kernel.call(**spread, **kernel.options)
    assert_same(alike(result, cupy.asnumpy), expected)
