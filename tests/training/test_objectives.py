"""Objectives: what each network learns from, that it learns, and what it says when it cannot."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from matter_sdk.kernels import semantic_trimap
from matter_sdk.kernels.trimap import CLASSES
from matter_sdk.training import networks, scenes
from matter_sdk.training.data.layers import Layers, compose
from matter_sdk.training.fit import objectives
from matter_sdk.training.fit.objectives import ObjectiveError, create, normalise, targets
from matter_sdk.training.networks.sim_classifier import PatchClassifier

SIZE = (64, 64)
ROSTAS = ("tt", "ft", "bt")


@functools.cache
def layers(seed: int) -> Layers:
    """Scenes from the third on: those have foreground, transition and background at this size."""
    return scenes.layers(seed + 2, SIZE, with_plate=True)


def batch_of(network: str, rosta: str = "none", count: int = 2, **settings: Any) -> dict[str, Any]:
    samples = [
        targets(
            dataclasses.replace(layers(seed), kind=("SO", "STM", "NS")[seed % 3], category="fur"),
            network,
            rosta,
            np.random.default_rng(seed),
            **settings,
        )
        for seed in range(count)
    ]
    return default_collate(samples)


@functools.cache
def sim() -> Any:
    torch.manual_seed(0)
    return create(networks.create("sim"), classifier=networks.create("sim_classifier"))


# ── Targets ─────────────────────────────────────────────────────────────────────────────────────

COLOURS = {"composed": 3, "foreground": 3, "background": 3}
SEMANTICS = {"classes": 0, "mask": 1, "focus": 1}


@pytest.mark.parametrize(
    ("network", "rosta", "settings", "more"),
    [
        ("gfm", "tt", {"kernel": 9}, COLOURS | SEMANTICS),
        (
            "gfm",
            "rim",
            {},
            COLOURS | {f"{name}_{part}": c for name, c in SEMANTICS.items() for part in ROSTAS},
        ),
        ("gfm-plate", "bt", {}, COLOURS | SEMANTICS | {"plate": 3}),
        ("aim", "unified", {}, COLOURS | SEMANTICS),
        ("aim", "unified", {"saliency": True}, SEMANTICS),
        ("msia", "none", {}, {}),
        ("sim", "none", {}, COLOURS | {"trimap": 2, "clicks": 6, "mask": 1, "category": -1}),
    ],
)
def test_targets_stack_to_batches(
    network: str, rosta: str, settings: dict[str, Any], more: dict[str, int]
) -> None:
    batch = batch_of(network, rosta, **settings)
    channels = {"image": 3, "alpha": 1, **more}
    assert batch.keys() == channels.keys()
    for name, tensor in batch.items():
        shape = {0: (2, *SIZE), -1: (2,)}.get(channels[name], (2, channels[name], *SIZE))
        assert tensor.shape == shape, name
        dtype = torch.uint8 if channels[name] == 3 else torch.float32
        assert tensor.dtype == (torch.int64 if channels[name] < 1 else dtype), name


def test_targets_are_the_layers() -> None:
    drawn = layers(0)
    batch = batch_of("gfm", "bt")
    assert np.array_equal(batch["image"][0].permute(1, 2, 0).numpy(), drawn.image)
    composed = compose(drawn.foreground, drawn.background, drawn.alpha)
    assert np.array_equal(batch["composed"][0].permute(1, 2, 0).numpy(), composed)
    torch.testing.assert_close(batch["focus"], 1 - batch["alpha"])
    rim = batch_of("gfm", "rim")
    for name in ("classes", "mask", "focus"):
        assert torch.equal(rim[f"{name}_bt"], batch[name])


def test_kinds_matter_to_aim_alone() -> None:
    batch = batch_of("aim", "unified", count=3)
    assert (batch["classes"][2] == 1).all()  # NS: all is transition
    assert not (batch["classes"][1] == 2).any()  # STM: no foreground
    kinds = [dataclasses.replace(layers(1), kind=kind) for kind in ("SO", "STM")]
    rng = np.random.default_rng(0)
    opaque, clear = (targets(drawn, "gfm", "tt", rng, kernel=9)["classes"] for drawn in kinds)
    assert np.array_equal(opaque, clear)
    assert (opaque == 2).any()


def test_sims_category_is_the_matting_class() -> None:
    rng = np.random.default_rng(0)
    for category, index in (("fur", CLASSES.index("fur")), ("cat", -1), ("", -1)):
        drawn = dataclasses.replace(layers(0), category=category)
        assert targets(drawn, "sim", "none", rng)["category"] == index


# ── Losses ──────────────────────────────────────────────────────────────────────────────────────


def objective_of(network: str, rosta: str | None = None, **settings: Any) -> Any:
    if network == "sim":
        return sim()
    torch.manual_seed(0)
    return create(networks.create(network, rosta=rosta), **settings)


GROUPS = ("glance", "focus", "collaborative")
NETWORKS = [
    pytest.param("gfm", "tt", GROUPS, id="gfm-tt"),
    pytest.param("gfm", "ft", GROUPS, id="gfm-ft"),
    pytest.param("gfm", "bt", GROUPS, id="gfm-bt"),
    pytest.param(
        "gfm",
        "rim",
        [*(f"{group}_{part}" for part in ROSTAS for group in GROUPS), "collaborative"],
        id="gfm-rim",
    ),
    pytest.param("gfm-plate", "tt", GROUPS, id="gfm-plate"),
    pytest.param("aim", "unified", GROUPS, id="aim"),
    pytest.param("msia", "none", ("l1", "ssim"), id="msia", marks=pytest.mark.slow),  # 1 GB
    pytest.param(
        "sim",
        "none",
        (
            *("alpha", "composition", "laplacian", "colours", "gradient", "exclusion"),
            *("features", "classes", "discriminator"),
        ),
        id="sim",
    ),
]


@pytest.mark.parametrize(("network", "rosta", "names"), NETWORKS)
def test_losses_are_named_finite_and_reach_every_parameter(
    network: str, rosta: str, names: list[str]
) -> None:
    objective = objective_of(network, rosta).train()
    losses = objective(batch_of(network, rosta))
    assert list(losses) == list(names)
    assert all(value.ndim == 0 and value.isfinite() and value > 0 for value in losses.values())
    objective.zero_grad(set_to_none=True)
    torch.stack(list(losses.values())).sum().backward()
    learning = {name: p for name, p in objective.named_parameters() if p.requires_grad}
    still = [name for name, p in learning.items() if p.grad is None or not p.grad.any()]
    # MSIA's ASPP sees one value a channel and image: behind a ReLU some get nothing by chance.
    assert [name for name in still if "aspp" not in name] == []
    assert all(parameter.grad.isfinite().all() for parameter in learning.values())
    objective.zero_grad(set_to_none=True)


def heads_of_the_truth(batch: dict[str, Tensor], rosta: str, suffix: str = "") -> dict[str, Tensor]:
    classes = batch[f"classes{suffix}"]
    count = 2 if rosta in ("ft", "bt") else 3
    glance = nn.functional.one_hot(classes, count).permute(0, 3, 1, 2).float()
    return {"glance": glance, "focus": batch[f"focus{suffix}"], "alpha": batch["alpha"]}


class Fixed(nn.Module):
    """Stands for a network that has learnt everything."""

    def __init__(self, like: nn.Module, outputs: dict[str, Tensor]) -> None:
        super().__init__()
        self.name, self.rosta, self.input_spec = like.name, like.rosta, like.input_spec
        self.outputs = outputs

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        assert all(x.shape[2:] == inputs[0].shape[2:] for x in inputs)
        return self.outputs


@pytest.mark.parametrize(
    ("network", "rosta", "settings"),
    [
        ("gfm", "tt", {}),
        ("gfm", "ft", {}),
        ("gfm", "bt", {}),
        ("gfm", "rim", {}),
        ("gfm-plate", "tt", {}),
        ("aim", "unified", {}),
        ("aim", "unified", {"saliency": True}),
        ("msia", "none", {}),
    ],
)
def test_the_truth_costs_next_to_nothing(
    network: str, rosta: str, settings: dict[str, Any]
) -> None:
    batch = batch_of(network, rosta, **settings)
    with torch.device("meta"):
        like = networks.create(network, rosta=rosta)
    if rosta == "rim":
        outputs = {"alpha": batch["alpha"]}
        for part in ROSTAS:
            heads = heads_of_the_truth(batch, part, f"_{part}")
            outputs |= {f"{head}_{part}": tensor for head, tensor in heads.items()}
    elif rosta == "none":
        outputs = {"alpha": batch["alpha"]}
    else:
        outputs = heads_of_the_truth(batch, rosta)
    losses = create(Fixed(like, outputs), **settings)(batch)
    for name, value in losses.items():  # what was composed was rounded to 8 bits
        assert value < 6e-3, name
    inverse = {head: 1 - tensor for head, tensor in outputs.items()}
    losses = create(Fixed(like, inverse), **settings)(batch)
    for name, value in losses.items():
        assert value > 0.015, name


def test_sims_truth_costs_next_to_nothing() -> None:
    batch = batch_of("sim")
    true = {name: batch[name].float() / 255 for name in ("foreground", "background")}
    true |= {"alpha": batch["alpha"]}
    weight = torch.full_like(batch["alpha"], 0.5)
    true |= {f"weight_{name}": weight for name in ("alpha", "foreground", "background")}
    objective = create(Fixed(networks.create("sim"), true), classifier=sim().classifier)
    losses = objective.eval()(batch)
    for name in ("alpha", "composition", "laplacian", "colours", "features"):
        assert losses[name] < 6e-3, name
    true["alpha"] = 1 - true["alpha"]
    worse = objective(batch)
    for name in ("alpha", "composition", "laplacian", "features"):
        assert worse[name] > 2 * losses[name] + 1e-4, name
    # L_c is 0.1 of the same judgement that the discriminator's own loss is of.
    assert losses["classes"].item() == pytest.approx(0.1 * losses["discriminator"].item())


def test_composition_loss_is_left_out_of_saliency_pretraining() -> None:
    objective = objective_of("aim", saliency=True).train()
    batch = batch_of("aim", "unified", saliency=True)
    assert all(value.isfinite() for value in objective(batch).values())
    with torch.no_grad():
        with_colours = create(objective.network)(batch_of("aim", "unified"))
        without = objective(batch_of("aim", "unified"))
    assert without["glance"] == with_colours["glance"]
    assert without["collaborative"] < with_colours["collaborative"]


def test_msias_second_weight_falls_after_the_first_epoch() -> None:
    batch = batch_of("msia")
    with torch.device("meta"):
        like = networks.create("msia")
    objective = create(Fixed(like, {"alpha": 1 - batch["alpha"]}))
    first = objective(batch)
    objective.epoch = 1
    second = objective(batch)
    objective.epoch = 19
    assert objective(batch) == second
    assert first["l1"] == second["l1"]
    assert first["ssim"].item() == pytest.approx(4 * second["ssim"].item())
    assert first["ssim"] > 0.05


@pytest.mark.parametrize("rosta", ["ft", "rim"])
def test_a_few_steps_on_one_batch_lower_the_losses(rosta: str) -> None:
    objective, batch = objective_of("gfm", rosta).train(), batch_of("gfm", rosta)
    assert fall(objective, batch, steps=6) < 0.85


@pytest.mark.slow  # half a minute
@pytest.mark.parametrize("network", ["aim", "msia", "sim"])
def test_a_few_steps_lower_the_large_networks_losses(network: str) -> None:
    torch.manual_seed(0)
    settings = {"classifier": sim().classifier} if network == "sim" else {}
    objective = create(networks.create(network), **settings).train()
    batch = batch_of(network, objective.network.rosta)
    assert fall(objective, batch, steps=4, rate=1e-4) < 0.97


def fall(objective: Any, batch: dict[str, Tensor], steps: int, rate: float = 2e-3) -> float:
    """What is left of the sum of the losses."""
    learning = [p for p in objective.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(learning, lr=rate)
    values = []
    for _ in range(steps + 1):
        total = torch.stack(list(objective(batch).values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        values.append(total.item())
    return values[-1] / values[0]


def test_losses_are_float32_under_autocast() -> None:
    objective, batch = objective_of("gfm", "tt").eval(), batch_of("gfm", "tt")
    with torch.no_grad():
        plain = objective(batch)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = objective(batch)
            alpha = objective.predict(batch)
    assert alpha.dtype == torch.float32
    for name, value in mixed.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(plain[name].item(), rel=0.05)


# ── Predictions ─────────────────────────────────────────────────────────────────────────────────


def test_predictions_are_the_networks_mattes() -> None:
    for network, rosta in (("gfm", "rim"), ("gfm-plate", "tt")):
        objective, batch = objective_of(network, rosta).eval(), batch_of(network, rosta)
        names = ["image", "plate"] if network == "gfm-plate" else ["image"]
        with torch.no_grad():
            inputs = [normalise(batch[name], objective.network) for name in names]
            expected = objective.network(*inputs)["alpha"]
        found = objective.predict(batch)
        assert torch.equal(found, expected)
        assert not found.requires_grad
        # RIM's raw result may leave 0..1 while it trains.
        found = objective.train().predict(batch)
        assert found.min() >= 0
        assert found.max() <= 1


def test_normalise_follows_the_networks_own_scale() -> None:
    image = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    with torch.device("meta"):
        light, raw, unit = (
            networks.create(name, backbone=backbone)
            for name, backbone in (
                ("gfm", "efficientnet-lite0"),
                ("gfm", "resnet34"),
                ("sim", None),
            )
        )
    assert torch.equal(normalise(image, raw), image.float())
    torch.testing.assert_close(normalise(image, unit), image / 255)
    torch.testing.assert_close(normalise(image, light), (image - 127.0) / 128)


# ── SIM's classifiers ───────────────────────────────────────────────────────────────────────────


def test_semantic_trimap_is_the_kernels_own() -> None:
    objective, batch = sim(), batch_of("sim")
    found = objective.semantic_trimap(batch)
    classifier = objective.classifier

    def classify(image: np.ndarray, trimap: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return classifier(torch.from_numpy(image), torch.from_numpy(trimap))["cam"].numpy()

    images = normalise(batch["image"], classifier).numpy()
    for image, trimap, result in zip(images, batch["trimap"].numpy(), found, strict=True):
        areas = np.where(trimap[0] > 0, 0, np.where(trimap[1] > 0, 255, 128)).astype(np.uint8)
        expected = semantic_trimap(image, areas, classify)
        assert expected.max() > 0.5
        np.testing.assert_allclose(result.numpy(), expected, atol=2e-4)


def test_the_classifier_stays_as_it_was() -> None:
    objective = sim().train()
    before = {name: tensor.clone() for name, tensor in objective.classifier.state_dict().items()}
    losses = objective(batch_of("sim"))
    torch.stack(list(losses.values())).sum().backward()
    assert not objective.classifier.training
    for name, parameter in objective.classifier.named_parameters():
        assert parameter.grad is None, name
    for name, tensor in objective.classifier.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_the_discriminator_learns_from_true_mattes_alone() -> None:
    objective, batch = sim().train(), batch_of("sim")
    statistics = objective.discriminator.encoder.bn1
    seen = int(statistics.num_batches_tracked)

    def reached(*names: str) -> tuple[bool, bool]:
        objective.zero_grad(set_to_none=True)
        losses = objective(batch)
        torch.stack([losses[name] for name in names]).sum().backward()
        parts = (objective.network, objective.discriminator)
        return tuple(any(p.grad is not None for p in part.parameters()) for part in parts)

    assert reached("classes", "features") == (True, False)
    assert reached("discriminator") == (False, True)
    assert int(statistics.num_batches_tracked) == seen + 2  # once a batch
    objective.zero_grad(set_to_none=True)


def test_scenes_of_no_matting_class_teach_no_classes() -> None:
    batch = batch_of("sim")
    batch["category"] = torch.full((2,), -1)
    with torch.no_grad():
        losses = sim().train()(batch)
    assert losses["classes"] == losses["discriminator"] == 0
    assert losses["features"] > 0


# ── Refusals ────────────────────────────────────────────────────────────────────────────────────


def test_refusals() -> None:
    rng = np.random.default_rng(0)
    plain = dataclasses.replace(layers(0), plate=None)
    with pytest.raises(ObjectiveError, match="have no plate"):
        targets(plain, "gfm-plate", "tt", rng)
    with pytest.raises(ObjectiveError, match="'gmf' has no objective"):
        targets(plain, "gmf", "tt", rng)
    with pytest.raises(ObjectiveError, match="rosta is 'xt'"):
        targets(plain, "gfm", "xt", rng)
    with pytest.raises(ObjectiveError, match=r"'kernal'; .* did you mean 'kernel'"):
        targets(plain, "gfm", "tt", rng, kernal=3)
    with pytest.raises(ObjectiveError, match="unknown setting of msia: 'kernel'"):
        targets(plain, "msia", "none", rng, kernel=3)
    with torch.device("meta"):
        ensemble = networks.create("gfm", rosta="en-median")
        network, classifier = networks.create("sim"), networks.create("sim_classifier")
    with pytest.raises(ObjectiveError, match="each trained alone: train tt, ft and bt"):
        create(ensemble)
    with pytest.raises(ObjectiveError, match="'sim_classifier' has no objective"):
        create(classifier)
    with pytest.raises(ObjectiveError, match="classifier is missing"):
        create(network)
    with pytest.raises(ObjectiveError, match="classifier is a SIM"):
        create(network, classifier=network)
    with pytest.raises(ObjectiveError, match=r"'clasifier'; .* did you mean 'classifier'"):
        create(network, clasifier=classifier)


def test_one_table_of_settings_serves_both() -> None:
    settings = {"saliency": True, "kernel": 9}
    rng = np.random.default_rng(0)
    assert "composed" not in targets(layers(0), "aim", "unified", rng, **settings)
    with torch.device("meta"):
        assert create(networks.create("aim"), **settings).saliency
    assert isinstance(sim().classifier, PatchClassifier)
    narrow = targets(layers(0), "sim", "none", rng, widths=(1, 2), classifier=None)
    wide = targets(layers(0), "sim", "none", rng, widths=(29, 30))
    assert narrow["mask"].sum() < wide["mask"].sum()
    assert objectives.Objective(nn.Identity()).epoch == 0
