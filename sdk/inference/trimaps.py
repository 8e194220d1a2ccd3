"""Trimap mode (SIM, imported networks): check or make trimaps, and run the network.

A trimap is uint8 H×W of the frame's size: 0 background, 128 unknown, 255 foreground. It is given
with each frame, or taken from the glance head of another engine, so that such networks run on plain
video too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from matter_sdk.kernels import (
    collaborative_fusion,
    distance_maps,
    resize_trimap,
    semantic_trimap,
    two_channel,
    windows,
)
from matter_sdk.kernels.trimap import BACKGROUND, FOREGROUND, UNKNOWN, Trimap
from matter_sdk.sdk import describe
from matter_sdk.sdk.arrays import Kind, as_array, tensor_of, to_cpu
from matter_sdk.sdk.engine.manifest import Manifest
from matter_sdk.sdk.errors import EngineError, FrameError
from matter_sdk.sdk.inference import plate as plates
from matter_sdk.sdk.inference.modes import (
    Alphas,
    Choice,
    GlanceMode,
    Mode,
    alpha_head,
    check_prepared,
)
from matter_sdk.sdk.inference.network import Network
from matter_sdk.sdk.inference.sizes import Scales, held

CLASSIFIER = "classifier"
"""The part of an engine whose class activation maps make the semantic trimap."""

# What is made here beside the image: name -> channels. SIM's, and a plain trimap in 0..1.
_SIM = {"trimap": 2, "clicks": 6, "semantic": 20}
PLAIN = {"trimap": 1}
_WANTED = "uint8 H×W of the frame's size: 0 background, 128 unknown, 255 foreground"
_TRIMAP = Kind("trimap", _WANTED, "np.asarray(image.convert('L'))", "matter_sdk.read_trimap(path)")
_SOURCES = (
    "Paint one in an image editor, or let another network make it: "
    "Matter(…, trimap_from='gfm.engine')"
)


class TrimapInput(NamedTuple):
    """``TrimapMode.prepare``'s result; every tensor at the size of the guided network."""

    image: Any  # float32 1×3×h×w on the network's scale
    patches: NDArray[np.float32] | None  # the same frame on the classifier's scale, if there is one
    trimaps: list[Trimap] | None  # one uint8 h×w for each frame; None: they come from `source`
    source: Any  # what the trimap source's `prepare` gave, or None


