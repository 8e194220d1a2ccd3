"""ISNet at 1024×1024 in ONNX Runtime, with what rembg puts around it.

The model is the larger one of ``@imgly/background-removal-data``, whose weights are stored in
float16. rembg resizes with Pillow's Lanczos filter, stretches each answer to 0..1, and cuts out
with ``Image.composite``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.baselines import npm_models
from benchmarks.baselines.by_hand import onnx_session
from benchmarks.baselines.program import Frame, Program, Tensor

SIZE = (1024, 1024)
_INDEX, _MODEL = "dist/resources.json", "/models/medium"


def read(package: Path) -> bytes:
    """Join the model's chunks.

    Raises:
        OSError, ValueError: not the package, or a file of it is missing.
    """
    index = json.loads(npm_models.read(package, [_INDEX])[_INDEX])
    try:
        names = [f"dist/{chunk['hash']}" for chunk in index[_MODEL]["chunks"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{package}: {_INDEX} lists no {_MODEL}, expected it") from error
    chunks = npm_models.read(package, names)
    return b"".join(chunks[name] for name in names)


class IsNet(Program):
    """See the module."""

    def __init__(self, model: bytes, threads: int) -> None:
        self._session = onnx_session(model, threads)
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name

    def prepare(self, frame: Frame) -> Tensor:
        """See the class: 1×3×1024×1024 RGB, of which the largest is 1, less 0.5."""
        return self._prepared(_picture(frame))

    @staticmethod
    def _prepared(picture: Image.Image) -> Tensor:
        small = np.asarray(picture.resize(SIZE, Image.Resampling.LANCZOS), np.float32)
        return (small / max(small.max(), 1e-6) - 0.5).transpose(2, 0, 1)[None]

    def run(self, prepared: Tensor) -> Tensor:
        """See the class."""
        return self._session.run([self._output], {self._input: prepared})[0][0, 0]

    def _mask(self, picture: Image.Image) -> Image.Image:
        found = self.run(self._prepared(picture))
        least, most = found.min(), found.max()
        stretched = ((found - least) / max(most - least, 1e-6) * 255).astype(np.uint8)
        return Image.fromarray(stretched, "L").resize(picture.size, Image.Resampling.LANCZOS)

    def matte(self, frame: Frame) -> Tensor:
        """See the class."""
        return np.asarray(self._mask(_picture(frame)), np.float32) / np.float32(255)

    def __call__(self, frame: Frame, background: Frame) -> Frame:
        """Composite with Pillow."""
        picture = _picture(frame)
        shown = Image.composite(picture, _picture(background), self._mask(picture))
        return np.asarray(shown)[..., ::-1]


def _picture(frame: Frame) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(frame[..., ::-1]))
