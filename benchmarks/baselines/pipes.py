"""Loops from a video file to a video file, as they are written around a model in Python."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.baselines.program import Frame

Compose = Callable[[Frame], Frame]


def with_ffmpeg(
    source: Path, output: Path, size: tuple[int, int], compose: Compose, *options: str
) -> None:
    """Read raw frames from one ffmpeg and write them to another, which encodes with x264.

    Args:
        source: the video.
        output: an MP4 file.
        size: height and width of the video's frames.
        compose: what is done to each frame, uint8 H×W×3 BGR.
        options: of the encoder, such as ``-preset ultrafast``.

    Raises:
        FileNotFoundError: ffmpeg is not installed.
        CalledProcessError: one of them failed.
    """
    height, width = size
    raw = ("-f", "rawvideo", "-pix_fmt", "bgr24")
    quiet = ("ffmpeg", "-nostdin", "-v", "error", "-y")
    decode = [*quiet, "-i", str(source), *raw, "-"]
    encode = [*quiet, *raw, "-s", f"{width}x{height}", "-r", "30", "-i", "-"]
    encode += ["-c:v", "libx264", *options, "-pix_fmt", "yuv420p", str(output)]
    with (
        subprocess.Popen(decode, stdout=subprocess.PIPE) as reader,
        subprocess.Popen(encode, stdin=subprocess.PIPE) as writer,
    ):
        assert reader.stdout is not None  # noqa: S101 (PIPE above)
        assert writer.stdin is not None  # noqa: S101
        while data := reader.stdout.read(height * width * 3):
            frame = np.frombuffer(data, np.uint8).reshape(height, width, 3)
            writer.stdin.write(compose(frame).tobytes())
        writer.stdin.close()
    for process in (reader, writer):
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)


def with_opencv(source: Path, output: Path, size: tuple[int, int], compose: Compose) -> None:
    """Read with ``VideoCapture`` and write with ``VideoWriter``, whose wheel encodes MPEG-4 only.

    Args:
        source: the video.
        output: an MP4 file.
        size: height and width of the video's frames.
        compose: what is done to each frame, uint8 H×W×3 BGR.

    Raises:
        OSError: OpenCV cannot read the one or write the other.
    """
    reader = cv2.VideoCapture(str(source))
    writer = cv2.VideoWriter(str(output), cv2.VideoWriter.fourcc(*"mp4v"), 30, size[::-1])
    try:
        if not reader.isOpened() or not writer.isOpened():
            raise OSError(5, "OpenCV cannot read or write it", str(output))
        while True:
            there, frame = reader.read()
            if not there:
                return
            writer.write(compose(frame))
    finally:
        reader.release()
        writer.release()
