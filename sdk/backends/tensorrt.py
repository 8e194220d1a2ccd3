"""TensorRT and TensorRT for RTX: one implementation, since their Python interfaces agree here.

A plan is native code, so only one that this user built on this machine is taken, unless the caller
trusts the file (``sdk.backends.own_plans``). It is deserialised once for all lanes. A lane has
an execution context, a stream, and buffers whose addresses never change; as shapes are fixed too,
its run is captured into a CUDA graph and replayed: one launch for the whole network instead of one
for every layer. There are two lanes or more, so that the upload of one frame overlaps the network
of another. Where the two libraries differ:

* the module's name;
* which plans fit: all are bound to the exact version, TensorRT's to a compute capability and RTX's
  to those that were asked for (``PlanEntry.serves``; by default neither Turing nor 9.0 and 10.x).
  RTX says itself whether a plan is valid here. Its kernels are compiled on first use, and kept:
  ``sdk.backends.runtime_cache``;
* TensorRT for RTX compiles kernels lazily, which must be over before a capture begins. Two plain
  runs come first, and where ``is_stream_capturable`` says no, the network runs without a graph;
* only the full TensorRT has plugins: a plan that needs one says so in the manifest, and it is
  registered before the plan is read (``sdk.backends.unpool_plugin``).

This file has been written against the documented interfaces and has **not run on a GPU yet**; what
is tested without one is the choice of a plan, every reason for being unavailable, and the order of
calls, with stand-ins whose streams do their work as late as a GPU might.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from matter_sdk.sdk.backends import (
    Backend,
    Share,
    check_graph,
    own_plans,
    runtime_cache,
    tensorrt_log,
    unpool_plugin,
)
from matter_sdk.sdk.backends.gpu import no_gpu
from matter_sdk.sdk.engine.manifest import PlanEntry
from matter_sdk.sdk.errors import BackendError

if TYPE_CHECKING:
    from matter_sdk.sdk.engine.file import EngineFile
    from matter_sdk.sdk.engine.manifest import ModelEntry

log = logging.getLogger("matter")

_MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_LABELS = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT for RTX"}

LANES = 2  # at least: while one computes, the other takes its frame


def unavailable(option: str, engine: EngineFile, model: ModelEntry, number: int) -> str | None:
    """Why this backend cannot be used here, or None."""
    module = _MODULES[option]
    if importlib.util.find_spec(module) is None:
        return f"not installed: pip install 'matter-sdk[{option}]'"
    reason = no_gpu(module, number)
    if reason is not None:
        return reason
    if importlib.util.find_spec("cupy") is None:
        return f"{module} is installed but CuPy is not: pip install 'matter-sdk[nvidia]'"
    version = importlib.import_module(module).__version__
    capability = _capability(number)
    plan = choose_plan(engine.manifest.plans, option, version, capability, model.size)
    if plan is None:
        return no_plan(engine.manifest.plans, option, version, capability, model.size)
    if not (engine.trust_plans or own_plans.known(engine.member(plan.file).sha256)):
        return (
            f"{plan.file!r} is native code that this user did not build on this machine; expected "
            f"one that was. Build the engine here, or say trust_plans=True if you trust its source "
            f"like that of a program"
        )
    return _invalid(importlib.import_module(module), engine, plan)


# What TensorRT for RTX may find wrong with a plan: its name for it -> ours.
_INVALID = {
    "VERSION_MISMATCH": "it is of another version: build the engine again with this one",
    "UNSUPPORTED_CC": "it does not serve this GPU",
    "OLD_CUDA_DRIVER": "the NVIDIA driver is too old: update it",
    "OLD_CUDA_RUNTIME": "the CUDA runtime is too old: update it",
    "INSUFFICIENT_GPU_MEMORY": "this GPU has too little memory",
    "MALFORMED_ENGINE": "it is damaged: build the engine again",
    "CUDA_ERROR": "CUDA or the NVIDIA driver is not installed as it should be",
}


def _invalid(trt: Any, engine: EngineFile, plan: PlanEntry) -> str | None:
    """Why TensorRT for RTX would not run a plan here, or None; the full TensorRT cannot say."""
    logger = tensorrt_log.logger(trt, lambda _level, message: log.debug("%s", message))
    runtime = trt.Runtime(logger)
    if not hasattr(runtime, "get_engine_validity"):
        return None
    with engine.read(plan.file) as content, content[: runtime.engine_header_size] as header:
        validity, found = runtime.get_engine_validity(header)
    if validity != trt.EngineValidity.INVALID:
        return None
    reasons = [
        _INVALID.get(name, name)
        for name, bit in trt.EngineInvalidityDiagnostics.__members__.items()
        if int(found) & int(bit)
    ]
    return (
        f"{_LABELS[plan.runtime]} {trt.__version__} does not run {plan.file!r} (for "
        f"{plan.gpus()}): {'; '.join(reasons) or 'it gives no reason'}"
    )


def choose_plan(
    plans: tuple[PlanEntry, ...],
    runtime: str,
    version: str,
    capability: str,
    size: tuple[int, int],
) -> PlanEntry | None:
    """Choose the plan for a runtime of exactly this version, GPU and network size, or None."""
    fitting = [
        plan
        for plan in plans
        if plan.runtime == runtime
        and plan.version == version
        and plan.fits(capability)
        and plan.size == size
    ]
    # One made for exactly this GPU before one for several.
    return min(fitting, key=lambda plan: plan.compute_capability is None, default=None)


def no_plan(
    plans: tuple[PlanEntry, ...],
    runtime: str,
    version: str,
    capability: str,
    size: tuple[int, int],
) -> str:
    """Say why none of ``plans`` fits, and what to do."""
    label = _LABELS[runtime]
    if runtime == "tensorrt-rtx" and capability != TURING and not _served(capability):
        return (
            f"{label} does not run on a GPU of compute capability {capability}: use tensorrt or "
            "onnxruntime-cuda"
        )
    others = [plan for plan in plans if plan.runtime == runtime and plan.size == size]
    for plan in others:
        if plan.fits(capability):
            return (
                f"{plan.file!r} is of {label} {plan.version} and runs with no other, installed is "
                f"{version}: build the engine again"
            )
    held = ", ".join(
        f"{_LABELS[plan.runtime]} {plan.version} for {plan.gpus()} at {plan.size[0]}x{plan.size[1]}"
        for plan in plans
    )
    turing = " with --turing" if (runtime, capability) == ("tensorrt-rtx", TURING) else ""
    return (
        f"the engine holds no plan for {label} {version} on compute capability {capability} at "
        f"{size[0]}x{size[1]} (it holds: {held or 'none'}): build the engine again{turing}"
    )


TURING = "7.5"  # which TensorRT for RTX serves on request


def _served(capability: str) -> bool:
    """Whether a default plan of TensorRT for RTX serves a GPU."""
    return PlanEntry("tensorrt-rtx", "", None, (0, 0), "").fits(capability)


def load(option: str, engine: EngineFile, model: ModelEntry, number: int, share: Share) -> TensorRt:
    """Load one network size."""
    return TensorRt(option, engine, model, number, max(LANES, share.lanes))


class _Tensors(NamedTuple):
    """A plan's inputs and outputs, name -> shape; all are float32."""

    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]


