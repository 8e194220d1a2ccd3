"""Read pictures: frames, backgrounds, plates, trimaps and training data.

Pillow reads a file's header and decodes it; OpenCV stands behind it for what Pillow cannot decode.
What a file says about its pixels is obeyed: orientation, transparency, and colour. Colours of
another space (Display P3, Adobe RGB, CMYK) are converted to sRGB, which every network was trained
on and every output of ours is in.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageCms, ImageOps

from matter_sdk.kernels._arrays import MAX_SIDE
from matter_sdk.sdk.errors import FrameError
from matter_sdk.sdk.limits import check_picture
from matter_sdk.sdk.media import colour_profiles
from matter_sdk.sdk.media.places import STANDARD_INPUT

log = logging.getLogger("matter")

# Not EPS (Pillow would start Ghostscript), nor rare formats that few people look after.
_FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "AVIF", "HEIF")
_FORMATS += ("JPEG2000", "PPM", "TGA")
_ANIMATED = frozenset(("GIF", "WEBP", "PNG", "AVIF"))
_KNOWN = "JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, HEIC or JPEG 2000"
_MOST_BYTES = 1 << 30  # of a file, and of a pipe that never ends

Image = NDArray[np.uint8]


class Shown(NamedTuple):
    """A picture of an animation, uint8 H×W×3 BGR, and from which second to which it is shown."""

    image: Image
    time: float
    end: float


def read_picture(
    path: str | os.PathLike[str] | BinaryIO,
    *,
    transparency: bool = False,
    upright: bool = True,
    what: str = "the picture",
) -> Image:
    """Read a picture, or the first of an animation, in sRGB.

    Args:
        path: a file, a pipe or a device such as /dev/stdin; or an open file, in binary, which is
            read to its end.
        transparency: whether to return the alpha channel of a picture that has one.
        upright: whether to turn it as its orientation tag says.
        what: what messages call it.

    Returns:
        uint8 H×W×3 BGR; H×W×4 BGRA, straight alpha, where ``transparency`` is asked for and some
        pixel is not opaque.

    Raises:
        FrameError: a file that cannot be read or decoded, is too large, holds HDR, or floating
            point values.
    """
    name = getattr(path, "name", None) if hasattr(path, "read") else str(path)
    said = what if name is None else f"{what} {name!r}"
    content = _content(path, said)
    image = _opened(content, said)
    if image is not None:
        if image.format in _ANIMATED and getattr(image, "n_frames", 1) > 1:
            log.warning("%s is animated; using the first of its %d pictures", said, _count(image))
        profile = _profile(image, content, said)
        try:
            image.load()
            return _array(image, profile, said, transparency=transparency, upright=upright)
        except FrameError:
            raise
        except Exception as error:  # noqa: BLE001 - decoders raise almost anything
            result = _second(content, said, upright=upright)
            log.warning("%s is damaged (%s); using what can be read of it", said, _line(error))
            return result
    return _second(content, said, upright=upright)


def from_pillow(image: Pillow.Image, *, what: str = "the picture") -> Image:
    """Convert a Pillow image, of which the same is obeyed as of a file: see ``read_picture``.

    Returns:
        uint8 H×W×3 BGR, or H×W×4 BGRA, straight alpha, if some pixel is not opaque.

    Raises:
        FrameError: it cannot be decoded, is too large, holds HDR, or values of 32 bits.
    """
    _check_size(*image.size, what)
    try:
        image.load()
        shown = image.copy()  # keeps its profile and its orientation
        shown.format = image.format
        return _array(shown, _profile(shown, b"", what), what, transparency=True, upright=True)
    except (OSError, ValueError, SyntaxError) as error:
        if isinstance(error, FrameError):
            raise
        raise FrameError(f"{what} cannot be decoded ({_line(error)}); expected {_KNOWN}") from error


def read_values(path: str | os.PathLike[str], *, what: str = "the picture") -> NDArray[Any]:
    """Read a picture's stored values, as of a matte or trimap: no colour is converted.

    Returns:
        uint8 or uint16, and float32 where the file holds that: H×W, H×W×3 (BGR) or H×W×4 (BGRA).

    Raises:
        FrameError: as ``read_picture``.
    """
    said = f"{what} {str(path)!r}"
    content = _content(path, said)
    image = _opened(content, said)  # its size is checked
    values = _decoded(content, cv2.IMREAD_UNCHANGED)
    if values is not None:
        return values
    if image is None:
        raise _unknown(content, said)
    try:
        return _array(image, None, said, transparency=True, upright=False)
    except FrameError:
        raise
    except Exception as error:
        raise _unknown(content, said) from error


def read_grey(path: str | os.PathLike[str], *, what: str = "the picture") -> Image:
    """Read a picture's stored values as grey, uint8 H×W; raises as ``read_values``."""
    values = read_values(path, what=what)
    if values.dtype == np.uint16:
        values = (values >> 8).astype(np.uint8)
    if values.dtype != np.uint8:
        raise FrameError(f"{what} {str(path)!r} holds {values.dtype}; expected 8 or 16 bits")
    if values.ndim == 2:
        return values
    return cast(Image, cv2.cvtColor(np.ascontiguousarray(values[..., :3]), cv2.COLOR_BGR2GRAY))


