"""TensorRT and TensorRT for RTX: one implementation, since their Python interfaces agree here.

A plan from the engine is deserialised straight from the mapped file. Inputs and outputs live in
CuPy buffers whose addresses never change, and shapes are fixed, so one run is captured into a CUDA
graph and replayed: one launch for the whole network instead of one for every layer. Where the two
libraries differ:

* the module's name;
* which plans fit: TensorRT's are bound to its exact version and to a compute capability, RTX's to
  its version, and one plan serves every RTX GPU (its kernels are compiled on first use there);
* TensorRT for RTX compiles kernels lazily, which must be over before a capture begins. Two plain
  runs come first, and where ``is_stream_capturable`` says no, the network runs without a graph.

This file has been written against the documented interfaces and has **not run on a GPU yet**; what
is tested without one is the choice of a plan and every reason for being unavailable.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sdk.backends import Backend, Share, check_graph
from sdk.backends.gpu import no_gpu
from sdk.errors import BackendError

if TYPE_CHECKING:
    from sdk.engine import EngineFile
    from sdk.manifest import ModelEntry, PlanEntry

_MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_LABELS = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT for RTX"}


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
    try:
        version = importlib.import_module(module).__version__
    except (ImportError, OSError, RuntimeError) as error:  # libraries of another CUDA or driver
        return f"{module} is installed but does not load: {error}"
    capability = _capability(number)
    if choose_plan(engine.manifest.plans, option, version, capability, model.size) is None:
        return no_plan(engine.manifest.plans, option, version, capability, model.size)
    return None


def choose_plan(
    plans: tuple[PlanEntry, ...],
    runtime: str,
    version: str,
    capability: str,
    size: tuple[int, int],
) -> PlanEntry | None:
    """The plan for this runtime, its version (first two numbers), GPU and network size, or None."""
    fitting = [
        plan
        for plan in plans
        if plan.runtime == runtime
        and plan.version.split(".")[:2] == version.split(".")[:2]
        and plan.compute_capability in (None, capability)
        and plan.size == size
    ]
    # One made for exactly this GPU before one for any.
    return min(fitting, key=lambda plan: plan.compute_capability is None, default=None)


def no_plan(
    plans: tuple[PlanEntry, ...],
    runtime: str,
    version: str,
    capability: str,
    size: tuple[int, int],
) -> str:
    """The sentence that says which plan was wanted and which there are."""
    held = ", ".join(
        f"{_LABELS[plan.runtime]} {plan.version} for {_gpu(plan.compute_capability)} at "
        f"{plan.size[0]}x{plan.size[1]}"
        for plan in plans
    )
    short = ".".join(version.split(".")[:2])
    return (
        f"the engine holds no plan for {_LABELS[runtime]} {short} on compute capability "
        f"{capability} at {size[0]}x{size[1]} (it holds: {held or 'none'})"
    )


def load(option: str, engine: EngineFile, model: ModelEntry, number: int, share: Share) -> TensorRt:
    """Load one network size."""
    del share
    return TensorRt(option, engine, model, number)


class TensorRt(Backend):
    """An execution context with fixed buffers. ``run`` returns its CuPy output buffers."""

    on_gpu = True

    def __init__(self, option: str, engine: EngineFile, model: ModelEntry, number: int) -> None:
        import cupy

        trt = importlib.import_module(_MODULES[option])
        manifest = engine.manifest
        capability = _capability(number)
        plan = choose_plan(manifest.plans, option, trt.__version__, capability, model.size)
        if plan is None:
            raise BackendError(
                no_plan(manifest.plans, option, trt.__version__, capability, model.size)
            )
        self._cupy: Any = cupy
        self._device = cupy.cuda.Device(number)
        with self._device:
            # Order of life: the context needs the engine, the engine its runtime and logger.
            self._logger = trt.Logger(trt.Logger.ERROR)
            self._runtime = trt.Runtime(self._logger)
            with engine.read(plan.file) as content:
                self._engine = self._runtime.deserialize_cuda_engine(content)
            if self._engine is None:
                raise BackendError(
                    f"{_LABELS[option]} {trt.__version__} could not read {plan.file!r}; expected a "
                    f"plan of this version for compute capability {capability}. Build it again: "
                    f"{manifest.build_command(engine.path.name)}"
                )
            tensors = self._tensors(trt)
            check_graph(manifest, model, tensors[0], tensors[1])
            self._context = self._engine.create_execution_context()
            if self._context is None:
                raise BackendError(
                    f"{_LABELS[option]} could not make an execution context; expected enough free "
                    f"GPU memory"
                )
            # The default stream cannot be captured, and makes TensorRT synchronise the device.
            self._stream = cupy.cuda.Stream(non_blocking=True)
            self._buffers = {
                name: cupy.zeros(shape, cupy.float32)
                for shapes in tensors
                for name, shape in shapes.items()
            }
            for name, buffer in self._buffers.items():
                if not self._context.set_tensor_address(name, buffer.data.ptr):
                    raise BackendError(f"{_LABELS[option]} refused the address of tensor {name!r}")
            cupy.cuda.Device().synchronize()  # the zeros are written on another stream
            self._inputs = [self._buffers[name] for name in manifest.inputs]
            self._heads = {head.name: self._buffers[head.name] for head in manifest.heads}
            self._graph = self._capture()
        self.name = option
        self.device = f"cuda:{number}"
        how = "CUDA graph" if self._graph is not None else "no CUDA graph"
        self.detail = f"{_LABELS[option]} {trt.__version__}, {manifest.precision}, {how}"

    def _tensors(self, trt: Any) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
        """Inputs and outputs of the plan, each name -> shape."""
        inputs: dict[str, tuple[int, ...]] = {}
        outputs: dict[str, tuple[int, ...]] = {}
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            if self._engine.get_tensor_dtype(name) != trt.float32:
                raise BackendError(
                    f"the plan's tensor {name!r} is {self._engine.get_tensor_dtype(name)}; "
                    f"expected float32. Build the engine again"
                )
            shape = tuple(self._engine.get_tensor_shape(name))
            is_input = self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            (inputs if is_input else outputs)[name] = shape
        return inputs, outputs

    def _capture(self) -> Any:
        for _ in range(2):  # first runs allocate and, with RTX, compile kernels: not capturable
            self._enqueue()
        self._stream.synchronize()
        capturable = getattr(self._context, "is_stream_capturable", None)
        if capturable is not None and not capturable(self._stream.ptr):
            return None
        with self._stream:
            self._stream.begin_capture()
            try:
                self._enqueue()
            finally:
                graph = self._stream.end_capture()
        return graph

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream.ptr):
            raise BackendError("TensorRT could not start the network; its log holds the reason")

    def run(self, *inputs: Any, lane: int = 0) -> Mapping[str, Any]:
        """See ``Backend.run``."""
        del lane
        cupy = self._cupy
        if any(isinstance(array, cupy.ndarray) for array in inputs):
            # Written on the caller's stream: let that finish before this one reads.
            cupy.cuda.get_current_stream().synchronize()
        with self._device, self._stream:
            for buffer, array in zip(self._inputs, inputs, strict=True):
                if isinstance(array, cupy.ndarray):
                    cupy.copyto(buffer, array)
                else:
                    buffer.set(array, stream=self._stream)
            if self._graph is not None:
                self._graph.launch(self._stream)
            else:
                self._enqueue()
            self._stream.synchronize()
        return self._heads

    def close(self) -> None:
        """See ``Backend.close``."""
        # In reverse order of their making.
        self._graph = self._context = self._engine = self._runtime = None
        self._buffers = {}
        self._inputs = []
        self._heads = {}


def _capability(number: int) -> str:
    """The compute capability of a GPU, such as "9.0"."""
    import cupy

    digits = str(cupy.cuda.Device(number).compute_capability)
    return f"{digits[:-1]}.{digits[-1]}"


def _gpu(capability: str | None) -> str:
    return "any GPU" if capability is None else f"compute capability {capability}"
