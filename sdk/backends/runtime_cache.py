"""Kernels that TensorRT for RTX compiled, kept from one start of a program to the next.

An RTX plan is compiled for the GPU where it first runs, which takes seconds. What comes of it is
kept beside the engine, as ``gfm.engine.rtxcache``, or in the user's cache folder where that place
cannot be written. TensorRT for RTX itself refuses what another version or GPU left there; what is
damaged is told here, by a checksum. Either is as if there were no file, and is replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sys
import tempfile
from pathlib import Path

log = logging.getLogger("matter")

_MAGIC = b"MATTERRTX1"
_DIGEST = hashlib.sha256().digest_size


def read(engine: Path) -> bytes | None:
    """What was kept for an engine; None where nothing was, or it is damaged."""
    for path in places(engine):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        start = len(_MAGIC) + _DIGEST
        kept = content[start:]
        if content[:start] == _MAGIC + hashlib.sha256(kept).digest():
            return kept
        log.info("%s is damaged: kernels are compiled again", path)
    return None


def write(engine: Path, kernels: bytes) -> Path | None:
    """Keep ``kernels`` for an engine, whole or not at all; the place, None if there is none."""
    content = _MAGIC + hashlib.sha256(kernels).digest() + kernels
    for path in places(engine):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, content)
        except OSError as error:
            log.info("kernels cannot be kept as %s: %s", path, error)
        else:
            return path
    return None


def places(engine: Path) -> tuple[Path, Path]:
    """Where the kernels of an engine may lie, the preferred place first."""
    engine = engine.absolute()
    name = hashlib.sha256(os.fsencode(engine)).hexdigest()[:16]
    return (
        engine.with_name(f"{engine.name}.rtxcache"),
        _user_cache() / "matter" / f"{engine.stem}-{name}.rtxcache",
    )


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _replace(path: Path, content: bytes) -> None:
    """Write a file under another name first: whoever reads sees the old one or the new one."""
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        try:
            file.write(content)
            file.close()
            Path(file.name).replace(path)
        except BaseException:
            file.close()
            with contextlib.suppress(OSError):
                Path(file.name).unlink()
            raise
