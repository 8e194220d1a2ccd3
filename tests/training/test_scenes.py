"""Procedural scenes: repeatable, varied, and consistent with their alpha."""

import numpy as np

from matter_sdk.training.data.layers import compose
from matter_sdk.training.data.silhouettes import ellipse, fill
from matter_sdk.training.scenes import layers, scene


def test_a_scene_follows_from_its_seed_alone() -> None:
    first, alpha = scene(11, (96, 128))
    scene(12, (64, 64))
    again, alpha_again = scene(11, (96, 128))
    other, _ = scene(12, (96, 128))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(alpha, alpha_again)
    assert not np.array_equal(first, other)


def test_scenes_have_the_promised_types_and_ranges() -> None:
    for seed in range(12):
        image, alpha = scene(seed, (64, 96))
        assert image.shape == (64, 96, 3)
        assert image.dtype == np.uint8
        assert alpha.shape == (64, 96)
        assert alpha.dtype == np.float32
        assert alpha.min() >= 0
        assert alpha.max() <= 1


def test_scenes_vary_and_most_have_a_subject_with_an_edge() -> None:
    mattes = [scene(seed, (96, 96))[1] for seed in range(40)]
    shares = np.array([matte.mean() for matte in mattes])
    assert (shares > 0.03).mean() > 0.8
    assert shares.std() > 0.08
    fractional = [((matte > 0.02) & (matte < 0.98)).mean() for matte in mattes]
    assert np.median(fractional) > 0.01


def test_compose_is_the_matting_equation() -> None:
    drawn = layers(4, (48, 64))
    alpha = drawn.alpha.astype(np.float64)[..., None]
    expected = alpha * drawn.foreground + (1 - alpha) * drawn.background
    composed = compose(drawn.foreground, drawn.background, drawn.alpha)
    assert np.abs(composed - expected).max() <= 0.501


def test_fill_gives_the_area_of_an_ellipse() -> None:
    coverage = fill([ellipse((50, 40), 20, 10, 0.3)], 80, 100)
    # OpenCV's anti-aliased border lies outside the outline: half a pixel all round, roughly.
    assert np.pi * 20 * 10 < coverage.sum() < np.pi * 21 * 11


def test_decoys_stand_in_the_plate_too() -> None:
    """They change the background, in picture and plate alike, and no matte."""
    likeness = []
    for seed in range(12):
        plain, crowded = (
            layers(seed, (96, 128), with_plate=True, decoys=decoys) for decoys in (False, True)
        )
        np.testing.assert_array_equal(plain.alpha, crowded.alpha)
        changed = np.abs(plain.background.astype(int) - crowded.background).max(-1) > 40
        assert crowded.plate is not None
        if changed.mean() > 0.1:
            shown, with_it, without = (
                picture.mean(-1)[changed]
                for picture in (crowded.plate, crowded.background, plain.background)
            )
            likeness.append(np.corrcoef(shown, with_it)[0, 1] - np.corrcoef(shown, without)[0, 1])
    assert len(likeness) >= 3
    assert np.median(likeness) > 0.3
