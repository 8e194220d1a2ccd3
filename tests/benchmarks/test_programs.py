"""Other programs beside Matter: what is around their networks, what is absent, the page."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import tarfile
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper

from benchmarks import __main__ as command
from benchmarks import engines, inputs, programs, programs_page, scatter
from benchmarks.baselines import isnet, mediapipe, npm_models, pipes
from benchmarks.baselines.program import Frame, Program, Tensor
from benchmarks.rounds import statistics_of
from matter_sdk.export.errors import BuildError
from matter_sdk.kernels import InputSpec
from tests.fakes import litert
from tests.sdk import clips
from tests.sdk.checks import smooth_frame
from tests.sdk.conftest import Tiny

SIZE = (64, 96)


@pytest.fixture
def with_litert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", litert)


@pytest.fixture
def without_litert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)


def halves() -> Frame:
    """Blue to the left, red to the right; a band between."""
    image = np.zeros((*SIZE, 3), np.uint8)
    image[:, :48, 0] = image[:, 48:, 2] = 255
    return image


def mediapipe_folder(folder: Path) -> Path:
    folder.mkdir()
    for size, name in mediapipe.MODELS.items():
        (folder / name).write_bytes(size.replace("×", " ").encode())
    return folder


def isnet_folder(folder: Path) -> Path:
    """A package whose model gives half of its input's first channel, 1×1×1024×1024, in chunks."""
    shape = [1, 3, 1024, 1024]
    nodes = [
        helper.make_node("Slice", ["input", "zero", "one", "one"], ["red"]),
        helper.make_node("Mul", ["red", "half"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, *shape[2:]])],
        [
            helper.make_tensor("zero", TensorProto.INT64, [1], [0]),
            helper.make_tensor("one", TensorProto.INT64, [1], [1]),
            helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5]),
        ],
    )
    # Slice's last input says along which axis.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content = model.SerializeToString()
    (folder / "dist").mkdir(parents=True)
    parts = {"b1": content[:50], "a2": content[50:]}
    for name, part in parts.items():
        (folder / "dist" / name).write_bytes(part)
    index = {"/models/medium": {"chunks": [{"hash": name} for name in parts]}}
    (folder / "dist" / "resources.json").write_text(json.dumps(index))
    return folder


# ---- what is around a network


@pytest.mark.usefixtures("with_litert")
def test_mediapipe_s_mask_is_enlarged_and_blended() -> None:
    program = mediapipe.SelfieSegmentation(b"64 96", 1)
    frame, behind = halves(), smooth_frame(SIZE)
    np.testing.assert_array_equal(program.matte(frame), frame[..., 2] / np.float32(255))
    np.testing.assert_array_equal(program(frame, behind)[:, :48], behind[:, :48])
    np.testing.assert_array_equal(program(frame, behind)[:, 48:], frame[:, 48:])
    assert mediapipe.SelfieSegmentation(b"16 16", 1).matte(frame).shape == SIZE


@pytest.mark.usefixtures("with_litert")
def test_mediapipe_s_demo_chooses_pixels() -> None:
    frame, behind = np.full((*SIZE, 3), 50, np.uint8), np.full((*SIZE, 3), 200, np.uint8)
    soft, hard = (mediapipe.SelfieSegmentation(b"64 96", 1, demo=demo) for demo in (False, True))
    assert (np.abs(soft(frame, behind) - (50 / 255 * 50 + 205 / 255 * 200)) <= 1).all()
    assert (hard(frame, behind) == 50).all()
    assert (hard(frame // 5, behind) == 200).all()


@pytest.mark.usefixtures("without_litert")
def test_without_litert_the_error_names_the_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"matter-sdk\[benchmarks\]"):
        mediapipe.SelfieSegmentation(b"64 96", 1)


def test_isnet_s_answer_is_stretched_and_cut_out(tmp_path: Path) -> None:
    program = isnet.IsNet(isnet.read(isnet_folder(tmp_path / "package")), 1)
    frame, behind = halves(), smooth_frame(SIZE)
    tensor = program.prepare(frame)
    assert tensor.shape == (1, 3, 1024, 1024)
    assert (tensor.min(), tensor.max()) == (-0.5, 0.5)
    alpha = program.matte(frame)
    assert np.abs(alpha - frame[..., 2] / 255)[:, np.r_[:44, 52:96]].max() < 0.02
    shown = program(frame, behind)
    assert np.abs(shown[:, :44].astype(int) - behind[:, :44]).max() <= 5
    assert np.abs(shown[:, 52:].astype(int) - frame[:, 52:]).max() <= 5


# ---- packages


def test_a_package_is_read_packed_or_unpacked(tmp_path: Path) -> None:
    folder = mediapipe_folder(tmp_path / "package")
    packed = tmp_path / "package.tgz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(folder, "package")
    names = list(mediapipe.MODELS.values())
    assert npm_models.read(folder, names) == npm_models.read(packed, names)
    for source in (folder, packed):
        with pytest.raises(FileNotFoundError, match=r"other\.tflite"):
            npm_models.read(source, [*names, "other.tflite"])


def test_a_package_without_its_model_is_refused(tmp_path: Path) -> None:
    folder = isnet_folder(tmp_path / "package")
    (folder / "dist/resources.json").write_text('{"/models/other": {}}')
    with pytest.raises(ValueError, match="/models/medium"):
        isnet.read(folder)


@pytest.mark.parametrize("package", [npm_models.MEDIAPIPE, npm_models.ISNET])
def test_without_npm_the_error_names_the_option(
    package: npm_models.Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npm_models, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=package.option):
        package.find()
    assert package.find(tmp_path) == tmp_path


def test_what_npm_brings_is_kept_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npm_models, "CACHE", tmp_path / "cache")
    script = tmp_path / "npm"
    script.write_text("#!/bin/sh\nprintf hello > $4/scope-thing-1.0.tgz\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    digest = (
        "m3HSJL1i83hdltRq0+o9czGb+8KJDKra4t/3JRlnPKcjI8PZm6XBHXx6zG4UuMXaDEZjR1wuXDre9G9zvN7AQw=="
    )
    package = npm_models.Package("@scope/thing", "1.0", digest, "--thing")
    assert package.find() == tmp_path / "cache/scope-thing-1.0.tgz"
    script.unlink()
    assert package.find().read_text() == "hello"  # once
    package.find().write_text("other")
    with pytest.raises(BuildError, match="--thing"):
        package.find()


