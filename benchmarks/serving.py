"""The web service under load on loopback: its memory over many requests, its latency when it is
asked for twice what it can.

``matter serve`` runs in a process of its own. First as many clients as it has workers, and two
more, ask one picture after another: that gives its capacity, and its memory is read along the way.
Then requests come at twice that rate, whether the earlier ones are answered or not.
"""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from benchmarks import hardware, inputs, page

CLIENTS = 4
SENDERS = 64
"""Connections at twice the capacity: more than can be waiting, so that none comes late."""
SAMPLES = 40


class Reply(NamedTuple):
    """A status, and seconds from when the request was due until the answer was there."""

    status: int
    seconds: float
    retry: bool
    turn: int


@dataclass(frozen=True)
class Steady:
    """One request after another. Megabytes of memory: ``memory`` at even distances of requests."""

    requests: int
    seconds: float
    failed: int
    p50: float
    p99: float
    memory: list[float]
    capacity: float
    """Requests a second, of the last tenth of them."""


@dataclass(frozen=True)
class Overload:
    """Requests at a rate. Seconds; ``refused`` without ``Retry-After`` are counted as failed."""

    offered: float
    seconds: float
    accepted: int
    refused: int
    failed: int
    p50: float
    p99: float
    p99_early: float
    """Of what was due in the first half of the time."""
    p99_late: float
    most: float
    refused_p99: float
    bound: float


@contextlib.contextmanager
def served(words: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Run ``matter serve`` with these words; yield its address, host:port, and its process, once
    it is ready. Ctrl-C does not reach it."""
    command = [sys.executable, "-m", "matter_sdk", "serve", "--port", "0", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            if process.stdout is None or not (line := process.stdout.readline()):
                raise ValueError("the service did not start; its error is above")
            address = urllib.parse.urlsplit(line.strip()).netloc
            while _ask(http.client.HTTPConnection(address), "GET", "/health", b"")[0] != 200:
                time.sleep(0.2)
            yield address, process.pid
        finally:
            process.terminate()
            if process.wait(60):
                raise ValueError(f"the service ended with {process.returncode}")


def steady(address: str, process: int, pictures: Sequence[bytes], requests: int) -> Steady:
    """Have ``CLIENTS`` ask one picture after another; Ctrl-C ends it with those that were asked."""
    turns = iter(range(requests))
    lock = threading.Lock()
    replies: list[Reply] = []
    memory: list[float] = []
    stop = threading.Event()

    def client() -> None:
        connection = http.client.HTTPConnection(address)
        while True:
            with lock:
                turn = None if stop.is_set() else next(turns, None)
                if turn is None:
                    return
                if turn % max(1, requests // SAMPLES) == 0:
                    memory.append(hardware.resident(process))
            begin = time.perf_counter()
            status, retry = _ask(connection, "POST", "/matte", pictures[turn % len(pictures)])
            done.append(time.perf_counter())
            replies.append(Reply(status, done[-1] - begin, retry, turn))

    done: list[float] = []
    begin = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    try:
        _together(threads)
    except KeyboardInterrupt:
        stop.set()
        for thread in threads:
            thread.join()
    took = time.perf_counter() - begin
    memory.append(hardware.resident(process))
    good = [reply.seconds for reply in replies if reply.status == 200]
    p50, p99 = np.percentile(good, (50, 99))
    tenth = max(2, len(done) // 10)
    return Steady(
        len(replies),
        took,
        len(replies) - len(good),
        float(p50),
        float(p99),
        memory,
        (tenth - 1) / (done[-1] - done[-tenth]),
    )


def overload(
    address: str, pictures: Sequence[bytes], rate: float, seconds: float, places: int
) -> Overload:
    """Ask at ``rate`` a second, each request at its time; ``places`` are the queue's and the
    workers'."""
    count = int(rate * seconds)
    turns = iter(range(count))
    lock = threading.Lock()
    replies: list[Reply] = []
    begin = time.perf_counter() + 0.5

    def client() -> None:
        while True:
            with lock:
                turn = next(turns, None)
            if turn is None:
                return
            due = begin + turn / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            with contextlib.closing(http.client.HTTPConnection(address)) as connection:
                status, retry = _ask(connection, "POST", "/matte", pictures[turn % len(pictures)])
            replies.append(Reply(status, time.perf_counter() - due, retry, turn))

    _together([threading.Thread(target=client) for _ in range(SENDERS)])
    took = time.perf_counter() - begin
    good = [reply.seconds for reply in replies if reply.status == 200]
    early = [one.seconds for one in replies if one.status == 200 and one.turn < count / 2]
    late = [one.seconds for one in replies if one.status == 200 and one.turn >= count / 2]
    away = [reply.seconds for reply in replies if reply.status == 429 and reply.retry]
    p50, p99 = np.percentile(good, (50, 99))
    return Overload(
        count / seconds,
        took,
        len(good),
        len(away),
        count - len(good) - len(away),
        float(p50),
        float(p99),
        float(np.percentile(early, 99)),
        float(np.percentile(late, 99)),
        max(good),
        float(np.percentile(away, 99)) if away else 0.0,
        places * took / len(good),
    )


def _ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes
) -> tuple[int, bool]:
    """Status, and whether the answer says when to try again."""
    connection.request(method, path, body, {"Content-Type": "image/jpeg"})
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.headers["Retry-After"] is not None


