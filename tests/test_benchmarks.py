"""The tables of benchmarks are written by the commands that their pages name."""

import ast
import re
import shlex
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.__main__ import BLOCK, PAGES, update
from benchmarks.peers import DETECTORS, FOLDER

ROOT = Path(__file__).parent.parent


def block(command, content):
    return f"<!-- bench: {command} -->\n{content}\n<!-- end -->\n"


def test_printed_tables_take_the_place_of_old_ones_and_the_prose_stays(tmp_path, capfd):
    script = tmp_path / "echo.py"
    script.write_text("import sys\nprint('|', *sys.argv[1:], '|')\nsys.exit('fail' in sys.argv)\n")
    page, name = tmp_path / "page.md", f"python {script}"
    page.write_text(
        f"# Title\nprose\n{block(f'{name} a VIDEOS --yunet YUNET', 'old')}more\n"
        f"{block(f'{name} fail', 'kept')}{block(f'{name} other', 'old')}"
    )
    assert update(page, "clips", "", ["echo.py a", "fail"]) == [f"{name} fail"]
    first, failed, other = (found[0] for found in BLOCK.finditer(page.read_text()))
    assert "| a clips |" in first and f"`{name} a VIDEOS --yunet YUNET`" in first and "old" not in first
    assert "kept" in failed and "old" in other
    assert page.read_text().startswith("# Title\nprose\n<!--") and "\nmore\n" in page.read_text()
    update(page, "clips", "net.onnx", [" a "])
    assert "| a clips --yunet net.onnx |" in page.read_text() and page.read_text().count("started at a load") == 1


def test_commands_of_the_pages_exist():
    commands = [found["command"] for page in (ROOT / PAGES).glob("*.md") for found in BLOCK.finditer(page.read_text())]
    assert len(commands) == len(set(commands)) > 10
    for command in commands:
        python, option, module, *_ = shlex.split(command)
        assert (python, option) == ("python", "-m") and find_spec(module), command


def test_every_script_of_a_peer_names_its_packages_with_versions():
    scripts = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "timing"}
    assert scripts == {*DETECTORS.values(), "plain_inference"}
    for name in scripts:
        (line,) = re.findall(r"^# dependencies = (\[.+\])$", (FOLDER / f"{name}.py").read_text(), re.MULTILINE)
        assert all("==" in package for package in ast.literal_eval(line))


MODULES = [path for path in (ROOT / "benchmarks").glob("*.py") if "def main()" in path.read_text()]


@pytest.mark.parametrize("path", sorted(MODULES), ids=lambda path: path.stem)
def test_help_of_a_benchmark_says_how_to_run_it(path, monkeypatch, capsys):
    name = "benchmarks" if path.stem == "__main__" else f"benchmarks.{path.stem}"
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as end:
        import_module(f"benchmarks.{path.stem}").main()
    said = capsys.readouterr().out
    assert end.value.code == 0 and said.startswith("usage: ") and f"    python -m {name}" in said


@pytest.mark.parametrize("name", ["identities", "infer", "pictures", "temporal", "training"])
def test_benchmark_of_the_pipelines_outputs_says_where_they_come_from(name, in_project, monkeypatch):
    monkeypatch.setattr(sys, "argv", [name])
    with pytest.raises(SystemExit, match="run make repro"):
        import_module(f"benchmarks.{name}").main()
