"""Checkpoints in the released layout, made from the lists of names and shapes in tests/data.

``tests/data/reference`` tells where the lists come from.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from matter_sdk.training import checkpoints

REFERENCE = Path(__file__).parents[1] / "data" / "reference"
BACKBONES = {"resnet34": "r34", "resnet34_2b": "r34_2b", "resnet101": "r101", "densenet121": "d121"}
ROSTAS = ("tt", "ft", "bt", "rim")
NETWORKS = [(backbone, rosta) for backbone in BACKBONES for rosta in ROSTAS]


def listing(name: str) -> dict[str, Any]:
    """``parameters``, ``gmacs_800`` and ``keys``: [name, shape, dtype, alias or None] in order."""
    path = REFERENCE / "checkpoints" / f"{name}.json.gz"
    return json.loads(gzip.decompress(path.read_bytes()))


def key_list(backbone: str, rosta: str) -> dict[str, Any]:
    """The `listing` of a GFM."""
    return listing(f"gfm_{BACKBONES[backbone]}_{rosta}")


def hollow_state(listed: dict[str, Any]) -> dict[str, Tensor]:
    """A state dict of the released names and shapes whose file takes a few hundred kilobytes.

    Each tensor is one number (its position in the list) seen with stride 0, so even resnet101's
    500 M parameters cost nothing; an alias is the same tensor again.
    """
    state: dict[str, Tensor] = {}
    for i, (name, shape, dtype, alias) in enumerate(listed["keys"]):
        number = torch.tensor(i, dtype=getattr(torch, dtype.removeprefix("torch.")))
        state[name] = state[alias] if alias else number.expand(shape)
    return state


def hollow(backbone: str, rosta: str) -> dict[str, Tensor]:
    """`hollow_state` of a GFM."""
    return hollow_state(key_list(backbone, rosta))


def reference_weights(name: str) -> dict[str, Tensor]:
    """The weights of a reference output, by the recipe that came with it."""
    recipe = json.loads((REFERENCE / "recipe.json").read_text())[name]
    checksum = hashlib.sha256()
    state: dict[str, Tensor] = {}
    for key, shape, dtype, alias in listing(name)["keys"]:
        if alias:
            state[key] = state[alias]
            continue
        if "int" in dtype:
            state[key] = torch.zeros(shape, dtype=torch.int64)
            continue
        gain = next(gain for prefix, gain in recipe["gain"] if key.startswith(prefix))
        value = _draw(key, shape, gain) * recipe["multiply"].get(key, 1.0)
        array = np.asarray(recipe["set"].get(key, value)).astype("<f4")
        checksum.update(array.tobytes())
        state[key] = torch.from_numpy(array)
    if checksum.hexdigest() != recipe["sha256"]:
        raise RuntimeError("the recipe's weights did not come out as published")
    return state


def _draw(name: str, shape: list[int], gain: float) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    normal = np.random.default_rng(seed).standard_normal(shape)
    if name.endswith("running_var"):
        return 1 + 0.1 * np.abs(normal)
    if len(shape) >= 2:
        return normal * math.sqrt(gain / math.prod(shape[1:]))
    if len(shape) == 1 and name.endswith("weight"):
        return 1 + 0.1 * normal
    return 0.1 * normal  # biases and running means


def drawn_state(listed: dict[str, Any]) -> dict[str, Tensor]:
    """Random weights in the released layout that keep every layer's output near unit size."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}
    for name, shape, dtype, alias in listed["keys"]:
        if alias:
            state[name] = state[alias]
        elif "int" in dtype:
            state[name] = torch.zeros(shape, dtype=torch.int64)
        else:
            value = torch.randn(shape, generator=generator)
            if len(shape) >= 2:
                value *= math.sqrt(1.5 / math.prod(shape[1:]))
            elif name.endswith("running_var"):
                value = 1 + 0.1 * value.abs()
            else:
                value = 0.1 * value + (1.0 if name.endswith("weight") else 0.0)
            state[name] = value
    return state


def drawn_weights(backbone: str, rosta: str) -> dict[str, Tensor]:
    """`drawn_state` of a GFM."""
    return drawn_state(key_list(backbone, rosta))


# ── Comparing ───────────────────────────────────────────────────────────────────────────────────


def load_and_remove(network: nn.Module, state: dict[str, Tensor], folder: Path) -> None:
    """By way of a file, which goes at once: pytest would keep hundreds of megabytes of each run."""
    path = folder / "released.pth"
    torch.save(state, path)
    checkpoints.load(network, path)
    path.unlink()


def reference_image(name: str) -> Tensor:
    """The input of a reference output, 1×3×96×128 on the network's own scale."""
    rng = np.random.default_rng(0)
    shape = (1, 3, 96, 128)
    image = rng.standard_normal(shape) if name == "aim" else rng.uniform(0, 255, shape)
    return torch.from_numpy(image.astype(np.float32))


def assert_reference(outputs: dict[str, Tensor], name: str) -> None:
    """Compare with every third pixel of a reference output, to 1e-4."""
    reference = np.load(REFERENCE / f"{name}_1x3x96x128_every3.npz")
    for head in ("glance", "focus"):
        found = outputs[head][..., ::3, ::3].numpy()
        np.testing.assert_allclose(found, reference[head], rtol=0, atol=1e-4)
    # Rounding may turn the class where the two largest values of the glance nearly tie.
    glance = np.sort(reference["glance"], axis=1)
    clear = (glance[:, -1:] - glance[:, -2:-1]) > 1e-4
    assert clear.mean() > 0.99
    found = outputs["alpha"][..., ::3, ::3].numpy()
    np.testing.assert_allclose(found[clear], reference["fusion"][clear], rtol=0, atol=1e-4)


def multiply_accumulates(network: nn.Module, height: int, width: int) -> int:
    """Of convolutions and matrix products, for one image; on the meta device it costs nothing."""
    total = 0

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    hooks = [
        module.register_forward_hook(count)
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    network(torch.empty(1, 3, height, width, device="meta"))
    for hook in hooks:
        hook.remove()
    return total
