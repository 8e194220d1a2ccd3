"""Tables of Markdown, and the files that they go into."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns padded so that it can be read as text too."""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(head), rule, *(line(cells) for cells in lines)])


def write(folder: Path, stem: str, text: str, data: Mapping[str, Any]) -> list[Path]:
    """A page and its data, ``stem.md`` and ``stem.json``; returns both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}.{ending}" for ending in ("md", "json")]
    paths[0].write_text(text, encoding="utf-8")
    paths[1].write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return paths
