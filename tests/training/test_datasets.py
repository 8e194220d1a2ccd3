"""Dataset readers, each on a small tree of its layout."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from matter_sdk.kernels.trimap import CLASSES
from matter_sdk.training.data import datasets, layouts
from matter_sdk.training.data.datasets import LAYOUTS, DatasetError

SIZE = (12, 16)
ADOBE = "Adobe-licensed images"

# What each layout's archive unpacks to: {} stands for the names of the pictures.
TREES: dict[str, dict[str, list[str]]] = {
    "am-2k": {
        "train/original/{}.jpg": ["m_1", "m_2", "m_3"],
        "train/mask/{}.png": ["m_1", "m_2", "m_3"],
        "validation/original/{}.jpg": ["m_8", "m_9"],
        "validation/mask/{}.png": ["m_8", "m_9"],
        "validation/trimap/{}.png": ["m_8", "m_9"],
    },
    "p3m-10k": {
        "train/blurred_image/{}.jpg": ["p_1", "p_2", "p_3"],
        "train/mask/{}.png": ["p_1", "p_2", "p_3"],
        "validation/P3M-500-P/blurred_image/{}.jpg": ["p_8"],
        "validation/P3M-500-P/mask/{}.png": ["p_8"],
        "validation/P3M-500-P/trimap/{}.png": ["p_8"],
        "validation/P3M-500-NP/original_image/{}.jpg": ["p_9"],
        "validation/P3M-500-NP/mask/{}.png": ["p_9"],
        "validation/P3M-500-NP/trimap/{}.png": ["p_9"],
    },
    "composition-1k": {
        f"Combined_Dataset/Training_set/{ADOBE}/fg/{{}}.jpg": ["boy", "woman_2"],
        f"Combined_Dataset/Training_set/{ADOBE}/alpha/{{}}.jpg": ["boy", "woman_2"],
        "Combined_Dataset/Training_set/Other/fg/{}.png": ["glass"],
        "Combined_Dataset/Training_set/Other/alpha/{}.png": ["glass"],
        f"Combined_Dataset/Test_set/{ADOBE}/fg/{{}}.png": ["cat_7"],
        f"Combined_Dataset/Test_set/{ADOBE}/alpha/{{}}.png": ["cat_7"],
        f"Combined_Dataset/Test_set/{ADOBE}/trimaps/{{}}.png": ["cat_7_0", "cat_7_1"],
        "Combined_Dataset/Test_set/merged/{}.png": ["cat_7_0", "cat_7_1"],
        "Combined_Dataset/Test_set/bg/{}.png": ["cat_7_0", "cat_7_1"],
    },
    "distinctions-646": {
        "Train/FG/{}.png": ["1", "2", "3"],
        "Train/GT/{}.png": ["1", "2", "3"],
        "Test/Image/{}.png": ["test_0", "test_1"],
        "Test/GT/{}.png": ["test_0", "test_1"],
        "Test/FG/{}.png": ["test_0", "test_1"],
        "Test/BG/{}.png": ["test_0", "test_1"],
    },
    "aim-500": {
        "original/{}.jpg": ["o_1", "o_2"],
        "mask/{}.png": ["o_1", "o_2"],
        "trimap/{}.png": ["o_1", "o_2"],
        "usr/{}.png": ["o_1", "o_2"],
    },
    "simd": {
        "train/defocus/fg/{}.jpg": ["sea", "flower"],
        "train/defocus/alpha/{}.jpg": ["sea", "flower"],
        "train/hair_easy/fg/{}.jpg": ["sea"],  # one photograph may stand in two classes
        "train/hair_easy/alpha/{}.jpg": ["sea"],
        "test/fire/merged/{}.png": ["log_2008_1", "log_2008_2"],
        "test/fire/alpha/{}.png": ["log_2008_1", "log_2008_2"],
        "test/fire/trimap/{}.png": ["log_2008_1", "log_2008_2"],
    },
    "duts": {
        "DUTS-TR/DUTS-TR-Image/{}.jpg": ["ILSVRC_1", "n_2", "n_3"],
        "DUTS-TR/DUTS-TR-Mask/{}.png": ["ILSVRC_1", "n_2", "n_3"],
        "DUTS-TE/DUTS-TE-Image/{}.jpg": ["s_1", "s_2"],
        "DUTS-TE/DUTS-TE-Mask/{}.png": ["s_1", "s_2"],
    },
    "masks": {"images/{}.jpg": ["1", "2", "3"], "masks/{}.png": ["1", "2", "3"]},
    "bg-20k": {
        "train/{}.jpg": ["h_1", "h_2", "h_3"],
        "testval/{}.jpg": ["h_8", "h_9"],
    },
    "pairs": {
        "train/{}.jpg": ["a", "b"],
        "train/{}.png": ["a", "b", "c"],
        "train/{}_alpha.png": ["c"],
        "test/{}.png": ["x", "y"],
        "test/{}_alpha.png": ["x", "y"],
        "test/{}_trimap.png": ["x", "y"],
    },
}
TRAIN = {layout: {"alpha", "image"} for layout in TREES} | {
    "composition-1k": {"alpha", "foreground"},
    "distinctions-646": {"alpha", "foreground"},
    "simd": {"alpha", "foreground"},
    "bg-20k": {"image"},
}
TEST = {layout: {"image", "alpha", "trimap"} for layout in TREES} | {
    "composition-1k": set(layouts.PARTS),
    "distinctions-646": {"image", "alpha", "foreground", "background"},
    "duts": {"image", "alpha"},
    "bg-20k": {"image"},
}
MASKS = ("mask", "alpha", "trimap", "GT", "Mask", "usr")
LONE = ("train/a.png", "train/b.png")


def write(path: Path, size: tuple[int, int] = SIZE, seed: int = 0) -> None:
    """A picture, or a matte where the path says so: white, a grey column, black."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if any(word in "/".join(path.parts[-2:]) for word in MASKS) or path.as_posix().endswith(LONE):
        picture = np.zeros(size, np.uint8)
        picture[:, : size[1] // 2] = 255
        picture[:, size[1] // 2] = 51
    else:
        picture = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())


def make(root: Path, layout: str) -> Path:
    for pattern, names in TREES[layout].items():
        for name in names:
            write(root / pattern.format(name))
    if layout == "aim-500":
        facts = {
            "o_1": {"type": "STM", "category": "transparent"},
            "o_2": {"type": "NS", "category": "plant"},
        }
        (root / "aim_category_type.json").write_text(json.dumps(facts))
    return root


every = pytest.mark.parametrize("layout", LAYOUTS)


@every
def test_a_published_tree_is_recognised_and_read(tmp_path: Path, layout: str) -> None:
    root = make(tmp_path / "set", layout)
    (root / "README.md").write_text("not a picture")
    splits = {"train": (TRAIN, 3), "test": (TEST, 2)}
    if layout == "masks":  # both splits are all of it, as its name is not in the list
        splits["test"] = splits["train"]
    if layout == "aim-500":
        del splits["train"]
    for split, (parts, count) in splits.items():
        dataset = datasets.open(root, split=split)
        assert (dataset.layout, dataset.name, len(dataset)) == (layout, "set", count)
        dataset.check()
        for index, item in enumerate(dataset.items):
            assert set(item.files()) == parts[layout]
            sample = dataset.read(index)
            assert sample.name == item.name
            assert sample.image.shape == (*SIZE, 3)
            assert sample.image.dtype == np.uint8
            if sample.alpha is not None:
                assert sample.alpha.dtype == np.float32
                np.testing.assert_allclose(sample.alpha[0, [0, 15]], (1, 0), atol=0.02)
            if sample.trimap is not None:
                assert sample.trimap[0].tolist() == [255] * 8 + [128] + [0] * 7
        assert datasets.open(root, layout, split) == dataset


def test_the_trees_cover_every_layout() -> None:
    assert TREES.keys() == LAYOUTS.keys()


def test_colours_are_rgb_and_alpha_is_exact(tmp_path: Path) -> None:
    Pillow.new("RGB", (4, 3), (250, 100, 7)).save(tmp_path / "a.png")
    Pillow.fromarray(np.array([[0, 51, 255, 128]] * 3, np.uint8)).save(tmp_path / "a_alpha.png")
    sample = datasets.open(tmp_path).read(0)
    assert sample.image[0, 0].tolist() == [250, 100, 7]
    np.testing.assert_array_equal(sample.matte[0], np.float32([0, 51, 255, 128]) / np.float32(255))


def test_mattes_of_16_bits_and_grey_mattes_in_colour_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.jpg", (1, 3))
    deep = np.array([[0, 13107, 65535]], np.uint16)
    (tmp_path / "a_alpha.png").write_bytes(cv2.imencode(".png", deep)[1].tobytes())
    Pillow.fromarray(np.array([[[0] * 4, [51] * 4, [255] * 4]], np.uint8)).save(
        tmp_path / "b_alpha.png"
    )
    dataset = datasets.open(tmp_path)
    for index in (0, 1):
        np.testing.assert_allclose(dataset.read(index).matte, [[0, 0.2, 1]], atol=1e-7)


MATTES = {  # of the test split
    "am-2k": "validation/mask",
    "p3m-10k": "validation/P3M-500-NP/mask",
    "composition-1k": f"Combined_Dataset/Test_set/{ADOBE}/alpha",
    "distinctions-646": "Test/GT",
    "aim-500": "mask",
    "simd": "test/fire/alpha",
    "duts": "DUTS-TE/DUTS-TE-Mask",
}


@pytest.mark.parametrize(("layout", "folder"), MATTES.items())
def test_a_missing_matte_and_a_missing_folder_are_named(
    tmp_path: Path, layout: str, folder: str
) -> None:
    mattes = make(tmp_path, layout) / folder
    lost, *others = sorted(mattes.iterdir())
    lost.rename(mattes / "misnamed.png")
    with pytest.raises(DatasetError, match="has no partner") as caught:
        datasets.open(tmp_path, layout, "test")
    assert str(lost) in str(caught.value)
    for path in (mattes / "misnamed.png", *others):
        path.unlink()
    with pytest.raises(DatasetError, match="holds no pictures") as caught:
        datasets.open(tmp_path, layout, "test")
    assert str(mattes) in str(caught.value)
    mattes.rmdir()
    with pytest.raises(DatasetError, match="is missing") as caught:
        datasets.open(tmp_path, layout, "test")
    assert str(mattes) in str(caught.value)


def test_optional_folders_are_used_whole_or_refused(tmp_path: Path) -> None:
    root = make(tmp_path, "am-2k")
    for name in ("m_1", "m_2"):
        write(root / f"train/fg/{name}.png")
    with pytest.raises(DatasetError, match=r"m_3\.jpg has no partner"):
        datasets.open(root)
    write(root / "train/fg/m_3.png")
    dataset = datasets.open(root)
    assert dataset.has("foreground")
    assert not dataset.has("background")


def test_a_mask_of_the_wrong_size_names_the_file_and_both_sizes(tmp_path: Path) -> None:
    root = make(tmp_path, "duts")
    for name in ("n_2", "n_3"):
        write(root / f"DUTS-TR/DUTS-TR-Mask/{name}.png", (12, 17))
    dataset = datasets.open(root)
    message = r"n_2\.png is 17×12; expected 16×12 as .*n_2\.jpg"
    with pytest.raises(DatasetError, match=message + r" \(1 more like it\)"):
        dataset.check()
    with pytest.raises(DatasetError, match=message):
        dataset.read(1)
    assert dataset.read(0).name == "ILSVRC_1"


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    root = make(tmp_path, "bg-20k")
    whole = (root / "train/h_2.jpg").read_bytes()
    for content in (b"", b"no picture", whole[:20]):
        (root / "train/h_2.jpg").write_bytes(content)
        dataset = datasets.open(root)
        with pytest.raises(DatasetError, match=r"h_2\.jpg"):
            dataset.check()
        with pytest.raises(DatasetError, match=r"h_2\.jpg"):
            dataset.read(1)


def test_a_colour_picture_is_no_matte(tmp_path: Path) -> None:
    root = make(tmp_path, "am-2k")
    colours = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    (root / "train/mask/m_1.png").write_bytes(cv2.imencode(".png", colours)[1].tobytes())
    with pytest.raises(DatasetError, match=r"m_1\.png has colours"):
        datasets.open(root).read(0)


def test_composed_test_images_are_needed_and_asked_for(tmp_path: Path) -> None:
    root = make(tmp_path, "composition-1k")
    items = datasets.open(root, split="test").items
    assert [item.name for item in items] == ["cat_7_0", "cat_7_1"]
    assert {item.alpha.name for item in items if item.alpha} == {"cat_7.png"}
    (root / "Combined_Dataset/Test_set/merged").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match=r"merged is missing; .* composition script makes"):
        datasets.open(root, split="test")


