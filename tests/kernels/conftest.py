"""Another build of the compiled module under the same tests, as `make sanitize` has one.

MATTER_HOST names its file; without it the installed module is tested.
"""

from __future__ import annotations

import importlib.util
import os
import sys

FILE = os.environ.get("MATTER_HOST")


def _load(file: str) -> None:
    spec = importlib.util.spec_from_file_location("matter_sdk.kernels._host", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no compiled module", path=file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)


if FILE:
    _load(FILE)


def pytest_report_header() -> str:
    return f"kernels._host: {FILE or 'as installed'}"
