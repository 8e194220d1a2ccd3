"""The two ways a build ends early; each message says what was received, expected, and the "
"remedy."""

from __future__ import annotations


class UsageError(ValueError):
    """A request that cannot be met whatever the build does: exit status 2."""


class BuildError(RuntimeError):
    """A build or its verification failed: exit status 1, no engine written."""
