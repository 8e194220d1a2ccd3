"""What is where in the folders of the published matting datasets.

Where each layout was taken from (no dataset was at hand, so that what follows is their authors'
documentation and code, not the archives themselves):

``am-2k``
    ``train/{original,mask}``, ``validation/{original,mask,trimap}``; ``train/{fg,bg}`` if somebody
    made them, which the release does not bring. README and ``core/config.py`` of
    https://github.com/JizhiziLi/GFM.
``p3m-10k``
    ``train/{blurred_image,mask}``, ``validation/P3M-500-P/{blurred_image,mask,trimap}``,
    ``validation/P3M-500-NP/{original_image,mask,trimap}``. Its released form of PM-10k.
    ``core/README.md`` of https://github.com/ViTAE-Transformer/P3M-Net, by a public copy;
    ``train/{fg,bg}`` from ``core/config.py`` of https://github.com/JizhiziLi/P3M.
``composition-1k``
    ``Training_set/{Adobe-licensed images,Other}/{fg,alpha}``,
    ``Test_set/Adobe-licensed images/{fg,alpha,trimaps}``, with or without ``Combined_Dataset``
    around them; composed test images ``NAME_0.png`` to ``NAME_19.png`` in ``Test_set/merged`` and
    their backgrounds in ``Test_set/bg``. The preparation script of
    https://github.com/open-mmlab/mmediting; that ``merged`` may lie beside ``fg`` is a guess, since
    Adobe's own script leaves its place to the user.
``distinctions-646``
    ``Train/{FG,GT}``, ``Test/{Image,GT,FG,BG}``, and before composition
    ``Train_ori/{Fg_images,Alpha_matte}``. ``utils/gen_dataset.py`` of
    https://github.com/yuhaoliu7456/CVPR2020-HAttMatting; ``Train/{FG,GT}`` by several projects
    that train on it. ``Test/Trimap`` is a guess.
``aim-500``
    ``original``, ``mask``, ``trimap``, ``usr`` (unread: it follows from the trimap and the kind)
    and ``aim_category_type.json``. ``core/{README.md,config.py,test.py}`` of
    https://github.com/JizhiziLi/AIM; older versions keep the folders under ``validation``.
``simd``
    ``{train,test}/CLASS/{fg,alpha}``; composed ``CLASS/{merged,alpha,trimap}``.
    ``dataset/generate_testset.py`` and ``scripts/main.py`` of https://github.com/nowsyn/SIM.
``duts``
    ``DUTS-TR/{DUTS-TR-Image,DUTS-TR-Mask}`` and ``DUTS-TE/{DUTS-TE-Image,DUTS-TE-Mask}``, with or
    without the outer folder. ``core/config.py`` of AIM for the first, many projects for the rest.
``bg-20k``
    ``train`` and ``testval``, pictures only. README of GFM.
``masks``
    ``images/NAME.jpg`` and ``masks/NAME.png``: photographs with segmentation masks, 0, 255 and,
    where nothing is said, 128; without ``masks`` they are backgrounds. ``tags.json`` may give for
    each name ``iou``, a weak judge's agreement with the mask. The test split of a folder that
    ``training/data/held_out.txt`` lists is those pictures; any other folder's is all of it.
``pairs``
    Ours: a folder of pictures beside their mattes, ``NAME.jpg`` + ``NAME.png``, or ``NAME.png`` +
    ``NAME_alpha.png``, with ``NAME_trimap``, ``NAME_foreground`` and ``NAME_background`` if they
    are there. A ``train`` and a ``test`` folder are its splits; otherwise both splits are the
    folder itself. Where some pictures have a matte, those without one are left out, with a
    warning; where none has, all are backgrounds or pictures to look at.

The kinds of AIM (salient opaque, salient transparent or meticulous, non-salient) for the training
sets are read from ``dim_hatt_am2k_type.json``, which AIM's README links, if it lies in the
dataset's folder; every item is "SO" without it.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matter_sdk.kernels.trimap import CLASSES
from matter_sdk.sdk.files import PICTURE_SUFFIXES
from matter_sdk.training.data.layers import KINDS

log = logging.getLogger("matter")

SPLITS = ("train", "test")


PARTS = ("image", "alpha", "trimap", "foreground", "background")


MASKS = ("alpha", "trimap")


class DatasetError(ValueError):
    """A dataset is not as its layout says; the message names the file or folder."""


@dataclass(frozen=True)
class Item:
    """Files of one entry. ``image`` is None where a dataset gives a foreground to be composed."""

    name: str
    image: Path | None = None
    alpha: Path | None = None
    trimap: Path | None = None
    foreground: Path | None = None
    background: Path | None = None
    kind: str = "SO"
    category: str = ""
    agreement: float = 1.0  # of a weak judge with the mask, 0..1; low where labels are doubtful

    def files(self) -> dict[str, Path]:
        """Return the files by part, of ``PARTS``; missing ones are left out."""
        return {part: path for part in PARTS if (path := getattr(self, part)) is not None}


def recognise(root: Path) -> str:
    """Tell the layout from the folders in ``root``; DatasetError if none fits."""
    for layout, marks in _MARKS.items():
        if any(next(root.glob(mark), None) is not None for mark in marks):
            return layout
    if any(_listed(folder) for folder in (root, *(root / split for split in SPLITS))):
        return "pairs"
    raise DatasetError(
        f"{root} has neither the folders of a known dataset nor pictures; "
        f"name its layout, one of {', '.join(LAYOUTS)}"
    )


def _listed(folder: Path) -> list[Path]:
    """Pictures in a folder, sorted; none where it is missing. Hidden files are skipped."""
    return [
        path
        for path in (sorted(folder.iterdir()) if folder.is_dir() else ())
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")
    ]


def _pictures(folder: Path) -> dict[str, Path]:
    """As _listed, by their names without suffix."""
    found: dict[str, Path] = {}
    for path in _listed(folder):
        if path.stem in found:
            raise DatasetError(f"{found[path.stem]} and {path} have the same name; remove one")
        found[path.stem] = path
    return found


def _first(*candidates: Path) -> Path:
    """The first candidate that is a folder, or the first of all, for the error that will follow."""
    return next((folder for folder in candidates if folder.is_dir()), candidates[0])


def _needed(folder: Path, what: str) -> dict[str, Path]:
    """As _pictures, where there must be some."""
    if not folder.is_dir():
        raise DatasetError(f"{folder} is missing; expected a folder with {what}")
    found = _pictures(folder)
    if not found:
        raise DatasetError(f"{folder} holds no pictures; expected {what}")
    return found


def _partner(found: dict[str, Path], stem: str, of: Path, folder: Path) -> Path:
    if stem not in found:
        raise DatasetError(f"{of} has no partner; expected {folder / stem}.png")
    return found[stem]


def _join(
    main: str, folders: dict[str, Path], optional: Iterable[str] = (), **facts: str
) -> list[Item]:
    """Items of folders whose files have the same names.

    Args:
        main: the part whose folder says which items there are.
        folders: a folder for each part.
        optional: the parts whose folder may be missing; if it is there it must be complete.
        facts: the category, if it is that of the folders.
    """
    listed = {
        part: _needed(folder, f"the {part} pictures")
        for part, folder in folders.items()
        if folder.is_dir() or part not in optional
    }
    items = []
    for stem, path in listed[main].items():
        paths = {part: _partner(found, stem, path, folders[part]) for part, found in listed.items()}
        items.append(Item(stem, **paths, **facts))  # type: ignore[arg-type]
    return items


def _kinds(root: Path, dataset: str, items: list[Item]) -> list[Item]:
    """Items with the kinds that AIM's file gives them, "SO" where it is silent."""
    path = root / "dim_hatt_am2k_type.json"
    if not path.is_file():
        return items
    kinds = _json(path).get(dataset, {})
    return [_with_facts(path, item, kinds.get(_original(item)), item.category) for item in items]


