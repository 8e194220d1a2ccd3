"""What each network learns from and what it minimises.

:func:`targets` takes a scene's layers to the arrays that a network's losses want; it runs in the
processes that draw the data. :func:`create` joins a network and its losses into one module:

>>> objective = create(network)
>>> losses = objective(batch)  # named; their sum is minimised
>>> alpha = objective.eval().predict(batch)

Where the trainer sets ``objective.epoch`` before each epoch, what changes from epoch to epoch
(MSIA-matte's λ₂) follows it.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from matter_sdk.kernels.trimap import CLASSES, UNKNOWN, distance_maps, two_channel
from matter_sdk.sdk.errors import expected_one_of
from matter_sdk.training import networks
from matter_sdk.training.data.layers import Layers, compose
from matter_sdk.training.data.representations import focus_target, glance_target, random_trimap
from matter_sdk.training.fit.losses import (
    classification_loss,
    collaborative_loss,
    exclusion_loss,
    feature_loss,
    gfm_loss,
    gradient_loss,
    l1_loss,
    laplacian_loss,
    ssim_loss,
)
from matter_sdk.training.networks.sim_classifier import AlphaDiscriminator, PatchClassifier
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Arrays = dict[str, NDArray[Any]]
Tensors = dict[str, Tensor]


class ObjectiveError(ValueError):
    """A network that cannot be trained so, or data that lack what it learns from."""


def normalise(image: Tensor, network: nn.Module) -> Tensor:
    """uint8 RGB N×3×H×W → the network's own input scale, float32."""
    spec: Any = network.input_spec
    mean, std = (
        torch.tensor(v, device=image.device).view(1, 3, 1, 1) for v in (spec.mean, spec.std)
    )
    return (image.float() - mean) / std


class Objective(nn.Module):
    """A network and its losses.

    Attributes:
        network: what is trained.
        epoch: counted from 0; the trainer sets it.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.epoch = 0

    def forward(self, batch: Tensors) -> Tensors:
        """The named losses of a batch, scalars, each with its weight: their sum is minimised.

        Args:
            batch: what :func:`targets` gives, stacked: uint8 or float32 N×C×H×W and int64. H and W
                are multiples of the network's ``size_multiple``.
        """
        outputs = self.network(*self.inputs(batch))
        with _full_precision(batch):
            return self.losses(_floats(outputs), _floats(batch))

    @torch.no_grad()
    def predict(self, batch: Tensors) -> Tensor:
        """The batch's mattes, float32 N×1×H×W in 0..1; in eval mode those that an engine gives."""
        return self.network(*self.inputs(batch))["alpha"].float().clamp(0, 1)

    def inputs(self, batch: Tensors) -> tuple[Tensor, ...]:
        """What the network reads."""
        return (normalise(batch["image"], self.network),)

    def losses(self, outputs: Tensors, batch: Tensors) -> Tensors:
        """Of the network's outputs, for a batch of floats: colours in 0..1."""
        raise NotImplementedError


def _full_precision(batch: Tensors) -> torch.autocast:
    """Losses are computed in float32 whatever the network is."""
    return torch.autocast(batch["image"].device.type, enabled=False)


def _floats(tensors: Tensors) -> Tensors:
    """Colours as 0..1, half-precision outputs as float32; classes as they are."""
    return {
        name: tensor.float() / 255
        if tensor.dtype == torch.uint8
        else (tensor.float() if tensor.is_floating_point() else tensor)
        for name, tensor in tensors.items()
    }


