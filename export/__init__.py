"""Checkpoint to ONNX to precision to TensorRT plan to a verified ``.engine`` file.

``python -m export.build --help`` is the command, :func:`export.build.build` the same from Python.
"""
