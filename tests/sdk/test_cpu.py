"""What a CPU says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from matter_sdk.kernels import processor
from matter_sdk.sdk import cpu

SPEED = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8",
         "asimd", "asimddp", "bf16", "i8mm")  # fmt: skip

INTEL = """processor\t: 0
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: fpu sse2 avx512_vnni amx_int8

processor\t: 1
model name\t: another
"""


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes /proc/cpuinfo hold a text, or be absent."""

    def say(text: str | None) -> None:
        forget()

        def read(path: Path, **_: Any) -> str:
            assert path == Path("/proc/cpuinfo")
            if text is None:
                raise FileNotFoundError(path)
            return text

        monkeypatch.setattr(Path, "read_text", read)

    yield say
    monkeypatch.undo()
    forget()


def forget() -> None:
    for function in (cpu.name, cpu._facts):
        function.cache_clear()


def test_the_model(said: Any) -> None:
    said(INTEL)
    assert cpu.name() == "Intel(R) Xeon(R) Processor, family 6 model 143"


def test_the_model_where_linux_does_not_say(said: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said(None)
    monkeypatch.setattr(processor, "name", lambda: "Apple M1")
    assert cpu.name() == "Apple M1"
    forget()
    monkeypatch.setattr(processor, "name", lambda: "")
    assert cpu.name()


@pytest.mark.parametrize(
    ("has", "dot"), [("avx2", False), ("avx2 amx_int8", True), ("asimd asimddp", True)]
)
def test_dot_products(monkeypatch: pytest.MonkeyPatch, has: str, dot: bool) -> None:
    monkeypatch.setattr(processor, "instructions", lambda: tuple(has.split()))
    assert cpu.has_dot_product() is dot
    assert cpu.instructions() == tuple(has.split())


def test_the_processor_is_the_one_that_linux_tells_of() -> None:
    if not (facts := cpu._facts()):
        pytest.skip("no /proc/cpuinfo")
    told = facts.get("flags", facts.get("Features", "")).split()
    assert processor.instructions() == tuple(name for name in SPEED if name in told)
    assert processor.name() in ("", facts.get("model name", ""))


def grouped(root: Path, groups: str, mounts: str, files: dict[str, str]) -> float | None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    (root / "proc/self/mountinfo").write_text(mounts)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return cpu.cgroup_quota(root)


TWO = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
TWO_INSIDE = "29 23 0:26 /docker/a1 /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
ONE = (
    "32 31 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "quota"),
    [
        ("0::/\n", TWO, {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", TWO, {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", TWO, {}, None),
        ("0::/a/b\n", TWO, {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2),
        ("0::/a/b\n", TWO, {"a/cpu.max": "400000 100000", "a/b/cpu.max": "50000 100000"}, 0.5),
        ("0::/docker/a1\n", TWO_INSIDE, {"cpu.max": "300000 100000"}, 3),
        (
            "4:memory:/\n3:cpu,cpuacct:/docker/a1\n",
            ONE.format(top="/docker/a1"),
            {"cpu,cpuacct/cpu.cfs_quota_us": "50000", "cpu,cpuacct/cpu.cfs_period_us": "25000"},
            2,
        ),
        (
            "3:cpu,cpuacct:/\n",
            ONE.format(top="/"),
            {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            None,
        ),
        ("nonsense\n", "nonsense\n", {}, None),
    ],
)
def test_quotas_of_control_groups(
    tmp_path: Path, groups: str, mounts: str, files: dict[str, str], quota: float | None
) -> None:
    assert grouped(tmp_path, groups, mounts, files) == quota


def test_no_control_groups(tmp_path: Path) -> None:
    assert cpu.cgroup_quota(tmp_path) is None


@pytest.mark.parametrize(("quota", "cores"), [(None, 8), (0.5, 1), (1.5, 2), (2.0, 2), (64.0, 8)])
def test_a_quota_counts_as_cores(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: int
) -> None:
    monkeypatch.setattr(cpu, "cgroup_quota", lambda: quota)
    monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert cpu.usable_cores() == cores
