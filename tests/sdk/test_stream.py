"""A stream of frames: order, live sources, errors at either end, threads that stop."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from matter_sdk.sdk import stream as sdk_stream
from matter_sdk.sdk.errors import ClosedError, FrameError, VideoError
from matter_sdk.sdk.stream import fail_safe, stream
from matter_sdk.sdk.streaming.prefetch import Prefetcher
from tests.sdk.clips import FakeMatter, number_of, numbered, tones, write_clip


def no_threads_left() -> bool:
    for _ in range(100):
        if not any(thread.name == "matter-prefetch" for thread in threading.enumerate()):
            return True
        time.sleep(0.02)
    return False


# Prefetcher


def test_prefetcher_keeps_order_and_its_bound() -> None:
    made = []

    def source() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            yield number

    got = []
    with Prefetcher(source(), depth=3) as ahead:
        for number in ahead:
            got.append(number)
            assert len(made) <= number + 1 + 3 + 1  # taken, queued, and one in the thread's hand
    assert got == list(range(50))
    assert no_threads_left()


def test_prefetcher_raises_after_the_items_before_the_error() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("third")

    ahead = Prefetcher(source())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(ValueError, match="third"):
        next(ahead)
    assert list(ahead) == []


def test_prefetcher_closes_its_source() -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    ahead = Prefetcher(source())
    next(ahead)
    ahead.close()
    assert closed.wait(5)
    assert list(ahead) == []
    assert no_threads_left()


def test_prefetcher_newest_drops_what_is_old_but_not_the_last() -> None:
    done = threading.Event()

    def source() -> Iterator[int]:
        yield from range(10)
        done.set()

    ahead = Prefetcher(source(), depth=1, newest=True)
    assert done.wait(5)
    assert list(ahead) == [9]
    assert ahead.dropped == 9


def test_prefetcher_times_out() -> None:
    go = threading.Event()

    def source() -> Iterator[int]:
        go.wait(5)
        yield 1

    ahead = Prefetcher(source())
    with pytest.raises(TimeoutError):
        ahead.get(timeout=0.01)
    go.set()
    assert ahead.get(timeout=5) == 1


# stream


def test_mattes_come_in_order_with_their_own_frames() -> None:
    matter = FakeMatter()
    frames = tones(20)
    mattes = list(stream(matter, iter(frames)))
    assert [number_of(matte.frame) for matte in mattes] == list(range(20))
    assert all(matte.frame is frame for matte, frame in zip(mattes, frames, strict=True))
    assert matter.mismatches == 0
    assert no_threads_left()


def test_a_batch_and_a_file_are_sources(tmp_path: Path) -> None:
    assert len(list(stream(FakeMatter(), np.stack(tones(3))))) == 3
    path = write_clip(tmp_path / "clip.mp4", tones(5))
    for source in (path, str(path)):
        mattes = list(stream(FakeMatter(), source))
        assert [number_of(matte.frame) for matte in mattes] == list(range(5))


def test_live_takes_the_newest_frame() -> None:
    matter = FakeMatter()
    shown, done = threading.Event(), threading.Event()

    def camera() -> Iterator[np.ndarray]:
        yield numbered(0)
        shown.wait(5)
        for number in range(1, 101):
            yield numbered(number)
            time.sleep(0.001)
        done.set()

    with stream(matter, camera(), live=True) as mattes:
        first = next(mattes)
        shown.set()
        assert done.wait(20)
        rest = [number_of(matte.frame) for matte in mattes]
        assert number_of(first.frame) == 0
        assert rest[-1] == 100
        assert rest == sorted(rest)
        assert len(rest) <= 4  # what was under way when the reader slept, then the newest
        assert mattes.dropped == 101 - len(matter.seen)
        assert mattes.latency < 5
    assert matter.mismatches == 0


def test_live_plays_a_file_at_its_own_speed(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", tones(10))
    begin = time.monotonic()
    numbers = [number_of(matte.frame) for matte in stream(FakeMatter(), path, live=True)]
    assert time.monotonic() - begin >= 9 / 30
    assert numbers == sorted(numbers)
    assert numbers[-1] == 9


def test_an_error_of_the_source_comes_after_its_good_frames() -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from tones(3)
        raise VideoError("the cable")

    mattes = stream(FakeMatter(), broken())
    assert [number_of(next(mattes).frame) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(VideoError, match="the cable"):
        next(mattes)
    assert no_threads_left()


def test_an_error_of_the_network_stops_the_source() -> None:
    closed = threading.Event()

    def endless() -> Iterator[np.ndarray]:
        try:
            number = 0
            while True:
                yield numbered(number % 200)
                number += 1
        finally:
            closed.set()

    with pytest.raises(RuntimeError, match="broke at frame 4"):
        list(stream(FakeMatter(fail_at=4), endless()))
    assert closed.wait(5)
    assert no_threads_left()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_no_matte(value: float, caplog: pytest.LogCaptureFixture) -> None:
    """Such frames come out black with alpha 0, and the log says it once."""
    streamed = stream(FakeMatter(alpha=value), tones(3))
    for matte in streamed:
        assert not matte.alpha.any()
        assert not matte.frame.any()
        assert is_background(matte.over(GREEN))
    assert streamed.stats().withheld == 3
    assert caplog.text.count("NaN or infinity") == 1


@pytest.mark.parametrize("lookahead", [0, 2])
def test_nothing_lingers_in_a_frame_without_a_matte(lookahead: int) -> None:
    """The filter over time keeps what stands still, but not beyond a frame that has no matte."""

    class Once(FakeMatter):
        quality = replace(FakeMatter.quality, reuse=0)

        def infer(self, tensor: np.ndarray) -> np.ndarray:
            alpha = super().infer(tensor)
            return np.full_like(alpha, np.inf) if len(self.seen) == 3 else alpha

    frames = [numbered(7)] * 6
    mattes = list(stream(Once(), frames, temporal=True, lookahead=lookahead))
    assert [bool(matte.alpha.any()) for matte in mattes] == [True, True, False, True, True, True]


def test_leaving_early_stops_the_threads() -> None:
    def endless() -> Iterator[np.ndarray]:
        while True:
            yield numbered(7)

    with stream(FakeMatter(), endless()) as mattes:
        next(mattes)
    assert list(mattes) == []
    assert no_threads_left()


def test_a_loop_that_is_left_lets_its_source_go() -> None:
    closed = threading.Event()

    def endless() -> Iterator[np.ndarray]:
        try:
            while True:
                yield numbered(7)
        finally:
            closed.set()

    for _ in stream(FakeMatter(), endless()):
        break
    assert closed.wait(5)
    assert no_threads_left()


def test_a_source_that_hangs_times_out() -> None:
    go = threading.Event()

    def hanging() -> Iterator[np.ndarray]:
        yield numbered(1)
        go.wait(10)

    mattes = stream(FakeMatter(), hanging(), timeout=0.05)
    next(mattes)
    with pytest.raises(VideoError, match=r"0\.05 s"):
        next(mattes)
    go.set()
    assert no_threads_left()


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nowhere.mp4", VideoError, r"nowhere\.mp4"),
        (numbered(1), FrameError, r"\(48, 64, 3\)"),
        (None, VideoError, "NoneType"),
        (True, VideoError, "True"),
        ("http://127.0.0.1:9/x", VideoError, "127.0.0.1:9"),
    ],
)
def test_sources_that_cannot_be(source: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        stream(FakeMatter(), source)


class FakeCamera:
    """cv2.VideoCapture with ``count`` frames."""

    released = 0

    def __init__(self, index: int, count: int = 3) -> None:
        self.index, self.left = index, count

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self.index == 0

    def set(self, *_: object) -> bool:
        return False

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (True, numbered(self.left)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        FakeCamera.released += 1


def test_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    monkeypatch.setattr(FakeCamera, "released", 0)
    mattes = stream(FakeMatter(), 0)
    assert [number_of(next(mattes).frame) for _ in range(3)] == [2, 1, 0]
    with pytest.raises(VideoError, match="camera 0"):
        next(mattes)
    assert FakeCamera.released == 1
    with pytest.raises(VideoError, match="camera 7"):
        stream(FakeMatter(), 7)


# fail_safe


GREEN = (0, 255, 0)


def composite(matte: Any) -> np.ndarray:
    return matte.over(GREEN)


def alone(blank: np.ndarray) -> np.ndarray:
    assert not blank.any()  # nothing of the room goes in, so nothing can come out
    picture = blank.copy()
    picture[:] = GREEN
    return picture


def is_background(picture: np.ndarray) -> bool:
    return bool((picture == GREEN).all())


def room_is_hidden(picture: np.ndarray) -> bool:
    """FakeMatter keeps the upper half; the lower half of every frame is room."""
    return bool((picture[picture.shape[0] // 2 :] == GREEN).all())


class Moody:
    """A source that does something else each time it is opened."""

    def __init__(self, *turns: Any) -> None:
        self.turns = list(turns)

    def __iter__(self) -> Iterator[np.ndarray]:
        turn = self.turns.pop(0)
        for number in range(3):
            yield numbered(number)
            time.sleep(0.02)
        if isinstance(turn, Exception):
            raise turn
        if turn is not None:
            yield turn
            time.sleep(0.02)


@pytest.mark.parametrize(
    "failure",
    [
        VideoError("camera 0 stopped giving frames"),
        OSError("the driver"),
        np.zeros((5, 5), np.float32),  # no frame
    ],
)
def test_fail_safe_shows_the_background_alone_and_tries_again(
    failure: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Strict(FakeMatter):
        def prepare(self, frame: np.ndarray) -> np.ndarray:
            if frame.dtype != np.uint8:
                raise FrameError(f"frame is {frame.dtype}, expected uint8")
            return super().prepare(frame)

    source = Moody(failure, None)
    shown = [picture for picture, _ in fail_safe(Strict(), source, composite, alone, retry=0.01)]
    kinds = "".join("b" if is_background(picture) else "m" for picture in shown)
    assert kinds.strip("m").strip("b") == ""  # mattes, the background alone, mattes again
    assert kinds[0] == kinds[-1] == "m"
    assert "b" in kinds
    assert all(room_is_hidden(picture) for picture in shown)
    assert "showing the background only" in caplog.text
    assert not source.turns
    assert no_threads_left()


@pytest.mark.parametrize(
    "matter", [FakeMatter(alpha=float("nan")), FakeMatter(fail_at=0)], ids=["NaN", "raises"]
)
def test_fail_safe_never_shows_a_frame_that_has_no_matte(matter: FakeMatter) -> None:
    pictures = fail_safe(matter, Moody(None, None, None, None), composite, alone, retry=0.01)
    shown = [next(pictures)[0] for _ in range(3)]
    pictures.close()
    assert all(is_background(picture) for picture in shown)
    assert no_threads_left()


def test_fail_safe_when_drawing_fails() -> None:
    def broken(matte: Any) -> np.ndarray:
        raise RuntimeError("the background's file is gone")

    pictures = fail_safe(FakeMatter(), Moody(None, None), broken, alone, retry=0.01)
    assert is_background(next(pictures)[0])
    pictures.close()


def test_fail_safe_waits_for_a_camera_that_hangs() -> None:
    """It is opened once, the background goes on at full rate, and it may come to itself again."""
    go = threading.Event()
    opened = []

    class Hanging:
        def __iter__(self) -> Iterator[np.ndarray]:
            opened.append(1)
            yield numbered(1)
            go.wait(10)
            yield numbered(2)

    pictures = fail_safe(FakeMatter(), Hanging(), composite, alone, timeout=0.1, retry=0.01)
    times, shown = [], []
    begin = time.monotonic()
    while time.monotonic() < begin + 1:
        shown.append(next(pictures)[0])
        times.append(time.monotonic())
    assert max(np.diff(times)) < 0.4
    assert len(opened) == 1
    assert sum(thread.name == "matter-prefetch" for thread in threading.enumerate()) <= 3
    kinds = "".join("b" if is_background(picture) else "m" for picture in shown).lstrip("b")
    assert kinds == "m" + "b" * (len(kinds) - 1)  # not the last composite: as if all were well
    assert len(kinds) > 10
    go.set()
    rest = [picture for picture, _ in pictures]
    assert not is_background(rest[-1])
    assert all(room_is_hidden(picture) for picture in (*shown, *rest))
    assert no_threads_left()


def test_fail_safe_goes_on_while_a_source_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that says nothing takes ten seconds to say no, and is asked once at a time."""
    asked: list[float] = []
    ended = threading.Event()

    def silent(source: Any, **_: Any) -> Any:
        asked.append(time.monotonic())
        ended.wait(10)
        raise VideoError("nobody answers")

    monkeypatch.setattr(sdk_stream, "open_source", silent)
    monkeypatch.setattr(sdk_stream, "_FIRST", 0.05)
    pictures = fail_safe(FakeMatter(), "rtsp://door", composite, alone, timeout=0.1, retry=0.01)
    begin, count = time.monotonic(), 0
    while count < 10:
        assert is_background(next(pictures)[0])
        count += 1
    assert time.monotonic() < begin + 8  # the source opens for 10 s
    assert len(asked) == 1
    ended.set()
    while len(asked) < 2:
        next(pictures)
    pictures.close()
    assert no_threads_left()


def test_a_stream_of_before_a_fork_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with stream(FakeMatter(), tones(3)) as mattes:
        next(mattes)
        monkeypatch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(ClosedError, match="fork"):
            next(mattes)
