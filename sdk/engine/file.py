"""The engine file: a ZIP of plain, stored members that is checked on opening.

Any unzip tool opens an engine; its members (``manifest.json``, ``model.onnx``, ``plans/…``) are
untouched files. Members start at multiples of 4096 bytes, so that each can be mapped by itself.

Security. Opening verifies the archive (``sdk.engine.archive``), the manifest, and of every other
member the name, length and SHA-256; nothing outside the file is ever read on an engine's behalf.
What is read later is copied into memory and verified again, so that what was checked is what runs:
an engine that is written into while it is open gives an error, never another network. Checksums
find damage, not malice: an engine is not signed. What an engine from a stranger can and cannot do
is said in ``SECURITY.md``: its graphs are checked (``sdk.backends.graphs``), and a TensorRT plan,
which is native code, is used only if this user built it on this machine, or ``trust_plans`` says
so.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from matter_sdk.sdk.closing import Closing
from matter_sdk.sdk.engine import archive
from matter_sdk.sdk.engine.archive import Entry, OpenedFile
from matter_sdk.sdk.engine.manifest import (
    CREATED_FORMAT,
    MANIFEST,
    MAX_MANIFEST,
    Manifest,
    Member,
    check_member_name,
)
from matter_sdk.sdk.errors import ClosedError, EngineError
from matter_sdk.sdk.files import as_path, replacing
from matter_sdk.sdk.installation import another_engine

ALIGNMENT = 4096
_CHUNK = 1 << 22
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
# The extra field that Android's zipalign uses for the same purpose: id, length, alignment, zeros.
_ALIGN_ID = 0xD935
_ZIP64_EXTRA = 20  # what zipfile appends to the local header of a member beyond 2 GiB


class EngineFile(Closing):
    """An opened engine: its manifest, and its members on request.

    Use ``EngineFile.open``; close it (or use ``with``) when nothing is to be read any more. Safe in
    several threads, and in a forked child.

    Attributes:
        path: the engine's.
        manifest: what it says about itself.
        trust_plans: whether TensorRT plans are used that this machine did not build.
        vetted: the graphs that were checked already: member, its weights' member, network size.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        file: OpenedFile,
        spans: Mapping[str, Entry],
        *,
        trust_plans: bool = False,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.trust_plans = trust_plans
        self.vetted: set[tuple[str, str | None, tuple[int, int]]] = set()
        self._file = file
        self._spans = dict(spans)
        # Of the whole engine: a part's own manifest names no members.
        self._members = dict(manifest.members)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, trust_plans: bool = False) -> EngineFile:
        """Open, and check everything: archive, schema, manifest, members' paths and SHA-256.

        ``trust_plans``: TensorRT plans are native code, which is run with the rights of this
        process. By default only plans that this user built on this machine are used; True takes
        those of this file too: for engines from a source that is trusted like a program.

        Raises:
            EngineError: says what is wrong, what was expected and the command that builds it.
        """
        path = as_path(path, "the engine", EngineError)
        file = _open_file(path)
        try:
            manifest, spans = _check(path, file)
        except BaseException:
            file.close()
            raise
        return cls(path, manifest, file, spans, trust_plans=trust_plans)

    def read(self, member: str) -> memoryview:
        """Return one member's bytes, read-only, in memory of their own and verified once more.

        Raises:
            EngineError: the engine holds no such member, or the file was changed while open.
            ClosedError: after ``close``.
        """
        span = self._span(member)
        try:
            content = self._file.read(span.start, span.length)
        except (OSError, MemoryError) as error:
            raise EngineError(
                f"{self.path}: member {member!r} cannot be read ({error}); expected "
                f"{span.length:,} bytes"
            ) from error
        self._verify(member, hashlib.sha256(content).hexdigest())
        return memoryview(content)

    def member(self, member: str) -> Member:
        """Return a member's SHA-256 and length in bytes.

        Raises:
            EngineError: the engine holds no such member.
            ClosedError: after ``close``.
        """
        self._span(member)
        return self._members[member]

    def _span(self, member: str) -> Entry:
        if self._file.closed:
            raise ClosedError(
                f"{self.path}: the engine file is closed; open it again to read from it"
            )
        if member not in self._spans:
            raise EngineError(
                f"{self.path}: no member {member!r}; the engine holds: "
                f"{', '.join(sorted(self._spans))}"
            )
        return self._spans[member]

    def _verify(self, member: str, digest: str) -> None:
        if digest != self._members[member].sha256:
            raise EngineError(
                f"{self.path}: the file was written into while it was open: {member!r} is another; "
                f"expected a new file renamed over the old. Open it again"
            )

    def part(self, name: str) -> EngineFile:
        """A further network of this engine: the same file, seen through the part's manifest.

        Close the engine itself; its parts end with it.

        Raises:
            EngineError: if the engine holds no such part.
            ClosedError: after ``close``.
        """
        if self._file.closed:
            raise ClosedError(
                f"{self.path}: the engine file is closed; open it again to read from it"
            )
        if name not in self.manifest.parts:
            raise EngineError(
                f"{self.path}: no part {name!r}; the engine holds: "
                f"{', '.join(sorted(self.manifest.parts)) or 'none'}"
            )
        part = EngineFile(
            self.path,
            self.manifest.parts[name],
            self._file,
            self._spans,
            trust_plans=self.trust_plans,
        )
        part._members = self._members
        return part

    def close(self) -> None:
        """Release the file; may be called more than once. What ``read`` gave stays valid."""
        self._file.close()


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


