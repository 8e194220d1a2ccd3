"""Files that only this user can have written: what is run from them, or trusted for them.

A file counts if it is a plain one, not reached through a link in its last part, of this user, and
closed to all others. Where files have no owners, as on Windows, the user's own folders are closed
to others by the system.
"""

from __future__ import annotations

import mmap
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from matter_sdk.sdk import files

_FLAGS = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def read(path: Path, limit: int) -> bytes | None:
    """Return a private file's content; None if there is none, or it is longer than ``limit``.

    Raises:
        PermissionError: there is one that others own, may write, or that is no plain file.
    """
    file = _opened(path)
    if file is None:
        return None
    with file:
        content = file.read(limit + 1)
    return content if len(content) <= limit else None


def mapped(path: Path) -> memoryview | None:
    """Map a private file: all processes that do so share its memory. None if there is none.

    The view may be written to, which the file and other processes do not see. A file that was
    replaced or deleted meanwhile stays as it was; of one that was written into, nothing is
    promised. So nobody but its user may be able to, and ``write`` does not. Windows would let
    nobody replace a mapped file: there it is read.

    Raises:
        OSError: it cannot be mapped; PermissionError as for ``read``.
    """
    file = _opened(path)
    if file is None:
        return None
    with file:
        empty = os.fstat(file.fileno()).st_size == 0  # which cannot be mapped
        if sys.platform == "win32" or empty:
            return memoryview(bytearray(file.read()))
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))


def _opened(path: Path) -> BinaryIO | None:
    """A private file, open for reading; None if there is none."""
    try:
        handle = os.open(path, os.O_RDONLY | _FLAGS)
    except OSError:
        if path.is_symlink():
            raise PermissionError(f"{path} is a link; expected a file of this user alone") from None
        return None
    file = os.fdopen(handle, "rb")
    try:
        _check(path, os.fstat(handle), stat.S_ISREG)
    except BaseException:
        file.close()
        raise
    return file


def write(path: Path, content: bytes) -> None:
    """Write a private file, whole or not at all, under a name that nobody can guess before.

    Raises:
        OSError: it cannot be written.
    """
    with files.exclusive(path, private=True) as file:
        file.write(content)


def append(path: Path, content: bytes) -> None:
    """Add to a private file, made where there is none; short content is added at one stroke.

    Raises:
        OSError: it cannot be written; PermissionError as for ``read``.
    """
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _FLAGS, 0o600)
    with os.fdopen(handle, "wb") as file:
        _check(path, os.fstat(handle), stat.S_ISREG)
        file.write(content)


def folder(kind: str) -> Path:
    """Return this user's folder of the SDK, made where there is none: "cache" or "state".

    Raises:
        OSError: it cannot be made; PermissionError where another user's is in its place.
    """
    path = place(kind)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = path.lstat()
    if hasattr(os, "geteuid") and about.st_uid == os.geteuid() and stat.S_ISDIR(about.st_mode):
        path.chmod(0o700)
        about = path.lstat()
    _check(path, about, stat.S_ISDIR)
    return path


def place(kind: str) -> Path:
    """Where ``folder`` is or would be."""
    if sys.platform == "win32":
        home = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        return home / "matter" / kind
    if sys.platform == "darwin":
        library = Path.home() / "Library"
        return library / ("Caches" if kind == "cache" else "Application Support") / "matter"
    default = ".cache" if kind == "cache" else ".local/state"
    return Path(os.environ.get(f"XDG_{kind.upper()}_HOME") or Path.home() / default) / "matter"


def _check(path: Path, about: os.stat_result, right_kind: Callable[[int], bool]) -> None:
    plain = right_kind(about.st_mode)
    others = hasattr(os, "geteuid") and (
        about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077
    )
    if not plain or others:
        raise PermissionError(
            f"{path} is of user {about.st_uid} with mode {stat.S_IMODE(about.st_mode):o}; expected "
            f"one of this user alone"
        )
