"""TensorRT's lanes, runtime cache and plugin with stand-ins: see tests/fakes/cuda.py."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from matter_sdk.kernels import max_pool_offsets, max_unpool
from matter_sdk.sdk import Matter
from matter_sdk.sdk.backends import (
    Backend,
    open_backend,
    own_plans,
    private_files,
    runtime_cache,
    unpool_plugin,
)
from matter_sdk.sdk.backends.tensorrt import TensorRt
from matter_sdk.sdk.engine.file import EngineFile
from matter_sdk.sdk.errors import BackendError
from tests.fakes import cuda
from tests.sdk import tiny_sim
from tests.sdk.checks import lanes_keep_apart, skip_where_refused

PLAN = hashlib.sha256(b"plan").hexdigest()
SHAPES = {"image": (1, 3, 32, 64), "focus": (1, 1, 32, 64), "glance": (1, 3, 32, 64)}


def built(tiny: Any, fake: Any, batch: int = 1, **plan: Any) -> Path:
    """An engine with an RTX plan, whose network is the tiny one's closed form."""
    fake.shapes = {name: (batch, *shape[1:]) for name, shape in SHAPES.items()}
    fake.network = staticmethod(
        lambda image: dict(zip(("glance", "focus"), tiny.heads(image), strict=True))
    )
    plans = (replace(tiny.plan(), **plan),)
    path: Path = tiny.build(batch=batch, change=lambda m: replace(m, plans=plans))
    own_plans.remember(PLAN)  # as export.stages.plans does when it builds one
    return path


def opened(path: Path, **options: Any) -> Backend:
    with EngineFile.open(path) as file:
        return open_backend(file, file.manifest.models[0], backend="tensorrt-rtx", **options)[0]


def image_of(number: int) -> NDArray[np.float32]:
    return np.random.default_rng(number).uniform(0, 255, SHAPES["image"]).astype(np.float32)


def assert_heads(tiny: Any, heads: Any, image: NDArray[np.float32]) -> None:
    for name, expected in zip(("glance", "focus"), tiny.heads(image), strict=True):
        np.testing.assert_allclose(heads[name].get(), expected, atol=1e-6)


# -------------------------------------------------------------------------------------------- lanes


def test_two_lanes_by_default_each_with_a_context_and_a_graph(
    tiny: Any, fake_tensorrt: Any
) -> None:
    backend = opened(built(tiny, fake_tensorrt))
    (engine,) = fake_tensorrt.made
    assert bytes(engine.plan) == b"plan"
    assert backend.lanes == len(engine.contexts) == 2
    assert "2 lanes, CUDA graphs" in backend.detail
    for lane, number in ((0, 1), (1, 2), (0, 3)):
        runs = engine.contexts[lane].runs
        image = image_of(number)
        assert_heads(tiny, backend.run(image, lane=lane), image)
        assert engine.contexts[lane].runs == runs + 1
    backend.close()
    backend.close()


def test_more_lanes_when_asked_for(tiny: Any, fake_tensorrt: Any) -> None:
    assert opened(built(tiny, fake_tensorrt), lanes=3).lanes == 3
    assert opened(built(tiny, fake_tensorrt), lanes=1).lanes == 2


def test_without_a_graph_where_the_stream_cannot_be_captured(tiny: Any, fake_tensorrt: Any) -> None:
    path = built(tiny, fake_tensorrt)
    fake_tensorrt.capturable = False
    backend = opened(path)
    assert "no CUDA graph" in backend.detail
    image = image_of(4)
    assert_heads(tiny, backend.run(image), image)


