"""Whole networks and whole frames: ours beside rivals, in the same rounds.

Four questions, each answered by interleaved timing (``benchmarks.timing``):

* **network**: a tensor to alpha, by each runtime bare and by ``Matter.infer``.
* **frame**: a frame and a background to the composite, by ``Matter`` and by each runtime with
  OpenCV around it (``benchmarks.subjects.ByHand``).
* **stream**: as before, a frame's share of a run of many: ``Matter.stream`` overlaps its stages and
  runs a lane of the network on each core, a loop by hand does one thing after the other. Beside the
  light network a recurrent one, of which the network alone is timed (``benchmarks.recurrent``).
* **file**: a video file to a video file, by ``sdk.video.matte_video``, at the network size that a
  quality chooses; the others are at one size.

The light network, of which most is wanted, meets its rivals with each count of threads and on 720p
and 1080p frames; the others with the most threads and on 720p.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matter_sdk.sdk.cpu import usable_cores
from matter_sdk.sdk.inference.quality import ARITHMETIC

from benchmarks import machine, plots, recurrent, scenes, subjects, tables
from benchmarks.clips import clip
from benchmarks.subjects import NETWORK, NETWORKS, ByHand, Subject, runtimes
from benchmarks.timing import Statistics, interleave, ratios, statistics_of

if TYPE_CHECKING:
    from matter_sdk.sdk.engine.manifest import Manifest

OURS = "Matter"
QUALITIES = ("live", "balanced", "studio")
FASTEST = "light GFM"
RECURRENT = "recurrent network alone, OpenVINO"
RUN, SHORTEST_RUN = 48, 12  # frames of a stream; the least of slow networks
TURNS = 3
LOOP = 24  # frames after which a file's clip begins anew


@dataclass
class Contest:
    """What took turns.

    ``apart``: mean absolute difference of a rival's result from PyTorch's. ``overhead``: of a
    backend, how many times as long ``Matter`` takes as it bare, in pairs of calls.
    """

    question: str
    network: str
    size: str
    threads: int
    times: dict[str, Statistics] = field(default_factory=dict)
    apart: dict[str, float] = field(default_factory=dict)
    overhead: dict[str, Statistics] = field(default_factory=dict)


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
    lanes: int
    fps: Statistics
    stages: dict[str, float]


def network_contest(shown: Subject, threads: int, budget: float, *, compiled: bool) -> Contest:
    """Ready tensors to alpha."""
    import numpy as np
    from matter_sdk.sdk import Matter

    with contextlib.ExitStack() as opened:
        frame = scenes.subject(*scenes.SIZES["720p"])
        hand = ByHand(shown, lambda _: {}, NETWORK)
        image = hand.prepare(frame)
        calls: dict[str, Callable[[], Any]] = {
            name: functools.partial(lambda run: hand.fuse(run(image)), run)
            for name, run in runtimes(shown, threads, compiled=compiled).items()
        }
        pairs = {}
        for arithmetic in ARITHMETIC:
            matter = opened.enter_context(
                Matter(
                    shown.engine, threads=threads, device="cpu", arithmetic=arithmetic, size=NETWORK
                )
            )
            calls[f"{OURS} {arithmetic}"] = functools.partial(matter.infer, image)
            bare = functools.partial(matter._network.load(matter.size).run, image)
            calls[f"bare {arithmetic} ({matter.backend})"] = bare
            pairs[f"{arithmetic}, {matter.backend}"] = calls[f"{OURS} {arithmetic}"], bare
        reference = calls["PyTorch eager"]()
        contest = Contest("network", shown.name, f"{NETWORK[0]}×{NETWORK[1]}", threads)
        for name, pair in pairs.items():
            contest.overhead[name] = ratios(*pair, budget / 3)
        for name, call in calls.items():
            result = call()
            if not isinstance(result, dict):
                contest.apart[name] = float(np.abs(result - reference).mean())
        contest.times = {n: times.steady for n, times in interleave(calls, budget).items()}
    return contest


def frame_contest(
    shown: Subject, size: str, threads: int, budget: float, *, compiled: bool
) -> Contest:
    """A frame and a background to the composite."""
    import numpy as np
    from matter_sdk.sdk import Matter

    frame, behind = scenes.subject(*scenes.SIZES[size]), scenes.frame(*scenes.SIZES[size])
    with contextlib.ExitStack() as opened:
        calls: dict[str, Callable[[], Any]] = {
            f"{name}, OpenCV": functools.partial(ByHand(shown, run, NETWORK), frame, behind)
            for name, run in runtimes(shown, threads, compiled=compiled).items()
        }
        for quality in QUALITIES:
            matter = opened.enter_context(
                Matter(shown.engine, threads=threads, device="cpu", quality=quality, size=NETWORK)
            )
            calls[f"{OURS} {quality}"] = functools.partial(
                lambda matter: matter(frame).over(behind), matter
            )
        reference = calls["PyTorch eager, OpenCV"]().astype(np.float32)
        contest = Contest("frame", shown.name, size, threads)
        contest.apart = {
            name: float(np.abs(call() - reference).mean()) for name, call in calls.items()
        }
        contest.times = {n: times.steady for n, times in interleave(calls, budget).items()}
    return contest


def stream_contest(
    shown: Subject, size: str, threads: int, budget: float, *, compiled: bool
) -> Contest:
    """A frame's share of up to ``RUN`` frames composed one after the other."""
    from matter_sdk.sdk import Matter

    frames = list(clip(3, scenes.SIZES[size], 6).frames)
    behind = scenes.frame(*scenes.SIZES[size])
    with contextlib.ExitStack() as opened:
        hands = {
            f"{name}, OpenCV": ByHand(shown, run, NETWORK)
            for name, run in runtimes(shown, threads, compiled=compiled).items()
        }
        calls: dict[str, Callable[[Sequence[Any]], Any]] = {
            name: functools.partial(_by_hand, hand, behind) for name, hand in hands.items()
        }
        for quality in QUALITIES[:2]:
            matter = opened.enter_context(
                Matter(
                    shown.engine,
                    threads=threads,
                    device="cpu",
                    quality=quality,
                    lanes=threads,
                    size=NETWORK,
                )
            )
            calls[f"{OURS} {quality}"] = functools.partial(_streamed, matter, behind)
        if shown.name == FASTEST and size == "720p":
            alone = recurrent.by_openvino(scenes.SIZES[size], threads)
            calls[RECURRENT] = lambda given: alone(len(given))
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for call in calls.values():  # a warm-up
            call(frames)
        begin = time.perf_counter()
        for call in calls.values():
            call(frames)
        together = (time.perf_counter() - begin) / len(frames)
        count = int(min(RUN, max(SHORTEST_RUN, budget / TURNS / together)))
        run_ = [frames[at % len(frames)] for at in range(count)]
        for _ in range(TURNS):
            for name, call in calls.items():
                begin = time.perf_counter()
                call(run_)
                seconds[name].append((time.perf_counter() - begin) / count)
    contest = Contest("stream", shown.name, size, threads)
    contest.times = {name: statistics_of(found) for name, found in seconds.items()}
    return contest


