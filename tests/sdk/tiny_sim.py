"""Tiny engines like SIM's, with a known closed form: guided by a trimap, a classifier inside.

    alpha = sum over all 31 input channels of a 3×3 convolution, zeros around
    cam   = W · (image, trimap) at every 32nd pixel

A 3×3 convolution, since both channels of the trimap are 0 wherever alpha is not decided by it: only
their neighbours show there.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from matter_sdk.kernels import distance_maps, preprocess, semantic_trimap, two_channel, windows
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
INPUTS = {"image": 3, "trimap": 2, "clicks": 6, "semantic": 20}
UNIT = InputInfo(std=(255.0, 255.0, 255.0), multiple=8)
IMAGENET = InputInfo(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), multiple=8)

_rng = np.random.default_rng(12)
# Every channel and every neighbour with a weight of its own; no alpha is near 0 or 1.
ALPHA = _rng.uniform(0.5, 1.5, (1, 31, 3, 3)) / 31 / 9 / 2
CAM = _rng.standard_normal((20, 4, 1, 1))


def guided_graph(size: Size, batch: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Concat", list(INPUTS), ["all"], axis=1),
        helper.make_node("Conv", ["all", "weight"], ["alpha"], pads=[1, 1, 1, 1]),
        helper.make_node("Identity", ["image"], ["foreground"]),
        helper.make_node("Neg", ["image"], ["background"]),
    ]
    outputs = {"alpha": (1, *size), "foreground": (3, *size), "background": (3, *size)}
    return model(nodes, {n: (c, *size) for n, c in INPUTS.items()}, outputs, batch, weight=ALPHA)


def classifier_graph(size: Size, batch: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Concat", ["image", "trimap"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "weight"], ["cam"], strides=[32, 32]),
    ]
    height, width = size
    outputs = {"cam": (20, -(-height // 32), -(-width // 32))}
    return model(nodes, {"image": (3, *size), "trimap": (1, *size)}, outputs, batch, weight=CAM)


def classifier_manifest(sizes: tuple[Size, ...], batch: int = 1) -> Manifest:
    return Manifest(
        network=NetworkInfo("sim_classifier", "resnet50", "none", 23_552_148),
        input=IMAGENET,
        extra_inputs=(ExtraInput("trimap", 1),),
        heads=(Head("cam", 20, 32),),
        fusion="cam",
        batch=batch,
        precision="fp32",
        models=tuple(ModelEntry(s, f"classifier/{s[0]}x{s[1]}.onnx") for s in sizes),
        plans=(),
        weights=WeightsInfo("sim_classifier.pth", "7" * 64, False, "none stated"),
    )


def manifest(
    sizes: tuple[Size, ...] = ((64, 96),), batch: int = 1, part_batch: int = 1
) -> Manifest:
    looks = sorted({window[2:] for size in sizes for window in windows(size)})
    return Manifest(
        network=NetworkInfo("sim", "resnet50", "none", 46_609_840),
        input=UNIT,
        extra_inputs=tuple(ExtraInput(*item) for item in list(INPUTS.items())[1:]),
        heads=(Head("alpha", 1), Head("foreground", 3), Head("background", 3)),
        fusion="alpha",
        batch=batch,
        precision="fp16",
        models=tuple(ModelEntry(s, f"model-{s[0]}x{s[1]}.onnx") for s in sizes),
        plans=(),
        weights=WeightsInfo("sim.pth", "6" * 64, False, "none stated"),
        parts={"classifier": classifier_manifest(tuple(looks), part_batch)},
    )


def build(path: Path, about: Manifest | None = None, **changes: Any) -> Path:
    """Write the engine of a manifest (by default ``manifest()``) with ``changes`` to its fields."""
    about = replace(about or manifest(), **changes)
    members: dict[str, bytes | Path] = {
        model.onnx: guided_graph(model.size, about.batch).SerializeToString()
        for model in about.models
    }
    for part in about.parts.values():
        members |= {
            model.onnx: classifier_graph(model.size, part.batch).SerializeToString()
            for model in part.models
        }
    engine_file.write(path, about, members)
    return path


def classify(image: NDArray[np.float32], trimap: NDArray[np.float32]) -> NDArray[np.float32]:
    """The closed form of the classifier."""
    both = np.concatenate([image, trimap], axis=1)[:, :, ::32, ::32]
    return np.einsum("kc,ncyx->nkyx", CAM[:, :, 0, 0], both).astype(np.float32)


def alpha(
    frame: NDArray[np.uint8], trimap: NDArray[np.uint8], size: Size | None = None
) -> NDArray[np.float64]:
    """The closed form of alpha at the network's size, for a trimap of that size."""
    size = size or trimap.shape[:2]
    semantic = semantic_trimap(preprocess(frame, size, IMAGENET.spec())[0], trimap, classify)
    image = preprocess(frame, size, UNIT.spec())[0]
    inputs = np.concatenate([image, two_channel(trimap), distance_maps(trimap), semantic])
    padded = np.pad(inputs.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    height, width = size
    total = np.zeros(size)
    for y in range(3):
        for x in range(3):
            total += np.einsum(
                "c,cyx->yx", ALPHA[0, :, y, x], padded[:, y : y + height, x : x + width]
            )
    return np.select([trimap == 0, trimap == 255], [0.0, 1.0], total.clip(0, 1))
