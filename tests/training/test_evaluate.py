"""The evaluation command: its tables by hand, its systems against each other, its errors."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json
import re
import statistics
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from matter_sdk.kernels import InputSpec, distance_maps, preprocess, semantic_trimap, two_channel
from matter_sdk.sdk import Matter
from matter_sdk.training import checkpoints, evaluate, networks
from matter_sdk.training.data.layers import KINDS
from matter_sdk.training.data.representations import trimap
from matter_sdk.training.evaluation import judge, metrics, sheets, systems, tables
from matter_sdk.training.evaluation.pictures import (
    Composites,
    EvaluationError,
    Photographs,
    Picture,
    Scenes,
)
from matter_sdk.training.evaluation.tables import MEASURES, Result
from matter_sdk.training.networks.blocks import collaborative_fusion
from tests.export import tiny as tiny_networks
from tests.sdk.conftest import Tiny

SMALL = (32, 64)


@functools.cache
def truths() -> dict[bytes, Any]:
    """Scenes' frames in BGR -> their mattes."""
    pictures = [Scenes(4, SMALL).read(index) for index in range(4)]
    return {judge.bgr(picture.image).tobytes(): picture.alpha for picture in pictures}


class Shifted(systems.System):
    """The truth of its scenes, off by a constant: every measure of it is known."""

    stored, runtime, computes = "fp32", "none", "float32"
    reads, sizes = {"image": 3}, (SMALL,)

    def __init__(self, offset: float, name: str = "shifted") -> None:
        self.offset, self.name = offset, name

    def matte(self, frame: Any, trimap: Any, plate: Any = None) -> Any:
        return np.clip(truths()[frame.tobytes()] + np.float32(self.offset), 0, 1)

    def describe(self) -> str:
        return f"{self.name} by {self.offset}"


def result(index: int, sad: float, kind: str = "SO", category: str = "", **changes: Any) -> Result:
    values = dict.fromkeys(MEASURES, 0.0) | {"sad": sad, "mse": sad / 100}
    made = Result(index, f"p{index}", kind, category, "own", (4, 6), 0.1 * (index + 1), values)
    return dataclasses.replace(made, **changes)


# By type: SO 1 and 2, NS 9; by category: cat 1 and 9, dog 2.
RESULTS = [result(0, 1, "SO", "cat"), result(1, 2, "SO", "dog"), result(2, 9, "NS", "cat")]