def _original(item: Item) -> str:
    """The name of the foreground that a composed item was made of."""
    return item.alpha.stem if item.alpha is not None else item.name


def _with_facts(path: Path, item: Item, kind: str | None, category: str) -> Item:
    if kind is not None and kind not in KINDS:
        raise DatasetError(f"{path}: {item.name} is of type {kind!r}; expected {', '.join(KINDS)}")
    return Item(**{**vars(item), "kind": kind or "SO", "category": category})


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(
            f"{path} holds a {type(content).__name__}; expected names and their types"
        )
    return content


def _am_2k(root: Path, split: str) -> list[Item]:
    base = root / {"train": "train", "test": "validation"}[split]
    folders = {"image": base / "original", "alpha": base / "mask", "trimap": base / "trimap"}
    folders |= {"foreground": base / "fg", "background": base / "bg"}
    items = _join("image", folders, ("trimap", "foreground", "background"))
    return _kinds(root, "AM2K", items)


def _p3m_10k(root: Path, split: str) -> list[Item]:
    if split == "train":
        base = root / "train"
        folders = {"image": base / "blurred_image", "alpha": base / "mask"}
        folders |= {"foreground": base / "fg", "background": base / "bg"}
        return _join("image", folders, ("foreground", "background"))
    items = []
    for category, images in (("P3M-500-P", "blurred_image"), ("P3M-500-NP", "original_image")):
        base = root / "validation" / category
        folders = {"image": base / images, "alpha": base / "mask", "trimap": base / "trimap"}
        items += _join("image", folders, ("trimap",), category=category)
    return items


