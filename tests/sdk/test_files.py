"""Files that we write: whole or not there, under names of our own, never through a link."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from matter_sdk.sdk import files


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.replace(path, lambda file: file.write(b"first"))

    def cut_short(file: Any) -> None:
        file.write(b"sec")
        raise OSError("killed")

    with pytest.raises(OSError, match="killed"):
        files.replace(path, cut_short)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_in_the_folder_is_followed_or_deleted(tmp_path: Path) -> None:
    """A link at the path is replaced; files under the old, guessable names stay as they are."""
    treasure = tmp_path / "treasure"
    treasure.write_text("mine")
    path = tmp_path / "out.png"
    path.symlink_to(treasure)
    for name in (".out.png.partial", ".out.png.part"):
        (tmp_path / name).symlink_to(treasure)
    before = {entry.name for entry in tmp_path.iterdir()}
    files.replace(path, lambda file: file.write(b"new"))
    assert treasure.read_text() == "mine"
    assert path.read_bytes() == b"new"
    assert not path.is_symlink()
    assert {entry.name for entry in tmp_path.iterdir()} == before


def test_two_writers_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "out"
    both = threading.Barrier(2)

    def write(byte: bytes) -> None:
        with files.replacing(path) as file:
            for _ in range(50):
                file.write(byte * 1000)
                file.flush()
                if file.tell() == 25_000:
                    both.wait(10)

    writers = [threading.Thread(target=write, args=(byte,)) for byte in (b"a", b"b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    content = path.read_bytes()
    assert len(content) == 50_000
    assert set(content) in ({ord("a")}, {ord("b")})
    assert list(tmp_path.iterdir()) == [path]


def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.replace_text(tmp_path / "file", "é")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert (tmp_path / "file").read_text(encoding="utf-8") == "é"


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    files.replace_text(pipe, "through")
    reader.join(10)
    assert read == [b"through"]
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", ["a\0b", "folder", "x" * 300, "no/such/folder"])
def test_what_cannot_be_a_file_is_an_os_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        files.replace_text(tmp_path / name, "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_long_names_are_taken(tmp_path: Path) -> None:
    files.replace_text(tmp_path / ("é" * 120), "text")
    assert len(list(tmp_path.iterdir())) == 1