def _together(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def pictures(height: int, width: int) -> list[bytes]:
    """Eight JPEG files of a scene with a subject that moves."""
    scene = inputs.subject(height, width)
    moved = (np.roll(scene, 16 * shift, axis=1) for shift in range(8))
    return [cv2.imencode(".jpg", picture)[1].tobytes() for picture in moved]


def markdown(calm: Steady, busy: Overload, places: int) -> str:
    """Write both tables, and what their columns are."""
    tenths = [calm.memory[round(at / 10 * (len(calm.memory) - 1))] for at in range(11)]
    memory = page.table(
        ["requests", *(f"{at / 10 * calm.requests:,.0f}" for at in range(11))],
        [["MB", *(f"{size:.0f}" for size in tenths)]],
    )
    rows = page.table(
        ("", "offered/s", "answered", "refused", "failed", "answered/s")
        + ("ms p50", "p99", "p99 early", "late", "most", "bound", "refusal p99"),
        [
            (
                f"{CLIENTS} clients in turn",
                *("", f"{calm.requests - calm.failed:,}", "0", str(calm.failed)),
                f"{calm.requests / calm.seconds:.1f}",
                *(f"{1e3 * value:.0f}" for value in (calm.p50, calm.p99)),
                *("", "", "", "", ""),
            ),
            (
                "twice the capacity",
                f"{busy.offered:.1f}",
                *(f"{value:,}" for value in (busy.accepted, busy.refused, busy.failed)),
                f"{busy.accepted / busy.seconds:.1f}",
                *(
                    f"{1e3 * value:.0f}"
                    for value in (
                        *(busy.p50, busy.p99, busy.p99_early, busy.p99_late),
                        *(busy.most, busy.bound, busy.refused_p99),
                    )
                ),
            ),
        ],
    )
    return (
        "Cut-outs as PNG; clients and service share the machine. Milliseconds from when a request "
        "was due until its answer was there. The capacity is that of the last tenth of the "
        f"requests in turn, {calm.capacity:.1f} a second. *Refused* got 429 with Retry-After. "
        f"*Early* and *late* are the halves of the time. *Bound*: the {places} places of the queue "
        "and the workers, divided by the rate of answers.\n\n"
        f"{rows}\n\nMemory of the service's process after so many requests:\n\n{memory}"
    )


def report(
    words: Sequence[str],
    requests: int,
    size: tuple[int, int],
    queue: int,
    seconds: float,
    output: Path,
    given: Sequence[str],
) -> list[Path]:
    """Run both loads on ``matter serve`` with these words; write the page.

    Returns:
        The files.
    """
    facts = hardware.begin(given)
    sent = pictures(*size)
    with served(words) as (address, process):
        calm = steady(address, process, sent, requests)
        places = queue + 2  # one lane, one more worker
        busy = overload(address, sent, 2 * calm.capacity, seconds, places)
    height, width = size
    text = f"Pictures of {width}×{height}. {markdown(calm, busy, places)}"
    data = {"steady": asdict(calm), "overload": asdict(busy)}
    return page.write(output, "service", facts, text, data)
