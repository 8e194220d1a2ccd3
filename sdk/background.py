"""What goes behind the subject: a colour, an image, a video, or a blur of the frame itself.

Background.open("#20c040")      a colour: "#rrggbb", "#rgb", a name, or (blue, green, red)
Background.open("beach.jpg")    an image, scaled to cover the frame and cropped at its centre
Background.open(array)          the same from a uint8 H×W×3 BGR array
Background.open("loop.mp4")     a video, likewise, from its beginning again when it ends
Background.open("blur:25")      the frame, blurred; 25 is the strength in pixels at 720 lines
"""

from __future__ import annotations

import copy
import logging
import os
import re
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from matter_sdk.kernels import YUV, alpha_blend
from matter_sdk.sdk.arrays import picture
from matter_sdk.sdk.errors import BackgroundError, FrameError, did_you_mean
from matter_sdk.sdk.media.picture_reader import is_animation, on_black, read_picture

log = logging.getLogger("matter")

Image: TypeAlias = NDArray[np.uint8]
Colour: TypeAlias = tuple[int, int, int]

COLOURS: dict[str, Colour] = {  # blue, green, red
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "gray": (128, 128, 128),
    "red": (0, 0, 255),
    "green": (0, 255, 0),
    "blue": (255, 0, 0),
    "yellow": (0, 255, 255),
    "cyan": (255, 255, 0),
    "magenta": (255, 0, 255),
    "orange": (0, 165, 255),
    "purple": (128, 0, 128),
    "pink": (203, 192, 255),
    "brown": (42, 42, 165),
    "navy": (128, 0, 0),
    "teal": (128, 128, 0),
}
VIDEO_SUFFIXES = frozenset(
    (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".gif")
)
DEFAULT_BLUR = 25.0
_LEAST = np.float32(1e-3)
_KINDS = (
    "a colour ('#rrggbb', a name, or (blue, green, red)), an image or video file, 'blur' or "
    "'blur:25', or a uint8 H×W×3 array"
)


class Background(ABC):
    """One background, opened once and asked for every frame. Safe to use from several threads."""

    @staticmethod
    def open(spec: object) -> Background:
        """Open what ``spec`` stands for; see the module's docstring. Return a Background as is.

        Raises:
            BackgroundError: says what was given, what is expected, and a near match.
        """
        if isinstance(spec, Background):
            return spec
        if isinstance(spec, str):
            return from_word(spec) or _from_file(Path(spec))
        if isinstance(spec, os.PathLike):
            return _from_file(Path(spec))
        if isinstance(spec, np.ndarray) and spec.ndim > 1:
            return ImageBackground(_checked(spec))
        if isinstance(spec, (tuple, list, np.ndarray)):
            return ColourBackground(_colour(spec))
        raise BackgroundError(f"the background is a {type(spec).__name__}; expected {_KINDS}")

    reads_alpha = True
    """Whether ``at`` looks at alpha; where it does not, nobody needs to make one."""
    reads_frame = True
    """Whether ``at`` looks at the frame; where it does not but at its shape, one that lies in a
    GPU's memory need not be brought from there."""

    @abstractmethod
    def at(self, frame: Image, index: int = 0, alpha: NDArray[np.float32] | None = None) -> Any:
        """Return what to put behind ``frame`` (uint8 H×W×3 BGR), the ``index``-th of its video.

        ``alpha`` (float32 H×W), where known, keeps a blur from smearing the subject into it.
        Returns a uint8 H×W×3 array that must not be written to, or a colour (blue, green, red):
        what ``kernels.alpha_blend`` takes.
        """

    def planes_at(
        self, frame: YUV, index: int = 0, alpha: NDArray[np.float32] | None = None
    ) -> YUV | Colour:
        """Return the same for a planar frame: a colour, or a ``YUV`` like the frame."""
        behind = self.at(picture(frame), index, alpha)
        return behind if isinstance(behind, tuple) else planes_like(behind, frame)

    def at_time(self, seconds: float) -> Background:
        """Return this background at a time of the output; one that does not move returns itself."""
        del seconds
        return self

    def close(self) -> None:  # noqa: B027 - not abstract: most backgrounds hold nothing
        """Release what is open, such as a video. Images and colours hold nothing."""


