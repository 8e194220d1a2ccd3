"""What PyTorch offers on the CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.baselines import Calls
from benchmarks.baselines.curves import axis, keep_of
from matter_sdk.kernels import InputSpec


def preprocess(
    frame: Any, size: tuple[int, int], spec: InputSpec, interpolation: str = "area"
) -> Calls:
    image = torch.from_numpy(frame)
    mean, std = (torch.tensor(value)[:, None, None] for value in (spec.mean, spec.std))
    order = [2, 1, 0] if spec.colour == "rgb" else [0, 1, 2]
    rows, columns = (
        torch.from_numpy(axis(a, b, "area")) for a, b in zip(frame.shape[:2], size, strict=True)
    )

    def planes() -> Any:
        return image.permute(2, 0, 1).to(torch.float32)

    def products() -> Any:
        return (((rows @ planes() @ columns.T)[order] - mean) / std)[None].numpy()

    def interpolate() -> Any:
        small = F.interpolate(planes()[None], size, mode="bilinear", align_corners=False)
        return ((small[:, order] - mean) / std).numpy()

    if interpolation == "bilinear":
        return {"interpolate": interpolate}
    return {"two matrix products": products}  # its "area" averages whole pixels only


def collaborative_fusion(
    glance: Any, focus: Any, rosta: str, size: tuple[int, int] | None = None
) -> Calls:
    del rosta  # tt
    probabilities, detail = torch.from_numpy(glance), torch.from_numpy(focus)

    def same() -> Any:
        return _where(probabilities, detail)

    def hybrid() -> Any:
        winner = probabilities.argmax(dim=1, keepdim=True).to(torch.float32)
        classes = F.interpolate(winner, size, mode="bilinear", align_corners=False)
        fine = F.interpolate(detail, size, mode="bilinear", align_corners=False)
        fine.masked_fill_(classes < 1e-5, 0).masked_fill_(classes > 2 - 1e-5, 1)
        return fine.numpy()

    return {"where": same} if size is None else {"argmax, interpolate, masked_fill": hybrid}


def logits_fusion(glance: Any, focus: Any, rosta: str, glance_size: tuple[int, int]) -> Calls:
    del rosta  # tt
    logits, detail = torch.from_numpy(glance), torch.from_numpy(focus)

    def enlarged() -> Any:
        large = F.interpolate(logits, glance_size, mode="bilinear", align_corners=False)
        return _where(large, detail)

    return {"interpolate, where": enlarged}


def _where(glance: Any, focus: Any) -> Any:
    g0, g1, g2 = (glance[:, i : i + 1] for i in range(3))
    foreground = (g2 > g0) & (g2 > g1)
    return torch.where((g1 > g0) & (g1 >= g2), focus, foreground.to(focus.dtype)).numpy()


def alpha_blend(foreground: Any, background: Any, alpha: Any, linear: bool = False) -> Calls:
    front, back, weight = (torch.from_numpy(array) for array in (foreground, background, alpha))
    if linear:
        return {}

    def lerp() -> Any:
        mixed = torch.lerp(back.to(torch.float32), front.to(torch.float32), weight[..., None])
        return mixed.add_(0.5).to(torch.uint8).numpy()

    return {"lerp": lerp}


def composite(
    frame: Any, background: Any, alpha: Any, guided: bool = False, clean: bool = False
) -> Calls:
    if guided or clean:
        return {}
    front, back = torch.from_numpy(frame), torch.from_numpy(background)
    small, size = torch.from_numpy(alpha)[None, None], frame.shape[:2]

    def lerp() -> Any:
        weight = F.interpolate(small, size, mode="bilinear", align_corners=False)[0, 0, ..., None]
        mixed = torch.lerp(back.to(torch.float32), front.to(torch.float32), weight)
        return mixed.add_(0.5).to(torch.uint8).numpy()

    return {"interpolate, lerp": lerp}


def temporal_filter(previous: Any, current: Any, frame_delta: Any) -> Calls:
    before, now, delta = (torch.from_numpy(array) for array in (previous, current, frame_delta))
    table = torch.from_numpy(keep_of())

    def filtered() -> Any:
        strongest = delta.amax(dim=2)
        if 2 * torch.count_nonzero(strongest > 8) > strongest.numel():
            return now.clone().numpy()
        motion = F.max_pool2d(strongest[None, None].to(torch.float32), 3, 1, 1)[0, 0]
        return torch.lerp(now, before, table[motion.to(torch.int32)]).numpy()

    return {"amax, max_pool2d, lerp": filtered}


def max_pool_offsets(x: Any, window: int) -> Calls:
    features = torch.from_numpy(x)

    def pooled() -> Any:
        return F.max_pool2d(features, window, 2, window - 2, return_indices=True)[0].numpy()

    return {"max_pool2d with indices": pooled}


def max_unpool(x: Any, offsets: Any, window: int) -> Calls:
    from benchmarks.baselines.indices import flat

    values, indices = torch.from_numpy(x), torch.from_numpy(flat(offsets, window))
    return {"max_unpool2d": lambda: F.max_unpool2d(values, indices, [2, 2], [2, 2]).numpy()}
