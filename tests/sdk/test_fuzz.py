"""Engines mutated at random: see ``tests.sdk.fuzz_engine``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.sdk.fuzz_engine import Outcome, Supervisor, Worker, fuzz

SEED = 1
COUNT = 300


pytestmark = pytest.mark.skipif(os.name != "posix", reason="its supervisor waits on pipes")


def test_mutated_engines_are_refused_or_run_as_they_should() -> None:
    found = fuzz(range(COUNT), SEED)
    findings = [outcome for outcome in found if outcome.kind.startswith("BAD")]
    assert findings == []
    kinds = [outcome.kind for outcome in found]
    assert len(kinds) == COUNT
    # Mutations that are all refused, or none, would try nothing.
    assert kinds.count("refused") > COUNT / 2
    assert kinds.count("same") > COUNT / 50
    assert "another" in kinds


@pytest.mark.parametrize(
    ("order", "limits", "kind"),
    [
        ("crash", {}, "BAD crash (-6)"),
        ("hang", {"seconds": 0.3}, "BAD hang"),
        ("swell", {"megabytes": 400}, "BAD memory"),
    ],
)
def test_the_supervisor_survives_its_worker(order: str, limits: dict[str, Any], kind: str) -> None:
    supervisor = Supervisor(SEED)
    try:
        first = supervisor.run(3)
        assert first.kind in ("refused", "same", "another")
        supervisor.seconds = limits.get("seconds", supervisor.seconds)
        supervisor.megabytes = limits.get("megabytes", supervisor.megabytes)
        assert supervisor.run(order).kind == kind
        supervisor.seconds, supervisor.megabytes = 20.0, 2000
        again = supervisor.run(3)  # by a new worker, from the same seed
        assert (again.kind, again.said) == (first.kind, first.said)
    finally:
        supervisor.close()


def test_what_a_mutation_is_judged_by(tmp_path: Path) -> None:
    worker = Worker(tmp_path, SEED)
    right = worker.expected[0]
    assert Worker._compared(right, right, anew=False) == "same"
    wrong = {name: [alpha + np.float32(0.1) for alpha in right[name]] for name in right}
    assert Worker._compared(wrong, right, anew=False) == "BAD matte that differs"
    assert Worker._compared(wrong, right, anew=True) == "another"
    if len(right) > 1:
        name = next(iter(right))
        assert Worker._compared({**right, name: wrong[name]}, right, anew=True) == (
            "BAD disagreement"
        )
    assert worker.judge(3) == worker.judge(3)
    assert isinstance(worker.judge(4), Outcome)
