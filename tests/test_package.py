"""The package as a user meets it: what the wheel holds, what an import costs, which way dependencies run."""

import ast
import shutil
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("models", "hjb", "validation")
PACKAGES = ("twosided", *(f"twosided.{folder}" for folder in FOLDERS))


def python(code: str) -> str:
    """What `code` prints in an interpreter of its own."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    # A copy is built: setuptools leaves a build folder behind, and packs what it finds there the next time.
    source = tmp_path_factory.mktemp("odd-source.name")
    for folder in ("src", *FOLDERS):
        leftovers = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=leftovers)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source / file)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(source / "dist")]
    subprocess.run([*build, str(source)], check=True, capture_output=True)
    return zipfile.ZipFile(next((source / "dist").glob("*.whl")))


def test_the_wheel_holds_every_module_and_data_file_and_nothing_else(wheel):
    def wanted(folder: Path) -> list[Path]:
        return [*folder.rglob("*.py"), *folder.rglob("py.typed"), *folder.glob("sample/*")]

    face = ROOT / "src" / "twosided"
    expected = {f"twosided/{path.relative_to(face)}" for path in wanted(face)}
    expected |= {f"twosided/{path.relative_to(ROOT)}" for name in FOLDERS for path in wanted(ROOT / name)}
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == expected


def test_the_wheel_installs_the_command(wheel):
    (entry_points,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "twosided = twosided.cli:main" in wheel.read(entry_points).decode()


@pytest.mark.parametrize("module", ["twosided", "twosided.cli", *PACKAGES[1:]])
def test_importing_a_face_does_not_import_jax(module):
    assert python(f"import sys, {module}; print('jax' in sys.modules)") == "False"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there(package):
    module = import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert set(module.__all__) <= set(dir(module))
    assert set(module._offers) <= set(module.__all__), "offered but not public"


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_name_is_an_attribute_error_that_names_it(package):
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'solv'"):
        _ = import_module(package).solv


@pytest.mark.parametrize("first", ["import twosided.hjb.solve", "import twosided.hjb", "pass"])
def test_solve_is_the_function_whatever_was_imported_before(first):
    look = "import twosided as ts; print(type(ts.hjb.solve).__name__, ts.solve is ts.hjb.solve)"
    assert python(f"{first}\n{look}") == "function True"


def packages_imported(path: Path) -> set[str]:
    """The top-level packages that a file of the library imports, and `.name` for twosided's own `name`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module).split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level == len(path.relative_to(ROOT).parts):
            inside = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {"." + name.split(".")[0] for name in inside}
    return found


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("models", {".hjb", ".validation", ".cli", "twosided"}),
        ("hjb", {".validation", ".cli", "twosided"}),
        ("validation", {".cli", "twosided"}),
    ],
)
def test_dependencies_run_one_way_and_are_relative(folder, forbidden):
    files = sorted((ROOT / folder).rglob("*.py"))
    against = {str(path.relative_to(ROOT)): sorted(packages_imported(path) & forbidden) for path in files}
    assert {path: reached for path, reached in against.items() if reached} == {}
