"""Tell which network weights are of: by metadata, or by the names and shapes of tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set

from torch import Tensor, nn

from matter_sdk.kernels.spec import ROSTAS
from matter_sdk.kernels.trimap import CLASSES
from matter_sdk.training.networks import JOINED

# ``network``, ``backbone`` and ``rosta`` as `training.networks.create` calls them, and ``without``,
# joined by commas, where parts are left out: what the metadata of a file say.
Identity = dict[str, str]

# Names that only one network's files hold, released or ours -> its name, backbone and rosta.
_SIGNATURES = {
    "decoder_final_g.weight": ("aim", "resnet34", "unified"),
    "semantic.final.weight": ("aim", "resnet34", "unified"),
    "decoder.conv_up4_alpha.0.weight": ("sim", "resnet50", "none"),
    "encoder.conv1_side.weight": ("sim", "resnet50", "none"),
}


def of(network: nn.Module) -> Identity:
    """Return what the metadata of this network's files say."""
    attributes = {"network": "name", "backbone": "backbone", "rosta": "rosta"}
    identity = {
        key: str(getattr(network, attribute))
        for key, attribute in attributes.items()
        if hasattr(network, attribute)
    }
    without = getattr(network, "without", ())
    return identity | ({"without": ",".join(without)} if without else {})


def recorded(metadata: Mapping[str, str]) -> Identity:
    """Return the network that a file's metadata name; empty if they name none."""
    if not metadata.keys() >= {"network", "backbone", "rosta"}:
        return {}
    keys = ("network", "backbone", "rosta", "without")
    return {key: metadata[key] for key in keys if metadata.get(key)}


def describe(network: nn.Module) -> str:
    """Describe a network as :func:`named` does; one that is not ours goes by its class."""
    return named([of(network)]) or type(network).__name__


def named(identities: Iterable[Identity]) -> str:
    """Describe networks: "aim resnet34 unified without se,attention"."""
    words = [
        " ".join(
            f"without {value}" if key == "without" else value
            for key, value in identity.items()
            if value != "none"  # the rosta of a network that has none
        )
        for identity in identities
    ]
    return " or ".join(words)


def options(other: Identity, mine: Identity) -> str:
    """Return the flags for the network ``other`` where ``mine`` was asked for."""
    if other["network"] == "sim_classifier":
        return "it as --classifier" + ("" if mine.get("network") == "sim" else " of --model sim")
    if other["network"] == "sim" and mine.get("network") == "sim_classifier":
        return "it as --weights"
    words = []
    if other["network"] != mine.get("network"):
        words.append(f"--model {other['network']}")
    words.append(f"--backbone {other['backbone']}")
    if other["rosta"] != "none":
        words.append(f"--rosta {other['rosta']}")
    words += [f"--without {part}" for part in other.get("without", "").split(",") if part]
    if "without" in mine and "without" not in other:
        words.append("with no --without")
    return " ".join(words)


def candidates(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> list[Identity]:
    """Return the networks that a file may be of, by its metadata, or else its names and shapes."""
    told = recorded(metadata)
    if told:
        return [told]
    state = _bare(state, {*_SIGNATURES, "fc.weight"})
    found = {identity for key, identity in _SIGNATURES.items() if key in state}
    if _is_patch_classifier(state):
        found = {("sim_classifier", "resnet50", "none")}
    return [
        {"network": network, "backbone": backbone, "rosta": rosta}
        for network, backbone, rosta in found or _gfm_candidates(state)
    ]


def _is_patch_classifier(state: Mapping[str, Tensor]) -> bool:
    """A ResNet that takes an image and its trimap, and knows the 20 matting classes."""
    stem = state.get("conv1.weight", state.get("encoder.conv1.weight"))
    last = state.get("fc.weight")
    if stem is None or last is None:
        return False
    return tuple(stem.shape[1:2]) == (4,) and tuple(last.shape[:1]) == (len(CLASSES),)


def _gfm_candidates(state: Mapping[str, Tensor]) -> Iterator[tuple[str, str, str]]:
    """The GFM networks that a released state dict, or one of ours without metadata, may be."""
    name = "gfm"
    if any(key.startswith("decoders.") for key in state):
        backbone = "efficientnet-lite0"
        stem = state.get("encoder._conv_stem.weight")
        if stem is not None and stem.shape[1] == 6:  # an image and a plate
            name = "gfm-plate"
    elif not any(key.startswith(("psp_module.", "glance.blocks.")) for key in state):
        return
    elif any(key.startswith(("densenet.", "encoder.features.")) for key in state):
        backbone = "densenet121"
    elif any(key.startswith(("encoder5.", "encoder.layer5.")) for key in state):
        backbone = "resnet34_2b"
    elif any(key.endswith("layer1.0.conv3.weight") for key in state):
        backbone = "resnet101"
    else:
        backbone = "resnet34"
    if any(key.startswith("rim.") for key in state):
        yield "gfm", backbone, "rim"
        return
    parts = {key.split(".")[1] for key in state if key.startswith(("glance_heads.", "decoders."))}
    if not parts:  # released: the classes of the glance decoder's last convolution tell
        last = state.get("decoder0_g.6.weight", state.get("decoder0_g.0.weight"))
        parts = set(JOINED)
        if last is not None:
            parts = {part for part in JOINED if ROSTAS[part].classes == last.shape[0]}
    if backbone == "efficientnet-lite0" and len(parts) > 1:
        parts = {"rim"}
    yield from ((name, backbone, part) for part in (*JOINED, "rim") if part in parts)


def _bare(state: Mapping[str, Tensor], known: Set[str]) -> Mapping[str, Tensor]:
    """The state without the one component before all its names, where only the rest is known."""
    components = {key.partition(".")[0] for key in state}
    if len(components) != 1 or known & state.keys():
        return state
    bare = {key.partition(".")[2]: tensor for key, tensor in state.items()}
    return bare if known & bare.keys() else state
