"""Every aim finds its figure in the data that the benchmarks write, and is judged by it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import aims, live, pipeline, plots
from benchmarks.aims import Aim
from benchmarks.timing import statistics_of


def contest(
    question: str, times: dict[str, float], overhead: dict[str, float] | None = None
) -> pipeline.Contest:
    found = {name: statistics_of([value]) for name, value in times.items()}
    ratios = {name: statistics_of([value]) for name, value in (overhead or {}).items()}
    return pipeline.Contest(question, "light GFM", "720p", 1, found, {}, ratios)


def measured(*, ours: float, fps: float) -> dict[str, Any]:
    done = pipeline.Run(
        [
            contest("network", {}, {"fastest, openvino": ours / 0.020}),
            contest(
                "stream",
                {"Matter live": ours, "OpenVINO, OpenCV": 0.045, "PyTorch": 0.2}
                | {pipeline.RECURRENT: 0.054},
            ),
        ],
        [
            pipeline.Video(
                *("light GFM", "720p", "192×320", "live", "OpenVINO", 2, statistics_of([fps])),
                {"decode": 3.0, "network": 22.0},
            )
        ],
        {"light GFM": (400.0, 401.0)},
        {
            "light GFM": [
                {
                    "artefact": "openvino",
                    "precision": "int8",
                    "sad": 1.0,
                    "share": 0.11,
                    "bound": 0.1,
                }
            ]
        },
        {"light GFM": {"288×512": 26.0, "192×320": 11.0}},
    )
    return {"machine": {"cores": 2}} | dataclasses.asdict(done)


def found(folder: Path) -> dict[str, Aim]:
    return {aim.what: aim for aim in aims.collect(folder, "here")}


def test_without_results_only_what_needs_a_gpu_is_named(tmp_path: Path) -> None:
    listed = found(tmp_path)
    assert len(listed) == 2
    assert all(aim.met is None for aim in listed.values())
    assert aims.table_of(list(listed.values())).count(aims.NOT_MEASURED) == 2


@pytest.mark.parametrize(
    ("ours", "fps", "met"),
    [(0.0205, 61.0, [True, True, True, False]), (0.0230, 59.0, [False, False, False, False]),
     (0.015, 80.0, [True, True, True, True])],
)  # fmt: skip
def test_speeds_are_judged(tmp_path: Path, ours: float, fps: float, met: list[bool]) -> None:
    (tmp_path / "pipeline-here.json").write_text(json.dumps(measured(ours=ours, fps=fps)))
    listed = found(tmp_path)
    over = listed["Matter over its backend bare (fastest, openvino), light GFM, 1 thread"]
    file = listed["720p file to file, light GFM, live at 192×320 (OpenVINO)"]
    rivals = listed["Frame rate over the fastest rival's, light GFM, 1 thread of 720p"]
    recurrent = listed["Frame rate over a recurrent network's alone, light GFM, 1 thread of 720p"]
    assert [aim.met for aim in (over, file, rivals, recurrent)] == met
    least = "the network's float32 arithmetic takes a core {} at least"
    assert file.why == f"network 22.0 + decode 3.0 ms on 2 cores; {least.format('11.0')}"
    assert rivals.why.endswith(least.format("26.0"))
    assert rivals.found == f"{0.045 / ours:.2f}×"  # the fastest rival, not the slowest
    assert listed["Memory over 10,000 frames, light GFM"].met
    assert not listed["SAD of int8 (openvino), light GFM"].met


def one(stream: int, **changes: Any) -> live.Result:
    seen = [(at / 10, 0.1) for at in range(100)]
    memory = [(at / 10, 300.0) for at in range(100)]
    result = live._result(2, stream, 10.0, seen, 5, memory, 0)
    return dataclasses.replace(result, **changes)


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({}, None),
        ({"p99_late": 130.0}, "Latency of live streams on a busy machine, 2 for 0 minutes"),
        ({"memory_late": 310.0}, "Memory meanwhile, 2 streams"),
        ({"mismatches": 1}, "Alpha on another frame's picture, 2 streams"),
        ({"fps": 9.0}, "Shares of 2 streams"),
    ],
)
def test_live_streams_are_judged(
    tmp_path: Path, changes: dict[str, Any], failing: str | None
) -> None:
    results = [one(1, **changes), one(2)]
    data = {"results": [dataclasses.asdict(result) for result in results]}
    (tmp_path / "live.json").write_text(json.dumps(data))
    assert [a.what for a in found(tmp_path).values() if a.met is False] == [failing] * (
        failing is not None
    )


def test_a_gpus_figures(tmp_path: Path) -> None:
    row = {
        "question": "network", "network": "GFM resnet34", "size": "800×800", "precision": "fp16",
        "runtime": "tensorrt", "times": {"median": 0.0015},
    }  # fmt: skip
    (tmp_path / "gpu-some.json").write_text(json.dumps({"rows": [row]}))
    first, second = aims.collect(tmp_path, "here")
    assert (first.met, first.found, second.met) == (True, "1.50 ms, tensorrt", None)


def test_the_page_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["aims", "--output", str(tmp_path)]) == 0
    page, data = tmp_path / "aims.md", tmp_path / "aims.json"
    assert aims.NOT_MEASURED in page.read_text()
    assert len(json.loads(data.read_text())["aims"]) == 2
    assert capsys.readouterr().out.endswith(f"{page}\n{data}\n")


def test_all_ends_where_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = []

    def run(given: list[str], **_: Any) -> Any:
        ran.append(given[2:4])
        return type("Done", (), {"returncode": 3 if "temporal" in given else 0})

    monkeypatch.setattr(command.subprocess, "run", run)
    assert command.main(["all", "--quick", "--output", str(tmp_path)]) == 3
    assert [module for module, *_ in ran] == ["export.build"] + ["benchmarks"] * 3
    assert [name for _, name in ran[1:]] == ["kernels", "pipeline", "temporal"]
    assert "ended with status 3" in capsys.readouterr().err


def test_pictures_are_drawn(tmp_path: Path) -> None:
    plots.contests([contest("frame", {"Matter live": 0.02, "rival": 0.05})], tmp_path / "a.png")
    plots.live([one(1), one(2)], tmp_path / "b.png")
    for name in "ab":
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
