"""Released layouts load, strictly; our own files round-trip; bad files get one clear error each."""

from __future__ import annotations

import argparse
import datetime
import os
import pickle
import re
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from matter_sdk.training import checkpoints, networks
from matter_sdk.training.checkpoints import (
    CheckpointError,
    load,
    load_backbone,
    read_metadata,
    save,
)
from matter_sdk.training.networks.gfm import GFM
from tests.training import released

State = dict[str, Tensor]


class Tiny(nn.Module):
    """A network that was never released, small enough to write many times."""

    name, backbone, rosta = "gfm", "tiny", "tt"

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)
        self.bn = nn.BatchNorm2d(2)


def meta(backbone: str, rosta: str) -> GFM:
    with torch.device("meta"):
        return GFM(backbone, rosta)


def refusal(network: nn.Module, path: Path) -> str:
    """The message with which `path` is refused, `network` being left as it was."""
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        load(network, path)
    for key, tensor in network.state_dict().items():
        assert tensor.is_meta or torch.equal(tensor, before[key])
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


# ── Released layouts ────────────────────────────────────────────────────────────────────────────

# From the README that came with the lists: what the forward pass never reads.
UNUSED = {
    "resnet34": r"resnet\.fc\..*",
    "resnet34_2b": r"resnet\.(conv1|bn1|fc)\..*|psp1\..*",
    "resnet101": r"resnet\.fc\..*",
    "densenet121": r"densenet\.(features\.norm5|classifier)\..*",
}


@pytest.mark.parametrize(("backbone", "rosta"), released.NETWORKS)
def test_released_checkpoint_loads(backbone: str, rosta: str, tmp_path: Path) -> None:
    torch.save(released.hollow(backbone, rosta), tmp_path / "gfm.pth")
    network = meta(backbone, rosta)
    report = load(network, tmp_path / "gfm.pth")

    keys = released.key_list(backbone, rosta)["keys"]
    unused = [name for name, *_ in keys if re.fullmatch(UNUSED[backbone], name)]
    assert (report.layout, report.ignored) == ("released", tuple(unused))
    # Each tensor holds its place in the list: all were taken, each once, in its own shape.
    wanted = {
        i: tuple(shape)
        for i, (name, shape, _, alias) in enumerate(keys)
        if alias is None and name not in unused
    }
    state = network.state_dict()
    assert not any(tensor.is_meta for tensor in state.values())
    found = {int(tensor.flatten()[0]): tuple(tensor.shape) for tensor in state.values()}
    assert found == wanted
    assert len(state) == report.loaded == len(wanted)


@pytest.fixture(scope="module")
def network() -> GFM:
    return meta("resnet34", "tt")


@pytest.fixture
def state() -> State:
    return released.hollow("resnet34", "tt")


def written(state: object, folder: Path) -> Path:
    path = folder / "weights.pth"
    torch.save(state, path)
    return path


@pytest.mark.parametrize(
    "key",
    [
        "resnet.layer3.2.bn1.weight",
        "encoder3.2.bn1.weight",  # the alias of the same tensor
        "decoder0_f.6.bias",
        "psp_module.stages.1.1.weight",
        "bridge_block.4.running_mean",
    ],
)
def test_missing_key(key: str, network: GFM, state: State, tmp_path: Path) -> None:
    del state[key]
    message = refusal(network, written(state, tmp_path))
    assert f"1 missing ({key})" in message
    assert "a damaged or changed gfm resnet34 tt: fetch it again" in message


def test_unexpected_key(network: GFM, state: State, tmp_path: Path) -> None:
    state["decoder5_g.0.weight"] = torch.zeros(1)
    message = refusal(network, written(state, tmp_path))
    assert "689 entries, of which 1 unexpected (decoder5_g.0.weight)" in message


def test_misshapen_key(network: GFM, state: State, tmp_path: Path) -> None:
    state["psp3.0.weight"] = torch.zeros(128, 512, 1, 1)
    message = refusal(network, written(state, tmp_path))
    assert "1 misshapen (psp3.0.weight 128×512×1×1, expected 128×512×3×3)" in message


def test_integers_where_weights_belong(network: GFM, state: State, tmp_path: Path) -> None:
    state["psp3.0.bias"] = torch.zeros(128, dtype=torch.int32)
    message = refusal(network, written(state, tmp_path))
    assert "psp3.0.bias torch.int32, expected torch.float32" in message


