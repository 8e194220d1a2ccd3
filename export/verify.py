"""Is the matte still the same? Every artefact that can run here, against the PyTorch network.

The same preprocessed tensor goes to the PyTorch network, whose own fusion makes its alpha, and to
each artefact, whose heads ``kernels.collaborative_fusion`` joins as the SDK does. PyTorch's alpha
is the truth of the metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matter_sdk.export import plans
from matter_sdk.export.errors import BuildError
from matter_sdk.sdk.engine.manifest import FUSIONS, Verification
from matter_sdk.sdk.errors import MatterError
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from matter_sdk.export.pictures import Inputs
    from matter_sdk.sdk.engine.file import EngineFile
    from matter_sdk.sdk.engine.manifest import ModelEntry
    from numpy.typing import NDArray

    Run = Callable[..., Mapping[str, Any]]  # the network's inputs in their order → heads by name

# The most that alpha may differ from PyTorch's, as a mean over all pixels. (Its largest difference
# is shown, but judges nothing where classes meet: a pixel that is on the edge of two falls to
# either side, and its alpha jumps, however exact the arithmetic is.)
#
# float32: runtimes add in another order, some 1e-6. "float16 weights": float32 arithmetic, with
# weights rounded to 11 bits. float16: half an 8-bit level, 2e-3, what a saved matte is rounded by,
# unless the network has a reason for more. bfloat16 keeps 8 bits where float16 keeps 11. "bfloat16
# unasked" is a CPU's, which is taken only within one 8-bit level, since nobody asked for it.
#
# Measured at 288×512, largest of the verification pictures and of 11 photographs; "drawn": weights
# by the recipe of the reference outputs; "settled": random ones (export.settling), which amplify
# roundings ten times as much.
MAD_BOUND: dict[str, dict[str, float]] = {
    # The arg-max: where two classes are as probable, half precision moves their border by a pixel.
    "gfm": {
        "float32": 1e-4,  # drawn 4e-7, settled 7e-6
        "float16 weights": 1e-3,  # demo 1.1e-4, drawn 7e-4, settled 5e-3
        "float16": 2e-3,  # demo 2.2e-4, drawn 9e-4, settled 7e-3
        "bfloat16": 1e-2,  # demo 1.8e-3, drawn 5.4e-3, settled 5e-2
        "bfloat16 unasked": 4e-3,
    },
    # GFM's layers, and so its bounds.
    "gfm-plate": {
        "float32": 1e-4,  # settled 1e-6
        "float16 weights": 1e-3,  # demo 3.7e-5, settled 1.2e-3
        "float16": 2e-3,  # demo 8.0e-5, settled 3.2e-3
        "bfloat16": 1e-2,  # demo 4.8e-4, settled 2.3e-2
        "bfloat16 unasked": 4e-3,
    },
    # The same, and the max-pools: where two pixels of a window become equal by rounding, a feature
    # is unpooled to the neighbour of the pixel that it came from.
    "aim": {
        "float32": 1e-4,  # drawn 3e-6, settled 1e-5
        "float16 weights": 1e-3,  # drawn 5e-4, settled 2.6e-3
        "float16": 3e-3,  # drawn 1.5e-3, settled 5.8e-3
        "bfloat16": 1.5e-2,  # drawn 8.2e-3, settled 3.2e-2
        "bfloat16 unasked": 4e-3,
    },
    # Smooth from end to end, no class and no index: nothing jumps. 105 layers, all of them random
    # in what was measured.
    "msia": {
        "float32": 1e-4,  # settled 2e-6
        "float16 weights": 1e-3,  # settled 1.7e-3
        "float16": 2e-3,  # settled 2.6e-3
        "bfloat16": 1e-2,  # settled 1.8e-2
        "bfloat16 unasked": 4e-3,
    },
    # Smooth too, but a clamp in place of a sigmoid: what the last convolution was rounded by is
    # alpha's own error (half of 2⁻¹¹ near 1), and no flat end of a curve hides it.
    "sim": {
        "float32": 1e-4,  # settled 2e-6
        "float16 weights": 1e-3,  # settled 1.4e-3
        "float16": 2e-3,  # settled 2.6e-3
        "bfloat16": 1e-2,  # settled 2.0e-2
        "bfloat16 unasked": 4e-3,
    },
    # Activation maps, relative to their range over the picture: that is what the semantic trimap
    # scales them by. It is one of SIM's inputs, and what is off in it is off before that network.
    "sim_classifier": {
        "float32": 1e-4,  # settled 3e-7
        "float16 weights": 1e-3,  # settled 2.2e-4
        "float16": 1e-3,  # settled 3.6e-4
        "bfloat16": 1e-2,  # settled 2.9e-3
        "bfloat16 unasked": 4e-3,
    },
}
# The most that SAD may be as a part of the matte's own scale: the sum of PyTorch's alpha over all
# pictures (or 1 % of their pixels, where that is more).
SHARE_BOUND = {
    "float16 weights": 0.02,
    "float16": 0.02,
    "int8": 0.10,  # demo 4 to 5 %
    "int8 bfloat16": 0.10,
}
_LEAST_ALPHA = 0.01
# What arithmetic each of them is, for the table.
_ARITHMETIC = {"float16 weights": "float32", "bfloat16 unasked": "bfloat16"}
# Before their arg-max GFM's heads are smooth, and so are the mattes of MSIA and SIM: there the
# largest difference in float32 is bounded too, which finds a wrong operator or a misplaced edge
# that a mean over the picture would hide. Others jump: AIM's focus, where float32's last bits
# decide which of two pixels a max-pool takes (0.3 measured), and what is fused inside the network
# (GFM's RIM and ensemble).
HEADS_BOUND = 1e-3
_JUMPING = {("aim", "focus"), ("gfm", "alpha")}

# Probabilities this close are a tie to half precision and nearly one to float32. A trained network
# has few of them; where they are many the weights are random or saturated, and alpha is arbitrary.
TIE, MANY_TIES = 1e-4, 0.1

# Fresh random weights, settled as they are, amplify each rounding from layer to layer, see above.
# The bounds for trained weights are the ones that tell anything. (The deepest, resnet101: 2.0e-2 by
# float16 weights.)
RANDOM_FACTOR = 40


@dataclass(frozen=True)
class Reference:
    """What the PyTorch network says.

    ``tensors``: the network's inputs in their order, batch×C×H×W each. ``heads``: by name,
    batch×C×H×W. ``answers``: what is judged, alpha, batch×1×H×W, or a classifier's activation maps.
    One entry a run.
    """

    network: str
    size: tuple[int, int]
    fusion: str
    tensors: tuple[Inputs, ...]
    heads: tuple[Mapping[str, NDArray[np.float32]], ...]
    answers: tuple[NDArray[np.float32], ...]
    ties: float = 0.0  # share of the pixels where two glance classes are as good as equal


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
    """Run an artefact on the reference's tensors and judge it.

    Args:
        artefact: its name in the table.
        precision: a key of ``MAD_BOUND``'s entries, or of ``SHARE_BOUND``.
        run: the network's inputs to the heads by name.
        truth: the PyTorch network's answers.
        steady: False for random weights, see ``RANDOM_FACTOR``.
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
    """SAD of an artefact's mattes as a part of their own scale, see ``SHARE_BOUND``."""
    sad = 0.0
    for inputs, answer in zip(truth.tensors, truth.answers, strict=True):
        heads = {name: np.asarray(value) for name, value in run(*inputs).items()}
        sad += float(np.abs(_judged(heads, truth.fusion) - answer).sum(dtype=np.float64)) / 1e3
    return sad / sum(map(len, truth.answers)) / _scale(truth)


