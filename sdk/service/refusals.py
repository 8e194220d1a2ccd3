"""What a client reads when there is no matte: a status, and one JSON object."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from matter_sdk.sdk.errors import (
    BackgroundError,
    ClosedError,
    FrameError,
    MatterError,
    NoMatteError,
)

log = logging.getLogger("matter")


class Refused(MatterError):
    """A request that is not answered with a matte.

    Args:
        status: of HTTP, 400 to 503.
        kind: a word for programs, such as "QueueFull".
        message: for people.
        wait: seconds after which to try again; None where that does not help.
    """

    def __init__(self, status: int, kind: str, message: str, wait: int | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.wait = status, kind, wait


class Answer(NamedTuple):
    """A status, the JSON object of the body, and headers."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]


def answer_to(error: BaseException) -> Answer:
    """Return what a client is told; of an error that nobody expected, nothing but that it is one.

    Such an error is logged with its traceback.
    """
    if isinstance(error, Refused):
        headers = {} if error.wait is None else {"Retry-After": str(error.wait)}
        return _answer(error.status, error.kind, str(error), headers)
    kind = type(error).__name__
    if isinstance(error, ClosedError):
        return _answer(503, kind, str(error))
    if isinstance(error, (FrameError, BackgroundError)) and not isinstance(error, NoMatteError):
        return _answer(422, kind, str(error))
    log.error("a request failed", exc_info=error)
    if isinstance(error, MatterError):
        return _answer(500, kind, str(error))
    return _answer(500, "InternalError", "the service failed; its log says why")


def _answer(status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, {"error": {"kind": kind, "message": message}}, headers or {})
