"""Share the work of ``image`` and ``video`` among the machines of a Ray cluster: ``--ray``.

    matter image --ray photos/ out/                       a cluster of this machine's own
    matter image --ray 10.0.0.5:6379 photos/ out/         one that runs; or set RAY_ADDRESS

Every machine needs this package and finds the same files under the same names. Workers write into a
hidden folder beside the outputs. A file gets its name here, once it is complete: what a lost worker
had begun is done by another, and nothing is written twice.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import re
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from matter_sdk import Background, Matter, MatterError
from matter_sdk.sdk.command_line import UsageError
from matter_sdk.sdk.cpu import usable_cores

Do = Callable[[Matter, Background, dict[str, Any]], dict[str, Any]]
_ADDRESS = re.compile(r"auto|local|ray://\S+|(\[[0-9a-f:]+\]|[\w.-]+):\d{1,5}")
_CORES = 4  # of a worker, at most: more workers use many cores better than more threads
_PICTURES = 8  # that a worker takes at once, at most


def add_ray(parser: argparse.ArgumentParser) -> None:
    """Add ``--ray``; the arguments go through ``with_address`` first."""
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="share the work by Ray: on this machine, or on the cluster of that address or of "
        "RAY_ADDRESS, whose machines find all files under these names (needs the extra 'ray')",
    )


def with_address(arguments: Sequence[str]) -> list[str]:
    """The arguments with ``--ray`` and what follows as one, if that is an address and no file."""
    given: list[str] = []
    for argument in arguments:
        if given and given[-1] == "--ray":
            is_address = _ADDRESS.fullmatch(argument) and not Path(argument).exists()
            given[-1:] = [f"--ray={argument}"] if is_address else ["--ray=", argument]
        else:
            given.append(argument)
    if given and given[-1] == "--ray":
        given[-1] = "--ray="
    return given


def seen_everywhere(place: str | os.PathLike[str]) -> str:
    """A path as other machines see it: whole. What is no file, such as a colour, stays."""
    return str(Path(place).absolute()) if Path(place).exists() else str(place)


@contextmanager
def hidden_folder(output: Path) -> Iterator[Path]:
    """A folder beside an output, which is made too: for files that are not complete yet.

    Raises:
        MatterError: there can be none.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        made = TemporaryDirectory(
            prefix=".matter-",
            suffix=".partial",
            dir=output.parent.absolute(),
            ignore_cleanup_errors=True,  # a worker that was given up may still write
        )
    except OSError as error:
        raise MatterError(
            f"{str(output)!r} cannot be written ({error.strerror}); expected a folder to write to"
        ) from error
    with made as name:
        yield Path(name)


