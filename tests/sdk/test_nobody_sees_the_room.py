"""Every output, with a network that fails in every way: nothing of the frame comes out."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from matter_sdk.sdk import Matter, MatterPool, NoMatteError
from matter_sdk.sdk.stream import fail_safe
from matter_sdk.sdk.video import matte_video
from tests.sdk import tiny_plate
from tests.sdk.clips import read_image, write_clip

GREEN = (0, 255, 0)
ROOM = np.random.default_rng(1).integers(1, 255, (64, 128, 3), np.uint8)

VALUES = [float("nan"), float("inf"), -float("inf")]
KINDS = ["tt", "ft", "bt", "alpha", "hybrid", "plate", "batch"]


def poisoned(matter: Matter, head: int, value: float) -> None:
    """From now on one number of a head, in one corner, is ``value``."""
    for model in matter._network.models:
        backend = matter._network.load(model.size)
        good = backend.run

        def run(*inputs: Any, lane: int = 0, good: Any = good) -> Mapping[str, Any]:
            heads = {name: np.array(values) for name, values in good(*inputs, lane=lane).items()}
            heads[list(heads)[head % len(heads)]][..., -1, -1] = value
            return heads

        backend.run = run  # type: ignore[method-assign]


def opened(tiny: Any, kind: str) -> Matter:
    if kind == "plate":
        path = tiny_plate.build(tiny.folder / "plate.engine")
        return Matter(path, plate=ROOM, backend="onnxruntime", threads=1)
    if kind == "hybrid":
        path = tiny.build(sizes=((32, 64), (64, 128)))
        return Matter(path, hybrid=(1 / 2, 1), backend="onnxruntime", threads=1)
    path = tiny.build(fusion="tt" if kind == "batch" else kind, batch=2 if kind == "batch" else 1)
    return Matter(path, backend="onnxruntime", threads=1)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("head", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_calls_raise_and_streams_show_nothing(
    tiny: Any, kind: str, head: int, value: float, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tiny, kind) as matter:
        poisoned(matter, head, value)
        prepared = matter.prepare(ROOM)
        for call in (
            lambda: matter(ROOM),
            lambda: matter([ROOM, ROOM, ROOM]),
            lambda: matter.infer(prepared),
            lambda: matter.infer_batch([prepared, prepared]),
        ):
            with pytest.raises(NoMatteError, match="NaN or infinity"):
                call()
        caplog.clear()
        with caplog.at_level(logging.WARNING, "matter"), MatterPool(matter) as pool:
            streams = [
                matter.stream([ROOM] * 3),
                matter.stream([ROOM] * 3, lookahead=2),
                pool.stream([ROOM] * 3),
            ]
            for streamed in streams:
                mattes = list(streamed)
                assert len(mattes) == 3
                for matte in mattes:
                    assert not matte.frame.any()
                    assert not matte.alpha.any()
                    assert not matte.cutout().any()
                    assert not matte.foreground().any()
                    assert not matte.over("blur", clean=True).any()
                    assert (matte.over(GREEN) == GREEN).all()
        assert caplog.text.count("NaN or infinity") == len(streams)  # once for each


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("kind", ["tt", "alpha", "plate"])
@pytest.mark.parametrize("alpha", [False, True], ids=["composite", "cutout"])
def test_videos_show_the_background_alone(
    tiny: Any, tmp_path: Path, kind: str, value: float, alpha: bool
) -> None:
    clip = write_clip(tmp_path / "in.mp4", [ROOM] * 4)
    with opened(tiny, kind) as matter:
        poisoned(matter, 0, value)
        report = matte_video(matter, clip, tmp_path / "o%d.png", background=GREEN, alpha=alpha)
    assert any("4 frames without a matte" in note for note in report.notes)
    pictures = sorted(tmp_path.glob("o*.png"))
    assert len(pictures) == 4
    for path in pictures:
        assert (read_image(path) == ((0,) * 4 if alpha else GREEN)).all()


def fails_to_run(matter: Matter) -> None:
    backend = matter._network.load(matter.size)

    def run(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the runtime broke")

    backend.run = run  # type: ignore[method-assign]


def gives_nan(matter: Matter) -> None:
    poisoned(matter, 0, float("nan"))


def gives_infinity(matter: Matter) -> None:
    poisoned(matter, 1, float("inf"))


@pytest.mark.parametrize("fail", [fails_to_run, gives_nan, gives_infinity])
@pytest.mark.parametrize("kind", ["tt", "alpha", "plate"])
@pytest.mark.parametrize("background", [GREEN, "blur"])
def test_a_live_picture_never_shows_the_room(
    tiny: Any, kind: str, fail: Callable[[Matter], None], background: Any
) -> None:
    expected = np.zeros((64, 128, 3), np.uint8)
    if background != "blur":
        expected[:] = background

    def alone(blank: np.ndarray) -> np.ndarray:
        return np.broadcast_to(expected[:1, :1], blank.shape)

    with opened(tiny, kind) as matter:
        fail(matter)
        pictures = fail_safe(
            matter, [ROOM] * 3, lambda matte: matte.over(background), alone, retry=0.01
        )
        shown = [picture for picture, _ in itertools.islice(pictures, 3)]
        pictures.close()
    assert shown
    for picture in shown:
        assert (picture == expected[:1, :1]).all()


def test_a_background_that_cannot_be_drawn_leaves_no_frame(tiny: Any, tmp_path: Path) -> None:
    """The file of a background goes while it is shown: live, the background alone; a file, none."""
    path = tmp_path / "behind.png"
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    with opened(tiny, "tt") as matter:
        path.unlink()
        pictures = fail_safe(
            matter, [ROOM] * 3, lambda m: m.over(path), lambda blank: blank, retry=0.01
        )
        assert not any(next(pictures)[0].any() for _ in range(3))
        pictures.close()
        clip = write_clip(tmp_path / "in.mp4", [ROOM] * 4)
        with pytest.raises(Exception, match="neither a file"):
            matte_video(matter, clip, tmp_path / "out.mp4", background=path)
    assert not (tmp_path / "out.mp4").exists()