def photographs(folder: Path, shapes: list[tuple[int, int]]) -> Path:
    """Pictures of noise beside mattes, ``p0.jpg`` … of these heights and widths."""
    folder.mkdir()
    rng = np.random.default_rng(11)
    for index, shape in enumerate(shapes):
        image = cv2.resize(rng.integers(0, 256, (8, 12, 3), np.uint8), shape[::-1])
        alpha = np.zeros(shape, np.uint8)
        alpha[shape[0] // 4 :, shape[1] // 3 :] = 255
        alpha[shape[0] // 4 :, shape[1] // 3] = 100
        cv2.imwrite(str(folder / f"p{index}.jpg"), image)
        cv2.imwrite(str(folder / f"p{index}.png"), alpha)
    return folder


# ── Tables ──────────────────────────────────────────────────────────────────────────────────────


def test_means_by_hand() -> None:
    found = tables.means(RESULTS)
    assert (found["sad"], found["mse"]) == (pytest.approx(4), pytest.approx(0.04))
    assert list(found) == list(MEASURES)
    table = tables.whole({"a": RESULTS, "b": [result(0, 3.456)] * 3})
    assert table.head[:3] == ("", "SAD", "MSE")
    assert [line[:3] for line in table.lines] == [("a", "4.00", "0.0400"), ("b", "3.46", "0.0346")]


def test_by_type_and_category_with_the_mean_of_the_groups() -> None:
    found = {table.title: table for table in tables.every({"a": RESULTS})}
    types = found["SAD by type"]
    assert types.head == ("", "SO (2)", "NS (1)", "Avg.")  # in the papers' order, not sorted
    assert types.lines == (("a", "1.50", "9.00", "5.25"),)  # Avg. of 1.5 and 9, not of all three
    assert found["SAD by category"].lines == (("a", "5.00", "2.00", "3.50"),)
    assert found["SAD by category"].head == ("", "cat (2)", "dog (1)", "Avg.")
    one = [dataclasses.replace(entry, kind="SO", category="") for entry in RESULTS]
    assert [table.title for table in tables.every({"a": one})] == ["Whole set, 3 pictures"]


def test_what_deployment_cost() -> None:
    second = [dataclasses.replace(entry, apart=0.001 * (entry.index + 1)) for entry in RESULTS]
    second[0] = dataclasses.replace(second[0], measures={**RESULTS[0].measures, "sad": 1.3})
    table = tables.deployment({"a": RESULTS, "b": second})
    assert table is not None
    assert table.lines[0] == ("a", "", "", "", "", "", "", "200.0")
    assert table.lines[1] == (
        *("b", "+1.0e-01", "+0.0e+00", "+0.0e+00", "+0.0e+00"),
        *("2.0e-03", "3.0e-03", "200.0"),
    )


def test_the_worst_come_first_and_ties_in_order() -> None:
    some = [result(0, 2), result(1, 5), result(2, 5), result(3, 7)]
    assert [entry.index for entry in tables.worst(some, 3)] == [3, 1, 2]
    assert len(tables.worst(some, 9)) == 4


def test_tables_line_up() -> None:
    table = tables.Table("T", ("", "SAD"), (("long name", "1.00"), ("b", "10.00")), "why")
    title, head, rule, *lines, note = table.text().split("\n")
    assert (title, note, set(rule)) == ("T", "why", {"─"})
    assert [line.rindex("0") for line in lines] == [head.rindex("D")] * 2
    page = table.markdown().split("\n")
    assert page[2:6] == [
        "|           |   SAD |",
        "|-----------|------:|",
        "| long name |  1.00 |",
        "| b         | 10.00 |",
    ]


def test_a_line_for_each_picture() -> None:
    rows = list(csv.DictReader(io.StringIO(tables.comma_separated({"x, y": RESULTS}))))
    assert [row["picture"] for row in rows] == ["p0", "p1", "p2"]
    assert {row["system"] for row in rows} == {"x, y"}
    assert [float(row["sad"]) for row in rows] == [1, 2, 9]
    assert (rows[2]["kind"], rows[2]["category"], rows[2]["trimap"]) == ("NS", "cat", "own")
    assert (rows[0]["height"], rows[0]["width"]) == ("4", "6")


# ── Measuring ───────────────────────────────────────────────────────────────────────────────────


def test_each_picture_by_each_system() -> None:
    scenes = Scenes(3, SMALL)
    exact, shifted = judge.measure([Shifted(0), Shifted(0.25)], scenes, workers=0, quiet=True)
    assert [entry.picture for entry in shifted] == ["scene-0000", "scene-0001", "scene-0002"]
    assert {value for entry in exact for value in entry.measures.values()} == {0.0}
    for index, entry in enumerate(shifted):
        picture = scenes.read(index)
        alpha = picture.alpha
        expected = np.clip(alpha + np.float32(0.25), 0, 1)
        assert entry.measures == metrics.evaluate(expected, alpha, picture.trimap)
        assert entry.apart == pytest.approx(float((expected - alpha).mean()), rel=1e-5)
        assert (entry.size, entry.trimap, entry.index) == (SMALL, "made", index)
        assert entry.kind in KINDS


def test_other_processes_measure_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [Shifted(0.1), Shifted(0.4)]
    here = judge.measure(both, Scenes(4, SMALL), workers=0, quiet=True)
    monkeypatch.setattr(judge, "POOL_PAYS", -1.0)
    most = []
    real = judge.Judge.measure

    def counted(judge: Any, *arguments: Any) -> Any:
        future = real(judge, *arguments)
        most.append(len(judge._waiting))
        return future

    monkeypatch.setattr(judge.Judge, "measure", counted)
    there = judge.measure(both, Scenes(4, SMALL), workers=2, quiet=True)
    for one, other in zip(here, there, strict=True):
        assert [entry.measures for entry in one] == [entry.measures for entry in other]
    assert max(most) == 4  # 7 went to the two processes; no more than 4 lay in memory at once


def test_cheap_measuring_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "ProcessPoolExecutor", None)  # would raise
    (found,) = judge.measure([Shifted(0.1)], Scenes(2, SMALL), workers=8, quiet=True)
    assert len(found) == 2


def test_a_matte_that_is_not_finite_is_named() -> None:
    broken = Shifted(float("nan"), "broken.engine")
    with pytest.raises(EvaluationError, match=r"broken\.engine .* gives scene-0000 a matte with"):
        judge.measure([broken], Scenes(1, SMALL), workers=0, quiet=True)


# ── Pictures ────────────────────────────────────────────────────────────────────────────────────


def test_a_smaller_fixed_set_is_the_beginning_of_a_larger() -> None:
    small, large = Scenes(1, SMALL).read(0), Scenes(3, SMALL).read(0)
    assert np.array_equal(small.image, large.image)
    assert small.plate is not None
    assert small.plate.shape == small.image.shape
    assert len(Scenes(3)) == 3


def test_a_datasets_own_trimap_goes_before_a_made_one(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "set", [(40, 60), (40, 60)])
    own = np.full((40, 60), 128, np.uint8)
    own[:, :5] = 0
    cv2.imwrite(str(folder / "p1_trimap.png"), own)
    found = Photographs(folder)
    first, second = found.read(0), found.read(1)
    assert (first.own, second.own) == (False, True)
    np.testing.assert_array_equal(first.trimap, trimap(first.alpha, 25))
    np.testing.assert_array_equal(second.trimap, own)
    assert len(Photographs(folder, limit=1)) == 1
    assert len(Photographs(folder, limit=5)) == 2


# ── Systems ─────────────────────────────────────────────────────────────────────────────────────


class Twin(nn.Module):
    """The network of ``tests.sdk.conftest`` in PyTorch."""

    name, backbone, rosta, fusion = "gfm", "efficientnet-lite0", "tt", "tt"
    size_multiple = 32
    input_spec = InputSpec()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        glance = torch.sigmoid(8 * (x / 255 - 0.5))
        mean = functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False).mean(1, keepdim=True)
        focus = torch.sigmoid(4 * mean / 255 - 2)
        return {"alpha": collaborative_fusion(glance, focus, "tt")}


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_pytorch_and_engine_agree(tmp_path: Path, backend: str) -> None:
    """On pictures that are enlarged, made smaller, upright, and of another shape than any size."""
    pytest.importorskip(backend)
    shapes = [(60, 120), (20, 35), (75, 45), (32, 64), (25, 100)]
    found = Photographs(photographs(tmp_path / "set", shapes))
    opened = systems.Engine(Tiny(tmp_path).build(sizes=((32, 64), (64, 32))), backend)
    pytorch = systems.Torch(Twin(), "twin", opened.sizes)
    mine, theirs = judge.measure([pytorch, opened], found, workers=0, quiet=True)
    opened.close()
    assert max(entry.apart for entry in theirs) < 1e-6
    for name in MEASURES:
        assert tables.means(theirs)[name] == pytest.approx(tables.means(mine)[name], abs=1e-5)
    # The mattes are no constant: that they agree says something.
    assert statistics.pstdev(entry.measures["mad"] for entry in mine) > 1e-3
    assert pytorch.sizes == ((32, 64), (64, 32))


