"""Every released layout, from a checkpoint file to a verified engine (``pytest -m slow``).

No weights are at hand, so they are drawn; batch norms get the statistics of the verification images
and each head's logits mean 0 and deviation 1.5. Otherwise sigmoids would saturate, classes tie, and
the matte be arbitrary in any arithmetic.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export import verify
from export.build import BuildOptions, build
from kernels import preprocess
from sdk.engine import EngineFile
from tests.training.released import NETWORKS, key_list
from training import networks
from training import released as released_layouts

SIZE = (96, 160)


def settled_weights(backbone: str, rosta: str) -> dict[str, Tensor]:
    """A state dict in the released layout whose network gives mattes that mean something."""
    torch.manual_seed(1)
    network: Any = networks.create("gfm", backbone=backbone, rosta=rosta)
    images = verify.pictures(SIZE)
    x = torch.from_numpy(
        np.concatenate([preprocess(i, SIZE, network.input_spec, order="rgb") for i in images])
    )

    def spread(module: nn.Conv2d, _: Any, output: Tensor) -> None:
        scale = 1.5 / output.std((0, 2, 3))
        module.weight.mul_(scale[:, None, None, None])
        if module.bias is not None:
            module.bias.sub_(output.mean((0, 2, 3))).mul_(scale)

    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    # Residual branches as small as trained ones: 33 of them at full size are chaotic, and blow
    # float32's rounding up to 1e-3.
    for name, parameter in network.named_parameters():
        if name.endswith("bn3.weight"):
            nn.init.constant_(parameter, 0.25)
    with torch.no_grad():
        network.train()(x)
        for module in network.modules():
            if (
                isinstance(module, nn.Conv2d)
                and module.out_channels <= 3
                and module.bias is not None
            ):
                module.register_forward_hook(spread)
        network.eval()(x)
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
    torch.save(settled_weights(backbone, rosta), path)
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
