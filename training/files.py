"""Files that are whole at any moment, whenever a run is killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO


def replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file beside ``path`` and, once the disk has it, put it in its place."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name
    finally:
        os.close(folder)


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints through :func:`replace`.

    Its own way moves them from the system's temporary folder, which across file systems is a copy
    that can be cut short.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any = None,  # noqa: ARG002
    ) -> None:
        """Write ``checkpoint``, whole or not at all."""
        replace(Path(path), lambda file: torch.save(checkpoint, file))
