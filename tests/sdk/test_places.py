"""What people name when they mean pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from matter_sdk.sdk import FrameError
from matter_sdk.sdk.media.places import distinct_names, find_pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("10.png", "9.jpg", ".hidden.png", "notes.txt", "a[1].png", "B.JPG", "50%.png"):
        (tmp_path / name).touch()
    for number in (999, 1001, 1002, 10_000):
        (tmp_path / f"50%_s.{number:04d}.exr").touch()
    (tmp_path / "folder.png").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (".", ["9.jpg", "10.png", "50%.png", "B.JPG", "a[1].png"]),
        ("*.jpg", ["9.jpg"]),
        ("[0-9]*.[jp][pn]g", ["9.jpg", "10.png", "50%.png"]),
        ("a[1].png", ["a[1].png"]),  # there, and no pattern
        ("50%_s.%04d.exr", [f"50%_s.{n:04d}.exr" for n in (999, 1001, 1002, 10_000)]),
        ("missing.png", ["missing.png"]),
    ],
)
def test_places(folder: Path, place: str, expected: list[str]) -> None:
    assert [path.name for path in find_pictures([folder / place])] == expected


def test_each_file_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    found = find_pictures(["9.jpg", str(folder), "./9.jpg", "*.jpg"])
    assert sorted(path.name for path in found) == sorted(
        ["9.jpg", "10.png", "50%.png", "B.JPG", "a[1].png"]
    )
    assert find_pictures(["-"]) == [Path("/dev/stdin")]


@pytest.mark.parametrize("place", ["folder.png", "*.webp", "shot%05d.png", "", "a\0b"])
def test_places_without_pictures(folder: Path, place: str) -> None:
    with pytest.raises(FrameError):
        find_pictures([f"{folder}/{place}" if place else place])


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["/x/a.jpg", "/x/b.png"], ["a", "b"]),
        (["/x/a.jpg", "/x/a.png", "/x/b.png"], ["a.jpg", "a.png", "b"]),
        (["/x/a.jpg", "/x/A.JPG"], ["x-a.jpg", "x-a.jpg"]),
        (["/x/a.jpg", "/y/a.jpg"], ["x-a.jpg", "y-a.jpg"]),
        (["/w/x/a.jpg", "/v/x/a.jpg"], ["w-x-a.jpg", "v-x-a.jpg"]),
        (["/x/a.jpg", "/x/a.png", "/x/a.jpg.bmp"], ["x-a.jpg", "a.png", "x-a.jpg.bmp"]),
    ],
)
def test_names_of_results(paths: list[str], expected: list[str]) -> None:
    found = distinct_names([Path(path) for path in paths])
    assert len({name.casefold() for name in found}) == len(paths)
    if expected[0] != expected[1]:
        assert found == expected
