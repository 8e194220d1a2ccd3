"""What a CPU says of itself, read from text as Linux writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sdk import cpu

INTEL = """processor\t: 0
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: fpu sse2 avx512_vnni amx_int8

processor\t: 1
model name\t: another
"""
OLD = INTEL.replace(" avx512_vnni amx_int8", " avx2")
ARM = """processor\t: 0
Features\t: fp asimd asimddp
"""


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes /proc/cpuinfo hold a text, or be absent."""

    def say(text: str | None) -> None:
        for function in (cpu.name, cpu.has_dot_product, cpu._facts):
            function.cache_clear()

        def read(path: Path, **_: Any) -> str:
            assert path == Path("/proc/cpuinfo")
            if text is None:
                raise FileNotFoundError(path)
            return text

        monkeypatch.setattr(Path, "read_text", read)

    yield say
    monkeypatch.undo()
    for function in (cpu.name, cpu.has_dot_product, cpu._facts):
        function.cache_clear()


def test_model_and_dot_products(said: Any) -> None:
    said(INTEL)
    assert cpu.name() == "Intel(R) Xeon(R) Processor, family 6 model 143"
    assert cpu.has_dot_product()
    assert cpu.instructions() == ("avx512_vnni", "amx_int8")
    said(OLD)
    assert not cpu.has_dot_product()
    assert cpu.instructions() == ("avx2",)
    said(ARM)
    assert cpu.has_dot_product()
    assert cpu.instructions() == ("asimd", "asimddp")


def test_where_nothing_is_said(said: Any) -> None:
    said(None)
    assert cpu.name()
    assert not cpu.has_dot_product()
