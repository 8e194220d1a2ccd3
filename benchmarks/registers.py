"""What the CUDA kernels take of a GPU: registers, spills and shared memory, from the compiler."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks import page

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "kernels" / "cuda").glob("*.cu"))


@dataclass(frozen=True)
class Usage:
    """One kernel on one architecture; bytes for each thread, of shared memory for each block."""

    kernel: str
    architecture: str
    registers: int
    spilled: int
    shared: int


def nvcc() -> str | None:
    """Find the CUDA compiler; None where there is none."""
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    return shutil.which("nvcc") or shutil.which("nvcc", path=f"{home}/bin")


def architectures(compiler: str) -> list[str]:
    """List the architectures of CMakeLists.txt that the compiler knows."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    listed = re.search(r'MATTER_CUDA_ARCHITECTURES "([\d;]+)"', text)
    if listed is None:
        raise ValueError("CMakeLists.txt names no MATTER_CUDA_ARCHITECTURES")
    known = subprocess.run(
        [compiler, "--list-gpu-code"], capture_output=True, text=True, check=True
    ).stdout.split()
    return [code for code in listed[1].split(";") if f"sm_{code}" in known]


FLAGS = ("-std=c++17", "-O3", "--fmad=false", "--ftz=true")
"""Those of the build."""


def compile_source(source: Path, output: Path) -> str:
    """Compile one source for all architectures as the build does; returns what the compiler said.

    Raises:
        subprocess.CalledProcessError: an error or a warning; `stderr` holds it.
    """
    compiler = nvcc()
    if compiler is None:
        raise FileNotFoundError("nvcc is not installed: install the CUDA toolkit, or set CUDA_HOME")
    result = subprocess.run(
        [
            *(compiler, "-fatbin", *FLAGS, "-Xptxas", "-v"),
            *("-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra"),
            *(f"-gencode=arch=compute_{c},code=sm_{c}" for c in architectures(compiler)),
            *("-o", str(output), str(source)),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stderr


def parse(log: str) -> list[Usage]:
    """Read the lines of ``ptxas -v``."""
    found: list[Usage] = []
    kernel, architecture, spilled = "", "", 0
    for line in log.splitlines():
        if entry := re.search(r"Compiling entry function '(\w+)' for 'sm_(\w+)'", line):
            kernel, architecture = entry[1], entry[2]
        elif spills := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spilled = int(spills[1]) + int(spills[2])
        elif used := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            found.append(
                Usage(kernel, architecture, int(used[1]), spilled, int(shared[1]) if shared else 0)
            )
    return found


def unexpected(log: str) -> list[str]:
    """Return what the compiler said besides the figures."""
    figures = r"^ptxas info\s*:|^\s+\d+ bytes stack frame|^\s*$"
    return [line for line in log.splitlines() if not re.match(figures, line)]


def table(usages: Sequence[Usage]) -> str:
    """Write a table, a kernel a line: registers by architecture, what is spilled and shared."""
    codes = sorted({usage.architecture for usage in usages}, key=int)
    by_kernel: dict[str, dict[str, Usage]] = {}
    for usage in usages:
        by_kernel.setdefault(usage.kernel, {})[usage.architecture] = usage
    head = ["kernel", *(f"sm_{code}" for code in codes), "spilled", "shared"]
    lines = []
    for kernel, found in sorted(by_kernel.items()):
        spilled = max(usage.spilled for usage in found.values())
        shared = max(usage.shared for usage in found.values())
        registers = [str(found[code].registers) if code in found else "" for code in codes]
        lines.append([kernel, *registers, f"{spilled} B", f"{shared} B"])
    return page.table(head, lines)


def compile_all(folder: Path) -> list[Usage]:
    """Compile every source, as many at a time as there are cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        logs = pool.map(lambda source: compile_source(source, folder / source.stem), SOURCES)
        return [usage for log in logs for usage in parse(log)]
