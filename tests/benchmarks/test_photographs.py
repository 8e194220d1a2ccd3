"""Mattes of photographs with masks: the measures, what is compared, the sheet."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import photographs
from benchmarks.__main__ import main
from matter_sdk.training.data import datasets


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())


@pytest.fixture
def set_of_two(tmp_path: Path) -> Path:
    """Two pictures, half of each the subject, and mattes that find all of it, and half of it."""
    mask = np.zeros((40, 40), np.uint8)
    mask[:, :20] = 255
    half = mask.copy()
    half[20:] = 0
    for name, found in (("one", mask), ("two", half)):
        write(tmp_path / f"set/images/{name}.png", np.dstack([mask] * 3))
        write(tmp_path / f"set/masks/{name}.png", mask)
        write(tmp_path / f"mattes/set/{name}.png", found)
    return tmp_path


def test_the_measures_of_a_matte_that_finds_half() -> None:
    mask = np.zeros((40, 40), np.float32)
    mask[:, :20] = 1
    alpha = mask.copy()
    alpha[20:] = 0
    facts = photographs.measured(alpha, mask)
    assert facts["IoU"] == 0.5
    assert facts["SAD"] == pytest.approx(0.4)
    assert facts["MAD"] == pytest.approx(0.25)
    assert facts["Grad"] > 0


def test_what_a_mask_leaves_open_does_not_count() -> None:
    mask = np.zeros((40, 40), np.float32)
    mask[:, :20] = 1
    mask[20:] = 128 / 255
    alpha = np.zeros((40, 40), np.float32)
    alpha[:20, :20] = 1
    assert photographs.measured(alpha, mask) == {"IoU": 1, "SAD": 0, "MAD": 0, "Grad": 0}


def test_a_soft_matte_is_compared_whole() -> None:
    mask = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (8, 1))
    facts = photographs.measured(np.zeros_like(mask), mask)
    assert facts["MAD"] == pytest.approx(0.5, abs=1e-3)


def test_the_command_compares_mattes(set_of_two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["photographs", "--mattes", f"other={set_of_two / 'mattes'}", str(set_of_two / "set")]
    assert main([*words, "--output", str(set_of_two / "out")]) == 0
    assert "| set | 2        | 0.750 / 0.20 / 0.125 /" in capsys.readouterr().out
    (page,) = (set_of_two / "out").glob("*.md")
    assert "--mattes other=mattes set --output out`" in page.read_text()


def test_a_folder_that_is_no_set_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["photographs", "--output", str(tmp_path), str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_sheet_shows_pictures_beside_their_subjects(set_of_two: Path) -> None:
    dataset = datasets.open(set_of_two / "set", "masks", "test")
    drawn = photographs.sheet([dataset], photographs.of_folder(set_of_two / "mattes"), 2, height=40)
    assert drawn.shape == (40, photographs.WIDTH, 3)
    assert (drawn[10, 75] == (60, 170, 110)).all()
    assert (drawn[:, 160:] == 255).all()  # the rest of a row that is not full
