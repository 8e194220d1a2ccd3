"""Refuse pictures and videos that are too large, from their headers, before they are decoded.

A picture of two megabytes can unpack to gigabytes, and a few bytes can claim a chunk of four. So
readers ask here first: ``check_picture`` for a picture's bytes, ``check_video`` for a track.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction

from matter_sdk.sdk.errors import FrameError, VideoError

MAX_PIXELS = 1 << 27
"""Most pixels of a picture, or of a frame of a video: 134 million."""
MAX_SIDE = 1 << 16
"""Longest side of either."""
MAX_RATE = 100_000
"""Most frames a second of a video; one of a single frame may say 90,000, a container's clock."""


def check_picture(content: bytes, what: str) -> None:
    """Refuse the bytes of a picture that decode to too much, or claim more than they hold.

    Bytes of a kind that ``picture_sizes`` does not know pass: no decoder knows them.

    Raises:
        FrameError: says what was found; ``what`` is what it calls the picture.
    """
    for width, height in picture_sizes(content, what):
        if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
            raise FrameError(
                f"{what} is a picture of {width}×{height} pixels; expected at most "
                f"{MAX_PIXELS:,}, and {MAX_SIDE:,} along a side. Make it smaller"
            )


def picture_sizes(content: bytes, what: str) -> list[tuple[int, int]]:
    """Read every (width, height) that a picture's headers name, without decoding it.

    Knows PNG, JPEG, GIF, BMP, WebP, TIFF, HEIF, AVIF, JPEG 2000, PNM, Radiance and Sun raster
    files; the list is empty for others.

    Raises:
        FrameError: the headers are cut short; ``what`` is what it calls the picture.
    """
    try:
        return list(_sizes(content))
    except (struct.error, IndexError):
        raise FrameError(f"{what} is cut short; expected a whole picture") from None


def check_video(width: int, height: int, what: str, rate: Fraction | float | None = None) -> None:
    """Refuse a video's track whose frames are too large, or too many a second.

    ``rate`` is in frames a second; None where none is said.

    Raises:
        VideoError: says what was found; ``what`` is what it calls the video.
    """
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise VideoError(
            f"{what} has frames of {width}×{height}; expected at most {MAX_PIXELS:,} pixels, and "
            f"{MAX_SIDE:,} along a side"
        )
    if rate is not None and not 0 <= rate <= MAX_RATE:
        raise VideoError(
            f"{what} has {float(rate):,.0f} frames a second; expected at most {MAX_RATE:,}"
        )


def _sizes(content: bytes) -> Iterator[tuple[int, int]]:
    """The sizes that a picture's headers name."""
    for mark, read in _KINDS:
        if re.match(mark, content, re.DOTALL):
            yield from read(content)
            return


def _png(content: bytes) -> Iterator[tuple[int, int]]:
    yield struct.unpack_from(">2I", content, 16)
    at = 8
    while at < len(content):  # a decoder makes room for what a chunk claims
        length, kind = struct.unpack_from(">I4s", content, at)
        at += 12 + length
        if at > len(content):
            raise IndexError
        if kind == b"IEND":
            return


def _jpeg(content: bytes) -> Iterator[tuple[int, int]]:
    at = 2
    while at + 4 <= len(content):
        if content[at] != 0xFF:
            at += 1  # padding, or data between markers: decoders look for the next
            continue
        kind = content[at + 1]
        if kind in (0x00, 0x01, 0xFF, *range(0xD0, 0xD9)):
            at += 1 if kind == 0xFF else 2
        elif kind in (0xDA, 0xD9):  # the scan, or the end
            return
        else:
            if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
                height, width = struct.unpack_from(">2H", content, at + 5)
                yield width, height
            at += 2 + max(2, struct.unpack_from(">H", content, at + 2)[0])


def _gif(content: bytes) -> Iterator[tuple[int, int]]:
    yield struct.unpack_from("<2H", content, 6)


