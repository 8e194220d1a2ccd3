"""The modes of matting: one pass of a network, or two at two scales.

``sdk.inference.trimaps`` has the one for networks that take a trimap, ``sdk.inference.plate`` that
for networks that read a plate. Each has two stages: ``prepare``, which is pure and may run in any
thread, and ``alphas``, where the networks run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from matter_sdk.kernels import collaborative_fusion
from matter_sdk.kernels.trimap import Trimap
from matter_sdk.sdk import describe
from matter_sdk.sdk.arrays import (
    picture_in,
    synchronize,
    tensor_of,
    to_device_of,
)
from matter_sdk.sdk.engine.manifest import ModelEntry
from matter_sdk.sdk.errors import EngineError, FrameError
from matter_sdk.sdk.inference.network import Network
from matter_sdk.sdk.inference.sizes import Scales, nearest_pair, pairs_of

Alphas = NDArray[np.float32]
Choice = Callable[[Sequence[int]], ModelEntry]  # a frame's shape -> the size that it runs at


class Mode(ABC):
    """One way from frames to their alphas."""

    network: Network

    @classmethod
    def check_engine(cls, network: Network, scales: Scales | None, trimap_from: Any) -> None:
        """Refuse an engine, or options of ``Matter``, that this mode cannot work with.

        Raises:
            EngineError: names the file and the option.
        """
        del scales
        if trimap_from is not None:
            raise EngineError(
                f"trimap_from is {trimap_from!r} and {network.path} holds "
                f"{network.manifest.network.name}, which takes no trimap; expected an engine of "
                f"sim. Leave it out"
            )

    def trimaps(self, given: Any, frames: Sequence[Any], *, batch: bool) -> Sequence[Trimap | None]:
        """Check the caller's trimaps; return one for each frame, None where there is none.

        ``given`` is what the caller passed: for a ``batch`` one for each frame.

        Raises:
            FrameError: for a trimap that the network does not take, or takes and is not right.
        """
        del batch
        if given is not None:
            raise FrameError(
                f"a trimap was given and {self.network.manifest.network.name} takes none; expected "
                f"the frame alone. Leave trimap out, or open an engine of sim"
            )
        return [None] * len(frames)

    @property
    def plate(self) -> Any:
        """The photograph of the empty place, uint8 and read-only; None where there is none.

        It is replaced by assigning another, or the path of one; None takes it away.

        Raises:
            FrameError: on assigning what is no picture, or for a network that reads no plate.
        """
        return None

    @plate.setter
    def plate(self, value: Any) -> None:
        del value
        raise FrameError(
            f"a plate was given and {self.network.manifest.network.name} reads none; expected the "
            f"frame alone. Leave plate out, or open an engine of gfm-plate"
        )

    @property
    def plate_fits(self) -> bool | None:
        """Whether the plate fitted the last frame; None before the first, and without a plate."""
        return None

    def check_streamable(self) -> None:
        """Raise FrameError if frames alone will not do: trimaps or a plate are missing."""
        return

    def describe(self) -> list[describe.Line]:
        """What ``Matter.describe`` says of this mode."""
        return []

    def close(self) -> None:
        """Release the networks; may be called more than once."""
        self.network.close()

    @abstractmethod
    def prepare(self, frame: Any, trimap: Trimap | None = None) -> Any:
        """Convert one checked frame to the networks' input. Safe in any thread."""

    def look(self, frame: Any, prepared: Any) -> Any:
        """See ``sdk.streaming.matting.Matting.look``."""
        del prepared
        return frame

    @abstractmethod
    def check(self, prepared: Any) -> None:
        """Raise FrameError unless this is what ``prepare`` gave for one frame."""

    @abstractmethod
    def alphas(self, prepared: Any) -> Alphas:
        """Run the networks: alphas at the network's size, float32 N×h×w in 0..1, a new array.

        ``prepared`` is what ``prepare`` gave, of several frames joined to one. The result is a CuPy
        array where the frames lay in a GPU's memory.
        """


class Glance(NamedTuple):
    """Glance logits, float32 N×classes×h×w, and the input size at which to take the arg-max.

    h×w may be smaller than that size: the graph may end before its last upsampling.
    """

    head: Any
    size: tuple[int, int]


class GlanceMode(Mode):
    """A mode whose network may have a glance head."""

    @abstractmethod
    def glance(self, prepared: Any) -> Glance:
        """Run the network for its glance head alone; return a new array."""


