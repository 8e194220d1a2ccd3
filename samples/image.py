"""Cut the subject out of pictures.

    python -m samples.image cat.jpg dog.png --engine gfm.engine --background beach.jpg --output out/

writes for each picture NAME-matte.png (the alpha matte), NAME-cutout.png (the subject with
transparency) and NAME-composite.png (the subject over the background). For many pictures give a
folder, a pattern ('photos/*.jpg') or a numbered sequence (shot.%04d.png); - is the standard input.

    python -m samples.image cat.jpg --output cutout.png

writes one picture of that name, the cut-out, or with --only matte or composite that.

    python -m samples.image cat.jpg --engine sim.engine --trimap cat-trimap.png

A network that takes a trimap reads it from a grey picture of the same size: 0 background, 255
foreground, one grey between for unknown. Or another engine makes it: --trimap-from gfm.engine.

    python -m samples.image cat.jpg --plate empty.jpg

In plate mode the subject is what differs from a picture of the same place without it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from matter_sdk import (
    OPAQUE_SUFFIXES,
    TRANSPARENT_SUFFIXES,
    Background,
    FrameError,
    distinct_names,
    find_pictures,
    read_picture,
    read_trimap,
    write_picture,
)
from matter_sdk.samples import add_matter, open_matter
from matter_sdk.sdk.command_line import Parser, run, start

RESULTS = ("matte", "cutout", "composite")


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = Parser("samples.image", "Cut the subject out of pictures.")
    parser.add_argument("images", nargs="+", metavar="IN", help="pictures, folders, patterns or -")
    add_matter(parser)
    parser.add_argument(
        "--trimap",
        action="append",
        metavar="FILE",
        help="trimap, for networks that take one (sim); once for each picture, in their order",
    )
    parser.add_argument(
        "--plate", metavar="FILE", help="picture of the same place without the subject (gfm-plate)"
    )
    parser.add_argument(
        "--background",
        default="green",
        help="colour name, #rrggbb, image file, or blur (default: green)",
    )
    parser.add_argument(
        "--output",
        default="out",
        type=Path,
        metavar="FOLDER|FILE",
        help="folder to write to (default: out), or the one picture to write, such as cutout.png",
    )
    parser.add_argument("--only", choices=RESULTS, help="write this alone")
    parser.add_argument(
        "--ignore-transparency",
        action="store_true",
        help="matte what is transparent in a picture as if it were not",
    )
    args = parser.parse_args(argv)
    images = find_pictures(args.images)
    targets = find_targets(parser, args, images)
    trimaps: list[Any] = find_pictures(args.trimap or (), repeated=True) or [None] * len(images)
    if len(trimaps) != len(images):
        parser.error(f"{len(trimaps)} trimaps for {len(images)} pictures: give one for each")

    background = Background.open(args.background)
    failed = 0
    with open_matter(args, plate=args.plate, transparency=not args.ignore_transparency) as matter:
        for path, trimap, wanted in zip(images, trimaps, targets, strict=True):
            try:
                image = read_picture(path, transparency=True)
            except FrameError as error:
                print(f"error: {error}", file=sys.stderr)
                failed += 1
                continue
            matte = matter(image, trimap=trimap and read_trimap(trimap))
            for name, target in wanted.items():
                if name == "matte":
                    picture = np.rint(matte.alpha * 255).astype(np.uint8)
                elif name == "cutout":
                    picture = matte.cutout()
                else:  # a still has the time to clean the subject's rim of its old background
                    picture = matte.over(background, clean=True)
                print(write_picture(target, picture))
    return 1 if failed else 0


def find_targets(
    parser: argparse.ArgumentParser, args: argparse.Namespace, images: Sequence[Path]
) -> list[dict[str, Path]]:
    """The files to write for each picture, by what they show; none of them is a picture to read."""
    output: Path = args.output
    suffix = output.suffix.lower()
    if suffix in TRANSPARENT_SUFFIXES | OPAQUE_SUFFIXES and not output.is_dir():
        only = args.only or "cutout"
        if len(images) > 1:
            parser.error(f"--output {output} is one picture and {len(images)} are read: a folder?")
        if only == "cutout" and suffix in OPAQUE_SUFFIXES:
            parser.error(
                f"--output {output} keeps no transparency: {' '.join(sorted(TRANSPARENT_SUFFIXES))}"
            )
        targets = [{only: output}]
    else:
        names = (args.only,) if args.only else RESULTS
        targets = [
            {name: output / f"{stem}-{name}.png" for name in names}
            for stem in distinct_names(images)
        ]
    read = {path.resolve() for path in images}
    for target in (file for wanted in targets for file in wanted.values()):
        if target.resolve() in read:
            parser.error(f"{target} is read and would be written: choose another --output")
    return targets


if __name__ == "__main__":
    start(lambda: run("samples.image", main))
