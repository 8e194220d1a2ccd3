"""The runtimes that can run an engine, one file each, behind one small interface.

``open_backend`` takes the one asked for by name, or the first that is installed, has what it needs
in the engine, and runs a first image without an error: GPU backends in their ``ORDER``, then those
of the CPU as the build measured them. Nothing is passed over in silence: each backend that was not
taken is returned with its reason, and logged.
"""

from __future__ import annotations

import importlib
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from matter_sdk.sdk import cpu
from matter_sdk.sdk.engine.manifest import CPU_ARITHMETIC
from matter_sdk.sdk.errors import BackendError, EngineError, MatterError, expected_one_of

if TYPE_CHECKING:
    from matter_sdk.sdk.engine.file import EngineFile
    from matter_sdk.sdk.engine.manifest import Manifest, ModelEntry

__all__ = ["ORDER", "Backend", "open_backend"]

log = logging.getLogger("matter")


class Backend(ABC):
    """One network size, loaded and ready to run on one device.

    Each of its lanes runs one batch at a time; ``Network`` sees to that.
    """

    name: str
    """Such as "openvino"."""
    device: str
    """Such as "cpu" or "cuda:0"."""
    detail: str
    """For ``describe()``: library version, precision, threads."""
    lanes: int = 1
    """How many batches may run at once, each with its share of the threads."""
    on_gpu: bool = False
    """Whether ``run`` takes CuPy arrays without a copy and returns CuPy arrays."""

    @abstractmethod
    def run(self, *inputs: Any, lane: int = 0) -> Mapping[str, Any]:
        """Run the network on one of its lanes, counted from 0.

        ``inputs`` are those of the manifest in its order, the image first: float32
        batch×channels×H×W, C-contiguous, of the manifest's batch and the model's size. Returns the
        heads by name, float32 batch×channels×⌈H/stride⌉×⌈W/stride⌉.

        THE BACKEND OWNS THESE ARRAYS: the lane's next run may overwrite them.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the network; may be called more than once."""


class Share(NamedTuple):
    """What a CPU backend may take: threads in all, and lanes to divide them among."""

    threads: int
    lanes: int = 1

    def __str__(self) -> str:
        text = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return text if self.lanes == 1 else f"{text} in {self.lanes} lanes"


class _Entry(NamedTuple):
    module: str
    option: str  # which of a module's variants
    gpu: bool


_BACKENDS: dict[str, _Entry] = {
    "tensorrt": _Entry("matter_sdk.sdk.backends.tensorrt", "tensorrt", True),
    "tensorrt-rtx": _Entry("matter_sdk.sdk.backends.tensorrt", "tensorrt-rtx", True),
    "onnxruntime-cuda": _Entry("matter_sdk.sdk.backends.onnxruntime", "cuda", True),
    "openvino": _Entry("matter_sdk.sdk.backends.openvino", "cpu", False),
    "onnxruntime": _Entry("matter_sdk.sdk.backends.onnxruntime", "cpu", False),
}

ORDER: tuple[str, ...] = tuple(_BACKENDS)
"""Every backend's name, the preferred first where nothing was measured."""


def open_backend(
    engine: EngineFile,
    model: ModelEntry,
    *,
    backend: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    arithmetic: str = "measured",
    lanes: int = 1,
) -> tuple[Backend, list[tuple[str, str]]]:
    """Load ``model`` into the requested backend, or into the first that works.

    ``device`` is "cpu", "cuda" or "cuda:N"; ``threads`` limits a CPU backend (None: every core that
    this process may use). ``arithmetic`` is of CPU backends: one of
    ``sdk.inference.quality.ARITHMETIC``, or exactly one of ``sdk.engine.manifest.CPU_ARITHMETIC``.
    ``lanes`` asks for so many batches at once, each with its share of a CPU's threads; TensorRT has
    at least two.

    Returns the backend, and those passed over as (name, why not).

    Raises:
        BackendError: an unknown name or device, a backend asked for that is not there, or none
            that works; the message holds every reason.
        EngineError: the graph is not one that an engine may hold, or the file was changed.
    """
    kind, number = _device(device)
    if backend is not None and backend not in _BACKENDS:
        raise BackendError(f"backend is {backend!r}; {expected_one_of(backend, ORDER)}")
    if threads is not None and (type(threads) is not int or not 1 <= threads <= 1024):
        raise BackendError(
            f"threads is {threads!r}; expected a whole number from 1 to 1024 or None"
        )
    if type(lanes) is not int or not 1 <= lanes <= 64:
        raise BackendError(f"lanes is {lanes!r}; expected a whole number from 1 to 64")
    passed: list[tuple[str, str]] = []
    for name, form in _choices(model, arithmetic):
        if backend not in (None, name):
            continue
        reason = _reason(name, engine, form, kind, number)
        if reason is None:
            try:
                share = Share(threads or cpu.usable_cores(), lanes)
                loaded = _load(name, engine, form, number, share)
            except EngineError:  # a graph that no runtime should see, or a file that was changed
                raise
            except Exception as error:  # noqa: BLE001 - runtimes raise types of their own; recorded
                reason = f"failed to load: {_first_line(error)}"
                log.warning("backend %s failed to load: %s", name, error)
            else:
                _report(loaded, model, passed)
                return loaded, passed
        if (name, reason) not in passed:  # of a backend in several arithmetics
            passed.append((name, reason))
    if backend is not None and not passed:
        raise BackendError(
            f"backend {backend!r} does not compute in {arithmetic}; expected one of: "
            f"{', '.join(name for name, _ in _choices(model, arithmetic))}"
        )
    if backend is not None:
        plain = model.on_cpu("float32")
        others = [n for n in ORDER if n != backend and _reason(n, engine, plain, None, 0) is None]
        raise BackendError(
            f"backend {backend!r} was asked for and cannot be used: {passed[0][1]}; available "
            f"here: {', '.join(others) or 'none'}"
        )
    reasons = "; ".join(f"{name}: {reason}" for name, reason in passed)
    where = f" on device {device!r}" if device else ""
    raise BackendError(f"no backend can run {engine.path}{where}: {reasons}")


