"""Compare every artefact that can run here with the PyTorch network.

Both get the same preprocessed tensors. The network fuses its own alpha; an artefact's heads are
fused by ``kernels.collaborative_fusion``, as in the SDK. The network's alpha is the ground truth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from matter_sdk.export import cpu_backends, examples
from matter_sdk.export.bounds import MAD_BOUND, RANDOM_FACTOR, SHARE_BOUND
from matter_sdk.export.errors import BuildError
from matter_sdk.export.options import FULL
from matter_sdk.export.stages import Built, Context, Size, Sized, Subject, discard, plans, text
from matter_sdk.sdk.backends import ORDER
from matter_sdk.sdk.engine.manifest import CPU_ARITHMETIC, FUSIONS, Verification
from matter_sdk.sdk.errors import MatterError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from matter_sdk.export.examples import Inputs
    from matter_sdk.sdk.engine.file import EngineFile
    from matter_sdk.sdk.engine.manifest import Manifest, ModelEntry

    Run = Callable[..., Mapping[str, Any]]  # the network's inputs in their order → heads by name

# Relative SAD assumes a mean alpha of at least this.
_LEAST_ALPHA = 0.01
# What the table calls them.
_ARITHMETIC = {"float16 weights": "float32", "bfloat16 (auto)": "bfloat16"}
# The largest difference of a head in float32. It finds a wrong operator or a shifted edge, which a
# mean hides. Not for heads that jump: AIM's focus, where the last bits decide which pixel a
# max-pool takes (0.3 measured), and alphas fused inside the network (GFM's RIM and ensemble).
HEADS_BOUND = 1e-3
_JUMPING = {("aim", "focus"), ("gfm", "alpha")}

# Two classes whose probabilities are this close are a tie in half precision. With many ties, alpha
# is arbitrary: the weights are random or saturated.
TIE, MANY_TIES = 1e-4, 0.1


@dataclass(frozen=True)
class Reference:
    """What the PyTorch network answers, one entry a run.

    Attributes:
        network: its name.
        size: height and width.
        fusion: how its heads make alpha.
        tensors: its inputs in their order, float32 batch×C×H×W each.
        heads: by name, float32 batch×C×H×W.
        answers: what is compared: alpha, batch×1×H×W, or a classifier's activation maps.
        ties: share of the pixels where two glance classes tie.
    """

    network: str
    size: tuple[int, int]
    fusion: str
    tensors: tuple[Inputs, ...]
    heads: tuple[Mapping[str, NDArray[np.float32]], ...]
    answers: tuple[NDArray[np.float32], ...]
    ties: float = 0.0


def refer(context: Context, subject: Subject, size: Size) -> Reference:
    """Run the PyTorch network on the verification pictures at one size.

    Raises:
        BuildError: see :func:`reference`.
    """
    with context.report.stage(f"PyTorch reference{subject.label(size)}") as stage:
        single = subject.inputs(size)
        stage.note = f"{len(single)} verification images"
        return reference(subject.network, examples.batched(single, subject.batch), size)


def verify(context: Context, file: EngineFile, built: Built) -> Built:
    """Verify each size on the engine's own backends, and time those of the CPU.

    Returns:
        ``built`` with verification and timings in its manifest, passed or failed.
    """
    steady = not built.manifest.weights.random
    entries: list[Verification] = []
    models: list[ModelEntry] = []
    for sized in built.sized:
        found = list(_judged_artefacts(context, file, built.manifest, sized, steady=steady))
        entries += found
        models.append(_timed(context, file, sized, found))
    manifest = dataclasses.replace(
        built.manifest, models=tuple(models), verification=tuple(entries)
    )
    return dataclasses.replace(built, manifest=manifest)


def _judged_artefacts(
    context: Context, file: EngineFile, manifest: Manifest, sized: Sized, *, steady: bool
) -> Iterator[Verification]:
    options, entry, label = context.options, sized.entry, sized.label
    kinds = {"fp32": "float32", "tf32": "tf32", "fp16": "float16", "bf16": "bfloat16"}
    half = kinds[options.precision]
    if sized.emulation is not None:
        with context.report.stage(f"verify {half} graph{label}") as stage:
            run = session(sized.emulation)
            one = compare(f"{half} graph", half, run, sized.truth, steady=steady)
            stage.note = one.status
            del run
        discard(sized.emulation)
        yield one
    stored = "float32" if options.precision in FULL else "float16 weights"
    on_gpu = {*plans.MODULES, *(["onnxruntime-cuda"] if half == "tf32" else [])}
    runtimes = {plan.runtime for plan in manifest.plans}
    names = [name for name in ORDER if name not in plans.MODULES or name in runtimes]
    judged = [(name, half if name in on_gpu else stored) for name in reversed(names)]
    bfloat16 = cpu_has_bfloat16()
    judged += [("openvino", "bfloat16 (auto)")] if bfloat16 else []
    if entry.int8 is not None:
        judged += [("onnxruntime", "int8"), ("openvino", "int8")]
        judged += [("openvino", "int8 bfloat16")] if bfloat16 else []
    for name, precision in judged:
        kind = "" if precision in (stored, half) else f" {precision.removesuffix(' (auto)')}"
        with context.report.stage(f"verify {name}{kind}{label}") as stage:
            one = backend(file, entry, name, precision, sized.truth, steady=steady)
            if one.status == "failed" and _optional(one):
                one = dataclasses.replace(one, reason=f"{one.reason}; not used")
            stage.note = one.status
        yield one


def _timed(
    context: Context, file: EngineFile, sized: Sized, entries: Sequence[Verification]
) -> ModelEntry:
    """The manifest's entry, with what the CPU backends that passed take."""
    entry = sized.entry
    choices = [
        (one.artefact, one.precision)
        for one in entries
        if one.status == "passed" and one.artefact in CPU_ARITHMETIC
    ]
    if not choices:
        return entry
    with context.report.stage(f"time CPU backends{sized.label}") as stage:
        measured = cpu_backends.measure(file, entry, choices, sized.truth.tensors[0])
        best, *others = (f"{x.backend} {x.arithmetic} {x.ms:.1f} ms" for x in measured.timings)
        stage.note = best
    if others:
        context.report.line(f"  not {', '.join(others)}")
    brief = cpu_backends.prefers(measured, "openvino", "bfloat16")
    return dataclasses.replace(
        entry, measured=measured, cpu_precision="bfloat16" if brief else "float32"
    )


