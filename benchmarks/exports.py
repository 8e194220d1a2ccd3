"""What every network costs and how exactly it is exported.

Each is built in float32 and in float16 by the code of ``python -m export.build``; the figures are
from the engines' own manifests. Weights are the demo checkpoint's where there is one, and random
elsewhere.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import hardware, page

Size = tuple[int, int]
SIZE: Size = (288, 512)
SIDES = (512, 800)  # of the square images whose multiply-accumulates are counted

# Millions of parameters and 10⁹ multiply-accumulates of 800×800 as the papers print them: GFM,
# "Model Complexity Analysis"; AIM's supplement, 1.1; SIM's table of results.
PAPER: dict[tuple[str, str, str], tuple[str, str]] = {
    ("gfm", "resnet34", "tt"): ("", "132.28"),
    ("aim", "resnet34", "unified"): ("55.3", "191.52"),
    ("sim", "resnet50", "none"): ("70.16", ""),
}

NOTES = """\
* **weights**: *random* ones are fresh, with batch norms and heads fitted to the pictures: their
  mattes mean nothing, the differences do.
* **parameters**: those that the network reads. Released files of GFM and AIM hold 0.5 to 2 M more
  in a classifier that nothing reads. SIM's are the network's and its patch classifier's.
* **GMac**: 10⁹ multiply-accumulates of convolutions and matrix products for one square image, by
  PyTorch's FlopCounterMode. The papers' counters add batch norms and more. SIM: without its
  classifier, with its heads for foreground and background, which the paper's test leaves out.
* **nodes**: operators of the float32 ONNX graph. **RTX plan**: TensorRT for RTX, seconds to build
  and size, over all of an engine's plans.
* **SAD**, in thousands: alpha against the PyTorch network's, mean over the verification pictures.
  fp32 is ONNX Runtime; fp16 the graph of the GPU plans, every result rounded to float16.
  **MAD** is the latter's mean absolute difference, beside its bound.
"""

HEAD = (
    *("network", "weights", "M parameters", "paper", "GMac 512²", "GMac 800²", "paper"),
    *("nodes", "RTX plan fp32", "RTX plan fp16", "SAD fp32", "SAD fp16", "MAD fp16", "bound"),
    "kept in float32",
)


@dataclass(frozen=True)
class Case:
    """One network."""

    name: str
    backbone: str
    rosta: str = "none"

    def __str__(self) -> str:
        return " ".join(word for word in (self.name, self.backbone, self.rosta) if word != "none")


CASES = (
    Case("gfm", "efficientnet-lite0", "tt"),
    Case("gfm-plate", "efficientnet-lite0", "tt"),
    Case("gfm", "resnet34", "tt"),
    Case("gfm", "resnet34", "rim"),
    Case("gfm", "resnet34", "en-median"),
    Case("gfm", "resnet34_2b", "tt"),
    Case("gfm", "densenet121", "tt"),
    Case("gfm", "resnet101", "tt"),
    Case("aim", "resnet34", "unified"),
    Case("msia", "resnext101"),
    Case("sim", "resnet50"),
)


@dataclass
class Row:
    """One line of the table: counts, seconds, bytes, and differences of values in 0..1."""

    network: str
    backbone: str
    rosta: str
    weights: str = ""
    parameters: list[int] = field(default_factory=list)  # of the network, and of its part
    macs: dict[str, int] = field(default_factory=dict)  # "HxW" -> multiply-accumulates
    engines: dict[str, dict[str, Any]] = field(default_factory=dict)  # precision -> figures
    failed: str = ""


def measure(case: Case, size: Size, folder: Path) -> Row:
    """Count and build one network, its engines in `folder` one after the other."""
    from matter_sdk.export.errors import BuildError

    row = Row(case.name, case.backbone, case.rosta)
    row.parameters, row.macs = cost(case)
    for precision in ("fp32", "fp16"):
        try:
            row.weights, row.engines[precision] = built(
                case, size, precision, folder / "network.engine"
            )
        except BuildError as error:
            row.failed = str(error).splitlines()[0]
    return row


def cost(case: Case) -> tuple[list[int], dict[str, int]]:
    """Count parameters, of SIM's classifier too, and multiply-accumulates; compute nothing."""
    import torch

    from matter_sdk.training import networks
    from matter_sdk.training.evaluation.complexity import multiply_accumulates

    with torch.device("meta"):
        network = networks.create(case.name, backbone=case.backbone, rosta=case.rosta).eval()
        every = [network, *([networks.create("sim_classifier")] if case.name == "sim" else [])]
    parameters = [sum(parameter.numel() for parameter in one.parameters()) for one in every]
    return parameters, {
        f"{side}x{side}": multiply_accumulates(network, (side, side)) for side in SIDES
    }


