"""Turn what a picture says about its colours into ICC profiles for LittleCMS."""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageCms

HDR = {16: "PQ", 18: "HLG"}
"""Transfer characteristics of ITU-T H.273 whose values are no ordinary picture."""

_D65 = 0.3127, 0.3290
_D50 = np.array([0.9642, 1.0, 0.8249])  # of the ICC's connection space
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
# Red, green and blue (x, y) by ITU-T H.273's numbers; all with the white D65 but DCI-P3.
_BT709 = (0.64, 0.33), (0.30, 0.60), (0.15, 0.06)
_P3 = (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)
_PRIMARIES = {
    1: (*_BT709, _D65),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: (*_P3, (0.314, 0.351)),
    12: (*_P3, _D65),
}
# The curves: None for sRGB's, or a gamma. A camera's curve (BT.709 and its kin) is written for
# pictures that are meant to be shown as sRGB.
_CURVES = {1: None, 2: None, 4: 2.2, 5: 2.8, 6: None, 8: 1.0, 13: None, 14: None, 15: None}
_NEAR = 2  # 8-bit steps by which a profile may differ from sRGB and count as that
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION


def cicp(kind: str, content: bytes, info: Mapping[Any, Any]) -> tuple[int, int] | None:
    """A file's (primaries, transfer) by ITU-T H.273, where it has them.

    Args:
        kind: Pillow's name of the format.
        content: the file.
        info: Pillow's ``Image.info``.
    """
    if kind == "PNG":
        at = 8
        while content[at + 4 : at + 8] not in (b"IDAT", b""):
            (length,) = struct.unpack_from(">I", content, at)
            if content[at + 4 : at + 8] == b"cICP" and length == 4 and at + 9 < len(content):
                return content[at + 8], content[at + 9]
            at += 12 + length
    elif kind == "HEIF" and info.get("nclx_profile"):
        nclx = info["nclx_profile"]
        return int(nclx["color_primaries"]), int(nclx["transfer_characteristics"])
    elif kind == "AVIF":
        at = content.find(b"colrnclx", 0, 1 << 16)
        if 0 <= at <= len(content) - 12:
            return cast("tuple[int, int]", struct.unpack_from(">HH", content, at + 8))
    return None


def of_cicp(primaries: int, transfer: int) -> bytes | None:
    """The profile of what ``cicp`` gave; None for sRGB and for what is not known."""
    if primaries not in _PRIMARIES or transfer not in _CURVES:
        return None
    if primaries == 1 and _CURVES[transfer] is None:
        return None
    return _matrix(_PRIMARIES[primaries], _CURVES[transfer])


def of_png(chromaticity: Sequence[float] | None, gamma: float | None) -> bytes | None:
    """The profile of a PNG's chunks cHRM (white, red, green, blue as x, y) and gAMA.

    None where neither says anything but sRGB.
    """
    primaries = _PRIMARIES[1]
    if chromaticity and len(chromaticity) == 8:
        x = iter(chromaticity)
        white, red, green, blue = zip(x, x, strict=True)
        primaries = (red, green, blue, white)
    curve = 1 / gamma if gamma else None
    # 1/2.2 is how sRGB's curve is written there.
    like_srgb = curve is None or abs(curve - 2.2) < 0.05
    if like_srgb and np.allclose(primaries, _PRIMARIES[1], atol=2e-3):
        return None
    try:
        return _matrix(primaries, curve)
    except (np.linalg.LinAlgError, struct.error, ZeroDivisionError):  # chunks of nonsense
        return None


@functools.lru_cache(maxsize=16)
def is_srgb(profile: bytes, mode: str) -> bool:
    """Whether colours of Pillow's ``mode`` by this profile are sRGB's, but for rounding.

    One that LittleCMS cannot read is not.
    """
    if mode == "L":
        grid = np.arange(256, dtype=np.uint8)[np.newaxis]
    elif mode == "RGB":
        steps = np.arange(0, 256, 51, dtype=np.uint8)
        grid = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
    else:
        return False
    image = Pillow.fromarray(grid)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = np.asarray(transform(source, mode).apply(image), int)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False
    return int(np.abs(converted - np.asarray(image.convert("RGB"), int)).max()) <= _NEAR


def transform(source: Any, mode: str) -> ImageCms.ImageCmsTransform:
    """The way from pixels of ``mode`` by a profile to sRGB: relative, black kept black."""
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    goal = ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(source, goal, mode, "RGB", renderingIntent=intent, flags=_FLAGS)


def _matrix(primaries: Sequence[Sequence[float]], gamma: float | None) -> bytes:
    """An ICC profile (version 4) of red, green, blue and white as (x, y), and a curve."""
    columns = _adapted(primaries)
    if gamma is None:  # sRGB's
        numbers = 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045
        curve = struct.pack(">4sIHH5i", b"para", 0, 3, 0, *map(_fixed, numbers))
    else:
        curve = struct.pack(">4sIHHi", b"para", 0, 0, 0, _fixed(gamma))
    tags = {
        name: struct.pack(">4sI3i", b"XYZ ", 0, *map(_fixed, column))
        for name, column in zip((b"wtpt", b"rXYZ", b"gXYZ", b"bXYZ"), (_D50, *columns), strict=True)
    }
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, data = struct.pack(">I", len(tags)), b""
    begin = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, begin + len(data), len(content))
        data += content
    white = struct.pack(">3i", *map(_fixed, _D50))
    head = struct.pack(
        ">I4sI4s4s4s12s4s28s12s48s",
        begin + len(data),
        b"",
        0x04300000,
        b"mntr",
        b"RGB ",
        b"XYZ ",
        b"",
        b"acsp",
        b"",
        white,
        b"",
    )
    return head + table + data


def _adapted(primaries: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Rows of XYZ for red, green and blue under D50 (Bradford's adaptation)."""
    rows = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries])
    colours, white = rows[:3].T, rows[3]
    colours = colours * np.linalg.solve(colours, white)
    cones = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    return cast("NDArray[np.float64]", (np.linalg.inv(_BRADFORD) * cones @ _BRADFORD @ colours).T)


def _fixed(value: float) -> int:
    return round(float(value) * 65536)


ADOBE_RGB = _matrix(((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), _D65), 563 / 256)
"""Adobe RGB (1998), which cameras say by Exif alone (interoperability R03)."""
