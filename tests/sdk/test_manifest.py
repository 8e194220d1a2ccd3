"""The manifest: what is written comes back, and every wrong field is named."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matter_sdk.kernels.spec import ROSTAS
from matter_sdk.sdk.engine.manifest import (
    FUSIONS,
    Head,
    Int8Graph,
    Manifest,
    Measured,
    Member,
    ModelEntry,
    PlanEntry,
    Timing,
    WeightsFile,
    check_member_name,
)
from matter_sdk.sdk.errors import EngineError

# The schema's example, written out by hand: independent of to_json.
EXAMPLE: dict[str, Any] = {
    "schema": 4,
    "matter": "0.1.0",
    "created": "2026-11-21T04:00:00Z",
    "network": {
        "name": "gfm",
        "backbone": "efficientnet-lite0",
        "rosta": "tt",
        "parameters": 1,
        "macs": {"288x512": 1},
        "without": ["se"],
    },
    "input": {
        "name": "image",
        "layout": "NCHW",
        "dtype": "float32",
        "colour": "rgb",
        "mean": [0, 0, 0],
        "std": [1, 1, 1],
        "multiple": 32,
    },
    "heads": [
        {"name": "glance", "channels": 3, "stride": 1},
        {"name": "focus", "channels": 1, "stride": 1},
    ],
    "fusion": "tt",
    "batch": 1,
    "precision": "fp16",
    "models": [
        {
            "size": [288, 512],
            "onnx": "model.onnx",
            "data": None,
            "cpu_precision": "float32",
            "float32": ["/decoder/Add_3", "/psp/Conv"],
            "int8": {
                "onnx": "model-int8.onnx",
                "data": None,
                "float32": ["/stem/Conv"],
                "frames": 32,
                "source": "clip.mp4",
            },
            "measured": {
                "cpu": "a CPU, family 6 model 143",
                "threads": 2,
                "load": 0.5,
                "timings": [
                    {"backend": "openvino", "arithmetic": "int8 bfloat16", "ms": 5.5},
                    {"backend": "openvino", "arithmetic": "bfloat16", "ms": 8.0},
                    {"backend": "onnxruntime", "arithmetic": "float32", "ms": 21.0},
                ],
            },
        }
    ],
    "plans": [
        {
            "runtime": "tensorrt-rtx",
            "version": "1.7",
            "compute_capability": None,
            "size": [288, 512],
            "file": "plans/tensorrt-rtx-1.7.plan",
            "plugins": [],
            "serves": ["8.9", "12.0+"],
        }
    ],
    "weights": {
        "source": "gfm-efficientnet-lite0-tt.safetensors",
        "sha256": "ab" * 32,
        "random": False,
        "licence": "MIT",
        "more": [{"source": "gfm-efficientnet-lite0-ft.safetensors", "sha256": "ba" * 32}],
    },
    "versions": {"torch": "2.13.0", "onnx": "1.23.2"},
    "members": {"model.onnx": {"sha256": "cd" * 32, "bytes": 123}},
    "verification": [
        {
            "artefact": "openvino",
            "size": [288, 512],
            "precision": "float32",
            "status": "passed",
            "reason": "",
            "sad": 0.0,
            "mse": 0.0,
            "mad": 0.0,
            "grad": 0.0,
            "conn": 0.0,
            "largest": 0.0,
            "share": 0.0,
            "bound": {"mad": 1e-4},
        }
    ],
    "extra_inputs": [{"name": "trimap", "channels": 2}, {"name": "clicks", "channels": 6}],
    "parts": {},
    "imported": {"head": "mask", "channel": 1, "activation": "softmax"},
}
# A part is a manifest too, without members and parts of its own.
PART: dict[str, Any] = {
    "schema": 4,
    "network": {"name": "sim_classifier", "backbone": "resnet50", "rosta": "none"},
    "input": EXAMPLE["input"] | {"multiple": 8},
    "heads": [{"name": "cam", "channels": 20, "stride": 32}],
    "fusion": "cam",
    "batch": 1,
    "precision": "fp16",
    "models": [{"size": [40, 64], "onnx": "classifier/model.onnx"}],
    "weights": {"source": "c.pth", "sha256": "ab" * 32, "random": False, "licence": "none"},
    "extra_inputs": [{"name": "trimap", "channels": 1}],
}
EXAMPLE["parts"]["classifier"] = PART
PART_MEMBERS = {"a": {"sha256": "ab" * 32, "bytes": 1}}


def changed(path: str, value: Any) -> str:
    """The example as JSON with one field set; ``path`` such as "models.0.size"."""
    document = json.loads(json.dumps(EXAMPLE))
    *parents, last = path.split(".")
    place: Any = document
    for part in parents:
        place = place[int(part) if part.isdigit() else part]
    place[int(last) if last.isdigit() else last] = value
    return json.dumps(document)


def test_example_is_read() -> None:
    manifest = Manifest.from_json(json.dumps(EXAMPLE))
    kept = ("/decoder/Add_3", "/psp/Conv")
    int8 = Int8Graph("model-int8.onnx", None, ("/stem/Conv",), 32, "clip.mp4")
    timings = (
        Timing("openvino", "int8 bfloat16", 5.5),
        Timing("openvino", "bfloat16", 8.0),
        Timing("onnxruntime", "float32", 21.0),
    )
    measured = Measured("a CPU, family 6 model 143", 2, 0.5, timings)
    assert manifest.models == (
        ModelEntry((288, 512), "model.onnx", None, "float32", kept, int8, measured),
    )
    assert manifest.plans == (
        PlanEntry(
            *("tensorrt-rtx", "1.7", None, (288, 512), "plans/tensorrt-rtx-1.7.plan"),
            serves=("8.9", "12.0+"),
        ),
    )
    assert manifest.members == {"model.onnx": Member("cd" * 32, 123)}
    assert manifest.verification[0].bound == {"mad": 1e-4}
    assert manifest.input.spec().mean == (0.0, 0.0, 0.0)
    assert manifest.network.without == ("se",)
    assert manifest.inputs == {"image": 3, "trimap": 2, "clicks": 6}
    assert list(manifest.inputs) == ["image", "trimap", "clicks"]
    assert manifest.weights.more == (
        WeightsFile("gfm-efficientnet-lite0-ft.safetensors", "ba" * 32),
    )
    assert manifest.weights.sources() == (
        "gfm-efficientnet-lite0-tt.safetensors",
        "gfm-efficientnet-lite0-ft.safetensors",
    )


def test_a_part_is_read() -> None:
    manifest = Manifest.from_json(json.dumps(EXAMPLE))
    part = manifest.parts["classifier"]
    assert part.network.name == "sim_classifier"
    assert part.inputs == {"image": 3, "trimap": 1}
    assert part.heads == (Head("cam", 20, 32),)
    assert part.models[0].size == (40, 64)  # in its own multiple
    assert manifest.files() == [
        "model.onnx",
        "model-int8.onnx",
        "plans/tensorrt-rtx-1.7.plan",
        "classifier/model.onnx",
    ]


def test_round_trip() -> None:
    manifest = Manifest.from_json(json.dumps(EXAMPLE))
    assert Manifest.from_json(manifest.to_json()) == manifest
    written = json.loads(manifest.to_json())
    assert list(written) == list(EXAMPLE)
    part = written["parts"].pop("classifier")
    assert written == EXAMPLE | {"parts": {}}
    # What the example left out of its part is written with the values that it then has.
    assert part.pop("heads") == PART["heads"]
    assert part["models"] == [
        PART["models"][0]
        | {"data": None, "cpu_precision": "float32", "float32": [], "int8": None, "measured": None}
    ]
    assert part["members"] == part["parts"] == {}


def test_schema_1_is_read() -> None:
    """An engine of the first version: none of the later fields, and the same meaning."""
    old = json.loads(json.dumps(EXAMPLE))
    old["schema"] = 1
    del old["extra_inputs"], old["parts"], old["network"]["without"], old["weights"]["more"]
    old["heads"] = [{"name": "glance", "channels": 3}, {"name": "focus", "channels": 1}]
    old["models"] = [{"size": [288, 512], "onnx": "model.onnx"}]
    manifest = Manifest.from_json(json.dumps(old))
    assert manifest.inputs == {"image": 3}
    assert [head.stride for head in manifest.heads] == [1, 1]
    assert (manifest.parts, manifest.network.without, manifest.weights.more) == ({}, (), ())
    assert (manifest.models[0].cpu_precision, manifest.models[0].float32) == ("float32", ())
    assert json.loads(manifest.to_json())["schema"] == 4  # written anew, it is of today


def test_schema_3_is_read() -> None:
    old = json.loads(json.dumps(EXAMPLE))
    old["schema"] = 3
    del old["imported"]
    assert Manifest.from_json(json.dumps(old)).imported is None


def test_schema_2_is_read() -> None:
    """No INT8 and nothing measured: what was added with schema 3."""
    old = json.loads(json.dumps(EXAMPLE))
    old["schema"] = 2
    del old["models"][0]["int8"], old["models"][0]["measured"], old["verification"][0]["share"]
    manifest = Manifest.from_json(json.dumps(old))
    (model,) = manifest.models
    assert (model.int8, model.measured) == (None, None)
    assert manifest.verification[0].share is None
    assert "--int8" not in manifest.build_command()
    with pytest.raises(EngineError, match=r"INT8.*288x512.*--int8"):
        model.on_cpu("int8")


def test_the_graph_of_an_arithmetic() -> None:
    (model,) = Manifest.from_json(json.dumps(EXAMPLE)).models
    assert model.on_cpu("bfloat16").onnx == model.on_cpu("float32").onnx == "model.onnx"
    assert model.on_cpu("int8 bfloat16").onnx == "model-int8.onnx"
    assert model.on_cpu("int8").cpu_precision == "int8"


def test_the_command_that_builds_it_again_says_int8() -> None:
    manifest = Manifest.from_json(json.dumps(EXAMPLE))
    assert "--fp16 --int8 --calibrate clip.mp4 --size" in manifest.build_command()
    manifest = Manifest.from_json(changed("models.0.int8.source", ""))
    assert "--fp16 --int8 --size" in manifest.build_command()


def test_brief_leaves_out_checksums_and_verification() -> None:
    brief = Manifest.from_json(json.dumps(EXAMPLE)).to_json(brief=True)
    assert set(EXAMPLE) - set(json.loads(brief)) == {"members", "verification"}
    assert "\n" not in brief
    assert Manifest.from_json(brief).network.name == "gfm"


def test_cpu_precision_is_read() -> None:
    manifest = Manifest.from_json(changed("models.0.cpu_precision", "bfloat16"))
    assert manifest.models[0].cpu_precision == "bfloat16"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", "1", r"'schema' is \"1\""),
        ("schema", 0, r"'schema' is 0"),
        ("created", "yesterday", r"'created' is \"yesterday\""),
        ("created", "2026-13-01T00:00:00Z", r"'created' is .* expected a UTC time"),
        ("created", "1970-01-01T00:00:00Z", r"'created' is .* in the years 1980 to 2107"),
        ("network", [], r"'network' is \[\]"),
        ("network.name", "g f m", r"'network.name' is \"g f m\""),
        ("network.parameters", -1, r"'network.parameters' is -1"),
        ("network.macs", {"288x512": 1.5}, r"'network.macs.288x512' is 1.5"),
        ("input.colour", "rbg", r"'input.colour' is \"rbg\"; .*'rgb', 'bgr'; did you mean 'rgb'\?"),
        ("input.layout", "NHWC", r"'input.layout' is \"NHWC\""),
        ("input.mean", [0, 0], r"'input.mean' is \[0, 0\]"),
        ("input.mean", [0, "x", 0], r"'input.mean\[1\]' is \"x\""),
        ("input.std", [1, 0, 1], r"'input.std' is .*"),
        ("input.multiple", True, r"'input.multiple' is true"),
        ("heads", {}, r"'heads' is \{\}"),
        ("heads.0.channels", 2, r"'heads' is .*\"glance\": 2"),
        ("heads.1.name", "glance", r"'heads' is \[\"glance\", \"glance\"\]"),
        ("fusion", "ttt", r"'fusion' is \"ttt\""),
        ("batch", 0, r"'batch' is 0"),
        ("precision", "fp61", r"'precision' is \"fp61\"; .*did you mean 'fp16'\?"),
        ("models", [], r"'models' is \[\]"),
        ("models.0.size", [288, 500], r"'models\[0\].size' is \[288, 500\]; .*multiple of 32"),
        ("models.0.size", [288, 32 * 257], r"size' is .*; .* to 8192"),
        ("models.0.size", [288.0, 512], r"size\[0\]' is 288.0"),
        (
            "models.0.onnx",
            "/etc/passwd",
            r"'models\[0\].onnx' is \"/etc/passwd\"",
        ),
        ("models.0.data", "../up", r"'models\[0\].data' is \"../up\""),
        (
            "models.0.onnx",
            "manifest.json",
            r"'models' is \"manifest.json\"",
        ),
        ("models.0.cpu_precision", "half", r"cpu_precision' is \"half\""),
        ("models.0.int8", "yes", r"'models\[0\].int8' is \"yes\""),
        ("models.0.int8.onnx", "../up", r"int8.onnx' is \"../up\""),
        ("models.0.int8", None, r"timings\[0\].arithmetic' is \"int8 bfloat16\""),
        (
            "models.0.measured.timings.2.arithmetic",
            "bfloat16",
            r"timings\[2\].arithmetic' is \"bfloat16\"",
        ),
        ("models.0.measured.timings.0.backend", "openvno", r"did you mean 'openvino'\?"),
        ("models.0.measured.timings.0.ms", "5", r"timings\[0\].ms' is \"5\""),
        ("models.0.measured.threads", 0, r"measured.threads' is 0"),
        ("models.0.dato", None, r"'models\[0\].dato' is not known; .*did you mean 'data'\?"),
        ("plans.0.runtime", "tensort", r"runtime' is \"tensort\"; .*did you mean 'tensorrt'\?"),
        ("plans.0.size", [32, 32], r"'plans\[0\].size' is \[32, 32\]"),
        (
            "plans.0.compute_capability",
            "sm90",
            r"compute_capability' is \"sm90\"",
        ),
        ("plans.0.serves", ["8.9", "sm90"], r"serves\[1\]' is \"sm90\""),
        ("plans.0.plugins", "Unpool", r"plugins' is \"Unpool\""),
        ("weights.random", 0, r"'weights.random' is 0"),
        ("weights.sha256", "", r"'weights.sha256' is \"\""),
        ("versions", {"torch": 2}, r"'versions.torch' is 2"),
        ("members", {"a/../b": {}}, r"'members' is \"a/../b\""),
        ("members", {"a": {"sha256": "zz", "bytes": 1}}, r"'members.a.sha256' is \"zz\""),
        ("members", {"a": {"bytes": 1}}, r"'members.a.sha256' is missing"),
        ("verification.0.status", "ok", r"status' is \"ok\""),
        ("verification.0.sad", "low", r"'verification\[0\].sad' is \"low\""),
        ("verification.0.bound", {"mad": None}, r"bound.mad' is null"),
        ("network.without", "se", r"'network.without' is \"se\""),
        ("network.without", [1], r"'network.without\[0\]' is 1"),
        ("heads.0.stride", 0, r"'heads\[0\].stride' is 0"),
        ("heads.0.strides", 2, r"'heads\[0\].strides' is not known; .*did you mean 'stride'\?"),
        ("models.0.float32", [None], r"'models\[0\].float32\[0\]' is null"),
        ("weights.more", [{"source": "a"}], r"'weights.more\[0\].sha256' is missing"),
        ("weights.more", [{"source": "a", "sha256": "0"}], r"more\[0\].sha256' is \"0\""),
        ("extra_inputs.0.channels", 0, r"'extra_inputs\[0\].channels' is 0"),
        ("extra_inputs.0.name", "a b", r"'extra_inputs\[0\].name' is \"a b\""),
        (
            "extra_inputs.0.name",
            "clicks",
            r"'extra_inputs' is \[\"image\", \"clicks\", \"clicks\"\]",
        ),
        ("extra_inputs.0.name", "image", r"'extra_inputs' is \[\"image\", \"image\", \"clicks\"\]"),
        ("parts", [], r"'parts' is \[\]"),
        ("parts.classifier.fusion", "tt", r"'parts.classifier.heads' is \{\"cam\": 20\}"),
        ("parts.classifier.batch", 0, r"'parts.classifier.batch' is 0"),
        ("parts.classifier.models", [], r"'parts.classifier.models' is \[\]"),
        (
            "parts.classifier.created",
            "now",
            r"'parts.classifier.created' is \"now\"",
        ),
        (
            "parts.classifier.models.0.size",
            [42, 64],
            r"parts.classifier.models\[0\].size' is .* 8 ",
        ),
        (
            "parts.classifier.parts",
            {"x": PART},
            r"'parts.classifier.parts' is \[\"x\"\]",
        ),
        ("parts.classifier.members", PART_MEMBERS, r"'parts.classifier.members' is \[\"a\"\]"),
        ("fussion", "tt", r"'fussion' is not known; .*did you mean 'fusion'\?"),
    ],
)
def test_wrong_field_is_named(path: str, value: Any, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        Manifest.from_json(changed(path, value))


@pytest.mark.parametrize("name", ["schema", "network", "input", "heads", "models", "weights"])
def test_missing_field_is_named(name: str) -> None:
    document = {key: value for key, value in EXAMPLE.items() if key != name}
    with pytest.raises(EngineError, match=f"'{name}' is missing"):
        Manifest.from_json(json.dumps(document))


def test_size_twice() -> None:
    document = json.loads(json.dumps(EXAMPLE))
    document["models"] *= 2
    with pytest.raises(EngineError, match=r"'models'.*\[\[288, 512\], \[288, 512\]\]"):
        Manifest.from_json(json.dumps(document))


def test_future_schema_names_both_and_the_remedy() -> None:
    # Whatever else such a manifest holds cannot be judged.
    with pytest.raises(EngineError, match=r"schema 7\b.*\b1 to 4\b.*--upgrade"):
        Manifest.from_json('{"schema": 7, "novelty": []}')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[1]", r"the manifest is \[1\]"),
        (b"\xff\xfe", "not valid JSON"),
        ('{"schema": 1, "schema": 1}', "'schema' stands twice"),
        ('{"schema": NaN}', "the number NaN"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_what_is_no_manifest(text: str | bytes, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        Manifest.from_json(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
PATHS = [
    *EXAMPLE,
    "input.mean",
    "parts.classifier",
    "parts.classifier.heads",
    "extra_inputs.1.channels",
    "models.0",
    "models.0.size",
    "plans.0.file",
    "verification.0.bound",
]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PATHS), JSON)
def test_anything_in_a_field_is_read_or_refused_as_an_engine_error(path: str, value: Any) -> None:
    try:
        manifest = Manifest.from_json(changed(path, value))
    except EngineError:
        return
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            ".",
            "..",
            "/a",
            "a/",
            "a//b",
            "../a",
            "a/../b",
            "a/./b",
            "C:a",
            "C:/a",
            "a\\b",
            "a\0b",
        ),
        *(".hidden", "a/.b", "-rf", "a b", "a\nb", "a:b", "ä", "con*", "a\n"),
    ],
)
def test_member_names_that_could_leave_the_archive(name: str) -> None:
    with pytest.raises(EngineError, match=re.escape(repr(name[:300]))):
        check_member_name(name)


@pytest.mark.parametrize("name", ["model.onnx", "model-288x512.onnx.data", "plans/a-1.7+cu13.plan"])
def test_plain_member_names(name: str) -> None:
    check_member_name(name)


def test_a_plan_that_needs_a_plugin() -> None:
    plan = EXAMPLE["plans"][0] | {"runtime": "tensorrt", "plugins": ["MatterMaxUnpool"]}
    manifest = Manifest.from_json(json.dumps(EXAMPLE | {"plans": [plan]}))
    assert manifest.plans[0].plugins == ("MatterMaxUnpool",)
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.build_command().endswith(" --unpool plugin --output gfm.engine")


def test_build_command() -> None:
    manifest = Manifest.from_json(json.dumps(EXAMPLE))
    assert manifest.build_command() == (
        "python -m export.build --model gfm --backbone efficientnet-lite0 --rosta tt --without se "
        "--fp16 --int8 --calibrate clip.mp4 --size 288x512 --output gfm.engine"
    )
    other = replace(
        manifest,
        precision="fp32",
        batch=4,
        weights=replace(manifest.weights, source="my weights.pth"),
    )
    assert (
        "--weights 'my weights.pth' --weights gfm-efficientnet-lite0-ft.safetensors "
        "--classifier c.pth --int8 --calibrate clip.mp4 --size 288x512 --batch 4"
    ) in other.build_command()
    random = replace(manifest, weights=replace(manifest.weights, random=True))
    assert "--random-weights --fp16" in random.build_command()


def test_random_weights_need_no_checksum() -> None:
    document = json.loads(json.dumps(EXAMPLE))
    document["weights"] |= {"random": True, "sha256": ""}
    assert Manifest.from_json(json.dumps(document)).weights.random


# --------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"matter": "0.1\x1b[2J"}, r'text "0.1\u001b[2J" of 7 characters; expected at most'),
        ({"matter": "a\x9bb"}, "and no control characters"),
        ({"matter": "a\u202eb"}, "and no control characters"),
        ({"versions": {"on\x7fnx": "1"}}, "and no control characters"),
        ({"matter": "a" * 5000}, "of 5,000 characters"),
        ({"versions": {"a" * 5000: "1"}}, "of 5,000 characters"),
        ({"versions": {str(number): "" for number in range(60_000)}}, "more than 50,000 values"),
        ({"weights": [[[[[[[[[[[[[[]]]]]]]]]]]]]]}, "nested more than 12 deep"),
        ({"matter": "a" * (2 << 20)}, "expected at most 1,048,576 bytes"),
    ],
)
def test_limits(change: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError) as caught:
        Manifest.from_json(json.dumps(EXAMPLE | change))
    assert message in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_numbers_of_many_digits() -> None:
    text = json.dumps(EXAMPLE).replace('"batch": 1', f'"batch": {"9" * 4000}')
    with pytest.raises(EngineError, match="a number of 4000 digits"):
        Manifest.from_json(text)


def test_depth_beyond_the_parser_s() -> None:
    with pytest.raises(EngineError, match=r"JSON|nested"):
        Manifest.from_json("[" * 500_000)


def test_fusions_read_the_glance_that_the_kernel_takes() -> None:
    glances = {name: heads["glance"] for name, heads in FUSIONS.items() if "glance" in heads}
    assert glances == {name: rosta.classes for name, rosta in ROSTAS.items()}
