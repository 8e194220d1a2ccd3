"""Ctrl-C at any instant: no lane is lost, no request stays busy, everything closes."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matter_sdk.sdk import Matter, MatterPool
from matter_sdk.sdk.shielded import shielded
from matter_sdk.sdk.streaming.prefetch import Prefetcher
from tests.sdk.test_stream import no_threads_left

INTERRUPTS = int(os.environ.get("MATTER_INTERRUPTS", "200"))  # of each kind
needs_alarm = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timer")


class Alarm:
    """Interrupts the main thread once within a time, at random."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.armed = False

    def __call__(self, *_: Any) -> None:
        if self.armed:
            raise KeyboardInterrupt

    def interrupts(self, work: Any, span: float) -> bool:
        """Whether ``work`` was interrupted; it is done, and what it raises is raised."""
        try:
            self.armed = True
            signal.setitimer(signal.ITIMER_REAL, 1e-6 + self.random.random() * span)
            work()
            self.armed = False
        except KeyboardInterrupt:
            self.armed = False
            return True
        finally:
            self.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        return False


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    made = Alarm(3)
    before = signal.signal(signal.SIGALRM, made)
    yield made
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def span_of(work: Any) -> float:
    begin = time.perf_counter()
    for _ in range(20):
        work()
    return 1.2 * (time.perf_counter() - begin) / 20


def interrupted(alarm: Alarm, work: Any, check: Any = lambda: None) -> None:
    """Interrupt ``work`` until that has hit INTERRUPTS times."""
    hits, span, end = 0, span_of(work), time.monotonic() + 60
    while hits < INTERRUPTS:
        assert time.monotonic() < end
        hits += alarm.interrupts(work, span)
        check()


@needs_alarm
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("lanes", [1, 2])
def test_a_call_that_is_interrupted_loses_no_lane(
    engine_path: Path, alarm: Alarm, backend: str, lanes: int
) -> None:
    pytest.importorskip(backend)
    frame = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
    with Matter(engine_path, backend=backend, threads=1, lanes=lanes) as matter:
        alpha = matter(frame).alpha.copy()
        (loaded,) = matter._network._loaded.values()

        def all_free() -> None:
            assert loaded._free.qsize() == lanes

        interrupted(alarm, lambda: matter(frame), all_free)
        np.testing.assert_array_equal(matter(frame).alpha, alpha)
    assert loaded._free.qsize() == lanes


@needs_alarm
def test_a_stream_that_is_interrupted_closes(engine_path: Path, alarm: Alarm) -> None:
    frames = [np.full((32, 64, 3), value, np.uint8) for value in range(4)]
    with Matter(engine_path, backend="onnxruntime", threads=1) as matter:

        def read() -> None:
            with matter.stream(frames) as mattes:
                for _ in mattes:
                    pass

        interrupted(alarm, read)
        assert len(list(matter.stream(frames))) == 4
    assert no_threads_left()


@needs_alarm
def test_a_pool_that_is_interrupted_closes(engine_path: Path, alarm: Alarm) -> None:
    frame = np.zeros((32, 64, 3), np.uint8)
    with MatterPool(engine_path, backend="onnxruntime", threads=1) as pool:
        prepared = pool.matter.prepare(frame)
        interrupted(alarm, lambda: pool.infer(prepared))
        assert pool.infer(prepared).shape


@needs_alarm
def test_an_interrupted_reader_loses_no_item(alarm: Alarm) -> None:
    got: list[int] = []
    with Prefetcher(iter(range(1_000_000)), depth=4) as ahead:
        span = span_of(lambda: got.append(ahead.get()))
        hits, end = 0, time.monotonic() + 60
        while hits < INTERRUPTS:
            assert time.monotonic() < end
            item: list[int] = []
            hits += alarm.interrupts(lambda item=item: item.append(ahead.get()), span)
            got += item
    assert got == list(range(len(got)))
    assert got


def test_what_work_raises_is_raised_here() -> None:
    assert shielded(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        shielded(lambda: 1 / 0)
    assert shielded(threading.get_ident) != threading.get_ident()
    answers: list[bool] = []
    other = threading.Thread(
        target=lambda: answers.append(shielded(threading.get_ident) == threading.get_ident())
    )
    other.start()
    other.join()
    assert answers == [True]  # nobody interrupts another thread


@needs_alarm
def test_who_waits_for_what_hangs_can_leave(alarm: Alarm) -> None:
    """The first interrupt waits for the work, the second does not; the next work runs."""
    go = threading.Event()
    alarm.armed = True
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.1)
    with pytest.raises(KeyboardInterrupt):
        shielded(lambda: go.wait(20))
    alarm.armed = False
    assert shielded(lambda: 4) == 4
    go.set()