def _composition_1k(root: Path, split: str) -> list[Item]:
    root = _first(root / "Combined_Dataset", root)
    if split == "train":
        base = root / "Training_set"
        if not base.is_dir():
            raise DatasetError(f"{base} is missing; expected Adobe's training foregrounds")
        items = []
        for licence in ("Adobe-licensed images", "Other"):
            folders = {"foreground": base / licence / "fg", "alpha": base / licence / "alpha"}
            items += _join("alpha", folders)
        return _kinds(root, "DIM", items)
    base = root / "Test_set" / "Adobe-licensed images"
    alphas = _needed(base / "alpha", "the alpha pictures")
    foregrounds = _pictures(base / "fg")
    merged = _first(root / "Test_set" / "merged", base / "merged")
    images = _needed(merged, "the composed test images, which Adobe's composition script makes")
    backgrounds = _pictures(_first(root / "Test_set" / "bg", base / "bg"))
    trimaps = _needed(base / "trimaps", "the trimaps")
    items = []
    for stem, path in images.items():
        # boy-1518482_1920_12: the twelfth background behind boy-1518482_1920
        original = re.sub(r"_\d+$", "", stem)
        items.append(
            Item(
                stem,
                path,
                _partner(alphas, original, path, base / "alpha"),
                _partner(trimaps, stem, path, base / "trimaps"),
                foregrounds.get(original),
                backgrounds.get(stem),
            )
        )
    return _kinds(root, "DIM", items)


def _distinctions_646(root: Path, split: str) -> list[Item]:
    base, before = (root / {"train": t, "test": s}[split] for t, s in _DISTINCTIONS)
    folders = {
        "image": base / "Image",
        "alpha": _first(base / "GT", before / "Alpha_matte"),
        "foreground": _first(base / "FG", before / "Fg_images"),
        "background": base / "BG",
    }
    if split == "train":
        items = _join("alpha", folders, ("image", "background"))
    else:
        folders["trimap"] = base / "Trimap"
        items = _join("image", folders, ("foreground", "background", "trimap"))
    return _kinds(root, "HATT", items)


_DISTINCTIONS = (("Train", "Test"), ("Train_ori", "Test_ori"))


def _aim_500(root: Path, split: str) -> list[Item]:
    if split == "train":
        raise DatasetError(f"{root}: AIM-500 is a test set; expected the split 'test'")
    base = _first(root / "original", root / "validation" / "original").parent
    folders = {part: base / part for part in ("mask", "trimap")}
    items = _join(
        "image",
        {"image": base / "original", "alpha": folders["mask"], "trimap": folders["trimap"]},
        ("trimap",),
    )
    path = root / "aim_category_type.json"
    if not path.is_file():
        raise DatasetError(
            f"{path} is missing; expected the file of AIM-500's types and categories"
        )
    facts = _json(path)
    described = []
    for item in items:
        fact = facts.get(item.name)
        if not isinstance(fact, dict) or not {"type", "category"} <= fact.keys():
            raise DatasetError(f"{path} does not give {item.name} a type and a category")
        described.append(_with_facts(path, item, fact["type"], fact["category"]))
    return described


def _simd(root: Path, split: str) -> list[Item]:
    base = _first(root / split, root)
    present = [name for name in CLASSES if (base / name).is_dir()]
    if not present:
        raise DatasetError(f"{base} has none of SIMD's 20 class folders, such as {base / 'fur'}")
    items = []
    for name in present:
        folders = {"alpha": base / name / "alpha"}
        if split == "train":
            folders["foreground"] = base / name / "fg"
            joined = _join("alpha", folders, category=name)
        else:
            folders |= {"image": base / name / "merged", "trimap": base / name / "trimap"}
            joined = _join("image", folders, ("trimap",), category=name)
        # One photograph may stand in several classes.
        items += [Item(**{**vars(item), "name": f"{name}_{item.name}"}) for item in joined]
    return items


