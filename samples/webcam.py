"""Replace the background of a camera, live, and never show the room.

    matter webcam 0 --background beach.jpg --background blur     (or: python -m samples.webcam …)
    matter webcam clip.mp4 --no-window --output out.mp4
    matter webcam 0 --virtual-camera --no-window
    matter webcam 0 --plate

Keys: b next background, m matte view, r record, q quit. If the camera or the matting fails, it
shows the background only and tries again.

With --virtual-camera other programs see what it shows, as a camera of their own: video calls, for
example. That is black or the background alone until there is a matte.

With --plate the subject is whatever differs from the empty room (plate mode): press p, step out of
the picture until the countdown is over and the room was taken, and step back in. It shows the
background only until then, after any failure (the camera may have moved), and while the plate does
not fit. Press p again whenever the camera or the light has changed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from matter_sdk import (
    Background,
    Matte,
    PlateTaker,
    Recorder,
    VideoError,
    VideoReader,
    VirtualCamera,
    check_output,
    fail_safe,
)
from matter_sdk.samples import add_matter, open_matter
from matter_sdk.sdk.command_line import Parser, UsageError, positive, run, start


class Look:
    """How a matte is shown, and what is shown without one."""

    def __init__(self, specs: Sequence[str]) -> None:
        self.backgrounds = deque(Background.open(spec) for spec in specs)
        self.matte_view = False
        self.begin = time.monotonic()

    def draw(self, matte: Matte) -> np.ndarray:
        """The composite, or the matte in grey; a background video runs on the clock."""
        if self.matte_view:
            return cv2.merge([np.rint(matte.alpha * 255).astype(np.uint8)] * 3)
        return matte.over(self.backgrounds[0].at_time(time.monotonic() - self.begin))

    def alone(self, blank: np.ndarray) -> np.ndarray:
        """The background without anybody; black if that fails too. A blur has nothing to blur."""
        picture = blank.copy()
        try:
            picture[:] = self.backgrounds[0].at(blank)
        except Exception as error:  # noqa: BLE001 - the last resort must not fail
            print(f"black alone: {error}", file=sys.stderr)
        return picture


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


def finish(recorder: Recorder) -> None:
    """Finish a recording and print its path."""
    path = recorder.close()
    if path is not None:
        print(path)


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = Parser(
        "samples.webcam",
        "Replace the background of a camera, live, and never show the room.",
        "Keys: b next background, m matte view, r record, p take the plate, q quit.",
    )
    parser.add_argument("source", help="camera index, video file or stream address")
    add_matter(parser, quality="live")
    parser.add_argument(
        "--plate", action="store_true", help="plate mode: key p takes the empty room (gfm-plate)"
    )
    parser.add_argument(
        "--background",
        action="append",
        help="colour, image, video or blur; several to cycle through with b (default: green)",
    )
    parser.add_argument("--output", type=Path, help="record to this file from the start")
    parser.add_argument(
        "--virtual-camera",
        action="store_true",
        help="show it to other programs as a camera of 1280x720 (needs the extra 'virtual-camera')",
    )
    parser.add_argument(
        "--no-window", action="store_true", help="show nothing; needs --output or --virtual-camera"
    )
    parser.add_argument("--frames", type=positive, help="stop after this many frames")
    args = parser.parse_args(argv)
    if args.no_window and args.output is None and not args.virtual_camera:
        parser.error("--no-window shows nothing: give --output FILE or --virtual-camera")
    if args.no_window and args.plate:
        parser.error("--plate needs the window, whose key p takes it: leave --no-window out")
    source = int(args.source) if args.source.isdigit() else args.source
    # A pipe can be read but once.
    if isinstance(source, str) and not Path(source).is_fifo():
        VideoReader(source).close()  # a file that is not there will not come; a camera may
    look = Look(args.background or ["green"])
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
    recorder = None if args.output is None else Recorder(args.output)
    with contextlib.ExitStack() as stack:
        camera = None
        if args.virtual_camera:  # refused before the engine loads
            camera = stack.enter_context(VirtualCamera())
            print(f"virtual camera: {camera.device}", file=sys.stderr)
        matter = stack.enter_context(open_matter(args))
        taker = PlateTaker(matter) if args.plate else None

        def alone(blank: np.ndarray) -> np.ndarray:
            if taker is not None:
                taker.forget()
            return look.alone(blank)

        try:
            for picture, stats in fail_safe(taker or matter, source, look.draw, alone):
                shown += 1
                if recorder is not None:
                    recorder.add(picture)
                if camera is not None:
                    camera.send(picture)
                text = "" if taker is None else taker.hint("p: take the empty room")
                if not text:
                    text = "background alone" if stats is None else stats.summary()
                text += " REC" if recorder else ""
                key = "" if args.no_window else show(picture, text)
                if key == "p" and taker is not None:
                    taker.take()
                elif key == "b":
                    look.backgrounds.rotate(-1)
                elif key == "m":
                    look.matte_view = not look.matte_view
                elif key == "r" and recorder is None:
                    recorder = Recorder(time.strftime("matter-%Y%m%d-%H%M%S.mp4"))
                elif key == "r" and recorder is not None:
                    finish(recorder)
                    recorder = None
                if key in ("q", "\x1b") or stop.is_set() or shown == args.frames:
                    break
        finally:
            if recorder is not None:
                finish(recorder)
    return 0


if __name__ == "__main__":
    start(lambda: run("samples.webcam", main))
