"""Whole networks and whole frames beside baselines, in the same rounds.

Five questions:

* **network**: a tensor to alpha, by each runtime alone and by ``Matter.infer``.
* **frame**: a frame and a background to the composite, by ``Matter`` and by each runtime with
  OpenCV around it (``baselines.by_hand``).
* **stream**: the same of many frames. ``Matter.stream`` overlaps its stages and runs a slot of the
  network on each core; a loop by hand does one thing after the other. A recurrent network runs
  beside the light one, alone (``baselines.recurrent``).
* **file**: a video file to a video file, by ``sdk.video.matte_video``, at the size that a quality
  chooses. The other questions are of one size.
* **memory**: of a process, early and late in 10,000 frames.

The light network is timed with each number of threads, on 720p and 1080p; the others with the most
threads, on 720p.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import engines, hardware, inputs, page
from benchmarks.baselines import recurrent
from benchmarks.baselines.by_hand import ByHand, runtimes
from benchmarks.clips import clip, moving_subject, write_clip
from benchmarks.engines import LIGHT, Built
from benchmarks.rounds import Statistics, interleave, ratios, statistics_of
from matter_sdk.sdk.cpu import usable_cores
from matter_sdk.sdk.inference.quality import ARITHMETIC

QUESTIONS = ("network", "frame", "stream", "file", "memory")
QUALITIES = ("live", "balanced", "studio")
RECURRENT = "recurrent network alone, OpenVINO"
RUN, SHORTEST_RUN = 48, 12  # frames of a stream; the least of slow networks
TURNS = 3


@dataclass
class Contest:
    """What took turns.

    ``apart``: mean absolute difference of a result from PyTorch's, where both have the same
    weights. ``overhead``: how many times as long ``Matter`` takes as its backend alone, in pairs
    of calls.
    """

    question: str
    network: str
    size: str
    threads: int
    times: dict[str, Statistics] = field(default_factory=dict)
    apart: dict[str, float] = field(default_factory=dict)
    overhead: dict[str, Statistics] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What took turns, in one line."""
        threads = page.plural(self.threads, "thread")
        return f"{self.network}: {self.question} {self.size}, {threads}"


@dataclass(frozen=True)
class Video:
    """One file to another: frames a second of each repetition, and milliseconds of each stage.

    ``at``: the network's size.
    """

    network: str
    size: str
    at: str
    quality: str
    runtime: str
    slots: int
    fps: Statistics
    stages: dict[str, float]


@dataclass
class Run:
    """All that one run measured. ``memory``: of a network, megabytes early and late."""

    contests: list[Contest] = field(default_factory=list)
    videos: list[Video] = field(default_factory=list)
    memory: dict[str, tuple[float, float]] = field(default_factory=dict)
    verified: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def network_contest(built: Built, threads: int, budget: float, *, compiled: bool) -> Contest:
    """Time tensors to alphas."""
    import numpy as np

    from matter_sdk.sdk import Matter

    size = inputs.NETWORK
    with contextlib.ExitStack() as opened:
        hand = ByHand(built, lambda _: {}, size)
        image = hand.prepare(inputs.subject(*inputs.SIZES["720p"]))
        calls: dict[str, Callable[[], Any]] = {
            name: functools.partial(lambda run: hand.fuse(run(image)), run)
            for name, run in runtimes(built, threads, compiled=compiled).items()
        }
        pairs = {}
        for arithmetic in ARITHMETIC:
            matter = opened.enter_context(
                Matter(
                    built.engine, threads=threads, device="cpu", arithmetic=arithmetic, size=size
                )
            )
            calls[f"Matter {arithmetic}"] = functools.partial(matter.infer, image)
            alone = functools.partial(matter._engine.network.load(matter.size).run, image)
            calls[f"backend alone, {arithmetic} ({matter.backend})"] = alone
            pairs[f"{arithmetic}, {matter.backend}"] = calls[f"Matter {arithmetic}"], alone
        contest = Contest("network", built.name, "×".join(map(str, size)), threads)
        for name, pair in pairs.items():
            contest.overhead[name] = ratios(*pair, budget / 3)
        reference = calls["PyTorch eager"]()
        for name, call in calls.items():
            result = call()
            if not isinstance(result, dict) and not built.random:
                contest.apart[name] = float(np.abs(result - reference).mean())
        contest.times = {n: times.steady for n, times in interleave(calls, budget).items()}
    return contest


