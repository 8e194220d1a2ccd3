"""Model repositories of Triton: read by its schema, and asked by the client that is made."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from matter_sdk.export import triton
from matter_sdk.sdk import EngineFile, Matter
from matter_sdk.sdk.engine.manifest import ExtraInput, Manifest
from tests.sdk.conftest import Tiny

SIZES = ((32, 64), (64, 32))
# What is used here of Triton's model_config.proto: message -> field -> (number, type). A type is
# protobuf's number of a scalar's, or the name of a message or an enum.
INT64, STRING, INT32 = 3, 9, 5
SCHEMA: dict[str, dict[str, tuple[int, int | str]]] = {
    "ModelConfig": {
        "name": (1, STRING),
        "platform": (2, STRING),
        "backend": (17, STRING),
        "max_batch_size": (4, INT32),
        "input": (5, "ModelInput"),
        "output": (6, "ModelOutput"),
        "instance_group": (7, "ModelInstanceGroup"),
    },
    "ModelInput": {"name": (1, STRING), "data_type": (2, "DataType"), "dims": (4, INT64)},
    "ModelOutput": {"name": (1, STRING), "data_type": (2, "DataType"), "dims": (3, INT64)},
    "ModelInstanceGroup": {"name": (1, STRING), "kind": (4, "Kind"), "count": (2, INT32)},
}
ENUMS = {"DataType": {"TYPE_INVALID": 0, "TYPE_FP32": 11}, "Kind": {"KIND_AUTO": 0, "KIND_GPU": 1}}
REPEATED = {"input", "output", "instance_group", "dims"}


def used_schema() -> Any:
    """``ModelConfig`` with the fields above alone: the parser refuses others."""
    file = descriptor_pb2.FileDescriptorProto(name="used.proto", package="used", syntax="proto3")
    for name, values in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for key, number in values.items():
            enum.value.add(name=key, number=number)
    for name, fields in SCHEMA.items():
        message = file.message_type.add(name=name)
        for key, (number, kind) in fields.items():
            field = message.field.add(name=key, number=number, label=3 if key in REPEATED else 1)
            if isinstance(kind, int):
                field.type = kind
            else:
                field.type, field.type_name = (14 if kind in ENUMS else 11), f".used.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("used.ModelConfig"))


def published_schema() -> Any:
    """``ModelConfig`` as NVIDIA's client package brings it."""
    return pytest.importorskip("tritonclient.grpc.model_config_pb2").ModelConfig


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    return Tiny(tmp_path).build("my net.engine", sizes=SIZES)


def served(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The client's module, and in place of a server ONNX Runtime on the repository's files."""

    class Input:
        def __init__(self, name: str, shape: Any, kind: str) -> None:
            assert kind == "FP32"
            self.name, self.shape = name, tuple(shape)

        def set_data_from_numpy(self, tensor: Any) -> None:
            assert tensor.shape == self.shape
            self.tensor = tensor

    class Client:
        def infer(self, name: str, inputs: list[Input]) -> Any:
            session = onnxruntime.InferenceSession(repository / name / "1" / "model.onnx")
            names = [output.name for output in session.get_outputs()]
            answers = session.run(None, {x.name: x.tensor for x in inputs})
            heads = dict(zip(names, answers, strict=True))
            return SimpleNamespace(as_numpy=heads.get)

    http = ModuleType("tritonclient.http")
    http.InferInput, http.InferenceServerClient = Input, Client  # type: ignore[attr-defined]
    package = ModuleType("tritonclient")
    package.http = http  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tritonclient", package)
    monkeypatch.setitem(sys.modules, "tritonclient.http", http)
    (path,) = repository.glob("*_client.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("schema", [used_schema, published_schema])
def test_configurations_are_of_the_schema(engine: Path, tmp_path: Path, schema: Any) -> None:
    model_config = schema()
    assert triton.main([str(engine), str(tmp_path / "models")]) == 0
    folders = sorted(path for path in (tmp_path / "models").iterdir() if path.is_dir())
    assert [folder.name for folder in folders] == ["my-net-32x64", "my-net-64x32"]
    for folder in folders:
        assert {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} == {
            "config.pbtxt",
            "1/model.onnx",
        }
        config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config())
        assert (config.name, config.backend, config.max_batch_size) == (
            *(folder.name, "onnxruntime"),
            0,
        )
        graph = onnx.load(folder / "1" / "model.onnx").graph
        for told, held in ((config.input, graph.input), (config.output, graph.output)):
            sides = {
                value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
                for value in held
            }
            assert {value.name: list(value.dims) for value in told} == sides
            assert all(value.data_type == 11 for value in told)


def test_the_fields_here_are_those_published() -> None:
    file = published_schema().DESCRIPTOR.file
    for name, fields in SCHEMA.items():
        published = file.message_types_by_name[name].fields_by_name
        for key, (number, kind) in fields.items():
            field = published[key]
            enum, message = field.enum_type, field.message_type
            own = enum.name if enum else message.name if message else field.type
            assert (field.number, own, field.is_repeated) == (number, kind, key in REPEATED), key


def test_the_schema_here_refuses_what_it_does_not_know() -> None:
    with pytest.raises(text_format.ParseError, match="max_batch"):
        text_format.Parse("max_batch: 0", used_schema()())


@pytest.mark.parametrize("fusion", ["tt", "alpha"])
def test_the_client_gives_the_same_mattes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fusion: str
) -> None:
    engine = Tiny(tmp_path).build(sizes=SIZES, fusion=fusion, batch=2)
    triton.write_repository(engine, tmp_path / "models")
    client = served(tmp_path / "models", monkeypatch)
    frames = np.random.default_rng(3).integers(0, 256, (2, 90, 120, 3), np.uint8)
    with Matter(engine, backend="onnxruntime") as matter:
        for frame in (frames[0], frames[1].transpose(1, 0, 2).copy()):
            answer = client.matte(client.triton.InferenceServerClient(), frame)
            assert np.array_equal(answer.alpha, matter(frame).alpha)
            assert np.array_equal(answer.cutout(), matter(frame).cutout())


def test_weights_in_a_file_of_their_own(tmp_path: Path) -> None:
    engine = Tiny(tmp_path).build_external()
    *folders, _ = triton.write_repository(engine, tmp_path / "models")
    with EngineFile.open(engine) as opened:
        (model,) = opened.manifest.models
        weights = opened.read(str(model.data))
    assert (folders[0] / "1" / Path(str(model.data)).name).read_bytes() == weights
    onnxruntime.InferenceSession(folders[0] / "1" / "model.onnx")


def test_bad_input(engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = tmp_path / "models"
    assert triton.main([str(engine), str(models)]) == 0
    before = sorted(models.rglob("*"))
    file = tmp_path / "file"
    file.write_bytes(b"")
    reading = Tiny(tmp_path).build("plate.engine", change=_with_plate)
    for words, status, named in (
        ([engine, models], 2, "my-net-32x64"),
        ([tmp_path / "no.engine", models], 1, "no.engine"),
        ([reading, models], 2, "plate"),
        ([engine, file], 1, "file"),
        ([engine], 2, "FOLDER"),
    ):
        assert triton.main([str(word) for word in words]) == status, words
        assert named in capsys.readouterr().err
    assert sorted(models.rglob("*")) == before


def test_a_failure_leaves_nothing(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(triton, "replace_text", full)
    assert triton.main([str(engine), str(tmp_path / "models")]) == 1
    assert not list((tmp_path / "models").iterdir())


def _with_plate(manifest: Manifest) -> Manifest:
    return dataclasses.replace(manifest, extra_inputs=(ExtraInput("plate", 3),))
