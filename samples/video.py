"""Put a video's subject over another background, or cut it out with an alpha channel.

    python -m samples.video in.mp4 out.mp4 --engine gfm.engine --background beach.jpg
    python -m samples.video in.mp4 out.mov --alpha

Sound, timestamps and orientation are kept. Ctrl-C leaves a playable video of what was done.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tqdm import tqdm

from samples import add_ways, run
from sdk import Matter
from sdk.video import VideoInterrupted, check_output, matte_video


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m samples.video",
        description="Put a video's subject over another background, or cut it out.",
    )
    parser.add_argument("source", metavar="IN", help="video to read")
    parser.add_argument(
        "output",
        metavar="OUT",
        help=".mp4 .mov .mkv .webm; with --alpha .mov .webm, a folder or name%%05d.png",
    )
    parser.add_argument("--engine", default="gfm.engine", help="engine file (default: gfm.engine)")
    add_ways(parser)
    parser.add_argument(
        "--background",
        default="green",
        help="colour name, #rrggbb, image file, video file (looped), blur or blur:25",
    )
    parser.add_argument("--alpha", action="store_true", help="write the cut-out, with transparency")
    parser.add_argument("--crf", type=int, help="quality of H.264 and VP9: lower is better")
    parser.add_argument("--no-audio", action="store_true", help="leave the sound out")
    args = parser.parse_args(argv)

    check_output(args.output, alpha=args.alpha, inputs=[args.source])  # before the engine loads
    with (
        Matter(args.engine, trimap_from=args.trimap_from, hybrid=args.hybrid) as matter,
        tqdm(unit=" frames", dynamic_ncols=True) as bar,
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
    print(report.path)
    return 130 if report.interrupted else 0


if __name__ == "__main__":
    run(main)
