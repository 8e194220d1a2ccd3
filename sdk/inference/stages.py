"""The stages from checked frames to mattes, in whatever mode."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matter_sdk.kernels import YUV
from matter_sdk.kernels.trimap import Trimap
from matter_sdk.sdk.arrays import array_module, device_of, on_gpu, synchronize, to_cpu
from matter_sdk.sdk.errors import FrameError, PlateError
from matter_sdk.sdk.inference.modes import Mode
from matter_sdk.sdk.inference.quality import QUALITIES, Quality
from matter_sdk.sdk.inference.trimaps import impose
from matter_sdk.sdk.matte import Matte, nothing

log = logging.getLogger("matter")


class Stages:
    """Frames to mattes by a mode's ``prepare``, ``infer`` and ``finish``. Safe in any thread.

    Frames and trimaps are checked where they come in (``as_frame``, ``Mode.trimaps``), and are
    trusted here.

    Args:
        mode: runs the networks.
        quality: how alpha is enlarged.
        transparency: let the alpha channel of a BGRA frame multiply its matte.
    """

    def __init__(
        self, mode: Mode, quality: Quality = QUALITIES["balanced"], *, transparency: bool = True
    ) -> None:
        self.mode = mode
        self._quality = quality
        self._transparency = transparency
        self._refused: Any = None  # the plate whose misfit was logged

    def mattes(self, frames: Sequence[Any], trimaps: Sequence[Trimap | None]) -> Iterator[Matte]:
        """The mattes of frames of one size, in turns of the network's batch.

        A frame that the plate does not fit has a black one with alpha 0.

        Raises:
            PlateError: there is no plate.
            NoMatteError: the network answered NaN or infinity.
        """
        pairs = list(zip(frames, trimaps, strict=True))
        batch = self.mode.network.manifest.batch
        for at in range(0, len(pairs), batch):
            turn = pairs[at : at + batch]
            prepared = [self._prepared(frame, trimap) for frame, trimap in turn]
            alphas = iter(self.infer([one for one in prepared if one is not None]))
            for (frame, trimap), one in zip(turn, prepared, strict=True):
                if one is None:
                    yield nothing(frame)
                else:
                    yield self.finish(frame, next(alphas), trimap)

    def infer(self, prepared: Sequence[Any]) -> list[NDArray[np.float32]]:
        """The alpha of each, float32 h×w; those of one size run in the network's batch."""
        turns = [prepared] if _alike(prepared) else [[one] for one in prepared]
        return [alpha for turn in turns for alpha in self.mode.alphas(_joined(turn))]

    def finish(self, frame: Any, alpha: NDArray[np.float32], trimap: Trimap | None) -> Matte:
        """The matte of a frame from the alpha at the network's size, float32 h×w.

        A trimap, of the frame's size, binds there.
        """
        clean = self._quality.clean
        matte = Matte(frame, alpha, guided=self._quality.guided, clean=clean)
        if trimap is not None:
            bound = matte.alpha.copy()
            impose(bound, trimap)
            matte = Matte(frame, bound, clean=clean)
        if self._transparency and not isinstance(frame, YUV) and frame.shape[2:] == (4,):
            with device_of(frame):
                own = frame[..., 3] / np.float32(255)
                full = matte.gpu().alpha if on_gpu(frame) else matte.alpha
                matte = Matte(frame, synchronize(full * own), clean=clean)
        return matte

    def _prepared(self, frame: Any, trimap: Trimap | None) -> Any:
        """The networks' input; None for a frame that the plate does not fit, logged once each."""
        try:
            return self.mode.prepare(frame, trimap)
        except PlateError as error:
            plate = self.mode.plate
            if plate is None:
                raise
            if plate is not self._refused:
                self._refused = plate
                log.warning("no matte; showing the background only: %s", error)
            return None


def check_alpha(alpha: Any) -> None:
    """Raise FrameError unless ``alpha`` is float32 h×w, NumPy's or CuPy's."""
    shape = getattr(alpha, "shape", ())
    if getattr(alpha, "dtype", None) != np.float32 or len(shape) != 2 or 0 in shape:
        raise FrameError(
            f"the alpha is a {type(alpha).__name__} of type {getattr(alpha, 'dtype', None)} "
            f"and shape {tuple(shape)}; expected float32 h×w. Give what infer returned"
        )


def _alike(inputs: Sequence[Any]) -> bool:
    """Whether inputs of single frames are of one kind and size, so that they can be joined."""
    return len(set(map(_kind, inputs))) == 1


def _joined(inputs: Sequence[Any]) -> Any:
    """Inputs that are alike as one of several frames; a single one as it is."""
    first = inputs[0]
    if len(inputs) == 1 or first is None:
        return first
    if isinstance(first, tuple):
        return type(first)(*map(_joined, zip(*inputs, strict=True)))
    if isinstance(first, list):
        return list(itertools.chain(*inputs))
    if not all(map(on_gpu, inputs)):
        inputs = list(map(to_cpu, inputs))
    with device_of(*inputs):
        return synchronize(array_module(inputs[0]).concatenate(inputs))


def _kind(prepared: Any) -> Any:
    if isinstance(prepared, tuple):
        return (type(prepared), *map(_kind, prepared))
    return getattr(prepared, "shape", type(prepared))
