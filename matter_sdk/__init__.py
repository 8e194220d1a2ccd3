"""Matter SDK under its installed name: ``from matter_sdk import Matter``.

The packages ``sdk``, ``kernels``, ``export``, ``training`` and ``samples`` are found below this
name. In a wheel they lie in this folder; in a checkout they lie beside it. ``matter_sdk`` itself
shows what ``matter_sdk.sdk`` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

_ROOT = Path(__file__).resolve().parent.parent
if (_ROOT / "sdk" / "__init__.py").is_file() and (_ROOT / "pyproject.toml").is_file():
    __path__.append(str(_ROOT))
    from matter_sdk import _checkout

    _checkout.install()

from matter_sdk import sdk  # noqa: E402 - a checkout's is found through the path above

if TYPE_CHECKING:
    from matter_sdk.sdk import *  # noqa: F403

__all__ = sdk.__all__


def __getattr__(name: str) -> Any:
    return getattr(sdk, name)


def __dir__() -> list[str]:
    return dir(sdk)
