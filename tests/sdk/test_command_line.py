"""Every command: one line for an error, and the exit status that tells what it was."""

from __future__ import annotations

import argparse
import io
import signal
import sys

import pytest

from matter_sdk.sdk import MatterError
from matter_sdk.sdk.command_line import (
    Parser,
    UsageError,
    positive,
    run,
    size,
    start,
    typed,
    whole,
)


@pytest.mark.parametrize(
    ("error", "status", "word"),
    [
        (UsageError("no --flag"), 2, "error"),
        (MatterError("no \x1b[31m engine"), 1, "failed"),
        (OSError("no disk"), 2, "error"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_ends_a_command(
    error: BaseException, status: int, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise error

    assert run("some.command", fail, refused=lambda: (OSError,), interrupted="kept") == status
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"some.command: {word}")
    assert said.err.count("\n") == 1
    assert "\x1b" not in said.err


def test_other_errors_are_faults_and_keep_their_trace() -> None:
    def fail() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run("some.command", fail, refused=lambda: (OSError,))
    assert run("some.command", lambda: 3) == 3


def test_what_an_output_cannot_show_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, encoding="cp1252"))

    def show() -> int:
        print("288×512 → file", flush=True)
        return 0

    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            start(show)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 0
    assert output.getvalue().decode("cp1252").rstrip() == "288×512 \\u2192 file"


def test_sigterm_ends_as_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def terminated() -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    try:
        with pytest.raises(SystemExit) as ended:
            start(lambda: run("some.command", terminated))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 130


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--sise", "1x1"], "'--sise' is not a flag.*did you mean '--size'"),
        (["--ste", "3"], "'--ste' is not a flag"),  # no abbreviations
        (["a", "b"], "'b'"),
        (["--size"], "--size"),
        (["--size", "1x0"], "--size: '1x0'"),
        (["--steps", "0"], "--steps: '0'"),
    ],
)
def test_what_a_parser_refuses(words: list[str], named: str) -> None:
    parser = Parser("some.command")
    parser.add_argument("file", nargs="?")
    parser.add_argument("--size", type=size)
    parser.add_argument("--steps", type=positive, default=1)
    with pytest.raises(UsageError, match=named):
        parser.parse_args(words)


def test_flags_stand_anywhere() -> None:
    parser = Parser("some.command")
    parser.add_argument("places", nargs="+")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--steps", type=positive, default=1)
    given = parser.parse_args(["a", "--json", "b", "--steps", "2", "-"])
    assert (given.places, given.json, given.steps) == (["a", "b", "-"], True, 2)


def test_subcommands_name_their_own_flags() -> None:
    parser = Parser("some.command")
    parser.add_subparsers(required=True).add_parser("build").add_argument("--output")
    with pytest.raises(UsageError, match=r"'--outptu'.*'--output'"):
        parser.parse_args(["build", "--outptu", "x"])
    with pytest.raises(UsageError, match=r"some\.command build --help"):
        parser.parse_args(["build", "--output"])


def test_types_of_flags() -> None:
    assert size("288x512") == size("288×512") == (288, 512)
    assert (whole("0"), positive("7")) == (0, 7)
    for read, text in ((size, "288"), (size, "-1x2"), (whole, "-1"), (whole, "1.5"), (whole, "")):
        with pytest.raises(argparse.ArgumentTypeError, match=repr(text)):
            read(text)


def test_the_command_as_it_is_typed() -> None:
    assert typed("some.command", ["a b", "--n=1"]) == "python -m some.command 'a b' --n=1"
