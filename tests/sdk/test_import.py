"""``import matter_sdk`` costs nothing, and the package says what it has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from matter_sdk import sdk

ROOT = Path(sdk.__file__).parents[1]
HEAVY = (
    "torch",
    "onnxruntime",
    "openvino",
    "cv2",
    "tensorrt",
    "tensorrt_rtx",
    "cupy",
    "av",
    "onnx",
)


def modules_after(code: str) -> set[str]:
    """Names of the modules that a fresh interpreter has after running ``code``."""
    code += "; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("code", "loaded"),
    [
        ("import sdk", "sdk"),
        ("import matter_sdk", "matter_sdk.sdk"),
        ("import sdk.engine.file, sdk.engine.manifest, sdk.errors, sdk.backends", "sdk.backends"),
    ],
)
def test_import_loads_nothing_heavy(code: str, loaded: str) -> None:
    modules = modules_after(code)
    assert loaded in modules
    assert modules.isdisjoint({*HEAVY, "numpy", "matter_sdk.kernels"})


def test_matter_loads_no_runtime_before_an_engine_is_opened() -> None:
    loaded = modules_after("from matter_sdk import Matter, Matte")
    assert {"numpy", "matter_sdk.kernels"} <= loaded
    assert loaded.isdisjoint({*HEAVY} - {"cv2"})


def test_short_and_full_names_are_one_module() -> None:
    """In a checkout: an error that is caught by its short name is the one that is raised."""
    code = (
        "import sdk, matter_sdk, sdk.errors as short, matter_sdk.sdk.errors as full, export.build; "
        "assert short is full and sdk.Matter is matter_sdk.Matter; "
        "assert export.build.main.__module__ == 'matter_sdk.export.build'"
    )
    assert "matter_sdk.sdk.errors" in modules_after(code)


def test_everything_in_all_is_there() -> None:
    for name in sdk.__all__:
        assert getattr(sdk, name) is not None
        assert name in dir(sdk)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"'Mattor'.*\bMatter\b"):
        _ = sdk.Mattor


def test_errors_are_one_family() -> None:
    errors = [getattr(sdk, name) for name in sdk.__all__ if name.endswith("Error")]
    assert len(errors) == 9
    assert all(issubclass(error, sdk.MatterError) for error in errors)
    assert issubclass(sdk.FrameError, ValueError)
