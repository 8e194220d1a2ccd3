"""The documentation: links lead somewhere, examples run, quoted messages and names exist.

An example runs if the line before its fence is ``<!-- run -->``. Examples of a page run in their
order, in one folder and, for Python, with one set of names.
"""

from __future__ import annotations

import ast
import re
import shlex
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import cv2
import numpy as np
import onnx
import pytest

import matter_sdk
from matter_sdk import __main__ as matter
from matter_sdk.sdk import installation
from tests.sdk.clips import write_clip
from tests.sdk.conftest import Tiny

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "weights/*.md", "training/*.md", "benchmarks/results/*.md")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^(<!-- run -->\n)?(`{3,})(\w*)\n(.*?)^\2$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)|<(?:img|a)\b[^>]*?\b(?:src|href)=\"([^\"]+)\"")


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(text: str) -> str:
    """A page without its code: blocks in fences, indented blocks, code in a line."""
    text = re.sub(r"^(?: {4}|\t)(?![-*] ).*$", "", FENCE.sub("", text), flags=re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "code", text)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    found = set()
    for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title)
        found.add(re.sub(r"[^\w\- ]", "", shown.lower()).strip().replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in (one or other for one, other in LINK.findall(prose(page.read_text("utf-8")))):
        address, _, anchor = unquote(link).partition("#")
        if re.match(r"[a-z]+:", address):
            continue
        target = page.parent / address if address else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b`, C\n\n[x](no.md) [y](#no) [z](#a-b-c) `[w](code.md)` ![](gone.jpg)\n")
    assert anchors(page) == {"a-b-c"}
    assert [one for one, _ in LINK.findall(prose(page.read_text()))] == [
        "no.md",
        "#no",
        "#a-b-c",
        "gone.jpg",
    ]
    with pytest.raises(AssertionError, match=re.escape("['no.md', '#no', 'gone.jpg']")):
        test_links_lead_somewhere(page)


def test_every_page_is_on_the_site() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    pages = set(re.findall(r": (\S+\.md)$", nav, re.MULTILINE))
    assert {named(page) for page in PAGES if not named(page).startswith("training/")} == pages


def test_the_api_page_names_all_that_is_public() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^::: matter_sdk\.sdk\.(\w+)$", page, re.MULTILINE)
    assert sorted(listed) == sorted(set(matter_sdk.__all__) - {"__version__"})


def test_small_pictures() -> None:
    """Each clone carries them."""
    assert sum(path.stat().st_size for path in (ROOT / "docs" / "pictures").iterdir()) < 400_000


# ---- messages


def messages() -> str:
    """Every text of the packages, a line each, with … for what an f-string puts in."""
    found = set()
    for package in ("sdk", "kernels", "export", "samples"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = [
                        one.value if isinstance(one, ast.Constant) else "…" for one in node.values
                    ]
                    found.add("".join(str(part) for part in parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
    return "\n".join(sorted(found))


def test_messages_on_the_page_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = [" ".join(one.split()) for one in re.findall(r"\*\*`([^`]+)`\*\*", page)]
    known = messages()
    assert len(quoted) > 30
    assert [one for one in quoted if one not in known] == []


# ---- examples


def examples(page: Path) -> list[tuple[str, str]]:
    """What runs of a page: language and code, in order."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [(language, code) for mark, _, language, code in found if mark]


WITH_EXAMPLES = [page for page in PAGES if examples(page)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the examples work in, and an installation with a network inside."""
    tiny = Tiny(tmp_path)
    tiny.build("gfm.engine", graph=onnx.shape_inference.infer_shapes(tiny.graph((32, 64))))
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:] = np.linspace(0, 255, 96, dtype=np.uint8)[None, :, None]
    for name in ("cat.jpg", "dog.jpg", "beach.jpg", "empty.jpg", "photos/a.jpg", "photos/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), picture)
    write_clip(tmp_path / "in.mp4", [picture] * 4)
    home = tmp_path / "installed"
    home.mkdir()
    shutil.copy(tmp_path / "gfm.engine", home)
    monkeypatch.setattr(installation, "HOME", home)
    monkeypatch.setattr(installation, "CHECKOUT", False)
    monkeypatch.setattr(installation, "_short", False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(language: str, code: str, names: dict[str, Any]) -> None:
    if language == "python":
        exec(compile(code, "<example>", "exec"), names)
        return
    assert language == "sh"
    for line in code.splitlines():
        words = shlex.split(line, comments=True)
        if words:
            assert words[0] == "matter", f"{line}: only `matter` is run here"
            assert matter.main(words[1:]) == 0, line


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=named)
def test_examples_run(page: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "example"}
    before = set(here.rglob("*"))
    for language, code in examples(page):
        run(language, code, names)
    assert set(here.rglob("*")) - before, "the page's examples save a file"


def test_a_wrong_example_is_found(here: Path) -> None:
    with pytest.raises(AttributeError):
        run("python", "from matter_sdk import Matter\nMatter().matte()", {})
    with pytest.raises(AssertionError):
        run("sh", "matter image nowhere.jpg x.png", {})
    with pytest.raises(AssertionError):
        run("sh", "echo hello", {})
