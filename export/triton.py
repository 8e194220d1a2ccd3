"""Write a model repository of NVIDIA's Triton Inference Server, and a client for it.

    matter triton gfm.engine models/

writes a model for each network size, ``models/gfm-288x512`` and so on, and a client to copy from,
``models/gfm_client.py``: it prepares frames, asks the server, and makes mattes with this package.
The engine is of a network that takes a picture alone. What was written goes to stdout. Exit status:
0 written, 1 failed, 2 usage.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matter_sdk.export.errors import UsageError
from matter_sdk.sdk import __version__
from matter_sdk.sdk.backends.graphs import read_graph
from matter_sdk.sdk.command_line import Parser, path, run, start
from matter_sdk.sdk.engine.file import EngineFile
from matter_sdk.sdk.engine.manifest import Manifest, ModelEntry
from matter_sdk.sdk.errors import MatterError
from matter_sdk.sdk.files import replace_text

_CLIENT = Path(__file__).with_name("triton_client.py.txt")


def write_repository(engine: Path, repository: Path) -> list[Path]:
    """Write an engine's networks into a model repository, all of them or nothing.

    Args:
        engine: of a network that takes a picture alone.
        repository: a folder; what is in it stays.

    Returns:
        The models' folders, and the client.

    Raises:
        EngineError: the engine cannot be read.
        UsageError: its network takes more than a picture, or what is to be written is there.
        MatterError: it cannot be written.
    """
    with contextlib.closing(EngineFile.open(engine)) as opened:
        manifest = opened.manifest
        if manifest.extra_inputs:
            others = ", ".join(extra.name for extra in manifest.extra_inputs)
            raise UsageError(
                f"{engine} takes {others} beside the picture; expected a network that takes a "
                "picture alone, such as gfm"
            )
        name = _word(engine.stem)
        client = repository / f"{name.replace('-', '_')}_client.py"
        targets = [repository / model_name(name, model) for model in manifest.models]
        there = [str(target) for target in (*targets, client) if target.exists()]
        if there:
            raise UsageError(f"{', '.join(there)} is there already; expected another folder")
        try:
            repository.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".matter.", dir=repository) as folder:
                drafts = [Path(folder) / target.name for target in targets]
                for model, draft in zip(manifest.models, drafts, strict=True):
                    _write_model(opened, model, draft)
                with _all_or_nothing(targets):
                    for draft, target in zip(drafts, targets, strict=True):
                        draft.rename(target)
                    replace_text(client, client_code(manifest, name))
        except OSError as error:
            raise MatterError(
                f"{repository} cannot be written ({error.strerror or error}); expected a folder "
                "with enough space. Nothing was left"
            ) from error
    return [*targets, client]


def model_name(name: str, model: ModelEntry) -> str:
    """What Triton calls a network size: gfm-288x512."""
    return f"{name}-{model.size[0]}x{model.size[1]}"


def configuration(manifest: Manifest, model: ModelEntry, name: str) -> str:
    """The text of ``config.pbtxt``: Triton's ModelConfig in protobuf's text format.

    The batch is fixed in the graph, and so stands among the dimensions.
    """
    inputs = [_tensor("image", (manifest.batch, 3, *model.size))]
    outputs = [
        _tensor(
            head.name,
            (manifest.batch, head.channels, *(-(-side // head.stride) for side in model.size)),
        )
        for head in manifest.heads
    ]
    return "\n".join(
        [
            f"name: {json.dumps(name)}",
            'backend: "onnxruntime"',
            "max_batch_size: 0",
            f"input [{', '.join(inputs)}]",
            f"output [{', '.join(outputs)}]",
            "instance_group [{ kind: KIND_AUTO, count: 1 }]",
            "",
        ]
    )


def client_code(manifest: Manifest, name: str) -> str:
    """The text of the client for an engine's models."""
    models = {model.size: model_name(name, model) for model in manifest.models}
    image = manifest.input
    values: dict[str, Any] = {
        "VERSION": __version__,
        "MODELS": models,
        "SPEC": f"InputSpec(colour={image.colour!r}, mean={image.mean}, std={image.std})",
        "BATCH": manifest.batch,
        "FUSION": repr(manifest.fusion),
    }
    text = _CLIENT.read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = Parser(
        "export.triton",
        "Write a model repository of Triton, and a client for it.",
        "Exit status: 0 written, 1 failed (nothing is written), 2 usage.",
    )
    parser.add_argument("engine", type=path, metavar="ENGINE", help="such as gfm.engine")
    parser.add_argument(
        "repository",
        type=path,
        metavar="FOLDER",
        help="made if it is missing",
    )

    def command() -> int:
        given = parser.parse_args(arguments)
        print(*write_repository(given.engine, given.repository), sep="\n")
        return 0

    return run("export.triton", command)


def _write_model(engine: EngineFile, model: ModelEntry, folder: Path) -> None:
    version = folder / "1"
    version.mkdir(parents=True)
    graph = read_graph(engine, model)
    (version / "model.onnx").write_bytes(graph.content)
    if model.data and graph.data is not None:  # the graph names it by its bare name
        (version / Path(model.data).name).write_bytes(graph.data)
    text = configuration(engine.manifest, model, folder.name)
    (folder / "config.pbtxt").write_text(text, encoding="utf-8")


def _tensor(name: str, dims: Sequence[int]) -> str:
    shown = ", ".join(map(str, dims))
    return f"{{ name: {json.dumps(name)}, data_type: TYPE_FP32, dims: [{shown}] }}"


def _word(stem: str) -> str:
    """A name that can be a folder's and a module's."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in stem).strip("-")
    return kept if kept[:1].isalpha() else f"model-{kept}".strip("-")


@contextlib.contextmanager
def _all_or_nothing(targets: Sequence[Path]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for target in targets:
            shutil.rmtree(target, ignore_errors=True)
        raise


if __name__ == "__main__":
    start(main)
