"""The kernels on a GPU: CUDA events around each, beside a copy of the same bytes on the device.

Python takes longer to launch a small kernel than the GPU to run it, so several calls are captured
in a CUDA graph, and the events stand around that. Nothing in this module has run on a GPU yet.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks import inputs, page
from benchmarks.cases import Case, Contest

ROUNDS = 50
BURST = 20  # calls between two events


@dataclass(frozen=True)
class GpuRow:
    """A kernel at a size on a GPU; times are medians in seconds."""

    case: str
    size: str
    moved: int
    ours: float
    copy: float
    launches: int
    torch: float | None = None


def why_not() -> str:
    """Say why nothing can be measured here; otherwise an empty string."""
    try:
        import cupy
    except ImportError:
        return "GPU: not measured (CuPy is not installed)"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError:
        count = 0
    return "" if count else "GPU: not measured (no CUDA device)"


def name() -> str:
    """Return the current device's name."""
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    return str(properties["name"].decode())


@contextmanager
def counted() -> Iterator[list[str]]:
    """Collect the names of the kernels that are launched inside."""
    from matter_sdk.kernels import _cuda

    launched: list[str] = []
    launch = _cuda._launch

    def counting(
        module: str, kernel: str, pixels: int, planes: int, arguments: tuple[Any, ...]
    ) -> None:
        launched.append(kernel)
        launch(module, kernel, pixels, planes, arguments)

    _cuda._launch = counting
    try:
        yield launched
    finally:
        _cuda._launch = launch


def captured(call: Callable[[], Any], stream: Any) -> Callable[[], None]:
    """Capture a burst of `call` as one graph on the current stream."""
    call()
    stream.synchronize()
    stream.begin_capture()
    for _ in range(BURST):
        call()
    graph = stream.end_capture()
    return lambda: graph.launch(stream)


def seconds(bursts: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Time the bursts in turns, by events on the current stream; medians of a single call."""
    import cupy

    times: dict[str, list[float]] = {key: [] for key in bursts}
    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    for burst in bursts.values():
        burst()
    for _ in range(ROUNDS):
        for key, burst in bursts.items():
            begin.record()
            burst()
            end.record()
            end.synchronize()
            times[key].append(cupy.cuda.get_elapsed_time(begin, end) / 1e3 / BURST)
    return {key: statistics.median(values) for key, values in times.items()}


def torch_unpool(contest: Contest) -> Callable[[], Any] | None:
    """Return a burst of ``max_unpool2d`` on the current stream, where torch has CUDA."""
    try:
        import torch
    except ImportError:
        return None
    if contest.baseline != "max_unpool" or not torch.cuda.is_available():
        return None
    import cupy

    from benchmarks.baselines.indices import flat

    stream = torch.cuda.ExternalStream(cupy.cuda.get_current_stream().ptr)
    values = torch.from_numpy(contest.arrays["x"]).cuda()
    indices = torch.from_numpy(flat(contest.arrays["offsets"], contest.options["window"])).cuda()

    def call() -> None:
        with torch.cuda.stream(stream):
            for _ in range(BURST):
                torch.nn.functional.max_unpool2d(values, indices, [2, 2], [2, 2])

    return call


def measure(case: Case, size: str) -> GpuRow:
    """Time one case at one size."""
    import cupy

    contest = case.make(inputs.SIZES[size])
    arrays = {key: cupy.asarray(array) for key, array in contest.arrays.items()}
    with counted() as launched:
        out = contest.call(**arrays, **contest.options)
    source = cupy.ones(contest.moved // 2, cupy.uint8)
    target = cupy.empty_like(source)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        cupy.cuda.Device().synchronize()
        bursts: dict[str, Callable[[], Any]] = {
            "ours": captured(lambda: contest.call(**arrays, **contest.options, out=out), stream),
            "copy": captured(lambda: cupy.copyto(target, source), stream),
        }
        unpool = torch_unpool(contest)
        if unpool is not None:
            bursts["torch"] = unpool
        times = seconds(bursts)
    return GpuRow(
        case.name, case.fixed or size, contest.moved, times["ours"], times["copy"], len(launched),
        times.get("torch"),
    )  # fmt: skip


def rows(chosen: Sequence[tuple[Case, str]]) -> list[GpuRow]:
    """Time every case."""
    return [measure(case, size) for case, size in chosen]


def table(rows: Sequence[GpuRow]) -> str:
    """Write all rows as Markdown."""
    head = ["kernel", "size", "ms", "GB/s", "of copy", "launches", "torch max_unpool2d"]
    lines = [
        [
            row.case,
            row.size,
            f"{row.ours * 1e3:.3g}",
            f"{row.moved / row.ours / 1e9:.0f}",
            f"{row.copy / row.ours:.0%}",
            str(row.launches),
            "" if row.torch is None else f"{row.torch / row.ours:.2g}×",
        ]
        for row in rows
    ]
    return page.table(head, lines)
