"""The digest of the code behind a result changes when the code does, and not with its words."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deepfake_detector.code_fingerprint import code_fingerprint, imported_modules
from deepfake_detector.faces.cache import crop_modules
from deepfake_detector.faces.detectors import DETECTORS

ROOT = Path(__file__).parent.parent
CENTERFACE = crop_modules("centerface")


@pytest.fixture
def package(tmp_path):
    """A copy of the package whose modules may be changed."""
    shutil.copytree(ROOT / "deepfake_detector", tmp_path / "deepfake_detector")
    return tmp_path


@pytest.mark.parametrize("detector", DETECTORS)
def test_modules_are_those_that_python_imports(detector):
    modules = crop_modules(detector)
    listing = "print(*(m for m in sys.modules if m.startswith('deepfake_detector')))"
    code = f"import sys, {', '.join(modules)}; {listing}"
    imported = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).split()
    assert set(imported_modules(modules)) == set(imported)


def test_comments_and_docstrings_do_not_change_the_fingerprint(package):
    before = code_fingerprint(CENTERFACE, [], package)
    assert before == code_fingerprint(CENTERFACE, [])
    path = package / "deepfake_detector/faces/tracking.py"
    text = path.read_text().replace('"""Pairs of rows', '"""Other words for pairs of rows')
    path.write_text('"""Another docstring."""\n' + text.partition("\n")[2].replace("\n\n\n", "\n\n\n# A comment\n"))
    assert code_fingerprint(CENTERFACE, [], package) == before


def test_code_changes_the_fingerprint_where_it_is_imported(package):
    before = code_fingerprint(CENTERFACE, [], package)
    changed = set()
    for path in sorted((package / "deepfake_detector").rglob("*.py")):
        text = path.read_text()
        path.write_text(text + "\nADDED = 1\n")
        if code_fingerprint(CENTERFACE, [], package) != before:
            changed.add(path)
        path.write_text(text)
    assert changed == set(imported_modules(CENTERFACE, package).values())
    assert not any("training" in str(path) for path in changed)


def test_another_version_of_a_library_changes_the_fingerprint(monkeypatch):
    before = code_fingerprint(CENTERFACE, ["numpy"])
    monkeypatch.setattr("deepfake_detector.code_fingerprint.version", lambda name: "0.0")
    assert code_fingerprint(CENTERFACE, ["numpy"]) != before
