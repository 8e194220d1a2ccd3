"""The engine file: a ZIP of plain, stored members that is memory-mapped and checked on opening.

Any unzip tool opens an engine; its members (``manifest.json``, ``model.onnx``, ``plans/…``) are
untouched files. Members start at multiples of 4096 bytes, so that each is page-aligned in the map.

Security. Opening verifies the manifest's ZIP checksum, and of every other member the name, length
and SHA-256; nothing outside the file is ever read on an engine's behalf. These checksums find
damage, not malice: an engine is not signed, and whoever can write it can write matching checksums.
An ONNX graph is data for a runtime, but **a TensorRT plan is code for the GPU and its deserialiser
trusts it**: load only engines from a source that you trust as you would a program. The bytes are
read from the file as they are needed, so replace an engine in use as ``write`` does (a new file
renamed over the old), never by writing into it.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import stat
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from sdk.errors import ClosedError, EngineError
from sdk.files import as_path, replacing
from sdk.manifest import (
    CREATED_FORMAT,
    GENERAL_COMMAND,
    MANIFEST,
    Manifest,
    Member,
    check_member_name,
)

ALIGNMENT = 4096
_CHUNK = 1 << 22
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
# The extra field that Android's zipalign uses for the same purpose: id, length, alignment, zeros.
_ALIGN_ID = 0xD935
_ZIP64_EXTRA = 20  # what zipfile appends to the local header of a member beyond 2 GiB


class EngineFile:
    """An opened engine: its manifest, and its members as views of the memory-mapped file.

    Use ``EngineFile.open``; close it (or use ``with``) when no view is needed any more.
    """

    def __init__(
        self, path: Path, manifest: Manifest, view: mmap.mmap, spans: Mapping[str, tuple[int, int]]
    ) -> None:
        self.path = path
        self.manifest = manifest
        self._map: mmap.mmap | None = view
        self._spans = dict(spans)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> EngineFile:
        """Open, and check everything: ZIP, schema, manifest, member paths, presence, SHA-256.

        Raises:
            EngineError: says what is wrong, what was expected and the command that builds it.
        """
        path = as_path(path, "the engine", EngineError)
        with _open_file(path) as file:
            try:
                view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:  # ValueError: an empty file
                raise EngineError(
                    f"{path}: {_kind_of_file(path)}; expected an engine (a ZIP with {MANIFEST}). "
                    f"{_rebuild(None, path)}"
                ) from error
            try:
                manifest, spans = _check(path, file, view)
            except BaseException:
                view.close()
                raise
        return cls(path, manifest, view, spans)

    def read(self, member: str) -> memoryview:
        """One member's bytes, read-only and without a copy: a view of the mapped file.

        Raises:
            EngineError: if the engine holds no such member.
            ClosedError: after ``close``.
        """
        if self._map is None:
            raise ClosedError(
                f"{self.path}: the engine file is closed; open it again to read from it"
            )
        if member not in self._spans:
            raise EngineError(
                f"{self.path}: no member {member!r}; the engine holds: "
                f"{', '.join(sorted(self._spans))}"
            )
        start, length = self._spans[member]
        return memoryview(self._map)[start : start + length]

    def part(self, name: str) -> EngineFile:
        """A further network of this engine: the same file, seen through the part's manifest.

        Close the engine itself; its parts end with it.

        Raises:
            EngineError: if the engine holds no such part.
            ClosedError: after ``close``.
        """
        if self._map is None:
            raise ClosedError(
                f"{self.path}: the engine file is closed; open it again to read from it"
            )
        if name not in self.manifest.parts:
            raise EngineError(
                f"{self.path}: no part {name!r}; the engine holds: "
                f"{', '.join(sorted(self.manifest.parts)) or 'none'}"
            )
        return EngineFile(self.path, self.manifest.parts[name], self._map, self._spans)

    def unpack(self, member: str, folder: str | os.PathLike[str]) -> Path:
        """Write one member under a folder (with its own sub-folders) and return where it is."""
        target = Path(folder) / member
        with self.read(member) as content:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            except OSError as error:
                raise EngineError(
                    f"{self.path}: member {member!r} could not be unpacked to {target} ({error}); "
                    f"expected a writable folder with {len(content):,} bytes free"
                ) from error
        return target

    def close(self) -> None:
        """Release the file. Views handed out by ``read`` stay valid until they are dropped."""
        view, self._map = self._map, None
        if view is not None:
            # With a view still alive the map cannot close; it is unmapped when the last is dropped.
            with contextlib.suppress(BufferError):
                view.close()

    def __enter__(self) -> EngineFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def write(
    path: str | os.PathLike[str], manifest: Manifest, members: Mapping[str, bytes | Path]
) -> Manifest:
    """Write an engine file, whole or not at all, and return the manifest with its checksums.

    ``members`` maps member names to their bytes, or to a file that is streamed into the archive.
    The archive is written beside ``path``, synced, and renamed over it; on any failure nothing is
    left.

    Raises:
        EngineError: for a member name that is not allowed, a member that the manifest names and
            ``members`` lacks, a file that cannot be read, or an output that cannot be written.
    """
    path = Path(path)
    _check_members(path, manifest, members)
    try:
        with replacing(path) as file:
            complete = _write_archive(file, manifest, members)
    except OSError as error:
        raise EngineError(
            f"{path}: the engine could not be written ({error.strerror or error}); expected a "
            f"writable folder with enough space. Nothing was left behind; choose another --output"
        ) from error
    return complete


# ---------------------------------------------------------------------------------------- reading


def _open_file(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise EngineError(
            f"{path}: no such file; expected an engine file. {_rebuild(None, path)}"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        reason = getattr(error, "strerror", None) or error
        raise EngineError(
            f"{path}: cannot be opened ({reason}); expected a readable engine file"
        ) from error


def _check(
    path: Path, file: BinaryIO, view: mmap.mmap
) -> tuple[Manifest, dict[str, tuple[int, int]]]:
    """Every check of ``EngineFile.open``: the manifest and each member's (start, length)."""
    manifest: Manifest | None = None
    try:
        with _archive(path, file) as archive:
            try:
                manifest = Manifest.from_json(_read_manifest(archive))
            except RecursionError:  # while what is wrong was put into words
                raise EngineError("the manifest is nested too deeply") from None
            spans = dict(_spans(archive, view))
        _check_digests(manifest, spans, view)
    except EngineError as error:
        if "upgrade the package" in str(error):
            raise EngineError(f"{path}: {error}") from error
        raise EngineError(f"{path}: {error}. {_rebuild(manifest, path)}") from error
    return manifest, spans


