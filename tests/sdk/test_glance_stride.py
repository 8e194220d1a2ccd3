"""An engine whose glance ends as logits before the last enlargement mattes as one that holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from matter_sdk.sdk import Matter
from matter_sdk.sdk.engine.manifest import Head
from tests.sdk import tiny_sim
from tests.sdk.checks import smooth_frame
from tests.sdk.conftest import HEADS, Tiny

OPTIONS: dict[str, Any] = {"backend": "onnxruntime", "threads": 1, "guided": False}
STRIDE = 4


class Quarter(Tiny):
    """Tiny, whose glance is told at a quarter of the size, and enlarged in the graph or not."""

    def __init__(self, folder: Path, *, enlarged: bool) -> None:
        super().__init__(folder)
        self.enlarged = enlarged

    def graph(self, size: tuple[int, int], batch: int = 1, fusion: str = "tt") -> onnx.ModelProto:
        model = super().graph(size, batch, fusion)
        nodes = model.graph.node
        del nodes[1], nodes[0]  # its Conv and Sigmoid
        quarter = {"kernel_shape": [STRIDE, STRIDE], "strides": [STRIDE, STRIDE]}
        conv = ["small", "glance_weight", "glance_bias"]
        added = [helper.make_node("AveragePool", ["image"], ["small"], **quarter)]
        if self.enlarged:
            scales = np.array([1, 1, STRIDE, STRIDE], np.float32)
            model.graph.initializer.append(numpy_helper.from_array(scales, "scales"))
            added += [
                helper.make_node("Conv", conv, ["logits"]),
                helper.make_node("Resize", ["logits", "", "scales"], ["large"], mode="linear"),
                helper.make_node("Softmax", ["large"], ["glance"], axis=1),
            ]
        else:
            added.append(helper.make_node("Conv", conv, ["glance"]))
            shape = [batch, HEADS[fusion][0].channels, *(side // STRIDE for side in size)]
            glance = helper.make_tensor_value_info("glance", TensorProto.FLOAT, shape)
            model.graph.output[0].CopyFrom(glance)
        for node in reversed(added):
            nodes.insert(0, node)
        onnx.checker.check_model(model)
        return model

    def engine(self, *sizes: tuple[int, int], fusion: str = "tt") -> Path:
        heads = (
            replace(HEADS[fusion][0], stride=1 if self.enlarged else STRIDE),
            Head("focus", 1),
        )
        return self.build(
            f"{self.enlarged}.engine",
            sizes=sizes,
            fusion=fusion,
            change=lambda manifest: replace(manifest, heads=heads),
        )


def assert_alike(alphas: Sequence[NDArray[np.float32]]) -> None:
    assert np.ptp(alphas[0]) > 0.2
    # Two classes may be equal but for their last bit.
    assert (np.abs(alphas[0] - alphas[1]) > 1e-6).mean() < 1e-3


@pytest.mark.parametrize("fusion", ["tt", "ft", "bt"])
def test_one_pass(tmp_path: Path, fusion: str) -> None:
    frame = smooth_frame((192, 320))
    alphas = []
    for enlarged in (True, False):
        path = Quarter(tmp_path, enlarged=enlarged).engine((64, 128), fusion=fusion)
        with Matter(path, **OPTIONS) as matter:
            alphas.append(matter.infer(matter.prepare(frame)))
    assert_alike(alphas)


def test_two_passes(tmp_path: Path) -> None:
    frame = smooth_frame((192, 320))
    alphas = []
    for enlarged in (True, False):
        path = Quarter(tmp_path, enlarged=enlarged).engine((96, 160), (64, 96))
        with Matter(path, hybrid=(1 / 3, 1 / 2), **OPTIONS) as matter:
            alphas.append(matter.infer(matter.prepare(frame)))
    assert_alike(alphas)


def test_trimaps_from_its_glance(tmp_path: Path) -> None:
    sim = tiny_sim.build(tmp_path / "sim.engine")
    frame = smooth_frame((64, 128))
    alphas = []
    for enlarged in (True, False):
        source = Quarter(tmp_path, enlarged=enlarged).engine((64, 128))
        with Matter(sim, trimap_from=source, **OPTIONS) as matter:
            alphas.append(matter.infer(matter.prepare(frame)))
    assert_alike(alphas)
