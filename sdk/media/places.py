"""Expand files, folders, patterns, numbered sequences and pipes to pictures."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from matter_sdk.sdk.errors import FrameError
from matter_sdk.sdk.files import PICTURE_SUFFIXES

STANDARD_INPUT = Path("/dev/stdin")
_NUMBER = re.compile(r"%(?:0\d+)?d")


def find_pictures(
    places: Iterable[str | os.PathLike[str]], *, repeated: bool = False
) -> list[Path]:
    """List the files that ``places`` stand for, in order; each once, unless ``repeated``.

    A place is a file or pipe, ``-`` (the standard input), a folder (its pictures, by name, hidden
    ones left out), a pattern such as ``photos/*.jpg``, or a numbered sequence such as
    ``shot.%04d.png``, whatever its first number. What is there is taken by its name, even if it
    holds a character of patterns. A plain name is returned whether it is there or not.

    Raises:
        FrameError: a folder, pattern or sequence without a picture, or what cannot be a path.
    """
    found = [path for place in places for path in _at(os.fspath(place))]
    if repeated:
        return found
    return list({os.path.realpath(path): path for path in reversed(found)}.values())[::-1]


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """Make a distinct name for each path, to build the names of results on; case does not count.

    It is the file's name without its ending; with the ending where two share that (a.jpg, a.png),
    with the folder's name before it where two share both, and at last with a number.
    """
    ways = (
        lambda path: path.stem,
        lambda path: path.name,
        lambda path: f"{path.absolute().parent.name}-{path.name}",
        lambda path: "-".join(path.absolute().parts[1:]),
    )
    names = [ways[0](path) for path in paths]
    for way in ways[1:]:
        count = Counter(name.casefold() for name in names)
        names = [
            way(path) if count[name.casefold()] > 1 else name
            for path, name in zip(paths, names, strict=True)
        ]
    used: set[str] = set()
    for at, name in enumerate(names):
        number = 2
        while names[at].casefold() in used:
            names[at] = f"{name}-{number}"
            number += 1
        used.add(names[at].casefold())
    return names


def check_kept(read: Iterable[Path], written: Iterable[Path]) -> None:
    """Check that no file is both read and written.

    Raises:
        FrameError: names the first that would be.
    """
    kept = {path.resolve() for path in read}
    for target in written:
        if target.resolve() in kept:
            raise FrameError(
                f"{str(target)!r} is read and would be written; expected another place to write to"
            )


def _at(place: str) -> list[Path]:
    if place == "-":
        return [STANDARD_INPUT]
    if "\0" in place or not place:
        raise FrameError(f"the picture {place!r} is no path; expected a file, folder or pattern")
    path = Path(place)
    if path.is_dir():
        inside = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
        pictures = [e for e in inside if e.suffix.lower() in PICTURE_SUFFIXES and not e.is_dir()]
        if not pictures:
            raise FrameError(
                f"the folder {place!r} holds no picture; expected files ending in "
                f"{' '.join(sorted(PICTURE_SUFFIXES))}"
            )
        return sorted(pictures, key=_natural)
    if os.path.lexists(path):
        return [path]
    if _NUMBER.search(path.name):
        return _sequence(path)
    if glob.has_magic(place):
        # Path.glob takes no absolute pattern.
        matches = [Path(match) for match in glob.glob(place, recursive=True)]  # noqa: PTH207
        files = sorted((match for match in matches if not match.is_dir()), key=_natural)
        if not files:
            raise FrameError(f"nothing matches {place!r}; expected a pattern of pictures")
        return files
    return [path]


def _sequence(path: Path) -> list[Path]:
    before, after = _NUMBER.split(path.name, maxsplit=1)
    written = _NUMBER.findall(path.name)[0]
    digits = re.compile(f"{re.escape(before)}(\\d+){re.escape(after)}", re.DOTALL)
    folder = path.parent
    numbered = []
    for entry in folder.iterdir() if folder.is_dir() else ():
        match = digits.fullmatch(entry.name)
        if match and match[1] == written % int(match[1]):
            numbered.append((int(match[1]), entry))
    if not numbered:
        raise FrameError(
            f"nothing matches {str(path)!r}; expected files such as {before}{written % 1}{after}"
        )
    return [entry for _, entry in sorted(numbered)]


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """2.png before 10.png."""
    parts = re.split(r"(\d+)", str(path))
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