def test_an_engine_is_what_matter_makes_of_it(tmp_path: Path) -> None:
    path = Tiny(tmp_path).build()
    frame = np.random.default_rng(7).integers(0, 256, (32, 64, 3), np.uint8)
    system = systems.Engine(path, "onnxruntime")
    np.testing.assert_allclose(
        system.matte(frame, np.zeros((32, 64), np.uint8)), Tiny.alpha(frame), atol=1e-5
    )
    assert system.title == "tiny.engine (fp16), onnxruntime float32"
    assert "ONNX Runtime" in system.describe()
    with Matter(path, backend="onnxruntime") as matter:
        assert matter.runtime.startswith("ONNX Runtime ")
    system.close()


def test_sizes_of_engines(tmp_path: Path) -> None:
    path = Tiny(tmp_path).build(sizes=((32, 64), (64, 32)))
    for sizes, expected in (
        ((), ((32, 64), (64, 32))),
        (((64, 32),), ((64, 32),)),
        (((64, 32), (32, 64)), ((32, 64), (64, 32))),
    ):
        system = systems.Engine(path, "onnxruntime", sizes)
        assert system.sizes == expected
        system.close()
    with pytest.raises(EvaluationError, match="holds 32x64, 64x32 and 2 sizes were given"):
        systems.Engine(path, "onnxruntime", ((32, 64), (96, 96)))