def test_a_foreground_to_be_composed_is_not_taken_for_a_photograph(tmp_path: Path) -> None:
    dataset = datasets.open(make(tmp_path, "composition-1k"))
    dataset.require("alpha", "foreground")
    with pytest.raises(DatasetError, match="3 of 3 items have no image, such as boy"):
        dataset.require("image")
    sample = dataset.read(0)
    assert sample.foreground is not None
    np.testing.assert_array_equal(sample.image, sample.foreground)


def test_kinds_and_categories(tmp_path: Path) -> None:
    aim = make(tmp_path / "aim", "aim-500")
    items = datasets.open(aim, split="test").items
    assert [(i.kind, i.category) for i in items] == [("STM", "transparent"), ("NS", "plant")]

    p3m = datasets.open(make(tmp_path / "p3m", "p3m-10k"), split="test")
    assert [i.category for i in p3m.items] == ["P3M-500-P", "P3M-500-NP"]

    simd = datasets.open(make(tmp_path / "simd", "simd"))
    assert [(i.name, i.category) for i in simd.items] == [
        ("defocus_flower", "defocus"),
        ("defocus_sea", "defocus"),
        ("hair_easy_sea", "hair_easy"),
    ]
    assert len(CLASSES) == 20
    assert sorted(CLASSES) == list(CLASSES)

    comp = make(tmp_path / "comp", "composition-1k")
    kinds = {"DIM": {"boy": "SO", "glass": "STM", "cat_7": "NS"}}
    (comp / "Combined_Dataset/dim_hatt_am2k_type.json").write_text(json.dumps(kinds))
    assert [i.kind for i in datasets.open(comp).items] == ["SO", "STM", "SO"]
    assert [i.kind for i in datasets.open(comp, split="test").items] == ["NS", "NS"]


