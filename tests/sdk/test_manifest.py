"""The manifest: what is written comes back, and every wrong field is named."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.errors import EngineError
from sdk.manifest import Manifest, Member, ModelEntry, PlanEntry, check_member_name

# The schema's example, written out by hand: independent of to_json.
EXAMPLE: dict[str, Any] = {
    "schema": 1,
    "matter": "0.1.0",
    "created": "2026-11-21T04:00:00Z",
    "network": {
        "name": "gfm",
        "backbone": "mobilenetv3",
        "rosta": "tt",
        "parameters": 1,
        "macs": {"288x512": 1},
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
    "heads": [{"name": "glance", "channels": 3}, {"name": "focus", "channels": 1}],
    "fusion": "tt",
    "batch": 1,
    "precision": "fp16",
    "models": [{"size": [288, 512], "onnx": "model.onnx", "data": None}],
    "plans": [
        {
            "runtime": "tensorrt-rtx",
            "version": "1.7",
            "compute_capability": None,
            "size": [288, 512],
            "file": "plans/tensorrt-rtx-1.7.plan",
        }
    ],
    "weights": {
        "source": "gfm-mobilenetv3-tt.safetensors",
        "sha256": "ab" * 32,
        "random": False,
        "licence": "MIT",
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
            "bound": {"mad": 1e-4},
        }
    ],
}


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
    assert manifest.models == (ModelEntry((288, 512), "model.onnx", None, "float32"),)
    assert manifest.plans == (
        PlanEntry("tensorrt-rtx", "1.7", None, (288, 512), "plans/tensorrt-rtx-1.7.plan"),
    )
    assert manifest.members == {"model.onnx": Member("cd" * 32, 123)}
    assert manifest.verification[0].bound == {"mad": 1e-4}
    assert manifest.input.spec().mean == (0.0, 0.0, 0.0)


def test_round_trip() -> None:
    manifest = Manifest.from_json(json.dumps(EXAMPLE))
    assert Manifest.from_json(manifest.to_json()) == manifest
    written = json.loads(manifest.to_json())
    assert list(written) == list(EXAMPLE)
    assert written["models"][0].pop("cpu_precision") == "float32"
    assert written == EXAMPLE


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
        ("schema", "1", r"'schema' is \"1\"; expected a whole number from 1 to 2"),
        ("schema", 0, r"'schema' is 0; expected"),
        ("created", "yesterday", r"'created' is \"yesterday\"; expected a UTC time such as"),
        ("created", "2026-13-01T00:00:00Z", r"'created' is .* expected a UTC time"),
        ("created", "1970-01-01T00:00:00Z", r"'created' is .* in the years 1980 to 2107"),
        ("network", [], r"'network' is \[\]; expected an object"),
        ("network.name", "g f m", r"'network.name' is \"g f m\"; expected a name"),
        ("network.parameters", -1, r"'network.parameters' is -1; expected a whole number"),
        ("network.macs", {"288x512": 1.5}, r"'network.macs.288x512' is 1.5; expected a whole"),
        ("input.colour", "rbg", r"'input.colour' is \"rbg\"; .*'rgb', 'bgr'; did you mean 'rgb'\?"),
        ("input.layout", "NHWC", r"'input.layout' is \"NHWC\"; expected 'NCHW'"),
        ("input.mean", [0, 0], r"'input.mean' is \[0, 0\]; expected three numbers"),
        ("input.mean", [0, "x", 0], r"'input.mean' is \"x\"; expected three numbers"),
        ("input.std", [1, 0, 1], r"'input.std' is .*; expected three numbers above zero"),
        ("input.multiple", True, r"'input.multiple' is true; expected a whole number"),
        ("heads", {}, r"'heads' is \{\}; expected a list"),
        ("heads.0.channels", 2, r"'heads' is .*'glance': 2.*; the fusion 'tt' expects"),
        ("heads.1.name", "glance", r"'heads' names a head twice"),
        ("fusion", "ttt", r"'fusion' is \"ttt\"; expected one of .*did you mean 'tt'\?"),
        ("batch", 0, r"'batch' is 0; expected a whole number from 1 to 1024"),
        ("precision", "fp61", r"'precision' is \"fp61\"; .*did you mean 'fp16'\?"),
        ("models", [], r"'models' is empty; expected at least one"),
        ("models.0.size", [288, 500], r"'models\[0\].size' is \[288, 500\]; .*multiple of 32"),
        ("models.0.size", [288, 32 * 257], r"size' is .*; .* to 8192"),
        ("models.0.size", [288.0, 512], r"size' is \[288.0, 512\]; expected"),
        (
            "models.0.onnx",
            "/etc/passwd",
            r"'models\[0\].onnx': member '/etc/passwd' is not a plain",
        ),
        ("models.0.data", "../up", r"'models\[0\].data': member '../up' is not a plain path"),
        (
            "models.0.onnx",
            "manifest.json",
            r"'manifest.json' is named as a model|the manifest names",
        ),
        ("models.0.cpu_precision", "half", r"cpu_precision' is \"half\"; expected one of"),
        ("models.0.dato", None, r"'models\[0\].dato' is not known; did you mean 'data'\?"),
        ("plans.0.runtime", "tensort", r"runtime' is \"tensort\"; .*did you mean 'tensorrt'\?"),
        ("plans.0.size", [32, 32], r"'plans\[0\].size' is \[32, 32\]; expected one of the models'"),
        (
            "plans.0.compute_capability",
            "sm90",
            r"compute_capability' is \"sm90\"; expected null or",
        ),
        ("weights.random", 0, r"'weights.random' is 0; expected true or false"),
        ("weights.sha256", "", r"'weights.sha256' is \"\"; expected 64 hexadecimal digits"),
        ("versions", {"torch": 2}, r"'versions.torch' is 2; expected a string"),
        ("members", {"a/../b": {}}, r"member 'a/../b' is not a plain path"),
        ("members", {"a": {"sha256": "zz", "bytes": 1}}, r"'members.a.sha256' is \"zz\""),
        ("members", {"a": {"bytes": 1}}, r"'members.a.sha256' is missing"),
        ("verification.0.status", "ok", r"status' is \"ok\"; expected one of 'passed'"),
        ("verification.0.sad", "low", r"'verification\[0\].sad' is \"low\"; expected a number"),
        ("verification.0.bound", {"mad": None}, r"bound.mad' is null; expected a number"),
        ("fussion", "tt", r"'fussion' is not known; did you mean 'fusion'\?"),
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
    with pytest.raises(EngineError, match="'models' has a size twice"):
        Manifest.from_json(json.dumps(document))


def test_future_schema_names_both_and_the_remedy() -> None:
    # Whatever else such a manifest holds cannot be judged.
    with pytest.raises(
        EngineError, match=r"schema 7, .* reads schema 1 to 2; .*pip install -U|upgrade"
    ):
        Manifest.from_json('{"schema": 7, "novelty": []}')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[1]", r"the manifest is \[1\]; expected an object"),
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
    with pytest.raises(EngineError, match="is not a plain path inside the archive; expected"):
        check_member_name(name)


@pytest.mark.parametrize("name", ["model.onnx", "model-288x512.onnx.data", "plans/a-1.7+cu13.plan"])
def test_plain_member_names(name: str) -> None:
    check_member_name(name)


def test_build_command() -> None:
    manifest = Manifest.from_json(json.dumps(EXAMPLE))
    assert manifest.build_command() == (
        "python -m export.build --model gfm --backbone mobilenetv3 --rosta tt --fp16 "
        "--size 288x512 --output gfm.engine"
    )
    other = replace(
        manifest,
        precision="fp32",
        batch=4,
        weights=replace(manifest.weights, source="my weights.pth"),
    )
    assert "--weights 'my weights.pth' --size 288x512 --batch 4" in other.build_command()
    random = replace(manifest, weights=replace(manifest.weights, random=True))
    assert "--random-weights --fp16" in random.build_command()


def test_random_weights_need_no_checksum() -> None:
    document = json.loads(json.dumps(EXAMPLE))
    document["weights"] |= {"random": True, "sha256": ""}
    assert Manifest.from_json(json.dumps(document)).weights.random