def check_passed(context: Context, built: Mapping[str, Built]) -> None:
    """Check that every artefact is within its limits.

    Raises:
        BuildError: naming those that are not, and the remedy.
    """
    failed = {
        f"{part + ' ' if part else ''}{entry.artefact} {text(entry.size)} ({entry.precision}): "
        f"{entry.reason}": entry
        for part, network in built.items()
        for entry in network.manifest.verification
        if entry.status == "failed" and not _optional(entry)
    }
    if not failed:
        return
    ties = max(sized.truth.ties for network in built.values() for sized in network.sized)
    options = context.options
    if ties > MANY_TIES:
        remedy = (
            f"The network's glance classes tie at {ties:.0%} of the pixels, so its matte is "
            "arbitrary in any arithmetic: use trained --weights"
        )
    elif any("int8" in entry.precision for entry in failed.values()):
        remedy = "Build without --int8, or give frames like yours with --calibrate"
    elif options.precision == "fp32":
        remedy = "Try another --opset"
    else:
        remedy = f"Build without --{options.precision}"
    raise BuildError(f"verification: {'; '.join(failed)}; nothing was written. {remedy}")


def _optional(entry: Verification) -> bool:
    """Whether it may fail: bfloat16 on a CPU is then not used, and the build goes on."""
    return entry.artefact == "openvino" and "bfloat16" in entry.precision


def reference(network: nn.Module, tensors: Sequence[Inputs], size: tuple[int, int]) -> Reference:
    """Run the network on each of ``tensors``, its inputs of batch×C×H×W.

    Raises:
        BuildError: it answers with NaN or infinity.
    """
    subject: Any = network
    fusion = str(subject.fusion)
    judged = fusion if fusion in FUSIONS[fusion] else "alpha"
    heads, answers, ties = [], [], []
    with torch.inference_mode():
        for inputs in tensors:
            outputs = network(*map(torch.from_numpy, inputs))
            for name, value in outputs.items():
                if not value.isfinite().all():
                    raise BuildError(
                        f"PyTorch's {name} holds NaN or infinity; expected finite answers. The "
                        f"weights are damaged or their training has diverged: take others"
                    )
            heads.append({name: outputs[name].numpy() for name in subject.heads})
            answers.append(outputs[judged].numpy())
            glances = [value.numpy() for name, value in outputs.items() if "glance" in name]
            ties.append(_ties(glances))
    return Reference(
        subject.name,
        size,
        fusion,
        tuple(tensors),
        tuple(heads),
        tuple(answers),
        float(np.mean(ties)),
    )


