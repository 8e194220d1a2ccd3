"""``--ray`` of ``image`` and ``video``: what it refuses, and how a cluster loses a machine."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from matter_sdk import MatterError
from matter_sdk.samples import cluster_video, image, video
from matter_sdk.samples.cluster import Do, _read, _Worker, _workers, with_address
from matter_sdk.sdk.command_line import UsageError
from matter_sdk.sdk.video import UnlikeParts, cut_video
from tests.sdk.clips import audio_packets, decode, write_clip
from tests.sdk.conftest import Tiny


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(Tiny(tmp_path_factory.mktemp("engine")).build())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((48, 96, 3), 90, np.uint8))
    return folder


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["--ray", "in.mp4", "out.mp4"], ["--ray=", "in.mp4", "out.mp4"]),
        (["--ray", "10.0.0.5:6379", "in", "out"], ["--ray=10.0.0.5:6379", "in", "out"]),
        (["--ray", "ray://head:10001", "in"], ["--ray=ray://head:10001", "in"]),
        (["--ray=head:6379", "in"], ["--ray=head:6379", "in"]),
        (["in", "out", "--ray"], ["in", "out", "--ray="]),
        (["--ray", "--json", "in"], ["--ray=", "--json", "in"]),
    ],
)
def test_what_follows_ray_is_an_address_or_a_file(given: list[str], meant: list[str]) -> None:
    assert with_address(given) == meant


def test_a_file_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("auto").touch()
    assert with_address(["--ray", "auto", "out"]) == ["--ray=", "auto", "out"]


def test_without_ray_installed(
    photos: Path, tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    clip = write_clip(tmp_path / "clip.mp4", [np.zeros((48, 64, 3), np.uint8)] * 3)
    for main, places in ((image.main, [photos, tmp_path / "o"]), (video.main, [clip, "o.mp4"])):
        with pytest.raises(UsageError, match=r"matter-sdk\[ray\]"):
            main(["--engine", engine, "--ray", *map(str, places)])
    assert not (tmp_path / "o").exists()


def test_a_cluster_that_does_not_answer(
    photos: Path, tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ray", "ray.data"):
        monkeypatch.setitem(sys.modules, name, sys.modules[__name__])
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    arguments = [str(photos), str(tmp_path / "o"), "--engine", engine]
    with pytest.raises(MatterError, match=f"127.0.0.1:{port}"):
        image.main([*arguments, f"--ray=127.0.0.1:{port}"])
    with pytest.raises(MatterError, match="'what'"):
        image.main([*arguments, "--ray=what"])
    assert not (tmp_path / "o").exists()


def test_what_cannot_be_shared(photos: Path, tmp_path: Path, engine: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    one = str(photos / "0.png")
    for places in (["-", "o"], [one, "-"], [str(pipe), "o"]):
        with pytest.raises(UsageError, match="pipe"):
            image.main(["--ray", *places, "--engine", engine])
    for places, value in (
        (["rtsp://192.0.2.1/camera", "o.mp4"], "rtsp://192.0.2.1/camera"),
        ([str(pipe), "o.mp4"], "pipe"),
        (["a.mp4", "b.mp4", "o.mp4"], r"o\.mp4"),
        (["a.mp4", str(tmp_path / "o%05d.png")], "png"),
        (["a.mp4", "o.mp4", "--crf", "90"], "90"),
        (["a.mp4", "b.mp4", str(tmp_path), "--plate", "0.5"], "--plate 0.5"),
        (["a.mp4"], "a.mp4"),
    ):
        with pytest.raises(UsageError, match=value):
            video.main(["--ray", *places, "--engine", engine])
    with pytest.raises(UsageError, match="--ray"):
        video.main(["a.mp4", "b.mp4", str(tmp_path)])


def test_workers_fill_the_machines_and_leave_room_for_those_that_are_lost() -> None:
    def machines(*resources: dict[str, float]) -> list[dict[str, Any]]:
        return [{"Resources": each} for each in resources]

    assert _workers(machines({"CPU": 1}, {"CPU": 1})) == (2, 1, {"num_cpus": 0.5})
    assert _workers(machines({}, {"CPU": 16}, {"CPU": 6})) == (5, 4, {"num_cpus": 2})
    assert _workers(machines({"CPU": 8, "GPU": 2}))[0] == 2
    with pytest.raises(MatterError):
        _workers(machines({}))


# Its jobs, done here


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Workers in this process and no Ray; lists the jobs they did."""
    done: list[dict[str, Any]] = []

    def shared(
        do: Do, options: Any, background: str, jobs: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        worker = _Worker(do, options, background)
        for number, job in reversed([*enumerate(jobs)]):
            done.append(job)
            (text,) = worker({"job": [json.dumps([number, job])]})["result"]
            yield _read(text)

    for module in (image, cluster_video):
        monkeypatch.setattr(module, "shared", shared)
        monkeypatch.setattr(module, "joined", lambda address: contextlib.nullcontext())
    return done


def test_pictures_of_several_workers(
    photos: Path, tmp_path: Path, engine: str, here: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "bad.png").write_bytes(b"no picture")
    out, alone = tmp_path / "out", tmp_path / "alone"
    options = [str(photos), "--engine", engine, "--json", "--output"]
    assert image.main(["--ray", *options, str(out)]) == 1
    told = capsys.readouterr().out.splitlines()
    assert image.main([*options, str(alone)]) == 1
    others = capsys.readouterr().out.replace(str(alone), str(out)).splitlines()
    assert sorted(told) == sorted(others)
    assert len(here) == 3
    assert files(out) == files(alone)


def long_clip(path: Path) -> str:
    images = [np.full((48, 64, 3), (200, 0, number), np.uint8) for number in range(120)]
    return str(write_clip(path, images, audio="aac", keys=30))


def test_parts_and_videos_of_several_workers(
    tmp_path: Path,
    engine: str,
    here: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cluster_video, "cut_video", functools.partial(cut_video, seconds=1))
    clips = [long_clip(tmp_path / "a.mp4"), long_clip(tmp_path / "b.mkv")]
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    options = ["--engine", engine, "--crf", "0", "--json"]
    assert video.main(["--ray", *clips, str(tmp_path / "bad.mp4"), str(out), *options]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum("error" in line for line in lines) == 1
    assert {line["frames"] for line in lines if "error" not in line} == {120}
    assert len(here) == 8
    for clip, name in zip(clips, ("a.mp4", "b.mkv"), strict=True):
        alone = tmp_path / f"alone-{name}"
        assert video.main([clip, str(alone), *options]) == 0
        assert (decode(out / name)[1], len(audio_packets(out / name))) == (
            decode(alone)[1],
            len(audio_packets(alone)),
        )
        assert all(
            (one == other).all()
            for one, other in zip(decode(out / name)[0], decode(alone)[0], strict=True)
        )
    assert sorted(files(out)) == ["a.mp4", "b.mkv"]


def test_a_video_whose_parts_cannot_be_joined_is_matted_in_one_go(
    tmp_path: Path, engine: str, here: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_video, "cut_video", functools.partial(cut_video, seconds=1))

    def unlike(*given: Any) -> None:
        raise UnlikeParts

    monkeypatch.setattr(cluster_video, "join_video", unlike)
    clip, out = long_clip(tmp_path / "a.mp4"), tmp_path / "out.mp4"
    assert video.main(["--ray", clip, str(out), "--engine", engine]) == 0
    assert [job["part"] is None for job in here] == [False] * 4 + [True]
    assert len(decode(out)[0]) == 120
    assert audio_packets(out) == audio_packets(Path(clip))


def test_a_video_over_a_video_is_not_cut(
    tmp_path: Path, engine: str, here: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_video, "cut_video", functools.partial(cut_video, seconds=1))
    clip, out = long_clip(tmp_path / "a.mp4"), tmp_path / "out.mp4"
    options = ["--engine", engine, "--background", clip]
    assert video.main(["--ray", clip, str(out), *options]) == 0
    assert [job["part"] for job in here] == [None]


def test_an_engine_that_a_worker_cannot_open_ends_all(
    photos: Path, tmp_path: Path, here: list[Any]
) -> None:
    with pytest.raises(MatterError, match=r"gone\.engine"):
        image.main(["--ray", str(photos), str(tmp_path / "o"), "--engine", "gone.engine"])
    assert list((tmp_path / "o").iterdir()) == []


# On a cluster


class Cluster:
    """A head that works on nothing, and two machines of one CPU each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as Nodes

        small = {"object_store_memory": 100 << 20}
        self.nodes = Nodes(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, **small},
        )
        self.machines = [self.nodes.add_node(num_cpus=1, **small) for _ in range(2)]
        self.address = self.nodes.address

    def kill_one(self) -> None:
        """SIGKILL: its workers die with it."""
        os.kill(self.machines[1].all_processes["raylet"][0].process.pid, signal.SIGKILL)

    def kill_one_once(self, folder: Path, pattern: str) -> threading.Thread:
        """Kill a machine as soon as a file is there."""

        def wait() -> None:
            while not any(folder.glob(pattern)):
                time.sleep(0.05)
            self.kill_one()

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        return thread


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    made = Cluster()
    yield made
    made.nodes.shutdown()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_pictures_when_a_machine_is_lost(
    tmp_path: Path, engine: str, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is lost, nothing is there twice, and all is as without a cluster."""
    photos, out, alone = tmp_path / "photos", tmp_path / "out", tmp_path / "alone"
    photos.mkdir()
    random = np.random.default_rng(0)
    for number in range(24):
        noise = random.integers(0, 256, (30, 40, 3)).astype(np.uint8)
        large = cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(photos / f"{number}.jpg"), large)
    (photos / "bad.jpg").write_bytes(b"no picture")
    options = [str(photos), "--engine", engine, "--json", "--output"]
    killed = cluster.kill_one_once(out, "[!.]*.png")
    assert image.main(["--ray", cluster.address, *options, str(out)]) == 1
    killed.join(1)
    assert not killed.is_alive()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert image.main([*options, str(alone)]) == 1
    told = capsys.readouterr().out.replace(str(alone), str(out)).splitlines()
    by = [sorted(each, key=str) for each in (lines, map(json.loads, told))]
    assert by[0] == by[1]
    assert files(out) == files(alone)


@pytest.mark.slow
def test_a_video_when_a_machine_is_lost(tmp_path: Path, engine: str, cluster: Cluster) -> None:
    random = np.random.default_rng(0)
    images = []
    for number in range(900):
        frame = np.full((240, 320, 3), (0, 0, 220), np.uint8)
        frame[:, : 160 + int(60 * np.sin(number / 20))] = (220, 0, 0)
        images.append(frame + random.integers(0, 3, frame.shape, np.uint8))
    steps = random.integers(800, 2400, len(images))  # a variable frame rate; 94 s
    pts = [int(time) for time in np.cumsum(steps) - steps[0]]
    clip = str(write_clip(tmp_path / "clip.mp4", images, pts=pts, audio="aac", keys=60))
    out, alone = tmp_path / "out" / "clip.mp4", tmp_path / "alone.mp4"
    out.parent.mkdir()
    options = ["--engine", engine, "--crf", "0"]
    killed = cluster.kill_one_once(out.parent, ".matter-*/part-*.mp4")
    assert video.main(["--ray", cluster.address, clip, str(out), *options]) == 0
    killed.join(1)
    assert not killed.is_alive()
    assert video.main([clip, str(alone), *options]) == 0
    frames, times = decode(out)
    others, other_times = decode(alone)
    assert len(frames) == 900
    assert times == other_times
    assert all((one == other).all() for one, other in zip(frames, others, strict=True))
    assert audio_packets(out) == audio_packets(alone)
    assert [path.name for path in out.parent.iterdir()] == ["clip.mp4"]