class ColourBackground(Background):
    """One colour, (blue, green, red) in 0..255."""

    reads_alpha = reads_frame = False

    def __init__(self, colour: Colour) -> None:
        self.colour = colour

    def at(self, frame: Image, index: int = 0, alpha: NDArray[np.float32] | None = None) -> Colour:
        """See ``Background.at``."""
        del frame, index, alpha
        return self.colour

    def planes_at(
        self, frame: YUV, index: int = 0, alpha: NDArray[np.float32] | None = None
    ) -> Colour:
        """See ``Background.planes_at``."""
        del frame, index, alpha
        return self.colour


class ImageBackground(Background):
    """An image that covers the frame. Its last few resized versions are kept."""

    reads_alpha = reads_frame = False
    _KEPT = 4

    def __init__(self, image: Image) -> None:
        self.image = image
        self._lock = threading.Lock()
        self._made: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def at(self, frame: Image, index: int = 0, alpha: NDArray[np.float32] | None = None) -> Image:
        """See ``Background.at``."""
        del index, alpha
        size = (frame.shape[0], frame.shape[1])
        return cast(Image, self._once(size, lambda: cover(self.image, size)))

    def planes_at(
        self, frame: YUV, index: int = 0, alpha: NDArray[np.float32] | None = None
    ) -> YUV:
        """See ``Background.planes_at``."""
        del index, alpha
        kind = (frame.shape, frame.layout, frame.matrix, frame.full_range)
        made = self._once(kind, lambda: planes_like(cover(self.image, frame.shape), frame))
        return cast(YUV, made)

    def _once(self, kind: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        with self._lock:
            if kind not in self._made:
                self._made[kind] = make()
            self._made.move_to_end(kind)
            while len(self._made) > self._KEPT:
                self._made.popitem(last=False)
            return self._made[kind]


class BlurBackground(Background):
    """The frame itself, blurred by a Gaussian of ``strength`` pixels (sigma) at 720 lines.

    The strength scales with the frame's height, so that one setting looks the same at every
    resolution. It is computed at a quarter of the size, where nothing of the blur can be seen to be
    lost. With ``alpha``, the subject's colours are left out of the average (a normalised
    convolution), so that no halo of them surrounds it.
    """

    def __init__(self, strength: float = DEFAULT_BLUR) -> None:
        self.strength = strength

    def at(self, frame: Image, index: int = 0, alpha: NDArray[np.float32] | None = None) -> Image:
        """See ``Background.at``."""
        del index
        return self._blurred(frame, self._sigma(frame.shape), alpha)

    def planes_at(
        self, frame: YUV, index: int = 0, alpha: NDArray[np.float32] | None = None
    ) -> YUV:
        """See ``Background.planes_at``: each plane for itself, colour with half the sigma."""
        del index
        first, *others = frame.planes
        half = alpha
        if alpha is not None:
            half = cv2.resize(alpha, others[0].shape[1::-1], interpolation=cv2.INTER_AREA)
        sigma = self._sigma(frame.shape)
        planes = (self._blurred(plane, sigma / 2, half) for plane in others)
        return replace(frame, planes=(self._blurred(first, sigma, alpha), *planes))

    def _sigma(self, shape: Sequence[int]) -> float:
        return self.strength * shape[0] / 720

    def _blurred(self, plane: Image, sigma: float, alpha: NDArray[np.float32] | None) -> Image:
        """An image of one to three channels with the Gaussian of a sigma."""
        height, width = plane.shape[:2]
        shrink = max(1, min(4, int(sigma / 2)))
        small = (max(1, round(width / shrink)), max(1, round(height / shrink)))
        image = cv2.resize(plane, small, interpolation=cv2.INTER_AREA)
        sigma = max(sigma / shrink, 0.1)
        if alpha is None:
            image = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        else:
            # Weighted at full size, before anything is averaged. The small constant lets the deep
            # inside of a large subject, where no background is near, fall back to the plain blur
            # instead of 0 / 0.
            inverse = 1 - alpha
            weighted, weight = (
                cv2.resize(array, small, interpolation=cv2.INTER_AREA)
                for array in (_darkened(plane, inverse), inverse)
            )
            channels = image[..., None] if image.ndim == 2 else image
            weighted = weighted.reshape(channels.shape)
            sums = cv2.GaussianBlur(
                np.dstack((weighted + _LEAST * channels, weight + _LEAST)),
                (0, 0),
                sigma,
                borderType=cv2.BORDER_REPLICATE,
            )
            image = np.clip(sums[..., :-1] / sums[..., -1:] + 0.5, 0, 255).astype(np.uint8)
        return cast(Image, cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))


