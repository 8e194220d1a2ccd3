"""The result for one frame: its alpha matte, and what can be made of it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
from matter_sdk.kernels import YUV, alpha_blend, composite, foreground
from matter_sdk.sdk.arrays import host, picture
from matter_sdk.sdk.background import Background, Image
from matter_sdk.sdk.errors import BackendError
from matter_sdk.sdk.media.cutout import eight_bits, hide_removed
from numpy.typing import DTypeLike, NDArray

if TYPE_CHECKING:
    from matter_sdk.sdk.media.gpu_matte import GpuMatte


class Matte:
    """The alpha matte of one frame.

    What is asked for is computed then: a composite of a frame whose alpha nobody reads never makes
    that alpha at the frame's size. Arrays that it gives are in the CPU's memory, those of ``gpu()``
    in a GPU's; a frame that lies there is brought from there when it is first needed.

    Args:
        frame: the frame as it was given, uint8 H×W×3 (BGR), H×W×4 (BGRA), H×W (grey) or in planes;
            it is not copied and must not change while this is in use.
        alpha: float32 in 0..1, of the frame's size or of the network's.
        guided: whether alpha follows the frame's colours where it is enlarged; otherwise it is
            interpolated. See ``kernels.composite``.
        clean: whether ``over`` blends the subject's estimated colours if it is not told.
    """

    def __init__(
        self,
        frame: Any,
        alpha: Any,
        *,
        guided: bool = False,
        clean: bool = False,
    ) -> None:
        self._came = frame, alpha
        self._guided = guided
        self._clean = clean

    @functools.cached_property
    def _given(self) -> Image | YUV:
        return cast("Image | YUV", host(self._came[0]))

    @functools.cached_property
    def _small(self) -> NDArray[np.float32]:
        alpha = cast("NDArray[np.float32]", host(self._came[1]))
        # Where it is not known, nothing of the frame is shown.
        known = np.isfinite(alpha)
        return alpha if known.all() else np.where(known, alpha, np.float32(0))

    @property
    def planes(self) -> YUV | None:
        """The frame as ``kernels.YUV``, if that is how it came, as from a video; or None."""
        return cast(YUV, self._given) if isinstance(self._came[0], YUV) else None

    def gpu(self) -> GpuMatte:
        """The same matte in a GPU's memory: what lies there is not copied, the rest is, once.

        Raises:
            BackendError: CuPy is not installed.
        """
        try:
            from matter_sdk.sdk.media.gpu_matte import GpuMatte
        except ImportError as error:
            raise BackendError(
                f"gpu() was called and CuPy cannot be imported ({error}); expected it: pip install "
                f"'matter-sdk[nvidia]'"
            ) from error
        return GpuMatte(*self._came, guided=self._guided, clean=self._clean)

    @functools.cached_property
    def frame(self) -> Image:
        """The frame as it was given; uint8 H×W×3 BGR if it came in planes, made at first use."""
        given = self._given
        return cast(Image, picture(given) if isinstance(given, YUV) else given)

    @functools.cached_property
    def alpha(self) -> NDArray[np.float32]:
        """float32 H×W in 0..1, of the frame's size."""
        return _enlarged(self._given, self._small, self._guided)

    def over(self, background: object, *, index: int = 0, clean: bool | None = None) -> Image:
        """The subject over another background: uint8 H×W×3 BGR.

        ``background`` is anything that ``Background.open`` takes; a file is read once and kept, a
        video wants an opened ``Background`` and the ``index`` of the frame.

        Where the frame's own colours are blended, a trace of the old background shines through hair
        and soft edges. ``clean=True`` estimates the subject's true colours there first; None leaves
        that to the quality that the ``Matter`` was opened with.

        Raises:
            BackgroundError: for a background that is not known or cannot be read.
        """
        opened = open_background(background)
        subject = self._colours()
        behind = opened.at(subject, index, self._weights(opened))
        return cast(Image, self._composed(subject, behind, clean))

    def over_planes(self, background: object, *, index: int = 0, clean: bool | None = None) -> YUV:
        """As ``over``, in planes from end to end: of the frame's layout, matrix and range.

        Raises:
            BackgroundError: as ``over``.
            ValueError: the frame did not come in planes.
        """
        if self.planes is None:
            raise ValueError("the frame came as an array and has no planes; expected over()")
        opened = open_background(background)
        behind = opened.planes_at(self.planes, index, self._weights(opened))
        return cast(YUV, self._composed(self.planes, behind, clean))

    def cutout(self) -> Image:
        """The subject alone: uint8 H×W×4 BGRA, straight (not premultiplied) alpha.

        The colours are ``foreground()``: no rim of the old background shows on a new one, and
        where alpha is 0 they tell nothing of the frame. Write it with
        ``sdk.media.picture_writer.write_picture``.
        """
        return cast(Image, cv2.merge([*cv2.split(self.foreground()), eight_bits(self.alpha)]))

    def foreground(self) -> Image:
        """The subject's colours without the background that shines through: uint8 H×W×3 BGR.

        What ``kernels.foreground`` estimates (blur fusion); where alpha is 1 this is the frame
        itself. Where alpha is 0 (at 8 bits: at most ``sdk.media.cutout.FAINT``) it tells nothing of
        the frame: the subject's colours extend outwards a little, and beyond it is black. The
        result is kept.
        """
        return self._shown

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
        height, width = self._came[0].shape[:2]
        return f"Matte({height}×{width}, {float(self._came[1].mean()):.0%} subject)"

    def _colours(self) -> Image:
        """The frame as H×W×3, whatever it came as. A BGRA frame's own alpha is in the matte."""
        return _three_channels(self.frame)

    def _weights(self, background: Background) -> NDArray[np.float32] | None:
        return self.alpha if background.reads_alpha else None

    def _composed(self, subject: Any, behind: Any, clean: bool | None) -> Any:
        """Subject over ``behind``, by alpha as it is: enlarged on the way if it is small."""
        return composed(
            subject,
            behind,
            self._small,
            guided=self._guided,
            clean=self._clean if clean is None else clean,
            planar=self.planes is not None,
            estimate=lambda: self._foreground,
        )

    @functools.cached_property
    def _foreground(self) -> Image:
        return cast(Image, foreground(self._colours(), self.alpha))

    @functools.cached_property
    def _shown(self) -> Image:
        return hide_removed(self._foreground, eight_bits(self.alpha))


