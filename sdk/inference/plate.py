"""Plate mode: a network that compares each frame with a photograph of the empty place.

The clean plate, *plate* for short, shows what the frames show without the subject. It is given
once, not with each frame, and may be replaced while frames run.
"""

from __future__ import annotations

import importlib.util
import math
import os
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from matter_sdk.kernels import YUV, InputSpec
from matter_sdk.sdk import describe
from matter_sdk.sdk.arrays import as_frame, picture, tensor_of, to_cpu, to_device_of
from matter_sdk.sdk.engine.manifest import Manifest
from matter_sdk.sdk.errors import EngineError, FrameError, PlateError
from matter_sdk.sdk.inference import plate_fit
from matter_sdk.sdk.inference.modes import Alphas, Choice, Glance, SingleMode, check_prepared
from matter_sdk.sdk.inference.network import Network
from matter_sdk.sdk.inference.sizes import Scales
from matter_sdk.sdk.media.picture_reader import read_picture

INPUTS = {"plate": 3}
"""What such a network reads beside the image: name -> channels."""

# How far the aspect ratios of plate and frame may differ. Sizes that were rounded to whole pixels
# are closer than that; 16:9 and 16:10 are ten times as far apart.
_STRETCH = 0.01


class Plate:
    """A plate and the network's inputs made from it, one for each size, at their first use.

    ``value`` is the path of a picture or what ``Matter`` takes as a frame. It is copied, to the
    CPU's memory. Safe to use from several threads.

    Attributes:
        image: uint8 H×W×3 (BGR), H×W×4 (BGRA) or H×W (grey), read-only.
        small: what ``sdk.inference.plate_fit`` compares.

    Raises:
        FrameError: for a file that is no picture, or an array that is no frame.
    """

    def __init__(self, value: Any) -> None:
        if isinstance(value, (str, os.PathLike)):
            value = read_picture(value, what="the plate")
        # It is copied once and not for each frame, so that one in a GPU's memory suits any backend.
        on_gpu = importlib.util.find_spec("cupy") is not None
        checked = as_frame(value, "the plate", on_gpu=on_gpu)
        if isinstance(checked, YUV):
            checked = picture(checked)
        self.image: NDArray[np.uint8] = np.array(to_cpu(checked))
        self.image.flags.writeable = False
        self._tensors: dict[tuple[int, int], NDArray[np.float32]] = {}
        self._lock = threading.Lock()
        self.small = plate_fit.small(self.image)

    def tensor(self, size: tuple[int, int], spec: InputSpec) -> NDArray[np.float32]:
        """The plate as a network's input, float32 1×3×h×w; kept, and not to be written to."""
        with self._lock:
            if size not in self._tensors:
                self._tensors[size] = tensor_of(self.image, size, spec)
            return self._tensors[size]

    def check_fits(self, frame: Sequence[int]) -> None:
        """Raise FrameError for a frame's shape whose aspect ratio is another than the plate's."""
        height, width = self.image.shape[:2]
        if abs(math.log(height / width * frame[1] / frame[0])) > _STRETCH:
            raise FrameError(
                f"the plate is {height}×{width} and the frame {frame[0]}×{frame[1]} "
                f"(height×width); expected one aspect ratio. Take the plate with the camera and "
                f"the settings of the frames, or crop both alike"
            )


class PlateInput(NamedTuple):
    """``PlateMode.prepare``'s result, float32 1×3×h×w each."""

    image: Any
    plate: NDArray[np.float32]


class PlateMode(SingleMode):
    """One pass of a network that reads a plate beside the image (``gfm-plate``)."""

    def __init__(self, network: Network, choose: Choice) -> None:
        super().__init__(network, choose)
        self._plate: Plate | None = None
        self._fits: bool | None = None

    @property
    def plate_fits(self) -> bool | None:
        """See ``Mode.plate_fits``."""
        return self._fits

    @property
    def plate(self) -> Any:
        """See ``Mode.plate``."""
        plate = self._plate
        return None if plate is None else plate.image

    @plate.setter
    def plate(self, value: Any) -> None:
        self._plate = None if value is None else Plate(value)
        self._fits = None

    def check_streamable(self) -> None:
        """See ``Mode.check_streamable``."""
        if self._plate is None:
            raise self._missing()

    @classmethod
    def check_engine(cls, network: Network, scales: Scales | None, trimap_from: Any) -> None:
        """See ``Mode.check_engine``: one pass only."""
        super().check_engine(network, scales, trimap_from)
        if scales is not None and scales[0] < scales[1]:
            raise EngineError(
                f"hybrid was given and {network.path} holds {network.manifest.network.name}, which "
                f"reads a plate; expected a network that reads the frame alone. Leave it out"
            )

    def describe(self) -> list[describe.Line]:
        """See ``Mode.describe``."""
        return [describe.plate(self.plate)]

    def prepare(self, frame: Any, trimap: Any = None) -> PlateInput:
        """See ``Mode.prepare``.

        Raises:
            PlateError: without a plate, or for one that shows another place than the frame.
            FrameError: for one of another aspect ratio than the frame.
        """
        del trimap
        plate = self._plate  # one or the other, should it be replaced meanwhile
        if plate is None:
            raise self._missing()
        plate.check_fits(frame.shape)
        reason = plate_fit.misfit(plate.small, plate_fit.small(frame))
        if self._plate is plate:
            self._fits = reason is None
        if reason is not None:
            raise PlateError(reason)
        size = self.size_of(frame.shape)
        spec = self.network.spec
        return PlateInput(tensor_of(frame, size, spec), plate.tensor(size, spec))

    def check(self, prepared: Any) -> None:
        """See ``Mode.check``."""
        check_prepared(prepared, PlateInput)

    def alphas(self, prepared: PlateInput) -> Alphas:
        """See ``Mode.alphas``."""
        alphas = self.network.run(*prepared, read=self._alphas)
        return cast("Alphas", to_device_of(alphas, prepared.image))

    def glance(self, prepared: PlateInput) -> Glance:
        """See ``GlanceMode.glance``."""
        head = self.network.run(*prepared, read=lambda heads: heads["glance"].copy())
        return Glance(head, tuple(prepared.image.shape[2:]))

    def _missing(self) -> PlateError:
        return PlateError(
            f"no plate is set and {self.network.manifest.network.name} needs one, a photograph of "
            f"the place without the subject; expected matter.plate = image, or "
            f"Matter({str(self.network.path)!r}, plate=image), where image is not the None that "
            f"cv2.imread gives for a file that it cannot read"
        )


def reads_plate(manifest: Manifest) -> bool:
    """Whether a network reads a plate beside the image, and nothing else."""
    return {extra.name: extra.channels for extra in manifest.extra_inputs} == INPUTS
