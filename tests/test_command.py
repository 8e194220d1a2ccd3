"""The command ``matter``: its words, its exit statuses, and what it says about itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from matter_sdk import __main__ as matter
from matter_sdk.sdk import EngineError, Matter, __version__, installation
from tests.sdk.clips import write_clip
from tests.sdk.conftest import Tiny


@pytest.fixture(autouse=True)
def _long_names_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """``matter`` prefers its own short names from its start on."""
    monkeypatch.setattr(installation, "_short", False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture, a clip, an engine, and what is none of them."""
    folder = tmp_path_factory.mktemp("command")
    Tiny(folder).build("good.engine")
    picture = np.full((48, 96, 3), 90, np.uint8)
    cv2.imwrite(str(folder / "cat.png"), picture)
    write_clip(folder / "clip.mp4", [picture] * 4)
    (folder / "bad.bin").write_bytes(b"neither a picture, a video nor an engine")
    return folder


def test_the_overview_names_every_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert matter.main(["--help"]) == 0
    shown = capsys.readouterr()
    assert matter.main([]) == 2
    assert capsys.readouterr().err == shown.out
    for word in installation.SUBCOMMANDS.values():
        assert f"\n  {word} " in shown.out
    assert matter.main(["--version"]) == 0
    assert capsys.readouterr().out == f"matter {__version__}\n"


@pytest.mark.parametrize("word", installation.SUBCOMMANDS.values())
def test_help_of_a_word(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        matter.main([word, "--help"])
    assert caught.value.code == 0
    assert f"usage: matter {word} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "result"),
    [
        (["image", "cat.png", "cut.png", "--engine", "good.engine"], "cut.png"),
        (["video", "clip.mp4", "out.mp4", "--engine", "good.engine"], "out.mp4"),
        (
            [
                "webcam",
                "clip.mp4",
                "--no-window",
                "--output",
                "live.mp4",
                "--engine",
                "good.engine",
            ],
            "live.mp4",
        ),
        (["bench", "clip.mp4", "--engine", "good.engine", "--quality", "live"], "live "),
        (["info", "good.engine", "--json"], "{"),
    ],
)
def test_good_input(
    words: list[str],
    result: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("signal.signal", lambda *_: None)  # webcam's, in this very process
    assert matter.main(words) == 0
    assert capsys.readouterr().out.startswith(result)
    if "." in result and ":" not in result:
        assert (folder / result).stat().st_size > 0


@pytest.mark.parametrize(
    ("words", "status", "named"),
    [
        (["imag"], 2, "'image'"),
        (["image"], 2, "IN"),
        (["image", "cat.png", "x.png", "--engine", "nowhere.engine"], 1, "nowhere.engine"),
        (["image", "bad.bin", "x.png", "--engine", "good.engine"], 1, "bad.bin"),
        (["image", "cat.png", "x.png", "--quality", "best", "--engine", "good.engine"], 2, "best"),
        (["video", "nowhere.mp4", "x.mp4", "--engine", "good.engine"], 1, "nowhere.mp4"),
        (["video", "clip.mp4", "x.doc", "--engine", "good.engine"], 2, ".doc"),
        (["video", "clip.mp4", "x.mp4", "--engine", "bad.bin"], 1, "bad.bin"),
        (["webcam", "nowhere.mp4", "--no-window", "--output", "x.mp4"], 1, "nowhere.mp4"),
        (["webcam", "clip.mp4", "--no-window"], 2, "--output"),
        (["webcam", "clip.mp4", "--no-window", "--output", "x.doc"], 2, ".doc"),
        (["serve", "nowhere.engine", "--port", "70000"], 2, "70000"),
        (["serve", "good.engine", "--queue", "0"], 2, "'0'"),
        (["bench", "nowhere.mp4", "--engine", "good.engine"], 1, "nowhere.mp4"),
        (["bench", "--engine", "bad.bin"], 1, "bad.bin"),
        (["bench", "--size", "0x9"], 2, "0x9"),
        (["info", "nowhere.engine"], 1, "nowhere.engine"),
        (["info", "bad.bin"], 1, "bad.bin"),
        (["info", "good.engine", "--jsn"], 2, "--json"),
        (["import", "nowhere.onnx"], 2, "nowhere.onnx"),
        (["import", "bad.bin", "--size", "64x96"], 2, "bad.bin"),
        (["import", "cat.png", "--std", "red"], 2, "'red'"),
        (["web"], 2, "OUT"),
        (["web", "nowhere.engine", "page"], 1, "nowhere.engine"),
        (["web", "bad.bin", "page"], 1, "bad.bin"),
        (["web", "good.engine", "cat.png"], 2, "cat.png"),
        (["build"], 2, "--model"),
        (["build", "--model", "gmf"], 2, "gfm"),
        (["build", "--model", "gfm", "--weights", "nowhere.pth"], 2, "nowhere.pth"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str],
    status: int,
    named: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    assert matter.main(words) == status
    shown = capsys.readouterr()
    assert named in shown.err
    assert len(shown.err.strip().splitlines()) == 1
    assert shown.err.startswith(("matter", "error: "))
    assert not shown.out
    assert not list(folder.glob("x.*"))


def test_the_process(folder: Path) -> None:
    """As a shell runs it: what goes where, and the status."""
    command = [sys.executable, "-m", "matter_sdk", "info", "--json", "good.engine"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["network"]["name"] == "gfm"
    command[-2:] = ["nowhere.engine"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("matter info: failed: ")


# ── the engine that comes with the package ───────────────────────────────────────────────────────


def test_the_own_engine(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(installation, "HOME", tmp_path)
    for checkout, remedy in ((True, "export.build --model gfm --fp16"), (False, "make wheel")):
        monkeypatch.setattr(installation, "CHECKOUT", checkout)
        with pytest.raises(EngineError, match=rf"gfm\.engine.*{remedy}"):
            Matter()
    with pytest.raises(EngineError, match=r"export\.build|matter build"):
        Matter(folder / "bad.bin")
    shutil.copy(folder / "good.engine", tmp_path / "gfm.engine")
    with Matter() as opened:
        assert str(tmp_path / "gfm.engine") in repr(opened)
    with pytest.raises(EngineError, match="Leave the path out"):
        Matter(folder / "bad.bin")
    assert matter.main(["image", "cat.png", str(tmp_path / "x.png")]) == 0
    assert matter.main(["info", "--json"]) == 0
    assert "gfm-efficientnet-lite0-tt" in capsys.readouterr().out


def test_a_checkout_has_the_engine_of_its_wheel(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``make demo``'s at the root comes first, then what ``make wheel`` packs."""
    monkeypatch.setattr(installation, "HOME", tmp_path)
    monkeypatch.setattr(installation, "CHECKOUT", True)
    packed = tmp_path / "matter_sdk" / "gfm.engine"
    packed.parent.mkdir()
    shutil.copy(folder / "good.engine", packed)
    assert installation.own_engine() == packed
    shutil.copy(folder / "good.engine", tmp_path / "gfm.engine")
    assert installation.own_engine() == tmp_path / "gfm.engine"
    assert installation.own_engine("gfm-plate") is None


def test_commands_are_named_as_they_work_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert installation.command("export.build", ["a b"]) == "python -m export.build 'a b'"
    monkeypatch.setattr(installation, "CHECKOUT", False)
    assert matter.main(["imag"]) == 2
    assert capsys.readouterr().err.startswith("matter: error: 'imag'")
    monkeypatch.setattr(installation, "_short", False)
    assert installation.command("training.train") == "python -m matter_sdk.training.train"
    installation.prefer_short()
    assert installation.command("export.build", ["x"]) == "matter build x"