def built(case: Case, size: Size, precision: str, output: Path) -> tuple[str, dict[str, Any]]:
    """Build an engine; return which weights it has, and its figures."""
    import onnx

    from matter_sdk.export.options import BuildOptions, demo_checkpoint
    from matter_sdk.export.pipeline import run
    from matter_sdk.export.progress import Report
    from matter_sdk.sdk.engine.file import EngineFile

    random = demo_checkpoint(case.name, case.backbone, case.rosta) is None
    options = BuildOptions(
        case.name,
        backbone=case.backbone,
        rosta=case.rosta,
        random_weights=random,
        sizes=(size,),
        precision=precision,
        output=output,
    )
    report = Report(io.StringIO())
    with contextlib.closing(EngineFile.open(run(options.resolve(), report=report))) as engine:
        manifest = engine.manifest
        with engine.read(manifest.models[0].onnx) as graph:
            nodes = len(onnx.load_model_from_string(bytes(graph)).graph.node)
    networks = (manifest, *manifest.parts.values())
    plans = [plan.file for one in networks for plan in one.plans if plan.runtime == "tensorrt-rtx"]
    seconds = [one.seconds for one in report.stages if one.name.startswith("plan tensorrt-rtx")]
    artefact = {"fp32": "onnxruntime", "fp16": "float16 graph"}[precision]
    entry = next(entry for entry in manifest.verification if entry.artefact == artefact)
    output.unlink()
    return (
        "random" if random else "demo",
        {
            "nodes": nodes,
            "plan_seconds": sum(seconds) if plans else None,
            "plan_bytes": sum(manifest.members[file].bytes for file in plans) if plans else None,
            "verification": asdict(entry),
            "float32": [name for model in manifest.models for name in model.float32],
        },
    )


def text(row: Row) -> list[str]:
    """Write the cells of one line, as in :data:`HEAD`."""
    printed = PAPER.get((row.network, row.backbone, row.rosta), ("", ""))
    cells = [str(Case(row.network, row.backbone, row.rosta))]
    counts = " + ".join(f"{count / 1e6:.2f}" for count in row.parameters)
    if row.parameters[1:]:
        counts += f" = {sum(row.parameters) / 1e6:.2f}"
    cells += [row.weights, counts, printed[0]]
    cells += [f"{row.macs[f'{side}x{side}'] / 1e9:.2f}" for side in SIDES] + [printed[1]]
    if row.failed:
        return [*cells, "failed", *[""] * (len(HEAD) - len(cells) - 1)]
    plain, half = row.engines["fp32"], row.engines["fp16"]
    cells.append(str(plain["nodes"]))
    for engine in (plain, half):
        built_ = engine["plan_seconds"] is not None
        cells.append(
            f"{engine['plan_seconds']:.1f} s, {engine['plan_bytes'] / 1e6:.0f} MB" if built_ else ""
        )
    entry = half["verification"]
    (measured_of, bound), *_ = entry["bound"].items()
    cells += [f"{plain['verification']['sad']:.2g}", f"{entry['sad']:.2g}", f"{entry['mad']:.1e}"]
    cells += [f"{measured_of} {bound:.0e}", str(len(half["float32"]))]
    return cells


def report(cases: Sequence[Case], size: Size, output: Path, given: Sequence[str]) -> list[Path]:
    """Measure all and write the page; returns the files."""
    facts = hardware.begin(given)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for at, case in enumerate(cases, 1):
            print(f"{at}/{len(cases)} {case}", file=sys.stderr, flush=True)
            rows.append(measure(case, size, Path(folder)))
    failed = [
        f"{case} failed: {row.failed}" for case, row in zip(cases, rows, strict=True) if row.failed
    ]
    parts = [f"At {size[0]}×{size[1]}.", page.table(HEAD, [text(row) for row in rows]), *failed]
    data = {"size": size, "rows": [asdict(row) for row in rows]}
    return page.write(output, "exports", facts, "\n\n".join([*parts, NOTES]), data)
