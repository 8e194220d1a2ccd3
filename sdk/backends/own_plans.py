"""Which TensorRT plans this user built on this machine.

A plan is native code for GPU and host, and its deserialiser trusts it. So the export notes the
SHA-256 of each that it builds, in a file of the user's alone, and a plan that is not noted here is
another's: it is used only where ``trust_plans`` says so.
"""

from __future__ import annotations

import hashlib
import logging
import platform
from pathlib import Path

from matter_sdk.sdk.backends import private_files

log = logging.getLogger("matter")

MAX_BYTES = 1 << 20
"""Longest record: that of some 16,000 plans."""


def remember(digest: str) -> bool:
    """Note a plan's SHA-256, in hexadecimal digits; says whether it could be."""
    try:
        private_files.folder("state")
        private_files.append(record(), f"{digest}\n".encode())
    except OSError as error:
        log.warning("the plan cannot be recorded as built here and needs trust_plans: %s", error)
        return False
    return True


def known(digest: str) -> bool:
    """Whether this user built the plan of this SHA-256 on this machine."""
    try:
        content = private_files.read(record(), MAX_BYTES)
    except OSError as error:
        log.warning("no plan counts as built here: %s", error)
        return False
    return content is not None and digest.encode() in content.split()


def record() -> Path:
    """The file, one for each machine: a home folder may be shared by several."""
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        machine = ""
    name = hashlib.sha256(f"{machine} {platform.node()}".encode()).hexdigest()[:16]
    return private_files.place("state") / f"plans-{name}.txt"
