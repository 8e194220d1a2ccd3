"""ONNX Runtime, on the CPU or on an NVIDIA GPU.

The CUDA variant has not run on a GPU yet; the CPU variant is the one that runs everywhere.
External weights are handed over in memory: nothing is unpacked.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from matter_sdk.sdk.backends import Backend, Share, check_graph
from matter_sdk.sdk.backends.gpu import no_gpu
from matter_sdk.sdk.backends.graphs import read_graph
from matter_sdk.sdk.errors import BackendError

if TYPE_CHECKING:
    from matter_sdk.sdk.engine.file import EngineFile
    from matter_sdk.sdk.engine.manifest import ModelEntry


def unavailable(option: str, engine: EngineFile, model: ModelEntry, number: int) -> str | None:
    """Why this backend cannot be used here, or None."""
    del engine
    extra = "onnxruntime-gpu" if option == "cuda" else "onnxruntime"
    if importlib.util.find_spec("onnxruntime") is None:
        return f"not installed: pip install {extra}"
    without = no_gpu("onnxruntime", number) if option == "cuda" else None
    if without is not None:  # found before a library of 50 MB is loaded
        return without
    import onnxruntime

    if model.data is not None and not hasattr(
        onnxruntime.SessionOptions, "add_external_initializers_from_files_in_memory"
    ):
        return (
            f"onnxruntime {onnxruntime.__version__} cannot take the weights of {model.data!r} from "
            f"memory: pip install --upgrade {extra}"
        )
    if option == "cuda" and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return (
            "the installed onnxruntime has no CUDA: pip uninstall -y onnxruntime && "
            "pip install onnxruntime-gpu"
        )
    return None


def load(
    option: str, engine: EngineFile, model: ModelEntry, number: int, share: Share
) -> OnnxRuntime:
    """Load one network size."""
    return OnnxRuntime(option, engine, model, number, share)


class OnnxRuntime(Backend):
    """A session of ONNX Runtime. ``run`` returns fresh NumPy arrays."""

    def __init__(
        self, option: str, engine: EngineFile, model: ModelEntry, number: int, share: Share
    ) -> None:
        import onnxruntime

        graph, data = read_graph(engine, model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, share.threads // share.lanes)
        # Its threads would go on turning for milliseconds after a run, in the way of what else
        # works on a frame, and of another runtime that is measured beside it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors: its warnings speak to graph authors
        providers: list[Any] = ["CPUExecutionProvider"]
        if option == "cuda":
            # Fixed shapes: let cuDNN search once, at the first image.
            # Its own default is TF32 in place of float32, which keeps 10 bits of 23.
            tf32 = int(engine.manifest.precision == "tf32")
            cuda = {"device_id": number, "cudnn_conv_algo_search": "EXHAUSTIVE", "use_tf32": tf32}
            providers.insert(0, ("CUDAExecutionProvider", cuda))
            if hasattr(onnxruntime, "preload_dlls"):  # since 1.21; finds the libraries of pip
                onnxruntime.preload_dlls()
        if data is not None and model.data:
            options.add_external_initializers_from_files_in_memory(
                [PurePosixPath(model.data).name], [data], [len(data)]
            )
        self._session: Any = onnxruntime.InferenceSession(graph, options, providers=providers)
        if option == "cuda" and "CUDAExecutionProvider" not in self._session.get_providers():
            # ONNX Runtime itself goes on with the CPU when its CUDA libraries do not load.
            raise BackendError(
                "ONNX Runtime could not start CUDA; expected CUDA and cuDNN libraries of the "
                "versions that onnxruntime-gpu names"
            )
        check_graph(
            engine.manifest,
            model,
            {tensor.name: tensor.shape for tensor in self._session.get_inputs()},
            {tensor.name: tensor.shape for tensor in self._session.get_outputs()},
        )
        self._inputs = list(engine.manifest.inputs)
        self._heads = [head.name for head in engine.manifest.heads]
        self.name = "onnxruntime-cuda" if option == "cuda" else "onnxruntime"
        self.device = f"cuda:{number}" if option == "cuda" else "cpu"
        precision = model.cpu_precision
        if option == "cuda":
            precision = "TF32" if tf32 else "float32"
        self.detail = f"ONNX Runtime {onnxruntime.__version__}, {precision}"
        if option != "cuda":
            self.lanes = share.lanes
            self.detail += f", {share}"

    def run(self, *inputs: Any, lane: int = 0) -> Mapping[str, Any]:
        """See ``Backend.run``. A session may run in several threads at once: a lane is nothing but
        a turn, and with one thread a lane, each runs in its caller's."""
        del lane
        feeds = dict(zip(self._inputs, inputs, strict=True))
        return dict(zip(self._heads, self._session.run(self._heads, feeds), strict=True))

    def close(self) -> None:
        """See ``Backend.close``."""
        self._session = None
