"""The page of a machine: one section a command, written anew each time the command runs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import hardware


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table, its columns padded so that it can be read as text too."""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(head), rule, *(line(cells) for cells in lines)])


def plural(count: int, word: str) -> str:
    """Write ``1 thread`` or ``2 threads``."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def write(
    folder: Path,
    section: str,
    facts: dict[str, Any],
    text: str,
    data: Mapping[str, Any],
    drawing: str = "",
) -> list[Path]:
    """Print a section, put it on the machine's page, and write its data beside.

    Args:
        folder: for the page, ``<machine>.md``, and the data, ``<machine>-<section>.json``.
        section: the command; an older section of that name is replaced.
        facts: of ``hardware.begin``, before anything was measured.
        text: Markdown, its headings of level 3 and below.
        data: every figure.
        drawing: SVG that the section begins with, ``<machine>-<section>.svg``.

    Returns:
        All paths.
    """
    facts = facts | {"load_after": hardware.load_average()}
    before, after = (" ".join(map(str, facts[f"load_{when}"])) for when in ("before", "after"))
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    commit = f", commit {facts['commit']}" if facts["commit"] else ""
    kind = hardware.kind(facts["cpu"], facts["cores"], facts.get("gpu", ""))
    page = folder / f"{kind}.md"
    figures, picture = (folder / f"{kind}-{section}{end}" for end in (".json", ".svg"))
    shown = f"![{section}]({picture.name})\n\n" if drawing else ""
    block = (
        f"## {section}\n\n`{facts['command']}`, {facts['date']}{commit}; load average {before} "
        f"before, {after} after. {facts['system']}, {versions}.\n\n{shown}{text.strip()}\n"
    )
    print(block)
    folder.mkdir(parents=True, exist_ok=True)
    title = f"# {facts['cpu']}, {plural(facts['cores'], 'core')}"
    title += f", {facts['gpu']}" if "gpu" in facts else ""
    old = page.read_text(encoding="utf-8") if page.exists() else f"{title}\n"
    head, *blocks = re.split(r"(?m)^(?=## )", old)
    kept = [one for one in blocks if not one.startswith(f"## {section}\n")]
    page.write_text(
        "\n\n".join(part.strip() for part in (head, *sorted([*kept, block]))) + "\n",
        encoding="utf-8",
    )
    everything = {"machine": facts, **data}
    figures.write_text(
        json.dumps(everything, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    if drawing:
        picture.write_text(drawing, encoding="utf-8")
        return [page, figures, picture]
    picture.unlink(missing_ok=True)  # an older section's
    return [page, figures]
