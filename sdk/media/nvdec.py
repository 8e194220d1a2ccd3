"""Frames that NVDEC decodes, in a GPU's memory, by way of PyAV.

FFmpeg's own hardware decoding keeps what ``VideoReader`` knows of a file as it is: timestamps,
damage, length. Its frames reach CuPy through DLPack. Written against PyAV's and CuPy's documented
interfaces and **not run on a GPU yet**; what is tested without one is that a file is read by the
CPU where there is none, and the way of a frame's planes with stand-ins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from av.codec.hwaccel import HWAccel

T = TypeVar("T")

KIND = "cuda"  # the format of FFmpeg's frames on a GPU


def decoder(number: int) -> HWAccel:
    """What ``av.open`` takes to decode on GPU ``number``; other codecs are left to the CPU."""
    # In CuPy's context, since memory of another is foreign. FFmpeg refuses it as the primary one,
    # which CuPy and TensorRT gave other flags, and takes it as the current one: see within().
    return HWAccel(
        KIND,
        device=str(number),
        allow_software_fallback=True,
        is_hw_owned=True,
        options={"primary_ctx": "0", "current_ctx": "1"},
    )


def within(number: int, opener: Callable[[], T]) -> T:
    """What ``opener`` returns, called where CuPy's context of GPU ``number`` is the current one."""
    import cupy

    with cupy.cuda.Device(number) as device:
        device.synchronize()  # a context that nobody has used yet is not there
        return opener()


def planes(frame: Any) -> tuple[Any, Any] | None:
    """Copies of a decoded frame's planes as CuPy arrays, y H×W and uv H/2×W/2×2; None for a frame
    that is not NV12 of even sides.

    Copies, since a decoder has few surfaces and stops where all of them are kept.
    """
    if frame.sw_format.name != "nv12" or frame.height % 2 or frame.width % 2:
        return None
    import cupy

    number = frame.planes[0].__dlpack_device__()[1]
    # FFmpeg decodes on the default stream, unless it is given another.
    with cupy.cuda.Device(number), cupy.cuda.Stream.null as stream:
        y, uv = (cupy.from_dlpack(_Plane(plane)).copy() for plane in frame.planes)
        stream.synchronize()
    return y, uv


class _Plane:
    """A plane for CuPy, which names its stream; PyAV takes none and leaves the order to us."""

    def __init__(self, plane: Any) -> None:
        self._plane = plane

    def __dlpack_device__(self) -> Any:
        return self._plane.__dlpack_device__()

    def __dlpack__(self, **_: Any) -> Any:
        return self._plane.__dlpack__()
