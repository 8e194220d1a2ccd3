"""Names of the released checkpoints: which of theirs is which of ours.

Our module names are ours to choose; these tables translate. A released GFM or AIM checkpoint holds
each tensor of the encoder twice, under the torchvision network (``resnet.layer2.0.conv1.weight``)
and under the stage (``encoder2.0.conv1.weight``).
"""

from __future__ import annotations

from torch import nn

from matter_sdk.training.networks import JOINED

# Our prefix -> the prefixes of the released checkpoint, each of which holds the same tensor.
Table = dict[str, tuple[str, ...]]

_RESNET: Table = {
    "encoder.conv1.": ("resnet.conv1.", "encoder0.0."),
    "encoder.bn1.": ("resnet.bn1.", "encoder0.1."),
    "encoder.layer1.": ("resnet.layer1.", "encoder1.1."),
    "encoder.layer2.": ("resnet.layer2.", "encoder2."),
    "encoder.layer3.": ("resnet.layer3.", "encoder3."),
    "encoder.layer4.": ("resnet.layer4.", "encoder4."),
}
_RESNET_DEEP: Table = {
    "encoder.stem.conv.": ("encoder0.0.",),
    "encoder.stem.bn.": ("encoder0.1.",),
    "encoder.layer1.": ("resnet.layer1.", "encoder1."),
    "encoder.layer2.": ("resnet.layer2.", "encoder2."),
    "encoder.layer3.": ("resnet.layer3.", "encoder3."),
    "encoder.layer4.": ("resnet.layer4.", "encoder4."),
    # The released stages count their pooling layer: their blocks are 1, 2, 3.
    **{f"encoder.layer{i}.{j}.": (f"encoder{i}.{j + 1}.",) for i in (5, 6) for j in range(3)},
}
_DENSENET: Table = {
    "encoder.features.conv0.": ("densenet.features.conv0.", "encoder0.0."),
    "encoder.features.norm0.": ("densenet.features.norm0.", "encoder0.1."),
    **{
        f"encoder.features.denseblock{i}.": (f"densenet.features.denseblock{i}.", f"encoder{i}.0.")
        for i in (1, 2, 3, 4)
    },
    **{
        f"encoder.features.transition{i}.": (f"densenet.features.transition{i}.", f"encoder{i}.1.")
        for i in (1, 2, 3)
    },
    "encoder.reduce.conv.": ("encoder4.1.",),
    "encoder.reduce.bn.": ("encoder4.2.",),
}
# AIM's pooling layers stand apart, so that its first stage has the blocks alone.
_RESNET_POOLING: Table = {
    **_RESNET,
    "encoder.layer1.": ("resnet.layer1.", "encoder1.0."),
}
_ENCODERS: dict[str, Table] = {
    "resnet34": _RESNET,
    "resnet34_2b": _RESNET_DEEP,
    "resnet101": _RESNET,
    "densenet121": _DENSENET,
}
# Entries of a released checkpoint that its network never reads.
_UNUSED = {
    "resnet34": ("resnet.fc.",),
    "resnet34_2b": ("resnet.conv1.", "resnet.bn1.", "resnet.fc.", "psp1."),
    "resnet101": ("resnet.fc.",),
    "densenet121": ("densenet.features.norm5.", "densenet.classifier."),
}
# How many parameters these are.
_UNUSED_PARAMETERS = {
    "resnet34": 513_000,
    "resnet34_2b": 817_640,
    "resnet101": 2_049_000,
    "densenet121": 1_027_048,
}


def _convolutions(ours: str, released: str, count: int) -> Table:
    """`count` times convolution, batch norm, ReLU: a flat sequence in the released code."""
    return {
        f"{ours}{i}.{part}.": (f"{released}{3 * i + offset}.",)
        for i in range(count)
        for offset, part in enumerate(("conv", "bn"))
    }


def _decoders(deep: bool, parts: tuple[str, ...], integrated: bool) -> Table:
    levels = range(1, 7 if deep else 5)
    table: Table = {
        "glance.pyramid.bottleneck.": ("psp_module.bottleneck.",),
        **{f"glance.pyramid.stages.{i}.": (f"psp_module.stages.{i}.1.",) for i in range(3)},
        **_convolutions("focus.bridge.", "bridge_block.", 3),
    }
    for i in levels:
        table |= _convolutions(f"glance.blocks.{i}.", f"decoder{i}_g.", 3)
        table |= _convolutions(f"focus.blocks.{i}.", f"decoder{i}_f.", 3)
        # The pyramid features that the block below reads; deep networks have no psp1.
        table[f"glance.context.{i - 1}.conv."] = (f"psp{i}.0.",)
        table[f"glance.context.{i - 1}.bn."] = (f"psp{i}.1.",)
    for part in parts:
        suffix = f"_{part}" if integrated else ""
        for heads, letter in (("glance_heads", "g"), ("focus_heads", "f")):
            ours, released = f"{heads}.{part}.", f"decoder0_{letter}{suffix}."
            table |= _convolutions(f"{ours}refine.", released, 2)
            table[f"{ours}predict."] = (f"{released}{0 if deep else 6}.",)
    if integrated:
        table |= {
            "rim.expand.": ("rim.0.",),
            "rim.attention.squeeze.": ("rim.1.fc.0.",),
            "rim.attention.excite.": ("rim.1.fc.2.",),
            "rim.predict.": ("rim.2.",),
        }
    return table