def frame_contest(
    built: Built, size: str, threads: int, budget: float, *, compiled: bool
) -> Contest:
    """Time a frame and a background to the composite."""
    import numpy as np

    from matter_sdk.sdk import Matter

    network = inputs.NETWORK
    frame, behind = inputs.subject(*inputs.SIZES[size]), inputs.frame(*inputs.SIZES[size])
    with contextlib.ExitStack() as opened:
        calls: dict[str, Callable[[], Any]] = {
            f"{name}, OpenCV": functools.partial(ByHand(built, run, network), frame, behind)
            for name, run in runtimes(built, threads, compiled=compiled).items()
        }
        for quality in QUALITIES:
            matter = opened.enter_context(
                Matter(built.engine, threads=threads, device="cpu", quality=quality, size=network)
            )
            calls[f"Matter {quality}"] = functools.partial(
                lambda matter: matter(frame).over(behind), matter
            )
        contest = Contest("frame", built.name, size, threads)
        reference = calls["PyTorch eager, OpenCV"]().astype(np.float32)
        if not built.random:
            contest.apart = {
                name: float(np.abs(call() - reference).mean()) for name, call in calls.items()
            }
        contest.times = {n: times.steady for n, times in interleave(calls, budget).items()}
    return contest


def stream_contest(
    built: Built, size: str, threads: int, budget: float, *, compiled: bool
) -> Contest:
    """Time up to ``RUN`` frames composed one after the other; a frame's share."""
    from matter_sdk.sdk import Matter

    frames = list(clip(3, inputs.SIZES[size], 6).frames)
    behind = inputs.frame(*inputs.SIZES[size])
    with contextlib.ExitStack() as opened:
        calls: dict[str, Callable[[Sequence[Any]], Any]] = {
            f"{name}, OpenCV": functools.partial(
                _by_hand, ByHand(built, run, inputs.NETWORK), behind
            )
            for name, run in runtimes(built, threads, compiled=compiled).items()
        }
        for quality in QUALITIES[:2]:
            matter = opened.enter_context(
                Matter(
                    built.engine,
                    threads=threads,
                    device="cpu",
                    quality=quality,
                    lanes=threads,
                    size=inputs.NETWORK,
                )
            )
            calls[f"Matter {quality}"] = functools.partial(_streamed, matter, behind)
        if built.name == LIGHT and size == "720p":
            program = recurrent.Recurrent(inputs.SIZES[size], threads)
            tensor = program.prepare(frames[0])
            calls[RECURRENT] = lambda given: [program.run(tensor) for _ in given]
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for call in calls.values():  # a warm-up
            call(frames)
        begin = time.perf_counter()
        for call in calls.values():
            call(frames)
        together = (time.perf_counter() - begin) / len(frames)
        count = int(min(RUN, max(SHORTEST_RUN, budget / TURNS / together)))
        many = [frames[at % len(frames)] for at in range(count)]
        for _ in range(TURNS):
            for name, call in calls.items():
                begin = time.perf_counter()
                call(many)
                seconds[name].append((time.perf_counter() - begin) / count)
    times = {name: statistics_of(found) for name, found in seconds.items()}
    return Contest("stream", built.name, size, threads, times)


def _by_hand(hand: ByHand, behind: Any, frames: Sequence[Any]) -> None:
    for frame in frames:
        hand(frame, behind)


def _streamed(matter: Any, behind: Any, frames: Sequence[Any]) -> None:
    for matte in matter.stream(frames):
        matte.over(behind)


