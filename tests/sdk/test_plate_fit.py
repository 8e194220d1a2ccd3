"""A plate that no longer fits: the camera was moved, or it is another room."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from matter_sdk.kernels import YUV
from matter_sdk.sdk import Matter, PlateError
from matter_sdk.sdk.inference.plate_fit import ANOTHER, MOVED, misfit, small
from matter_sdk.sdk.video import matte_video
from tests.sdk import tiny_plate
from tests.sdk.clips import read_image, write_clip

SIZE = (360, 640)
MARGIN = 110


def place(seed: int) -> np.ndarray:
    """A room of furniture and walls, with a margin to look around in."""
    rng = np.random.default_rng(seed)
    height, width = SIZE[0] + 2 * MARGIN, SIZE[1] + 2 * MARGIN
    room = cv2.resize(
        rng.integers(60, 200, (5, 8, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    for _ in range(60):
        x, y = rng.integers(0, width), rng.integers(0, height)
        w, h = rng.integers(15, 160, 2)
        colour = [int(value) for value in rng.integers(0, 256, 3)]
        cv2.rectangle(room, (x, y), (x + w, y + h), colour, int(rng.choice([-1, 3])))
    return room


def view(room: np.ndarray, across: int = 0, down: int = 0, seed: int = 0) -> np.ndarray:
    top, left = MARGIN + down, MARGIN + across
    seen = room[top : top + SIZE[0], left : left + SIZE[1]].astype(float)
    noise = np.random.default_rng(seed).normal(0, 3, seen.shape)
    return np.clip(seen + noise, 0, 255).astype(np.uint8)


def with_person(picture: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Somebody with texture of his own over that share of the picture."""
    rng = np.random.default_rng(seed)
    picture = picture.copy()
    width = round(SIZE[1] * share / 0.9)
    left = int(rng.integers(0, SIZE[1] - width + 1))
    body = cv2.resize(rng.integers(0, 256, (20, 12, 3), np.uint8), (width, SIZE[0]))
    body = cv2.GaussianBlur(body, (0, 0), 2)
    picture[SIZE[0] // 10 :, left : left + width] = body[SIZE[0] // 10 :]
    return picture


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("shift", "person", "gain"),
    [
        ((0, 0), 0.0, 1.0),
        ((2, -2), 0.0, 1.0),
        ((0, 0), 0.3, 1.0),
        ((1, 1), 0.5, 1.0),
        ((0, 0), 0.7, 1.0),
        ((0, 0), 0.3, 0.75),
        ((0, 0), 0.3, 1.3),
    ],
)
def test_a_plate_that_fits(seed: int, shift: tuple[int, int], person: float, gain: float) -> None:
    room = place(seed)
    frame = view(np.clip(room * gain, 0, 255), *shift, seed=seed + 100)
    if person:
        frame = with_person(frame, person, seed)
    assert misfit(small(view(room)), small(frame)) is None


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("person", [0.0, 0.3])
@pytest.mark.parametrize("shift", [(30, 0), (-25, 25), (0, 60), (60, -30), (100, 0)])
def test_a_camera_that_has_moved(seed: int, person: float, shift: tuple[int, int]) -> None:
    room = place(seed)
    frame = view(room, *shift, seed=seed + 100)
    if person:
        frame = with_person(frame, person, seed)
    assert misfit(small(view(room)), small(frame)) in (MOVED, ANOTHER)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("person", [0.0, 0.4])
def test_another_room(seed: int, person: float) -> None:
    frame = view(place(seed + 50), seed=seed)
    if person:
        frame = with_person(frame, person, seed)
    assert misfit(small(view(place(seed))), small(frame)) == ANOTHER


def test_a_plain_wall() -> None:
    """Without texture, brightness alone can tell, the exposure left out."""
    wall = np.full((*SIZE, 3), 140, np.uint8)
    assert misfit(small(wall), small(np.full_like(wall, 170))) is None
    assert misfit(small(wall), small(with_person(wall, 0.6, 1))) is None
    assert misfit(small(wall), small(view(place(1)))) == ANOTHER


def test_kinds_of_frames_and_sizes() -> None:
    """Planes, another size, and portraits; what is very small is never refused."""
    room = place(2)
    plate, frame = small(view(room)), view(room, seed=9)
    assert misfit(plate, small(YUV.from_bgr(frame))) is None
    assert misfit(plate, small(cv2.resize(frame, None, fx=0.5, fy=0.5))) is None
    assert misfit(plate, small(YUV.from_bgr(view(place(3))))) == ANOTHER
    turned = [np.ascontiguousarray(np.rot90(picture)) for picture in (view(room), view(place(3)))]
    assert misfit(small(turned[0]), small(turned[0])) is None
    assert misfit(small(turned[0]), small(turned[1])) == ANOTHER
    tiny = [np.random.default_rng(seed).integers(0, 256, (32, 64, 3), np.uint8) for seed in (1, 2)]
    assert misfit(small(tiny[0]), small(tiny[1])) is None


def test_a_matter_asks_for_a_new_plate(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    room, other = view(place(1)), view(place(2))
    with Matter(tiny_plate.build(tmp_path / "plate.engine"), plate=room) as matter:
        assert matter.plate_fits is None
        assert matter(room).frame is room
        assert matter.plate_fits is True
        with caplog.at_level(logging.WARNING, "matter"):
            mattes = [matter(other), *matter([room, other]), matter(other)]
        assert caplog.text.count("Take it again") == 1
        assert matter.plate_fits is False
        assert [bool(matte.frame.any()) for matte in mattes] == [False, True, False, False]
        for matte in (mattes[0], mattes[2]):
            assert not matte.alpha.any()
            assert not matte.over("blur").any()
        with pytest.raises(PlateError, match="does not fit"):
            matter.prepare(other)
        streamed = matter.stream([room, other, room])
        assert [bool(matte.frame.any()) for matte in streamed] == [True, False, True]
        assert streamed.stats().withheld == 1
        clip = write_clip(tmp_path / "in.mp4", [other] * 4)
        report = matte_video(matter, clip, tmp_path / "out%02d.png", background="green")
        assert any("Take it again" in note for note in report.notes)
        for path in tmp_path.glob("out*.png"):
            assert (read_image(path) == (0, 255, 0)).all()
        matter.plate = other
        assert matter.plate_fits is None
        assert matter(other).frame is other
