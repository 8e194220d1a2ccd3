"""What the CUDA kernels take of a GPU: registers, stack and instructions, from the compiler."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import page

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "kernels" / "cuda").glob("*.cu"))


@dataclass(frozen=True)
class Usage:
    """One kernel on one architecture; bytes for each thread."""

    kernel: str
    architecture: str
    registers: int
    stack: int
    spilled: int
    instructions: int = 0


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
            *(compiler, "-fatbin", "-no-compress", *FLAGS, "-Xptxas", "-v"),
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
    kernel, architecture, stack, spilled = "", "", 0, 0
    for line in log.splitlines():
        if entry := re.search(r"Compiling entry function '(\w+)' for 'sm_(\w+)'", line):
            kernel, architecture = entry[1], entry[2]
        elif spills := re.search(r"(\d+) bytes stack.* (\d+) bytes.* (\d+) bytes spill", line):
            stack, spilled = int(spills[1]), int(spills[2]) + int(spills[3])
        elif used := re.search(r"Used (\d+) registers", line):
            found.append(Usage(kernel, architecture, int(used[1]), stack, spilled))
    return found


def unexpected(log: str) -> list[str]:
    """Return what the compiler said besides the figures."""
    figures = r"^ptxas info\s*:|^\s+\d+ bytes stack frame|^\s*$"
    return [line for line in log.splitlines() if not re.match(figures, line)]


NOP = bytes.fromhex("1879")  # how its word begins


def instructions(fatbin: bytes) -> list[dict[str, int]]:
    """Count the instructions of each kernel, architecture by architecture as they were asked for.

    They are the 16-byte words of the ``.text`` sections, without the NOPs that fill the last lines.
    """
    return [_instructions(cubin) for cubin in fatbin.split(b"\x7fELF")[1:]]


def _instructions(cubin: bytes) -> dict[str, int]:
    """The same of one architecture: an ELF file without its first four bytes."""
    elf = b"\x7fELF" + cubin
    headers, step, count, names = struct.unpack_from("<Q10x3H", elf, 0x28)
    sections = [struct.unpack_from("<I20x2Q", elf, headers + step * at) for at in range(count)]
    found: dict[str, int] = {}
    for name, begin, size in sections:
        at = sections[names][1] + name
        text = elf[at : elf.index(b"\0", at)].decode()
        if text.startswith(".text."):
            words = [elf[at : at + 2] for at in range(begin, begin + size, 16)]
            found[text.removeprefix(".text.")] = sum(word != NOP for word in words)
    return found


def table(usages: Sequence[Usage]) -> str:
    """Write a table, a kernel a line: registers by architecture, the rest over all of them."""
    codes = sorted({usage.architecture for usage in usages}, key=int)
    by_kernel: dict[str, dict[str, Usage]] = {}
    for usage in usages:
        by_kernel.setdefault(usage.kernel, {})[usage.architecture] = usage
    head = ["kernel", *(f"sm_{code}" for code in codes), "stack", "spilled", "instructions"]
    lines = []
    for kernel, found in sorted(by_kernel.items()):
        registers = [str(found[code].registers) if code in found else "" for code in codes]
        stack = max(usage.stack for usage in found.values())
        spilled = max(usage.spilled for usage in found.values())
        counts = [usage.instructions for usage in found.values()]
        range_ = f"{min(counts)}-{max(counts)}"
        lines.append([kernel, *registers, f"{stack} B", f"{spilled} B", range_])
    return page.table(head, lines)


def usages(log: str, fatbin: bytes) -> list[Usage]:
    """Tell what the kernels take, from what `compile_source` returned and wrote."""
    counts = dict(zip(architectures(str(nvcc())), instructions(fatbin), strict=True))
    return [replace(use, instructions=counts[use.architecture][use.kernel]) for use in parse(log)]


def compile_all(folder: Path) -> list[Usage]:
    """Compile every source, as many at a time as there are cores."""

    def compiled(source: Path) -> list[Usage]:
        output = folder / f"{source.stem}.fatbin"
        return usages(compile_source(source, output), output.read_bytes())

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [usage for found in pool.map(compiled, SOURCES) for usage in found]
