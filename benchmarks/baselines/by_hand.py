"""A runtime with OpenCV and NumPy around it, as an application's author writes it.

Resize, colour order, normalisation, the runtime with its own defaults, the fusion rule, enlarging
and blending, in float32 colours where that is the usual way.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.baselines.program import Frame, Program, Tensor
from benchmarks.engines import Built

Heads = dict[str, Tensor]
Size = tuple[int, int]


def runtimes(built: Built, threads: int, *, compiled: bool) -> dict[str, Callable[[Tensor], Heads]]:
    """Return the network alone, by each runtime that is installed: image → heads."""
    found = {"PyTorch eager": _torch(built.network, threads)}
    if compiled:
        found["PyTorch compiled"] = _compiled(built.network, threads)
    found["ONNX Runtime"] = _onnxruntime(built.onnx, threads)
    if importlib.util.find_spec("openvino") is not None:
        found["OpenVINO"] = _openvino(built.onnx, threads)
        found["OpenVINO float32"] = _openvino(built.onnx, threads, INFERENCE_PRECISION_HINT="f32")
    return found


def _torch(network: Any, threads: int) -> Callable[[Tensor], Heads]:
    import torch

    def run(image: Tensor) -> Heads:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            outputs = network(torch.from_numpy(image))
        return {name: outputs[name].numpy() for name in network.heads}

    return run


@functools.cache
def _compiled(network: Any, threads: int) -> Callable[[Tensor], Heads]:
    import torch

    from matter_sdk.sdk.backends.openvino import has_bfloat16

    half = has_bfloat16()  # elsewhere it is emulated, and slower than float32
    optimised: Any = torch.compile(network)
    optimised.heads = network.heads

    def run(image: Tensor) -> Heads:
        torch.set_num_threads(threads)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            outputs = optimised(torch.from_numpy(image))
        return {name: outputs[name].float().numpy() for name in network.heads}

    return run


def onnx_session(model: Path | bytes, threads: int) -> Any:
    """Open a model in ONNX Runtime on the CPU, with its own defaults."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _onnxruntime(path: Path, threads: int) -> Callable[[Tensor], Heads]:
    session = onnx_session(path, threads)
    names = [output.name for output in session.get_outputs()]
    return lambda image: dict(zip(names, session.run(None, {"image": image}), strict=True))


def _openvino(path: Path, threads: int, **settings: str) -> Callable[[Tensor], Heads]:
    from matter_sdk.sdk.backends.openvino import process_core

    core = process_core()
    compiled = core.compile_model(
        core.read_model(path),
        "CPU",
        {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, **settings},
    )
    request = compiled.create_infer_request()

    def run(image: Tensor) -> Heads:
        request.infer([image], share_inputs=True)
        return {port.any_name: request.get_tensor(port).data for port in compiled.outputs}

    return run


class ByHand(Program):
    """A runtime between OpenCV and NumPy: frame and background → composite."""

    def __init__(self, built: Built, run: Callable[[Tensor], Heads], size: Size) -> None:
        self._heads = run
        self._size = size
        spec = built.network.input_spec
        self._fusion = built.network.fusion
        self._mean = np.array(spec.mean, np.float32)
        self._scale = 1 / np.array(spec.std, np.float32)

    def prepare(self, frame: Frame) -> Tensor:
        """Resize, swap colours, normalise, put channels first: 1×3×h×w."""
        small = cv2.resize(frame, self._size[::-1], interpolation=cv2.INTER_AREA)
        image = cv2.cvtColor(small, cv2.COLOR_BGR2RGB).astype(np.float32)
        image = (image - self._mean) * self._scale
        return np.ascontiguousarray(image.transpose(2, 0, 1)[None])

    def fuse(self, heads: Heads) -> Tensor:
        """Join the heads to alpha, h×w."""
        chosen = heads["glance"][0].argmax(0)
        return np.select([chosen == 0, chosen == 2], [0.0, 1.0], heads["focus"][0, 0])

    def run(self, prepared: Tensor) -> Tensor:
        """See ``Program``."""
        return self.fuse(self._heads(prepared))