class TrimapMode(Mode):
    """One pass of a network that reads a trimap beside the image.

    Args:
        network: the guided network. SIM's (CVPR 2021) extra inputs are the trimap, its distance
            maps ("clicks") and the semantic trimap; an imported network's is the trimap in 0..1.
        choose: gives the size for a frame's shape.
        classifier: the network that makes the semantic trimap, if it is read.
        source: where trimaps come from if none is given.
    """

    def __init__(
        self,
        network: Network,
        choose: Choice,
        classifier: Network | None,
        source: GlanceMode | None = None,
    ) -> None:
        self.network = network
        self.classifier = classifier
        self.source = source
        self._choose = choose

    @classmethod
    def check_engine(cls, network: Network, scales: Scales | None, trimap_from: Any) -> None:
        """See ``Mode.check_engine``: inputs and a classifier as they are made here, one pass."""
        del trimap_from
        if scales is not None:
            raise EngineError(
                f"hybrid was given and {network.path} holds {network.manifest.network.name}, which "
                f"reads a trimap; expected a network with the heads glance and focus. Leave it out"
            )
        _check_parts(network.path, network.manifest, [model.size for model in network.models])

    def describe(self) -> list[describe.Line]:
        """See ``Mode.describe``."""
        source = None if self.source is None else self.source.network
        part = [] if self.classifier is None else describe.part(CLASSIFIER, self.classifier)
        return [*part, describe.trimap(source)]

    def close(self) -> None:
        """See ``Mode.close``; the source stays open."""
        if self.classifier is not None:
            self.classifier.close()
        super().close()

    def trimaps(self, given: Any, frames: Sequence[Any], *, batch: bool) -> Sequence[Trimap | None]:
        """See ``Mode.trimaps``: None only where they come from ``source``."""
        if given is None:
            if self.source is not None:
                return [None] * len(frames)
            raise missing_trimap(self.network.manifest, "each frame")
        if not batch:
            return [as_trimap(given, frames[0].shape)]
        if not isinstance(given, (list, tuple)) and getattr(given, "ndim", 0) != 3:
            shape = getattr(given, "shape", None)
            raise FrameError(
                f"the trimap for a batch of {len(frames)} frames is a {type(given).__name__}"
                f"{'' if shape is None else f' of shape {tuple(shape)}'}; expected a list of "
                f"{len(frames)} trimaps or one array {len(frames)}×H×W"
            )
        if len(given) != len(frames):
            raise FrameError(
                f"{len(given)} trimaps were given for a batch of {len(frames)} frames; expected "
                f"one for each"
            )
        return [
            as_trimap(trimap, frame.shape, f"trimap {at} of the batch")
            for at, (trimap, frame) in enumerate(zip(given, frames, strict=True))
        ]

    def check_streamable(self) -> None:
        """See ``Mode.check_streamable``."""
        if self.source is None:
            raise missing_trimap(self.network.manifest, "each frame of a video")
        self.source.check_streamable()

    def prepare(self, frame: Any, trimap: Trimap | None = None) -> TrimapInput:
        """See ``Mode.prepare``."""
        size = self._choose(frame.shape).size
        seen = None if self.classifier is None else self.classifier.spec
        return TrimapInput(
            image=tensor_of(frame, size, self.network.spec),
            patches=None if seen is None else to_cpu(tensor_of(frame, size, seen)),
            trimaps=None if trimap is None else [resize_trimap(trimap, size)],
            source=self.source.prepare(frame) if trimap is None and self.source else None,
        )

    def check(self, prepared: Any) -> None:
        """See ``Mode.check``."""
        check_prepared(prepared, TrimapInput)

    def alphas(self, prepared: TrimapInput) -> Alphas:
        """See ``Mode.alphas``; exactly 0 and 1 where the trimap is definite, as in SIM's test."""
        trimaps = prepared.trimaps
        if trimaps is None:
            size = tuple(prepared.image.shape[2:])
            trimaps = [resize_trimap(trimap, size) for trimap in self._from_glance(prepared.source)]
        extras = self._extras(prepared.patches, trimaps)
        alphas = to_cpu(self.network.run(prepared.image, *extras, read=alpha_head))
        for alpha, trimap in zip(alphas, trimaps, strict=True):
            impose(alpha, trimap)
        return alphas

    def _extras(
        self, patches: NDArray[np.float32] | None, trimaps: Sequence[Trimap]
    ) -> list[NDArray[np.float32]]:
        """The inputs beside the image in the manifest's order, float32 N×channels×h×w each."""
        if patches is None or self.classifier is None:
            return [np.stack([plain(trimap) for trimap in trimaps])]
        cam = functools.partial(_cam, self.classifier)
        make: dict[str, Callable[[int], NDArray[np.float32]]] = {
            "trimap": lambda at: two_channel(trimaps[at]),
            "clicks": lambda at: distance_maps(trimaps[at]),
            "semantic": lambda at: semantic_trimap(patches[at], trimaps[at], cam),
        }
        return [
            np.stack([make[extra.name](at) for at in range(len(trimaps))])
            for extra in self.network.manifest.extra_inputs
        ]

    def _from_glance(self, prepared: Any) -> list[Trimap]:
        """Trimaps at the source's size: its glance's likeliest class, of a tie the lowest."""
        if self.source is None:
            raise FrameError("infer was given a frame without a trimap; give it to prepare")
        glance = self.source.glance(prepared)
        head = to_cpu(glance.head)
        # The fusion itself, of which a constant for the transition is left: one rule for ties.
        unsure = np.full((len(head), 1, *glance.size), UNKNOWN / 255, np.float32)
        fusion = self.source.network.manifest.fusion
        fused = collaborative_fusion(head, unsure, fusion, glance_size=glance.size)
        return list(np.rint(fused[:, 0] * 255).astype(np.uint8))