def file_run(built: Built, size: str, quality: str, slots: int, seconds: float) -> Video:
    """Matte a noisy clip of a moving subject to a clip over a colour, three times.

    Each time takes about so many seconds, or ten frames of a slot where that is longer.
    """
    from matter_sdk.sdk import Matter
    from matter_sdk.sdk.video import matte_video

    moving = moving_subject(inputs.SIZES[size])
    with (
        tempfile.TemporaryDirectory() as name,
        Matter(built.engine, device="cpu", quality=quality, lanes=slots) as matter,
    ):
        runtime, at = matter.runtime, "×".join(map(str, matter.size))
        matter(moving[0])
        begin = time.perf_counter()
        matter(moving[0])
        frames = max(10 * slots, int(seconds / (time.perf_counter() - begin)))
        source, output = Path(name, "in.mp4"), Path(name, "out.mp4")
        write_clip(source, inputs.SIZES[size], frames)
        reports = []
        for _ in range(TURNS):
            reports.append(matte_video(matter, source, output, background="green"))
            output.unlink()
    stages = {
        stage: 1e3 * min(report.stages[stage] for report in reports) / frames
        for stage in reports[0].stages
    }
    fps = statistics_of([report.fps for report in reports])
    return Video(built.name, size, at, quality, runtime, slots, fps, stages)


def soak(engine: Path, frames: int = 10_000) -> tuple[float, float]:
    """Return the megabytes of a process after a tenth of so many 720p frames, and after all.

    The process is a new one: what ran before has left much to be given back.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_soaked, engine, frames).result()


def _soaked(engine: Path, frames: int) -> tuple[float, float]:
    from matter_sdk.sdk import Matter

    picture = inputs.subject(*inputs.SIZES["720p"])
    sizes = []
    with Matter(engine, device="cpu", quality="live", lanes=usable_cores()) as matter:
        for at, matte in enumerate(matter.stream(picture for _ in range(frames)), 1):
            matte.over("green")
            if at in (frames // 10, frames):
                sizes.append(hardware.resident())
    return sizes[0], sizes[1]


def verified(built: Built) -> list[dict[str, Any]]:
    """Return how far the build found each artefact from PyTorch; nothing of random weights."""
    checks = () if built.random else engines.manifest_of(built.engine).verification
    return [
        {"artefact": c.artefact, "precision": c.precision, "sad": c.sad, "share": c.share}
        for c in checks
        if c.share is not None
    ]


def run(
    names: Sequence[str],
    threads: Sequence[int],
    budget: float,
    questions: Sequence[str] = QUESTIONS,
    *,
    compiled: bool,
) -> Run:
    """Measure what is asked of some networks, with progress on stderr; memory of the light one."""
    done = Run()
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            _say(f"building {name}")
            built = engines.build(name, Path(folder))
            done.verified[name] = verified(built)
            sizes = ("720p", "1080p") if name == LIGHT else ("720p",)
            for count in threads if name == LIGHT else (max(threads),):
                # Compiled for so many threads, which takes a minute or two.
                also = compiled and count == max(threads)
                if "network" in questions:
                    _say(f"{name}, network, {page.plural(count, 'thread')}")
                    done.contests.append(network_contest(built, count, budget, compiled=also))
                for size in sizes:
                    _say(f"{name}, {size} frames, {page.plural(count, 'thread')}")
                    if "frame" in questions:
                        done.contests.append(
                            frame_contest(built, size, count, budget, compiled=also)
                        )
                    if "stream" in questions:
                        done.contests.append(
                            stream_contest(built, size, count, 2 * budget, compiled=also)
                        )
            for size in sizes if "file" in questions else ():
                for quality in QUALITIES[:2]:
                    _say(f"{name}, {size} files, {quality}")
                    done.videos.append(file_run(built, size, quality, usable_cores(), budget / 4))
            if name == LIGHT and "memory" in questions:  # the others would take half an hour
                _say(f"{name}, 10,000 frames")
                done.memory[name] = soak(built.engine)
    return done


def table_of(contest: Contest) -> str:
    """Write a contest as a table, the fastest first."""
    ranked = sorted(contest.times.items(), key=lambda item: item[1].median)
    unit = "of alpha" if contest.question == "network" else "levels"
    lines = [
        (
            name,
            f"{1e3 * times.median:.1f}",
            f"{1e3 * times.p10:.1f}–{1e3 * times.p90:.1f}",
            f"{1 / times.median:.0f}",
            f"{contest.apart[name]:.1e}" if name in contest.apart else "",
        )
        for name, times in ranked
    ]
    return page.table(("", "ms", "p10–p90", "a second", f"from PyTorch, {unit}"), lines)


def videos_table(videos: Sequence[Video]) -> str:
    """Write frame rates and stages of files as a table."""
    stages = list(videos[0].stages)
    head = ("network", "size", "at", "quality", "runtime", "frames/s", *(f"{s} ms" for s in stages))
    lines = [
        (
            *(video.network, video.size, video.at, video.quality, video.runtime),
            f"{video.fps.median:.1f} ({video.fps.minimum:.1f} at least)",
            *(f"{video.stages[stage]:.1f}" for stage in stages),
        )
        for video in videos
    ]
    return page.table(head, lines)


def markdown(done: Run) -> str:
    """Write the page's section."""
    parts = []
    for contest in done.contests:
        parts += [f"### {contest.title}", table_of(contest)]
        parts += [
            f"`Matter` over its backend alone, {name}: {ratio.median - 1:+.1%} (median of "
            f"{ratio.count} pairs of calls)."
            for name, ratio in contest.overhead.items()
        ]
    precisions = [
        (name, c["artefact"], c["precision"], f"{c['sad']:.3g}", f"{c['share']:.2%}")
        for name, found in done.verified.items()
        for c in found
    ]
    if precisions:
        head = ("network", "artefact", "precision", "SAD", "of alpha")
        parts += ["### Precisions, beside PyTorch's matte", page.table(head, precisions)]
    if done.videos:
        parts += ["### Files", videos_table(done.videos)]
    parts += [
        f"### Memory\n\n{name}, live: {first:.0f} MB after 1,000 frames of 720p, {last:.0f} MB "
        "after 10,000."
        for name, (first, last) in done.memory.items()
    ]
    return "\n\n".join(parts)


