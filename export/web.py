"""Write a web page that mattes in the visitor's browser.

    matter web out/
    matter web gfm.engine out/

The page takes a camera or a picture, puts another background behind the subject and saves the
result. It runs on WebGPU, else in WebAssembly, and loads nothing from elsewhere: any server of
plain files can serve it. Alpha is that of ``Matter(engine)``: see ``docs/browser.md``. Progress
goes to stderr, the folder's path alone to stdout. Exit status: 0 written, 1 failed, 2 usage.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matter_sdk.export.errors import BuildError, UsageError
from matter_sdk.sdk import __version__
from matter_sdk.sdk.backends.graphs import read_graph
from matter_sdk.sdk.command_line import Parser, engine_path, path, run, start
from matter_sdk.sdk.describe import bytes_text
from matter_sdk.sdk.engine.file import EngineFile

PAGE = Path(__file__).with_name("browser") / "page"
ABOUT = "engine.json"


def write_page(engine: str | os.PathLike[str], folder: Path, runtime: Path | None = None) -> None:
    """Write the page of an engine into a folder, whole or not at all.

    Args:
        engine: of a network that mattes a picture alone.
        folder: a new or empty one, or that of an earlier page, which is replaced.
        runtime: the files of ONNX Runtime Web; None: those of the user's cache, or from npm.

    Raises:
        UsageError: the folder holds something else, or the library ``onnx`` is missing.
        EngineError: no readable engine.
        BuildError: another kind of network, no runtime, or a folder that cannot be written.
    """
    if importlib.util.find_spec("onnx") is None:
        raise UsageError("onnx is not installed: pip install 'matter-sdk[web]'")
    folder = folder.absolute()
    if folder.is_file():
        raise UsageError(f"{folder} is a file; expected a folder: matter web [ENGINE] OUT")
    if folder.exists() and any(folder.iterdir()) and not _is_page(folder):
        raise UsageError(
            f"{folder} is not an empty folder; expected that, a new one, or one of an earlier page"
        )
    with EngineFile.open(engine) as opened:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as place:
                made = Path(place, "page")
                made.mkdir()
                _fill(opened, made, runtime)
                if folder.exists():
                    folder.rename(Path(place, "earlier"))
                made.rename(folder)
        except OSError as error:
            raise BuildError(
                f"{folder} cannot be written ({error.strerror or error}); expected a folder on a "
                f"disk with room"
            ) from error


def _is_page(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (ABOUT, "index.html", "worker.js"))


def _fill(engine: EngineFile, folder: Path, runtime: Path | None) -> None:
    from matter_sdk.export.browser import web_runtime
    from matter_sdk.export.browser.picture_graph import picture_graph

    manifest = engine.manifest
    models: list[dict[str, Any]] = []
    weights = None
    for model in manifest.models:
        graph, data = read_graph(engine, model)
        name = f"model-{model.size[0]}x{model.size[1]}.onnx"
        (folder / name).write_bytes(picture_graph(graph, manifest, model))
        models.append({"size": model.size, "graph": name})
        if data is not None and model.data is not None:
            weights = Path(model.data).name  # as the graphs call it
            (folder / weights).write_bytes(data)
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    (folder / "runtime").mkdir()
    about = {
        "network": f"{manifest.network.name} {manifest.network.backbone}".strip(),
        "licence": manifest.weights.licence,
        "matter": __version__,
        "runtime": web_runtime.copy(folder / "runtime", runtime),
        "weights": weights,
        "models": models,
    }
    (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run("export.web", lambda: _web(arguments))


def _web(arguments: Sequence[str] | None) -> int:
    parser = Parser(
        "export.web",
        "Write a web page that mattes in the visitor's browser.",
        "Exit status: 0 written, 1 failed (nothing is written), 2 usage.",
    )
    parser.add_argument(
        "engine",
        nargs="?",
        metavar="ENGINE",
        help="default: the one that came with this package",
    )
    parser.add_argument("folder", type=path, metavar="OUT", help="new, empty or an earlier page's")
    parser.add_argument(
        "--runtime",
        type=path,
        metavar="FOLDER",
        help="files of ONNX Runtime Web (default: npm downloads them once)",
    )
    given = parser.parse_args(arguments)
    write_page(engine_path(given.engine), given.folder, given.runtime)
    size = sum(file.stat().st_size for file in given.folder.rglob("*") if file.is_file())
    serve = f"python -m http.server --directory {shlex.quote(str(given.folder))} 8000"
    print(f"{bytes_text(size)}. Next: {serve}", file=sys.stderr)
    print("and open http://localhost:8000 in a browser", file=sys.stderr)
    print(given.folder)
    return 0


if __name__ == "__main__":
    start(main)