def read_animation(path: str | os.PathLike[str], *, what: str = "the picture") -> Iterator[Shown]:
    """Read the pictures of an animated GIF, WebP, PNG or AVIF with their times, or a still.

    Transparent pixels are black.

    Raises:
        FrameError: as ``read_picture``.
    """
    said = f"{what} {str(path)!r}"
    content = _content(path, said)
    image = _opened(content, said)
    if image is None:
        yield Shown(_second(content, said, upright=True), 0.0, 0.1)
        return
    profile, time = _profile(image, content, said), 0.0
    for number in range(_count(image) if image.format in _ANIMATED else 1):
        try:
            image.seek(number)
            image.load()
            shown = _array(image.copy(), profile, said, transparency=True, upright=True)
        except Exception as error:
            if isinstance(error, FrameError) or not number:
                raise FrameError(
                    f"{said} is damaged ({_line(error)}); expected {_KNOWN}"
                ) from error
            log.warning("%s is damaged from picture %d on (%s)", said, number, _line(error))
            return
        # Browsers take the shortest times for a tenth of a second, and so is none.
        milliseconds = float(image.info.get("duration") or 0)
        end = time + (milliseconds if milliseconds > 10 else 100) / 1000
        yield Shown(on_black(shown), time, end)
        time = end


def is_animation(path: str | os.PathLike[str]) -> bool:
    """Whether a file is an animation."""
    path = Path(path)
    try:
        if not path.is_file():  # a pipe could not be read again
            return False
        with Pillow.open(path, formats=_formats()) as image:
            return image.format in _ANIMATED and _count(image) > 1
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError):
        return False


def picture_size(path: str | os.PathLike[str], *, upright: bool = True) -> tuple[int, int]:
    """Read (width, height) from a file's header, without decoding it.

    Raises:
        FrameError: as ``read_picture``.
    """
    said = f"the picture {str(path)!r}"
    try:
        with Pillow.open(path, formats=_formats()) as image:
            width, height = image.size
            # Pillow turns TIFF by itself, its size too.
            turned = upright and image.format != "TIFF"
            turned = turned and image.getexif().get(0x0112) in (5, 6, 7, 8)
    except Pillow.UnidentifiedImageError:
        height, width = read_picture(path).shape[:2]
        return width, height
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise FrameError(f"{said} cannot be opened ({_line(error)}); expected {_KNOWN}") from error
    return (height, width) if turned else (width, height)


def on_black(image: Image) -> Image:
    """Composite a BGRA picture over black, uint8 H×W×3; return others as they are."""
    if image.ndim == 2 or image.shape[2] == 3:
        return image
    weight = image[..., 3:].astype(np.float32) / np.float32(255)
    return np.rint(image[..., :3] * weight).astype(np.uint8)


# ── Files ───────────────────────────────────────────────────────────────────────────────────────


def _content(path: str | os.PathLike[str] | BinaryIO, said: str) -> bytes:
    try:
        if path == STANDARD_INPUT and not STANDARD_INPUT.exists():  # Windows has no such file
            content = sys.stdin.buffer.read(_MOST_BYTES + 1)
        elif isinstance(path, (str, os.PathLike)):
            with Path(path).open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
        else:
            content = path.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        reason = getattr(error, "strerror", None) or error
        raise FrameError(
            f"{said} cannot be read ({reason}); expected a readable picture. Check the path"
        ) from error
    if not isinstance(content, bytes):
        raise FrameError(
            f"{said} gives {type(content).__name__}; expected bytes. Open it with mode 'rb'"
        )
    if len(content) > _MOST_BYTES:
        raise FrameError(f"{said} is longer than {_MOST_BYTES:,} bytes; expected a picture")
    if not content:
        raise FrameError(f"{said} is empty; expected {_KNOWN}")
    check_picture(content, said)
    return content


@functools.lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    """What Pillow may open; HEIC is among it where pillow-heif is installed."""
    with contextlib.suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    Pillow.init()
    return tuple(name for name in _FORMATS if name in Pillow.OPEN)


def _opened(content: bytes, said: str) -> Pillow.Image | None:
    """The picture with its header read; None for what Pillow does not know."""
    try:
        image = Pillow.open(io.BytesIO(content), formats=_formats())
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as error:
        raise FrameError(f"{said} is too large ({_line(error)}); expected a smaller one") from error
    except Exception:  # noqa: BLE001 - damaged headers raise almost anything
        return None
    _check_size(*image.size, said)
    return image


def _check_size(width: int, height: int, said: str) -> None:
    """Raise FrameError for a size that shall not be decoded: the one place, before any pixel."""
    if max(width, height) > MAX_SIDE:
        raise FrameError(
            f"{said} is {height}×{width} (height×width); expected sides of at most {MAX_SIDE} "
            f"pixels. Scale it down"
        )


