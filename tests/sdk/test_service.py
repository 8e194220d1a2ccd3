"""The web service: right bytes, right statuses, bounded queues, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from matter_sdk.sdk import Matter, MatterPool, serve
from matter_sdk.sdk.errors import ClosedError, EngineError, NoMatteError

pytest.importorskip("fastapi")
pytest.importorskip("httpx2")
for needed in ("uvicorn", "python_multipart", "prometheus_client", "websockets"):
    pytest.importorskip(needed)

from starlette.testclient import TestClient, WebSocketDenialResponse, WebSocketDisconnect  # noqa: E402

from matter_sdk.sdk.service import addresses, answers, bodies  # noqa: E402
from matter_sdk.sdk.service.app import AHEAD, Limits, create  # noqa: E402
from matter_sdk.sdk.service.desk import Desk  # noqa: E402
from matter_sdk.sdk.service.refusals import Refused, answer_to  # noqa: E402

OPTIONS: dict[str, Any] = {"backend": "onnxruntime", "threads": 1}
PNG = {"Content-Type": "image/png"}


def until(true: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait for what another thread or process does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextlib.contextmanager
def serving(engine: Path, limits: Limits | None = None) -> Iterator[TestClient]:
    app = create(lambda: Matter(engine, **OPTIONS), limits)
    with TestClient(app, raise_server_exceptions=False) as client:
        until(lambda: client.get("/health").status_code == 200)
        yield client


@pytest.fixture(scope="module")
def client(_shared_engine: Path) -> Iterator[TestClient]:
    with serving(_shared_engine, Limits(most_bytes=20_000, most_pixels=10_000)) as opened:
        yield opened


def png(frame: Any) -> bytes:
    return bytes(cv2.imencode(".png", frame)[1])


def decoded(content: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", ["png", "webp"])
@pytest.mark.parametrize("multipart", [False, True])
def test_answers_are_what_matter_gives(
    client: TestClient, engine_path: Path, frame: Any, form: str, multipart: bool
) -> None:
    with Matter(engine_path, **OPTIONS) as matter:
        matte = matter(frame)
        expected = {
            "cutout": matte.cutout(),
            "alpha": np.rint(matte.alpha * 255).astype(np.uint8),
            "composite": matte.over("#20c040", clean=True),
        }
    given: dict[str, Any] = {"content": png(frame), "headers": PNG}
    if multipart:
        given = {"files": {"image": png(frame)}}
    for result, picture in expected.items():
        asked = {"result": result, "format": form}
        if result == "composite":
            asked["background"] = "#20c040"
        answer = client.post("/matte", params=asked, **given)
        assert (answer.status_code, answer.headers["content-type"]) == (200, f"image/{form}")
        found = decoded(answer.content)
        if found.ndim == 3 and picture.ndim == 2:  # WebP has no grey
            found = found[..., 0]
        if picture.ndim == 3 and form == "webp":  # nor colours that cannot be seen
            found, picture = (
                np.where(one[..., 3:] == 0, 0, one) if one.shape[2] == 4 else one
                for one in (found, picture)
            )
        np.testing.assert_array_equal(found, picture)


def test_the_default_is_a_png_of_the_cutout(client: TestClient, frame: Any) -> None:
    answer = client.post("/matte", content=png(frame))
    assert answer.headers["content-type"] == "image/png"
    assert decoded(answer.content).shape == (32, 64, 4)


BIG = png(np.zeros((101, 100, 3), np.uint8))
ANY = png(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    ("query", "headers", "body", "status", "kind", "named"),
    [
        ("", PNG, b"", 400, "FrameError", "no picture"),
        ("", PNG, b"neither", 415, "FrameError", "JPEG"),
        ("", PNG, ANY[:-30], 400, "FrameError", "cut short"),
        ("", PNG, BIG, 413, "FrameError", "100×101"),
        ("", PNG, bytes(20_001), 413, "BodyError", "20,000"),
        ("", {"Content-Type": "text/html"}, ANY, 415, "ContentTypeError", "text/html"),
        ("", {"Content-Type": "multipart/form-data"}, ANY, 400, "BodyError", "boundary"),
        ("", {"Content-Type": "application/json"}, b"{}", 403, "AddressError", "image/"),
        ("result=cut", PNG, ANY, 422, "ParameterError", "'cut'"),
        ("format=gif", PNG, ANY, 422, "ParameterError", "'gif'"),
        ("format=jpeg", PNG, ANY, 422, "ParameterError", "'jpeg'"),
        ("resutl=alpha", PNG, ANY, 422, "ParameterError", "'result'"),
        ("background=red", PNG, ANY, 422, "ParameterError", "'red'"),
        ("result=composite", PNG, ANY, 422, "ParameterError", "composite"),
        ("result=composite&background=gren", PNG, ANY, 422, "ParameterError", "'green'"),
        ("result=composite&background=%23zz", PNG, ANY, 422, "ParameterError", "#zz"),
        ("result=composite&background=blur:x", PNG, ANY, 422, "ParameterError", "blur:x"),
    ],
)
def test_refusals(
    client: TestClient,
    query: str,
    headers: dict[str, str],
    body: bytes,
    status: int,
    kind: str,
    named: str,
) -> None:
    answer = client.post(f"/matte?{query}", headers=headers, content=body)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (status, kind)
    assert named in answer.json()["error"]["message"]
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize(
    "files",
    [{"img": ANY}, {"image": ANY, "other": ANY}, {"image": (None, "text")}],
    ids=["name", "two", "text"],
)
def test_forms_with_another_content(client: TestClient, files: Any) -> None:
    answer = client.post("/matte", files=files)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (400, "BodyError")


def test_a_background_is_never_a_file(client: TestClient, tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(ANY)
    asked = {"result": "composite", "background": str(path)}
    answer = client.post("/matte", params=asked, content=ANY)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (422, "ParameterError")


def test_large_pictures_are_refused_undecoded(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "read_picture", lambda *_, **__: pytest.fail("decoded"))
    assert client.post("/matte", content=BIG).status_code == 413


def test_a_body_without_length_is_bounded(client: TestClient) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(30):
            yield bytes(1000)

    answer = client.post("/matte", content=endless(), headers=PNG)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (413, "BodyError")


def test_a_body_that_does_not_come(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "SECONDS", 0.0)

    async def slow(self: Any) -> Any:
        await asyncio.sleep(1)
        yield b""

    monkeypatch.setattr("starlette.requests.Request.stream", slow)
    assert client.post("/matte", content=ANY).status_code == 408


def test_other_paths_answer_in_the_same_form(client: TestClient) -> None:
    for answer, status in ((client.get("/nowhere"), 404), (client.get("/matte"), 405)):
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"kind", "message"}
    assert "/matte" in client.get("/openapi.json").json()["paths"]


def test_the_page_of_the_api_loads_nothing_from_elsewhere(client: TestClient) -> None:
    answer = client.get("/docs")
    assert answer.status_code == 200
    page = answer.text
    assert not re.findall(r"""(?:\w+:)?//[^\s"'/]+""", page)  # names no host at all
    assert re.findall(r"""(?:src|href|action)="?([^"\s>]+)""", page) == ["openapi.json"]
    kept = dict(
        rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; ")
    )
    assert kept["default-src"] == "'none'"
    assert not any("http" in sources or "*" in sources for sources in kept.values())
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        assert all(f"{method.upper()} {path}</code>" in page for method in methods)
    assert "/docs" not in client.get("/openapi.json").json()["paths"]


