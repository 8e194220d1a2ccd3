"""Read a ZIP archive of stored members strictly, and never more of it than was asked for.

Only what ``sdk.engine.file.write`` and ``zip -0`` make is taken: the directory right before the end
record, no comment, nothing compressed or encrypted, each name once, no two members on the same
bytes, local headers that say what the directory says. Sizes are compared with the file's before a
byte of a member is read, and nothing is ever inflated.
"""

from __future__ import annotations

import itertools
import os
import stat
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from matter_sdk.sdk.errors import EngineError

MAX_DIRECTORY = 1 << 20
"""Largest directory in bytes: that of some 10,000 members."""
MAX_MEMBERS = 4096

_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_FULL = 0xFFFFFFFF  # the number stands in a ZIP64 field
_ZIP64 = 1
_UTF8 = 0x800
_WHOLE = "expected a whole archive"


class OpenedFile:
    """A plain file that stays open, to be read at any place from any thread.

    The path is looked at once. What is no plain file, such as a FIFO or a device, is not opened.

    Raises:
        OSError: it cannot be opened.
        EngineError: it is no plain file.
    """

    def __init__(self, path: Path) -> None:
        kind = path.stat().st_mode
        if stat.S_ISREG(kind):
            # Not blocking: somebody may put a FIFO in its place this moment.
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            self._handle = os.open(path, flags)
            kind = os.fstat(self._handle).st_mode
            if not stat.S_ISREG(kind):
                os.close(self._handle)
        if not stat.S_ISREG(kind):
            what = "a folder" if stat.S_ISDIR(kind) else "no plain file"
            raise EngineError(f"{path}: cannot be opened ({what}); expected an engine file")
        self._lock = threading.Lock()
        self.closed = False

    @property
    def size(self) -> int:
        """How many bytes it has now."""
        return os.fstat(self._handle).st_size

    def read(self, at: int, length: int) -> bytes:
        """Return ``length`` bytes from ``at``, fewer at the end of the file.

        Raises:
            OSError: the file cannot be read.
        """
        pieces = []
        while length > 0:
            if hasattr(os, "pread"):
                piece = os.pread(self._handle, min(length, 1 << 30), at)
            else:
                with self._lock:
                    os.lseek(self._handle, at, os.SEEK_SET)
                    piece = os.read(self._handle, min(length, 1 << 30))
            if not piece:
                break
            pieces.append(piece)
            at, length = at + len(piece), length - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Close it; may be called more than once."""
        with self._lock:
            if not self.closed:
                self.closed = True
                os.close(self._handle)


class Entry(NamedTuple):
    """A stored member: its name, where its bytes are, and their CRC-32."""

    name: str
    start: int
    length: int
    crc: int

    def check_crc(self, content: bytes) -> None:
        """Raise EngineError where the content is not what was packed."""
        if len(content) != self.length or zlib.crc32(content) != self.crc:
            raise EngineError(f"{self.name} is damaged (CRC-32); expected an intact member")


class _Listed(NamedTuple):
    """An entry of the directory."""

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    length: int
    mode: int
    at: int


def entries(file: OpenedFile, check_names: Callable[[list[str]], None]) -> list[Entry]:
    """Return the members of an archive, in the directory's order.

    ``check_names`` gets all names and raises EngineError where they are not an engine's.

    Raises:
        EngineError: it is no such archive; says why.
        OSError: the file cannot be read.
    """
    listed, end = _directory(file)
    check_names([one.name for one in listed])
    found: list[Entry] = []
    spans: list[tuple[int, int, str]] = []
    seen: set[str] = set()
    for one in listed:
        # Two names that differ in case are one file on many systems.
        if one.name.lower() in seen:
            raise EngineError(
                f"member {one.name!r} stands twice in the archive; expected each name once"
            )
        seen.add(one.name.lower())
        _plain(one)
        start = _data_start(file, one, end)
        spans.append((one.at, start + one.length, one.name))
        found.append(Entry(one.name, start, one.length, one.crc))
    spans.sort()
    for (_, stop, name), (begin, _, other) in itertools.pairwise(spans):
        if begin < stop:
            raise EngineError(
                f"members {name!r} and {other!r} overlap; expected each on bytes of its own"
            )
    return found


def _directory(file: OpenedFile) -> tuple[list[_Listed], int]:
    """The directory's entries and where it begins."""
    size = file.size
    tail = file.read(max(size - _END.size, 0), _END.size)
    if len(tail) < _END.size or not tail.startswith(b"PK\x05\x06"):
        raise EngineError("the ZIP's directory is not at the end")
    _, disk, first, here, count, length, at, comment = _END.unpack(tail)
    end = size - _END.size
    locator = file.read(end - _LOCATOR.size, _LOCATOR.size) if end >= _LOCATOR.size else b""
    if locator.startswith(b"PK\x06\x07"):
        _, disk_64, place, disks = _LOCATOR.unpack(locator)
        end -= _LOCATOR.size + _END_64.size
        record = file.read(max(end, 0), _END_64.size)
        if place != end or disk_64 or disks != 1 or not record.startswith(b"PK\x06\x06"):
            raise EngineError(f"the ZIP's end record is damaged; {_WHOLE}")
        _, rest, _, _, disk, first, here, count, length, at = _END_64.unpack(record)
        if rest != _END_64.size - 12:
            raise EngineError(f"the ZIP's end record is damaged; {_WHOLE}")
    if disk or first or here != count or comment or at + length != end:
        raise EngineError(f"the ZIP's directory is not right before the end; {_WHOLE}")
    if length > MAX_DIRECTORY or count > MAX_MEMBERS:
        raise EngineError(
            f"the ZIP's directory has {length:,} bytes for {count:,} members; expected at most "
            f"{MAX_DIRECTORY:,} for {MAX_MEMBERS:,}"
        )
    listed, content, place = [], file.read(at, length), 0
    for _ in range(count):
        one, place = _listed(content, place)
        listed.append(one)
    if place != length:
        raise EngineError(f"the ZIP's directory holds more than its entries; {_WHOLE}")
    return listed, at


