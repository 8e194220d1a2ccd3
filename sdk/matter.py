"""``Matter``: frames in, mattes out."""

from __future__ import annotations

import logging
import math
import os
import shlex
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, cast, overload

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels import collaborative_fusion, preprocess
from sdk.backends import Backend, open_backend
from sdk.engine import EngineFile
from sdk.errors import ClosedError, EngineError, FrameError
from sdk.manifest import MAX_SIDE, Manifest, ModelEntry
from sdk.matte import Matte

log = logging.getLogger("matter")

_ORDERS = {3: "bgr", 4: "bgra"}
_WANTED = "uint8 H×W×3 (BGR), H×W×4 (BGRA) or H×W (grey), or a batch of such"


class Matter:
    """A matting network from an engine file, on the best runtime of this machine.

    ``backend`` is a name from ``sdk.backends.ORDER`` and ``device`` "cpu", "cuda" or "cuda:N"; both
    are taken as orders, never as wishes. ``size`` is one of the engine's network sizes (height,
    width); without it each frame takes the one nearest to its own aspect ratio. ``threads`` limits
    a CPU backend (default: every core that the process may use).

    Safe to call from several threads: the network runs one batch at a time, everything else side by
    side. A context manager; ``close`` releases the network and the file.

    Raises:
        EngineError: for an engine that is missing, damaged, foreign or from the future, or a
            ``size`` that it does not hold.
        BackendError: for a backend or device that is not there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        backend: str | None = None,
        device: str | None = None,
        size: tuple[int, int] | None = None,
        threads: int | None = None,
    ) -> None:
        self._path = Path(path)
        self._options: dict[str, Any] = {"backend": backend, "device": device, "threads": threads}
        self._lock = threading.RLock()
        self._closed = False
        self._backends: dict[tuple[int, int], Backend] = {}
        self._engine = EngineFile.open(self._path)
        try:
            self.manifest: Manifest = self._engine.manifest
            self._models = _choose_models(self._path, self.manifest, size)
            self._spec = self.manifest.input.spec()
            first = self._models[0]
            # Further sizes are loaded when the first frame wants them.
            self._primary, self._passed = open_backend(self._engine, first, **self._options)
            self._backends[first.size] = self._primary
        except BaseException:
            self._engine.close()
            raise
        if self.manifest.weights.random:
            log.warning("%s holds random weights: its mattes mean nothing", self._path)

    @overload
    def __call__(self, frame: Sequence[Any]) -> list[Matte]: ...

    @overload
    def __call__(self, frame: Any) -> Any: ...

    def __call__(self, frame: Any) -> Matte | list[Matte]:
        """The matte of one frame, or the list of mattes of a batch.

        ``frame`` is uint8 H×W×3 in BGR order as OpenCV gives it, H×W×4 (BGRA, whose alpha is left
        out) or H×W (grey). A batch is N×H×W×3, N×H×W×4, or a list of frames of equal size; it runs
        in chunks of the engine's batch. Other arrays in the CPU's memory are taken through DLPack
        without a copy. One in a GPU's memory is taken so by a CUDA backend; a CPU backend refuses
        it, because the copy would cost time that nobody sees. The mattes are always in the CPU's
        memory.

        Raises:
            FrameError: for any other type, dtype, rank, channels or size.
            ClosedError: after ``close``.
        """
        frames = self._batch_of(frame)
        if frames is None:
            return self.finish(frame, self.infer(self.prepare(frame)))
        return list(self._mattes(frames))

    def prepare(self, frame: Any) -> Any:
        """First stage: one frame as the network's input, float32 1×3×h×w. Pure, any thread."""
        self._check_open()
        image = self._frame(frame)
        return preprocess(image, self._model_for(image).size, self._spec, order=_order(image))

    def infer(self, tensor: Any) -> NDArray[np.float32]:
        """Second stage: the alpha at the network's size, float32 h×w in 0..1, a fresh array.

        ``tensor`` is what ``prepare`` gave. Runs under a lock.
        """
        shape = tuple(getattr(tensor, "shape", ()))
        sizes = [model.size for model in self._models]
        if len(shape) != 4 or shape[:2] != (1, 3) or shape[2:] not in sizes:
            raise FrameError(
                f"the tensor has shape {shape}; expected 1×3×h×w with (h, w) one of {sizes}. Give "
                f"what prepare(frame) returned"
            )
        batch = self.manifest.batch
        if batch > 1:
            padded = np.zeros((batch, *shape[1:]), np.float32)
            padded[:1] = _host(tensor)
            tensor = padded
        return self._alphas(tensor)[0]

    def finish(self, frame: Any, alpha: NDArray[np.float32]) -> Matte:
        """Third stage: the alpha brought to the frame's size. Pure, any thread."""
        image = _host(self._frame(frame))
        height, width = image.shape[:2]
        if alpha.shape != (height, width):
            # Area averaging when shrinking, as in preprocess: bilinear sampling would alias.
            shrinks = height < alpha.shape[0] and width < alpha.shape[1]
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            alpha = cast(
                "NDArray[np.float32]", cv2.resize(alpha, (width, height), interpolation=how)
            )
        return Matte(image, np.clip(alpha, 0, 1))

    def stream(self, source: Any, *, live: bool = False) -> Iterator[Matte]:
        """Mattes of a video, camera or stream, in order; see ``sdk.stream.stream``.

        ``source`` is an iterable of frames, a path, a camera's index or a stream's address. With
        ``live`` the newest frame is taken and those that came meanwhile are left out.
        """
        from sdk.stream import stream

        self._check_open()
        return iter(cast("Iterable[Matte]", stream(self, source, live=live)))

    @property
    def size(self) -> tuple[int, int]:
        """The network's (height, width): the one asked for, or the engine's first."""
        return self._models[0].size

    @property
    def backend(self) -> str:
        """The name of the runtime in use, such as "openvino"."""
        return self._primary.name

    @property
    def device(self) -> str:
        """Where it runs: "cpu" or "cuda:N"."""
        return self._primary.device

    def describe(self) -> str:
        """What runs where, from which weights, how well verified: several lines for a person."""
        return describe(self.manifest, self._path, self._primary, self._models, self._passed)

    def close(self) -> None:
        """Release the network and the engine file; may be called more than once."""
        with self._lock:
            if not self._closed:
                self._closed = True
                for backend in self._backends.values():
                    backend.close()
                self._backends.clear()
                self._engine.close()

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
        state = ", closed" if self._closed else ""
        return (
            f"Matter({str(self._path)!r}, {self.backend} on {self.device}, {height}×{width}{state})"
        )

    # ------------------------------------------------------------------------------------ inside

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(
                f"this Matter of {self._path} is closed; expected an open one. Make a new one: "
                f"Matter({str(self._path)!r})"
            )

    def _batch_of(self, frame: Any) -> list[Any] | None:
        """The frames of a batch, checked to be of one size; None if ``frame`` is a single frame."""
        self._check_open()
        if isinstance(frame, (list, tuple)):
            frames = [
                self._frame(entry, f"frame {at} of the batch") for at, entry in enumerate(frame)
            ]
        elif getattr(frame, "ndim", 0) == 4:
            whole = self._array(frame, "the batch")
            frames = [
                self._frame(whole[at], f"frame {at} of the batch") for at in range(len(whole))
            ]
        else:
            return None
        if not frames:
            raise FrameError("the batch is empty; expected at least one frame")
        for at, entry in enumerate(frames):
            if entry.shape != frames[0].shape:
                raise FrameError(
                    f"frame {at} of the batch has shape {entry.shape}, frame 0 has "
                    f"{frames[0].shape}; expected frames of one size. Call Matter for each size"
                )
        return frames

    def _mattes(self, frames: list[Any]) -> Iterator[Matte]:
        size = self._model_for(frames[0]).size
        batch = self.manifest.batch
        for start in range(0, len(frames), batch):
            chunk = frames[start : start + batch]
            tensor = np.zeros((batch, 3, *size), np.float32)  # what no frame fills stays zero
            for at, entry in enumerate(chunk):
                preprocess(
                    _host(entry), size, self._spec, order=_order(entry), out=tensor[at : at + 1]
                )
            alphas = self._alphas(tensor)
            for entry, alpha in zip(chunk, alphas, strict=False):
                yield self.finish(entry, alpha)

    def _model_for(self, image: Any) -> ModelEntry:
        """The network size whose aspect ratio is nearest to the frame's, on a log scale."""
        if len(self._models) == 1:
            return self._models[0]
        wanted = math.log(image.shape[0] / image.shape[1])
        return min(self._models, key=lambda m: abs(math.log(m.size[0] / m.size[1]) - wanted))

    def _alphas(self, tensor: Any) -> NDArray[np.float32]:
        """Alphas of a whole batch at the network's size, float32 batch×h×w, a fresh array."""
        with self._lock:
            self._check_open()
            backend = self._backend_for(tuple(tensor.shape[2:]))
            if not backend.on_gpu:
                tensor = _host(tensor)
            heads = backend.run(tensor)
            # Still under the lock: the heads are the backend's own memory until its next run.
            if self.manifest.fusion == "alpha":
                alpha = _host(heads["alpha"]).clip(0, 1)
            else:
                alpha = _host(
                    collaborative_fusion(heads["glance"], heads["focus"], self.manifest.fusion)
                )
        return cast("NDArray[np.float32]", alpha[:, 0])

    def _backend_for(self, size: tuple[int, ...]) -> Backend:
        """The backend of one network size, loaded at its first use. Called under the lock."""
        for model in self._models:
            if model.size == size:
                if model.size not in self._backends:
                    self._backends[model.size] = open_backend(self._engine, model, **self._options)[
                        0
                    ]
                return self._backends[model.size]
        raise FrameError(
            f"the tensor is of size {size}; expected one of {[m.size for m in self._models]}"
        )

    def _array(self, value: Any, what: str) -> Any:
        """A NumPy array (or, for a CUDA backend, a CuPy array) over the same memory."""
        if isinstance(value, np.ndarray):
            return value
        if value is None:
            raise FrameError(
                f"{what} is None, which is what cv2.imread gives for a file that it cannot read; "
                f"expected {_WANTED}. Check the path"
            )
        if not hasattr(value, "__dlpack_device__"):
            advice = ""
            if hasattr(value, "convert") and hasattr(value, "mode"):  # a PIL image: RGB order
                advice = ". For a PIL image: np.asarray(image.convert('RGB'))[..., ::-1]"
            elif isinstance(value, (str, os.PathLike)):
                advice = ". For a file: cv2.imread(path)"
            raise FrameError(f"{what} is a {type(value).__name__}; expected {_WANTED}{advice}")
        kind, number = value.__dlpack_device__()
        if int(kind) == 1:  # kDLCPU
            return np.from_dlpack(value)
        if not self._primary.on_gpu:
            raise FrameError(
                f"{what} is in a GPU's memory and the backend {self.backend!r} runs on the CPU; "
                f"expected an array in the CPU's memory. Copy it: cupy.asnumpy(frame), or "
                f"frame.cpu().numpy() for torch"
            )
        import cupy  # there, since the backend uses it

        with cupy.cuda.Device(number):
            return cupy.from_dlpack(value)

    def _frame(self, value: Any, what: str = "the frame") -> Any:
        """Check one frame; see ``__call__``."""
        image = self._array(value, what)
        if image.dtype != np.uint8:
            raise FrameError(_wrong_dtype(image, what))
        shape = tuple(image.shape)
        if image.ndim not in (2, 3):
            raise FrameError(f"{what} has rank {image.ndim}, shape {shape}; expected {_WANTED}")
        if image.ndim == 3 and shape[2] not in _ORDERS:
            advice = ""
            if shape[2] == 1:
                advice = ". For a grey picture: frame[:, :, 0]"
            elif shape[0] in (3, 4):
                advice = ". For channels first: np.moveaxis(frame, 0, -1)"
            raise FrameError(
                f"{what} has {shape[2]} channels, shape {shape}; expected {_WANTED}{advice}"
            )
        if 0 in shape:
            raise FrameError(f"{what} has no pixels, shape {shape}; expected {_WANTED}")
        return image


