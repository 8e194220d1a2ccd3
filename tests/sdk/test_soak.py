"""Long runs: resident memory and open files stay where they were."""

from __future__ import annotations

import gc
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from benchmarks.hardware import resident
from matter_sdk.sdk import Matter
from matter_sdk.sdk.video import matte_video
from tests.sdk.clips import numbered, write_clip

FRAMES = 20_000
JOBS = 200
HEIGHT, WIDTH = 96, 160
MOST = 16.0  # MB

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory and files are read from /proc"),
]


class Sample(NamedTuple):
    done: int
    memory: float  # MB
    files: int


def sample(done: int) -> Sample:
    gc.collect()
    return Sample(done, resident(), len(list(Path("/proc/self/fd").iterdir())))


def assert_flat(samples: list[Sample]) -> None:
    """The second half beside the first; the lowest of each, since allocators keep what is free."""
    print(*samples, sep="\n")
    early, late = samples[: len(samples) // 2], samples[len(samples) // 2 :]
    assert min(s.files for s in late) <= min(s.files for s in early)
    assert min(s.memory for s in late) - min(s.memory for s in early) < MOST


def pictures(count: int) -> list[np.ndarray]:
    return [numbered(number, HEIGHT, WIDTH) for number in range(count)]


@pytest.fixture
def matter(engine_path: Path) -> Iterator[Matter]:
    with Matter(engine_path, threads=1) as opened:
        yield opened


def every(step: int, samples: list[Sample]) -> Callable[[int, int | None], None]:
    def progress(done: int, _expected: int | None) -> None:
        if done % step == 0:
            samples.append(sample(done))

    return progress


def test_a_long_stream(matter: Matter) -> None:
    samples: list[Sample] = []
    note = every(FRAMES // 10, samples)
    frames = itertools.islice(itertools.cycle(pictures(25)), FRAMES)
    with matter.stream(frames) as mattes:
        for done, matte in enumerate(mattes, 1):
            matte.over("green")
            note(done, None)
    assert len(samples) == 10
    assert_flat(samples)


def test_a_long_file(matter: Matter, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", pictures(25) * (FRAMES // 25), audio="aac")
    samples: list[Sample] = []
    report = matte_video(
        matter, source, tmp_path / "out.mp4", progress=every(FRAMES // 10, samples)
    )
    assert report.frames == FRAMES
    assert len(samples) == 10
    assert_flat(samples)


def test_many_files(matter: Matter, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", pictures(10), audio="aac")
    samples: list[Sample] = []
    for done in range(1, JOBS + 1):
        matte_video(matter, source, tmp_path / "out.mp4", background=str(source))
        if done % (JOBS // 10) == 0:
            samples.append(sample(done))
    assert_flat(samples)


def test_many_openings(engine_path: Path) -> None:
    (frame,) = pictures(1)
    samples: list[Sample] = []
    for done in range(1, JOBS + 1):
        with Matter(engine_path, threads=1) as opened:
            opened(frame)
        if done % (JOBS // 10) == 0:
            samples.append(sample(done))
    assert_flat(samples)
