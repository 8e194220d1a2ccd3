"""Other programs' models from npm: run here, never shipped, never in the repository."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import hardware
from matter_sdk.export.browser import npm

CACHE = hardware.ROOT / "build" / "npm"  # git ignores it


@dataclass(frozen=True)
class Package:
    """An npm package. ``sha512``: of the packed file, in base64; ``option``: of the command."""

    name: str
    version: str
    sha512: str
    option: str

    def find(self, given: Path | None = None) -> Path:
        """Return the unpacked folder that was given, or the packed file, downloaded at first.

        Raises:
            BuildError: nothing was given, and npm cannot bring it.
            NotADirectoryError: what was given is no folder.
        """
        if given is not None:
            if not given.is_dir():
                raise NotADirectoryError(20, f"no folder of {self.name}, expected one", str(given))
            return given
        CACHE.mkdir(parents=True, exist_ok=True)
        instead = f"its unpacked folder: {self.option} FOLDER"
        return npm.packed(self.name, self.version, self.sha512, CACHE, instead)


MEDIAPIPE = Package(  # Apache 2.0
    "@mediapipe/selfie_segmentation",
    "0.1.1675465747",
    "IxYxNhwE5VwOm52L1yoFWYLP7q9Pd+NJjzOC5tlepfvEGaY3o9hslhUrx9BgseqdfZtKSDtd/4NfCSMjNzQalA==",
    "--mediapipe",
)
ISNET = Package(  # AGPL
    "@imgly/background-removal-data",
    "1.4.5",
    "iRXZpPd7YirbJ4eOZ3SlvbdJkAc/LxVjzWLMHOezmRrVThPJPdPc+Y2kHEAVFEVvpDIuvBDyOfTTFBSJT2QR5w==",
    "--isnet",
)


def read(package: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Read files of an unpacked folder or of a packed file.

    Raises:
        FileNotFoundError: it lacks one of them.
    """
    wanted = set(names)
    if package.is_dir():
        return {name: (package / name).read_bytes() for name in wanted}
    found = {}
    with tarfile.open(package) as packed:
        for member in packed:
            name = member.name.removeprefix("package/")
            source = packed.extractfile(member) if name in wanted else None
            if source is not None:
                found[name] = source.read()
    for name in wanted - found.keys():
        raise FileNotFoundError(2, f"no {name} in it", str(package))
    return found
