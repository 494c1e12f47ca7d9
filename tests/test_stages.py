"""What is there to run, and in which version."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import stages
from deepfake_detector.version import VERSION

ROOT = Path(__file__).parent.parent


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)


def test_list_of_stages_has_a_line_for_each_stage_of_the_pipeline():
    pipeline = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    assert set(stages.STAGES) == pipeline - {"corpus"}  # which is extract for a further corpus
    lines = run("stages").stdout.splitlines()
    assert [line.split()[0] for line in lines[: len(stages.STAGES)]] == list(stages.STAGES)
    assert all(line.endswith(".") and len(line.split()) > 5 for line in lines[: len(stages.STAGES)])


@pytest.mark.parametrize("module", ["stages", "stages.infer", "stages.train"])
def test_version_is_said(module):
    done = run(module, "--version")
    assert (done.returncode, done.stdout.strip()) == (0, VERSION)


def test_list_of_stages_refuses_the_name_of_a_stage_and_says_how_it_is_run():
    done = run("stages", "train")
    assert done.returncode == 2 and "python -m stages.NAME" in done.stderr
