"""The samples' commands on tiny clips, with an engine whose matte is known: blue is the subject."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from samples import image, run, video, webcam
from sdk import EngineError, FrameError, Matter, MatterError, VideoError
from tests.sdk import tiny_sim
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


def test_errors_are_one_line_and_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise MatterError("this is wrong; do that")

    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as caught:
            run(fail)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value.code == 1
    assert capsys.readouterr().err == "error: this is wrong; do that\n"


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


def test_image_goes_on_after_a_bad_picture(
    tmp_path: Path, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "good.png"), picture())
    names = [str(tmp_path / "bad.jpg"), str(tmp_path / "good.png")]
    assert image.main([*names, "--engine", engine, "--output", str(tmp_path / "out")]) == 1
    assert "bad.jpg is not a picture" in capsys.readouterr().err
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
        (["--engine", sim], "no trimap was given and sim needs one"),
        (["--engine", sim, "--trimap", grey], "the trimap holds the values 254; expected 0"),
        (["--engine", sim, "--trimap", str(tmp_path / "small.png")], "is 24×96 and its frame 48×"),
        (["--engine", sim, "--trimap", "no.png"], "no.png is not a picture that OpenCV reads"),
        (["--engine", engine, "--trimap", good], "a trimap was given and gfm takes none"),
    ):
        with pytest.raises(FrameError, match=message):
            image.main([*arguments, *options])
    with pytest.raises(SystemExit) as caught:
        image.main([*arguments, "--engine", sim, "--trimap", good, "--trimap", good])
    assert caught.value.code == 2


def test_image_with_a_trimap_from_another_engine(tmp_path: Path, sim: str, engine: str) -> None:
    cv2.imwrite(str(tmp_path / "cat.png"), picture())
    arguments = [str(tmp_path / "cat.png"), "--engine", sim, "--output", str(tmp_path)]
    assert image.main([*arguments, "--trimap-from", engine]) == 0
    matte = read_image(tmp_path / "cat-matte.png")
    assert (matte[:, :40] == 255).all()
    assert (matte[:, 56:] == 0).all()


def test_image_hybrid(tmp_path: Path) -> None:
    path = str(Tiny(tmp_path).build(sizes=((32, 64), (64, 96))))
    cv2.imwrite(str(tmp_path / "cat.png"), picture())
    arguments = [str(tmp_path / "cat.png"), "--engine", path, "--output", str(tmp_path)]
    assert image.main([*arguments, "--hybrid", "1/3,0.5"]) == 0
    matte = read_image(tmp_path / "cat-matte.png")
    assert (matte[:, :40] == 255).all()
    assert (matte[:, 56:] == 0).all()
    with pytest.raises(EngineError, match="expected two scales of the frame above 0 and up to 1"):
        image.main([*arguments, "--hybrid", "1/2,1/3"])


@pytest.mark.parametrize("text", ["1/3", "1/3,1/2,1", "a,b", "1/0,1", "", "1/3;1/2"])
def test_scales_that_are_none(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        image.main(["cat.png", "--hybrid", text])
    assert caught.value.code == 2
    assert f"{text!r}, expected two scales of the frame such as 1/3,1/2" in capsys.readouterr().err


def test_image_refuses_names_that_would_collide(engine: str) -> None:
    with pytest.raises(SystemExit) as caught:
        image.main(["a/cat.png", "b/cat.png", "--engine", engine])
    assert caught.value.code == 2


# video


def test_video(tmp_path: Path, engine: str, clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.mp4"
    assert video.main([clip, str(out), "--engine", engine, "--background", "#00ff00"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
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
    with pytest.raises(FrameError, match="sim needs one with each frame of a video"):
        video.main([clip, str(tmp_path / "other.mp4"), "--engine", sim])
    assert not (tmp_path / "other.mp4").exists()


def test_video_checks_its_output_before_the_engine(clip: str) -> None:
    with pytest.raises(VideoError, match=r"ends in \.doc"):
        video.main([clip, "out.doc", "--engine", "nowhere.engine"])


def test_video_from_the_command_line_ends_in_one_line_without_a_trace(tmp_path: Path) -> None:
    out = str(tmp_path / "out.mp4")
    done = subprocess.run(
        [sys.executable, "-m", "samples.video", "nowhere.mp4", out, "--engine", "nowhere.engine"],
        check=False, cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: " in done.stderr
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
    with pytest.raises(FrameError, match="needs one with each frame of a video"):
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
    with pytest.raises(SystemExit) as caught:
        webcam.main([clip, "--no-window"])
    assert caught.value.code == 2


def test_webcam_names_the_remedy_where_no_window_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def headless(*_: object) -> None:
        raise cv2.error("The function is not implemented")

    monkeypatch.setattr(cv2, "namedWindow", headless)
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(VideoError, match="pip install opencv-python; without a window: --no-win"):
        webcam.open_window()
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    if sys.platform == "linux":
        with pytest.raises(VideoError, match="there is no screen"):
            webcam.open_window()


def test_webcam_keys(
    tmp_path: Path, engine: str, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """b: next background, m: matte view, r: record on and off, q: quit."""
    keys = iter(["b", "m", "r", "r", "q"])
    shown: list[np.ndarray] = []

    def show(picture: np.ndarray, text: str) -> str:
        assert "frames/s" in text
        shown.append(picture)
        return next(keys)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(webcam, "show", show)
    monkeypatch.setattr(webcam, "open_window", lambda: None)
    monkeypatch.setattr(
        webcam,
        "fail_safe",
        lambda matter, source, draw, alone: ((draw(matter(picture())), 0.01) for _ in range(10)),
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
