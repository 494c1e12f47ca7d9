"""A digest of the code behind a result: it changes when the code computes something else, but not with a comment."""

import ast
import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import version
from modulefinder import ModuleFinder
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("deepfake_detector", "stages")


def code_fingerprint(modules: Iterable[str], libraries: Iterable[str], root: Path = ROOT) -> str:
    """SHA-256 of the code of `modules` with all that they import, and of the versions of `libraries`.

    Comments, docstrings and formatting do not count. `root` is the folder that holds the package.
    """
    digest = hashlib.sha256(json.dumps([version(name) for name in libraries]).encode())
    for name, path in sorted(imported_modules(modules, root).items()):
        tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                del node.body[0]
        digest.update(json.dumps([name, ast.dump(tree)]).encode())
    return digest.hexdigest()


def imported_modules(modules: Iterable[str], root: Path = ROOT) -> dict[str, Path]:
    """`modules` and all modules of PACKAGES that they import, directly or not, with their files."""
    finder = ModuleFinder(path=[str(root)])  # libraries lie elsewhere, so they are not followed
    for module in modules:
        finder.import_hook(module)
    files = {name: module.__file__ for name, module in finder.modules.items()}  # type: ignore[attr-defined]
    return {name: Path(file) for name, file in files.items() if name.partition(".")[0] in PACKAGES}
