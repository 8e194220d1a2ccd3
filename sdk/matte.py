"""The result for one frame: its alpha matte, and composites and cut-outs from it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

from matter_sdk.kernels import YUV, alpha_blend, composite, foreground
from matter_sdk.sdk.arrays import array_module, device_of, on_gpu, picture, to_cpu, to_gpu
from matter_sdk.sdk.background import Background, Image
from matter_sdk.sdk.errors import BackendError
from matter_sdk.sdk.media.cutout import eight_bits, hide_removed
from matter_sdk.sdk.media.given import swapped
from matter_sdk.sdk.media.picture_writer import encode_picture, write_picture

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage


class Matte:
    """The alpha matte of one frame. Everything is computed when it is first asked for.

    Arrays are NumPy's; those of ``gpu()`` are CuPy's, made on CuPy's current stream. What lies
    elsewhere is copied when it is first needed.

    Args:
        frame: the frame as it was given, uint8 H×W×3 (BGR), H×W×4 (BGRA), H×W (grey) or in planes;
            it is not copied and must not change while this is in use.
        alpha: float32 in 0..1, of the frame's size or of the network's.
        guided: whether alpha follows the frame's colours where it is enlarged; otherwise it is
            interpolated. See ``kernels.composite``.
        clean: whether ``over`` blends the subject's estimated colours if it is not told.
        on_gpu: whether to work in a GPU's memory, with CuPy.

    Channels are in BGR. ``ordered("rgb")`` gives the same matte with all arrays in RGB: those that
    it returns, and those that it takes as a background.
    """

    def __init__(
        self,
        frame: Any,
        alpha: Any,
        *,
        guided: bool = False,
        clean: bool = False,
        on_gpu: bool = False,
    ) -> None:
        self._came = frame, alpha
        self._guided = guided
        self._clean = clean
        self._on_gpu = on_gpu
        self._rgb = False

    def ordered(self, order: str) -> Matte:
        """Return the same matte whose arrays are in this order, "bgr" or "rgb"."""
        if self._rgb == (order == "rgb"):
            return self
        other = self._twin(on_gpu=self._on_gpu)
        other._rgb = order == "rgb"
        return other

    def _twin(self, *, on_gpu: bool) -> Matte:
        other = Matte(*self._came, guided=self._guided, clean=self._clean, on_gpu=on_gpu)
        other._rgb = self._rgb
        return other

    def _outwards(self, image: Any) -> Image:
        """A picture in BGR as the caller wants it."""
        return cast(Image, swapped(image) if self._rgb and image.ndim == 3 else image)

    @functools.cached_property
    def _given(self) -> Image | YUV:
        return cast("Image | YUV", self._here(self._came[0]))

    @functools.cached_property
    def _small(self) -> NDArray[np.float32]:
        alpha = self._here(self._came[1])
        with device_of(alpha):
            return self._known(alpha)

    def _known(self, alpha: Any) -> NDArray[np.float32]:
        # Where it is not known, nothing of the frame is shown.
        known = array_module(alpha).isfinite(alpha)
        if not self._on_gpu and known.all():
            return cast("NDArray[np.float32]", alpha)
        return cast("NDArray[np.float32]", array_module(alpha).where(known, alpha, np.float32(0)))

    def _here(self, value: Any) -> Any:
        if not self._on_gpu:
            return to_cpu(value)
        with device_of(*self._came):
            return to_gpu(value)

    @property
    def planes(self) -> YUV | None:
        """The frame as ``kernels.YUV``, if it came so, as from a video; else None."""
        return cast(YUV, self._given) if isinstance(self._came[0], YUV) else None

    def gpu(self) -> Matte:
        """Return the same matte in a GPU's memory; what does not lie there is copied once.

        ``over`` then also takes a CuPy array, uint8 H×W×3 of the frame's size, as a background, and
        ``over_planes`` a ``YUV`` like the frame. Only these and a colour cost no copy. A blur and
        ``cutout`` are made on the CPU. This has not run on a GPU yet.

        Raises:
            BackendError: CuPy is not installed.
        """
        try:
            import cupy  # noqa: F401
        except ImportError as error:
            raise BackendError(
                f"gpu() needs CuPy, which cannot be imported ({error}); install it: "
                f"pip install 'matter-sdk[nvidia]'"
            ) from error
        return self._twin(on_gpu=True)

    @functools.cached_property
    def frame(self) -> Image:
        """The frame as it was given; uint8 H×W×3 BGR if it came in planes, made at first use."""
        return self._outwards(self._bgr)

    @functools.cached_property
    def _bgr(self) -> Image:
        given = self._given
        return cast(Image, picture(given) if isinstance(given, YUV) else given)

    @functools.cached_property
    def alpha(self) -> NDArray[np.float32]:
        """float32 H×W in 0..1, of the frame's size."""
        return _enlarged(self._given, self._small, self._guided)

    def over(self, background: object, *, index: int = 0, clean: bool | None = None) -> Image:
        """Composite the subject over another background: uint8 H×W×3 BGR.

        ``background`` is anything that ``Background.open`` takes; a file is read once and kept, a
        video wants an opened ``Background`` and the ``index`` of the frame.

        Where the frame's own colours are blended, a trace of the old background shines through hair
        and soft edges. ``clean=True`` estimates the subject's true colours there first; None leaves
        that to the quality that the ``Matter`` was opened with.

        Raises:
            BackgroundError: for a background that is not known or cannot be read.
        """
        behind = self._behind(background, self._colours, index)
        return self._outwards(self._composed(self._colours, behind, clean))

    def over_planes(self, background: object, *, index: int = 0, clean: bool | None = None) -> YUV:
        """Composite in planar YUV, of the frame's layout, matrix and range; otherwise as ``over``.

        Raises:
            BackgroundError: as ``over``.
            ValueError: the frame did not come in planes.
        """
        if self.planes is None:
            raise ValueError("the frame came as an array and has no planes; expected over()")
        behind = self._behind(background, self.planes, index)
        return cast(YUV, self._composed(self.planes, behind, clean))

    def cutout(self) -> Image:
        """Cut out the subject: uint8 H×W×4 BGRA, straight (not premultiplied) alpha.

        The colours are ``foreground()``: no rim of the old background shows on a new one, and
        where alpha is 0 they tell nothing of the frame. Write it with
        ``sdk.media.picture_writer.write_picture``.
        """
        alpha = eight_bits(to_cpu(self.alpha))
        return self._outwards(self._here(cv2.merge([*cv2.split(self._shown), alpha])))

    def foreground(self) -> Image:
        """Estimate the subject's colours without the old background: uint8 H×W×3 BGR.

        What ``kernels.foreground`` estimates (blur fusion); where alpha is 1 this is the frame
        itself. Where alpha is 0 (at 8 bits: at most ``sdk.media.cutout.FAINT``) it tells nothing of
        the frame: the subject's colours extend outwards a little, and beyond it is black. The
        result is kept.
        """
        return self._outwards(self._here(self._shown))

    def save(
        self, path: str | os.PathLike[str] | BinaryIO, background: object = None
    ) -> str | os.PathLike[str] | BinaryIO:
        """Write the cut-out, or with ``background`` the composite without the old one's rim.

        Args:
            path: ends in .png, .webp, .tif or .tiff, with ``background`` also in .jpg, .jpeg or
                .bmp; its folder is made. Or a file open in binary, which gets a PNG.
            background: as ``over``.

        Returns:
            The path.

        Raises:
            MatterError: another ending, or a file that cannot be written.
            BackgroundError: as ``over``.
        """
        image = self._shown_over(background)
        if isinstance(path, (str, os.PathLike)):
            return write_picture(path, image)
        path.write(encode_picture(image))
        return path

    def to_pil(self, background: object = None) -> PillowImage:
        """Return a Pillow image: the cut-out in RGBA, or over ``background`` in RGB.

        Raises:
            BackgroundError: as ``over``.
        """
        from PIL import Image as Pillow

        return Pillow.fromarray(swapped(self._shown_over(background)))

    def show(self, background: object = None) -> None:
        """Open what ``to_pil`` returns in this system's picture viewer."""
        self.to_pil(background).show()

    def _repr_png_(self) -> bytes:
        """The cut-out, as notebooks show it."""
        return encode_picture(self._shown_over(None))

    def _shown_over(self, background: object) -> Image:
        """What is written: the cut-out, BGRA, or the clean composite, BGR, in the CPU's memory."""
        bgr = self.ordered("bgr")
        if background is None:
            return cast(Image, to_cpu(bgr.cutout()))
        return cast(Image, to_cpu(bgr.over(self._inwards(background), clean=True)))

    def _inwards(self, background: Any) -> Any:
        """A background, in BGR if it is a colour or an array."""
        if not self._rgb or isinstance(background, YUV):
            return background
        if isinstance(background, (tuple, list)):
            return tuple(background)[::-1]
        return swapped(background) if hasattr(background, "shape") else background

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        alpha = cast("NDArray[np.float32]", to_cpu(self.alpha))
        if dtype is not None and np.dtype(dtype) != alpha.dtype:
            if copy is False:
                raise ValueError(
                    f"the alpha is {alpha.dtype}; as {np.dtype(dtype)} it cannot be had "
                    f"without a copy, expected copy=None or copy=True"
                )
            return alpha.astype(dtype)
        return alpha.copy() if copy else alpha

    def __repr__(self) -> str:
        height, width = self._came[0].shape[:2]
        place = ", on a GPU" if self._on_gpu else ""
        return f"Matte({height}×{width}, {float(self._came[1].mean()):.0%} subject{place})"

    @property
    def _colours(self) -> Image:
        """The frame as H×W×3, whatever it came as. A BGRA frame's own alpha is in the matte."""
        return _three_channels(self._bgr)

    def _behind(self, background: Any, frame: Any, index: int) -> Any:
        """What is behind ``frame``, the picture or the planes."""
        background = self._inwards(background)
        if self._on_gpu and isinstance(background, (YUV, array_module(self._small).ndarray)):
            return background
        opened = open_background(background)
        at = opened.planes_at if isinstance(frame, YUV) else opened.at
        alpha = to_cpu(self.alpha) if opened.reads_alpha else None
        behind = at(to_cpu(frame) if opened.reads_frame else frame, index, alpha)
        return self._here(behind) if self._on_gpu else behind

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
        return cast(Image, foreground(self._colours, self.alpha))

    @functools.cached_property
    def _shown(self) -> Image:
        return hide_removed(to_cpu(self._foreground), eight_bits(to_cpu(self.alpha)))


def nothing(frame: Any) -> Matte:
    """Return the matte of a frame that has none: black, with alpha 0.

    Nothing made from it shows anything of the frame, not even a blur.
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
    if frame.ndim == 2 and on_gpu(frame):
        with device_of(frame):
            return cast(Image, array_module(frame).stack((frame,) * 3, -1))
    if frame.ndim == 2:
        return cast(Image, cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    return frame[..., :3]


def _enlarged(frame: Any, alpha: NDArray[np.float32], guided: bool) -> NDArray[np.float32]:
    """An alpha of the network's size at the frame's; one of the frame's size as it is."""
    height, width = frame.shape[:2]
    if alpha.shape == (height, width):
        return alpha
    if guided or on_gpu(alpha):
        with device_of(alpha):
            result = array_module(alpha).empty((height, width), np.float32)
        colours = frame if isinstance(frame, YUV) else _three_channels(frame)
        composite(colours, (0, 0, 0), alpha, guided=guided, clean=False, alpha_out=result)
        return cast("NDArray[np.float32]", result)
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
