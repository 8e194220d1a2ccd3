from collections.abc import Sequence
from typing import Any

from numpy import float32, uint8, uint16, uint32
from numpy.typing import NDArray

openmp: bool

def instructions() -> tuple[str, ...]: ...
def processor_name() -> str: ...
def preprocess(
    planes: list[NDArray[uint8]],
    out: NDArray[Any],
    linear: bool,
    swap: bool,
    colour: tuple[float, ...] | None,
    mean: tuple[float, float, float],
    inverse_std: tuple[float, float, float],
    plain: bool = False,
) -> None: ...
def fuse_float(
    glance: NDArray[float32], focus: NDArray[float32], alpha: NDArray[float32], rosta: int
) -> None: ...
def fuse_half(
    glance: NDArray[uint16], focus: NDArray[uint16], alpha: NDArray[uint16], rosta: int
) -> None: ...
def fuse_float_at_size(
    glance: NDArray[float32],
    focus: NDArray[float32],
    alpha: NDArray[float32],
    rosta: int,
    height: int,
    width: int,
) -> None: ...
def fuse_half_at_size(
    glance: NDArray[uint16],
    focus: NDArray[uint16],
    alpha: NDArray[uint16],
    rosta: int,
    height: int,
    width: int,
) -> None: ...
def floats_to_halves(values: NDArray[float32], bits: NDArray[uint16]) -> None: ...
def alpha_blend_bytes(
    foreground: NDArray[uint8],
    background: NDArray[uint8],
    alpha: NDArray[float32],
    out: NDArray[uint8],
    premultiplied: bool,
) -> None: ...
def alpha_blend_floats(
    foreground: NDArray[float32],
    background: NDArray[float32],
    alpha: NDArray[float32],
    out: NDArray[float32],
    premultiplied: bool,
) -> None: ...
def alpha_blend_linear(
    foreground: NDArray[uint8],
    background: NDArray[uint8],
    alpha: NDArray[float32],
    out: NDArray[uint8],
    light: NDArray[float32],
    codes: NDArray[uint8],
    steps: NDArray[float32],
) -> None: ...
def alpha_blend_planes(
    foreground: Sequence[NDArray[uint8]],
    background: Sequence[NDArray[uint8]],
    alpha: NDArray[float32],
    out: Sequence[NDArray[uint8]],
) -> None: ...

# ---- pooling

def max_pool_float(
    x: NDArray[float32],
    values: NDArray[float32],
    offsets: NDArray[uint8],
    window: int,
    plain: bool = False,
) -> None: ...
def max_pool_half(
    x: NDArray[uint16],
    values: NDArray[uint16],
    offsets: NDArray[uint8],
    window: int,
    plain: bool = False,
) -> None: ...
def max_unpool_float(
    x: NDArray[uint32], offsets: NDArray[uint8], out: NDArray[uint32], window: int
) -> None: ...
def max_unpool_half(
    x: NDArray[uint16], offsets: NDArray[uint8], out: NDArray[uint16], window: int
) -> None: ...

# ---- foreground

def foreground(frame: NDArray[uint8], alpha: NDArray[float32], out: NDArray[uint8]) -> None: ...

# ---- composite

def composite(
    frame: NDArray[uint8],
    background: NDArray[uint8],
    alpha: NDArray[float32],
    guided: bool,
    clean: bool,
    out: NDArray[uint8],
    alpha_out: NDArray[float32] | None,
) -> None: ...
def composite_planes(
    frame: Sequence[NDArray[uint8]],
    background: Sequence[NDArray[uint8]],
    alpha: NDArray[float32],
    guided: bool,
    clean: bool,
    out: Sequence[NDArray[uint8]],
    alpha_out: NDArray[float32] | None,
) -> None: ...

# ---- temporal

def temporal_filter(
    previous: NDArray[float32],
    current: NDArray[float32],
    delta: NDArray[uint8],
    out: NDArray[float32],
) -> None: ...
