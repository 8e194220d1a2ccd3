"""``matter web``: what it writes, and what it refuses. The page itself: ``test_web_page``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from matter_sdk.export import web
from matter_sdk.export.browser import web_runtime
from matter_sdk.export.errors import BuildError, UsageError
from tests.sdk.conftest import Tiny


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """A folder with files of the runtime's names, which are none."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    for name in web_runtime.FILES:
        (folder / name).write_text("/* ONNX Runtime Web v9.8.7\n */")
    return folder


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_a_page_is_written_and_an_earlier_one_replaced(
    tmp_path: Path, runtime: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Tiny(tmp_path).build_external(sizes=((32, 64), (64, 32)))
    out = tmp_path / "new" / "a page"
    words = [str(engine), str(out), "--runtime", str(runtime)]
    assert web.main(words) == 0
    said = capsys.readouterr()
    assert said.out == f"{out}\n"
    assert f"http.server --directory '{out}'" in said.err
    page = {
        "index.html",
        "page.js",
        "worker.js",
        "foreground.js",
        "hidden.js",
        "png.js",
        "page.css",
    }
    assert page | {"engine.json"} < files(out)
    about = json.loads((out / "engine.json").read_text())
    assert about["runtime"] == "9.8.7"
    assert about["weights"] == "model.onnx.data"
    assert [one["size"] for one in about["models"]] == [[32, 64], [64, 32]]
    assert {one["graph"] for one in about["models"]} | {about["weights"]} < files(out)
    assert {f"runtime/{name}" for name in web_runtime.FILES} < files(out)
    (out / "old").touch()
    assert web.main(words) == 0
    assert "old" not in files(out)
    assert [path.name for path in out.parent.iterdir()] == ["a page"]


def test_nothing_is_written_where_something_is_wrong(tmp_path: Path, runtime: Path) -> None:
    engine, out = Tiny(tmp_path).build(), tmp_path / "out"
    (runtime / web_runtime.FILES[1]).unlink()
    with pytest.raises(BuildError, match=web_runtime.FILES[1]):
        web.write_page(engine, out, runtime)
    assert not out.exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_folder_of_others_is_left_alone(tmp_path: Path, runtime: Path) -> None:
    engine, out = Tiny(tmp_path).build(), tmp_path / "out"
    out.mkdir()
    (out / "letter.txt").write_text("dear")
    (out / "engine.json").write_text("{}")  # a page has one too
    for place in (out, out / "letter.txt"):
        with pytest.raises(UsageError, match=place.name):
            web.write_page(engine, place, runtime)
    assert (out / "letter.txt").read_text() == "dear"


def test_without_onnx_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"matter-sdk\[web\]"):
        web.write_page(tmp_path / "x.engine", tmp_path / "out")


def test_without_npm_the_error_names_the_other_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="--runtime"):
        web.write_page(Tiny(tmp_path).build(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("script", ["echo no network >&2; exit 3", "true", "touch $4/$NAME"])
def test_npm_that_fails_or_brings_something_else(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = tmp_path / "npm"
    npm.write_text(f"#!/bin/sh\nNAME=onnxruntime-web-{web_runtime.VERSION}.tgz\n{script}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(BuildError, match=web_runtime.VERSION):
        web_runtime.copy(tmp_path)
    assert files(tmp_path / "cache") == set()


@pytest.mark.parametrize(
    ("words", "status", "named"),
    [([], 2, "OUT"), (["nowhere.engine", "out"], 1, "nowhere.engine"), (["a", "b", "c"], 2, "'c'")],
)
def test_bad_input(
    words: list[str],
    status: int,
    named: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # `make demo` leaves a folder out in a checkout
    assert web.main(words) == status
    assert named in capsys.readouterr().err