def describe(
    manifest: Manifest,
    path: Path,
    backend: Backend,
    models: Sequence[ModelEntry],
    passed: Sequence[tuple[str, str]],
) -> str:
    """The text of ``Matter.describe``; every line is "what: how it is"."""
    network, weights = manifest.network, manifest.weights
    lines = [("engine", f"{path} (schema {manifest.schema}, made {manifest.created})")]
    millions = f", {network.parameters / 1e6:.2f} M parameters" if network.parameters else ""
    lines.append(("network", f"{network.name} {network.backbone}, RoSTa {network.rosta}{millions}"))
    if weights.random:
        lines.append(("weights", "RANDOM WEIGHTS: for timing only, the mattes mean nothing"))
    else:
        digest = f"SHA-256 {weights.sha256[:12]}…"
        lines.append(("weights", f"{weights.source} ({weights.licence}, {digest})"))
    for index, model in enumerate(models):
        name = f"{model.size[0]}x{model.size[1]}"
        macs = network.macs.get(name)
        cost = f", {macs / 1e9:.2f} G multiply-accumulates" if macs else ""
        lines.append(("size" if index == 0 else "", f"{model.size[0]}×{model.size[1]}{cost}"))
    lines.append(("precision", f"{manifest.precision} stored; runs as below"))
    lines.append(("backend", f"{backend.name} on {backend.device}: {backend.detail}"))
    for index, (name, reason) in enumerate(passed):
        lines.append(("not taken" if index == 0 else "", f"{name}: {reason}"))
    shown = [e for e in manifest.verification if e.size in [m.size for m in models]]
    for index, entry in enumerate(shown):
        lines.append(("verified" if index == 0 else "", _verification_line(entry)))
    if not shown:
        lines.append(("verified", "never: the engine holds no verification report"))
    return "\n".join(f"{name:<10}{text}" for name, text in lines)


