"""RSSN's steps: each does what the paper says, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matter_sdk.training import composition
from matter_sdk.training.composition import KERNELS, Rssn
from matter_sdk.training.data.layers import compose
from matter_sdk.training.data.textures import photographs
from matter_sdk.training.evaluation import sheets

NOTHING = Rssn(denoise=0, blur=0, noise=0)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _picture(seed: int, size: tuple[int, int] = (32, 40)) -> np.ndarray:
    return _rng(seed).integers(0, 256, (*size, 3), np.uint8)


def _photograph() -> np.ndarray:
    return np.ascontiguousarray(photographs()[0][40:168, 160:320])


@given(level=st.integers(0, 255), seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_noise_is_clipped_and_never_wraps(level: int, seed: int) -> None:
    flat = np.full((24, 24, 3), level, np.uint8)
    noisy = composition.add_noise(_rng(seed), flat)
    assert noisy.dtype == np.uint8
    # Six deviations: once in 500 million values.
    assert np.abs(noisy.astype(int) - level).max() <= 61


def test_noise_has_the_deviation_asked_for_and_no_bias() -> None:
    flat = np.full((200, 200, 3), 128, np.uint8)
    for sigma in (3.0, 10.0):
        difference = composition.add_noise(_rng(), flat, sigma).astype(float) - 128
        assert difference.std() == pytest.approx(sigma, rel=0.02)
        assert difference.mean() == pytest.approx(0, abs=0.1)
    assert abs(np.corrcoef(difference[..., 0].ravel(), difference[..., 1].ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("kernel", [1, 7, *KERNELS])
def test_blur_is_the_mean_of_a_window_of_the_reflected_picture(kernel: int) -> None:
    image = _picture(1, (70, 80))
    before, after = kernel // 2, kernel - 1 - kernel // 2
    padded = np.pad(image, ((before, after), (before, after), (0, 0)), "symmetric").astype(float)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (0, 1))
    assert np.abs(composition.blur(image, kernel) - windows.mean((3, 4))).max() <= 0.51


def test_denoise_removes_noise_and_keeps_edges() -> None:
    clean = np.full((48, 64, 3), 90, np.uint8)
    clean[:, 32:] = 180
    noisy = composition.add_noise(_rng(), clean, 5)
    result = composition.denoise(noisy).astype(float)
    assert np.abs(result - clean).mean() < 0.4 * np.abs(noisy.astype(float) - clean).mean()
    assert result[:, 33].mean() - result[:, 30].mean() > 85


@pytest.mark.parametrize("method", ["ml", "cf"])
def test_estimated_layers_recompose_the_photograph(method: str) -> None:
    """Two flat colours and a ramp between them: the colours are known."""
    red, green = np.array([200, 40, 30]), np.array([20, 160, 60])
    alpha = np.clip((np.arange(64, dtype=np.float32) - 16) / 32, 0, 1)[None].repeat(48, 0)
    image = compose(
        np.broadcast_to(red, (48, 64, 3)).astype(np.uint8),
        np.broadcast_to(green, (48, 64, 3)).astype(np.uint8),
        alpha,
    )
    foreground, background = composition.estimate_layers(image, alpha, method)
    assert foreground.dtype == background.dtype == np.uint8
    recomposed = compose(foreground, background, alpha)
    assert np.abs(recomposed.astype(int) - image).max() <= 3
    middle = (alpha > 0.3) & (alpha < 0.7)
    assert np.abs(foreground[middle].astype(int) - red).max() < 25
    assert np.abs(background[middle].astype(int) - green).max() < 25


def test_estimated_layers_survive_a_fork() -> None:
    """Numba's own choice of threads hangs in a forked worker once its parent has used it."""
    code = """
import multiprocessing, numpy as np
from matter_sdk.training.composition import estimate_layers
image, alpha = np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), np.float32)
estimate_layers(image, alpha)
with multiprocessing.get_context("fork").Pool(1) as pool:
    pool.apply_async(estimate_layers, (image, alpha)).get(timeout=30)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("size", [(20, 30), (64, 64), (90, 25), (120, 200)])
def test_fit_keeps_proportions_and_fills_the_size(size: tuple[int, int]) -> None:
    rows, columns = np.mgrid[:60, :80].astype(np.uint8)
    ramp = np.stack([rows * 4, columns * 3, rows * 0], -1)
    fitted = composition.fit(ramp, size)
    assert fitted.shape == (*size, 3)
    inner = fitted[size[0] // 4 : -size[0] // 4, size[1] // 4 : -size[1] // 4].astype(float)
    scale = min(60 / size[0], 80 / size[1])
    assert np.diff(inner[..., 0].mean(1)).mean() == pytest.approx(4 * scale, rel=0.1)
    assert np.diff(inner[..., 1].mean(0)).mean() == pytest.approx(3 * scale, rel=0.1)
    assert inner[..., 0].mean() == pytest.approx(4 * 29.5, abs=4)  # the middle


def test_fit_takes_random_places_inside_the_picture() -> None:
    image = np.ones((40, 60, 3), np.uint8)
    image[10:30, 20:40] = 200
    means = [composition.fit(image, (10, 10), _rng(seed), 0.5).mean() for seed in range(40)]
    assert min(means) >= 1
    assert np.std(means) > 20


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_alpha_of_0_or_1_gives_one_of_the_layers(value: float) -> None:
    foreground, background = _picture(1), _picture(2)
    alpha = np.full((32, 40), value, np.float32)
    layers = composition.compose_rssn(_rng(), foreground, background, alpha, NOTHING)
    np.testing.assert_array_equal(layers.image, foreground if value else background)


def test_without_its_steps_rssn_is_the_matting_equation() -> None:
    foreground, background = _picture(1), _picture(2)
    alpha = _rng(3).random((32, 40)).astype(np.float32)
    layers = composition.compose_rssn(
        _rng(), foreground, background, alpha, NOTHING, kind="STM", category="net"
    )
    np.testing.assert_array_equal(layers.image, compose(foreground, background, alpha))
    np.testing.assert_array_equal(layers.foreground, foreground)
    np.testing.assert_array_equal(layers.background, background)
    assert (layers.kind, layers.category) == ("STM", "net")


def test_each_step_alone_changes_what_it_should() -> None:
    foreground, background = _picture(1), _picture(2)
    alpha = _rng(3).random((32, 40)).astype(np.float32)

    def run(**step: float) -> composition.Layers:
        only = Rssn(**{"denoise": 0, "blur": 0, "noise": 0, "kernels": (20,)} | step)
        return composition.compose_rssn(_rng(), foreground, background, alpha, only)

    blurred = run(blur=1)
    np.testing.assert_array_equal(blurred.background, composition.blur(background, 20))
    np.testing.assert_array_equal(blurred.foreground, foreground)
    np.testing.assert_array_equal(blurred.image, compose(foreground, blurred.background, alpha))

    denoised = run(denoise=1)
    np.testing.assert_array_equal(denoised.foreground, composition.denoise(foreground))
    np.testing.assert_array_equal(denoised.background, composition.denoise(background))

    noisy = run(noise=1)
    np.testing.assert_array_equal(noisy.foreground, foreground)
    np.testing.assert_array_equal(noisy.background, background)
    difference = noisy.image.astype(float) - compose(foreground, background, alpha)
    assert 8 < difference.std() < 11


def test_steps_are_taken_with_their_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted over seeds; 0.5 within four deviations, each step by itself."""
    calls: dict[str, list[int]] = {}

    def record(name: str):  # noqa: ANN202
        def step(*arguments: object) -> np.ndarray:
            images = [a for a in arguments if isinstance(a, np.ndarray)]
            calls.setdefault(f"{name} {images[0].flat[0]}", []).append(seed)
            if name == "blur":
                kernels.append(arguments[1])
            return images[0]

        return step

    kernels: list[object] = []
    for name in ("denoise", "blur", "add_noise"):
        monkeypatch.setattr(composition, name, record(name))
    foreground = np.full((1, 1, 3), 200, np.uint8)
    background = np.full((1, 1, 3), 50, np.uint8)
    alpha = np.ones((1, 1), np.float32)
    count = 1600
    for seed in range(count):
        composition.compose_rssn(_rng(seed), foreground, background, alpha)
    assert calls.keys() == {"denoise 200", "denoise 50", "blur 50", "add_noise 200"}
    for seeds in calls.values():
        assert len(seeds) / count == pytest.approx(0.5, abs=4 * 0.5 / count**0.5)
    both = len(set(calls["denoise 200"]) & set(calls["denoise 50"])) / count
    assert both == pytest.approx(0.25, abs=0.05)  # foreground and background independently
    values, counts = np.unique(np.array(kernels, int), return_counts=True)
    assert values.tolist() == list(KERNELS)
    assert counts.min() > 0.7 * counts.max()


