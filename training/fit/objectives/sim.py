"""SIM, with its classifier and the discriminator that learns beside it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from matter_sdk.kernels.trimap import CLASSES, UNKNOWN, distance_maps, two_channel
from matter_sdk.training.data.layers import Layers
from matter_sdk.training.data.representations import random_trimap
from matter_sdk.training.fit.losses import (
    classification_loss,
    exclusion_loss,
    feature_loss,
    gradient_loss,
    l1_loss,
    laplacian_loss,
)
from matter_sdk.training.fit.objectives.base import (
    Arrays,
    Objective,
    ObjectiveError,
    Tensors,
    colours,
    floats,
    full_precision,
    matte,
    normalise,
)
from matter_sdk.training.networks.sim_classifier import AlphaDiscriminator, PatchClassifier


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
            **matte(layers),
            **colours(layers),
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
        with full_precision(batch):
            return {
                **self.losses(floats(outputs), floats(batch)),
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
