from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import gpu, machine, report, resources
from benchmarks.cases import Aim
from benchmarks.measure import Rival, Row
from benchmarks.tables import table
from benchmarks.timing import Statistics, Times

FACTS: dict[str, Any] = {
    "command": "python -m benchmarks kernels",
    "cpu": "A Processor",
    "cores": 2,
    "system": "Linux 6",
    "versions": {"numpy": "2.0"},
    "commit": "abc",
    "date": "2026-01-01T00:00:00+00:00",
    "load_before": (0.5, 0.4, 0.3),
    "load_after": (1.5, 0.4, 0.3),
}


def times(median: float) -> Times:
    steady = Statistics(9, median, median * 0.9, median * 1.2, median * 0.8)
    return Times(Statistics(9, 3 * median, 2 * median, 4 * median, median), steady)


def row(case: str = "alpha_blend", size: str = "1080p", threads: int = 1) -> Row:
    return Row(
        case,
        size,
        threads,
        moved=10_000_000,
        ours=times(0.002),
        copy=times(0.001),
        rivals=[
            Rival("OpenCV", "slow", times(0.020), (1.0, 0.25)),
            Rival("OpenCV", "fast", times(0.011), (0.0, 0.0)),
            Rival("numba", "loops", times(0.001), (0.0, 0.0)),
            Rival("torch", "", note="not measured: torch is not installed"),
        ],
    )


def test_a_library_s_figure_is_its_best() -> None:
    best = row().best("OpenCV")
    assert best is not None
    assert best.name == "fast"
    assert report.ratio(row(), "OpenCV") == pytest.approx(5.5)
    assert report.ratio(row(), "torch") is None


def test_aims_stand_beside_the_figures() -> None:
    assert report.aim_of(row(), Aim(ratio=6)) == "≥ 6× OpenCV: missed"
    assert report.aim_of(row(), Aim(ratio=5)) == "≥ 5× OpenCV: met"
    assert report.aim_of(row(), Aim(milliseconds=1.9)) == "< 1.9 ms: missed"
    assert report.aim_of(row(), Aim(ratio=5, milliseconds=4)) == "≥ 5× OpenCV: met; < 4 ms: met"
    assert report.aim_of(row(size="720p"), Aim(milliseconds=4)) == ""


def test_the_summary_has_time_speed_and_ratios() -> None:
    lines = report.summary([row(), row("composite")]).splitlines()
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells[:5] == ["alpha_blend", "1080p", "2 (1.8–2.4)", "5.0", "50%"]
    assert cells[5:] == ["5.5×", "", "0.5×", "", "", "6", "5.5×", "≥ 6× OpenCV: missed"]
    assert lines[3].split("|")[1].strip() == "composite"


def test_the_report_says_what_was_left_out_and_on_how_many_threads() -> None:
    text = report.markdown(FACTS, [row(), row(threads=2)], "GPU: not measured (no CUDA device)")
    assert "## 1 thread\n" in text
    assert "## 2 threads\n" in text
    assert text.count("* torch is not installed") == 2
    assert "load average before 0.5 0.4 0.3, after 1.5 0.4 0.3" in text
    assert "| OpenCV: slow" in text
    assert "GPU: not measured (no CUDA device)" in text


def test_a_gpu_s_rows() -> None:
    rows = [
        gpu.GpuRow("max_unpool", "x", 4_000_000, 2e-6, 1e-6, launches=1, torch=8e-6),
        gpu.GpuRow("composite", "720p", 9_000_000, 3e-6, 1e-6, launches=6),
    ]
    lines = report.gpu_table(rows).splitlines()
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells == ["max_unpool", "x", "0.002", "2000", "50%", "1", "4×"]
    assert lines[3].split("|")[6:8] == [" 6        ", "                    "]


def test_files_hold_the_run(tmp_path: Path) -> None:
    rows = [row(), row("composite"), row(threads=2)]
    missing = "GPU: not measured (no CUDA device)"
    paths = report.write(tmp_path / "new", "kernels-test", FACTS, rows, missing)
    assert [path.name for path in paths] == [f"kernels-test.{e}" for e in ("json", "md", "png")]
    data = json.loads(paths[0].read_text())
    assert data["commit"] == "abc"
    assert data["gpu"] == missing
    assert [report.row_from(part) for part in data["rows"]] == [
        report.row_from(json.loads(json.dumps(asdict(one)))) for one in rows
    ]
    assert data["rows"][0]["ours"]["steady"]["p90"] == pytest.approx(0.0024)
    assert paths[1].read_text() == report.markdown(FACTS, rows, missing)
    assert paths[2].read_bytes().startswith(b"\x89PNG")


def test_a_table_s_columns_stand_under_each_other() -> None:
    text = table(["a", "long"], [["wide cell", "b"]])
    assert text == "| a         | long |\n|-----------|------|\n| wide cell | b    |"


@pytest.mark.parametrize(
    ("cpu", "gpu_name", "kind"),
    [
        ("AMD EPYC 9354P 32-Core Processor", "", "amd-epyc-9354p-32-core-2-cores"),
        ("Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz", "", "intel-core-i7-8650u-2-cores"),
        ("Intel(R) Xeon(R) Processor", "NVIDIA L4", "intel-xeon-2-cores-nvidia-l4"),
    ],
)
def test_a_machine_s_short_name(cpu: str, gpu_name: str, kind: str) -> None:
    assert machine.kind(cpu, 2, gpu_name) == kind


def test_resources_are_read_from_the_compiler() -> None:
    log = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'matter_a' for 'sm_75'
ptxas info    : Function properties for matter_a
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 24 registers, used 0 barriers, 360 bytes cmem[0]
ptxas info    : Compiling entry function 'matter_a' for 'sm_120'
ptxas info    : Function properties for matter_a
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 8 bytes cumulative stack size, 512 bytes smem
"""
    first, second = resources.parse(log)
    assert first == resources.Usage("matter_a", "75", 24, 0, 0)
    assert second == resources.Usage("matter_a", "120", 255, 16, 512)
    assert resources.unexpected(log) == []
    assert resources.unexpected(log + "x.cu(3): warning: y\n") == ["x.cu(3): warning: y"]
    lines = resources.table([second, first]).splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == [
        *("kernel", "sm_75", "sm_120", "spilled", "shared")
    ]
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        *("matter_a", "24", "255", "16 B", "512 B")
    ]


def test_the_command_measures_and_ends_with_its_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["kernels", "--quick", "--sizes", "720p", "--only", "temporal"]
    assert command.main([*arguments, "--output", str(tmp_path)]) == 0
    out = capfd.readouterr().out
    files = [Path(line) for line in out.splitlines()[-3:]]
    assert all(file.parent == tmp_path and file.stat().st_size > 0 for file in files)
    data = json.loads(files[0].read_text())
    (measured,) = data["rows"]
    assert measured["case"] == "temporal_filter"
    assert measured["threads"] == 1
    assert measured["ours"]["steady"]["count"] >= 5
    assert data["command"].endswith("--only temporal --output " + str(tmp_path))
    assert "| temporal_filter" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["kernels", "--sizes", "480p"], "'480p' is no size, expected some of 720p,1080p,2160p"),
        (["kernels", "--threads", "0"], "invalid numbers value: '0'"),
        (["kernels", "--threads", "a"], "invalid numbers value: 'a'"),
        ([], "the following arguments are required"),
    ],
)
def test_wrong_options_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_without_nvcc_the_remedy_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resources, "nvcc", lambda: None)
    assert command.main(["resources"]) == 1
    assert "install the CUDA toolkit" in capsys.readouterr().err
