"""Plate mode: alpha by the plate of the moment, and one clear error for each mistake."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from matter_sdk.sdk import EngineError, FrameError, Matter
from matter_sdk.sdk.engine.manifest import ExtraInput
from matter_sdk.sdk.inference import plate as plates
from matter_sdk.sdk.video import matte_video
from tests.sdk import tiny_plate, tiny_sim
from tests.sdk.checks import OPTIONS, every_stream_is_refused
from tests.sdk.clips import decode, write_clip
from tests.sdk.conftest import Tiny

Frame = NDArray[np.uint8]
SIZE = tiny_plate.SIZE


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_plate.build(tmp_path_factory.mktemp("plate") / "gfm-plate.engine")


def picture(seed: int, size: tuple[int, int] = SIZE) -> Frame:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def plain(level: int, size: tuple[int, int] = SIZE) -> Frame:
    return np.full((*size, 3), level, np.uint8)


def same(one: Any, other: Any) -> None:
    """Equal but for the rounding of float32."""
    np.testing.assert_allclose(one, other, atol=1e-6)


# ------------------------------------------------------------------------------------------ results


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_closed_form(engine: Path, backend: str) -> None:
    pytest.importorskip(backend)
    frame, plate = picture(0), picture(1)
    expected = tiny_plate.alpha(frame, plate)
    assert {0.0, 1.0} < set(expected.ravel())  # all three classes take part
    with Matter(engine, backend=backend, threads=1, plate=plate) as matter:
        matte = matter(frame)
        same(matter(plate).alpha, 0)
    assert matte.frame is frame
    assert matte.alpha.dtype == np.float32
    same(matte.alpha, expected)


def test_a_frame_and_a_plate_of_other_sizes(engine: Path) -> None:
    """Each is brought to the network's size for itself: 2×2 and 4×4 pixels to one."""
    frame, plate = picture(0), picture(1)
    expected = cv2.resize(tiny_plate.alpha(frame, plate).astype(np.float32), (128, 64))
    large = frame.repeat(2, 0).repeat(2, 1)
    with Matter(engine, plate=plate.repeat(4, 0).repeat(4, 1), **OPTIONS) as matter:
        same(matter(large).alpha, expected)


def test_the_stages_are_the_call(engine: Path) -> None:
    frame, plate = picture(0, (40, 80)), picture(1)
    with Matter(engine, plate=plate, **OPTIONS) as matter:
        prepared = matter.prepare(frame)
        assert [tensor.shape for tensor in prepared] == [(1, 3, *SIZE)] * 2
        alpha = matter.infer(prepared)
        assert alpha.shape == SIZE
        same(matter.finish(frame, alpha).alpha, matter(frame).alpha)
        with pytest.raises(FrameError, match="Give what prepare"):
            matter.infer(prepared.image)


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_batches_equal_one_by_one(tmp_path: Path, batch: int) -> None:
    path = tiny_plate.build(tmp_path / "plate.engine", tiny_plate.manifest(batch=batch))
    frames, plate = [picture(seed) for seed in range(5)], picture(9)
    with Matter(path, plate=plate, **OPTIONS) as matter:
        for given in (frames, np.stack(frames)):
            for matte, frame in zip(matter(given), frames, strict=True):
                same(matte.alpha, tiny_plate.alpha(frame, plate))


def test_kinds_of_plates(engine: Path, tmp_path: Path) -> None:
    """A file (whose name OpenCV itself cannot open), BGRA, grey, and memory of another library."""

    class Foreign:
        def __init__(self, array: Frame) -> None:
            self.__dlpack__, self.__dlpack_device__ = array.__dlpack__, array.__dlpack_device__

    frame, plate = picture(0), picture(1)
    path = tmp_path / "leer – пусто.png"
    path.write_bytes(cv2.imencode(".png", plate)[1].tobytes())
    with Matter(engine, plate=path, **OPTIONS) as matter:
        expected = tiny_plate.alpha(frame, plate)
        same(matter(frame).alpha, expected)
        for kind in (str(path), np.dstack([plate, plate[..., 0]]), plate[:, ::-1], Foreign(plate)):
            matter.plate = kind
            mirrored = isinstance(kind, np.ndarray) and kind.shape[2] == 3
            same(
                matter(frame).alpha,
                tiny_plate.alpha(frame, plate[:, ::-1]) if mirrored else expected,
            )
        matter.plate = plate[..., 1]
        same(matter(frame).alpha, tiny_plate.alpha(frame, cv2.merge([plate[..., 1]] * 3)))


