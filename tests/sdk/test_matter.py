"""Matter: right mattes, one clear error for each bad frame, and safe in threads."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from matter_sdk.sdk import BackendError, ClosedError, EngineError, FrameError, Matte, Matter
from matter_sdk.sdk.engine.manifest import Manifest, NetworkInfo, WeightsFile
from tests.sdk.checks import closes_while_others_call

Frame = NDArray[np.uint8]


@pytest.fixture
def matter(engine_path: Path) -> Iterator[Matter]:
    with Matter(engine_path, backend="onnxruntime", threads=1) as opened:
        yield opened


# ------------------------------------------------------------------------------------------ results


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_closed_form(tiny: Any, engine_path: Path, frame: Frame, backend: str) -> None:
    pytest.importorskip(backend)
    with Matter(engine_path, backend=backend, threads=1) as matter:
        matte = matter(frame)
    assert isinstance(matte, Matte)
    assert matte.frame is frame
    assert matte.alpha.dtype == np.float32
    expected = tiny.alpha(frame)
    assert {0.0, 1.0} < set(expected.ravel())  # all three classes take part
    np.testing.assert_allclose(matte.alpha, expected, atol=1e-6)


def test_the_stages_are_the_call(matter: Matter, frame: Frame) -> None:
    large = cv2.resize(frame, (200, 90))
    tensor = matter.prepare(large)
    assert (tensor.shape, tensor.dtype) == ((1, 3, 32, 64), np.float32)
    alpha = matter.infer(tensor)
    assert (alpha.shape, alpha.dtype) == ((32, 64), np.float32)
    matte = matter.finish(large, alpha)
    np.testing.assert_array_equal(matte.alpha, matter(large).alpha)


def test_finish_brings_the_alpha_to_the_frame(matter: Matter) -> None:
    alpha = np.random.default_rng(0).random((32, 64), np.float32)
    grown = matter.finish(np.zeros((64, 128, 3), np.uint8), alpha).alpha
    assert grown.shape == (64, 128)
    # Bilinear with half-pixel centres: an inner pixel at (2y + 1.5, 2x + 1.5) lies between four.
    inner = alpha[3:5, 5:7]
    weights = np.outer([0.75, 0.25], [0.75, 0.25])
    assert grown[7, 11] == pytest.approx((inner * weights).sum(), abs=1e-6)
    shrunk = matter.finish(np.zeros((16, 32, 3), np.uint8), alpha).alpha
    np.testing.assert_allclose(shrunk, alpha.reshape(16, 2, 32, 2).mean((1, 3)), atol=1e-6)


def test_alpha_is_a_fresh_array_each_time(matter: Matter, frame: Frame) -> None:
    first = matter(frame).alpha
    copy = first.copy()
    matter(255 - frame)
    np.testing.assert_array_equal(first, copy)


@pytest.mark.parametrize("fusion", ["ft", "bt", "alpha"])
def test_other_fusions(tiny: Any, frame: Frame, fusion: str) -> None:
    image = frame[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32)
    focus = tiny.heads(image)[1][0, 0]
    green = image[0, 1] > image[0, 0]  # the arg-max of the two classes red and green
    expected = {
        "ft": np.minimum(1, green + focus),
        "bt": np.maximum(0, green - focus),
        "alpha": np.clip(3 * focus - 1, 0, 1),
    }[fusion]
    with Matter(tiny.build(fusion=fusion), backend="onnxruntime", threads=1) as matter:
        np.testing.assert_allclose(matter(frame).alpha, expected, atol=1e-6)


def test_channels(matter: Matter, frame: Frame) -> None:
    alpha = matter(frame).alpha
    opaque = np.dstack((frame, np.full((32, 64), 255, np.uint8)))
    np.testing.assert_array_equal(matter(opaque).alpha, alpha)
    grey = frame[..., 0]
    np.testing.assert_array_equal(matter(grey).alpha, matter(np.dstack((grey,) * 3)).alpha)


def test_what_was_transparent_stays_so(matter: Matter, engine_path: Path, frame: Frame) -> None:
    """In a call, a batch, the stages and a stream, and in all that is made of the matte."""
    large = cv2.resize(frame, (200, 90))
    own = np.random.default_rng(0).integers(0, 256, (90, 200), np.uint8)
    own[:20] = 0
    given = np.dstack((large, own))
    expected = matter(large).alpha * (own / np.float32(255))
    mattes = [matter(given), *matter([given]), *matter(np.stack([given]))]
    mattes.append(matter.finish(given, matter.infer(matter.prepare(given))))
    with Matter(engine_path, backend="onnxruntime", quality="balanced", temporal=False) as other:
        mattes += list(other.stream([given]))
    for matte in mattes:
        np.testing.assert_allclose(matte.alpha, expected, atol=1e-6)
        assert (matte.over((1, 2, 3))[:20] == (1, 2, 3)).all()
        assert (matte.cutout()[:20, :, 3] == 0).all()
    with Matter(engine_path, backend="onnxruntime", transparency=False) as deaf:
        np.testing.assert_array_equal(deaf(given).alpha, matter(large).alpha)


def test_views_with_any_strides(matter: Matter, frame: Frame) -> None:
    for view in (
        frame[::-1],
        frame[:, ::-1],
        frame[..., ::-1],
        frame[::2, ::3],
        np.asfortranarray(frame),
    ):
        np.testing.assert_array_equal(matter(view).alpha, matter(np.ascontiguousarray(view)).alpha)


def test_dlpack_from_the_cpu(matter: Matter, frame: Frame) -> None:
    class Foreign:
        """What torch's CPU tensors and others offer."""

        def __dlpack__(self, **options: Any) -> Any:
            return frame.__dlpack__(**options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

    matte = matter(Foreign())
    np.testing.assert_array_equal(matte.alpha, matter(frame).alpha)
    assert np.shares_memory(matte.frame, frame)


def test_a_frame_in_a_gpu_is_refused_on_the_cpu(matter: Matter) -> None:
    class OnGpu:
        def __dlpack_device__(self) -> tuple[int, int]:
            return (2, 0)

    with pytest.raises(FrameError, match=r"cupy.asnumpy\(frame\)"):
        matter(OnGpu())


# -------------------------------------------------------------------------------------------- batch


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_batch_equals_one_by_one(tiny: Any, frame: Frame, batch: int) -> None:
    frames = [frame, frame[::-1].copy(), 255 - frame, frame[:, ::-1].copy(), frame // 2]
    with Matter(tiny.build(batch=batch), backend="onnxruntime", threads=1) as matter:
        single = [matter(each) for each in frames]
        listed = matter(frames)
        stacked = matter(np.stack(frames))
        np.testing.assert_allclose(single[0].alpha, tiny.alpha(frame), atol=1e-6)
    assert len(listed) == len(stacked) == 5
    for one, two, three, source in zip(single, listed, stacked, frames, strict=True):
        np.testing.assert_allclose(two.alpha, one.alpha, atol=1e-6)
        np.testing.assert_array_equal(three.alpha, two.alpha)
        assert two.frame is source


@pytest.mark.parametrize("empty", [[], np.zeros((0, 8, 8, 3), np.uint8)])
def test_empty_batch(matter: Matter, empty: Any) -> None:
    with pytest.raises(FrameError, match="empty"):
        matter(empty)


def test_batch_of_mixed_sizes(matter: Matter, frame: Frame) -> None:
    with pytest.raises(
        FrameError,
        match=r"frame 1 .*\(31, 64, 3\).*\(32, 64, 3\)",
    ):
        matter([frame, frame[1:]])


def test_bad_frame_in_a_batch_is_named(matter: Matter, frame: Frame) -> None:
    with pytest.raises(FrameError, match=r"frame 1 .*None"):
        matter([frame, None])


# --------------------------------------------------------------------------------------- bad frames


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (None, "None.*cv2.imread"),
        ("cat.jpg", r"cat\.jpg.*No such file"),
        (3, "int"),
        (
            np.zeros((4, 4, 3)),
            r"float64.*\(4, 4, 3\).*\(frame \* 255\).round\(\).astype",
        ),
        (np.full((4, 4, 3), 200.0), r"is float64.*frame.clip\(0, 255\).round\(\).astype"),
        (np.full((4, 4, 3), np.nan), r"float64.*\(4, 4, 3\).*NaN"),
        (np.zeros((4, 4, 3), np.uint16), r"is uint16.*\(frame / 257\).round\(\).astype"),
        (np.zeros((4, 4), bool), r"is bool.*frame.astype\(np.uint8\) \* 255"),
        (np.zeros((4, 4, 3), np.int64), r"is int64.*frame.clip\(0, 255\).astype"),
        (np.zeros((4, 4, 3), object), r"is object"),
        (np.zeros(4, np.uint8), r"rank 1.*\(4,\)"),
        (np.uint8(3) * np.ones((), np.uint8), "rank 0|uint8"),
        (np.zeros((1, 1, 4, 4, 3), np.uint8), r"rank 5.*\(1, 1, 4, 4, 3\)"),
        (np.zeros((4, 4, 2), np.uint8), r"2 channels.*\(4, 4, 2\)"),
        (np.zeros((4, 4, 1), np.uint8), r"1 channels.*frame\[:, :, 0\]"),
        (np.zeros((3, 4, 5), np.uint8), r"5 channels.*np.moveaxis\(frame, 0, -1\)"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (np.zeros((4, 0), np.uint8), r"\(4, 0\)"),
        (np.zeros((2, 4, 4, 3)), "frame 0 .*float64"),
    ],
)
def test_bad_frame(matter: Matter, bad: Any, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        matter(bad)


def test_pil_image_is_refused_since_it_is_rgb(matter: Matter) -> None:
    class Image:
        mode = "RGB"

        def convert(self, mode: str) -> Any: ...

    with pytest.raises(
        FrameError, match=r"Image.*np.asarray\(image.convert\('RGB'\)\)\[..., ::-1\]"
    ):
        matter(Image())


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (2, 3, 32, 64), (3, 32, 64)])
def test_infer_takes_what_prepare_gave(matter: Matter, shape: tuple[int, ...]) -> None:
    with pytest.raises(FrameError, match="1×3×h×w"):
        matter.infer(np.zeros(shape, np.float32))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shape=st.lists(st.integers(0, 5), max_size=5).map(tuple),
    dtype=st.sampled_from(["uint8", "int8", "float32", "bool", "complex64", "U3", "datetime64[s]"]),
)
def test_any_array_gives_a_matte_or_a_frame_error(
    matter: Matter, shape: tuple[int, ...], dtype: str
) -> None:
    try:
        result = matter(np.zeros(shape, dtype))
    except FrameError as error:
        assert "expected" in str(error)
        return
    assert dtype == "uint8"
    for matte in result if len(shape) == 4 else [result]:
        height, width = shape[:2] if len(shape) < 4 else shape[1:3]
        assert matte.alpha.shape == (height, width)
        assert 0 <= matte.alpha.min() <= matte.alpha.max() <= 1


