"""A matte in a GPU's memory, as ``Matte.gpu()`` gives it.

Written against CuPy's documented interface and **not run on a GPU yet**; the tests run it with
stand-ins for CuPy and the kernels of the CPU.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import cupy
from matter_sdk.kernels import YUV, composite
from matter_sdk.sdk.arrays import host, on_gpu, picture
from matter_sdk.sdk.matte import composed, open_background


class GpuMatte:
    """The alpha matte of one frame: CuPy arrays, made on CuPy's current stream.

    Args:
        frame: as ``Matte`` takes it; one in the CPU's memory is copied to the GPU's.
        alpha: float32 in 0..1, of the frame's size or of the network's; likewise.
        guided: as ``Matte``.
        clean: as ``Matte``.

    Attributes:
        given: the frame as it was given, on the GPU.
    """

    def __init__(
        self, frame: Any, alpha: Any, *, guided: bool = False, clean: bool = False
    ) -> None:
        self.given = uploaded(frame)
        alpha = uploaded(alpha)
        self._small = cupy.where(cupy.isfinite(alpha), alpha, cupy.float32(0))  # as in Matte
        self._guided = guided
        self._clean = clean

    @functools.cached_property
    def alpha(self) -> Any:
        """float32 H×W in 0..1, of the frame's size."""
        size = tuple(self.given.shape[:2])
        if tuple(self._small.shape) == size:
            return self._small
        result = cupy.empty(size, cupy.float32)
        frame = self.given if isinstance(self.given, YUV) else self._colours
        composite(frame, (0, 0, 0), self._small, guided=self._guided, clean=False, alpha_out=result)
        return result

    def over(self, background: object, *, index: int = 0, clean: bool | None = None) -> Any:
        """The subject over another background: uint8 H×W×3 BGR, as ``Matte.over``.

        ``background`` may also be a CuPy array, uint8 H×W×3 of the frame's size: only that and a
        colour cost no copy. A blur is made on the CPU, for which the frame is copied there.

        Raises:
            BackgroundError: as ``Matte.over``.
        """
        return self._composed(self._colours, self._behind(background, "at", index), clean)

    def over_planes(self, background: object, *, index: int = 0, clean: bool | None = None) -> YUV:
        """As ``over``, in planes from end to end; ``background`` may also be a ``YUV`` like the
        frame, on the GPU.

        Raises:
            BackgroundError: as ``Matte.over``.
            ValueError: the frame did not come in planes.
        """
        if not isinstance(self.given, YUV):
            raise ValueError("the frame came as an array and has no planes; expected over()")
        behind = self._behind(background, "planes_at", index)
        result: YUV = self._composed(self.given, behind, clean)
        return result

    def __repr__(self) -> str:
        height, width = self.given.shape[:2]
        return f"GpuMatte({height}×{width}, {float(self._small.mean()):.0%} subject)"

    @functools.cached_property
    def _colours(self) -> Any:
        frame = self.given
        if isinstance(frame, YUV):
            return picture(frame)
        return cupy.stack((frame,) * 3, -1) if frame.ndim == 2 else frame[..., :3]

    def _behind(self, background: Any, how: str, index: int) -> Any:
        """What ``Background.at`` or ``planes_at`` puts behind the frame, on the GPU."""
        if isinstance(background, (cupy.ndarray, YUV)):
            return background
        opened = open_background(background)
        frame = self.given if how == "planes_at" else self._colours
        if opened.reads_frame:
            frame = host(frame)
        alpha = host(self.alpha) if opened.reads_alpha else None
        return uploaded(getattr(opened, how)(frame, index, alpha))

    def _composed(self, subject: Any, behind: Any, clean: bool | None) -> Any:
        clean = self._clean if clean is None else clean
        planar = isinstance(self.given, YUV)
        return composed(
            subject, behind, self._small, guided=self._guided, clean=clean, planar=planar
        )


def uploaded(value: Any) -> Any:
    """An array or a frame in planes in the GPU's memory; a colour as it is."""
    if isinstance(value, YUV):
        return replace(value, planes=tuple(map(uploaded, value.planes)))
    return value if isinstance(value, tuple) or on_gpu(value) else cupy.asarray(value)
