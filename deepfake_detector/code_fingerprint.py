"""A digest of the code behind a result: it changes when the code computes something else, and not with a comment."""

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent
PACKAGE = ROOT.name


def code_fingerprint(modules: Iterable[str]) -> str:
    """SHA-256 of the syntax of `modules` (dotted names) and of all modules of this package that they import.

    Comments, docstrings and formatting do not count.
    """
    digest = hashlib.sha256()
    for name in sorted(import_closure(modules)):
        digest.update(f"{name}\n{_syntax(_path_of(name))}\n".encode())
    return digest.hexdigest()


def import_closure(modules: Iterable[str]) -> set[str]:
    """`modules` and all modules of this package that they import, directly or through others, anywhere in the code."""
    found: set[str] = set()
    pending = list(modules)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += _imports(_path_of(name))
    return found


def _imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [module for module in (node.module, *inner) if _path_of(module).is_file()]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(f"{PACKAGE}."):
            module = node.value.partition(":")[0]  # an entry of a registry
            names += [module] if _path_of(module).is_file() else []
    return names


def _path_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _syntax(path: Path) -> str:
    """The syntax tree of a file without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
