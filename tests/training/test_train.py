"""The training command: it learns, it resumes as if nothing had happened, it leaves whole files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from matter_sdk.training import checkpoints, networks, recipes, train
from matter_sdk.training.data.layer_sources import Procedural
from matter_sdk.training.data.layers import Layers
from matter_sdk.training.evaluation import pictures, sheets
from matter_sdk.training.fit import autocast as precision
from matter_sdk.training.fit import batch_norm, objectives, records
from matter_sdk.training.fit.batches import Batches
from matter_sdk.training.fit.task import Task, schedule
from matter_sdk.training.scenes import scene
from tests.training import tiny

SMALL = ["--set", "sizes=[[32, 32], [32, 48]]", "--set", "calibration=2", "--set", "warm_up=2"]
SMALL += ["--accelerator", "cpu", "--batch", "2", "--workers", "0", "--validation", "2"]
RUN = ["--recipe", "demo", *SMALL, "--steps", "6", "--save-every", "3"]


@pytest.fixture
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.use(monkeypatch.setattr)


def _run(output: Path, *words: str, arguments: list[str] = RUN) -> int:
    return train.main([*arguments, "--output", str(output), *words])


def _log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def _state(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    flat = dict(checkpoint["state_dict"])
    for key, moments in checkpoint["optimizer_states"][0]["state"].items():
        flat |= {f"{key}.{name}": tensor for name, tensor in moments.items()}
    return flat


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], **tolerance: float) -> None:
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        torch.testing.assert_close(b[name], tensor, msg=lambda m, n=name: f"{n}: {m}", **tolerance)


def _same_curve(a: Path, b: Path) -> None:
    for one, other in zip(_log(a), _log(b), strict=True):
        assert one.pop("validation", {}) == pytest.approx(other.pop("validation", {}), rel=1e-4)
        assert one == pytest.approx(other, rel=1e-4)


def _die_in(monkeypatch: pytest.MonkeyPatch, step: int, how: Any) -> None:
    real = Task.training_step

    def training_step(self: Task, batch: Any, batch_idx: int) -> Any:
        if batch_idx == step - 1:
            how()
        return real(self, batch, batch_idx)

    monkeypatch.setattr(Task, "training_step", training_step)


@pytest.mark.usefixtures("tiny_network")
def test_sets_of_a_mix_are_trained_on(tmp_path: Path) -> None:
    for name in "abcd":
        inside = np.zeros((40, 40), np.uint8)
        inside[10:, 8:30] = 255
        for part, picture in (("images", np.dstack([inside] * 3)), ("masks", inside)):
            path = tmp_path / f"sets/people/{part}/{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), picture)
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        "extends = 'gfm-light'\nbackgrounds = []\nencoder_rate = 0.0\n"
        "[[mix]]\nweight = 2\ndata = ['people']\n[[mix]]\nweight = 1\n"
    )
    words = ["--recipe", str(recipe), *SMALL, "--steps", "3", "--data", str(tmp_path / "sets")]
    assert _run(tmp_path / "run", "--cache", str(tmp_path / "mattes"), arguments=words) == 0
    assert len(list((tmp_path / "mattes/people").glob("*.png"))) == 4
    assert [line["step"] for line in _log(tmp_path / "run")] == [1, 2, 3, 3]


def test_a_mix_takes_one_folder_of_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--recipe", "gfm-light", "--data", "a", "--data", "b"]
    assert _run(tmp_path, arguments=words) == 2
    assert "takes one --data PATH" in capsys.readouterr().err


def test_the_encoder_has_a_rate_of_its_own() -> None:
    recipe = recipes.load("gfm-light", {"rate": 0.5, "encoder_rate": 0.125, "warm_up": 0})
    network = networks.create("gfm", backbone=recipe.backbone, rosta="tt")
    whole = {"sizes": ((32, 32),), "steps": 9, "seed": 0, "workers": 0, "settings": {}}
    task = Task(recipe, objectives.create(network), None, **whole)  # type: ignore[arg-type]
    groups = task.configure_optimizers()["optimizer"].param_groups
    assert [group["initial_lr"] for group in groups] == [0.5, 0.125]
    encoder = {id(p) for p in network.encoder.parameters()}
    assert {id(p) for p in groups[1]["params"]} == encoder
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))


# ── Resuming ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("tiny_network")
def test_a_run_that_dies_resumes_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in step 5 with a checkpoint of step 3: step 4 is in the log, and must go from it.
    Its samples come from two other processes, those of the whole run from its own."""

    def die() -> None:
        raise OSError("killed")

    assert _run(tmp_path / "whole", "--validate-every", "2") == 0
    with monkeypatch.context() as patch:
        _die_in(patch, 5, die)
        with pytest.raises(OSError, match="killed"):
            _run(tmp_path / "parts", "--validate-every", "2", "--workers", "2")
    assert _log(tmp_path / "parts")[-1]["step"] == 4
    words = ["--validate-every", "2", "--workers", "2", "--resume"]
    assert _run(tmp_path / "parts", *words) == 0
    assert _log(tmp_path / "parts") == _log(tmp_path / "whole")
    _same(_state(tmp_path / "whole"), _state(tmp_path / "parts"), rtol=0, atol=0)
    whole, parts = (tmp_path / name / "samples/step-000006.png" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()


@pytest.mark.usefixtures("tiny_network")
def test_ctrl_c_finishes_the_step_keeps_it_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(tmp_path / "whole") == 0
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        _die_in(patch, 4, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert _run(tmp_path / "parts") == 130
    assert signal.getsignal(signal.SIGINT) is handler
    told = capsys.readouterr().err
    assert "stopped at step 4 of 6" in told
    command = told.strip().splitlines()[-1]
    assert command.startswith("python -m training.train --recipe demo")
    assert command.endswith("--resume")
    assert torch.load(tmp_path / "parts/last.ckpt", weights_only=True)["global_step"] == 4
    assert _run(tmp_path / "parts", "--resume") == 0
    _same(_state(tmp_path / "whole"), _state(tmp_path / "parts"), rtol=0, atol=0)


@pytest.mark.usefixtures("tiny_network")
def test_a_run_can_be_made_longer_but_not_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(tmp_path) == 0
    assert _run(tmp_path) == 2
    assert "add --resume" in capsys.readouterr().err
    assert _run(tmp_path, "--resume", "--set", "rate=0.1") == 2
    assert "rate 0.002, not 0.1" in capsys.readouterr().err
    assert _run(tmp_path, "--resume", "--batch", "3") == 2
    assert "samples a step 2, not 3" in capsys.readouterr().err
    assert _run(tmp_path, "--resume", "--steps", "8") == 0
    assert [line["step"] for line in _log(tmp_path) if "l1" in line] == list(range(1, 9))


@pytest.mark.usefixtures("tiny_network")
def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    assert _run(tmp_path) == 0
    before = (tmp_path / "log.jsonl").read_bytes(), (tmp_path / "last.ckpt").read_bytes()
    assert _run(tmp_path, "--resume") == 0
    assert ((tmp_path / "log.jsonl").read_bytes(), (tmp_path / "last.ckpt").read_bytes()) == before


@pytest.mark.slow
def test_kill_minus_9_loses_at_most_the_steps_since_the_checkpoint(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.training.tiny", *RUN, "--steps", "40"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    subprocess.run([*command, "--output", whole], check=True, capture_output=True)
    running = subprocess.Popen([*command, "--output", parts], stderr=subprocess.DEVNULL)
    while not (parts / "last.ckpt").exists():
        time.sleep(0.01)
    running.kill()
    running.wait()
    kept = torch.load(parts / "last.ckpt", weights_only=True)["global_step"]
    assert kept % 3 == 0
    assert kept < 40
    subprocess.run([*command, "--output", parts, "--resume"], check=True, capture_output=True)
    assert _log(parts) == _log(whole)
    _same(_state(whole), _state(parts), rtol=0, atol=0)


# ── Several processes ───────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_two_processes_give_what_one_gives_with_twice_the_batch(tmp_path: Path) -> None:
    """Plain gradient descent: Adam divides by gradients that may be all rounding."""
    words = [sys.executable, "-m", "tests.training.tiny", *RUN, "--set", "optimiser=sgd"]
    words += ["--set", "rate=0.5", "--set", "momentum=0.9", "--set", "clip=0.0"]
    two = [*words, "--batch", "2", "--devices", "2", "--output", str(tmp_path / "two")]
    one = [*words, "--batch", "4", "--output", str(tmp_path / "one")]
    for command in (two, one):
        environment = os.environ | {"TINY_DROPOUT": "0", "TINY_TRANSITION": "1"}
        subprocess.run(command, check=True, capture_output=True, timeout=300, env=environment)
    _same(_state(tmp_path / "one"), _state(tmp_path / "two"), rtol=1e-5, atol=1e-6)
    _same_curve(tmp_path / "one", tmp_path / "two")


def test_processes_share_what_one_would_see() -> None:
    sizes = ((32, 32), (32, 48))
    one = list(Batches(sizes, batch=6, accumulate=2, first=0, steps=5))
    three = [list(Batches(sizes, 2, 2, 0, 5, rank=rank, processes=3)) for rank in range(3)]
    for number, batch in enumerate(one):
        assert [key for share in three for key in share[number]] == batch
    assert len({key[0] for batch in one for key in batch}) == 60
    assert len({key[1:] for key in one[0] + one[1]}) == 1  # a step has one size
    assert len({key[1:] for batch in one for key in batch}) == 2
    assert list(Batches(sizes, 6, 2, first=3, steps=5)) == one[6:]


@pytest.mark.usefixtures("tiny_network")
def test_accumulated_batches_are_one_larger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without batch norm and dropout, which see each batch by itself."""

    def plain(*_: Any, **__: Any) -> torch.nn.Module:
        network = tiny.Tiny()
        network.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 3, padding=1))
        return network

    monkeypatch.setattr(networks, "create", plain)
    words = ["--set", "optimiser=sgd", "--set", "rate=0.1"]
    assert _run(tmp_path / "one", *words, "--batch", "4") == 0
    assert _run(tmp_path / "two", *words, "--batch", "2", "--accumulate", "2") == 0
    _same(_state(tmp_path / "one"), _state(tmp_path / "two"))
    _same_curve(tmp_path / "one", tmp_path / "two")


# ── What it learns and leaves ───────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("tiny_network")
def test_the_loss_falls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On pictures that are their own mattes, so that so small a network can learn them."""

    def draw(_: Procedural, index: int, size: tuple[int, int]) -> Layers:
        alpha = scene(index, size)[1]
        image = np.repeat(np.round(alpha * 255).astype(np.uint8)[..., None], 3, 2)
        return Layers(image, alpha, image, image)

    monkeypatch.setattr(Procedural, "draw", draw)
    assert _run(tmp_path, "--steps", "40", "--set", "rate=0.05", "--validate-every", "0") == 0
    losses = [line["l1"] for line in _log(tmp_path) if "l1" in line]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])
    first, last = losses[0], _log(tmp_path)[-1]["validation"]["mad"]
    assert last < 0.7 * first


def test_the_demo_s_network_loads_and_says_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real one, once: its file, the checkpoint, the pictures and TensorBoard's events."""
    monkeypatch.setattr(pictures, "SIZE", (64, 96))
    words = ["--set", "sizes=[[64, 64]]", "--set", "rosta=bt", "--steps", "2"]
    assert _run(tmp_path, *words) == 0
    path = tmp_path / "network.safetensors"
    assert capsys.readouterr().out.strip() == str(path)
    metadata = checkpoints.read_metadata(path)
    assert (metadata["recipe"], metadata["rosta"], metadata["steps"]) == ("demo", "bt", "2")
    assert metadata["batch"] == "2"
    network = networks.create("gfm", backbone="efficientnet-lite0", rosta="bt")
    checkpoints.load(network, path)
    assert path.stat().st_size < 2.2 * sum(p.numel() for p in network.parameters())
    assert any(file.name.startswith("events.out.tfevents") for file in tmp_path.iterdir())
    assert json.loads(metadata["validation"]) == _log(tmp_path)[-1]["validation"]

    # What was measured is what is stored.
    network.eval()
    spec = network.input_spec
    sads = []
    for index in range(2):
        image, alpha = scene(pictures.SEED + index, (64, 96))
        x = (torch.from_numpy(image).float() - torch.tensor(spec.mean)) / torch.tensor(spec.std)
        with torch.inference_mode():
            prediction = network(x.permute(2, 0, 1)[None])["alpha"][0, 0].numpy()
        sads.append(np.abs(prediction - alpha).sum() / 1000)
    assert json.loads(metadata["validation"])["sad"] == pytest.approx(np.mean(sads), rel=1e-3)


@pytest.mark.usefixtures("tiny_network")
def test_early_stop_keeps_the_best_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from matter_sdk.training.fit.callbacks import Validation

    sads = iter([3.0, 2.0, 2.5, 2.1, 1.0])
    rows = [{"image": np.zeros((8, 8, 3), np.uint8)}]
    rows[0] |= {name: np.zeros((8, 8), np.float32) for name in ("alpha", "prediction")}
    monkeypatch.setattr(Validation, "_metrics", lambda *_: ({"sad": next(sads)}, rows))
    assert _run(tmp_path, "--validate-every", "1", "--early-stop", "2") == 0
    assert checkpoints.read_metadata(tmp_path / "network.safetensors")["steps"] == "2"
    assert _log(tmp_path)[-1]["step"] == 4
    assert "sad 2" in capsys.readouterr().err
    assert _run(tmp_path, "--validate-every", "1", "--early-stop", "2", "--resume") == 0
    assert _log(tmp_path)[-1]["step"] == 4  # it stays stopped


def _folder(path: Path, first: int, count: int, size: tuple[int, int], mattes: bool) -> None:
    path.mkdir(parents=True)
    for index in range(count):
        image, alpha = scene(first + index, size)
        cv2.imwrite(f"{path / str(index)}.jpg", image[..., ::-1])
        if mattes:
            cv2.imwrite(f"{path / str(index)}.png", np.round(alpha * 255).astype(np.uint8))


@pytest.fixture
def photographs(tmp_path: Path) -> list[str]:
    """A dataset of three pictures with a test split, and five backgrounds."""
    _folder(tmp_path / "data/train", 0, 3, (64, 80), True)
    _folder(tmp_path / "data/test", 10, 2, (64, 80), True)
    _folder(tmp_path / "behind", 20, 5, (64, 64), False)
    data, behind = (str(tmp_path / name) for name in ("data", "behind"))
    return ["--data", data, "--background", behind]


@pytest.mark.usefixtures("tiny_network")
@pytest.mark.parametrize("composed", [False, True])
def test_training_on_pictures_of_a_folder(
    tmp_path: Path, photographs: list[str], composed: bool
) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('extends = "gfm-resnet34-tt"\ncrops = [32, 48]\n')
    words = ["--recipe", str(recipe), *SMALL, "--steps", "2", *photographs[: 4 if composed else 2]]
    assert _run(tmp_path / "run", arguments=words) == 0
    assert [line["step"] for line in _log(tmp_path / "run")] == [1, 2, 2]
    told = checkpoints.read_metadata(tmp_path / "run/network.safetensors")["data"]
    assert told == ("data, before behind" if composed else "data")


@pytest.mark.usefixtures("tiny_network")
@pytest.mark.parametrize(("composed", "steps"), [(False, 500 * 3 // 2), (True, 100 * 15 // 2)])
def test_epochs_are_counted_in_what_the_source_draws(
    tmp_path: Path,
    photographs: list[str],
    composed: bool,
    steps: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _die_in(monkeypatch, 1, lambda: os.kill(os.getpid(), signal.SIGINT))
    words = ["--recipe", "gfm-resnet34-tt", *SMALL, *photographs[: 4 if composed else 2]]
    assert _run(tmp_path / "run", arguments=words) == 130
    assert f"stopped at step 1 of {steps};" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "flags"),
    [
        ("demo", ["--set", "network=gfm-plate"]),
        ("gfm-resnet34-rim", []),
        ("gfm-densenet121-tt", ["--without", "bridge"]),
        ("aim-duts", []),
        ("aim", ["--weights", "none", "--precision", "bf16"]),
        ("msia", []),
        ("sim", []),
    ],
)
def test_every_network_trains(
    tmp_path: Path, photographs: list[str], recipe: str, flags: list[str]
) -> None:
    words = ["--recipe", recipe, *SMALL, "--set", "sizes=[[64, 64]]", "--steps", "2", *flags]
    words += ["--validation", "1"]
    source = recipes.load(recipe).source
    words += {"procedural": [], "natural": photographs[:2], "composed": photographs}[source]
    if recipe == "sim":
        classifier = tmp_path / "classifier.safetensors"
        checkpoints.save(networks.create("sim_classifier"), classifier)
        words += ["--classifier", str(classifier)]
    assert _run(tmp_path / "run", arguments=words) == 0
    *steps, validation = _log(tmp_path / "run")
    assert all(np.isfinite(list(line.values())).all() for line in steps)
    assert 0 <= validation["validation"]["mad"] <= 1


def test_a_plate_network_goes_on_from_one_without(tmp_path: Path) -> None:
    small = networks.create("gfm", backbone="efficientnet-lite0", rosta="tt")
    checkpoints.save(small, tmp_path / "small.safetensors")
    grown = networks.create("gfm-plate", rosta="tt")
    before = {key: tensor.clone() for key, tensor in grown.state_dict().items()}
    report = checkpoints.load_partial(grown, tmp_path / "small.safetensors")
    assert not report.kept
    for key, tensor in small.state_dict().items():
        own = grown.state_dict()[key]
        torch.testing.assert_close(own[tuple(map(slice, tensor.shape))], tensor)
        if own.shape != tensor.shape and own.ndim == 4:  # the plate's channels stay as drawn
            torch.testing.assert_close(own[:, tensor.shape[1] :], before[key][:, tensor.shape[1] :])
    resnet = networks.create("gfm", backbone="resnet34", rosta="tt")
    checkpoints.save(resnet, tmp_path / "other.safetensors")
    with pytest.raises(checkpoints.CheckpointError, match="none of its"):
        checkpoints.load_partial(grown, tmp_path / "other.safetensors")


# ── Parts ───────────────────────────────────────────────────────────────────────────────────────


def test_learning_rates_follow_their_formulas() -> None:
    poly = schedule(recipes.load("msia"), 1000)
    assert [poly(0), poly(500)] == pytest.approx([1, 0.5**0.9])
    cosine = schedule(recipes.load("demo", {"warm_up": 10}), 1000)
    assert [cosine(4), cosine(500)] == pytest.approx([0.5, 0.505], rel=1e-4)
    assert cosine(999) == pytest.approx(0.01, rel=1e-3)
    constant = schedule(recipes.load("aim"), 1000)
    assert {constant(step) for step in range(1000)} == {1.0}


def test_batch_norms_are_measured_over_all_batches() -> None:
    norm = torch.nn.BatchNorm2d(2)
    batches = [torch.randn(3, 2, 4, 4) + shift for shift in (0, 1, 5)]
    batch_norm.measure(norm, norm, batches)
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches])
    variances = torch.stack([batch.transpose(0, 1).flatten(1).var(1) for batch in batches])
    torch.testing.assert_close(norm.running_mean, means.mean(0))
    torch.testing.assert_close(norm.running_var, variances.mean(0))
    assert norm.momentum == 0.1


def test_depthwise_convolutions_stay_in_float32() -> None:
    depthwise, dense = torch.nn.Conv2d(8, 8, 3, groups=8), torch.nn.Conv2d(8, 8, 3)
    network = torch.nn.Sequential(depthwise, dense)
    x = torch.randn(1, 8, 9, 9)
    expected = depthwise(x)
    names = list(network.state_dict())
    precision.keep_depthwise_float32(network)
    assert list(network.state_dict()) == names
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(depthwise(x), expected, rtol=0, atol=0)
        assert dense(x).dtype == torch.bfloat16


def test_a_log_is_cut_where_the_run_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    lines = [{"step": 1}, {"step": 2}, {"step": 2, "validation": {}}, {"step": 3}]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4, "l')
    records.cut(log, 3)
    assert _log(tmp_path) == lines
    records.cut(log, 2)
    assert _log(tmp_path) == lines[:3]
    records.cut(log, 0)
    assert _log(tmp_path) == []


def test_the_picture_of_sample_mattes() -> None:
    image = np.full((20, 40, 3), 200, np.uint8)
    half = np.zeros((20, 40), np.float32)
    half[:, :20] = 1
    row = {"image": image, "alpha": half, "prediction": half}
    page = records.sheet(7, [row])
    column, (_, width) = sheets.BOX[1] + sheets.GAP, sheets.BOX
    middle = np.asarray(page)[-sheets.MARGIN - 90]  # a line through the tiles
    tiles = [middle[sheets.MARGIN + at * column :][:width] for at in range(4)]
    left, right = width // 4, 3 * width // 4
    assert (tiles[0][[left, right]] == 200).all()
    for tile in tiles[1:3]:
        assert (tile[left] == 255).all()
        assert (tile[right] == 0).all()
    assert (tiles[3][left] == 200).all()  # over a colour: the image where alpha is 1
    assert tiles[3][right, 1] > tiles[3][right, 0]  # and green where it is 0
    assert records.sheet(7, [row | {"plate": image}]).width == page.width + column


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "no --recipe"),
        (["--recipe", "dmo"], "did you mean 'demo'"),
        (["--recipe", "demo", "--steps", "none"], "'none' is not a whole number from 1 up"),
        (["--recipe", "demo", "--set", "rat=1"], "did you mean 'rate'"),
        (["--recipe", "demo", "--set", "rate"], "expected KEY=VALUE"),
        (["--recipe", "demo", "--without", "sed"], "'sed'"),
        (["--recipe", "demo", "--resume"], "leave out --resume"),
        (["--recipe", "demo", "--data", "x"], "leave out --data"),
        (["--recipe", "gfm-resnet34-tt"], "needs --data PATH: AM-2k"),
        (["--recipe", "gfm-resnet34-tt", "--data", "/nowhere"], "/nowhere is not a folder"),
        (["--recipe", "aim", "--data", "x"], "needs --background"),
        (["--recipe", "demo", "--set", "weights=no.pth"], "--weights none"),
        (["--recipe", "demo", "--backbone-weights", "no.pth"], "no.pth: No such file"),
        (["--recipe", "demo", "--set", "objective={kernl = 3}"], "did you mean 'kernel'?"),
        (["--recipe", "demo", "--classifier", "x"], "leave out --classifier"),
        (["--recipe", "demo", "--accelerator", "gpu"], "--accelerator gpu"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "gpu" in words and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert train.main([*words, "--output", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("training.train: error: ")
    assert told.count("\n") == 1
    assert expected in told
    assert not (tmp_path / "run").exists()


def test_the_list_shows_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(recipes.names())
