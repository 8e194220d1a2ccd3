"""Which choice is preferred, by what was measured."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from matter_sdk.export import cpu_backends
from matter_sdk.sdk.engine.manifest import Measured, Timing


def test_a_less_exact_arithmetic_has_to_be_clearly_faster() -> None:
    exact = Timing("onnxruntime", "float32", 10.0)
    assert cpu_backends.ranked([Timing("openvino", "bfloat16", 9.5), exact])[0] == exact
    brief = Timing("openvino", "bfloat16", 8.5)
    assert cpu_backends.ranked([exact, brief])[0] == brief
    assert cpu_backends.ranked([Timing("openvino", "int8", 8.2), brief])[0] == brief
    rounded = Timing("openvino", "int8 bfloat16", 7.0)
    assert cpu_backends.ranked([exact, brief, rounded]) == [rounded, brief, exact]
    assert cpu_backends.ranked([Timing("openvino", "float32", 9.9), exact])[1] == exact


def test_a_backend_s_preferred_float() -> None:
    timings = (
        Timing("openvino", "int8", 1.0),
        Timing("onnxruntime", "float32", 2.0),
        Timing("openvino", "bfloat16", 3.0),
        Timing("openvino", "float32", 4.0),
    )
    measured = Measured("a CPU", 2, None, timings)
    assert cpu_backends.prefers(measured, "openvino", "bfloat16")
    assert not cpu_backends.prefers(measured, "openvino", "float32")
    assert not cpu_backends.prefers(Measured("a CPU", 2, None, timings[:2]), "openvino", "bfloat16")