def test_statuses_of_errors(caplog: pytest.LogCaptureFixture) -> None:
    """What nobody expected is logged, and told to nobody."""
    assert answer_to(ClosedError("x")).status == 503
    assert answer_to(NoMatteError("x")).status == 500
    answer = answer_to(ValueError("/home/secret"))
    assert (answer.status, answer.body["error"]["kind"]) == (500, "InternalError")
    assert "secret" not in str(answer)
    assert "ValueError: /home/secret" in caplog.text


def test_a_failure_is_no_traceback(
    client: TestClient, frame: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("inner")

    monkeypatch.setattr(answers, "encode_picture", fail)
    answer = client.post("/matte", content=png(frame))
    assert (answer.status_code, answer.json()["error"]["kind"]) == (500, "InternalError")
    assert "inner" not in answer.text


# ── the queue ────────────────────────────────────────────────────────────────────────────────────


def test_a_full_queue_sends_away(
    engine_path: Path, frame: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    real = answers.written
    monkeypatch.setattr(
        "matter_sdk.sdk.service.app.written",
        lambda *given, **more: go.wait(20) and real(*given, **more),
    )
    with serving(engine_path, Limits(queue=3)) as client:
        service = client.app.state.service  # type: ignore[attr-defined]
        replies: list[Any] = []
        post = lambda: replies.append(client.post("/matte", content=png(frame)))  # noqa: E731
        threads = [threading.Thread(target=post) for _ in range(service.desk.workers + 3)]
        for thread in threads:
            thread.start()
        until(lambda: service.desk.waiting == 3)
        refused = client.post("/matte", content=png(frame))
        assert (refused.status_code, refused.json()["error"]["kind"]) == (429, "QueueFull")
        assert int(refused.headers["Retry-After"]) >= 1
        shown = client.get("/metrics").text
        assert "\nmatter_waiting 3.0\n" in shown
        assert f"\nmatter_working {service.desk.workers:.1f}\n" in shown
        go.set()
        for thread in threads:
            thread.join(20)
        assert [answer.status_code for answer in replies] == [200] * len(threads)
        shown = client.get("/metrics").text
        assert 'matter_rejected_total{kind="QueueFull"} 1.0' in shown
        assert f'matter_requests_total{{path="/matte",status="200"}} {len(threads)}.0' in shown
        assert f"matter_work_seconds_count {len(threads)}.0" in shown
        assert "process_resident_memory_bytes" in shown


def test_who_is_gone_is_not_worked_for() -> None:
    async def run() -> list[str]:
        done: list[str] = []
        go = threading.Event()
        desk = Desk(1, 2, lambda *_: None)
        left = asyncio.Event()
        stays: Any = asyncio.Event()

        def first() -> None:
            go.wait(20)
            done.append("first")

        tasks = [
            asyncio.create_task(desk.run(first, stays.wait)),
            asyncio.create_task(desk.run(lambda: done.append("gone"), left.wait)),
            asyncio.create_task(desk.run(lambda: done.append("last"), stays.wait)),
        ]
        await asyncio.sleep(0.05)
        assert desk.waiting == 2
        with pytest.raises(Refused) as full:
            await desk.run(lambda: done.append("full"), stays.wait)
        assert full.value.status == 429
        left.set()
        with pytest.raises(Refused) as gone:
            await tasks[1]
        assert gone.value.status == 499
        go.set()
        await asyncio.gather(tasks[0], tasks[2])
        await asyncio.sleep(0.05)
        assert (desk.waiting, desk.working) == (0, 0)
        desk.close()
        return done

    assert asyncio.run(run()) == ["first", "last"]


# ── ready, and not ───────────────────────────────────────────────────────────────────────────────


def test_not_ready_before_the_engine_is_open(engine_path: Path) -> None:
    go = threading.Event()
    app = create(lambda: go.wait(20) and Matter(engine_path, **OPTIONS))  # type: ignore[arg-type]
    with TestClient(app) as client:
        assert client.get("/health/live").status_code == 200
        for answer in (client.get("/health/ready"), client.post("/matte", content=ANY)):
            assert (answer.status_code, answer.json()["error"]["kind"]) == (503, "NotReady")
            assert int(answer.headers["Retry-After"]) >= 1
        with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("/stream"):
            pass
        assert denied.value.status_code == 503
        go.set()
        until(lambda: client.get("/health/ready").status_code == 200)
        assert client.get("/health").json()["device"] == "cpu"
        app.state.service.stopping = True
        assert client.get("/health").status_code == 503
        assert client.get("/health/live").status_code == 200


def test_an_engine_that_does_not_open(tmp_path: Path) -> None:
    failures: list[BaseException] = []
    app = create(lambda: Matter(tmp_path / "none.engine"), failed=failures.append)
    with TestClient(app) as client:
        until(lambda: failures)
        assert client.get("/health").status_code == 503
    assert isinstance(failures[0], EngineError)


# ── websockets ───────────────────────────────────────────────────────────────────────────────────


def noisy(count: int) -> list[Any]:
    """Frames of a still scene with noise, which the filter over time acts on."""
    rng = np.random.default_rng(3)
    scene = rng.integers(60, 200, (32, 64, 3))
    return [np.uint8(scene + rng.integers(-2, 3, scene.shape)) for _ in range(count)]


def test_a_stream_answers_each_frame_as_the_pool_does(
    client: TestClient, engine_path: Path
) -> None:
    frames = noisy(3 * AHEAD)
    with MatterPool(engine_path, **OPTIONS) as pool:
        expected = [matte.over("green") for matte in pool.stream(frames, lookahead=0)]
        alone = [pool.matter(frame).over("green") for frame in frames]
    address = "/stream?result=composite&background=green&format=png"
    with client.websocket_connect(address) as stream:
        for frame in frames:  # more than may wait: nothing is lost
            stream.send_bytes(png(frame))
        found = [decoded(stream.receive_bytes()) for _ in frames]
    np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(found, alone)
    until(lambda: "\nmatter_streams 0.0\n" in client.get("/metrics").text)


def test_a_stream_answers_a_frame_before_the_next_comes(client: TestClient, frame: Any) -> None:
    with client.websocket_connect("/stream?result=alpha") as stream:
        for _ in range(3):
            stream.send_bytes(png(frame))
            assert decoded(stream.receive_bytes()).shape == (32, 64)


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"neither", "FrameError"), (BIG, "FrameError"), ("text", "FrameError")],
)
def test_a_bad_frame_ends_a_stream(
    client: TestClient, frame: Any, content: bytes | str, kind: str
) -> None:
    with client.websocket_connect("/stream") as stream:
        stream.send_bytes(png(frame))
        stream.receive_bytes()
        (stream.send_text if isinstance(content, str) else stream.send_bytes)(content)  # type: ignore[operator]
        assert stream.receive_json()["error"]["kind"] == kind
        with pytest.raises(WebSocketDisconnect):
            stream.receive_bytes()


