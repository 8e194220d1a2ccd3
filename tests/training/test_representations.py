"""RoSTa: trimaps and glance targets from alpha."""

import numpy as np
import pytest
from scipy import ndimage

from kernels import collaborative_fusion
from training.representations import focus_target, glance_target, trimap
from training.scenes import scene


def test_trimap_matches_distances_from_a_disc() -> None:
    yy, xx = np.mgrid[:101, :101]
    radius = np.hypot(yy - 50, xx - 50)
    alpha = (radius <= 30).astype(np.float32)
    areas = trimap(alpha, 21)
    # An ellipse of 21 reaches 10 pixels; one pixel of tolerance for its raster.
    assert (areas[radius < 18.5] == 255).all()
    assert (areas[(radius > 21) & (radius < 39)] == 128).all()
    assert (areas[radius > 41.5] == 0).all()


def test_trimap_keeps_every_fractional_pixel_in_the_transition() -> None:
    _, alpha = scene(3, (128, 160))
    areas = trimap(alpha, 5)
    fractional = (np.round(alpha * 255) > 0) & (np.round(alpha * 255) < 255)
    assert (areas[fractional] == 128).all()
    assert (alpha[areas == 255] > 0.99).all()
    assert (alpha[areas == 0] < 0.01).all()
    grown = ndimage.binary_dilation(areas == 255)
    assert not (areas[grown] == 0).any()  # the transition lies between


@pytest.mark.parametrize("rosta", ["tt", "ft", "bt"])
def test_fusing_perfect_heads_gives_alpha_back(rosta: str) -> None:
    """What the decoders are taught, joined by collaborative matting, is the matte itself."""
    _, alpha = scene(5, (96, 128))
    classes, mask = glance_target(alpha, rosta, 15)
    count = 3 if rosta == "tt" else 2
    glance = np.eye(count, dtype=np.float32)[classes].transpose(2, 0, 1)[None]
    focus = (focus_target(alpha, rosta) * mask)[None, None].astype(np.float32)
    fused = collaborative_fusion(np.ascontiguousarray(glance), focus, rosta)[0, 0]
    np.testing.assert_allclose(fused, alpha, atol=1 / 255)


def test_unknown_rosta_is_named() -> None:
    with pytest.raises(ValueError, match="'xt'; expected 'tt', 'ft' or 'bt'"):
        glance_target(np.zeros((8, 8), np.float32), "xt", 3)
