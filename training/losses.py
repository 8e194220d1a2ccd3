"""Training losses of GFM (section 3 of *Bridging Composite and Real*, IJCV 2022).

Every tensor is float32 N×C×H×W; mattes, masks and images lie in 0..1.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

EPSILON = 1e-6


def glance_loss(glance: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy of the glance's probabilities (equation 2).

    Args:
        glance: N×C×H×W, probabilities that sum to 1 over C.
        classes: int64 N×H×W.
    """
    return functional.nll_loss(glance.clamp_min(EPSILON).log(), classes)


def alpha_loss(prediction: Tensor, alpha: Tensor, mask: Tensor | None = None) -> Tensor:
    """Root of the squared difference (equation 4), in a transition mask or everywhere.

    As in the released code, ε lies inside the root once a pixel of the mask, and the sum is
    divided by the mask's area plus 1.
    """
    if mask is None:
        return ((prediction - alpha).square() + EPSILON**2).sqrt().mean()
    root = (((prediction - alpha) * mask).square() + EPSILON**2 * mask).clamp_min(1e-14).sqrt()
    return (root * mask).sum() / (mask.sum() + 1)


def laplacian_loss(
    prediction: Tensor, alpha: Tensor, mask: Tensor | None = None, levels: int = 5
) -> Tensor:
    """L1 distance of the Laplacian pyramids, all levels with equal weight (equation 5).

    The pyramid's kernel is Burt and Adelson's 5-tap binomial. With a mask, what lies outside it
    does not count: both mattes are set to 0 there.
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


def composition_loss(
    prediction: Tensor, image: Tensor, foreground: Tensor, background: Tensor
) -> Tensor:
    """Difference between the image and its composition by the predicted matte (equation 7).

    ``image``, ``foreground`` and ``background`` are N×3×H×W. Summed over the three colours and
    divided by the number of the matte's pixels.
    """
    composed = prediction * foreground + (1 - prediction) * background
    return ((composed - image).square() + EPSILON**2).sqrt().sum(1).mean()


def gfm_loss(outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """GFM's three losses: ``glance`` (equation 2), ``focus`` (equation 3) and ``collaborative``
    (equation 6); the objective is their sum.

    Args:
        outputs: what the network returns: ``glance``, ``focus``, ``alpha``.
        batch: ``classes`` (int64 N×H×W), ``mask``, ``focus`` and ``alpha`` (N×1), and ``composed``,
            ``foreground`` and ``background`` (N×3).
    """
    focus, target, mask = outputs["focus"], batch["focus"], batch["mask"]
    fused, alpha = outputs["alpha"], batch["alpha"]
    return {
        "glance": glance_loss(outputs["glance"], batch["classes"]),
        "focus": alpha_loss(focus, target, mask) + laplacian_loss(focus, target, mask),
        "collaborative": alpha_loss(fused, alpha)
        + laplacian_loss(fused, alpha)
        + composition_loss(fused, batch["composed"], batch["foreground"], batch["background"]),
    }
