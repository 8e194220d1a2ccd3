"""Kernels, whole networks and frames on a GPU: PyTorch eager and compiled beside TensorRT.

Kernels are timed at 2160p alone: what smaller frames hold fits a large GPU's second-level cache.
Then three questions, of networks with random weights, since only time is asked for:

* **network**: a tensor on the GPU to the heads there, by each runtime, in turns.
* **hybrid**: a 1080p frame on the GPU to its composite there, in two passes (GFM at 1/3 and 1/2,
  AIM at 1/4 and 1/2; MSIA has no glance that could come from another pass).
* **stream**: 1080p and 2160p frames from the CPU's memory to composites there, by
  ``Matter.frame_graph``: frames a second, and so how many streams of 30 frames a second one GPU
  keeps up with.

Nothing in this module has run on a GPU yet.
"""

from __future__ import annotations

import contextlib
import functools
import io
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import gpu_kernels, hardware, inputs, page
from benchmarks.kernel_times import chosen
from benchmarks.rounds import Statistics, interleave

# Network -> its options, and the two scales of a hybrid test.
NETWORKS: dict[str, tuple[dict[str, str], tuple[float, float] | None]] = {
    "GFM resnet34": ({"model": "gfm", "backbone": "resnet34", "rosta": "tt"}, (1 / 3, 1 / 2)),
    "AIM": ({"model": "aim"}, (1 / 4, 1 / 2)),
    "MSIA": ({"model": "msia"}, None),
}
SIZES = ((288, 512), (800, 800))
PRECISIONS = ("fp32", "fp16")
FRAME, LARGE = "1080p", "2160p"
MULTIPLE = 32
RUN = 60  # frames of a stream
RATE = 30


@dataclass(frozen=True)
class Row:
    """One runtime's times in seconds: of a run, or for a stream of each of its frames."""

    question: str
    network: str
    size: str
    precision: str
    runtime: str
    times: Statistics


def scaled(scale: float) -> tuple[int, int]:
    """Return the network size nearest to a scale of the frame."""
    height, width = inputs.SIZES[FRAME]
    sides = [max(1, round(side * scale / MULTIPLE)) * MULTIPLE for side in (height, width)]
    return sides[0], sides[1]


def built(name: str, precision: str, folder: Path) -> tuple[Path, list[str]]:
    """Build an engine of all sizes with a plan for each TensorRT that is here."""
    from matter_sdk.export.options import BuildOptions
    from matter_sdk.export.pipeline import run
    from matter_sdk.export.progress import Report
    from matter_sdk.export.stages import plans

    options, scales = NETWORKS[name]
    runtimes = [runtime for runtime in plans.MODULES if not plans.missing(runtime)]
    sizes = dict.fromkeys((*SIZES, *map(scaled, scales or ())))
    asked = BuildOptions(
        **options,  # type: ignore[arg-type]
        random_weights=True,
        sizes=tuple(sizes),
        precision=precision,
        targets=("onnx", *runtimes),
        output=folder / f"{options['model']}-{precision}.engine",
    )
    return run(asked.resolve(), report=Report(io.StringIO())), runtimes


def torch_calls(name: str, precision: str, image: Any) -> dict[str, Callable[[], Any]]:
    """PyTorch eager and compiled, as its documentation advises for inference; ``image`` is
    CuPy's."""
    import torch

    from matter_sdk.training import networks

    options, _ = NETWORKS[name]
    create = {key: value for key, value in options.items() if key != "model"}
    network: Any = networks.create(options["model"], **create).eval().cuda()
    network = network.to(memory_format=torch.channels_last)
    # Its convolutions would be TF32, which ours are not.
    torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]
    half = torch.float16 if precision == "fp16" else None
    tensor = torch.from_dlpack(image)

    def caller(run: Callable[[Any], Any]) -> Callable[[], Any]:
        def call() -> None:
            with torch.inference_mode(), torch.autocast("cuda", half, enabled=half is not None):
                run(tensor)
            torch.cuda.synchronize()

        return call

    compiled = torch.compile(network, mode="reduce-overhead")
    return {"PyTorch eager": caller(network), "PyTorch compiled": caller(compiled)}


def network_rows(
    name: str, precision: str, engine: Path, runtimes: Sequence[str], budget: float
) -> Iterator[Row]:
    """Time a tensor on the GPU to the heads there."""
    import cupy

    from matter_sdk.sdk import Matter

    for size in SIZES:
        image = cupy.random.uniform(0, 255, (1, 3, *size), dtype=cupy.float32)
        cupy.cuda.Device().synchronize()
        with contextlib.ExitStack() as opened:
            calls = torch_calls(name, precision, image)
            for runtime in runtimes:
                matter = opened.enter_context(Matter(engine, backend=runtime, size=size))
                calls[runtime] = functools.partial(matter._network.load(size).run, image)
            for runtime, times in interleave(calls, budget).items():
                yield Row("network", name, _text(size), precision, runtime, times.steady)


