"""OpenVINO on the CPU: usually the fastest backend without a GPU.

It computes in float32, or in bfloat16 or INT8 where the export verified that for this network size;
bfloat16 only where this CPU has instructions for it. A graph is read from memory. One with external
weights is unpacked into a private temporary folder, since OpenVINO takes such weights from files
only; the folder is deleted as soon as the network is compiled. What was compiled is kept for the
next process (``runtime_cache``), under a key of all that it depends on; it is mapped there, so that
processes share its weights.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import io
import logging
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from matter_sdk.sdk import __version__, cpu
from matter_sdk.sdk.backends import Backend, Share, check_graph, runtime_cache
from matter_sdk.sdk.backends.graphs import Graph, read_graph
from matter_sdk.sdk.errors import BackendError

if TYPE_CHECKING:
    from matter_sdk.sdk.engine.file import EngineFile
    from matter_sdk.sdk.engine.manifest import ModelEntry

log = logging.getLogger("matter")

_lost = False  # by a fork


def unavailable(option: str, engine: EngineFile, model: ModelEntry, number: int) -> str | None:
    """Why this backend cannot be used here, or None."""
    del option, engine, number
    if importlib.util.find_spec("openvino") is None:
        return "not installed: pip install 'matter-sdk[openvino]'"
    if _lost:
        return (
            "this process was forked from one that used it, whose threads did not come along: open "
            "the Matter in the child alone, or start children by "
            "multiprocessing.get_context('spawn')"
        )
    if "bfloat16" in model.cpu_precision and not has_bfloat16():
        # Verified and faster where the engine was built; emulated, and slow, on this CPU.
        return f"{model.cpu_precision}: this CPU has no bfloat16 arithmetic"
    return None


def load(option: str, engine: EngineFile, model: ModelEntry, number: int, share: Share) -> OpenVino:
    """Load one network size."""
    del option, number
    return OpenVino(engine, model, share)


class OpenVino(Backend):
    """A compiled network, each lane an inference request. ``run`` returns views of its memory."""

    name = "openvino"
    device = "cpu"

    def __init__(self, engine: EngineFile, model: ModelEntry, share: Share) -> None:
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": share.threads,
            "NUM_STREAMS": share.lanes,
            # Every process would pin its threads to the same first cores, and no thread could make
            # way for what else works on a frame.
            "ENABLE_CPU_PINNING": False,
            # Said even for float32: on CPUs with AMX, OpenVINO would choose bfloat16 by itself.
            "INFERENCE_PRECISION_HINT": "bf16" if "bfloat16" in model.cpu_precision else "f32",
        }
        compiled, self._kept = _compiled(engine, model, settings)
        check_graph(
            engine.manifest,
            model,
            {port.any_name: _shape(port) for port in compiled.inputs},
            {port.any_name: _shape(port) for port in compiled.outputs},
        )
        self.lanes = share.lanes
        self._requests: list[Any] = [compiled.create_infer_request() for _ in range(share.lanes)]
        self._inputs = [compiled.input(name) for name in engine.manifest.inputs]
        self._heads = {head.name: compiled.output(head.name) for head in engine.manifest.heads}
        version = library().__version__.split("-")[0]
        self.detail = f"OpenVINO {version}, {model.cpu_precision}, {share}"

    def run(self, *inputs: Any, lane: int = 0) -> Mapping[str, Any]:
        """See ``Backend.run``."""
        feeds = dict(zip(self._inputs, inputs, strict=True))
        # In OpenVINO's own thread, which ``close`` joins: ``infer`` would compute in the caller's,
        # and OpenVINO 2026 writes to freed memory if such a thread ends while ``close`` runs (its
        # ThreadCleaner, openvino#33670, outlives the executor). ``Thread.join`` does not help: it
        # returns before the destructors of the thread's C++ variables have run.
        request = self._requests[lane]
        request.start_async(feeds, share_inputs=True)
        request.wait()
        return {name: request.get_tensor(port).data for name, port in self._heads.items()}

    def close(self) -> None:
        """See ``Backend.close``."""
        self._requests = []
        self._inputs = []
        self._heads = {}
        self._kept = None  # last: the network read its weights there


def _compiled(
    engine: EngineFile, model: ModelEntry, settings: dict[str, Any]
) -> tuple[Any, memoryview | None]:
    """The compiled network, and the memory that must live as long.

    It is as an earlier process left it, or compiled now and left for the next.

    What was left was checked then: as the same graph and weights, byte for byte, for the same size,
    inputs and heads, by this version.
    """
    core, manifest = process_core(), engine.manifest
    members = [engine.member(name).sha256 for name in (model.onnx, model.data) if name]
    shapes = [model.size, manifest.batch, dict(manifest.inputs), manifest.heads]
    here = [cpu.name(), *cpu.instructions(), core.get_property("CPU", "FULL_DEVICE_NAME")]
    key = repr([__version__, library().__version__, here, settings, members, shapes])
    kept = runtime_cache.read_network(key)
    if kept is not None:
        try:
            return _imported(kept, settings), kept
        except RuntimeError as error:
            log.info("compiling a network again: %s", error)
    graph = read_graph(engine, model)
    if model.data is None:
        compiled = core.compile_model(core.read_model(graph.content), "CPU", settings)
    else:
        with tempfile.TemporaryDirectory(prefix="matter-") as folder:
            network = core.read_model(_unpacked(graph, model, Path(folder)))
            compiled = core.compile_model(network, "CPU", settings)
            del network  # it maps the files, which some systems then refuse to delete
    content = io.BytesIO()
    compiled.export_model(content)
    runtime_cache.write_network(key, content.getvalue())
    return compiled, None


def _imported(kept: memoryview, settings: dict[str, Any]) -> Any:
    """A kept network, which reads its weights from the memory given as long as it lives."""
    tensor = library().Tensor(np.frombuffer(kept, np.uint8), shared_memory=True)
    try:
        return process_core().import_model(tensor, "CPU", settings)
    except TypeError:  # an older OpenVINO, which takes a copy
        return process_core().import_model(bytes(kept), "CPU", settings)


def _unpacked(graph: Graph, model: ModelEntry, folder: Path) -> Path:
    """The checked graph as a file, beside its external weights."""
    data = folder / PurePosixPath(model.data or "").name
    path = data.with_name(data.name + ".onnx")  # never the same, whatever a member is called
    try:
        path.write_bytes(graph.content)
        data.write_bytes(graph.data or b"")
    except OSError as error:  # no room: another backend takes them from memory
        raise BackendError(
            f"{model.onnx!r} could not be unpacked to {folder} ({error}); expected a writable "
            f"folder with {len(graph.content) + len(graph.data or b''):,} bytes free"
        ) from error
    return path


def has_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16."""
    return "BF16" in process_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@functools.cache
