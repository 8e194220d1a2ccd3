"""Tiny networks in place of the real ones, and few verification images: seconds, not minutes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _load(name: str) -> ModuleType:
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"tests_export_{name}", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """The module ``tiny.py`` beside this file (test folders are no packages)."""
    pytest.importorskip("torch")
    return _load("tiny")


@pytest.fixture
def stand_in(tiny: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Builds make the tiny networks, and verify on one scene."""
    from export import pictures, verify
    from training import networks

    made = {"gfm": tiny.Tiny, "aim": tiny.TinyUnpool, "sim": tiny.TinyTrimap}
    made["sim_classifier"] = tiny.TinyClassifier
    monkeypatch.setattr(networks, "create", lambda name, **options: made[name]())
    monkeypatch.setattr(pictures, "SCENES", 1)
    monkeypatch.setattr(pictures, "PHOTOGRAPHS", ())
    monkeypatch.setattr(verify, "_TIMING_ROUNDS", 2)
    return tiny