@contextmanager
def joined(address: str) -> Iterator[None]:
    """Be part of a cluster: that of an address, of RAY_ADDRESS, or one of this machine alone.

    The standard output is for who asked for it before: meanwhile it is the standard error.

    Raises:
        UsageError: Ray is not installed.
        MatterError: no cluster answers, or what Ray says when it fails.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it reports to its makers otherwise
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it shouts about what it mends itself
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError(
            f"--ray needs Ray, which is not installed ({error}): pip install 'matter-sdk[ray]'"
        ) from error
    address = address or os.environ.get("RAY_ADDRESS", "") or "local"
    _knock(address)
    alone: dict[str, Any] = {}
    if address == "local":  # the store, in bytes, holds names of files alone
        alone = {"num_cpus": usable_cores(), "object_store_memory": 100 << 20}
    with redirect_stdout(sys.stderr):  # where Ray says what goes on, until its very end
        try:
            ray.init(
                address,
                include_dashboard=False if alone else None,
                logging_level=logging.ERROR,
                log_to_driver=False,
                **alone,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise _unanswered(address, error) from error
        try:
            yield
        except ray.exceptions.RayError as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise MatterError(
                f"Ray gave up: {said[-1]}. Every machine needs this version of matter-sdk"
            ) from error
        finally:
            ray.shutdown()


def _knock(address: str) -> None:
    """Raise MatterError at once where nobody listens: Ray would try for ten minutes."""
    if _ADDRESS.fullmatch(address) is None:
        raise _unanswered(address, "it is no address")
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise _unanswered(address, error) from error


def _unanswered(address: str, reason: object) -> MatterError:
    return MatterError(
        f"no Ray cluster answers at {address!r} ({reason}); expected the address that `ray start "
        "--head` printed, and one version of Python and Ray on all of its machines"
    )


def shared(
    do: Do, options: Mapping[str, Any], background: str, jobs: Sequence[dict[str, Any]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number of each job and what ``do`` returns for it, as they are done; within ``joined``.

    Args:
        do: a function of a module, called with the engine, the background and a job. A MatterError
            that it raises makes the result ``{"error": text}``.
        options: of ``Matter``, which each worker opens once; paths as this machine sees them.
        background: what ``Background.open`` takes.
        jobs: what JSON can hold.

    Raises:
        MatterError: an engine or background cannot be opened where a worker runs.
    """
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    given = dict(options)
    for name in ("path", "trimap_from", "plate"):
        if isinstance(given.get(name), (str, os.PathLike)):
            given[name] = seen_everywhere(given[name])
    count, cores, claim = _workers([node for node in ray.nodes() if node["Alive"]])
    count = min(count, len(jobs))
    at_once = min(_PICTURES, max(1, len(jobs) // (4 * count)))
    done = ray.data.from_items(
        [{"job": json.dumps([number, job])} for number, job in enumerate(jobs)],
        override_num_blocks=-(-len(jobs) // at_once),
    ).map_batches(
        _Worker,
        fn_constructor_args=(do, {"threads": cores, **given}, seen_everywhere(background)),
        batch_size=None,
        batch_format="numpy",
        concurrency=count,
        **claim,
    )
    for row in done.iter_rows():
        yield _read(row["result"])


def _read(text: str) -> tuple[int, dict[str, Any]]:
    """A job's number and result; MatterError where its worker can do none."""
    number, result = json.loads(text)
    if "worker" in result:
        raise MatterError(f"{result['error']} (on {result['worker']})")
    return number, result


def _workers(nodes: Sequence[Mapping[str, Any]]) -> tuple[int, int | None, dict[str, Any]]:
    """How many workers, the threads of each (None: not to be limited), and what each claims."""
    gpus = sum(int(node["Resources"].get("GPU", 0)) for node in nodes)
    if gpus:  # this has not run on a GPU yet
        return gpus, None, {"num_gpus": 1, "num_cpus": 1}
    cpus = [int(node["Resources"].get("CPU", 0)) for node in nodes]
    if not any(cpus):
        raise MatterError("no machine of the Ray cluster offers a CPU; expected one at least")
    cores = min(_CORES, *(cpu for cpu in cpus if cpu))
    # Half of what it uses, so that the others have room for the worker of a machine that is lost.
    return sum(cpu // cores for cpu in cpus), cores, {"num_cpus": cores / 2}


class _Worker:
    """The engine and the background of one worker. Jobs and results are JSON texts."""

    def __init__(self, do: Do, options: Mapping[str, Any], background: str) -> None:
        self._do = do
        self._options = options
        self._given = background
        self._opened: tuple[Matter, Background] | None = None

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Do a block of jobs."""
        jobs = [json.loads(str(text)) for text in batch["job"]]
        results = [json.dumps([number, self._result(job)]) for number, job in jobs]
        return {"result": np.array(results, object)}

    def _result(self, job: dict[str, Any]) -> dict[str, Any]:
        if self._opened is None:  # not in __init__, whose errors Ray buries in its own
            try:
                self._opened = Matter(**self._options), Background.open(self._given)
            except MatterError as error:
                return {"error": str(error), "worker": platform.node()}
        try:
            return self._do(*self._opened, job)
        except MatterError as error:
            return {"error": str(error)}
