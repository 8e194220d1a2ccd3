"""Tiny engines like gfm-plate's, with a known closed form: what differs from the plate is in front.

    d      = sum over R, G, B of f(plate − frame) / 340      on raw 0..255, where f(x) is x above 0
                                                          and −x/2 below: frame and plate differ
    glance = (LOW − d, 0, d − HIGH)                       background, transition, foreground
    focus  = d

So alpha is 0 for d below LOW, 1 above HIGH, and d between.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from matter_sdk.sdk.engine import file as engine_file
from matter_sdk.sdk.engine.manifest import (
    ExtraInput,
    Head,
    InputInfo,
    Manifest,
    ModelEntry,
    NetworkInfo,
    WeightsInfo,
)
from tests.sdk.models import model

Size = tuple[int, int]
SIZE = (32, 64)
LOW, HIGH = 0.2504, 0.7496  # never met: of bytes, d is a multiple of 1/680
_WEIGHTS = {
    "sum": np.full((1, 3, 1, 1), 1 / 340),
    "slope": np.array([-1.0, 0.0, 1.0]).reshape(3, 1, 1, 1),
    "offset": np.array([LOW, 0.0, -HIGH]),
}


def graph(size: Size, batch: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Sub", ["plate", "image"], ["difference"]),
        helper.make_node("LeakyRelu", ["difference"], ["distance"], alpha=-0.5),
        helper.make_node("Conv", ["distance", "sum"], ["focus"]),
        helper.make_node("Conv", ["focus", "slope", "offset"], ["glance"]),
    ]
    inputs = {"image": (3, *size), "plate": (3, *size)}
    outputs = {"glance": (3, *size), "focus": (1, *size)}
    return model(nodes, inputs, outputs, batch, **_WEIGHTS)


def manifest(sizes: tuple[Size, ...] = (SIZE,), batch: int = 1) -> Manifest:
    return Manifest(
        network=NetworkInfo("gfm-plate", "efficientnet-lite0", "tt", 3_050_000),
        input=InputInfo(),
        extra_inputs=(ExtraInput("plate", 3),),
        heads=(Head("glance", 3), Head("focus", 1)),
        fusion="tt",
        batch=batch,
        precision="fp16",
        models=tuple(ModelEntry(s, f"model-{s[0]}x{s[1]}.onnx") for s in sizes),
        plans=(),
        weights=WeightsInfo("gfm-plate-efficientnet-lite0-tt.safetensors", "8" * 64, False, "MIT"),
    )


def build(path: Path, about: Manifest | None = None, **changes: Any) -> Path:
    """Write the engine of a manifest (by default ``manifest()``) with ``changes`` to its fields."""
    about = replace(about or manifest(), **changes)
    engine_file.write(
        path, about, {m.onnx: graph(m.size, about.batch).SerializeToString() for m in about.models}
    )
    return path


def alpha(frame: NDArray[np.uint8], plate: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The closed form of alpha, for a frame and a plate of the network's size."""
    difference = plate.astype(int) - frame
    distance = np.where(difference > 0, difference, -difference / 2).sum(axis=2) / 340
    return np.select([distance < LOW, distance > HIGH], [0.0, 1.0], distance)