def _verification_line(entry: Any) -> str:
    where = f"{entry.artefact} {entry.precision} at {entry.size[0]}×{entry.size[1]}: {entry.status}"
    if entry.status == "not run":
        return f"{where} ({entry.reason})" if entry.reason else where
    numbers = {"SAD": entry.sad, "MSE": entry.mse, "MAD": entry.mad, "largest": entry.largest}
    text = ", ".join(f"{name} {value:.3g}" for name, value in numbers.items() if value is not None)
    return (
        f"{where}{', ' + text if text else ''}{' (' + entry.reason + ')' if entry.reason else ''}"
    )


def _choose_models(path: Path, manifest: Manifest, size: Any) -> tuple[ModelEntry, ...]:
    if size is None:
        return manifest.models
    multiple = manifest.input.multiple
    held = ", ".join(f"{m.size[0]}x{m.size[1]}" for m in manifest.models)
    if (
        not isinstance(size, (tuple, list))
        or len(size) != 2
        or not all(isinstance(s, (int, np.integer)) and not isinstance(s, bool) for s in size)
    ):
        raise EngineError(
            f"size is {size!r}; expected (height, width), one that {path} holds: {held}"
        )
    height, width = int(size[0]), int(size[1])
    for model in manifest.models:
        if model.size == (height, width):
            return (model,)
    valid = all(0 < side <= MAX_SIDE and side % multiple == 0 for side in (height, width))
    if not valid:
        raise EngineError(
            f"size is {height}x{width}; expected multiples of {multiple} up to {MAX_SIDE}, and one "
            f"that {path} holds: {held}"
        )
    extended = replace(
        manifest, models=(*manifest.models, ModelEntry((height, width), "model.onnx"))
    )
    raise EngineError(
        f"size is {height}x{width}; expected one that {path} holds: {held}. Build it in: "
        f"{extended.build_command(shlex.quote(path.name))}"
    )