# ---- loops over files


@pytest.mark.parametrize("loop", [pipes.with_ffmpeg, pipes.with_opencv])
def test_a_loop_writes_every_frame(loop: Any, tmp_path: Path) -> None:
    if loop is pipes.with_ffmpeg and not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")
    source, output = tmp_path / "in.mp4", tmp_path / "out.mp4"
    clips.write_clip(source, [clips.numbered(number) for number in range(12)])
    loop(source, output, (clips.HEIGHT, clips.WIDTH), lambda frame: 255 - frame)
    reader = cv2.VideoCapture(str(output))
    found = []
    while (read := reader.read())[0]:
        found.append(clips.number_of(255 - read[1]))
    assert found == list(range(12))


def test_a_loop_over_no_video_fails(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="out"):
        pipes.with_opencv(tmp_path / "none.mp4", tmp_path / "out.mp4", SIZE, lambda frame: frame)


# ---- the plot


def test_no_label_covers_another_or_a_point() -> None:
    rng = np.random.default_rng(0)
    inside = scatter.Box(0, 0, 500, 300)
    places = [(float(x), float(y)) for x, y in rng.uniform((200, 120), (320, 180), (10, 2))]
    labels = scatter.place(places, ["a name of length"] * 10, inside)
    points = [scatter.Box(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    for at, label in enumerate(labels):
        assert not any(label.covers(other) for other in [*labels[:at], *points])
        assert inside.left <= label.left < label.right <= inside.right


def test_points_lie_where_their_values_are() -> None:
    given = [scatter.Point(f"<{x}>", x, y) for x, y in ((1, 10), (10, 20), (100, 40))]
    tree = ET.fromstring(scatter.draw([("title", given)], "ms", "error"))
    circles = [one for one in tree.iter() if one.tag.endswith("circle")]
    x, y = ([float(one.attrib[key]) for one in circles] for key in ("cx", "cy"))
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)
    assert y[1] - y[2] == pytest.approx(2 * (y[0] - y[1]), abs=0.3)
    assert {"<1>", "title", "ms", "error"} <= {one.text for one in tree.iter()}


# ---- the command


class Half(Program):
    """A program whose matte is 0.5 everywhere."""

    def prepare(self, frame: Frame) -> Frame:
        return frame

    def run(self, prepared: Frame) -> Tensor:
        return np.full((8, 8), 0.5, np.float32)


class Drawn(Half):
    trained = False


def set_of_two(folder: Path) -> Path:
    mask = np.zeros((40, 40), np.uint8)
    mask[:, :20] = 255
    for name in ("one", "two"):
        for kind, picture in (("images", np.dstack([mask] * 3)), ("masks", mask)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            end = "jpg" if kind == "images" else "png"
            (folder / kind / f"{name}.{end}").write_bytes(
                cv2.imencode(f".{end}", picture)[1].tobytes()
            )
    return folder


@pytest.fixture
def tiny_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of a few pixels, and a network of closed form instead of the light one."""
    for size in inputs.SIZES:
        monkeypatch.setitem(inputs.SIZES, size, SIZE)
    monkeypatch.setattr(inputs, "NETWORK", (32, 64))
    tiny, onnx = Tiny(tmp_path), tmp_path / "tiny.onnx"
    onnx.write_bytes(tiny.graph((32, 64)).SerializeToString())
    network = SimpleNamespace(input_spec=InputSpec(), fusion="tt", heads={"glance": 3, "focus": 1})
    built = engines.Built("light GFM", tiny.build(), onnx, network, False)
    monkeypatch.setattr(engines, "build", lambda *_, **__: built)


@pytest.mark.usefixtures("tiny_sizes")
def test_the_command_writes_times_errors_and_a_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"Half": Half(), programs.RECURRENT: Drawn()}
    absent = {"MediaPipe": "npm is not installed; expected it"}
    monkeypatch.setattr(programs, "strangers", lambda *_: (dict(found), dict(absent)))
    people, things = set_of_two(tmp_path / "people"), set_of_two(tmp_path / "things")
    words = ["frames", "--baselines", "--quick", "--threads", "1"]
    words += ["--people", str(people), "--sets", str(things), "--output", str(tmp_path / "out")]
    monkeypatch.setattr(programs, "PAUSE", 0)
    monkeypatch.setattr(programs, "FILES", ("720p",))
    report = programs_page.report
    monkeypatch.setattr(
        programs_page, "report", lambda a, b, _, *rest, **more: report(a, b, 0.01, *rest, **more)
    )
    assert command.main(words) == 0
    text = capsys.readouterr().out
    assert "| MediaPipe: not measured (npm is not installed) " in text
    (data,) = (tmp_path / "out").glob("*-baselines.json")
    measured = json.loads(data.read_text())
    ours = {"Matter live", "Matter balanced", "Matter studio"}
    hand = {"by hand, ONNX Runtime"}
    if importlib.util.find_spec("openvino"):
        hand |= {"by hand, OpenVINO", "by hand, OpenVINO float32"}
    assert set(measured["frame"]) == set(measured["network"]) == ours | hand | set(found)
    assert measured["frame"]["Matter live"]["ratio"] == 1
    assert set(measured["errors"]) == {"people", "all"}
    assert set(measured["errors"]["all"]) == ours | hand | {"Half"}
    assert measured["errors"]["all"]["Half"]["MAD"] == pytest.approx(0.5, abs=0.01)
    assert measured["errors"]["people"]["Half"]["pictures"] == 2
    assert measured["errors"]["all"]["Half"]["pictures"] == 4
    for found_of in measured["files"].values():
        assert all(line["size"] > 0 for line in found_of.values())
        assert ("ffmpeg pipes, OpenVINO, x264 medium" in found_of) == bool(shutil.which("ffmpeg"))
    (plot,) = (tmp_path / "out").glob("*-baselines.svg")
    assert f"]({plot.name})" in text
    assert "Half" in plot.read_text() and programs.RECURRENT not in plot.read_text()


def line(seconds: float) -> programs.Line:
    return programs.Line(statistics_of([seconds]), 2 * seconds, seconds / 0.005)


def test_without_photographs_the_page_says_so() -> None:
    done = programs.Run(2, {"Matter live": line(0.005), "Half": line(0.01)})
    text = programs_page.markdown(done)
    assert "`--people" in text
    assert "| Half        | 10.0 | 10.0–10.0 | 20.0   | 2.00 " in text
    assert programs_page.drawing(done) == ""


def test_means_are_over_pictures() -> None:
    def row(value: float, pictures: int) -> dict[str, float]:
        return {"IoU": value, "SAD": value, "MAD": value, "Grad": value, "pictures": pictures}

    found = programs.means({"a": {"x": row(1, 1)}, "b": {"x": row(0, 3), "y": row(0.5, 3)}})
    assert found["x"]["MAD"] == 0.25
    assert (found["y"]["IoU"], found["y"]["pictures"]) == (0.5, 3)


@pytest.mark.usefixtures("without_litert")
def test_what_is_not_there_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npm_models, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(programs.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    given = {npm_models.MEDIAPIPE: mediapipe_folder(tmp_path / "given")}
    found, absent = programs.strangers(1, given)
    assert found == {}
    assert set(absent) == {"MediaPipe", "ISNet", "by hand, OpenVINO", programs.RECURRENT}
    assert "matter-sdk[benchmarks]" in absent["MediaPipe"]
    assert "npm" in absent["ISNet"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--engine", "x.engine"], "--engine"),
        (["--baselines", "--people", "{}"], "images"),
        (["--baselines", "--mediapipe", "{}/none"], "none"),
        (["--baselines", "--mediapipe", "{}"], "selfie_segmentation"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.format(tmp_path) for word in words]
    assert command.main(["frames", *given, "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert named in said[-1]
    assert not (tmp_path / "out").exists()
