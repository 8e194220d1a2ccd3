"""A pytest plugin (`-p tests.fakes.no_fatbin`): CUDA kernels come from NVRTC, as without nvcc."""

from pathlib import Path

from matter_sdk.kernels import _cuda

_file = _cuda._file


def _source_alone(name: str) -> Path | None:
    return None if name.endswith(".fatbin") else _file(name)


_cuda._file = _source_alone