def test_several_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plate is preprocessed once for each, when it is first wanted, and again when replaced."""
    path = tiny_plate.build(tmp_path / "x.engine", tiny_plate.manifest((SIZE, (64, 64))))
    made = []
    tensor_of = plates.tensor_of

    def counting(image: Any, size: tuple[int, int], spec: Any) -> Any:
        made.append((image.shape[:2], size))
        return tensor_of(image, size, spec)

    monkeypatch.setattr(plates, "tensor_of", counting)
    wide, square = (48, 96), (48, 48)
    with Matter(path, plate=plain(0, wide), **OPTIONS) as matter:
        assert made == []
        for _ in range(3):
            matter(plain(9, SIZE))
        assert made.count((wide, SIZE)) == 1
        matter.plate = plain(0, square)
        for _ in range(3):
            matter(plain(9, (64, 64)))
        assert made.count((square, (64, 64))) == 1
    assert len(made) == 6 + 2


def test_hybrid_of_equal_scales_chooses_the_size(tmp_path: Path) -> None:
    path = tiny_plate.build(tmp_path / "x.engine", tiny_plate.manifest((SIZE, (64, 128))))
    plate = plain(0)
    with Matter(path, hybrid=(1 / 2, 1 / 2), plate=plate, **OPTIONS) as matter:
        assert matter.prepare(plain(9, (128, 256))).image.shape[2:] == (64, 128)
    with pytest.raises(EngineError, match=r"hybrid .* gfm-plate"):
        Matter(path, hybrid=(1 / 3, 1 / 2), plate=plate, **OPTIONS)


# ---------------------------------------------------------------------------------------- the plate


def test_the_plate_is_a_copy_that_reads_back(engine: Path) -> None:
    plate = picture(1)
    original = plate.copy()
    with Matter(engine, plate=plate, **OPTIONS) as matter:
        plate[:] = 0
        np.testing.assert_array_equal(matter.plate, original)
        same(matter(picture(0)).alpha, tiny_plate.alpha(picture(0), original))
        with pytest.raises(ValueError, match="read-only"):
            matter.plate[:] = 0


def test_the_plate_is_replaced_and_taken_away(engine: Path) -> None:
    frame = plain(0)
    with Matter(engine, **OPTIONS) as matter:
        assert matter.plate is None
        matter.plate = plain(255)
        assert (matter(frame).alpha == 1).all()
        matter.plate = plain(10)
        assert (matter(frame).alpha == 0).all()
        prepared = matter.prepare(frame)
        matter.plate = plain(255)
        assert (matter.infer(prepared) == 0).all()  # as prepared
        matter.plate = None
        with pytest.raises(FrameError, match="no plate"):
            matter(frame)


def test_a_wrong_plate_leaves_the_old_one(engine: Path) -> None:
    with Matter(engine, plate=plain(255), **OPTIONS) as matter:
        with pytest.raises(FrameError, match=r"plate .*float64"):
            matter.plate = np.zeros((*SIZE, 3))
        assert (matter(plain(0)).alpha == 1).all()


def test_describe(engine: Path) -> None:
    with Matter(engine, **OPTIONS) as matter:
        assert "plate       none yet: matter.plate = image" in matter.describe()
        matter.plate = plain(0, (48, 96))
        assert "plate       48×96" in matter.describe()
    with Matter(engine, plate=plain(0), **OPTIONS) as matter:
        assert "network     gfm-plate efficientnet-lite0, RoSTa tt" in matter.describe()


def test_threads_see_one_plate_or_the_other_whole(engine: Path) -> None:
    """A plate that is replaced all the time: every alpha is that of one, all over the frame."""
    frame, stop = plain(0), threading.Event()
    shown = [plain(level, (96, 192)) for level in (0, 68, 255)]
    with Matter(engine, plate=shown[0], **OPTIONS) as matter, ThreadPoolExecutor(4) as pool:

        def replace_it() -> None:
            while not stop.is_set():
                for plate in shown:
                    matter.plate = plate

        def work() -> set[float]:
            found = set()
            for _ in range(60):
                (value,) = np.unique(matter(frame).alpha.round(3))
                found.add(float(value))
            return found

        changing = threading.Thread(target=replace_it)
        changing.start()
        try:
            found = set().union(*pool.map(lambda _: work(), range(4)))
        finally:
            stop.set()
            changing.join()
    assert found <= {0, np.float32(0.6), 1}
    assert len(found) > 1


# ------------------------------------------------------------------------------------ stream, video


def test_a_stream_with_a_plate_that_changes(engine: Path) -> None:
    def source() -> Any:
        for _ in range(4):
            yield plain(0)

    options = OPTIONS | {"temporal": True}  # which must not hold on to the old plate's matte
    with Matter(engine, plate=plain(255), **options) as matter:
        assert all((matte.alpha == 1).all() for matte in matter.stream(source()))
        found = []
        for matte in matter.stream(plain(0) for _ in range(40)):
            found.append(float(matte.alpha.mean()))
            matter.plate = plain(0)
        assert found[0] == 1
        assert found[-1] == 0


def test_a_stream_without_a_plate_is_refused_at_once(engine: Path, tmp_path: Path) -> None:
    message = "gfm-plate .*matter.plate = image"
    with Matter(engine, **OPTIONS) as matter:
        every_stream_is_refused(matter, message, tmp_path)


def test_video(engine: Path, tmp_path: Path) -> None:
    room = np.full((64, 128, 3), (0, 0, 255), np.uint8)
    frames = [room.copy() for _ in range(4)]
    for frame in frames:
        frame[:, :64] = (255, 0, 0)
    clip = write_clip(tmp_path / "in.mp4", frames)
    with Matter(engine, plate=room, **OPTIONS) as matter:
        matte_video(matter, clip, tmp_path / "out.mp4", background="green")
    for shown in decode(tmp_path / "out.mp4")[0]:
        assert np.abs(shown[8:-8, 8:56].reshape(-1, 3).mean(0) - (255, 0, 0)).max() < 12
        assert np.abs(shown[8:-8, 72:-8].reshape(-1, 3).mean(0) - (0, 255, 0)).max() < 12


# ----------------------------------------------------------------------------------- what is wrong


def test_no_plate(engine: Path) -> None:
    with Matter(engine, **OPTIONS) as matter:
        for use in (matter, matter.prepare):
            with pytest.raises(FrameError) as caught:
                use(plain(0))
            # The message says how, in words that work.
            assert f"Matter({str(engine)!r}, plate=image)" in str(caught.value)
            assert "expected matter.plate = image" in str(caught.value)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((32, 64, 3)), r"the plate is float64, shape \(32, 64, 3\); expected uint8"),
        (np.zeros((32, 64, 2), np.uint8), r"the plate has 2 channels"),
        (np.zeros((2, 32, 64, 3), np.uint8), r"the plate has rank 4"),
        (np.zeros((0, 64, 3), np.uint8), r"the plate has no pixels"),
        (7, r"the plate is a int; expected uint8"),
        ("nowhere.png", r"the plate 'nowhere.png' cannot be read \(No such file or directory\)"),
        (Path(__file__), r"test_plate.py' is no picture that can be decoded; expected JPEG"),
        (Path(__file__).parent, r"cannot be read \(Is a directory\)"),
    ],
)
def test_bad_plates(engine: Path, bad: Any, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        Matter(engine, plate=bad, **OPTIONS)


def test_a_bad_plate_is_found_before_a_backend_is_loaded(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any, **__: Any) -> Any:
        raise AssertionError("a backend was loaded")

    monkeypatch.setattr("matter_sdk.sdk.inference.network.open_backend", load)
    with pytest.raises(FrameError, match="nowhere"):
        Matter(engine, plate="nowhere.png", **OPTIONS)


@pytest.mark.parametrize(
    ("plate", "fits"),
    [
        ((32, 64), True),
        ((720, 1440), True),
        ((43, 85), True),  # half of it rounded: 42.5×85
        ((42, 85), False),
        ((64, 32), False),
        ((30, 64), False),
        ((36, 64), False),
    ],
)
def test_another_aspect_ratio(engine: Path, plate: tuple[int, int], fits: bool) -> None:
    with Matter(engine, plate=plain(0, plate), **OPTIONS) as matter:
        frame = plain(0, (360, 720))
        if fits and plate != (43, 85):
            assert (matter(frame).alpha == 0).all()
        elif fits:
            assert (matter(plain(0, (86, 171))).alpha == 0).all()
        else:
            height, width = plate
            with pytest.raises(FrameError, match=f"{height}×{width}.*360×"):
                matter(frame)


def test_networks_that_read_no_plate(tmp_path: Path) -> None:
    gfm, sim = Tiny(tmp_path).build("gfm.engine"), tiny_sim.build(tmp_path / "sim.engine")
    for path, name in ((gfm, "gfm"), (sim, "sim")):
        message = f"plate .*{name}.* gfm-plate"
        with pytest.raises(FrameError, match=message):
            Matter(path, plate=plain(0), **OPTIONS)
        with Matter(path, **OPTIONS) as matter:
            assert matter.plate is None
            with pytest.raises(FrameError, match=message):
                matter.plate = plain(0)


def test_a_plate_network_takes_no_trimap(engine: Path, tmp_path: Path) -> None:
    trimap = np.full(SIZE, 128, np.uint8)
    with (
        Matter(engine, plate=plain(0), **OPTIONS) as matter,
        pytest.raises(FrameError, match=r"trimap .*gfm-plate"),
    ):
        matter(plain(0), trimap=trimap)
    gfm = Tiny(tmp_path).build("gfm.engine")
    with pytest.raises(EngineError, match=r"trimap_from .*gfm-plate"):
        Matter(engine, trimap_from=gfm, plate=plain(0), **OPTIONS)


def test_a_plate_network_makes_trimaps_for_another(engine: Path, tmp_path: Path) -> None:
    sim = tiny_sim.build(tmp_path / "sim.engine")
    frame = plain(0, (64, 96))
    # A plate that says: background, transition, foreground, from left to right.
    plate = np.repeat(np.repeat(np.uint8([[0, 64, 255]]), 32, 1), 64, 0)
    with (
        Matter(engine, **OPTIONS) as source,
        Matter(sim, trimap_from=source, **OPTIONS) as matter,
    ):
        with pytest.raises(FrameError, match="no plate"):
            matter.stream([frame])
        source.plate = plate
        alpha = matter(frame).alpha
        assert (alpha[:, :28] == 0).all()
        assert ((alpha[:, 36:60] > 0) & (alpha[:, 36:60] < 1)).all()
        assert (alpha[:, 68:] == 1).all()
        assert len(list(matter.stream([frame]))) == 1
    with pytest.raises(FrameError, match=r"gfm-plate .*matter.plate = image"):
        Matter(sim, trimap_from=engine, **OPTIONS)  # from a path, and nobody could set its plate


def test_inputs_that_are_not_known(engine: Path, tmp_path: Path) -> None:
    about = replace(tiny_plate.manifest(), extra_inputs=(ExtraInput("plate", 4),))
    path = tiny_plate.build(tmp_path / "x.engine", about)
    with pytest.raises(EngineError, match=r"'plate': 4.*'plate': 3.*--upgrade"):
        Matter(path, **OPTIONS)