@pytest.mark.parametrize("when", ["at once", "late"])
def test_a_network_that_refuses_capture_runs_without_a_graph(
    tiny: Any, fake_tensorrt: Any, when: str
) -> None:
    path = built(tiny, fake_tensorrt)
    fake_tensorrt.refuses_capture = when
    frames = [np.full((32, 64, 3), 30 * number, np.uint8) for number in range(2)]
    with Matter(path, backend="tensorrt-rtx") as matter:
        assert "no CUDA graph" in matter.runtime
        graph = matter.frame_graph(frames[0], "green")
        for frame in frames:
            np.testing.assert_allclose(matter(frame).alpha, tiny.alpha(frame), atol=1e-3)
            graph.submit(frame)
            np.testing.assert_array_equal(graph.result(), matter(frame).over("green"))
        graph.close()


def test_what_a_lane_gave_stays_while_others_run(tiny: Any, fake_tensorrt: Any) -> None:
    backend = opened(built(tiny, fake_tensorrt))
    first, second = image_of(5), image_of(6)
    heads = backend.run(first, lane=0)
    backend.run(second, lane=1)
    assert_heads(tiny, heads, first)


def test_an_input_on_the_gpu_is_waited_for(tiny: Any, fake_tensorrt: Any, fake_cuda: Any) -> None:
    """It is still to be written on the caller's stream when the network is asked to run."""
    backend = opened(built(tiny, fake_tensorrt))
    image = image_of(7)
    theirs = cuda.Stream()
    with theirs:
        array = cuda.DeviceArray(np.zeros_like(image))
        array.set(image)
        heads = backend.run(array)
    assert_heads(tiny, heads, image)


def test_lanes_at_once_through_one_matter(tiny: Any, fake_tensorrt: Any) -> None:
    frames = [np.full((32, 64, 3), 30 * number, np.uint8) for number in range(8)]
    with Matter(built(tiny, fake_tensorrt), backend="tensorrt-rtx") as matter:
        assert (matter.lanes, matter.device) == (2, "cuda:0")
        lanes_keep_apart(matter, frames, [tiny.alpha(frame) for frame in frames], calls=10)


