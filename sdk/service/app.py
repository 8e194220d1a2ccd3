"""The service as an ASGI application: ``create`` makes it, any ASGI server runs it."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from matter_sdk.sdk.background import Image
from matter_sdk.sdk.matter import Matter
from matter_sdk.sdk.pool import MatterPool
from matter_sdk.sdk.service.answers import FORMATS, RESULTS, Wanted, read, wanted, written
from matter_sdk.sdk.service.api_page import POLICY, page
from matter_sdk.sdk.service.bodies import KINDS, picture_of
from matter_sdk.sdk.service.desk import Desk
from matter_sdk.sdk.service.measures import Metrics
from matter_sdk.sdk.service.refusals import Refused, answer_to
from matter_sdk.sdk.stream import Stream

AHEAD = 4
"""Frames of a websocket that may wait; a client that sends more is not read from meanwhile."""


@dataclass(frozen=True)
class Limits:
    """What a service takes. Each bounds memory or waiting."""

    queue: int = 16
    """Pictures that wait for a worker."""
    streams: int = 4
    """Websockets at once."""
    most_bytes: int = 16 << 20
    """Of a body, of a picture from an address, and of a frame of a websocket."""
    most_pixels: int = 1 << 24
    """Of a picture."""
    allow_urls: bool = False
    """Whether a request may name an address in place of a picture."""


class Service:
    """One engine behind a bounded queue; ready once the engine is open and has run."""

    def __init__(self, open_matter: Callable[[], Matter], limits: Limits) -> None:
        self.limits = limits
        self.metrics = Metrics()
        self.pool: MatterPool | None = None
        self.stopping = False
        self.streams = 0
        self.open_requests = 0
        self._open_matter = open_matter
        self._threads = ThreadPoolExecutor(limits.streams, thread_name_prefix="matter-stream")

    def open(self) -> None:
        """Open the engine and matte a grey picture, which has the runtime make its buffers.

        Raises:
            MatterError: as ``Matter``; FrameError for a network that takes more than frames.
        """
        matter = self._open_matter()
        try:
            matter.check_streamable()
            matter(np.full((*matter.size, 3), 128, np.uint8))
            # One more than the network takes at once: it decodes while they compute.
            workers = matter.lanes * matter.manifest.batch + 1
            self.desk = Desk(workers, self.limits.queue, self.metrics.took)
            pool = MatterPool(matter)
        except BaseException:
            matter.close()
            raise
        for name, said, value in (
            ("waiting", "Requests in the queue.", lambda: self.desk.waiting),
            ("working", "Workers busy.", lambda: self.desk.working),
            ("streams", "Websockets open.", lambda: self.streams),
        ):
            self.metrics.show(name, said, value)
        self.pool = pool

    def ready(self) -> MatterPool:
        """Return the pool.

        Raises:
            Refused: 503 while the engine opens, and while the service stops.
        """
        if self.stopping or self.pool is None:
            what = "stops" if self.stopping else "opens its engine"
            raise Refused(503, "NotReady", f"the service {what}; try again later", 1)
        return self.pool

    def close(self) -> None:
        """Wait for what is at work, then release the engine."""
        self.stopping = True
        if self.pool is not None:
            self.desk.close()
            self.pool.close()
            self.pool.matter.close()
        self._threads.shutdown()

    async def matte(self, request: Request) -> Response:
        """Answer one picture."""
        pool = self.ready()
        asked = wanted(request.query_params)
        self.desk.check()  # before the body, which may be long
        limits = self.limits
        content = await picture_of(request, limits.most_bytes, allow_urls=limits.allow_urls)

        def work() -> bytes:
            frame = read(content, limits.most_pixels)
            alpha = pool.infer(pool.matter.prepare(frame))
            return written(pool.matter.finish(frame, alpha), asked, clean=True)

        body = await self.desk.run(work, lambda: _gone(request))
        return Response(body, media_type=asked.media_type)

    @contextlib.asynccontextmanager
    async def stream(self, source: Iterator[Image]) -> AsyncIterator[Stream]:
        """Open a stream of the pool, one of a bounded number.

        Raises:
            Refused: 429 where there is one too many.
        """
        pool = self.ready()
        if self.streams >= self.limits.streams:
            raise Refused(429, "TooManyStreams", f"{self.streams} streams are open, the most", 5)
        loop = asyncio.get_running_loop()
        self.streams += 1
        try:
            # In threads: both wait for those of the stream.
            opened = await loop.run_in_executor(
                self._threads, lambda: pool.stream(source, lookahead=0)
            )
            try:
                yield opened
            finally:
                await loop.run_in_executor(self._threads, opened.close)
        finally:
            self.streams -= 1

    async def frames(self, socket: WebSocket) -> None:
        """Answer the frames of a websocket, one message for each, in their order."""
        came: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        room = asyncio.Semaphore(AHEAD)

        def source() -> Iterator[Image]:
            while (content := came.get()) is not None:
                yield read(content, self.limits.most_pixels)

        async def receive() -> None:
            try:
                while True:
                    content = (await _message(socket)).get("bytes")
                    if content is None:
                        raise Refused(422, "FrameError", "a text came; expected a frame's bytes")
                    await room.acquire()
                    came.put(content)
            except WebSocketDisconnect:
                came.put(None)

        async def send(mattes: Stream, asked: Wanted) -> None:
            def answer() -> bytes | None:
                matte = next(mattes, None)
                return None if matte is None else written(matte, asked)

            loop = asyncio.get_running_loop()
            while (content := await loop.run_in_executor(self._threads, answer)) is not None:
                await socket.send_bytes(content)
                self.metrics.frames.inc()
                room.release()

        asked = wanted(socket.query_params)
        try:
            async with self.stream(source()) as mattes:
                await socket.accept()
                receiver = asyncio.create_task(receive())
                sender = asyncio.create_task(send(mattes, asked))
                try:
                    done, _ = await asyncio.wait(
                        (receiver, sender), return_when=asyncio.FIRST_EXCEPTION
                    )
                    for task in done:
                        task.result()
                finally:
                    receiver.cancel()
                    came.put(None)  # the source's thread waits for a frame
                    await asyncio.wait((receiver, sender))
        finally:
            came.put(None)


async def _message(socket: WebSocket) -> Message:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    return message


async def _gone(request: Request) -> None:
    """End when the client is gone; the body was read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _Counted:
    """Count and time requests; send away who would make too many open at once."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        service, begin, status = self._service, time.perf_counter(), 500
        path = scope["path"] if scope["path"] in _PATHS else "other"

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        matte = path == "/matte"
        service.open_requests += matte
        try:
            # Each may hold a body or an answer in memory, however slow its client is.
            most = 4 * (service.limits.queue + 2)
            if matte and service.open_requests > most:
                error = Refused(429, "TooManyRequests", f"{most} requests are open, the most", 1)
                await _refusal(error, service)(scope, receive, noted)
            else:
                await self._app(scope, receive, noted)
        finally:
            service.open_requests -= matte
            service.metrics.requests.labels(path, str(status)).inc()
            service.metrics.seconds.labels(path).observe(time.perf_counter() - begin)


def _refusal(error: BaseException, service: Service) -> JSONResponse:
    answer = answer_to(error)
    service.metrics.rejected.labels(answer.body["error"]["kind"]).inc()
    return JSONResponse(answer.body, answer.status, answer.headers)


def create(
    open_matter: Callable[[], Matter],
    limits: Limits | None = None,
    failed: Callable[[BaseException], object] | None = None,
) -> FastAPI:
    """Make the application; its engine opens in a thread while it answers ``/health/live``.

    Args:
        open_matter: opens the engine; it is closed with the application.
        limits: default: those of ``Limits``.
        failed: told why the engine could not be opened.
    """
    service = Service(open_matter, limits or Limits())

    async def opening() -> None:
        try:
            await asyncio.to_thread(service.open)
        except Exception as error:
            if failed is None:
                raise
            failed(error)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(opening())
        try:
            yield
        finally:
            service.stopping = True
            await asyncio.wait((task,))
            await asyncio.to_thread(service.close)

    app = FastAPI(
        title="Matter",
        description="Cut the subject out of pictures and frames.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages load their scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    app.add_middleware(_Counted, service=service)
    _add_routes(app, service)
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.post("/matte", openapi_extra=_MATTE, response_class=Response, responses=_ANSWERS)
    async def matte(request: Request) -> Response:
        """Cut the subject out of a picture: the body itself, or a form with the file `image`."""
        try:
            return await service.matte(request)
        except Exception as error:  # noqa: BLE001 - the client is told, the log too
            return _refusal(error, service)

    @app.websocket("/stream")
    async def stream(socket: WebSocket) -> None:
        try:
            await service.frames(socket)
        except WebSocketDisconnect:
            pass  # in the middle of an answer
        except Exception as error:  # noqa: BLE001 - the client is told, the log too
            answer = _refusal(error, service)
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # it is gone
                if socket.client_state.name == "CONNECTING":
                    await socket.send_denial_response(answer)
                else:
                    await socket.send_text(bytes(answer.body).decode())
                    await socket.close(1013 if answer.status_code in (429, 503) else 1008)

    @app.get("/health/live")
    async def live() -> dict[str, bool]:
        """Answer 200 as long as the process does; restart it otherwise."""
        return {"live": True}

    @app.get("/health/ready")
    @app.get("/health")
    async def ready() -> dict[str, Any]:
        """Answer 200 when pictures are taken, and 503 while the engine opens or closes."""
        matter = service.ready().matter
        return {"ready": True, "runtime": matter.runtime, "device": matter.device}

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Answer what Prometheus reads."""
        return Response(service.metrics.text(), media_type=service.metrics.media_type)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page(app.openapi()), headers={"Content-Security-Policy": POLICY})

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        kind = {404: "NotFound", 405: "MethodNotAllowed"}.get(error.status_code, "HttpError")
        refusal = Refused(error.status_code, kind, str(error.detail))
        answer = _refusal(refusal, service)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Refused)
    async def said(_: Request, error: Exception) -> Response:
        return _refusal(error, service)


