"""Verification pictures, and that a network gets of them what the SDK would give it."""

from __future__ import annotations

from types import ModuleType

import cv2
import numpy as np
import pytest
import torch

from matter_sdk import kernels
from matter_sdk.export import examples
from matter_sdk.export.examples import Picture
from matter_sdk.training import networks

SIZE = (40, 72)


@pytest.fixture(scope="module")
def shown() -> list[Picture]:
    rng = np.random.default_rng(0)
    trimap = np.full((80, 144), 128, np.uint8)
    trimap[:, :50], trimap[:, 100:] = 0, 255
    image, plate = rng.integers(0, 256, (2, 80, 144, 3), np.uint8)
    return [Picture(image, trimap, plate)]


def test_every_picture_has_a_trimap_and_a_plate_of_its_size() -> None:
    for image, trimap, plate in examples.pictures((48, 64)):
        assert image.dtype == trimap.dtype == plate.dtype == np.uint8
        assert image.shape == plate.shape == (*trimap.shape, 3)
        assert set(np.unique(trimap)) <= {0, 128, 255}
        assert (trimap == 128).any()
    photographs = examples.pictures((48, 64))[examples.SCENES :]
    for image, trimap, plate in photographs:  # an ellipse: all three, the middle in front
        assert set(np.unique(trimap)) == {0, 128, 255}
        assert trimap[trimap.shape[0] // 2, trimap.shape[1] // 2] == 255
        assert trimap[0, 0] == 0
        differs = (image != plate).any(axis=2)
        assert not differs[trimap == 0].any()
        assert differs[trimap > 0].mean() > 0.9


def test_a_scenes_plate_is_its_background_and_not_its_subject() -> None:
    """Second shots are shifted and exposed otherwise: once the exposure fits, what is behind is
    near to the picture, and the subject is not."""
    from matter_sdk.training.scenes import layers

    size = (96, 160)
    for seed, picture in enumerate(examples.pictures(size)[: examples.SCENES]):
        alpha = layers(seed, size).alpha
        behind = alpha < 0.01
        distances = np.zeros(size)
        for channel in range(3):
            shot, plate = (p[..., channel].astype(float) for p in (picture.image, picture.plate))
            exposure = np.polyfit(plate[behind], shot[behind], 1)
            distances += np.abs(shot - np.polyval(exposure, plate)) / 3
        assert distances[alpha > 0.99].mean() > 2 * distances[behind].mean(), seed


def test_inputs_of_a_picture_alone(tiny: ModuleType, shown: list[Picture]) -> None:
    network = tiny.Tiny()
    ((image,),) = examples.inputs(network, shown, (32, 64))
    expected = kernels.preprocess(shown[0].image, (32, 64), network.input_spec, order="rgb")[0]
    np.testing.assert_array_equal(image, expected)


def test_inputs_with_a_plate(shown: list[Picture]) -> None:
    """The plate is preprocessed as the image is, and after it."""
    with torch.device("meta"):
        network = networks.create("gfm-plate")
    ((image, plate),) = examples.inputs(network, shown, (32, 64))
    mean, std = np.float32(127), np.float32(128)  # as EfficientNet-Lite's weights were trained
    for made, given in ((image, shown[0].image), (plate, shown[0].plate)):
        small = cv2.resize(given.astype(np.float32), (64, 32), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(made, (small.transpose(2, 0, 1) - mean) / std, atol=1e-4)


def test_inputs_of_sim(tiny: ModuleType, shown: list[Picture]) -> None:
    """By name in the network's order; the semantic trimap by the classifier on its own scale."""
    network, classifier = tiny.TinyTrimap(), tiny.TinyClassifier().eval()
    (made,) = examples.inputs(network, shown, SIZE, classifier)
    image, two, clicks, semantic = made
    assert [array.shape[0] for array in made] == list(network.inputs.values())
    assert all(array.dtype == np.float32 for array in made)
    assert 0 <= image.min() < image.max() <= 1
    trimap = kernels.resize_trimap(shown[0].trimap, SIZE)
    np.testing.assert_array_equal(two, kernels.two_channel(trimap))
    np.testing.assert_array_equal(clicks, kernels.distance_maps(trimap))
    # The picture is smaller than any window: the classifier sees it once, as a whole.
    spec = classifier.input_spec
    whole = (image - np.array(spec.mean, np.float32)[:, None, None] / 255) * 255
    whole = whole / np.array(spec.std, np.float32)[:, None, None]
    with torch.no_grad():
        cam = classifier(
            torch.from_numpy(whole)[None], torch.from_numpy(trimap / np.float32(255))[None, None]
        )["cam"]
    maps = torch.nn.functional.interpolate(cam, SIZE, mode="bilinear", align_corners=False)[0]
    expected = (maps - maps.min()) / (maps.max() - maps.min()) * torch.from_numpy(trimap == 128)
    np.testing.assert_allclose(semantic, expected.numpy(), atol=1e-4)


def test_the_classifier_sees_the_windows_that_the_sdk_makes(tiny: ModuleType) -> None:
    """Each is among those that `kernels.semantic_trimap` passes on, and holds the unknown part."""
    size = (328, 648)
    trimap = np.zeros(size, np.uint8)
    trimap[:, 500:] = 128
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    picture = Picture(image, trimap, image)
    classifier = tiny.TinyClassifier().eval()
    passed: list[tuple[np.ndarray, np.ndarray]] = []

    def classify(image: np.ndarray, part: np.ndarray) -> np.ndarray:
        passed.append((image, part))
        sides = (-(-side // 32) for side in image.shape[2:])
        return np.zeros((1, 20, *sides), np.float32)

    whole = kernels.preprocess(picture.image, size, classifier.input_spec, order="rgb")[0]
    kernels.semantic_trimap(whole, trimap, classify)
    assert examples.window_sizes([size]) == ((320, 320), (328, 648))
    assert examples.window_sizes([size, (328, 320)]) == (
        (320, 320),
        (328, 648),
        (328, 320),
    )
    for window in examples.window_sizes([size]):
        ((image, part),) = examples.windows(classifier, [picture], size, window)
        assert image.shape == (3, *window)
        assert any(
            np.array_equal(image[None], seen) and np.array_equal(part[None], its)
            for seen, its in passed
        )
        unknown = (part == np.float32(128 / 255)).sum()
        assert unknown == max(
            (its == np.float32(128 / 255)).sum() for _, its in passed if its.shape[2:] == window
        )


@pytest.mark.parametrize(("batch", "expected"), [(1, [[0], [1], [2]]), (2, [[0, 1], [2, 0]])])
def test_batches_are_filled_from_the_first_picture_on(
    batch: int, expected: list[list[int]]
) -> None:
    single = [(np.full((1, 2, 2), index, np.float32),) for index in range(3)]
    runs = examples.batched(single, batch)
    assert [[int(one) for one in run[0][:, 0, 0, 0]] for run in runs] == expected
