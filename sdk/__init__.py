"""Matter SDK: the alpha matte of a picture or a live video, from one engine file.

    from matter_sdk import Matter

    matter = Matter()                # the engine of the package; or Matter("my.engine")
    matte = matter("cat.jpg")        # or uint8 H×W×3, BGR as OpenCV gives it; order="rgb"
    matte.save("cut.png")            # the subject with transparency; .show(), .to_pil()
    matte.alpha                      # float32 H×W in 0..1
    matte.over("beach.jpg")          # uint8 H×W×3
    matte.cutout()                   # uint8 H×W×4, straight alpha
    matter.batch("photos", "out")    # pictures of a folder to cut-outs in another
    matte.gpu().over("green")        # the same in a GPU's memory, as CuPy arrays

    Matter("sim.engine")(frame, trimap=trimap)            # or Matter(…, trimap_from="gfm.engine")
    Matter("gfm.engine", hybrid=(1/3, 1/2))               # glance and focus at scales of their own
    Matter("gfm-plate.engine", plate=empty)(frame)        # beside a picture of the empty place
    Matter("gfm.engine", quality="studio")                # or "live"; "balanced" if nothing is said

    for matte in matter.stream("clip.mp4"): ...           # or a camera: stream(0, live=True)
    MatterPool("gfm.engine").stream(0, live=True)         # several streams, one engine

This file is the map: everything that an application needs is named here. Errors are loaded at once,
the rest at its first use, so that the import costs nothing and pulls in no runtime.
"""

from __future__ import annotations

import importlib
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
    from matter_sdk.sdk.background import Background
    from matter_sdk.sdk.engine.file import EngineFile
    from matter_sdk.sdk.inference.quality import QUALITIES
    from matter_sdk.sdk.matte import Matte
    from matter_sdk.sdk.matter import Matter
    from matter_sdk.sdk.media.picture_reader import (
        picture_size,
        read_grey,
        read_picture,
        read_trimap,
        read_values,
    )
    from matter_sdk.sdk.media.picture_writer import (
        OPAQUE_SUFFIXES,
        TRANSPARENT_SUFFIXES,
        encode_picture,
        write_picture,
    )
    from matter_sdk.sdk.media.places import check_kept, distinct_names, find_pictures
    from matter_sdk.sdk.media.recorder import Recorder
    from matter_sdk.sdk.media.virtual_camera import VirtualCamera
    from matter_sdk.sdk.pool import MatterPool
    from matter_sdk.sdk.stream import Stream, fail_safe
    from matter_sdk.sdk.streaming.plate_taker import PlateTaker
    from matter_sdk.sdk.streaming.statistics import Stats
    from matter_sdk.sdk.video import (
        VideoBackground,
        VideoInterrupted,
        VideoReader,
        VideoReport,
        VideoWriter,
        check_output,
        frame_at,
        matte_video,
    )

__version__ = "0.1.0"

_NAMES = {
    "matter": "Matter",
    "matte": "Matte",
    "pool": "MatterPool",
    "background": "Background",
    "stream": "Stream fail_safe",
    "streaming.plate_taker": "PlateTaker",
    "streaming.statistics": "Stats",
    "video": "VideoBackground VideoInterrupted VideoReader VideoReport VideoWriter "
    "check_output frame_at matte_video",
    "media.recorder": "Recorder",
    "media.virtual_camera": "VirtualCamera",
    "media.picture_reader": "picture_size read_grey read_picture read_trimap read_values",
    "media.picture_writer": "OPAQUE_SUFFIXES TRANSPARENT_SUFFIXES encode_picture write_picture",
    "media.places": "check_kept distinct_names find_pictures",
    "inference.quality": "QUALITIES",
    "engine.file": "EngineFile",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "OPAQUE_SUFFIXES",
    "QUALITIES",
    "TRANSPARENT_SUFFIXES",
    "BackendError",
    "Background",
    "BackgroundError",
    "ClosedError",
    "EngineError",
    "EngineFile",
    "FrameError",
    "Matte",
    "Matter",
    "MatterError",
    "MatterPool",
    "NoMatteError",
    "PlateError",
    "PlateTaker",
    "Recorder",
    "Stats",
    "Stream",
    "VideoBackground",
    "VideoError",
    "VideoInterrupted",
    "VideoReader",
    "VideoReport",
    "VideoWriter",
    "VirtualCamera",
    "__version__",
    "check_kept",
    "check_output",
    "distinct_names",
    "encode_picture",
    "fail_safe",
    "find_pictures",
    "frame_at",
    "matte_video",
    "picture_size",
    "read_grey",
    "read_picture",
    "read_trimap",
    "read_values",
    "write_picture",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"matter_sdk.sdk.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'sdk' has no attribute {name!r}; it has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
