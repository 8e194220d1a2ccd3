"""What numba offers: the plain loops, compiled; on several threads where they were asked for."""

from __future__ import annotations

import os
from typing import Any

import numba
import numpy as np
from numba import prange

from benchmarks.baselines import Calls
from benchmarks.baselines.curves import axis, decode, encode_65536, keep_of
from matter_sdk.kernels import InputSpec

jit = numba.njit(
    parallel=int(os.environ.get("NUMBA_NUM_THREADS", "1")) > 1, fastmath=True, error_model="numpy"
)


def _taps(source: int, output: int, interpolation: str) -> tuple[Any, Any]:
    """First source pixel and the weights of each output pixel, padded to one count."""
    matrix = axis(source, output, interpolation)
    longest = max(2, int((matrix > 0).sum(axis=1).max()))
    first = np.minimum((matrix > 0).argmax(axis=1), source - longest)
    return first, np.take_along_axis(matrix, first[:, None] + np.arange(longest), axis=1)


@jit
def _resample(
    frame: Any,
    rows: Any,
    row_weights: Any,
    columns: Any,
    weights: Any,
    order: Any,
    scale: Any,
    shift: Any,
    out: Any,
) -> None:
    width = frame.shape[1] * 3
    flat = frame.reshape(frame.shape[0], width)
    for y in prange(out.shape[2]):
        sums = np.zeros(width, np.float32)
        for k in range(row_weights.shape[1]):
            weight = row_weights[y, k]
            source = flat[rows[y] + k]
            for i in range(width):
                sums[i] += weight * np.float32(source[i])
        for x in range(out.shape[3]):
            begin = columns[x] * 3
            for c in range(3):
                total = np.float32(0)
                for k in range(weights.shape[1]):
                    total += weights[x, k] * sums[begin + 3 * k + order[c]]
                out[0, c, y, x] = total * scale[c] + shift[c]


def preprocess(
    frame: Any, size: tuple[int, int], spec: InputSpec, interpolation: str = "area"
) -> Calls:
    rows, columns = (_taps(a, b, interpolation) for a, b in zip(frame.shape[:2], size, strict=True))
    order = np.array([2, 1, 0] if spec.colour == "rgb" else [0, 1, 2])
    scale = (1 / np.array(spec.std)).astype(np.float32)
    shift = (-np.array(spec.mean) / np.array(spec.std)).astype(np.float32)
    out = np.empty((1, 3, *size), np.float32)

    def loops() -> Any:
        _resample(frame, *rows, *columns, order, scale, shift, out)
        return out

    return {"loops": loops}


@jit
def _fuse(glance: Any, focus: Any, out: Any) -> None:
    for y in prange(focus.shape[0]):
        for x in range(focus.shape[1]):
            g0, g1, g2 = glance[0, y, x], glance[1, y, x], glance[2, y, x]
            if g1 > g0 and g1 >= g2:
                out[y, x] = focus[y, x]
            else:
                out[y, x] = 1.0 if g2 > g0 and g2 > g1 else 0.0


def collaborative_fusion(
    glance: Any, focus: Any, rosta: str, size: tuple[int, int] | None = None
) -> Calls:
    del rosta  # tt
    if size is not None:
        return {}
    out = np.empty_like(focus)

    def loops() -> Any:
        _fuse(glance[0], focus[0, 0], out[0, 0])
        return out

    return {"loops": loops}


@jit
def _blend(foreground: Any, background: Any, alpha: Any, out: Any) -> None:
    half = np.float32(0.5)
    for y in prange(alpha.shape[0]):
        for x in range(alpha.shape[1]):
            a = alpha[y, x]
            for c in range(3):
                below = np.float32(background[y, x, c])
                above = np.float32(foreground[y, x, c])
                out[y, x, c] = np.uint8(np.int32(below + a * (above - below) + half))


@jit
def _blend_light(
    foreground: Any, background: Any, alpha: Any, table: Any, codes: Any, out: Any
) -> None:
    for y in prange(alpha.shape[0]):
        for x in range(alpha.shape[1]):
            a = alpha[y, x]
            for c in range(3):
                below = table[background[y, x, c]]
                light = below + a * (table[foreground[y, x, c]] - below)
                out[y, x, c] = codes[np.int32(light * np.float32(65535) + np.float32(0.5))]


def alpha_blend(foreground: Any, background: Any, alpha: Any, linear: bool = False) -> Calls:
    out = np.empty_like(foreground)
    table, codes = decode(), encode_65536()

    def loops() -> Any:
        if linear:
            _blend_light(foreground, background, alpha, table, codes, out)
        else:
            _blend(foreground, background, alpha, out)
        return out

    return {"loops": loops}


@jit
def _enlarge_blend(
    frame: Any,
    background: Any,
    alpha: Any,
    rows: Any,
    row_weights: Any,
    columns: Any,
    weights: Any,
    out: Any,
) -> None:
    half = np.float32(0.5)
    for y in prange(frame.shape[0]):
        above, below = alpha[rows[y]], alpha[rows[y] + 1]
        row = above * row_weights[y, 0] + below * row_weights[y, 1]
        for x in range(frame.shape[1]):
            a = row[columns[x]] * weights[x, 0] + row[columns[x] + 1] * weights[x, 1]
            for c in range(3):
                back = np.float32(background[y, x, c])
                front = np.float32(frame[y, x, c])
                out[y, x, c] = np.uint8(np.int32(back + a * (front - back) + half))


def composite(
    frame: Any, background: Any, alpha: Any, guided: bool = False, clean: bool = False
) -> Calls:
    if guided or clean:
        return {}
    rows, columns = (
        _taps(a, b, "bilinear") for a, b in zip(alpha.shape, frame.shape[:2], strict=True)
    )
    out = np.empty_like(frame)

    def loops() -> Any:
        _enlarge_blend(frame, background, alpha, *rows, *columns, out)
        return out

    return {"loops": loops}


@jit
def _filter(previous: Any, current: Any, delta: Any, table: Any, out: Any) -> None:
    height, width = current.shape
    strongest = np.empty((height, width), np.uint8)
    moved = 0
    for y in prange(height):
        for x in range(width):
            most = max(delta[y, x, 0], delta[y, x, 1], delta[y, x, 2])
            strongest[y, x] = most
            moved += most > 8
    cut = 2 * moved > height * width
    for y in prange(height):
        for x in range(width):
            motion = 255 if cut else 0
            for j in range(max(y - 1, 0), min(y + 2, height)):
                for i in range(max(x - 1, 0), min(x + 2, width)):
                    motion = max(motion, strongest[j, i])
            out[y, x] = current[y, x] + table[motion] * (previous[y, x] - current[y, x])


def temporal_filter(previous: Any, current: Any, frame_delta: Any) -> Calls:
    table, out = keep_of(), np.empty_like(current)

    def loops() -> Any:
        _filter(previous, current, frame_delta, table, out)
        return out

    return {"loops": loops}


@jit
def _unpool(values: Any, indices: Any, out: Any) -> None:
    for plane in prange(values.shape[0]):
        out[plane, :] = 0
        for i in range(values.shape[1]):
            out[plane, indices[plane, i]] = values[plane, i]


def max_unpool(x: Any, offsets: Any, window: int) -> Calls:
    from benchmarks.baselines.indices import flat

    count, channels, height, width = x.shape
    planes = count * channels
    indices = flat(offsets, window).reshape(planes, -1)
    out = np.empty((count, channels, 2 * height, 2 * width), x.dtype)

    def loops() -> Any:
        _unpool(x.reshape(planes, -1), indices, out.reshape(planes, -1))
        return out

    return {"scatter": loops}