def _count(image: Pillow.Image) -> int:
    return int(getattr(image, "n_frames", 1))


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0].strip() or type(error).__name__


def _unknown(content: bytes, said: str) -> FrameError:
    remedy = ""
    if content[4:8] == b"ftyp" and "HEIF" not in _formats():
        remedy = ". For HEIC: pip install 'matter-sdk[heic]'"
    return FrameError(f"{said} is no picture that can be decoded; expected {_KNOWN}{remedy}")


# ── Pixels ──────────────────────────────────────────────────────────────────────────────────────


def _array(
    image: Pillow.Image,
    profile: bytes | None,
    said: str,
    *,
    transparency: bool,
    upright: bool,
) -> Image:
    """A loaded picture as BGR or BGRA."""
    if upright:
        try:
            image = ImageOps.exif_transpose(image)
        except Exception as error:  # noqa: BLE001 - damaged Exif raises almost anything
            log.warning("%s: its orientation cannot be read (%s)", said, _line(error))
    if image.mode in ("F", "I"):
        raise FrameError(
            f"{said} holds values of 32 bits; expected 8 or 16 bits. Tone-map it to an ordinary "
            f"picture first"
        )
    if image.mode.startswith("I;16"):
        image = Pillow.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
        image = image.convert("RGB")
    elif image.mode not in ("RGB", "L", "CMYK", "LAB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    rgb = np.asarray(_in_srgb(image, profile, said))
    if alpha is None or not transparency or alpha.min() == 255:
        return cast(Image, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return cast(Image, cv2.merge([*cv2.split(rgb)[::-1], alpha]))


def _in_srgb(image: Pillow.Image, profile: bytes | None, said: str) -> Pillow.Image:
    """A picture of mode RGB, L, CMYK or LAB as RGB in sRGB."""
    lab = image.mode == "LAB"
    if not lab and (profile is None or colour_profiles.is_srgb(profile, image.mode)):
        return image.convert("RGB")
    try:
        source: Any = ImageCms.createProfile("LAB")
        if not lab:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
        return colour_profiles.transform(source, image.mode).apply(image)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        log.warning("%s: its colour profile cannot be used (%s)", said, _line(error))
        return image.convert("RGB")


def _profile(image: Pillow.Image, content: bytes, said: str) -> bytes | None:
    """The ICC profile of what a picture says about its colours; None for sRGB and for nothing."""
    info: dict[Any, Any] = image.info
    codes = colour_profiles.cicp(image.format or "", content, info)
    if codes is not None:
        primaries, transfer = codes
        if transfer in colour_profiles.HDR:
            raise FrameError(
                f"{said} is HDR ({colour_profiles.HDR[transfer]}); expected a picture in standard "
                f"range. Tone-map it first"
            )
        made = colour_profiles.of_cicp(primaries, transfer)
        if made is not None and (image.format == "PNG" or not info.get("icc_profile")):
            return made
    if info.get("icc_profile"):
        return cast(bytes, info["icc_profile"])
    if image.format == "PNG" and "srgb" not in info:
        return colour_profiles.of_png(info.get("chromaticity"), info.get("gamma"))
    try:
        interoperability = image.getexif().get_ifd(0xA005).get(1)
    except Exception:  # noqa: BLE001 - damaged Exif raises almost anything
        return None
    return colour_profiles.ADOBE_RGB if str(interoperability)[:3] == "R03" else None


def _second(content: bytes, said: str, *, upright: bool) -> Image:
    """Decode a file with OpenCV: uint8 H×W×3 BGR."""
    ignored = 0 if upright else cv2.IMREAD_IGNORE_ORIENTATION
    image = _decoded(content, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | ignored)
    if image is None:
        raise _unknown(content, said)
    _check_size(image.shape[1], image.shape[0], said)
    if image.dtype == np.uint16:
        return (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8:
        raise FrameError(
            f"{said} holds {image.dtype}; expected 8 or 16 bits. Tone-map it to an ordinary "
            f"picture first"
        )
    return cast(Image, image)


def _decoded(content: bytes, flags: int) -> NDArray[Any] | None:
    try:
        return cast("NDArray[Any] | None", cv2.imdecode(np.frombuffer(content, np.uint8), flags))
    except cv2.error:  # such as more pixels than OpenCV's limit
        return None


def read_trimap(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read a trimap from a grey picture, uint8 H×W: 0 background, 128 unknown, 255 foreground.

    Programs differ in the grey that stands for unknown: a single one near the middle becomes 128.
    ``Matter`` refuses other values.

    Raises:
        FrameError: it cannot be read.
    """
    trimap = read_grey(path, what="the trimap").copy()
    between = np.setdiff1d(trimap, (0, 255))
    if len(between) == 1 and 64 <= between[0] <= 191:
        trimap[trimap == between[0]] = 128
    return trimap
