"""What is closed at the end of its ``with`` block."""

from __future__ import annotations

from typing import Self


class Closing:
    """A context manager that closes itself, whatever ended the block."""

    def close(self) -> None:
        """Release everything. Safe to call twice."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
