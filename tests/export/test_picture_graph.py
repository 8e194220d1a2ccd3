"""The page's graph in ONNX Runtime beside ``Matter`` on the same pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from matter_sdk.export.browser.picture_graph import (
    ALPHA,
    BEFORE,
    KEPT,
    PICTURE,
    SMALL,
    STEADY,
    check,
    picture_graph,
)
from matter_sdk.export.errors import BuildError
from matter_sdk.sdk import Matter
from matter_sdk.sdk.backends.graphs import read_graph
from matter_sdk.sdk.engine.file import EngineFile
from matter_sdk.sdk.engine.manifest import ExtraInput, Head, InputInfo
from matter_sdk.sdk.streaming.temporal_filter import TemporalFilter
from tests.export.films import CUT, drawn_film
from tests.sdk.checks import smooth_frame
from tests.sdk.conftest import Tiny
from tests.sdk.test_glance_stride import Quarter

EXACT = 1e-5
# Ratios that are whole, of small numbers, of none; one side or both of the network's own length.
SHAPES = [(64, 128), (90, 160), (97, 131), (32, 200), (33, 64), (32, 64)]
# One side or both below it.
SMALLER = [(20, 150), (45, 31), (7, 48), (16, 32), (1, 64), (90, 1), (1, 1), (5, 900)]


class OfPage:
    """The graph of an engine's first size, run for one BGR frame after another.

    Attributes:
        steady: the last frame's alpha at the network's size, float32 h×w.
    """

    def __init__(self, engine: Path) -> None:
        with EngineFile.open(engine) as file:
            model = file.manifest.models[0]
            graph, data = read_graph(file, model)
            options: Any = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            if data is not None:
                options.add_external_initializers_from_files_in_memory(
                    [model.data], [data], [len(data)]
                )
            made = picture_graph(graph, file.manifest, model)
        self._session = onnxruntime.InferenceSession(
            made, options, providers=["CPUExecutionProvider"]
        )
        sides = {one.name: one.shape for one in self._session.get_inputs()}
        self._small = np.zeros(sides[BEFORE], np.float32)
        self.steady = np.full(sides[KEPT], -1, np.float32)

    def __call__(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        other = np.full(frame.shape[:2], 7, np.uint8)  # a channel that is not read
        picture = np.dstack([frame[..., ::-1], other])
        given = {PICTURE: picture, BEFORE: self._small, KEPT: self.steady}
        alpha: NDArray[np.float32]
        alpha, self._small, self.steady = self._session.run([ALPHA, SMALL, STEADY], given)
        return alpha


def of_page(engine: Path, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Alpha of a BGR frame alone."""
    return OfPage(engine)(frame)


def of_matter(engine: Path, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    with Matter(engine, backend="onnxruntime", arithmetic="float32", threads=1) as matter:
        return matter(frame).alpha


@pytest.mark.parametrize("shape", SMALLER)
def test_a_side_below_the_networks(tmp_path: Path, shape: tuple[int, int]) -> None:
    engine = Tiny(tmp_path).build()
    for seed in (1, 2):
        frame = smooth_frame(shape, seed)
        expected = of_matter(engine, frame)
        np.testing.assert_allclose(of_page(engine, frame), expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("shape", SHAPES)
def test_alpha_is_matters(tmp_path: Path, shape: tuple[int, int]) -> None:
    engine = Tiny(tmp_path).build()
    for seed in (1, 2):
        frame = smooth_frame(shape, seed)
        expected = of_matter(engine, frame)
        assert 0.1 < ((expected > 0) & (expected < 1)).mean() < 1
        np.testing.assert_allclose(of_page(engine, frame), expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("fusion", ["ft", "bt", "alpha"])
def test_every_fusion(tmp_path: Path, fusion: str) -> None:
    engine = Tiny(tmp_path).build(fusion=fusion)
    frame = smooth_frame((90, 160), 3)
    expected = of_matter(engine, frame)
    assert np.ptp(expected) > 0.2
    np.testing.assert_allclose(of_page(engine, frame), expected, rtol=0, atol=EXACT)


def test_a_glance_before_its_last_enlargement(tmp_path: Path) -> None:
    engine = Quarter(tmp_path, enlarged=False).engine((32, 64))
    frame = smooth_frame((90, 160), 3)
    expected = of_matter(engine, frame)
    np.testing.assert_allclose(of_page(engine, frame), expected, rtol=0, atol=EXACT)


def test_weights_outside_of_the_graph_and_an_input_of_its_own(tmp_path: Path) -> None:
    """Colours in the other order, centred and scaled."""
    given = InputInfo(colour="bgr", mean=(3.0, 5.0, 7.0), std=(1.1, 0.9, 1.3))
    engine = Tiny(tmp_path).build_external(change=lambda manifest: replace(manifest, input=given))
    frame = smooth_frame((97, 131), 3)
    expected = of_matter(engine, frame)
    np.testing.assert_allclose(of_page(engine, frame), expected, rtol=0, atol=EXACT)


def test_a_large_picture_keeps_whole_sums(tmp_path: Path) -> None:
    """Sides without a common divisor: the sums of a footprint pass 2^31."""
    engine = Tiny(tmp_path).build()
    frame = smooth_frame((1511, 5701), 5)
    expected = of_matter(engine, frame)
    np.testing.assert_allclose(of_page(engine, frame), expected, rtol=0, atol=EXACT)


def test_frames_are_filtered_over_time(tmp_path: Path) -> None:
    """A still room with noise, a subject that moves, and a cut."""
    engine, frames = Tiny(tmp_path).build(), drawn_film()
    page, steady = OfPage(engine), TemporalFilter[int]()
    filtered = False
    with Matter(engine, backend="onnxruntime", arithmetic="float32", threads=1) as matter:
        for at, frame in enumerate(frames):
            now = matter.infer(matter.prepare(frame))
            [(_, expected)] = steady.push(at, frame, now)
            filtered |= bool(np.abs(expected - now).max() > 1e-3)
            np.testing.assert_allclose(
                page(frame), matter.finish(frame, expected).alpha, rtol=0, atol=EXACT
            )
            np.testing.assert_allclose(page.steady, expected, rtol=0, atol=EXACT)
            if at == CUT:
                assert np.array_equal(expected, now)
    assert filtered


def test_what_mattes_no_picture_alone_is_refused(tmp_path: Path) -> None:
    manifest = Tiny(tmp_path).manifest()
    with pytest.raises(BuildError, match="trimap"):
        check(replace(manifest, extra_inputs=(ExtraInput("trimap", 3),)))
    with pytest.raises(BuildError, match="4"):
        check(replace(manifest, batch=4))
    with pytest.raises(BuildError, match="gfm"):
        check(replace(manifest, fusion="cam", heads=(Head("cam", 20),)))
