"""CUDA without a GPU: what of CuPy and TensorRT the SDK calls, in the CPU's memory.

A stream does its work as late as a GPU might: not before somebody waits for it. So a copy from
staging memory that is written again too early, an event that nobody waits for, or a result that is
read too soon gives wrong numbers here, as it would there. What is asked of a capturing stream is
kept, and done at each launch of the graph. Kernels are those of the CPU, on the current stream.
"""

from __future__ import annotations

import contextlib
import enum
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from matter_sdk import kernels

Work = Callable[[], None]


class CudaError(RuntimeError):
    """CuPy's CUDARuntimeError and CUDADriverError."""


class Device:
    """Current where it is entered, for this thread; the first by default."""

    compute_capability = "89"
    local = threading.local()

    def __init__(self, device: Device | int | None = None) -> None:
        device = device_now() if device is None else device
        self.id = device.id if isinstance(device, Device) else device

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self) -> int:
        return self.id

    def __enter__(self) -> Device:
        devices_entered().append(self.id)
        return self

    def __exit__(self, *error: object) -> None:
        devices_entered().pop()

    def synchronize(self) -> None:
        pass


def devices_entered() -> list[int]:
    if not hasattr(Device.local, "entered"):
        Device.local.entered = [0]
    entered: list[int] = Device.local.entered
    return entered


def device_now() -> int:
    return devices_entered()[-1]


