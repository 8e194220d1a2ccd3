"""A Matter that was opened, and used, before ``os.fork``: the child's own works or says why not."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matter_sdk.sdk import BackendError, Matter, MatterPool
from matter_sdk.sdk.backends import gpu
from matter_sdk.sdk.errors import ClosedError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def in_child(work: Callable[[], str], seconds: float = 20) -> str:
    """What ``work`` says in a child of a fork."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, work().encode())
        except BaseException as error:  # noqa: BLE001 - the parent judges it
            os.write(write, f"{type(error).__name__}: {error}"[:500].encode())
        os._exit(0)
    try:
        ready, _, _ = select.select([read], [], [], seconds)
        return os.read(read, 1000).decode() if ready else "hangs"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork beside threads, which is meant
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("size", [(180, 320), (2160, 3840)])
def test_the_child_mattes_as_the_parent(
    engine_path: Path, backend: str, used: bool, size: tuple[int, int]
) -> None:
    """Large frames too, whose kernels run in several threads."""
    pytest.importorskip(backend)
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    with Matter(engine_path, backend=backend, threads=2) as matter:
        if used:
            matter(frame)

        def child() -> str:
            alpha = matter(frame).alpha
            over = matter(frame).over("blur", clean=True)
            list(matter.stream([frame] * 2))
            matter.close()
            return f"{float(alpha.sum(dtype=np.float64))} {int(over.sum())}"

        said = in_child(child)
        if backend == "openvino":  # it waits for ever for threads that did not come along
            assert said.startswith(BackendError.__name__)
            assert "forked" in said
            assert "spawn" in said
            return
        alpha, over = matter(frame).alpha, matter(frame).over("blur", clean=True)
        assert said == f"{float(alpha.sum(dtype=np.float64))} {int(over.sum())}"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("begun", [False, True])
def test_a_child_whose_parent_had_begun_cuda(monkeypatch: pytest.MonkeyPatch, begun: bool) -> None:
    """The driver answers cuInit with 3 there; the parent's count of GPUs is not for the child."""
    parents: list[int] = []

    class Driver:
        def cuInit(self, _flags: int) -> int:  # noqa: N802
            parents.append(os.getpid())
            return 0 if set(parents) == {os.getpid()} else 3

        def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
            count._obj.value = 1
            return 0

    monkeypatch.setattr(gpu.ctypes, "CDLL", lambda _name: Driver())
    gpu.gpu_count.cache_clear()
    try:
        assert not begun or gpu.no_gpu("tensorrt_rtx", 0) is None
        said = in_child(lambda: str(gpu.no_gpu("tensorrt_rtx", 0)))
        assert ("forked" in said and "spawn" in said) if begun else said == "None"
        assert gpu.no_gpu("tensorrt_rtx", 0) is None
    finally:
        gpu.gpu_count.cache_clear()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_child_takes_another_backend_than_openvino(engine_path: Path) -> None:
    """Where none was asked for."""
    pytest.importorskip("openvino")
    frame = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
    with Matter(engine_path, device="cpu", threads=1) as matter:
        alpha = matter(frame).alpha
        assert matter.backend == "openvino"
        said = in_child(lambda: f"{np.abs(matter(frame).alpha - alpha).max()}")
        assert float(said) < 1e-4


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_pool_of_before_a_fork_is_refused(engine_path: Path) -> None:
    with MatterPool(engine_path, backend="onnxruntime") as pool:
        prepared = pool.matter.prepare(np.zeros((32, 64, 3), np.uint8))
        said = in_child(lambda: str(pool.infer(prepared)))
        assert said.startswith(ClosedError.__name__)
        assert "before a fork" in said


def test_on_a_gpu_a_fork_is_refused(engine_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Matter(engine_path, backend="onnxruntime") as matter:
        frame = np.zeros((32, 64, 3), np.uint8)
        matter(frame)
        monkeypatch.setattr(matter._engine.backend, "on_gpu", True)
        matter._network.forked()
        monkeypatch.setattr(matter._engine.backend, "on_gpu", False)
        with pytest.raises(BackendError, match="does not survive"):
            matter(frame)
