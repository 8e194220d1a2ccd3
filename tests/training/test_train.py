"""The training command: it learns, it resumes as if nothing had happened, it leaves whole files."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training import checkpoints, networks, train


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "SIZES", ((64, 64), (64, 96)))
    monkeypatch.setattr(train, "VALIDATION_SIZE", (64, 96))


def _options(output: Path, **changes: object) -> train.Options:
    options = train.Options(
        output, steps=6, batch=2, workers=0, validation=1, calibration=2, save_every=3
    )
    return dataclasses.replace(options, **changes)


def _state(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "last.pt", weights_only=True)["network"]


def test_resuming_gives_what_an_uninterrupted_run_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train.train(_options(tmp_path / "whole"))

    real = train._replace

    def stop_after_saving(path: Path, state: object) -> None:
        real(path, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "_replace", stop_after_saving)
    with pytest.raises(KeyboardInterrupt):
        train.train(_options(tmp_path / "parts"))
    monkeypatch.setattr(train, "_replace", real)
    assert torch.load(tmp_path / "parts" / "last.pt", weights_only=True)["step"] == 3
    train.train(_options(tmp_path / "parts", resume=True))

    whole, parts = _state(tmp_path / "whole"), _state(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, msg=name)


def test_the_loss_falls(tmp_path: Path) -> None:
    """On one and the same batch, so that it must."""
    from torch.utils.data import default_collate

    from training.losses import gfm_loss
    from training.objectives import normalise

    torch.manual_seed(0)
    scenes = train.Scenes("tt", 11)
    batch = default_collate([scenes[(seed, 64, 64)] for seed in range(4)])
    network = networks.create("gfm", backbone="mobilenetv3", rosta="tt").train()
    x = normalise(batch.pop("image"), network)
    for key in ("composed", "foreground", "background"):
        batch[key] = batch[key].float() / 255
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    values = []
    for _ in range(12):
        loss = torch.stack(list(gfm_loss(network(x), batch).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    assert values[-1] < 0.7 * values[0]


def test_the_result_loads_and_says_what_it_is(tmp_path: Path) -> None:
    metrics = train.train(_options(tmp_path, steps=2, rosta="bt"))
    path = tmp_path / "network.safetensors"
    metadata = checkpoints.read_metadata(path)
    assert (metadata["rosta"], metadata["steps"], metadata["batch"]) == ("bt", "2", "2")
    assert json.loads(metadata["validation"]) == pytest.approx(metrics)
    network = networks.create("gfm", backbone="mobilenetv3", rosta="bt")
    checkpoints.load(network, path)
    assert path.stat().st_size < 2.2 * sum(p.numel() for p in network.parameters())
    assert train.validate(network, 1) == pytest.approx(metrics, rel=1e-3)


def test_steps_never_repeat_a_scene_nor_reach_the_validation() -> None:
    seeds = [key[0] for keys in train.batches(0, 50, 4) for key in keys]
    assert len(set(seeds)) == 200
    assert max(seeds) < train.VALIDATION_SEED
    resumed = [key for keys in train.batches(20, 50, 4) for key in keys]
    assert resumed == [key for keys in train.batches(0, 50, 4) for key in keys][80:]


def test_resume_without_a_run_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.train", "--output", str(tmp_path), "--resume"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "leave out --resume" in done.stderr