class Stream:
    """Work in its order. The null stream, `null`, does it at once."""

    null: Stream
    by_address: dict[int, Stream] = {}  # noqa: RUF012
    local = threading.local()
    running = threading.RLock()

    def __init__(self, non_blocking: bool = False) -> None:
        self.ptr = id(self)
        self.by_address[self.ptr] = self
        self.waiting: list[Work] = []
        self.graph: list[Work] | None = None
        self.invalid = False  # something was asked for that no capture may hold
        self.device_id = device_now()

    @classmethod
    def from_external(cls, stream: Any) -> Stream:
        version, address = stream.__cuda_stream__()
        assert version == 0
        return cls.by_address[address]

    def add(self, work: Work) -> None:
        if self.graph is not None:
            self.graph.append(work)
        else:
            self.waiting.append(work)
        if self is Stream.null:
            self.synchronize()

    def synchronize(self) -> None:
        assert self.graph is None, "a capturing stream must not be waited for"
        with Stream.running:
            while self.waiting:
                self.waiting.pop(0)()

    def record(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        self.add(event.synchronize)

    def is_capturing(self) -> bool:
        return self.graph is not None

    def begin_capture(self) -> None:
        assert self is current(), "captured where it is not the current stream"
        assert not self.waiting, "captured before its work was done"
        self.graph = []

    def end_capture(self) -> Graph:
        assert self.graph is not None
        graph, self.graph = Graph(self.graph), None
        if self.invalid:
            self.invalid = False
            raise CudaError("cudaErrorStreamCaptureInvalidated: operation failed")
        return graph

    def __enter__(self) -> Stream:
        if self is not Stream.null and self.device_id != device_now():
            raise CudaError(f"the stream is on {self.device_id}, the current device {device_now()}")
        entered().append((device_now(), self))
        return self

    def __exit__(self, *error: object) -> None:
        entered().pop()


def entered() -> list[tuple[int, Stream]]:
    """This thread's streams that were entered and not left, each with its device."""
    if not hasattr(Stream.local, "streams"):
        Stream.local.streams = []
    return Stream.local.streams


def current() -> Stream:
    """The current device's current stream."""
    return next((s for device, s in reversed(entered()) if device == device_now()), Stream.null)


Stream.null = Stream.by_address[0] = Stream()


class Event:
    def __init__(self) -> None:
        self.stream: Stream | None = None
        self.done = True

    def record(self, stream: Stream | None = None) -> None:
        self.stream = current() if stream is None else stream
        self.done = False

        def happen() -> None:
            self.done = True

        self.stream.add(happen)

    def synchronize(self) -> None:
        with Stream.running:
            while not self.done:
                assert self.stream is not None
                self.stream.waiting.pop(0)()


class Graph:
    def __init__(self, work: list[Work]) -> None:
        self.work = work

    def launch(self, stream: Stream | None = None) -> None:
        for work in self.work:
            (stream or current()).add(work)


class Pinned(np.ndarray):
    """Host memory that may be copied from and to while the host goes on."""


class DeviceArray:
    """An array that only the device reads and writes, when the current stream comes to it."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device.id  # kDLCUDA

    def __init__(self, array: Any, device: Device | None = None) -> None:
        self.device = Device(device)
        self.array = array
        self.shape, self.strides, self.ndim = array.shape, array.strides, array.ndim
        self.dtype, self.flags, self.size = array.dtype, array.flags, array.size
        self.data = types.SimpleNamespace(ptr=array.ctypes.data)
        self.__cuda_array_interface__ = array.__array_interface__
        memory[self.data.ptr] = array

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[DeviceArray]:
        return (DeviceArray(part, self.device) for part in self.array)

    def __getitem__(self, key: Any) -> DeviceArray:
        return DeviceArray(self.array[key], self.device)

    def __setitem__(self, key: Any, value: Any) -> None:
        def write() -> None:
            self.array[key] = bare(value)

        check_here(self, value)
        current().add(write)

    def reshape(self, shape: tuple[int, ...]) -> DeviceArray:
        return DeviceArray(self.array.reshape(shape), self.device)

    def transpose(self, *axes: int) -> DeviceArray:
        return DeviceArray(self.array.transpose(*axes), self.device)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> DeviceArray:
        assert method == "__call__"
        return made(ufunc, *inputs, **options)

    def __sub__(self, other: Any) -> DeviceArray:
        return made(np.subtract, self, other)

    def __mul__(self, other: Any) -> DeviceArray:
        return made(np.multiply, self, other)

    def __truediv__(self, other: Any) -> DeviceArray:
        return made(np.divide, self, other)

    def __add__(self, other: Any) -> DeviceArray:
        return made(np.add, self, other)

    def all(self) -> bool:
        check_here(self)
        current().synchronize()  # CuPy's too waits for one number, as bool() of an array does
        return bool(self.array.all())

    def mean(self) -> float:
        return float(self.get().mean())

    def copy(self) -> DeviceArray:
        return made(np.copy, self)

    def clip(self, low: float, high: float) -> DeviceArray:
        return made(np.clip, self, low, high)

    def fill(self, value: float) -> None:
        self[...] = value

    def set(self, array: Any, stream: Stream | None = None) -> None:
        assert isinstance(array, np.ndarray)
        source = array if isinstance(array, Pinned) else array.copy()  # as CUDA does

        def upload() -> None:
            self.array[...] = source

        with self.device:
            (stream or current()).add(upload)

    def get(
        self, stream: Stream | None = None, out: Any = None, blocking: bool = True
    ) -> np.ndarray:
        result = np.empty(self.shape, self.dtype) if out is None else out
        assert blocking or isinstance(out, Pinned), "only page-locked memory is written later"

        def download() -> None:
            result[...] = self.array

        with self.device:
            (stream or current()).add(download)
            if blocking:
                (stream or current()).synchronize()
        return result


def check_here(*values: Any) -> None:
    """CuPy's kernels refuse arrays of another device, or run slowly and in no order with it."""
    for value in values:
        if isinstance(value, (tuple, list)):
            check_here(*value)
        elif isinstance(value, DeviceArray) and value.device.id != device_now():
            raise ValueError(f"array on device {value.device.id}, current is {device_now()}")


memory: dict[int, Any] = {}  # by the addresses that TensorRT is given


def bare(value: Any) -> Any:
    """The memory behind a device array, and behind those in tuples."""
    if isinstance(value, (tuple, list)):
        return type(value)(map(bare, value))
    return value.array if isinstance(value, DeviceArray) else value


def made(call: Callable[..., Any], *arguments: Any, **options: Any) -> DeviceArray:
    """A new device array with what NumPy's `call` gives."""
    check_here(*arguments)
    with np.errstate(all="ignore"):
        result = np.asarray(call(*bare(arguments), **options))
    array = DeviceArray(np.zeros_like(result))  # what is not computed yet is not there

    def write() -> None:
        array.array[...] = call(*bare(arguments), **options)

    current().add(write)
    return array


def function(call: Callable[..., Any]) -> Callable[..., Any]:
    """A function of NumPy's on the current stream."""

    def run(*arguments: Any, out: Any = None, **options: Any) -> Any:
        if out is None:
            return made(call, *arguments, **options)

        def write() -> None:
            call(*bare(arguments), out=bare(out), **options)

        check_here(*arguments, out)
        current().add(write)
        return out

    return run


def kernel(call: Callable[..., None]) -> Callable[..., None]:
    """A kernel of the CPU on the current stream."""

    def run(*arguments: Any) -> None:
        check_here(*arguments)
        current().add(lambda: call(*bare(arguments)))

    return run


@contextlib.contextmanager
def on(array: DeviceArray, stream: Any) -> Iterator[None]:
    """`kernels._cuda.on`."""
    with array.device, stream or contextlib.nullcontext():
        yield


def kernels_module() -> types.ModuleType:
    """`kernels._cuda` over the CPU's kernels."""
    from matter_sdk.kernels import _cpu

    module = types.ModuleType("matter_sdk.kernels._cuda")
    names = ("preprocess", "fuse", "alpha_blend", "alpha_blend_planes", "foreground", "composite")
    names += ("composite_planes", "temporal_filter", "max_unpool")
    module.__dict__.update({name: kernel(getattr(_cpu, name)) for name in names})
    module.__dict__.update(
        on=on,
        view=lambda array: array,
        empty=lambda shape, dtype: DeviceArray(np.empty(shape, dtype)),
        contiguous=lambda array: (
            array if array.flags.c_contiguous else made(np.ascontiguousarray, array)
        ),
    )
    return module


def asarray(value: Any, blocking: bool = False) -> DeviceArray:
    """An array of another library is taken as it is, whatever is still to be written into it."""
    if isinstance(value, DeviceArray):
        return value
    interface = getattr(value, "__cuda_array_interface__", None)
    if interface is not None:
        return DeviceArray(np.asarray(types.SimpleNamespace(__array_interface__=interface)))
    return DeviceArray(np.array(value))


def from_dlpack(value: Any) -> DeviceArray:
    """CuPy names its current stream, which the owner lets wait for what it has yet to write."""
    return value if isinstance(value, DeviceArray) else value.__dlpack__(stream=current().ptr)


def external_stream(address: int) -> Stream:
    warnings.warn("use Stream.from_external()", DeprecationWarning, stacklevel=2)
    return Stream.by_address[address]


def cupy_module() -> types.ModuleType:
    module = types.ModuleType("cupy")
    module.__dict__.update(
        ndarray=DeviceArray,
        float32=np.float32,
        uint8=np.uint8,
        empty=lambda shape, dtype=np.float32: DeviceArray(np.empty(shape, dtype)),
        zeros=lambda shape, dtype=np.float32: DeviceArray(np.zeros(shape, dtype)),
        asarray=asarray,
        copyto=lambda target, source, casting="same_kind": current().add(
            lambda: np.copyto(target.array, bare(source), casting=casting)  # type: ignore[arg-type]
        ),
        from_dlpack=from_dlpack,
        **{
            name: function(getattr(np, name))
            for name in (
                *("ascontiguousarray", "clip", "concatenate", "isfinite", "maximum", "where"),
                *("minimum", "stack", "subtract"),
            )
        },
        cuda=types.SimpleNamespace(
            Device=Device,
            Stream=Stream,
            Event=Event,
            get_current_stream=current,
            ExternalStream=external_stream,
            compiler=types.SimpleNamespace(CompileException=RuntimeError),
            driver=types.SimpleNamespace(CUDADriverError=CudaError),
            runtime=types.SimpleNamespace(CUDARuntimeError=CudaError),
        ),
    )
    return module


class Context:
    """An execution context: `network` maps images to heads by name, as NumPy arrays."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.addresses: dict[str, int] = {}
        self.runs = 0

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def is_stream_capturable(self, address: int) -> bool:
        assert address in Stream.by_address
        return self.engine.capturable

    def execute_async_v3(self, address: int) -> bool:
        arrays = {name: memory[place] for name, place in self.addresses.items()}
        stream = Stream.by_address[address]
        assert self.runs or not stream.is_capturing(), "first runs compile: not in a capture"
        if stream.is_capturing() and self.engine.refuses_capture:
            stream.invalid = True
            return self.engine.refuses_capture == "late"

        def compute() -> None:
            self.runs += 1
            for name, head in self.engine.network(arrays["image"]).items():
                arrays[name][...] = head

        stream.add(compute)
        return True


class Engine:
    """What a runtime makes of a plan. Set `network`, `shapes` and `capturable` before."""

    network: Callable[[Any], dict[str, Any]]
    shapes: dict[str, tuple[int, ...]]
    capturable = True
    refuses_capture = ""  # "at once", or "late": when the capture ends
    context = Context
    invalid = 0  # bits of EngineInvalidityDiagnostics
    unreadable = False  # though it was found valid
    says: tuple[tuple[int, str], ...] = ()  # to the logger, when a plan is read

    def __init__(self, plan: bytes) -> None:
        self.plan = plan
        self.contexts: list[Context] = []
        self.configs: list[Any] = []

    @property
    def num_io_tensors(self) -> int:
        return len(self.shapes)

    def get_tensor_name(self, index: int) -> str:
        return list(self.shapes)[index]

    def get_tensor_dtype(self, name: str) -> str:
        return "float32"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name == "image" else "output"

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig()

    def create_execution_context(self, config: Any = None) -> Context:
        self.configs.append(config)
        self.contexts.append(self.context(self))
        return self.contexts[-1]


class RuntimeConfig:
    cache: RuntimeCache | None = None

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache()

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self.cache = cache
        return True


class RuntimeCache:
    """Takes what a cache of the same `version` gave."""

    version = b"1.7 "

    def __init__(self) -> None:
        self.content = b""

    def deserialize(self, content: bytes) -> bool:
        if not content.startswith(self.version):
            return False
        self.content = content
        return True

    def serialize(self) -> bytes:
        return self.content or self.version + b"kernels"


@pytest.fixture
def fake_cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """CuPy is the stand-in above."""
    cupy = cupy_module()
    cupyx = types.ModuleType("cupyx")
    vars(cupyx)["empty_pinned"] = lambda shape, dtype: np.empty(shape, dtype).view(Pinned)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "cupyx", cupyx)
    yield cupy
    memory.clear()
    Stream.by_address.clear()
    Stream.by_address[Stream.null.ptr] = Stream.by_address[0] = Stream.null


@pytest.fixture
def fake_cuda(fake_cupy: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """CuPy and the CUDA kernels are the stand-ins above; gives the former."""
    fake = kernels_module()
    monkeypatch.setitem(sys.modules, "matter_sdk.kernels._cuda", fake)
    monkeypatch.setattr(kernels, "_cuda", fake, raising=False)
    return fake_cupy


@pytest.fixture
def fake_tensorrt(fake_cuda: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> type[Engine]:
    """TensorRT for RTX 1.7 over `Engine`, a class of the test's own, whose fields it sets."""
    monkeypatch.setattr("matter_sdk.sdk.backends.gpu.gpu_count", lambda: 1)
    return play_tensorrt(monkeypatch)


def play_tensorrt(monkeypatch: pytest.MonkeyPatch) -> type[Engine]:
    """Put a TensorRT for RTX 1.7 over `Engine` in place; gives the class of its engines."""

    class Own(Engine):
        made: list[Engine] = []  # noqa: RUF012

    Own.made = []

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

        def __init__(self) -> None:
            self.ready = True  # the bindings refuse a logger whose base was not begun

    class Runtime:
        engine_header_size = 64

        def __init__(self, logger: Any) -> None:
            assert logger.ready
            self.logger = logger

        def get_engine_validity(self, plan: Any) -> tuple[str, int]:
            return "INVALID" if Own.invalid else "VALID", Own.invalid

        def deserialize_cuda_engine(self, plan: Any) -> Engine | None:
            for severity, message in Own.says:
                self.logger.log(severity, message)
            if Own.invalid or Own.unreadable:
                return None
            Own.made.append(Own(bytes(plan)))
            return Own.made[-1]

    module = types.ModuleType("tensorrt_rtx")
    module.__dict__.update(
        __version__="1.7.1.116",
        float32="float32",
        Runtime=Runtime,
        TensorIOMode=types.SimpleNamespace(INPUT="input"),
        EngineValidity=types.SimpleNamespace(INVALID="INVALID"),
        EngineInvalidityDiagnostics=enum.IntFlag(
            "EngineInvalidityDiagnostics", ["VERSION_MISMATCH", "UNSUPPORTED_CC", "OLD_CUDA_DRIVER"]
        ),
    )
    vars(module)["ILogger"] = ILogger
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: name)
    return Own
