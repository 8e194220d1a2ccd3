"""What a command ran on and with, for its results file."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from collections.abc import Sequence
from typing import Any

from matter_sdk.sdk import cpu

PACKAGES = (
    *("matter-sdk", "numpy", "scipy", "scikit-image", "opencv-python-headless", "opencv-python"),
    *("torch", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx"),
)


def facts(command: str) -> dict[str, Any]:
    """Return command, time, processor, GPU and versions."""
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": cpu.name(),
        "gpu": _gpu(),
        "system": f"{platform.system()} {platform.release()}",
        "versions": versions(PACKAGES),
    }


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of these packages, where installed, and of Python."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
