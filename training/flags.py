"""What the commands here share: a parser whose errors are one line, and the types of flags."""

from __future__ import annotations

import argparse
import re
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
