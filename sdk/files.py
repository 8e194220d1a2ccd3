"""Write files atomically: under an unguessable name first, then renamed.

Until then whatever is at the path stays as it is. Two writers of one path never mix; the last one
wins. A link at the path is replaced, not followed.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
    + (".heic", ".heif", ".hif", ".avif", ".jp2", ".ppm", ".pgm", ".pnm", ".tga")
)
"""Endings by which pictures in a folder are known. A single file is known by its content."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of ``path`` once the block ends and the disk has it.

    If the block or the writing fails, what stood at ``path`` is kept and nothing else is left. A
    link at ``path`` is replaced, never followed. A pipe or a device is written to as it is.

    Raises:
        OSError: ``path`` is a folder or cannot be a file's name, or the disk refuses.
    """
    if "\0" in str(path):
        raise OSError(0, "the name holds a NUL byte", str(path).replace("\0", "\\0"))
    if path.is_dir():
        raise IsADirectoryError(21, "it is a folder", str(path))
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    with exclusive(path, private=False) as file:
        yield file


@contextlib.contextmanager
def exclusive(path: Path, *, private: bool) -> Iterator[BinaryIO]:
    """As ``replacing``, for a ``path`` that is known to be a plain file's.

    A ``private`` file can be read by this user alone.
    """
    # O_EXCL and a random name: nobody can lay a file or link in the way.
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            if not private and hasattr(
                os, "fchmod"
            ):  # mkstemp makes the file private; this is an ordinary one
                os.fchmod(file.fileno(), 0o666 & ~_umask())
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def as_path(value: Any, what: str, error: type[Exception]) -> Path:
    """Check that ``value`` can be a path, of something that need not be there.

    Raises:
        error: it is no text or path, or the system takes no such name. ``what`` is what the message
            calls it.
    """
    try:
        path = Path(value)
        path.exists()  # fails for names that are too long
        if "\0" in str(path):
            raise ValueError("it holds a NUL byte")
    except (TypeError, ValueError, OSError) as reason:
        shown = repr(value) if len(repr(value)) < 200 else f"{repr(value)[:100]}…"
        said = getattr(reason, "strerror", None) or reason
        raise error(f"{what} is {shown} ({said}); expected a path") from reason
    return path


def replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let ``write`` fill a new file that takes the place of ``path``; see ``replacing``."""
    with replacing(path) as file:
        write(file)


def replace_text(path: Path, text: str) -> None:
    """Put a text in UTF-8 in the place of ``path``; see ``replacing``."""
    replace(path, lambda file: file.write(text.encode()))


def _sync_folder(folder: Path) -> None:
    """Write the new name to the disk, where the file system can."""
    with contextlib.suppress(OSError):  # not all have folders that can be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    """The process's umask, read where that can be done without changing it for other threads."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("Umask:")), 8)
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
