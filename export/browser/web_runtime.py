"""The files of ONNX Runtime Web that a page needs: from npm, once, or from a folder."""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path

from matter_sdk.export.browser import npm
from matter_sdk.export.errors import BuildError
from matter_sdk.sdk.backends import private_files

VERSION = "1.30.0"
_NAME = "onnxruntime-web"
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
_INSTEAD = "its files: --runtime FOLDER"


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
                f"{_NAME}@{VERSION}"
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
            f"{_NAME} {VERSION} in. Or give {_INSTEAD}"
        ) from error
    return npm.packed(_NAME, VERSION, _SHA512, cache, _INSTEAD)


def _unpack(package: Path, target: Path) -> None:
    with tarfile.open(package) as packed:
        for name in FILES:
            source = packed.extractfile(f"package/dist/{name}")
            if source is None:
                raise BuildError(f"{package} lacks dist/{name}; expected it. Delete that file")
            with source, (target / name).open("wb") as file:
                shutil.copyfileobj(source, file)
