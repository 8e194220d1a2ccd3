"""The benchmark of live streams finds what it looks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import live
from benchmarks.__main__ import main
from tests.sdk.conftest import Tiny

SIZE = (96, 160)


def numbered(number: int) -> np.ndarray:
    frame = np.full((*SIZE, 3), 90, np.uint8)
    live.draw(frame, [number >> bit & 1 for bit in range(live.BITS)], 255)
    return frame


def test_numbers_are_read_as_they_were_drawn() -> None:
    for number in (0, 1, 1234, 2**live.BITS - 1):
        bits = live.bits_of(numbered(number))
        assert sum(int(bit) << at for at, bit in enumerate(bits)) == number


def test_the_source_counts_and_keeps_time() -> None:
    frames = list(live.paced(SIZE, 200, 0.1))
    assert len(frames) == 20
    numbers = [sum(int(b) << at for at, b in enumerate(live.bits_of(f))) for f in frames]
    assert numbers == list(range(20))


def test_an_alpha_of_another_frame_is_noticed(tmp_path: Path) -> None:
    with live.Numbered(Tiny(tmp_path).build(), backend="onnxruntime") as matter:
        assert isinstance(matter, live.Numbered)
        alphas = [matter.infer(matter.prepare(numbered(number))) for number in (5, 6)]
        matter.finish(numbered(5), alphas[0])
        assert (matter.compared, matter.mismatches) == (1, 0)
        matter.finish(numbered(6), alphas[0])
        assert (matter.compared, matter.mismatches) == (2, 1)


def test_a_short_run(tmp_path: Path) -> None:
    results = live.run(Tiny(tmp_path).build(), streams=2, seconds=1.0, busy=0)
    assert [(result.streams, result.stream) for result in results] == [(2, 1), (2, 2)]
    for result in results:
        assert result.frames > 0
        assert result.frames + result.dropped <= 60
        assert 0 < result.p50 <= result.p95 <= result.most
        assert result.mismatches == 0


def test_a_length_for_each_run_or_one_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []
    monkeypatch.setattr(live, "report", lambda engine, runs, *rest: asked.append(runs) or [])
    flags = ["streams", "--engine", str(tmp_path / "none.engine"), "--streams", "1,2"]
    assert main([*flags, "--minutes", "10,3"]) == main([*flags, "--minutes", "2"]) == 0
    assert asked == [[(1, 600), (2, 180)], [(1, 120), (2, 120)]]
    assert main([*flags, "--minutes", "1,2,3"]) == 2
    assert "--minutes has 3 values and --streams 2" in capsys.readouterr().err
