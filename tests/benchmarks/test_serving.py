"""The load of the web service, beside a stand-in that refuses every third request."""

from __future__ import annotations

import http.server
import itertools
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import serving


@pytest.fixture
def address() -> Iterator[str]:
    count = itertools.count(1)

    class Service(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            full = next(count) % 3 == 0
            self.send_response(429 if full else 200)
            if full:
                self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_both_loads_count_what_came_back(address: str) -> None:
    calm = serving.steady(address, os.getpid(), [b"a", b"b"], 30)
    assert (calm.requests, calm.failed) == (30, 10)
    assert min(calm.memory) > 1 and len(calm.memory) == 31
    assert 0 < calm.p50 <= calm.p99 and calm.capacity > 0
    busy = serving.overload(address, [b"a"], 60.0, 1.0, 18)
    assert (busy.accepted, busy.refused, busy.failed) == (40, 20, 0)
    assert busy.p50 <= busy.p99 <= busy.most
    assert busy.bound == pytest.approx(18 * busy.seconds / 40)
    shown = serving.markdown(calm, busy, 18)
    assert "| 40 " in shown and "| 20 " in shown


def test_pictures_are_jpeg() -> None:
    found = serving.pictures(48, 128)
    assert len(set(found)) == 8
    assert all(one.startswith(b"\xff\xd8") for one in found)
