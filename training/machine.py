"""What something ran on and with, for the results files of the commands here."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACKAGES = (
    *("matter-sdk", "numpy", "scipy", "scikit-image", "opencv-python-headless", "opencv-python"),
    *("torch", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx"),
)


def facts(command: str) -> dict[str, Any]:
    """Command, time, processor, GPU and versions."""
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "gpu": _gpu(),
        "system": f"{platform.system()} {platform.release()}",
        "versions": versions(PACKAGES),
    }


def cpu_model() -> str:
    """The processor's own name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of those that are installed, and of Python."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
