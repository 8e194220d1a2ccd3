"""What NumPy offers."""

from __future__ import annotations

from typing import Any

import numpy as np
from matter_sdk.kernels import InputSpec

from benchmarks.rivals import Calls
from benchmarks.rivals.curves import axis, decode, encode_65536, keep_of


def preprocess(
    frame: Any, size: tuple[int, int], spec: InputSpec, interpolation: str = "area"
) -> Calls:
    rows, columns = (axis(a, b, interpolation) for a, b in zip(frame.shape[:2], size, strict=True))
    mean, std = (np.array(value, np.float32)[:, None, None] for value in (spec.mean, spec.std))
    step = -1 if spec.colour == "rgb" else 1

    def products() -> Any:
        planes = frame[..., ::step].transpose(2, 0, 1).astype(np.float32)
        resized = np.matmul(np.matmul(rows, planes), columns.T)
        return ((resized - mean) / std)[None]

    return {"two matrix products": products}


def collaborative_fusion(
    glance: Any, focus: Any, rosta: str, size: tuple[int, int] | None = None
) -> Calls:
    del rosta  # tt
    if size is None:

        def same() -> Any:
            winner = glance.argmax(axis=1, keepdims=True)
            return np.where(winner == 1, focus, winner.astype(np.float32) / 2)

        return {"argmax, where": same}
    coarse = [axis(a, b, "bilinear") for a, b in zip(glance.shape[2:], size, strict=True)]
    fine = [axis(a, b, "bilinear") for a, b in zip(focus.shape[2:], size, strict=True)]

    def hybrid() -> Any:
        winner = glance[0].argmax(axis=0).astype(np.float32)
        classes = coarse[0] @ winner @ coarse[1].T
        detail = fine[0] @ focus[0, 0] @ fine[1].T
        detail[classes < 1e-5] = 0
        detail[classes > 2 - 1e-5] = 1
        return detail[None, None]

    return {"argmax, matrix products": hybrid}


def alpha_blend(foreground: Any, background: Any, alpha: Any, linear: bool = False) -> Calls:
    mixed = np.empty(foreground.shape, np.float32)
    weight = alpha[..., None]
    if linear:
        table, codes = decode(), encode_65536()

        def in_light() -> Any:
            back = table[background]
            light = back + weight * (table[foreground] - back)
            return codes[(light * 65535 + 0.5).astype(np.uint16)]

        return {"tables": in_light}
    whole, back16 = np.empty(foreground.shape, np.int16), np.empty(foreground.shape, np.int16)

    def floats() -> Any:
        np.subtract(foreground, background, out=mixed, dtype=np.float32)
        np.multiply(mixed, weight, out=mixed)
        np.add(mixed, background, out=mixed)
        np.add(mixed, 0.5, out=mixed)
        return mixed.astype(np.uint8)

    def integers() -> Any:
        weight8 = (alpha * 128 + 0.5).astype(np.int16)[..., None]
        np.copyto(back16, background)
        np.subtract(foreground, back16, out=whole, dtype=np.int16)
        np.multiply(whole, weight8, out=whole)
        np.add(whole, 64, out=whole)
        np.right_shift(whole, 7, out=whole)
        np.add(whole, back16, out=whole)
        return whole.astype(np.uint8)

    return {"float32": floats, "int16": integers}


def temporal_filter(previous: Any, current: Any, frame_delta: Any) -> Calls:
    table = keep_of()

    def filtered() -> Any:
        strongest = frame_delta.max(axis=2)
        if 2 * np.count_nonzero(strongest > 8) > strongest.size:
            return current.copy()
        padded = np.pad(strongest, 1)
        rows = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
        motion = np.maximum(np.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
        return current + table[motion] * (previous - current)

    return {"shifted maxima, table": filtered}
