"""What a video says of its colours, beside matrix and range: primaries, curve, ICC profile.

Numbers are those of ITU-T H.273, which FFmpeg's tags use too.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, NamedTuple

from sdk.errors import VideoError

BT709, BT601, BT2020 = 1, 6, 9
UNSPECIFIED = 2
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
SRGB_CURVE = 13
# Matrices that FFmpeg converts: RGB, BT.709, FCC, BT.601 (625 and 525 lines), SMPTE 240M, BT.2020.
KNOWN_MATRICES = frozenset({0, 1, 4, 5, 6, 7, 9})
_FOREIGN_MATRICES = {8: "YCgCo", 10: "BT.2020 constant luminance", 14: "ICtCp", 15: "IPT"}
_PRIMARIES = frozenset({1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 22})
_TRANSFERS = frozenset({1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17})
_PROFILE_LIMIT = (
    4 << 20
)  # bytes of an ICC profile; those of cameras and screens have a few thousand


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


def profile_of(frame: Any, packet: bytes, codec: str) -> bytes | None:
    """A frame's ICC profile, or None.

    PNG's is read from the packet: PyAV (18.1) frees its name twice when the frame's side data are
    looked at, which ends the process.
    """
    if codec in ("png", "apng"):
        return _png_profile(packet)
    for data in side_data(frame, codec):
        if data.type.name == "ICC_PROFILE":
            return bytes(memoryview(data))
    return None


def side_data(frame: Any, codec: str) -> list[Any]:
    """A frame's side data where PyAV can give them: not PNG's, nor beside a kind it does not know
    (EXIF)."""
    if codec in ("png", "apng"):
        return []
    try:
        return list(frame.side_data)
    except ValueError:
        return []


def _png_profile(data: bytes) -> bytes | None:
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            return None
        if kind == b"iCCP":
            _, _, packed = data[at + 8 : at + 8 + length].partition(b"\0")
            try:
                return zlib.decompressobj().decompress(packed[1:], _PROFILE_LIMIT)
            except zlib.error:
                return None
        at += length + 12
    return None


# X and Y of the red and green colorants, relative to D50 as profiles have them.
_COLORANTS = {
    BT709: (0.436, 0.222, 0.385, 0.717),
    12: (0.515, 0.241, 0.292, 0.692),  # Display P3
    BT2020: (0.673, 0.279, 0.166, 0.675),
}


def tags_of_profile(profile: bytes) -> Tags | None:
    """The tags that mean what an RGB profile says, or None where no tag does (Adobe RGB, …).

    The curve counts as sRGB's, as it is in every profile of these primaries that is around.
    """
    found = []
    for name in (b"rXYZ", b"gXYZ"):
        try:
            (count,) = struct.unpack_from(">I", profile, 128)
            for index in range(min(count, 100)):
                kind, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * index)
                if kind == name:
                    x, y = struct.unpack_from(">2i", profile, offset + 8)
                    found += [x / 65536, y / 65536]
        except struct.error:
            return None
    for primaries, expected in _COLORANTS.items():
        if len(found) == 4 and max(map(abs, _minus(found, expected))) < 0.01:
            return Tags(primaries, SRGB_CURVE)
    return None


def _minus(one: Any, other: Any) -> list[float]:
    return [a - b for a, b in zip(one, other, strict=True)]


def png_with_tags(data: bytes, tags: Tags) -> bytes:
    """A PNG file with a cICP chunk that names its colours; as it is where it counts as sRGB."""
    if tags.filled(BT709).primaries == BT709:
        return data
    content = b"cICP" + bytes((*tags.filled(SRGB_CURVE), 0, 1))
    chunk = struct.pack(">I", 4) + content + struct.pack(">I", zlib.crc32(content))
    after_header = 8 + 25
    return data[:after_header] + chunk + data[after_header:]
