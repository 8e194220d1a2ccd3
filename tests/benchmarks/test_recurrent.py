"""The recurrent network is as large as the published one, remembers, and runs as it is timed."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.baselines.recurrent import Recurrent, RecurrentMatting, states_of
from tests.sdk.checks import smooth_frame


def test_as_large_as_published() -> None:
    """Open Model Zoo's page of robust-video-matting-mobilenetv3: 3.7363 million parameters, with
    batch norms folded into convolutions, and 9.3892 GFlops for 720p, elementwise ones counted."""
    network = RecurrentMatting().eval()
    norms = sum(m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    assert abs(sum(p.numel() for p in network.parameters()) - norms - 3.7363e6) < 1e3
    frame = torch.rand(1, 3, 720, 1280)
    with FlopCounterMode(display=False) as counted, torch.inference_mode():
        foreground, alpha, *states = network(frame, *states_of(frame))
    assert 0.97 < counted.get_total_flops() / 9.3892e9 < 1
    assert foreground.shape == frame.shape
    assert alpha.shape == (1, 1, 720, 1280)
    assert [s.shape for s in states] == [s.shape for s in states_of(frame)]


def test_a_frame_depends_on_those_before() -> None:
    torch.manual_seed(0)
    network = RecurrentMatting().eval()
    frame = torch.rand(1, 3, 160, 320)
    with torch.inference_mode():
        _, first, *states = network(frame, *states_of(frame))
        _, second, *_ = network(frame, *states)
    assert not torch.equal(first, second)


def test_it_runs_in_openvino_as_in_pytorch() -> None:
    frame = smooth_frame((160, 320))
    program = Recurrent((160, 320), 1)
    torch.manual_seed(0)
    torch.rand(1, 3, 160, 320)  # as the program draws a frame before the weights
    network = RecurrentMatting().eval()
    given = torch.from_numpy(program.prepare(frame))
    states = states_of(given)
    for _ in range(2):
        with torch.inference_mode():
            foreground, alpha, *states = network(given, *states)
        np.testing.assert_allclose(program.run(given.numpy()), alpha[0, 0], atol=0.05)
    with torch.inference_mode():
        foreground, alpha, *_ = network(given, *states)
    behind = smooth_frame((160, 320), 1)
    colours, share = (255 * foreground[0]).numpy(), alpha[0].numpy()
    expected = colours * share + (1 - share) * behind[..., ::-1].transpose(2, 0, 1)
    found = program(frame, behind)[..., ::-1].transpose(2, 0, 1)
    assert np.abs(found - expected).mean() < 3
