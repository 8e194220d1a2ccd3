from __future__ import annotations

from typing import Any

import pytest

from matter_sdk.kernels import InputSpec, KernelError


def test_plain_spec_is_rgb_in_0_to_255() -> None:
    assert InputSpec() == InputSpec("rgb", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_values_from_json_become_float_tuples() -> None:
    spec = InputSpec("bgr", mean=[1, 2, 3], std=[4, 5, 6])  # type: ignore[arg-type]
    assert spec.mean == (1.0, 2.0, 3.0)
    assert spec.std == (4.0, 5.0, 6.0)
    assert hash(spec) == hash(InputSpec("bgr", (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colour": "RGB"}, r"colour is 'RGB', expected one of 'rgb', 'bgr'"),
        ({"mean": (0, 0)}, r"mean has 2 values \(0.0, 0.0\), expected 3"),
        ({"std": (1, 1, 1, 1)}, r"std has 4 values .* expected 3"),
        ({"std": (1, 0, 1)}, r"std is \(1.0, 0.0, 1.0\), expected values above 0"),
        ({"std": (1, -2, 1)}, r"expected values above 0"),
        ({"mean": (0, float("nan"), 0)}, r"mean is .*nan"),
        ({"std": (1, float("inf"), 1)}, r"std is .*inf"),
        ({"mean": ("a", 0, 0)}, r"mean is .* expected 3 numbers"),
        ({"mean": 3.0}, r"mean is 3.0, expected 3 numbers"),
    ],
)
def test_bad_values_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(KernelError, match=message):
        InputSpec(**options)
