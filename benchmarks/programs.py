"""Whole programs beside Matter in the same minutes: time, processor time, and the matte's error.

Three contests, in each of which all take turns:

* **frame**: a 720p frame and a background to the composite.
* **network**: what of that the network takes alone.
* **file**: a video file to a video file.

Photographs with masks give the error of the same mattes, in the same run.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from benchmarks import clips, engines, inputs, photographs
from benchmarks.baselines import isnet, mediapipe, npm_models, pipes
from benchmarks.baselines.by_hand import ByHand, runtimes
from benchmarks.baselines.program import Frame, Program, Tensor
from benchmarks.rounds import Statistics, Turns, statistics_of, take_turns
from matter_sdk.export.errors import BuildError
from matter_sdk.sdk import QUALITIES
from matter_sdk.sdk.cpu import usable_cores

if TYPE_CHECKING:
    from matter_sdk.sdk import Matter

LIVE = "Matter live"  # what ratios are to
RECURRENT = "RVM's structure, drawn weights"
DEMO = ", its demo"
SIZE = "720p"
FILES = ("720p", "1080p")
BY_HAND = "by hand, "
PAUSE = 0.02  # seconds after a turn: longer than threads of the runtimes spin
CLIP, TURNS = 96, 3  # frames of a video, and how often each makes it
QUICK_CLIP, QUICK_TURNS = 24, 1


@dataclass(frozen=True)
class Line:
    """What one took for a frame: seconds, seconds of processor time, times as long as ``LIVE``.

    ``size``: bytes of a file's frame.
    """

    times: Statistics
    work: float
    ratio: float
    size: float | None = None


@dataclass
class Run:
    """All that one run measured, by contestant.

    ``files``: by size. ``errors``: by what the pictures show, "people" or "all".
    ``absent``: what was not measured, and why. ``opened``: the runtime of each quality.
    """

    threads: int
    frame: dict[str, Line] = field(default_factory=dict)
    network: dict[str, Line] = field(default_factory=dict)
    files: dict[str, dict[str, Line]] = field(default_factory=dict)
    errors: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    sets: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    opened: dict[str, str] = field(default_factory=dict)


class ByMatter(Program):
    """A ``Matter``, as an application calls it."""

    def __init__(self, matter: Matter) -> None:
        self.matter = matter

    def prepare(self, frame: Frame) -> Any:
        """See ``Program``."""
        return self.matter.prepare(frame)

    def run(self, prepared: Any) -> Tensor:
        """See ``Program``."""
        return self.matter.infer(prepared)

    def matte(self, frame: Frame) -> Tensor:
        """See ``Program``."""
        return self.matter(frame).alpha

    def __call__(self, frame: Frame, background: Frame) -> Frame:
        """Return the composite of a frame over a background."""
        return self.matter(frame).over(background)


def strangers(
    threads: int, given: Mapping[npm_models.Package, Path | None]
) -> tuple[dict[str, Program], dict[str, str]]:
    """Open the programs that bring networks of their own.

    Args:
        threads: of each network.
        given: unpacked folders; where there is none npm brings the package.

    Returns:
        Programs by name, and why others are absent.

    Raises:
        OSError, ValueError: what was given is not the package.
    """
    found: dict[str, Program] = {}
    absent: dict[str, str] = {}
    try:
        package = npm_models.MEDIAPIPE.find(given.get(npm_models.MEDIAPIPE))
        models = npm_models.read(package, mediapipe.MODELS.values())
        for size, file in mediapipe.MODELS.items():
            found[f"MediaPipe {size}"] = mediapipe.SelfieSegmentation(models[file], threads)
        large, file = next(iter(mediapipe.MODELS.items()))
        found[f"MediaPipe {large}{DEMO}"] = mediapipe.SelfieSegmentation(
            models[file], threads, demo=True
        )
    except (BuildError, ModuleNotFoundError) as error:
        absent["MediaPipe"] = str(error)
    try:
        model = isnet.read(npm_models.ISNET.find(given.get(npm_models.ISNET)))
        found["ISNet 1024×1024, rembg"] = isnet.IsNet(model, threads)
    except BuildError as error:
        absent["ISNet"] = str(error)
    if importlib.util.find_spec("openvino") is None:
        absent[BY_HAND + "OpenVINO"] = absent[RECURRENT] = (
            "openvino is not installed: pip install 'matter-sdk[openvino]'"
        )
    else:
        from benchmarks.baselines.recurrent import Recurrent

        found[RECURRENT] = Recurrent(inputs.SIZES[SIZE], threads)
    return found, absent


def lines(found: Mapping[str, Turns]) -> dict[str, Line]:
    """Set what took turns beside ``LIVE``."""
    return {
        name: Line(
            statistics_of(turns.steady),
            statistics.median(turns.work),
            turns.over(found[LIVE]).median,
        )
        for name, turns in found.items()
    }


def frame_contest(programs: Mapping[str, Program], budget: float) -> dict[str, Line]:
    """Time a frame and a background to the composite."""
    frame, behind = inputs.subject(*inputs.SIZES[SIZE]), inputs.frame(*inputs.SIZES[SIZE])
    calls = {name: functools.partial(one, frame, behind) for name, one in programs.items()}
    return lines(take_turns(calls, budget, pause=PAUSE))


def network_contest(programs: Mapping[str, Program], budget: float) -> dict[str, Line]:
    """Time the networks alone; one that two programs share is timed once."""
    frame = inputs.subject(*inputs.SIZES[SIZE])
    calls = {
        name: functools.partial(one.run, one.prepare(frame))
        for name, one in programs.items()
        if not name.endswith(DEMO)
    }
    return lines(take_turns(calls, budget, pause=PAUSE))


def file_contest(
    matter: Matter, name: str, program: Program, size: str, frames: int, turns: int
) -> dict[str, Line]:
    """Matte a clip of a moving subject over green: ``Matter``, and loops around a program of that
    name, each in turn, in an order of chance.

    Raises:
        RuntimeError: an output has another number of frames than the clip.
    """
    from matter_sdk.sdk.video import matte_video

    shape = inputs.SIZES[size]
    behind = np.broadcast_to(np.array([0, 255, 0], np.uint8), (*shape, 3)).copy()

    def compose(frame: Frame) -> Frame:
        return program(frame, behind)

    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "in.mp4"), Path(folder, "out.mp4")
        clips.write_clip(source, shape, frames)
        calls: dict[str, Callable[[], Any]] = {
            LIVE: lambda: matte_video(matter, source, output, background="green"),
            f"OpenCV, {name}": lambda: pipes.with_opencv(source, output, shape, compose),
        }
        if shutil.which("ffmpeg"):
            for preset in ("ultrafast", "medium"):
                calls[f"ffmpeg pipes, {name}, x264 {preset}"] = functools.partial(
                    pipes.with_ffmpeg, source, output, shape, compose, "-preset", preset
                )
        found = {one: Turns() for one in calls}
        size_of = {}
        orders = random.Random(0)
        for _ in range(turns):
            for one in orders.sample(list(calls), len(calls)):
                begin, worked = time.perf_counter(), _processor_time()
                calls[one]()
                found[one].steady.append((time.perf_counter() - begin) / frames)
                found[one].work.append((_processor_time() - worked) / frames)
                size_of[one] = output.stat().st_size / frames
                if (written := _frames_of(output)) != frames:
                    raise RuntimeError(f"{one} wrote {written} frames, expected {frames}")
                output.unlink()
    return {name: replace(line, size=size_of[name]) for name, line in lines(found).items()}


def _processor_time() -> float:
    """Seconds of this process and of those that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _frames_of(path: Path) -> int:
    reader, count = cv2.VideoCapture(str(path)), 0
    while reader.grab():
        count += 1
    reader.release()
    return count


