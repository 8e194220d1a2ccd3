"""EN-median: the median of three networks, and the three files that fill it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from matter_sdk.export import onnx_files
from matter_sdk.export.stages import graph, plans
from matter_sdk.export.stages.verify import session
from matter_sdk.training import checkpoints, networks
from matter_sdk.training.checkpoints import CheckpointError, load, load_ensemble, save
from matter_sdk.training.networks.gfm import GFM
from matter_sdk.training.networks.gfm_ensemble import GFMEnsemble, median
from tests.training import released

ROSTAS = ("tt", "ft", "bt")


def meta(backbone: str = "resnet34") -> GFMEnsemble:
    with torch.device("meta"):
        return GFMEnsemble(backbone)


def image(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def light() -> GFMEnsemble:
    """Three light GFM, whose mattes are spread so that each is the median somewhere."""
    torch.manual_seed(0)
    network = GFMEnsemble("efficientnet-lite0").eval()
    for rosta in ROSTAS:
        for decoder in network.get_submodule(rosta).decoders.values():
            for predict in (decoder.focus.predict, decoder.glance.predict):
                nn.init.normal_(predict.weight, std=0.5)
    return network


# ── The median ──────────────────────────────────────────────────────────────────────────────────


def test_median_is_exact() -> None:
    values = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    every = torch.cartesian_prod(values, values, values).T  # 3×125: every order and every tie
    assert torch.equal(median(*every), every.median(0).values)
    drawn = image(3, 1000)
    assert torch.equal(median(*drawn), drawn.median(0).values)


def test_alpha_is_the_median_of_what_each_network_gives(light: GFMEnsemble) -> None:
    x = image(2, 3, 64, 96)
    with torch.inference_mode():
        outputs = light(x)
        alone = []
        for rosta in ROSTAS:
            network = networks.create("gfm", backbone="efficientnet-lite0", rosta=rosta).eval()
            network.load_state_dict(light.get_submodule(rosta).state_dict())
            alone.append(network(x)["alpha"])
            assert torch.equal(outputs[f"alpha_{rosta}"], alone[-1])
    stacked = torch.stack(alone)
    assert torch.equal(outputs["alpha"], stacked.median(0).values)
    for alpha in alone:  # each has its say
        assert (outputs["alpha"] == alpha).float().mean() > 0.05


@pytest.mark.parametrize("backbone", networks.backbones("gfm"))
def test_contract(backbone: str) -> None:
    with torch.device("meta"):
        network = networks.create("gfm", backbone=backbone, rosta="en-median").eval()
        members = [networks.create("gfm", backbone=backbone, rosta=rosta) for rosta in ROSTAS]
    assert (network.name, network.backbone, network.rosta) == ("gfm", backbone, "en-median")
    assert (network.heads, network.fusion) == ({"alpha": 1}, "alpha")
    assert (network.input_spec, network.size_multiple) == (members[0].input_spec, 32)
    outputs = network(torch.empty(2, 3, 64, 32, device="meta"))
    assert list(outputs) == ["alpha", "alpha_tt", "alpha_ft", "alpha_bt"]
    assert {tuple(tensor.shape) for tensor in outputs.values()} == {(2, 1, 64, 32)}
    sizes = [sum(p.numel() for p in module.parameters()) for module in (network, *members)]
    assert sizes[0] == sum(sizes[1:])
    macs = [released.multiply_accumulates(module.eval(), 64, 64) for module in (network, *members)]
    assert macs[0] == sum(macs[1:])


@pytest.mark.parametrize("shape", [(1, 3, 64, 48), (1, 4, 64, 64), (3, 64, 64)])
def test_image_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="multiples of 32: resize or pad"):
        meta("efficientnet-lite0")(torch.empty(shape, device="meta"))


# ── Three files ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Released checkpoints of tt, ft and bt, each number its place in the list and its file."""
    folder = tmp_path_factory.mktemp("ensemble")
    paths = {}
    for i, rosta in enumerate(ROSTAS):
        state = released.hollow("resnet34", rosta)
        state["decoder0_f.6.bias"] = torch.full((1,), 1000.0 + i)
        paths[rosta] = folder / f"r34_{rosta}.pth"
        torch.save(state, paths[rosta])
    return paths


def refusal(network: nn.Module, paths: list[Path]) -> str:
    with pytest.raises(CheckpointError) as error:
        load_ensemble(network, paths)
    assert all(tensor.is_meta for tensor in network.state_dict().values())
    return str(error.value)


def test_released_files_load(files: dict[str, Path]) -> None:
    network = meta()
    reports = load_ensemble(network, [files[rosta] for rosta in ROSTAS])
    assert [report.path for report in reports] == [files[rosta] for rosta in ROSTAS]
    assert {(report.layout, report.loaded) for report in reports} == {("released", 470)}
    for i, rosta in enumerate(ROSTAS):
        assert network.get_submodule(rosta).focus_heads[rosta].predict.bias.item() == 1000 + i
    assert not any(tensor.is_meta for tensor in network.state_dict().values())


