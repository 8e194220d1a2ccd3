"""What the commands share: a parser, types of flags, exit statuses.

Exit status: 0 done, 1 failed, 2 usage, 130 interrupted. An error is one line on stderr.
"""

from __future__ import annotations

import argparse
import io
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from matter_sdk.sdk.errors import MatterError, did_you_mean, printable
from matter_sdk.sdk.installation import command as typed
from matter_sdk.sdk.installation import engine_path

__all__ = [
    "Parser",
    "UsageError",
    "add_opening",
    "engine_path",
    "path",
    "positive",
    "run",
    "size",
    "start",
    "typed",
    "whole",
    "word",
]


class UsageError(MatterError, ValueError):
    """A command line or an option that cannot be met: exit status 2."""


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError where ``argparse`` prints its usage and exits.

    Flags may stand between the arguments. They are never abbreviated; for an unknown one the
    message names the flag closest to it.

    Args:
        module: the command, as in ``python -m module``.
        description: what it does, in a sentence.
        epilog: shown below the flags.
        prog: given by ``argparse`` to the parsers of subcommands, in place of ``module``.
    """

    def __init__(
        self,
        module: str = "",
        description: str = "",
        epilog: str = "",
        *,
        prog: str = "",
        **more: Any,
    ) -> None:
        self._part = bool(prog)
        super().__init__(
            prog=prog or typed(module),
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            **more,
        )

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(f"{message}; see {self.prog} --help")

    def parse_args(self, *given: Any, **more: Any) -> Any:
        """Parse; raise UsageError for what is not known."""
        words = any(action.nargs == argparse.PARSER for action in self._get_positional_actions())
        parse = self.parse_known_args if words else self.parse_known_intermixed_args
        namespace, unknown = parse(*given, **more)
        self._refuse(unknown)
        return namespace

    def parse_known_args(self, *given: Any, **more: Any) -> tuple[Any, list[str]]:
        """Parse; a subcommand's parser raises UsageError for what is not known."""
        namespace, unknown = super().parse_known_args(*given, **more)
        if self._part:
            self._refuse(unknown)
        return namespace, unknown

    def _refuse(self, unknown: list[str]) -> None:
        if not unknown:
            return
        if not unknown[0].startswith("-"):
            self.error(f"{unknown[0]!r} is one argument too many")
        flags = sorted(self._option_string_actions)
        raise UsageError(
            f"{unknown[0]!r} is not a flag; expected one of {', '.join(flags)}"
            f"{did_you_mean(unknown[0].split('=')[0], flags)}"
        )


def size(text: str) -> tuple[int, int]:
    """``288x512`` → (288, 512), height and width."""
    match = re.fullmatch(r"([1-9]\d{0,4})[xX×]([1-9]\d{0,4})", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size; expected height x width, such as 288x512"
        )
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


def word(text: str) -> str:
    """A text that is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is empty; expected a value, or no such flag")
    return text


def path(text: str) -> Path:
    """A path; ``~`` is the home folder."""
    return Path(word(text)).expanduser()


def add_opening(parser: argparse.ArgumentParser, quality: str = "balanced") -> None:
    """Add the flags that say how an engine is opened: ``Matter``'s arguments of these names.

    Args:
        parser: of a command that mattes.
        quality: its default.
    """
    from matter_sdk.sdk.inference.quality import QUALITIES  # not for commands that matte nothing

    parser.add_argument(
        "--trust-plans",
        action="store_true",
        help="run TensorRT plans, which are native code, that this machine did not build",
    )
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


def run(
    module: str,
    command: Callable[[], int],
    *,
    refused: Callable[[], tuple[type[Exception], ...]] = tuple,
    interrupted: str = "nothing was written",
) -> int:
    """Run a command; say in one line what ends it early. Returns its exit status.

    Args:
        module: the command's name, which begins that line.
        command: returns an exit status. UsageError gives 2, another MatterError 1.
        refused: further errors that give 2; asked for only when there is one.
        interrupted: what Ctrl-C leaves.
    """
    module = typed(module).removeprefix("python -m ")
    try:
        return command()
    except UsageError as error:
        return _said(f"{module}: error: {error}", 2)
    except KeyboardInterrupt:
        return _said(f"{module}: interrupted; {interrupted}", 130)
    except Exception as error:
        if isinstance(error, refused()):
            return _said(f"{module}: error: {error}", 2)
        if isinstance(error, MatterError):
            return _said(f"{module}: failed: {error}", 1)
        raise


def start(main: Callable[[], int]) -> NoReturn:
    """Run ``main`` as this process, and exit; SIGTERM ends it as gently as Ctrl-C.

    A letter that the output's encoding lacks is written as a Python escape.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")  # not every console has every letter
    sys.exit(main())


def _said(line: str, status: int) -> int:
    print(printable(line), file=sys.stderr)
    return status
