"""Whatever the SDK refuses or fails at is a MatterError."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matter_sdk.kernels import YUV
from matter_sdk.sdk import BackendError, EngineError, FrameError, Matter, MatterError, MatterPool
from matter_sdk.sdk.background import Background
from matter_sdk.sdk.engine.file import EngineFile
from matter_sdk.sdk.media.picture_reader import read_picture
from matter_sdk.sdk.media.picture_writer import write_picture
from matter_sdk.sdk.media.video_reader import VideoReader
from matter_sdk.sdk.media.video_writer import check_output
from matter_sdk.sdk.video import VideoBackground, matte_video

FRAME = np.full((32, 64, 3), 90, np.uint8)
ODD = ["a\0b", "", "x" * 5000, "x/" * 3000, "\udcff\udc80", "a\nb", "/", "/dev/null", "~", "%s%s"]
ODD_VALUES = [*ODD, None, 1.5, b"bytes", object(), Path("a\0b")]


@pytest.fixture(scope="module")
def matter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matter]:
    from tests.sdk.conftest import Tiny

    path = Tiny(tmp_path_factory.mktemp("engine")).build()
    with Matter(path, backend="onnxruntime", threads=1) as opened:
        yield opened


@pytest.mark.parametrize("odd", ODD_VALUES, ids=lambda value: ascii(value)[:20])
def test_odd_paths(matter: Matter, odd: Any) -> None:
    uses: list[Callable[[], Any]] = [
        lambda: EngineFile.open(odd),
        lambda: VideoReader(odd),
        lambda: VideoBackground(odd),
        lambda: matte_video(matter, odd, "o.mp4"),
        lambda: Background.open(odd),
        lambda: matter(FRAME).over(odd),
        lambda: next(iter(matter.stream(odd))),
        lambda: matter(odd),
    ]
    if odd is not None:  # that is the package's own engine, where there is one
        uses += [lambda: Matter(odd), lambda: MatterPool(odd)]
    if odd not in ("\udcff\udc80", "a\nb", "~", "%s%s"):  # names of a folder for a sequence
        uses.append(lambda: check_output(odd))
    if isinstance(odd, (str, Path)):
        uses += [lambda: read_picture(odd), lambda: write_picture(odd, FRAME)]
    for use in uses:
        with pytest.raises(MatterError):
            use()


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((32, 64), np.float16),
        np.zeros((32, 64), np.uint8),
        np.zeros((32, 64, 1), np.float32),
        np.zeros((0, 64), np.float32),
        np.uint8(3),
        [],
        {},
        None,
    ],
    ids=lambda value: f"{type(value).__name__}{getattr(value, 'shape', '')}",
)
def test_alphas_that_are_none(matter: Matter, bad: Any) -> None:
    with pytest.raises(FrameError):
        matter.finish(FRAME, bad)


@pytest.mark.parametrize("shape", [(32_769, 1, 3), (1, 32_769, 3), (32_769, 2)])
def test_frames_that_are_too_long(matter: Matter, shape: tuple[int, ...]) -> None:
    with pytest.raises(FrameError, match="32769"):
        matter(np.zeros(shape, np.uint8))
    kept = tuple(min(side, 32_768) for side in shape)
    assert matter(np.zeros(kept, np.uint8)).over("green").shape[:2] == kept[:2]


@pytest.mark.parametrize("error", [RuntimeError("out of\nmemory"), ValueError(), MemoryError()])
def test_a_runtime_that_fails_on_a_frame(
    matter: Matter, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(matter._engine.backend, "run", fail)
    for use in (lambda: matter(FRAME), lambda: matter.infer(matter.prepare(FRAME))):
        with pytest.raises(BackendError) as caught:
            use()
        assert "\n" not in str(caught.value)
        assert caught.value.__cause__ is error
    monkeypatch.undo()
    assert matter(FRAME).alpha.shape == (32, 64)  # its lane is free again


@pytest.mark.parametrize(
    "change",
    [
        lambda head: head.astype(np.int32),
        lambda head: head.astype(np.float64),
        lambda head: head[:, :, 1:],
        lambda head: head[0],
        lambda head: np.concatenate([head, head], 1),
    ],
)
def test_heads_of_another_kind(
    matter: Matter, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], Any]
) -> None:
    run = matter._engine.backend.run

    def changed(*inputs: Any, lane: int = 0) -> dict[str, Any]:
        return {name: change(head) for name, head in run(*inputs, lane=lane).items()}

    monkeypatch.setattr(matter._engine.backend, "run", changed)
    with pytest.raises(BackendError, match="expected float32 of shape"):
        matter(FRAME)


def test_a_manifest_nested_as_deep_as_json_can_be(
    matter: Matter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import zipfile

    source = EngineFile.open(matter._engine.path)
    text = source.manifest.to_json()
    source.close()
    for depth in range(900, 1000, 5):
        with zipfile.ZipFile(tmp_path / "deep.engine", "w") as archive:
            nested = text.replace('"schema": 4', f'"schema": {"[" * depth}{"]" * depth}', 1)
            assert nested != text
            archive.writestr("manifest.json", nested)
        with pytest.raises(EngineError):
            EngineFile.open(tmp_path / "deep.engine")


def test_a_plate_in_planes(tmp_path: Path) -> None:
    """What a video's reader gives is a frame like any other."""
    from tests.sdk import tiny_plate

    path = tiny_plate.build(tmp_path / "plate.engine")
    with Matter(path, backend="onnxruntime", threads=1) as opened:
        opened.plate = YUV.from_bgr(FRAME)
        assert opened.plate.shape == FRAME.shape
        assert np.abs(opened.plate.astype(int) - FRAME).max() <= 2
        assert opened(FRAME).alpha.shape == (32, 64)
