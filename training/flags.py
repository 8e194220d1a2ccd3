"""What the commands here share: a parser whose errors are one line, types of flags, an ending."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn


class FlagError(ValueError):
    """A command line that cannot be met."""


class Parser(argparse.ArgumentParser):
    """Raises FlagError where ``argparse`` prints its usage and exits."""

    def __init__(self, module: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=f"python -m {module}", description=description, epilog=epilog, allow_abbrev=False
        )

    def error(self, message: str) -> NoReturn:
        """See the class."""
        raise FlagError(f"{message}; see {self.prog} --help")


def size(text: str) -> tuple[int, int]:
    """``288x512`` → (288, 512), height and width."""
    match = re.fullmatch(r"([1-9]\d{0,4})[xX×]([1-9]\d{0,4})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; expected HxW, such as 288x512")
    return int(match[1]), int(match[2])


def whole(text: str) -> int:
    """A whole number from 0 up."""
    if not re.fullmatch(r"\d{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1 up."""
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def finish(
    module: str,
    arguments: Sequence[str] | None,
    run: Callable[[Sequence[str], str], Sequence[Path]],
    expected: Callable[[], tuple[type[Exception], ...]],
    interrupted: str,
) -> int:
    """Run a command that writes files, and print their paths; returns its exit status.

    Args:
        module: the command's name.
        arguments: the command line's, or None for the process's own.
        run: takes them, and the whole line as it would be typed again.
        expected: errors that are said in one line.
        interrupted: what Ctrl-C leaves.
    """
    words = sys.argv[1:] if arguments is None else arguments
    try:
        paths = run(words, shlex.join(["python", "-m", module, *words]))
    except expected() as error:
        print(f"{module}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{module}: interrupted; {interrupted}", file=sys.stderr)
        return 130
    print(*paths, sep="\n")
    return 0
