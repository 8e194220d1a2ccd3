"""The CUDA kernels compile, for every GPU that the build names, where nvcc is at hand."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from benchmarks.registers import (
    FLAGS,
    ROOT,
    SOURCES,
    architectures,
    compile_source,
    nvcc,
    unexpected,
    usages,
)


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
def test_compiles_without_a_warning_and_spills_nothing(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "kernel.fatbin"
    try:
        log = compile_source(source, output)
    except subprocess.CalledProcessError as error:
        pytest.fail(error.stderr)
    assert unexpected(log) == []
    assert output.stat().st_size > 1000
    found = usages(log, output.read_bytes())
    kernels = set(re.findall(r"\bmatter_\w+", source.read_text()))  # some are named in macros
    compiler = nvcc()
    assert compiler is not None
    codes = architectures(compiler)
    assert codes
    assert {(usage.kernel, usage.architecture) for usage in found} == {
        (kernel, code) for kernel in kernels for code in codes
    }
    assert [usage for usage in found if usage.spilled or usage.stack] == []
    assert min(usage.instructions for usage in found) > 20


def test_the_build_compiles_as_the_benchmark_does() -> None:
    assert f"-fatbin {' '.join(FLAGS)} ${{code}}" in (ROOT / "CMakeLists.txt").read_text()


@pytest.mark.skipif(nvcc() is None, reason="nvcc is not installed")
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_fatbins_treat_denormal_numbers_as_nvrtc_does(source: Path, tmp_path: Path) -> None:
    """CuPy compiles with -ftz=true, whatever it is given."""
    ptx = tmp_path / "kernel.ptx"
    subprocess.run([str(nvcc()), "-ptx", *FLAGS, "-o", str(ptx), str(source)], check=True)
    sums = re.findall(r"\b(?:add|sub|mul|div)(?:\.r[nzmp])?(\.ftz)?\.f32\b", ptx.read_text())
    assert sums == [".ftz"] * len(sums)
