"""Short programs to copy from: ``image``, ``video``, ``webcam``, each one idea.

They share which engine they open (``add_engine``, ``engine``) and the flags for special ways to run
a network (``add_ways``).
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from typing import Any

from matter_sdk import QUALITIES


def scales(text: str) -> tuple[float, float]:
    """The scales of a hybrid-resolution test, as argparse takes them: ``1/3,1/2``."""
    try:
        glance, focus = (float(Fraction(part)) for part in text.split(","))
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r}, expected two scales of the frame such as 1/3,1/2"
        ) from error
    return glance, focus


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add ``--engine``; ``engine`` gives its default."""
    parser.add_argument(
        "--engine", help="engine file (default: gfm.engine; with --plate gfm-plate.engine)"
    )
    parser.add_argument(
        "--trust-plans",
        action="store_true",
        help="run TensorRT plans, which are native code, that this machine did not build",
    )


def engine(args: argparse.Namespace) -> str:
    """The engine that was asked for, or the one that fits the flags."""
    plate = args.plate not in (None, False)
    return args.engine or ("gfm-plate.engine" if plate else "gfm.engine")


def add_ways(parser: argparse.ArgumentParser, quality: str = "balanced") -> None:
    """Add options of ``Matter`` by the same names; ``ways`` gives them."""
    parser.add_argument(
        "--quality",
        choices=tuple(QUALITIES),
        default=quality,
        help="how much work goes into a matte (default: %(default)s)",
    )
    parser.add_argument(
        "--trimap-from",
        metavar="ENGINE",
        help="engine that makes the trimaps, for networks that take one (sim)",
    )
    parser.add_argument(
        "--hybrid",
        type=scales,
        metavar="GLANCE,FOCUS",
        help="two scales of the frame, as 1/3,1/2: glance and focus in passes of their own",
    )


def ways(args: argparse.Namespace) -> dict[str, Any]:
    """The options of ``add_ways``, as ``Matter`` takes them."""
    return {
        name: getattr(args, name) for name in ("quality", "trimap_from", "hybrid", "trust_plans")
    }