def test_sim_in_pytorch_reads_what_the_engine_would() -> None:
    """At the network's own size, against inputs that are made here."""
    size = (328, 400)
    torch.manual_seed(3)
    network, classifier = tiny_networks.TinyTrimap().eval(), tiny_networks.TinyClassifier().eval()
    system = systems.Torch(network, "sim", (size,), classifier=classifier)
    frame = cv2.resize(np.random.default_rng(2).integers(0, 256, (20, 25, 3), np.uint8), size[::-1])
    areas = np.full(size, 128, np.uint8)
    areas[:, :100], areas[:, 300:] = 0, 255
    found = system.matte(frame, areas)

    def classify(image: Any, part: Any) -> Any:
        with torch.inference_mode():
            return classifier(torch.from_numpy(image), torch.from_numpy(part))["cam"].numpy()

    image = preprocess(frame, size, network.input_spec)
    patches = preprocess(frame, size, classifier.input_spec)[0]
    extras = two_channel(areas), distance_maps(areas), semantic_trimap(patches, areas, classify)
    with torch.inference_mode():
        tensors = (torch.from_numpy(image), *(torch.from_numpy(x[None]) for x in extras))
        alpha = network(*tensors)["alpha"][0, 0].numpy()
    np.testing.assert_allclose(found[:, 100:300], alpha[:, 100:300], atol=1e-6)
    assert found[:, 100:300].std() > 1e-3
    assert (found[:, :100] == 0).all()
    assert (found[:, 300:] == 1).all()


class Difference(nn.Module):
    """Reads a plate: alpha is how far the red of the two is apart."""

    name, backbone, rosta, fusion = "gfm-plate", "efficientnet-lite0", "tt", "tt"
    size_multiple = 32
    inputs = {"image": 3, "plate": 3}  # noqa: RUF012
    input_spec = InputSpec(std=(255.0, 255.0, 255.0))

    def forward(self, image: Tensor, plate: Tensor) -> dict[str, Tensor]:
        return {"alpha": (image - plate).abs()[:, :1]}


def test_a_plate_is_read_beside_the_picture(tmp_path: Path) -> None:
    system = systems.Torch(Difference(), "plate", (SMALL,))
    (found,) = judge.measure([system], Scenes(2, SMALL), workers=0, quiet=True)
    for index, entry in enumerate(found):
        picture: Picture = Scenes(2, SMALL).read(index)
        assert picture.plate is not None
        red = np.abs(picture.image[..., 0].astype(np.float32) - picture.plate[..., 0]) / 255
        assert entry.measures["sad"] == pytest.approx(
            np.abs(red - picture.alpha).sum() / 1000, rel=1e-5
        )
    folder = photographs(tmp_path / "set", [(40, 60)])
    with pytest.raises(
        EvaluationError, match=r"plate reads a plate, .* and set has none; .*procedu"
    ):
        judge.measure([system], Photographs(folder), workers=0, quiet=True)