class TensorRt(Backend):
    """A plan with its lanes. ``run`` returns the CuPy output buffers of one."""

    on_gpu = True

    def __init__(
        self, option: str, engine: EngineFile, model: ModelEntry, number: int, lanes: int
    ) -> None:
        import cupy

        trt = importlib.import_module(_MODULES[option])
        manifest = engine.manifest
        capability = _capability(number)
        plan = choose_plan(manifest.plans, option, trt.__version__, capability, model.size)
        if plan is None:
            raise BackendError(
                no_plan(manifest.plans, option, trt.__version__, capability, model.size)
            )
        self._label = _LABELS[option]
        self._device = cupy.cuda.Device(number)
        self._names = list(manifest.inputs), [head.name for head in manifest.heads]
        with self._device:
            # Order of life: a context needs the engine, the engine its runtime and logger.
            self._heard = _Heard(self._label)
            self._logger = tensorrt_log.logger(trt, self._heard)
            if plan.plugins:
                unpool_plugin.register(trt, plan.plugins)
            self._runtime = trt.Runtime(self._logger)
            with engine.read(plan.file) as content:
                self._engine = self._runtime.deserialize_cuda_engine(content)
            if self._engine is None:
                raise BackendError(
                    f"{self._label} {trt.__version__} could not read {plan.file!r}, for "
                    f"{plan.gpus()}: {self._heard}"
                )
            self._tensors = self._described(trt)
            check_graph(manifest, model, *self._tensors)
            rtx = option == "tensorrt-rtx"
            self._kernels = _Kernels(self._engine, engine.path) if rtx else None
            self._lanes = [self.lane() for _ in range(lanes)]
            for lane in self._lanes:
                lane.capture()
            if self._kernels is not None:
                self._kernels.keep()
        self.name = option
        self.device = f"cuda:{number}"
        self.lanes = lanes
        how = "CUDA graphs" if all(lane.captured for lane in self._lanes) else "no CUDA graph"
        self.detail = f"{self._label} {trt.__version__}, {manifest.precision}, {lanes} lanes, {how}"

    def _described(self, trt: Any) -> _Tensors:
        tensors = _Tensors({}, {})
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            if self._engine.get_tensor_dtype(name) != trt.float32:
                raise BackendError(
                    f"the plan's tensor {name!r} is {self._engine.get_tensor_dtype(name)}; "
                    f"expected float32. Build the engine again"
                )
            is_input = self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            side = tensors.inputs if is_input else tensors.outputs
            side[name] = tuple(self._engine.get_tensor_shape(name))
        return tensors

    def lane(self) -> Lane:
        """Make one more lane, for the caller alone; ``run`` never uses it.

        Raises:
            BackendError: there is not enough memory on the GPU.
        """
        with self._device:
            if self._kernels is None:
                context = self._engine.create_execution_context()
            else:
                context = self._engine.create_execution_context(self._kernels.config)
            if context is None:
                raise BackendError(
                    f"{self._label} could not make an execution context; expected enough free "
                    f"GPU memory: {self._heard}"
                )
            # A lane may outlive this backend: what its context needs, the last released first.
            needs = (self._logger, self._runtime, self._engine, self._kernels)
            return Lane(context, self._tensors, *self._names, self._device, self._heard, needs)

    def run(self, *inputs: Any, lane: int = 0) -> Mapping[str, Any]:
        """See ``Backend.run``."""
        return self._lanes[lane].run(inputs)

    def close(self) -> None:
        """See ``Backend.close``."""
        with self._device:  # in reverse order of their making
            self._lanes = []
            self._kernels = None
            self._engine = None
            self._runtime = None