def _planes(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def _matte(layers: Layers) -> Arrays:
    return {"image": _planes(layers.image), "alpha": layers.alpha[None]}


def _colours(layers: Layers) -> Arrays:
    """``composed`` is the image before camera and compression: equation 7's own composition."""
    composed = compose(layers.foreground, layers.background, layers.alpha)
    return {
        "composed": _planes(composed),
        "foreground": _planes(layers.foreground),
        "background": _planes(layers.background),
    }


# ── GFM and AIM ─────────────────────────────────────────────────────────────────────────────────


class GFMObjective(Objective):
    """GFM (IJCV 2022): the losses of glance, focus and collaborative matting (equation 8).

    With RIM "three groups of losses corresponding to the outputs of three RoSTa-specific layers
    and a CM loss on the final alpha matte" (section "RoSTa Integration"): ``glance_tt`` …
    ``collaborative_bt``, and ``collaborative``.

    Args:
        network: a GFM.
        consistency: weight of the difference between the mattes of two views of a picture, so that
            a video does not flicker. A third of each batch are then second views of another third:
            shifted by up to 4 pixels, exposed otherwise, with noise. 0: none.
    """

    def __init__(self, network: nn.Module, *, consistency: float = 0.0) -> None:
        super().__init__(network)
        self.consistency = consistency

    def forward(self, batch: Tensors) -> Tensors:
        """See :class:`Objective`."""
        if not self.consistency:
            return super().forward(batch)
        batch, shift = second_views(batch)
        outputs = self.network(*self.inputs(batch))
        with _full_precision(batch):
            outputs = _floats(outputs)
            difference = views_difference(outputs["alpha"], shift)
            losses = self.losses(outputs, _floats(batch))
        return losses | {"consistency": self.consistency * difference}

    @staticmethod
    def targets(
        layers: Layers, rosta: str, rng: np.random.Generator, *, kernel: int | None = None
    ) -> Arrays:
        """``kernel``: the transition's ellipse in pixels; 25 for tt, 50 for ft and bt."""
        del rng  # nothing is random here
        arrays = _matte(layers) | _colours(layers)
        if layers.known is not None:
            arrays["known"] = layers.known[None]
        if rosta != "rim":
            return arrays | _semantics(layers, rosta, kernel)
        for part in networks.JOINED:
            semantics = _semantics(layers, part, kernel)
            arrays |= {f"{name}_{part}": array for name, array in semantics.items()}
        return arrays

    def losses(self, outputs: Tensors, batch: Tensors) -> Tensors:
        """See the class."""
        if self.network.rosta != "rim":
            return gfm_loss(outputs, batch)
        losses: Tensors = {}
        for part in networks.JOINED:
            own = {head: outputs[f"{head}_{part}"] for head in ("glance", "focus", "alpha")}
            wanted = {name: batch[f"{name}_{part}"] for name in ("classes", "mask", "focus")}
            group = gfm_loss(own, batch | wanted)
            losses |= {f"{name}_{part}": value for name, value in group.items()}
        return losses | {"collaborative": collaborative_loss(outputs["alpha"], batch)}


_FARTHEST = 4  # pixels that a second view is shifted by


def second_views(batch: Tensors) -> tuple[Tensors, tuple[int, int]]:
    """A batch whose last third shows its first third again, and how far that was shifted.

    All of it is shifted by the same rows and columns, wrapping around; the network's input alone
    differs in exposure and noise. A plate, taken at another time, stays where it was.
    """
    image = batch["image"]
    third = max(1, len(image) // 3)
    down, right = (int(v) for v in torch.randint(-_FARTHEST, _FARTHEST + 1, (2,)))
    seen = {}
    for name, tensor in batch.items():
        again = tensor[:third]
        if name != "plate":
            again = again.roll((down, right), (-2, -1))
        seen[name] = torch.cat([tensor[: len(image) - third], again])
    colours = seen["image"][-third:].float()
    gain = 1 + 0.08 * torch.randn(third, 1, 1, 1, device=image.device)
    noise = 4 * torch.rand(third, 1, 1, 1, device=image.device) * torch.randn_like(colours)
    second = (colours * gain + noise).round().clamp(0, 255).to(image.dtype)
    seen["image"] = torch.cat([seen["image"][:-third], second])
    return seen, (down, right)


def views_difference(alpha: Tensor, shift: tuple[int, int]) -> Tensor:
    """Mean difference between the mattes of the first and the last third of a batch.

    Args:
        alpha: N×1×H×W, of a batch as :func:`second_views` gives it.
        shift: what it gives beside.
    """
    third, edge = max(1, len(alpha) // 3), 2 * _FARTHEST
    inside = (..., slice(edge, -edge), slice(edge, -edge))  # what came in by wrapping lies outside
    moved = alpha[:third].roll(shift, (-2, -1))
    return (alpha[-third:][inside] - moved[inside]).abs().mean()


def _semantics(layers: Layers, rosta: str, kernel: int | None) -> Arrays:
    classes, mask = glance_target(layers.alpha, rosta, kernel, layers.kind)
    if layers.known is not None:
        classes = np.where(layers.known == 0, -1, classes)
    focus = focus_target(layers.alpha, rosta)
    return {"classes": classes, "mask": mask[None], "focus": focus[None]}


class GFMPlateObjective(GFMObjective):
    """GFM with a plate, a photograph of the same place without the subject: GFM's losses."""

    @staticmethod
    def targets(
        layers: Layers, rosta: str, rng: np.random.Generator, *, kernel: int | None = None
    ) -> Arrays:
        """As GFM's, and ``plate``."""
        if layers.plate is None:
            raise ObjectiveError(
                "these layers have no plate; gfm-plate needs one: draw procedural scenes "
                "with_plate=True"
            )
        arrays = GFMObjective.targets(layers, rosta, rng, kernel=kernel)
        return arrays | {"plate": _planes(layers.plate)}

    def inputs(self, batch: Tensors) -> tuple[Tensor, ...]:
        """Image and plate."""
        return tuple(normalise(batch[name], self.network) for name in ("image", "plate"))


class AIMObjective(Objective):
    """AIM (IJCAI 2021, section 3.3): GFM's losses over the unified representation.

    Args:
        saliency: pretraining on a saliency dataset (DUTS; section 4.2, "Transfer learning"). Its
            masks stand for mattes of salient opaque objects. Nothing tells foreground and
            background colours apart there, so the composition loss is left out. The paper says no
            more than that it pretrains; the rest of this is ours.
    """

    def __init__(self, network: nn.Module, *, saliency: bool = False) -> None:
        super().__init__(network)
        self.saliency = saliency

    @staticmethod
    def targets(
        layers: Layers,
        rosta: str,
        rng: np.random.Generator,
        *,
        kernel: int | None = None,
        saliency: bool = False,
    ) -> Arrays:
        """``kernel``: the transition's ellipse, 25 pixels; ``saliency``: as in the class."""
        del rng
        arrays = _matte(layers)
        if not saliency:
            arrays |= _colours(layers)
        return arrays | _semantics(layers, rosta, kernel)

    def losses(self, outputs: Tensors, batch: Tensors) -> Tensors:
        """See the class."""
        return gfm_loss(outputs, batch, composition=not self.saliency)


# ── MSIA-matte ──────────────────────────────────────────────────────────────────────────────────


class MSIAObjective(Objective):
    """MSIA-matte (2020, section 3.4): λ₁ L1 + λ₂ SSIM (equation 8).

    λ₁ is 1, λ₂ is 0.1 in the first epoch and 0.025 in the following.
    """

    @staticmethod
    def targets(layers: Layers, rosta: str, rng: np.random.Generator) -> Arrays:
        """Image and alpha."""
        del rosta, rng
        return _matte(layers)

    def losses(self, outputs: Tensors, batch: Tensors) -> Tensors:
        """See the class."""
        weight = 0.1 if self.epoch == 0 else 0.025
        return {
            "l1": l1_loss(outputs["alpha"], batch["alpha"]),
            "ssim": weight * ssim_loss(outputs["alpha"], batch["alpha"]),
        }


# ── SIM ─────────────────────────────────────────────────────────────────────────────────────────


class SIMObjective(Objective):
    """SIM (CVPR 2021, "Loss Function"): L_α + 0.2 (L_FB + L_f + L_g + L_e) + 0.1 L_c.

    L_α is in three parts, ``alpha``, ``composition`` and ``laplacian``; then come ``colours``
    (L_FB), ``features`` (L_f), ``gradient`` (L_g), ``exclusion`` (L_e) and ``classes`` (L_c).
    ``discriminator`` is the loss of the discriminator itself. It learns beside the network, from
    true mattes alone, and judges the network's with what it has learnt so far; the other losses do
    not reach it. (Whether the paper's was trained before is not said, and none was published.)

    A batch has two images or more: SIM's ASPP has a batch norm over an image's mean.

    Args:
        classifier: the trained patch classifier, which makes the semantic trimap. It is frozen.
        discriminator: one to go on with; a fresh one by default.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        classifier: PatchClassifier | None = None,
        discriminator: AlphaDiscriminator | None = None,
    ) -> None:
        if not isinstance(classifier, PatchClassifier):
            given = "missing" if classifier is None else f"a {type(classifier).__name__}"
            raise ObjectiveError(
                f"classifier is {given}; sim needs its trained patch classifier: "
                "networks.create('sim_classifier'), filled by checkpoints.load"
            )
        super().__init__(network)
        self.classifier = classifier.requires_grad_(False).eval()
        self.discriminator = discriminator or AlphaDiscriminator()

    @staticmethod
    def targets(
        layers: Layers,
        rosta: str,
        rng: np.random.Generator,
        *,
        widths: tuple[int, int] = (1, 30),
    ) -> Arrays:
        """``widths``: of the random trimaps, as in `representations.random_trimap`."""
        del rosta
        areas = random_trimap(rng, layers.alpha, (widths[0], widths[1]))
        known = layers.category in CLASSES
        return {
            **_matte(layers),
            **_colours(layers),
            "trimap": two_channel(areas),
            "clicks": distance_maps(areas),
            "mask": (areas == UNKNOWN).astype(np.float32)[None],
            "category": np.array(CLASSES.index(layers.category) if known else -1),
        }

    def train(self, mode: bool = True) -> SIMObjective:
        """As any module; the classifier stays as it was trained."""
        super().train(mode)
        self.classifier.eval()
        return self

    def inputs(self, batch: Tensors) -> tuple[Tensor, ...]:
        """Image, trimap, distance maps and semantic trimap."""
        image = normalise(batch["image"], self.network)
        return image, batch["trimap"], batch["clicks"], self.semantic_trimap(batch)

    @torch.no_grad()
    def semantic_trimap(self, batch: Tensors) -> Tensor:
        """`kernels.semantic_trimap` of a batch in one window, that of the crop: N×20×H×W."""
        background, foreground = batch["trimap"].split(1, 1)
        unknown = 1 - background - foreground
        trimap = foreground + UNKNOWN / 255 * unknown
        cam = self.classifier(normalise(batch["image"], self.classifier), trimap)["cam"].float()
        maps = functional.interpolate(cam, trimap.shape[2:], mode="bilinear")
        least, greatest = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
        return (maps - least) / (greatest - least).clamp_min(1e-12) * unknown

    def forward(self, batch: Tensors) -> Tensors:
        """As every objective's."""
        outputs = self.network(*self.inputs(batch))
        learnt, true_features = self.discriminator(batch["alpha"])
        judged, features = self._judge(outputs["alpha"])
        with _full_precision(batch):
            return {
                **self.losses(_floats(outputs), _floats(batch)),
                "features": 0.2 * feature_loss(features, [f.detach() for f in true_features]),
                "classes": 0.1 * classification_loss(judged, batch["category"]),
                "discriminator": classification_loss(learnt, batch["category"]),
            }

    def _judge(self, alpha: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The discriminator over the network's mattes, whose gradients it lets pass unchanged."""
        state = {name: tensor.detach() for name, tensor in self.discriminator.named_parameters()}
        # Copies: the statistics of its batch norms are of true mattes.
        state |= {name: tensor.clone() for name, tensor in self.discriminator.named_buffers()}
        return torch.func.functional_call(self.discriminator, state, (alpha,))

    def losses(self, outputs: Tensors, batch: Tensors) -> Tensors:
        """Those that need no discriminator."""
        alpha, unknown = batch["alpha"], batch["mask"]
        image, foreground, background = (
            batch[name] for name in ("composed", "foreground", "background")
        )
        matte, front, back = (outputs[name] for name in ("alpha", "foreground", "background"))
        weights = {name: w for name, w in outputs.items() if name.startswith("weight_")}
        # The paper's F̃ and B̃: wherever there is something of either to be seen.
        colours = l1_loss(front, foreground, (alpha > 0).float())
        colours = colours + l1_loss(back, background, (alpha < 1).float())
        return {
            "alpha": l1_loss(matte, alpha, unknown),
            # Of the true colours, as in Deep Image Matting (Xu et al., 2017), where L_α is from.
            "composition": l1_loss(matte * foreground + (1 - matte) * background, image, unknown),
            "laplacian": laplacian_loss(matte, alpha, unknown),
            "colours": 0.2 * colours,
            "gradient": 0.2
            * gradient_loss(matte, front, back, image=image, mask=unknown, **weights),
            "exclusion": 0.2 * exclusion_loss(matte, front, back, unknown),
        }


# ── By name ─────────────────────────────────────────────────────────────────────────────────────

_OBJECTIVES: dict[str, type[Any]] = {
    "gfm": GFMObjective,
    "gfm-plate": GFMPlateObjective,
    "aim": AIMObjective,
    "msia": MSIAObjective,
    "sim": SIMObjective,
}


def targets(
    layers: Layers, network: str, rosta: str, rng: np.random.Generator, **settings: Any
) -> Arrays:
    """What a network learns from a scene: arrays that ``torch.utils.data.default_collate`` stacks.

    Args:
        layers: the scene, H×W multiples of the network's ``size_multiple``.
        network: one of :func:`training.networks.names`.
        rosta: its representation of semantics and transition areas.
        rng: for SIM's random trimap.
        settings: ``kernel`` (GFM, AIM), ``saliency`` (AIM), ``widths`` (SIM). Those of
            :func:`create` may stand among them.

    Returns:
        C×H×W: ``image`` and, where the losses compose, ``composed``, ``foreground`` and
        ``background``, uint8; ``plate`` (gfm-plate); ``alpha`` float32. GFM and AIM: ``classes``
        int64 H×W, ``mask`` and ``focus`` float32, for RIM each with the suffixes ``_tt``, ``_ft``
        and ``_bt``. SIM: ``trimap`` (2 channels), ``clicks`` (6) and ``mask`` float32, and
        ``category``, one int64, −1 where the scene's is none of the matting classes.

    Raises:
        ObjectiveError: an unknown network, setting or RoSTa, or layers without what it needs.
    """
    objective = _objective(network, rosta)
    given = _known(network, objective, objective.targets, settings)
    return objective.targets(layers, rosta, rng, **given)


def create(network: nn.Module, **settings: Any) -> Objective:
    """The objective of a network.

    Parameters that require gradients are those to optimise; SIM's holds more than the network's.

    Args:
        network: as :func:`training.networks.create` builds it.
        settings: ``consistency`` (GFM), ``saliency`` (AIM), ``classifier`` and
            ``discriminator`` (SIM). Those of :func:`targets` may stand among them.

    Raises:
        ObjectiveError: a network that has no objective, or an unknown or missing setting.
    """
    name = str(getattr(network, "name", type(network).__name__))
    objective = _objective(name, str(getattr(network, "rosta", "none")))
    return objective(network, **_known(name, objective, objective.__init__, settings))


def _objective(network: str, rosta: str) -> type[Any]:
    if network not in _OBJECTIVES:
        raise ObjectiveError(
            f"{network!r} has no objective; expected one of {', '.join(_OBJECTIVES)}"
        )
    if rosta == "en-median":
        raise ObjectiveError(
            "en-median is the ensemble of three networks, each trained alone: train tt, ft and bt"
        )
    if rosta not in networks.rostas(network):
        raise ObjectiveError(
            f"rosta is {rosta!r}; expected one of {', '.join(networks.rostas(network))}"
        )
    return _OBJECTIVES[network]


def _known(
    network: str, objective: type[Any], taker: Any, settings: dict[str, Any]
) -> dict[str, Any]:
    """Those of the settings that ``taker`` takes; the others are its counterpart's, or unknown."""
    every = [*_keywords(objective.targets), *_keywords(objective.__init__)]
    for name in settings:
        if name not in every:
            raise ObjectiveError(
                f"unknown setting of {network}: {name!r}; "
                f"{expected_one_of(name, dict.fromkeys(every))}"
            )
    return {name: settings[name] for name in _keywords(taker) if name in settings}


def _keywords(function: Any) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
