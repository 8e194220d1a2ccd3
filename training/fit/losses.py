"""The papers' losses as functions on tensors.

GFM (*Bridging Composite and Real*, IJCV 2022, sections 3.2 to 3.5) and AIM (IJCAI 2021, section
3.3): glance, alpha, Laplacian, composition. MSIA-matte (2020, section 3.4): L1 and SSIM. SIM (CVPR
2021, "Loss Function"): L1 in a region, classes, features, gradient, exclusion.

Tensors are N×C×H×W; mattes, masks and images lie in 0..1. Half-precision tensors are taken and
computed with in float32; the result is a scalar. ε is the papers' 1e-6.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import numpy as np
import torch
from torch import Tensor, distributed
from torch.nn import functional

EPSILON = 1e-6

_P = ParamSpec("_P")


def _wide(value: Any) -> Any:
    narrow = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if narrow else value


def _in_float32(loss: Callable[_P, Tensor]) -> Callable[_P, Tensor]:
    """For half-precision tensors: ε² and sums over pixels leave the range of float16."""

    @functools.wraps(loss)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> Tensor:
        return loss(*map(_wide, args), **{name: _wide(value) for name, value in kwargs.items()})

    return call


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of N×1×H×W where the mask is 1; 0 where it never is."""
    return _over((values * mask).sum(), mask.sum(), lambda area: area.clamp_min(1))


def _over(total: Tensor, area: Tensor, least: Callable[[Tensor], Tensor]) -> Tensor:
    """A sum over a mask divided by ``least`` of the mask's area.

    Where several processes share a batch the area is that of all their masks, and the quotient
    such that the mean over the processes is what one process with the whole batch would get.
    """
    processes = 1
    if distributed.is_available() and distributed.is_initialized():
        processes = distributed.get_world_size()
    if processes > 1:
        area = area.clone()
        distributed.all_reduce(area)
    return total * processes / least(area)


# ── GFM and AIM ─────────────────────────────────────────────────────────────────────────────────


