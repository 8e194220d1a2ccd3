"""What this project wants to reach, each aim beside the figure of the last run.

The figures are read from the data that the other benchmarks wrote; an aim that nobody measured says
so. Nothing here is a constant but the aims.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import machine, tables
from benchmarks.pipeline import FASTEST, RECURRENT
from benchmarks.subjects import NETWORK

NOT_MEASURED = "not measured"
SHARED = "×".join(map(str, NETWORK))  # the network size of those who are compared


class Aim(NamedTuple):
    """One line: what was wanted, what came out, whether that is enough, and where time goes."""

    what: str
    wanted: str
    found: str
    met: bool | None
    why: str = ""


def collect(folder: Path, kind: str) -> list[Aim]:
    """All aims, with what the files of a folder say."""
    pipeline = _read(folder / f"pipeline-{kind}.json")
    live, temporal = _read(folder / "live.json"), _read(folder / "temporal.json")
    return [
        *_overhead(pipeline),
        *_files(pipeline),
        *_memory(pipeline),
        *_precision(pipeline),
        *_rivals(pipeline),
        *_live(live),
        *_steadiness(temporal),
        *_gpu([_read(path) for path in sorted(folder.glob("gpu-*.json"))]),
    ]


def table_of(aims: list[Aim]) -> str:
    """The aims as a table."""
    word = {True: "yes", False: "no", None: NOT_MEASURED}
    head = ("aim", "wanted", "found", "met", "where the time goes")
    return tables.table(head, [(a.what, a.wanted, a.found, word[a.met], a.why) for a in aims])


def report(folder: Path, command: str) -> list[Path]:
    """Print the table and write it beside the data that it is made of; returns the files."""
    facts = machine.describe() | {"command": command}
    aims = collect(folder, machine.kind(facts["cpu"], facts["cores"]))
    shown = table_of(aims)
    print(shown)
    text = (
        f"# Aims beside figures\n\n`{command}`, {facts['date']}, commit {facts['commit']}.\n\n"
        f"{facts['cpu']} ({', '.join(facts['instructions'])}), {facts['cores']} cores. Each figure "
        f"is from the data beside this page; "
        f"their own pages have the commands and all that was measured with them.\n\n{shown}\n"
    )
    return tables.write(folder, "aims", text, facts | {"aims": [aim._asdict() for aim in aims]})


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _overhead(data: Mapping[str, Any]) -> Iterator[Aim]:
    for contest in data.get("contests", ()):
        for name, ratio in contest["overhead"].items():
            yield Aim(
                f"Matter over its backend bare ({name}), {_where(contest)}",
                "at most 5 %",
                f"{ratio['median'] - 1:+.1%} in {ratio['count']} pairs of calls",
                ratio["median"] <= 1.05,
            )


def _files(data: Mapping[str, Any]) -> Iterator[Aim]:
    wanted = {
        ("light GFM", "720p"): 60,
        ("GFM resnet34", "720p"): 24,
        ("light GFM", "1080p"): 40,
    }
    for video in data.get("videos", ()):
        least = wanted.get((video["network"], video["size"]))
        if least is None:
            continue
        fps = video["fps"]["median"]
        stages = sorted(video["stages"].items(), key=lambda item: -item[1])
        cores = data["machine"]["cores"]
        yield Aim(
            f"{video['size']} file to file, {video['network']}, {video['quality']} at "
            f"{video['at']} ({video['runtime']})",
            f"at least {least} frames/s",
            f"{fps:.1f}",
            fps >= least,
            f"{' + '.join(f'{stage} {ms:.1f}' for stage, ms in stages)} ms on {cores} cores; "
            f"{_floor(data, video['network'], video['at'])}",
        )


def _memory(data: Mapping[str, Any]) -> Iterator[Aim]:
    for name, (first, last) in data.get("memory", {}).items():
        yield Aim(
            f"Memory over 10,000 frames, {name}",
            "flat: grows by at most 2 %",
            f"{first:.0f} MB after 1,000, {last:.0f} after all",
            last <= 1.02 * first,
        )


def _precision(data: Mapping[str, Any]) -> Iterator[Aim]:
    for name, checks in data.get("verified", {}).items():
        for check in checks:
            bound = check["bound"]
            if bound is not None:
                yield Aim(
                    f"SAD of {check['precision']} ({check['artefact']}), {name}",
                    f"at most {bound:.0%} of the matte's own",
                    f"{check['share']:.2%}",
                    check["share"] <= bound,
                )


def _rivals(data: Mapping[str, Any]) -> Iterator[Aim]:
    """The light network's frames a second beside those of the fastest loop by hand."""
    for contest in data.get("contests", ()):
        if contest["question"] != "stream" or contest["network"] != FASTEST:
            continue
        times = {name: found["median"] for name, found in contest["times"].items()}
        ours = min((n for n in times if n.startswith("Matter")), key=times.__getitem__)
        others = (n for n in times if not n.startswith("Matter") and n != RECURRENT)
        rival = min(others, key=times.__getitem__)
        spent = f"{ours} {1e3 * times[ours]:.1f}, {rival} {1e3 * times[rival]:.1f} ms a frame"
        ratio = times[rival] / times[ours]
        yield Aim(
            f"Frame rate over the fastest rival's, {_where(contest)} of {contest['size']}",
            "at least 2×",
            f"{ratio:.2f}×",
            ratio >= 2,
            f"{spent}; {_floor(data, FASTEST, SHARED)}",
        )
        if RECURRENT in times and contest["threads"] == 1:
            ratio = times[RECURRENT] / times[ours]
            yield Aim(
                f"Frame rate over a recurrent network's alone, {_where(contest)} of 720p",
                "at least 3×",
                f"{ratio:.2f}×",
                ratio >= 3,
                f"{ours} {1e3 * times[ours]:.1f}, that {1e3 * times[RECURRENT]:.1f} ms a frame",
            )


