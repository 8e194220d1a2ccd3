"""One network: each of its sizes in a backend, loaded when it is first wanted."""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import sys
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from matter_sdk.sdk.arrays import array_module, check_finite, device_of, synchronize, to_cpu
from matter_sdk.sdk.backends import Backend, open_backend
from matter_sdk.sdk.engine.file import EngineFile
from matter_sdk.sdk.engine.manifest import Manifest, ModelEntry
from matter_sdk.sdk.errors import BackendError, ClosedError, EngineError, FrameError, MatterError
from matter_sdk.sdk.shielded import shielded


class Network(ABC):
    """A network as a manifest describes it; a subclass opens its backends.

    Safe to call from several threads: each size runs as many batches at once as it has lanes. In a
    child of ``os.fork`` it loads itself anew at its first run, since a runtime's threads do not
    come along; on a GPU it cannot.

    Attributes:
        path: of the file that it is from.
        models: the sizes that may run.
        spec: how a frame becomes its image input.
        first: the backend that was loaded first, also after ``close``; None before.
        closed: whether ``close`` was called.
        passed: the backends that were not taken then, as (name, why not).
    """

    def __init__(self, path: Path, manifest: Manifest, models: Sequence[ModelEntry]) -> None:
        self.path = path
        self.manifest = manifest
        self.models = tuple(models)
        self.spec = manifest.input.spec()
        self.first: Backend | None = None
        self.passed: list[tuple[str, str]] = []
        self._lock = threading.RLock()
        self.closed = False
        self._loaded: dict[tuple[int, ...], _Loaded] = {}
        self._lost_gpu = False  # by a fork
        _all.add(self)

    def load(self, size: tuple[int, ...]) -> Backend:
        """Load one network size, unless it is loaded, and return its backend.

        Raises:
            FrameError: for a size that is not among ``models``.
            BackendError: if no backend can run it, or it ran on a GPU before a fork.
            ClosedError: after ``close``.
        """
        return self._lanes(size).backend

    def _lanes(self, size: tuple[int, ...]) -> _Loaded:
        with self._lock:
            self.check_open()
            if self._lost_gpu:
                raise BackendError(
                    f"this Matter of {self.path} was opened on a GPU before a fork, which CUDA "
                    f"does not survive; expected one of this process. Open it in the child, or "
                    f"start children with multiprocessing.get_context('spawn')"
                )
            if size not in self._loaded:
                backend = self.open(size)
                self._loaded[size] = _Loaded(backend)
                self.first = self.first or backend
            return self._loaded[size]

    @abstractmethod
    def open(self, size: tuple[int, ...]) -> Backend:
        """A backend of one size, loaded anew.

        Raises:
            FrameError: for a size that is not among ``models``.
            BackendError: if no backend can run it.
        """

    def part(self, name: str) -> Network:
        """A further network that serves this one, such as SIM's classifier.

        Raises:
            EngineError: there is none of this name.
        """
        raise EngineError(f"{self.path} has no part {name!r}; expected a network without parts")

    def run(self, *inputs: Any, read: Callable[[Mapping[str, Any]], Any]) -> Any:
        """Run on N frames, in turns of the engine's batch, and return what ``read`` makes of them.

        ``inputs`` are the manifest's in its order, float32 N×channels×h×w, C-contiguous. ``read``
        takes the heads of one batch and returns an array whose first axis is the batch. It runs
        while the lane is held; the heads are overwritten by the lane's next run, so it must return
        a copy. GPU backends give CuPy arrays; the result is already synchronized.

        Raises:
            FrameError: for a size that is not among ``models``.
            BackendError: the runtime failed, or gave heads of another type or shape than the
                manifest says.
            NoMatteError: a head of a frame holds NaN or infinity. It is checked here and nowhere
                later.
            ClosedError: after ``close``.
        """
        # What lies on a GPU was written on a stream of this thread.
        inputs = tuple(map(synchronize, inputs))
        return shielded(lambda: self._run(inputs, read))

    def _run(self, inputs: tuple[Any, ...], read: Callable[[Mapping[str, Any]], Any]) -> Any:
        count, batch = len(inputs[0]), self.manifest.batch
        loaded = self._lanes(tuple(inputs[0].shape[2:]))
        backend = loaded.backend
        if not backend.on_gpu:
            inputs = tuple(map(to_cpu, inputs))
        results = []
        for start in range(0, count, batch):
            turn = (_filled(tensor[start : start + batch], batch) for tensor in inputs)
            with loaded.lane() as lane:
                self.check_open()
                heads = self._heads(backend, turn, lane)
                for name, head in heads.items():
                    check_finite(head[: count - start], f"the network's head {name!r}")
                # Settled before another frame takes the lane, and with it the heads.
                with device_of(*heads.values()):
                    results.append(synchronize(read(heads)[: count - start]))
        if len(results) == 1:
            return results[0]
        with device_of(*results):
            return synchronize(array_module(results[0]).concatenate(results))

    def _heads(self, backend: Backend, inputs: Iterable[Any], lane: int) -> Mapping[str, Any]:
        """One batch's heads, as the manifest has them."""
        try:
            image, *others = inputs
            heads = backend.run(image, *others, lane=lane)
        except MatterError:
            raise
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0] or type(error).__name__
            raise BackendError(
                f"{backend.name} failed on a frame of {self.path} ({reason}); expected a matte. "
                f"Try another backend, or build the engine again"
            ) from error
        for head in self.manifest.heads:
            found = heads[head.name]
            sides = (-(-side // head.stride) for side in image.shape[2:])
            expected = (self.manifest.batch, head.channels, *sides)
            if found.dtype != np.float32 or tuple(found.shape) != expected:
                raise BackendError(
                    f"{self.path}: its network gave {head.name!r} as {found.dtype} of shape "
                    f"{tuple(found.shape)}; expected float32 of shape {expected}. Build the engine "
                    f"again"
                )
        return heads

    def forked(self) -> None:
        """Forget what was loaded before a fork, without releasing it.

        In the child it has no threads, and may hang when it is released.
        """
        self._lock = threading.RLock()  # another thread may have held it
        for loaded in self._loaded.values():
            self._lost_gpu |= loaded.backend.on_gpu
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(loaded.backend))
        self._loaded = {}

    def check_open(self) -> None:
        """Raise ClosedError after ``close``."""
        if self.closed:
            raise ClosedError(
                f"this Matter of {self.path} is closed; expected an open one. Make a new one: "
                f"Matter({str(self.path)!r})"
            )

    def close(self) -> None:
        """Release every backend; may be called more than once."""
        shielded(self._close)

    def _close(self) -> None:
        with self._lock:
            self.closed = True  # those that get a lane from now on find it closed
            for loaded in self._loaded.values():
                loaded.close()
            self._loaded.clear()


class EngineNetwork(Network):
    """The engine's own network, or that of one of its parts.

    ``options`` are those of ``open_backend``.
    """

    def __init__(self, file: EngineFile, models: Sequence[ModelEntry], **options: Any) -> None:
        super().__init__(file.path, file.manifest, models)
        self._file = file
        self._options = options

    def part(self, name: str) -> EngineNetwork:
        """See :class:`Network`; of the same file, with the same options."""
        part = self._file.part(name)
        return EngineNetwork(part, part.manifest.models, **self._options)

    def open(self, size: tuple[int, ...]) -> Backend:
        """See :class:`Network`."""
        for model in self.models:
            if model.size == size:
                break
        else:
            sizes = [model.size for model in self.models]
            raise FrameError(
                f"the tensor is of size {size}; expected one of {sizes}. Give what prepare(frame) "
                f"returned"
            )
        backend, passed = open_backend(self._file, model, **self._options)
        if self.first is None:
            self.passed = passed
        return backend


_all: weakref.WeakSet[Network] = weakref.WeakSet()


def _forked() -> None:
    for network in list(_all):
        network.forked()
    openvino = sys.modules.get("matter_sdk.sdk.backends.openvino")
    if openvino is not None:
        openvino.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class _Loaded:
    """A backend and its free lanes."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for lane in range(backend.lanes):
            self._free.put(lane)

    @contextlib.contextmanager
    def lane(self) -> Iterator[int]:
        """A lane of one's own, once one is free; they are given in the order of asking."""
        lane = self._free.get()
        try:
            yield lane
        finally:
            self._free.put(lane)

    def close(self) -> None:
        """Release the backend once no lane is in use."""
        lanes = [self._free.get() for _ in range(self.backend.lanes)]
        self.backend.close()
        for lane in lanes:  # for those that wait: they find the network closed
            self._free.put(lane)


def _filled(tensor: Any, batch: int) -> Any:
    """``tensor`` with zeros where the batch has no frame."""
    if len(tensor) == batch:
        return tensor
    with device_of(tensor):
        filled = array_module(tensor).zeros((batch, *tensor.shape[1:]), np.float32)
        filled[: len(tensor)] = tensor
        return filled
