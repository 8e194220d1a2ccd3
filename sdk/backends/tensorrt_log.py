"""TensorRT's own messages, for whoever loads or builds with it. Imports nothing of TensorRT."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any


def logger(trt: Any, hear: Callable[[int, str], object]) -> Any:
    """Make the logger that a builder or runtime of the module ``trt`` takes.

    It must live as long as all that is made with it. ``hear`` takes a level of ``logging`` and a
    message, from any thread; what TensorRT only tells is passed over.
    """

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:  # internal errors too
                hear(logging.ERROR, message.strip())
            elif severity == trt.ILogger.WARNING:
                hear(logging.WARNING, message.strip())

    return Logger()
