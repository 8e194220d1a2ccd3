"""What a run is made of, from its options: data, validation, first weights, helping networks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from matter_sdk.sdk.command_line import UsageError

if TYPE_CHECKING:
    from torch import nn

    from matter_sdk.training.data.layer_sources import Source
    from matter_sdk.training.data.mixing import Mixed
    from matter_sdk.training.fit.run import Options

# Pictures of a dataset are validated at most this large, in pixels.
VALIDATION_SIDE = 1024
# Held-out pictures of the sets of a mix, at about the area of an engine's frame.
VALIDATION_MASKS = (448, 448)
# Composites of a foreground in an epoch where the recipe does not say: the K of RSSN.
_COMPOSITES = 5


def source(options: Options) -> tuple[Source, int]:
    """Open what to train on; tell for how many epochs (0 if the recipe counts in steps)."""
    from matter_sdk.training.data import datasets
    from matter_sdk.training.data.layer_sources import Composed, Crops, Joined, Natural, Procedural

    recipe = options.recipe
    if recipe.source == "procedural":
        for flag, given in (("--data", options.data), ("--background", options.background)):
            if given:
                raise UsageError(f"{recipe.name} draws its scenes; leave out {flag}")
        plate = recipe.network == "gfm-plate"
        return Procedural(plate, decoys=plate), recipe.epochs
    if not options.data:
        raise UsageError(f"{recipe.name} needs --data PATH: {recipe.data}")
    if recipe.source == "mixed":
        mixed = _mixed(options)
        mixed.check()
        mixed.cache.fill(mixed.sets())
        return mixed, recipe.epochs
    if recipe.source == "composed" and options.background is None:
        raise UsageError(
            f"{recipe.name} composes; it needs --background PATH, a folder such as BG-20k"
        )
    opened = [datasets.open(path) for path in options.data]
    crops = Crops(recipe.crops)
    sources: list[Source] = []
    epochs = recipe.epochs
    if options.background is None:
        sources += [Natural(dataset, crops, seed=options.seed) for dataset in opened]
    else:
        backgrounds = datasets.open(options.background)
        for dataset in opened:
            count = recipe.composites.get(dataset.layout, _COMPOSITES)
            sources.append(
                Composed(
                    dataset, backgrounds, crops, k=count, by_type=recipe.by_type, seed=options.seed
                )
            )
        opened.append(backgrounds)
        if recipe.source == "natural" and not recipe.steps:
            epochs = recipe.epochs_composed or recipe.epochs
    for dataset in opened:
        dataset.check()
    return sources[0] if len(sources) == 1 else Joined(sources, seed=options.seed), epochs


def _mixed(options: Options) -> Mixed:
    from matter_sdk.training.data.mattes import Cache
    from matter_sdk.training.data.mixing import Mixed

    if len(options.data) != 1 or options.background is not None:
        raise UsageError(
            f"{options.recipe.name} takes one --data PATH, the folder of its sets, and no "
            "--background"
        )
    plate = options.recipe.network == "gfm-plate"
    cache = Cache(options.cache)
    return Mixed(options.recipe, options.data[0], cache, with_plate=plate, seed=options.seed)


def validation(options: Options, multiple: int) -> tuple[Source, list[tuple[int, int, int]]]:
    """Open what to validate on; return it and the keys of its samples."""
    from matter_sdk.training.data import datasets
    from matter_sdk.training.data.layer_sources import Joined, Procedural, Whole
    from matter_sdk.training.data.layouts import held_out
    from matter_sdk.training.evaluation import pictures

    source: Source
    plate = options.recipe.network == "gfm-plate"
    if options.val_data is None and (options.recipe.source == "procedural" or plate):
        source = Procedural(plate, length=options.validation, first=pictures.SEED)
        size = pictures.SIZE
    elif options.val_data is None and options.recipe.source == "mixed":
        labelled = [mix for mix in options.recipe.mix if mix.labels != "none"]
        names = dict.fromkeys(name for mix in labelled for name in mix.data)
        held = [name for name in names if held_out(name)] or list(names)
        sets = [datasets.open(options.data[0] / name, "masks", "test") for name in held]
        source = Joined([Whole(dataset, multiple) for dataset in sets])
        size = VALIDATION_MASKS
    else:
        try:
            dataset = datasets.open(options.val_data or options.data[0], split="test")
            dataset.check()
            source = Whole(dataset, multiple)
        except datasets.DatasetError as error:
            raise UsageError(f"{error}, to validate on: name another with --val-data") from error
        size = (VALIDATION_SIDE, VALIDATION_SIDE)
    return source, [(index, *size) for index in range(min(len(source), options.validation))]


def load_weights(network: nn.Module, options: Options) -> None:
    """Load the checkpoints that the network starts from."""
    from matter_sdk.training import checkpoints

    recipe = options.recipe
    weights = options.weights or recipe.weights
    if weights and weights != "none":
        if not Path(weights).exists():
            raise UsageError(
                f"{recipe.name} starts from {weights}, which is not there; name another file with "
                "--weights, or begin from nothing with --weights none"
            )
        load = checkpoints.load_partial if recipe.partial else checkpoints.load
        say(load(network, weights))
    elif options.backbone_weights is not None:
        say(checkpoints.load_backbone(network, options.backbone_weights))
    elif recipe.imagenet:
        say(
            f"{recipe.name}: the paper's encoder starts from ImageNet; without --backbone-weights "
            "this one starts from nothing"
        )


def helpers(options: Options) -> dict[str, nn.Module]:
    """Load the trained networks that serve this one in training, by their setting's name."""
    from matter_sdk.training import checkpoints, networks

    if options.recipe.network != "sim":
        if options.classifier is not None:
            raise UsageError(f"{options.recipe.name} has no classifier; leave out --classifier")
        return {}
    if options.classifier is None:
        raise UsageError(
            f"{options.recipe.name} needs --classifier FILE: the trained patch classifier that "
            "makes its semantic trimaps"
        )
    classifier = networks.create("sim_classifier")
    say(checkpoints.load(classifier, options.classifier))
    return {"classifier": classifier}


def say(text: object) -> None:
    """Print a line of progress to stderr."""
    print(text, file=sys.stderr)