def test_a_wrong_category_file_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path, "aim-500")
    path = root / "aim_category_type.json"
    for content, message in (
        ('{"o_1": {"type": "SO", "category": "toy"}}', "does not give o_2 a type and a category"),
        ('{"o_1": {"type": "XX", "category": "toy"}}', "o_1 is of type 'XX'; expected SO, STM, NS"),
        ("[1]", "holds a list; expected"),
        ("{", "is not JSON"),
    ):
        path.write_text(content)
        with pytest.raises(DatasetError, match=message):
            datasets.open(root, "aim-500", "test")
    path.unlink()
    with pytest.raises(DatasetError, match=r"aim_category_type\.json is missing"):
        datasets.open(root, "aim-500", "test")


def test_aim_500_is_no_training_set(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="AIM-500 is a test set"):
        datasets.open(make(tmp_path, "aim-500"))


def test_pairs_leave_out_what_has_no_matte_and_say_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("lemur.png", "lemur_alpha.png", "lemur_trimap.png", "beach.png"):
        write(tmp_path / name)
    write(tmp_path / "lemur_foreground.png")
    with caplog.at_level(logging.WARNING, "matter"):
        dataset = datasets.open(tmp_path)
    assert [item.name for item in dataset.items] == ["lemur"]
    assert set(dataset.items[0].files()) == {"image", "alpha", "trimap", "foreground"}
    assert "have no matte: beach" in caplog.text


