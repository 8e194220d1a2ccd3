"""The rules of the code as a whole: what imports what, what is public, names and texts.

Exceptions are listed by name and compared exactly, so that a list can only get shorter.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import itertools
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
# What each package may import besides itself.
MAY_IMPORT = {
    "kernels": set[str](),
    "sdk": {"kernels"},
    "training": {"kernels", "sdk"},
    "export": {"kernels", "sdk", "training"},
    "samples": {"sdk"},
    "benchmarks": {"kernels", "sdk", "training", "export"},
}
PUBLIC = (
    "sdk",
    "sdk.backends",
    "sdk.background",
    "sdk.engine",
    "sdk.errors",
    "sdk.inference",
    "sdk.stream",
    "sdk.video",
    "kernels",
)
# What is no part of matting, and of which every package needs the same.
SHARED = {"sdk.command_line", "sdk.cpu", "sdk.engine.schema", "sdk.files"}
# File names that more than one package has.
TWICE = {
    "errors": {"export", "sdk"},
    "graphs": {"kernels", "sdk"},
    "pipeline": {"export", "sdk"},
    "video": {"samples", "sdk"},
}
INTERFACE = Path(__file__).with_name("public_interface.txt")


@functools.cache
def modules() -> dict[str, Path]:
    """Every module of the packages, by its name without ``matter_sdk``."""
    found = {}
    for package in MAY_IMPORT:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def package_of(module: str) -> str:
    return module.partition(".")[0]


def imported(module: str, *, deferred: bool) -> set[str]:
    """What a module imports as it runs, of ours and others'; `deferred`: in its functions too."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                if deferred:
                    visit(child)
            elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                for other in child.orelse:
                    visit(ast.Module([other], []))
            elif isinstance(child, ast.Import):
                found.update(alias.name.removeprefix("matter_sdk.") for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                above = f"{child.module}.".removeprefix("matter_sdk.")
                for alias in child.names:
                    whole = above + alias.name
                    found.add(whole if whole in modules() else above.rstrip("."))
            else:
                visit(child)

    visit(ast.parse(modules()[module].read_text(encoding="utf-8")))
    return found - {module}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_go_one_way(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    known = {*MAY_IMPORT, "tests"}
    wrong = {
        (module, other)
        for module in modules()
        if package_of(module) == package
        for other in imported(module, deferred=True)
        if package_of(other) in known - allowed
    }
    assert wrong == set()


@pytest.mark.parametrize("package", ["kernels", "sdk"])
def test_the_runtime_needs_no_torch(package: str) -> None:
    heavy = {"torch", "torchvision", "lightning", "onnx", "scipy", "skimage"}
    names = [module for module in modules() if package_of(module) == package]
    assert {m for m in names if heavy & set(map(package_of, imported(m, deferred=True)))} == set()


def test_no_circle_of_imports() -> None:
    """Taking away what imports nothing that is left leaves nothing."""
    left = {
        module: {other for other in imported(module, deferred=False) if other in modules()}
        for module in modules()
    }
    while free := [module for module, others in left.items() if not others & left.keys()]:
        for module in free:
            del left[module]
    assert left == {}


@pytest.mark.parametrize("package", ["samples", "training"])
def test_only_public_modules_of_the_sdk_are_used(package: str) -> None:
    inner = {
        other
        for module in modules()
        if package_of(module) == package
        for other in imported(module, deferred=True)
        if package_of(other) == "sdk" and other not in PUBLIC
    }
    assert inner - SHARED == set()


def test_a_file_name_says_which_package() -> None:
    owners = defaultdict(set)
    for module, path in modules().items():
        if not path.stem.startswith("__"):
            owners[path.stem].add(package_of(module))
    assert {name: of for name, of in owners.items() if len(of) > 1} == TWICE


# ---- texts


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers and texts of a file's docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            value = first.value.value
            if isinstance(value, str):
                yield first.lineno, value


def broken(text: str) -> list[str]:
    """Lines that end long before the margin, in the middle of a sentence that goes on below.

    What a half-done reflow leaves. Indented lines (code, arguments) do not count.
    """
    found = []
    for line, after in itertools.pairwise(inspect.cleandoc(text).splitlines()):
        goes_on = line[-1:].isalnum() and after[:1].islower() and not line[:1].isspace()
        if goes_on and len(line) < 50:
            found.append(line)
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_no_docstring_is_broken_by_a_reflow(package: str) -> None:
    wrong = {
        f"{path.relative_to(ROOT)}:{line}": lines
        for path in modules().values()
        if path.is_relative_to(ROOT / package)
        for line, text in docstrings(path)
        if (lines := broken(text))
    }
    assert wrong == {}


def test_a_broken_docstring_is_found() -> None:
    assert broken("Read the file and\n    give back what it holds, in the order of its lines.")
    assert broken("One.\n\n    Raise what\n    the first raises.") == ["Raise what"]
    assert not broken("Read the file.\n\n    Lines end here.\n    And here.")
    assert not broken("One.\n\n    Args:\n        a: of this\n        b: of that")


# ---- the public interface


def signature(value: object) -> str:
    try:
        return str(inspect.signature(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""


def _made_in(value: object, module: ModuleType) -> bool:
    return getattr(value, "__module__", "") == module.__name__


def members(module: ModuleType) -> Iterator[str]:
    """A line for each public name of a module: functions and methods with what they take."""
    name = module.__name__.removeprefix("matter_sdk.")
    own = {key for key, value in vars(module).items() if _made_in(value, module) and key[0] != "_"}
    for public in sorted(getattr(module, "__all__", own)):
        value = getattr(module, public)
        if not inspect.isclass(value):
            yield f"{name}.{public}{signature(value) if callable(value) else ''}"
            continue
        bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
        error = issubclass(value, BaseException)
        yield f"{name}.{public}" + (f"({bases})" if error else signature(value))
        for member, one in sorted(vars(value).items()):
            if member.startswith("_") or error:
                continue
            one = one.__func__ if isinstance(one, staticmethod | classmethod) else one
            kind = signature(one) if inspect.isfunction(one) else ""
            yield f"{name}.{public}.{member}{kind}"


def interface() -> str:
    """The public interface, a name a line."""
    listed = [
        line for name in PUBLIC for line in members(importlib.import_module(f"matter_sdk.{name}"))
    ]
    return "\n".join(dict.fromkeys(listed)) + "\n"


def test_the_public_interface_is_the_listed_one() -> None:
    """A change of it is a decision: `python -m tests.test_house` writes the list anew."""
    assert interface().splitlines() == INTERFACE.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    sys.exit(INTERFACE.write_text(interface(), encoding="utf-8") and None)