@_in_float32
def glance_loss(glance: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy of the glance's probabilities (GFM, equation 2).

    The glance may be one sigmoid for each class, as in the published networks: their sum is
    brought to 1 first. Without that the equation, which reads the true class's probability alone,
    would be content with 1 for every class.

    Args:
        glance: N×C×H×W in 0..1.
        classes: int64 N×H×W; what is below 0 does not count.
    """
    # A bound that keeps the logarithm finite, and low enough that no confident mistake meets it.
    glance = glance.clamp_min(1e-30)
    logarithms = glance.log() - glance.sum(1, keepdim=True).log()
    # nll_loss has no gradient for a tensor in channels-last order.
    counts = classes >= 0
    total = functional.nll_loss(logarithms.contiguous(), classes.clamp_min(0), reduction="none")
    return (total * counts).sum() / counts.sum().clamp_min(1)


@_in_float32
def alpha_loss(prediction: Tensor, alpha: Tensor, mask: Tensor | None = None) -> Tensor:
    """Root of the squared difference (GFM, equation 4), in a transition mask or everywhere.

    As in the released code, ε lies inside the root once a pixel of the mask, and the sum is
    divided by the mask's area plus 1.
    """
    if mask is None:
        return ((prediction - alpha).square() + EPSILON**2).sqrt().mean()
    root = (((prediction - alpha) * mask).square() + EPSILON**2 * mask).clamp_min(1e-14).sqrt()
    return _over((root * mask).sum(), mask.sum(), lambda area: area + 1)


@_in_float32
def laplacian_loss(
    prediction: Tensor, alpha: Tensor, mask: Tensor | None = None, levels: int = 5
) -> Tensor:
    """L1 distance of the Laplacian pyramids, all levels with equal weight (GFM, equation 5).

    The pyramid's kernel is Burt and Adelson's 5-tap binomial. With a mask, what lies outside it
    does not count: both mattes are set to 0 there. Five levels need sides of 48 pixels or more.
    """
    # The pyramid is linear: that of the difference is the difference of the two.
    difference = prediction - alpha if mask is None else (prediction - alpha) * mask
    total = difference.new_zeros(())
    for _ in range(levels):
        smooth = functional.pad(difference, (2, 2, 2, 2), mode="reflect")
        for _ in range(4):  # four boxes of 2×2 are the binomial, and their gradient is cheap
            smooth = functional.avg_pool2d(smooth, 2, stride=1)
        total = total + (difference - smooth).abs().mean()
        difference = functional.avg_pool2d(smooth, 2)
    return total


@_in_float32
def composition_loss(
    prediction: Tensor, image: Tensor, foreground: Tensor, background: Tensor
) -> Tensor:
    """Difference between the image and its composition by the predicted matte (GFM, equation 7).

    ``image``, ``foreground`` and ``background`` are N×3×H×W. Summed over the three colours and
    divided by the number of the matte's pixels.
    """
    composed = prediction * foreground + (1 - prediction) * background
    return ((composed - image).square() + EPSILON**2).sqrt().sum(1).mean()


def focus_loss(focus: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Alpha and Laplacian loss in the transition area (GFM, equation 3)."""
    return alpha_loss(focus, target, mask) + laplacian_loss(focus, target, mask)


def collaborative_loss(
    prediction: Tensor, batch: dict[str, Tensor], composition: bool = True
) -> Tensor:
    """Alpha, Laplacian and composition loss of the whole matte (GFM, equation 6).

    Args:
        prediction: N×1×H×W.
        batch: ``alpha`` N×1×H×W, and ``composed``, ``foreground`` and ``background`` N×3×H×W.
        composition: with the last of the three, which needs the last three of the batch.
    """
    alpha = batch["alpha"]
    if "known" in batch:  # what is not known is as it was predicted
        alpha = torch.where(batch["known"] == 1, alpha, prediction.detach())
    total = alpha_loss(prediction, alpha) + laplacian_loss(prediction, alpha)
    if not composition:
        return total
    return total + composition_loss(
        prediction, batch["composed"], batch["foreground"], batch["background"]
    )


def gfm_loss(
    outputs: dict[str, Tensor], batch: dict[str, Tensor], composition: bool = True
) -> dict[str, Tensor]:
    """GFM's three losses, whose sum is its objective (equation 8); AIM's are the same.

    Args:
        outputs: what the network returns: ``glance``, ``focus``, ``alpha``.
        batch: ``classes`` (int64 N×H×W), ``mask``, ``focus`` and ``alpha`` (N×1), and ``composed``,
            ``foreground`` and ``background`` (N×3). With ``known`` (N×1 in 0..1), alpha counts
            only where that is 1.
        composition: as in :func:`collaborative_loss`.

    Returns:
        ``glance`` (equation 2), ``focus`` (equation 3) and ``collaborative`` (equation 6).
    """
    mask = batch["mask"] * (batch["known"] == 1) if "known" in batch else batch["mask"]
    return {
        "glance": glance_loss(outputs["glance"], batch["classes"]),
        "focus": focus_loss(outputs["focus"], batch["focus"], mask),
        "collaborative": collaborative_loss(outputs["alpha"], batch, composition),
    }


# ── MSIA-matte and SIM ──────────────────────────────────────────────────────────────────────────


@_in_float32
def l1_loss(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over the pixels of the L1 norm of the difference, summed over the channels.

    MSIA's equation 6, a mean instead of its sum: λ₁ and λ₂ then weigh terms of one order. With a
    mask, N×1×H×W, the mean over its pixels: SIM's alpha, composition and colour losses.
    """
    distance = (prediction - target).abs().sum(1, keepdim=True)
    return distance.mean() if mask is None else _mean(distance, mask)


@_in_float32
def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean structural similarity (Wang et al., *Image quality assessment*, 2004), at most 1.

    Gaussian windows of 11×11 with σ = 1.5, those that lie inside the image; K₁ = 0.01, K₂ = 0.03,
    population statistics. Sides of 11 pixels or more.
    """
    reach = np.arange(-5, 6) / 1.5
    taps = prediction.new_tensor(np.exp(-0.5 * reach**2))
    taps = taps / taps.sum()
    x, y = prediction.flatten(0, 1), target.flatten(0, 1)
    maps = torch.stack([x, y, x * x, y * y, x * y], 1).flatten(0, 1)[:, None]  # 5NC×1×H×W
    maps = functional.conv2d(maps, taps.view(1, 1, 1, -1))
    maps = functional.conv2d(maps, taps.view(1, 1, -1, 1))
    mean_x, mean_y, xx, yy, xy = maps.unflatten(0, (-1, 5))[:, :, 0].unbind(1)
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    # MSIA's equation 7 prints σ_m σ_t here; in the work that it refers to it is the covariance,
    # without which a matte and its inverse would have the same structure.
    covariance, variances = xy - mean_x * mean_y, xx - mean_x**2 + yy - mean_y**2
    return (luminance * (2 * covariance + c2) / (variances + c2)).mean()


def ssim_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """1 − SSIM (MSIA, equation 7)."""
    return 1 - ssim(prediction, target)


def classification_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy (SIM, L_c).

    Args:
        logits: N×C.
        classes: int64 N; −1 where the class is not known, which does not count.
    """
    total = functional.cross_entropy(_wide(logits), classes, ignore_index=-1, reduction="sum")
    return total / (classes >= 0).sum().clamp_min(1)


def feature_loss(features: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Sum over layers of ‖f̂ − f‖₂ / |f| (SIM, L_f), |f| being one image's number of values.

    Args:
        features, targets: of each layer, N×any shape.
    """
    distances = [
        torch.linalg.vector_norm((_wide(a) - _wide(b)).flatten(1), dim=1).mean() / a[0].numel()
        for a, b in zip(features, targets, strict=True)
    ]
    return torch.stack(distances).sum()


def _gradient(image: Tensor) -> Tensor:
    """Differences to the pixel on the right and below, 0 at the edge: N×C×H×W → N×2×C×H×W."""
    right = functional.pad(image[..., 1:] - image[..., :-1], (0, 1))
    below = functional.pad(image[..., 1:, :] - image[..., :-1, :], (0, 0, 0, 1))
    return torch.stack([right, below], 1)


def _norm(gradient: Tensor) -> Tensor:
    """L1 norm over directions and colours, N×1×H×W."""
    return gradient.abs().sum((1, 2))[:, None]


@_in_float32
def gradient_loss(
    alpha: Tensor,
    foreground: Tensor,
    background: Tensor,
    weight_alpha: Tensor,
    weight_foreground: Tensor,
    weight_background: Tensor,
    image: Tensor,
    mask: Tensor,
) -> Tensor:
    """Gradient-related loss with learnt content-sensitive weights (SIM, L_g).

    Mean over the mask of ‖λ_α ∇α̂ + λ_F ∇F̂ + λ_B ∇B̂ − ∇I‖₁, which were
    ∇I = (F − B) ∇α + α ∇F + (1 − α) ∇B if the weights were those of the matting equation. ∇ is the
    difference to the next pixel in either direction (the paper names no operator).

    Args:
        alpha: N×1×H×W.
        foreground, background, image: N×3×H×W.
        weight_alpha, weight_foreground, weight_background: λ_α, λ_F and λ_B, N×1×H×W: λ₁, 1 − λ₂
            and λ₂ in the paper.
        mask: the unknown region, N×1×H×W.
    """
    predicted = (
        weight_alpha[:, None] * _gradient(alpha)
        + weight_foreground[:, None] * _gradient(foreground)
        + weight_background[:, None] * _gradient(background)
    )
    return _mean(_norm(predicted - _gradient(image)), mask)


@_in_float32
def exclusion_loss(alpha: Tensor, foreground: Tensor, background: Tensor, mask: Tensor) -> Tensor:
    """Mean over the mask of ‖∇F̂‖₁ ‖∇B̂‖₁ + ‖∇α̂‖₁ ‖∇B̂‖₁ (SIM, L_e): no edge belongs to both.

    ``alpha`` and ``mask`` are N×1×H×W, ``foreground`` and ``background`` N×3×H×W.
    """
    edges = _norm(_gradient(foreground)) + _norm(_gradient(alpha))
    return _mean(edges * _norm(_gradient(background)), mask)