def test_streams_are_counted(engine_path: Path, frame: Any) -> None:
    with serving(engine_path, Limits(streams=1)) as client:
        with client.websocket_connect("/stream"):
            with (
                pytest.raises(WebSocketDenialResponse) as denied,
                client.websocket_connect("/stream"),
            ):
                pass
            assert denied.value.status_code == 429
            assert int(denied.value.headers["Retry-After"]) >= 1
        until(lambda: client.app.state.service.streams == 0)  # type: ignore[attr-defined]
        with client.websocket_connect("/stream") as stream:
            stream.send_bytes(png(frame))
            stream.receive_bytes()
        with (
            pytest.raises(WebSocketDenialResponse) as denied,
            client.websocket_connect("/stream?result=x"),
        ):
            pass
        assert denied.value.status_code == 422


# ── addresses ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert addresses.is_public(address) is public


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("http://127.0.0.1/cat.png", 403),
        ("http://localhost/cat.png", 403),
        ("http://[::1]/cat.png", 403),
        ("http://2130706433/cat.png", 403),
        ("file:///etc/passwd", 422),
        ("ftp://example.com/cat.png", 422),
        ("http://user:word@example.com/", 422),
        ("http://example.com:22/", 422),
        ("http://example.com:99999/", 422),
        ("http://[::1", 422),
        ("cat.png", 422),
        ("http://no-such-name.invalid/", 422),
    ],
)
def test_addresses_that_are_not_fetched(url: str, status: int) -> None:
    with pytest.raises(Refused) as caught:
        addresses.fetch(url, 1000)
    assert caught.value.status == status


