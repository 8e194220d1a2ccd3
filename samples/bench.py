"""Measure how many frames a second this machine mattes.

    matter bench                        (or: python -m samples.bench)
    matter bench clip.mp4 --quality live --json

Streams frames, composites each over a colour, and shows the frame rate and the milliseconds of
each stage. Without a video the frames are drawn, a disc that moves before a gradient: times do not
depend on what is shown. `python -m benchmarks` in a checkout compares with other programs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from matter_sdk import QUALITIES, Matter, MatterError, VideoReader
from matter_sdk.samples import open_matter
from matter_sdk.sdk.command_line import Parser, positive, run, size, start


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = Parser("samples.bench", "Measure how many frames a second this machine mattes.")
    parser.add_argument("source", nargs="?", metavar="IN", help="video (default: drawn frames)")
    parser.add_argument("--engine", metavar="FILE", help="engine (default: as matter image)")
    parser.add_argument(
        "--quality",
        action="append",
        choices=tuple(QUALITIES),
        help="repeatable (default: all)",
    )
    parser.add_argument(
        "--size",
        type=size,
        default=(720, 1280),
        metavar="HxW",
        help="of drawn frames, height and width (default: 720x1280)",
    )
    parser.add_argument(
        "--seconds", type=positive, default=5, help="for each quality (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="the results as JSON")
    args = parser.parse_args(argv)
    if args.source is not None:
        VideoReader(args.source).close()  # refused before the engine loads
    results = []
    for quality in args.quality or QUALITIES:
        given = argparse.Namespace(**vars(args) | {"quality": quality}, **_OTHERS)
        with open_matter(given, lanes=2) as matter:
            results.append(measure(matter, args.source or drawn(args.size), args.seconds))
        if not args.json:
            print(text(results[-1]), flush=True)
    if args.json:
        print(json.dumps(results, indent=2))
    return 0


_OTHERS = {"plate": None, "trimap_from": None, "hybrid": None, "trust_plans": False}


def measure(matter: Matter, source: str | Iterable[np.ndarray], seconds: float) -> dict[str, Any]:
    """Stream ``source`` for some seconds, or to its end: frame rate, stages in ms, and what ran."""
    count, begin = 0, 0.0
    with (
        matter.stream(source) as stream,
        tqdm(desc=matter.quality.name, unit=" frames", leave=False, disable=None) as bar,
    ):
        for count, matte in enumerate(stream):
            shown = matte.over("green")
            if count == 0:
                begin = time.perf_counter()
            bar.update()
            if time.perf_counter() - begin > seconds:
                break
        elapsed = time.perf_counter() - begin
        stats = stream.stats()
    if count == 0:
        raise MatterError(f"{source} has one frame; expected two or more to time")
    return {
        "quality": matter.quality.name,
        "runtime": matter.runtime,
        "device": matter.device,
        "frame": list(shown.shape[:2]),
        "frames": count,
        "seconds": round(elapsed, 3),
        "fps": round(count / elapsed, 2),
        "stages": {name: dataclasses.asdict(times) for name, times in stats.stages.items()},
    }


def text(result: dict[str, Any]) -> str:
    """A result for a person."""
    stages = ", ".join(f"{name} {times['p50']:.1f}" for name, times in result["stages"].items())
    height, width = result["frame"]
    return (
        f"{result['quality']:<9}{result['fps']:6.1f} frames/s of {width}×{height} in "
        f"{result['runtime']} (ms: {stages})"
    )


def drawn(shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """Endless frames, uint8 H×W×3: a disc that moves before a gradient."""
    height, width = shape
    rows = np.linspace(40, 200, height, dtype=np.uint8)[:, None]
    room = cv2.merge([np.broadcast_to(rows + shade, shape).copy() for shade in (0, 20, 40)])
    at = 0
    while True:
        frame = room.copy()
        x = int(width * (0.5 + 0.3 * np.sin(at / 20)))
        cv2.circle(frame, (x, height // 2), height // 4, (90, 120, 200), cv2.FILLED, cv2.LINE_AA)
        yield frame
        at += 1


if __name__ == "__main__":
    start(lambda: run("samples.bench", main))
