"""Hybrid-resolution test: the right two sizes, and what two single passes give, fused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from matter_sdk.kernels import InputSpec, collaborative_fusion, preprocess
from matter_sdk.sdk import EngineError, FrameError, Matter
from matter_sdk.sdk.backends import open_backend
from matter_sdk.sdk.engine.file import EngineFile
from tests.sdk.clips import write_clip
from tests.sdk.conftest import Tiny

Frame = NDArray[np.uint8]
Size = tuple[int, int]
OPTIONS: dict[str, Any] = {"backend": "onnxruntime", "threads": 1}
THIRD_AND_HALF = (1 / 3, 1 / 2)
SIZES = ((96, 160), (64, 96))  # of a frame of 192×320: 1/2, and 1/3 in whole multiples


def smooth_frame(size: Size = (192, 320), seed: int = 0) -> Frame:
    """Spots of all three classes, fine enough for the passes to differ."""
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 40, 3), np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def heads(path: Path, size: Size, frame: Frame) -> dict[str, NDArray[np.float32]]:
    """Both heads of a single pass, straight from the backend."""
    with EngineFile.open(path) as file:
        model = next(model for model in file.manifest.models if model.size == size)
        backend, _ = open_backend(file, model, **OPTIONS)
        return dict(backend.run(preprocess(frame, size, InputSpec())))


@pytest.mark.parametrize("fusion", ["tt", "ft", "bt"])
def test_glance_and_focus_come_from_passes_of_their_own(tmp_path: Path, fusion: str) -> None:
    path = Tiny(tmp_path).build(sizes=SIZES, fusion=fusion)
    frame = smooth_frame()
    coarse, fine = heads(path, SIZES[1], frame), heads(path, SIZES[0], frame)
    expected = collaborative_fusion(coarse["glance"], fine["focus"], fusion)[0, 0]
    with Matter(path, hybrid=THIRD_AND_HALF, guided=False, **OPTIONS) as matter:
        alpha = matter.infer(matter.prepare(frame))
        np.testing.assert_allclose(alpha, expected, atol=1e-6)
        # What is fused differs from both passes alone: the test would see them exchanged.
        for single in (coarse, fine):
            alone = collaborative_fusion(single["glance"], single["focus"], fusion, size=SIZES[0])
            assert np.abs(alpha - alone[0, 0]).max() > 0.01
        matte = matter(frame)
        whole = cv2.resize(expected, (320, 192), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(matte.alpha, whole, atol=1e-6)
        np.testing.assert_allclose(matte.alpha, matter.finish(frame, alpha).alpha, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2])
def test_batches_and_streams_equal_one_by_one(tmp_path: Path, batch: int) -> None:
    frames = [smooth_frame(seed=seed) for seed in range(3)]
    path = Tiny(tmp_path).build(sizes=SIZES, batch=batch)
    clip = write_clip(tmp_path / "clip.mp4", frames)
    with Matter(path, hybrid=THIRD_AND_HALF, temporal=False, **OPTIONS) as matter:
        for one, frame in zip(matter(frames), frames, strict=True):
            np.testing.assert_allclose(one.alpha, matter(frame).alpha, atol=1e-6)
        for matte in matter.stream(clip):
            assert matte.planes is not None
            np.testing.assert_allclose(matte.alpha, matter(matte.planes).alpha, atol=1e-6)
        for matte in matter.stream(frames):
            np.testing.assert_allclose(matte.alpha, matter(matte.frame).alpha, atol=1e-6)


def test_frames_of_one_size_run_in_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a pool: two runs, glance and focus, for all of them; other sizes run by themselves."""
    frames = [smooth_frame(seed=seed) for seed in range(3)]
    path = Tiny(tmp_path).build(sizes=(*SIZES, *(size[::-1] for size in SIZES)), batch=3)
    with Matter(path, hybrid=THIRD_AND_HALF, backend="onnxruntime", threads=1) as matter:
        expected = [matter.infer(matter.prepare(frame)) for frame in frames]
        runs: list[int] = []
        run = matter._network.run

        def counted(*inputs: Any, read: Any) -> Any:
            runs.append(len(inputs[0]))
            return run(*inputs, read=read)

        monkeypatch.setattr(matter._network, "run", counted)
        prepared = [matter.prepare(frame) for frame in frames]
        for alpha, alone in zip(matter.infer_batch(prepared), expected, strict=True):
            np.testing.assert_allclose(alpha, alone, atol=1e-6)
        assert runs == [3, 3]
        upright = matter.prepare(np.ascontiguousarray(frames[0].transpose(1, 0, 2)))
        alphas = matter.infer_batch([prepared[0], upright])
        np.testing.assert_allclose(alphas[0], expected[0], atol=1e-6)
        assert alphas[1].shape == alphas[0].shape[::-1]
        assert runs[2:] == [1, 1, 1, 1]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_threads_give_what_one_thread_gives(tmp_path: Path, backend: str) -> None:
    """OpenVINO hands out its own memory, which the next frame's run overwrites."""
    pytest.importorskip(backend)
    frames = [smooth_frame(seed=seed) for seed in range(4)]
    path = Tiny(tmp_path).build(sizes=SIZES)
    with Matter(path, hybrid=THIRD_AND_HALF, backend=backend, threads=1) as matter:
        expected = [matter(frame).alpha for frame in frames]
        prepared = [matter.prepare(frame) for frame in frames]
        inferred = [matter.infer(each) for each in prepared]
        with ThreadPoolExecutor(6) as pool:
            for at, matte in enumerate(pool.map(matter, frames * 6)):
                np.testing.assert_allclose(matte.alpha, expected[at % 4], atol=1e-6)
            for at, alpha in enumerate(pool.map(matter.infer, prepared * 40)):
                np.testing.assert_allclose(alpha, inferred[at % 4], atol=1e-6)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ((192, 320), ((64, 96), (96, 160))),
        ((320, 192), ((96, 64), (160, 96))),  # upright: the upright sizes
        ((576, 960), ((96, 160), (288, 480))),  # larger: 192×320 and 288×480 are wanted
        ((60, 100), ((64, 96), (96, 160))),  # nothing so small: the smallest two that fit
        ((1080, 1920), ((96, 160), (288, 480))),  # nothing so large
    ],
)
def test_each_frame_takes_the_two_nearest_sizes(
    tmp_path: Path, frame: Size, expected: tuple[Size, Size]
) -> None:
    sizes = ((96, 160), (160, 96), (288, 480), (64, 96), (96, 64))
    with Matter(
        Tiny(tmp_path).build(sizes=sizes), hybrid=THIRD_AND_HALF, guided=False, **OPTIONS
    ) as matter:
        prepared = matter.prepare(np.zeros((*frame, 3), np.uint8))
        assert (prepared.glance.shape[2:], prepared.focus.shape[2:]) == expected
        # By the definition: no other pair is nearer in log distance, both sides summed.
        cost = {
            (small, large): sum(
                abs(np.log(side / (whole * scale)))
                for size, scale in zip((small, large), THIRD_AND_HALF, strict=True)
                for side, whole in zip(size, frame, strict=True)
            )
            for small in sizes
            for large in sizes
            if small[0] * small[1] < large[0] * large[1]
        }
        assert cost[expected] == min(cost.values())


