"""The losses, against the released code's values, other libraries and closed forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from matter_sdk.training.fit.losses import (
    alpha_loss,
    classification_loss,
    composition_loss,
    exclusion_loss,
    feature_loss,
    gfm_loss,
    glance_loss,
    gradient_loss,
    l1_loss,
    laplacian_loss,
    ssim,
    ssim_loss,
)

REFERENCE = json.loads((Path(__file__).parents[1] / "data/reference/losses.json").read_text())


@pytest.fixture
def reference() -> dict[str, Tensor]:
    """The tensors on which the released code was run, by the recipe in ``losses.json``."""

    def rng(seed: int) -> np.random.Generator:
        return np.random.default_rng(seed)

    shape = (2, 1, 64, 64)
    coarse = np.kron(rng(100).uniform(-128, 383, (2, 1, 8, 8)), np.ones((1, 1, 8, 8)))
    alpha = np.clip(np.round(coarse + rng(101).normal(0, 12, shape)), 0, 255)
    prediction = np.clip(alpha / 255 + rng(102).normal(0, 0.2, shape), 0, 1)
    foreground = rng(105).uniform(0, 255, (2, 3, 64, 64)) / 255
    background = rng(106).uniform(0, 255, (2, 3, 64, 64)) / 255
    for name, array in (("alpha", alpha), ("fg", 255 * foreground), ("bg", 255 * background)):
        expected = REFERENCE["check"][name]
        assert list(array.shape) == expected["shape"]
        assert array.sum() == pytest.approx(expected["sum"])
    assert prediction.sum() == pytest.approx(REFERENCE["check"]["predict"]["sum"])
    arrays = {
        "alpha": alpha / 255,
        "mask": (alpha > 0) & (alpha < 255),
        "prediction": prediction,
        "foreground": foreground,
        "background": background,
        "image": foreground * (alpha / 255) + background * (1 - alpha / 255),
    }
    return {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}


def test_losses_match_the_released_code(reference: dict[str, Tensor]) -> None:
    r = reference
    found = {
        "alpha": alpha_loss(r["prediction"], r["alpha"], r["mask"]),
        "alpha_whole": alpha_loss(r["prediction"], r["alpha"]),
        "composition_whole": composition_loss(
            r["prediction"], r["image"], r["foreground"], r["background"]
        ),
    }
    assert found.keys() == REFERENCE["values"].keys()
    for name, value in found.items():
        assert value.item() == pytest.approx(REFERENCE["values"][name]["value"], rel=1e-5), name


def test_masked_alpha_loss_ignores_what_lies_outside(reference: dict[str, Tensor]) -> None:
    r = reference
    other = torch.where(r["mask"] > 0, r["prediction"], 1 - r["prediction"])
    assert alpha_loss(other, r["alpha"], r["mask"]) == alpha_loss(
        r["prediction"], r["alpha"], r["mask"]
    )
    assert laplacian_loss(other, r["alpha"], r["mask"]) == laplacian_loss(
        r["prediction"], r["alpha"], r["mask"]
    )


def test_laplacian_loss_matches_pyramids_made_with_the_binomial_kernel(
    reference: dict[str, Tensor],
) -> None:
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=torch.float64) / 16
    kernel = torch.outer(taps, taps)[None, None]

    def pyramid(image: Tensor) -> list[Tensor]:
        levels = []
        for _ in range(5):
            padded = torch.nn.functional.pad(image, (2, 2, 2, 2), mode="reflect")
            smooth = torch.nn.functional.conv2d(padded, kernel)
            levels.append(image - smooth)
            image = torch.nn.functional.avg_pool2d(smooth, 2)
        return levels

    prediction, alpha = (reference[name].double() for name in ("prediction", "alpha"))
    expected = sum(
        (a - b).abs().mean() for a, b in zip(pyramid(prediction), pyramid(alpha), strict=True)
    )
    measured = laplacian_loss(reference["prediction"], reference["alpha"])
    assert measured.item() == pytest.approx(float(expected), rel=1e-5)


def test_glance_loss_is_the_cross_entropy_of_the_probabilities() -> None:
    logits = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    classes = torch.randint(0, 3, (2, 8, 8), generator=torch.Generator().manual_seed(1))
    expected = torch.nn.functional.cross_entropy(logits, classes)
    assert glance_loss(logits.softmax(1), classes).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_glance_loss_of_sigmoids_tells_the_other_classes_off() -> None:
    """One sigmoid for each class: all certain is no better than all unsure."""
    classes = torch.zeros(1, 1, 1, dtype=torch.int64)
    certain, unsure = torch.ones(1, 3, 1, 1), torch.full((1, 3, 1, 1), 0.5)
    assert glance_loss(certain, classes).item() == pytest.approx(np.log(3))
    assert glance_loss(unsure, classes).item() == pytest.approx(np.log(3))
    logits = torch.tensor([2.0, 1.0, -1.0]).view(1, 3, 1, 1).requires_grad_()
    glance_loss(torch.sigmoid(logits), classes).backward()
    assert (logits.grad.flatten().sign() == torch.tensor([-1, 1, 1])).all()


def test_a_confident_mistake_of_the_glance_still_has_its_gradient() -> None:
    logits = torch.tensor([-20.0, 20.0, 0.0]).view(1, 3, 1, 1).requires_grad_()
    glance_loss(logits.softmax(1), torch.zeros(1, 1, 1, dtype=torch.int64)).backward()
    assert logits.grad.flatten().tolist() == pytest.approx([-1, 1, 0], abs=1e-6)


def test_a_perfect_prediction_costs_nothing_and_a_wrong_one_does(
    reference: dict[str, Tensor],
) -> None:
    r = reference
    classes = ((r["alpha"] > 0).long() + (r["alpha"] == 1).long())[:, 0]
    batch = {
        "classes": classes,
        "mask": r["mask"],
        "focus": r["alpha"],
        "alpha": r["alpha"],
        "composed": r["image"],
        "foreground": r["foreground"],
        "background": r["background"],
    }
    glance = torch.nn.functional.one_hot(classes, 3).permute(0, 3, 1, 2).float()
    right = gfm_loss({"glance": glance, "focus": r["alpha"], "alpha": r["alpha"]}, batch)
    assert all(value < 1e-5 for value in right.values())
    wrong = gfm_loss(
        {"glance": glance.flip(1), "focus": 1 - r["alpha"], "alpha": 1 - r["alpha"]}, batch
    )
    assert all(value > 0.1 for value in wrong.values())


# ── MSIA-matte and SIM ──────────────────────────────────────────────────────────────────────────


def random(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ramp(across: float, down: float, size: int = 8) -> Tensor:
    """1×1×size×size, which grows by ``across`` and ``down`` a pixel."""
    y, x = np.mgrid[:size, :size]
    return torch.from_numpy(across * x + down * y)[None, None]


def test_ssim_is_that_of_scikit_image() -> None:
    x, y = random(0, 2, 3, 24, 37), random(1, 2, 3, 24, 37)
    y = 0.7 * x + 0.3 * y
    expected = [
        structural_similarity(
            a.numpy(),
            b.numpy(),
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(x.flatten(0, 1), y.flatten(0, 1), strict=True)
    ]
    assert ssim(x, y).item() == pytest.approx(np.mean(expected), rel=1e-9)
    assert ssim_loss(x.float(), y.float()).item() == pytest.approx(1 - np.mean(expected), rel=1e-4)


def test_ssim_of_a_matte_and_its_inverse() -> None:
    matte = random(0, 1, 1, 32, 32)
    assert ssim_loss(matte, matte).item() == pytest.approx(0, abs=1e-12)
    assert ssim_loss(1 - matte, matte) > 1  # the structure is opposite


def test_l1_is_a_mean_over_pixels_and_a_sum_over_colours() -> None:
    a, b = random(0, 2, 3, 4, 5), random(1, 2, 3, 4, 5)
    mask = (random(2, 2, 1, 4, 5) > 0.5).double()
    distance = (a - b).abs().numpy().sum(1)
    assert l1_loss(a, b).item() == pytest.approx(distance.mean())
    inside = distance[mask[:, 0].numpy() > 0]
    assert l1_loss(a, b, mask).item() == pytest.approx(inside.mean())
    assert l1_loss(a, b, torch.zeros_like(mask)) == 0


def test_gradient_loss_vanishes_where_the_weights_are_the_matting_equations() -> None:
    """∇I = (F − B) ∇α + α ∇F + (1 − α) ∇B. Of a ramp of alpha between grey F and B all is known."""
    alpha = ramp(0.05, 0.03)
    foreground, background = torch.full((1, 3, 8, 8), 0.9), torch.full((1, 3, 8, 8), 0.2)
    image = alpha * foreground + (1 - alpha) * background
    inner = torch.zeros(1, 1, 8, 8)
    inner[..., :-1, :-1] = 1  # at the edge a difference has no second pixel
    layers = (alpha, foreground, background)

    def loss(weight: float) -> float:
        weights = (torch.full_like(alpha, weight), alpha, 1 - alpha)
        return gradient_loss(*layers, *weights, image, inner).item()

    assert loss(0.7) == pytest.approx(0, abs=1e-7)
    # Each unit of the weight is worth |∇α|₁ = 0.08 in each of the three colours.
    assert loss(0.7 + 0.25) == pytest.approx(0.25 * 3 * 0.08, rel=1e-5)


def test_gradient_loss_weighs_the_colours() -> None:
    alpha = torch.full((1, 1, 8, 8), 0.25, dtype=torch.float64)
    foreground, background = (
        ramp(0.04, 0).expand(-1, 3, -1, -1),
        ramp(0, 0.02).expand(-1, 3, -1, -1),
    )
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 2:5, 2:5] = 1
    image = 0.25 * foreground + 0.75 * background  # α is even: ∇I = α ∇F + (1 − α) ∇B
    layers = (alpha, foreground, background)
    right = (torch.rand_like(alpha), alpha, 1 - alpha)
    assert gradient_loss(*layers, *right, image, mask).item() == pytest.approx(0, abs=1e-12)
    swapped = (torch.rand_like(alpha), 1 - alpha, alpha)
    expected = 3 * (0.5 * 0.04 + 0.5 * 0.02)
    assert gradient_loss(*layers, *swapped, image, mask).item() == pytest.approx(expected)


def test_exclusion_of_ramps() -> None:
    alpha, mask = ramp(0.1, 0), torch.zeros(1, 1, 8, 8)
    mask[..., 2:5, 2:5] = 1
    foreground, background = ramp(0.03, 0.01).repeat(1, 3, 1, 1), ramp(0, -0.02).repeat(1, 3, 1, 1)
    expected = (3 * 0.04 + 0.1) * 3 * 0.02
    assert exclusion_loss(alpha, foreground, background, mask).item() == pytest.approx(expected)
    # An even background excludes nothing.
    assert exclusion_loss(alpha, foreground, torch.zeros_like(background), mask) == 0


def test_feature_loss_is_the_distance_of_each_layer_over_its_size() -> None:
    one, two = [random(0, 2, 3, 4, 4), random(1, 2, 6)], [random(2, 2, 3, 4, 4), random(3, 2, 6)]
    expected = sum(
        np.mean([np.linalg.norm(x - y) for x, y in zip(a.numpy(), b.numpy(), strict=True)])
        / a[0].numel()
        for a, b in zip(one, two, strict=True)
    )
    assert feature_loss(one, two).item() == pytest.approx(expected)
    assert feature_loss(one, one) == 0


def test_classes_that_are_not_known_do_not_count() -> None:
    logits = random(0, 4, 20).requires_grad_()
    classes = torch.tensor([3, -1, 7, -1])
    expected = torch.nn.functional.cross_entropy(logits[[0, 2]], classes[[0, 2]])
    assert classification_loss(logits, classes).item() == pytest.approx(expected.item())
    unknown = classification_loss(logits, torch.full((4,), -1))
    unknown.backward()
    assert unknown == 0
    assert not logits.grad.any()


# ── Gradients and precision ─────────────────────────────────────────────────────────────────────

SIDE = 48  # the least that five levels of a pyramid take
LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "alpha": lambda x: alpha_loss(x, target(x), mask(x)),
    "alpha whole": lambda x: alpha_loss(x, target(x)),
    "laplacian": lambda x: laplacian_loss(x, target(x), mask(x)),
    "composition": lambda x: composition_loss(x, *colours(x, 3)),
    "glance": lambda x: glance_loss(torch.cat([x, x / 3], 1), mask(x)[:, 0].long()),
    "l1": lambda x: l1_loss(x, target(x), mask(x)),
    "ssim": lambda x: ssim_loss(x, target(x)),
    "gradient": lambda x: gradient_loss(
        x, *(c * x for c in colours(x, 2)), x, x / 2, 1 - x, colours(x, 3)[2], mask(x)
    ),
    "exclusion": lambda x: exclusion_loss(x, *(c * x for c in colours(x, 2)), mask(x)),
    "features": lambda x: feature_loss([x, x[..., 0]], [target(x), target(x)[..., 0]]),
}


def target(like: Tensor) -> Tensor:
    return random(10, *like.shape).to(like.dtype)


def mask(like: Tensor) -> Tensor:
    return (random(11, *like.shape) > 0.5).to(like.dtype)


def colours(like: Tensor, count: int) -> list[Tensor]:
    n, _, height, width = like.shape
    return [random(20 + i, n, 3, height, width).to(like.dtype) for i in range(count)]


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    small = random(0, 1, 1, 12, 12).requires_grad_()

    def loss(x: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(x, (0, SIDE - 12, 0, SIDE - 12), value=0.3)
        return LOSSES[name](padded if name == "laplacian" else x)

    assert torch.autograd.gradcheck(loss, small, fast_mode=True)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_with_in_float32(name: str, dtype: torch.dtype) -> None:
    half = random(0, 2, 1, SIDE, SIDE).to(dtype).requires_grad_()
    loss = LOSSES[name](half)
    loss.backward()
    assert loss.dtype == torch.float32
    assert half.grad.isfinite().all()
    exact = LOSSES[name](random(0, 2, 1, SIDE, SIDE))
    assert loss.item() == pytest.approx(exact.item(), rel=0.03, abs=1e-3)


@pytest.mark.parametrize("name", ["alpha", "alpha whole", "laplacian", "l1", "ssim", "features"])
def test_gradients_of_a_perfect_prediction_are_finite(name: str) -> None:
    perfect = random(10, 1, 1, SIDE, SIDE).float().requires_grad_()
    loss = LOSSES[name](perfect)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=2e-6)
    assert perfect.grad.isfinite().all()


def test_the_glance_s_loss_takes_channels_last_networks() -> None:
    glance = torch.rand(2, 3, 4, 5).requires_grad_()
    classes = torch.randint(0, 3, (2, 4, 5))
    glance_loss(glance, classes).backward()
    last = glance.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    glance_loss(last, classes).backward()
    torch.testing.assert_close(last.grad, glance.grad)
