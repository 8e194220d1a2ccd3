"""Serve mattes over HTTP: pictures in, cut-outs out.

    matter serve                          (or: python -m sdk.serve)
    matter serve my.engine --host 0.0.0.0 --port 80

    curl -F image=@cat.jpg http://127.0.0.1:8000/matte > cut.png

/docs shows all that it takes, /health whether it is ready, /metrics what Prometheus reads. Ctrl-C
or SIGTERM ends it: what was begun is answered first. It has no passwords and no TLS: put it behind
a proxy that has both before others reach it. docs/service.md says more.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from matter_sdk.sdk.command_line import (
    Parser,
    UsageError,
    add_opening,
    engine_path,
    positive,
    run,
    start,
    whole,
)
from matter_sdk.sdk.errors import BackendError, MatterError
from matter_sdk.sdk.matter import Matter


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    args = _parser().parse_args(argv)
    if args.port > 65535:
        raise UsageError(f"--port is {args.port}; expected at most 65535")
    path = engine_path(args.engine)
    try:
        import uvicorn

        from matter_sdk.sdk.service import app as service
    except ImportError as error:
        raise BackendError(
            f"the service needs packages that are not installed ({error}): "
            f"pip install 'matter-sdk[serve]'"
        ) from error
    limits = service.Limits(
        queue=args.queue,
        streams=args.streams,
        most_bytes=args.megabytes << 20,
        most_pixels=args.megapixels * 1_000_000,
        allow_urls=args.allow_urls,
    )

    listening = _listen(args.host, args.port)
    failures: list[BaseException] = []

    def opened() -> Matter:
        matter = Matter(
            path,
            quality=args.quality,
            trimap_from=args.trimap_from,
            trust_plans=args.trust_plans,
            threads=args.threads,
            lanes=args.lanes,
        )
        host, port = listening.getsockname()[:2]
        print(f"http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        return matter

    def failed(error: BaseException) -> None:
        failures.append(error)
        server.should_exit = True

    config = uvicorn.Config(
        service.create(opened, limits, failed),
        log_config=None,
        access_log=False,
        server_header=False,
        ws="websockets-sansio",  # reads no further message before the last one is taken
        ws_max_size=limits.most_bytes,
        ws_per_message_deflate=False,
        ws_ping_timeout=120,  # the answer to a ping comes behind the frames that wait
        timeout_graceful_shutdown=args.stop_seconds,
    )
    server: Any = uvicorn.Server(config)
    logging.basicConfig(format="%(message)s")
    with listening, _stopping(server):
        server.capture_signals = contextlib.nullcontext
        server.run([listening])
    if failures:
        raise failures[0]
    return 0


def _parser() -> Parser:
    parser = Parser(
        "sdk.serve",
        "Serve mattes over HTTP: pictures in, cut-outs out.",
        "Ctrl-C or SIGTERM ends it, after what was begun is answered.",
    )
    add = parser.add_argument
    add("engine", nargs="?", help="engine (default: the one that came with the package)")
    add("--host", default="127.0.0.1", help="listen at this address (default: %(default)s)")
    add(
        "--port",
        type=whole,
        default=8000,
        help="listen at this port; 0: any free one (default: %(default)s)",
    )
    add_opening(parser)
    add(
        "--threads",
        type=positive,
        metavar="N",
        help="run the network with N threads (default: every core)",
    )
    add(
        "--lanes",
        type=positive,
        default=1,
        metavar="N",
        help="matte N pictures at once (default: %(default)s)",
    )
    add(
        "--queue",
        type=positive,
        default=16,
        metavar="N",
        help="let N pictures wait; refuse more with 429 (default: %(default)s)",
    )
    add(
        "--streams",
        type=positive,
        default=4,
        metavar="N",
        help="serve N websockets at once; refuse more with 429 (default: %(default)s)",
    )
    add(
        "--megabytes",
        type=positive,
        default=16,
        metavar="N",
        help="refuse bodies over N × 1,048,576 bytes (default: %(default)s)",
    )
    add(
        "--megapixels",
        type=positive,
        default=16,
        metavar="N",
        help="refuse pictures over N × 1,000,000 pixels (default: %(default)s)",
    )
    add(
        "--allow-urls",
        action="store_true",
        help="fetch pictures from public addresses that requests name",
    )
    add(
        "--stop-seconds",
        type=positive,
        default=30,
        metavar="N",
        help="at the end, wait at most N s for requests (default: %(default)s)",
    )
    return parser


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MatterError(
            f"cannot listen at {host}:{port} ({reason}); expected an address of this machine and "
            f"a port that is free: --host, --port"
        ) from error


@contextlib.contextmanager
def _stopping(server: Any) -> Iterator[None]:
    """Have the first signal ask to stop, and the second not wait for anybody."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(_number: int, _frame: FrameType | None) -> None:
        server.force_exit = server.should_exit
        server.should_exit = True

    old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    start(lambda: run("sdk.serve", main))