def _by_hand(hand: ByHand, behind: Any, frames: Sequence[Any]) -> None:
    for frame in frames:
        hand(frame, behind)


def _streamed(matter: Any, behind: Any, frames: Sequence[Any]) -> None:
    for matte in matter.stream(frames):
        matte.over(behind)


def file_run(shown: Subject, size: str, quality: str, lanes: int, seconds: float) -> Video:
    """A clip of a subject that moves, with camera noise, to a clip over a colour, three times.

    It is so long that each time takes about so many seconds, or ten frames of a lane.
    """
    from matter_sdk.sdk import Matter
    from matter_sdk.sdk.video import VideoWriter, matte_video

    moving = clip(3, scenes.SIZES[size], LOOP, sway=scenes.SIZES[size][1] / 16).frames
    with (
        tempfile.TemporaryDirectory() as name,
        Matter(shown.engine, device="cpu", quality=quality, lanes=lanes) as matter,
    ):
        runtime, at = matter.runtime, "×".join(map(str, matter.size))
        matter(moving[0])
        begin = time.perf_counter()
        matter(moving[0])
        frames = max(10 * lanes, int(seconds / (time.perf_counter() - begin)))
        source, output = Path(name, "in.mp4"), Path(name, "out.mp4")
        with VideoWriter(source, scenes.SIZES[size]) as writer:
            for number in range(frames):
                writer.write(moving[number % LOOP])
        reports = []
        for _ in range(TURNS):
            reports.append(matte_video(matter, source, output, background="green"))
            output.unlink()
    stages = {
        stage: 1e3 * min(report.stages[stage] for report in reports) / frames
        for stage in reports[0].stages
    }
    fps = statistics_of([report.fps for report in reports])
    return Video(shown.name, size, at, quality, runtime, lanes, fps, stages)


def table_of(contest: Contest) -> str:
    """A contest, the fastest first."""
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
    head = ("", "ms", "p10–p90", "a second", f"from PyTorch, {unit}")
    return tables.table(head, lines)


