"""A frame in planes, as decoders give it and encoders take it.

Luminance stands at full and colour at half resolution: ⌈H/2⌉×⌈W/2⌉ samples, each for the middle of
its 2×2 pixels (at an odd edge, for those that are there).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from kernels import _arrays
from kernels.spec import KernelError

MATRICES = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}  # weights of red and blue in Y
LAYOUTS = {2: "nv12", 3: "i420"}


@dataclass(frozen=True, eq=False)
class YUV:
    """One frame in planes of uint8.

    Attributes:
        planes: I420 is ``(y, u, v)``, y H×W, u and v ⌈H/2⌉×⌈W/2⌉; NV12 is ``(y, uv)``, uv
            ⌈H/2⌉×⌈W/2⌉×2. Rows may lie apart, as decoders pad them.
        matrix: how red, green and blue were mixed: "bt709" (usual from 720 lines on) or "bt601".
        full_range: False where black is 16 and white 235 (video), True where they are 0 and 255
            (JPEG, many webcams).

    Raises:
        KernelError: other than two or three planes, or an unknown matrix. Dtypes and shapes are
            looked at by the kernel that gets the frame.
    """

    planes: tuple[Any, ...]
    matrix: str = "bt709"
    full_range: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.planes, Sequence) or len(self.planes) not in LAYOUTS:
            raise KernelError(
                f"planes is {type(self.planes).__name__} of "
                f"{len(self.planes) if hasattr(self.planes, '__len__') else 'unknown'} length, "
                "expected (y, u, v) for I420 or (y, uv) for NV12"
            )
        _arrays.check_choice("matrix", self.matrix, tuple(MATRICES))
        object.__setattr__(self, "planes", tuple(self.planes))

    @property
    def layout(self) -> str:
        """ "i420" or "nv12"."""
        return LAYOUTS[len(self.planes)]

    def named(self, name: str) -> dict[str, Any]:
        """The planes by the names that error messages use: ``frame.y`` and so on."""
        parts = ("y", "uv") if self.layout == "nv12" else ("y", "u", "v")
        return {f"{name}.{part}": plane for part, plane in zip(parts, self.planes, strict=True)}


def checked(place: ModuleType, frame: YUV, name: str) -> tuple[Any, ...]:
    """Views of the planes for the target `place`: uint8 of fitting shapes, values side by side.

    Rows may lie apart; other layouts are copied.

    Raises:
        KernelError: a plane of another dtype, rank or size.
    """
    views = []
    for part, plane in frame.named(name).items():
        view = place.view(plane)
        _arrays.check_dtype(part, view, np.uint8, remedy="planes hold 8 bits a sample")
        _arrays.check_not_empty(part, view)
        if not views:
            if view.ndim != 2:
                raise KernelError(
                    f"{part} is {_arrays.text(view.shape)}, expected H×W: one frame's luminance"
                )
            half: tuple[int, ...] = tuple((side + 1) // 2 for side in view.shape)
            half += (2,) if frame.layout == "nv12" else ()
        elif tuple(view.shape) != half:
            raise KernelError(
                f"{part} is {_arrays.text(view.shape)}, expected {_arrays.text(half)} beside y "
                f"{_arrays.text(views[0].shape)}: colour at half resolution, rounded up"
            )
        views.append(_arrays.rows_contiguous(place, view, view.ndim - 1))
    return tuple(views)
