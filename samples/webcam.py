"""Replace the background of a camera, live, and never show the room.

    python -m samples.webcam 0 --background beach.jpg --background blur
    python -m samples.webcam clip.mp4 --no-window --output out.mp4
    python -m samples.webcam 0 --plate

Keys: b next background, m matte view, r record, q quit. If the camera or the matting fails,
the background alone is shown, and it is tried again.

With --plate the subject is whatever differs from the empty room (plate mode): press p, step out of
the picture until the countdown is over and the room was taken, and step back in. Until then the
background alone is shown, and again after any failure, since the camera may have moved. It is
shown, too, where the plate is seen to fit no longer. Press p again whenever camera or light have
changed.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matter_sdk.samples import add_engine, add_ways, engine, ways
from matter_sdk.sdk import Matte, Matter, VideoError
from matter_sdk.sdk.arrays import letterboxed
from matter_sdk.sdk.background import Background
from matter_sdk.sdk.command_line import Parser, UsageError, positive, run, start
from matter_sdk.sdk.matte import nothing
from matter_sdk.sdk.stream import fail_safe
from matter_sdk.sdk.streaming.matting import Wrapped
from matter_sdk.sdk.streaming.pipeline import WITHHELD
from matter_sdk.sdk.streaming.statistics import Stats
from matter_sdk.sdk.video import VideoReader, VideoWriter, check_output


class Look:
    """How a matte is shown, and what is shown without one."""

    def __init__(self, specs: Sequence[str]) -> None:
        self.backgrounds = deque(Background.open(spec) for spec in specs)
        self.matte_view = False
        self.begin = time.monotonic()

    def behind(self, frame: np.ndarray) -> Any:
        """The background of the moment, as ``Matte.over`` takes it; a video runs on the clock."""
        del frame
        return self.backgrounds[0].at_time(time.monotonic() - self.begin)

    def draw(self, matte: Any) -> np.ndarray:
        """The composite, or the matte in grey."""
        if self.matte_view:
            return cv2.merge([np.rint(matte.alpha * 255).astype(np.uint8)] * 3)
        return matte.over(self.behind(matte.frame))

    def alone(self, blank: np.ndarray) -> np.ndarray:
        """The background without anybody; black if that fails too. A blur has nothing to blur."""
        picture = blank.copy()
        try:
            picture[:] = self.backgrounds[0].at(blank)
        except Exception as error:  # noqa: BLE001 - the last resort must not fail
            print(f"black alone: {error}", file=sys.stderr)
        return picture


class PlateMode(Wrapped):
    """A ``Matter`` in plate mode that takes its plate from the camera; for ``fail_safe``.

    Without a plate, or with one that no longer fits, there is no matte: the stream then shows the
    background alone.
    """

    COUNTDOWN = 5.0  # seconds to step out of the picture
    FRAMES = 9  # the plate is their median: less noise, and nothing that only passes by
    LARGEST = 1280  # pixels of its longer side: a median of more would keep the stream waiting

    def __init__(self, matter: Matter) -> None:
        super().__init__(matter)
        self.matter: Matter = matter
        self._lock = threading.Lock()
        self._taken: list[np.ndarray] = []
        self._due: float | None = None
        self.matter.plate = None  # refused by an engine that reads none

    def take(self) -> None:
        """Begin the countdown; the plate that is there is forgotten."""
        self.forget()
        self._due = time.monotonic() + self.COUNTDOWN

    def forget(self) -> None:
        """Show nothing until a plate is taken again."""
        with self._lock:
            self.matter.plate = self._due = None
            self._taken = []

    def hint(self) -> str:
        """What the person is to do; empty once there is a plate."""
        if self.matter.plate is not None:
            if self.matter.plate_fits is False:
                return "camera or room have changed. p: take the empty room again"
            return ""
        if self._due is None:
            return "p: take the empty room"
        left = math.ceil(self._due - time.monotonic())
        return f"step out of the picture: {left}" if left > 0 else "stay out: taking the room"

    @property
    def takes_planes(self) -> bool:
        """No: a plate is taken from whole pictures."""
        return False

    def check_streamable(self) -> None:
        """Frames alone will do: a plate is taken from them."""

    def prepare(self, frame: np.ndarray) -> Any:
        """See ``Matter.prepare``; ``WITHHELD`` without a plate, for which the frame may be one."""
        with self._lock:
            if self.matter.plate is not None:
                return self.matter.prepare(frame)
            if self._due is None or time.monotonic() < self._due:
                return WITHHELD
            scale = min(1, self.LARGEST / max(frame.shape[:2]))
            self._taken.append(
                cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            )
            if len(self._taken) == self.FRAMES:
                middle = self.FRAMES // 2
                self.matter.plate = np.partition(np.stack(self._taken), middle, axis=0)[middle]
                self._taken = []
            return WITHHELD

    def infer(self, prepared: Any) -> np.ndarray:
        """See ``Matter.infer``."""
        return prepared if prepared is WITHHELD else self.matter.infer(prepared)

    def finish(self, frame: np.ndarray, alpha: np.ndarray) -> Matte:
        """See ``Matter.finish``."""
        return nothing(frame) if alpha is WITHHELD else self.matter.finish(frame, alpha)


class Recorder:
    """Writes pictures with the times at which they came; the first one sets the size."""

    def __init__(self, path: Path, picture: np.ndarray) -> None:
        size = (picture.shape[0], picture.shape[1])
        self.writer = VideoWriter(path, size, time_base=Fraction(1, 1000))
        self.begin, self.last = time.monotonic(), -1

    def add(self, picture: np.ndarray) -> None:
        """Write one picture, shown now."""
        if picture.shape[:2] != self.writer.size:
            picture = letterboxed(picture, self.writer.size)
        self.last = max(self.last + 1, round(1000 * (time.monotonic() - self.begin)))
        self.writer.write(picture, self.last)

    def close(self) -> None:
        """Finish the file and print its path."""
        print(self.writer.finish())


def open_window() -> None:
    """Open the window; VideoError with the remedy where there can be none."""
    has_screen = sys.platform != "linux" or {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ)
    try:
        if has_screen:
            cv2.namedWindow("matter", cv2.WINDOW_NORMAL)
            return
        reason = "there is no screen here"
    except cv2.error:
        reason = (
            "this OpenCV is the headless one; exchange it: "
            "pip uninstall -y opencv-python-headless && pip install opencv-python"
        )
    raise VideoError(f"no window: {reason}; without a window: --no-window --output FILE")


def show(picture: np.ndarray, text: str) -> str:
    """Show ``picture`` with ``text`` on it; the key that was pressed, or ''."""
    picture = picture.copy()
    for colour, width in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        cv2.putText(picture, text, (12, 32), cv2.FONT_HERSHEY_SIMPLEX, 0.8, colour, width)
    cv2.imshow("matter", picture)
    key = cv2.waitKey(1) & 0xFF
    return "" if key == 0xFF else chr(key)


def overlay(stats: Stats | None) -> str:
    """Frame rate, age of the picture (half of them, nineteen of twenty), the network's share of
    it, and frames that were passed over."""
    if stats is None or stats.latency is None:
        return "background alone"
    latency, network = stats.latency, stats.stages.get("network")
    share = "" if network is None else f"network {network.p50:.0f} ms, "
    return (
        f"{stats.fps:.0f} frames/s, {latency.p50:.0f} ms (95 %: {latency.p95:.0f}), "
        f"{share}{stats.dropped} dropped"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = Parser(
        "samples.webcam",
        "Replace the background of a camera, live, and never show the room.",
        "Keys: b next background, m matte view, r record, p take the plate, q quit.",
    )
    parser.add_argument("source", help="camera index, video file or stream address")
    add_engine(parser)
    parser.add_argument(
        "--plate", action="store_true", help="plate mode: key p takes the empty room (gfm-plate)"
    )
    add_ways(parser, quality="live")
    parser.add_argument(
        "--background",
        action="append",
        help="colour, image, video or blur; several to cycle through with b (default: green)",
    )
    parser.add_argument("--output", type=Path, help="record to this file from the start")
    parser.add_argument("--no-window", action="store_true", help="only record; needs --output")
    parser.add_argument("--frames", type=positive, help="stop after so many pictures")
    args = parser.parse_args(argv)
    if args.no_window and args.output is None:
        parser.error("--no-window shows nothing: give --output FILE to record")
    if args.no_window and args.plate:
        parser.error("--plate needs the window, whose key p takes it: leave --no-window out")
    source = int(args.source) if args.source.isdigit() else args.source
    # A pipe can be read but once.
    if isinstance(source, str) and not Path(source).is_fifo():
        VideoReader(source).close()  # a file that is not there will not come; a camera may
    look = Look(args.background or ["green"])
    recorder: Recorder | None = None
    if not args.no_window:
        open_window()
    if args.output is not None:
        try:
            check_output(args.output, inputs=[source])
        except VideoError as error:
            raise UsageError(str(error)) from error
    # A signal only asks to stop, so that a recording is finished between two frames.
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())

    shown = 0
    with Matter(engine(args), **ways(args)) as matter:
        plate = PlateMode(matter) if args.plate else None

        def alone(blank: np.ndarray) -> np.ndarray:
            if plate is not None:
                plate.forget()
            return look.alone(blank)

        try:
            for picture, stats in fail_safe(plate or matter, source, look.draw, alone):
                if shown == 0 and args.output is not None:
                    recorder = Recorder(args.output, picture)
                shown += 1
                if recorder is not None:
                    recorder.add(picture)
                text = (plate.hint() if plate else "") or overlay(stats)
                text += " REC" if recorder else ""
                key = "" if args.no_window else show(picture, text)
                if key == "p" and plate is not None:
                    plate.take()
                elif key == "b":
                    look.backgrounds.rotate(-1)
                elif key == "m":
                    look.matte_view = not look.matte_view
                elif key == "r" and recorder is None:
                    recorder = Recorder(Path(time.strftime("matter-%Y%m%d-%H%M%S.mp4")), picture)
                elif key == "r" and recorder is not None:
                    recorder.close()
                    recorder = None
                if key in ("q", "\x1b") or stop.is_set() or shown == args.frames:
                    break
        finally:
            if recorder is not None:
                recorder.close()
    return 0


if __name__ == "__main__":
    start(lambda: run("samples.webcam", main))