def videos_table(videos: Sequence[Video]) -> str:
    """Frame rates and stages of files."""
    stages = list(videos[0].stages)
    head = ("network", "size", "at", "quality", "runtime", "frames/s", *(f"{s} ms" for s in stages))
    lines = [
        (
            video.network,
            video.size,
            video.at,
            video.quality,
            video.runtime,
            f"{video.fps.median:.1f} ({video.fps.minimum:.1f} at least)",
            *(f"{video.stages[stage]:.1f}" for stage in stages),
        )
        for video in videos
    ]
    return tables.table(head, lines)


def precision_table(checks: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    """How far each artefact's matte is from PyTorch's on the verification pictures."""
    head = ("network", "artefact", "arithmetic", "SAD", "of alpha")
    lines = [
        (name, c["artefact"], c["precision"], f"{c['sad']:.3g}", f"{c['share']:.2%}")
        for name, found in checks.items()
        for c in found
    ]
    return tables.table(head, lines)


def changes(old: dict[str, Any], contests: Sequence[Contest], videos: Sequence[Video]) -> str:
    """What an earlier run's data say beside these; medians that moved by more than a tenth.

    Raises:
        ValueError: data that no run of this wrote.
    """
    try:
        before = _medians(old["contests"], old["videos"])
    except (KeyError, TypeError) as error:
        raise ValueError(
            "no results of python -m benchmarks pipeline; expected its .json"
        ) from error
    now = _medians(map(asdict, contests), map(asdict, videos))
    lines = [
        (*map(str, key), f"{1e3 * before[key]:.1f}", f"{1e3 * value:.1f}", f"{ratio:.2f}×")
        for key, value in now.items()
        if key in before and abs((ratio := value / before[key]) - 1) > 0.1
    ]
    if not lines:
        both = len(now.keys() & before.keys())
        return f"Nothing of the {both} that both runs hold moved by a tenth."
    head = ("question", "network", "size", "threads", "", "ms before", "ms now", "ratio")
    return tables.table(head, lines)


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
        ("file", v["network"], v["size"], v["lanes"], v["quality"]): 1 / v["fps"]["median"]
        for v in videos
    }


def soak(engine: Path, frames: int = 10_000) -> tuple[float, float]:
    """Megabytes of a process after a tenth of so many 720p frames, and after all.

    The process is one of its own: what was measured before has left much to be given back.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_soaked, engine, frames).result()


def _soaked(engine: Path, frames: int) -> tuple[float, float]:
    from matter_sdk.sdk import Matter

    picture = scenes.subject(*scenes.SIZES["720p"])
    sizes = []
    with Matter(engine, device="cpu", quality="live", lanes=usable_cores()) as matter:
        for at, matte in enumerate(matter.stream(picture for _ in range(frames)), 1):
            matte.over("green")
            if at in (frames // 10, frames):
                sizes.append(machine.resident())
    return sizes[0], sizes[1]


def manifest_of(shown: Subject) -> Manifest:
    """The engine's."""
    from matter_sdk.sdk.engine.file import EngineFile

    with contextlib.closing(EngineFile.open(shown.engine)) as engine:
        return engine.manifest


def verified(manifest: Manifest) -> list[dict[str, Any]]:
    """What the build said of the engine's artefacts."""
    return [
        {
            **{"artefact": c.artefact, "precision": c.precision},
            **{"sad": c.sad, "share": c.share, "bound": c.bound.get("share")},
        }
        for c in manifest.verification
        if c.share is not None
    ]


def matrix_rate() -> float:
    """Floating-point operations a second of one core that multiplies large float32 matrices: more
    than a network's convolutions reach."""
    import torch

    torch.set_num_threads(1)
    side = 1024
    a, b = torch.rand(2, side, side)
    torch.mm(a, b)
    times = []
    for _ in range(30):
        begin = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - begin)
    return 2 * side**3 / min(times)


def floors(macs: Mapping[str, int], rate: float) -> dict[str, float]:
    """Milliseconds that so many multiplications and additions take at least, by a network's size,
    where so many operations are done in a second."""
    return {size.replace("x", "×"): 2e3 * count / rate for size, count in macs.items()}


@dataclass
class Run:
    """All that one run measured. ``memory``: of a network, megabytes early and late. ``floors``:
    of a network, what ``floors`` gives with one core's ``matrix_rate``."""

    contests: list[Contest] = field(default_factory=list)
    videos: list[Video] = field(default_factory=list)
    memory: dict[str, tuple[float, float]] = field(default_factory=dict)
    verified: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    floors: dict[str, dict[str, float]] = field(default_factory=dict)