def test_pictures_without_any_matte_are_backgrounds(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg", "sea_background.jpg", ".hidden.jpg"):
        write(tmp_path / name)
    dataset = datasets.open(tmp_path)
    assert (dataset.layout, len(dataset), dataset.has("alpha")) == ("pairs", 3, False)
    assert dataset.read(0).alpha is None
    with pytest.raises(DatasetError, match="1 has no alpha matte"):
        _ = dataset.read(0).matte


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a_alpha.png",), r"a_alpha\.png has no picture; expected .*a\.jpg or \.png"),
        (("a.jpg", "a.jpeg"), r"a\.jpeg and .*a\.jpg have the same name"),
        (("a.jpg", "a.png", "a_alpha.png"), r"a\.jpg and .*a\.png have the same name"),
    ],
)
def test_ambiguous_pairs_are_refused(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    for name in names:
        write(tmp_path / name)
    with pytest.raises(DatasetError, match=message):
        datasets.open(tmp_path)


def test_only_pairs_turn_pictures_as_the_camera_says(tmp_path: Path) -> None:
    """A matte is drawn on what a viewer shows; the published ones fit the stored pixels."""
    picture = Pillow.new("RGB", (16, 12))
    exif = Pillow.Exif()
    exif[0x0112] = 6  # stored lying, shown standing
    picture.save(tmp_path / "a.jpg", exif=exif)
    write(tmp_path / "a_alpha.png", (16, 12))
    dataset = datasets.open(tmp_path)
    dataset.check()
    assert dataset.read(0).image.shape == (16, 12, 3)

    root = make(tmp_path / "am", "am-2k")
    picture.save(root / "train/original/m_1.jpg", exif=exif)
    dataset = datasets.open(root)
    dataset.check()
    assert dataset.read(0).image.shape == (12, 16, 3)


def test_what_is_no_dataset_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is not a folder"):
        datasets.open(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="neither the folders of a known dataset nor pictures"):
        datasets.open(tmp_path)
    with pytest.raises(DatasetError, match="layout is 'am2k'"):
        datasets.open(tmp_path, "am2k")
    with pytest.raises(DatasetError, match="split is 'val'"):
        datasets.open(tmp_path, split="val")
    with pytest.raises(DatasetError, match="has none of SIMD's 20 class folders"):
        datasets.open(tmp_path, "simd")


def test_opening_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path, "am-2k")

    def never(*_: object) -> None:
        raise AssertionError("a picture was opened")

    monkeypatch.setattr(cv2, "imdecode", never)
    monkeypatch.setattr(Pillow, "open", never)
    assert len(datasets.open(root)) == 3


def test_names_that_are_not_ascii(tmp_path: Path) -> None:
    write(tmp_path / "Känguru.jpg")
    dataset = datasets.open(tmp_path)
    dataset.check()
    assert dataset.read(0).name == "Känguru"
