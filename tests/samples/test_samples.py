"""The samples' commands on tiny clips, with an engine whose matte is known: blue is the subject."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from matter_sdk.samples import bench, image, video, webcam
from matter_sdk.sdk import EngineError, FrameError, Matter, VideoError
from matter_sdk.sdk.command_line import UsageError
from matter_sdk.sdk.streaming.plate_taker import PlateTaker
from matter_sdk.sdk.streaming.statistics import Stats, Times
from tests.sdk import tiny_plate, tiny_sim
from tests.sdk.clips import decode, read_image, write_clip
from tests.sdk.conftest import Tiny

ROOT = Path(__file__).parents[2]
BLUE, RED, GREEN = (255, 0, 0), (0, 0, 255), (0, 255, 0)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(Tiny(tmp_path_factory.mktemp("engine")).build())


def picture() -> np.ndarray:
    """A blue subject on the left of a red room."""
    result = np.full((48, 96, 3), RED, np.uint8)
    result[:, :48] = BLUE
    return result


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("clip")
    return str(write_clip(folder / "clip.mp4", [picture()] * 10, audio="aac"))


def near(area: np.ndarray, colour: tuple[int, int, int], by: float = 12) -> bool:
    return bool(np.abs(area.reshape(-1, 3).mean(0) - colour).max() < by)


@pytest.mark.parametrize("main", [image.main, video.main, webcam.main])
def test_help(main: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "--background" in capsys.readouterr().out


# image


def test_image(tmp_path: Path, engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "pictures" / "cat.png"
    source.parent.mkdir()
    cv2.imwrite(str(source), picture())
    out = tmp_path / "new" / "out"
    assert image.main([str(source), "--engine", engine, "--output", str(out)]) == 0
    names = [f"cat-{what}.png" for what in ("matte", "cutout", "composite")]
    assert capsys.readouterr().out.split() == [str(out / name) for name in names]
    assert sorted(file.name for file in out.iterdir()) == sorted(names)
    matte, cutout, composite = (read_image(out / name) for name in names)
    assert (matte[:, :40] == 255).all()
    assert (matte[:, 56:] == 0).all()
    assert cutout.shape == (48, 96, 4)
    assert (cutout[..., 3] == matte).all()
    assert near(composite[:, :40], BLUE)
    assert near(composite[:, 56:], GREEN)


def test_image_writes_no_file_of_an_unknown_kind(tmp_path: Path, engine: str) -> None:
    cv2.imwrite(str(tmp_path / "cat.png"), picture())
    given = [str(tmp_path / "cat.png"), "--engine", engine, "--only", "matte"]
    with pytest.raises(UsageError, match=r"ends in \.jpgg"):
        image.main([*given, str(tmp_path / "cut.jpgg")])
    assert image.main([*given, f"{tmp_path}/cut.jpgg/"]) == 0  # a folder, as it says
    assert image.main([*given, str(tmp_path / "cut.jpgg")]) == 0  # there is one
    assert image.main([*given, str(tmp_path / "v1.2")]) == 0
    assert (tmp_path / "v1.2" / "cat-matte.png").exists()


def test_image_goes_on_after_a_bad_picture(
    tmp_path: Path, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "good.png"), picture())
    names = [str(tmp_path / "bad.jpg"), str(tmp_path / "good.png")]
    assert image.main([*names, "--engine", engine, "--output", str(tmp_path / "out")]) == 1
    assert "bad.jpg' is no picture" in capsys.readouterr().err
    assert len(list((tmp_path / "out").iterdir())) == 3


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network that takes a trimap, and whose alpha is never 0 or 1 where that is unknown."""
    return str(tiny_sim.build(tmp_path_factory.mktemp("sim") / "sim.engine"))


def write_trimap(
    path: Path, *, foreground: int = 255, unknown: int = 128, colour: bool = False
) -> Path:
    trimap = np.full((48, 96), unknown, np.uint8)
    trimap[:, :30], trimap[:, 60:] = foreground, 0
    cv2.imwrite(str(path), cv2.merge([trimap] * 3) if colour else trimap)
    return path


