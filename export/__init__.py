"""Checkpoint to ONNX to precision to TensorRT plan to a verified ``.engine`` file.

``python -m export.build --help`` is the command, :func:`export.build.build` the same from Python.
"""

import matter_sdk  # noqa: F401 - so that export.x and matter_sdk.export.x are one module
