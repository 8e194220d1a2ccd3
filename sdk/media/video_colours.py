"""Read what a video says about its colours: primaries, transfer curve, ICC profile.

Numbers are those of ITU-T H.273, which FFmpeg's tags use too.
"""

from __future__ import annotations

import io
import logging
import struct
import zlib
from typing import Any, NamedTuple

from PIL import Image, ImageCms

from matter_sdk.sdk.errors import VideoError
from matter_sdk.sdk.media import colour_profiles

log = logging.getLogger("matter")

BT709, BT601, BT2020 = 1, 6, 9
UNSPECIFIED = 2
HDR_TRANSFERS = colour_profiles.HDR
SRGB_CURVE = 13
# Matrices that FFmpeg converts: RGB, BT.709, FCC, BT.601 (625 and 525 lines), SMPTE 240M, BT.2020.
KNOWN_MATRICES = frozenset({0, 1, 4, 5, 6, 7, 9})
_FOREIGN_MATRICES = {8: "YCgCo", 10: "BT.2020 constant luminance", 14: "ICtCp", 15: "IPT"}
_PRIMARIES = frozenset({1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 22})
_TRANSFERS = frozenset({1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17})
_PICTURES = frozenset({"png", "apng", "mjpeg", "webp", "tiff"})


class Tags(NamedTuple):
    """Primaries and curve (transfer characteristics) of the colours; 2 where nothing is said."""

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED

    def filled(self, number: int) -> Tags:
        """With ``number`` (1: BT.709, 6: BT.601) where nothing that a file can say is said."""
        return Tags(
            self.primaries if self.primaries in _PRIMARIES else number,
            self.transfer if self.transfer in _TRANSFERS else number,
        )


def tags_of(frame: Any) -> Tags:
    """The primaries and curve that a decoded frame declares."""
    return Tags(int(frame.color_primaries), int(frame.color_trc))


def check_matrix(frame: Any, path: Any) -> None:
    """Raise VideoError for a matrix that FFmpeg would take for another: the colours were wrong."""
    name = _FOREIGN_MATRICES.get(int(frame.colorspace))
    if name is not None:
        raise VideoError(
            f"{path} has {name} colours, expected RGB or a matrix of BT.601, BT.709 or BT.2020; "
            "convert it, for example by HandBrake or: ffmpeg -i IN -vf libplacebo=colorspace=bt709 "
            "OUT.mp4"
        )


class Said(NamedTuple):
    """What a picture's file says beside its pixels: ICC profile, and Exif orientation (1 to 8)."""

    profile: bytes | None = None
    orientation: int = 1


def said_by_picture(packet: bytes, codec: str) -> Said:
    """What a packet that is a whole picture file says, by Pillow; nothing of other codecs.

    PyAV (18.1) cannot be asked: it frees the name of a PNG's profile twice, which ends the process,
    and refuses to list a frame's side data where one of them is Exif.
    """
    if codec not in _PICTURES:
        return Said()
    try:
        with Image.open(io.BytesIO(packet)) as picture:
            profile = picture.info.get("icc_profile")
            orientation = picture.getexif().get(0x0112, 1)
    except Exception as error:  # noqa: BLE001 - damaged Exif raises almost anything
        log.debug("what a picture says of itself cannot be read: %s", error)
        return Said()
    good = isinstance(orientation, int) and 1 <= orientation <= 8
    return Said(profile or None, orientation if good else 1)


def side_data(frame: Any, codec: str) -> list[Any]:
    """A frame's side data where PyAV can give them: see ``said_by_picture``."""
    if codec in _PICTURES:
        return []
    try:
        return list(frame.side_data)
    except ValueError:
        return []


def to_srgb(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """Make the transform from a profile's RGB to sRGB; None for sRGB itself.

    Raises:
        ValueError: the profile cannot be used.
    """
    if colour_profiles.is_srgb(profile, "RGB"):
        return None
    try:
        return colour_profiles.transform(ImageCms.ImageCmsProfile(io.BytesIO(profile)), "RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        raise ValueError(str(error)) from error


def png_with_tags(data: bytes, tags: Tags) -> bytes:
    """A PNG file with a cICP chunk that names its colours; as it is where it counts as sRGB."""
    if tags.filled(BT709).primaries == BT709:
        return data
    content = b"cICP" + bytes((*tags.filled(SRGB_CURVE), 0, 1))
    chunk = struct.pack(">I", 4) + content + struct.pack(">I", zlib.crc32(content))
    after_header = 8 + 25
    return data[:after_header] + chunk + data[after_header:]
