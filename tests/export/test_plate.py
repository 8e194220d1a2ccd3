"""gfm-plate from a checkpoint to alphas, at a tiny size: the same as PyTorch's at each step."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch

from matter_sdk.export import cpu_backends, examples, info
from matter_sdk.export.build import BuildOptions, build, main
from matter_sdk.sdk import Matter
from matter_sdk.sdk.engine.file import EngineFile
from matter_sdk.sdk.media.picture_reader import read_picture
from matter_sdk.training import checkpoints, networks

SIZE = (64, 96)
# What the network was made for, read here from the class's own words and not from its code.


def network() -> Any:
    """One whose alphas vary: fresh weights, and batch norms as after some training."""
    from matter_sdk.export import random_weights

    torch.manual_seed(3)
    made: Any = networks.create("gfm-plate")
    single = examples.inputs(made, examples.pictures(SIZE), SIZE)
    (tensors,) = examples.batched(single, len(single))
    random_weights.fit(made, tuple(map(torch.from_numpy, tensors)))
    return made


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "gfm-plate-efficientnet-lite0-tt.safetensors"
    checkpoints.save(network(), path, {"licence": "MIT"})
    return path


@pytest.fixture(scope="module")
def engine(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the network itself, once: exporting it takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_backends, "_ROUNDS", 2)
        patch.setattr(examples, "SCENES", 1)
        patch.setattr(examples, "PHOTOGRAPHS", ("chelsea",))
        return build(
            BuildOptions(
                "gfm-plate",
                weights=(checkpoint,),
                sizes=(SIZE,),
                targets=("onnx",),
                output=tmp_path_factory.mktemp("engine") / "gfm-plate.engine",
            )
        )


def test_the_manifest(engine: Path, checkpoint: Path) -> None:
    with EngineFile.open(engine) as opened:
        manifest = opened.manifest
        graph = onnx.load_from_string(bytes(opened.read("model.onnx")))
    assert manifest.inputs == {"image": 3, "plate": 3}
    assert [value.name for value in graph.graph.input] == ["image", "plate"]
    assert (manifest.network.name, manifest.fusion) == ("gfm-plate", "tt")
    assert manifest.parts == {}
    assert manifest.weights.source == checkpoint.name == manifest.demo_weights()
    command = (
        f"--model gfm-plate --backbone efficientnet-lite0 --rosta tt --size 64x96 --output {engine}"
    )
    assert manifest.build_command(str(engine)) == f"python -m export.build {command}"
    judged = {(entry.artefact, entry.precision): entry.status for entry in manifest.verification}
    assert judged["onnxruntime", "float32"] == "passed"


def test_alpha_is_that_of_pytorch_on_frame_and_plate(engine: Path, checkpoint: Path) -> None:
    """Each resized and normalised by other code than the SDK's; neither is of the network's size,
    nor are they of one."""
    loaded: Any = networks.create("gfm-plate").eval()
    checkpoints.load(loaded, checkpoint)
    (image, _, plate), *_ = examples.pictures((256, 384))
    frame = np.ascontiguousarray(image[..., ::-1])
    plate = cv2.resize(plate, (192, 128), interpolation=cv2.INTER_AREA)

    def tensor(picture: np.ndarray) -> torch.Tensor:
        exact = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]
        small = torch.nn.functional.avg_pool2d(exact, picture.shape[0] // SIZE[0])
        spec = loaded.input_spec
        mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
        return (small - mean) / std

    with torch.inference_mode():
        expected = loaded(tensor(image), tensor(plate))["alpha"][0, 0].numpy()
        swapped = loaded(tensor(plate), tensor(image))["alpha"][0, 0].numpy()
    assert expected.std() > 0.1
    assert np.abs(expected - swapped).mean() > 0.05  # or the order would not be tested
    with Matter(engine, backend="onnxruntime", plate=plate[..., ::-1], guided=False) as matter:
        alpha = matter.infer(matter.prepare(frame))
        assert np.abs(alpha - expected).mean() < 1e-4
        full = cv2.resize(expected, (384, 256), interpolation=cv2.INTER_LINEAR)
        assert np.abs(matter(frame).alpha - full).mean() < 1e-4


def test_info(engine: Path) -> None:
    with EngineFile.open(engine) as opened:
        text = "\n".join(info.describe(opened))
    assert "network     gfm-plate efficientnet-lite0, RoSTa tt, 2.42 M parameters" in text
    assert "plate 3×H×W" in text


def test_random_weights_and_the_next_command(
    stand_in: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The whole command in float16, with no checkpoint; what it prints at its end works."""
    from matter_sdk.samples import image

    monkeypatch.chdir(tmp_path)
    flags = ["--model", "gfm-plate", "--fp16", "--random-weights", "--target", "onnx"]
    assert main([*flags, "--size", "64x96"]) == 0
    error = capsys.readouterr().err
    command = error.splitlines()[-1]
    prefix = "Next: python -m samples.image "
    assert command == f"{prefix}photo.jpg --plate empty.jpg --engine gfm-plate.engine"
    (drawn,) = examples.pictures((64, 96))
    for name, picture in (("photo.jpg", drawn.image), ("empty.jpg", drawn.plate)):
        cv2.imwrite(name, picture[..., ::-1])
    assert image.main(command.removeprefix(prefix).split()) == 0
    matte = read_picture(Path("out/photo-matte.png"))
    assert matte is not None
    assert matte.shape == (64, 96, 3)
