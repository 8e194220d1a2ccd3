"""What the SDK asks of Python is there on every system: what Unix alone has is guarded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from tests.sdk.clips import write_clip
from tests.sdk.conftest import Tiny

# What Python on Windows lacks, taken away once the libraries, which know Windows, are loaded.
WITHOUT_UNIX = """
import asyncio, concurrent.futures, multiprocessing, os, signal, socket, subprocess, sys, tempfile
import av, cv2, numpy, onnxruntime, PIL.Image, tqdm
import fastapi, prometheus_client, uvicorn

for name in ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"):
    sys.modules[name] = None
for module, names in (
    (os, "O_CLOEXEC O_NOFOLLOW O_NONBLOCK chown fchmod fchown fork forkpty getegid geteuid getgid "
         "getloadavg getpgid getuid killpg mkfifo nice posix_fadvise posix_fallocate pread preadv "
         "pwrite register_at_fork sched_getaffinity sched_setaffinity sendfile setsid statvfs "
         "sysconf uname wait4"),
    (signal, "SIGALRM SIGHUP SIGKILL SIGPIPE SIGQUIT SIGUSR1 SIGUSR2 alarm pause pthread_kill "
             "pthread_sigmask set_wakeup_fd setitimer sigpending sigwait"),
    (socket, "AF_UNIX socketpair"),
):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
"""


def python(code: str, folder: Path) -> str:
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{code}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_unix(tmp_path: Path) -> None:
    engine = Tiny(tmp_path).build("tiny.engine")
    picture = np.full((48, 96, 3), 90, np.uint8)
    cv2.imwrite(str(tmp_path / "cat.png"), picture)
    write_clip(tmp_path / "clip.mp4", [picture] * 4)
    words = [
        ["image", "cat.png", "cut.png", "--engine", str(engine)],
        ["video", "clip.mp4", "out.mp4", "--engine", str(engine)],
        ["info", str(engine), "--json"],
    ]
    said = python(
        f"{WITHOUT_UNIX}\nfrom matter_sdk.__main__ import main\n"
        f"sys.exit(max(main(words) for words in {words!r}))",
        tmp_path,
    )
    assert json.loads(said.partition("{")[1] + said.partition("{")[2])["network"]
    assert cv2.imread(str(tmp_path / "cut.png"), cv2.IMREAD_UNCHANGED).shape == (48, 96, 4)
    assert (tmp_path / "out.mp4").stat().st_size


def test_every_module_loads_without_unix(tmp_path: Path) -> None:
    code = """
import importlib, pkgutil
import matter_sdk.samples, matter_sdk.sdk
loaded = 0
for package in (matter_sdk.samples, matter_sdk.sdk):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        try:
            importlib.import_module(module.name)
            loaded += 1
        except ModuleNotFoundError as error:
            if error.name not in ("cupy", "tensorrt", "tensorrt_rtx", "openvino"):  # extras
                raise
print(loaded)
"""
    assert int(python(WITHOUT_UNIX + code, tmp_path)) > 50


def test_a_picture_from_a_pipe_where_no_file_stands_for_it(tmp_path: Path) -> None:
    picture = cv2.imencode(".png", np.full((4, 6, 3), 90, np.uint8))[1].tobytes()
    code = f"""
import io
from pathlib import Path
from matter_sdk.sdk.media import picture_reader, places
nowhere = Path({str(tmp_path / "none")!r})
places.STANDARD_INPUT = picture_reader.STANDARD_INPUT = nowhere
sys.stdin = io.TextIOWrapper(io.BytesIO({picture!r}))
(found,) = places.find_pictures(["-"])
print(*picture_reader.read_picture(found).shape)
"""
    assert python(code, tmp_path).split() == ["4", "6", "3"]