def _duts(root: Path, split: str) -> list[Item]:
    name = {"train": "DUTS-TR", "test": "DUTS-TE"}[split]
    base = _first(root / name, root)
    return _join("image", {"image": base / f"{name}-Image", "alpha": base / f"{name}-Mask"})


def _bg_20k(root: Path, split: str) -> list[Item]:
    return _join("image", {"image": root / {"train": "train", "test": "testval"}[split]})


def _pairs(root: Path, split: str) -> list[Item]:
    base = _first(root / split, root)
    files = _listed(base)
    if not files:
        raise DatasetError(f"{base} holds no pictures; expected pictures and their mattes")
    partners: dict[tuple[str, str], Path] = {}
    rest: dict[str, list[Path]] = {}
    stems = {path.stem for path in files}
    for path in files:
        name, _, part = path.stem.rpartition("_")
        if part in PARTS[1:] and name in stems:
            partners[name, part] = path
        elif part in MASKS:
            raise DatasetError(f"{path} has no picture; expected {base / name}.jpg or .png")
        else:
            rest.setdefault(path.stem, []).append(path)
    items = []
    for stem, paths in rest.items():
        mattes = [path for path in paths if path.suffix.lower() == ".png" and len(paths) > 1]
        two = len(paths) == 2 and len(mattes) == 1 and (stem, "alpha") not in partners
        if len(paths) > 1 and not two:
            raise DatasetError(
                f"{' and '.join(map(str, paths))} have the same name; expected one picture and, "
                f"as {stem}.png or {stem}_alpha.png, its matte"
            )
        if mattes:
            partners[stem, "alpha"] = mattes[0]
        image = next(path for path in paths if path not in mattes)
        items.append(Item(stem, image, **{p: partners.get((stem, p)) for p in PARTS[1:]}))  # type: ignore[arg-type]
    matted = [item for item in items if item.alpha is not None]
    if matted and len(matted) < len(items):
        without = ", ".join(item.name for item in items if item.alpha is None)
        log.warning("%s: left out, as they have no matte: %s", base, without)
    return matted or items


def _masks(root: Path, split: str) -> list[Item]:
    folders = {"image": root / "images", "alpha": root / "masks"}
    items = _join("image", folders, optional=("alpha",))
    tags = _json(root / "tags.json") if (root / "tags.json").is_file() else {}
    judged = {name: tag["iou"] for name, tag in tags.items() if "iou" in tag}
    items = [replace(item, agreement=judged.get(item.name, 1.0)) for item in items]
    kept = held_out(root.resolve().name)
    return [item for item in items if not kept or (item.name in kept) == (split == "test")]


def held_out(folder: str) -> frozenset[str]:
    """Return the names of a folder's pictures that training never sees; none if not listed."""
    text = (Path(__file__).parent / "held_out.txt").read_text(encoding="utf-8")
    listed = (line.split("/") for line in text.splitlines() if not line.startswith("#"))
    return frozenset(name for where, name in listed if where == folder)


LAYOUTS: dict[str, Callable[[Path, str], list[Item]]] = {
    "am-2k": _am_2k,
    "p3m-10k": _p3m_10k,
    "composition-1k": _composition_1k,
    "distinctions-646": _distinctions_646,
    "aim-500": _aim_500,
    "simd": _simd,
    "duts": _duts,
    "bg-20k": _bg_20k,
    "masks": _masks,
    "pairs": _pairs,
}
"""What :func:`open` takes: a layout's name, and the function that lists its items."""


# What a folder holds that no other layout does, the most telling first.
_MARKS = {
    "aim-500": ("aim_category_type.json", "usr"),
    "p3m-10k": ("train/blurred_image", "validation/P3M-500-P", "validation/P3M-500-NP"),
    "am-2k": ("train/original", "validation/original"),
    "composition-1k": ("Combined_Dataset", "Training_set", "Test_set"),
    "distinctions-646": ("Train/FG", "Test/Image", "Test/FG", "Train_ori", "Test_ori"),
    "duts": ("DUTS-TR", "DUTS-TE", "DUTS-TR-Image", "DUTS-TE-Image"),
    "simd": tuple(
        f"{folder}{name}/alpha" for name in CLASSES for folder in ("", "train/", "test/")
    ),
    "bg-20k": ("testval", "train/h_*.jpg"),
    "masks": ("images",),
}
