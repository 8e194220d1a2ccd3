"""Frames in which nothing happens take over an alpha; nothing that moves does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from matter_sdk.kernels import InputSpec
from matter_sdk.sdk import Matter
from matter_sdk.sdk.arrays import picture, picture_in, tensor_of
from matter_sdk.sdk.inference.quality import QUALITIES
from matter_sdk.sdk.stream import stream
from matter_sdk.sdk.streaming.stillness import LEVELS, Stillness
from tests.sdk.clips import FakeMatter, numbered, tones

SIZE = (96, 160)


def grey(level: int = 100) -> NDArray[np.uint8]:
    return np.full((*SIZE, 3), level, np.uint8)


def edge(shift: float) -> NDArray[np.uint8]:
    """Two halves of 80 and 180, their border so many pixels right of the middle."""
    covered = np.clip(SIZE[1] / 2 + shift - np.arange(SIZE[1]), 0, 1)
    row = np.rint(180 - 100 * covered)
    return np.broadcast_to(row[None, :, None], (*SIZE, 3)).astype(np.uint8)


def verdicts(frames: list[NDArray[np.uint8]], most: int = 3) -> list[bool]:
    stillness = Stillness(most)
    return [stillness.still(frame) for frame in frames]


@pytest.mark.parametrize("most", [0, 1, 3])
def test_of_still_frames_one_in_so_many_is_seen(most: int) -> None:
    assert verdicts([grey()] * 9, most) == [at % (most + 1) != 0 for at in range(9)]


def test_noise_of_a_camera_is_still() -> None:
    """Of 720p, at the network's size."""
    rng = np.random.default_rng(5)
    noisy = [
        picture(np.rint(100 + rng.normal(0, 2, (720, 1280, 3))).astype(np.uint8), (192, 320))
        for _ in range(4)
    ]
    assert verdicts(noisy) == [False, True, True, True]


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
@pytest.mark.parametrize("shape", [(180, 320, 3), (180, 320, 4), (180, 320)])
def test_a_networks_input_shows_its_picture(colour: str, shape: tuple[int, ...]) -> None:
    frame = np.random.default_rng(5).integers(0, 256, shape, np.uint8)
    spec = InputSpec(colour, (123.7, 116.3, 103.5), (58.4, 57.1, 57.4))
    shown = picture_in(tensor_of(frame, SIZE, spec), spec)
    wanted = picture(frame, SIZE)
    assert shown.shape == (*SIZE, 3)
    assert cv2.norm(shown, wanted, cv2.NORM_INF) <= 1  # a half may be rounded either way
    assert np.mean(shown != wanted) < 0.01


def test_a_picture_is_a_copy_where_nothing_is_to_be_done() -> None:
    frame = edge(0)
    copied = picture(frame, SIZE)
    np.testing.assert_array_equal(copied, frame)
    assert not np.shares_memory(copied, frame)


@pytest.mark.parametrize("shift", [0.1, 1, 8])
def test_an_edge_that_moves_is_not_still(shift: float) -> None:
    assert verdicts([edge(0), edge(shift)]) == [False, False]


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_small_thing_in_one_channel_is_not_still(channel: int) -> None:
    other = grey()
    other[40, 70, channel] += LEVELS + 1
    assert verdicts([grey(), other, grey()]) == [False, False, False]


def test_slow_changes_add_up() -> None:
    """Each frame is as good as the one before it, but compared with the one that was seen."""
    assert verdicts([grey(100 + at * LEVELS) for at in range(5)], 30) == [
        False, True, False, True, False,
    ]  # fmt: skip


def test_another_size_another_plate_and_a_reset_begin_anew() -> None:
    stillness, plate, other = Stillness(3), object(), object()
    assert [stillness.still(grey(), about) for about in (plate, plate, other, other)] == [
        False, True, False, True,
    ]  # fmt: skip
    assert not stillness.still(np.full((SIZE[0] + 1, SIZE[1], 3), 100, np.uint8), other)
    stillness.reset()
    assert not stillness.still(np.full((SIZE[0] + 1, SIZE[1], 3), 100, np.uint8), other)


@pytest.mark.parametrize(("name", "seen"), [("live", 6), ("balanced", 6), ("studio", 21)])
def test_the_network_sees_few_of_still_frames_but_in_studio(name: str, seen: int) -> None:
    matter = FakeMatter()
    matter.quality = replace(QUALITIES[name], temporal=False)
    frames = [numbered(7)] * 10 + [numbered(8)] + [numbered(9)] * 10
    assert len(list(stream(matter, frames))) == len(frames)
    # One in four of those that rest, and whatever is new at once.
    assert len(matter.seen) == (seen + 1 if name != "studio" else seen)
    assert matter.mismatches == 0


def test_every_alpha_of_what_moves_is_its_own_frame_s() -> None:
    """Numbers in the frames: an alpha that lags behind its frame would carry another."""
    matter = FakeMatter()
    rests = [1, 2, 1, 5, 1, 3, 4]
    frames = [frame for frame, rest in zip(tones(7), rests, strict=True) for _ in range(rest)]
    list(stream(matter, frames))
    assert matter.mismatches == 0
    assert sorted(set(matter.seen)) == list(range(7))


def test_no_stale_edge_after_motion(tiny: Any) -> None:
    """An engine of known result: a streamed alpha is the frame's own, however the edge moved."""
    with Matter(
        tiny.build(sizes=(SIZE,)), backend="onnxruntime", threads=1, temporal=False
    ) as matter:
        assert matter.quality.reuse == 3
        frames = [edge(shift) for shift in (0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 30, -30, -30)]
        ran: list[int] = []
        infer = matter.infer
        matter.infer = lambda prepared: (ran.append(1), infer(prepared))[1]  # type: ignore[method-assign, func-returns-value]
        for frame, matte in zip(frames, matter.stream(frames), strict=True):
            np.testing.assert_array_equal(matte.alpha, matter(frame).alpha)
        assert len(ran) == 6


def test_a_frame_that_hardly_differs_from_one_without_a_matte_has_none() -> None:
    class First(FakeMatter):
        def infer(self, tensor: np.ndarray) -> np.ndarray:
            alpha = super().infer(tensor)
            return np.full_like(alpha, np.nan) if len(self.seen) == 1 else alpha

    mattes = list(stream(First(), [numbered(7)] * 6))
    assert [bool(matte.alpha.any()) for matte in mattes] == [False] * 4 + [True] * 2
