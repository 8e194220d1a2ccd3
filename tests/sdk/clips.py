"""Tiny clips, made with PyAV, and a matter without a network: what the video tests work with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from matter_sdk.sdk.background import Background
from matter_sdk.sdk.inference.quality import QUALITIES
from matter_sdk.sdk.streaming.matting import Matting

HEIGHT, WIDTH = 48, 64
NETWORK = (16, 16)
TIME_BASE = Fraction(1, 15360)
TICK = 512  # 30 frames a second


def numbered(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A frame with ``number`` (0..255) as eight black or white squares in its upper half."""
    image = np.full((height, width, 3), 100, np.uint8)
    side = width // 8
    for bit in range(8):
        image[: height // 2, bit * side : (bit + 1) * side] = 255 if number >> bit & 1 else 0
    return image


def number_of(image: np.ndarray) -> int:
    """The number that ``numbered`` put into a frame, read after a codec has been at it."""
    height, width = image.shape[:2]
    side = width // 8
    middles = [image[height // 4, bit * side + side // 2].mean() > 127 for bit in range(8)]
    return sum(int(on) << bit for bit, on in enumerate(middles))


def write_clip(
    path: Path,
    images: Sequence[np.ndarray],
    *,
    pts: Sequence[int] | None = None,
    rotation: int = 0,
    matrix: Sequence[int] | None = None,
    audio: str | None = None,
    colours: tuple[int, int] = (1, 1),
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pixel_aspect: Fraction | None = None,
    keys: int = 250,
) -> Path:
    """Write ``images`` by PyAV's own means. ``rotation`` clockwise, ``colours`` (matrix, range).

    ``keys``: frames from one key frame to the next at most.
    """
    height, width = images[0].shape[:2]
    with av.open(str(path), "w", options=options or {}) as out:
        video = out.add_stream(
            codec, rate=30, options={"crf": "8", "preset": "ultrafast", "g": str(keys)}
        )
        context = video.codec_context
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base = TIME_BASE
        context.thread_count = 1
        context.colorspace, context.color_range = colours
        if pixel_aspect is not None:
            context.sample_aspect_ratio = pixel_aspect
        if (rotation or matrix) and not hasattr(av.VideoStream, "set_display_rotation"):
            pytest.skip("PyAV writes display matrices from 18 on only")
        if rotation:
            video.set_display_rotation(-rotation)
        if matrix is not None:
            video.set_display_matrix(matrix)
        sound = _add_sound(out, audio, len(images) / 30) if audio else None
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "bgr24").reformat(
                format="yuv420p",
                dst_colorspace={1: 1, 6: 5, 2: 5}[colours[0]],
                dst_color_range=colours[1] or 1,
            )
            frame.pts = index * TICK if pts is None else pts[index]
            frame.time_base = TIME_BASE
            out.mux(video.encode(frame))
            if sound is not None:
                sound(index / 30)
        out.mux(video.encode(None))
        if sound is not None:
            sound(None)
    return path


def _add_sound(out: Any, codec: str, seconds: float) -> Any:
    rate = 44100
    stream = out.add_stream(codec, rate=rate)
    wave = 0.3 * np.sin(np.arange(int(rate * seconds)) * 2 * np.pi * 440 / rate)
    step = 1024
    state = {"at": 0}

    def pump(until: float | None) -> None:
        while state["at"] < len(wave) and (until is None or state["at"] / rate <= until):
            part = wave[state["at"] : state["at"] + step]
            samples = np.stack([part, part]).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(samples, "fltp", "stereo")
            frame.sample_rate, frame.pts, frame.time_base = rate, state["at"], Fraction(1, rate)
            out.mux(stream.encode(frame))
            state["at"] += step
        if until is None:
            out.mux(stream.encode(None))

    return pump


def write_sound(path: Path, codec: str = "aac") -> Path:
    """A file with an audio track and nothing else."""
    with av.open(str(path), "w") as out:
        _add_sound(out, codec, 0.3)(None)
    return path


def decode(path: Path) -> tuple[list[np.ndarray], list[Fraction]]:
    """Frames (BGR, as PyAV's default conversion gives them) and their times in seconds."""
    with av.open(str(path)) as source:
        frames = list(source.decode(video=0))
        return (
            [frame.to_ndarray(format="bgr24") for frame in frames],
            [Fraction(frame.pts * frame.time_base) for frame in frames],
        )


def read_image(path: Path) -> np.ndarray:
    """A picture as it is in its file, alpha too."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image


def audio_packets(path: Path) -> list[tuple[Fraction, bytes]]:
    """Time and bytes of every audio packet."""
    with av.open(str(path)) as source:
        return [
            (Fraction(packet.pts * packet.time_base), bytes(packet))
            for packet in source.demux(audio=0)
            if packet.size
        ]


def tones(count: int) -> list[np.ndarray]:
    """``count`` numbered frames."""
    return [numbered(number) for number in range(count)]


class FakeMatte:
    """What ``sdk.Matte`` offers to a video, by NumPy."""

    def __init__(self, frame: np.ndarray, alpha: np.ndarray) -> None:
        self.frame = frame
        self.alpha = alpha

    def over(self, background: Any, *, index: int = 0) -> np.ndarray:
        alpha = self.alpha[..., None]
        behind = Background.open(background).at(self.frame, index)
        behind = np.broadcast_to(np.asarray(behind, np.float32), self.frame.shape)
        return np.rint(alpha * self.frame + (1 - alpha) * behind).astype(np.uint8)

    def cutout(self) -> np.ndarray:
        alpha = np.rint(255 * self.alpha).astype(np.uint8)
        return np.dstack([self.frame, alpha])


class FakeMatter(Matting):
    """``prepare``, ``infer`` and ``finish``; alpha is 1 in the upper half and 0 below.

    The upper half's number must therefore come out again, over a background that fills the
    lower half; ``seen`` lists the numbers in the order in which the network met them, and every
    alpha carries its frame's number, which ``finish`` compares.
    """

    quality = replace(QUALITIES["balanced"], temporal=False)

    def __init__(self, fail_at: int | None = None, alpha: float = 1.0) -> None:
        self.fail_at = fail_at
        self.seen: list[int] = []
        self.mismatches = 0
        self._alpha = alpha

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        number = number_of(frame)
        if number == self.fail_at:
            raise RuntimeError(f"the network broke at frame {number}")
        return np.full((1, 3, *NETWORK), number, np.float32)

    def infer(self, tensor: np.ndarray) -> np.ndarray:
        number = int(tensor[0, 0, 0, 0])
        self.seen.append(number)
        alpha = np.zeros(NETWORK, np.float32)
        alpha[: NETWORK[0] // 2] = self._alpha
        alpha[-1, -1] = number / 1000
        return alpha

    def finish(self, frame: np.ndarray, alpha: np.ndarray) -> FakeMatte:
        self.mismatches += round(1000 * float(alpha[-1, -1])) != number_of(frame)
        alpha = alpha.copy()
        alpha[-1, -1] = 0
        size = (frame.shape[1], frame.shape[0])
        return FakeMatte(frame, cv2.resize(alpha, size, interpolation=cv2.INTER_NEAREST))