def _listed(content: bytes, at: int) -> tuple[_Listed, int]:
    damaged = f"the ZIP's directory is damaged; {_WHOLE}"
    if len(content) - at < _CENTRAL.size:
        raise EngineError(damaged)
    (mark, _, _, flags, method, _, _, crc, packed, length, named, extra, comment, disk, _, mode,
     place) = _CENTRAL.unpack_from(content, at)  # fmt: skip
    at += _CENTRAL.size
    stop = at + named + extra + comment
    if mark != b"PK\x01\x02" or stop > len(content) or disk:
        raise EngineError(damaged)
    raw = content[at : at + named]
    try:
        name = raw.decode("utf-8" if flags & _UTF8 else "ascii")
    except UnicodeDecodeError:
        raise EngineError(
            f"member {raw[:80]!r} has a name that is not text; expected letters and digits"
        ) from None
    wanted = [value for value in (length, packed, place) if value == _FULL]
    if wanted:
        numbers = _wide(content[at + named : at + named + extra], len(wanted))
        if numbers is None:
            raise EngineError(damaged)
        rest = iter(numbers)
        length, packed, place = (
            next(rest) if value == _FULL else value for value in (length, packed, place)
        )
    return _Listed(name, flags, method, crc, packed, length, mode >> 16, place), stop


def _wide(extra: bytes, count: int) -> tuple[int, ...] | None:
    """The first numbers of a ZIP64 field; None where there is none such."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == _ZIP64:
            if length < 8 * count or at + 4 + length > len(extra):
                return None
            return struct.unpack_from(f"<{count}Q", extra, at + 4)
        at += 4 + length
    return None


def _plain(one: _Listed) -> None:
    kind = stat.S_IFMT(one.mode)
    if kind not in (0, stat.S_IFREG):
        what = "a symbolic link" if kind == stat.S_IFLNK else "not a plain file"
        raise EngineError(f"member {one.name!r} is {what}; expected a plain file")
    if one.flags & 1:
        raise EngineError(f"member {one.name!r} is encrypted; expected a plain, stored member")
    if one.method or one.packed != one.length:
        raise EngineError(
            f"member {one.name!r} is compressed; expected a stored one, since engines are "
            f"read in place (if the archive was packed again by hand, use `zip -0`)"
        )
    if one.flags & ~_UTF8:
        raise EngineError(f"member {one.name!r} has flags {one.flags:#x}; expected none")


def _data_start(file: OpenedFile, one: _Listed, end: int) -> int:
    """Where a member's bytes begin: after its local header and that header's extra field."""
    damaged = EngineError(
        f"member {one.name!r} lies outside the file or its header is damaged; {_WHOLE}"
    )
    raw = file.read(one.at, _LOCAL.size) if one.at + _LOCAL.size <= end else b""
    if len(raw) < _LOCAL.size:
        raise damaged
    mark, _, flags, method, _, _, crc, packed, length, named, extra = _LOCAL.unpack(raw)
    rest = file.read(one.at + _LOCAL.size, named + extra)
    if (packed, length) == (_FULL, _FULL):
        length, packed = _wide(rest[named:], 2) or (-1, -1)
    start = one.at + _LOCAL.size + named + extra
    if (
        mark != b"PK\x03\x04"
        or rest[:named] != one.name.encode()
        or (flags, method, crc, packed, length)
        != (one.flags, one.method, one.crc, one.packed, one.length)
        or start + one.length > end
    ):
        raise damaged
    return start
