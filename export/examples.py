"""The pictures that a build is verified on, and a network's inputs made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import cv2
import numpy as np
import torch
from torch import nn

from matter_sdk import kernels
from matter_sdk.training import networks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    # The network's inputs in their order, float32 C×H×W each (batch×C×H×W once stacked).
    Inputs = tuple[NDArray[np.float32], ...]

SCENES = 3
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee")

# Ellipses about the middle, as shares of the half sides: foreground inside the first, background
# outside the second.
_ELLIPSES = 0.45, 0.85
_REACH = 3  # radius of cv2.inpaint in pixels


class Picture(NamedTuple):
    """``image`` and ``plate``: uint8 H×W×3 RGB. ``trimap``: uint8 H×W of 0, 128 and 255."""

    image: NDArray[np.uint8]
    trimap: NDArray[np.uint8]
    plate: NDArray[np.uint8]


def pictures(size: tuple[int, int]) -> list[Picture]:
    """Return procedural scenes of ``size``, and scikit-image's photographs if it is installed.

    A scene's trimap is made from its alpha matte, and its plate is the scene without the subject. A
    photograph has neither: an ellipse about its middle stands for the subject, which exercises a
    network but says nothing about accuracy.
    """
    from matter_sdk.training.data.representations import trimap
    from matter_sdk.training.scenes import layers

    shown = []
    for seed in range(SCENES):
        drawn = layers(seed, size, with_plate=True)
        plate = cast("NDArray[np.uint8]", drawn.plate)  # asked for, and so there
        shown.append(Picture(drawn.image, trimap(drawn.alpha), plate))
    try:
        from skimage import data
    except ImportError:
        return shown
    # Only files of the wheel: skimage.data would download what is missing.
    folder = Path(data.__file__).parent
    for name in PHOTOGRAPHS:
        if (folder / f"{name}.png").is_file():
            shown.append(photograph(np.ascontiguousarray(getattr(data, name)()[..., :3])))
    return shown


def photograph(image: NDArray[np.uint8], *, with_plate: bool = True) -> Picture:
    """Return a uint8 H×W×3 RGB image with an ellipse about its middle as the subject.

    A plate takes a second for a million pixels; ``with_plate=False`` takes the image in its place.
    """
    ellipse = _ellipse(*image.shape[:2])
    if not with_plate:
        return Picture(image, ellipse, image)
    plate = cv2.inpaint(image, np.minimum(ellipse, 1), _REACH, cv2.INPAINT_TELEA)
    return Picture(image, ellipse, plate)


def inputs(
    network: nn.Module,
    shown: Sequence[Picture],
    size: tuple[int, int],
    classifier: nn.Module | None = None,
) -> list[Inputs]:
    """Return each picture as the network's inputs at ``size``.

    Args:
        network: one that takes a picture alone or with a plate, or SIM.
        shown: the pictures.
        size: height and width.
        classifier: makes SIM's semantic trimap.
    """
    names = networks.inputs(network)
    spec: Any = network.input_spec
    result = []
    for picture in shown:
        made = {"image": kernels.preprocess(picture.image, size, spec, order="rgb")[0]}
        if "plate" in names:
            made["plate"] = kernels.preprocess(picture.plate, size, spec, order="rgb")[0]
        if classifier is not None:
            trimap = kernels.resize_trimap(picture.trimap, size)
            its_spec: Any = classifier.input_spec
            seen = kernels.preprocess(picture.image, size, its_spec, order="rgb")[0]
            made |= {
                "trimap": kernels.two_channel(trimap),
                "clicks": kernels.distance_maps(trimap),
                "semantic": kernels.semantic_trimap(seen, trimap, _activation_maps(classifier)),
            }
        result.append(tuple(made[name] for name in names))
    return result


def windows(
    classifier: nn.Module,
    shown: Sequence[Picture],
    size: tuple[int, int],
    window: tuple[int, int],
) -> list[Inputs]:
    """Return the classifier's inputs of each picture at ``size``, in windows of one size.

    Of a picture's windows it is the one with the most unknown pixels.
    """
    places = [
        np.s_[top : top + height, left : left + width]
        for top, left, height, width in kernels.windows(size)
        if (height, width) == window
    ]
    spec: Any = classifier.input_spec
    result: list[Inputs] = []
    for picture in shown:
        image = kernels.preprocess(picture.image, size, spec, order="rgb")[0]
        trimap = kernels.resize_trimap(picture.trimap, size)
        rows, columns = max(places, key=lambda place: int((trimap[place] == 128).sum()))
        scaled = trimap[rows, columns].astype(np.float32) / np.float32(255)
        result.append((np.ascontiguousarray(image[:, rows, columns]), scaled[np.newaxis]))
    return result


def window_sizes(sizes: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return the distinct sizes of the classifier's windows for an engine's sizes."""
    found = [window[2:] for size in sizes for window in kernels.windows(size)]
    return tuple(dict.fromkeys(found))


def batched(single: Sequence[Inputs], batch: int) -> list[Inputs]:
    """Stack inputs ``batch`` at a time; the last batch is filled up with the first pictures."""
    if batch == 1:  # without a copy
        return [tuple(array[np.newaxis] for array in arrays) for arrays in single]
    runs = -(-len(single) // batch)
    chosen = [
        [single[(run * batch + index) % len(single)] for index in range(batch)]
        for run in range(runs)
    ]
    return [tuple(map(np.stack, zip(*run, strict=True))) for run in chosen]


def _activation_maps(classifier: nn.Module) -> Any:
    """The classifier as ``kernels.semantic_trimap`` calls it."""

    def classify(image: NDArray[np.float32], trimap: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            outputs = classifier(torch.from_numpy(image), torch.from_numpy(trimap))
        return outputs["cam"].numpy()

    return classify


def _ellipse(height: int, width: int) -> NDArray[np.uint8]:
    rows, columns = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    radius = np.hypot(rows, columns)
    inner, outer = _ELLIPSES
    return np.where(radius < inner, 255, np.where(radius < outer, 128, 0)).astype(np.uint8)
