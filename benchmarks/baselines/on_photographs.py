"""Mattes of other programs' networks, written as pictures for ``python -m benchmarks photographs``.

    python benchmarks/baselines/on_photographs.py --mediapipe selfie_segmentation.tflite \\
        --output mattes/mediapipe SET...
    python benchmarks/baselines/on_photographs.py --isnet isnet.onnx --output mattes/isnet SET...

It runs by itself, in an environment with numpy, OpenCV and ``ai-edge-litert`` or ``onnxruntime``:
none of these files ship with the project. MediaPipe's model is in the npm package
``@mediapipe/selfie_segmentation`` (Apache 2.0); ISNet's is in ``@imgly/background-removal-data``
(AGPL), in chunks: ``--isnet`` also takes the package's ``dist`` folder. A SET is a folder with
``images``; mattes go to ``OUTPUT/SET/NAME.png``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

Matting = Callable[[Any], Any]  # uint8 H×W×3 RGB -> float32 h×w in 0..1


def mediapipe(path: Path) -> Matting:
    """Load MediaPipe's selfie segmentation: pictures are squeezed to its square, as it does."""
    from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-not-found]

    network = Interpreter(str(path))
    network.allocate_tensors()
    source, result = network.get_input_details()[0], network.get_output_details()[0]
    height, width = source["shape"][1:3]

    def run(image: Any) -> Any:
        small = cv2.resize(image, (int(width), int(height)), interpolation=cv2.INTER_AREA)
        network.set_tensor(source["index"], (small[None] / np.float32(255)).astype(np.float32))
        network.invoke()
        return network.get_tensor(result["index"])[0, ..., 0]

    return run


def isnet(path: Path) -> Matting:
    """Load ISNet, run as its package does: squeezed to 1024×1024, (x − 128) / 256."""
    import onnxruntime

    content: Any = str(path)
    if path.is_dir():
        chunks = json.loads((path / "resources.json").read_text())["/models/medium"]["chunks"]
        content = b"".join((path / chunk["hash"]).read_bytes() for chunk in chunks)
    network = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = network.get_inputs()[0].name

    def run(image: Any) -> Any:
        small = cv2.resize(image, (1024, 1024), interpolation=cv2.INTER_LINEAR)
        tensor = ((small.astype(np.float32) - 128) / 256).transpose(2, 0, 1)[None]
        return network.run(None, {name: tensor})[0][0, 0]

    return run


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Write another network's mattes of photographs.")
    parser.add_argument("--mediapipe", type=Path)
    parser.add_argument("--isnet", type=Path)
    parser.add_argument("--every", type=int, default=1, help="only every n-th picture")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("sets", type=Path, nargs="+")
    given = parser.parse_args()
    if (given.mediapipe is None) == (given.isnet is None):
        parser.error("give one of --mediapipe and --isnet")
    matting = mediapipe(given.mediapipe) if given.mediapipe else isnet(given.isnet)
    for folder in given.sets:
        target = given.output / folder.resolve().name
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted((folder / "images").iterdir())[:: given.every]:
            done = target / f"{path.stem}.png"
            if done.exists():
                continue
            image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            alpha = cv2.resize(matting(image), image.shape[1::-1])
            cv2.imwrite(str(done), np.round(np.clip(alpha, 0, 1) * 255).astype(np.uint8))
        print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
