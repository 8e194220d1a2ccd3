from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from benchmarks import __main__ as command
from benchmarks import hair


def test_hair_is_drawn_beside_the_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["kernels", "--hair", str(tmp_path / "hair.png")]) == 0
    picture = cv2.imread(str(tmp_path / "hair.png"))
    assert picture is not None
    height, width = (side * hair.ZOOM for side in hair.CROP)
    assert picture.shape[0] > 2 * height
    assert picture.shape[1] == (len(hair.MODES) + 2) * width
    printed = capsys.readouterr().out
    rows = [line.strip("|").split("|") for line in printed.splitlines() if line.startswith("|")]
    for row in rows[2:]:
        plain, clean, guided = map(float, row[1:])
        assert guided < clean < plain, row[0]