class _Heard:
    """What a TensorRT says: logged, and its latest errors kept for messages."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._errors: deque[str] = deque(maxlen=3)

    def __call__(self, level: int, message: str) -> None:
        if level == logging.ERROR:
            self._errors.append(message)
        log.log(level, "%s: %s", self._label, message)

    def __str__(self) -> str:
        return "; ".join(self._errors) or "it gives no reason"


class Lane:
    """An execution context with a stream, buffers and staging memory of its own.

    Attributes:
        device: CuPy's, of the GPU that it is on.
        stream: where all of its work is, non-blocking.
        inputs: CuPy arrays in the manifest's order, which the network reads.
        heads: CuPy arrays by name, which it writes.
        captured: whether ``run`` replays a CUDA graph.
    """

    def __init__(
        self,
        context: Any,
        tensors: _Tensors,
        inputs: Sequence[str],
        heads: Sequence[str],
        device: Any,
        heard: _Heard,
        needs: tuple[Any, ...],
    ) -> None:
        import cupy
        import cupyx

        self._cupy: Any = cupy
        self._graph: Any = None
        self._context = context
        self._needs = needs  # after the context: attributes are released in their order
        self._heard = heard
        self.device = device
        # The default stream cannot be captured, and makes TensorRT synchronise the device.
        self.stream = cupy.cuda.Stream(non_blocking=True)
        with self.stream:
            buffers = {
                name: cupy.zeros(shape, cupy.float32)
                for shapes in tensors
                for name, shape in shapes.items()
            }
        for name, buffer in buffers.items():
            if not context.set_tensor_address(name, buffer.data.ptr):
                raise BackendError(f"TensorRT refused the address of tensor {name!r}")
        self._buffers = buffers  # the context writes to those that are no head, too
        self.inputs = [buffers[name] for name in inputs]
        self.heads = {name: buffers[name] for name in heads}
        # Page-locked: only from such memory does a copy run beside the host and other streams.
        self._staging = [cupyx.empty_pinned(buffer.shape, "float32") for buffer in self.inputs]
        self.stream.synchronize()

    @property
    def captured(self) -> bool:
        """Whether ``run`` replays a CUDA graph."""
        return self._graph is not None

    def capture(self) -> None:
        """Make the CUDA graph that ``run`` replays, where that can be."""
        self.warm_up()
        self._graph = self.recorded(self.enqueue)

    def warm_up(self) -> None:
        """Run the network twice: first runs allocate and, with RTX, compile kernels, which must not
        happen in a capture."""
        for _ in range(2):
            self.enqueue()
        self.stream.synchronize()

    def recorded(self, work: Callable[[], None]) -> Any:
        """Capture ``work`` on ``stream`` as a CUDA graph, after ``warm_up``; None where TensorRT's
        part cannot be captured."""
        asked = getattr(self._context, "is_stream_capturable", None)  # the full TensorRT has none
        if asked is not None and not asked(self.stream.ptr):
            return None
        cuda = self._cupy.cuda
        refused = BackendError, cuda.runtime.CUDARuntimeError, cuda.driver.CUDADriverError
        try:
            with self.stream:
                self.stream.begin_capture()
                try:
                    work()
                except BaseException:
                    with contextlib.suppress(*refused):  # an invalid capture ends with an error
                        self.stream.end_capture()
                    raise
                return self.stream.end_capture()
        except refused as error:
            log.info("the network runs without a CUDA graph, since it refuses capture: %s", error)
            return None

    def enqueue(self) -> None:
        """Start the network on ``stream``, from ``inputs`` to ``heads``.

        Raises:
            BackendError: TensorRT refuses.
        """
        if not self._context.execute_async_v3(self.stream.ptr):
            raise BackendError(f"TensorRT could not start the network: {self._heard}")

    def run(self, inputs: Sequence[Any]) -> Mapping[str, Any]:
        """See ``Backend.run``."""
        cupy, stream = self._cupy, self.stream
        for array in inputs:
            if isinstance(array, cupy.ndarray):  # maybe still being written on the caller's stream
                with array.device:
                    stream.wait_event(cupy.cuda.get_current_stream().record())
        with self.device, stream:
            for buffer, staging, array in zip(self.inputs, self._staging, inputs, strict=True):
                if isinstance(array, cupy.ndarray):
                    cupy.copyto(buffer, array)
                else:
                    staging[...] = array
                    buffer.set(staging, stream=stream)
            if self._graph is not None:
                self._graph.launch(stream)
            else:
                self.enqueue()
            # Staging memory and the caller's arrays are free again after this, heads are written.
            stream.synchronize()
        return self.heads


class _Kernels:
    """What TensorRT for RTX compiles for an engine's contexts, and keeps for the next start."""

    def __init__(self, engine: Any, path: Path) -> None:
        self.config = engine.create_runtime_config()
        self._path = path
        self._cache = self.config.create_runtime_cache()
        self._kept = runtime_cache.read(path)
        # False: of another version, driver or GPU. The cache is then empty as before.
        if self._kept is not None and not self._cache.deserialize(self._kept):
            log.info("the kernels kept for %s do not fit; compiling them again", path)
        if not self.config.set_runtime_cache(self._cache):
            log.info("TensorRT for RTX takes no runtime cache: kernels will not be kept")

    def keep(self) -> None:
        """Keep what is compiled by now, if that is not what was kept before."""
        serialised = self._cache.serialize()
        content = None if serialised is None else bytes(memoryview(serialised))
        if content and content != self._kept:
            runtime_cache.write(self._path, content)


def _capability(number: int) -> str:
    """The compute capability of a GPU, such as "9.0".

    Raises:
        BackendError: CuPy does not work with this driver.
    """
    import cupy

    try:
        digits = str(cupy.cuda.Device(number).compute_capability)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise BackendError(
            f"CuPy cannot use the GPU ({str(error).partition(chr(10))[0]}): update the NVIDIA "
            "driver, or install the CuPy for its CUDA: pip install 'matter-sdk[nvidia-cuda12]'"
        ) from error
    return f"{digits[:-1]}.{digits[-1]}"