def _aim() -> Table:
    table: Table = {
        **_RESNET_POOLING,
        "semantic.ppm.bottleneck.": ("psp_module.bottleneck.",),
        **{f"semantic.ppm.stages.{i}.": (f"psp_module.stages.{i}.1.",) for i in range(3)},
        "semantic.spa.conv.": ("decoder0_g_spatial.",),
        "semantic.final.": ("decoder_final_g.",),
        **_convolutions("matting.md5.", "bridge_block.", 3),
        "matting.final.": ("decoder_final_l.",),
    }
    for i in range(5):
        count = 3 if i else 2
        table |= _convolutions(f"semantic.sd{i}.", f"decoder{i}_g.", count)
        table |= _convolutions(f"matting.md{i}.", f"decoder{i}_l.", count)
        table[f"semantic.se{i}.squeeze."] = (f"decoder{i}_g_se.fc.0.",)
        table[f"semantic.se{i}.excite."] = (f"decoder{i}_g_se.fc.2.",)
    for i in range(1, 5):
        table[f"semantic.psp{i}.conv."] = (f"psp{i}.0.",)
        table[f"semantic.psp{i}.bn."] = (f"psp{i}.1.",)
    return table


def _sim() -> Table:
    table: Table = {
        "encoder.": ("encoder.",),
        **_convolutions("decoder.up1.", "decoder.conv_up1.", 2),
        **_convolutions("decoder.up2.", "decoder.conv_up2.", 1),
        **_convolutions("decoder.up3.", "decoder.conv_up3.", 1),
        "decoder.aspp.project.conv.": ("decoder.global_module.project.0.",),
        "decoder.aspp.project.bn.": ("decoder.global_module.project.1.",),
        # The last branch begins with the image's mean.
        "decoder.aspp.image.conv.": ("decoder.global_module.convs.4.1.",),
        "decoder.aspp.image.bn.": ("decoder.global_module.convs.4.2.",),
        "alpha.": ("decoder.conv_up4_alpha.",),
        "colours.": ("decoder.conv_up4_fb.",),
        "weights.": ("decoder.conv_up4_attn.",),
    }
    for i in range(4):
        for j, part in enumerate(("conv", "bn")):
            released = f"decoder.global_module.convs.{i}.{j}."
            table[f"decoder.aspp.branches.{i}.{part}."] = (released,)
    return table


_SIM_CLASSIFIER: Table = {"encoder.": ("",), "fc.": ("fc.",)}


def names(network: nn.Module) -> Table:
    """Return a table: key of `network` -> the names that a released checkpoint gives that tensor.

    Empty for a network that was never released (our light GFM, MSIA-matte, an ensemble: that is
    three files).
    """
    name, backbone, rosta = (
        str(getattr(network, attribute, "")) for attribute in ("name", "backbone", "rosta")
    )
    if name == "aim":
        return _spelt_out(network, _aim())
    if name == "sim":
        return _spelt_out(network, _sim())
    if name == "sim_classifier":
        return _spelt_out(network, _SIM_CLASSIFIER)
    if name != "gfm" or backbone not in _ENCODERS or rosta == "en-median":
        return {}
    integrated = rosta == "rim"
    parts = JOINED if integrated else (rosta,)
    table = _ENCODERS[backbone] | _decoders(backbone == "resnet34_2b", parts, integrated)
    return _spelt_out(network, table)


def unused(network: nn.Module) -> tuple[str, ...]:
    """Return prefixes of a released checkpoint's entries that its network never reads."""
    return _UNUSED.get(str(network.backbone), ())


def unused_parameters(backbone: str) -> int:
    """Count the parameters of those entries by backbone, since the papers count them too."""
    return _UNUSED_PARAMETERS.get(backbone, 0)


def _spelt_out(network: nn.Module, table: Table) -> Table:
    """A table of prefixes as one of whole keys."""
    spelt = {}
    for key in network.state_dict():
        prefix = next(prefix for prefix in table if key.startswith(prefix))
        spelt[key] = tuple(released + key[len(prefix) :] for released in table[prefix])
    return spelt
