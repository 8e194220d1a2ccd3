"""Cut the subject out of pictures.

    matter image cat.jpg cut.png        (or: python -m samples.image cat.jpg cut.png)

writes one picture of that name, the cut-out, or with --only matte or composite that. The last of
several places is the one to write to; - is the standard input or output.

    matter image cat.jpg dog.png out/ --background beach.jpg

writes for each picture NAME-matte.png (the alpha matte), NAME-cutout.png (the subject with
transparency) and NAME-composite.png (the subject over the background). For many pictures give a
folder, a pattern ('photos/*.jpg') or a numbered sequence (shot.%04d.png). One place alone, or
several with --output, are all read.

    matter image cat.jpg cut.png --engine sim.engine --trimap cat-trimap.png

A network that takes a trimap reads it from a grey picture of the same size: 0 background, 255
foreground, one grey between for unknown. Or another engine makes it: --trimap-from gfm.engine.

    matter image cat.jpg cut.png --plate empty.jpg

In plate mode the subject is what differs from a picture of the same place without it.

    matter image --ray photos/ out/

shares the pictures among the machines of a Ray cluster: samples/cluster.py.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from matter_sdk import (
    OPAQUE_SUFFIXES,
    TRANSPARENT_SUFFIXES,
    Background,
    FrameError,
    Matter,
    check_kept,
    distinct_names,
    encode_picture,
    find_pictures,
    read_picture,
    read_trimap,
    write_picture,
)
from matter_sdk.samples import add_matter, matter_options, open_matter
from matter_sdk.samples.cluster import (
    add_ray,
    hidden_folder,
    joined,
    seen_everywhere,
    shared,
    with_address,
)
from matter_sdk.sdk.command_line import Parser, run, start, typed

RESULTS = ("matte", "cutout", "composite")
STANDARD = "-"


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = Parser("samples.image", "Cut the subject out of pictures.")
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IN … OUT",
        help="pictures, folders, patterns or - to read; the last of several is where to write: a "
        "picture, a folder or -",
    )
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
        metavar="OUT",
        help="file or folder to write; then every IN is read (default: the last "
        "argument, or the folder out if there is only one)",
    )
    parser.add_argument("--only", choices=RESULTS, help="write only this")
    parser.add_argument(
        "--ignore-transparency",
        action="store_true",
        help="ignore the pictures' own alpha channel",
    )
    parser.add_argument(
        "--json", action="store_true", help="print a line of JSON per picture instead of its path"
    )
    add_ray(parser)
    args = parser.parse_args(with_address(sys.argv[1:] if argv is None else argv))
    if args.output is None:
        args.output = args.images.pop() if len(args.images) > 1 else "out"
    images = find_pictures(args.images)
    targets = find_targets(parser, args, images)
    trimaps: list[Any] = find_pictures(args.trimap or (), repeated=True) or [None] * len(images)
    if len(trimaps) != len(images):
        parser.error(f"{len(trimaps)} trimaps for {len(images)} pictures: give one for each")

    options = {"plate": args.plate, "transparency": not args.ignore_transparency}
    work = [
        {
            "picture": str(image),
            "trimap": trimap and str(trimap),
            "files": {name: str(file) for name, file in files.items()},
        }
        for image, trimap, files in zip(images, trimaps, targets, strict=True)
    ]
    background = Background.open(args.background)
    with contextlib.ExitStack() as stack:
        if args.ray is None:
            matter = stack.enter_context(open_matter(args, **options))
            done = (matte_picture(matter, background, job) for job in work)
        else:
            if args.output == STANDARD or any(map(is_pipe, [*images, *filter(None, trimaps)])):
                parser.error("--ray shares files among machines; expected no pipe and no -")
            given = {**matter_options(args), **options}
            done = stack.enter_context(contextlib.closing(on_ray(args, given, work)))
        return show(args, done, len(work))


def matte_picture(matter: Matter, background: Background, job: dict[str, Any]) -> dict[str, Any]:
    """Matte ``job["picture"]`` and write ``job["files"]``; return what ``--json`` prints."""
    try:
        image = read_picture(job["picture"], transparency=True)
    except FrameError as error:
        return {"picture": job["picture"], "error": str(error)}
    matte = matter(image, trimap=job["trimap"] and read_trimap(job["trimap"]))
    for name, target in job["files"].items():
        if name == "matte":
            picture = np.rint(matte.alpha * 255).astype(np.uint8)
        elif name == "cutout":
            picture = matte.cutout()
        else:  # a still has the time to clean the subject's rim of its old background
            picture = matte.over(background, clean=True)
        if target == STANDARD:
            sys.stdout.buffer.write(encode_picture(picture))
        else:
            write_picture(target, picture)
    return {"picture": job["picture"], **job["files"]}


def on_ray(
    args: argparse.Namespace, options: dict[str, Any], work: Sequence[dict[str, Any]]
) -> Generator[dict[str, Any], None, None]:
    """``matte_picture`` of each job, on the machines of a cluster, as they are done."""
    first = next(Path(file) for job in work for file in job["files"].values())
    with joined(args.ray), hidden_folder(first) as folder:
        jobs = [
            {
                "picture": seen_everywhere(job["picture"]),
                "trimap": job["trimap"] and seen_everywhere(job["trimap"]),
                "files": {name: str(folder / Path(f).name) for name, f in job["files"].items()},
            }
            for job in work
        ]
        for number, result in shared(matte_picture, options, args.background, jobs):
            picture, files = work[number]["picture"], work[number]["files"]
            if "error" in result:
                yield {"picture": picture, "error": result["error"]}
                continue
            for name, file in files.items():
                Path(result[name]).replace(file)
            yield {"picture": picture, **files}


def show(args: argparse.Namespace, done: Iterable[dict[str, Any]], count: int) -> int:
    """Say what was written as it is done; return the exit status."""
    failed = 0
    out = sys.stdout  # Ray says things there of its own, which go elsewhere meanwhile
    hidden = True if count < 2 else None  # None: also where nobody looks at it
    for result in tqdm(done, total=count, unit=" pictures", dynamic_ncols=True, disable=hidden):
        if "error" in result:
            tqdm.write(f"{typed('samples.image')}: failed: {result['error']}", file=sys.stderr)
            failed += 1
        if args.json:
            tqdm.write(json.dumps(result), file=out)
        elif "error" not in result and args.output != STANDARD:
            tqdm.write(
                "\n".join(file for name, file in result.items() if name in RESULTS), file=out
            )
    return 1 if failed else 0


def is_pipe(path: Path) -> bool:
    """Whether a place to read is no file, and gone once it is read."""
    return path == Path("/dev/stdin") or (path.exists() and not path.is_file())


def _looks_like_a_file(place: str) -> bool:
    suffix = Path(place).suffix[1:]
    return (
        suffix.isalpha()
        and len(suffix) <= 6
        and not place.endswith(("/", os.sep))
        and not Path(place).is_dir()
    )


def find_targets(
    parser: argparse.ArgumentParser, args: argparse.Namespace, images: Sequence[Path]
) -> list[dict[str, Path]]:
    """The files to write for each picture, by what they show; none of them is a picture to read."""
    output = Path(args.output)
    suffix, standard = output.suffix.lower(), args.output == STANDARD
    if standard and args.json:
        parser.error("the picture goes to the standard output, and so would --json: choose one")
    if standard or (suffix in TRANSPARENT_SUFFIXES | OPAQUE_SUFFIXES and not output.is_dir()):
        only = args.only or "cutout"
        if len(images) > 1:
            parser.error(
                f"{args.output} to write to is one picture, and {len(images)} are read; expected a "
                "folder. If it is to be read: --output FOLDER"
            )
        if only == "cutout" and suffix in OPAQUE_SUFFIXES:
            parser.error(
                f"{output} to write to keeps no transparency; expected one of "
                f"{' '.join(sorted(TRANSPARENT_SUFFIXES))}, or --only composite. If it is to be "
                "read: --output FOLDER"
            )
        targets = [{only: output}]
    else:
        if _looks_like_a_file(args.output):
            parser.error(
                f"{args.output} to write to ends in {suffix}; expected one of "
                f"{' '.join(sorted(TRANSPARENT_SUFFIXES | OPAQUE_SUFFIXES))}, or a folder: "
                f"{args.output}/"
            )
        names = (args.only,) if args.only else RESULTS
        targets = [
            {name: output / f"{stem}-{name}.png" for name in names}
            for stem in distinct_names(images)
        ]
    try:
        check_kept(images, [file for wanted in targets for file in wanted.values()])
    except FrameError as error:
        parser.error(str(error))
    return targets


if __name__ == "__main__":
    start(lambda: run("samples.image", main))
