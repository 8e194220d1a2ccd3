"""What people have at hand as a frame: a path, an open file, a Pillow image, an array in RGB."""

from __future__ import annotations

import os
from typing import Any

import cv2
import numpy as np

from matter_sdk.sdk.arrays import array_module, as_array, device_of
from matter_sdk.sdk.errors import FrameError, expected_one_of
from matter_sdk.sdk.media.picture_reader import from_pillow, read_picture

ORDERS = ("bgr", "rgb")


def frame_of(value: Any, order: str = "bgr", *, on_gpu: bool = False) -> Any:
    """Read or convert what stands for a frame, or a list of such; leave arrays in BGR as they are.

    Args:
        value: a picture's path, a file open in binary, a Pillow image, or an array. Files and
            Pillow images are turned upright and converted to sRGB; they know their own order.
        order: of an array's channels, "bgr" or "rgb", alpha last.
        on_gpu: whether arrays may lie in a GPU's memory.

    Raises:
        FrameError: a file that is no picture, or another order. What is no frame is returned as it
            is, for ``as_frame`` to refuse.
    """
    if order not in ORDERS:
        raise FrameError(f"order is {order!r}; {expected_one_of(order, ORDERS)}")
    if isinstance(value, (list, tuple)):
        return [frame_of(one, order, on_gpu=on_gpu) for one in value]
    if isinstance(value, (str, os.PathLike)) or hasattr(value, "read"):
        return read_picture(value, transparency=True, what="the frame")
    if hasattr(value, "convert") and hasattr(value, "getexif"):
        return from_pillow(value, what="the frame")
    if order == "bgr" or not hasattr(value, "__dlpack_device__"):
        return value
    array = as_array(value, "the frame", on_gpu=on_gpu)
    return swapped(array) if array.ndim in (3, 4) else array


def swapped(array: Any) -> Any:
    """Exchange red and blue, …×3 or …×4, in an array of its own; return others as they are."""
    channels = array.shape[-1]
    if channels not in (3, 4):
        return array
    if isinstance(array, np.ndarray) and array.ndim == 3 and array.dtype == np.uint8:
        return cv2.cvtColor(array, cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGRA2RGBA)
    with device_of(array):
        return array_module(array).ascontiguousarray(array[..., [2, 1, 0, 3][:channels]])
