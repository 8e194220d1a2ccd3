"""The networks that whole frames are timed on, each as an engine, as ONNX and in PyTorch."""

from __future__ import annotations

import contextlib
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import inputs

if TYPE_CHECKING:
    from matter_sdk.sdk.engine.manifest import Manifest

Sizes = tuple[tuple[int, int], ...]

SMALL = (192, 320)  # of the light network too: what quality "live" takes
LIGHT = "light GFM"
# Options of the build. Those without a checkpoint in weights/ have random weights.
NETWORKS = {
    LIGHT: {"model": "gfm"},
    "GFM resnet34": {"model": "gfm", "backbone": "resnet34", "rosta": "tt"},
    "AIM": {"model": "aim"},
}


@dataclass(frozen=True)
class Built:
    """A network in three forms. With random weights the engine's are others than the rest's."""

    name: str
    engine: Path
    onnx: Path
    network: Any  # torch.nn.Module
    random: bool


def manifest_of(engine: Path) -> Manifest:
    """Read an engine's manifest."""
    from matter_sdk.sdk.engine.file import EngineFile

    with contextlib.closing(EngineFile.open(engine)) as opened:
        return opened.manifest


def build(
    name: str, folder: Path, *, engine: Path | None = None, sizes: Sizes | None = None
) -> Built:
    """Build an engine in a folder as ``export.build`` does, and a plain float32 ONNX file as
    ``torch.onnx.export`` leaves it, of ``inputs.NETWORK``'s size.

    Args:
        name: one of ``NETWORKS``.
        folder: for both files.
        engine: one of the same weights that is there, instead of building it.
        sizes: of the engine (height, width); ``()`` for those of a default build.

    Raises:
        ValueError: `name` is not in ``NETWORKS``, or the engine's weights are others.
    """
    if name not in NETWORKS:
        raise ValueError(f"{name!r} is no network; expected one of {', '.join(NETWORKS)}")
    import torch

    from matter_sdk.export.options import BuildOptions, demo_checkpoint
    from matter_sdk.export.pipeline import run
    from matter_sdk.export.progress import Report
    from matter_sdk.training import checkpoints, networks

    chosen = NETWORKS[name]
    demo = demo_checkpoint(**chosen)
    stem = name.replace(" ", "-").lower()
    if engine is not None:
        expected = "" if demo is None else hashlib.sha256(demo.path.read_bytes()).hexdigest()
        if (found := manifest_of(engine).weights.sha256) != expected:
            raise ValueError(f"{engine} is of weights {found[:12]}, expected {expected[:12]}")
    if sizes is None:
        sizes = (inputs.NETWORK, SMALL) if name == LIGHT else (inputs.NETWORK,)
    options = BuildOptions(
        **chosen,  # type: ignore[arg-type]
        random_weights=demo is None,
        sizes=sizes,
        precision="fp16",
        int8=name != LIGHT,  # at its small size INT8 misses the bound
        targets=("onnx",),
        output=folder / f"{stem}.engine",
    )
    resolved = options.resolve()
    if engine is None:
        engine = run(resolved, report=Report(io.StringIO()))
    network: Any = networks.create(
        resolved.model, backbone=resolved.backbone, rosta=resolved.rosta
    ).eval()
    if demo is not None:
        checkpoints.load(network, demo.path)
    path = folder / f"{stem}.onnx"
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, *inputs.NETWORK),),
            path,
            input_names=["image"],
            output_names=list(network.heads),
            dynamo=True,
            external_data=False,
        )
    return Built(name, engine, path, network, demo is None)
