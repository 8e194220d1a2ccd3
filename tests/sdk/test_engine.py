"""The engine file: whole or refused, and every refusal says what is wrong and how to repair it."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import struct
import subprocess
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from matter_sdk.sdk.engine import file as engine_module
from matter_sdk.sdk.engine.file import ALIGNMENT, EngineFile, write
from matter_sdk.sdk.errors import ClosedError, EngineError
from tests.sdk import tiny_sim

COMMAND = (
    "python -m export.build --model gfm --backbone efficientnet-lite0 --rosta tt --fp16 "
    "--size 32x64 --output tiny.engine"
)
GENERAL = "python -m export.build --model gfm --fp16 --output gfm.engine"


def refusal(path: Path) -> str:
    """The message with which an engine is refused."""
    with pytest.raises(EngineError) as caught:
        EngineFile.open(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def rezip(source: Path, target: Path, change: Any) -> Path:
    """Pack an engine again by hand; ``change(archive, name, content)`` writes each member."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            change(new, info.filename, old.read(info))
    return target


# ------------------------------------------------------------------------------------- round trip


def test_round_trip_of_bytes_and_files(tiny: Any, tmp_path: Path) -> None:
    source = tmp_path / "weights.bin"
    source.write_bytes(os.urandom(3 * 4096 + 17))
    manifest = replace(tiny.manifest(), plans=(tiny.plan(),))
    members = {
        "model.onnx": b"graph" * 1000,
        "plans/tensorrt-rtx-1.7.1.116.plan": source,
        "empty.bin": b"",
    }
    path = tmp_path / "a.engine"
    written = write(path, manifest, members)
    with EngineFile.open(path) as engine:
        assert engine.manifest == written
        assert bytes(engine.read("model.onnx")) == members["model.onnx"]
        assert bytes(engine.read("plans/tensorrt-rtx-1.7.1.116.plan")) == source.read_bytes()
        assert bytes(engine.read("empty.bin")) == b""
        assert set(engine.manifest.members) == set(members)