def test_subjects_are_composed_over_backgrounds_that_are_their_plates(tmp_path: Path) -> None:
    subjects = Photographs(photographs(tmp_path / "set", [(80, 120), (90, 60)]))
    (tmp_path / "rooms").mkdir()
    grey = np.full((200, 300, 3), 90, np.uint8)
    cv2.imwrite(str(tmp_path / "rooms" / "grey.jpg"), grey)
    made = Composites(subjects, tmp_path / "rooms")
    assert len(made) == 2
    assert made.name == "set-over-rooms"
    for index in range(2):
        picture, plain, again = made.read(index), subjects.read(index), made.read(index)
        assert picture.plate is not None
        assert picture.image.shape == picture.plate.shape == plain.image.shape
        np.testing.assert_array_equal(picture.alpha, plain.alpha)
        np.testing.assert_array_equal(picture.plate, again.plate)
        outside, inside = plain.alpha == 0, plain.alpha == 1
        # Where the subject is not, the grey room with noise of 2; where it is, the subject.
        assert np.abs(picture.image[outside].astype(int) - 90).mean() < 2.5
        assert np.abs(picture.image[inside].astype(int) - plain.image[inside]).mean() < 2.5
    command = ["--weights", "x", "--data", "procedural", "--background", str(tmp_path)]
    with pytest.raises(EvaluationError, match=r"--background .* leave it out"):
        evaluate.open_pictures(evaluate.parse(command))


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a light GFM."""
    path = tmp_path_factory.mktemp("light") / "network.safetensors"
    checkpoints.save(
        networks.create("gfm", backbone="efficientnet-lite0", rosta="bt"), path, half=True
    )
    return path


def test_a_checkpoint_says_what_it_is_or_is_told(light: Path, tmp_path: Path) -> None:
    known = systems.Checkpoint.of(light, "aim")  # flags are for files that do not know
    assert (known.model, known.backbone, known.rosta) == ("gfm", "efficientnet-lite0", "bt")
    released = tmp_path / "a.pth"
    torch.save(known.load().state_dict(), released)
    told = systems.Checkpoint.of(released, "gfm", "efficientnet-lite0", "bt")
    for one, other in zip(
        known.load().state_dict().values(), told.load().state_dict().values(), strict=True
    ):
        torch.testing.assert_close(one, other)
    with pytest.raises(EvaluationError, match="add --model"):
        systems.Checkpoint.of(released)
    with pytest.raises(networks.UnknownNetwork, match="gfn"):
        systems.Checkpoint.of(released, "gfn")


# ── Command ─────────────────────────────────────────────────────────────────────────────────────


def test_the_command_writes_what_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Tiny(tmp_path).build()
    folder = photographs(tmp_path / "set", [(40, 60), (90, 50), (64, 64)])
    output = tmp_path / "out"
    flags = ["--data", str(folder), "--output", str(output), "--worst", "2", "--workers", "0"]
    names = [f"{engine}:onnxruntime", str(engine)]
    given = [word for name in names for word in ("--engine", name)]
    assert evaluate.main([*given, "--backend", "onnxruntime", *flags]) == 0
    printed = capsys.readouterr()
    first = "tiny.engine (fp16), onnxruntime float32"
    titles = [first, f"{first} #2"]
    paths = [output / f"results.{ending}" for ending in ("md", "csv", "json")]
    drawn = [
        output / f"worst-tiny.engine-fp16-onnxruntime-float32{ending}.png" for ending in ("", "-2")
    ]
    drawn.append(output / "side-by-side.png")
    assert printed.out.splitlines()[-6:] == [str(path) for path in paths + drawn]
    assert "error" not in printed.err

    record = json.loads(paths[2].read_text())
    assert [system["title"] for system in record["systems"]] == titles
    assert (record["data"], record["layout"], record["pictures"]) == ("set", "pairs", 3)
    assert record["versions"]["torch"] == torch.__version__
    assert record["command"].startswith("python -m training.evaluate --engine ")
    system = record["systems"][0]
    assert (system["sizes"], system["stored"], system["runtime"], system["computes"]) == (
        ["32x64"],
        *("fp16", "onnxruntime", "float32"),
    )
    with Matter(engine, backend="onnxruntime") as matter:
        sads = []
        for index in range(3):
            picture = Photographs(folder).read(index)
            alpha = matter(judge.bgr(picture.image)).alpha
            expected = metrics.evaluate(alpha, picture.alpha, picture.trimap)
            assert system["pictures"][index]["measures"] == expected
            sads.append(expected["sad"])
    assert system["all"]["sad"] == pytest.approx(statistics.fmean(sads))
    assert system["by type"]["SO"]["pictures"] == 3
    rows = list(csv.DictReader(io.StringIO(paths[1].read_text())))
    assert [row["system"] for row in rows] == [title for title in titles for _ in range(3)]
    assert [float(row["sad"]) for row in rows] == pytest.approx(sads * 2)
    page = paths[0].read_text()
    assert f"{statistics.fmean(sads):.2f}" in page
    assert f"{statistics.fmean(sads):.2f}" in printed.out
    assert "ONNX Runtime" in page
    for path in drawn:
        assert Image.open(path).size[0] > 4 * sheets.BOX[1]


def test_checkpoints_of_one_name_are_told_apart(
    light: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copies = []
    for run in "ab":
        (tmp_path / run).mkdir()
        copies.append(tmp_path / run / "network.safetensors")
        copies[-1].write_bytes(light.read_bytes())
    folder = photographs(tmp_path / "set", [(40, 60)])
    given = [word for path in copies for word in ("--weights", str(path))]
    flags = ["--size", "32x64", "--worst", "0", "--output", str(tmp_path / "out")]
    assert evaluate.main([*given, "--data", str(folder), *flags]) == 0
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    for system, path in zip(record["systems"], copies, strict=True):
        assert system["title"] == f"{path} (fp32), pytorch float32"
        assert system["sizes"] == ["32x64"]
    assert not list((tmp_path / "out").glob("*.png"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--engine {engine} --data {folder}/none", "none is not a folder; expected the folder of"),
        ("--engine {engine} --data {bare}", "1 of 1 items have no alpha, such as p; expected one"),
        ("--engine {engine}:onnx --data {set}", "backend 'onnx' of .* is not known; expected one"),
        ("--engine {folder}/no.engine --data {set}", "no such file; expected an engine file"),
        ("--data {set}", "nothing to evaluate; expected --engine FILE or --weights FILE"),
        ("--engine {engine} --size 64 --data {set}", "'64' is not a size"),
        ("--engine {engine} --size 64x64 --data {set}", "size is 64x64; expected one that .*32x64"),
        ("--engine {engine} --count 0 --data procedural", "'0' is not a whole number from 1 up"),
        ("--weights {folder}/no.pth --data {set}", "no.pth: no such file"),
        ("--weights {pth} --data {set}", "add --model"),
        ("--weights {ours} --size 100x100 --data {set}", "does not fit gfm; expected multiples of"),
        ("--weights {pth} --model sim --data {set}", "--classifier is missing; expected the check"),
        ("--engine {engine}", "required: --data; see python -m training.evaluate --help"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path,
    light: Path,
    capsys: pytest.CaptureFixture[str],
    flags: str,
    message: str,
) -> None:
    places = {"folder": tmp_path, "engine": Tiny(tmp_path).build(), "ours": light}
    places["set"] = photographs(tmp_path / "set", [(8, 12)])
    places["pth"] = tmp_path / "a.pth"
    places["pth"].write_bytes(b"PK\x03\x04")
    places["bare"] = tmp_path / "bare"
    places["bare"].mkdir()
    cv2.imwrite(str(places["bare"] / "p.jpg"), np.zeros((8, 12, 3), np.uint8))
    assert evaluate.main([word.format(**places) for word in flags.split()]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.strip().splitlines()
    assert line.startswith("training.evaluate: error: ")
    assert re.search(message, line), line


# ── Sheets ──────────────────────────────────────────────────────────────────────────────────────


def test_the_difference_is_red_for_too_much_and_blue_for_missed() -> None:
    alpha = np.array([[0, 0, 1, 1, 0.5]], np.float32)
    prediction = np.array([[0, 1, 1, 0, 0.75]], np.float32)
    drawn = sheets.difference(prediction, alpha)[0].astype(int)
    assert drawn[0].tolist() == drawn[2].tolist() == [255, 255, 255]
    assert drawn[1, 0] > 2 * max(drawn[1, 1:])
    assert drawn[3, 2] > 1.5 * max(drawn[3, :2])
    np.testing.assert_allclose(drawn[4], 255 + 0.25 * (drawn[1] - 255), atol=1)


def test_long_names_of_columns_keep_to_their_columns() -> None:
    grey = np.full((30, 60, 3), 90, np.uint8)
    row = sheets.Row("row", "", (grey, grey))
    pages = [
        np.asarray(sheets.sheet("", "", ("a" * length, ""), [row])).min(-1) for length in (300, 1)
    ]
    second = sheets.MARGIN + sheets.BOX[1] + sheets.GAP
    assert (pages[0] != pages[1])[:, :second].any()
    assert not (pages[0] != pages[1])[:, second:].any()


def test_a_sheet_shows_each_row_in_its_own_shape(tmp_path: Path) -> None:
    green = np.zeros((30, 60, 3), np.uint8)
    green[...] = (20, 200, 40)
    wide = sheets.Row("wide", "", (green, np.ones((30, 60), np.float32)))
    tall = sheets.Row("tall", "", (green.transpose(1, 0, 2), np.zeros((60, 30), np.float32)))
    page = sheets.sheet("title", "note", ("picture", "matte"), iter([wide, tall]))
    pixels = np.asarray(page)
    is_green = (pixels == (20, 200, 40)).all(-1)
    rows = np.flatnonzero(is_green.any(1))
    breaks = np.flatnonzero(np.diff(rows) > 1)
    assert len(breaks) == 1  # two tiles below each other
    for part, (height, width) in zip(
        np.split(rows, breaks + 1), ((180, 360), (260, 130)), strict=True
    ):
        columns = np.flatnonzero(is_green[part].any(0))
        # Within the tile's frame of one pixel.
        assert abs(len(part) - height) <= 2
        assert abs(len(columns) - width) <= 2
    sheets.write(tmp_path / "a.png", page)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), pixels)
