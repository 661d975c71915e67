"""The project's structure as a contract: who may import whom, and how large things may grow.

Everything is read from the sources with `ast`; nothing is imported. A change of a table here is
a change of the architecture, and belongs in a commit of its own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("nkigen_lite", "solver", "cost_models")
OTHER_FOLDERS = ("tests", "examples", "benchmarks")

# importer -> what it must not import. Every name below must exist once nkigen_lite/core does,
# so that a rule cannot go on passing over a package that was renamed.
FORBIDDEN = {
    "solver": ("nkigen_lite", "cost_models"),
    "cost_models": ("nkigen_lite", "solver"),
    "nkigen_lite.core": (
        "nkigen_lite.tensor_ir",
        "nkigen_lite.nki_ir",
        "nkigen_lite.frontend",
    ),
    "nkigen_lite.nki_ir": ("nkigen_lite.tensor_ir",),
    # The checker of source text must not repeat a mistake of those who write it.
    "nkigen_lite.source_check": (
        "nkigen_lite.core",
        "nkigen_lite.tensor_ir",
        "nkigen_lite.nki_ir",
        "nkigen_lite.frontend",
        "cost_models",
    ),
}
LEAVES = ("solver", "cost_models")
LAYERS = ("nkigen_lite.core", "nkigen_lite.tensor_ir", "nkigen_lite.nki_ir")

# The bridge to the solver. `*` stands for any ending: layout_solver_rows, report.html, ...
MAY_IMPORT_SOLVER = (
    "nkigen_lite.tensor_ir.passes.layout_solver*",
    "nkigen_lite.report*",
    "nkigen_lite.api",
    "nkigen_lite.sweeping",
    "nkigen_lite.cli",
)
ORTOOLS_HOMES = ("solver.search", "solver.packing.exact")
VENDOR = ("nki", "neuronxcc", "neuronx_cc")

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
# file -> why it may be longer
LONG_FILES: dict[str, str] = {}
VAGUE_NAMES = frozenset({"utils", "helpers", "common"})


def _sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _within(module: str, package: str) -> bool:
    """Whether `module` is `package` or lies inside it; `*` at the end matches any ending."""
    if package.endswith("*"):
        return module.startswith(package[:-1])
    return module == package or module.startswith(package + ".")


def _dynamic_import(node: ast.Call) -> str | None:
    """The name in `import_module("name")` or `__import__("name")`."""
    called = getattr(node.func, "attr", getattr(node.func, "id", None))
    if called not in ("import_module", "__import__") or not node.args:
        return None
    name = node.args[0]
    return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else None


def _from_import(node: ast.ImportFrom, module: str, is_package: bool) -> Iterator[str]:
    base = node.module or ""
    if node.level:
        parts = module.split(".")
        kept = parts[: len(parts) - node.level + is_package]
        base = ".".join([*kept, *([node.module] if node.module else [])])
    # `from a import b` may name the module a.b, so both count as imported.
    yield base
    yield from (f"{base}.{alias.name}" for alias in node.names)


def _imports(tree: ast.Module, module: str, is_package: bool = False) -> set[str]:
    """Absolute names of all that `module` imports, anywhere in it, TYPE_CHECKING included."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.update(_from_import(node, module, is_package))
        elif isinstance(node, ast.Call) and (name := _dynamic_import(node)):
            found.add(name)
    return found


def _imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return _imports(tree, _module_name(path), path.name == "__init__.py")


def _importers(names: tuple[str, ...], folders: tuple[str, ...] = PACKAGES) -> set[str]:
    """The modules under `folders` that import anything within one of `names`."""
    return {
        _module_name(path)
        for path in _sources(*folders)
        if any(_within(found, name) for found in _imports_of(path) for name in names)
    }


def _exists(package: str) -> bool:
    path = ROOT.joinpath(*package.split("."))
    return (path / "__init__.py").is_file() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize("importer", FORBIDDEN)
def test_package_imports_only_what_lies_below_it(importer: str) -> None:
    broken = [
        f"{_module_name(path)} imports {found}"
        for path in _sources(*PACKAGES)
        if _within(_module_name(path), importer)
        for found in sorted(_imports_of(path))
        if any(_within(found, name) for name in FORBIDDEN[importer])
    ]
    assert not broken


def test_every_package_that_a_rule_names_exists() -> None:
    if not (ROOT / "nkigen_lite" / "core").is_dir():
        pytest.skip("nkigen_lite/core is not there yet: the rules have nothing to hold")
    named = {*PACKAGES, *LAYERS, *FORBIDDEN, *(n for names in FORBIDDEN.values() for n in names)}
    assert [package for package in sorted(named) if not _exists(package)] == []


