"""Check frames and batches, convert them, and move arrays between CPU and GPU."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from matter_sdk.kernels import YUV, InputSpec, KernelError, preprocess
from matter_sdk.kernels._arrays import MAX_SIDE
from matter_sdk.sdk.errors import FrameError, NoMatteError

_ORDERS = {3: "bgr", 4: "bgra"}
_WANTED = "uint8 H×W×3 (BGR), H×W×4 (BGRA) or H×W (grey), or a batch of such"
_BGR = InputSpec(colour="bgr")


def as_frame(value: Any, what: str = "the frame", *, on_gpu: bool = False) -> Any:
    """Check one frame; return it as a NumPy array, or with ``on_gpu`` also CuPy, without a copy.

    A planar one (``kernels.YUV``) is returned as it is. ``what`` is what messages call it.

    Raises:
        FrameError: another type, dtype, rank, channels or size, or a GPU's memory without
            ``on_gpu``.
    """
    if isinstance(value, YUV):
        return _checked_planes(value, what, on_gpu=on_gpu)
    image = as_array(value, what, on_gpu=on_gpu)
    if image.dtype != np.uint8:
        raise FrameError(_wrong_dtype(image, what))
    shape = tuple(image.shape)
    if image.ndim not in (2, 3):
        raise FrameError(f"{what} has rank {image.ndim}, shape {shape}; expected {_WANTED}")
    if image.ndim == 3 and shape[2] not in _ORDERS:
        advice = ""
        if shape[2] == 1:
            advice = ". For a grey picture: frame[:, :, 0]"
        elif shape[0] in (3, 4):
            advice = ". For channels first: np.moveaxis(frame, 0, -1)"
        raise FrameError(
            f"{what} has {shape[2]} channels, shape {shape}; expected {_WANTED}{advice}"
        )
    if 0 in shape:
        raise FrameError(f"{what} has no pixels, shape {shape}; expected {_WANTED}")
    _check_sides(shape, what)
    return image


def as_batch(value: Any, *, on_gpu: bool = False) -> list[Any] | None:
    """Check the frames of a batch, which must share one size; return None for a single frame.

    Raises:
        FrameError: names the first frame that is wrong or has another size.
    """
    if isinstance(value, (list, tuple)):
        entries: Sequence[Any] = value
    elif getattr(value, "ndim", 0) == 4:
        entries = as_array(value, "the batch", on_gpu=on_gpu)
    else:
        return None
    frames = [
        as_frame(entries[at], f"frame {at} of the batch", on_gpu=on_gpu)
        for at in range(len(entries))
    ]
    if not frames:
        raise FrameError("the batch is empty; expected at least one frame")
    for at, entry in enumerate(frames):
        if entry.shape != frames[0].shape:
            raise FrameError(
                f"frame {at} of the batch has shape {entry.shape}, frame 0 has "
                f"{frames[0].shape}; expected frames of one size. Call Matter for each size"
            )
    return frames


class Kind(NamedTuple):
    """What an array stands for, for messages: its name, its form, and how to make one."""

    name: str
    wanted: str
    from_pil: str
    from_file: str


FRAME = Kind(
    "frame", _WANTED, "np.asarray(image.convert('RGB'))[..., ::-1]", "matter_sdk.read_picture(path)"
)


def as_array(value: Any, what: str, *, on_gpu: bool = False, kind: Kind = FRAME) -> Any:
    """Return a NumPy array over the same memory; with ``on_gpu`` a CuPy array for one on a GPU.

    ``what`` is what messages call it.

    Raises:
        FrameError: ``value`` is no array, or lies in a GPU's memory without ``on_gpu``.
    """
    if isinstance(value, np.ndarray):
        return value
    if value is None:
        raise FrameError(
            f"{what} is None, which is what cv2.imread gives for a file that it cannot read; "
            f"expected {kind.wanted}. Check the path"
        )
    if not hasattr(value, "__dlpack_device__"):
        advice = ""
        if hasattr(value, "convert") and hasattr(value, "mode"):
            advice = f". For a PIL image: {kind.from_pil}"
        elif isinstance(value, (str, os.PathLike)):
            advice = f". For a file: {kind.from_file}"
        raise FrameError(f"{what} is a {type(value).__name__}; expected {kind.wanted}{advice}")
    place, number = value.__dlpack_device__()
    if int(place) == 1:  # kDLCPU
        return np.from_dlpack(value)
    if not on_gpu:
        raise FrameError(
            f"{what} is in a GPU's memory, which is not taken here; expected an array in the "
            f"CPU's. Copy it: cupy.asnumpy({kind.name}), or {kind.name}.cpu().numpy() for torch"
        )
    import cupy  # there, since the backend uses it

    with cupy.cuda.Device(number):
        return cupy.from_dlpack(value)


def tensor_of(frame: Any, size: tuple[int, int], spec: InputSpec) -> Any:
    """Convert a checked frame to a network's input, float32 1×3×h×w.

    A frame on a GPU gives a CuPy array there, already synchronized.
    """
    return synchronize(preprocess(frame, size, spec, order=_order(frame)))


def picture(frame: Any, size: tuple[int, int] | None = None) -> Any:
    """Convert a checked frame of any kind to uint8 H×W×3 BGR, where the frame lies.

    With ``size`` (height, width) it is resized, by area averages where it shrinks.
    """
    size = tuple(frame.shape[:2]) if size is None else size
    if isinstance(frame, np.ndarray) and frame.shape == (*size, 3):
        return frame.copy()
    channels = preprocess(frame, size, _BGR, order=_order(frame), dtype=np.uint8)[0]
    if isinstance(channels, np.ndarray):
        return cv2.merge(list(channels))
    with device_of(channels):
        return array_module(channels).ascontiguousarray(channels.transpose(1, 2, 0))


def picture_in(tensor: NDArray[np.float32], spec: InputSpec) -> NDArray[np.uint8]:
    """The picture, uint8 h×w×3 BGR, that a network's input shows: float32 1×3×h×w in the CPU's
    memory. A frame need not be resized twice for it."""
    planes = zip(tensor[0], spec.std, spec.mean, strict=True)
    channels = [cv2.convertScaleAbs(plane, alpha=std, beta=mean) for plane, std, mean in planes]
    return cast("NDArray[np.uint8]", cv2.merge(channels[:: -1 if spec.colour == "rgb" else 1]))


def letterboxed(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale a picture, uint8 H×W×3, to fit ``size`` (height, width), with black bars."""
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    scale = min(size[0] / height, size[1] / width)
    high, wide = max(1, round(height * scale)), max(1, round(width * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    top, left = (size[0] - high) // 2, (size[1] - wide) // 2
    result = np.zeros((*size, image.shape[2]), np.uint8)
    result[top : top + high, left : left + wide] = cv2.resize(
        image, (wide, high), interpolation=how
    )
    return result


def on_gpu(frame: Any) -> bool:
    """Whether a checked frame or an array lies in a GPU's memory."""
    return not isinstance(frame.planes[0] if isinstance(frame, YUV) else frame, np.ndarray)


def array_module(array: Any) -> ModuleType:
    """Return NumPy, or CuPy for a checked frame or an array on a GPU."""
    if not on_gpu(array):
        return np
    import cupy

    return cast(ModuleType, cupy)


def device_of(*frames: Any) -> contextlib.AbstractContextManager[Any]:
    """Make the GPU that holds the first of these arrays or frames current, for a ``with``.

    CuPy allocates, and computes, on the current device only. A no-op where all are NumPy's.
    """
    for frame in frames:
        if on_gpu(frame):
            array = frame.planes[0] if isinstance(frame, YUV) else frame
            return cast("contextlib.AbstractContextManager[Any]", array.device)
    return contextlib.nullcontext()


def synchronize(array: Any) -> Any:
    """Wait for pending GPU work so that another thread's stream can read ``array``; return it.

    A no-op for NumPy.
    """
    if on_gpu(array):
        with device_of(array):
            array_module(array).cuda.get_current_stream().synchronize()
    return array


def check_finite(array: Any, what: str) -> None:
    """Refuse a network's answer if any of it is NaN or infinite.

    The finite rest cannot be trusted either, and a wrong matte may show the room.

    Raises:
        NoMatteError: names ``what``.
    """
    with device_of(array):
        finite = bool(array_module(array).isfinite(array).all())
    if not finite:
        raise NoMatteError(not_finite(what))


def not_finite(what: str) -> str:
    """Return the message for a network's answer that holds NaN or infinity."""
    return (
        f"{what} holds NaN or infinity, expected finite numbers; build the engine again without "
        f"--fp16, or take another backend"
    )


def to_device_of(array: Any, other: Any) -> Any:
    """Copy ``array`` to the CPU's memory if ``other`` lies there; else return it as it is."""
    return array if on_gpu(other) else to_cpu(array)


def to_cpu(array: Any) -> Any:
    """Copy an array or a planar frame from a GPU's memory to the CPU's; return others as is."""
    if not on_gpu(array):
        return array
    if isinstance(array, YUV):
        return replace(array, planes=tuple(map(to_cpu, array.planes)))
    return array.get()


def to_gpu(value: Any) -> Any:
    """Copy an array or a planar frame to a GPU's memory, as CuPy's; return others as is."""
    if isinstance(value, YUV):
        return replace(value, planes=tuple(map(to_gpu, value.planes)))
    if isinstance(value, tuple) or on_gpu(value):
        return value
    import cupy

    return cupy.asarray(value)


def _checked_planes(value: YUV, what: str, *, on_gpu: bool) -> YUV:
    as_array(value.planes[0], f"{what}'s luminance", on_gpu=on_gpu)
    try:
        value.check()
    except KernelError as error:
        raise FrameError(f"{what} is no planar frame: {error}") from error
    _check_sides(value.shape, what)
    return value


def _check_sides(shape: Sequence[int], what: str) -> None:
    if max(shape[:2]) > MAX_SIDE:
        raise FrameError(
            f"{what} is {shape[0]}×{shape[1]} (height×width); expected sides of at most {MAX_SIDE} "
            f"pixels. Cut it, or scale it down"
        )


def _order(image: Any) -> str | None:
    if isinstance(image, YUV):
        return None
    return "gray" if image.ndim == 2 else _ORDERS[image.shape[2]]


def _wrong_dtype(image: Any, what: str) -> str:
    text = f"{what} is {image.dtype}, shape {tuple(image.shape)}"
    if image.dtype.kind == "f":
        if bool((image != image).any()):  # the array may be CuPy's
            text += ", with NaN in it"
            return f"{text}; expected {_WANTED}. Find where the NaN comes from"
        if image.size and float(image.max()) > 2:
            advice = "frame.clip(0, 255).round().astype(np.uint8), for values in 0..255"
        else:
            advice = "(frame * 255).round().astype(np.uint8), for values in 0..1"
    elif image.dtype == np.uint16:
        advice = "(frame / 257).round().astype(np.uint8), for the full range of 16 bits"
    elif image.dtype == np.bool_:
        advice = "frame.astype(np.uint8) * 255"
    else:
        advice = "frame.clip(0, 255).astype(np.uint8), for values in 0..255"
    return f"{text}; expected {_WANTED}. Convert it: {advice}"
