"""What every kernel promises, in one place; and, where there is a GPU, that both twins agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import kernels
from kernels import InputSpec, KernelError, alpha_blend, collaborative_fusion, preprocess

random = np.random.default_rng(0)


class Kernel(NamedTuple):
    call: Callable[..., Any]
    arrays: dict[str, Any]  # by argument
    options: dict[str, Any]


def bytes_of(*shape: int) -> Any:
    return random.integers(0, 256, shape, np.uint8)


def floats_of(*shape: int) -> Any:
    return random.random(shape, np.float32)


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
    assert functions == {kernel.call.__name__ for kernel in KERNELS.values()}


@every
def test_out_is_written_and_returned(kernel: Kernel) -> None:
    expected = kernel.call(**kernel.arrays, **kernel.options)
    out = np.full_like(expected, 7)
    assert kernel.call(**kernel.arrays, **kernel.options, out=out) is out
    np.testing.assert_array_equal(out, expected)


@every
def test_inputs_are_left_alone_and_the_result_is_new(kernel: Kernel) -> None:
    before = {name: array.copy() for name, array in kernel.arrays.items()}
    first = kernel.call(**kernel.arrays, **kernel.options)
    second = kernel.call(**kernel.arrays, **kernel.options)
    assert first is not second
    assert not np.shares_memory(first, second)
    for name, array in kernel.arrays.items():
        np.testing.assert_array_equal(array, before[name])


@every
def test_a_wrong_out_is_named(kernel: Kernel) -> None:
    right = kernel.call(**kernel.arrays, **kernel.options)
    wide = np.empty((*right.shape[:-1], 2 * right.shape[-1]), right.dtype)
    frozen = np.empty_like(right)
    frozen.flags.writeable = False
    for out, message in [
        (right.astype(np.float64), r"out has dtype float64, expected"),
        (right[..., 1:], r"out is .*, expected .*leave out=None"),
        (right[None], r"out is .*, expected"),
        (wide[..., ::2], r"out has strides .*, expected a C-contiguous array"),
        (frozen, r"out is read-only"),
        (right.tolist(), r"out is a builtins.list, expected a NumPy array"),
    ]:
        with pytest.raises(KernelError, match=message):
            kernel.call(**kernel.arrays, **kernel.options, out=out)


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
    np.testing.assert_array_equal(kernel.call(**spread, **kernel.options), expected)


@every
def test_a_stream_needs_a_gpu(kernel: Kernel) -> None:
    with pytest.raises(KernelError, match=r"stream is 0, expected None for NumPy arrays"):
        kernel.call(**kernel.arrays, **kernel.options, stream=0)


@every
def test_devices_are_not_mixed(kernel: Kernel) -> None:
    out = kernel.call(**kernel.arrays, **kernel.options)
    with pytest.raises(KernelError, match=r"different devices: .*out on cuda"):
        kernel.call(**kernel.arrays, **kernel.options, out=OnCuda(out))
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
    assert isinstance(result, cupy.ndarray)
    np.testing.assert_array_equal(cupy.asnumpy(result), expected)

    out = cupy.empty_like(result)
    stream = cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device().synchronize()
    assert kernel.call(**arrays, **kernel.options, out=out, stream=stream) is out
    stream.synchronize()
    np.testing.assert_array_equal(cupy.asnumpy(out), expected)


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
    np.testing.assert_array_equal(cupy.asnumpy(result), expected)