def _wrong_dtype(image: Any, what: str) -> str:
    text = f"{what} is {image.dtype}, shape {tuple(image.shape)}"
    if image.dtype.kind == "f":
        if bool((image != image).any()):  # the array may be CuPy's
            text += ", with NaN in it"
            return f"{text}; expected {_WANTED}. Find where the NaN comes from"
        if image.size and float(image.max()) > 2:
            advice = "frame.clip(0, 255).round().astype(np.uint8), for values in 0..255"
        else:
            advice = "(frame * 255).round().astype(np.uint8), for values in 0..1"
    elif image.dtype == np.uint16:
        advice = "(frame / 257).round().astype(np.uint8), for the full range of 16 bits"
    elif image.dtype == np.bool_:
        advice = "frame.astype(np.uint8) * 255"
    else:
        advice = "frame.clip(0, 255).astype(np.uint8), for values in 0..255"
    return f"{text}; expected {_WANTED}. Convert it: {advice}"


def _order(image: Any) -> str:
    return "gray" if image.ndim == 2 else _ORDERS[image.shape[2]]


def _host(array: Any) -> NDArray[Any]:
    """A CuPy array copied to the CPU's memory; a NumPy array as it is."""
    return cast("NDArray[Any]", array if isinstance(array, np.ndarray) else array.get())