def _choices(model: ModelEntry, arithmetic: str) -> list[tuple[str, ModelEntry]]:
    """Each backend with the form of the model that it would run, in the order of trying."""
    chosen = [(name, model) for name, entry in _BACKENDS.items() if entry.gpu]
    return chosen + [(name, model.on_cpu(exact)) for name, exact in _on_cpu(model, arithmetic)]


def _on_cpu(model: ModelEntry, arithmetic: str) -> list[tuple[str, str]]:
    """CPU backends and their arithmetic: those that were measured, then what any engine can do."""
    measured = model.measured.timings if model.measured is not None else ()
    timed = [(timing.backend, timing.arithmetic) for timing in measured]
    if arithmetic == "measured":
        timed = [choice for choice in timed if "int8" not in choice[1]]
    wanted: tuple[str, ...] = (model.cpu_precision, "float32")
    if arithmetic not in ("fastest", "measured"):
        timed = [choice for choice in timed if choice[1] == arithmetic]
        wanted = (arithmetic,)
    untimed = [
        (name, exact)
        for name in CPU_ARITHMETIC
        for exact in wanted
        if exact in CPU_ARITHMETIC[name]
    ]
    return list(dict.fromkeys([*timed, *untimed]))


def check_graph(
    manifest: Manifest,
    model: ModelEntry,
    inputs: Mapping[str, Sequence[Any]],
    outputs: Mapping[str, Sequence[Any]],
) -> None:
    """Refuse a graph or plan whose inputs and outputs are not what the manifest says.

    ``inputs`` and ``outputs`` map tensor names to shapes.

    Raises:
        BackendError: names the tensor, its shape and the expected one.
    """
    wanted = {name: (manifest.batch, n, *model.size) for name, n in manifest.inputs.items()}
    if {name: tuple(shape) for name, shape in inputs.items()} != wanted:
        raise BackendError(
            f"the graph's inputs are {_shapes(inputs)}; expected {_shapes(wanted)} as in the "
            f"manifest. Build the engine again"
        )
    for head in manifest.heads:
        sides = (-(-side // head.stride) for side in model.size)
        expected = (manifest.batch, head.channels, *sides)
        if head.name not in outputs or tuple(outputs[head.name]) != expected:
            raise BackendError(
                f"the graph's outputs are {_shapes(outputs)}; expected {head.name}{list(expected)} "
                f"as in the manifest. Build the engine again"
            )


def _shapes(tensors: Mapping[str, Sequence[Any]]) -> str:
    return ", ".join(f"{name}{list(shape)}" for name, shape in tensors.items()) or "none"


def _device(device: str | None) -> tuple[str | None, int]:
    if device is None:
        return None, 0
    match = re.fullmatch(r"(cpu)|cuda(?::(\d{1,2}))?", str(device))
    if match is None:
        raise BackendError(f"device {device!r} is not known; expected 'cpu', 'cuda' or 'cuda:N'")
    return ("cpu", 0) if match[1] else ("cuda", int(match[2] or 0))


def _reason(
    name: str, engine: EngineFile, model: ModelEntry, kind: str | None, number: int
) -> str | None:
    """Why a backend cannot be used, as a sentence, or None. Loads nothing but libraries."""
    entry = _BACKENDS[name]
    if kind is not None and entry.gpu != (kind == "cuda"):
        place = "an NVIDIA GPU" if entry.gpu else "the CPU"
        return f"it runs on {place}, device={kind!r} was asked for"
    if (
        not entry.gpu
        and "int8" in model.cpu_precision
        and model.measured is not None
        and model.measured.cpu != cpu.name()
        and not cpu.has_dot_product()  # pairs of products may be added up in 16 bits, and overflow
    ):
        return (
            f"{model.cpu_precision}: it was verified on another CPU, and this one is not known to "
            "add up 8-bit products in 32 bits"
        )
    try:
        reason: str | None = importlib.import_module(entry.module).unavailable(
            entry.option, engine, model, number
        )
    except EngineError:  # a file that was changed
        raise
    except Exception as error:  # noqa: BLE001 - of a library or driver that does not work here
        log.warning("backend %s cannot be used: %s", name, error)
        return f"it does not work here: {_first_line(error)}"
    return reason


def _load(name: str, engine: EngineFile, model: ModelEntry, number: int, share: Share) -> Backend:
    import numpy as np

    entry = _BACKENDS[name]
    backend: Backend = importlib.import_module(entry.module).load(
        entry.option, engine, model, number, share
    )
    try:
        # A first image: what cannot run is found here, and the first frame need not wait for
        # whatever the runtime leaves until then.
        batch, channels = engine.manifest.batch, engine.manifest.inputs.values()
        image = [np.zeros((batch, count, *model.size), np.float32) for count in channels]
        for lane in range(backend.lanes):
            backend.run(*image, lane=lane)
    except BaseException:
        backend.close()
        raise
    return backend


def _report(backend: Backend, model: ModelEntry, passed: list[tuple[str, str]]) -> None:
    log.info(
        "running %dx%d with %s on %s (%s)%s",
        *model.size,
        backend.name,
        backend.device,
        backend.detail,
        "".join(f"; not {name}: {reason}" for name, reason in passed),
    )


def _first_line(error: BaseException) -> str:
    if isinstance(error, MatterError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
