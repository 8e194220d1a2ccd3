from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from matter_sdk.kernels import KernelError, _host, collaborative_fusion
from tests.kernels.test_preprocess import axis_matrix

CLASSES = {"tt": 3, "unified": 3, "ft": 2, "bt": 2}


def reference(glance: NDArray[Any], focus: NDArray[Any], rosta: str) -> NDArray[np.float64]:
    """The rule as it is written; NumPy's argmax takes the first of equals."""
    winner = glance.astype(np.float64).argmax(axis=1, keepdims=True)
    detail = focus.astype(np.float64)
    if rosta == "ft":
        return np.minimum(1, winner + detail)
    if rosta == "bt":
        return np.maximum(0, winner - detail)
    return np.where(winner == 1, detail, winner / 2)


def heads(rosta: str, dtype: Any = np.float32, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    random = np.random.default_rng(seed)
    # One digit, so that equals are common.
    glance = random.random((2, CLASSES[rosta], 13, 37)).round(1).astype(dtype)
    return glance, random.random((2, 1, 13, 37)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("rosta", CLASSES)
def test_matches_the_rule(rosta: str, dtype: Any) -> None:
    glance, focus = heads(rosta, dtype)
    alpha = collaborative_fusion(glance, focus, rosta)
    assert alpha.shape == (2, 1, 13, 37)
    assert alpha.dtype == dtype
    np.testing.assert_array_equal(alpha, reference(glance, focus, rosta).astype(dtype))


@given(level=st.floats(0, 1, width=32), detail=st.floats(0, 1, width=32))
def test_a_tie_goes_to_the_lowest_class(level: float, detail: float) -> None:
    focus = np.full((1, 1, 1, 1), detail, np.float32)
    for rosta, classes in CLASSES.items():
        glance = np.full((1, classes, 1, 1), level, np.float32)
        expected = detail if rosta == "ft" else 0.0  # background, to which ft adds its focus
        assert collaborative_fusion(glance, focus, rosta)[0, 0, 0, 0] == np.float32(expected)


def test_a_tie_of_transition_and_foreground_is_transition() -> None:
    glance = np.array([0.2, 0.4, 0.4], np.float32).reshape(1, 3, 1, 1)
    focus = np.full((1, 1, 1, 1), 0.25, np.float32)
    assert collaborative_fusion(glance, focus, "tt").item() == 0.25


@given(arrays.arrays(np.float32, (1, 3, 1, 1), elements=st.sampled_from([0.1, 0.9, np.nan])))
def test_nan_never_wins(glance: NDArray[np.float32]) -> None:
    focus = np.full((1, 1, 1, 1), 0.5, np.float32)
    alpha = collaborative_fusion(glance, focus, "tt").item()
    scores = glance.ravel()
    if np.isnan(scores[0]):
        assert alpha == 0.0  # nothing is above NaN: background
    else:
        kept = np.where(np.isnan(scores), -1, scores)
        assert alpha == (0.0, 0.5, 1.0)[int(kept.argmax())] or np.isnan(scores[1])
    assert alpha in (0.0, 0.5, 1.0)


def test_alpha_stays_in_its_range() -> None:
    for rosta in CLASSES:
        glance, focus = heads(rosta, seed=3)
        alpha = collaborative_fusion(glance, focus, rosta)
        assert alpha.min() >= 0
        assert alpha.max() <= 1


def test_out_may_be_focus() -> None:
    glance, focus = heads("tt")
    expected = collaborative_fusion(glance, focus, "tt")
    assert collaborative_fusion(glance, focus, "tt", out=focus) is focus
    np.testing.assert_array_equal(focus, expected)


def test_large_planes_on_several_threads_give_the_same_bits() -> None:
    random = np.random.default_rng(0)
    glance = random.random((1, 3, 2048, 2000), np.float32)
    focus = random.random((1, 1, 2048, 2000), np.float32)
    alpha = collaborative_fusion(glance, focus, "tt")
    np.testing.assert_array_equal(alpha, reference(glance, focus, "tt").astype(np.float32))


def test_every_half_comes_back_from_float() -> None:
    bits = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    halves = bits.view(np.float16)
    # ft with argmax 0 hands focus on, as far as 1: half to float and back.
    glance = np.zeros((1, 2, 256, 256), np.float16)
    alpha = collaborative_fusion(glance, halves.reshape(1, 1, 256, 256), "ft").ravel()
    np.testing.assert_array_equal(alpha, np.where(halves > 1, np.float16(1), halves))


def test_floats_round_to_halves_as_numpy_does() -> None:
    # Every half, the points half-way to its neighbour, and what lies just beside those.
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middle = (halves[:-1] + halves[1:]) / 2
    values = np.concatenate(
        [halves, middle, np.nextafter(middle, np.float32(np.inf)), np.nextafter(middle, -1)]
    ).astype(np.float32)
    edges = np.array([65519.99, 65520, 1e30, np.inf, np.nan, 1e-30], np.float32)
    values = np.concatenate([values, edges, -values, -edges])
    bits = np.empty(values.shape, np.uint16)
    _host.floats_to_halves(values, bits)
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    np.testing.assert_array_equal(bits.view(np.float16), expected)
    kept = ~np.isnan(values)
    np.testing.assert_array_equal(bits[kept], expected[kept].view(np.uint16))


@pytest.mark.parametrize(
    ("glance", "focus", "rosta", "message"),
    [
        ((1, 3, 4, 4), (1, 1, 4, 4), "tt2", r"rosta is 'tt2', expected .*did you mean 'tt'"),
        ((1, 3, 4, 4), (1, 1, 4, 4), "FT", r"rosta is 'FT', .*did you mean 'ft'"),
        ((1, 3, 4, 4), (1, 1, 4, 4), "unify", r"did you mean 'unified'"),
        ((1, 3, 4, 4), (1, 1, 4, 4), None, r"rosta is None, expected one of 'tt'"),
        ((1, 2, 4, 4), (1, 1, 4, 4), "tt", r"glance is 1×2×4×4, expected N×3×H×W for rosta 'tt'"),
        ((1, 3, 4, 4), (1, 1, 4, 4), "bt", r"glance is 1×3×4×4, expected N×2×H×W for rosta 'bt'"),
        ((3, 4, 4), (1, 1, 4, 4), "tt", r"glance is 3×4×4, expected N×3×H×W"),
        ((1, 3, 4, 4), (2, 1, 4, 4), "tt", r"focus is 2×1×4×4, expected 1×1×H×W beside glance"),
        ((1, 3, 4, 4), (1, 3, 4, 4), "tt", r"focus is 1×3×4×4, expected 1×1×H×W beside glance"),
        ((1, 3, 4, 4), (1, 4, 4), "tt", r"focus is 1×4×4, expected 1×1×H×W"),
        ((1, 3, 4, 4), (1, 1, 4, 0), "tt", r"focus is 1×1×4×0"),
        ((1, 2, 1, 32769), (1, 1, 4, 4), "ft", r"glance is 1×32769 .*expected at most 32768"),
        ((1, 2, 4, 4), (1, 1, 32769, 1), "ft", r"focus is 32769×1 .*expected at most 32768"),
        ((1, 3, 0, 4), (1, 1, 0, 4), "tt", r"glance is 1×3×0×4"),
    ],
)
def test_bad_input_is_named(
    glance: tuple[int, ...], focus: tuple[int, ...], rosta: Any, message: str
) -> None:
    with pytest.raises(KernelError, match=message):
        collaborative_fusion(np.zeros(glance, np.float32), np.zeros(focus, np.float32), rosta)


def test_dtypes_are_named() -> None:
    with pytest.raises(KernelError, match=r"glance has dtype float64, expected float32 or float16"):
        collaborative_fusion(np.zeros((1, 3, 2, 2)), np.zeros((1, 1, 2, 2)), "tt")
    with pytest.raises(KernelError, match=r"focus has dtype float16, expected float32"):
        collaborative_fusion(
            np.zeros((1, 3, 2, 2), np.float32), np.zeros((1, 1, 2, 2), np.float16), "tt"
        )


# ---- heads of two sizes


def at_size(
    glance: NDArray[Any], focus: NDArray[Any], rosta: str, size: tuple[int, int]
) -> NDArray[np.float64]:
    """The hybrid-resolution rule from its definition, in float64."""

    def resized(image: NDArray[Any]) -> NDArray[np.float64]:
        rows, columns = (
            np.where(matrix > 1e-9, matrix, 0)  # where only rounding makes it more than 0
            for matrix in (
                axis_matrix(a, b, "area") for a, b in zip(image.shape[2:], size, strict=True)
            )
        )
        return np.einsum("yi,ncij,xj->ncyx", rows, image.astype(np.float64), columns)

    winner = glance.astype(np.float64).argmax(axis=1, keepdims=True)
    detail = resized(focus)
    if rosta == "ft":
        return np.minimum(1, resized(winner) + detail)
    if rosta == "bt":
        return np.maximum(0, resized(winner) - detail)
    only = [resized(winner != c) == 0 for c in (0, 2)]
    return np.where(only[0], 0, np.where(only[1], 1, detail))


def blocks(
    rosta: str, coarse: tuple[int, int], fine: tuple[int, int], seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Heads of two sizes; the classes come in patches, so that some windows hold one alone."""
    random = np.random.default_rng(seed)
    small = random.random((2, CLASSES[rosta], *(side // 3 + 1 for side in coarse)), np.float32)
    glance = small.repeat(3, axis=2).repeat(3, axis=3)[..., : coarse[0], : coarse[1]]
    return glance, random.random((2, 1, *fine), np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("rosta", CLASSES)
@pytest.mark.parametrize(
    ("coarse", "fine", "size"),
    [
        ((20, 30), (30, 45), None),  # GFM's third and half
        ((20, 30), (30, 45), (60, 90)),
        ((20, 30), (20, 30), (60, 90)),
        ((7, 11), (13, 17), (31, 19)),
        ((40, 60), (9, 300), (30, 45)),  # shrinks, and grows in one axis alone
        ((1, 1), (1, 1), (3, 4)),
        ((30, 45), (60, 90), (1, 1)),
    ],
)
def test_two_sizes_match_the_definition(
    rosta: str, dtype: Any, coarse: Any, fine: Any, size: Any
) -> None:
    glance, focus = (head.astype(dtype) for head in blocks(rosta, coarse, fine))
    alpha = collaborative_fusion(glance, focus, rosta, size=size)
    expected = at_size(glance, focus, rosta, size or fine)
    assert alpha.shape == expected.shape
    assert alpha.dtype == dtype
    np.testing.assert_allclose(alpha, expected, rtol=0, atol=6e-4 if dtype == np.float16 else 5e-7)
    plain = (expected == 0) | (expected == 1)
    if rosta == "tt":
        np.testing.assert_array_equal(alpha[plain], expected[plain])


@given(
    sides=st.lists(st.integers(1, 24), min_size=6, max_size=6), rosta=st.sampled_from([*CLASSES])
)
@settings(max_examples=150, deadline=None)
def test_any_sizes_match_the_definition_and_stay_in_range(sides: list[int], rosta: str) -> None:
    coarse, fine, size = ((sides[i], sides[i + 1]) for i in (0, 2, 4))
    glance, focus = blocks(rosta, coarse, fine, seed=sum(sides))
    alpha = collaborative_fusion(glance, focus, rosta, size=size)
    np.testing.assert_allclose(alpha, at_size(glance, focus, rosta, size), rtol=0, atol=5e-7)
    assert alpha.min() >= 0
    assert alpha.max() <= 1


def test_enlarging_is_torch_s_bilinear() -> None:
    glance, focus = blocks("tt", (16, 24), (24, 36), seed=4)
    classes = torch.from_numpy(glance).argmax(dim=1, keepdim=True).to(torch.float64)
    mask, detail = (
        torch.nn.functional.interpolate(
            head.to(torch.float64), (72, 107), mode="bilinear", align_corners=False
        ).numpy()
        for head in (classes, torch.from_numpy(focus))
    )
    expected = np.where(mask == 0, 0, np.where(mask == 2, 1, detail))
    alpha = collaborative_fusion(glance, focus, "tt", size=(72, 107))
    np.testing.assert_allclose(alpha, expected, rtol=0, atol=5e-7)


@pytest.mark.parametrize("rosta", CLASSES)
def test_the_size_of_the_heads_changes_nothing(rosta: str) -> None:
    glance, focus = heads(rosta)
    expected = collaborative_fusion(glance, focus, rosta)
    same = collaborative_fusion(glance, focus, rosta, size=(13, 37))
    np.testing.assert_array_equal(same, expected)
    # Each head by itself at the output's size: the other path, with the same answer.
    doubled = glance.repeat(2, axis=2).repeat(2, axis=3)
    result = collaborative_fusion(doubled, focus, rosta, size=(13, 37))
    np.testing.assert_array_equal(result, expected)


def test_plain_heads_give_exact_ends_at_awkward_sizes() -> None:
    focus = np.ones((1, 1, 997, 3), np.float32)
    for winner, alphas in {0: (0, 1, 0), 1: (1, 1, 0)}.items():
        glance = np.zeros((1, 3, 1009, 7), np.float32)
        glance[:, winner] = 1
        for rosta, alpha in zip(("tt", "ft", "bt"), alphas, strict=True):
            result = collaborative_fusion(
                glance[:, : CLASSES[rosta]], focus, rosta, size=(4999, 31)
            )
            assert (result == alpha).all()


def test_a_nan_in_the_focus_reaches_its_neighbours_alone() -> None:
    glance, focus = np.zeros((1, 3, 4, 4), np.float32), np.full((1, 1, 8, 8), 0.5, np.float32)
    glance[:, 1, :, :2] = 1  # transition on the left, background on the right
    focus[0, 0, 2, 1] = focus[0, 0, 2, 6] = np.nan
    alpha = collaborative_fusion(glance, focus, "tt", size=(16, 16))[0, 0]
    assert np.isnan(alpha[3:7, 1:5]).all()
    assert np.isnan(alpha).sum() == 16
    assert (alpha[:, 10:] == 0).all()


def test_large_outputs_on_several_threads_give_the_same_values() -> None:
    glance, focus = blocks("tt", (40, 50), (60, 75))
    result = collaborative_fusion(glance, focus, "tt", size=(1500, 1400))
    for n in range(2):
        one = collaborative_fusion(glance[n : n + 1], focus[n : n + 1], "tt", size=(1500, 1400))
        np.testing.assert_array_equal(result[n : n + 1], one)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (8, r"size is 8"),
        ((8.5, 8), r"size is \(8.5, 8\)"),
        ((0, 8), r"size is 0×8 .*expected each side in 1..32768: give the size that alpha"),
        ((8, 40000), r"size is 8×40000 "),
    ],
)
def test_a_bad_size_is_named(size: Any, message: str) -> None:
    with pytest.raises(KernelError, match=message):
        collaborative_fusion(*heads("tt"), "tt", size=size)


# ---- a glance before its last enlargement


@pytest.mark.parametrize("rosta", CLASSES)
@pytest.mark.parametrize(
    ("given", "own"),
    [((9, 16), (36, 64)), ((5, 7), (17, 40)), ((12, 3), (12, 11)), ((1, 1), (3, 2))],
)
def test_logits_are_interpolated_as_torch_does_before_they_are_compared(
    rosta: str, given: tuple[int, int], own: tuple[int, int]
) -> None:
    random = np.random.default_rng(1)
    logits = random.normal(0, 4, (2, CLASSES[rosta], *given)).astype(np.float32)
    focus = random.random((2, 1, *own), np.float32)
    enlarged = torch.nn.functional.interpolate(
        torch.from_numpy(logits).double(), own, mode="bilinear", align_corners=False
    )
    likely = torch.softmax(enlarged, 1).numpy()
    alpha = collaborative_fusion(logits, focus, rosta, glance_size=own)
    expected = reference(likely, focus, rosta)
    best = np.sort(enlarged.numpy(), axis=1)
    clear = best[:, -1:] - best[:, -2:-1] > 1e-4  # elsewhere float32 may round to another winner
    assert clear.mean() > 0.99
    np.testing.assert_allclose(alpha[clear], expected[clear], rtol=0, atol=1e-7)
    # Not what comparing first would give.
    if given != own and 1 not in given:
        assert (alpha != at_size(logits, focus, rosta, own)).mean() > 0.01


def test_logits_in_a_hybrid_pass_are_compared_at_the_glance_s_own_size() -> None:
    random = np.random.default_rng(2)
    logits = random.normal(0, 4, (1, 3, 5, 8)).astype(np.float32)
    focus = random.random((1, 1, 30, 48), np.float32)
    enlarged = torch.nn.functional.interpolate(
        torch.from_numpy(logits), (20, 32), mode="bilinear", align_corners=False
    ).numpy()
    expected = collaborative_fusion(enlarged, focus, "tt", size=(60, 96))
    alpha = collaborative_fusion(logits, focus, "tt", size=(60, 96), glance_size=(20, 32))
    assert (alpha != expected).mean() < 1e-3


def test_logits_on_several_threads_give_the_same_bits() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 4, (1, 3, 512, 500)).astype(np.float32)
    focus = random.random((1, 1, 2048, 2000), np.float32)
    alpha = collaborative_fusion(logits, focus, "tt", glance_size=(2048, 2000))
    upper = collaborative_fusion(
        logits[:, :, :258], focus[:, :, :1032], "tt", glance_size=(1032, 2000)
    )
    np.testing.assert_array_equal(alpha[:, :, :1024], upper[:, :, :1024])


def test_a_bad_glance_size_is_named() -> None:
    with pytest.raises(KernelError, match=r"glance_size is 13×36 and glance 2×3×13×37"):
        collaborative_fusion(*heads("tt"), "tt", glance_size=(13, 36))
    with pytest.raises(KernelError, match=r"size is 0×8 .*give the size of the network's input"):
        collaborative_fusion(*heads("tt"), "tt", glance_size=(0, 8))
