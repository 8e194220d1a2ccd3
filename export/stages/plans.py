"""Build TensorRT plans, for the full TensorRT and TensorRT for RTX.

Both are strongly typed: the graph states the precision (:mod:`export.stages.precision`). TensorRT
for RTX builds without a GPU, one plan for the GPUs of ``RTX_SERVES`` and, on request, one for
Turing. It compiles kernels when a plan first runs. The full TensorRT times kernels on the GPU that
it builds for.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matter_sdk.export.errors import BuildError
from matter_sdk.export.stages import Context, Size, Subject, discard, text
from matter_sdk.sdk.backends import gpu, tensorrt_log

if TYPE_CHECKING:
    from matter_sdk.sdk.engine.manifest import PlanEntry

# Runtime as the manifest names it -> Python module and the line that installs it.
MODULES = {
    "tensorrt": ("tensorrt", "pip install 'matter-sdk[tensorrt]'"),
    "tensorrt-rtx": ("tensorrt_rtx", "pip install 'matter-sdk[tensorrt-rtx]'"),
}


TURING = "7.5"


@dataclass(frozen=True)
class Plan:
    """A serialised plan. ``compute_capability``: such as "9.0"; None: those of ``RTX_SERVES``."""

    runtime: str
    version: str
    compute_capability: str | None
    path: Path

    def member(self, size: tuple[int, int] | None) -> str:
        """Return its name in the engine; ``size`` is None for the main size."""
        capability = self.compute_capability
        gpu = f"-sm{capability.replace('.', '')}" if capability else ""
        suffix = f"-{size[0]}x{size[1]}" if size else ""
        return f"plans/{self.runtime}-{self.version}{gpu}{suffix}.plan"


def missing(runtime: str) -> str:
    """Return why plans of a runtime cannot be built here, with the remedy; empty if they can.

    Imports nothing.
    """
    module, install = MODULES[runtime]
    if importlib.util.find_spec(module) is None:
        return f"the Python package {module} is not installed; install it with: {install}"
    if runtime == "tensorrt" and gpu.capability() is None:
        return (
            "there is no NVIDIA GPU here, and TensorRT times its kernels on one; build on the "
            "machine that runs the engine, or use --target tensorrt-rtx, which needs none"
        )
    return ""


def build_all(
    context: Context, subject: Subject, size: Size, source: Path
) -> tuple[tuple[PlanEntry, Path], ...]:
    """Build a plan for each TensorRT of the options; then delete ``source``, the typed graph.

    Returns:
        The manifest's entry and the file of each plan.

    Raises:
        BuildError: see :func:`build`.
    """
    from matter_sdk.export import max_unpool
    from matter_sdk.sdk.engine.manifest import RTX_SERVES, PlanEntry

    made = []
    kinds = [(runtime, "") for runtime in context.options.runtimes]
    if context.options.turing:
        kinds.append(("tensorrt-rtx", TURING))
    for runtime, asked in kinds:
        name = f"{runtime} {asked}".rstrip()
        with context.report.stage(f"plan {name}{subject.label(size)}") as stage:
            warnings: list[str] = []
            target = context.folder / subject.prefix / f"{name}-{text(size)}.plan"
            given: Path = source
            plugins: tuple[str, ...] = ()
            if context.options.unpool == "plugin" and runtime == "tensorrt":
                given, plugins = max_unpool.write(source), (max_unpool.NAME,)
            plan = build(
                runtime,
                given,
                target,
                warn=warnings.append,
                plugins=plugins,
                capability=asked,
                tf32=context.options.precision == "tf32",
            )
            stage.bytes = target.stat().st_size
            capability = plan.compute_capability
            member = subject.prefix + plan.member(None if size == subject.sizes[0] else size)
            serves = () if capability else RTX_SERVES
            entry = PlanEntry(runtime, plan.version, capability, size, member, plugins, serves)
            stage.note = ", ".join((f"{runtime} {plan.version}", entry.gpus(), *plugins))
            if given != source:
                discard(given)
        for warning in dict.fromkeys(warnings):
            context.report.line(f"  {name}: {warning}")
        made.append((entry, plan.path))
    discard(source)
    return tuple(made)


def build(
    runtime: str,
    onnx: Path,
    plan: Path,
    *,
    warn: Callable[[str], object],
    plugins: tuple[str, ...] = (),
    capability: str = "",
    tf32: bool = False,
) -> Plan:
    """Build a plan from an ONNX file and write it to ``plan``.

    Args:
        runtime: a key of ``MODULES``.
        onnx: the strongly typed graph.
        plan: file to write.
        warn: takes each warning of the builder.
        plugins: those whose operators the graph holds; for the full TensorRT only.
        capability: of TensorRT for RTX, the one that the plan is for, such as "7.5"; empty:
            ``RTX_SERVES``.
        tf32: whether float32 products may be computed in TF32.

    Raises:
        BuildError: with every complaint of the parser and the builder.
    """
    trt = importlib.import_module(MODULES[runtime][0])
    errors: list[str] = []

    def hear(level: int, message: str) -> None:
        if level == logging.ERROR:
            errors.append(message)
        else:
            warn(message)

    logger = tensorrt_log.logger(trt, hear)
    builder = trt.Builder(logger)
    if builder is None:
        raise BuildError(
            f"{runtime} could not be started: {'; '.join(errors) or 'no reason given'}"
        )
    if plugins:
        from matter_sdk.sdk.backends import unpool_plugin  # flags are checked without NumPy

        unpool_plugin.register(trt, plugins)
    network = builder.create_network(_strongly_typed(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        complaints = [str(parser.get_error(index)) for index in range(parser.num_errors)]
        raise BuildError(
            _listed(f"{runtime} {trt.__version__} does not accept the graph", complaints or errors)
        )
    config = builder.create_builder_config()
    if not tf32:  # on by default; it keeps 10 bits of float32's 23
        config.clear_flag(trt.BuilderFlag.TF32)
    if runtime == "tensorrt-rtx":  # what allocates as it runs cannot be captured in a CUDA graph
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if capability:
        config.num_compute_capabilities = 1
        wanted = getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}")
        if not config.set_compute_capability(wanted, 0):
            raise BuildError(f"{runtime} {trt.__version__} builds nothing for {capability}")
    serialised = builder.build_serialized_network(network, config)
    if serialised is None:
        raise BuildError(_listed(f"{runtime} {trt.__version__} could not build the plan", errors))
    digest = hashlib.sha256()
    with memoryview(serialised) as content, plan.open("wb") as file:
        digest.update(content)
        file.write(content)
    from matter_sdk.sdk.backends import own_plans  # flags are checked without NumPy

    own_plans.remember(digest.hexdigest())
    made_for = gpu.capability() if runtime == "tensorrt" else capability or None
    return Plan(runtime, trt.__version__, made_for, plan)


def _strongly_typed(trt: Any) -> int:
    """The creation flag. From TensorRT 11 on it may be gone: every network is strongly typed."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _listed(title: str, lines: list[str]) -> str:
    return "\n  ".join([f"{title}:", *(lines or ["no reason given"])])
