"""What a checkpoint file holds: tensors and numbers, by names; nothing else is unpickled."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from matter_sdk.sdk.command_line import typed
from matter_sdk.sdk.errors import MatterError
from matter_sdk.training.weights import containers


class CheckpointError(MatterError, ValueError):
    """A file that does not hold the weights of this network, or cannot be read or written."""


class Read(NamedTuple):
    """What a file holds of a network: tensors by name, what lies beside them, and metadata."""

    state: dict[str, Tensor]
    beside: tuple[str, ...]
    metadata: dict[str, str]


def read(path: Path, known: Set[str], entry: str | None = None) -> Read:
    """Read a file's set of weights of a network with these names."""
    content, metadata = unpack(path)
    # Our own file holds one network, as `save` wrote it.
    if entry is None and "network" in metadata and isinstance(content, dict):
        return Read(content, (), metadata)
    return Read(*_tensors(content, path, known, entry), metadata)


def unpack(path: Path) -> tuple[object, dict[str, str]]:
    """Read what a file holds, tensors and numbers only, and its metadata."""
    if kind(path) == "safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                names = file.keys()
                return {key: file.get_tensor(key) for key in names}, file.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise damaged(path, error) from error
    try:
        # Only a zip file (PyTorch >= 1.6) can be mapped.
        mapped = zipfile.is_zipfile(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of other protocols
            with torch.serialization.safe_globals(_HARMLESS):
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        # PyTorch's own text is left out: it recommends to load without weights_only.
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        held = f"the Python object {found[1]}" if found else "something that is not a tensor"
        raise CheckpointError(
            f"{path}: holds {held}, or is damaged; expected tensors only. Nothing of it was run. "
            "Ask its author for the network's state_dict() alone"
        ) from None
    except Exception as error:  # a damaged archive raises almost anything
        raise damaged(path, error) from error
    return content, {}


def kind(path: Path) -> str:
    """Tell ``"safetensors"`` from ``"pytorch"`` by content: a suffix proves nothing."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(f"{path}: {reason}; expected a checkpoint file") from error
    if not head:
        raise CheckpointError(f"{path}: the file is empty; expected a checkpoint. Fetch it again")
    # First the header's length, whose low byte may be any; a header of 4 GB is none.
    if head[4:9] == b"\0\0\0\0{":
        return "safetensors"
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return "pytorch"
    raise CheckpointError(
        f"{path}: begins with {head[:8]!r}; expected a PyTorch file (.pth) or safetensors"
    )


def damaged(path: Path, error: Exception) -> CheckpointError:
    """Return the error for a damaged file; ``error`` is the reader's own."""
    reason = (str(error).splitlines() or [""])[0].strip() or type(error).__name__
    return CheckpointError(
        f"{path}: damaged or incomplete, {path.stat().st_size:,} bytes ({reason}); "
        "expected a whole checkpoint. Fetch it again"
    )


class _Inert:
    """What a harmless object beside the weights is read as: options, paths, NumPy's numbers.

    PyTorch refuses those, and with them the whole file. Nothing of their own classes is run.
    """

    def __new__(cls, *_: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


_HARMLESS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    *(
        (_Inert, name)
        for name in (
            "numpy.dtype",
            "numpy.ndarray",
            *(
                f"numpy.{core}.multiarray.{name}"
                for core in ("core", "_core")
                for name in ("scalar", "_reconstruct")
            ),
            "argparse.Namespace",
            "types.SimpleNamespace",
            *(
                f"pathlib.{module}{name}"
                for module in ("", "_local.")
                for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
            ),
            "datetime.datetime",
            "datetime.timedelta",
        )
    ),
    (dict, "lightning.fabric.utilities.data.AttributeDict"),
    (dict, "lightning_fabric.utilities.data.AttributeDict"),
    (dict, "pytorch_lightning.utilities.parsing.AttributeDict"),
]


def _tensors(
    content: object, path: Path, known: Set[str], entry: str | None
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The set of weights in `content`, and the names of tensors that lie beside it."""
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path}: holds a {type(content).__name__}; expected a state dict, bare or under a key"
        )
    try:
        chosen = containers.choose(content, known, entry)
    except containers.SeveralSets as error:
        names = ", ".join(error.names) or "none that fits"
        example = error.names[-1] if error.names else "NAME"
        choose = [str(path), "--entry", example, "--output", "chosen.safetensors"]
        raise CheckpointError(
            f"{path}: holds {error}: {names}; expected one. Choose it: "
            f"{typed('training.checkpoints', choose)}"
        ) from None
    if chosen is not None:
        for key, kind in chosen.wrong:
            raise CheckpointError(
                f"{path}: entry {key!r} is a {kind}; expected tensors only. Save the network's "
                "state_dict()"
            )
        return chosen.tensors, chosen.beside
    # Of no network that is asked for: as it is, so that the message can say what it looks like.
    inner = content.get("state_dict")
    content = inner if isinstance(inner, Mapping) else content
    for key, tensor in content.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(
                f"{path}: entry {key!r} is a {type(tensor).__name__}; expected tensors only. "
                "Save the network's state_dict()"
            )
    return dict(content), ()