def test_aliases_that_differ(network: GFM, state: State, tmp_path: Path) -> None:
    changed = state["encoder2.0.bn1.bias"].clone()
    changed[5] += 1
    state["encoder2.0.bn1.bias"] = changed
    message = refusal(network, written(state, tmp_path))
    assert "(resnet.layer2.0.bn1.bias and encoder2.0.bn1.bias)" in message
    state["encoder2.0.bn1.bias"] = torch.zeros(64)
    message = refusal(network, written(state, tmp_path))
    assert "encoder2.0.bn1.bias 64, expected 128" in message


def test_aliases_in_two_copies_that_agree(state: State, tmp_path: Path) -> None:
    state["encoder2.0.bn1.bias"] = state["encoder2.0.bn1.bias"].clone()
    load(meta("resnet34", "tt"), written(state, tmp_path))


def test_many_wrong_keys_are_counted_and_some_named(
    network: GFM, state: State, tmp_path: Path
) -> None:
    kept = {key: tensor for key, tensor in state.items() if not key.startswith("decoder")}
    message = refusal(network, written(kept, tmp_path))
    assert re.search(r"172 missing \((decoder4_g\S+ ?){4}and 168 more\)", message)
    assert "a damaged or changed gfm resnet34 tt" in message


@pytest.mark.parametrize(
    ("found", "wanted", "hint"),
    [
        (
            ("resnet34", "rim"),
            ("resnet34", "tt"),
            "looks like gfm resnet34 rim; pass --backbone resnet34 --rosta rim",
        ),
        (
            ("densenet121", "tt"),
            ("resnet34", "tt"),
            "looks like gfm densenet121 tt; pass --backbone densenet121 --rosta tt",
        ),
        (
            ("resnet34_2b", "tt"),
            ("resnet34", "tt"),
            "looks like gfm resnet34_2b tt; pass --backbone resnet34_2b --rosta tt",
        ),
        (
            ("resnet101", "rim"),
            ("resnet34_2b", "rim"),
            "looks like gfm resnet101 rim; pass --backbone resnet101 --rosta rim",
        ),
        (
            ("resnet34", "ft"),
            ("resnet34", "tt"),
            "looks like gfm resnet34 ft or gfm resnet34 bt; "
            "pass --backbone resnet34 --rosta ft or --backbone resnet34 --rosta bt",
        ),
    ],
)
def test_checkpoint_of_another_gfm(
    found: tuple[str, str], wanted: tuple[str, str], hint: str, tmp_path: Path
) -> None:
    message = refusal(meta(*wanted), written(released.hollow(*found), tmp_path))
    assert hint in message
    assert f"of gfm {' '.join(wanted)}" in message


@pytest.mark.parametrize(
    ("keys", "hint"),
    [
        (
            ["decoder_final_g.weight", "psp_module.bottleneck.weight"],
            "looks like aim resnet34 unified; pass --model aim --backbone resnet34 --rosta unified",
        ),
        (
            ["decoder.conv_up4_alpha.0.weight"],
            "looks like sim resnet50; pass --model sim --backbone resnet50",
        ),
        (["conv1.weight", "fc.weight"], "image classifier"),
        (["unet.down.0"], "not look like any network that is known here"),
    ],
)
def test_checkpoint_of_another_network(
    keys: list[str], hint: str, network: GFM, tmp_path: Path
) -> None:
    message = refusal(network, written({key: torch.zeros(1) for key in keys}, tmp_path))
    assert hint in message


@pytest.mark.parametrize("wrap", ["state_dict", "module", "both", "legacy"])
def test_containers(wrap: str, state: State, tmp_path: Path) -> None:
    content: object = state
    if wrap in ("module", "both"):
        content = state = {f"module.{key}": tensor for key, tensor in state.items()}
    if wrap in ("state_dict", "both"):
        content = {"state_dict": state, "epoch": 7}
    path = tmp_path / "weights.pth"
    if wrap == "legacy":  # the file format of before PyTorch 1.6, which cannot be mapped
        content = {"state_dict": {"conv.weight": torch.ones(2, 3, 3, 3), **rest_of_tiny()}}
        torch.save(content, path, _use_new_zipfile_serialization=False)
        tiny = Tiny()
        load(tiny, path)
        assert tiny.conv.weight.unique().tolist() == [1]
        return
    torch.save(content, path)
    assert load(meta("resnet34", "tt"), path).loaded == 470


