"""Cross-validation reuses an experiment only if it had the same params."""

import subprocess

import pytest
import yaml

from benchmarks import crossval


@pytest.fixture
def ran(in_project, monkeypatch):
    """The commands that were run, with one finished experiment, fold-1, of the present params."""
    params = crossval.flatten(yaml.safe_load((in_project / "params.yaml").read_text()))
    row = {"Experiment": "fold-1", "State": None, **params, "split.fold": 1, "video.auc": 0.9}
    commands = []
    monkeypatch.setattr(crossval.dvc.api, "exp_show", lambda: [row])
    monkeypatch.setattr(subprocess, "run", lambda command, **options: commands.append(command))
    return commands


def test_finished_experiment_of_the_same_params_is_kept(ran):
    crossval.run("fold-1", ["split.fold=1"])
    assert not ran


def test_experiment_of_other_overrides_is_run_again(ran):
    crossval.run("fold-1", ["split.fold=1", "train.lr=0.5"])
    assert ran[0] == ["dvc", "exp", "remove", "fold-1"] and "train.lr=0.5" in ran[1]
    assert "--force" not in ran[1]  # which would also make the faces anew


def test_experiment_is_run_again_after_params_yaml_changed(ran, in_project):
    tree = yaml.safe_load((in_project / "params.yaml").read_text())
    tree["train"]["manipulations"]["self_blend"] = 0.3
    (in_project / "params.yaml").write_text(yaml.safe_dump(tree))
    crossval.run("fold-1", ["split.fold=1"])
    assert len(ran) == 2


def test_uncommitted_code_is_refused(tmp_path, monkeypatch):
    subprocess.check_call(["git", "init", "-q", str(tmp_path)])
    (tmp_path / "a.py").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"commit these changes first"):
        crossval.check_committed()