def test_image_with_trimaps_from_files(tmp_path: Path, sim: str) -> None:
    pictures, options = [], ["--engine", sim, "--output", str(tmp_path)]
    # As image editors write it: grey in RGB, and a grey of their own for unknown.
    for name, colour, unknown in (("cat", False, 128), ("dog", True, 102)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture())
        write_trimap(tmp_path / f"{name}-t.png", colour=colour, unknown=unknown)
        pictures.append(str(tmp_path / f"{name}.png"))
        options += ["--trimap", str(tmp_path / f"{name}-t.png")]
    assert image.main([*pictures, *options]) == 0
    for name in ("cat", "dog"):
        matte = read_image(tmp_path / f"{name}-matte.png")
        assert (matte[:, :30] == 255).all()
        assert (matte[:, 60:] == 0).all()
        assert ((matte[:, 32:58] > 0) & (matte[:, 32:58] < 255)).all()


def test_image_with_wrong_trimaps(tmp_path: Path, sim: str, engine: str) -> None:
    cv2.imwrite(str(tmp_path / "cat.png"), picture())
    good = str(write_trimap(tmp_path / "good.png"))
    grey = str(write_trimap(tmp_path / "grey.png", foreground=254))
    cv2.imwrite(str(tmp_path / "small.png"), cv2.imread(good)[:24])
    arguments = [str(tmp_path / "cat.png"), "--output", str(tmp_path)]
    for options, message in (
        (["--engine", sim], "no trimap .*sim"),
        (["--engine", sim, "--trimap", grey], "254"),
        (["--engine", sim, "--trimap", str(tmp_path / "small.png")], "24×96.*48×"),
        (["--engine", sim, "--trimap", "no.png"], r"no\.png"),
        (["--engine", engine, "--trimap", good], "trimap .*gfm"),
    ):
        with pytest.raises(FrameError, match=message):
            image.main([*arguments, *options])
    with pytest.raises(UsageError):
        image.main([*arguments, "--engine", sim, "--trimap", good, "--trimap", good])


def test_image_with_a_trimap_from_another_engine(tmp_path: Path, sim: str, engine: str) -> None:
    cv2.imwrite(str(tmp_path / "cat.png"), picture())
    arguments = [str(tmp_path / "cat.png"), "--engine", sim, "--output", str(tmp_path)]
    assert image.main([*arguments, "--trimap-from", engine]) == 0
    matte = read_image(tmp_path / "cat-matte.png")
    assert (matte[:, :40] == 255).all()
    assert (matte[:, 56:] == 0).all()


@pytest.fixture(scope="module")
def plate_engine(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network in whose eyes whatever differs from the plate is the subject."""
    return str(tiny_plate.build(tmp_path_factory.mktemp("plate") / "gfm-plate.engine"))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A picture of the red room without the subject, at half the size."""
    path = tmp_path_factory.mktemp("empty") / "empty.png"
    cv2.imwrite(str(path), np.full((24, 48, 3), RED, np.uint8))
    return str(path)


def test_image_with_a_plate(
    tmp_path: Path, plate_engine: str, engine: str, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(tmp_path / "cat.png"), picture())
    arguments = [str(tmp_path / "cat.png"), "--output", str(tmp_path), "--plate", empty]
    monkeypatch.chdir(Path(plate_engine).parent)  # its name is the default
    assert image.main(arguments) == 0
    matte = read_image(tmp_path / "cat-matte.png")
    assert (matte[:, :40] == 255).all()
    assert (matte[:, 56:] == 0).all()
    for options, message in (
        (["--plate", "no.png"], r"no\.png"),
        (["--engine", engine], "plate .*gfm"),
    ):
        with pytest.raises(FrameError, match=message):
            image.main([*arguments, *options])
    with pytest.raises(FrameError, match="gfm-plate"):
        image.main([*arguments[:3], "--engine", plate_engine])


def test_image_hybrid(tmp_path: Path) -> None:
    path = str(Tiny(tmp_path).build(sizes=((32, 64), (64, 96))))
    cv2.imwrite(str(tmp_path / "cat.png"), picture())
    arguments = [str(tmp_path / "cat.png"), "--engine", path, "--output", str(tmp_path)]
    assert image.main([*arguments, "--hybrid", "1/3,0.5"]) == 0
    matte = read_image(tmp_path / "cat-matte.png")
    assert (matte[:, :40] == 255).all()
    assert (matte[:, 56:] == 0).all()
    with pytest.raises(EngineError, match="hybrid"):
        image.main([*arguments, "--hybrid", "1/2,1/3"])


@pytest.mark.parametrize("text", ["1/3", "1/3,1/2,1", "a,b", "1/0,1", "", "1/3;1/2"])
def test_scales_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match=f"--hybrid: {re.escape(repr(text))}"):
        image.main(["cat.png", "--hybrid", text])