def test_unzip_is_happy(engine_path: Path) -> None:
    with zipfile.ZipFile(engine_path) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {"manifest.json", "model.onnx"}
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
    if shutil.which("unzip"):
        done = subprocess.run(
            ["unzip", "-t", str(engine_path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "No errors" in done.stdout


def test_members_are_aligned(tiny: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.engine"
    manifest = replace(tiny.manifest(), plans=(tiny.plan(),))
    write(
        path,
        manifest,
        {"model.onnx": b"x" * 5001, "plans/tensorrt-rtx-1.7.1.116.plan": b"y" * 4096},
    )
    raw = path.read_bytes()
    for content in (b"x" * 5001, b"y" * 4096):
        assert raw.index(content) % ALIGNMENT == 0


def test_alignment_of_a_member_beyond_2_gib() -> None:
    # Not written: the header that zipfile would write is measured.
    when = engine_module.datetime(2026, 1, 1)
    info, large = engine_module._entry("model.onnx.data", 3 << 30, 1234, when)
    assert large
    info.CRC = 0
    assert (1234 + len(info.FileHeader(zip64=True))) % ALIGNMENT == 0


def test_same_input_same_file(tiny: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, tiny.manifest(), {"model.onnx": b"graph"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_was_read_is_kept_apart_from_the_file(engine_path: Path) -> None:
    with EngineFile.open(engine_path) as engine:
        view = engine.read("model.onnx")
        assert view.readonly
        before = bytes(view)
        engine.close()
        engine_path.write_bytes(b"")
        assert bytes(view) == before


@pytest.mark.parametrize("how", ["shorter", "other weights", "part"])
def test_a_file_that_is_written_into_while_open(tiny: Any, tmp_path: Path, how: str) -> None:
    """As by ``cp other.engine gfm.engine``, which truncates and writes in place."""
    path = tiny_sim.build(tmp_path / "a.engine") if how == "part" else tiny.build()
    name = "classifier/64x96.onnx" if how == "part" else "model.onnx"
    content = path.read_bytes()
    with EngineFile.open(path) as opened:
        engine = opened.part("classifier") if how == "part" else opened
        graph = bytes(engine.read(name))
        at = content.index(graph)
        changed = content[:at] + bytes([graph[0] ^ 1]) + content[at + 1 :]
        path.write_bytes(content[:100] if how == "shorter" else changed)
        with pytest.raises(EngineError, match=re.escape(name)):
            engine.read(name)
        path.write_bytes(content)
        assert bytes(engine.read(name)) == graph


def test_close_twice_and_use_after_close(engine_path: Path) -> None:
    engine = EngineFile.open(engine_path)
    engine.close()
    engine.close()
    with pytest.raises(ClosedError, match="is closed; open it again"):
        engine.read("model.onnx")


def test_member_that_is_not_there(engine_path: Path) -> None:
    with EngineFile.open(engine_path) as engine:
        with pytest.raises(EngineError, match=r"'modell.onnx'.*: model.onnx"):
            engine.read("modell.onnx")
        with pytest.raises(EngineError, match=r"no member '\.\./x'"):
            engine.read("../x")


def test_a_part_is_the_same_file_through_its_own_manifest(tmp_path: Path) -> None:
    path = tiny_sim.build(tmp_path / "sim.engine")
    with EngineFile.open(path) as file:
        part = file.part("classifier")
        assert part.path == path
        assert part.manifest == file.manifest.parts["classifier"]
        model = part.manifest.models[0]
        assert bytes(part.read(model.onnx)) == zipfile.ZipFile(path).read(model.onnx)
        with pytest.raises(EngineError, match=r"'discriminator'.*: classifier"):
            file.part("discriminator")
        with pytest.raises(EngineError, match=r"'classifier'.*: none"):
            part.part("classifier")
    with pytest.raises(ClosedError, match="the engine file is closed"):
        file.part("classifier")


def test_members_of_a_part_are_checked_like_the_others(tmp_path: Path) -> None:
    about = tiny_sim.manifest()
    graph = tiny_sim.guided_graph((64, 96), 1).SerializeToString()
    with pytest.raises(EngineError, match=r"classifier/64x96\.onnx"):
        write(tmp_path / "a.engine", about, {"model-64x96.onnx": graph})
    path = tiny_sim.build(tmp_path / "sim.engine")
    content = bytearray(path.read_bytes())
    at = content.index(zipfile.ZipFile(path).read("classifier/64x96.onnx"))
    content[at + 100] ^= 1
    path.write_bytes(content)
    text = refusal(path)
    assert "member 'classifier/64x96.onnx' is damaged" in text
    assert "--model sim --backbone resnet50" in text


# ---------------------------------------------------------------------------------------- refusals


def test_missing_file(tmp_path: Path) -> None:
    message = refusal(tmp_path / "no.engine")
    assert "no such file; expected an engine file" in message
    assert message.endswith(GENERAL)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_or_device_is_no_engine(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")  # opening one for reading would wait for a writer
    for path in (tmp_path / "fifo", Path("/dev/zero"), Path("/dev/null")):
        assert "cannot be opened (no plain file)" in refusal(path)


def test_a_path_with_a_nul(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"it holds a NUL byte"):
        EngineFile.open(tmp_path / "a\0b")


def test_a_name_does_not_steer_the_terminal(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        EngineFile.open(tmp_path / "a\x1b[31m\x9b\u202e\udc80.engine")
    assert r"a\x1b[31m\x9b\u202e\udc80.engine" in str(caught.value)


def test_folder(tmp_path: Path) -> None:
    assert "cannot be opened" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "an empty file"),
        (b"hello, I am a text", "the file begins with b'hello, I"),
        (b"ptrt" + bytes(60), "a bare TensorRT plan"),
        (b"\x08\x08\x12\x07pytorch", "a bare ONNX model"),
        (b"\x80\x02}q\x00.", "a Python pickle"),
        (struct.pack("<Q", 2) + b"{}" + bytes(9), "a safetensors checkpoint"),
    ],
)
def test_foreign_file(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "foreign.engine"
    path.write_bytes(content)
    message = refusal(path)
    assert what in message
    assert "expected an engine (a ZIP with manifest.json)" in message
    assert message.endswith(GENERAL)


def test_foreign_zip(tmp_path: Path) -> None:
    path = tmp_path / "foreign.engine"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
        archive.writestr("archive/version", b"3")
    message = refusal(path)
    assert "a PyTorch checkpoint without manifest.json; it holds 2 members" in message
    assert message.endswith(GENERAL)


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.97, 0.9999])
def test_truncated(engine_path: Path, kept: float) -> None:
    content = engine_path.read_bytes()
    engine_path.write_bytes(content[: int(len(content) * kept)])
    message = refusal(engine_path)
    assert "truncated or damaged: the ZIP's directory is not at the end" in message
    assert message.endswith(GENERAL)


def test_bit_flip_names_the_member(engine_path: Path) -> None:
    with zipfile.ZipFile(engine_path) as archive:
        graph = archive.read("model.onnx")
    raw = bytearray(engine_path.read_bytes())
    raw[raw.index(graph) + 100] ^= 0x10
    engine_path.write_bytes(raw)
    message = refusal(engine_path)
    assert "member 'model.onnx' is damaged: its SHA-256 is" in message
    assert message.endswith(f"Build it again: {COMMAND}")


def test_bit_flip_in_the_manifest(engine_path: Path) -> None:
    raw = bytearray(engine_path.read_bytes())
    raw[raw.index(b'"efficientnet-lite0"') + 1] ^= 0x01
    engine_path.write_bytes(raw)
    message = refusal(engine_path)
    assert "manifest.json is damaged" in message
    assert message.endswith(GENERAL)  # what it says cannot be trusted


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_bit_flip_is_refused_or_harmless(
    _shared_engine: Path, tmp_path: Path, data: st.DataObject
) -> None:
    raw = bytearray(_shared_engine.read_bytes())
    with EngineFile.open(_shared_engine) as engine:
        manifest = engine.manifest
        graph = bytes(engine.read("model.onnx"))
    start = raw.index(graph)
    headers = [*range(100), *range(start + len(graph), len(raw))]
    at = data.draw(st.one_of(st.sampled_from(headers), st.integers(0, len(raw) - 1)), label="byte")
    raw[at] ^= 1 << data.draw(st.integers(0, 7), label="bit")
    path = tmp_path / "flipped.engine"
    path.write_bytes(raw)
    inside = start <= at < start + len(graph)
    try:
        with EngineFile.open(path) as engine:
            # Padding, time stamps and such: what is read must be what was written.
            assert not inside
            assert engine.manifest == manifest
            assert bytes(engine.read("model.onnx")) == graph
    except EngineError as error:
        assert "expected" in str(error)


def test_future_schema(engine_path: Path, tmp_path: Path) -> None:
    def change(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
        archive.writestr(name, content.replace(b'"schema": 4', b'"schema": 5'))

    message = refusal(rezip(engine_path, tmp_path / "future.engine", change))
    assert (
        "has schema 5, this package reads schema 1 to 4; upgrade the package: pip install"
        in message
    )
    assert "export.build" not in message  # building it again would not help


def test_invalid_manifest(engine_path: Path, tmp_path: Path) -> None:
    def change(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
        archive.writestr(name, content.replace(b'"fusion": "tt"', b'"fusion": "tz"'))

    message = refusal(rezip(engine_path, tmp_path / "bad.engine", change))
    assert "manifest field 'fusion' is \"tz\"; expected one of 'tt'" in message
    assert message.endswith(GENERAL)


def test_member_absent(engine_path: Path, tmp_path: Path) -> None:
    def change(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
        if name == "manifest.json":
            archive.writestr(name, content)

    message = refusal(rezip(engine_path, tmp_path / "tiny.engine2", change))
    assert "member 'model.onnx' is absent; the archive holds nothing; expected all" in message
    assert (
        "Build it again: python -m export.build --model gfm --backbone efficientnet-lite0"
        in message
    )


def test_member_of_other_length(engine_path: Path, tmp_path: Path) -> None:
    def change(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
        archive.writestr(name, content if name == "manifest.json" else content + b"!")

    assert "bytes; expected the manifest's" in refusal(rezip(engine_path, tmp_path / "l", change))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../evil", "member '../evil' is not a plain path inside the archive"),
        ("/etc/evil", "member '/etc/evil' is not a plain path"),
        ("C:/evil", "member 'C:/evil' is not a plain path"),
        ("plans\\..\\evil", "is not a plain path"),
        ("plans/", "member 'plans/' is not a plain path"),
        ("model.onnx", "member 'model.onnx' stands twice"),
        ("MODEL.onnx", "member 'MODEL.onnx' stands twice"),
        ("manifest.json", "member 'manifest.json' stands twice"),
        ("extra.bin", "member 'extra.bin' is not in the manifest"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_member_that_should_not_be_there(
    engine_path: Path, tmp_path: Path, name: str, message: str
) -> None:
    content = b"x"
    if name == "manifest.json":
        with zipfile.ZipFile(engine_path) as archive:
            content = archive.read(name)
    with zipfile.ZipFile(engine_path, "a") as archive:
        archive.writestr(name, content)
    assert message in refusal(engine_path)
    assert not (tmp_path.parent / "evil").exists()


def test_symbolic_link(engine_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(engine_path, "a") as archive:
        archive.writestr(info, "/etc/passwd")
    assert "member 'link' is a symbolic link; expected a plain file" in refusal(engine_path)


def test_compressed_member(engine_path: Path, tmp_path: Path) -> None:
    def change(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
        archive.writestr(name, content, zipfile.ZIP_DEFLATED)

    message = refusal(rezip(engine_path, tmp_path / "c.engine", change))
    assert "is compressed; expected a stored one" in message
    assert "zip -0" in message


def test_a_stored_zip_made_by_hand_is_an_engine(engine_path: Path, tmp_path: Path) -> None:
    path = rezip(engine_path, tmp_path / "hand.engine", lambda z, n, c: z.writestr(n, c))
    with EngineFile.open(path) as engine, EngineFile.open(engine_path) as original:
        assert engine.read("model.onnx") == original.read("model.onnx")


# ------------------------------------------------------------------------- archives made by hand


def stored(name: str, content: bytes, at: int, **change: Any) -> tuple[bytes, bytes]:
    """A member's bytes and its entry in the directory; what they say can be changed."""
    size, crc = len(content), zlib.crc32(content)
    values = {
        "method": 0,
        "flags": 0,
        "size": size,
        "packed": size,
        "crc": crc,
        "place": at,
        **change,
    }
    inner = values | change.get("local", {})
    both = (len(name), len(change.get("extra", b"")))
    head = struct.pack(
        "<4s5H3I2H", b"PK\x03\x04", 20, inner["flags"], inner["method"], 0, 33, inner["crc"],
        inner["packed"], inner["size"], *both,
    )  # fmt: skip
    entry = struct.pack(
        "<4s6H3I5H2I", b"PK\x01\x02", 20, 20, values["flags"], values["method"], 0, 33,
        values["crc"], values["packed"], values["size"], *both, 0, 0, 0, 0, values["place"],
    )  # fmt: skip
    extra = change.get("extra", b"")
    local = head + change.get("local_name", name).encode() + extra + content
    return local, entry + name.encode() + extra


def archive_of(engine: Path, before_end: bytes = b"", end: Any = None, **changes: Any) -> bytes:
    """The engine's members packed by hand; ``changes`` are of the graph's entry."""
    body = directory = b""
    with zipfile.ZipFile(engine) as old:
        for name in old.namelist():
            change = changes if name == "model.onnx" else {}
            one, entry = stored(name, old.read(name), len(body), **change)
            body, directory = body + one, directory + entry
    count = 2
    record = [count, count, len(directory), len(body)]
    record = end(record) if end else record
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, *record, 0)
    return body + directory + before_end + tail


def test_the_archive_made_by_hand_is_an_engine(engine_path: Path) -> None:
    graph = EngineFile.open(engine_path).read("model.onnx")
    engine_path.write_bytes(archive_of(engine_path))
    assert EngineFile.open(engine_path).read("model.onnx") == graph
    wide = struct.pack("<2HQQ", 1, 16, len(graph), len(graph))  # ZIP64, as beyond 4 GiB
    large = {"packed": 0xFFFFFFFF, "size": 0xFFFFFFFF}
    engine_path.write_bytes(archive_of(engine_path, extra=wide, **large))
    assert EngineFile.open(engine_path).read("model.onnx") == graph


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"local_name": "model.onn2"}, "its header is damaged"),
        ({"local": {"size": 5}}, "its header is damaged"),
        ({"local": {"crc": 5}}, "its header is damaged"),
        ({"local": {"method": 8}}, "its header is damaged"),
        ({"method": 8}, "is compressed"),
        ({"method": 99}, "is compressed"),
        ({"packed": 5}, "is compressed"),
        ({"flags": 1}, "is encrypted"),
        ({"flags": 8}, "has flags 0x8; expected none"),
        ({"place": 1 << 30}, "lies outside the file"),
        ({"size": 1 << 30, "packed": 1 << 30}, "lies outside the file"),
        ({"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF}, "directory is damaged"),
        ({"before_end": b"junk"}, "not right before the end"),
        ({"end": lambda r: [3, 3, *r[2:]]}, "directory is damaged"),
        ({"end": lambda r: [1, 1, *r[2:]]}, "more than its entries"),
        ({"end": lambda r: [1, *r[1:]]}, "not right before the end"),
        ({"end": lambda r: [*r[:3], 0]}, "not right before the end"),
        ({"end": lambda r: [*r[:2], 0xFFFFFFFF, r[3]]}, "not right before the end"),
    ],
)
def test_archives_that_say_two_things(
    engine_path: Path, changes: dict[str, Any], message: str
) -> None:
    engine_path.write_bytes(archive_of(engine_path, **changes))
    assert message in refusal(engine_path)


def test_members_on_the_same_bytes(engine_path: Path) -> None:
    with zipfile.ZipFile(engine_path) as old:
        graph = old.read("model.onnx")
    inner, inner_entry = stored("b.onnx", graph, 40)
    outer, outer_entry = stored("model.onnx", inner, 0)
    assert outer.index(inner) == 40
    about, entry = stored("manifest.json", b"{}", len(outer))
    directory = outer_entry + inner_entry + entry
    body = outer + about
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 3, 3, len(directory), len(body), 0)
    engine_path.write_bytes(body + directory + tail)
    assert "members 'model.onnx' and 'b.onnx' overlap" in refusal(engine_path)


def test_a_directory_beyond_its_limit(engine_path: Path) -> None:
    with zipfile.ZipFile(engine_path, "a") as archive:
        for number in range(4100):
            archive.writestr(f"m{number}", b"")
    assert "for 4,102 members; expected at most" in refusal(engine_path)


def test_a_manifest_is_not_inflated(engine_path: Path, tmp_path: Path) -> None:
    def change(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
        large = name == "manifest.json"
        archive.writestr(
            name, b" " * (64 << 20) if large else content, zipfile.ZIP_DEFLATED if large else 0
        )

    assert "'manifest.json' is compressed" in refusal(rezip(engine_path, tmp_path / "c", change))


def test_a_manifest_beyond_its_limit(engine_path: Path, tmp_path: Path) -> None:
    def change(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
        archive.writestr(name, content + b" " * (2 << 20 if name == "manifest.json" else 0))

    assert "expected at most 1,048,576" in refusal(rezip(engine_path, tmp_path / "c", change))


# ----------------------------------------------------------------------------------------- writing


def test_write_needs_every_member(tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"model\.onnx"):
        write(tmp_path / "a.engine", tiny.manifest(), {"other": b""})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../a", "manifest.json", "MODEL.onnx"])
def test_write_refuses_member_names(tiny: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(EngineError, match=re.escape(name)):
        write(tmp_path / "a.engine", tiny.manifest(), {"model.onnx": b"", name: b""})
    assert list(tmp_path.iterdir()) == []


def test_write_refuses_a_source_that_is_no_file(tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=re.escape(str(tmp_path / "nothing"))):
        write(tmp_path / "a.engine", tiny.manifest(), {"model.onnx": tmp_path / "nothing"})


def test_write_refuses_what_could_not_be_opened(tiny: Any, tmp_path: Path) -> None:
    manifest = replace(tiny.manifest(), precision="fp17")
    with pytest.raises(EngineError, match="'precision' is \"fp17\""):
        write(tmp_path / "a.engine", manifest, {"model.onnx": b""})
    assert list(tmp_path.iterdir()) == []


def test_write_into_a_folder_that_is_not_there(tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"No such file.*--output"):
        write(tmp_path / "no" / "a.engine", tiny.manifest(), {"model.onnx": b""})


def test_write_over_a_folder(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "a.engine").mkdir()
    with pytest.raises(EngineError, match="is a folder"):
        write(tmp_path / "a.engine", tiny.manifest(), {"model.onnx": b""})
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.engine"]


def test_a_full_disk_leaves_the_old_engine(
    tiny: Any, engine_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = engine_path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(engine_module.os, "fsync", full)
    with pytest.raises(EngineError, match="No space left on device"):
        write(engine_path, tiny.manifest(), {"model.onnx": b"new"})
    assert engine_path.read_bytes() == before
    assert [entry.name for entry in engine_path.parent.iterdir()] == [engine_path.name]


def test_a_file_that_may_not_grow_leaves_nothing(tiny: Any, tmp_path: Path) -> None:
    """The system itself refuses, in the middle of a member."""
    resource = pytest.importorskip("resource")
    source = tmp_path / "large"
    source.write_bytes(bytes(1 << 20))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(EngineError, match="File too large"):
            write(tmp_path / "a.engine", tiny.manifest(), {"model.onnx": source})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [entry.name for entry in tmp_path.iterdir()] == ["large"]


def test_an_interrupt_leaves_nothing(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine_module.hashlib, "sha256", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a.engine", tiny.manifest(), {"model.onnx": b"new"})
    assert list(tmp_path.iterdir()) == []


def test_permissions_follow_the_umask(tiny: Any, tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write(tmp_path / "a.engine", tiny.manifest(), {"model.onnx": b""})
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.engine").stat().st_mode) == 0o640
