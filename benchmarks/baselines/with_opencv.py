"""What OpenCV offers."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from benchmarks.baselines import Calls
from benchmarks.baselines.curves import decode, encode_65536, keep_of
from matter_sdk.kernels import InputSpec

INTERPOLATIONS = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR}


def preprocess(
    frame: Any, size: tuple[int, int], spec: InputSpec, interpolation: str = "area"
) -> Calls:
    height, width = size
    small, out = np.empty((height, width, 3), np.uint8), np.empty((1, 3, height, width), np.float32)
    planes = [np.empty((height, width), np.uint8) for _ in range(3)]
    order = [2, 1, 0] if spec.colour == "rgb" else [0, 1, 2]
    mean, std = (np.array(values, np.float32) for values in (spec.mean, spec.std))
    levels = np.arange(256, dtype=np.float32)
    tables = [(levels - mean[c]) / std[c] for c in range(3)]
    flags = INTERPOLATIONS[interpolation]
    params = cv2.dnn.Image2BlobParams()
    params.scalefactor, params.mean = (*(1 / std).tolist(), 0.0), (*mean.tolist(), 0.0)
    params.swapRB = spec.colour == "rgb"

    def by_tables() -> Any:
        cv2.resize(frame, (width, height), small, interpolation=flags)
        cv2.split(small, planes)
        for c in range(3):
            cv2.LUT(planes[order[c]], tables[c], out[0, c])
        return out

    def by_blob() -> Any:
        cv2.resize(frame, (width, height), small, interpolation=flags)
        return cv2.dnn.blobFromImageWithParams(small, params)

    def by_arithmetic() -> Any:
        cv2.resize(frame, (width, height), small, interpolation=flags)
        cv2.split(small, planes)
        for c in range(3):
            cv2.subtract(planes[order[c]], float(mean[c]), out[0, c], dtype=cv2.CV_32F)
            cv2.multiply(out[0, c], float(1 / std[c]), out[0, c])
        return out

    return {
        "resize, split, LUT": by_tables,
        "resize, blobFromImage": by_blob,
        "resize, split, subtract, multiply": by_arithmetic,
    }


def preprocess_yuv(y: Any, u: Any, v: Any, size: tuple[int, int], spec: InputSpec) -> Calls:
    planar = np.concatenate([plane.reshape(-1) for plane in (y, u, v)])
    planar = planar.reshape(-1, y.shape[1])  # one block, as cvtColor wants it
    frame = np.empty((*y.shape, 3), np.uint8)

    def through(resized: Any) -> Any:
        def call() -> Any:
            cv2.cvtColor(planar, cv2.COLOR_YUV2BGR_I420, frame)
            return resized()

        return call

    return {
        f"cvtColor, {name}": through(call) for name, call in preprocess(frame, size, spec).items()
    }


def collaborative_fusion(
    glance: Any, focus: Any, rosta: str, size: tuple[int, int] | None = None
) -> Calls:
    del rosta  # tt
    g0, g1, g2 = glance[0]
    transition, more, foreground = (np.empty(g0.shape, np.uint8) for _ in range(3))
    alpha = np.empty_like(focus)
    ones = np.ones_like(g0)

    def classes() -> None:
        cv2.compare(g1, g0, cv2.CMP_GT, transition)
        cv2.compare(g1, g2, cv2.CMP_GE, more)
        cv2.bitwise_and(transition, more, transition)
        cv2.compare(g2, g0, cv2.CMP_GT, foreground)
        cv2.compare(g2, g1, cv2.CMP_GT, more)
        cv2.bitwise_and(foreground, more, foreground)

    def same() -> Any:
        classes()
        alpha.fill(0)
        cv2.copyTo(focus[0, 0], transition, alpha[0, 0])
        cv2.copyTo(ones, foreground, alpha[0, 0])
        return alpha

    if size is None:
        return {"compare, copyTo": same}
    large = np.empty((1, 1, *size), np.float32)
    coarse = np.empty(size, np.float32)
    masks = np.empty(size, np.uint8)

    def hybrid() -> Any:
        classes()
        cv2.max(transition >> 1, foreground, more)  # 0, 127, 255
        cv2.resize(more.astype(np.float32), size[::-1], coarse)
        cv2.resize(focus[0, 0], size[::-1], large[0, 0])
        cv2.compare(coarse, 254.999, cv2.CMP_GT, masks)
        large[0, 0][masks != 0] = 1
        cv2.compare(coarse, 0.001, cv2.CMP_LT, masks)
        large[0, 0][masks != 0] = 0
        return large

    return {"compare, resize, where": hybrid}


def logits_fusion(glance: Any, focus: Any, rosta: str, glance_size: tuple[int, int]) -> Calls:
    large = np.empty((1, 3, *glance_size), np.float32)
    (fuse,) = collaborative_fusion(large, focus, rosta).values()

    def enlarged() -> Any:
        for small, whole in zip(glance[0], large[0], strict=True):
            cv2.resize(small, glance_size[::-1], whole)
        return fuse()

    return {"resize, compare, copyTo": enlarged}


def alpha_blend(foreground: Any, background: Any, alpha: Any, linear: bool = False) -> Calls:
    out, inverse = np.empty_like(foreground), np.empty_like(alpha)
    one = np.ones_like(alpha)

    def weights() -> Any:
        cv2.subtract(one, alpha, inverse)
        return cv2.blendLinear(foreground, background, alpha, inverse, out)

    front, back = (np.empty(foreground.shape, np.float32) for _ in range(2))
    if linear:
        table, codes = decode(), encode_65536()
        wide = np.empty(foreground.shape, np.uint16)

        def in_light() -> Any:
            cv2.LUT(foreground, table, front)
            cv2.LUT(background, table, back)
            cv2.subtract(one, alpha, inverse)
            cv2.blendLinear(front, back, alpha, inverse, front)
            cv2.multiply(front, 65535.0, wide, dtype=cv2.CV_16U)
            return cv2.LUT(wide, codes, out)

        return {"LUT, blendLinear, LUT": in_light}
    three, inverse3 = (np.empty(foreground.shape, np.float32) for _ in range(2))

    def products() -> Any:
        cv2.merge([alpha, alpha, alpha], three)
        cv2.subtract((1.0, 1.0, 1.0, 1.0), three, inverse3)
        cv2.multiply(foreground, three, front, dtype=cv2.CV_32F)
        cv2.multiply(background, inverse3, back, dtype=cv2.CV_32F)
        return cv2.add(front, back, out, dtype=cv2.CV_8U)

    return {"blendLinear": weights, "merge, multiply, add": products}


def alpha_blend_yuv(
    y: Any, u: Any, v: Any, back_y: Any, back_u: Any, back_v: Any, alpha: Any
) -> Calls:
    half = np.empty(u.shape, np.float32)
    parts = [
        alpha_blend(front, back, matte)["blendLinear"]
        for front, back, matte in ((y, back_y, alpha), (u, back_u, half), (v, back_v, half))
    ]

    def planes() -> Any:
        cv2.resize(alpha, u.shape[::-1], half, interpolation=cv2.INTER_AREA)
        return tuple(part() for part in parts)

    return {"resize, blendLinear by planes": planes}


def composite(
    frame: Any, background: Any, alpha: Any, guided: bool = False, clean: bool = False
) -> Calls:
    size = frame.shape[:2]
    large, grey = np.empty(size, np.float32), np.empty(size, np.uint8)
    blends = alpha_blend(frame, background, large)
    if clean:
        blends = {"blur, blendLinear": _clean(frame, background, large)}

    def over(blend: Any) -> Any:
        def call() -> Any:
            if guided:
                _guided(alpha, cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY, grey), large)
            else:
                cv2.resize(alpha, size[::-1], large)
            return blend()

        return call

    name = "guided filter" if guided else "resize"
    return {f"{name}, {blend}": over(call) for blend, call in blends.items()}


def composite_yuv(
    y: Any,
    u: Any,
    v: Any,
    back_y: Any,
    back_u: Any,
    back_v: Any,
    alpha: Any,
    guided: bool = False,
    clean: bool = False,
) -> Calls:
    large, half = np.empty(y.shape, np.float32), np.empty(u.shape, np.float32)
    planes = ((y, back_y, large), (u, back_u, half), (v, back_v, half))
    parts = [
        _clean(front, back, matte, RADII if front is y else HALF_RADII)
        if clean
        else alpha_blend(front, back, matte)["blendLinear"]
        for front, back, matte in planes
    ]

    def by_planes() -> Any:
        if guided:
            _guided(alpha, y, large)
        else:
            cv2.resize(alpha, y.shape[::-1], large)
        cv2.resize(large, u.shape[::-1], half, interpolation=cv2.INTER_AREA)
        return tuple(part() for part in parts)

    names = ["guided filter" if guided else "resize", *(["blur"] if clean else [])]
    return {f"{', '.join(names)}, blendLinear by planes": by_planes}


def _guided(alpha: Any, grey: Any, large: Any) -> None:
    """Fast guided filter (He and Sun): box means at the small size, a and b enlarged."""
    size = grey.shape[::-1]
    small = cv2.resize(grey, alpha.shape[::-1], interpolation=cv2.INTER_AREA)
    guide = small.astype(np.float32) / 255
    box = (5, 5)
    mean, mean_alpha = cv2.blur(guide, box), cv2.blur(alpha, box)
    variance = cv2.blur(guide * guide, box) - mean * mean
    slope = (cv2.blur(guide * alpha, box) - mean * mean_alpha) / (variance + 1e-4)
    offset = mean_alpha - slope * mean
    cv2.resize(cv2.blur(slope, box), size, large)
    cv2.multiply(large, grey, large, scale=1 / 255, dtype=cv2.CV_32F)
    cv2.add(large, cv2.resize(cv2.blur(offset, box), size), large)
    np.clip(large, 0, 1, out=large)


RADII, HALF_RADII = (90, 6), (45, 3)  # of blur fusion; at half the size


def foreground(frame: Any, alpha: Any, radii: tuple[int, int] = RADII) -> Calls:
    """Blur fusion in two passes, written with cv2.blur."""
    channels = (..., None) if frame.ndim == 3 else ...  # of a weight, beside those of the frame

    def estimate() -> Any:
        image, weight = frame.astype(np.float32), alpha[channels]
        inverse = 1 - weight
        fore = behind = image
        for radius in radii:
            blurred = cv2.blur(alpha, (radius, radius))[channels]
            f = cv2.blur(fore * weight, (radius, radius)) / (blurred + 1e-5)
            b = cv2.blur(behind * inverse, (radius, radius)) / (1 - blurred + 1e-5)
            fore, behind = f + weight * (image - weight * f - inverse * b), b
            np.clip(fore, 0, 255, out=fore)
        return np.where(weight >= 1, frame, np.rint(fore).astype(np.uint8))

    return {"blur": estimate}


def _clean(frame: Any, background: Any, alpha: Any, radii: tuple[int, int] = RADII) -> Any:
    estimate = foreground(frame, alpha, radii)["blur"]
    inverse, out = np.empty_like(alpha), np.empty_like(frame)
    one = np.ones_like(alpha)

    def call() -> Any:
        cv2.subtract(one, alpha, inverse)
        return cv2.blendLinear(estimate(), background, alpha, inverse, out)

    return call


def temporal_filter(previous: Any, current: Any, frame_delta: Any) -> Calls:
    planes = [np.empty(current.shape, np.uint8) for _ in range(3)]
    motion, moved = (np.empty(current.shape, np.uint8) for _ in range(2))
    keep, out = (np.empty(current.shape, np.float32) for _ in range(2))
    table, square = keep_of(), np.ones((3, 3), np.uint8)

    def filtered() -> Any:
        cv2.split(frame_delta, planes)
        cv2.max(planes[0], planes[1], planes[0])
        cv2.max(planes[0], planes[2], planes[0])
        cv2.compare(planes[0], 8, cv2.CMP_GT, moved)
        if 2 * cv2.countNonZero(moved) > current.size:
            np.copyto(out, current)
            return out
        cv2.dilate(planes[0], square, motion)
        cv2.LUT(motion, table, keep)
        cv2.subtract(previous, current, out)
        cv2.multiply(out, keep, out)
        return cv2.add(out, current, out)

    return {"split, max, dilate, LUT, multiply": filtered}
