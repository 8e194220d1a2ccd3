"""What a stream, a video and a pool need of a ``Matter``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from matter_sdk.sdk.arrays import picture
from matter_sdk.sdk.inference.quality import Quality
from matter_sdk.sdk.matte import Matte

if TYPE_CHECKING:
    from matter_sdk.sdk.streaming.frame_graph import FrameGraph


class Matting(Protocol):
    """Frames to mattes in three stages, each safe to call from any thread.

    ``Matter`` has all of it. What wraps or replaces one derives from this class and overrides what
    differs from the defaults.
    """

    @property
    def quality(self) -> Quality:
        """How alphas are filtered over time."""

    @property
    def lanes(self) -> int:
        """How many frames ``infer`` works on at once."""
        return 1

    @property
    def takes_planes(self) -> bool:
        """Whether frames may come as ``kernels.YUV``."""
        return False

    @property
    def device(self) -> str:
        """Where it runs: "cpu" or "cuda:N"."""
        return "cpu"

    @property
    def plate(self) -> Any:
        """The picture of the empty place, or None; another one restarts the filter over time."""
        return None

    def check_streamable(self) -> None:
        """Raise FrameError if frames alone will not do."""
        return

    def prepare(self, frame: Any) -> Any:
        """See ``Matter.prepare``; ``WITHHELD`` for a frame that has no matte."""

    def look(self, frame: Any, prepared: Any) -> Any:
        """A frame as the filter over time looks at it: uint8 h×w×3 BGR at the network's size.

        Or the frame itself where ``prepare`` gave something else than 1×3×h×w in the CPU's memory.
        """
        return picture(frame, prepared.shape[-2:]) if isinstance(prepared, np.ndarray) else frame

    def infer(self, prepared: Any) -> NDArray[np.float32]:
        """See ``Matter.infer``."""

    def finish(self, frame: Any, alpha: NDArray[np.float32]) -> Matte:
        """See ``Matter.finish``."""

    def frame_graph(self, frame: Any, background: object) -> FrameGraph | None:
        """See ``Matter.frame_graph``."""
        del frame, background
        return None


class Wrapped(Matting):
    """Another ``Matting`` with some of its stages replaced. It runs one frame at a time."""

    def __init__(self, matter: Matting) -> None:
        self.matter = matter

    @property
    def quality(self) -> Quality:
        """See ``Matting.quality``."""
        return self.matter.quality

    @property
    def takes_planes(self) -> bool:
        """See ``Matting.takes_planes``."""
        return self.matter.takes_planes

    @property
    def plate(self) -> Any:
        """See ``Matting.plate``."""
        return self.matter.plate

    def check_streamable(self) -> None:
        """See ``Matting.check_streamable``."""
        self.matter.check_streamable()

    def prepare(self, frame: Any) -> Any:
        """See ``Matting.prepare``."""
        return self.matter.prepare(frame)

    def look(self, frame: Any, prepared: Any) -> Any:
        """See ``Matting.look``."""
        return self.matter.look(frame, prepared)

    def infer(self, prepared: Any) -> NDArray[np.float32]:
        """See ``Matting.infer``."""
        return self.matter.infer(prepared)

    def finish(self, frame: Any, alpha: NDArray[np.float32]) -> Matte:
        """See ``Matting.finish``."""
        return self.matter.finish(frame, alpha)
