"""The command ``matter``: ``matter image cat.jpg cut.png``; also ``python -m matter_sdk``.

Each word runs a module that can also be run alone, ``python -m samples.image``: see
``sdk.installation.SUBCOMMANDS``. Exit status: 0 done, 1 failed, 2 usage, 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from matter_sdk.sdk import __version__, command_line, installation
from matter_sdk.sdk.errors import expected_one_of

_WORDS = {word: module for module, word in installation.SUBCOMMANDS.items()}
_SHOWN = {
    "image": "cut the subject out of pictures: matter image cat.jpg cut.png",
    "video": "put a video's subject over another background: matter video in.mp4 out.mp4",
    "webcam": "replace a camera's background, live: matter webcam 0 --background blur",
    "serve": "mattes over HTTP and websockets (needs the extra 'serve')",
    "bench": "how many frames a second this machine mattes",
    "info": "what an engine is, and how it was verified",
    "import": "make an engine of another network in ONNX (needs the extra 'export')",
    "web": "write a web page that mattes in the browser (needs the extra 'web')",
    "triton": "write a model repository of Triton Inference Server, and a client for it",
    "build": "build an engine from a checkpoint (needs the extra 'export')",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``matter WORD …``; return its exit status."""
    installation.prefer_short()
    given = list(sys.argv[1:] if arguments is None else arguments)
    word, rest = (given[0], given[1:]) if given else ("", [])
    if word in ("", "-h", "--help", "help"):
        print(_overview(), file=sys.stdout if word else sys.stderr)
        return 0 if word else 2
    if word == "--version":
        print(f"matter {__version__}")
        return 0

    def command() -> int:
        if word not in _WORDS:
            raise command_line.UsageError(
                f"{word!r} is no command of matter; {expected_one_of(word, _WORDS)}"
            )
        run: int = importlib.import_module(f"matter_sdk.{_WORDS[word]}").main(rest)
        return run

    return command_line.run(_WORDS.get(word, "matter"), command)


def entry() -> None:
    """Run as the installed command."""
    command_line.start(main)


def _overview() -> str:
    lines = [f"  {word:<8} {_SHOWN[word]}" for word in _SHOWN]
    return "\n".join(
        [
            "usage: matter WORD …",
            "",
            "Cut the subject out of pictures and live video.",
            "",
            *lines,
            "",
            "matter WORD --help shows what each takes. Exit status: 0 done, 1 failed, 2 usage,",
            "130 interrupted.",
        ]
    )


if __name__ == "__main__":
    entry()
