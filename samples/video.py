"""Put a video's subject over another background, or cut it out with an alpha channel.

    matter video in.mp4 out.mp4 --background beach.jpg       (or: python -m samples.video …)
    matter video in.mp4 out.mov --alpha
    matter video in.mp4 out.mp4 --plate 0.5

Sound, subtitles, timestamps and orientation are kept. Ctrl-C leaves a playable video of what was
done. With --plate, a picture of the empty place or the second at which the video itself shows it,
the subject is what differs from that (plate mode).

    matter video --ray a.mp4 b.mp4 out/

shares several videos, and parts of long ones, among the machines of a Ray cluster
(samples/cluster_video.py). Parts begin at key frames and are joined without a second encoding.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from matter_sdk import (
    VideoError,
    VideoInterrupted,
    VideoReport,
    check_output,
    distinct_names,
    frame_at,
    matte_video,
)
from matter_sdk.samples import add_matter, matter_options, open_matter
from matter_sdk.samples.cluster import add_ray, with_address
from matter_sdk.samples.cluster_video import matte_videos
from matter_sdk.sdk.command_line import Parser, UsageError, run, start, typed, whole


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = Parser(
        "samples.video", "Put a video's subject over another background, or cut it out."
    )
    parser.add_argument(
        "places",
        nargs="+",
        metavar="IN OUT",
        help="video to read, and where to write: .mp4 .mov .mkv .webm; with --alpha .mov .webm, a "
        "folder or name%%05d.png. With --ray several IN and a folder",
    )
    add_matter(parser)
    parser.add_argument(
        "--plate",
        metavar="FILE|SECOND",
        help="picture of the place without the subject, or when the video shows it (gfm-plate)",
    )
    parser.add_argument(
        "--background",
        default="green",
        help="colour name, #rrggbb, image file, video file (looped), blur or blur:25",
    )
    parser.add_argument("--alpha", action="store_true", help="write the cut-out, with transparency")
    parser.add_argument(
        "--crf", type=whole, help="quality of H.264 (0 to 51) and VP9 (0 to 63): lower is better"
    )
    parser.add_argument("--no-audio", action="store_true", help="drop the sound")
    parser.add_argument(
        "--json", action="store_true", help="print the report as JSON instead of the path"
    )
    add_ray(parser)
    args = parser.parse_args(with_address(sys.argv[1:] if argv is None else argv))
    *sources, args.output = args.places
    if not sources:
        parser.error(f"{args.output!r} is one place alone; expected a video to read and an output")
    if args.ray is not None:
        return on_ray(args, sources)
    if len(sources) > 1:
        parser.error(f"{len(sources)} videos to read; expected one, or --ray and a folder to write")
    args.source = sources[0]

    try:  # before the engine loads
        check_output(args.output, alpha=args.alpha, inputs=[args.source], crf=args.crf)
    except VideoError as error:
        raise UsageError(str(error)) from error
    plate = None if args.plate is None else find_plate(args.plate, args.source)
    with (
        # Two frames in the network at once: nobody waits for a single one.
        open_matter(args, plate=plate, lanes=2) as matter,
        tqdm(unit=" frames", dynamic_ncols=True, disable=None) as bar,
    ):

        def progress(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        try:
            report = matte_video(
                matter,
                args.source,
                args.output,
                background=args.background,
                alpha=args.alpha,
                audio=not args.no_audio,
                crf=args.crf,
                progress=progress,
            )
        except VideoInterrupted as interrupted:
            report = interrupted.report
    show(args, report)
    return 130 if report.interrupted else 0


def show(args: argparse.Namespace, report: VideoReport, out: TextIO | None = None) -> None:
    """Say what was done."""
    # The stages run at the same time: together they take more than the clock shows.
    print(report, *report.notes, sep="\n", file=sys.stderr)
    said = json.dumps(asdict(report), default=str) if args.json else report.path
    print(said, file=out, flush=True)


def find_plate(text: str, source: str) -> Any:
    """``--plate``: the picture's path as it is, or the frame of ``source`` at that second."""
    return frame_at(source, float(text)) if is_second(text) else text


def is_second(text: str | None) -> bool:
    """Whether ``--plate`` says when the video shows its plate."""
    try:
        float(text or "")
    except ValueError:
        return False
    return True


def on_ray(args: argparse.Namespace, sources: Sequence[str]) -> int:
    """Matte videos, and parts of long ones, on the machines of a cluster."""
    outputs = find_outputs(args, sources)
    plate = None if args.plate is None else find_plate(args.plate, sources[0])
    done = matte_videos(
        args.ray,
        [*zip(sources, outputs, strict=True)],
        {**matter_options(args), "plate": plate},
        args.background,
        {"alpha": args.alpha, "audio": not args.no_audio, "crf": args.crf},
    )
    failed = 0
    out = sys.stdout  # Ray says things there of its own, which go elsewhere meanwhile
    with closing(done):
        for source, result in done:
            if isinstance(result, VideoReport):
                show(args, result, out)
                continue
            failed += 1
            print(f"{typed('samples.video')}: failed: {result}", file=sys.stderr)
            if args.json:
                print(json.dumps({"video": source, "error": str(result)}), file=out)
    return 1 if failed else 0


def find_outputs(args: argparse.Namespace, sources: Sequence[str]) -> list[Path]:
    """The file to write for each video of ``--ray``."""
    output = Path(args.output)
    gone = [source for source in sources if "://" in source or Path(source).is_fifo()]
    if gone:
        raise UsageError(f"--ray shares files, and {gone[0]!r} is none; expected a video file")
    if output.suffix and not output.is_dir():
        if len(sources) > 1:
            raise UsageError(
                f"{output} to write to is one file, and {len(sources)} videos are read; expected a "
                "folder"
            )
        outputs = [output]
    else:
        outputs = []
        for source, name in zip(sources, distinct_names([*map(Path, sources)]), strict=True):
            suffix = Path(source).suffix.lower()
            kept = suffix in ((".mov", ".webm") if args.alpha else (".mp4", ".mkv", ".webm"))
            outputs.append(output / f"{name}{suffix if kept else '.mov' if args.alpha else '.mp4'}")
        output.mkdir(exist_ok=True)
    if is_second(args.plate) and len(sources) > 1:
        raise UsageError(
            f"--plate {args.plate} is a second of one video, and {len(sources)} are read; expected "
            "a picture"
        )
    try:
        for file in outputs:
            if file.suffix.lower() == ".png":
                raise VideoError(
                    f"output {file} is a sequence of pictures, expected with --ray a video file"
                )
            check_output(file, alpha=args.alpha, inputs=sources, crf=args.crf)
    except VideoError as error:
        raise UsageError(str(error)) from error
    return outputs


if __name__ == "__main__":
    start(lambda: run("samples.video", main))
