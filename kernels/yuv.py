"""A frame in planes, as decoders give it and encoders take it.

Luminance stands at full and colour at half resolution: ⌈H/2⌉×⌈W/2⌉ samples, each for the middle of
its 2×2 pixels (at an odd edge, for those that are there).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from matter_sdk.kernels import _arrays
from matter_sdk.kernels.spec import KernelError

MATRICES = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}  # weights of red and blue in Y
LAYOUTS = {2: "nv12", 3: "i420"}


@dataclass(frozen=True, eq=False)
class YUV:
    """One frame in planes of uint8.

    Attributes:
        planes: I420 is ``(y, u, v)``, y H×W, u and v ⌈H/2⌉×⌈W/2⌉; NV12 is ``(y, uv)``, uv
            ⌈H/2⌉×⌈W/2⌉×2. Rows may lie apart, as decoders pad them.
        matrix: how red, green and blue were mixed: "bt709" (usual from 720 lines on) or "bt601".
        full_range: False where black is 16 and white 235 (video), True where they are 0 and 255
            (JPEG, many webcams).

    Raises:
        KernelError: other than two or three planes, or an unknown matrix. Dtypes and shapes are
            looked at by the kernel that gets the frame.
    """

    planes: tuple[Any, ...]
    matrix: str = "bt709"
    full_range: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.planes, Sequence) or len(self.planes) not in LAYOUTS:
            raise KernelError(
                f"planes is {type(self.planes).__name__} of "
                f"{len(self.planes) if hasattr(self.planes, '__len__') else 'unknown'} length, "
                "expected (y, u, v) for I420 or (y, uv) for NV12"
            )
        _arrays.check_choice("matrix", self.matrix, tuple(MATRICES))
        object.__setattr__(self, "planes", tuple(self.planes))

    @classmethod
    def from_bgr(
        cls,
        image: Any,
        *,
        layout: str = "i420",
        matrix: str = "bt709",
        full_range: bool = False,
    ) -> YUV:
        """Convert an image to planes, rounded; a colour is the mean of the pixels that share it.

        For what is made once, such as a background; it is no kernel.

        Args:
            image: uint8 H×W×3 in blue, green, red; NumPy's or on a GPU (current CuPy stream).
            layout: "i420" or "nv12".
            matrix: see `YUV`.
            full_range: see `YUV`.

        Raises:
            KernelError: an image, a layout or a matrix other than these.
        """
        _arrays.check_choice("layout", layout, tuple(LAYOUTS.values()))
        _arrays.check_choice("matrix", matrix, tuple(MATRICES))
        place = _arrays.target(None, image=image)
        pixels = place.view(image)
        _arrays.check_dtype("image", pixels, np.uint8, remedy="scale and round floats before")
        if pixels.ndim != 3 or pixels.shape[-1] != 3:
            raise KernelError(
                f"image is {_arrays.text(pixels.shape)}, expected H×W×3: one image in BGR"
            )
        _arrays.check_not_empty("image", pixels)
        of_red, of_blue = MATRICES[matrix]
        offset, scale, chroma_scale = code_range(full_range)
        with place.on(image, None):
            blue, green, red = (pixels[..., c].astype(np.float32) for c in range(3))
            luminance = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
            y = _rounded(offset + scale * luminance)
            u, v = (
                _rounded(128 + chroma_scale / (2 - 2 * weight) * _block_means(part - luminance))
                for part, weight in ((blue, of_blue), (red, of_red))
            )
            if layout == "i420":
                return cls((y, u, v), matrix, full_range)
            uv = place.empty((*u.shape, 2), np.uint8)
            uv[..., 0], uv[..., 1] = u, v
            return cls((y, uv), matrix, full_range)

    def bgr(self) -> Any:
        """Convert to an image: uint8 H×W×3 in blue, green, red, rounded and clipped.

        A colour sample serves each pixel of its 2×2. For what is made once; it is no kernel.

        Raises:
            KernelError: planes that are not uint8 or do not fit each other.
        """
        place = _arrays.target(None, **self.named("frame"))
        of_red, of_blue = MATRICES[self.matrix]
        offset, scale, chroma_scale = code_range(self.full_range)
        with place.on(self.planes[0], None):
            y, *chroma = checked(place, self, "frame")
            u, v = chroma if self.layout == "i420" else (chroma[0][..., 0], chroma[0][..., 1])
            height, width = y.shape
            luminance = (y.astype(np.float32) - offset) / scale
            u, v = (
                ((part.astype(np.float32) - 128) / chroma_scale)
                .repeat(2, axis=0)[:height]
                .repeat(2, axis=1)[:, :width]
                for part in (u, v)
            )
            blue = luminance + (2 - 2 * of_blue) * u
            red = luminance + (2 - 2 * of_red) * v
            green = (luminance - of_red * red - of_blue * blue) / (1 - of_red - of_blue)
            image = place.empty((height, width, 3), np.uint8)
            for c, part in enumerate((blue, green, red)):
                image[..., c] = _rounded(part)
        return image

    def check(self) -> None:
        """Raise KernelError for planes that are not uint8, or do not fit each other."""
        checked(_arrays.target(None, **self.named("frame")), self, "frame")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.planes[0].shape
        return height, width

    @property
    def layout(self) -> str:
        """ "i420" or "nv12"."""
        return LAYOUTS[len(self.planes)]

    def named(self, name: str) -> dict[str, Any]:
        """The planes by the names that error messages use: ``frame.y`` and so on."""
        parts = ("y", "uv") if self.layout == "nv12" else ("y", "u", "v")
        return {f"{name}.{part}": plane for part, plane in zip(parts, self.planes, strict=True)}


def code_range(full_range: bool) -> tuple[int, float, float]:
    """Code of black, and codes for each of 255 levels of luminance and of colour difference."""
    return (0, 1.0, 1.0) if full_range else (16, 219 / 255, 224 / 255)


def _rounded(values: Any) -> Any:
    return (values + 0.5).clip(0, 255).astype(np.uint8, order="C")


def _block_means(values: Any) -> Any:
    """Means of 2×2 blocks; at an odd edge, of the values that are there."""
    return _pair_sums(_pair_sums(values).swapaxes(0, 1)).swapaxes(0, 1) / 4


def _pair_sums(values: Any) -> Any:
    """Sums of rows two by two; a last one without a partner counts twice."""
    sums = values[::2].copy()
    pairs = values.shape[0] // 2
    sums[:pairs] += values[1::2]
    sums[pairs:] *= 2
    return sums


def checked(place: ModuleType, frame: YUV, name: str) -> tuple[Any, ...]:
    """Views of the planes for the target `place`: uint8 of fitting shapes, values side by side.

    Rows may lie apart; other layouts are copied.

    Raises:
        KernelError: a plane of another dtype, rank or size.
    """
    views: list[Any] = []
    for part, plane in frame.named(name).items():
        view = place.view(plane)
        _arrays.check_dtype(part, view, np.uint8, remedy="planes hold 8 bits a sample")
        _arrays.check_not_empty(part, view)
        if not views:
            if view.ndim != 2:
                raise KernelError(
                    f"{part} is {_arrays.text(view.shape)}, expected H×W: one frame's luminance"
                )
            half: tuple[int, ...] = tuple((side + 1) // 2 for side in view.shape)
            half += (2,) if frame.layout == "nv12" else ()
        elif tuple(view.shape) != half:
            raise KernelError(
                f"{part} is {_arrays.text(view.shape)}, expected {_arrays.text(half)} beside y "
                f"{_arrays.text(views[0].shape)}: colour at half resolution, rounded up"
            )
        views.append(_arrays.rows_contiguous(place, view, view.ndim - 1))
    return tuple(views)


def together(frame: YUV, background: Any, out: Any, name: str, plain: bool) -> dict[str, Any]:
    """The planes of a frame that messages call `name`, of what goes behind it and of the result.

    They are named as by `YUV.named`; a `plain` background (a colour) and no `out` have none.

    Raises:
        KernelError: a background or an out of another kind, layout, matrix or range.
    """
    frames = {name: frame}
    if not plain:
        remedy = (
            " or a colour (blue, green, red): convert it once with "
            f"kernels.yuv.YUV.from_bgr(image, {_settings(frame)}), where image is "
            "background.bgr() of a YUV"
        )
        frames["background"] = _alike(background, frame, "background", name, remedy)
    if out is not None:
        frames["out"] = _alike(out, frame, "out", name, ": leave out=None to have it made")
    return {part: plane for key in frames for part, plane in frames[key].named(key).items()}


def _settings(frame: YUV) -> str:
    return f"layout={frame.layout!r}, matrix={frame.matrix!r}, full_range={frame.full_range}"


def _alike(other: Any, frame: YUV, name: str, beside: str, remedy: str) -> YUV:
    """`other`, a YUV with the layout, matrix and range of `frame`, which messages call `beside`."""
    count = len(frame.planes)
    if not isinstance(other, YUV):
        kind = f"{type(other).__module__}.{type(other).__qualname__}"
        raise KernelError(
            f"{name} is a {kind}, expected {count} arrays in a kernels.yuv.YUV like the "
            f"{beside}{remedy}"
        )
    if _settings(other) != _settings(frame):
        raise KernelError(
            f"{name} is a YUV with {_settings(other)}, expected {_settings(frame)} like the "
            f"{beside}{remedy}"
        )
    return other


def check_behind_an_array(background: Any) -> None:
    """Raise KernelError if `background`, behind a frame that is an array, is a YUV."""
    if isinstance(background, YUV):
        raise KernelError(
            "background is a YUV behind an array, expected both of one kind: pass background.bgr()"
        )


def output(
    place: ModuleType, out: YUV | None, frame: YUV, views: tuple[Any, ...]
) -> tuple[YUV, tuple[Any, ...]]:
    """The frame to return, `out` or a new one like `frame`, and its planes to write.

    `views` are the planes of `frame`, checked.

    Raises:
        KernelError: planes of `out` that cannot be written or have other sizes.
    """
    planes = out.planes if out is not None else (None,) * len(views)
    pairs = [
        _arrays.output(place, plane, tuple(view.shape), np.uint8, name)
        for plane, view, name in zip(planes, views, frame.named("out"), strict=True)
    ]
    if out is None:
        out = YUV(tuple(result for result, _ in pairs), frame.matrix, frame.full_range)
    return out, tuple(view for _, view in pairs)