def rest_of_tiny() -> State:
    return {key: tensor for key, tensor in Tiny().state_dict().items() if key != "conv.weight"}


def test_counters_may_be_absent(state: State, tmp_path: Path) -> None:
    state = {key: tensor for key, tensor in state.items() if "num_batches" not in key}
    network = meta("resnet34", "tt")
    load(network, written(state, tmp_path))
    assert int(network.encoder.bn1.num_batches_tracked) == 0


def test_report_reads_well(state: State, tmp_path: Path) -> None:
    report = load(meta("resnet34", "tt"), written(state, tmp_path))
    assert str(report) == (
        "weights.pth: 470 tensors loaded (released layout), 2 unused entries ignored "
        "(resnet.fc.weight, resnet.fc.bias)"
    )


# ── As training scripts leave them ──────────────────────────────────────────────────────────────


def under(prefix: str, state: State) -> State:
    return {prefix + key: tensor for key, tensor in state.items()}


TINY = {key: tensor + 1 for key, tensor in Tiny().state_dict().items()}
RAW = {key: tensor + 1 for key, tensor in TINY.items()}
SINGLE: dict[str, Any] = {
    "half of everything": {key: tensor.half() for key, tensor in TINY.items()},
    "counters as floats": {key: tensor.float() for key, tensor in TINY.items()},
    "compiled and parallel": under("_orig_mod.module.", TINY),
    "parallel and compiled": under("module._orig_mod.", TINY),
    "a compiled part": {
        key.replace("conv.", "conv._orig_mod."): tensor for key, tensor in TINY.items()
    },
    "Lightning": {"state_dict": under("model.", TINY), "epoch": 3, "loops": {"a": [1]}},
    "Lightning beside a loss": {
        "state_dict": {**under("model._orig_mod.", TINY), "loss.weight": torch.ones(3)}
    },
    "AveragedModel": {"n_averaged": torch.tensor(5), **under("module.", TINY)},
    "model": {"model": TINY, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}},
    "model_state_dict": {"model_state_dict": TINY},
    "only the average": {"params_ema": TINY, "decay": 0.999},
    "deep": {"checkpoint": {"ema": {"module": TINY, "updates": torch.tensor(3)}}},
    "an average that is the same": {"model": TINY, "ema": {k: v.clone() for k, v in TINY.items()}},
    "safetensors": under("model.", TINY),
}