@pytest.mark.parametrize("leaf", LEAVES)
def test_leaf_package_refers_to_itself_relatively_only(leaf: str) -> None:
    absolute = [
        f"{_module_name(path)}:{node.lineno}"
        for path in _sources(leaf)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(_within(a.name, leaf) for a in node.names))
        or (
            isinstance(node, ast.ImportFrom) and not node.level and _within(node.module or "", leaf)
        )
    ]
    assert not absolute


def test_layers_do_not_import_the_public_face_above_them() -> None:
    broken = [
        f"{_module_name(path)} imports {found}"
        for path in _sources("nkigen_lite")
        if any(_within(_module_name(path), layer) for layer in LAYERS)
        for found in sorted(_imports_of(path))
        if found.startswith("nkigen_lite.") and found.count(".") == 1 and not _exists(found)
    ]
    assert not broken


def test_only_the_bridge_imports_solver() -> None:
    outside = [
        module
        for module in sorted(_importers(("solver",), ("nkigen_lite",)))
        if not any(_within(module, allowed) for allowed in MAY_IMPORT_SOLVER)
    ]
    assert not outside


def test_only_the_two_searches_import_ortools() -> None:
    assert _importers(("ortools",)) <= set(ORTOOLS_HOMES)


def test_one_module_at_most_imports_the_vendor_compiler() -> None:
    importers = sorted(_importers(VENDOR))
    assert len(importers) <= 1, importers


@pytest.mark.parametrize("folder", PACKAGES)
def test_vendor_compiler_is_imported_inside_functions_only(folder: str) -> None:
    at_import = []
    for path in _sources(folder):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        module, is_package = _module_name(path), path.name == "__init__.py"
        for found in _imports(_without_functions(tree), module, is_package):
            if any(_within(found, name) for name in VENDOR):
                at_import.append(f"{module} imports {found}")
    assert not at_import


def _without_functions(tree: ast.Module) -> ast.Module:
    """What runs when the module is imported: `tree` with every function body taken out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [ast.Pass()]
    return tree


def test_tests_folder_has_no_init_file() -> None:
    assert [str(path) for path in (ROOT / "tests").rglob("__init__.py")] == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    names = {path: path.relative_to(ROOT).with_suffix("").parts for path in _every_source()}
    assert [str(path) for path, parts in names.items() if VAGUE_NAMES.intersection(parts)] == []


def test_no_file_is_longer_than_allowed() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in _every_source()
    }
    long = {name for name, lines in lengths.items() if lines > MAX_FILE_LINES}
    assert sorted(long - set(LONG_FILES)) == [], f"more than {MAX_FILE_LINES} lines"
    assert sorted(set(LONG_FILES) - long) == [], "short enough now: take them off LONG_FILES"


def test_no_function_is_longer_than_allowed() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in _every_source()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert not long, f"more than {MAX_FUNCTION_LINES} lines"


def _every_source() -> list[Path]:
    return _sources(*PACKAGES, *OTHER_FOLDERS)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import a.b as c", {"a.b"}),
        ("from a import b", {"a", "a.b"}),
        ("from . import b", {"p.q", "p.q.b"}),
        ("from .b import c", {"p.q.b", "p.q.b.c"}),
        ("from ..b import c", {"p.b", "p.b.c"}),
        ("def f():\n    import a", {"a"}),
        ("if TYPE_CHECKING:\n    import a", {"a"}),
        ("importlib.import_module('a.b')", {"a.b"}),
        ("__import__('a')", {"a"}),
        ("import_module(name)", set()),
    ],
)
def test_imports_are_found_however_they_are_written(source: str, expected: set[str]) -> None:
    assert _imports(ast.parse(source), "p.q.module") == expected


def test_relative_import_in_a_package_starts_at_the_package() -> None:
    assert _imports(ast.parse("from .b import c"), "p.q", is_package=True) == {"p.q.b", "p.q.b.c"}


@pytest.mark.parametrize(
    ("module", "package", "inside"),
    [
        ("nki.language", "nki", True),
        ("nkigen_lite.nki_ir", "nki", False),
        ("nkigen_lite.api_v2", "nkigen_lite.api", False),
        ("p.layout_solver_rows", "p.layout_solver*", True),
        ("p.layout_solver.rows", "p.layout_solver*", True),
    ],
)
def test_a_name_is_inside_a_package_by_whole_parts(module: str, package: str, inside: bool) -> None:
    assert _within(module, package) is inside
