"""Several streams on one engine: fair turns, right alphas, batches, and an orderly end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from matter_sdk.sdk import ClosedError, FrameError, Matter, MatterPool

Frame = NDArray[np.uint8]
OPTIONS: dict[str, Any] = {"backend": "onnxruntime", "threads": 1, "guided": False}


def frames(seed: int, count: int) -> list[Frame]:
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 256, (count, 32, 64, 3), np.uint8))


def read(stream: Any, into: list[Any]) -> threading.Thread:
    thread = threading.Thread(target=lambda: into.extend(stream))
    thread.start()
    return thread


@pytest.mark.parametrize(("batch", "lanes"), [(1, 1), (3, 1), (1, 2), (3, 2)])
def test_every_stream_gets_its_own_alphas(tiny: Any, batch: int, lanes: int) -> None:
    sources = [frames(seed, 12) for seed in range(4)]
    with MatterPool(tiny.build(batch=batch), temporal=False, lanes=lanes, **OPTIONS) as pool:
        found: list[list[Any]] = [[] for _ in sources]
        streams = [pool.stream(source) for source in sources]
        for thread in [read(s, into) for s, into in zip(streams, found, strict=True)]:
            thread.join(30)
        for source, mattes, stream in zip(sources, found, streams, strict=True):
            assert stream.stats().frames == len(mattes) == len(source)
            for frame, matte in zip(source, mattes, strict=True):
                assert matte.frame is frame
                np.testing.assert_allclose(matte.alpha, tiny.alpha(frame), atol=1e-6)


def test_those_that_wait_are_served_in_turn(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that always has a frame ready gets no more turns than one as quick to wait."""
    matter = Matter(tiny.build(), **OPTIONS)
    served: list[int] = []
    ready = threading.Semaphore(0)
    real = matter.infer_batch

    def infer_batch(prepared: Any) -> Any:
        ready.acquire()  # until then the streams queue up
        served.extend(round(float(one.mean())) for one in prepared)
        return real(prepared)

    monkeypatch.setattr(matter, "infer_batch", infer_batch)
    with MatterPool(matter) as pool:
        tensors = [np.full((1, 3, *matter.size), float(number), np.float32) for number in range(3)]
        work = [
            threading.Thread(target=lambda t=tensor: [pool.infer(t) for _ in range(5)])
            for tensor in tensors
        ]
        for thread in work:
            thread.start()
        while len(pool._waiting) < 2:  # one is being served
            threading.Event().wait(0.01)
        for _ in range(15):
            ready.release()
            threading.Event().wait(0.03)  # the one that was served asks again
        for thread in work:
            thread.join(10)
    matter.close()
    for at in range(0, 15, 3):
        assert sorted(served[at : at + 3]) == [0, 1, 2]


def test_as_many_run_side_by_side_as_there_are_lanes(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    matter = Matter(tiny.build(), lanes=2, **OPTIONS)
    together = threading.Barrier(2)  # a single server would wait here in vain
    real = matter.infer_batch

    def infer_batch(prepared: Any) -> Any:
        together.wait(10)
        return real(prepared)

    monkeypatch.setattr(matter, "infer_batch", infer_batch)
    tensor = np.zeros((1, 3, *matter.size), np.float32)
    with matter, MatterPool(matter) as pool:
        found: list[Any] = []
        work = [threading.Thread(target=lambda: found.append(pool.infer(tensor))) for _ in range(2)]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join(20)
        assert len(found) == 2


@pytest.mark.parametrize(
    ("cores", "options", "lanes"),
    [
        (1, {}, 1),
        (4, {}, 2),
        (4, {"threads": 1}, 1),
        (4, {"threads": 2}, 2),
        (4, {"lanes": 1}, 1),
        (4, {"lanes": 3}, 3),
    ],
)
def test_two_run_side_by_side_where_there_are_threads(
    tiny: Any,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    options: dict[str, Any],
    lanes: int,
) -> None:
    monkeypatch.setattr("matter_sdk.sdk.pool.usable_cores", lambda: cores)
    with MatterPool(tiny.build(), backend="onnxruntime", **options) as pool:
        assert pool.matter.lanes == lanes


def test_an_error_reaches_the_stream_that_caused_it(tiny: Any) -> None:
    good = frames(0, 6)

    def bad() -> Iterator[Any]:
        yield good[0]
        yield good[1].astype(np.float32)

    with MatterPool(tiny.build(), **OPTIONS) as pool:
        found: list[Any] = []
        thread = read(pool.stream(good), found)
        with pytest.raises(FrameError, match="float32"):
            list(pool.stream(bad()))
        thread.join(10)
        assert len(found) == len(good)


def test_closing_ends_the_streams_and_what_the_pool_opened(tiny: Any) -> None:
    def endless() -> Iterator[Frame]:
        while True:
            yield from frames(0, 1)

    pool = MatterPool(tiny.build(), **OPTIONS)
    stream = pool.stream(endless())
    next(stream)
    pool.close()
    with pytest.raises(ClosedError):
        for _ in stream:
            pass
    for use in (lambda: pool.stream([]), lambda: pool.infer(None), lambda: pool.matter(None)):
        with pytest.raises(ClosedError):
            use()
    pool.close()

    with Matter(tiny.build(), **OPTIONS) as matter:
        MatterPool(matter).close()
        matter(frames(0, 1)[0])  # is still open