def changes(old: dict[str, Any], done: Run) -> str:
    """List the medians that moved by more than a tenth since an earlier run.

    Raises:
        ValueError: data that no run of this wrote.
    """
    try:
        before = _medians(old["contests"], old["videos"])
    except (KeyError, TypeError) as error:
        raise ValueError("not the data of `python -m benchmarks frames`") from error
    now = _medians(map(asdict, done.contests), map(asdict, done.videos))
    lines = [
        (*map(str, key), f"{1e3 * before[key]:.1f}", f"{1e3 * value:.1f}", f"{ratio:.2f}×")
        for key, value in now.items()
        if key in before and abs((ratio := value / before[key]) - 1) > 0.1
    ]
    if not lines:
        return f"None of the {len(now.keys() & before.keys())} in both runs moved by a tenth."
    head = ("question", "network", "size", "threads", "", "ms before", "ms now", "ratio")
    return page.table(head, lines)


def _medians(
    contests: Iterable[dict[str, Any]], videos: Iterable[dict[str, Any]]
) -> dict[tuple[Any, ...], float]:
    """Seconds of everything in a run's data, by what it was."""
    found = {
        (c["question"], c["network"], c["size"], c["threads"], name): times["median"]
        for c in contests
        for name, times in c["times"].items()
    }
    return found | {
        ("file", v["network"], v["size"], v["slots"], v["quality"]): 1 / v["fps"]["median"]
        for v in videos
    }


def report(
    names: Sequence[str],
    threads: Sequence[int],
    budget: float,
    output: Path,
    given: Sequence[str],
    questions: Sequence[str] = QUESTIONS,
    *,
    compiled: bool,
    old: dict[str, Any] | None = None,
) -> list[Path]:
    """Measure and write the page; returns the files. ``old``: data of an earlier run to compare."""
    facts = hardware.begin(given)
    done = run(names, threads, budget, questions, compiled=compiled)
    text = markdown(done)
    if old is not None:
        text += f"\n\n### Since {old['machine']['date']}\n\n{changes(old, done)}"
    return page.write(output, "frames", facts, text, asdict(done))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