@pytest.mark.parametrize("name", SINGLE)
def test_one_set_however_it_is_wrapped(name: str, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    (save_file if name == "safetensors" else torch.save)(SINGLE[name], path)
    network = Tiny()
    report = load(network, path)
    assert report.loaded == len(TINY)
    for key, tensor in network.state_dict().items():
        assert tensor.dtype == TINY[key].dtype
        torch.testing.assert_close(tensor, TINY[key], rtol=1e-3, atol=1e-3)
    assert ("loss.weight" in report.ignored) == (name == "Lightning beside a loss")


SEVERAL: dict[str, tuple[Any, str, str]] = {
    "BasicSR": ({"params": RAW, "params_ema": TINY}, "params_ema", "params"),
    "timm": (
        {"state_dict": RAW, "state_dict_ema": under("module.", TINY)},
        "state_dict_ema",
        "state_dict",
    ),
    "Lightning's averaging": (
        {"state_dict": under("net.", TINY), "current_model_state": under("net.", RAW)},
        "state_dict.net",
        "current_model_state.net",
    ),
    "two in one": (
        {"state_dict": {**under("model.", RAW), **under("model_ema.module.", TINY)}},
        "state_dict.model_ema",
        "state_dict.model",
    ),
    "beside itself": ({**RAW, **under("ema.", TINY)}, "ema", "."),
    "half and whole": (
        {"model": RAW, "ema": {key: tensor.half() for key, tensor in TINY.items()}},
        "ema",
        "model",
    ),
}


def test_what_training_scripts_keep_beside_the_weights(tmp_path: Path) -> None:
    """Options, paths, times and NumPy's numbers are read as nothing at all."""
    lightning = pytest.importorskip("lightning.fabric.utilities.data")
    beside = {
        "args": argparse.Namespace(lr=1e-3, out=Path("runs"), more=argparse.Namespace(a=[1])),
        "hyper_parameters": lightning.AttributeDict(lr=1e-3, data=Path("data")),
        "best": np.float64(0.5),
        "losses": np.arange(3.0),
        "when": datetime.datetime(2024, 1, 1),
        "config": types.SimpleNamespace(a=1),
    }
    for form in (True, False):
        path = tmp_path / f"{form}.pth"
        torch.save({"model": TINY, **beside}, path, _use_new_zipfile_serialization=form)
        network = Tiny()
        load(network, path)
        assert torch.equal(network.conv.weight, TINY["conv.weight"])


@pytest.mark.parametrize("name", SEVERAL)
def test_several_sets_are_asked_for(name: str, tmp_path: Path) -> None:
    content, averaged, raw = SEVERAL[name]
    path = written(content, tmp_path)
    message = refusal(Tiny(), path)
    assert "several sets of weights" in message
    for entry, values in ((averaged, TINY), (raw, RAW)):
        assert entry in message
        chosen = tmp_path / "chosen.safetensors"
        arguments = [str(path), "--entry", entry, "--output", str(chosen)]
        assert checkpoints.main(arguments) == 0
        for network, read in ((Tiny(), (path, entry)), (Tiny(), (chosen,))):
            if entry == "." and len(read) == 1:
                continue  # the whole file again
            load(network, *read)
            torch.testing.assert_close(
                network.conv.weight, values["conv.weight"], rtol=1e-3, atol=1e-3
            )
    with pytest.raises(CheckpointError, match="'nowhere'"):
        load(Tiny(), path, "nowhere")
    assert checkpoints.main([str(path), "--entry", "nowhere", "--output", str(tmp_path / "x")]) == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "content",
    [
        {"model": RAW, "ema": {"decay": 0.99, "shadow_params": [*TINY.values()]}},
        {"model": {**under("net.", RAW), "net_ema.convweight": TINY["conv.weight"]}},
        {"state_dict": RAW, "optimizer_states": [{"ema": tuple(TINY.values())}]},
    ],
)
def test_raw_weights_beside_nameless_averages_are_not_taken_unsaid(
    content: Any, tmp_path: Path
) -> None:
    path = written(content, tmp_path)
    message = refusal(Tiny(), path)
    assert "averaged weights" in message
    (entry,) = re.findall(r"--entry (\S+)", message)
    load(Tiny(), path, entry)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("key", ["conv.weight", "bn.running_var"])
def test_weights_that_are_not_finite(key: str, value: float, tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in TINY.items()}
    state[key].view(-1)[0] = value
    message = refusal(Tiny(), written(state, tmp_path))
    assert f"1 of {len(TINY)} tensors hold NaN or infinity ({key})" in message
    with pytest.raises(CheckpointError, match="NaN"):
        checkpoints.load_partial(Tiny(), written(state, tmp_path))


def test_large_half_weights_are_finite(tmp_path: Path) -> None:
    """Their sum is beyond float16, none of them is."""
    state = {**TINY, "conv.weight": torch.full((2, 3, 3, 3), 6e4, dtype=torch.float16)}
    network = Tiny()
    load(network, written(state, tmp_path))
    assert (network.conv.weight > 59_000).all()


# ── Files that are no checkpoint ────────────────────────────────────────────────────────────────


class Malicious:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_pickle_that_would_run_code(form: str, tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "weights.pth"
    content = {"conv.weight": Malicious(trace)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    message = refusal(Tiny(), path)
    assert "expected tensors only. Nothing of it was run" in message
    assert "weights_only" not in message  # PyTorch's own text tells how to run it
    if form != "pickle":
        assert "mkdir" in message
    assert not trace.exists()


def test_whole_module(tmp_path: Path) -> None:
    message = refusal(Tiny(), written(nn.Conv2d(1, 1, 1), tmp_path))
    assert "holds the Python object torch.nn.modules.conv.Conv2d" in message


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("kept", [0.5, 0.98])
def test_truncated_file(form: str, kept: float, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    if form == "safetensors":
        save(Tiny(), path)
    else:
        torch.save(Tiny().state_dict(), path, _use_new_zipfile_serialization=form == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    message = refusal(Tiny(), path)
    assert "damaged" in message
    if form == "safetensors":
        with pytest.raises(CheckpointError, match="damaged or incomplete"):
            read_metadata(path)


def test_safetensors_of_any_header_length_are_known(tmp_path: Path) -> None:
    """A file begins with the header's length, whose low byte is a pickle's first at times."""
    first = set()
    for extra in range(0, 256, 8):
        path = tmp_path / f"{extra}.safetensors"
        save(Tiny(), path, metadata={"notes": "n" * extra})
        first.add(path.read_bytes()[:1])
        assert read_metadata(path)["notes"] == "n" * extra
        load(Tiny(), path)
    assert b"\x80" in first


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"", "the file is empty"),
        (b"<!doctype html><html>404</html>", "begins with b'<!doctyp'; expected a PyTorch file"),
        (b"\x80\x02}q\x00.", "damaged"),  # a pickle of {}, not as torch.save writes it
    ],
)
def test_foreign_file(content: bytes, hint: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert hint in refusal(Tiny(), path)


def test_no_file(tmp_path: Path) -> None:
    assert "No such file" in refusal(Tiny(), tmp_path / "absent.pth")
    assert "Is a directory" in refusal(Tiny(), tmp_path)


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ([torch.zeros(1)], "holds a list; expected a state dict"),
        ({"conv.weight": 3}, "entry 'conv.weight' is a int; expected tensors only"),
        ({5: torch.zeros(1)}, "entry 5 is a Tensor; expected tensors only"),
        ({}, "0 entries, of which 6 missing"),
    ],
)
def test_contents_that_are_no_state_dict(content: object, hint: str, tmp_path: Path) -> None:
    assert hint in refusal(Tiny(), written(content, tmp_path))


