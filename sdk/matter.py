"""``Matter``: frames in, mattes out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from matter_sdk.sdk.arrays import as_batch, as_frame
from matter_sdk.sdk.closing import Closing
from matter_sdk.sdk.engine.manifest import Manifest
from matter_sdk.sdk.errors import MatterError
from matter_sdk.sdk.inference.modes import SingleMode
from matter_sdk.sdk.inference.opening import OpenEngine
from matter_sdk.sdk.inference.quality import resolve
from matter_sdk.sdk.inference.sizes import ShapeNotes
from matter_sdk.sdk.inference.stages import Stages, check_alpha
from matter_sdk.sdk.installation import engine_path
from matter_sdk.sdk.matte import Matte, open_background
from matter_sdk.sdk.media.given import frame_of

if TYPE_CHECKING:
    from matter_sdk.kernels.trimap import Trimap
    from matter_sdk.sdk.stream import Stream
    from matter_sdk.sdk.streaming.frame_graph import FrameGraph
    from matter_sdk.sdk.streaming.statistics import Stats


class Matter(Closing):
    """A matting network from an engine file, on the best runtime of this machine.

    Safe to call from several threads: the network runs one batch in each lane, everything else side
    by side. A context manager; ``close`` releases the network and the file. Trimaps, plates, the
    hybrid test and parts of an engine have not run on a GPU yet.

    Args:
        path: the engine file. Default: the light engine that comes with the package; in a checkout
            gfm.engine at its root, as `make demo` builds it.
        backend: a name from ``sdk.backends.ORDER``. There is no fallback.
        device: "cpu", "cuda" or "cuda:N". There is no fallback.
        size: one of the engine's (height, width). Default: each frame takes the nearest in aspect
            ratio.
        threads: for a CPU backend. Default: every core that the process may use.
        trimap_from: for a network that takes a trimap (SIM), the engine that makes it where none is
            given: GFM with RoSTa tt, or AIM, whose glance heads tell three classes. A path is
            opened with the same backend, device and threads; an open ``Matter`` stays open.
        hybrid: two scales of the frame, such as (1/3, 1/2), for the hybrid-resolution test (GFM,
            IJCV 2022, Table 6): glance from a pass at the first, focus from one at the second, each
            at the engine's nearest size. Equal scales mean one pass. False: one pass, whatever
            ``quality`` says.
        plate: for a network that compares each frame with the empty place (gfm-plate), a picture of
            it: a path, or an array as a frame. See the attribute ``plate``.
        quality: "live", "balanced" or "studio"; see ``sdk.inference.quality``.
        arithmetic, guided, clean, temporal, lookahead, reuse: replace these fields of ``quality``.
        lanes: frames that the network works on at once, each with its share of the threads: more
            frames a second for files and several streams, each of them later. TensorRT has at least
            two.
        transparency: let the alpha channel of a BGRA frame multiply its matte. False ignores it.
        trust_plans: run TensorRT plans, which are native code, even if this user did not build them
            on this machine. Default: such plans are passed over and the graph is used.

    Raises:
        EngineError: the engine is missing, damaged, foreign or from the future, cannot do the
            ``size``, ``hybrid`` or ``trimap_from``, or ``quality`` is unknown.
        FrameError: ``plate`` is no picture, or the network reads none.
        BackendError: the backend or device is not there.
    """

    takes_planes = True  # frames may come as kernels.YUV
    _engine: OpenEngine

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
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
        reuse: int | None = None,
        lanes: int = 1,
        transparency: bool = True,
        trust_plans: bool = False,
    ) -> None:
        self.quality = resolve(
            quality,
            arithmetic=arithmetic,
            guided=guided,
            clean=clean,
            temporal=temporal,
            lookahead=lookahead,
            reuse=reuse,
        )
        self._engine = OpenEngine(
            engine_path(path),
            self.quality,
            size=size,
            hybrid=hybrid,
            plate=plate,
            trimap_from=trimap_from._engine if isinstance(trimap_from, Matter) else trimap_from,
            trust_plans=trust_plans,
            backend=backend,
            device=device,
            threads=threads,
            lanes=lanes,
        )
        self.manifest: Manifest = self._engine.manifest
        self._network = self._engine.network
        self._mode = self._engine.mode
        self._stages = Stages(self._mode, self.quality, transparency=transparency)
        self._note_shape = ShapeNotes(self._network.models)
        self._stats: Callable[[], Stats] | None = None

    @overload
    def __call__(
        self, frame: Sequence[Any], *, trimap: Any = None, order: str = "bgr"
    ) -> list[Matte]: ...

    @overload
    def __call__(self, frame: Any, *, trimap: Any = None, order: str = "bgr") -> Any: ...

    def __call__(
        self, frame: Any, *, trimap: Any = None, order: str = "bgr"
    ) -> Matte | list[Matte]:
        """Matte one frame, or each frame of a batch.

        Args:
            frame: uint8 H×W×3 (BGR, as OpenCV gives it), H×W×4 (BGRA, straight alpha), H×W (grey)
                or a ``kernels.YUV``; a batch is N×H×W×3, N×H×W×4, or a list of frames of one size,
                and runs in turns of the engine's batch. Other arrays are taken through DLPack
                without a copy. One on a GPU needs a CUDA backend; its matte stays there until an
                array in the CPU's memory is asked for (``Matte.gpu`` gives those on the GPU).
                Or a picture's path, a file open in binary or a Pillow image: turned upright, in
                sRGB, its transparency kept.
            trimap: for networks that take one, uint8 H×W of the frame's size: 0 background, 128
                unknown, 255 foreground; for a batch a list of such, or N×H×W. Where it is definite,
                alpha is exactly 0 or 1. It takes precedence over ``trimap_from``.
            order: of an array's channels, "bgr" or "rgb". The arrays that the matte gives and the
                backgrounds that it takes have the same.

        Raises:
            FrameError: another type, dtype, rank, channels, size or value; a trimap or plate that
                is missing or does not fit, or a trimap for a network that takes none.
            NoMatteError: the network answered NaN or infinity.
            ClosedError: after ``close``.
        """
        self._check_open()
        frame = frame_of(frame, order, on_gpu=self._engine.backend.on_gpu)
        frames = as_batch(frame, on_gpu=self._engine.backend.on_gpu)
        if frames is None:
            image = self._frame(frame)
            (matte,) = self._stages.mattes([image], [self._trimap(trimap, image)])
            return matte.ordered(order)
        self._note_shape(frames[0].shape)
        trimaps = self._mode.trimaps(trimap, frames, batch=True)
        return [matte.ordered(order) for matte in self._stages.mattes(frames, trimaps)]

    def batch(
        self,
        pictures: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        out: str | os.PathLike[str],
        *,
        background: Any = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> Mapping[Path, Path]:
        """Cut the subject out of pictures, files to files.

        Args:
            pictures: a folder, a file, a pattern such as "photos/*.jpg", or several of these.
            out: the folder to write NAME.png to; it is made.
            background: what is behind the subject; None: nothing, with transparency.
            progress: called after each picture with the number done and that of all.

        Returns:
            The file written for each picture that could be read; a warning names each other.

        Raises:
            FrameError: there is no picture, none can be read, or one would be written over.
            MatterError: a file cannot be written; otherwise as a call.
        """
        from matter_sdk.sdk.batch import batch

        return batch(self, pictures, out, background=background, progress=progress)

    def prepare(self, frame: Any, *, trimap: Any = None) -> Any:
        """Run the first stage: convert one frame to what ``infer`` takes. Safe in any thread.

        For a network that reads the frame alone, in one pass, that is float32 1×3×h×w.

        Raises:
            FrameError: as a call.
            PlateError: no plate is set, or it does not fit the frame.
            ClosedError: after ``close``.
        """
        self._check_open()
        image = self._frame(frame)
        return self._mode.prepare(image, self._trimap(trimap, image))

    def look(self, frame: Any, prepared: Any) -> Any:
        """See ``sdk.streaming.matting.Matting.look``."""
        return self._mode.look(frame, prepared)

    def infer(self, prepared: Any) -> NDArray[np.float32]:
        """Run the second stage: return the alpha at the network's size, float32 h×w in 0..1.

        ``prepared`` is what ``prepare`` returned. The array is a new one, NumPy's, or CuPy's for a
        frame on a GPU. Waits until a lane of the network is free.

        Raises:
            FrameError: ``prepared`` is something else.
            NoMatteError: the network answered NaN or infinity.
            ClosedError: after ``close``.
        """
        return self.infer_batch([prepared])[0]

    def infer_batch(self, prepared: Sequence[Any]) -> list[NDArray[np.float32]]:
        """Run ``infer`` on several at once; those of one size run in the engine's batch."""
        self._check_open()
        for one in prepared:
            self._mode.check(one)
        return self._stages.infer(prepared)

    def finish(self, frame: Any, alpha: NDArray[np.float32], *, trimap: Any = None) -> Matte:
        """Run the third stage: make the matte from ``infer``'s alpha. Safe in any thread.

        ``trimap`` is the one that ``prepare`` was given, if any.

        Raises:
            FrameError: a frame or trimap as in a call, or an alpha other than float32 h×w.
        """
        image = self._frame(frame)
        check_alpha(alpha)
        checked = None if trimap is None else self._trimap(trimap, image)
        return self._stages.finish(image, alpha, checked)

    def stream(self, source: Any, *, live: bool = False, lookahead: int | None = None) -> Stream:
        """Matte a video, camera or stream, in order; see ``sdk.stream.stream``.

        Args:
            source: an iterable of frames, a path, a camera's index or a stream's address.
            live: take the newest frame and drop those that came meanwhile.
            lookahead: frames that the filter over time looks ahead, by which each matte comes
                later. None: as ``quality`` says for files, 0 for a live stream.
        """
        from matter_sdk.sdk.stream import stream

        self._check_open()
        streamed = stream(self, source, live=live, lookahead=lookahead)
        self._stats = streamed.stats
        return streamed

    def frame_graph(
        self, frame: Any, background: object, *, leave: bool = False
    ) -> FrameGraph | None:
        """Capture all work from frames like this one to their composites as one CUDA graph.

        None unless the network runs in TensorRT, in one pass that reads the frame alone, in batches
        of one, over a colour or an image, for frames uint8 H×W×3 or in planes, and the filter over
        time does not look ahead. ``matte_video`` uses it by itself. With ``leave`` composites stay
        on the GPU. Each graph has an execution context of its own; do not use it after ``close``.

        Raises:
            FrameError: a frame that ``Matter`` does not take.
            BackgroundError: the background is not known or cannot be read.
            BackendError: there is not enough memory on the GPU.
        """
        self._check_open()
        if not self._engine.backend.on_gpu or type(self._mode) is not SingleMode:
            return None
        from matter_sdk.sdk.streaming.frame_graph import open_graph  # needs CuPy

        image = self._frame(frame)
        backend = self._network.load(self._mode.size_of(image.shape))
        return open_graph(
            backend, self.manifest, image, open_background(background), self.quality, leave=leave
        )

    def stats(self) -> Stats:
        """Return the times of each stage of the last stream, and how old its mattes are.

        Raises:
            MatterError: nothing was streamed yet.
        """
        if self._stats is None:
            raise MatterError("nothing was streamed yet; expected stats() after stream(source)")
        return self._stats()

    @property
    def size(self) -> tuple[int, int]:
        """The network's (height, width) for frames of the engine's first aspect ratio."""
        return self._engine.size

    @property
    def backend(self) -> str:
        """The name of the runtime in use, such as "openvino"."""
        return self._engine.backend.name

    @property
    def runtime(self) -> str:
        """The backend's own words, such as "OpenVINO 2026.4.1, bfloat16, 2 threads"."""
        return self._engine.backend.detail

    @property
    def device(self) -> str:
        """Where it runs: "cpu" or "cuda:N"."""
        return self._engine.backend.device

    @property
    def plate(self) -> Any:
        """The picture of the empty place that frames are compared with, or None.

        Assign another at any time: an array as a frame, or a picture's path; None takes it away,
        and frames are refused until there is a new one. Its size may differ from the frames', its
        aspect ratio may not. It is copied, and reads as a uint8 array that must not be written to.
        A frame that is being matted meanwhile sees the old one or the new one, whole.

        Raises:
            FrameError: on assigning what is no picture, or for a network that reads no plate.
        """
        return self._mode.plate

    @plate.setter
    def plate(self, value: Any) -> None:
        self._mode.plate = value

    @property
    def plate_fits(self) -> bool | None:
        """Whether the plate showed the place of the last frame; None before one or without a plate.

        False asks for a new plate: such a frame has no matte, that is, a black one with alpha 0.
        """
        return self._mode.plate_fits

    @property
    def lanes(self) -> int:
        """How many frames the network works on at once."""
        return self._engine.backend.lanes

    def check_streamable(self) -> None:
        """Raise FrameError if frames alone will not do: trimaps or a plate are missing."""
        self._mode.check_streamable()

    def describe(self) -> str:
        """Describe what runs where, from which weights and how well verified, in several lines."""
        return self._engine.describe()

    def close(self) -> None:
        """Release the network and the engine file; may be called more than once."""
        self._engine.close()

    def __repr__(self) -> str:
        return f"Matter({self._engine!r})"

    def _check_open(self) -> None:
        self._network.check_open()

    def _frame(self, value: Any) -> Any:
        image = as_frame(value, on_gpu=self._engine.backend.on_gpu)
        self._note_shape(image.shape)
        return image

    def _trimap(self, value: Any, image: Any) -> Trimap | None:
        (trimap,) = self._mode.trimaps(value, [image], batch=False)
        return trimap