def test_a_resized_crop_is_blurred_as_wide_as_the_picture_would_be() -> None:
    background, alpha = _picture(2, (60, 60)), np.zeros((60, 60), np.float32)
    only = Rssn(denoise=0, blur=1, noise=0, kernels=(40,))
    layers = composition.compose_rssn(_rng(), background, background, alpha, only, scale=0.25)
    np.testing.assert_array_equal(layers.background, composition.blur(background, 10))


def test_a_seed_gives_one_composite_and_settings_do_not_disturb_other_draws() -> None:
    foreground, background = _picture(1), _picture(2)
    alpha = _rng(3).random((32, 40)).astype(np.float32)
    one, again, other = (
        composition.compose_rssn(_rng(seed), foreground, background, alpha).image
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    noisy, also = (
        composition.compose_rssn(
            _rng(5), foreground, foreground, alpha, Rssn(denoise=0, blur=blur, noise=1)
        )
        for blur in (0, 1)
    )
    inside = alpha > 0.999  # the same noise, whether the background was blurred or not
    np.testing.assert_array_equal(noisy.image[inside], also.image[inside])


def test_backgrounds_of_non_salient_things_are_always_blurred() -> None:
    usual = Rssn()
    assert composition.type_wise(usual, "NS") == Rssn(blur=1.0)
    for kind in ("SO", "STM"):
        assert composition.type_wise(usual, kind) is usual


def _write(path: Path, picture: np.ndarray) -> Path:
    path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())
    return path


def test_the_command_draws_its_sheet_and_refuses_wrong_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alpha = np.zeros((48, 64), np.uint8)
    alpha[10:40, 20:50] = 255
    image = _write(tmp_path / "a.jpg", cv2.resize(_photograph(), (64, 48)))
    files = ["--image", image, "--background", image, "--alpha", _write(tmp_path / "m.png", alpha)]
    output = tmp_path / "out" / "sheet.png"
    assert composition.main([*map(str, files), "--output", str(output)]) == 0
    assert capsys.readouterr().out == f"{output}\n"
    assert cv2.imread(str(output)).shape[1] > 8 * sheets.BOX[1]  # eight steps in a row

    assert composition.main([*map(str, files), "--output", str(tmp_path / "sheet.xyz")]) == 2
    assert "sheet.xyz" in capsys.readouterr().err
    files[-1] = _write(tmp_path / "m.png", alpha[:40])
    assert composition.main([*map(str, files), "--output", str(output)]) == 2
    assert "m.png is 64×40; expected 64×48" in capsys.readouterr().err
