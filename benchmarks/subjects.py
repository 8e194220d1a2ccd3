"""The engines and frames that whole networks are timed on, and what an author would write by hand.

``Rival`` is a runtime with OpenCV and NumPy around it: resize, colour order, normalisation, the
runtime, the fusion rule, enlarging, blending. It is written as a competent application author
writes it, with the runtime's own defaults, in float32 colours where that is the usual way.
"""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Tensor = NDArray[np.float32]
Heads = dict[str, Tensor]
Size = tuple[int, int]

NETWORK: Size = (288, 512)
SMALL: Size = (192, 320)  # of the light network too: what quality "live" takes
# Network, backbone, RoSTa, and the reference output whose weights it takes; "": the demo's.
NETWORKS = {
    "light GFM": ("gfm", "mobilenetv3", "tt", ""),
    "GFM resnet34": ("gfm", "resnet34", "tt", "gfm_r34_tt"),
    "AIM": ("aim", "resnet34", "unified", "aim"),
}


@dataclass(frozen=True)
class Subject:
    """A network as an engine, as a plain ONNX file and in PyTorch, all of the same weights."""

    name: str
    engine: Path
    onnx: Path
    network: Any  # torch.nn.Module


def subject(name: str, folder: Path) -> Subject:
    """Build a network in a folder: the engine as ``export.build`` does it, and a plain ONNX file
    of float32 as ``torch.onnx.export`` leaves it, of ``NETWORK``'s size."""
    import torch
    from matter_sdk.export.options import BuildOptions, demo_checkpoint
    from matter_sdk.export.pipeline import run
    from matter_sdk.export.progress import Report
    from matter_sdk.training import checkpoints, networks

    from tests.training import released

    model, backbone, rosta, reference = NETWORKS[name]
    stem = name.replace(" ", "-").lower()
    demo = demo_checkpoint(model, backbone, rosta)
    if reference:
        weights = folder / f"{stem}.pth"
        torch.save(released.reference_weights(reference), weights)
    elif demo is not None:
        weights = demo.path
    else:
        raise FileNotFoundError(f"{name} has no demo checkpoint in weights/")
    options = BuildOptions(
        model,
        backbone=backbone,
        rosta=rosta,
        weights=(weights,),
        sizes=(NETWORK,) if reference else (NETWORK, SMALL),
        precision="fp16",
        int8=True,
        targets=("onnx",),
        output=folder / f"{stem}.engine",
    )
    engine = run(options.resolve(), report=Report(io.StringIO()))
    network: Any = networks.create(model, backbone=backbone, rosta=rosta).eval()
    checkpoints.load(network, weights)
    path = folder / f"{stem}.onnx"
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, *NETWORK),),
            path,
            input_names=["image"],
            output_names=list(network.heads),
            dynamo=True,
            external_data=False,
        )
    return Subject(name, engine, path, network)


def runtimes(
    shown: Subject, threads: int, *, compiled: bool
) -> dict[str, Callable[[Tensor], Heads]]:
    """The network bare, by each runtime: image → heads."""
    return {
        "PyTorch eager": _torch(shown.network, threads),
        **({"PyTorch compiled": _compiled(shown.network, threads)} if compiled else {}),
        "ONNX Runtime": _onnxruntime(shown.onnx, threads),
        "OpenVINO": _openvino(shown.onnx, threads),
        "OpenVINO float32": _openvino(shown.onnx, threads, INFERENCE_PRECISION_HINT="f32"),
    }


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


def _onnxruntime(path: Path, threads: int) -> Callable[[Tensor], Heads]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
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


class ByHand:
    """A runtime between OpenCV and NumPy: frame and background → composite."""

    def __init__(self, shown: Subject, run: Callable[[Tensor], Heads], size: Size) -> None:
        self._run = run
        self._size = size
        spec = shown.network.input_spec
        self._fusion = shown.network.fusion
        self._mean = np.array(spec.mean, np.float32)
        self._scale = 1 / np.array(spec.std, np.float32)

    def prepare(self, frame: Frame) -> Tensor:
        """Resize, colour order, normalise, channels first."""
        small = cv2.resize(frame, self._size[::-1], interpolation=cv2.INTER_AREA)
        image = cv2.cvtColor(small, cv2.COLOR_BGR2RGB).astype(np.float32)
        image = (image - self._mean) * self._scale
        return np.ascontiguousarray(image.transpose(2, 0, 1)[None])

    def fuse(self, heads: Heads) -> Tensor:
        """Collaborative matting: h×w."""
        chosen = heads["glance"][0].argmax(0)
        return np.select([chosen == 0, chosen == 2], [0.0, 1.0], heads["focus"][0, 0])

    def blend(self, frame: Frame, background: Frame, alpha: Tensor) -> Frame:
        """Enlarge and composite."""
        height, width = frame.shape[:2]
        alpha = cv2.resize(alpha.astype(np.float32), (width, height))
        return np.asarray(cv2.blendLinear(frame, background, alpha, 1 - alpha))

    def __call__(self, frame: Frame, background: Frame) -> Frame:
        """The whole way."""
        return self.blend(frame, background, self.fuse(self._run(self.prepare(frame))))
