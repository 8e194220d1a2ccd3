"""Share videos, and parts of long ones, among the machines of a Ray cluster: ``video --ray``."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from tqdm import tqdm

from matter_sdk import (
    Background,
    Matter,
    VideoBackground,
    VideoError,
    VideoReport,
    matte_video,
)
from matter_sdk.samples.cluster import hidden_folder, joined, seen_everywhere, shared
from matter_sdk.sdk.video import UnlikeParts, VideoPart, cut_video, join_video


def matte_videos(
    address: str,
    work: Sequence[tuple[str, Path]],
    options: Mapping[str, Any],
    background: str,
    settings: Mapping[str, Any],
) -> Generator[tuple[str, VideoReport | VideoError], None, None]:
    """Matte videos; yield each with its report, or with what is wrong with it.

    Args:
        address: of the cluster, as ``joined`` takes it.
        work: the videos to read, and the files to write.
        options: of ``Matter``.
        background: what ``Background.open`` takes.
        settings: of ``matte_video``: ``alpha``, ``audio`` and ``crf``.
    """
    behind = Background.open(background)
    behind.close()
    # A looped background counts its turns from the video's begin on: not in parts.
    whole = isinstance(behind, VideoBackground)
    with ExitStack() as stack:
        stack.enter_context(joined(address))
        bar = stack.enter_context(tqdm(unit=" parts", dynamic_ncols=True, disable=None))
        waiting: list[_Video] = []
        for source, output in work:
            try:
                parts = [] if whole else cut_video(source)
            except VideoError as error:
                yield source, error
                continue
            folder = stack.enter_context(hidden_folder(output))
            cut: list[VideoPart | None] = [*parts] if len(parts) > 1 else [None]
            waiting.append(_Video(source, output, folder, cut))
        while waiting:
            jobs = [
                (v, number, job) for v in waiting for number, job in enumerate(v.jobs(settings))
            ]
            bar.total, waiting = bar.n + len(jobs), []
            for at, result in shared(_matte, options, background, [job for *_, job in jobs]):
                video, number, _ = jobs[at]
                video.reports[number] = result
                bar.update()
                if len(video.reports) < len(video.parts):
                    continue
                try:
                    report = video.finish(audio=settings["audio"])
                except UnlikeParts:  # once more, in one go
                    video.parts, video.reports = [None], {}
                    waiting.append(video)
                except VideoError as error:
                    yield video.source, error
                else:
                    yield video.source, report


@dataclass
class _Video:
    """A video whose parts are matted on several machines; one part of None: as a whole."""

    source: str
    output: Path
    folder: Path
    parts: Sequence[VideoPart | None]
    reports: dict[int, dict[str, Any]] = field(default_factory=dict)
    begin: float = field(default_factory=time.perf_counter)

    def file(self, number: int) -> Path:
        """Where a part grows."""
        return self.folder / f"part-{number:05d}{self.output.suffix.lower()}"

    def jobs(self, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What ``_matte`` is to do."""
        return [
            {
                "source": seen_everywhere(self.source),
                "output": str(self.file(number)),
                "part": part and [part.begin, part.end, part.start, str(part.time_base)],
                "settings": {**settings, "audio": settings["audio"] and part is None},
            }
            for number, part in enumerate(self.parts)
        ]

    def finish(self, *, audio: bool) -> VideoReport:
        """Give the output its name, once all parts are there.

        Raises:
            UnlikeParts: they cannot be joined.
            VideoError: as ``join_video``, or of the first part that failed.
        """
        reports = [self.reports[number] for number in range(len(self.parts))]
        wrong = next((report["error"] for report in reports if "error" in report), None)
        if wrong is not None:
            raise VideoError(wrong)
        notes = [note for report in reports for note in report["notes"]]
        parts = [part for part in self.parts if part is not None]
        if parts:
            pieces = [(part, self.file(number)) for number, part in enumerate(parts)]
            notes += join_video(pieces, self.output, self.source if audio else None)
        else:
            self.file(0).replace(self.output)
        return VideoReport(
            self.output,
            sum(report["frames"] for report in reports),
            time.perf_counter() - self.begin,
            tuple(reports[0]["size"]),
            {stage: sum(r["stages"][stage] for r in reports) for stage in reports[0]["stages"]},
            truncated=any(report["truncated"] for report in reports),
            notes=tuple(dict.fromkeys(notes)),
        )


def _matte(matter: Matter, background: Background, job: dict[str, Any]) -> dict[str, Any]:
    """``matte_video`` of a job; return its report."""
    part = None
    if job["part"] is not None:
        begin, end, start, base = job["part"]
        part = VideoPart(begin, end, start, Fraction(base))
    report = matte_video(
        matter, job["source"], job["output"], background=background, part=part, **job["settings"]
    )
    return {**asdict(report), "path": job["output"]}
