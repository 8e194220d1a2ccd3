"""What the tests of training share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Tests run in a process a core, where PyTorch's second thread would only wait, spinning."""
