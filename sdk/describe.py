"""The text of ``Matter.describe``: what runs where, from which weights, how well verified."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from matter_sdk.sdk import cpu
from matter_sdk.sdk.engine.manifest import Manifest, ModelEntry, Verification, WeightsInfo
from matter_sdk.sdk.errors import printable
from matter_sdk.sdk.inference.network import Network
from matter_sdk.sdk.inference.sizes import Scales
from numpy.typing import NDArray

Line = tuple[str, str]  # what it is about ("" goes on with the line before), how it is


def text(lines: Sequence[Line]) -> str:
    """The lines below each other, in two columns."""
    return printable("\n".join(f"{about:<12}{how}" for about, how in lines))


def engine(network: Network) -> list[Line]:
    """The file, its network, the sizes that may run, and the backend in use."""
    manifest = network.manifest
    lines = [("engine", f"{network.path} (schema {manifest.schema}, made {manifest.created})")]
    lines.append(("network", title(manifest)))
    lines += _listed("weights", _weights(manifest.weights))
    lines += _listed("size", [_size(manifest, model) for model in network.models])
    lines.append(("precision", f"{manifest.precision} stored; runs as below"))
    lines.append(("backend", running(network)))
    lines += _listed("measured", [_measured(m) for m in network.models if m.measured])
    return lines + _listed("not taken", [f"{name}: {reason}" for name, reason in network.passed])


def part(name: str, network: Network) -> list[Line]:
    """A further network of the same file."""
    manifest = network.manifest
    sizes = ", ".join(f"{model.size[0]}×{model.size[1]}" for model in network.models)
    lines = [(name, title(manifest)), ("", f"{sizes}, {manifest.precision} stored")]
    lines += [("", weights) for weights in _weights(manifest.weights)]
    lines.append(("", running(network)))
    return lines + [("", line) for line in _verified(network) or ["never verified"]]


def hybrid(scales: Scales) -> Line:
    """The scales of a hybrid-resolution test."""
    glance, focus = (str(Fraction(scale).limit_denominator(100)) for scale in scales)
    how = f"glance at {glance} of the frame, focus at {focus}: the nearest two sizes"
    if scales[0] == scales[1]:
        how = f"one pass at {glance} of the frame: the nearest size"
    return "hybrid", how


def trimap(source: Network | None) -> Line:
    """Where trimaps come from."""
    if source is None:
        return "trimap", "given with each frame"
    random = ", RANDOM WEIGHTS" if source.manifest.weights.random else ""
    return "trimap", f"from {source.path} if none is given: {title(source.manifest)}{random}"


def plate(image: NDArray[np.uint8] | None) -> Line:
    """The plate that frames are compared with."""
    if image is None:
        return "plate", "none yet: matter.plate = image"
    return "plate", f"{image.shape[0]}×{image.shape[1]}"


def verified(network: Network) -> list[Line]:
    """The verification report of the sizes that may run."""
    shown = _verified(network)
    return _listed("verified", shown or ["never: the engine holds no verification report"])


def title(manifest: Manifest) -> str:
    """A network in a few words: ``gfm resnet34, RoSTa tt, 55.29 M parameters``."""
    network = manifest.network
    words = f"{network.name} {network.backbone}"
    if network.rosta != "none":
        words += f", RoSTa {network.rosta}"
    if network.without:
        words += f", without {' and '.join(network.without)}"
    if network.parameters:
        words += f", {network.parameters / 1e6:.2f} M parameters"
    return words


def running(network: Network) -> str:
    """The backend of the size that was loaded first."""
    backend = network.first
    if backend is None:
        return "loaded with the first frame that needs it"
    return f"{backend.name} on {backend.device}: {backend.detail}"


def _listed(about: str, entries: Sequence[str]) -> list[Line]:
    return [(about if at == 0 else "", entry) for at, entry in enumerate(entries)]


def _weights(weights: WeightsInfo) -> list[str]:
    if weights.random:
        return ["RANDOM WEIGHTS: for timing only, the mattes mean nothing"]
    first = f"{weights.source} ({weights.licence}, SHA-256 {weights.sha256[:12]}…)"
    return [first, *(f"{file.source} (SHA-256 {file.sha256[:12]}…)" for file in weights.more)]


def _size(manifest: Manifest, model: ModelEntry) -> str:
    macs = manifest.network.macs.get(f"{model.size[0]}x{model.size[1]}")
    cost = f", {macs / 1e9:.2f} G multiply-accumulates" if macs else ""
    int8 = ", INT8 too" if model.int8 else ""
    return f"{model.size[0]}×{model.size[1]}{cost}{int8}"


def _measured(model: ModelEntry) -> str:
    """What the choice among CPU backends follows."""
    measured = model.measured
    if measured is None:
        return ""
    times = (f"{one.backend} {one.arithmetic} {one.ms:.1f} ms" for one in measured.timings)
    place = "this CPU" if measured.cpu == cpu.name() else f"another CPU ({measured.cpu})"
    busy = "" if measured.load is None else f", load {measured.load:.1f}"
    height, width = model.size
    return (
        f"{height}×{width}: {', '.join(times)}; at the build, on {place}, "
        f"{measured.threads} thread{'s' if measured.threads > 1 else ''}{busy}"
    )


def _verified(network: Network) -> list[str]:
    sizes = [model.size for model in network.models]
    return [_verification(e) for e in network.manifest.verification if e.size in sizes]


def _verification(entry: Verification) -> str:
    where = f"{entry.artefact} {entry.precision} at {entry.size[0]}×{entry.size[1]}: {entry.status}"
    reason = f" ({entry.reason})" if entry.reason else ""
    if entry.status == "not run":
        return f"{where}{reason}"
    numbers = {"SAD": entry.sad, "MSE": entry.mse, "MAD": entry.mad, "largest": entry.largest}
    text = ", ".join(f"{name} {value:.3g}" for name, value in numbers.items() if value is not None)
    text += "" if entry.share is None else f", SAD {entry.share:.2%} of the matte"
    return f"{where}{', ' + text if text else ''}{reason}"