@pytest.mark.parametrize("fusion", ["tt", "alpha"])
def test_equal_scales_are_one_ordinary_pass_at_the_nearest_size(
    tmp_path: Path, fusion: str
) -> None:
    path = Tiny(tmp_path).build(sizes=SIZES, fusion=fusion)
    frame = smooth_frame()
    for scale, size in ((1 / 2, SIZES[0]), (Fraction(1, 3), SIZES[1])):
        with (
            Matter(path, hybrid=(scale, scale), **OPTIONS) as matter,
            Matter(path, size=size, **OPTIONS) as plain,
        ):
            assert matter.prepare(frame).shape[2:] == size
            np.testing.assert_allclose(matter(frame).alpha, plain(frame).alpha, atol=1e-6)
            assert f"one pass at {Fraction(scale).limit_denominator()} of the frame" in (
                matter.describe()
            )


def test_describe(tmp_path: Path) -> None:
    path = Tiny(tmp_path).build(sizes=SIZES)
    with Matter(path, hybrid=THIRD_AND_HALF, guided=False, **OPTIONS) as matter:
        assert "hybrid      glance at 1/3 of the frame, focus at 1/2: the" in matter.describe()
    with Matter(path, **OPTIONS) as matter:
        assert "hybrid" not in matter.describe()


@pytest.mark.parametrize(
    "hybrid",
    [
        *(0.5, "1/3,1/2", (0.5,), (1 / 3, 1 / 2, 1), (0, 0.5), (0.5, 1 / 3), (0.5, 1.5)),
        *((-0.5, 0.5), (True, True), (1j, 1), (float("nan"), 0.5), (0.5, float("nan"))),
    ],
)
def test_wrong_scales(tmp_path: Path, hybrid: Any) -> None:
    path = Tiny(tmp_path).build(sizes=SIZES)
    with pytest.raises(EngineError, match="hybrid"):
        Matter(path, hybrid=hybrid, **OPTIONS)


def test_hybrid_beside_size(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"hybrid .*size=\(64, 96\)"):
        Matter(Tiny(tmp_path).build(sizes=SIZES), hybrid=THIRD_AND_HALF, size=(64, 96), **OPTIONS)


def test_one_head_cannot_come_from_two_passes(tmp_path: Path) -> None:
    path = Tiny(tmp_path).build(sizes=SIZES, fusion="alpha")
    with pytest.raises(
        EngineError,
        match=r"gfm.*hybrid=\(0\.333, 0\.333\)",
    ):
        Matter(path, hybrid=THIRD_AND_HALF, guided=False, **OPTIONS)


@pytest.mark.parametrize(
    ("sizes", "hybrid", "proposed"),
    [
        (((64, 128),), THIRD_AND_HALF, "96x192"),
        (((64, 128),), (1 / 4, 1 / 2), "128x256"),
        (((64, 128),), (0.49, 0.5), "96x160"),  # never the same size again
        (((64, 128), (128, 64)), THIRD_AND_HALF, "96x192"),  # neither is the smaller
    ],
)
def test_an_engine_that_needs_another_size(
    tmp_path: Path, sizes: tuple[Size, ...], hybrid: tuple[float, float], proposed: str
) -> None:
    path = Tiny(tmp_path).build(sizes=sizes)
    message = (
        rf"holds 64x128.*; expected two sizes of which one is smaller. .* python -m export.build "
        rf".*--size 64x128 .*--size {proposed} --output tiny.engine$"
    )
    with pytest.raises(EngineError, match=message):
        Matter(path, hybrid=hybrid, **OPTIONS)


def test_infer_takes_what_prepare_gave(tmp_path: Path) -> None:
    path = Tiny(tmp_path).build(sizes=SIZES)
    with (
        Matter(path, hybrid=THIRD_AND_HALF, guided=False, **OPTIONS) as matter,
        pytest.raises(FrameError, match="ndarray"),
    ):
        matter.infer(np.zeros((1, 3, *SIZES[0]), np.float32))
