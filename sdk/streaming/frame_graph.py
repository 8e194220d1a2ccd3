"""From a frame to its composite as one CUDA graph: ``Matter.frame_graph``.

Of the ordinary stages only the copies are left as they are: preprocessing, network, fusion, filter
over time and composite are launched at once. Copies have streams of their own, so that the next
frame is uploaded, and the last composite downloaded, while this frame is worked on.

Written against the documented interfaces and **not run on a GPU yet**; the tests run it with
stand-ins whose streams do their work as late as a GPU might, and with the kernels of the CPU.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import cupy
import cupyx
import numpy as np

from matter_sdk.kernels import YUV, InputSpec, collaborative_fusion, preprocess, temporal_filter
from matter_sdk.kernels.graphs import keeping
from matter_sdk.sdk.arrays import not_finite, on_gpu, to_gpu
from matter_sdk.sdk.backends import Backend
from matter_sdk.sdk.backends.tensorrt import Lane, TensorRt
from matter_sdk.sdk.background import Background, ColourBackground, ImageBackground
from matter_sdk.sdk.engine.manifest import Manifest
from matter_sdk.sdk.errors import FrameError, NoMatteError
from matter_sdk.sdk.inference.quality import Quality
from matter_sdk.sdk.matte import composed

_BGR = InputSpec(colour="bgr")


class FrameGraph:
    """Composites of frames of one kind over one background. For one thread at a time.

        for frame in frames:
            graph.submit(frame)
            if graph.waiting == graph.DEPTH:
                show(graph.result())
        while graph.waiting:
            show(graph.result())
        graph.close()

    Args:
        lane: a lane of the network that nobody else uses, of a batch of one.
        frame: one of the frames, checked: uint8 H×W×3 or a ``YUV``; only its kind matters.
        behind: a colour (blue, green, red), or an array or ``YUV`` like the frame.
        spec: how a frame becomes the network's input.
        fusion: of the manifest.
        quality: what of ``guided``, ``clean`` and ``temporal`` is done; without looking ahead.
        leave: whether composites stay on the GPU, as CuPy arrays.
    """

    DEPTH = 2
    """How many frames may be on their way."""

    def __init__(
        self,
        lane: Lane,
        frame: Any,
        behind: Any,
        *,
        spec: InputSpec,
        fusion: str,
        quality: Quality,
        leave: bool = False,
    ) -> None:
        self._lane = lane
        self._spec = spec
        self._fusion = fusion
        self._quality = quality
        self._leave = leave
        self._kind = _kind(frame)
        self._waiting: deque[_Slot] = deque()
        self._kept: list[Any] = []
        # The graph is TensorRT's work too, which stays on the stream that it was warmed up on.
        self._main = lane.stream
        with lane.device, self._main:
            self._up, self._down = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
            self._frame, self._out = _like(frame, _empty), _like(frame, _empty)
            self._behind = to_gpu(behind)
            self._heads = lane.heads
            shape = (1, 1, *lane.inputs[0].shape[2:])
            self._fused = cupy.zeros(shape, cupy.float32)
            self._alpha = self._fused[0, 0]
            self._finite = tuple(cupy.zeros(head.shape, bool) for head in self._heads.values())
            self._filter = _Filter(shape[2:]) if quality.temporal else None
            self._main.synchronize()
            self._slots = deque(_Slot(frame, self._finite, leave) for _ in range(self.DEPTH))
            self._graph = self._captured()
        self.reset()

    @property
    def waiting(self) -> int:
        """How many frames were submitted and not asked for."""
        return len(self._waiting)

    def takes(self, frame: Any) -> bool:
        """Whether a checked frame is of the kind that this graph was made for."""
        return _kind(frame) == self._kind

    def submit(self, frame: Any) -> None:
        """Start on a frame. It has been read when this returns, unless it lies on the GPU.

        Raises:
            FrameError: it is of another kind than the graph's.
            ValueError: ``DEPTH`` frames are waiting already.
        """
        if not self.takes(frame):
            raise FrameError(f"the frame is {_kind(frame)}; expected {self._kind} as the graph's")
        if not self._slots:
            raise ValueError(f"{self.waiting} frames are waiting; expected result() before another")
        slot = self._slots.popleft()
        with self._lane.device:
            given = self._arrived(frame, slot)
            if self._leave:  # the caller may still read what the slot held before
                self._main.wait_event(cupy.cuda.get_current_stream().record())
            with self._main:
                for mine, plane in zip(_planes(self._frame), given, strict=True):
                    cupy.copyto(mine, plane)
                if self._graph is not None:
                    self._graph.launch(self._main)
                else:
                    self._work()
                for left, plane in zip(slot.leaving, _planes(self._out), strict=True):
                    cupy.copyto(left, plane)
                for left, finite in zip(slot.finite, self._finite, strict=True):
                    cupy.copyto(left, finite)
                slot.composed.record(self._main)
            self._down.wait_event(slot.composed)
            for left, finite in zip(slot.finite, slot.finite_here, strict=True):
                left.get(stream=self._down, out=finite, blocking=False)
            for left, picture in zip(slot.leaving, slot.pictures, strict=not self._leave):
                left.get(stream=self._down, out=picture, blocking=False)
            slot.done.record(self._down)
        self._waiting.append(slot)

    def result(self) -> Any:
        """Return the composite of the frame that waits longest, of the frames' kind.

        THE GRAPH OWNS THIS ARRAY: it is overwritten once ``DEPTH`` more frames were submitted.
        Copy it to keep it. On the GPU, what was asked for on the stream that is current at a
        ``submit`` is still done with it.

        Raises:
            NoMatteError: the network answered NaN or infinity; or it did so for a frame before and
                this one, already on its way then, was filtered with that.
        """
        slot = self._waiting.popleft()
        slot.done.synchronize()
        slot.frame = None
        self._slots.append(slot)
        spoilt, slot.spoilt = slot.spoilt, False
        for name, finite in zip(self._heads, slot.finite_here, strict=True):
            if not finite.all():
                for other in self._waiting:
                    other.spoilt = self._filter is not None
                self.reset()
                raise NoMatteError(not_finite(f"the network's head {name!r}"))
        if spoilt:
            raise NoMatteError(not_finite("a frame just before: the network's answer"))
        planes = slot.leaving if self._leave else slot.pictures
        return replace(self._out, planes=planes) if isinstance(self._out, YUV) else planes[0]

    def reset(self) -> None:
        """Restart the filter over time with the next frame."""
        if self._filter is not None:
            with self._lane.device, self._main:
                self._filter.reset()

    def close(self) -> None:
        """Wait until nothing is on its way: only then may the memory go. May be called twice."""
        with self._lane.device:
            for stream in (self._up, self._main, self._down):
                stream.synchronize()

    def _arrived(self, frame: Any, slot: _Slot) -> tuple[Any, ...]:
        """The planes of a frame on the GPU, from where the main stream may read them."""
        planes = _planes(frame)
        if on_gpu(frame):
            slot.frame = frame  # until it was read
            with planes[0].device:
                self._main.wait_event(cupy.cuda.get_current_stream().record())
            return planes
        for staging, landing, plane in zip(slot.staging, slot.landing, planes, strict=True):
            staging[...] = plane
            landing.set(staging, stream=self._up)
        slot.landed.record(self._up)
        self._main.wait_event(slot.landed)
        return slot.landing

    def _captured(self) -> Any:
        """The work as a CUDA graph; None where TensorRT's part cannot be captured."""
        self._lane.warm_up()
        for _ in range(2):  # compiles and uploads what it needs
            self._work()
        self._main.synchronize()
        with keeping(self._kept):
            return self._lane.recorded(self._work)

    def _work(self) -> None:
        """All between the copies, on the main stream, from and to buffers that stay."""
        size = self._alpha.shape
        preprocess(self._frame, size, self._spec, out=self._lane.inputs[0])
        self._lane.enqueue()
        if self._fusion == "alpha":
            cupy.clip(self._heads["alpha"], 0, 1, out=self._fused)
        else:
            glance, focus = self._heads["glance"], self._heads["focus"]
            collaborative_fusion(
                glance, focus, self._fusion, glance_size=tuple(size), out=self._fused
            )
        for head, finite in zip(self._heads.values(), self._finite, strict=True):
            cupy.isfinite(head, out=finite)
        alpha = self._alpha
        if self._filter is not None:
            alpha = self._filter(self._frame, alpha)
        composed(
            self._frame,
            self._behind,
            alpha,
            guided=self._quality.guided,
            clean=self._quality.clean,
            planar=isinstance(self._frame, YUV),
            out=self._out,
        )