def _cam(
    classifier: Network, image: NDArray[np.float32], trimap: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The classifier's activation maps of one window."""
    maps: NDArray[np.float32] = classifier.run(
        image, trimap, read=lambda heads: to_cpu(heads["cam"]).copy()
    )
    return maps


def plain(trimap: Trimap) -> NDArray[np.float32]:
    """A trimap as networks of others read it: float32 1×H×W of 0, 128/255 and 1."""
    return trimap[np.newaxis].astype(np.float32) / np.float32(255)


def impose(alpha: Alphas, trimap: Trimap) -> None:
    """Set ``alpha``, in place, to 0 and 1 where a trimap of its size says so."""
    np.copyto(alpha, np.float32(0), where=trimap == BACKGROUND)
    np.copyto(alpha, np.float32(1), where=trimap == FOREGROUND)


def as_trimap(value: Any, frame: Sequence[int], what: str = "the trimap") -> Trimap:
    """Check a trimap against the shape of its frame; return it without a copy.

    Raises:
        FrameError: for another type, dtype, rank, size or value, or one in a GPU's memory.
    """
    trimap = cast("NDArray[Any]", as_array(value, what, kind=_TRIMAP))
    text = f"{what} is {trimap.dtype}, shape {trimap.shape}"
    if trimap.dtype == np.bool_:
        raise FrameError(
            f"{text}; expected {_WANTED}. A mask says nothing about where it is unsure: widen its "
            f"edge to 128 with cv2.erode and cv2.dilate"
        )
    if trimap.dtype != np.uint8:
        advice = "trimap.round().clip(0, 255).astype(np.uint8), for values in 0..255"
        if trimap.size and trimap.dtype.kind == "f" and float(trimap.max()) <= 1:
            advice = "np.select([trimap == 0, trimap == 1], [0, 255], 128).astype(np.uint8)"
        raise FrameError(f"{text}; expected {_WANTED}. Convert it: {advice}")
    if trimap.ndim != 2:
        advice = ""
        if trimap.ndim == 3:
            first = trimap.shape[0] == 1
            advice = f". Take one channel: {'trimap[0]' if first else 'trimap[:, :, 0]'}"
        raise FrameError(f"{text}; expected {_WANTED}{advice}")
    if trimap.shape != tuple(frame[:2]):
        height, width = frame[:2]
        raise FrameError(
            f"{what} is {trimap.shape[0]}×{trimap.shape[1]} and its frame {height}×{width} "
            f"(height×width); expected one size. If it shows the whole frame: cv2.resize(trimap, "
            f"({width}, {height}), interpolation=cv2.INTER_NEAREST)"
        )
    known = (trimap == BACKGROUND) | (trimap == UNKNOWN) | (trimap == FOREGROUND)
    if not known.all():
        strange = np.unique(trimap[~known])
        shown = ", ".join(map(str, strange[:4])) + (", …" if len(strange) > 4 else "")
        raise FrameError(
            f"{what} holds the values {shown}; expected 0 background, 128 unknown, 255 foreground "
            f"and nothing else. If these are compression or blurred edges: "
            f"np.select([trimap < 64, trimap > 191], [0, 255], 128).astype(np.uint8)"
        )
    return trimap


def missing_trimap(manifest: Manifest, where: str) -> FrameError:
    """Make the error for a missing trimap; ``where`` is what one should come with."""
    return FrameError(
        f"no trimap was given and {manifest.network.name} needs one with {where}; expected "
        f"matter(frame, trimap=trimap), {_WANTED}. {_SOURCES}"
    )


def _check_parts(path: Path, manifest: Manifest, sizes: Sequence[tuple[int, int]]) -> None:
    """Refuse an engine that ``TrimapMode`` cannot run at these sizes.

    Raises:
        EngineError: for other inputs than are known here, or a classifier that is missing, is none,
            or lacks a size that the windows of the semantic trimap need.
    """
    extras = {extra.name: extra.channels for extra in manifest.extra_inputs}
    if extras == PLAIN and not manifest.parts:
        return
    if extras != _SIM:
        raise EngineError(
            f"{path}: the network reads {extras} beside the image; expected {_SIM}, {PLAIN} or "
            f"{plates.INPUTS}, which is all that this package makes. Upgrade it: pip install "
            f"--upgrade matter-sdk"
        )
    build = f"Build it again: {manifest.build_command(path.name)}"
    part = manifest.parts.get(CLASSIFIER)
    if part is None:
        raise EngineError(
            f"{path}: no part {CLASSIFIER!r}, which makes the network's semantic trimap; expected "
            f"one. {build}"
        )
    if part.fusion != "cam" or part.inputs != {"image": 3, "trimap": 1}:
        raise EngineError(
            f"{path}: the part {CLASSIFIER!r} reads {part.inputs} for {part.fusion!r}; expected "
            f"image 3 and trimap 1 for 'cam'. {build}"
        )
    wanted = {window[2:] for size in sizes for window in windows(size)}
    missing = sorted(wanted - {model.size for model in part.models})
    if missing:
        raise EngineError(
            f"{path}: the part {CLASSIFIER!r} holds {held(part.models)}; expected "
            f"{', '.join(f'{h}x{w}' for h, w in missing)} too, for windows of the network's sizes. "
            f"{build}"
        )


def check_source(path: Path, manifest: Manifest) -> None:
    """Refuse an engine whose glance gives no trimap.

    Raises:
        EngineError: says why, and what does.
    """
    if manifest.fusion in ("tt", "unified"):
        return
    network = manifest.network
    rosta = "" if network.rosta == "none" else f", RoSTa {network.rosta}"
    reason = "it has no glance head"
    if manifest.fusion in ("ft", "bt"):
        reason = "its glance has two classes and none for what is unsure"
    raise EngineError(
        f"trimap_from is {path} with {network.name}{rosta}: {reason}; expected an engine whose "
        f"glance tells background, transition and foreground: gfm with RoSTa tt, or aim"
    )