def _floor(data: Mapping[str, Any], network: str, at: str) -> str:
    least = data["floors"][network][at]
    return f"the network's float32 arithmetic takes a core {least:.1f} at least"


def _live(data: Mapping[str, Any]) -> Iterator[Aim]:
    results = data.get("results", ())
    for count in sorted({result["streams"] for result in results}):
        some = [result for result in results if result["streams"] == count]
        minutes, worst = some[0]["seconds"] / 60, max(result["p99"] for result in some)
        most = max(result["most"] for result in some)
        early, late = (max(result[f"p99_{when}"] for result in some) for when in ("early", "late"))
        yield Aim(
            f"Latency of live streams on a busy machine, {count} for {minutes:.0f} minutes",
            "bounded: p99 grows by at most a fifth",
            f"p99 {early:.0f} ms early, {late:.0f} late ({worst:.0f} in all, {most:.0f} at most)",
            late <= 1.2 * early,
            f"{min(r['fps'] for r in some):.1f} frames/s a stream",
        )
        first, last = some[0]["memory_early"], some[0]["memory_late"]
        yield Aim(
            f"Memory meanwhile, {count} streams",
            "flat: grows by at most 2 %",
            f"{first:.0f} MB, then {last:.0f} MB",
            last <= 1.02 * first,
        )
        wrong, seen = some[0]["mismatches"], sum(result["frames"] for result in some)
        yield Aim(
            f"Alpha on another frame's picture, {count} streams",
            "none",
            f"{wrong} of {seen}",
            wrong == 0,
        )
        if count > 1:
            rates = [result["fps"] for result in some]
            yield Aim(
                f"Shares of {count} streams",
                "within 5 %",
                ", ".join(f"{rate:.2f}" for rate in rates) + " frames/s",
                max(rates) <= 1.05 * min(rates),
            )


def _steadiness(data: Mapping[str, Any]) -> Iterator[Aim]:
    rows = {(row["motion"], row["way"]): row for row in data.get("rows", ())}
    for motion in dict.fromkeys(motion for motion, _ in rows):
        before, after = rows[motion, "unfiltered"], rows[motion, "filtered"]
        for name, key in (("Flicker", "flicker"), ("dtSSD", "dtssd")):
            yield Aim(
                f"{name} by the filter over time, {motion} motion",
                "falls",
                f"{before[key]:.2f} to {after[key]:.2f}",
                after[key] < before[key],
            )


def _gpu(pages: list[dict[str, Any]]) -> Iterator[Aim]:
    rows = [row for page in pages for row in page["rows"] if row["precision"] == "fp16"]
    ours = [
        row for row in rows if row["network"] == "GFM resnet34" and "RT" in row["runtime"].upper()
    ]
    for question, size, what, wanted, least in (
        ("network", "800×800", "GFM resnet34 fp16 at 800×800 on a GPU", "under 2 ms", 500),
        (
            "stream",
            "1080p",
            "GFM resnet34 fp16, 1080p end to end on a GPU",
            "over 300 frames/s",
            300,
        ),
    ):
        found = [r for r in ours if (r["question"], r["size"]) == (question, size)]
        if not found:
            yield Aim(what, wanted, "", None)
            continue
        best = min(found, key=lambda row: row["times"]["median"])
        ms = 1e3 * best["times"]["median"]
        yield Aim(what, wanted, f"{ms:.2f} ms, {best['runtime']}", 1e3 / ms > least)


def _where(contest: Mapping[str, Any]) -> str:
    threads = contest["threads"]
    return f"{contest['network']}, {threads} thread{'s' if threads > 1 else ''}"