class _Site(http.server.BaseHTTPRequestHandler):
    """A site of one picture, and of what sites do wrong."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1/cat.png")
            self.end_headers()
            return
        self.send_response(404 if path == "/none" else 200)
        if path not in ("/trickle", "/endless"):
            self.send_header("Content-Length", str(len(ANY) + (path == "/short")))
        self.end_headers()
        with contextlib.suppress(OSError):
            if path == "/trickle":
                for byte in ANY:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.05)
            self.wfile.write(bytes(100_000) if path == "/endless" else ANY)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setitem(addresses.PORTS, "http", server.server_port)
        monkeypatch.setattr(addresses, "is_public", lambda _: True)
        yield "http://127.0.0.1"
        server.shutdown()


def test_a_picture_from_an_address(site: str, engine_path: Path) -> None:
    assert addresses.fetch(f"{site}/cat.png?a=1", len(ANY)) == ANY
    with serving(engine_path, Limits(allow_urls=True)) as client:
        answer = client.post("/matte", json={"url": f"{site}/cat.png"})
        assert decoded(answer.content).shape == (8, 8, 4)
        answer = client.post("/matte", json={"url": f"{site}/redirect"})
        assert (answer.status_code, answer.json()["error"]["kind"]) == (422, "AddressError")
        assert "302" in answer.json()["error"]["message"]
        for body in (b"{", b"[]", b'{"url": 3}', b'{"uri": "x"}', b'{"url": "x", "a": 1}'):
            answer = client.post(
                "/matte", content=body, headers={"Content-Type": "application/json"}
            )
            assert (answer.status_code, answer.json()["error"]["kind"]) == (400, "BodyError")


@pytest.mark.parametrize(
    ("path", "most", "status"),
    [
        ("/cat.png", len(ANY) - 1, 413),
        ("/endless", 50_000, 413),
        ("/short", 1000, 422),
        ("/none", 1000, 422),
        ("/a b", 1000, 422),
    ],
)
def test_what_sites_do_wrong(site: str, path: str, most: int, status: int) -> None:
    with pytest.raises(Refused) as caught:
        addresses.fetch(site + path, most)
    assert caught.value.status == status


def test_a_slow_site_is_left(site: str) -> None:
    begin = time.monotonic()
    with pytest.raises(Refused) as caught:
        addresses.fetch(f"{site}/trickle", 1000, seconds=0.4)
    assert caught.value.status == 422
    assert "0.4 s" in str(caught.value)
    assert time.monotonic() - begin < 2


# ── the command ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "status", "named"),
    [
        (["--port", "70000"], 2, "70000"),
        (["--queue", "0"], 2, "'0'"),
        (["--host", "256.0.0.1"], 1, "256.0.0.1"),
        (["--port", "{taken}"], 1, "{taken}"),
        (["nowhere.engine", "--port", "0"], 1, "nowhere.engine"),
    ],
)
def test_bad_words(
    words: list[str], status: int, named: str, capsys: pytest.CaptureFixture[str], engine_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        given = [word.replace("{taken}", port) for word in words]
        if not given[0].endswith(".engine"):
            given.insert(0, str(engine_path))
        assert serve.run("sdk.serve", lambda: serve.main(given)) == status
    shown = capsys.readouterr()
    assert not shown.out
    assert named.replace("{taken}", port) in shown.err
    assert len(shown.err.strip().splitlines()) == 1


def test_the_extra_is_named(
    engine_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert serve.run("sdk.serve", lambda: serve.main([str(engine_path)])) == 1
    assert "pip install 'matter-sdk[serve]'" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="SIGTERM ends a process of Windows at once")
def test_the_process_answers_what_was_begun(engine_path: Path) -> None:
    command = [sys.executable, "-m", "matter_sdk", "serve", str(engine_path), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)\n", process.stdout.readline())
            assert found is not None
            port = int(found[1])

            def ask(method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                with contextlib.closing(connection):
                    connection.request(method, path, body)
                    answer = connection.getresponse()
                    return answer.status, answer.read()

            until(lambda: ask("GET", "/health/ready")[0] == 200, 60)
            large = png(np.random.default_rng(1).integers(0, 256, (900, 1200, 3), np.uint8))
            answers: list[tuple[int, bytes]] = []
            asking = threading.Thread(
                target=lambda: answers.append(ask("POST", "/matte?format=webp", large))
            )
            asking.start()
            until(lambda: b"\nmatter_working 1.0\n" in ask("GET", "/metrics")[1])
            process.send_signal(signal.SIGTERM)
            asking.join(60)
            assert answers and answers[0][0] == 200
            assert decoded(answers[0][1]).shape == (900, 1200, 4)
            assert process.wait(30) == 0
            assert process.stderr.read() == ""
        finally:
            process.kill()


def test_the_answer_to_a_frame_is_json_as_documented() -> None:
    error = Refused(429, "QueueFull", "full", 3)
    assert json.loads(json.dumps(answer_to(error).body)) == {
        "error": {"kind": "QueueFull", "message": "full"}
    }
    assert answer_to(error).headers == {"Retry-After": "3"}


def test_read_takes_what_is_within_limits() -> None:
    assert answers.read(ANY, 64).shape == (8, 8, 3)
    with pytest.raises(Refused):
        answers.read(ANY, 63)
