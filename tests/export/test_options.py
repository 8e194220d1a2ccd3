"""Every wrong flag: exit status 2, one line with received, expected and remedy, before torch."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from matter_sdk.export import options
from matter_sdk.export.build import main
from matter_sdk.export.options import BuildOptions, UsageError
from matter_sdk.export.stages import plans
from matter_sdk.training import networks

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def no_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No demo checkpoints but those that a test makes; the current directory is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options, "demo_folders", lambda: (tmp_path / "weights",))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], ["--model is missing", "gfm"]),
        (["--model", "gmf"], ["'gmf'", "did you mean 'gfm'"]),
        (["--model", ""], ["--model", "empty"]),
        (["--model"], ["--model", "expected one argument"]),
        (["--modle", "gfm"], ["'--modle'", "did you mean '--model'?"]),
        (["--mod", "gfm"], ["'--mod' is not a flag"]),
        (["--model", "gfm", "--backbone", "resnet43"], ["'resnet43'", "did you mean 'resnet34"]),
        (["--model", "gfm", "--rosta", "tf"], ["'tf'", "tt, ft, bt, rim"]),
        (["--model", "gfm", "--fp16", "--bf16"], ["--fp16", "--bf16"]),
        (["--model", "gfm", "--calibrate", "."], ["of no use without --int8", "add --int8"]),
        (["--model", "gfm", "--int8", "--calibrate", "no"], ["no does not exist", "or a video"]),
        (["--model", "gfm", "--int8", "--calibrate", "."], ["holds no picture", ".jpg"]),
        (["--model", "gfm", "--int8", "--calibrate", ""], ["--calibrate", "empty"]),
        (["--model", "gfm", "--size", "288"], ["'288'", "288x512"]),
        (["--model", "gfm", "--size", "288x"], ["'288x'", "height x width"]),
        (["--model", "gfm", "--size=-32x64"], ["height x width"]),
        (["--model", "gfm", "--size", "nanx32"], ["'nanx32'"]),
        (["--model", "gfm", "--size", "0x0"], ["'0x0'"]),
        (["--model", "gfm", "--size", "8x8"], ["8x8", "from 32 to 8192", "32x32"]),
        (["--model", "gfm", "--size", "32x9000"], ["out of range", "32x8192"]),
        (["--model", "gfm", "--size", "290x512"], ["multiples of 32", "--size 288x512"]),
        (["--model", "gfm", "--size", "8192x8192"], ["67 million pixels", "at most 17"]),
        (["--model", "gfm", "--size", "64x64", "--size", "64x64"], ["2 times", "once"]),
        (["--model", "gfm", "--target", "tensort"], ["'tensort'", "did you mean 'tensorrt'"]),
        (["--model", "gfm", "--opset", "12"], ["--opset 12", "18 to 23"]),
        (["--model", "gfm", "--opset", "x"], ["'x' is not a whole number"]),
        (["--model", "gfm", "--batch", "0"], ["--batch 0", "1 to 64"]),
        (["--model", "gfm", "--batch", "1.5"], ["'1.5' is not a whole number"]),
        (["--model", "gfm", "--output", "a/b/gfm.engine"], ["does not exist", "mkdir -p a/b"]),
        (["--model", "gfm", "--output", "gfm.onnx"], ["'.onnx'", "gfm.engine"]),
        (["--model", "gfm", "--output", "."], ["is a folder"]),
        (["--model", "aim", "--rosta", "tt"], ["'tt'", "one of unified"]),
        (["--model", "sim", "--backbone", "resnet34"], ["'resnet34'", "one of resnet50"]),
        (["--model", "sim", "--without", "se"], ["sim has no parts", "aim: se, attention"]),
        (["--model", "gfm", "--without", "ppm"], ["'ppm'", "one of pyramid"]),
        (["--model", "msia", "--without", "int"], ["'int'", "ini, sed", "did you mean 'ini'"]),
        (["--model", "aim", "--without", " "], ["--without", "empty"]),
        (["--model", "msia", "--size", "40x64"], ["fit msia", "multiples of 16", "32x64"]),
        (["--model", "sim", "--size", "44x64"], ["fit sim", "multiples of 8", "48x64"]),
        (["--model", "sim", "--classifier", ""], ["--classifier", "empty"]),
        (["--model", "sim", "--classifier", "c.pth"], ["c.pth", "--random-weights", "contradict"]),
        (["--model", "aim", "--classifier", "c.pth"], ["no semantic trimap", "leave it out"]),
    ],
)
def test_wrong_flags(
    flags: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if "--model" in flags and "--weights" not in flags:
        flags = [*flags, "--random-weights"]
    assert main(flags) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    for word in words:
        assert word in captured.err
    assert list(Path.cwd().iterdir()) == []


def test_weights_that_cannot_be_read(tmp_path: Path) -> None:
    def message(path: Path, **more: object) -> str:
        with pytest.raises(UsageError) as caught:
            BuildOptions("gfm", weights=(path,), **more).resolve()  # type: ignore[arg-type]
        return str(caught.value)

    good = tmp_path / "mine.pth"
    good.write_bytes(b"x")
    assert "did you mean 'mine.pth'" in message(tmp_path / "mien.pth")
    assert "contradict" in message(good, random_weights=True)
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    assert "is empty" in message(empty)
    (tmp_path / "folder.pth").mkdir()
    assert "is a folder" in message(tmp_path / "folder.pth")
    assert "expected a checkpoint ending in" in message(tmp_path / "mine.zip")
    assert "does not exist" in message(tmp_path / "nowhere" / "x.pth")


def test_the_ensemble_takes_one_checkpoint_or_one_for_each_network(tmp_path: Path) -> None:
    files = tuple(tmp_path / f"{name}.pth" for name in ("tt", "ft", "bt"))
    for file in files:
        file.write_bytes(b"x")

    def check_weights(weights: tuple[Path, ...], rosta: str | None) -> tuple[Path, ...]:
        return BuildOptions("gfm", rosta=rosta, weights=weights).resolve().weights

    assert check_weights(files, "en-median") == files
    assert check_weights(files[:1], "en-median") == files[:1]
    with pytest.raises(UsageError, match=r"2 times.*--weights TT"):
        check_weights(files[:2], "en-median")
    with pytest.raises(UsageError, match=r"3 times.*--rosta en-median"):
        check_weights(files, "tt")
    with pytest.raises(UsageError, match="3 times"):
        check_weights(files, None)
    with pytest.raises(UsageError, match=r"fb\.pth.*did you mean 'ft\.pth'"):
        check_weights((files[0], tmp_path / "fb.pth", files[2]), "en-median")


def test_sim_needs_its_classifier(tmp_path: Path) -> None:
    weights, classifier = tmp_path / "sim.pth", tmp_path / "classifier.pth"
    weights.write_bytes(b"x")
    classifier.write_bytes(b"x")
    with pytest.raises(UsageError, match="--classifier PATH"):
        BuildOptions("sim", weights=(weights,)).resolve()
    with pytest.raises(UsageError, match=r"--classifier .*none\.pth"):
        BuildOptions("sim", weights=(weights,), classifier=tmp_path / "none.pth").resolve()
    resolved = BuildOptions("sim", weights=(weights,), classifier=classifier).resolve()
    assert (resolved.weights, resolved.classifier) == ((weights,), classifier)
    resolved = BuildOptions("sim", random_weights=True).resolve()
    assert (resolved.weights, resolved.classifier) == ((), None)
    with pytest.raises(UsageError) as caught:
        BuildOptions("sim").resolve()
    assert "--model sim --weights PATH --classifier PATH" in str(caught.value)


def test_parts_are_left_out_in_the_networks_order() -> None:
    resolved = BuildOptions(
        "msia", without=("adaptive", "ini", "ini"), random_weights=True
    ).resolve()
    assert resolved.without == ("ini", "adaptive")
    with pytest.raises(UsageError, match=r"--model aim --without se --weights PATH"):
        BuildOptions("aim", without=("se",)).resolve()


def test_a_demo_checkpoint_has_all_its_parts(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    demo = tmp_path / "weights" / "aim-resnet34-unified.safetensors"
    demo.write_bytes(b"x")
    assert BuildOptions("aim").resolve().weights == (demo,)
    with pytest.raises(UsageError, match="--model aim --without se"):
        BuildOptions("aim", without=("se",)).resolve()


@pytest.mark.parametrize("model", networks.names())
def test_the_default_sizes_fit_every_network(model: str) -> None:
    assert BuildOptions(model, random_weights=True).resolve().sizes == options.DEFAULT_SIZES


def test_output_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(UsageError, match=f"{re.escape(str(tmp_path))}.*permissions"):
        BuildOptions("gfm", random_weights=True, output=tmp_path / "gfm.engine").resolve()


def test_output_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=re.escape(str(tmp_path / "file"))):
        BuildOptions("gfm", random_weights=True, output=tmp_path / "file" / "gfm.engine").resolve()


def test_target_asked_for_by_name_but_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plans.MODULES, "tensorrt-rtx", ("no_such_module", "pip install it"))
    with pytest.raises(UsageError, match=r"no_such_module.*pip install it"):
        BuildOptions("gfm", random_weights=True, targets=("tensorrt-rtx",)).resolve()
    resolved = BuildOptions("gfm", random_weights=True, targets=("auto",)).resolve()
    assert "tensorrt-rtx" in dict(resolved.skipped)  # auto goes on, and says so
    assert BuildOptions("gfm", random_weights=True, targets=("onnx",)).resolve().runtimes == ()


def test_turing_is_for_plans_of_tensorrt_rtx() -> None:
    with pytest.raises(UsageError, match="--turing"):
        BuildOptions("gfm", random_weights=True, targets=("onnx",), turing=True).resolve()


def test_tensorrt_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plans.MODULES, "tensorrt", ("json", ""))  # any module that is installed
    monkeypatch.setattr(plans.gpu, "capability", lambda: None)
    with pytest.raises(UsageError, match=r"--target tensorrt .*--target tensorrt-rtx"):
        BuildOptions("gfm", random_weights=True, targets=("tensorrt",)).resolve()
    monkeypatch.setattr(plans.gpu, "capability", lambda: "9.0")
    assert BuildOptions("gfm", random_weights=True, targets=("tensorrt",)).resolve().runtimes == (
        "tensorrt",
    )


def test_without_a_demo_checkpoint_the_message_is_a_command_that_works() -> None:
    with pytest.raises(UsageError) as caught:
        BuildOptions("gfm", backbone="resnet34", precision="fp16").resolve()
    message = str(caught.value)
    command = "python -m export.build --model gfm --backbone resnet34 --rosta tt --fp16"
    assert f"{command} --weights PATH" in message
    assert f"{command} --random-weights" in message
    resolved = BuildOptions(
        "gfm", backbone="resnet34", precision="fp16", random_weights=True
    ).resolve()
    assert (resolved.backbone, resolved.rosta, resolved.weights) == ("resnet34", "tt", ())


def test_demo_checkpoint_decides_backbone_and_rosta(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    demo = folder / "gfm-resnet34_2b-ft.safetensors"
    demo.write_bytes(b"x")
    resolved = BuildOptions("gfm").resolve()
    assert (resolved.backbone, resolved.rosta, resolved.weights) == ("resnet34_2b", "ft", (demo,))
    with pytest.raises(UsageError, match="--rosta bt"):
        BuildOptions("gfm", rosta="bt").resolve()


def test_names_with_a_dash(tmp_path: Path) -> None:
    """Of a network and of a RoSTa; and one network's checkpoint is never taken for another's."""
    folder = tmp_path / "weights"
    folder.mkdir()
    plate = folder / "gfm-plate-efficientnet-lite0-ft.safetensors"
    plate.write_bytes(b"x")
    with pytest.raises(UsageError, match="--model gfm "):
        BuildOptions("gfm").resolve()
    resolved = BuildOptions("gfm-plate").resolve()
    assert (resolved.backbone, resolved.rosta, resolved.weights) == (
        "efficientnet-lite0",
        "ft",
        (plate,),
    )
    assert resolved.output == Path("gfm-plate.engine")
    ensemble = folder / "gfm-resnet34-en-median.safetensors"
    ensemble.write_bytes(b"x")
    resolved = BuildOptions("gfm").resolve()
    assert (resolved.backbone, resolved.rosta) == ("resnet34", "en-median")
    assert resolved.weights == (ensemble,)


def test_our_checkpoints_know_their_network(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    numpy = pytest.importorskip("numpy")
    path = tmp_path / "mine.safetensors"
    metadata = {"network": "gfm", "backbone": "densenet121", "rosta": "bt"}
    safetensors.save_file({"x": numpy.zeros(1, numpy.float32)}, path, metadata)
    resolved = BuildOptions("gfm", weights=(path,)).resolve()
    assert (resolved.backbone, resolved.rosta) == ("densenet121", "bt")
    assert (
        BuildOptions("gfm", weights=(path,), backbone="resnet34").resolve().backbone == "resnet34"
    )
    metadata = {"network": "msia", "without": "ini,sed"}
    safetensors.save_file({"x": numpy.zeros(1, numpy.float32)}, path, metadata)
    assert BuildOptions("msia", weights=(path,)).resolve().without == ("ini", "sed")
    path.write_bytes(b"\xff" * 64)  # damage is for the loader to report
    assert BuildOptions("gfm", weights=(path,)).resolve().backbone == "efficientnet-lite0"


def test_defaults() -> None:
    resolved = BuildOptions("gfm", random_weights=True, targets=("onnx",)).resolve()
    assert resolved.sizes == options.DEFAULT_SIZES
    assert resolved.output == Path("gfm.engine")
    assert (resolved.precision, resolved.opset, resolved.batch) == ("fp32", 18, 1)


@pytest.mark.parametrize(
    ("flags", "status"), [(["--help"], 0), (["--model", "gmf"], 2), (["--model", "gfm"], 2)]
)
def test_nothing_heavy_is_imported_before_the_flags_are_right(
    flags: list[str], status: int, tmp_path: Path
) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from matter_sdk.export import options\n"
        "from matter_sdk.export.build import main\n"
        "options.demo_folders = lambda: (Path('none'),)\n"
        "try:\n"
        "    status = main(sys.argv[1:])\n"
        "except SystemExit as exit:\n"
        "    status = exit.code\n"
        "heavy = {'torch', 'onnx', 'onnx_ir', 'numpy', 'onnxruntime', 'openvino', 'tensorrt_rtx'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *flags],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == status, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
    assert "Traceback" not in done.stderr
