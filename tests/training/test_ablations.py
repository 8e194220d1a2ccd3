"""The ablation runner: what it trains, that it is deterministic, and that it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from matter_sdk.training import ablations, networks
from matter_sdk.training.ablations import VARIANTS, Settings
from matter_sdk.training.evaluation.pictures import SEED, EvaluationError, Scenes

FLAGS = (
    "--network gfm --backbone mobilenetv3 --steps 2 --batch 2 --size 64x64 --count 1 --workers 0"
)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two variants of one small network, measured on small scenes."""
    monkeypatch.setattr(ablations, "VARIANTS", {"gfm": ((), ("bridge",))})
    monkeypatch.setattr(ablations, "Scenes", lambda count: Scenes(count, (32, 64)))


def command(output: Path, extra: str = "") -> int:
    return ablations.main([*FLAGS.split(), "--output", str(output), *extra.split()])


def record(output: Path) -> dict[str, Any]:
    return json.loads((output / "results.json").read_text())


@pytest.mark.parametrize("name", VARIANTS)
def test_the_variants_are_all_that_a_network_can_leave_out(name: str) -> None:
    left_out = {part for variant in VARIANTS[name] for part in variant}
    assert left_out == set(networks.parts(name))
    assert VARIANTS[name][0] == ()
    counts = []
    for without in VARIANTS[name]:
        with torch.device("meta"):
            backbone = "mobilenetv3" if name == "gfm" else None
            network: Any = networks.create(name, backbone=backbone, without=without)
        assert set(network.without) == set(without)
        assert ablations.MULTIPLE % network.size_multiple == 0
        counts.append(sum(parameter.numel() for parameter in network.parameters()))
    assert max(counts) == counts[0]
    assert len(set(VARIANTS[name])) == len(VARIANTS[name])


def test_what_was_done_is_kept_and_the_rest_is_the_same(
    tmp_path: Path,
    two: None,
    one_thread: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(tmp_path / "whole") == 0
    printed = capsys.readouterr().out
    real = ablations.run_one

    def stop_at_the_second(variant: ablations.Variant, *arguments: Any) -> dict[str, Any]:
        if variant.without:
            raise KeyboardInterrupt
        return real(variant, *arguments)

    monkeypatch.setattr(ablations, "run_one", stop_at_the_second)
    assert command(tmp_path / "parts") == 130
    assert [entry["without"] for entry in record(tmp_path / "parts")["variants"]] == [[]]

    def only_the_second(variant: ablations.Variant, *arguments: Any) -> dict[str, Any]:
        assert variant.without == ("bridge",)
        return real(variant, *arguments)

    monkeypatch.setattr(ablations, "run_one", only_the_second)
    assert command(tmp_path / "parts") == 0
    assert "gfm, all: in " in capsys.readouterr().err
    whole, parts = (record(tmp_path / name)["variants"] for name in ("whole", "parts"))
    for entry in (*whole, *parts):
        assert entry.pop("seconds") > 0
    assert whole == parts  # every measure, to the last digit
    first, second = whole
    assert first["measures"] != second["measures"]
    assert first["parameters"] > second["parameters"]
    page = (tmp_path / "whole" / "results.md").read_text()
    for text in ("| without bridge ", ablations.HONEST, "2 steps of 2 procedural scenes at 64×64"):
        assert text in page
    assert f"{first['measures']['sad']:.2f}" in page
    assert f"{first['measures']['sad']:.2f}" in printed


def test_training_changes_the_network_and_sees_no_scene_of_the_set(two: None) -> None:
    settings = Settings(steps=3, batch=2, size=(64, 64), rate=1e-3)
    torch.manual_seed(0)
    network = networks.create("gfm", backbone="mobilenetv3")
    before = {name: value.clone() for name, value in network.named_parameters()}
    loss = ablations.train(network, settings, workers=0, device="cpu", title="")
    assert 0 < loss < 100
    changed = [name for name, value in network.named_parameters() if (value != before[name]).any()]
    assert len(changed) > 0.9 * len(before)
    _, batches = ablations.draws("gfm", "tt", settings)
    numbers = [index for keys in batches for index, *_ in keys]
    assert numbers == list(range(6))
    assert max(numbers) < SEED


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("--size 72x64", "--size 72x64 does not fit; expected multiples of 32 from 64 up"),
        ("--size 64x32", "--size 64x32 does not fit"),
        ("--batch 1", "--batch 1 is too small; expected 2 or more"),
        ("--backbone vgg", "--backbone vgg is not known; expected one of efficientnet-lite0, "),
        ("--network sim", "invalid choice: 'sim'"),
        ("--steps 3", "was made with steps 2, not 3"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: str, message: str
) -> None:
    settings = {"steps": 2, "batch": 2, "size": [64, 64], "count": 1, "backbone": "mobilenetv3"}
    (tmp_path / "results.json").write_text(json.dumps({"settings": settings, "variants": []}))
    assert command(tmp_path, extra) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("training.ablations: error: ")
    assert message in line


def test_another_file_is_no_results_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for text in ("[]", "{", '{"settings": {"size": [1, 2], "other": 1}}'):
        path.write_text(text)
        with pytest.raises(EvaluationError, match=r"results\.json"):
            ablations.read(path, Settings())
    assert ablations.read(tmp_path / "none.json", Settings()) == []
