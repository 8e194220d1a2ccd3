"""The table of networks: what is counted and how a line reads. Builds are tested in export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import exports
from benchmarks.__main__ import main
from tests.training import released


def row(**changes: object) -> exports.Row:
    """A measured line, made up."""
    verification = {"sad": 0.0321, "mad": 2.2e-4, "bound": {"mad": 2e-3}}
    engine = {"nodes": 574, "plan_seconds": 1.84, "plan_bytes": 117_300_000, "float32": ["a", "b"]}
    values = {
        "network": "aim",
        "backbone": "resnet34",
        "rosta": "unified",
        "weights": "random",
        "parameters": [54_785_191],
        "macs": {"512x512": 78_066_000_000, "800x800": 190_577_000_000},
        "engines": {name: engine | {"verification": verification} for name in ("fp32", "fp16")},
    }
    return exports.Row(**(values | changes))  # type: ignore[arg-type]


def test_a_line_stands_beside_the_papers_figures() -> None:
    cells = dict(zip(exports.HEAD, exports.text(row()), strict=True))
    assert cells["network"] == "aim resnet34 unified"
    assert (cells["M parameters"], cells["GMac 800²"]) == ("54.79", "190.58")
    assert exports.text(row())[3] == "55.3"
    assert cells["paper"] == "191.52"  # the later of the two columns of that name
    assert cells["nodes"] == "574"
    assert cells["RTX plan fp16"] == "1.8 s, 117 MB"
    assert (cells["SAD fp16"], cells["MAD fp16"], cells["bound"]) == (
        "0.032",
        "2.2e-04",
        "mad 2e-03",
    )
    assert cells["kept in float32"] == "2"


def test_a_failed_build_is_told_under_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = row(failed="verification: past its bound", engines={})
    monkeypatch.setattr(exports, "measure", lambda *_: failed)
    case = exports.Case("aim", "resnet34", "unified")
    page, data = exports.report([case], (96, 160), tmp_path, ["exports"])
    for text in (capsys.readouterr().out, page.read_text(encoding="utf-8")):
        (line,) = (line for line in text.splitlines() if line.startswith("| aim"))
        assert "| failed" in line
        assert f"aim resnet34 unified failed: {failed.failed}" in text
    assert json.loads(data.read_text(encoding="utf-8"))["rows"][0]["failed"] == failed.failed


def test_the_classifier_is_counted_beside_sim() -> None:
    sim = next(case for case in exports.CASES if case.name == "sim")
    parameters, _ = exports.cost(sim)
    assert parameters == [
        released.listing(name)["parameters"] for name in ("sim", "sim_classifier")
    ]
    cells = exports.text(row(network="sim", rosta="none", parameters=parameters))
    assert cells[2] == "46.61 + 23.55 = 70.16"


def test_counts_are_those_of_the_hooks() -> None:
    """FlopCounterMode against forward hooks on every convolution and linear layer."""
    import torch

    from matter_sdk.training import networks

    case = exports.Case("gfm", "resnet34", "tt")
    _, macs = exports.cost(case)
    with torch.device("meta"):
        network = networks.create(case.name, backbone=case.backbone, rosta=case.rosta).eval()
    assert macs["512x512"] == released.multiply_accumulates(network, 512, 512)


def test_an_unknown_network_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exports", "--only", "gmf"]) == 2
    assert "'gmf'" in capsys.readouterr().err
