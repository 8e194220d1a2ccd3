"""Max-pooling and max-unpooling in a form that every runtime takes, exact and deterministic.

AIM (Deep Automatic Natural Image Matting, IJCAI 2021) pools with indices and unpools by them.
TensorRT refuses a MaxPool with a second output and has no MaxUnpool, and PyTorch's exporter writes
the latter as a ScatterND over 64-bit indices, which is slow elsewhere too. So here a plain max-pool
is followed by comparisons that find, for each window, the offset of its first maximum; and
unpooling is a gather: each output pixel looks at the windows that may point at it. Exported, that
is MaxPool with one output, Pad, Slice, Equal, Where and DepthToSpace. Where overlapping windows
share their maximum the last in row-major order wins: PyTorch's answer on the CPU with one thread,
while with more, or on a GPU, its answer changes from run to run. `kernels.max_pool_offsets` and
`kernels.max_unpool` give the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_WINDOW = 3
# An offset that no output pixel looks for: of the windows beyond the last row and column.
_NONE = _WINDOW * _WINDOW


class MaxPool(nn.Module):
    """3×3 max-pool, stride 2, padding 1, that tells where in its window each maximum was."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """N×C×H×W → values, and int32 offsets 0..8 in row-major order, N×C×⌈H/2⌉×⌈W/2⌉ each.

        The gradient of the values is max_pool2d's; the offsets have none. Of equals the first is
        taken. A window that holds a NaN has the value NaN and the offset 8; one that is minus
        infinity throughout may have the offset of a pixel outside.
        """
        values = functional.max_pool2d(x, _WINDOW, stride=2, padding=1)
        padded = functional.pad(x.detach(), (1, 1, 1, 1), value=-torch.inf)
        height, width = values.shape[2:]
        best = values.detach()
        offsets = torch.scalar_tensor(_NONE - 1, dtype=torch.int32, device=x.device)
        for offset in reversed(range(_NONE - 1)):  # the first match is written last
            row, column = divmod(offset, _WINDOW)
            tap = padded[:, :, row : row + 2 * height - 1 : 2, column : column + 2 * width - 1 : 2]
            offsets = torch.where(tap == best, offset, offsets)
        return values, offsets


class MaxUnpool(nn.Module):
    """2×2 max-unpool, stride 2, by the offsets of `MaxPool`."""

    def forward(self, x: Tensor, offsets: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """N×C×h×w → N×C×H×W: each value where its window's maximum was, 0 elsewhere.

        Args:
            x: any features of the pooled size.
            offsets: what `MaxPool` gave.
            size: (H, W), each side 2h - 1 or 2h; (2h, 2w) by default.

        The gradient is max_unpool2d's: each window receives that of the pixel it points at, those
        that lost it to a later window too.
        """
        height, width = size or (2 * x.shape[2], 2 * x.shape[3])
        return _Unpool.apply(x, offsets, height, width)


def _gather(x: Tensor, offsets: Tensor, height: int, width: int) -> Tensor:
    rows, columns = x.shape[2:]
    values = functional.pad(x, (0, 1, 0, 1))
    places = functional.pad(offsets, (0, 1, 0, 1), value=_NONE)

    def chosen(below: int, right: int, offset: int, otherwise: Tensor | float) -> Tensor:
        """The value of the window that lies so far below and right, where it has this offset."""
        window = (
            slice(None),
            slice(None),
            slice(below, below + rows),
            slice(right, right + columns),
        )
        return torch.where(places[window] == offset, values[window], otherwise)

    # The earliest window first: those after it take precedence.
    top_left = chosen(0, 0, 4, 0.0)
    top_right = chosen(0, 1, 3, chosen(0, 0, 5, 0.0))
    bottom_left = chosen(1, 0, 1, chosen(0, 0, 7, 0.0))
    bottom_right = chosen(1, 1, 0, chosen(1, 0, 2, chosen(0, 1, 6, chosen(0, 0, 8, 0.0))))
    squares = torch.stack((top_left, top_right, bottom_left, bottom_right), 2)
    return functional.pixel_shuffle(squares.flatten(1, 2), 2)[:, :, :height, :width]


class _Unpool(torch.autograd.Function):
    """`_gather` with the gradient of max_unpool2d."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, offsets: Tensor, height: int, width: int) -> Tensor:
        ctx.save_for_backward(offsets)
        return _gather(x, offsets, height, width)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (offsets,) = ctx.saved_tensors
        (gradient,) = gradients
        height, width = gradient.shape[2:]
        rows = torch.arange(offsets.shape[2], device=offsets.device)[:, None]
        columns = torch.arange(offsets.shape[3], device=offsets.device)
        row = 2 * rows - 1 + offsets // _WINDOW
        column = 2 * columns - 1 + offsets % _WINDOW
        # An offset that points outside (NaN, minus infinity) must not read there.
        target = (row * width + column).clamp(0, height * width - 1)
        received = gradient.flatten(2).gather(2, target.flatten(2))
        return received.reshape(offsets.shape), None, None, None
