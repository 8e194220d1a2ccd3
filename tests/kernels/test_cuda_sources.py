"""The CUDA kernels compile, for every GPU that the build names, where nvcc is at hand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "kernels" / "cuda").glob("*.cu"))


def nvcc() -> str | None:
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    return shutil.which("nvcc") or shutil.which("nvcc", path=f"{home}/bin")


def test_cmake_builds_every_source() -> None:
    listed = re.search(r"foreach\(kernel ([a-z_ ]+)\)", (ROOT / "CMakeLists.txt").read_text())
    assert listed is not None
    assert sorted(listed[1].split()) == [source.stem for source in SOURCES]


def test_headers_use_no_standard_library() -> None:
    # NVRTC has none at hand.
    for path in [*SOURCES, *(ROOT / "kernels" / "include").glob("*.h")]:
        assert not re.search(r"#include\s*<", path.read_text()), path.name


@pytest.mark.skipif(nvcc() is None, reason="nvcc is not installed")
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_compiles_without_a_warning(source: Path, tmp_path: Path) -> None:
    compiler = nvcc()
    assert compiler is not None
    listed = re.search(
        r'MATTER_CUDA_ARCHITECTURES "([\d;]+)"', (ROOT / "CMakeLists.txt").read_text()
    )
    assert listed is not None
    known = subprocess.run(
        [compiler, "--list-gpu-code"], capture_output=True, text=True, check=True
    ).stdout.split()
    wanted = [code for code in listed[1].split(";") if f"sm_{code}" in known]
    assert wanted
    output = tmp_path / "kernel.fatbin"
    result = subprocess.run(
        [
            *(compiler, "-fatbin", "-std=c++17", "-O3", "--fmad=false"),
            *("-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra"),
            *(f"-gencode=arch=compute_{code},code=sm_{code}" for code in wanted),
            *("-o", str(output), str(source)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert output.stat().st_size > 1000
