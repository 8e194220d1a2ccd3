"""Cut the subject out of pictures.

    python -m samples.image cat.jpg dog.png --engine gfm.engine --background beach.jpg --output out/

writes for each picture NAME-matte.png (the alpha matte), NAME-cutout.png (the subject with
transparency) and NAME-composite.png (the subject over the background).

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

import cv2
import numpy as np

from samples import add_engine, add_ways, engine, run, ways
from sdk import FrameError, Matter, VideoError
from sdk.background import Background
from sdk.frames import read_image
from sdk.limits import read_picture


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m samples.image", description="Cut the subject out of pictures."
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IN", help="pictures to read")
    add_engine(parser)
    parser.add_argument(
        "--trimap",
        action="append",
        metavar="FILE",
        help="trimap, for networks that take one (sim); once for each picture, in their order",
    )
    parser.add_argument(
        "--plate", metavar="FILE", help="picture of the same place without the subject (gfm-plate)"
    )
    add_ways(parser)
    parser.add_argument(
        "--background",
        default="green",
        help="colour name, #rrggbb, image file, or blur (default: green)",
    )
    parser.add_argument(
        "--output", default="out", type=Path, metavar="FOLDER", help="where to write (default: out)"
    )
    args = parser.parse_args(argv)
    names = [path.stem for path in args.images]
    if len(set(names)) < len(names):
        parser.error("two pictures have the same name, and would overwrite each other's results")

    trimaps = args.trimap or [None] * len(args.images)
    if len(trimaps) != len(args.images):
        parser.error(f"{len(trimaps)} trimaps for {len(args.images)} pictures: give one for each")

    background = Background.open(args.background)
    failed = 0
    with Matter(engine(args), plate=args.plate, **ways(args)) as matter:
        for path, trimap in zip(args.images, trimaps, strict=True):
            try:
                image = read_image(path)
            except (FrameError, OSError) as error:
                print(f"error: {error}", file=sys.stderr)
                failed += 1
                continue
            if image is None:
                print(f"error: {path} is not a picture that OpenCV reads", file=sys.stderr)
                failed += 1
                continue
            matte = matter(image, trimap=trimap and read_trimap(trimap))
            results = {
                "matte": np.rint(matte.alpha * 255).astype(np.uint8),
                "cutout": matte.cutout(),
                # A still has the time to clean the subject's rim of its old background.
                "composite": matte.over(background, clean=True),
            }
            for name, picture in results.items():
                print(save(args.output / f"{path.stem}-{name}.png", picture))
    return 1 if failed else 0


def read_trimap(path: str) -> np.ndarray:
    """A trimap as grey values; whether they are right is for ``Matter`` to say.

    Programs differ in the one grey that stands for unknown: it becomes the 128 of ``Matter``.
    """
    try:
        trimap = cv2.imdecode(read_picture(Path(path)), cv2.IMREAD_GRAYSCALE)
    except (OSError, cv2.error):  # such as no file, or an empty one
        trimap = None
    if trimap is None:
        raise FrameError(f"{path} is not a picture that OpenCV reads; expected a trimap")
    between = np.setdiff1d(trimap, (0, 255))
    if len(between) == 1 and 64 <= between[0] <= 191:
        trimap[trimap == between[0]] = 128
    return trimap


def save(path: Path, picture: np.ndarray) -> Path:
    """Write a PNG file; a half-written one never stands under its name."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        partial.replace(path)
    except OSError as error:
        raise VideoError(f"{path} cannot be written: {error.strerror}") from error
    return path


if __name__ == "__main__":
    run(main)
