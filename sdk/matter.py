"""``Matter``: frames in, mattes out."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import numpy as np
from matter_sdk.kernels.trimap import Trimap
from matter_sdk.sdk import describe as description
from matter_sdk.sdk.arrays import as_batch, as_frame
from matter_sdk.sdk.engine.file import EngineFile
from matter_sdk.sdk.engine.manifest import Manifest
from matter_sdk.sdk.errors import EngineError, FrameError, MatterError, PlateError, printable
from matter_sdk.sdk.files import as_path
from matter_sdk.sdk.inference import sizes
from matter_sdk.sdk.inference import trimaps as guidance
from matter_sdk.sdk.inference.finish import finished
from matter_sdk.sdk.inference.modes import GlanceMode, SingleMode, alike, joined
from matter_sdk.sdk.inference.network import EngineNetwork
from matter_sdk.sdk.inference.quality import settle
from matter_sdk.sdk.inference.select import open_mode
from matter_sdk.sdk.matte import Matte, nothing, open_background
from matter_sdk.sdk.shielded import shielded
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matter_sdk.sdk.stream import Stream
    from matter_sdk.sdk.streaming.frame_graph import FrameGraph
    from matter_sdk.sdk.streaming.statistics import Stats

log = logging.getLogger("matter")


class Matter:
    """A matting network from an engine file, on the best runtime of this machine.

    ``backend`` is a name from ``sdk.backends.ORDER`` and ``device`` "cpu", "cuda" or "cuda:N"; both
    are taken as orders, never as wishes. ``size`` is one of the engine's network sizes (height,
    width); without it each frame takes the one nearest to its own aspect ratio. ``threads`` limits
    a CPU backend (default: every core that the process may use). With ``lanes`` above 1 the network
    works on so many frames at once, each with its share of the threads: more frames a second for
    files and for several streams, and each of them later. TensorRT always has two or more.

    ``trimap_from``: for a network that takes a trimap (SIM), the engine whose glance head makes it
    where none is given: GFM with RoSTa tt, or AIM, since it must tell three classes. A path is
    opened with the same backend, device and threads; an open ``Matter`` is not closed from here.

    ``hybrid``: two scales of the frame, such as (1/3, 1/2), for the hybrid-resolution test (GFM,
    IJCV 2022, Table 6): the glance comes from a pass at the first, the focus from one at the
    second. Each frame takes the two of the engine's sizes that are nearest. Equal scales mean one
    ordinary pass at the nearest size, as in the paper, and so suit every network without a trimap.

    ``quality``: "live", "balanced" or "studio", how much work goes into a matte
    (``sdk.inference.quality``); ``arithmetic``, ``guided``, ``clean``, ``temporal`` and
    ``lookahead`` are its fields, to be set each for itself, and so are ``size`` and ``hybrid``
    (False: one pass).

    ``plate``: for a network that compares each frame with the empty place (gfm-plate), a photograph
    of it: the path of a picture, or an array as a frame. See the attribute ``plate``.

    ``transparency``: whether the alpha channel of a BGRA frame multiplies its matte, so that what
    was transparent stays so. False leaves that channel out, as for one that is only padding.
    ``trust_plans``: TensorRT plans are native code. Only those that this user built on this machine
    are used, and the graph in the same file otherwise; True uses the plans of this file (and of
    ``trimap_from``) too, for engines from a source that is trusted like that of a program.

    Safe to call from several threads: the network runs one batch in each lane at a time, everything
    else side by side. A context manager; ``close`` releases the network and the file. Trimaps,
    plates, the hybrid test and parts of an engine have not run on a GPU yet.

    Raises:
        EngineError: for an engine that is missing, damaged, foreign or from the future, a
            ``size``, ``hybrid`` or ``trimap_from`` that it cannot do, and an unknown ``quality``.
        FrameError: for a ``plate`` that is no picture, or that the network does not read.
        BackendError: for a backend or device that is not there.
    """

    takes_planes = True  # frames may come as kernels.YUV

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        backend: str | None = None,
        device: str | None = None,
        size: tuple[int, int] | None = None,
        threads: int | None = None,
        trimap_from: str | os.PathLike[str] | Matter | None = None,
        hybrid: tuple[float, float] | Literal[False] | None = None,
        plate: Any = None,
        quality: str = "balanced",
        arithmetic: str | None = None,
        guided: bool | None = None,
        clean: bool | None = None,
        temporal: bool | None = None,
        lookahead: int | None = None,
        lanes: int = 1,
        transparency: bool = True,
        trust_plans: bool = False,
    ) -> None:
        self._path = as_path(path, "the engine", EngineError)
        self.transparency = transparency
        self.quality = settle(
            quality,
            arithmetic=arithmetic,
            guided=guided,
            clean=clean,
            temporal=temporal,
            lookahead=lookahead,
        )
        self._options: dict[str, Any] = {
            "backend": backend,
            "device": device,
            "threads": threads,
            "arithmetic": self.quality.arithmetic,
            "lanes": lanes,
        }
        self._trust_plans = trust_plans
        self._lock = threading.Lock()
        self._said: set[str] = set()
        self._shape: tuple[int, int] | None = None  # of the last frame
        self._squeezed = False  # whether that was said
        self._stats: Callable[[], Stats] | None = None
        self._scales: sizes.Scales | None = None
        with contextlib.ExitStack() as opened:
            file = EngineFile.open(self._path, trust_plans=trust_plans)
            opened.callback(file.close)
            self.manifest: Manifest = file.manifest
            self._network = EngineNetwork(
                file, sizes.chosen(self._path, self.manifest, size), **self._options
            )
            opened.callback(self._network.close)
            if hybrid is None:
                self._scales = self._own_scales(size)
            elif hybrid is not False:
                self._scales = sizes.check_scales(self._path, self.manifest, hybrid, size)
            self._mode = open_mode(
                self._network,
                pixels=self.quality.pixels,
                scales=self._scales,
                trimap_from=trimap_from,
                open_source=functools.partial(self._glance_of, opened=opened),
            )
            opened.callback(self._mode.close)
            if plate is not None:
                self.plate = plate
            # Further sizes are loaded when the first frame wants them.
            self._primary = self._network.load(self.size)
            self._closing = opened.pop_all()
        for name, manifest in {"": self.manifest, **self.manifest.parts}.items():
            if manifest.weights.random:
                what = printable(f"{self._path}{name and f', part {name},'}")
                log.warning("%s holds random weights: its mattes mean nothing", what)

    @overload
    def __call__(self, frame: Sequence[Any], *, trimap: Any = None) -> list[Matte]: ...

    @overload
    def __call__(self, frame: Any, *, trimap: Any = None) -> Any: ...

    def __call__(self, frame: Any, *, trimap: Any = None) -> Matte | list[Matte]:
        """The matte of one frame, or the list of mattes of a batch.

        ``frame`` is uint8 H×W×3 in BGR order as OpenCV gives it, H×W×4 (BGRA, straight
        alpha; see ``transparency``) or H×W (grey). A batch is N×H×W×3, N×H×W×4, or a list of
        frames of equal size; it runs in chunks of the engine's batch. Other arrays in the CPU's
        memory are taken through DLPack without a copy. One in a GPU's memory is taken so by a CUDA
        backend; a CPU backend refuses it, because the copy would cost time that nobody sees. A
        matte of such a frame stays there too, until it is asked for an array in the CPU's memory;
        ``Matte.gpu`` gives those on the GPU.

        ``trimap`` is for networks that take one: uint8 H×W of the frame's size, 0 background, 128
        unknown, 255 foreground; for a batch a list of such or N×H×W. Where it is definite, alpha
        is exactly 0 or 1. It goes before ``trimap_from``, whose trimaps bind at the network's size.

        Raises:
            FrameError: for any other type, dtype, rank, channels, size or value, a trimap or plate
                that is missing or does not fit, or a trimap for a network that takes none.
            NoMatteError: the network answered NaN or infinity.
            ClosedError: after ``close``.
        """
        self._check_open()
        frames = as_batch(frame, on_gpu=self._primary.on_gpu)
        batch = frames is not None
        images = [self._frame(frame)] if frames is None else frames
        self._note_shape(images[0])
        pairs = list(zip(images, self._mode.trimaps(trimap, images, batch=batch), strict=True))
        most = self.manifest.batch
        turns = (pairs[at : at + most] for at in range(0, len(pairs), most))
        mattes = [matte for turn in turns for matte in self._mattes(turn)]
        return mattes if batch else mattes[0]

    def prepare(self, frame: Any, *, trimap: Any = None) -> Any:
        """First stage: one frame as what ``infer`` takes. Pure, any thread.

        For a network that reads the frame alone, in one pass, that is float32 1×3×h×w.
        """
        self._check_open()
        image = self._frame(frame)
        (checked,) = self._mode.trimaps(trimap, [image], batch=False)
        return self._mode.prepare(image, checked)

    def infer(self, prepared: Any) -> NDArray[np.float32]:
        """Second stage: the alpha at the network's size, float32 h×w in 0..1, a fresh array.

        It lies where the frame lay, in the CPU's memory or (a CuPy array) in a GPU's.
        ``prepared`` is what ``prepare`` gave. It waits for a lane of the network.

        Raises:
            NoMatteError: the network answered NaN or infinity.
            ClosedError: after ``close``.
        """
        return self.infer_batch([prepared])[0]

    def infer_batch(self, prepared: Sequence[Any]) -> list[NDArray[np.float32]]:
        """``infer`` for several at once: those of one kind and size run in the engine's batch."""
        self._check_open()
        for one in prepared:
            self._mode.check(one)
        turns = [prepared] if alike(prepared) else [[one] for one in prepared]
        return [alpha for turn in turns for alpha in self._mode.alphas(joined(turn))]

    def finish(self, frame: Any, alpha: NDArray[np.float32], *, trimap: Any = None) -> Matte:
        """Third stage: the matte of an alpha of the network's size. Pure, any thread.

        ``trimap`` is the one that ``prepare`` was given, if any.

        Raises:
            FrameError: a frame or trimap as in a call, or an alpha other than float32 h×w.
        """
        image = self._frame(frame)
        shape = getattr(alpha, "shape", ())
        if getattr(alpha, "dtype", None) != np.float32 or len(shape) != 2 or 0 in shape:
            raise FrameError(
                f"the alpha is a {type(alpha).__name__} of type {getattr(alpha, 'dtype', None)} "
                f"and shape {tuple(shape)}; expected float32 h×w. Give what infer returned"
            )
        checked = trimap
        if trimap is not None:
            (checked,) = self._mode.trimaps(trimap, [image], batch=False)
        return self._finished(image, alpha, checked)

    def stream(self, source: Any, *, live: bool = False, lookahead: int | None = None) -> Stream:
        """Mattes of a video, camera or stream, in order; see ``sdk.stream.stream``.

        ``source`` is an iterable of frames, a path, a camera's index or a stream's address. With
        ``live`` the newest frame is taken and those that came meanwhile are left out.
        ``lookahead``: frames that the filter over time looks ahead, by which each matte comes
        later; None: as ``quality`` says for files, and 0 for a live stream.
        """
        from matter_sdk.sdk.stream import stream

        self._check_open()
        streamed = stream(self, source, live=live, lookahead=lookahead)
        self._stats = streamed.stats
        return streamed

    def frame_graph(
        self, frame: Any, background: object, *, leave: bool = False
    ) -> FrameGraph | None:
        """The whole way from frames like this one to their composites, as one CUDA graph.

        None where there can be none. There is one where the network runs in TensorRT, in one pass
        that reads the frame alone, in batches of one, over a colour or an image, for frames
        uint8 H×W×3 or in planes, and where the filter over time does not look ahead.
        ``matte_video`` uses it by itself. With ``leave`` composites stay on the GPU. Each has an
        execution context of its own; it must not be used after ``close``.

        Raises:
            FrameError: for a frame that ``Matter`` does not take.
            BackgroundError: for a background that is not known or cannot be read.
            BackendError: there is not enough memory on the GPU.
        """
        self._check_open()
        if not self._primary.on_gpu:
            return None
        from matter_sdk.sdk.streaming.frame_graph import open_graph  # needs CuPy

        image, quality = self._frame(frame), self.quality
        if type(self._mode) is not SingleMode or (quality.temporal and quality.lookahead):
            return None
        backend = self._network.load(self._mode.size_of(image.shape))
        return open_graph(
            backend, self.manifest, image, open_background(background), quality, leave=leave
        )

    def stats(self) -> Stats:
        """How long each stage of the last stream takes, and how old its mattes are.

        Raises:
            MatterError: nothing was streamed yet.
        """
        if self._stats is None:
            raise MatterError("nothing was streamed yet; expected stats() after stream(source)")
        return self._stats()

    @property
    def size(self) -> tuple[int, int]:
        """The network's (height, width) for a frame of the shape that the engine has first."""
        models = self._network.models
        return sizes.nearest_aspect(models, models[0].size, self.quality.pixels).size

    @property
    def backend(self) -> str:
        """The name of the runtime in use, such as "openvino"."""
        return self._primary.name

    @property
    def runtime(self) -> str:
        """What the backend says of itself, such as "OpenVINO 2026.4.1, bfloat16, 2 threads"."""
        return self._primary.detail

    @property
    def device(self) -> str:
        """Where it runs: "cpu" or "cuda:N"."""
        return self._primary.device

    @property
    def plate(self) -> Any:
        """The photograph of the empty place that frames are compared with, or None.

        Assign another at any time, an array as a frame or the path of a picture; None takes it
        away, and frames are refused until there is a new one. It may be of another size than the
        frames but not of another aspect ratio, is copied, and brought to each of the network's
        sizes once. A frame that is being matted meanwhile sees the old one or the new one, whole.
        Reads as a uint8 array that must not be written to.

        Raises:
            FrameError: on assigning what is no picture, or for a network that reads no plate.
        """
        return self._mode.plate

    @plate.setter
    def plate(self, value: Any) -> None:
        self._mode.plate = value
        self._said.clear()

    @property
    def plate_fits(self) -> bool | None:
        """Whether the plate showed the place of the last frame: False asks for a new plate.

        None before the first frame, and without a plate. A frame that the plate does not fit has no
        matte: its call gives a black one with alpha 0, and streams and videos go on so.
        ``sdk.inference.plate_fit`` says how it is told.
        """
        return self._mode.plate_fits

    @property
    def lanes(self) -> int:
        """How many frames the network works on at once."""
        return self._primary.lanes

    def check_streamable(self) -> None:
        """Raise FrameError if frames alone will not do: for want of their trimaps, or a plate."""
        self._mode.check_streamable()

    def describe(self) -> str:
        """What runs where, from which weights, how well verified: several lines for a person."""
        lines = description.engine(self._network)
        if self._scales is not None:
            lines.append(description.hybrid(self._scales))
        lines += self._mode.describe() + description.verified(self._network)
        return description.text(lines)

    def close(self) -> None:
        """Release the network and the engine file; may be called more than once."""
        shielded(self._close)

    def _close(self) -> None:
        with self._lock:
            self._closing.close()

    def __enter__(self) -> Matter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        height, width = self.size
        state = ", closed" if self._network.closed else ""
        return (
            f"Matter({str(self._path)!r}, {self.backend} on {self.device}, {height}×{width}{state})"
        )

    # ------------------------------------------------------------------------------------ inside

    def _own_scales(self, size: tuple[int, int] | None) -> sizes.Scales | None:
        """The quality's two passes, if this engine can do them."""
        scales = self.quality.hybrid
        plain = size is None and not self.manifest.extra_inputs
        if scales and plain and sizes.has_pair_alike(self.manifest, self._network.models):
            return scales
        return None

    def _check_open(self) -> None:
        self._network.check_open()

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.warning("%s", text)

    def _frame(self, value: Any) -> Any:
        image = as_frame(value, on_gpu=self._primary.on_gpu)
        self._note_shape(image)
        return image

    def _note_shape(self, image: Any) -> None:
        """Say so, once, if frames are of another shape than any size that they could run at."""
        shape = (int(image.shape[0]), int(image.shape[1]))
        if shape == self._shape or self._squeezed:
            return
        self._shape = shape
        text = sizes.squeezed(sizes.nearest_aspect(self._network.models, shape), shape)
        if text is not None:
            self._squeezed = True
            log.warning("%s", text)

    def _mattes(self, turn: Sequence[tuple[Any, Trimap | None]]) -> Iterator[Matte]:
        """The mattes of checked frames with their trimaps, at most a batch, by the stages."""
        prepared = [self._prepared(image, trimap) for image, trimap in turn]
        alphas = iter(self.infer_batch([one for one in prepared if one is not None]))
        for (image, trimap), one in zip(turn, prepared, strict=True):
            yield nothing(image) if one is None else self._finished(image, next(alphas), trimap)

    def _prepared(self, image: Any, trimap: Trimap | None) -> Any:
        """The networks' input; None for a frame that the plate does not fit."""
        try:
            return self._mode.prepare(image, trimap)
        except PlateError as error:
            if self.plate is None:
                raise
            self._say_once(f"the background alone is shown: {error}")
            return None

    def _finished(self, image: Any, alpha: Any, trimap: Trimap | None) -> Matte:
        return finished(image, alpha, trimap, self.quality, transparency=self.transparency)

    def _glance_of(self, trimap_from: Any, opened: contextlib.ExitStack) -> GlanceMode:
        """The mode of the engine that makes trimaps."""
        source = trimap_from
        if isinstance(source, Matter):
            source._check_open()
        elif isinstance(source, (str, os.PathLike)):
            source = opened.enter_context(
                Matter(source, trust_plans=self._trust_plans, **self._options)
            )
        else:
            raise EngineError(
                f"trimap_from is a {type(trimap_from).__name__}; expected the path of an engine "
                f"such as 'gfm.engine', or an open Matter"
            )
        guidance.check_source(source._path, source.manifest)
        if source is not trimap_from:
            source.check_streamable()  # nobody can give it a plate
        return cast("GlanceMode", source._mode)
