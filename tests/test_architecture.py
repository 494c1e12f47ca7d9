"""What may import what, and what the library never does."""

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
LIBRARY = sorted((ROOT / "deepfake_detector").rglob("*.py"))
COMMANDS = {"compare.py", "corpora/__main__.py"}  # python -m deepfake_detector.compare, ... .corpora
ALLOWED = {  # packages of the library that each of them may import; modules beside the packages serve all
    "faces": set(),
    "corpora": {"faces"},
    "evaluation": {"faces"},
    "training": {"faces", "corpora", "evaluation"},
    "inference": {"faces", "evaluation", "training"},
}
# What a stage may import without DVC knowing, since it decides nothing in an output; and what only finds old faces.
SUPPORT = {"files", "foreign_text", "parallel_map", "ray_map", "code_fingerprint", "bundled_models"}
SUPPORT |= {f"faces.{name}" for name in ("extraction", "geometry", "sources", "remote")}
SUPPORT_OF_EXTRACT = {"corpora.face_table"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT / "deepfake_detector").as_posix()


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def packages(path: Path) -> set[str]:
    """The packages of the library that a file imports."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("deepfake_detector.")} & set(ALLOWED)


@pytest.mark.parametrize("package", ALLOWED)
def test_package_imports_only_what_the_architecture_allows(package):
    for path in (ROOT / "deepfake_detector" / package).rglob("*.py"):
        assert packages(path) <= ALLOWED[package] | {package}, path


def test_modules_beside_the_packages_import_none_of_them():
    for path in (ROOT / "deepfake_detector").glob("*.py"):
        if name_of(path) not in COMMANDS:
            assert not packages(path), path


def test_library_never_imports_a_stage():
    for path in LIBRARY:
        assert not any(name.split(".")[0] in ("stages", "web_app", "benchmarks") for name in imports(path)), path


def test_library_never_prints_and_never_exits():
    for path in LIBRARY:
        if name_of(path) in COMMANDS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = getattr(node, "func", None)
            assert getattr(called, "id", "") not in ("print", "exit"), path
            assert not (isinstance(called, ast.Attribute) and ast.unparse(called) == "sys.exit"), path
            assert "SystemExit" not in ast.dump(node), path


def calls(path: Path) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}


def test_one_module_alone_writes_pictures_with_axes():
    """It draws plain text. Elsewhere a name with a dollar sign might be set as mathematics."""
    for path in LIBRARY:
        if name_of(path) != "figures.py":
            assert not any(call.endswith(".savefig") for call in calls(path)), path
            assert not any(name.startswith("matplotlib.pyplot") for name in imports(path)), path


def test_stages_print_through_one_function():
    """It keeps control characters in names from the terminal."""
    for path in (ROOT / "stages").glob("*.py"):
        if path.name != "params.py":
            assert "print" not in calls(path), path


def test_no_import_circle():
    """Between modules, by their imports at the top; Kahn's algorithm leaves nothing over."""
    modules = {
        f"deepfake_detector.{name_of(path)[:-3].replace('/', '.')}".removesuffix(".__init__"): path for path in LIBRARY
    }
    needs = {}
    for module, path in modules.items():
        top = ast.Module([node for node in ast.parse(path.read_text()).body if not isinstance(node, ast.If)], [])
        names = set()
        for node in top.body:
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        needs[module] = names & set(modules) - {module}
    while free := [module for module, names in needs.items() if not names & set(needs)]:
        for module in free:
            del needs[module]
    assert not needs


@pytest.mark.parametrize("stage", yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
def test_dvc_tracks_every_module_that_shapes_an_output(stage):
    """Code that dvc.yaml does not list could be changed, and DVC would keep the old output."""
    entry = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]
    tracked = tuple(f"{name.removesuffix('.py')}/" for name in entry.get("do", entry)["deps"])
    stage = stage.replace("corpus", "extract")
    support = SUPPORT | (SUPPORT_OF_EXTRACT if stage == "extract" else set())
    allowed = {"stages.params"} | {f"deepfake_detector.{name}" for name in support}
    found, todo = set(), {f"stages.{stage}"}
    while todo:
        module = todo.pop()
        path = module.replace(".", "/")
        if (ROOT / f"{path}.py").is_file() and module not in found:  # a package itself only names things
            assert f"{path}/".startswith(tracked) or module in allowed, module
            found.add(module)
            todo |= imports(ROOT / f"{path}.py") if f"{path}/".startswith(tracked) else set()
