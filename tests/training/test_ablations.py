"""The ablation runner: what it trains, that it is deterministic, and that it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from matter_sdk.training import ablations, evaluate, networks
from matter_sdk.training.ablations import VARIANTS
from matter_sdk.training.evaluation import pictures
from matter_sdk.training.evaluation.pictures import Scenes
from matter_sdk.training.fit.run import Options, Outcome

FLAGS = (
    "--network gfm --backbone efficientnet-lite0 --steps 2 --batch 2 --size 64x64 --count 1 "
    "--workers 0"
)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two variants of one small network, measured on small scenes."""
    monkeypatch.setattr(ablations, "VARIANTS", {"gfm": ((), ("pyramid",))})
    monkeypatch.setattr(evaluate, "Scenes", lambda count: Scenes(count, (32, 64)))
    monkeypatch.setattr(pictures, "SIZE", (32, 64))


def command(output: Path, extra: str = "") -> int:
    return ablations.main([*FLAGS.split(), "--output", str(output), *extra.split()])


def measures(output: Path) -> list[dict[str, float]]:
    record = json.loads((output / "gfm" / "results.json").read_text())
    return [system["all"] for system in record["systems"]]


@pytest.mark.parametrize("name", VARIANTS)
def test_the_variants_are_all_that_a_network_can_leave_out(name: str) -> None:
    left_out = {part for variant in VARIANTS[name] for part in variant}
    assert left_out == set(networks.parts(name))
    assert VARIANTS[name][0] == ()
    counts = []
    for without in VARIANTS[name]:
        with torch.device("meta"):
            backbone = ablations.Settings.backbone if name == "gfm" else None
            network: Any = networks.create(name, backbone=backbone, without=without)
        assert set(network.without) == set(without)
        assert ablations.MULTIPLE % network.size_multiple == 0
        counts.append(sum(parameter.numel() for parameter in network.parameters()))
    assert max(counts) == counts[0]
    assert len(set(VARIANTS[name])) == len(VARIANTS[name])


def test_what_was_done_is_kept_and_the_rest_is_the_same(
    tmp_path: Path,
    two: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(tmp_path / "whole") == 0
    printed = capsys.readouterr().out
    real = ablations.train

    def stop_at_the_second(options: Options) -> Outcome:
        if options.recipe.without:
            raise KeyboardInterrupt
        return real(options)

    monkeypatch.setattr(ablations, "train", stop_at_the_second)
    assert command(tmp_path / "parts") == 130
    first = tmp_path / "parts" / "gfm" / "whole" / "network.safetensors"
    written = first.stat().st_mtime_ns
    monkeypatch.setattr(ablations, "train", real)
    assert command(tmp_path / "parts") == 0
    assert first.stat().st_mtime_ns == written  # not trained again
    whole, without = measures(tmp_path / "whole")
    assert [whole, without] == measures(tmp_path / "parts")  # every measure, to the last digit
    assert whole != without
    page = (tmp_path / "whole" / "gfm" / "results.md").read_text()
    for text in ("gfm/whole/network.safetensors", "gfm/without-pyramid/network.safetensors"):
        assert text in page
    assert f"{whole['sad']:.2f}" in printed


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("--size 72x64", "--size 72x64 does not fit; expected multiples of 32 from 64 up"),
        ("--size 64x32", "--size 64x32 does not fit"),
        ("--batch 1", "--batch 1 is too small; expected 2 or more"),
        ("--backbone vgg", "--backbone vgg is not known; expected one of efficientnet-lite0, "),
        ("--network sim", "invalid choice: 'sim'"),
        ("--device tpu", "invalid choice: 'tpu'"),
        ("--seed 1", "seed 0, not 1"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: str, message: str
) -> None:
    settings = ablations.Settings(2, 2, (64, 64), count=1, backbone="efficientnet-lite0", workers=0)
    begun = ablations.options("gfm", (), settings, tmp_path)
    begun.output.mkdir(parents=True)
    torch.save({"run": {"settings": begun.settings()}}, begun.output / "last.ckpt")
    assert command(tmp_path, extra) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("training.ablations: error: ")
    assert message in line
