"""Where this package runs, a wheel or a checkout: its own engine, and how its commands are typed.

In a checkout ``python -m export.build`` and its like work at the root; from a wheel there is the
command ``matter``. A message names the one that works here.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from matter_sdk.sdk.errors import EngineError
from matter_sdk.sdk.files import as_path

HOME = Path(__file__).resolve().parents[1]
"""The folder that holds ``sdk``: a checkout's root, or ``matter_sdk`` in site-packages."""
CHECKOUT = (HOME / "pyproject.toml").is_file()

SUBCOMMANDS = {
    "samples.image": "image",
    "samples.video": "video",
    "samples.webcam": "webcam",
    "samples.bench": "bench",
    "sdk.serve": "serve",
    "export.build": "build",
    "export.import_onnx": "import",
    "export.info": "info",
    "export.web": "web",
    "export.triton": "triton",
}
"""The modules of the command ``matter``, and its words for them."""

_short = not CHECKOUT


def prefer_short() -> None:
    """Name commands as ``matter image`` from now on; ``matter`` calls it as it starts."""
    global _short
    _short = True


def command(module: str, words: Iterable[str] = ()) -> str:
    """How a command of ours is typed here: ``matter image cat.jpg``.

    Args:
        module: as in a checkout, such as ``samples.image``; or "matter" itself.
        words: what follows; each is quoted for a shell.
    """
    if module == "matter":
        start = ["matter"]
    elif _short and module in SUBCOMMANDS:
        start = ["matter", SUBCOMMANDS[module]]
    else:
        start = ["python", "-m", module if CHECKOUT else f"matter_sdk.{module}"]
    return shlex.join([*start, *words])


def own_engine(name: str = "gfm") -> Path | None:
    """The engine that comes with a wheel or was built at a checkout's root; None without one.

    A checkout's ``matter_sdk/gfm.engine`` is what ``make wheel`` packs.
    """
    places = (HOME, HOME / "matter_sdk") if CHECKOUT else (HOME,)
    found = (folder / f"{name}.engine" for folder in places)
    return next((path for path in found if path.is_file()), None)


def another_engine() -> str:
    """Where to get an engine, for the message about a file that is none."""
    if not CHECKOUT and own_engine() is not None:
        return "Leave the path out for the engine that came with this package"
    build = command("export.build", ["--model", "gfm", "--fp16", "--output", "gfm.engine"])
    return f"Build one: {build}"


def engine_path(path: str | os.PathLike[str] | None, name: str = "gfm") -> Path:
    """Check the path of an engine; None stands for ``own_engine(name)``.

    Raises:
        EngineError: no path, or None where this installation has no such engine.
    """
    if path is not None:
        return as_path(path, "the engine", EngineError)
    found = own_engine(name)
    if found is None and CHECKOUT:
        build = command("export.build", ["--model", name, "--fp16"])
        raise EngineError(f"there is no {name}.engine in {HOME}. Build it: {build}")
    if found is None:
        raise EngineError(
            f"no {name}.engine came with this package ({HOME}); expected the path of one. A wheel "
            f"that `make wheel` made in a checkout holds gfm.engine; there `python -m export.build "
            f"--model {name} --fp16` builds others"
        )
    return found
