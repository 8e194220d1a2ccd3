"""Collaborative matting: the glance and focus decoders' answers become one alpha matte."""

from __future__ import annotations

from typing import Any

import numpy as np

from matter_sdk.kernels import _arrays
from matter_sdk.kernels.spec import ROSTAS, KernelError


def collaborative_fusion(
    glance: Any,
    focus: Any,
    rosta: str,
    *,
    size: tuple[int, int] | None = None,
    glance_size: tuple[int, int] | None = None,
    out: Any = None,
    stream: Any = None,
) -> Any:
    """Fuse the semantic answer (glance) with the detail (focus) to alpha.

    With the classes 0 background, 1 transition, 2 foreground, the rule for "tt" and "unified" is
    alpha = focus where the transition is the likeliest, 1 where the foreground is, 0 where the
    background is. For "ft" (class 1 the plain foreground) it is min(1, argmax + focus), for "bt"
    (class 1 all but the plain background, and the focus 1 − alpha in the transition)
    max(0, argmax − focus). Ties go to the lowest class; a class whose probability is NaN never
    wins. A NaN in `focus` stays NaN where focus is taken (and `alpha_blend` shows the background
    there).

    The heads may come from two passes at two scales (hybrid-resolution test). The arg-max is then
    taken at the glance's own size, and both its map of classes and the focus are brought to the
    output's: interpolated between pixel centres where an axis grows, averaged over the footprint
    where it shrinks. For "tt" and "unified" alpha is 0 where the map is nothing but background, 1
    where it is nothing but foreground, and the focus everywhere between; for "ft" and "bt" the
    interpolated mask stands for the arg-max. A NaN in `focus` reaches the pixels that are made of
    it. The result is the same on the CPU and on a GPU.

    A network may hand out its glance before the last enlargement, as logits: with `glance_size`
    their values are interpolated to that size, and the arg-max is taken there. That is what a
    bilinear enlargement (between pixel centres) and a softmax at the end of the network would give,
    since a softmax changes no order.

    Args:
        glance: float32 or float16 N×C×h₁×w₁, probabilities (or logits, as only their order counts)
            of C = 3 classes for "tt" and "unified", C = 2 for "ft" and "bt".
        focus: N×1×h₂×w₂ of the same dtype, in 0..1.
        rosta: the representation of semantics and transition areas: "tt", "ft", "bt", "unified".
        size: height and width of the result; by default the focus's.
        glance_size: height and width at which the glance's classes are told, neither below its own;
            by default its own.
        out: a C-contiguous array N×1×height×width of the same dtype to write into; may be `focus`.
        stream: for arrays on a GPU, the stream to run on; else None.

    Returns:
        alpha N×1×height×width of the same dtype; `out` itself if it was given.

    Raises:
        KernelError: an unknown rosta, a dtype, shape or size other than these, arrays on two
            devices.

    Papers: Bridging Composite and Real: Towards End-to-end Deep Image Matting, IJCV 2022,
    section 3.4 and "Hybrid-resolution Test" in the experiments; Deep Automatic Natural Image
    Matting, IJCAI 2021, for "unified".
    """
    place = _arrays.target(stream, glance=glance, focus=focus, out=out)
    _arrays.check_choice("rosta", rosta, tuple(ROSTAS))
    classes, detail = place.view(glance), place.view(focus)
    _arrays.check_dtype(
        "glance",
        classes,
        np.float32,
        np.float16,
        remedy="convert both heads, for example with .astype('float32')",
    )
    if classes.ndim != 4 or classes.shape[1] != ROSTAS[rosta].classes:
        raise KernelError(
            f"glance is {_arrays.text(classes.shape)}, expected N×{ROSTAS[rosta].classes}×H×W for "
            f"rosta {rosta!r}: check that the rosta is the one that the network was trained with"
        )
    _arrays.check_not_empty("glance", classes)
    _arrays.check_dtype(
        "focus", detail, classes.dtype.type, remedy="both heads have one dtype: convert one"
    )
    count = classes.shape[0]
    if detail.ndim != 4 or tuple(detail.shape[:2]) != (count, 1):
        raise KernelError(
            f"focus is {_arrays.text(detail.shape)}, expected {count}×1×H×W beside "
            f"glance {_arrays.text(classes.shape)}: pass both heads of the same frames"
        )
    _arrays.check_not_empty("focus", detail)
    for name, head in (("glance", classes), ("focus", detail)):
        _arrays.check_sides(name, head.shape[2:])
    if size is None:
        height, width = detail.shape[2:]
    else:
        height, width = _arrays.check_size(size, "give the size that alpha is wanted at")
    told = tuple(map(int, classes.shape[2:]))
    if glance_size is not None:
        told = _arrays.check_size(glance_size, "give the size of the network's input")
        if told[0] < classes.shape[2] or told[1] < classes.shape[3]:
            raise KernelError(
                f"glance_size is {_arrays.text(told)} and glance {_arrays.text(classes.shape)}, "
                f"expected a size no smaller than the glance: give that of the network's input"
            )
    with place.on(glance, stream):
        result, view = _arrays.output(place, out, (count, 1, height, width), classes.dtype)
        place.fuse(place.contiguous(classes), place.contiguous(detail), view, rosta, told)
    return result