def _bmp(content: bytes) -> Iterator[tuple[int, int]]:
    (header,) = struct.unpack_from("<I", content, 14)
    sides = struct.unpack_from("<2H" if header == 12 else "<2i", content, 18)
    yield abs(sides[0]), abs(sides[1])


def _webp(content: bytes) -> Iterator[tuple[int, int]]:
    kind = content[12:16]
    if kind == b"VP8X":
        width, height = content[24:27], content[27:30]
        yield int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        yield (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        sides = struct.unpack_from("<2H", content, 26)
        yield sides[0] & 0x3FFF, sides[1] & 0x3FFF


def _tiff(content: bytes) -> Iterator[tuple[int, int]]:
    order = "<" if content[:2] == b"II" else ">"
    large = struct.unpack_from(f"{order}H", content, 2)[0] == 43
    (at,) = struct.unpack_from(f"{order}{'Q' if large else 'I'}", content, 8 if large else 4)
    (count,) = struct.unpack_from(f"{order}{'Q' if large else 'H'}", content, at)
    at += 8 if large else 2
    values: dict[int, int] = {}
    for entry in range(min(count, 4096)):
        place = at + entry * (20 if large else 12)
        tag, kind = struct.unpack_from(f"{order}2H", content, place)
        form = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)
        if form is not None:
            offset = place + (12 if large else 8)
            values.setdefault(tag, struct.unpack_from(f"{order}{form}", content, offset)[0])
    for width, height in ((256, 257), (322, 323)):  # of the picture, of a tile
        yield values.get(width, 0), values.get(height, 0)
    yield values.get(256, 0), values.get(278, 0) and min(values[278], values.get(257, 0))


def _heif(content: bytes) -> Iterator[tuple[int, int]]:
    for found in re.finditer(b"ispe", content[: 1 << 20]):
        yield struct.unpack_from(">2I", content, found.end() + 4)


def _jpeg_2000(content: bytes) -> Iterator[tuple[int, int]]:
    for found in re.finditer(b"ihdr", content[: 1 << 16]):
        height, width = struct.unpack_from(">2I", content, found.end())
        yield width, height
    for found in re.finditer(b"\xff\x4f\xff\x51", content[: 1 << 20]):
        yield struct.unpack_from(">2I", content, found.end() + 4)


def _pnm(content: bytes) -> Iterator[tuple[int, int]]:
    head = re.sub(rb"#[^\n]*", b" ", content[:65536])
    if head[1:2] == b"7":
        sides = [re.search(rb"\b%s\s+(\d{1,18})" % key, head) for key in (b"WIDTH", b"HEIGHT")]
        yield tuple(int(side[1]) if side else 0 for side in sides)  # type: ignore[misc]
    else:
        found = re.match(rb"P[1-6fF]\s+(\d{1,18})\s+(\d{1,18})", head)
        if found:
            yield int(found[1]), int(found[2])


def _radiance(content: bytes) -> Iterator[tuple[int, int]]:
    for found in re.finditer(rb"[-+][XY]\s+(\d{1,18})\s+[-+][XY]\s+(\d{1,18})", content[:65536]):
        yield int(found[2]), int(found[1])


def _sun(content: bytes) -> Iterator[tuple[int, int]]:
    yield struct.unpack_from(">2I", content, 4)


_KINDS: tuple[tuple[bytes, Callable[[bytes], Iterator[tuple[int, int]]]], ...] = (
    (rb"\x89PNG\r\n\x1a\n", _png),
    (rb"\xff\xd8", _jpeg),
    (rb"GIF8", _gif),
    (rb"BM", _bmp),
    (rb"RIFF....WEBP", _webp),
    (rb"(II|MM)(\*\0|\0\*|\+\0|\0\+)", _tiff),
    (rb"....ftyp", _heif),
    (rb"\0\0\0\x0cjP|\xff\x4f\xff\x51", _jpeg_2000),
    (rb"P[1-7fF]\s", _pnm),
    (rb"#\?R", _radiance),
    (rb"\x59\xa6\x6a\x95", _sun),
)