def test_one_lane_takes_its_frame_while_the_other_computes(
    tiny: Any, fake_tensorrt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first lane's network does not end before the second's has been started."""
    backend = opened(built(tiny, fake_tensorrt))
    both = threading.Barrier(2, timeout=10)
    wait = cuda.Stream.synchronize

    def together(stream: cuda.Stream) -> None:
        if stream is not cuda.Stream.null:
            both.wait()
        wait(stream)

    monkeypatch.setattr(cuda.Stream, "synchronize", together)
    images = [image_of(8), image_of(9)]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(backend.run, images[lane], lane=lane) for lane in range(2)]
        results = [job.result() for job in jobs]
    monkeypatch.undo()
    for heads, image in zip(results, images, strict=True):
        assert_heads(tiny, heads, image)


def test_a_lane_of_ones_own(tiny: Any, fake_tensorrt: Any) -> None:
    backend = opened(built(tiny, fake_tensorrt))
    assert isinstance(backend, TensorRt)
    own = backend.lane()
    image = image_of(10)
    assert_heads(tiny, own.run([image]), image)
    assert len(fake_tensorrt.made[0].contexts) == 3


def test_no_memory_for_a_context(
    tiny: Any, fake_tensorrt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = built(tiny, fake_tensorrt)
    monkeypatch.setattr(fake_tensorrt, "create_execution_context", lambda *_: None)
    with pytest.raises(BackendError, match="execution context"):
        opened(path)


def test_a_lane_outlives_its_backend(tiny: Any, fake_tensorrt: Any) -> None:
    """A context needs its engine, runtime, logger and cache, and no library keeps all of them."""
    backend = opened(built(tiny, fake_tensorrt))
    assert isinstance(backend, TensorRt)
    assert backend._kernels is not None
    needed = [backend._logger, backend._runtime, backend._engine, backend._kernels._cache]
    needs = [weakref.ref(one) for one in needed]
    own = backend.lane()
    backend.close()
    (engine,) = fake_tensorrt.made
    for held in (engine.configs, engine.contexts, fake_tensorrt.made):
        held.clear()  # by the stand-in alone
    del backend, needed, engine
    gc.collect()
    assert None not in [one() for one in needs]
    context = weakref.ref(own._context)
    released = [weakref.finalize(need(), lambda: order.append(context() is None)) for need in needs]
    order: list[bool] = []
    del own
    gc.collect()
    assert order == [True] * len(released)  # the context was the first to go


# ------------------------------------------------------------------------------------ what it says


def test_what_tensorrt_says_is_logged(
    tiny: Any, fake_tensorrt: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = built(tiny, fake_tensorrt)
    fake_tensorrt.says = ((2, "slow "), (3, "told"), (4, "told in detail"))
    with caplog.at_level(logging.DEBUG, "matter"):
        opened(path)
    heard = [
        (r.levelname, r.getMessage())
        for r in caplog.records
        if "TensorRT for RTX:" in r.msg % r.args
    ]
    assert heard == [("WARNING", "TensorRT for RTX: slow")]


def test_why_a_plan_cannot_be_read(tiny: Any, fake_tensorrt: Any) -> None:
    path = built(tiny, fake_tensorrt)
    fake_tensorrt.says = ((1, "the first cause"), (0, "an internal one"))
    fake_tensorrt.unreadable = True
    with pytest.raises(BackendError, match="the first cause; an internal one"):
        opened(path)


# ----------------------------------------------------------------------------- which GPUs it serves


def test_on_a_gpu_that_no_plan_serves_another_backend_runs(
    tiny: Any, fake_tensorrt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda.Device, "compute_capability", "90")
    with EngineFile.open(built(tiny, fake_tensorrt)) as file:
        backend, passed = open_backend(file, file.manifest.models[0])
    assert backend.name in ("onnxruntime", "openvino")
    assert "9.0" in dict(passed)["tensorrt-rtx"]
    assert not fake_tensorrt.made


@pytest.mark.parametrize(
    ("bits", "words"), [(1, ("of another version",)), (6, ("this GPU", "driver is too old"))]
)
def test_a_plan_that_the_library_finds_invalid_is_passed_over(
    tiny: Any, fake_tensorrt: Any, bits: int, words: tuple[str, ...]
) -> None:
    path = built(tiny, fake_tensorrt)
    fake_tensorrt.invalid = bits
    with EngineFile.open(path) as file:
        backend, passed = open_backend(file, file.manifest.models[0])
    assert backend.name in ("onnxruntime", "openvino")
    reason = dict(passed)["tensorrt-rtx"]
    assert all(word in reason for word in (*words, "plans/tensorrt-rtx-1.7.1.116.plan"))


@pytest.mark.parametrize("fails", ["cupy", "capability"])
def test_a_cupy_that_does_not_work_here_is_passed_over(
    tiny: Any, fake_tensorrt: Any, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """As with a driver that is too old for it."""
    path = built(tiny, fake_tensorrt)

    def refuse(*_: Any) -> Any:
        raise cuda.CudaError("cudaErrorInsufficientDriver: the driver is too old\nand more")

    if fails == "cupy":
        monkeypatch.setitem(sys.modules, "cupy", None)  # an ImportError
    else:
        monkeypatch.setattr(cuda.Device, "compute_capability", property(refuse))
    with Matter(path) as matter:
        assert matter.backend in ("onnxruntime", "openvino")
    with pytest.raises(BackendError) as caught:
        Matter(path, backend="tensorrt-rtx")
    words = "cupy" if fails == "cupy" else "cudaErrorInsufficientDriver"
    assert words in str(caught.value)
    assert "and more" not in str(caught.value)


def test_tests_on_a_gpu_skip_with_the_reason(
    tiny: Any, fake_tensorrt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = built(tiny, fake_tensorrt)
    skip_where_refused(path, "tensorrt-rtx")
    monkeypatch.setattr(cuda.Device, "compute_capability", "90")
    with pytest.raises(pytest.skip.Exception, match=r"9\.0"):
        skip_where_refused(path, "tensorrt-rtx")


# --------------------------------------------------------------------------------- whose plan it is


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of a user who has built nothing yet."""
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "matter"


def test_a_plan_from_elsewhere_is_not_run(
    tiny: Any, fake_tensorrt: Any, elsewhere: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = built(tiny, fake_tensorrt)
    own_plans.record().unlink()
    frame = np.zeros((32, 64, 3), np.uint8)
    with caplog.at_level(logging.INFO, "matter"), Matter(path) as matter:
        assert matter.backend in ("onnxruntime", "openvino")  # the graph in the same file
        expected = matter(frame).alpha
    assert "native code that this user did not build on this machine" in caplog.text
    assert not fake_tensorrt.made
    with pytest.raises(BackendError, match="trust_plans=True"):
        Matter(path, backend="tensorrt-rtx")
    assert not fake_tensorrt.made
    with Matter(path, backend="tensorrt-rtx", trust_plans=True) as matter:
        np.testing.assert_allclose(matter(frame).alpha, expected, atol=1e-3)
    assert len(fake_tensorrt.made) == 1
    own_plans.remember(PLAN)
    with Matter(path) as matter:
        assert matter.backend == "tensorrt-rtx"


def test_trust_is_of_the_file_and_its_parts(tiny: Any, tmp_path: Path) -> None:
    path = tiny.build()
    for trusted in (False, True):
        with Matter(path, trust_plans=trusted) as matter:
            assert matter._network._file.trust_plans is trusted
    sim = tiny_sim.build(tmp_path / "sim.engine")
    with EngineFile.open(sim, trust_plans=True) as file:
        assert file.part("classifier").trust_plans


def test_the_record_of_plans(elsewhere: Path) -> None:
    first, second = "1" * 64, "2" * 64
    assert not own_plans.known(first)
    assert own_plans.remember(first)
    assert own_plans.remember(second)
    assert own_plans.known(first)
    assert own_plans.known(second)
    assert not own_plans.known("1" * 63)
    record = own_plans.record()
    assert record.parent == elsewhere
    assert record.stat().st_mode & 0o777 == 0o600
    assert elsewhere.stat().st_mode & 0o777 == 0o700


def make_foreign(path: Path, how: str) -> None:
    """Make a file of this user a link, another user's, or no plain file."""
    if how == "link":
        path.rename(path.with_name("other"))
        path.symlink_to(path.with_name("other"))
    elif how == "owner":
        if os.geteuid():
            pytest.skip("only root may give a file away")
        os.chown(path, 65534, 65534)
    else:
        assert how == "fifo"
        path.unlink()
        os.mkfifo(path, 0o600)


@pytest.mark.parametrize("how", ["readable", "link", "owner", "fifo", "long"])
def test_a_record_that_others_may_have_written(elsewhere: Path, how: str) -> None:
    own_plans.remember(PLAN)
    record = own_plans.record()
    if how == "readable":
        record.chmod(0o620)
    elif how == "long":
        record.write_bytes(f"{PLAN}\n".encode() * 20_000)
    else:
        make_foreign(record, how)
    assert not own_plans.known(PLAN)
    assert how == "long" or not own_plans.remember(PLAN)


def test_a_state_folder_of_another(elsewhere: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "real").mkdir(mode=0o700)
    elsewhere.symlink_to(tmp_path / "real")
    assert not own_plans.remember(PLAN)
    assert list((tmp_path / "real").iterdir()) == []


# ------------------------------------------------------------------------------------ runtime cache


@pytest.mark.parametrize("how", ["writable", "link", "owner", "fifo"])
def test_kernels_of_another_user_are_not_taken(tmp_path: Path, how: str) -> None:
    engine = tmp_path / "gfm.engine"
    path = runtime_cache.write(engine, b"kernels")
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o600
    assert runtime_cache.read(engine) == b"kernels"
    if how == "writable":
        path.chmod(0o666)
    else:
        make_foreign(path, how)
    assert runtime_cache.read(engine) is None
    assert runtime_cache.write(engine, b"own") == path  # replaced, never written into
    assert runtime_cache.read(engine) == b"own"
    assert not (tmp_path / "other").exists() or b"own" not in (tmp_path / "other").read_bytes()


def test_a_file_beyond_its_limit_is_not_read(tmp_path: Path) -> None:
    private_files.write(tmp_path / "a", b"12345")
    assert private_files.read(tmp_path / "a", 5) == b"12345"
    assert private_files.read(tmp_path / "a", 4) is None


def test_a_mapped_file_is_the_processes_own(tmp_path: Path) -> None:
    private_files.write(tmp_path / "a", b"12345")
    private_files.write(tmp_path / "empty", b"")
    view = private_files.mapped(tmp_path / "a")
    assert view is not None
    view[0:1] = b"0"
    private_files.write(tmp_path / "a", b"new")  # replaced, never written into
    assert bytes(view) == b"02345"
    assert private_files.mapped(tmp_path / "a") == b"new"
    assert private_files.mapped(tmp_path / "empty") == b""
    assert private_files.mapped(tmp_path / "none") is None
    (tmp_path / "a").chmod(0o666)
    with pytest.raises(PermissionError):
        private_files.mapped(tmp_path / "a")


def test_kernels_are_kept_beside_the_engine_and_used_again(tiny: Any, fake_tensorrt: Any) -> None:
    path = built(tiny, fake_tensorrt)
    kept = path.with_name("tiny.engine.rtxcache")
    opened(path)
    assert runtime_cache.read(path) == b"1.7 kernels"
    assert kept.is_file()
    before = kept.stat().st_mtime_ns
    opened(path)
    first, second = fake_tensorrt.made
    assert first.configs[0].cache is first.configs[1].cache  # one for all lanes
    assert second.configs[0].cache.content == b"1.7 kernels"
    assert kept.stat().st_mtime_ns == before  # not written again


def test_kernels_of_another_version_are_replaced(
    tiny: Any, fake_tensorrt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = built(tiny, fake_tensorrt)
    runtime_cache.write(path, b"1.6 kernels")
    opened(path)
    assert runtime_cache.read(path) == b"1.7 kernels"


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "foreign"])
def test_damaged_kernels_are_as_none(tmp_path: Path, damage: str) -> None:
    engine = tmp_path / "gfm.engine"
    path = runtime_cache.write(engine, b"kernels")
    assert path == tmp_path / "gfm.engine.rtxcache"
    content = bytearray(path.read_bytes())
    content[-1] ^= damage == "flip"
    damaged = {"cut": content[:-1], "empty": b"", "foreign": b"PK" + content}.get(damage, content)
    path.write_bytes(damaged)
    assert runtime_cache.read(engine) is None
    runtime_cache.write(engine, b"others")
    assert runtime_cache.read(engine) == b"others"


def test_kernels_go_to_the_users_cache_where_the_engines_folder_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.platform", "linux")
    (tmp_path / "file").touch()
    engine = tmp_path / "file" / "gfm.engine"  # nobody can write there, root neither
    path = runtime_cache.write(engine, b"kernels")
    assert path is not None
    assert path.parent == tmp_path / "cache" / "matter"
    assert runtime_cache.read(engine) == b"kernels"
    other = tmp_path / "file" / "other" / "gfm.engine"
    assert runtime_cache.read(other) is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert runtime_cache.write(engine, b"kernels") is None


def test_a_half_written_file_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tmp_path / "gfm.engine"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none" / "file"))
    (tmp_path / "none").touch()
    runtime_cache.write(engine, b"old")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert runtime_cache.write(engine, b"new") is None
    assert runtime_cache.read(engine) == b"old"
    assert [file.name for file in tmp_path.glob("*gfm*")] == ["gfm.engine.rtxcache"]


# ------------------------------------------------------------------------------------------- plugin


def test_a_plan_with_an_unknown_plugin_is_refused(tiny: Any, fake_tensorrt: Any) -> None:
    with pytest.raises(BackendError, match=r"'Other'.*'Matter"):
        opened(built(tiny, fake_tensorrt, plugins=("Other",)))
    assert fake_tensorrt.made == []


def test_the_plugin_is_registered_before_the_plan_is_read(
    tiny: Any, fake_tensorrt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_before = []
    monkeypatch.setattr(
        unpool_plugin, "register", lambda trt, names: made_before.append(len(fake_tensorrt.made))
    )
    opened(built(tiny, fake_tensorrt, plugins=(unpool_plugin.NAME,)))
    assert made_before == [0]
    opened(built(tiny, fake_tensorrt))
    assert made_before == [0]  # not where none is needed


def test_the_bindings_take_the_plugin() -> None:
    """TensorRT for RTX has no plugin layers, but the same classes and a registry."""
    trt = pytest.importorskip("tensorrt_rtx")
    unpool_plugin.register(trt)
    unpool_plugin.register(trt)  # as for a second engine
    creator = trt.get_plugin_registry().get_creator(unpool_plugin.NAME, "1", "")
    plugin = creator.create_plugin("unpool", None, trt.TensorRTPhase.RUNTIME)
    assert isinstance(plugin, trt.IPluginV3)
    assert (plugin.plugin_name, plugin.num_outputs) == (unpool_plugin.NAME, 1)
    assert plugin.get_capability_interface(trt.PluginCapabilityType.BUILD) is plugin
    assert isinstance(plugin.clone(), type(plugin))
    assert plugin.get_output_data_types([trt.float16, trt.int32]) == [trt.float16]
    assert isinstance(plugin.get_fields_to_serialize(), trt.PluginFieldCollection)


def test_the_types_that_the_plugin_takes() -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    unpool_plugin.register(trt)
    plugin = (
        trt.get_plugin_registry()
        .get_creator(unpool_plugin.NAME, "1", "")
        .create_plugin("unpool", None, trt.TensorRTPhase.BUILD)
    )

    def taken(*types: Any, form: Any = trt.TensorFormat.LINEAR) -> bool:
        described = []
        for kind in types:
            tensor = trt.DynamicPluginTensorDesc()
            desc = trt.PluginTensorDesc()
            desc.type, desc.format, desc.dims = kind, form, trt.Dims((1, 4, 5, 6))
            tensor.desc, tensor.max = desc, trt.Dims((1, 4, 5, 6))
            described.append(tensor)
        assert plugin.get_workspace_size(described, []) == 120
        return all(plugin.supports_format_combination(at, described, 2) for at in range(3))

    for kind in (trt.float32, trt.float16, trt.bfloat16):
        assert taken(kind, trt.int32, kind)
    assert not taken(trt.float32, trt.int32, trt.float16)
    assert not taken(trt.float32, trt.int64, trt.float32)
    assert not taken(trt.int8, trt.int32, trt.int8)
    assert not taken(trt.float16, trt.int32, trt.float16, form=trt.TensorFormat.CHW2)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_what_the_plugin_computes(fake_cuda: Any, dtype: Any) -> None:
    """On TensorRT's stream, when that comes to it; the values are those of PyTorch's tests."""
    rng = np.random.default_rng(11)
    x = rng.standard_normal((1, 4, 10, 12)).astype(dtype)
    values, offsets = max_pool_offsets(x)
    out = cuda.DeviceArray(np.ones_like(x))
    narrow = cuda.DeviceArray(np.zeros(offsets.shape, np.uint8))
    stream = cuda.Stream()
    unpool_plugin.unpool(
        cuda.DeviceArray(values),
        cuda.DeviceArray(offsets.astype(np.int32)),
        narrow,
        out,
        stream.ptr,
    )
    assert (out.array == 1).all()
    stream.synchronize()
    np.testing.assert_array_equal(out.array, max_unpool(values, offsets))