def share_bound(precision: str, *, steady: bool = True) -> float:
    """The most that a share may be; with random weights at most all of the matte."""
    return SHARE_BOUND[precision] if steady else min(1.0, SHARE_BOUND[precision] * RANDOM_FACTOR)


def _scale(truth: Reference) -> float:
    """The sum of alpha, in thousands as SAD is, mean over the pictures."""
    mean = float(np.mean([answer.mean(dtype=np.float64) for answer in truth.answers]))
    return max(mean, _LEAST_ALPHA) * truth.answers[0][0].size / 1e3


def _judged(heads: Mapping[str, NDArray[np.float32]], fusion: str) -> NDArray[np.float32]:
    """Alpha as the SDK joins it, or what else the network is about."""
    from matter_sdk.kernels import collaborative_fusion

    if fusion in heads:
        return heads[fusion]
    glance, focus = heads["glance"], heads["focus"]
    joined: NDArray[np.float32] = collaborative_fusion(
        glance, focus, fusion, glance_size=focus.shape[2:]
    )
    return joined


def _finished(head: NDArray[Any], shape: Sequence[int]) -> NDArray[np.float32]:
    """A head as PyTorch gives it. A smaller glance is one of logits: see
    ``sdk.engine.manifest.Head``."""
    value = torch.from_numpy(head.astype(np.float32))
    if head.shape[2:] != shape[2:]:
        size = (shape[2], shape[3])
        value = torch.softmax(functional.interpolate(value, size, mode="bilinear"), 1)
    finished: NDArray[np.float32] = value.numpy()
    return finished


def _bound(precision: str, truth: Reference, steady: bool) -> dict[str, float]:
    """What is judged, and the most that it may be."""
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
    """The entry of an artefact that cannot run here."""
    return Verification(artefact, size, precision, "not run", reason)


def session(path: Path, *, fused: bool = False) -> Run:
    """An ONNX file (external weights beside it) on ONNX Runtime's CPU, as a function.

    Unless ``fused``, without its fusions: they would take away roundings that an emulated graph is
    made of, and make of Q/DQ pairs the arithmetic in 8 bits that they stand for.
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
    """Judge what the SDK's own backend makes of the engine; "not run" with the reason if it "
    "cannot."""
    from matter_sdk.sdk.backends import open_backend

    shown = _ARITHMETIC.get(precision, precision)
    try:
        opened, _ = open_backend(engine, model, backend=name, arithmetic=shown)
    except MatterError as error:
        reason = "no NVIDIA GPU here" if _wants_gpu(name) and plans.gpu() is None else str(error)
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
    """A backend's run with results in host memory; those of a GPU backend lie in CuPy arrays."""

    def run(*inputs: NDArray[np.float32]) -> dict[str, Any]:
        heads = opened.run(*inputs)
        return {
            name: value.get() if hasattr(value, "get") else value for name, value in heads.items()
        }

    return run
