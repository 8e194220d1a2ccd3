"""Files that are whole at any moment, whenever a run is killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file beside ``path`` and, once the disk has it, put it in its place.

    Where that fails, what stood there before is kept and nothing else is left.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name
    finally:
        os.close(folder)


def replace_text(path: Path, text: str) -> None:
    """:func:`replace` with a text in UTF-8."""
    replace(path, lambda file: file.write(text.encode()))
