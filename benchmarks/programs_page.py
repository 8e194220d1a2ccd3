"""What ``benchmarks.programs`` measured, as a section of the machine's page with a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import hardware, page, photographs, programs, scatter
from benchmarks.baselines import npm_models
from benchmarks.programs import BY_HAND, DEMO, LIVE, RECURRENT, SIZE, Line, Run

COLOURS, BLUE = {"Matter": "#c2410c", BY_HAND: "#6b7280"}, "#1d4ed8"  # of the plot, and of others

NOTES = f"""\
* **CPU ms**: processor time of all threads, and in files of all processes. **× {LIVE}**: the
  median over turns of the same round. **MAD**: mean absolute difference of alpha from the mask.
  **IoU**: of alpha ½. Both are means over the pictures. The plot leaves out what has the same error
  as another and takes longer.
* **By hand**: Matter's network at 288×512 with float32 weights, as its PyTorch export leaves it,
  in a runtime between OpenCV and NumPy. Each picture is squeezed to that shape.
* **MediaPipe**: its selfie segmentation for people, in LiteRT; the demo in Python chooses pixels
  with NumPy, the other rows blend with OpenCV.
* **ISNet**: the larger model of `@imgly/background-removal-data`, at 1024×1024 in ONNX Runtime,
  with what rembg puts around it.
* **{RECURRENT}**: the recurrent network at its ratio of 0.4, in OpenVINO.
  Its weights are random, so its matte has no error to compare.
* **{LIVE}** in a file skips the network for up to three frames in a row where nothing happens; the
  subject of the clips rests in a third of the frames. The loops around the network by hand do not.
* **ffmpeg pipes**: raw frames from one ffmpeg, and to another that encodes with x264.
  **OpenCV**: `VideoCapture` and `VideoWriter`, whose wheel encodes MPEG-4 Part 2 only. Encoders
  differ in size, and in quality.
"""


def _by_itself(name: str) -> bool:
    """Tell whether a contestant's mattes are not nearly those of another."""
    return not name.startswith(BY_HAND) and not name.endswith(DEMO)


def _errors_of(done: Run, kind: str, name: str) -> list[str]:
    row = done.errors.get(kind, {}).get(name)
    return ["", ""] if row is None else [f"{1e3 * row['MAD']:.0f}", f"{row['IoU']:.3f}"]


def _times_of(line: Line) -> list[str]:
    times = line.times
    return [
        f"{1e3 * times.median:.1f}",
        f"{1e3 * times.p10:.1f}–{1e3 * times.p90:.1f}",
        f"{1e3 * line.work:.1f}",
        f"{line.ratio:.2f}",
    ]


def _ranked(found: Mapping[str, Line]) -> list[tuple[str, Line]]:
    return sorted(found.items(), key=lambda item: item[1].times.median)


def markdown(done: Run) -> str:
    """Write the page's section."""
    head = ("", "ms", "p10–p90", "CPU ms", f"× {LIVE}")
    kinds = {
        kind: max(row["pictures"] for row in found.values()) for kind, found in done.errors.items()
    }
    wide = [text for kind in ("people", "all") for text in (f"MAD × 1000, {kind}", f"IoU, {kind}")]
    frame = [
        [name, *_times_of(line), *_errors_of(done, "people", name), *_errors_of(done, "all", name)]
        for name, line in _ranked(done.frame)
    ]
    frame += [
        [f"{name}: not measured ({reason.partition(';')[0]})", *[""] * (len(head) + 3)]
        for name, reason in done.absent.items()
    ]
    pictures = (
        "Errors: means over "
        + " and ".join(f"{count:g} pictures ({kind})" for kind, count in kinds.items())
        + "."
        if kinds
        else "No errors: no photographs with masks were given (`--people SET… --sets SET…`)."
    )
    network = [[name, *_times_of(line)] for name, line in _ranked(done.network)]
    parts = [
        f"### A {SIZE} frame to its composite, {page.plural(done.threads, 'thread')}",
        page.table((*head, *wide), frame),
        pictures,
        "\n".join(f"* {name}: {runtime}." for name, runtime in done.opened.items()),
        f"### Of that, the network alone, {page.plural(done.threads, 'thread')}",
        page.table(head, network),
    ]
    for size, found in done.files.items():
        rows = [
            [
                name,
                *_times_of(line),
                f"{1 / line.times.median:.1f}",
                f"{line.size / 1e3:.1f}" if line.size else "",
            ]
            for name, line in _ranked(found)
        ]
        parts += [
            f"### A {size} file to a file, a frame's share",
            page.table((*head, "frames/s", "kB"), rows),
        ]
    if done.sets:
        few = {name: {n: row[n] for n in row if _by_itself(n)} for name, row in done.sets.items()}
        parts += ["### Photographs", photographs.markdown(few)]
    return "\n\n".join([*parts, NOTES])


def drawing(done: Run) -> str:
    """Draw the error over the milliseconds of a frame; nothing without errors."""
    titles = {"people": "People", "all": "All photographs"}
    panels = []
    for kind, found in done.errors.items():
        points = [
            scatter.Point(
                *(name, 1e3 * done.frame[name].times.median, 1e3 * row["MAD"]),
                colour=next((c for begin, c in COLOURS.items() if name.startswith(begin)), BLUE),
            )
            for name, row in found.items()
            if not name.endswith((DEMO, "float32"))  # as good as the others, and slower
        ]
        panels.append((titles[kind], points))
    if not panels:
        return ""
    return scatter.draw(
        panels, f"milliseconds from a {SIZE} frame to its composite", "error of alpha (MAD × 1000)"
    )


def report(
    engine: Path | None,
    threads: int,
    budget: float,
    mediapipe_folder: Path | None,
    isnet_folder: Path | None,
    people: Sequence[Path],
    others: Sequence[Path],
    *,
    every: int,
    quick: bool,
    output: Path,
    given: Sequence[str],
) -> list[Path]:
    """Measure and write the page; returns the files.

    Args:
        engine: of the light network; None: it is built.
        threads: of each network.
        budget: seconds of turns with the networks alone; whole frames get twice of it.
        mediapipe_folder: the unpacked npm package; None: npm brings it.
        isnet_folder: the same.
        people: sets of photographs with masks.
        others: sets that do not show people alone.
        every: only every n-th photograph.
        quick: shorter files.
        output: folder of the page.
        given: the command line.

    Raises:
        DatasetError, OSError, ValueError: what was given is not what it should be.
    """
    facts = hardware.begin(given)
    for folder in (*people, *others):  # refused before anything takes minutes
        photographs.open_set(folder)
    folders = {npm_models.MEDIAPIPE: mediapipe_folder, npm_models.ISNET: isnet_folder}
    done = programs.run(engine, threads, budget, folders, people, others, every=every, quick=quick)
    return page.write(output, "baselines", facts, markdown(done), asdict(done), drawing(done))
