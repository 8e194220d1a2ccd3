"""Weights on disk: our own safetensors, and the layouts of the released ``.pth`` files.

Loading is strict. Nothing is unpickled but tensors, nothing of the network changes unless every key
fits, and whatever does not fit is named.

A released GFM or AIM checkpoint holds each tensor of the encoder twice, under the torchvision
network (``resnet.layer2.0.conv1.weight``) and under the stage (``encoder2.0.conv1.weight``). Both
must be there and agree. In that of SIM's classifier one more component stands before every name.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from matter_sdk.sdk.command_line import Parser, UsageError, run
from matter_sdk.sdk.files import replace
from matter_sdk.training.networks import JOINED
from matter_sdk.training.networks.gfm_ensemble import GFMEnsemble
from matter_sdk.training.weights import containers, identity, reading, released
from matter_sdk.training.weights.reading import CheckpointError

# Names that one message lists before it says "and N more".
_LISTED = 4

# The remedy for wrong files of an ensemble.
_IN_ORDER = "expected the files of tt, ft and bt, in this order"


@dataclass(frozen=True)
class LoadReport:
    """What :func:`load` did.

    Attributes:
        path: the file.
        layout: ``"matter"`` (our names), ``"released"`` or ``"backbone"``.
        loaded: number of tensors that the network took.
        ignored: entries of the file that the network never reads (a classifier, say).
        kept: entries of the network that the file has no say in, and that stayed as they were
            (:func:`load_backbone` and :func:`load_partial` only).
        metadata: of a safetensors file.
    """

    path: Path
    layout: str
    loaded: int
    ignored: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        text = f"{self.path.name}: {self.loaded} tensors loaded ({self.layout} layout)"
        if self.ignored:
            text += f", {len(self.ignored)} unused entries ignored ({_listed(self.ignored)})"
        if self.kept:
            text += f", {len(self.kept)} kept as they were ({_listed(self.kept)})"
        return text


# ── Public ──────────────────────────────────────────────────────────────────────────────────────


def load(network: nn.Module, path: str | Path, entry: str | None = None) -> LoadReport:
    """Load a checkpoint into a network: our safetensors, or a released ``.pth``.

    The weights may be as training scripts leave them: under any key, as a Lightning checkpoint, in
    half precision, with the prefixes of DataParallel, ``torch.compile`` or ``AveragedModel``.
    ``entry`` names the set to take where a file holds several, such as averaged weights beside the
    raw ones.

    Floating-point tensors are cast to the network's own type. A network on the meta device takes
    the file's tensors themselves, memory-mapped: no second copy of the largest one's 2 GB.

    Released FT and BT checkpoints hold the same names and shapes: which of the two a file is cannot
    be told from it.

    Raises:
        CheckpointError: the file is missing, damaged, holds anything but tensors, several sets of
            weights, NaN or infinity, or is another network's; keys missing, unexpected, misshapen,
            or twice with different values. The network is then unchanged.
    """
    path = Path(path)
    fitted, report = _matched(network, path, reading.read(path, _known(network), entry))
    _fill(network, network.state_dict(), fitted)
    return report


def load_partial(network: nn.Module, path: str | Path) -> LoadReport:
    """Load what fits from a related network's checkpoint, and leave the rest as it is.

    Where a tensor of `network` is larger, the file's fills its first channels: a convolution that
    reads a second picture behind the first treats the first as before.

    Raises:
        CheckpointError: the file is missing or damaged, or nothing of it fits.
    """
    path = Path(path)
    own = network.state_dict()
    state, _, metadata = reading.read(path, own.keys())
    fitted = {
        key: found
        for key, found in state.items()
        if key in own
        and found.ndim == own[key].ndim
        and all(have <= take for have, take in zip(found.shape, own[key].shape, strict=True))
    }
    if not fitted:
        raise CheckpointError(
            f"{path}: none of its {len(state)} entries fits {identity.describe(network)}; "
            "expected a checkpoint of a related network"
        )
    _check_finite(path, fitted)
    with torch.no_grad():
        for key, found in fitted.items():
            own[key][tuple(map(slice, found.shape))].copy_(found)
    kept = tuple(key for key in own if key not in fitted)
    ignored = tuple(key for key in state if key not in fitted)
    return LoadReport(path, "matter", len(fitted), ignored, kept, metadata)


def load_ensemble(network: nn.Module, paths: Sequence[str | Path]) -> list[LoadReport]:
    """Load a `GFMEnsemble` from the files of its networks: tt, ft and bt, in this order.

    Each is one that :func:`load` takes, of either layout; an ensemble that :func:`save` wrote whole
    goes through :func:`load` itself. A released file of tt in another place is refused, and so is
    any file of ours, whose metadata tell what it is; released files of ft and bt hold the same
    names and shapes, so that these two exchanged go unnoticed.

    Returns:
        What was done with each file.

    Raises:
        CheckpointError: as :func:`load`, and where the network is no ensemble, or there are not
            three different files. The network is then unchanged.
    """
    if not isinstance(network, GFMEnsemble):
        raise CheckpointError(
            f"{identity.describe(network)} is one network, not an ensemble; use load, with one file"
        )
    files = [Path(path) for path in paths]
    listed = ", ".join(map(str, files)) or "none"
    if len(files) != len(JOINED):
        raise CheckpointError(f"{len(files)} files ({listed}); {_IN_ORDER}")
    if len({file.resolve() for file in files}) != len(files):
        raise CheckpointError(f"one file is given twice ({listed}); {_IN_ORDER}")
    members: list[nn.Module] = [network.tt, network.ft, network.bt]
    matched = []
    for member, path in zip(members, files, strict=True):
        read = reading.read(path, _known(member))
        candidates = identity.candidates(read.state, read.metadata)
        if candidates and identity.of(member) not in candidates:
            raise CheckpointError(
                f"{path}: looks like {identity.named(candidates)} where "
                f"{identity.describe(member)} belongs; {_IN_ORDER}"
            )
        matched.append(_matched(member, path, read))
    for member, (fitted, _) in zip(members, matched, strict=True):
        _fill(member, member.state_dict(), fitted)
    return [report for _, report in matched]


def load_backbone(network: nn.Module, path: str | Path) -> LoadReport:
    """Load an ImageNet classifier in torchvision's format into ``network.encoder``.

    Layers that a classifier does not have (``encoder.unmatched_in_backbone``: another stem, more
    stages) keep their values; its own last layers are ignored.

    Raises:
        CheckpointError: as :func:`load`.
    """
    path = Path(path)
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise CheckpointError(
            f"{identity.describe(network)} has no encoder; expected a network that does"
        )
    # DenseNet files of 2017 say norm.1 where torchvision's modules say norm1.
    new, old = r"(denselayer\d+\.(?:norm|conv))(\d\.)", r"(denselayer\d+\.(?:norm|conv))\.(\d\.)"
    keys = encoder.state_dict().keys()
    known = keys | {re.sub(new, r"\1.\2", key) for key in keys}
    read = reading.read(path, known)
    state = {re.sub(old, r"\1\2", key): tensor for key, tensor in read.state.items()}
    metadata = read.metadata
    fresh = tuple(getattr(encoder, "unmatched_in_backbone", ()))
    own = encoder.state_dict()
    kept = tuple(key for key in own if key.startswith(fresh))
    wanted = {key: tensor for key, tensor in own.items() if key not in kept}
    unused = tuple(getattr(encoder, "unused_in_backbone", ()))
    aliases = {key: (key,) for key in wanted}
    fitted, ignored = _fit(network, wanted, state, aliases, unused, path, metadata)
    _fill(encoder, wanted, fitted)
    return LoadReport(path, "backbone", len(fitted), ignored, kept, metadata)


def save(
    network: nn.Module,
    path: str | Path,
    metadata: Mapping[str, str] | None = None,
    *,
    half: bool = False,
) -> None:
    """Write the weights as safetensors; an interrupted write leaves no partial file.

    Args:
        metadata: strings to store beside the tensors; the network's name, backbone and rosta are
            added as ``network``, ``backbone`` and ``rosta``, and the parts that it was built
            without, if any, joined by commas, as ``without``.
        half: store kernels and matrices as float16, at half the size. Biases and the statistics
            of batch norms, which are few and may be tiny, stay as they are.

    Raises:
        CheckpointError: metadata other than strings, or a file that cannot be written.
    """
    path = Path(path)
    strings = {**(metadata or {}), **identity.of(network)}
    for key, value in strings.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise CheckpointError(f"metadata {key!r}: {value!r}; expected strings")
    tensors = {key: tensor.detach().contiguous() for key, tensor in network.state_dict().items()}
    if half:
        tensors = {key: t.half() if t.ndim >= 2 else t for key, t in tensors.items()}
    try:
        packed = safetensors_bytes(tensors, strings)  # save_file makes files private to the user
        replace(path, lambda file: file.write(packed))
    except (OSError, SafetensorError, NotImplementedError) as error:
        # NotImplementedError: tensors on the meta device have no values to write.
        raise CheckpointError(f"{path}: cannot be written: {error}") from error


def read_metadata(path: str | Path) -> dict[str, str]:
    """Read the metadata of a safetensors file, but not its tensors.

    Raises:
        CheckpointError: the file is missing or damaged, or is not safetensors.
    """
    path = Path(path)
    if reading.kind(path) != "safetensors":
        raise CheckpointError(f"{path}: a .pth file has no metadata; expected safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise reading.damaged(path, error) from error


# ── Fitting ─────────────────────────────────────────────────────────────────────────────────────


def _known(network: nn.Module) -> Set[str]:
    """The names of a network's tensors in every layout."""
    there = {name for aliases in released.names(network).values() for name in aliases}
    return there | network.state_dict().keys()


