"""What a benchmark ran on, and with which versions."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matter_sdk.sdk import cpu
from matter_sdk.training.machine import versions

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "numba",
    "torch",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "ai-edge-litert",
    "pillow",
    "av",
    "pymatting",
    "cupy-cuda13x",
    "cupy-cuda12x",
)


def load_average() -> tuple[float, ...]:
    """Return how many processes wanted to run in the last 1, 5 and 15 minutes."""
    return tuple(round(value, 2) for value in os.getloadavg())


def resident(process: int | str = "self") -> float:
    """Return the megabytes of a process in memory (Linux)."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def kind(name: str, cores: int, gpu: str = "") -> str:
    """Make a short name for files: ``amd-epyc-9354p-2-cores``."""
    plain = re.sub(r"\((R|TM)\)|\bCPU\b|\bProcessor\b|@.*", " ", name, flags=re.IGNORECASE)
    words = re.findall(r"[a-z0-9]+", f"{plain} {cores} cores {gpu}".lower())
    return "-".join(words)


def commit() -> str:
    """Name the checked-out commit, with ``+`` where files differ; empty without git."""

    def git(*arguments: str) -> str:
        result = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
        )
        return result.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def begin(given: Sequence[str]) -> dict[str, Any]:
    """Note the command, the machine, the versions and the load before anything is measured.

    Of paths in `given`, the command line, only the names are kept.
    """
    words = (re.sub(r"[^=,]*/(?=[^/])", "", word) for word in given)
    return {
        "command": " ".join(["python -m benchmarks", *words]),
        "cpu": cpu.name(),
        "instructions": cpu.instructions(),
        "cores": cpu.usable_cores(),
        "system": f"{platform.system()} {platform.release()}",
        "versions": versions(PACKAGES),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "load_before": load_average(),
    }
