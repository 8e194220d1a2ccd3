"""The graph that holds the max-unpool plugin's operator, and the way there."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from torch import Tensor, nn

from matter_sdk.export import max_unpool, onnx_files
from matter_sdk.export.build import BuildOptions, build
from matter_sdk.export.errors import BuildError, UsageError
from matter_sdk.export.stages import graph, plans, precision
from matter_sdk.export.stages.plans import Plan
from matter_sdk.sdk.engine.file import EngineFile
from matter_sdk.training.networks.unpool import MaxPool, MaxUnpool

FP16 = precision.HALVES["fp16"]


class MatterMaxUnpool(OpRun):
    """PyTorch's own operator, by the indices that the offsets stand for."""

    op_domain = max_unpool.DOMAIN

    def _run(self, features: Any, offsets: Any) -> tuple[Any]:
        height, width = features.shape[2:]
        rows = 2 * np.arange(height)[:, None] - 1 + offsets // 3
        columns = 2 * np.arange(width) - 1 + offsets % 3
        indices = torch.from_numpy((rows * 2 * width + columns).astype(np.int64))
        result = nn.functional.max_unpool2d(torch.from_numpy(features), indices, 2, 2)
        return (result.numpy(),)


class Twice(nn.Module):
    """Two unpools by the same offsets, of odd sides, beside a pixel shuffle that is none."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.other = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.pool, self.unpool = MaxPool(), MaxUnpool()
        self.head, self.last = nn.Conv2d(16, 4, 3, 1, 1), nn.Conv2d(1, 1, 3, 1, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        full = torch.relu(self.stem(x))
        pooled, offsets = self.pool(full)
        size = (x.shape[2], x.shape[3])
        one = self.unpool(pooled, offsets, size)
        two = self.unpool(torch.relu(self.other(pooled)), offsets, size)
        shuffled = nn.functional.pixel_shuffle(self.head(torch.cat((one, two), 1)), 2)
        return {"y": self.last(shuffled)[:, :, : size[0], : size[1]]}


def test_the_operator_stands_for_the_plain_form(tmp_path: Path) -> None:
    size = (15, 23)
    torch.manual_seed(0)
    model = graph.export_onnx(Twice().eval(), {"y": 1}, size)
    changed, count = max_unpool.with_plugin(model)
    kinds = [node.op_type for node in changed.graph]
    assert count == kinds.count(max_unpool.NAME) == 2
    assert kinds.count("DepthToSpace") == 1  # that of the pixel shuffle
    assert "Pad" in kinds  # the pooling's own comparisons stay
    assert [node.op_type for node in model.graph].count("DepthToSpace") == 3  # it is a copy
    onnx_files.save(model, tmp_path / "plain.onnx")
    onnx_files.save(changed, tmp_path / "plugin.onnx")
    x = np.random.default_rng(1).standard_normal((1, 3, *size)).astype(np.float32)
    expected = onnxruntime.InferenceSession(tmp_path / "plain.onnx").run(None, {"image": x})
    evaluator = ReferenceEvaluator(str(tmp_path / "plugin.onnx"), new_ops=[MatterMaxUnpool])
    np.testing.assert_allclose(evaluator.run(None, {"image": x})[0], expected[0], atol=1e-5)


def test_in_half_precision(tmp_path: Path) -> None:
    model = graph.export_onnx(Twice().eval(), {"y": 1}, (16, 24))
    typed = precision.typed(model, FP16, precision.protected(model, FP16))
    changed, count = max_unpool.with_plugin(typed)
    assert count == 2
    for node in changed.graph:
        if node.op_type == max_unpool.NAME:
            features, offsets = node.inputs
            assert features is not None
            assert offsets is not None
            kinds = [str(value.dtype) for value in (features, offsets, node.outputs[0])]
            assert kinds == ["FLOAT16", "INT32", "FLOAT16"]


def test_a_graph_without_a_max_unpool(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.PixelShuffle(2))

    class Shuffle(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"y": network(x)[:, :, ::2, ::2]}

    path = tmp_path / "x.onnx"
    onnx_files.save(graph.export_onnx(Shuffle().eval(), {"y": 1}, (16, 24)), path)
    with pytest.raises(BuildError, match="--unpool plugin"):
        max_unpool.write(path)


# ---------------------------------------------------------------------------------------- the build


@pytest.fixture
def full_tensorrt(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """As if TensorRT and a GPU were there; gives what plans are built from."""
    asked: list[tuple[Any, ...]] = []

    def fake(
        runtime: str,
        onnx: Path,
        plan: Path,
        *,
        warn: Any,
        plugins: Any = (),
        capability: str = "",
        tf32: bool = False,
    ) -> Plan:
        del warn
        assert not tf32  # nobody asked for it
        assert capability == ""  # nobody asked for Turing
        asked.append((runtime, onnx.read_bytes().count(b"MatterMaxUnpool") > 0, plugins))
        plan.write_bytes(b"plan")
        return Plan(runtime, "11.4", "9.0" if runtime == "tensorrt" else None, plan)

    monkeypatch.setitem(plans.MODULES, "tensorrt", ("json", ""))  # any module that is installed
    monkeypatch.setitem(plans.MODULES, "tensorrt-rtx", ("json", ""))
    monkeypatch.setattr(plans.gpu, "capability", lambda: "9.0")
    monkeypatch.setattr(plans, "build", fake)
    return asked


def options(path: Path, **more: Any) -> BuildOptions:
    sizes = ((32, 32),)
    return BuildOptions("aim", random_weights=True, sizes=sizes, output=path, **more)


def test_a_plan_says_that_it_needs_the_plugin(
    stand_in: ModuleType, full_tensorrt: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    targets = ("tensorrt", "tensorrt-rtx")
    path = build(options(tmp_path / "x.engine", targets=targets, unpool="plugin"))
    name = max_unpool.NAME
    assert full_tensorrt == [("tensorrt", True, (name,)), ("tensorrt-rtx", False, ())]
    with EngineFile.open(path) as engine:
        plugins = {plan.runtime: plan.plugins for plan in engine.manifest.plans}
        assert b"MatterMaxUnpool" not in bytes(engine.read("model.onnx")).partition(b'"plugins"')[0]
        assert "--unpool plugin" in engine.manifest.build_command()
    assert plugins == {"tensorrt": (name,), "tensorrt-rtx": ()}


def test_what_the_plugin_is_refused_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(model: str, *targets: str) -> BuildOptions:
        return BuildOptions(model, random_weights=True, targets=targets, unpool="plugin")

    monkeypatch.setitem(plans.MODULES, "tensorrt-rtx", ("json", ""))
    monkeypatch.setitem(plans.MODULES, "tensorrt", ("no_such_module", "pip install it"))
    with pytest.raises(UsageError, match=r"--unpool plugin.*pip install it"):
        asked("aim", "tensorrt-rtx").resolve()
    monkeypatch.setitem(plans.MODULES, "tensorrt", ("json", ""))
    monkeypatch.setattr(plans.gpu, "capability", lambda: "9.0")
    with pytest.raises(UsageError, match=r"add --target tensorrt$"):
        asked("aim", "tensorrt-rtx").resolve()
    with pytest.raises(UsageError, match="--model gfm"):
        asked("gfm", "tensorrt").resolve()
    with pytest.raises(UsageError, match=r"--unpool: 'plugins'.*did you mean 'plugin'"):
        BuildOptions("aim", random_weights=True, targets=("onnx",), unpool="plugins").resolve()
    assert asked("aim", "tensorrt").resolve().unpool == "plugin"
    assert BuildOptions("aim", random_weights=True).resolve().unpool == "graph"