def _open_file(path: Path) -> OpenedFile:
    try:
        return OpenedFile(path)
    except FileNotFoundError as error:
        raise EngineError(
            f"{path}: no such file; expected an engine file. {_rebuild(None, path)}"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise EngineError(
            f"{path}: cannot be opened ({getattr(error, 'strerror', None) or error}); expected a "
            f"readable engine file"
        ) from error


def _check(path: Path, file: OpenedFile) -> tuple[Manifest, dict[str, Entry]]:
    """Every check of ``EngineFile.open``: the manifest and where each member is."""
    manifest: Manifest | None = None
    try:
        try:
            spans = {entry.name: entry for entry in _entries(file)}
            manifest = Manifest.from_json(_read_manifest(file, spans.pop(MANIFEST)))
            _check_digests(manifest, spans, file)
        except OSError as error:
            raise EngineError(f"cannot be read ({error}); expected a readable file") from error
    except EngineError as error:
        if "upgrade the package" in str(error):
            raise EngineError(f"{path}: {error}") from error
        raise EngineError(f"{path}: {error}. {_rebuild(manifest, path)}") from error
    return manifest, spans


def _entries(file: OpenedFile) -> list[Entry]:
    """The archive's members, each with a name that an engine may hold."""
    try:
        return archive.entries(file, _check_names)
    except EngineError as error:
        kind = _kind_of_file(file)
        if kind is None:
            raise
        raise EngineError(f"{kind}; expected an engine (a ZIP with {MANIFEST})") from error


def _check_names(names: list[str]) -> None:
    if MANIFEST not in names:
        foreign = "a PyTorch checkpoint" if any(n.endswith("data.pkl") for n in names) else "a ZIP"
        raise EngineError(
            f"{foreign} without {MANIFEST}; it holds {len(names)} members "
            f"({', '.join(name[:80] for name in names[:4])}{', …' if names[4:] else ''}); expected "
            f"an engine"
        )
    for name in names:
        check_member_name(name)


def _read_manifest(file: OpenedFile, about: Entry) -> bytes:
    if about.length > MAX_MANIFEST:
        raise EngineError(
            f"{MANIFEST} has {about.length:,} bytes; expected at most {MAX_MANIFEST:,}"
        )
    content = file.read(about.start, about.length)
    about.check_crc(content)
    return content


def _stream(file: OpenedFile, span: Entry) -> Iterator[bytes]:
    for at in range(span.start, span.start + span.length, _CHUNK):
        yield file.read(at, min(_CHUNK, span.start + span.length - at))


def _check_digests(manifest: Manifest, spans: Mapping[str, Entry], file: OpenedFile) -> None:
    for name in manifest.files():
        if name not in manifest.members:
            raise EngineError(f"member {name!r} has no checksum in the manifest")
    for name in manifest.members:
        if name not in spans:
            raise EngineError(
                f"member {name!r} is absent; the archive holds "
                f"{', '.join(sorted(spans)) or 'nothing'}; expected all that the manifest names"
            )
    for name, span in spans.items():
        expected = manifest.members.get(name)
        if expected is None:
            raise EngineError(
                f"member {name!r} is not in the manifest; expected only members that are"
            )
        if span.length != expected.bytes:
            raise EngineError(
                f"member {name!r} has {span.length:,} bytes; expected the manifest's "
                f"{expected.bytes:,}"
            )
        digest = hashlib.sha256()
        for piece in _stream(file, span):
            digest.update(piece)
        if digest.hexdigest() != expected.sha256:
            raise EngineError(
                f"member {name!r} is damaged: its SHA-256 is {digest.hexdigest()}; expected "
                f"{expected.sha256}"
            )


def _kind_of_file(file: OpenedFile) -> str | None:
    """In words, what a file that is no whole ZIP looks like; None where it may be one."""
    size = file.size
    if size == 0:
        return "an empty file"
    head, tail = file.read(0, 64), file.read(max(size - 22, 0), 22)
    if head.startswith(b"PK\x03\x04"):
        if tail.startswith(b"PK\x05\x06"):
            return None
        return f"truncated or damaged: the ZIP's directory is not at the end of its {size:,} bytes"
    if head[:4] in (b"ftrt", b"ptrt"):
        return "a bare TensorRT plan, not an engine"
    if head[:1] == b"\x08" and b"\x12" in head[:8]:
        return "a bare ONNX model, not an engine"
    if head[4:9] == b"\0\0\0\0{":
        return "a safetensors checkpoint, not an engine"
    if head[:1] == b"\x80":
        return "a Python pickle, not an engine"
    return f"not an engine (the file begins with {head[:8]!r})"


def _rebuild(manifest: Manifest | None, path: Path) -> str:
    if manifest is not None:
        return f"Build it again: {manifest.build_command(path.name)}"
    return another_engine()


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
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as packed:
        for name, content in members.items():
            size = content.stat().st_size if isinstance(content, Path) else len(content)
            info, large = _entry(name, size, file.tell(), when)
            digest = hashlib.sha256()
            length = 0
            with packed.open(info, "w", force_zip64=large) as target:
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
        with packed.open(info, "w", force_zip64=large) as target:
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