def test_image_takes_folders_patterns_and_twins(tmp_path: Path, engine: str) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("b.png", "a.jpg", "a.png", "s.1001.png", "s.1002.png"):
        cv2.imwrite(str(folder / name), np.full((9, 16, 3), 90, np.uint8))
    (folder / "notes.txt").write_text("no picture")
    for number, (places, stems) in enumerate(
        (
            ([folder], ["a.jpg", "a.png", "b", "s.1001", "s.1002"]),
            ([folder / "[ab].*"], ["a.jpg", "a.png", "b"]),
            ([folder / "s.%04d.png", folder / "b.png"], ["s.1001", "s.1002", "b"]),
        )
    ):
        out = tmp_path / str(number)
        options = ["--engine", engine, "--output", str(out), "--only", "cutout"]
        assert image.main([*map(str, places), *options]) == 0
        found = sorted(path.name for path in out.iterdir())
        assert found == sorted(f"{stem}-cutout.png" for stem in stems)


@pytest.mark.parametrize("name", ["cutout.png", "CUTOUT.WEBP", "cutout.tif"])
def test_image_writes_one_picture(tmp_path: Path, engine: str, name: str) -> None:
    cv2.imwrite(str(tmp_path / "cat.png"), np.full((9, 16, 3), 90, np.uint8))
    arguments = [str(tmp_path / "cat.png"), "--engine", engine, "--output"]
    assert image.main([*arguments, str(tmp_path / name)]) == 0
    assert cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED).shape == (9, 16, 4)
    matte = str(tmp_path / "matte.jpg")
    assert image.main([*arguments, matte, "--only", "matte"]) == 0
    assert cv2.imread(matte, cv2.IMREAD_UNCHANGED).shape == (9, 16)


def test_image_outputs_that_cannot_be(tmp_path: Path, engine: str) -> None:
    for name in ("cat.png", "dog.png"):
        cv2.imwrite(str(tmp_path / name), np.full((9, 16, 3), 90, np.uint8))
    before = (tmp_path / "cat.png").read_bytes()
    cat, dog = (str(tmp_path / name) for name in ("cat.png", "dog.png"))
    for arguments in ([cat, dog, "--output", "x.png"], [cat, "--output", "x.jpg"], [cat] * 2):
        output = [] if "--output" in arguments else ["--output", cat]  # itself
        with pytest.raises(UsageError):
            image.main([*arguments, *output, "--engine", engine])
    with pytest.raises(FrameError, match="no picture"):
        image.main([cat, str(Path(__file__).parent), "--output", "out", "--engine", engine])
    for output in ("x.jpg", cat):  # the last of several places
        with pytest.raises(UsageError):
            image.main([cat, output, "--engine", engine])
    with pytest.raises(UsageError):
        image.main([cat, "-", "--json", "--engine", engine])
    assert (tmp_path / "cat.png").read_bytes() == before


def test_image_keeps_what_is_transparent(tmp_path: Path, engine: str) -> None:
    given = np.full((48, 96, 4), (*BLUE, 255), np.uint8)
    given[:, :48, 3] = 0
    cv2.imwrite(str(tmp_path / "a.png"), given)
    found = []
    for flags in ([], ["--ignore-transparency"]):
        output = tmp_path / "matte.png"
        arguments = [str(tmp_path / "a.png"), "--engine", engine, "--output", str(output)]
        assert image.main([*arguments, "--only", "matte", *flags]) == 0
        found.append(cv2.imread(str(output), cv2.IMREAD_UNCHANGED))
    assert (found[0][:, :48] == 0).all()
    assert found[1][:, :48].min() > 0
    np.testing.assert_array_equal(found[0][:, 48:], found[1][:, 48:])


