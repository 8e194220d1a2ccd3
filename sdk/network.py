"""One network of an engine file: each of its sizes in a backend, loaded when it is first wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.backends import Backend, open_backend
from sdk.engine import EngineFile
from sdk.errors import ClosedError, FrameError
from sdk.frames import host
from sdk.manifest import Manifest, ModelEntry


class Network:
    """The engine's own network, or that of one of its parts.

    Safe to call from several threads: it runs one batch at a time. ``options`` are ``backend``,
    ``device`` and ``threads`` of ``open_backend``.

    Attributes:
        path: of the engine file.
        models: the sizes that may run.
        spec: how a frame becomes its image input.
        first: the backend that was loaded first, also after ``close``; None before.
        closed: whether ``close`` was called.
        passed: the backends that were not taken then, as (name, why not).
    """

    def __init__(self, file: EngineFile, models: Sequence[ModelEntry], **options: Any) -> None:
        self.path = file.path
        self.manifest: Manifest = file.manifest
        self.models = tuple(models)
        self.spec = file.manifest.input.spec()
        self.first: Backend | None = None
        self.passed: list[tuple[str, str]] = []
        self._file = file
        self._options = options
        self._lock = threading.RLock()
        self.closed = False
        self._backends: dict[tuple[int, ...], Backend] = {}

    def load(self, size: tuple[int, ...]) -> Backend:
        """The backend of one network size.

        Raises:
            FrameError: for a size that is not among ``models``.
            BackendError: if no backend can run it.
            ClosedError: after ``close``.
        """
        with self._lock:
            self.check_open()
            if size not in self._backends:
                for model in self.models:
                    if model.size == size:
                        break
                else:
                    sizes = [model.size for model in self.models]
                    raise FrameError(
                        f"the tensor is of size {size}; expected one of {sizes}. Give what "
                        f"prepare(frame) returned"
                    )
                loaded, passed = open_backend(self._file, model, **self._options)
                self._backends[size] = loaded
                if self.first is None:
                    self.first, self.passed = loaded, passed
            return self._backends[size]

    def run(self, *inputs: Any, read: Callable[[Mapping[str, Any]], Any]) -> Any:
        """Run on N frames, in turns of the engine's batch, and return what ``read`` makes of it.

        ``inputs`` are the manifest's in its order, float32 N×channels×h×w, C-contiguous. ``read``
        takes the heads of one batch and returns an array whose first axis is the batch. It is
        called under the lock and must not keep the heads: they are the backend's own memory until
        its next run.

        Raises:
            FrameError: for a size that is not among ``models``.
            ClosedError: after ``close``.
        """
        count, batch = len(inputs[0]), self.manifest.batch
        with self._lock:
            backend = self.load(tuple(inputs[0].shape[2:]))
            if not backend.on_gpu:
                inputs = tuple(map(host, inputs))
            if count == batch:
                return read(backend.run(*inputs))
            results = []
            for start in range(0, count, batch):
                turn = (_filled(tensor[start : start + batch], batch) for tensor in inputs)
                results.append(read(backend.run(*turn))[: count - start])
            return results[0] if len(results) == 1 else np.concatenate(results)

    def check_open(self) -> None:
        """Raise ClosedError after ``close``."""
        if self.closed:
            raise ClosedError(
                f"this Matter of {self.path} is closed; expected an open one. Make a new one: "
                f"Matter({str(self.path)!r})"
            )

    def close(self) -> None:
        """Release every backend; may be called more than once."""
        with self._lock:
            self.closed = True
            for backend in self._backends.values():
                backend.close()
            self._backends.clear()


def _filled(tensor: Any, batch: int) -> Any:
    """``tensor`` with zeros where the batch has no frame."""
    if len(tensor) == batch:
        return tensor
    filled: NDArray[np.float32] = np.zeros((batch, *tensor.shape[1:]), np.float32)
    filled[: len(tensor)] = host(tensor)
    return filled
