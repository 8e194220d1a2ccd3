"""The benchmark of how many streams are carried."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks import scale
from benchmarks.__main__ import main
from tests.sdk.conftest import Tiny


@pytest.mark.parametrize("most", [0, 1, 2, 3, 5, 8, 13, scale.MOST, scale.MOST + 9])
def test_the_search_finds_the_most_in_few_tries(most: int) -> None:
    tried: list[int] = []

    def carries(streams: int) -> bool:
        tried.append(streams)
        return streams <= most

    assert scale.search(carries) == min(most, scale.MOST)
    assert tried[0] == 1
    assert len(tried) == len(set(tried)) <= 13


def test_a_camera_keeps_time_and_says_when_frames_came() -> None:
    given: list[float] = []
    frames = [object(), object()]
    begin = time.monotonic()
    found = list(scale.camera(frames, 0.2, 0.05, given))  # type: ignore[arg-type]
    assert found == [frames[0], frames[1]] * 3
    assert len(given) == 6
    assert all(at >= begin + 0.05 + number / scale.RATE for number, at in enumerate(given))


def test_a_short_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scale.SIZES, "360p", (32, 64))
    row = scale.measure(Tiny(tmp_path).build(), "360p", 2, 1.0)
    assert (row.size, row.streams) == ("360p", 2)
    assert 0 < row.fps <= scale.RATE + 1
    assert 0 <= row.dropped < 1
    assert 0 < row.p50 <= row.p95
    assert row.carried == (row.dropped < scale.DROPPED and row.p95 <= 1e3 * scale.LATE)


def test_the_page_says_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(engine: Path, size: str, streams: int, seconds: float) -> scale.Carried:
        assert (engine.name, seconds) == ("tiny.engine", 3)
        carried = streams <= {"360p": 5, "720p": 3, "1080p": 0}[size]
        return scale.Carried(size, streams, 30.0, 0.0, 20.0, 40.0, 8.0, 1.5, carried)

    monkeypatch.setattr(scale, "measure", measure)
    flags = ["streams", "--engine", "tiny.engine", "--scale", "--seconds", "3"]
    assert main([*flags, "--output", str(tmp_path)]) == 0
    (page,) = tmp_path.glob("*.md")
    assert "**5** at 360p, **3** at 720p, **0** at 1080p" in page.read_text(encoding="utf-8")
    assert (tmp_path / f"{page.stem}-scale.json").is_file()
    assert "no" in capsys.readouterr().out
