"""What runtimes compiled, kept from one start of a program to the next.

* An RTX plan's kernels, which TensorRT for RTX compiles for the GPU where they first run, in
  seconds. They lie beside the engine, as ``gfm.engine.rtxcache``, or in the user's cache folder
  where that place cannot be written. TensorRT for RTX itself refuses what another version or GPU
  left there.
* Networks as OpenVINO compiled them, in the user's cache folder. Each is found by a key that names
  all that it depends on: the graph, the weights, the CPU, the settings and the versions. They are
  mapped, so that processes share the weights in them.

Either is trusted like native code: only a file that belongs to this user, and that nobody else may
write or read, is taken. Damage is found by a checksum, counts as no file, and is replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from matter_sdk.sdk.backends import private_files

log = logging.getLogger("matter")

MAX_NETWORKS = 1 << 29
"""Bytes of all networks in the cache folder; beyond it those that were not used for longest go."""

_MAGIC = b"MATTERRTX2"
_SEAL = len(_MAGIC) + hashlib.sha256().digest_size


def read(engine: Path) -> bytes | None:
    """What was kept for an engine; None where nothing was, it is damaged, or another user's."""
    kept = (_unsealed(path) for path in places(engine))
    return next((bytes(content) for content in kept if content is not None), None)


def write(engine: Path, kernels: bytes) -> Path | None:
    """Keep ``kernels`` for an engine, whole or not at all; the place, None if there is none."""
    content = _sealed(kernels)
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


def read_network(key: str) -> memoryview | None:
    """Map the network that was kept under ``key``; None if none was, or it cannot be trusted."""
    path = _network(key)
    content = _unsealed(path, key)
    if content is not None:
        with contextlib.suppress(OSError):
            os.utime(path)  # used last
    return content


def write_network(key: str, network: bytes) -> Path | None:
    """Keep a compiled network under ``key``; the place, None if it cannot be kept."""
    path = _network(key)
    content = _sealed(network, key)
    if len(content) > MAX_NETWORKS:
        return None
    try:
        private_files.folder("cache")
        private_files.write(path, content)
        _forget_oldest(path)
    except OSError as error:
        log.info("a compiled network cannot be kept as %s: %s", path, error)
        return None
    return path


def _network(key: str) -> Path:
    return private_files.place("cache") / f"{hashlib.sha256(key.encode()).hexdigest()}.network"


def _forget_oldest(newest: Path) -> None:
    """Delete the networks used longest ago until all take no more than ``MAX_NETWORKS``."""
    ages = {path: path.stat() for path in newest.parent.glob("*.network") if path != newest}
    room = MAX_NETWORKS - newest.stat().st_size
    for path in sorted(ages, key=lambda path: ages[path].st_mtime_ns, reverse=True):
        room -= ages[path].st_size
        if room < 0:
            path.unlink(missing_ok=True)


def _sealed(content: bytes, key: str = "") -> bytes:
    # The seal comes last: mapped, the content begins where a page does.
    return content + _seal(content, key)


def _seal(content: bytes | memoryview, key: str) -> bytes:
    digest = hashlib.sha256(key.encode())
    digest.update(content)
    return _MAGIC + digest.digest()


def _unsealed(path: Path, key: str = "") -> memoryview | None:
    """The content of a file that this user alone can have written; None if it is not whole."""
    try:
        content = private_files.mapped(path)
    except OSError as error:
        log.info("compiling again: %s", error)
        return None
    if content is None:
        return None
    kept = content[: max(0, len(content) - _SEAL)]
    if content[len(kept) :] == _seal(kept, key):
        return kept
    log.info("%s is damaged; compiling again", path)
    return None


def _writable(engine: Path) -> Iterator[Path]:
    beside, kept = places(engine)
    yield beside
    try:
        private_files.folder("cache")
    except OSError as error:
        log.info("kernels cannot be kept as %s: %s", kept, error)
    else:
        yield kept
