"""What a wheel installs, used from another folder, beside a foreign package called ``kernels``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import cv2
import numpy as np
import pytest

from matter_sdk.kernels import _host
from tests.sdk.clips import write_clip
from tests.sdk.conftest import Tiny

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOREIGN = "__version__ = 'foreign'\n"


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """An empty folder but for a picture and a clip, far from the checkout."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    picture = np.full((48, 96, 3), 90, np.uint8)
    cv2.imwrite(str(folder / "cat.png"), picture)
    write_clip(folder / "clip.mp4", [picture] * 4)
    return folder


def matter(python: Path, folder: Path, *words: str, path: str = "") -> str:
    """Run a program without this environment's variables for Python; return its output."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [str(python), *words],
        cwd=folder,
        env=variables | ({"PYTHONPATH": path} if path else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_installed(python: Path, folder: Path, path: str = "") -> None:
    """Check the command, the imports and the packages' names in an installation."""

    def run(*words: str) -> str:
        return matter(python, folder, *words, path=path)

    assert run("-m", "matter_sdk", "image", "cat.png", "cut.png") == "cut.png\n"
    assert cv2.imread(str(folder / "cut.png"), cv2.IMREAD_UNCHANGED).shape == (48, 96, 4)
    assert run("-m", "matter_sdk", "video", "clip.mp4", "out.mp4") == "out.mp4\n"
    assert json.loads(run("-m", "matter_sdk", "info", "--json"))["network"]["name"] == "gfm"
    code = (
        "import kernels, matter_sdk, sys; from matter_sdk.kernels import alpha_blend; "
        "from matter_sdk.sdk import installation as here; "
        "print(kernels.__version__, here.CHECKOUT, here.command('export.build'), "
        "'sdk' in sys.modules, matter_sdk.__file__)"
    )
    words = run("-c", code).split()
    assert words[:-1] == ["foreign", "False", "matter", "build", "False"]
    assert not Path(words[-1]).is_relative_to(ROOT)


def test_the_layout_of_a_wheel(tmp_path: Path, inputs: Path) -> None:
    """The files as pyproject.toml places them; what scikit-build-core does is left to the next."""
    site = tmp_path / "site"
    for target, source in PROJECT["tool"]["scikit-build"]["wheel"]["packages"].items():
        shutil.copytree(
            ROOT / source,
            site / target,
            ignore=shutil.ignore_patterns("__pycache__", "*.engine"),
            dirs_exist_ok=True,
        )
    shutil.copy(
        _host.__file__, site / "matter_sdk/kernels"
    )  # an editable installation's lies apart
    Tiny(site / "matter_sdk").build("gfm.engine")
    (site / "kernels").mkdir()
    (site / "kernels" / "__init__.py").write_text(FOREIGN)
    # Not this environment: in that lies the checkout.
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    for entry in Path(np.__file__).parents[1].iterdir():
        ours = entry.name.startswith(("matter_sdk", "_matter_sdk", "__editable__"))
        if not ours and entry.suffix != ".pth":
            (libraries / entry.name).symlink_to(entry)
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    check_installed(python, inputs, f"{site}{os.pathsep}{libraries}")


def test_the_command_and_the_engine_are_packed() -> None:
    module, _, function = PROJECT["project"]["scripts"]["matter"].partition(":")
    assert (module, function) == ("matter_sdk.__main__", "entry")
    assert "matter_sdk/gfm.engine" in PROJECT["tool"]["scikit-build"]["sdist"]["include"]
    needed = " ".join(PROJECT["project"]["dependencies"])
    assert all(name not in needed for name in ("torch", "onnxscript", "lightning", "openvino"))


@pytest.mark.slow
def test_a_wheel_in_a_fresh_environment(tmp_path: Path, inputs: Path) -> None:
    """Built, installed beside a foreign ``kernels``, and used."""
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns(".*", "build", "dist", "out", "runs", "*.so", "__pycache__")
    shutil.copytree(ROOT, source, ignore=ignored)
    Tiny(source / "matter_sdk").build("gfm.engine")
    other = tmp_path / "other"
    (other / "kernels").mkdir(parents=True)
    (other / "kernels" / "__init__.py").write_text(FOREIGN)
    (other / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["scikit-build-core>=0.10"]\n'
        'build-backend = "scikit_build_core.build"\n'
        '[project]\nname = "kernels"\nversion = "1"\n'
        '[tool.scikit-build]\nwheel.cmake = false\nwheel.packages = ["kernels"]\n'
    )
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    options = ["-q", "-C", "cmake.define.MATTER_CUDA=OFF"]
    matter(python, tmp_path, "-m", "pip", "install", *options, str(source))
    matter(python, tmp_path, "-m", "pip", "install", "-q", str(other))
    check_installed(python, inputs)
    assert matter(environment / "bin" / "matter", inputs, "--version").startswith("matter ")
    names = {path.name for path in (environment / "lib").glob("python*/site-packages/*")}
    assert {"matter_sdk", "kernels"} <= names
    assert not names & {"sdk", "export", "training", "samples", "torch"}


def test_a_source_folder_uses_what_pip_install_compiled(tmp_path: Path) -> None:
    """Its own packages come first there, and hold nothing compiled."""
    sources = tmp_path / "sources"
    for name in ("matter_sdk", "kernels", "sdk"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("*.so", "__py*"))
    shutil.copy(ROOT / "pyproject.toml", sources)
    compiled = Path(_host.__file__)
    installed = tmp_path / "installed"
    (installed / "matter_sdk/kernels").mkdir(parents=True)
    shutil.copy(compiled, installed / "matter_sdk/kernels")
    facts = installed / "matter_sdk-1.0.dist-info/METADATA"
    facts.parent.mkdir()
    facts.write_text("Metadata-Version: 2.1\nName: matter-sdk\nVersion: 1.0\n", encoding="utf-8")
    libraries = Path(np.__file__).parent.parent
    places = [str(sources), str(installed), str(libraries)]
    code = "from matter_sdk.kernels import _cpu; print(_cpu.__file__, _cpu._host.__file__)"
    told = subprocess.run(
        [sys.executable, "-S", "-c", code],  # -S: no editable installation's finder
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert told == [
        str(sources / "kernels/_cpu.py"),
        str(installed / "matter_sdk/kernels" / compiled.name),
    ]