# ── Our own files ───────────────────────────────────────────────────────────────────────────────


def listing(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_round_trip_with_metadata(tmp_path: Path) -> None:
    path, network, other = tmp_path / "tiny.safetensors", Tiny(), Tiny()
    network.bn.running_mean += 3
    save(network, path, {"licence": "MIT", "trained": "für 2 h"})
    report = load(other, path)
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[key])
    expected = {"licence": "MIT", "trained": "für 2 h"}
    expected |= {"network": "gfm", "backbone": "tiny", "rosta": "tt"}
    assert read_metadata(path) == report.metadata == expected
    assert (report.layout, report.loaded, report.ignored) == ("matter", 7, ())
    assert listing(tmp_path) == ["tiny.safetensors"]


def test_own_names_of_a_released_network(tmp_path: Path) -> None:
    network = meta("resnet34", "ft")
    zeros = {
        key: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
        for key, tensor in network.state_dict().items()
    }
    assert load(network, written(zeros, tmp_path)).layout == "matter"
    message = refusal(meta("resnet34", "bt"), tmp_path / "weights.pth")
    assert "looks like gfm resnet34 ft; pass --backbone resnet34 --rosta ft" in message


def test_own_names_of_a_network_with_a_plate(tmp_path: Path) -> None:
    """All names are the light GFM's; without metadata the stem's channels tell."""
    with torch.device("meta"):
        plate, plain = (
            networks.create(name, backbone="efficientnet-lite0") for name in ("gfm-plate", "gfm")
        )
    for mine, other, flag in ((plain, plate, "gfm-plate"), (plate, plain, "gfm")):
        zeros = {
            key: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
            for key, tensor in other.state_dict().items()
        }
        message = refusal(mine, written(zeros, tmp_path))
        assert f"pass --model {flag} --backbone efficientnet-lite0 --rosta tt" in message


def test_metadata_of_another_network(tmp_path: Path) -> None:
    other = Tiny()
    other.rosta = "bt"  # the same shapes, another meaning
    save(other, tmp_path / "tiny.safetensors")
    message = refusal(Tiny(), tmp_path / "tiny.safetensors")
    assert "metadata names another network" in message
    assert "pass --backbone tiny --rosta bt" in message


class Reduced(Tiny):
    """Without parts whose absence changes no name and no shape."""

    def __init__(self, *without: str) -> None:
        super().__init__()
        self.without = without