def compare(
    artefact: str, precision: str, run: Run, truth: Reference, *, steady: bool = True
) -> Verification:
    """Compare an artefact with the reference.

    Args:
        artefact: its name in the table.
        precision: a key of ``MAD_BOUND``'s entries, or of ``SHARE_BOUND``.
        run: takes the network's inputs, returns its heads by name.
        truth: the PyTorch network's answers.
        steady: False for random weights: see ``RANDOM_FACTOR``.
    """
    from matter_sdk.training.evaluation.metrics import evaluate

    shown = _ARITHMETIC.get(precision, precision)
    bound = _bound(precision, truth, steady)
    totals: dict[str, float] = {}
    largest = worst_head = 0.0
    count = 0
    for inputs, heads, answer in zip(truth.tensors, truth.heads, truth.answers, strict=True):
        received = {name: np.asarray(value) for name, value in run(*inputs).items()}
        # The semantic trimap scales a picture's activation maps to 0..1 by their range.
        scale = float(np.ptp(answer)) if truth.fusion == "cam" else 1.0
        for name, expected in heads.items():
            if not np.isfinite(received[name]).all():
                reason = f"{name} holds NaN or infinity"
                return Verification(artefact, truth.size, shown, "failed", reason, bound=bound)
            difference = np.abs(_finished(received[name], expected.shape) - expected)
            if (truth.network, name) not in _JUMPING:
                worst_head = max(worst_head, float(difference.max()) / scale)
        predicted = _judged(received, truth.fusion)
        largest = max(largest, float(np.abs(predicted - answer).max()) / scale)
        for one, other in zip(predicted, answer, strict=True):
            count += 1
            if truth.fusion == "cam":
                values = {"mad": float(np.abs(one - other).mean()) / scale}
            else:
                values = evaluate(one[0], other[0])
            for key, value in values.items():
                totals[key] = totals.get(key, 0.0) + value
    means = {
        key: totals[key] / count for key in ("sad", "mse", "mad", "grad", "conn") if key in totals
    }
    part = None if truth.fusion == "cam" else means["sad"] / _scale(truth)
    measured = {"mad": means["mad"], "heads": worst_head, "share": part or 0.0}
    over = [
        f"{name} {measured[name]:.1e} is over {most:.0e}"
        for name, most in bound.items()
        if not measured[name] <= most
    ]
    return Verification(
        artefact,
        truth.size,
        shown,
        "failed" if over else "passed",
        "; ".join(over),
        largest=largest,
        share=part,
        bound=bound,
        **means,
    )


def share(run: Run, truth: Reference) -> float:
    """Return an artefact's relative SAD: see ``SHARE_BOUND``."""
    sad = 0.0
    for inputs, answer in zip(truth.tensors, truth.answers, strict=True):
        heads = {name: np.asarray(value) for name, value in run(*inputs).items()}
        sad += float(np.abs(_judged(heads, truth.fusion) - answer).sum(dtype=np.float64)) / 1e3
    return sad / sum(map(len, truth.answers)) / _scale(truth)


def share_bound(precision: str, *, steady: bool = True) -> float:
    """Return the limit on the relative SAD; at most 1 with random weights."""
    return SHARE_BOUND[precision] if steady else min(1.0, SHARE_BOUND[precision] * RANDOM_FACTOR)


def _scale(truth: Reference) -> float:
    """The sum of alpha in thousands, as SAD is counted; mean over the pictures."""
    mean = float(np.mean([answer.mean(dtype=np.float64) for answer in truth.answers]))
    return max(mean, _LEAST_ALPHA) * truth.answers[0][0].size / 1e3