# --------------------------------------------------------------------------------------------- size


SIZES = ((32, 64), (64, 32), (64, 64))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((72, 128), (32, 64)), ((128, 72), (64, 32)), ((100, 110), (64, 64)), ((9, 99), (32, 64))],
)
def test_nearest_aspect_ratio(tiny: Any, shape: tuple[int, int], expected: tuple[int, int]) -> None:
    with Matter(tiny.build(sizes=SIZES), backend="onnxruntime", threads=1) as matter:
        frame = np.zeros((*shape, 3), np.uint8)
        assert matter.prepare(frame).shape[2:] == expected
        assert matter(frame).alpha.shape == shape
        assert matter([frame])[0].alpha.shape == shape
        assert matter.size == SIZES[0]


def test_size_that_was_asked_for(tiny: Any) -> None:
    with Matter(tiny.build(sizes=SIZES), size=(64, 64), backend="onnxruntime", threads=1) as matter:
        assert matter.size == (64, 64)
        assert matter.prepare(np.zeros((72, 128, 3), np.uint8)).shape[2:] == (64, 64)
        assert "64×64" in matter.describe()
        assert "32×64" not in matter.describe()


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (
            (96, 64),
            "96x64.*32x64.*python -m export",
        ),
        ((33, 64), "33x64.*32.*8192.*32x64"),
        ((0, 64), "0x64.*32"),
        ((32 * 1000, 64), "32000x64.*8192"),
        ("32x64", "'32x64'.*height, width"),
        ((32.0, 64), r"\(32.0, 64\).*height, width"),
        (32, "32"),
    ],
)
def test_size_that_is_not_there(engine_path: Path, size: Any, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        Matter(engine_path, size=size)


def test_the_build_line_for_a_missing_size_keeps_the_others(engine_path: Path) -> None:
    with pytest.raises(EngineError, match=r"--size 32x64 --size 96x64 --output tiny.engine$"):
        Matter(engine_path, size=(96, 64))


# ------------------------------------------------------------------------------------------ threads


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_threads_give_what_one_thread_gives(tiny: Any, backend: str) -> None:
    pytest.importorskip(backend)
    rng = np.random.default_rng(11)
    frames = [rng.integers(0, 256, (32, 64, 3), np.uint8) for _ in range(24)]
    with Matter(tiny.build(sizes=SIZES), backend=backend, threads=1) as matter:
        with ThreadPoolExecutor(6) as pool:
            together = list(pool.map(matter, frames))
        for frame, matte in zip(frames, together, strict=True):
            assert matte.frame is frame
            np.testing.assert_allclose(matte.alpha, tiny.alpha(frame), atol=1e-6)


def test_close_while_others_call(tiny: Any, frame: Frame) -> None:
    matter = Matter(tiny.build(), backend="onnxruntime", threads=1)
    closes_while_others_call(matter, frame, tiny.alpha(frame), calls=200)


# ----------------------------------------------------------------------------------- life, describe


def test_closed(engine_path: Path, frame: Frame) -> None:
    with Matter(engine_path, backend="onnxruntime", threads=1) as matter:
        tensor = matter.prepare(frame)
    matter.close()
    for use in (
        lambda: matter(frame),
        lambda: matter([frame]),
        lambda: matter.prepare(frame),
        lambda: matter.infer(tensor),
        lambda: matter.stream([frame]),
    ):
        with pytest.raises(ClosedError, match=r"Matter\(.*\.engine"):
            use()
    assert "closed" in repr(matter)
    assert matter.describe()  # still tells what it was


def test_what_is_refused_on_opening_is_closed(
    engine_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    monkeypatch.setattr(
        "matter_sdk.sdk.engine.file.EngineFile.close", lambda file: closed.append(file.path)
    )
    with pytest.raises(BackendError):
        Matter(engine_path, backend="no")
    assert len(closed) == 1


def test_properties(matter: Matter) -> None:
    assert (matter.backend, matter.device, matter.size) == ("onnxruntime", "cpu", (32, 64))
    assert matter.manifest.network.name == "gfm"


def test_describe(engine_path: Path) -> None:
    with Matter(engine_path, threads=1, device="cpu") as matter:
        text = matter.describe()
    for part in (
        "gfm efficientnet-lite0, RoSTa tt, 1.23 M parameters",
        "gfm-efficientnet-lite0-tt.safetensors (MIT, SHA-256 555555555555",
        "32×64, 1.50 G multiply-accumulates",
        f"{matter.backend} on cpu: ",
        "float32, 1 thread",
        "tensorrt: it runs on an NVIDIA GPU, device='cpu' was asked for",
        "0.0012  1.0e-09  2.0e-06  3.0e-04",
        "not run: no GPU on this machine",
    ):
        assert part in text
    assert "RANDOM" not in text


def test_describe_says_what_was_left_out_and_every_file_of_an_ensemble(tiny: Any) -> None:
    def change(manifest: Manifest) -> Manifest:
        network = NetworkInfo("msia", "resnext101", "none", without=("ini", "sed"))
        more = (WeightsFile("second.pth", "6" * 64),)
        return replace(manifest, network=network, weights=replace(manifest.weights, more=more))

    with Matter(tiny.build(change=change), threads=1) as matter:
        lines = matter.describe().splitlines()
    assert "network     msia resnext101, without ini and sed" in lines
    assert f"{'':12}second.pth (SHA-256 {'6' * 64})" in lines


def test_random_weights_are_said_loudly(tiny: Any, caplog: pytest.LogCaptureFixture) -> None:
    path = tiny.build(
        change=lambda m: replace(m, weights=replace(m.weights, random=True), verification=())
    )
    with caplog.at_level(logging.WARNING, "matter"), Matter(path, threads=1) as matter:
        text = matter.describe()
    assert "RANDOM WEIGHTS" in text
    assert "never: the engine holds no verification report" in text
    assert "random weights: its mattes mean nothing" in caplog.text
