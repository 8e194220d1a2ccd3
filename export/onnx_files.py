"""Write graphs to disk: with external weights, and with weights that several graphs share."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes

from matter_sdk.export.cost import weight_bytes

# A protobuf message ends at 2 GiB, and some readers copy it whole: beyond this many bytes of
# weights they stand in a file of their own beside the graph.
EXTERNAL_BYTES = 1 << 30

# Weights that several graphs hold are stored once from this many bytes on. What is smaller stays in
# its graph, and so do whole numbers: there the check of an engine looks at them.
SHARED_BYTES = 1024
_SHARED_TYPES = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8)
_SHARED_ALIGNMENT = 64  # bytes: a cache line


def save(model: ir.Model, path: Path, *, external_bytes: int | None = None) -> Path | None:
    """Write a model; return its file of external weights, or None if it holds them itself.

    Beyond ``external_bytes`` (default: ``EXTERNAL_BYTES``) weights go to ``<path>.data``, which the
    model names by its bare name.
    """
    data = path.with_name(path.name + ".data")
    limit = EXTERNAL_BYTES if external_bytes is None else external_bytes
    external = weight_bytes(model) > limit
    # 64 KiB is the coarsest granularity of memory mapping, so that large weights can be mapped.
    ir.save(
        model,
        path,
        external_data=data.name if external else None,
        alignment=65536 if external else None,
    )
    return data if external else None


def share(paths: Sequence[Path], data: Path) -> bool:
    """Store what several saved graphs have in common once: in ``data``, beside them.

    Each graph is written anew and names ``data`` by its bare name. A graph whose weights stood in a
    file of their own takes them all along, and that file is deleted. Returns False where there is
    nothing in common; then nothing is written.
    """
    held: Counter[bytes] = Counter()
    for path in paths:
        model = onnx.load(path, load_external_data=False)
        held.update({key for _, _, key in _weights(path, model)})
    if max(held.values(), default=0) < 2:
        return False
    places: dict[bytes, int] = {}
    with data.open("xb") as file:
        for path in paths:
            model = onnx.load(path, load_external_data=False)
            for tensor, content, key in _weights(path, model):
                if held[key] < 2 and not tensor.external_data:
                    continue
                if key not in places:
                    file.write(bytes(-file.tell() % _SHARED_ALIGNMENT))
                    places[key] = file.tell()
                    file.write(content)
                about = {"location": data.name, "offset": places[key], "length": len(content)}
                tensor.ClearField("raw_data")
                tensor.ClearField("external_data")
                tensor.data_location = onnx.TensorProto.EXTERNAL
                for name, value in about.items():
                    tensor.external_data.add(key=name, value=str(value))
            path.write_bytes(model.SerializeToString())
    for path in paths:
        path.with_name(path.name + ".data").unlink(missing_ok=True)
    return True


def _weights(path: Path, model: onnx.ModelProto) -> Iterator[tuple[onnx.TensorProto, bytes, bytes]]:
    """Tensors of a saved graph that may be shared: with their bytes, and the SHA-256 of those."""
    for tensor in model.graph.initializer:
        if tensor.external_data:
            about = {entry.key: entry.value for entry in tensor.external_data}
            with path.with_name(about["location"]).open("rb") as file:
                file.seek(int(about.get("offset", 0)))
                content = file.read(int(about["length"]))
        elif tensor.data_type in _SHARED_TYPES and len(tensor.raw_data) >= SHARED_BYTES:
            content = tensor.raw_data
        else:
            continue
        yield tensor, content, hashlib.sha256(content).digest()


def sign(model: ir.Model) -> None:
    """Drop the notes of tools from a graph, and name its producer."""
    passes.RemoveUnusedOpsetsPass()(model)
    passes.ClearMetadataAndDocStringPass()(model)
    model.producer_name, model.producer_version = "matter", None
    model.metadata_props.clear()