def errors(
    programs: Mapping[str, Program], people: Sequence[Path], others: Sequence[Path], every: int
) -> tuple[dict[str, dict[str, dict[str, float]]], dict[str, dict[str, dict[str, float]]]]:
    """Measure mattes of photographs with masks.

    Returns:
        Means over the pictures by "people", "all" and contestant; and ``photographs.table``'s.

    Raises:
        DatasetError: a folder is no set of photographs with masks.
    """
    contestants = {
        name: photographs.of_function(one.matte) for name, one in programs.items() if one.trained
    }
    of_people = photographs.table(people, contestants, every)
    every_set = of_people | photographs.table(others, contestants, every)
    kinds = {"people": of_people, "all": every_set}
    return {kind: means(result) for kind, result in kinds.items() if result}, every_set


def means(result: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Take the means over all pictures of sets, by contestant."""
    found = {}
    for name in dict.fromkeys(name for row in result.values() for name in row):
        rows = [row[name] for row in result.values() if name in row]
        count = sum(row["pictures"] for row in rows)
        found[name] = {
            key: sum(row[key] * row["pictures"] for row in rows) / count
            for key in photographs.MEASURES
        } | {"pictures": count}
    return found


def run(
    engine: Path | None,
    threads: int,
    budget: float,
    given: Mapping[npm_models.Package, Path | None],
    people: Sequence[Path],
    others: Sequence[Path],
    *,
    every: int,
    quick: bool,
) -> Run:
    """Measure everything, with progress on stderr.

    The arguments are those of ``programs_page.report``; ``given`` is of ``strangers``.
    """
    from matter_sdk.sdk import Matter

    done = Run(threads)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as opened:
        _say("opening other programs")
        theirs, done.absent = strangers(threads, given)
        for name, reason in done.absent.items():
            _say(f"{name} is left out: {reason}")
        _say("exporting the light network" if engine else "building the light engine")
        built = engines.build(engines.LIGHT, Path(folder), engine=engine, sizes=())
        ours = {
            f"Matter {quality}": opened.enter_context(
                Matter(built.engine, threads=threads, device="cpu", quality=quality)
            )
            for quality in QUALITIES
        }
        hand: dict[str, Program] = {
            BY_HAND + name: ByHand(built, call, inputs.NETWORK)
            for name, call in runtimes(built, threads, compiled=False).items()
            if "PyTorch" not in name
        }
        programs = {name: ByMatter(matter) for name, matter in ours.items()} | hand | theirs
        _say(f"{SIZE} frames")
        done.frame = frame_contest(programs, 2 * budget)
        done.opened = {
            name: f"{'×'.join(map(str, one.size))}, {one.runtime}" for name, one in ours.items()
        }
        _say("networks alone")
        done.network = network_contest(programs, budget)
        streaming = opened.enter_context(
            Matter(built.engine, device="cpu", quality="live", lanes=usable_cores())
        )
        runtime = "OpenVINO" if BY_HAND + "OpenVINO" in hand else "ONNX Runtime"
        for size in FILES:
            _say(f"{size} files")
            clip, turns = (QUICK_CLIP, QUICK_TURNS) if quick else (CLIP, TURNS)
            done.files[size] = file_contest(
                streaming, runtime, hand[BY_HAND + runtime], size, clip, turns
            )
        if not shutil.which("ffmpeg"):
            done.absent["ffmpeg pipes"] = "ffmpeg is not installed"
        if people or others:
            _say("photographs")
            done.errors, done.sets = errors(programs, people, others, every)
    return done


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