_PATHS = (
    "/matte",
    "/health",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/docs",
    "/openapi.json",
)
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "required": ["image"],
        "properties": {"image": {"type": "string", "format": "binary"}},
    }
}
_URL = {"schema": {"type": "object", "properties": {"url": {"type": "string", "format": "uri"}}}}
_MATTE: dict[str, Any] = {
    "parameters": [
        {
            "in": "query",
            "name": "result",
            "schema": {"type": "string", "enum": list(RESULTS), "default": RESULTS[0]},
        },
        {
            "in": "query",
            "name": "format",
            "schema": {"type": "string", "enum": list(FORMATS), "default": "png"},
        },
        {
            "in": "query",
            "name": "background",
            "description": "with result=composite: #rrggbb, a colour's name, or blur",
            "schema": {"type": "string"},
        },
    ],
    "requestBody": {
        "required": True,
        "description": f"{KINDS}; application/json where the service was started with --allow-urls",
        "content": {
            "multipart/form-data": _FORM,
            "image/*": _BYTES,
            "application/octet-stream": _BYTES,
            "application/json": _URL,
        },
    },
}
_ERROR = {
    "schema": {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {"kind": {"type": "string"}, "message": {"type": "string"}},
            }
        },
    }
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture", "content": dict.fromkeys(FORMATS.values(), _BYTES)},
    **{
        status: {"description": said, "content": {"application/json": _ERROR}}
        for status, said in {
            400: "No picture, or one cut short",
            403: "An address that is not allowed",
            408: "A body that took too long",
            413: "Too many bytes or pixels",
            415: "No picture of a kind that is read",
            422: "A parameter or a picture that is not taken",
            429: "The queue is full; see Retry-After",
            503: "Not ready; see Retry-After",
        }.items()
    },
}