class VideoBackground(Background):
    """A video behind the subject, looped, scaled to cover the frame and cropped at its centre.

    It shows the frame of ``at_time``, or of a frame's ``index`` at ``rate`` frames a second (by
    default the video's own rate). Safe to use from several threads.

    Raises:
        BackgroundError: the video cannot be read.
    """

    reads_alpha = reads_frame = False

    def __init__(self, path: str | Path, *, rate: Fraction | float | None = None) -> None:
        from matter_sdk.sdk.media.video_loop import VideoLoop  # needs PyAV, which pictures do not

        self._loop = VideoLoop(path)
        self.rate = float(self._loop.rate if rate is None else rate)
        self._seconds: float | None = None

    def at_time(self, seconds: float) -> VideoBackground:
        """See ``Background.at_time``; both read the same open video."""
        moment = copy.copy(self)
        moment._seconds = seconds
        return moment

    def at(
        self,
        frame: Image,
        index: int = 0,
        alpha: NDArray[np.float32] | None = None,
        *,
        time: float | None = None,
    ) -> Image:
        """See ``Background.at``. ``time``: show that moment, in seconds, whatever the index."""
        del alpha
        size = (frame.shape[0], frame.shape[1])

        def fit(image: Image | YUV) -> Image:
            if isinstance(image, YUV):
                return cast(Image, picture(cover_planes(image, size)))
            return cover(image, size)

        return cast(Image, self._loop.at(self._time(index, time), size, fit))

    def planes_at(
        self,
        frame: YUV,
        index: int = 0,
        alpha: NDArray[np.float32] | None = None,
        *,
        time: float | None = None,
    ) -> YUV:
        """See ``Background.planes_at``, and ``at`` for ``time``."""
        del alpha
        kind = (frame.layout, frame.matrix, frame.full_range)

        def fit(image: Image | YUV) -> YUV:
            if not isinstance(image, YUV):
                return planes_like(cover(image, frame.shape), frame)
            covering = cover_planes(image, frame.shape)
            if (image.layout, image.matrix, image.full_range) == kind:
                return covering
            return planes_like(picture(covering), frame)

        return cast(YUV, self._loop.at(self._time(index, time), (frame.shape, kind), fit))

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        self._loop.close()

    def _time(self, index: int, time: float | None) -> float:
        if time is None:
            time = self._seconds
        return index / self.rate if time is None else time


def _darkened(image: Image, weight: NDArray[np.float32]) -> Image:
    """Each value by its pixel's weight, rounded."""
    if image.ndim == 3 and image.shape[2] == 3:
        return cast(Image, alpha_blend(image, (0, 0, 0), weight))
    weight = weight[..., None] if image.ndim == 3 else weight
    return np.rint(image * weight).astype(np.uint8)


def planes_like(image: Image, frame: YUV) -> YUV:
    """Convert a BGR image to a ``YUV`` of a frame's layout, matrix and range."""
    return YUV.from_bgr(
        image, layout=frame.layout, matrix=frame.matrix, full_range=frame.full_range
    )


