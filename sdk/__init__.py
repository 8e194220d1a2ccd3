"""Matter SDK: the alpha matte of a picture or a live video, from one engine file.

    from sdk import Matter

    matter = Matter("gfm.engine")
    matte = matter(frame)            # uint8 H×W×3, BGR as OpenCV gives it
    matte.alpha                      # float32 H×W in 0..1
    matte.over("beach.jpg")          # uint8 H×W×3
    matte.cutout()                   # uint8 H×W×4, straight alpha

    Matter("sim.engine")(frame, trimap=trimap)            # or Matter(…, trimap_from="gfm.engine")
    Matter("gfm.engine", hybrid=(1/3, 1/2))               # glance and focus at scales of their own
    Matter("gfm-plate.engine", plate=empty)(frame)        # beside a picture of the empty place

This file is the map: everything that an application needs is named here. ``Matter`` and ``Matte``
are loaded at their first use, so that ``import sdk`` costs nothing and pulls in no runtime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdk.errors import (
    BackendError,
    BackgroundError,
    ClosedError,
    EngineError,
    FrameError,
    MatterError,
    VideoError,
)

if TYPE_CHECKING:
    from sdk.matte import Matte
    from sdk.matter import Matter

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
    "VideoError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "Matter":
        from sdk.matter import Matter

        return Matter
    if name == "Matte":
        from sdk.matte import Matte

        return Matte
    raise AttributeError(f"module 'sdk' has no attribute {name!r}; it has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