@pytest.mark.parametrize(
    ("order", "found", "place"),
    [(("ft", "tt", "bt"), "ft", "tt"), (("bt", "ft", "tt"), "bt", "tt")],
)
def test_wrong_order(
    order: tuple[str, ...], found: str, place: str, files: dict[str, Path]
) -> None:
    message = refusal(meta(), [files[rosta] for rosta in order])
    assert message.startswith(
        f"{files[found]}: looks like gfm resnet34 ft or gfm resnet34 bt where"
    )
    assert f"gfm resnet34 {place} belongs; expected the files of tt, ft and bt, in this" in message


def test_tt_in_the_place_of_another(files: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy.pth"
    copy.write_bytes(files["tt"].read_bytes())
    message = refusal(meta(), [files["tt"], files["ft"], copy])
    assert f"{copy}: looks like gfm resnet34 tt where gfm resnet34 bt belongs" in message


def test_wrong_number_of_files(files: dict[str, Path]) -> None:
    message = refusal(meta(), [files["tt"], files["ft"]])
    assert message.startswith("2 files (")
    assert message.endswith("expected the files of tt, ft and bt, in this order")
    assert refusal(meta(), []).startswith("0 files (none)")
    message = refusal(meta(), [files["tt"], files["ft"], files["ft"]])
    assert message.startswith("one file is given twice (")


def test_a_bad_last_file_changes_nothing(files: dict[str, Path], tmp_path: Path) -> None:
    state = released.hollow("resnet34", "bt")
    del state["psp2.1.bias"]
    torch.save(state, tmp_path / "bt.pth")
    message = refusal(meta(), [files["tt"], files["ft"], tmp_path / "bt.pth"])
    assert "1 missing (psp2.1.bias)" in message
    assert "a damaged or changed gfm resnet34 bt: fetch it again" in message


def test_one_file_alone_names_the_other_two(files: dict[str, Path]) -> None:
    with pytest.raises(CheckpointError, match="one network of the three; expected the files of tt"):
        load(meta(), files["tt"])


def test_a_network_that_is_no_ensemble(files: dict[str, Path]) -> None:
    with torch.device("meta"):
        network = GFM("resnet34", "tt")
    message = refusal(network, list(files.values()))
    assert message.startswith("gfm resnet34 tt is one network")
    with pytest.raises(CheckpointError, match="gfm resnet34 en-median has no encoder"):
        checkpoints.load_backbone(meta(), files["tt"])


def test_own_files(light: GFMEnsemble, tmp_path: Path) -> None:
    paths = {rosta: tmp_path / f"{rosta}.safetensors" for rosta in ROSTAS}
    for rosta, path in paths.items():
        save(light.get_submodule(rosta), path)
    network = GFMEnsemble("efficientnet-lite0")
    reports = load_ensemble(network, list(paths.values()))
    assert [report.metadata["rosta"] for report in reports] == list(ROSTAS)
    # Our own files tell ft from bt.
    message = refusal(meta("efficientnet-lite0"), [paths["tt"], paths["bt"], paths["ft"]])
    assert "looks like gfm efficientnet-lite0 bt where gfm efficientnet-lite0 ft belongs" in message

    whole = tmp_path / "ensemble.safetensors"
    save(network, whole)
    assert checkpoints.read_metadata(whole)["rosta"] == "en-median"
    other = GFMEnsemble("efficientnet-lite0")
    load(other, whole)
    for key, tensor in light.state_dict().items():
        assert torch.equal(other.state_dict()[key], tensor)
    with pytest.raises(
        CheckpointError, match="pass --backbone efficientnet-lite0 --rosta en-median"
    ):
        load(networks.create("gfm", backbone="efficientnet-lite0", rosta="tt"), whole)


# ── ONNX and TensorRT ───────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def model(light: GFMEnsemble) -> ir.Model:
    """About 10 s, once: the exporter takes them for three networks at any size."""
    return graph.export_onnx(light, light.heads, (64, 96))


def test_onnx_runtime_gives_the_same(model: ir.Model, light: GFMEnsemble, tmp_path: Path) -> None:
    # The last operators are plain minima and maxima.
    assert [node.op_type for node in model.graph][-4:] == ["Min", "Max", "Min", "Max"]
    onnx_files.save(model, tmp_path / "x.onnx")
    x = image(1, 3, 64, 96)
    with torch.inference_mode():
        expected = light(x)["alpha"].numpy()
    np.testing.assert_allclose(
        session(tmp_path / "x.onnx")(x.numpy())["alpha"], expected, rtol=0, atol=1e-5
    )


def test_tensorrt_rtx_builds_a_plan(model: ir.Model, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    onnx_files.save(model, tmp_path / "x.onnx")
    plan = plans.build("tensorrt-rtx", tmp_path / "x.onnx", tmp_path / "x.plan", warn=print)
    assert plan.path.stat().st_size > 1e7
