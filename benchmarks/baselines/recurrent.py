"""A baseline network: recurrent video matting with a MobileNetV3 encoder.

Lin, Yang, Saleemi and Sengupta, *Robust High-Resolution Video Matting with Temporal Guidance* (WACV
2022), written again from the paper's figures and the published sizes of its layers, with drawn
weights: it is here to be timed, and its matte means nothing. A 720p frame is reduced by 0.4 for
the network, as its authors advise, which is the 288×512 that the light GFM works at, and the deep
guided filter brings alpha back to 720p.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.baselines.mobilenetv3 import MobileNetV3
from benchmarks.baselines.program import Frame, Program

RATIO = 0.4
WIDTHS = (16, 20, 40, 64)  # of the states, at strides 2, 4, 8 and 16 of the reduced frame


class _Encoder(nn.Module):
    """MobileNetV3-Large whose last stage keeps stride 16: features at strides 2, 4, 8 and 16."""

    def __init__(self) -> None:
        super().__init__()
        layers = list(MobileNetV3().features)
        for layer in layers[13:]:
            for conv in layer.modules():
                if isinstance(conv, nn.Conv2d) and conv.kernel_size == (5, 5):
                    conv.stride, conv.dilation, conv.padding = (1, 1), (2, 2), (4, 4)
        last = nn.Sequential(nn.Conv2d(160, 960, 1, bias=False), nn.BatchNorm2d(960))
        parts = (layers[:2], layers[2:4], layers[4:7], [*layers[7:], last, nn.Hardswish()])
        self.stages = nn.ModuleList(nn.Sequential(*part) for part in parts)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class _Pooling(nn.Module):
    """Lite reduced atrous spatial pyramid pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.local = _layer(960, 128, 1)
        self.gate = nn.Conv2d(960, 128, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.local(x) * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))


