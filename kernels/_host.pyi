from numpy import float32, uint8, uint16
from numpy.typing import NDArray

openmp: bool

def preprocess(
    frame: NDArray[uint8],
    out: NDArray[float32],
    swap: bool,
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
def floats_to_halves(values: NDArray[float32], bits: NDArray[uint16]) -> None: ...
def alpha_blend(
    foreground: NDArray[uint8],
    background: NDArray[uint8],
    alpha: NDArray[float32],
    out: NDArray[uint8],
) -> None: ...

# ---- pooling

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

# ---- temporal