def test_image_from_a_pipe(tmp_path: Path, engine: str) -> None:
    content = cv2.imencode(".png", np.full((9, 16, 3), 90, np.uint8))[1].tobytes()
    out = tmp_path / "out"
    command = [sys.executable, "-m", "samples.image", "-", "--engine", engine]
    command += ["--output", str(out), "--only", "matte"]
    subprocess.run(command, input=content, check=True, capture_output=True)
    assert (out / "stdin-matte.png").exists()


def test_image_from_place_to_place(
    tmp_path: Path, engine: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The last of several places is where to write."""
    cv2.imwrite(str(tmp_path / "cat.png"), picture())
    cat, options = str(tmp_path / "cat.png"), ["--engine", engine]
    one, out = tmp_path / "new" / "cut.png", tmp_path / "out"
    assert image.main([cat, str(one), *options]) == 0
    assert capsysbinary.readouterr().out == f"{one}\n".encode()
    assert image.main([cat, "-", *options]) == 0
    assert capsysbinary.readouterr().out == one.read_bytes()
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    places = [cat, str(tmp_path / "bad.jpg"), str(out)]
    assert image.main([*places, *options, "--only", "matte", "--json"]) == 1
    good, bad = map(json.loads, capsysbinary.readouterr().out.splitlines())
    assert good == {"picture": cat, "matte": str(out / "cat-matte.png")}
    assert bad["picture"] == places[1]
    assert places[1] in bad["error"]
    assert (out / "cat-matte.png").exists()


# bench


def test_bench(engine: str, clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main([clip, "--engine", engine, "--quality", "live", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert (result["quality"], result["frame"], result["frames"]) == ("live", [48, 96], 9)
    seconds = result["seconds"]  # to the millisecond
    assert 9 / (seconds + 6e-4) <= result["fps"] <= 9 / (seconds - 6e-4)
    assert {"preprocess", "network"} <= result["stages"].keys()
    assert bench.main(["--engine", engine, "--seconds", "1", "--size", "48x96"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["live", "balanced", "studio"]
    with pytest.raises(VideoError, match=r"nowhere\.mp4"):
        bench.main(["nowhere.mp4", "--engine", engine])


# video


def test_video(tmp_path: Path, engine: str, clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.mp4"
    assert video.main([clip, str(out), "--engine", engine, "--background", "#00ff00"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
    assert video.main([clip, str(out), "--engine", engine, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["path"], report["frames"], report["interrupted"]) == (str(out), 10, False)
    for stage in ("decode", "preprocess", "network", "composite", "encode", "10 frames of 96×48"):
        assert stage in captured.err
    images, times = decode(out)
    assert times == decode(Path(clip))[1]
    assert all(near(frame[8:-8, 8:40], BLUE) for frame in images)
    assert all(near(frame[8:-8, 56:-8], GREEN) for frame in images)


def test_video_with_trimaps_from_another_engine(
    tmp_path: Path, engine: str, sim: str, clip: str
) -> None:
    out = tmp_path / "out.mp4"
    assert video.main([clip, str(out), "--engine", sim, "--trimap-from", engine]) == 0
    images, _ = decode(out)
    assert len(images) == 10
    assert all(near(frame[8:-8, 8:40], BLUE) for frame in images)
    assert all(near(frame[8:-8, 56:-8], GREEN) for frame in images)
    with pytest.raises(FrameError, match="sim"):
        video.main([clip, str(tmp_path / "other.mp4"), "--engine", sim])
    assert not (tmp_path / "other.mp4").exists()


@pytest.fixture(scope="module")
def entering(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A clip of half a second of the empty room, and half a second with the subject in it."""
    room = np.full((48, 96, 3), RED, np.uint8)
    path = tmp_path_factory.mktemp("entering") / "clip.mp4"
    return str(write_clip(path, [room] * 12 + [picture()] * 13))


@pytest.mark.parametrize("second", ["", "0", "0.3"])
def test_video_with_a_plate(
    tmp_path: Path, plate_engine: str, entering: str, empty: str, second: str
) -> None:
    out = tmp_path / "out.mp4"
    arguments = [entering, str(out), "--engine", plate_engine, "--plate", second or empty]
    assert video.main(arguments) == 0
    images, _ = decode(out)
    assert len(images) == 25
    assert all(near(frame[8:-8, 8:-8], GREEN) for frame in images[:12])
    assert all(near(frame[8:-8, 8:40], BLUE) for frame in images[12:])
    assert all(near(frame[8:-8, 56:-8], GREEN) for frame in images[12:])


@pytest.mark.parametrize("second", ["5", "nan"])
def test_video_whose_plate_is_past_its_end(
    tmp_path: Path, plate_engine: str, entering: str, second: str
) -> None:
    arguments = [entering, str(tmp_path / "out.mp4"), "--engine", plate_engine, "--plate", second]
    with pytest.raises(VideoError, match=f"ends before second {second}"):
        video.main(arguments)
    assert list(tmp_path.iterdir()) == []


def test_video_checks_its_output_before_the_engine(clip: str) -> None:
    for output, crf, named in (("out.doc", "20", r"\.doc"), ("out.mp4", "52", "52")):
        with pytest.raises(UsageError, match=named):
            video.main([clip, output, "--crf", crf, "--engine", "nowhere.engine"])


def test_video_from_the_command_line_ends_in_one_line_without_a_trace(tmp_path: Path) -> None:
    out = str(tmp_path / "out.mp4")
    done = subprocess.run(
        [sys.executable, "-m", "samples.video", "nowhere.mp4", out, "--engine", "nowhere.engine"],
        check=False, cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "nowhere.engine" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


# webcam


def test_webcam_records_a_file_without_a_window(
    tmp_path: Path, engine: str, clip: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.mp4"
    arguments = [clip, "--engine", engine, "--no-window", "--output", str(out)]
    assert webcam.main(arguments) == 0
    assert capsys.readouterr().out == f"{out}\n"
    images, times = decode(out)
    assert 1 <= len(images) <= 10
    assert times == sorted(set(times))
    assert all(near(frame[8:-8, 8:40], BLUE) for frame in images)
    assert all(near(frame[8:-8, 56:-8], GREEN) for frame in images)


def test_webcam_with_trimaps_from_another_engine(
    tmp_path: Path, engine: str, sim: str, clip: str
) -> None:
    out = tmp_path / "out.mp4"
    arguments = [clip, "--engine", sim, "--no-window", "--output", str(out), "--frames", "2"]
    assert webcam.main([*arguments, "--trimap-from", engine]) == 0
    assert all(near(frame[8:-8, 8:40], BLUE) for frame in decode(out)[0])
    with pytest.raises(FrameError, match="sim"):
        webcam.main(arguments)  # ends, where a camera's failure would be tried again for ever


def test_webcam_stops_after_frames(tmp_path: Path, engine: str, clip: str) -> None:
    out = tmp_path / "out.mp4"
    arguments = [clip, "--engine", engine, "--no-window", "--output", str(out)]
    assert webcam.main([*arguments, "--frames", "1"]) == 0
    assert len(decode(out)[0]) == 1


def test_webcam_shows_the_background_alone_when_the_matting_fails(
    tmp_path: Path, engine: str, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Matter, tensor: Any) -> np.ndarray:
        raise RuntimeError("the network fell over")

    monkeypatch.setattr(Matter, "infer", broken)
    out = tmp_path / "out.mp4"
    arguments = [clip, "--engine", engine, "--no-window", "--output", str(out)]
    assert webcam.main([*arguments, "--frames", "4"]) == 0
    images, _ = decode(out)
    assert len(images) == 4
    assert all(near(frame, GREEN) for frame in images)


def test_webcam_without_a_camera_shows_the_background_and_keeps_trying(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class NoCamera:
        def __init__(self, index: int) -> None:
            self.index = index

        def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
            return False

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", NoCamera)
    out = tmp_path / "out.mp4"
    arguments = ["5", "--engine", engine, "--no-window", "--output", str(out)]
    assert webcam.main([*arguments, "--background", "blur", "--frames", "3"]) == 0
    assert all(near(frame, (0, 0, 0)) for frame in decode(out)[0])  # of nothing, a black blur
    assert "camera 5 cannot be opened" in caplog.text


def test_webcam_without_window_and_output_is_a_usage_error(clip: str) -> None:
    with pytest.raises(UsageError):
        webcam.main([clip, "--no-window"])


class FakeCameras:
    """Stands for pyvirtualcam: what a program that reads the camera would have seen."""

    class PixelFormat:
        BGR = "bgr"

    def __init__(self, *, fails_at: int = 1 << 30) -> None:
        self.seen: list[np.ndarray] = []
        self.opened = self.closed = 0
        self.fails_at = fails_at
        self.device = "fake"

    def Camera(self, width: int, height: int, fps: float, *, fmt: str) -> FakeCameras:  # noqa: N802
        assert fmt == "bgr"
        self.size = (height, width)
        self.opened += 1
        return self

    def send(self, picture: np.ndarray) -> None:
        assert picture.shape == (*self.size, 3) and picture.dtype == np.uint8
        assert picture.flags.c_contiguous
        if len(self.seen) >= self.fails_at:
            raise RuntimeError("unplugged")
        self.seen.append(picture.copy())

    def close(self) -> None:
        self.closed += 1


BESIDE = slice(800, 1240)  # the room's half of a clip's picture, scaled to 1280×720


def test_webcam_as_a_virtual_camera(
    engine: str, clip: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cameras = FakeCameras()
    monkeypatch.setitem(sys.modules, "pyvirtualcam", cameras)  # type: ignore[arg-type]
    assert webcam.main([clip, "--engine", engine, "--no-window", "--virtual-camera"]) == 0
    assert "fake" in capsys.readouterr().err
    assert (cameras.opened, cameras.closed) == (1, 1)
    assert not cameras.seen[0].any() and not cameras.seen[-1].any()
    matted = [one for one in cameras.seen if near(one[200:500, 100:500], BLUE)]
    assert matted
    for one in cameras.seen:  # green behind the subject, or nothing: never the room
        assert near(one[200:500, BESIDE], GREEN) or near(one[200:500, BESIDE], (0, 0, 0))


def test_a_virtual_camera_shows_no_room_when_the_matting_fails(
    engine: str, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cameras, real, count = FakeCameras(), Matter.infer, iter(range(1000))

    def sometimes(self: Matter, tensor: Any) -> np.ndarray:
        if next(count) == 2:
            raise RuntimeError("the network fell over")
        return real(self, tensor)

    monkeypatch.setattr(Matter, "infer", sometimes)
    monkeypatch.setitem(sys.modules, "pyvirtualcam", cameras)  # type: ignore[arg-type]
    arguments = [clip, "--engine", engine, "--no-window", "--virtual-camera", "--frames", "30"]
    assert webcam.main(arguments) == 0
    alone = [one for one in cameras.seen[1:-1] if near(one[200:500, 100:500], GREEN)]
    assert alone, "the background alone was never shown"
    assert not any(near(one[200:500, BESIDE], RED, by=60) for one in cameras.seen)


def test_a_virtual_camera_that_cannot_be_had(
    engine: str, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One error that names the extra, or the device; nothing is loaded before."""
    monkeypatch.setattr(webcam, "open_matter", lambda _: pytest.fail("the engine was loaded"))
    arguments = [clip, "--engine", engine, "--no-window", "--virtual-camera"]
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(VideoError, match=re.escape("pip install 'matter-sdk[virtual-camera]'")):
        webcam.main(arguments)
    none = FakeCameras(fails_at=0)
    monkeypatch.setitem(sys.modules, "pyvirtualcam", none)  # type: ignore[arg-type]
    with pytest.raises(VideoError, match="unplugged"):
        webcam.main(arguments)
    assert none.closed == 1


def test_a_virtual_camera_that_is_unplugged(
    engine: str, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cameras = FakeCameras(fails_at=3)
    monkeypatch.setitem(sys.modules, "pyvirtualcam", cameras)  # type: ignore[arg-type]
    with pytest.raises(VideoError, match="unplugged"):
        webcam.main([clip, "--engine", engine, "--no-window", "--virtual-camera"])
    assert cameras.closed == 1


def test_webcam_names_the_remedy_where_no_window_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def headless(*_: object) -> None:
        raise cv2.error("The function is not implemented")

    monkeypatch.setattr(cv2, "namedWindow", headless)
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(VideoError, match=r"pip install opencv-python; .*--no-window"):
        webcam.open_window()
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    if sys.platform == "linux":
        with pytest.raises(VideoError, match="screen"):
            webcam.open_window()


STATS = Stats(9, 3, 25.1, Times(11.2, 12, 13, 9), {"network": Times(7.9, 8, 9, 9)})


def test_webcam_keys(
    tmp_path: Path, engine: str, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """b: next background, m: matte view, r: record on and off, q: quit."""
    keys = iter(["b", "m", "r", "r", "q"])
    shown: list[np.ndarray] = []

    def show(picture: np.ndarray, text: str) -> str:
        assert text.removesuffix(" REC") == (
            "25 frames/s, 11 ms (95 %: 12), network 8 ms, 3 dropped"
        )
        shown.append(picture)
        return next(keys)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(webcam, "show", show)
    monkeypatch.setattr(webcam, "open_window", lambda: None)
    monkeypatch.setattr(
        webcam,
        "fail_safe",
        lambda matter, source, draw, alone: ((draw(matter(picture())), STATS) for _ in range(10)),
    )
    arguments = [clip, "--engine", engine, "--background", "green", "--background", "white"]
    assert webcam.main(arguments) == 0
    assert len(shown) == 5
    assert near(shown[0][:, 56:], GREEN)
    assert near(shown[1][:, 56:], (255, 255, 255))
    assert near(shown[2][:, :40], (255, 255, 255))
    assert near(shown[2][:, 56:], (0, 0, 0))
    recorded = list(tmp_path.glob("matter-*.mp4"))
    assert len(recorded) == 1
    assert len(decode(recorded[0])[0]) == 1


# webcam in plate mode

# A script sees what is shown, (picture, text), and yields a key, or "" to look on.
Script = Generator[str, tuple[np.ndarray, str], None]


class Camera:
    """Stands in for ``cv2.VideoCapture``: a noisy red room, where a blue person comes and goes.

    ``sees`` is "room" or "person", or "nothing" while its cable is pulled.
    """

    def __init__(self) -> None:
        self.sees = "room"

    def __call__(self, index: int) -> Camera:
        return self

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self.sees != "nothing"

    def set(self, *_: object) -> None:
        pass

    def release(self) -> None:
        pass

    def read(self) -> tuple[bool, np.ndarray | None]:
        time.sleep(0.002)
        if self.sees == "nothing":
            return False, None
        frame = np.full((48, 96, 3), RED, np.int16)
        if self.sees == "person":
            frame[:, :48] = BLUE
        frame += np.random.default_rng().integers(-9, 10, frame.shape, np.int16)
        return True, frame.clip(0, 255).astype(np.uint8)


@pytest.fixture
def play(
    monkeypatch: pytest.MonkeyPatch, plate_engine: str
) -> Callable[..., list[tuple[np.ndarray, str]]]:
    """Run the webcam in plate mode before a camera, with a script at its keys; what was shown."""

    def run_it(camera: Camera, script: Script, *flags: str) -> list[tuple[np.ndarray, str]]:
        shown: list[tuple[np.ndarray, str]] = []
        end = time.monotonic() + 60

        def show(picture: np.ndarray, text: str) -> str:
            assert time.monotonic() < end, "the script waits for what does not come"
            shown.append((picture.copy(), text))
            return script.send(shown[-1])

        next(script)
        monkeypatch.setattr(cv2, "VideoCapture", camera)
        monkeypatch.setattr(webcam, "open_window", lambda: None)
        monkeypatch.setattr(webcam, "show", show)
        monkeypatch.setattr(PlateTaker, "COUNTDOWN", 0.5)
        assert webcam.main(["0", "--plate", "--engine", plate_engine, *flags]) == 0
        return shown

    return run_it


def until(wanted: Callable[[np.ndarray, str], bool]) -> Script:
    """A part of a script: look on until this is shown."""
    while not wanted(*(yield "")):
        pass


def says(words: str) -> Callable[[np.ndarray, str], bool]:
    return lambda _, text: words in text


def the_person_alone(picture: np.ndarray, _: str) -> bool:
    return near(picture[:, :40], BLUE, 20) and near(picture[:, 56:], GREEN, 20)


def nothing_of_the_room(picture: np.ndarray) -> bool:
    blue, green, red = np.moveaxis(picture.astype(int), -1, 0)
    return not (red > np.maximum(blue, green) + 60).any()


def take_the_plate(camera: Camera) -> Script:
    """A part of a script, as the person plays it."""
    camera.sees = "person"
    yield from until(says("p: take the empty room"))
    yield "p"
    yield from until(says("step out of the picture: 1"))
    camera.sees = "room"
    yield from until(says("frames/s"))
    camera.sees = "person"
    yield from until(the_person_alone)


def test_webcam_takes_a_plate(play: Callable[..., Any]) -> None:
    camera = Camera()

    def script() -> Script:
        yield from take_the_plate(camera)
        yield "q"

    shown = play(camera, script())
    before = [picture for picture, text in shown if "frames/s" not in text]
    assert len(before) > 10
    assert all((picture == GREEN).all() for picture in before)  # neither the room nor the person
    assert all(nothing_of_the_room(picture) for picture, _ in shown)
    hints = dict.fromkeys(text[:10] for _, text in shown if "frames/s" not in text)
    assert list(hints) == ["p: take th", "step out o", "stay out: "]


def test_webcam_whose_cable_is_pulled_wants_a_new_plate(play: Callable[..., Any]) -> None:
    """Put back, the camera may look elsewhere: by the old plate all of it would be the subject."""
    camera = Camera()
    pulled: list[np.ndarray] = []

    def script() -> Script:
        yield from take_the_plate(camera)
        camera.sees = "nothing"
        yield from until(says("p: take"))
        begin = time.monotonic()
        while time.monotonic() < begin + 0.5:
            pulled.append((yield "")[0])
        camera.sees = "room"
        begin = time.monotonic()
        while time.monotonic() < begin + 1.5:  # beyond the retry after a second
            pulled.append((yield "")[0])
        yield from take_the_plate(camera)
        yield "q"

    shown = play(camera, script())
    assert len(pulled) > 20
    assert all((picture == GREEN).all() for picture in pulled)
    assert all(nothing_of_the_room(picture) for picture, _ in shown)


def test_webcam_before_the_plate_blurs_nothing_of_the_room(play: Callable[..., Any]) -> None:
    camera = Camera()

    def script() -> Script:
        for _ in range(20):
            yield ""
        yield "m"
        for _ in range(5):
            yield ""
        yield "q"

    shown = play(camera, script(), "--background", "blur")
    assert len(shown) == 26
    assert all((picture == 0).all() for picture, _ in shown)


def test_the_plate_is_the_median(plate_engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever passes by in less than half of the frames is not in it; large frames are shrunk."""
    monkeypatch.setattr(PlateTaker, "COUNTDOWN", 0)
    room = np.random.default_rng(0).integers(0, 256, (24, 48, 3), np.uint8)
    with Matter(plate_engine) as matter:
        mode = PlateTaker(matter)
        mode.take()
        for at in range(mode.FRAMES):
            assert matter.plate is None
            frame = room.copy()
            if at < mode.FRAMES // 2:
                frame[:, :24], frame[:, 24:] = 0, 255
            assert (mode.finish(frame, mode.infer(mode.prepare(frame))).alpha == 0).all()
        np.testing.assert_array_equal(matter.plate, room)
        mode.take()
        for _ in range(mode.FRAMES):
            mode.prepare(np.zeros((1000, 2000, 3), np.uint8))
        assert matter.plate.shape == (640, 1280, 3)


def test_webcam_plate_mode_is_refused_where_it_cannot_work(
    engine: str, plate_engine: str, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webcam, "open_window", lambda: None)
    with pytest.raises(FrameError, match=r"plate .*gfm"):
        webcam.main([clip, "--engine", engine, "--plate"])
    with pytest.raises(FrameError, match="gfm-plate"):
        webcam.main([clip, "--engine", plate_engine])
    with pytest.raises(UsageError):
        webcam.main([clip, "--plate", "--no-window", "--output", "out.mp4"])
