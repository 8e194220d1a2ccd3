"""Chromium without a window, driven over a pipe, and a server of plain files on loopback.

The protocol is Chrome's own: https://chromedevtools.github.io/devtools-protocol.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import itertools
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--mute-audio",
    "--window-size=1000,900",
    "--remote-debugging-pipe",
]
_START = """import fcntl, os, sys
read, write, *words = sys.argv[1:]
read, write = (fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in (read, write))
os.dup2(read, 3), os.dup2(write, 4)
os.execv(words[0], words)"""


@contextlib.contextmanager
def served(folder: Path, *, isolated: bool = False) -> Iterator[str]:
    """The address of a server of ``folder``; ``isolated``: with the headers that threads need."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            if isolated:
                self.send_header("Cross-Origin-Opener-Policy", "same-origin")
                self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

        def log_message(self, *_: Any) -> None: ...

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class Page:
    """A page and its workers; each has a session, the page's own is ``main``.

    Attributes:
        main: the page's session.
        workers: sessions of its workers.
        asked: every address that was asked for.
    """

    def __init__(self, camera: Path | None, flags: list[str]) -> None:
        assert PROGRAM is not None
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        more = [f"--user-data-dir={self._profile.name}", *flags]
        if camera is not None:
            more.append(f"--use-file-for-fake-video-capture={camera}")
        theirs, write = os.pipe()
        read, ours = os.pipe()
        words = [sys.executable, "-c", _START, str(theirs), str(ours), PROGRAM, *_FLAGS, *more]
        self._process = subprocess.Popen(
            [*words, "about:blank"], pass_fds=(theirs, ours), stderr=subprocess.DEVNULL
        )
        os.close(theirs), os.close(ours)
        self._write, self._read = os.fdopen(write, "wb", 0), os.fdopen(read, "rb")
        self._numbers = itertools.count(1)
        self._answers: dict[int, queue.Queue[Any]] = {}
        self.workers: list[str] = []
        self.asked: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()
        targets = self._call("", "Target.getTargets")["targetInfos"]
        page = next(one["targetId"] for one in targets if one["type"] == "page")
        attached = self._call("", "Target.attachToTarget", targetId=page, flatten=True)
        self.main = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self._call(self.main, f"{domain}.enable")
        follow = {"autoAttach": True, "waitForDebuggerOnStart": False, "flatten": True}
        self._call(self.main, "Target.setAutoAttach", **follow)

    def _listen(self) -> None:
        rest = b""
        while piece := self._read.read1(1 << 20):  # type: ignore[attr-defined]
            *whole, rest = (rest + piece).split(b"\0")
            for message in map(json.loads, whole):
                if "id" in message:
                    self._answers.pop(message["id"]).put(message)
                elif message["method"] == "Target.attachedToTarget":
                    if message["params"]["targetInfo"]["type"] == "worker":
                        session = message["params"]["sessionId"]
                        self.workers.append(session)
                        self._send(session, "Network.enable", {})
                elif message["method"] == "Network.requestWillBeSent":
                    self.asked.append(message["params"]["request"]["url"])

    def _send(self, session: str, method: str, options: dict[str, Any]) -> queue.Queue[Any]:
        number = next(self._numbers)
        answer: queue.Queue[Any] = queue.Queue()
        self._answers[number] = answer
        message = {"id": number, "method": method, "params": options}
        if session:
            message["sessionId"] = session
        self._write.write(json.dumps(message).encode() + b"\0")
        return answer

    def _call(self, session: str, method: str, **options: Any) -> Any:
        message = self._send(session, method, options).get(timeout=120)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        return message["result"]

    def call(self, method: str, **options: Any) -> Any:
        """A call of the protocol, to the page."""
        return self._call(self.main, method, **options)

    def run(self, script: str, session: str = "") -> Any:
        """What an expression gives, or its promise; an exception there is a RuntimeError here."""
        result = self._call(
            session or self.main,
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in result:
            said = result["exceptionDetails"]
            raise RuntimeError(said.get("exception", {}).get("description", said["text"]))
        return result["result"].get("value")

    def until(self, condition: str, seconds: float = 60) -> None:
        """Wait until an expression is true on the page."""
        self.run(
            f"new Promise((done, failed) => {{ const began = Date.now(); (function look() {{"
            f"if ({condition}) done(); else if (Date.now() - began > {1000 * seconds})"
            f"failed(new Error(document.body.innerText)); else setTimeout(look, 20) }})() }})"
        )

    def download(self, folder: Path, script: str) -> Path:
        """The file that a script makes the page save into an empty folder."""
        self._call("", "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self.run(script)
        began = time.monotonic()
        while not (files := [one for one in folder.iterdir() if one.suffix == ".png"]):
            if time.monotonic() - began > 30:
                raise RuntimeError("nothing was saved")
            time.sleep(0.02)
        return files[0]

    def hidden(self, seconds: float) -> None:
        """Lie behind another tab for a while."""
        other = self._call("", "Target.createTarget", url="about:blank")["targetId"]
        self._call("", "Target.activateTarget", targetId=other)
        self.until("document.visibilityState === 'hidden'", 10)
        time.sleep(seconds)
        self._call("", "Target.closeTarget", targetId=other)
        self.call("Page.bringToFront")
        self.until("document.visibilityState === 'visible'", 10)

    def close(self) -> None:
        """End the browser."""
        with contextlib.suppress(Exception):
            self._call("", "Browser.close")
        self._process.wait(20)
        self._write.close()
        self._profile.cleanup()


@contextlib.contextmanager
def opened(
    address: str, *, camera: Path | None = None, before: str = "", flags: tuple[str, ...] = ()
) -> Iterator[Page]:
    """A page at an address, ``before`` whose own scripts one runs. ``camera``: a Y4M or MJPEG."""
    page = Page(camera, list(flags))
    try:
        if before:
            page.call("Page.addScriptToEvaluateOnNewDocument", source=before)
        page.call("Page.navigate", url=address)
        while not page.run("document.readyState === 'complete' && location.href !== 'about:blank'"):
            time.sleep(0.02)
        yield page
    finally:
        page.close()