def _judged(heads: Mapping[str, NDArray[np.float32]], fusion: str) -> NDArray[np.float32]:
    """Alpha as the SDK fuses it, or the head that is the network's result."""
    from matter_sdk.kernels import collaborative_fusion

    if fusion in heads:
        return heads[fusion]
    glance, focus = heads["glance"], heads["focus"]
    joined: NDArray[np.float32] = collaborative_fusion(
        glance, focus, fusion, glance_size=focus.shape[2:]
    )
    return joined


def _finished(head: NDArray[Any], shape: Sequence[int]) -> NDArray[np.float32]:
    """A head as PyTorch gives it; a smaller glance holds logits (``sdk.engine.manifest.Head``)."""
    value = torch.from_numpy(head.astype(np.float32))
    if head.shape[2:] != shape[2:]:
        size = (shape[2], shape[3])
        value = torch.softmax(functional.interpolate(value, size, mode="bilinear"), 1)
    finished: NDArray[np.float32] = value.numpy()
    return finished


def _bound(precision: str, truth: Reference, steady: bool) -> dict[str, float]:
    """The limits that apply."""
    bound = {}
    if precision in MAD_BOUND[truth.network]:
        bound["mad"] = MAD_BOUND[truth.network][precision] * (1 if steady else RANDOM_FACTOR)
    if precision in SHARE_BOUND and truth.fusion != "cam":
        bound["share"] = share_bound(precision, steady=steady)
    smooth = [name for name in truth.heads[0] if (truth.network, name) not in _JUMPING]
    if steady and precision == "float32" and smooth:
        bound["heads"] = HEADS_BOUND
    return bound


def _ties(glances: Sequence[NDArray[np.float32]]) -> float:
    """Share of the pixels where the two best classes of any glance, N×C×H×W, are within TIE."""
    if not glances:
        return 0.0
    margins = [np.diff(np.sort(glance, 1)[:, -2:], axis=1) for glance in glances]
    return float((np.min(margins, 0) < TIE).mean())


def not_run(artefact: str, size: tuple[int, int], precision: str, reason: str) -> Verification:
    """Return the entry of an artefact that cannot run here."""
    return Verification(artefact, size, precision, "not run", reason)


def session(path: Path, *, fused: bool = False) -> Run:
    """Open an ONNX file on ONNX Runtime's CPU, as a function.

    Without ``fused``, ONNX Runtime may not fuse operators: that would remove the rounding of an
    emulated graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    loaded = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in loaded.get_outputs()]
    feeds = [entry.name for entry in loaded.get_inputs()]
    return lambda *inputs: dict(
        zip(names, loaded.run(None, dict(zip(feeds, inputs, strict=True))), strict=True)
    )


def backend(
    engine: EngineFile,
    model: ModelEntry,
    name: str,
    precision: str,
    truth: Reference,
    *,
    steady: bool = True,
) -> Verification:
    """Compare the SDK's own backend on the engine; "not run" and why, if it cannot run."""
    from matter_sdk.sdk.backends import open_backend

    shown = _ARITHMETIC.get(precision, precision)
    try:
        opened, _ = open_backend(engine, model, backend=name, arithmetic=shown)
    except MatterError as error:
        reason = (
            "no NVIDIA GPU here"
            if _wants_gpu(name) and plans.gpu.capability() is None
            else str(error)
        )
        return not_run(name, model.size, shown, reason)
    try:
        return compare(name, precision, _on_host(opened), truth, steady=steady)
    finally:
        opened.close()


def cpu_has_bfloat16() -> bool:
    """Whether OpenVINO is installed and this CPU has bfloat16 arithmetic."""
    try:
        from matter_sdk.sdk.backends.openvino import has_bfloat16

        return has_bfloat16()
    except ImportError:
        return False


def _wants_gpu(name: str) -> bool:
    return name in (*plans.MODULES, "onnxruntime-cuda")


def _on_host(opened: Any) -> Run:
    """A backend's run, with results in host memory: a GPU backend returns CuPy arrays."""

    def run(*inputs: NDArray[np.float32]) -> dict[str, Any]:
        heads = opened.run(*inputs)
        return {
            name: value.get() if hasattr(value, "get") else value for name, value in heads.items()
        }

    return run
