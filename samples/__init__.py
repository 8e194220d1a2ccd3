"""Short programs to copy from: ``image``, ``video``, ``webcam``, each one idea.

They share the flags of ``Matter`` (``add_matter``) and how it is opened by them (``open_matter``).
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path
from typing import Any

from matter_sdk import Matter
from matter_sdk.sdk.command_line import add_opening, engine_path


def scales(text: str) -> tuple[float, float]:
    """The scales of a hybrid-resolution test, as argparse takes them: ``1/3,1/2``."""
    try:
        glance, focus = (float(Fraction(part)) for part in text.split(","))
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r}, expected two scales of the frame such as 1/3,1/2"
        ) from error
    return glance, focus


def add_matter(parser: argparse.ArgumentParser, quality: str = "balanced") -> None:
    """Add the flags that ``open_matter`` reads."""
    parser.add_argument(
        "--engine",
        metavar="FILE",
        help="engine (default: gfm.engine of this folder, else the one that came with the package; "
        "with --plate gfm-plate.engine)",
    )
    add_opening(parser, quality)
    parser.add_argument(
        "--hybrid",
        type=scales,
        metavar="GLANCE,FOCUS",
        help="run the network twice, at two scales of the frame, such as 1/3,1/2: coarse for what "
        "the subject is, fine for its edge",
    )


def open_matter(args: argparse.Namespace, **options: Any) -> Matter:
    """Open the engine that was asked for, or the one that fits the flags."""
    return Matter(**matter_options(args), **options)


def matter_options(args: argparse.Namespace) -> dict[str, Any]:
    """``Matter``'s arguments for the flags: the engine's ``path`` and how to open it."""
    name = "gfm" if args.plate in (None, False) else "gfm-plate"
    here = Path(f"{name}.engine")
    given = {
        name: getattr(args, name) for name in ("quality", "trimap_from", "hybrid", "trust_plans")
    }
    path = args.engine or (here if here.is_file() else engine_path(None, name))
    return {"path": path, **given}