def run(
    names: Sequence[str],
    threads: Sequence[int],
    budget: float,
    *,
    compiled: bool,
    alone: bool = False,
) -> Run:
    """Everything for some networks, or each of them ``alone``, with progress on stderr; memory is
    the fastest one's."""
    done = Run()
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            _say(f"building {name}")
            shown = subjects.subject(name, Path(folder))
            manifest = manifest_of(shown)
            done.verified[name] = verified(manifest)
            done.floors[name] = floors(manifest.network.macs, matrix_rate())
            sizes = ("720p", "1080p") if name == FASTEST else ("720p",)
            for count in threads if name == FASTEST else (max(threads),):
                _say(f"{name}, network, {count} thread(s)")
                # Compiled for so many threads, which takes a minute or two.
                also = compiled and count == max(threads)
                done.contests.append(network_contest(shown, count, budget, compiled=also))
                for size in () if alone else sizes:
                    _say(f"{name}, {size} frames, {count} thread(s)")
                    done.contests += [
                        frame_contest(shown, size, count, budget, compiled=also),
                        stream_contest(shown, size, count, 2 * budget, compiled=also),
                    ]
            if alone:
                continue
            lanes = usable_cores()
            for size in sizes:
                for quality in ("live", "balanced"):
                    _say(f"{name}, {size} files, {quality}")
                    done.videos.append(file_run(shown, size, quality, lanes, budget / 4))
            if name == FASTEST:  # the others would take half an hour and more
                _say(f"{name}, 10,000 frames")
                done.memory[name] = soak(shown.engine)
    return done


def report(
    names: Sequence[str],
    threads: Sequence[int],
    budget: float,
    output: Path,
    command: str,
    *,
    compiled: bool,
    alone: bool = False,
    old: dict[str, Any] | None = None,
) -> list[Path]:
    """Measure, print and write; returns the files. ``alone``: networks without what surrounds them;
    ``old``: data of an earlier run to compare."""
    unknown = [name for name in names if name not in NETWORKS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no network; expected some of {', '.join(NETWORKS)}")
    facts = machine.describe() | {"command": command, "load_before": machine.load_average()}
    done = run(names, threads, budget, compiled=compiled, alone=alone)
    facts["load_after"] = machine.load_average()
    parts = [
        "# Networks and frames beside their rivals",
        f"`{command}`, {facts['date']}, commit {facts['commit']}.",
        f"{facts['cpu']} ({', '.join(facts['instructions'])}), {facts['cores']} cores; load "
        f"average before "
        f"{' '.join(map(str, facts['load_before']))}, after "
        f"{' '.join(map(str, facts['load_after']))}. "
        + ", ".join(f"{name} {version}" for name, version in facts["versions"].items()),
    ]
    for contest in done.contests:
        plural = "s" if contest.threads > 1 else ""
        parts.append(
            f"## {contest.network}: {contest.question} {contest.size}, {contest.threads} "
            f"thread{plural}"
        )
        parts.append(table_of(contest))
        parts += [
            f"`Matter` over its backend bare, {name}: {ratio.median - 1:+.1%} (median of "
            f"{ratio.count} pairs of calls)."
            for name, ratio in contest.overhead.items()
        ]
    parts.append("## What float32 arithmetic takes at least")
    parts.append(
        "A network's multiplications and additions, at the rate at which one core multiplies "
        "matrices of 1024×1024 here (PyTorch)."
    )
    parts += [
        f"{name} at {size}: {ms:.1f} ms of a core."
        for name, found in done.floors.items()
        for size, ms in found.items()
    ]
    parts += ["## INT8 and float16", precision_table(done.verified)]
    if not alone:
        parts += ["## Files", videos_table(done.videos), "## Memory"]
        parts += [
            f"{name}, live: {first:.0f} MB after 1,000 frames of 720p, {last:.0f} MB after 10,000."
            for name, (first, last) in done.memory.items()
        ]
    if old is not None:
        parts += [f"## Since {old['machine']['date']}", changes(old, done.contests, done.videos)]
    text = "\n\n".join(parts) + "\n"
    print(text)
    kind = machine.kind(facts["cpu"], facts["cores"])
    name = f"{'networks' if alone else 'pipeline'}-{kind}"
    paths = tables.write(output, name, text, {"machine": facts} | asdict(done))
    if alone:
        return paths
    picture = paths[0].with_suffix(".png")
    plots.contests(done.contests, picture)
    return [*paths, picture]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