def nothing(frame: Any) -> Matte:
    """The matte of a frame that has none: black, with alpha 0.

    Nothing that is done with it shows anything of the frame, a blur of it neither.
    """
    if isinstance(frame, YUV):
        black = np.zeros((*frame.shape, 3), np.uint8)
        hidden: Any = YUV.from_bgr(
            black, layout=frame.layout, matrix=frame.matrix, full_range=frame.full_range
        )
    else:
        hidden = np.zeros(tuple(frame.shape), np.uint8)
    return Matte(hidden, np.zeros((1, 1), np.float32))


def composed(
    subject: Any,
    behind: Any,
    alpha: Any,
    *,
    guided: bool,
    clean: bool,
    planar: bool,
    estimate: Callable[[], Any] | None = None,
    out: Any = None,
) -> Any:
    """Subject over ``behind`` by an alpha of its size or another's, all in one place: the CPU's
    memory or a GPU's.

    ``planar``: the frame came in planes. ``estimate`` gives the subject's own colours where they
    may be known already. The result is in ``out`` if that is given.
    """
    same = tuple(alpha.shape) == tuple(subject.shape[:2])
    if not same or (clean and planar):
        return composite(subject, behind, alpha, guided=guided and not same, clean=clean, out=out)
    if clean:
        subject = foreground(subject, alpha) if estimate is None else estimate()
    return alpha_blend(subject, behind, alpha, out=out)


def _three_channels(frame: Image) -> Image:
    if frame.ndim == 2:
        return cast(Image, cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    return frame[..., :3]


def _enlarged(frame: Any, alpha: NDArray[np.float32], guided: bool) -> NDArray[np.float32]:
    """An alpha of the network's size at the frame's; one of the frame's size as it is."""
    height, width = frame.shape[:2]
    if alpha.shape == (height, width):
        return alpha
    if guided:
        result = np.empty((height, width), np.float32)
        colours = frame if isinstance(frame, YUV) else _three_channels(frame)
        composite(colours, (0, 0, 0), alpha, guided=True, clean=False, alpha_out=result)
        return result
    # Area averaging when shrinking, as in preprocess: bilinear sampling would alias.
    shrinks = height < alpha.shape[0] and width < alpha.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(alpha, (width, height), interpolation=how)
    return cast("NDArray[np.float32]", np.clip(resized, 0, 1, out=resized))


def open_background(background: object) -> Background:
    """Open a background; files are kept, so that a loop over frames reads its image once."""
    if isinstance(background, (str, os.PathLike)) and _is_file(background):
        status = Path(background).stat()
        return _kept(str(background), status.st_mtime_ns, status.st_size)
    return Background.open(background)


def _is_file(path: str | os.PathLike[str]) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # no path at all: a NUL byte, a long text
        return False


@functools.lru_cache(maxsize=4)
def _kept(name: str, changed: int, size: int) -> Background:
    del changed, size  # in the key only: a file that changed is read again
    return Background.open(Path(name))
