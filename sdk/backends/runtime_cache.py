"""Kernels that TensorRT for RTX compiled, kept from one start of a program to the next.

An RTX plan is compiled for the GPU where it first runs, which takes seconds. What comes of it is
kept beside the engine, as ``gfm.engine.rtxcache``, or in the user's cache folder where that place
cannot be written. It is native code: only a file that belongs to this user, and that nobody else
may write or read, is taken. TensorRT for RTX itself refuses what another version or GPU left there;
damage is found here, by a checksum. Either counts as no file, and is replaced.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from matter_sdk.sdk.backends import private_files

log = logging.getLogger("matter")

MAX_BYTES = 1 << 30

_MAGIC = b"MATTERRTX1"
_DIGEST = hashlib.sha256().digest_size


def read(engine: Path) -> bytes | None:
    """What was kept for an engine; None where nothing was, it is damaged, or another user's."""
    for path in places(engine):
        try:
            content = private_files.read(path, MAX_BYTES)
        except OSError as error:
            log.info("compiling kernels again: %s", error)
            continue
        if content is None:
            continue
        start = len(_MAGIC) + _DIGEST
        kept = content[start:]
        if content[:start] == _MAGIC + hashlib.sha256(kept).digest():
            return kept
        log.info("%s is damaged; compiling kernels again", path)
    return None


def write(engine: Path, kernels: bytes) -> Path | None:
    """Keep ``kernels`` for an engine, whole or not at all; the place, None if there is none."""
    content = _MAGIC + hashlib.sha256(kernels).digest() + kernels
    for path in _writable(engine):
        try:
            private_files.write(path, content)
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
        private_files.place("cache") / f"{engine.stem}-{name}.rtxcache",
    )


def _writable(engine: Path) -> Iterator[Path]:
    beside, kept = places(engine)
    yield beside
    try:
        private_files.folder("cache")
    except OSError as error:
        log.info("kernels cannot be kept as %s: %s", kept, error)
    else:
        yield kept