def _matched(
    network: nn.Module, path: Path, read: reading.Read
) -> tuple[dict[str, Tensor], LoadReport]:
    """Our key -> the file's tensor for a checkpoint of either layout, or a CheckpointError."""
    state, beside, metadata = read
    names_there = released.names(network)
    own = network.state_dict()
    names = {name for aliases in names_there.values() for name in aliases}
    if names_there and len(names & state.keys()) > len(own.keys() & state.keys()):
        layout, aliases, unused = "released", names_there, released.unused(network)
    else:
        layout, aliases, unused = "matter", {key: (key,) for key in own}, ()
    fitted, ignored = _fit(network, own, state, aliases, unused, path, metadata)
    ignored = (*ignored, *beside)
    return fitted, LoadReport(path, layout, len(fitted), ignored, metadata=metadata)


def _fit(
    network: nn.Module,
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    aliases: Mapping[str, tuple[str, ...]],
    unused: tuple[str, ...],
    path: Path,
    metadata: Mapping[str, str],
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Our key -> the file's tensor, and the file's ignored keys, or a CheckpointError."""
    problems = []
    missing = [
        name
        for names in aliases.values()
        for name in names
        # A counter that nothing reads, and that files of before PyTorch 0.4.1 lack.
        if name not in state and not name.endswith("num_batches_tracked")
    ]
    if missing:
        problems.append(f"{len(missing)} missing ({_listed(missing)})")
    known = {name for names in aliases.values() for name in names}
    ignored = tuple(key for key in state if key not in known and key.startswith(unused))
    unexpected = [key for key in state if key not in known and not key.startswith(unused)]
    if unexpected:
        problems.append(f"{len(unexpected)} unexpected ({_listed(unexpected)})")

    misshapen, conflicting = [], []
    fitted: dict[str, Tensor] = {}
    for key, names in aliases.items():
        present = [name for name in names if name in state]
        for name in present:
            found, expected = state[name], own[key]
            if found.shape != expected.shape:
                misshapen.append(f"{name} {_shape(found)}, expected {_shape(expected)}")
            elif found.is_floating_point() != expected.is_floating_point() and not (
                # An average, or a cast of everything, makes floats of the counters too.
                name.endswith("num_batches_tracked") and found.is_floating_point()
            ):
                misshapen.append(f"{name} {found.dtype}, expected {expected.dtype}")
            elif key not in fitted:
                fitted[key] = found
            elif not _same(fitted[key], found):
                conflicting.append(f"{present[0]} and {name}")
    if misshapen:
        problems.append(f"{len(misshapen)} misshapen ({_listed(misshapen, '; ')})")
    if conflicting:
        problems.append(
            f"{len(conflicting)} pairs that name one tensor but differ in value "
            f"({_listed(conflicting)})"
        )
    if not problems and identity.recorded(metadata) not in ({}, identity.of(network)):
        problems.append("its metadata names another network")
    if problems:
        raise CheckpointError(
            f"{path}: {len(state)} entries, of which {', '.join(problems)}; expected the "
            f"{len(known)} of {identity.describe(network)}. {_remedy(network, state, metadata)}"
        )
    _check_finite(path, fitted)
    return fitted, ignored


def _check_finite(path: Path, fitted: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError where a tensor holds NaN or infinity."""
    bad = [
        key
        for key, tensor in fitted.items()
        # A sum tells quickly, and in float32 what half precision could not add up.
        if tensor.is_floating_point()
        and not tensor.sum(dtype=torch.float32).isfinite()
        and not tensor.isfinite().all()
    ]
    if bad:
        raise CheckpointError(
            f"{path}: {len(bad)} of {len(fitted)} tensors hold NaN or infinity ({_listed(bad)}); "
            "expected finite weights. Its training has diverged: take an earlier checkpoint"
        )


def _fill(module: nn.Module, own: Mapping[str, Tensor], fitted: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        on_meta = {key: tensor for key, tensor in own.items() if tensor.is_meta}
        if on_meta:
            # A counter that the file lacks still has to leave the meta device.
            values = {
                key: fitted[key].to(tensor.dtype)
                if key in fitted
                else torch.zeros(tensor.shape, dtype=tensor.dtype)
                for key, tensor in on_meta.items()
            }
            module.load_state_dict(values, strict=False, assign=True)
        for key, tensor in fitted.items():
            if key not in on_meta:
                own[key].copy_(tensor)


def _same(a: Tensor, b: Tensor) -> bool:
    if a.data_ptr() == b.data_ptr() and a.stride() == b.stride() and a.dtype == b.dtype:
        return True  # one storage under two names, as torch.save keeps it
    return a.dtype == b.dtype and torch.equal(a, b)


# ── Messages ────────────────────────────────────────────────────────────────────────────────────


def _listed(names: Iterable[str], separator: str = ", ") -> str:
    listed = list(names)
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return separator.join(listed[:_LISTED]) + more


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"


def _remedy(network: nn.Module, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """What the file looks like instead, and the options that would take it."""
    mine = identity.of(network)
    candidates = identity.candidates(state, metadata)
    if mine in candidates:
        return f"This looks like a damaged or changed {identity.describe(network)}: fetch it again"
    if candidates:
        looks = f"This looks like {identity.named(candidates)}"
        if isinstance(network, GFMEnsemble) and candidates[0]["rosta"] in JOINED:
            return f"{looks}, one network of the three; {_IN_ORDER}"
        return f"{looks}; pass {' or '.join(identity.options(other, mine) for other in candidates)}"
    if "fc.weight" in state or "classifier.weight" in state or "classifier.0.weight" in state:
        return (
            "This looks like an image classifier: it can only start an encoder "
            "(training.checkpoints.load_backbone)"
        )
    return "This does not look like any network that is known here"


# ── Command line ────────────────────────────────────────────────────────────────────────────────


def mean(paths: Sequence[Path]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the mean of the weights of files of one network, and what its metadata are.

    Training that goes on learns new pictures and forgets old ones; the mean of before and after
    keeps more of both than either (Wortsman et al., *Robust Fine-Tuning of Zero-Shot Models*, CVPR
    2022).

    Raises:
        CheckpointError: a file that is not ours, or one of another network.
    """
    states: list[Mapping[str, Tensor]] = []
    known: dict[str, str] = {}
    for path in paths:
        network = identity.recorded(read_metadata(path))
        content, _ = reading.unpack(path)
        if not network or network != (known or network):
            raise CheckpointError(
                f"{path}: is of {identity.named([network]) or 'an unnamed network'}; expected "
                f"files of ours, all of {identity.named([known]) or 'one network'}"
            )
        known = dict(network)
        states.append(cast("Mapping[str, Tensor]", content))
    result = {}
    for key, first in states[0].items():
        middle = torch.stack([state[key].double() for state in states]).mean(0)
        result[key] = middle.to(first.dtype) if first.is_floating_point() else first.clone()
    return result, known | {"mean_of": ", ".join(path.name for path in paths)}


def main(argv: Sequence[str] | None = None) -> int:
    """Write a file of one set of weights: one of several in a file, or the mean of several files.

    Returns the command's exit status.
    """
    return run("training.checkpoints", lambda: _write(argv))


def _write(argv: Sequence[str] | None) -> int:
    parser = Parser(
        "training.checkpoints",
        "Take one set of weights out of a checkpoint with several, or the mean of checkpoints.",
    )
    parser.add_argument("checkpoint", type=Path, nargs="+", help="file to read; several: --mean")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--entry", help="name of the set, as the refusal lists it")
    what.add_argument("--mean", action="store_true", help="the mean of the files' weights")
    parser.add_argument("--output", required=True, type=Path, help="safetensors file to write")
    args = parser.parse_args(argv)
    if args.mean == (len(args.checkpoint) == 1):
        raise UsageError(
            f"{len(args.checkpoint)} checkpoints; expected one with --entry, several with --mean"
        )
    try:
        if args.mean:
            state, kept = mean(args.checkpoint)
        else:
            state, kept = _chosen(args.checkpoint[0], args.entry)
        replace(args.output, lambda file: file.write(safetensors_bytes(state, kept)))
    except OSError as error:
        raise CheckpointError(str(error)) from error
    print(f"{args.output}: {len(state)} tensors, {args.entry or 'the mean'}")
    return 0


def _chosen(path: Path, entry: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    content, metadata = reading.unpack(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds no state dict; expected one")
    try:
        state = containers.extract(content, entry)
    except KeyError:
        raise CheckpointError(f"{path}: nothing lies at {entry!r}") from None
    # Of the metadata, what is true of a part as well: not which network the whole is.
    kept = {key: text for key, text in metadata.items() if key in ("licence", "license")}
    return {key: tensor.contiguous().clone() for key, tensor in state.items()}, kept


if __name__ == "__main__":
    sys.exit(main())
