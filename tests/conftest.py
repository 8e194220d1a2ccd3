"""What all tests share.

Those marked `gpu` are skipped where there is no GPU.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from tests.fakes.cuda import fake_cuda, fake_cupy, fake_tensorrt  # noqa: F401 - fixtures


@functools.cache
def why_no_gpu() -> str:
    """Why the tests marked `gpu` cannot run, or an empty string."""
    try:
        import cupy
    except ImportError as error:
        return f"CuPy cannot be imported: {error}"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no CUDA device: {error}"
    return "" if count else "no CUDA device"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is not None and why_no_gpu():
        pytest.skip(why_no_gpu())


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the SDK notes for a user is not that of the user who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("CACHE", "STATE"):
            patch.setenv(f"XDG_{kind}_HOME", str(tmp_path_factory.mktemp(kind.lower())))
        yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: with several its max-unpool has no one answer."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