class _Slot:
    """What one frame on its way needs for itself.

    Frames land and composites leave by buffers of their own, so that the graph, whose addresses are
    fixed, is free for the next as soon as it is done.
    """

    def __init__(self, frame: Any, finite: tuple[Any, ...], leave: bool) -> None:
        shapes = [plane.shape for plane in _planes(frame)]
        self.frame: Any = None
        self.staging = tuple(cupyx.empty_pinned(shape, "uint8") for shape in shapes)
        self.landing = tuple(map(_empty, shapes))
        self.leaving = tuple(map(_empty, shapes))
        self.pictures = () if leave else tuple(cupyx.empty_pinned(s, "uint8") for s in shapes)
        self.spoilt = False  # by a frame before it
        self.finite = tuple(cupy.zeros(head.shape, bool) for head in finite)
        self.finite_here = tuple(cupyx.empty_pinned(head.shape, bool) for head in finite)
        self.landed, self.composed, self.done = (cupy.cuda.Event() for _ in range(3))


class _Filter:
    """``sdk.streaming.temporal_filter.TemporalFilter`` without looking ahead, in buffers that
    stay."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._planar = cupy.zeros((1, 3, *size), cupy.uint8)
        self._small, self._last, self._least, self._change = (
            cupy.zeros((*size, 3), cupy.uint8) for _ in range(4)
        )
        self._steady = cupy.zeros(size, cupy.float32)

    def reset(self) -> None:
        # Of a last result that is NaN, temporal_filter takes nothing.
        self._steady.fill(np.nan)

    def __call__(self, frame: Any, alpha: Any) -> Any:
        preprocess(frame, alpha.shape, _BGR, out=self._planar)
        cupy.copyto(self._small, self._planar[0].transpose(1, 2, 0))
        cupy.maximum(self._small, self._last, out=self._change)
        cupy.minimum(self._small, self._last, out=self._least)
        cupy.subtract(self._change, self._least, out=self._change)
        cupy.copyto(self._last, self._small)
        return temporal_filter(self._steady, alpha, self._change, out=self._steady)


def open_graph(
    backend: Backend,
    manifest: Manifest,
    frame: Any,
    background: Background,
    quality: Quality,
    *,
    leave: bool,
) -> FrameGraph | None:
    """A graph for checked frames like this one over a background, if there can be one."""
    plain = isinstance(frame, YUV) or tuple(frame.shape[2:]) == (3,)
    still = isinstance(background, (ColourBackground, ImageBackground))
    past = not (quality.temporal and quality.lookahead)
    if not (isinstance(backend, TensorRt) and manifest.batch == 1 and plain and still and past):
        return None
    return FrameGraph(
        backend.lane(),
        frame,
        (background.planes_at if isinstance(frame, YUV) else background.at)(frame),
        spec=manifest.input.spec(),
        fusion=manifest.fusion,
        quality=quality,
        leave=leave,
    )


def _planes(frame: Any) -> tuple[Any, ...]:
    return frame.planes if isinstance(frame, YUV) else (frame,)


def _like(frame: Any, make: Any) -> Any:
    """``make`` of each plane's shape, as a frame of the same kind."""
    if isinstance(frame, YUV):
        return replace(frame, planes=tuple(make(plane.shape) for plane in frame.planes))
    return make(frame.shape)


def _empty(shape: tuple[int, ...]) -> Any:
    return cupy.zeros(shape, cupy.uint8)


def _kind(frame: Any) -> tuple[Any, ...]:
    """What frames of one graph have in common."""
    shapes = tuple(tuple(plane.shape) for plane in _planes(frame))
    return (shapes, frame.matrix, frame.full_range) if isinstance(frame, YUV) else shapes
