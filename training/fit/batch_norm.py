"""Batch norms whose statistics are measured elsewhere than on one process's own batch."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.plugins.layer_sync import LayerSync, TorchSyncBatchNorm
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _Sum(torch.autograd.Function):
    """A tensor's sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


class JointBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the batches of all processes.

    It does for CPUs what ``torch.nn.SyncBatchNorm`` does for GPUs alone, for the batch norms that
    are in use here: affine, with running statistics. All processes have batches of one size.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """N×C×H×W → N×C×H×W."""
        if not self.training:
            return super().forward(input)
        x = input.float()
        processes = distributed.get_world_size()
        mean = _Sum.apply(x.mean((0, 2, 3))) / processes
        centred = x - mean.view(1, -1, 1, 1)
        variance = _Sum.apply(centred.square().mean((0, 2, 3))) / processes
        running_mean: Any = self.running_mean
        running_var: Any = self.running_var
        tracked: Any = self.num_batches_tracked
        tracked.add_(1)
        share = 1 / int(tracked) if self.momentum is None else self.momentum
        count = processes * x.numel() // x.shape[1]
        with torch.no_grad():
            running_mean.lerp_(mean, share)
            running_var.lerp_(variance * (count / max(count - 1, 1)), share)
        scale = (torch.rsqrt(variance + self.eps) * self.weight).view(1, -1, 1, 1)
        return (centred * scale + self.bias.view(1, -1, 1, 1)).to(input.dtype)


class JoinBatchNorms(LayerSync):
    """For Lightning's trainer: batch norms over all processes, on CPUs too."""

    def __init__(self, on_cpu: bool) -> None:
        self.on_cpu = on_cpu

    def apply(self, model: nn.Module) -> nn.Module:
        """Make every batch norm a joint one; parameters and names stay."""
        if not self.on_cpu:
            return TorchSyncBatchNorm().apply(model)
        for module in model.modules():
            if type(module) is nn.BatchNorm2d and module.affine and module.track_running_stats:
                module.__class__ = JointBatchNorm2d
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Undo :meth:`apply`."""
        if not self.on_cpu:
            return TorchSyncBatchNorm().revert(model)
        joint: list[Any] = [m for m in model.modules() if type(m) is JointBatchNorm2d]
        for module in joint:
            module.__class__ = nn.BatchNorm2d
        return model


def measure(network: nn.Module, run: Any, batches: Any) -> None:
    """Measure a network's batch norms again, as averages over batches: the statistics of averaged
    weights are not the average of the statistics.

    Args:
        network: whose batch norms are measured; it is left in training mode.
        run: called with each batch, it runs the network.
        batches: what ``run`` takes; without any, nothing is changed.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    network.train()
    for index, batch in enumerate(batches):
        for norm in norms:
            if index == 0:
                norm.reset_running_stats()
            norm.momentum = None  # PyTorch then averages over all batches since the reset
        with torch.no_grad():
            run(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
