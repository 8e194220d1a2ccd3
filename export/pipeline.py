"""A build: the list of its stages.

An engine holds a network and, for SIM, a part: its patch classifier. Both go through the same
stages.
"""

from __future__ import annotations

import contextlib
import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from matter_sdk.export.cost import costs_text, count_macs
from matter_sdk.export.errors import BuildError, UsageError
from matter_sdk.export.options import BuildOptions
from matter_sdk.export.progress import Report, stages_table
from matter_sdk.export.stages import (
    Built,
    Context,
    Size,
    Sized,
    Subject,
    graph,
    load,
    pack,
    plans,
    precision,
    quantise,
    text,
    verify,
)
from matter_sdk.sdk.describe import bytes_text, verification_heading, verification_table
from matter_sdk.sdk.engine.manifest import Manifest, ModelEntry
from matter_sdk.sdk.errors import MatterError
from matter_sdk.sdk.installation import command

if TYPE_CHECKING:
    import onnx_ir as ir


def run(options: BuildOptions, *, report: Report | None = None) -> Path:
    """Build, verify, write; returns the engine's path.

    Args:
        options: resolved.
        report: takes the progress; by default one that writes to stderr.

    Raises:
        BuildError: see the message; nothing is written.
    """
    report = report or Report()
    report.line(f"Building {options.output} ({_title(options)})")
    for runtime, reason in options.skipped:
        report.line(f"  no plan for {runtime}: {reason}")
    prefix, beside = f".{options.output.name}.", options.output.parent
    with errors(), tempfile.TemporaryDirectory(prefix=prefix, dir=beside) as folder:
        _run(Context(options, report, Path(folder)))
    return options.output


def _run(context: Context) -> None:
    subjects = load.load(context)
    built = {subject.part: _build(context, subject) for subject in subjects}
    del subjects
    gc.collect()  # the networks and their exported programs refer to each other
    finish(context, built)


def finish(context: Context, built: dict[str, Built]) -> None:
    """Verify what was built, write the engine, and tell of both.

    Args:
        context: of the build.
        built: each network by its part of the engine, "" for the engine's own.

    Raises:
        BuildError: a matte differs too much; nothing is written.
    """
    with pack.draft(context, built) as engine:
        for part, network in built.items():
            file = engine.part(part) if part else engine
            built[part] = verify.verify(context, file, network)
    manifest = pack.whole(built)
    try:
        verify.check_passed(context, built)
    except BuildError:
        _conclude(context, manifest)
        raise
    pack.write(context, built)
    _conclude(context, manifest)
    output = context.options.output
    context.report.line(f"\n{output}: {bytes_text(output.stat().st_size)}")
    context.report.line(f"\nNext: {_next_command(output, manifest)}")


def _build(context: Context, subject: Subject) -> Built:
    """All that goes into the engine for one of its networks."""
    (context.folder / subject.prefix).mkdir(exist_ok=True)
    # INT8 begins with the smallest, where a search for what to keep in floating point costs least.
    kept: frozenset[str] = frozenset()
    by_size = {}
    exported: ir.Model | None = None
    for size in sorted(subject.sizes, key=lambda size: size[0] * size[1]):
        by_size[size], exported = _size(context, subject, size, kept, exported)
        int8 = by_size[size].entry.int8
        kept = frozenset(int8.float32 if int8 else ())
    return pack.pack(context, subject, [by_size[size] for size in subject.sizes])


def _size(
    context: Context, subject: Subject, size: Size, kept: frozenset[str], like: ir.Model | None
) -> tuple[Sized, ir.Model]:
    """Everything for one size, up to the point where the engine can be put together; its graph.

    ``kept``: what another size's INT8 graph has in floating point. ``like``: its graph.
    """
    truth = verify.refer(context, subject, size)
    model, stored = graph.export(context, subject, size, like)
    macs = count_macs(model)
    half = precision.halve(context, subject, model, truth)
    entry8, int8 = None, None
    if context.options.int8 and not subject.part:
        entry8, int8 = quantise.quantise(context, subject, model, truth, kept)
    entry = ModelEntry(
        size,
        subject.prefix + stored.onnx.name,
        subject.prefix + stored.data.name if stored.data else None,
        float32=half.float32,
        int8=entry8,
    )
    made = plans.build_all(context, subject, size, half.source)
    sized = Sized(entry, subject.label(size), macs, truth, stored, int8, half.emulation, made)
    return sized, model


@contextlib.contextmanager
def errors() -> Iterator[None]:
    """Show errors of the other packages, and of the disk, as a failed build."""
    try:
        yield
    except (BuildError, UsageError):
        raise
    except MatterError as error:
        raise BuildError(str(error)) from error
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise BuildError(f"{error.strerror or error}{place}; nothing was written") from error
    except MemoryError as error:
        raise BuildError(
            "out of memory; nothing was written. Build a smaller --size or a lighter --backbone"
        ) from error


def _title(options: BuildOptions) -> str:
    words = [options.model, options.backbone]
    words += [] if options.rosta == "none" else [options.rosta]
    words += [f"without {part}" for part in options.without]
    words = [" ".join(words), ", ".join(map(text, options.sizes))]
    words += [f"batch {options.batch}"] if options.batch > 1 else []
    words += [options.precision, *(["int8"] if options.int8 else [])]
    return ", ".join([*words, *([file.name for file in options.weights] or ["random weights"])])


def _conclude(context: Context, manifest: Manifest) -> None:
    report = context.report
    report.line()
    for line in stages_table(report.stages):
        report.line(line)
    everything = {"": manifest, **manifest.parts}
    report.line()
    for part, one in everything.items():
        report.line(f"{part + ': ' if part else ''}{costs_text(one.network, whole=not part)}")
    for part, one in everything.items():
        report.line(f"\n{part + ': ' if part else ''}{verification_heading(one)}")
        for line in verification_table(one.verification, sizes=len(one.models) > 1):
            report.line(line)


def _next_command(path: Path, manifest: Manifest) -> str:
    beside = {"trimap": " --trimap trimap.png", "plate": " --plate empty.jpg"}
    flags = "".join(flag for name, flag in beside.items() if name in manifest.inputs)
    return command("samples.image", ["photo.jpg", *flags.split(), "--engine", str(path)])
