from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import gpu_kernels, hardware, kernel_times, page, registers
from benchmarks.kernel_times import Baseline, Row
from benchmarks.rounds import Statistics, Times


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
        baselines=[
            Baseline("OpenCV", "slow", times(0.020), (1.0, 0.25)),
            Baseline("OpenCV", "fast", times(0.011), (0.0, 0.0)),
            Baseline("numba", "loops", times(0.001), (0.0, 0.0)),
            Baseline("torch", "", note="not measured: torch is not installed"),
        ],
    )


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_library_s_figure_is_its_best() -> None:
    best = row().best("OpenCV")
    assert best is not None
    assert best.name == "fast"
    assert kernel_times.ratio(row(), "OpenCV") == pytest.approx(5.5)
    assert kernel_times.ratio(row(), "torch") is None


def test_the_summary_has_time_speed_and_ratios() -> None:
    head, _, first, second = map(
        cells, kernel_times.summary([row(), row("composite")]).splitlines()
    )
    found = dict(zip(head[:-1], first[:-1], strict=True))
    assert (found["kernel"], found["size"], found["GB/s"]) == ("alpha_blend", "1080p", "5.0")
    assert (found["ms (p10–p90)"], found["of copy"]) == ("2 (1.8–2.4)", "50%")
    assert (found["OpenCV"], found["numba"], found["torch"]) == ("5.5×", "0.5×", "")
    assert first[-2:] == ["6", "5.5×"]  # of first calls
    assert second[0] == "composite"


def test_the_section_says_what_was_left_out_and_on_how_many_threads() -> None:
    text = kernel_times.markdown([row(), row(threads=2)], "no GPU")
    assert "### 1 thread\n" in text
    assert "### 2 threads\n" in text
    assert text.count("* torch is not installed") == 2
    assert text.endswith("no GPU")


def test_rows_go_through_json() -> None:
    assert kernel_times.row_from(json.loads(json.dumps(asdict(row())))).ours == row().ours


def test_a_gpu_s_rows() -> None:
    rows = [
        gpu_kernels.GpuRow("max_unpool", "x", 4_000_000, 2e-6, 1e-6, launches=1, torch=8e-6),
        gpu_kernels.GpuRow("composite", "720p", 9_000_000, 3e-6, 1e-6, launches=6),
    ]
    _, _, first, second = map(cells, gpu_kernels.table(rows).splitlines())
    assert first == ["max_unpool", "x", "0.002", "2000", "50%", "1", "4×"]
    assert second[-2:] == ["6", ""]


def test_a_page_keeps_the_sections_of_other_commands(tmp_path: Path) -> None:
    facts = hardware.begin(["kernels", "--output", str(tmp_path / "new")])
    assert facts["command"] == "python -m benchmarks kernels --output new"
    (path, _) = page.write(tmp_path / "new", "kernels", facts, "### one\n\nold", {"rows": [1]})
    page.write(tmp_path / "new", "exports", facts, "theirs", {})
    (path, data) = page.write(tmp_path / "new", "kernels", facts, "### one\n\nnewer", {"rows": [2]})
    text = path.read_text()
    assert text.startswith(f"# {facts['cpu']}, ")
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## exports", "## kernels",
    ]  # fmt: skip
    assert ("old" in text, "newer" in text, "theirs" in text) == (False, True, True)
    found = json.loads(data.read_text())
    assert (found["rows"], found["machine"]["cores"]) == ([2], facts["cores"])
    assert len(list((tmp_path / "new").iterdir())) == 3


def test_a_table_s_columns_stand_under_each_other() -> None:
    text = page.table(["a", "long"], [["wide cell", "b"]])
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
    assert hardware.kind(cpu, 2, gpu_name) == kind


def test_registers_are_read_from_the_compiler() -> None:
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
    first, second = registers.parse(log)
    assert first == registers.Usage("matter_a", "75", 24, 0, 0)
    assert second == registers.Usage("matter_a", "120", 255, 8, 16)
    assert registers.unexpected(log) == []
    assert registers.unexpected(log + "x.cu(3): warning: y\n") == ["x.cu(3): warning: y"]
    lines = registers.table([replace(second, instructions=7), first]).splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == [
        *("kernel", "sm_75", "sm_120", "stack", "spilled", "instructions")
    ]
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        *("matter_a", "24", "255", "8 B", "16 B", "0-7")
    ]


def test_the_command_measures_and_ends_with_its_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["kernels", "--quick", "--sizes", "720p", "--only", "temporal"]
    assert command.main([*arguments, "--output", str(tmp_path)]) == 0
    out = capfd.readouterr().out
    files = [Path(line) for line in out.splitlines()[-2:]]
    assert all(file.parent == tmp_path and file.stat().st_size > 0 for file in files)
    data = json.loads(files[1].read_text())
    (measured,) = data["rows"]
    assert measured["case"] == "temporal_filter"
    assert measured["threads"] == 1
    assert measured["ours"]["steady"]["count"] >= 5
    assert "--only temporal --output" in data["machine"]["command"]
    assert "| temporal_filter" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["kernels", "--sizes", "480p"], "'480p', expected some of 720p,1080p,2160p"),
        (["kernels", "--threads", "0"], "'0'"),
        (["kernels", "--threads", "a"], "'a'"),
        (["frames", "--questions", "speed"], "'speed'"),
        ([], "required"),
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
    monkeypatch.setattr(registers, "nvcc", lambda: None)
    assert command.main(["kernels", "--registers"]) == 2
    assert "CUDA_HOME" in capsys.readouterr().err
