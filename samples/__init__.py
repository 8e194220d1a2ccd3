"""Short programs to copy from: ``image``, ``video``, ``webcam``, each one idea.

All end the same way, which is the only thing that they share: ``run``.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from sdk import MatterError


def run(main: Callable[[], int]) -> NoReturn:
    """Run ``main`` and exit: 0 done, 1 failed (one line on stderr), 2 usage, 130 interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` ends as gently as Ctrl-C
    try:
        status = main()
    except MatterError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    sys.exit(status)
