"""Matter SDK: the alpha matte of a picture or a live video, from one engine file.

    from matter_sdk import Matter

    matter = Matter("gfm.engine")
    matte = matter(frame)            # uint8 H×W×3, BGR as OpenCV gives it
    matte.alpha                      # float32 H×W in 0..1
    matte.over("beach.jpg")          # uint8 H×W×3
    matte.cutout()                   # uint8 H×W×4, straight alpha
    matte.gpu().over("green")        # the same in a GPU's memory, as CuPy arrays

    Matter("sim.engine")(frame, trimap=trimap)            # or Matter(…, trimap_from="gfm.engine")
    Matter("gfm.engine", hybrid=(1/3, 1/2))               # glance and focus at scales of their own
    Matter("gfm-plate.engine", plate=empty)(frame)        # beside a picture of the empty place
    Matter("gfm.engine", quality="studio")                # or "live"; "balanced" if nothing is said

    for matte in matter.stream("clip.mp4"): ...           # or a camera: stream(0, live=True)
    MatterPool("gfm.engine").stream(0, live=True)         # several streams, one engine

This file is the map: everything that an application needs is named here. ``Matter``, ``Matte``
and ``MatterPool`` are loaded at their first use, so that ``import sdk`` costs nothing and pulls in
no runtime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matter_sdk.sdk.errors import (
    BackendError,
    BackgroundError,
    ClosedError,
    EngineError,
    FrameError,
    MatterError,
    NoMatteError,
    PlateError,
    VideoError,
)

if TYPE_CHECKING:
    from matter_sdk.sdk.matte import Matte
    from matter_sdk.sdk.matter import Matter
    from matter_sdk.sdk.pool import MatterPool

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "BackgroundError",
    "ClosedError",
    "EngineError",
    "FrameError",
    "Matte",
    "Matter",
    "MatterError",
    "MatterPool",
    "NoMatteError",
    "PlateError",
    "VideoError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "Matter":
        from matter_sdk.sdk.matter import Matter

        return Matter
    if name == "MatterPool":
        from matter_sdk.sdk.pool import MatterPool

        return MatterPool
    if name == "Matte":
        from matter_sdk.sdk.matte import Matte

        return Matte
    raise AttributeError(f"module 'sdk' has no attribute {name!r}; it has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