class SingleMode(GlanceMode):
    """One pass; ``choose`` gives the size for a frame's shape."""

    def __init__(self, network: Network, choose: Choice) -> None:
        self.network = network
        self._choose = choose

    def prepare(self, frame: Any, trimap: Trimap | None = None) -> Any:
        """Float32 1×3×h×w."""
        del trimap
        return tensor_of(frame, self.size_of(frame.shape), self.network.spec)

    def look(self, frame: Any, prepared: Any) -> Any:
        """See ``Mode.look``."""
        if isinstance(prepared, np.ndarray):
            return picture_in(prepared, self.network.spec)
        return frame

    def size_of(self, shape: Sequence[int]) -> tuple[int, int]:
        """The network's size for frames of a shape."""
        return self._choose(shape).size

    def check(self, prepared: Any) -> None:
        """See ``Mode.check``."""
        shape = tuple(getattr(prepared, "shape", ()))
        sizes = [model.size for model in self.network.models]
        if len(shape) != 4 or shape[:2] != (1, 3) or shape[2:] not in sizes:
            raise FrameError(
                f"the tensor has shape {shape}; expected 1×3×h×w with (h, w) one of {sizes}. Give "
                f"what prepare(frame) returned"
            )

    def alphas(self, prepared: Any) -> Alphas:
        """See ``Mode.alphas``."""
        return cast("Alphas", to_device_of(self.network.run(prepared, read=self._alphas), prepared))

    def glance(self, prepared: Any) -> Glance:
        """See ``GlanceMode.glance``."""
        head = self.network.run(prepared, read=lambda heads: heads["glance"].copy())
        return Glance(head, tuple(prepared.shape[2:]))

    def _alphas(self, heads: Mapping[str, Any]) -> Alphas:
        fusion = self.network.manifest.fusion
        if fusion == "alpha":
            return alpha_head(heads)
        return _fused(heads["glance"], heads["focus"], fusion, heads["focus"].shape[2:])


class HybridInput(NamedTuple):
    """A frame at two sizes, float32 1×3×h×w each."""

    glance: Any
    focus: Any


class HybridMode(GlanceMode):
    """Hybrid-resolution test: glance from a coarse pass, focus from a finer one.

    ``scales`` are those of the frame at which the two passes should run; for each frame the pair of
    built sizes that comes nearest is taken. Papers: GFM, IJCV 2022, section "Hybrid-resolution
    Test" and Table 6 (1/3 and 1/2); AIM, IJCAI 2021 (1/4 and 1/2 in the released code).
    """

    def __init__(self, network: Network, scales: Scales) -> None:
        self.network = network
        self._scales = scales
        self._pairs = pairs_of(network.models)

    def prepare(self, frame: Any, trimap: Trimap | None = None) -> HybridInput:
        """See ``Mode.prepare``."""
        del trimap
        pair = nearest_pair(self._pairs, frame.shape, self._scales)
        return HybridInput(*(tensor_of(frame, model.size, self.network.spec) for model in pair))

    def check(self, prepared: Any) -> None:
        """See ``Mode.check``."""
        check_prepared(prepared, HybridInput)

    def alphas(self, prepared: HybridInput) -> Alphas:
        """The fusion at the focus's size; see ``kernels.collaborative_fusion``."""
        glance = self.glance(prepared)
        focus = self.network.run(prepared.focus, read=lambda heads: heads["focus"].copy())
        fusion = self.network.manifest.fusion
        alphas = synchronize(_fused(glance.head, focus, fusion, glance.size))
        return cast("Alphas", to_device_of(alphas, prepared.focus))

    def glance(self, prepared: HybridInput) -> Glance:
        """See ``GlanceMode.glance``."""
        head = self.network.run(prepared.glance, read=lambda heads: heads["glance"].copy())
        return Glance(head, tuple(prepared.glance.shape[2:]))


def alpha_head(heads: Mapping[str, Any]) -> Alphas:
    """Return the head ``alpha`` as N×h×w, clipped to 0..1: some networks' is not bounded."""
    return cast("Alphas", heads["alpha"].clip(0, 1)[:, 0])


def check_prepared(prepared: Any, kind: type) -> None:
    """Raise FrameError unless ``prepared`` is a ``kind`` whose first tensor holds one frame."""
    if not isinstance(prepared, kind) or len(prepared[0]) != 1:  # type: ignore[index]
        raise FrameError(
            f"infer was given a {type(prepared).__name__}; expected the input of one frame. Give "
            f"what prepare(frame) returned"
        )


def _fused(glance: Any, focus: Any, fusion: str, told: tuple[int, int]) -> Alphas:
    """``told``: the size of the glance's pass."""
    return cast("Alphas", collaborative_fusion(glance, focus, fusion, glance_size=told)[:, 0])
