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
from torch import Tensor

REFERENCE = Path(__file__).parents[1] / "data" / "reference"
BACKBONES = {"resnet34": "r34", "resnet34_2b": "r34_2b", "resnet101": "r101", "densenet121": "d121"}
ROSTAS = ("tt", "ft", "bt", "rim")
NETWORKS = [(backbone, rosta) for backbone in BACKBONES for rosta in ROSTAS]


def key_list(backbone: str, rosta: str) -> dict[str, Any]:
    """``parameters``, ``gmacs_800`` and ``keys``: [name, shape, dtype, alias or None] in order."""
    path = REFERENCE / "checkpoints" / f"gfm_{BACKBONES[backbone]}_{rosta}.json.gz"
    return json.loads(gzip.decompress(path.read_bytes()))


def hollow(backbone: str, rosta: str) -> dict[str, Tensor]:
    """A state dict of the released names and shapes whose file takes a few hundred kilobytes.

    Each tensor is one number (its position in the list) seen with stride 0, so even resnet101's
    500 M parameters cost nothing; an alias is the same tensor again.
    """
    state: dict[str, Tensor] = {}
    for i, (name, shape, dtype, alias) in enumerate(key_list(backbone, rosta)["keys"]):
        number = torch.tensor(i, dtype=getattr(torch, dtype.removeprefix("torch.")))
        state[name] = state[alias] if alias else number.expand(shape)
    return state


def reference_weights() -> dict[str, Tensor]:
    """The weights of the reference output: GFM, resnet34, TT, by the recipe that came with it."""
    recipe = json.loads((REFERENCE / "recipe.json").read_text())["gfm_r34_tt"]
    checksum = hashlib.sha256()
    state: dict[str, Tensor] = {}
    for name, shape, dtype, alias in key_list("resnet34", "tt")["keys"]:
        if alias:
            state[name] = state[alias]
            continue
        if "int" in dtype:
            state[name] = torch.zeros(shape, dtype=torch.int64)
            continue
        gain = next(gain for prefix, gain in recipe["gain"] if name.startswith(prefix))
        value = _draw(name, shape, gain) * recipe["multiply"].get(name, 1.0)
        array = np.asarray(recipe["set"].get(name, value)).astype("<f4")
        checksum.update(array.tobytes())
        state[name] = torch.from_numpy(array)
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


def drawn_weights(backbone: str, rosta: str) -> dict[str, Tensor]:
    """Random weights in the released layout that keep every layer's output near unit size."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}
    for name, shape, dtype, alias in key_list(backbone, rosta)["keys"]:
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
