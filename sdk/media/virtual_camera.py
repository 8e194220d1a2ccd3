"""A camera that other programs can choose, and that shows pictures of ours."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matter_sdk.sdk.arrays import letterboxed
from matter_sdk.sdk.closing import Closing
from matter_sdk.sdk.errors import VideoError

_DEVICES = {
    "linux": "load the driver v4l2loopback: sudo modprobe v4l2loopback",
    "darwin": "install OBS Studio 30 or newer and start its virtual camera once",
    "win32": "install OBS Studio, which brings one",
}


class VirtualCamera(Closing):
    """Shows pictures, uint8 H×W×3 BGR, to programs that read cameras, through pyvirtualcam.

    Its size is fixed, as such programs expect of a camera; pictures of another one are scaled to
    fit, with black beside them. It shows black from its opening to the first picture, and when it
    is closed. It shows what ``send`` gets and nothing else.

    Args:
        size: height and width.
        fps: what programs are told; ``send`` may come at any rate.

    Raises:
        VideoError: pyvirtualcam is not installed, or this system has no such device.
    """

    def __init__(self, size: tuple[int, int] = (720, 1280), fps: float = 30.0) -> None:
        self._camera: Any = None
        self.size = size
        try:
            import pyvirtualcam
        except ImportError as error:
            raise VideoError(
                f"a virtual camera needs pyvirtualcam, which cannot be imported ({error}): "
                f"pip install 'matter-sdk[virtual-camera]'"
            ) from error
        height, width = size
        try:
            self._camera = pyvirtualcam.Camera(width, height, fps, fmt=pyvirtualcam.PixelFormat.BGR)
            self._camera.send(np.zeros((*size, 3), np.uint8))
        except (RuntimeError, OSError) as error:
            self.close()
            raise VideoError(
                f"no virtual camera can be opened ({' '.join(str(error).split())}); "
                f"{_DEVICES.get(sys.platform, 'expected a device for one')}"
            ) from error

    @property
    def device(self) -> str:
        """What other programs call it."""
        return str(self._camera.device)

    def send(self, picture: NDArray[np.uint8]) -> None:
        """Show one picture from now on.

        Raises:
            VideoError: the device takes none any more.
        """
        if picture.shape[:2] != self.size:
            picture = letterboxed(picture, self.size)
        try:
            self._camera.send(np.ascontiguousarray(picture))
        except (RuntimeError, OSError) as error:
            raise VideoError(f"the virtual camera takes no picture ({error})") from error

    def close(self) -> None:
        """Show black and give the device back. Safe to call twice."""
        camera, self._camera = self._camera, None
        if camera is None:
            return
        with contextlib.closing(camera), contextlib.suppress(RuntimeError, OSError):
            camera.send(np.zeros((*self.size, 3), np.uint8))  # in vain where it is gone
