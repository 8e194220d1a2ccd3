"""A matte that stands still where the picture does."""

from __future__ import annotations

from typing import Any

import numpy as np

from matter_sdk.kernels import _arrays
from matter_sdk.kernels.spec import KernelError


def temporal_filter(
    previous: Any, current: Any, frame_delta: Any, *, out: Any = None, stream: Any = None
) -> Any:
    """Steady a matte over time where the picture stands still (a motion-gated recursive filter).

        motion = largest frame_delta of the pixel and its eight neighbours
        keep = 0.8 · clamp((8 − motion) / (8 − 4), 0, 1)
        result = current + keep · (previous − current)

    A network's matte trembles on a picture that does not; the mean over time takes that away, and
    the gate keeps it from smearing a subject that moves: from 8 levels of change on, the result is
    exactly `current`. The neighbourhood lets the soft rim of a moving edge count as moving.

    The constants were chosen on synthetic clips of 1280×720 at the network's 512×288; the bounds
    are held by tests/kernels/test_temporal.py. Noise with a standard deviation of 1 and 2 levels in
    the camera leaves the gate shut, of 3 it moves it a little on one pixel in ten, and the
    independent errors of each frame tremble 6.4 and 5.8 times less. A rim of 16 levels of contrast
    that moves by 5 pixels of the camera's lags by 0.02 of alpha. What moves less than the camera's
    noise cannot be told from it: a rim of 8 levels that moves by 2 pixels lags by 0.24.

    The filter starts anew, with `current`, where `previous` is None or of another size, and on a
    cut: more than half of all pixels changed by more than 8. A NaN in `previous` gives `current`; a
    NaN in `current` gives 0, background, so that the result never holds one.

    Args:
        previous: the last result, float32 h×w, or None for the first frame.
        current: the new alpha, float32 h×w.
        frame_delta: uint8 h×w or h×w×3, how much the frame differs from the last one:
            ``cv2.absdiff`` of the two, reduced to the matte's size (averaged, as
            ``cv2.INTER_AREA``, which takes the noise down too). Of three channels the largest
            difference counts. It is looked at for the first frame as well; zeros will do there.
        out: a C-contiguous float32 array h×w to write into; may be `previous` or `current`.
        stream: for arrays on a GPU, the stream to run on; else None.

    Returns:
        alpha float32 h×w, between `previous` and `current`; `out` itself if it was given.

    Raises:
        KernelError: a dtype or shape other than these, or arrays on two devices.
    """
    if frame_delta is None:
        raise KernelError(
            "frame_delta is None, expected uint8 h×w or h×w×3: pass zeros for the first frame"
        )
    place = _arrays.target(
        stream, previous=previous, current=current, frame_delta=frame_delta, out=out
    )
    now, delta = _matte(place.view(current), "current"), place.view(frame_delta)
    shape = tuple(now.shape)
    before = now if previous is None else _matte(place.view(previous), "previous")
    if tuple(before.shape) != shape:
        before = now
    _arrays.check_dtype(
        "frame_delta",
        delta,
        np.uint8,
        remedy="take the absolute difference of two 8-bit frames: cv2.absdiff",
    )
    if tuple(delta.shape) not in (shape, (*shape, 3)):
        raise KernelError(
            f"frame_delta is {_arrays.text(delta.shape)}, expected {_arrays.text(shape)} or "
            f"{_arrays.text((*shape, 3))} beside current: reduce both frames to the matte's size "
            "before their difference is taken"
        )
    if delta.ndim == 2:
        delta = delta[..., None]
    with place.on(current, stream):
        result, view = _arrays.output(place, out, shape, np.float32)
        place.temporal_filter(
            _arrays.rows_contiguous(place, before, 1),
            _arrays.rows_contiguous(place, now, 1),
            _arrays.rows_contiguous(place, delta, 2),
            view,
        )
    return result


def _matte(view: Any, name: str) -> Any:
    _arrays.check_matte(name, view)
    if view.ndim != 2:
        raise KernelError(
            f"{name} is {_arrays.text(view.shape)}, expected H×W: filter the mattes of a video "
            "one by one, for example alpha[0, 0]"
        )
    _arrays.check_not_empty(name, view)
    return view
