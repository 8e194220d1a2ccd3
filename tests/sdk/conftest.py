"""A tiny engine with a known closed form, built with onnx.helper: no torch and no exporter.

The graph, on raw RGB in 0..255:

    glance[k] = sigmoid(8 (x[k] / 255 - 0.5))            a 1×1 convolution for each channel
    focus     = sigmoid(4 m - 2)                         m: 3×3 mean of (R + G + B) / 765

So the arg-max over glance is the largest colour channel: red is background, green transition, blue
foreground.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from matter_sdk.sdk.engine import file as engine_file
from matter_sdk.sdk.engine.manifest import (
    Head,
    InputInfo,
    Manifest,
    ModelEntry,
    NetworkInfo,
    PlanEntry,
    Verification,
    WeightsInfo,
)

Size = tuple[int, int]
HEADS = {
    "tt": (Head("glance", 3), Head("focus", 1)),
    "ft": (Head("glance", 2), Head("focus", 1)),
    "bt": (Head("glance", 2), Head("focus", 1)),
    "alpha": (Head("alpha", 1),),
}


class Tiny:
    """Builds engines of the graph above and computes in NumPy what they should give."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def graph(self, size: Size, batch: int = 1, fusion: str = "tt") -> onnx.ModelProto:
        height, width = size
        weights = {
            "glance_weight": (np.eye(3) * 8 / 255).reshape(3, 3, 1, 1),
            "glance_bias": np.full(3, -4.0),
            "focus_weight": np.full((1, 3, 1, 1), 4 / 765),
            "focus_bias": np.full(1, -2.0),
        }
        if fusion in ("ft", "bt"):
            weights["glance_weight"] = weights["glance_weight"][:2]
            weights["glance_bias"] = weights["glance_bias"][:2]
        nodes = [
            helper.make_node("Conv", ["image", "glance_weight", "glance_bias"], ["glance_logit"]),
            helper.make_node("Sigmoid", ["glance_logit"], ["glance"]),
            helper.make_node(
                "AveragePool", ["image"], ["mean"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]
            ),
            helper.make_node("Conv", ["mean", "focus_weight", "focus_bias"], ["focus_logit"]),
            helper.make_node("Sigmoid", ["focus_logit"], ["focus"]),
        ]
        if fusion == "alpha":  # beyond 0..1 on both sides, as an unbounded head may be
            weights |= {"gain": np.full(1, 3.0), "offset": np.full(1, -1.0)}
            nodes += [
                helper.make_node("Mul", ["focus", "gain"], ["scaled"]),
                helper.make_node("Add", ["scaled", "offset"], ["alpha"]),
            ]
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, height, width])],
            [
                helper.make_tensor_value_info(
                    head.name, TensorProto.FLOAT, [batch, head.channels, height, width]
                )
                for head in HEADS[fusion]
            ],
            [numpy_helper.from_array(v.astype(np.float32), n) for n, v in weights.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    @staticmethod
    def marked(proto: onnx.ModelProto) -> onnx.ModelProto:
        """A graph to stand for INT8: its focus is 1 everywhere, which tells that it ran."""
        other = onnx.ModelProto()
        other.CopyFrom(proto)
        for tensor in other.graph.initializer:
            if tensor.name == "focus_bias":
                tensor.CopyFrom(numpy_helper.from_array(np.full(1, 100, np.float32), tensor.name))
        return other

    def manifest(
        self, sizes: tuple[Size, ...] = ((32, 64),), batch: int = 1, fusion: str = "tt"
    ) -> Manifest:
        return Manifest(
            matter="0.1.0",
            created="2026-01-31T12:00:00Z",
            network=NetworkInfo(
                "gfm", "efficientnet-lite0", "tt", 1_234_567, {"32x64": 1_500_000_000}
            ),
            input=InputInfo(),
            heads=HEADS[fusion],
            fusion=fusion,
            batch=batch,
            precision="fp16",
            models=tuple(
                ModelEntry(size, "model.onnx" if i == 0 else f"model-{size[0]}x{size[1]}.onnx")
                for i, size in enumerate(sizes)
            ),
            plans=(),
            weights=WeightsInfo("gfm-efficientnet-lite0-tt.safetensors", "5" * 64, False, "MIT"),
            versions={"onnx": onnx.__version__},
            verification=(
                Verification(
                    "onnxruntime",
                    sizes[0],
                    "float32",
                    "passed",
                    sad=0.0012,
                    mse=1e-9,
                    mad=2e-6,
                    largest=3e-4,
                    bound={"mad": 1e-4},
                ),
                Verification("tensorrt-rtx", sizes[0], "fp16", "not run", "no GPU on this machine"),
            ),
        )

    def build(
        self,
        name: str = "tiny.engine",
        sizes: tuple[Size, ...] = ((32, 64),),
        batch: int = 1,
        fusion: str = "tt",
        change: Callable[[Manifest], Manifest] = lambda manifest: manifest,
        graph: onnx.ModelProto | None = None,
    ) -> Path:
        manifest = change(self.manifest(sizes, batch, fusion))
        members: dict[str, bytes | Path] = {}
        for model in manifest.models:
            proto = graph or self.graph(model.size, batch, fusion)
            members[model.onnx] = proto.SerializeToString()
            if model.int8 is not None:
                members[model.int8.onnx] = self.marked(proto).SerializeToString()
        members |= {plan.file: b"plan" for plan in manifest.plans}
        path = self.folder / name
        engine_file.write(path, manifest, members)
        return path

    def build_external(
        self,
        name: str = "external.engine",
        sizes: tuple[Size, ...] = ((32, 64),),
        change: Callable[[Manifest], Manifest] = lambda manifest: manifest,
        graph: onnx.ModelProto | None = None,
    ) -> Path:
        """The same with all weights in the member ``model.onnx.data``, once for all sizes."""
        manifest = change(self.manifest(sizes))
        models = tuple(replace(model, data="model.onnx.data") for model in manifest.models)
        members: dict[str, bytes | Path] = {}
        for model in models:
            proto = graph or self.graph(model.size)
            data = externalise(proto, "model.onnx.data")
            assert members.setdefault("model.onnx.data", data) == data
            members[model.onnx] = proto.SerializeToString()
        path = self.folder / name
        engine_file.write(path, replace(manifest, models=models), members)
        return path

    def plan(self, runtime: str = "tensorrt-rtx", version: str = "1.7.1.116") -> PlanEntry:
        return PlanEntry(runtime, version, None, (32, 64), f"plans/{runtime}-{version}.plan")

    @staticmethod
    def heads(image: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The closed form of glance and focus for N×3×H×W raw RGB."""
        x = image.astype(np.float64)
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        ones = np.pad(np.ones(x.shape[2:]), 1)
        height, width = x.shape[2:]
        total = np.zeros_like(x)
        count = np.zeros(x.shape[2:])
        for dy in range(3):
            for dx in range(3):
                total += padded[:, :, dy : dy + height, dx : dx + width]
                count += ones[dy : dy + height, dx : dx + width]
        mean = (total / count).sum(axis=1, keepdims=True) / 765
        return 1 / (1 + np.exp(4 - x * 8 / 255)), 1 / (1 + np.exp(2 - 4 * mean))

    @classmethod
    def alpha(cls, frame: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The closed form of alpha for a BGR frame of exactly the network's size (tt)."""
        image = frame[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32)
        _, focus = cls.heads(image)
        kind = np.argmax(image[0], axis=0)  # the sigmoid keeps the order of R, G, B
        return np.where(kind == 1, focus[0, 0], np.where(kind == 2, 1.0, 0.0))


def externalise(graph: onnx.ModelProto, location: str) -> bytes:
    """Move the bytes of all tensors with two dimensions or more to ``location``; returns them.

    Sizes and axes, which have one, stay: ONNX Runtime reads them in the graph alone.
    """
    data = b""
    for tensor in graph.graph.initializer:
        if len(tensor.dims) < 2:
            continue
        raw = tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", len(data)), ("length", len(raw))):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(value)
        data += raw
    return data


@pytest.fixture(scope="session")
def _shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Tiny(tmp_path_factory.mktemp("engine")).build()


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    """Builds tiny engines in a folder of the test's own."""
    return Tiny(tmp_path)


@pytest.fixture
def engine_path(tmp_path: Path, _shared_engine: Path) -> Path:
    """A tiny engine of 32×64, the test's own copy."""
    return Path(shutil.copy(_shared_engine, tmp_path / "tiny.engine"))


@pytest.fixture
def frame() -> NDArray[np.uint8]:
    """A BGR frame of the tiny network's size: random, so that all three classes occur."""
    return np.random.default_rng(7).integers(0, 256, (32, 64, 3), np.uint8)
