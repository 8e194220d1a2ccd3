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
from matter_sdk.kernels import InputSpec, alpha_blend, collaborative_fusion, preprocess

from benchmarks import __main__ as command
from benchmarks import pipeline
from benchmarks.pipeline import Contest, Video
from benchmarks.subjects import ByHand
from benchmarks.timing import statistics_of
from tests.sdk.checks import smooth_frame

SPEC = InputSpec("rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def test_by_hand_is_what_the_kernels_do() -> None:
    shown: Any = SimpleNamespace(network=SimpleNamespace(input_spec=SPEC, fusion="tt"))
    rng = np.random.default_rng(0)
    heads = {
        "glance": rng.random((1, 3, 32, 64), np.float32),
        "focus": rng.random((1, 1, 32, 64), np.float32),
    }
    frame, behind = smooth_frame((96, 160)), smooth_frame((96, 160), 1)
    seen = []
    hand = ByHand(shown, lambda image: seen.append(image) or heads, (32, 64))
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
    assert "Nothing of the 2 that both runs hold" in pipeline.changes(
        old, [contest(0.021)], [video(49)]
    )
    text = pipeline.changes(old, [contest(0.010)], [video(49)])
    assert "| 20.0      | 10.0   | 0.50× |" in text
    assert "file" not in text
    assert "| 20.0      | 40.0   | 2.00× |" in pipeline.changes(old, [], [video(25)])
    with pytest.raises(ValueError, match="no results of python -m benchmarks pipeline"):
        pipeline.changes({"rows": []}, [], [])


def test_a_contest_s_table_begins_with_the_fastest() -> None:
    times = {"Matter fastest": 0.021, "bare fastest (openvino)": 0.020, "ONNX Runtime": 0.030}
    run = Contest("network", "AIM", "x", 1, {n: statistics_of([t]) for n, t in times.items()})
    ranked = [line.split("|")[1].strip() for line in pipeline.table_of(run).splitlines()[2:]]
    assert ranked == ["bare fastest (openvino)", "Matter fastest", "ONNX Runtime"]


def test_what_a_network_takes_at_least() -> None:
    assert pipeline.floors({"32x64": 5}, 1e3) == {"32×64": pytest.approx(10.0)}
    assert pipeline.matrix_rate() > 1e8


@pytest.mark.parametrize("asked", ["networks", "pipeline"])
def test_networks_alone(
    asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = SimpleNamespace(verification=(), network=SimpleNamespace(macs={"288x512": 10**9}))
    monkeypatch.setattr(pipeline.subjects, "subject", lambda *_: None)
    monkeypatch.setattr(pipeline, "manifest_of", lambda _: facts)
    bare = dataclasses.replace(contest(0.02), question="network")
    monkeypatch.setattr(pipeline, "network_contest", lambda *_, **__: bare)
    for name, made in (
        ("frame_contest", contest(0.02)),
        ("stream_contest", contest(0.02)),
        ("file_run", video(50)),
    ):
        monkeypatch.setattr(pipeline, name, lambda *_, made=made, **__: made)
    given = [asked, "--networks", "AIM", "--threads", "1", "--output", str(tmp_path)]
    assert command.main(given) == 0
    (path,) = tmp_path.glob("*.json")
    found = json.loads(path.read_text())
    assert path.name.startswith(f"{asked}-")
    expected = ["network"] if asked == "networks" else ["network", "frame", "frame"]
    assert [one["question"] for one in found["contests"]] == expected
    assert len(found["videos"]) == (0 if asked == "networks" else 2)
    page = path.with_suffix(".md")
    assert ("## Files" in page.read_text()) == (asked == "pipeline")
    assert str(page) in capsys.readouterr().out
