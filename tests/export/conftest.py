"""Tiny networks in place of the real ones, and few verification images: seconds, not minutes."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

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


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Tests run in a process a core, where PyTorch's second thread would only wait, spinning."""


@pytest.fixture
def stand_in(tiny: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Builds make the tiny networks, and verify on one scene."""
    use_stand_ins(tiny, monkeypatch)
    return tiny


@pytest.fixture(scope="session")
def sim_engine(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine with a part, of the tiny networks; some weights are external."""
    from matter_sdk.export import onnx_files
    from matter_sdk.export.build import BuildOptions, build

    with pytest.MonkeyPatch.context() as patch:
        use_stand_ins(tiny, patch)
        patch.setattr(onnx_files, "EXTERNAL_BYTES", 5000)
        return build(
            BuildOptions(
                "sim",
                random_weights=True,
                sizes=((328, 400),),
                precision="fp16",
                targets=("onnx",),
                output=tmp_path_factory.mktemp("sim") / "sim.engine",
            )
        )


_exported: dict[str, Any] = {}


def _once(export: Callable[..., Any]) -> Callable[..., Any]:
    """PyTorch's exporter, four fifths of a tiny build, once for each network with its weights."""

    @functools.wraps(export)
    def exported(network: Any, heads: Any, size: Any, **options: Any) -> Any:
        import onnx_ir

        plain = {key: dict(o) if isinstance(o, Mapping) else o for key, o in options.items()}
        key = hashlib.sha256(repr((network, dict(heads), size, sorted(plain.items()))).encode())
        for name, tensor in network.state_dict().items():
            key.update(name.encode())
            key.update(tensor.numpy().tobytes())
        if key.hexdigest() in _exported:
            return onnx_ir.from_proto(_exported[key.hexdigest()])
        model = export(network, heads, size, **options)
        _exported[key.hexdigest()] = onnx_ir.to_proto(model)
        return model

    return exported


def use_stand_ins(tiny: ModuleType, patch: pytest.MonkeyPatch) -> None:
    """`networks.create` makes the tiny networks; one scene, no photographs, short timings."""
    from matter_sdk.export import cpu_backends, examples
    from matter_sdk.export.stages import graph
    from matter_sdk.training import networks

    made = {"gfm": tiny.Tiny, "aim": tiny.TinyUnpool, "sim": tiny.TinyTrimap}
    made |= {"sim_classifier": tiny.TinyClassifier, "gfm-plate": tiny.TinyPlate}
    patch.setattr(networks, "create", lambda name, **options: made[name]())
    patch.setattr(examples, "SCENES", 1)
    patch.setattr(examples, "PHOTOGRAPHS", ())
    patch.setattr(cpu_backends, "_ROUNDS", 2)
    patch.setattr(graph, "export_onnx", _once(graph.export_onnx))