def _archive(path: Path, file: BinaryIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except _DAMAGED as error:
        raise EngineError(
            f"{_kind_of_file(path)} ({error}); expected an engine (a ZIP with {MANIFEST})"
        ) from error


# What zipfile raises for damaged archives, beyond BadZipFile: broken fields reach struct, text
# decoding, seeks and unsupported versions before its own checks do.
_DAMAGED = (
    zipfile.BadZipFile,
    NotImplementedError,
    ValueError,
    RuntimeError,
    OverflowError,
    struct.error,
    EOFError,
    OSError,
)


def _read_manifest(archive: zipfile.ZipFile) -> bytes:
    try:
        return archive.read(MANIFEST)  # compares the ZIP's own CRC-32
    except KeyError as error:
        names = [info.filename for info in archive.infolist()]
        foreign = "a PyTorch checkpoint" if any(n.endswith("data.pkl") for n in names) else "a ZIP"
        raise EngineError(
            f"{foreign} without {MANIFEST}; it holds {len(names)} members "
            f"({', '.join(names[:4])}{', …' if names[4:] else ''}); expected an engine"
        ) from error
    except _DAMAGED as error:
        raise EngineError(f"{MANIFEST} is damaged ({error}); expected an intact member") from error


def _spans(archive: zipfile.ZipFile, view: mmap.mmap) -> Iterator[tuple[str, tuple[int, int]]]:
    seen: dict[str, str] = {}
    for info in archive.infolist():
        # zipfile cuts `filename` at a NUL and turns separators; the name in the file is judged.
        name = info.orig_filename
        check_member_name(name)
        # Two names that differ in case are one file on many systems.
        if name.lower() in seen:
            raise EngineError(
                f"member {name!r} stands twice in the archive; expected each name once"
            )
        seen[name.lower()] = name
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            what = "a symbolic link" if kind == stat.S_IFLNK else "not a plain file"
            raise EngineError(f"member {name!r} is {what}; expected a plain file")
        if info.flag_bits & 0x1:
            raise EngineError(f"member {name!r} is encrypted; expected a plain, stored member")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise EngineError(
                f"member {name!r} is compressed; expected a stored one, since engines are "
                f"memory-mapped (if the archive was packed again by hand, use `zip -0`)"
            )
        if name != MANIFEST:
            yield name, (_data_start(info, view), info.file_size)


def _data_start(info: zipfile.ZipInfo, view: mmap.mmap) -> int:
    """Where a stored member's bytes begin: after its local header and that header's extra field."""
    at = info.header_offset
    damaged = f"member {info.orig_filename!r} lies outside the file or its header is damaged"
    if not 0 <= at <= len(view) - _LOCAL_HEADER.size:
        raise EngineError(f"{damaged}; expected a whole archive")
    header = _LOCAL_HEADER.unpack_from(view, at)
    start: int = at + _LOCAL_HEADER.size + header[-2] + header[-1]
    name = view[at + _LOCAL_HEADER.size : at + _LOCAL_HEADER.size + header[-2]]
    if (
        header[0] != b"PK\x03\x04"
        or name != info.orig_filename.encode("utf-8")
        or start + info.file_size > len(view)
    ):
        raise EngineError(f"{damaged}; expected a whole archive")
    return start


def _check_digests(
    manifest: Manifest, spans: Mapping[str, tuple[int, int]], view: mmap.mmap
) -> None:
    for name in manifest.files():
        if name not in manifest.members:
            raise EngineError(f"member {name!r} has no checksum in the manifest; expected one")
    for name in manifest.members:
        if name not in spans:
            raise EngineError(
                f"member {name!r} is absent; the archive holds "
                f"{', '.join(sorted(spans)) or 'nothing'}; expected all that the manifest names"
            )
    for name, (start, length) in spans.items():
        expected = manifest.members.get(name)
        if expected is None:
            raise EngineError(
                f"member {name!r} is not in the manifest; expected only members that are"
            )
        if length != expected.bytes:
            raise EngineError(
                f"member {name!r} has {length:,} bytes; expected the manifest's {expected.bytes:,}"
            )
        digest = hashlib.sha256()
        with memoryview(view) as whole:
            for at in range(start, start + length, _CHUNK):
                digest.update(whole[at : min(at + _CHUNK, start + length)])
        if digest.hexdigest() != expected.sha256:
            raise EngineError(
                f"member {name!r} is damaged: its SHA-256 is {digest.hexdigest()}; expected "
                f"{expected.sha256}"
            )


def _kind_of_file(path: Path) -> str:
    """In words, what a file that is no readable ZIP looks like."""
    size = path.stat().st_size
    if path.is_dir():
        return "a folder"
    if size == 0:
        return "an empty file"
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(b"PK\x03\x04"):
        return f"truncated or damaged: the ZIP's directory is not at the end of its {size:,} bytes"
    if head[:4] in (b"ftrt", b"ptrt"):
        return "a bare TensorRT plan, not an engine"
    if head[:1] == b"\x08" and b"\x12" in head[:8]:
        return "a bare ONNX model, not an engine"
    if head[:2] == b"\x80\x02" or head[:1] == b"\x80":
        return "a Python pickle, not an engine"
    if head[8:9] == b"{":
        return "a safetensors checkpoint, not an engine"
    return f"not an engine (the file begins with {head[:8]!r})"


def _rebuild(manifest: Manifest | None, path: Path) -> str:
    if manifest is not None:
        return f"Build it again: {manifest.build_command(path.name)}"
    return f"Build one: {GENERAL_COMMAND}"


# ---------------------------------------------------------------------------------------- writing


def _check_members(path: Path, manifest: Manifest, members: Mapping[str, bytes | Path]) -> None:
    seen: set[str] = set()
    for name, content in members.items():
        check_member_name(name)
        if name.lower() in seen | {MANIFEST}:
            raise EngineError(
                f"{path}: member {name!r} is reserved or given twice; expected another name"
            )
        seen.add(name.lower())
        if isinstance(content, Path) and not content.is_file():
            raise EngineError(f"{path}: member {name!r} comes from {content}, which is no file")
    missing = [name for name in manifest.files() if name not in members]
    if missing:
        raise EngineError(
            f"{path}: the manifest names {', '.join(missing)}; expected among the members, which "
            f"are: {', '.join(members) or 'none'}"
        )


def _write_archive(
    file: BinaryIO, manifest: Manifest, members: Mapping[str, bytes | Path]
) -> Manifest:
    # Members first and the manifest last: each is streamed once, hashed on its way.
    checksums: dict[str, Member] = {}
    when = datetime.strptime(manifest.created, CREATED_FORMAT)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, content in members.items():
            size = content.stat().st_size if isinstance(content, Path) else len(content)
            info, large = _entry(name, size, file.tell(), when)
            digest = hashlib.sha256()
            length = 0
            with archive.open(info, "w", force_zip64=large) as target:
                for piece in _pieces(content):
                    digest.update(piece)
                    length += len(piece)
                    target.write(piece)
            if length != size:
                raise EngineError(
                    f"member {name!r} changed while it was packed: {size:,} to {length:,} bytes; "
                    f"expected a file that nobody writes"
                )
            checksums[name] = Member(digest.hexdigest(), length)
        complete = replace(manifest, members=checksums)
        text = complete.to_json().encode("utf-8")
        Manifest.from_json(text)  # what could not be opened again is not written
        info, large = _entry(MANIFEST, len(text), file.tell(), when)
        with archive.open(info, "w", force_zip64=large) as target:
            target.write(text)
    return complete


def _entry(name: str, size: int, at: int, when: datetime) -> tuple[zipfile.ZipInfo, bool]:
    """The ZIP entry, its extra field padded so that the data begin at a multiple of ALIGNMENT."""
    info = zipfile.ZipInfo(
        name, date_time=(when.year, when.month, when.day, when.hour, when.minute, when.second)
    )
    info.compress_type = zipfile.ZIP_STORED
    info.create_system = 3  # Unix, on every system: the same engine from the same input
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    info.file_size = size
    large = size * 1.05 > zipfile.ZIP64_LIMIT
    fixed = at + _LOCAL_HEADER.size + len(name) + 6 + (_ZIP64_EXTRA if large else 0)
    padding = -fixed % ALIGNMENT
    info.extra = struct.pack("<HHH", _ALIGN_ID, 2 + padding, ALIGNMENT) + bytes(padding)
    return info, large


def _pieces(content: bytes | Path) -> Iterator[bytes | memoryview]:
    if isinstance(content, Path):
        with content.open("rb") as file:
            while piece := file.read(_CHUNK):
                yield piece
    else:
        view = memoryview(content)
        for at in range(0, len(view), _CHUNK):
            yield view[at : at + _CHUNK]
