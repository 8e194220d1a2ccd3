"""Whole frames: what is written by hand gives what PyTorch gives, and results can be compared."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import frames
from benchmarks.baselines.by_hand import ByHand
from benchmarks.frames import Contest, Run, Video
from benchmarks.rounds import statistics_of
from matter_sdk.kernels import InputSpec, alpha_blend, collaborative_fusion, preprocess
from tests.sdk.checks import smooth_frame

SPEC = InputSpec("rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def test_by_hand_is_what_the_kernels_do() -> None:
    built: Any = SimpleNamespace(network=SimpleNamespace(input_spec=SPEC, fusion="tt"))
    rng = np.random.default_rng(0)
    heads = {
        "glance": rng.random((1, 3, 32, 64), np.float32),
        "focus": rng.random((1, 1, 32, 64), np.float32),
    }
    frame, behind = smooth_frame((96, 160)), smooth_frame((96, 160), 1)
    seen = []
    hand = ByHand(built, lambda image: seen.append(image) or heads, (32, 64))
    found = hand(frame, behind)
    expected = preprocess(frame, (32, 64), SPEC, order="bgr")
    np.testing.assert_allclose(seen[0], expected, atol=0.02)  # OpenCV rounds the small picture
    alpha = collaborative_fusion(heads["glance"], heads["focus"], "tt")[0, 0]
    np.testing.assert_array_equal(hand.fuse(heads), alpha)
    large = cv2.resize(alpha, (160, 96))
    assert np.abs(found.astype(int) - alpha_blend(frame, behind, large)).max() <= 1


def contest(seconds: float) -> Contest:
    return Contest("frame", "AIM", "720p", 2, {"Matter live": statistics_of([seconds])})


def video(fps: float) -> Video:
    fps_ = statistics_of([fps])
    return Video("AIM", "720p", "288×512", "live", "OpenVINO", 2, fps_, {"decode": 1.0})


def as_data(*contests: Contest, videos: tuple[Video, ...] = ()) -> dict[str, Any]:
    return {
        "contests": [dataclasses.asdict(one) for one in contests],
        "videos": [dataclasses.asdict(one) for one in videos],
    }


def test_what_moved_since_an_earlier_run() -> None:
    old = as_data(contest(0.020), videos=(video(50),))
    assert "of the 2" in frames.changes(old, Run([contest(0.021)], [video(49)]))
    text = frames.changes(old, Run([contest(0.010)], [video(49)]))
    assert "| 20.0      | 10.0   | 0.50× |" in text
    assert "file" not in text
    assert "| 20.0      | 40.0   | 2.00× |" in frames.changes(old, Run([], [video(25)]))


def test_only_data_of_frames_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "kernels.json"
    other.write_text('{"rows": []}')
    assert command.main(["frames", "--compare", str(other)]) == 2
    assert "benchmarks frames" in capsys.readouterr().err


def test_a_contest_s_table_begins_with_the_fastest() -> None:
    times = {"Matter": 0.021, "backend alone": 0.020, "ONNX Runtime": 0.030}
    run = Contest("network", "AIM", "x", 1, {n: statistics_of([t]) for n, t in times.items()})
    ranked = [line.split("|")[1].strip() for line in frames.table_of(run).splitlines()[2:]]
    assert ranked == ["backend alone", "Matter", "ONNX Runtime"]


@pytest.mark.parametrize("asked", [["network"], ["frame", "stream", "file"]])
def test_only_what_is_asked_is_measured(
    asked: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(frames.engines, "build", lambda *_: None)
    monkeypatch.setattr(frames, "verified", lambda _: [])
    for name in ("network", "frame", "stream"):
        made = dataclasses.replace(contest(0.02), question=name)
        monkeypatch.setattr(frames, f"{name}_contest", lambda *_, made=made, **__: made)
    monkeypatch.setattr(frames, "file_run", lambda *_: video(50))
    given = ["frames", "--networks", "AIM", "--threads", "1", "--questions", ",".join(asked)]
    assert command.main([*given, "--output", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("*-frames.json")
    found = json.loads(path.read_text())
    assert [one["question"] for one in found["contests"]] == [o for o in asked if o != "file"]
    assert len(found["videos"]) == (2 if "file" in asked else 0)
    (page,) = tmp_path.glob("*.md")
    assert ("### Files" in page.read_text()) == ("file" in asked)
    assert str(page) in capsys.readouterr().out