def process_core() -> Any:
    """The one core of this process, which is never given back.

    On CPUs with AMX, OpenVINO gives the thread that loads its CPU plugin a stack for signal
    handlers, and frees it with the core. It puts the former one back only if that happens in the
    same thread and no younger core did likewise; else the next signal, say a Ctrl-C, writes to
    freed memory.
    """
    return library().Core()


@functools.cache
def library() -> Any:
    """Import the package ``openvino`` without its model converter.

    The package would import that, too, and with it telemetry and HTTP: more than half of its time.
    ``openvino.convert_model`` is found when somebody asks for it.
    """
    converter = "openvino.tools.ovc"
    if "openvino" not in sys.modules:
        sys.modules[converter] = None  # type: ignore[assignment] # as if it were not installed
        try:
            openvino = importlib.import_module("openvino")
        finally:
            del sys.modules[converter]

        def later(name: str) -> Any:
            if name == "convert_model":
                return importlib.import_module(converter).convert_model
            raise AttributeError(f"module 'openvino' has no attribute {name!r}")

        openvino.__getattr__ = later  # type: ignore[method-assign]
    return importlib.import_module("openvino")


def forked() -> None:
    """Refuse OpenVINO in the child of a fork whose parent had used it.

    The threads of its pool did not come along, and a core of the child's own waits for them, too,
    as soon as the parent has released a network. Nor is the parent's core released here.
    """
    global _lost
    if process_core.cache_info().currsize:
        _lost = True
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(process_core()))


def _shape(port: Any) -> list[int | str]:
    return [
        dimension.get_length() if dimension.is_static else str(dimension)
        for dimension in port.partial_shape
    ]
