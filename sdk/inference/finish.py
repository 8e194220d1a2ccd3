"""From the alpha at the network's size to the matte of a frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from matter_sdk.kernels import YUV
from matter_sdk.kernels.trimap import Trimap
from matter_sdk.sdk.arrays import device_of, on_gpu, synchronize
from matter_sdk.sdk.errors import FrameError
from matter_sdk.sdk.inference.quality import QUALITIES, Quality
from matter_sdk.sdk.inference.trimaps import impose
from matter_sdk.sdk.matte import Matte


def check_alpha(alpha: Any) -> None:
    """Raise FrameError unless ``alpha`` is float32 h×w, NumPy's or CuPy's."""
    shape = getattr(alpha, "shape", ())
    if getattr(alpha, "dtype", None) != np.float32 or len(shape) != 2 or 0 in shape:
        raise FrameError(
            f"the alpha is a {type(alpha).__name__} of type {getattr(alpha, 'dtype', None)} "
            f"and shape {tuple(shape)}; expected float32 h×w. Give what infer returned"
        )


def finished(
    image: Any,
    alpha: NDArray[np.float32],
    trimap: Trimap | None,
    quality: Quality = QUALITIES["balanced"],
    *,
    transparency: bool = True,
) -> Matte:
    """The matte of a frame from the alpha at the network's size, float32 h×w; see ``finish``.

    ``trimap`` is one that was checked, of the frame's size, and binds there. With ``transparency``
    a BGRA frame's own alpha, of its size, multiplies the matte.
    """
    matte = Matte(image, alpha, guided=quality.guided, clean=quality.clean)
    if trimap is not None:
        bound = matte.alpha.copy()
        impose(bound, trimap)
        matte = Matte(image, bound, clean=quality.clean)
    if transparency and not isinstance(image, YUV) and image.ndim == 3 and image.shape[2] == 4:
        with device_of(image):
            own = image[..., 3] / np.float32(255)
            full = matte.gpu().alpha if on_gpu(image) else matte.alpha
            matte = Matte(image, synchronize(full * own), clean=quality.clean)
    return matte