def test_metadata_tell_the_parts_left_out(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    save(Reduced("se", "attention"), path)
    assert read_metadata(path)["without"] == "se,attention"
    load(Reduced("se", "attention"), path)
    message = refusal(Reduced(), path)
    assert "metadata names another network" in message
    assert "looks like gfm tiny tt without se,attention; pass --backbone tiny --rosta tt" in message
    assert message.endswith("--without se --without attention")
    assert "of gfm tiny tt without se. This looks like" in refusal(Reduced("se"), path)

    save(Reduced(), path)
    assert "without" not in read_metadata(path)
    load(Tiny(), path)
    assert refusal(Reduced("se"), path).endswith("with no --without")


def test_half_precision_is_cast(tmp_path: Path) -> None:
    state = {k: t.half() if t.is_floating_point() else t for k, t in Tiny().state_dict().items()}
    save_file(state, tmp_path / "half.safetensors")
    for network in (Tiny(), Tiny().to("meta")):
        load(network, tmp_path / "half.safetensors")
        assert network.conv.weight.dtype == torch.float32
        assert torch.equal(network.conv.weight, state["conv.weight"].float())


def test_save_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiny.safetensors"
    save(Tiny(), path)
    before = path.read_bytes()

    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()  # an ordinary file

    def full_disk(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(CheckpointError, match=r"cannot be written: .*No space left"):
        save(Tiny(), path)
    assert path.read_bytes() == before
    assert listing(tmp_path) == [path.name]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_save_refuses(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent.*cannot be written"):
        save(Tiny(), tmp_path / "absent" / "tiny.safetensors")
    with pytest.raises(CheckpointError, match="metadata 'steps': 5"):
        save(Tiny(), tmp_path / "tiny.safetensors", {"steps": 5})  # type: ignore[dict-item]
    with pytest.raises(CheckpointError, match="cannot be written"):
        save(Tiny().to("meta"), tmp_path / "tiny.safetensors")
    assert listing(tmp_path) == []


def test_metadata_of_a_pth(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no metadata"):
        read_metadata(written({}, tmp_path))


# ── Backbones ───────────────────────────────────────────────────────────────────────────────────


def classifier(backbone: str) -> State:
    """torchvision's state dict: what a released GFM keeps under ``resnet.`` or ``densenet.``."""
    state = released.hollow(backbone, "tt")
    prefix = "densenet." if backbone == "densenet121" else "resnet."
    return {k.removeprefix(prefix): t for k, t in state.items() if k.startswith(prefix)}


@pytest.mark.parametrize(
    ("backbone", "ignored", "kept"),
    [
        ("resnet34", {"fc"}, set()),
        ("resnet34_2b", {"conv1", "bn1", "fc"}, {"stem", "layer5", "layer6"}),
        ("resnet101", {"fc"}, set()),
        ("densenet121", {"features", "classifier"}, {"reduce"}),
    ],
)
def test_imagenet_classifier_fills_the_encoder(
    backbone: str, ignored: set[str], kept: set[str], tmp_path: Path
) -> None:
    network, state = meta(backbone, "tt"), classifier(backbone)
    if backbone == "densenet121":  # as the file of 2017 writes the names
        state = {re.sub(r"(denselayer\d+\.[a-z]+)(\d)", r"\1.\2", k): t for k, t in state.items()}
        assert "features.denseblock1.denselayer1.norm.1.weight" in state
    report = load_backbone(network, written(state, tmp_path))
    assert {key.split(".")[0] for key in report.ignored} == ignored
    assert {key.split(".")[0] for key in report.kept} == kept
    for key, tensor in network.state_dict().items():
        part = key.split(".")[1]
        if key.endswith("num_batches_tracked"):
            continue  # PyTorch makes a counter of zero where a file has none
        assert tensor.is_meta == (not key.startswith("encoder.") or part in kept)


def test_backbone_of_another_depth(tmp_path: Path) -> None:
    path = written(classifier("resnet101"), tmp_path)
    with pytest.raises(CheckpointError, match=r"layer1\.0\.conv3\.weight"):
        load_backbone(meta("resnet34", "tt"), path)


# --- The mean of several files ---


def test_the_mean_of_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    nets = [networks.create("gfm") for _ in range(2)]
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for net, file in zip(nets, files, strict=True):
        checkpoints.save(net, file, half=True)
    words = [str(files[0]), str(files[1]), "--mean", "--output", str(tmp_path / "mean.safetensors")]
    assert checkpoints.main(words) == 0
    mean = networks.create("gfm")
    load(mean, tmp_path / "mean.safetensors")
    for key, tensor in mean.state_dict().items():
        one, other = (net.state_dict()[key] for net in nets)
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, (one + other) / 2, atol=2e-3, rtol=2e-3)
    with torch.device("meta"):
        another = networks.create("gfm-plate")
    checkpoints.save(another.to_empty(device="cpu"), tmp_path / "plate.safetensors")
    assert checkpoints.main([words[0], str(tmp_path / "plate.safetensors"), *words[2:]]) == 1
    assert "gfm-plate" in capsys.readouterr().err
    assert checkpoints.main([words[0], *words[2:]]) == 2
    assert "1 checkpoints" in capsys.readouterr().err
