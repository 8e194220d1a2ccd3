"""The files of ONNX Runtime Web that a page needs: from npm, once, or from a folder."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from matter_sdk.export.errors import BuildError
from matter_sdk.sdk.backends import private_files

VERSION = "1.30.0"
_PACKAGE = f"onnxruntime-web-{VERSION}.tgz"
_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
"""What is copied; a visitor's browser loads the first three, or with WebGPU the others."""
_SECONDS = 600


def copy(target: Path, folder: Path | None = None) -> str:
    """Copy ``FILES`` into the folder ``target``; return their version.

    Args:
        target: exists.
        folder: where they lie, or the unpacked npm package that has them in ``dist``. None: the
            package of ``VERSION`` in the user's cache, which npm downloads where it is not there.

    Raises:
        BuildError: a file is missing, there is no npm, or npm fails.
    """
    if folder is None:
        _unpack(_package(), target)
    else:
        inner = folder / "dist" if (folder / "dist").is_dir() else folder
        absent = [name for name in FILES if not (inner / name).is_file()]
        if absent:
            raise BuildError(
                f"{folder} lacks {', '.join(absent)}; expected the folder dist of the npm package "
                f"onnxruntime-web@{VERSION}"
            )
        for name in FILES:
            shutil.copyfile(inner / name, target / name)
    head = (target / FILES[0]).read_bytes()[:400].decode(errors="replace")
    said = re.search(r"ONNX Runtime Web v(\S+)", head)
    return said[1] if said else "of unknown version"


def _package() -> Path:
    """The package as npm packs it, downloaded at first."""
    try:
        cache = private_files.folder("cache")
    except OSError as error:
        raise BuildError(
            f"{private_files.place('cache')} cannot be used ({error}); expected a folder to keep "
            f"{_PACKAGE} in. Or give its files: --runtime FOLDER"
        ) from error
    kept = cache / _PACKAGE
    if kept.is_file() and _digest(kept) == _SHA512:
        return kept
    npm = shutil.which("npm")
    if npm is None:
        raise BuildError(
            f"npm is not installed; expected it, to download ONNX Runtime Web {VERSION} once. "
            f"Install Node.js, or give the files: --runtime FOLDER"
        )
    with tempfile.TemporaryDirectory(prefix=".npm-", dir=cache) as place:
        words = [npm, "pack", f"onnxruntime-web@{VERSION}", "--pack-destination", place]
        try:
            done = subprocess.run(
                words, check=False, capture_output=True, text=True, timeout=_SECONDS, cwd=place
            )
            lines = (done.stderr or done.stdout).strip().splitlines()
            reason = "" if done.returncode == 0 else (lines or [f"status {done.returncode}"])[0]
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = str(error)
        packed = Path(place, _PACKAGE)
        if not reason and not packed.is_file():
            reason = f"it wrote no {_PACKAGE}"
        if not reason and _digest(packed) != _SHA512:
            reason = f"what came is not {_PACKAGE}: its SHA-512 is another"
        if reason:
            raise BuildError(
                f"npm pack onnxruntime-web@{VERSION} failed ({reason}); expected the package. Try "
                f"again, or give its files: --runtime FOLDER"
            )
        packed.replace(kept)
    return kept


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()


def _unpack(package: Path, target: Path) -> None:
    with tarfile.open(package) as packed:
        for name in FILES:
            source = packed.extractfile(f"package/dist/{name}")
            if source is None:
                raise BuildError(f"{package} lacks dist/{name}; expected it. Delete that file")
            with source, (target / name).open("wb") as file:
                shutil.copyfileobj(source, file)
