"""The networks that whole frames are timed on, each as an engine, as ONNX and in PyTorch."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import inputs

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


def build(name: str, folder: Path) -> Built:
    """Build an engine in a folder as ``export.build`` does, and a plain float32 ONNX file as
    ``torch.onnx.export`` leaves it, of ``inputs.NETWORK``'s size.

    Raises:
        ValueError: `name` is not in ``NETWORKS``.
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
    options = BuildOptions(
        **chosen,  # type: ignore[arg-type]
        random_weights=demo is None,
        sizes=(inputs.NETWORK, SMALL) if name == LIGHT else (inputs.NETWORK,),
        precision="fp16",
        int8=name != LIGHT,  # at its small size INT8 misses the bound
        targets=("onnx",),
        output=folder / f"{stem}.engine",
    )
    resolved = options.resolve()
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
