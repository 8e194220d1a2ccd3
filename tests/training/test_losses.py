"""GFM's losses, against the released code's values and closed forms."""

import numpy as np
import pytest
import torch

from training.losses import alpha_loss, composition_loss, gfm_loss, glance_loss, laplacian_loss


@pytest.fixture
def reference() -> dict[str, torch.Tensor]:
    """The tensors on which the released code of GFM (JizhiziLi/GFM 4b15ee0) was run."""

    def rng(seed: int) -> np.random.Generator:
        return np.random.default_rng(seed)

    shape = (2, 1, 64, 64)
    coarse = np.kron(rng(100).uniform(-128, 383, (2, 1, 8, 8)), np.ones((1, 1, 8, 8)))
    alpha = np.clip(np.round(coarse + rng(101).normal(0, 12, shape)), 0, 255)
    prediction = np.clip(alpha / 255 + rng(102).normal(0, 0.2, shape), 0, 1)
    foreground = rng(105).uniform(0, 255, (2, 3, 64, 64)) / 255
    background = rng(106).uniform(0, 255, (2, 3, 64, 64)) / 255
    arrays = {
        "alpha": alpha / 255,
        "mask": (alpha > 0) & (alpha < 255),
        "prediction": prediction,
        "foreground": foreground,
        "background": background,
        "image": foreground * (alpha / 255) + background * (1 - alpha / 255),
    }
    return {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}


def test_losses_match_the_released_code(reference: dict[str, torch.Tensor]) -> None:
    r = reference
    assert alpha_loss(r["prediction"], r["alpha"], r["mask"]).item() == pytest.approx(
        0.13889971375465393, rel=1e-4
    )
    assert alpha_loss(r["prediction"], r["alpha"]).item() == pytest.approx(
        0.11240148544311523, rel=1e-4
    )
    assert composition_loss(
        r["prediction"], r["image"], r["foreground"], r["background"]
    ).item() == pytest.approx(0.11174345016479492, rel=1e-4)


def test_masked_alpha_loss_ignores_what_lies_outside(reference: dict[str, torch.Tensor]) -> None:
    r = reference
    other = torch.where(r["mask"] > 0, r["prediction"], 1 - r["prediction"])
    assert alpha_loss(other, r["alpha"], r["mask"]) == alpha_loss(
        r["prediction"], r["alpha"], r["mask"]
    )
    assert laplacian_loss(other, r["alpha"], r["mask"]) == laplacian_loss(
        r["prediction"], r["alpha"], r["mask"]
    )


def test_laplacian_loss_matches_pyramids_made_with_the_binomial_kernel(
    reference: dict[str, torch.Tensor],
) -> None:
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=torch.float64) / 16
    kernel = torch.outer(taps, taps)[None, None]

    def pyramid(image: torch.Tensor) -> list[torch.Tensor]:
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


def test_a_perfect_prediction_costs_nothing_and_a_wrong_one_does(
    reference: dict[str, torch.Tensor],
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