class _Recurrence(nn.Module):
    """A convolutional gated recurrent unit over the second half of the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.candidate = nn.Conv2d(2 * width, width, 3, padding=1)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        plain, x = x.chunk(2, 1)
        reset, update = torch.sigmoid(self.gates(torch.cat([x, state], 1))).chunk(2, 1)
        new = torch.tanh(self.candidate(torch.cat([x, reset * state], 1)))
        state = (1 - update) * state + update * new
        return torch.cat([plain, state], 1), state


class _GuidedFilter(nn.Module):
    """Deep guided filter: colours and alpha of the reduced frame, and the frame → its own."""

    def __init__(self) -> None:
        super().__init__()
        self.box = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.slope = nn.Sequential(
            _layer(4 * 2 + 16, 16, 1), _layer(16, 16, 1), nn.Conv2d(16, 4, 1)
        )

    def forward(self, frame: Tensor, small: Tensor, found: Tensor, hidden: Tensor) -> Tensor:
        frame = torch.cat([frame, frame.mean(1, keepdim=True)], 1)
        small = torch.cat([small, small.mean(1, keepdim=True)], 1)
        mean_x, mean_y = self.box(small), self.box(found)
        covariance = self.box(small * found) - mean_x * mean_y
        variance = self.box(small * small) - mean_x * mean_x
        slope = self.slope(torch.cat([covariance, variance, hidden], 1))
        offset = mean_y - slope * mean_x
        slope, offset = (
            functional.interpolate(x, frame.shape[2:], mode="bilinear") for x in (slope, offset)
        )
        return slope * frame + offset


class RecurrentMatting(nn.Module):
    """A frame and the states after the last one → foreground, alpha and states.

    ``forward(frame, *states)``: float32 1×3×H×W in 0..1, and 1×``WIDTHS[i]``×h×w, of which
    ``states_of`` gives zeros, → 1×3×H×W and 1×1×H×W in 0..1, and the states.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _Encoder()
        self.pooling = _Pooling()
        self.joining = nn.ModuleList(
            [_layer(32 + 3, 16, 3), _layer(40 + 16 + 3, 32, 3), _layer(80 + 24 + 3, 40, 3)]
            + [_layer(128 + 40 + 3, 80, 3)]
        )
        self.recurrence = nn.ModuleList(_Recurrence(width) for width in WIDTHS)
        self.ending = _layer(16, 16, 3)
        self.predict = nn.Conv2d(16, 4, 1)
        self.filter = _GuidedFilter()

    def forward(self, frame: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        small = functional.interpolate(frame, reduced(frame), mode="bilinear")
        mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
        std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
        skips = self.encoder((small - mean) / std)
        pictures = [small]
        for _ in range(3):
            pictures.append(functional.avg_pool2d(pictures[-1], 2))
        x = self.pooling(skips.pop())
        after: list[Tensor] = []
        for level in (3, 2, 1):
            x, state = self.recurrence[level](x, states[level])
            after.insert(0, state)
            x = functional.interpolate(x, scale_factor=2, mode="bilinear")
            x = self.joining[level](torch.cat([x, skips[level - 1], pictures[level]], 1))
        x, state = self.recurrence[0](x, states[0])
        x = functional.interpolate(x, scale_factor=2, mode="bilinear")
        hidden = self.ending(self.joining[0](torch.cat([x, small], 1)))
        found = self.filter(frame, small, self.predict(hidden), hidden)
        foreground = (found[:, :3] + frame).clamp(0, 1)
        return foreground, found[:, 3:].clamp(0, 1), state, *after


def reduced(frame: Tensor) -> tuple[int, int]:
    """Return the height and width that the network works at."""
    height, width = frame.shape[2:]
    return round(height * RATIO), round(width * RATIO)


def states_of(frame: Tensor) -> list[Tensor]:
    """Return the states before the first frame."""
    height, width = reduced(frame)
    return [
        torch.zeros(1, channels, height >> level, width >> level)
        for level, channels in enumerate(WIDTHS, 1)
    ]


class Recurrent(Program):
    """The network in OpenVINO, in the precision that it chooses, over frames of one size.

    Each frame's states are those of the last. The composite takes the network's foreground, as its
    authors write it, in NumPy.
    """

    trained = False

    def __init__(self, size: tuple[int, int], threads: int) -> None:
        from matter_sdk.sdk.backends.openvino import process_core

        torch.manual_seed(0)
        frame = torch.rand(1, 3, *size)
        given = (frame, *states_of(frame))
        self._before = [f"before{at}" for at in range(len(WIDTHS))]
        self._after = [f"after{at}" for at in range(len(WIDTHS))]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "recurrent.onnx")
            with contextlib.redirect_stdout(io.StringIO()):
                torch.onnx.export(
                    RecurrentMatting().eval(),
                    given,
                    path,
                    input_names=["frame", *self._before],
                    output_names=["foreground", "alpha", *self._after],
                    dynamo=True,
                    external_data=False,
                )
            compiled: Any = process_core().compile_model(
                path, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
            )
        # Two that take turns: what one gives is the other's input, and nothing is copied.
        self._requests = [compiled.create_infer_request() for _ in range(2)]
        self._background: Frame | None = None
        self._states: Sequence[Any] = [state.numpy() for state in given[1:]]

    def prepare(self, frame: Frame) -> NDArray[np.float32]:
        """See ``Program``: 1×3×H×W RGB in 0..1."""
        colours = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.float32) / 255
        return np.ascontiguousarray(colours.transpose(2, 0, 1)[None])

    def _step(self, prepared: NDArray[np.float32]) -> Any:
        request = self._requests[0]
        self._requests.reverse()
        states = dict(zip(self._before, self._states, strict=True))
        request.infer({"frame": prepared, **states}, share_inputs=True)
        self._states = [request.get_tensor(name).data for name in self._after]
        return request

    def run(self, prepared: NDArray[np.float32]) -> NDArray[np.float32]:
        """See ``Program``."""
        return self._step(prepared).get_tensor("alpha").data[0, 0]

    def __call__(self, frame: Frame, background: Frame) -> Frame:
        """Return the composite of a frame over a background."""
        request = self._step(self.prepare(frame))
        foreground = request.get_tensor("foreground").data[0]
        alpha = request.get_tensor("alpha").data[0]
        if self._background is not background:  # one for the whole video, as in their example
            self._background, self._behind = background, self.prepare(background)[0]
        shown = (foreground * alpha + self._behind * (1 - alpha)).transpose(1, 2, 0) * 255
        return cv2.cvtColor(shown.astype(np.uint8), cv2.COLOR_RGB2BGR)


def _layer(inside: int, outside: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(),
    )
