"""The benchmark of whole networks on a GPU, as far as it goes without one."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu_frames, gpu_kernels
from benchmarks.__main__ import main
from benchmarks.gpu_frames import Row, scaled, table
from benchmarks.rounds import Statistics
from matter_sdk.export.options import BuildOptions
from matter_sdk.sdk import Matter
from tests.sdk import conftest


def test_without_a_gpu_it_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_kernels, "why_not", lambda: "GPU: not measured (no CUDA device)")
    assert main(["gpu", "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "GPU: not measured (no CUDA device)\n"
    assert list(tmp_path.iterdir()) == []


def test_its_engines_can_be_asked_for() -> None:
    """At sizes that each network takes, and scales that lie near those of the papers."""
    for options, scales in gpu_frames.NETWORKS.values():
        sizes = (*gpu_frames.SIZES, *map(scaled, scales or ()))
        asked = BuildOptions(**options, random_weights=True, sizes=sizes, targets=("onnx",))  # type: ignore[arg-type]
        assert asked.resolve().sizes == sizes
        for scale in scales or ():
            height, width = scaled(scale)
            assert abs(height - 1080 * scale) <= 16
            assert abs(width - 1920 * scale) <= 16


def test_the_table_tells_streams() -> None:
    times = Statistics(9, 0.003, 0.002, 0.004, 0.002)
    rows = [
        Row("network", "AIM", "288×512", "fp16", "tensorrt", times),
        Row("stream", "AIM", "1080p", "fp16", "tensorrt", times),
    ]
    head, _, network, stream = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in table(rows).splitlines()
    )
    assert head[5:] == ["ms", "p10", "p90", "frames/s", "streams at 30"]
    assert network[5:] == ["3.00", "2.00", "4.00", "333", ""]
    assert stream[5:] == ["3.00", "2.00", "4.00", "333", "11"]  # 333 / 30


def test_a_backend_that_is_refused_does_not_lose_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As TensorRT for RTX is on a GPU of 9.0: what else can be measured is written."""
    path = conftest.Tiny(tmp_path).build()  # without a plan
    times = Statistics(9, 0.003, 0.002, 0.004, 0.002)

    def built(name: str, precision: str, folder: Path) -> tuple[Path, list[str]]:
        if name == "MSIA":
            raise RuntimeError("no memory")
        return Path(shutil.copy(path, folder / "copy.engine")), ["tensorrt-rtx"]

    def rows(name: str, precision: str, engine: Path, runtimes: list[str], budget: float) -> Any:
        yield Row("network", name, "288×512", precision, "PyTorch", times)
        with contextlib.ExitStack() as opened:
            for runtime in runtimes:
                opened.enter_context(Matter(engine, backend=runtime))

    monkeypatch.setattr(gpu_kernels, "why_not", lambda: "")
    monkeypatch.setattr(gpu_kernels, "name", lambda: "a GPU")

    def measure(case: Any, size: str) -> gpu_kernels.GpuRow:
        if case.name.startswith("max"):
            raise MemoryError("of the kernel")
        return gpu_kernels.GpuRow(case.name, case.fixed or size, 1000, 1e-6, 1e-6, 1)

    monkeypatch.setattr(gpu_kernels, "measure", measure)
    monkeypatch.setattr(gpu_frames, "built", built)
    monkeypatch.setattr(gpu_frames, "network_rows", rows)
    assert gpu_frames.report(1, tmp_path / "pages", [])
    shown = capsys.readouterr().out
    assert shown.count("PyTorch") == 4  # two networks in two precisions
    assert "Not measured: AIM, fp16, tensorrt-rtx" in shown
    assert shown.count("2160p") >= 5
    assert "1080p" not in shown
    assert shown.count("MemoryError: of the kernel") >= 2
    assert "Not measured: MSIA, fp16: RuntimeError: no memory" in shown