def hybrid_rows(
    name: str, precision: str, engine: Path, runtimes: Sequence[str], budget: float
) -> Iterator[Row]:
    """Time a frame on the GPU to its composite there, in two passes."""
    import cupy

    from matter_sdk.sdk import Matter

    _, scales = NETWORKS[name]
    if scales is None or not runtimes:
        return
    frame = cupy.asarray(inputs.frame(*inputs.SIZES[FRAME]))
    with contextlib.ExitStack() as opened:
        calls: dict[str, Callable[[], Any]] = {}
        for runtime in runtimes:
            matter = opened.enter_context(Matter(engine, backend=runtime, hybrid=scales))

            def call(matter: Matter = matter) -> None:
                matter(frame).gpu().over("green")
                cupy.cuda.get_current_stream().synchronize()

            calls[runtime] = call
        for runtime, times in interleave(calls, budget).items():
            yield Row("hybrid", name, FRAME, precision, runtime, times.steady)


def stream_rows(
    name: str, precision: str, engine: Path, runtimes: Sequence[str], budget: float
) -> Iterator[Row]:
    """Time ``RUN`` frames from the CPU's memory to composites there; a frame's share."""
    if not runtimes:
        return
    for size in (FRAME, LARGE):
        yield from _streamed(name, precision, engine, runtimes, budget, size)


def _streamed(
    name: str, precision: str, engine: Path, runtimes: Sequence[str], budget: float, size: str
) -> Iterator[Row]:
    from matter_sdk.sdk import Matter

    frames = [inputs.frame(*inputs.SIZES[size], seed=seed) for seed in range(4)]
    with contextlib.ExitStack() as opened:
        calls: dict[str, Callable[[], Any]] = {}
        for runtime in runtimes:
            matter = opened.enter_context(Matter(engine, backend=runtime, size=SIZES[0]))
            graph: Any = matter.frame_graph(frames[0], "green")
            opened.callback(graph.close)

            def call(graph: Any = graph) -> None:
                for at in range(RUN):
                    graph.submit(frames[at % len(frames)])
                    if graph.waiting == graph.DEPTH:
                        graph.result()
                while graph.waiting:
                    graph.result()

            calls[runtime] = call
        for runtime, times in interleave(calls, budget).items():
            share = {key: value / RUN for key, value in asdict(times.steady).items()}
            each = Statistics(**share | {"count": times.steady.count})
            yield Row("stream", name, size, precision, runtime, each)


def table(rows: Sequence[Row]) -> str:
    """Write all rows, with frames a second, and streams where that was asked."""
    head = ("question", "network", "size", "precision", "runtime", "ms", "p10", "p90")
    lines = []
    for row in rows:
        times = row.times
        fps = 1 / times.median
        streams = str(int(fps // RATE)) if row.question == "stream" else ""
        what = (row.question, row.network, row.size, row.precision, row.runtime)
        ms = (f"{1e3 * value:.2f}" for value in (times.median, times.p10, times.p90))
        lines.append((*what, *ms, f"{fps:.0f}", streams))
    return page.table((*head, "frames/s", f"streams at {RATE}"), lines)


def report(budget: float, output: Path, given: Sequence[str]) -> list[Path]:
    """Measure and write the page; returns the files, none where there is no GPU."""
    missing = gpu_kernels.why_not()
    if missing:
        print(missing)
        return []
    facts = hardware.begin(given) | {"gpu": gpu_kernels.name()}
    rows: list[Row] = []
    kernels: list[gpu_kernels.GpuRow] = []
    failed: list[str] = []
    for case, size in chosen("", [LARGE]):
        print(f"{case.name}, {size}", file=sys.stderr, flush=True)
        try:
            kernels.append(gpu_kernels.measure(case, size))
        except Exception as error:  # noqa: BLE001 - what was measured before is kept
            failed.append(f"{case.name}: {type(error).__name__}: {error}")
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            for precision in PRECISIONS:
                what = f"{name}, {precision}"
                print(what, file=sys.stderr, flush=True)
                try:
                    engine, runtimes = built(name, precision, Path(folder))
                    for runtime, reason in refused(engine, runtimes).items():
                        failed.append(f"{what}, {runtime}: {reason}")
                        runtimes.remove(runtime)
                    for question in (network_rows, hybrid_rows, stream_rows):
                        rows += question(name, precision, engine, runtimes, budget)
                    engine.unlink()
                except Exception as error:  # noqa: BLE001 - what was measured before is kept
                    failed.append(f"{what}: {type(error).__name__}: {error}")
    notes = "\n".join(f"* Not measured: {line}" for line in failed)
    text = "\n\n".join([gpu_kernels.table(kernels), table(rows), notes])
    data = {
        "rows": [asdict(row) for row in rows],
        "kernels": [asdict(row) for row in kernels],
        "failed": failed,
    }
    return page.write(output, "gpu", facts, text, data)


def refused(engine: Path, runtimes: Sequence[str]) -> dict[str, str]:
    """The runtimes that cannot run an engine here, with the reason."""
    from matter_sdk.sdk import BackendError, Matter

    reasons = {}
    for runtime in runtimes:
        try:
            Matter(engine, backend=runtime).close()
        except BackendError as error:
            reasons[runtime] = str(error)
    return reasons


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"
