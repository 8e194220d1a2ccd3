"""Packages of npm, downloaded once and known by their checksum."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from matter_sdk.export.errors import BuildError

_SECONDS = 600


def packed(name: str, version: str, sha512: str, cache: Path, instead: str) -> Path:
    """Return a package as npm packs it, downloaded where ``cache`` has it not.

    Args:
        name: ``onnxruntime-web``, or with a scope ``@imgly/background-removal-data``.
        version: the exact one.
        sha512: of the file in base64, as the index states it. A file of another is never used.
        cache: a folder that exists.
        instead: what the user can give instead, for the errors: ``its files: --runtime FOLDER``.

    Raises:
        BuildError: there is no npm, it fails, or what came is something else.
    """
    file = f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"
    kept = cache / file
    if kept.is_file() and _digest(kept) == sha512:
        return kept
    npm = shutil.which("npm")
    if npm is None:
        raise BuildError(
            f"npm is not installed; expected it, to download {name} {version} once. Install "
            f"Node.js, or give {instead}"
        )
    with tempfile.TemporaryDirectory(prefix=".npm-", dir=cache) as place:
        words = [npm, "pack", f"{name}@{version}", "--pack-destination", place]
        try:
            done = subprocess.run(
                words, check=False, capture_output=True, text=True, timeout=_SECONDS, cwd=place
            )
            lines = (done.stderr or done.stdout).strip().splitlines()
            reason = "" if done.returncode == 0 else (lines or [f"status {done.returncode}"])[0]
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = str(error)
        came = Path(place, file)
        if not reason and not came.is_file():
            reason = f"it wrote no {file}"
        if not reason and _digest(came) != sha512:
            reason = f"what came is not {file}: its SHA-512 is another"
        if reason:
            raise BuildError(
                f"npm pack {name}@{version} failed ({reason}); expected the package. Try again, or "
                f"give {instead}"
            )
        came.replace(kept)
    return kept


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
