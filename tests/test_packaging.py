"""The requirements, the lock and the installation agree."""

import os
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deepfake_detector.version import VERSION

ROOT = Path(__file__).parent.parent
REQUIREMENTS = sorted(ROOT.glob("requirements*.txt"))
LOCK = ROOT / "requirements.lock"


def pinned(text: str) -> dict[str, Requirement]:
    """The requirements in `text`, by normalised name. A lock may hold several versions of one, for several Pythons."""
    lines = (line.partition(" #")[0].rstrip(" \\") for line in text.splitlines())
    found = [Requirement(line) for line in lines if line and line[0].isalnum()]
    return {re.sub("[-_.]+", "-", requirement.name).lower(): requirement for requirement in found}


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_every_requirement_is_pinned_and_locked_at_that_version(path):
    locked = pinned(LOCK.read_text())
    for name, requirement in pinned(path.read_text()).items():
        assert [pin.operator for pin in requirement.specifier] == ["=="], f"{name} is not pinned"
        assert name in locked, f"{name} is not in {LOCK.name}: make lock"
        assert locked[name].specifier == requirement.specifier, f"{name} is locked at another version: make lock"


def test_every_locked_package_has_a_hash_and_none_names_where_it_lies():
    text = LOCK.read_text()
    entries = re.findall(r"^[a-z0-9].*\\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE)) > 200
    assert "://" not in text


def test_each_requirements_file_but_the_first_is_an_extra_of_the_same_name():
    dynamic = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["dynamic"]
    extras = {name: source["file"] for name, source in dynamic["optional-dependencies"].items()}
    files = {path.stem.removeprefix("requirements-"): path.name for path in REQUIREMENTS if "-" in path.stem}
    assert extras == files and dynamic["dependencies"]["file"] == "requirements.txt"


def test_one_distribution_provides_opencv():
    """Two of them would lie in one folder, each over the files of the other."""
    owners = {
        distribution.name
        for distribution in distributions()
        for file in distribution.files or []
        if file.parts[0] == "cv2" and file.name == "__init__.py" and len(file.parts) == 2
    }
    assert owners == {"opencv-python"}


def test_changelog_has_a_section_of_this_version():
    assert re.search(rf"^## \[{re.escape(VERSION)}\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


TORCH = ("torch==", "torchvision==")


@pytest.fixture
def install(tmp_path):
    """Runs `make setup` with programs that only say how they were called, and gives the calls that install."""

    def run(gpu: bool, index_reachable: bool, system: str = "Linux") -> list[str]:
        for name in ("Makefile", "requirements.txt", "requirements.lock"):
            shutil.copy(ROOT / name, tmp_path)
        refuse = "" if index_reachable else '[[ "$*" != *--torch-backend* ]]'
        programs = {
            ".venv/bin/python": "",
            ".venv/bin/uv": f'for word; do [[ $word = /dev/fd/* ]] && set -- "$@" $(<$word); done\n'
            f'echo "$@" >> calls\n{refuse}',
            "bin/nvidia-smi": "echo 'GPU 0: NVIDIA (UUID: GPU-1)'" if gpu else "echo 'has failed'; exit 9",
            "bin/uname": f"echo {system}",
        }
        for name, text in programs.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/bin/bash\n{text}\n")
            path.chmod(0o755)
        environment = {name: value for name, value in os.environ.items() if name not in ("GPU", "MAKEFLAGS")}
        environment["PATH"] = f"{tmp_path}/bin:{environment['PATH']}"
        subprocess.run(["make", "setup"], cwd=tmp_path, env=environment, check=True, capture_output=True)
        return (tmp_path / "calls").read_text().splitlines()

    return run


def test_without_a_gpu_the_cpu_build_of_torch_is_installed_first(install):
    first, second = install(gpu=False, index_reachable=True)
    assert "--torch-backend cpu" in first and all(name in first for name in TORCH) and "--no-deps" in first
    assert "requirements.lock" in second and "--excludes" not in second


def test_without_a_gpu_and_that_index_the_locked_build_is_installed_without_what_only_a_gpu_loads(install):
    _, second = install(gpu=False, index_reachable=False)
    assert "--require-hashes" in second and "triton nvidia-cusolver" in second


@pytest.mark.parametrize("machine", [{"gpu": True}, {"gpu": False, "system": "Darwin"}])
def test_with_a_gpu_and_on_macos_the_locked_build_is_installed(install, machine):
    (only,) = install(index_reachable=True, **machine)
    assert "--require-hashes" in only and "--torch-backend" not in only and "--excludes" not in only
