"""The two ways a build ends early. A message says what was received, expected and the remedy."""

from __future__ import annotations

from matter_sdk.sdk.command_line import UsageError
from matter_sdk.sdk.errors import MatterError

__all__ = ["BuildError", "UsageError"]


class BuildError(MatterError, RuntimeError):
    """A build or its verification failed: exit status 1, no engine written."""
