"""Put a video's subject over another background, or cut it out with an alpha channel.

    matter video in.mp4 out.mp4 --background beach.jpg       (or: python -m samples.video …)
    matter video in.mp4 out.mov --alpha
    matter video in.mp4 out.mp4 --plate 0.5

Sound, subtitles, timestamps and orientation are kept. Ctrl-C leaves a playable video of what was
done. With --plate, a picture of the empty place or the second at which the video itself shows it,
the subject is what differs from that (plate mode).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tqdm import tqdm

from matter_sdk import VideoError, VideoInterrupted, check_output, frame_at, matte_video
from matter_sdk.samples import add_matter, open_matter
from matter_sdk.sdk.command_line import Parser, UsageError, run, start, whole


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = Parser(
        "samples.video", "Put a video's subject over another background, or cut it out."
    )
    parser.add_argument("source", metavar="IN", help="video to read")
    parser.add_argument(
        "output",
        metavar="OUT",
        help=".mp4 .mov .mkv .webm; with --alpha .mov .webm, a folder or name%%05d.png",
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
    args = parser.parse_args(argv)

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
    # The stages run at the same time: together they take more than the clock shows.
    print(report, *report.notes, sep="\n", file=sys.stderr)
    print(json.dumps(asdict(report), default=str) if args.json else report.path)
    return 130 if report.interrupted else 0


def find_plate(text: str, source: str) -> Any:
    """``--plate``: the picture's path as it is, or the frame of ``source`` at that second."""
    try:
        second = float(text)
    except ValueError:
        return text
    return frame_at(source, second)


if __name__ == "__main__":
    start(lambda: run("samples.video", main))
