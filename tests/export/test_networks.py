"""Every network from its weights to a verified engine (most of it ``pytest -m slow``).

No released weights are at hand, so they are drawn, and fitted to the verification pictures
(`export.random_weights`): otherwise sigmoids would saturate, classes tie, and the matte be
arbitrary in any arithmetic.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from matter_sdk.export import examples, onnx_files, random_weights
from matter_sdk.export.build import BuildOptions, build
from matter_sdk.export.stages import graph, plans, verify
from matter_sdk.kernels import collaborative_fusion
from matter_sdk.sdk.engine.file import EngineFile
from matter_sdk.sdk.engine.manifest import Manifest
from matter_sdk.training import networks
from matter_sdk.training.weights import released as released_layouts
from tests.training.released import NETWORKS, key_list

SIZE = (96, 160)


def drawn_weights(backbone: str, rosta: str) -> dict[str, Tensor]:
    """A state dict in the released layout whose network gives mattes that mean something."""
    torch.manual_seed(1)
    network: Any = networks.create("gfm", backbone=backbone, rosta=rosta)
    single = examples.inputs(network, examples.pictures(SIZE), SIZE)
    (tensors,) = examples.batched(single, len(single))
    random_weights.fit(network, tuple(map(torch.from_numpy, tensors)))
    own = network.state_dict()
    named = {
        name: own[key] for key, names in released_layouts.names(network).items() for name in names
    }
    state: dict[str, Tensor] = {}
    for name, shape, dtype, alias in key_list(backbone, rosta)["keys"]:
        if alias:
            state[name] = state[alias]
        elif name in named:
            state[name] = named[name]
        else:  # entries that the forward pass never reads
            state[name] = torch.zeros(shape, dtype=getattr(torch, dtype.removeprefix("torch.")))
    return state


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "rosta"), NETWORKS)
def test_released_checkpoint_builds_and_verifies(backbone: str, rosta: str, tmp_path: Path) -> None:
    path = tmp_path / "released.pth"
    torch.save(drawn_weights(backbone, rosta), path)
    engine = build(
        BuildOptions(
            "gfm",
            backbone=backbone,
            rosta=rosta,
            weights=(path,),
            sizes=(SIZE,),
            targets=("onnx",),
            output=tmp_path / "gfm.engine",
        )
    )
    with EngineFile.open(engine) as opened:
        report = {
            (entry.artefact, entry.precision): entry.status
            for entry in opened.manifest.verification
        }
    assert report["onnxruntime", "float32"] == "passed"
    assert report["openvino", "float32"] == "passed"
    path.unlink()
    engine.unlink()  # gigabytes, which pytest would keep


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "rosta", "without"),
    [
        ("aim", "unified", ()),
        ("aim", "unified", ("se", "attention")),
        ("msia", "none", ()),
        ("msia", "none", ("ini", "sed", "adaptive")),
        ("sim", "none", ()),
        ("gfm", "rim", ()),
        ("gfm", "tt", ("pyramid", "bridge")),
        ("gfm", "en-median", ()),
        ("gfm-plate", "tt", ()),
    ],
)
def test_every_network_builds_in_float16(
    model: str, rosta: str, without: tuple[str, ...], tmp_path: Path
) -> None:
    """Plans of every TensorRT that builds here; nothing of what runs here is past its bound."""
    path = build(
        BuildOptions(
            model,
            rosta=rosta,
            without=without,
            random_weights=True,
            precision="fp16",
            sizes=(SIZE,),
            output=tmp_path / "x.engine",
        )
    )

    def judge(manifest: Manifest) -> None:
        statuses = {entry.artefact: entry.status for entry in manifest.verification}
        assert statuses["float16 graph"] == "passed"
        assert statuses["onnxruntime"] == "passed"
        assert "failed" not in statuses.values()
        if not plans.missing("tensorrt-rtx"):
            assert "tensorrt-rtx" in {plan.runtime for plan in manifest.plans}

    with EngineFile.open(path) as engine:
        judge(engine.manifest)
        assert engine.manifest.network.without == without
        assert set(engine.manifest.parts) == ({"classifier"} if model == "sim" else set())
        for part in engine.manifest.parts.values():
            judge(part)
    path.unlink()


@pytest.mark.parametrize(("model", "rosta"), [("gfm", "tt"), ("gfm", "ft"), ("gfm-plate", "tt")])
def test_the_light_glance_leaves_before_its_enlargement(
    model: str, rosta: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network: Any = networks.create(model, backbone="efficientnet-lite0", rosta=rosta).eval()
    decoders = network.decoders[rosta]
    for last in (decoders.glance.predict, decoders.focus.predict):
        last.weight.data *= 50  # so that classes and alpha differ from place to place
    inputs = networks.inputs(network)
    exported = graph.export_onnx(
        network, network.heads, (64, 96), inputs=inputs, strides=network.head_strides
    )
    assert not any(node.op_type == "Softmax" for node in exported.graph)
    onnx_files.save(exported, tmp_path / "model.onnx")
    tensors = [np.random.default_rng(1).normal(size=(1, 3, 64, 96)).astype("f4") for _ in inputs]
    heads = verify.session(tmp_path / "model.onnx")(*tensors)
    assert heads["glance"].shape == (1, network.heads["glance"], 8, 12)
    with torch.inference_mode():
        expected = network(*map(torch.from_numpy, tensors))["alpha"].numpy()
    alpha = collaborative_fusion(heads["glance"], heads["focus"], rosta, glance_size=(64, 96))
    assert (np.abs(alpha - expected) > 1e-4).mean() < 1e-3
    assert np.ptp(expected) > 0.5
    assert 0.05 < (expected % 1 == 0).mean() < 0.95  # the glance decides, and the focus too


def test_the_mean_of_three_keeps_its_glances_whole() -> None:
    """``rim`` reads the mattes of all three: nothing may leave before they are made."""
    with torch.device("meta"):
        network: Any = networks.create("gfm", backbone="efficientnet-lite0", rosta="rim")
    assert (network.heads, network.head_strides) == ({"alpha": 1}, {})
