"""The result for one frame: its alpha matte, and what can be made of it."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

from kernels import alpha_blend, foreground
from sdk.background import Background, Image


class Matte:
    """The alpha matte of one frame.

    Attributes:
        alpha: float32 H×W in 0..1, of the frame's size. ``np.asarray(matte)`` is the same array.
        frame: the frame as it was given, not copied; it must not change while this is in use.
    """

    def __init__(self, frame: Image, alpha: NDArray[np.float32]) -> None:
        self.frame = frame
        self.alpha = alpha

    def over(self, background: object, *, index: int = 0, clean: bool = False) -> Image:
        """The subject over another background: uint8 H×W×3 BGR.

        ``background`` is anything that ``Background.open`` takes; a file is read once and kept, a
        video wants an opened ``Background`` and the ``index`` of the frame.

        By default the frame's own colours are blended, which lets a trace of the old background
        shine through hair and soft edges. ``clean=True`` estimates the subject's true colours
        there first (see ``foreground``), which takes several times as long.

        Raises:
            BackgroundError: for a background that is not known or cannot be read.
        """
        opened = _opened(background)
        subject = self.foreground() if clean else self._colours()
        behind = opened.at(self._colours(), index, self.alpha)
        return cast(Image, alpha_blend(subject, behind, self.alpha))

    def cutout(self) -> Image:
        """The subject alone: uint8 H×W×4 BGRA, straight (not premultiplied) alpha.

        The colours are the estimated foreground's, so that no rim of the old background shows on a
        new one. Write it with ``cv2.imwrite("cutout.png", matte.cutout())``.
        """
        result = np.empty((*self.alpha.shape, 4), np.uint8)
        result[..., :3] = self.foreground()
        result[..., 3] = np.rint(np.clip(self.alpha, 0, 1) * np.float32(255))
        return result

    def foreground(self) -> Image:
        """The subject's colours without the background that shines through: uint8 H×W×3 BGR.

        What ``kernels.foreground`` estimates (blur fusion); where alpha is 1 this is the frame
        itself. The result is kept.
        """
        return self._foreground

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if dtype is not None and np.dtype(dtype) != self.alpha.dtype:
            if copy is False:
                raise ValueError(
                    f"the alpha is {self.alpha.dtype}; as {np.dtype(dtype)} it cannot be had "
                    f"without a copy, expected copy=None or copy=True"
                )
            return self.alpha.astype(dtype)
        return self.alpha.copy() if copy else self.alpha

    def __repr__(self) -> str:
        height, width = self.alpha.shape
        return f"Matte({height}×{width}, {float(self.alpha.mean()):.0%} subject)"

    def _colours(self) -> Image:
        """The frame as H×W×3, whatever it came as. A BGRA frame's own alpha is left out."""
        if self.frame.ndim == 2:
            return cast(Image, cv2.cvtColor(self.frame, cv2.COLOR_GRAY2BGR))
        return self.frame[..., :3]

    @functools.cached_property
    def _foreground(self) -> Image:
        return cast(Image, foreground(self._colours(), self.alpha))


def _opened(background: object) -> Background:
    """Open a background; files are kept, so that a loop over frames reads its image once."""
    if isinstance(background, (str, os.PathLike)) and Path(background).is_file():
        status = Path(background).stat()
        return _kept(str(background), status.st_mtime_ns, status.st_size)
    return Background.open(background)


@functools.lru_cache(maxsize=4)
def _kept(name: str, changed: int, size: int) -> Background:
    del changed, size  # in the key only: a file that changed is read again
    return Background.open(Path(name))