def cover(image: Image, size: tuple[int, int]) -> Image:
    """Scale to cover ``size`` (height, width), cropped at the centre, the aspect ratio kept."""
    height, width = size
    if image.shape[:2] == size:
        return image
    scale = max(height / image.shape[0], width / image.shape[1])
    # Crop first: only what will be seen is scaled.
    high = min(image.shape[0], max(1, round(height / scale)))
    wide = min(image.shape[1], max(1, round(width / scale)))
    top, left = (image.shape[0] - high) // 2, (image.shape[1] - wide) // 2
    return cast(
        Image,
        cv2.resize(
            image[top : top + high, left : left + wide],
            (width, height),
            interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
        ),
    )


def cover_planes(frame: YUV, size: tuple[int, int]) -> YUV:
    """``cover`` for a planar frame: each plane by itself."""
    half = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    first, *others = frame.planes
    planes = (cover(first, size), *(cover(plane, half) for plane in others))
    return replace(frame, planes=planes)


def from_word(text: str) -> Background | None:
    """The background that a word stands for, a colour or a blur, never a file; None for others.

    Raises:
        BackgroundError: it begins as such a word does and is none.
    """
    word = text.strip()
    if word.startswith("#"):
        digits = word[1:]
        if re.fullmatch(r"[0-9a-fA-F]{3}", digits):
            digits = "".join(digit * 2 for digit in digits)
        if not re.fullmatch(r"[0-9a-fA-F]{6}", digits):
            raise BackgroundError(f"the background is {text!r}; expected a colour as '#rrggbb'")
        red, green, blue = (int(digits[at : at + 2], 16) for at in (0, 2, 4))
        return ColourBackground((blue, green, red))
    if word.lower() in COLOURS:
        return ColourBackground(COLOURS[word.lower()])
    if word.lower() == "blur":
        return BlurBackground()
    if word.lower().startswith("blur:"):
        return BlurBackground(_strength(text, word[5:]))
    if not word:
        raise BackgroundError(f"the background is an empty string; expected {_KINDS}")
    return None


def _strength(text: str, digits: str) -> float:
    try:
        strength = float(digits)
    except ValueError:
        strength = -1.0
    if not 0 < strength <= 500:
        raise BackgroundError(
            f"the background is {text!r}; expected 'blur' or 'blur:N', N above 0 and at most 500"
        )
    return strength


def _from_file(path: Path) -> Background:
    if not _exists(path) or path.is_dir():
        what = "a folder" if _exists(path) else "neither a file nor a known colour"
        raise BackgroundError(
            f"the background {str(path)!r} is {what}{did_you_mean(path, (*COLOURS, 'blur'))}; "
            f"expected {_KINDS}"
        )
    if path.suffix.lower() in VIDEO_SUFFIXES or is_animation(path):
        return VideoBackground(path)
    try:
        image = read_picture(path, transparency=True, what="the background")
    except FrameError as error:
        raise BackgroundError(f"{error}; or a video: {' '.join(sorted(VIDEO_SUFFIXES))}") from error
    if image.shape[2] == 4:
        log.warning("the background %r is transparent in places; using black there", str(path))
    return ImageBackground(on_black(image))


def _exists(path: Path) -> bool:
    """Whether there is something; not so for what cannot be a path (a NUL byte, a long text)."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _checked(array: NDArray[Any]) -> Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise BackgroundError(
            f"the background is a {array.dtype} array of shape {array.shape}; expected uint8 H×W×3 "
            f"in BGR order"
        )
    return cast(Image, np.ascontiguousarray(array))


def _colour(values: Any) -> Colour:
    numbers = list(values)
    if len(numbers) != 3 or not all(
        isinstance(v, (int, np.integer)) and not isinstance(v, bool) and 0 <= v <= 255
        for v in numbers
    ):
        raise BackgroundError(
            f"the background is {values!r}; expected a colour (blue, green, red) of whole numbers "
            f"in 0..255"
        )
    return int(numbers[0]), int(numbers[1]), int(numbers[2])
