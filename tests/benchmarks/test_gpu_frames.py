"""The benchmark of whole networks on a GPU, as far as it goes without one."""

from __future__ import annotations

from pathlib import Path

import pytest
from matter_sdk.export.options import BuildOptions

from benchmarks import gpu_frames, gpu_kernels
from benchmarks.__main__ import main
from benchmarks.gpu_frames import Row, scaled, table
from benchmarks.rounds import Statistics


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
