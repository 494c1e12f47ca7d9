"""Trainings of a benchmark, each in a folder of its own."""

import subprocess

import pandas as pd
import pytest
import yaml

from benchmarks import recipe, transfer
from benchmarks.trainings import on_each_core, read_params, run_stages


@pytest.fixture
def stages_run(in_project, monkeypatch):
    """The stages that were run, instead of running them; `fails` ends the program."""
    run = []

    def fake(command, cwd, **options):
        run.append((str(cwd), *command[2:]))
        if command[2] == "stages.fails":
            raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "run", fake)
    return run


def test_stages_run_once_with_the_same_params_and_again_with_others(stages_run, tmp_path):
    params = read_params({"train.seed": 5, "train.manipulations.blend": 0.1})
    for _ in range(2):
        run_stages(tmp_path / "a", params, "train", "evaluate")
    assert stages_run == [(str(tmp_path / "a"), f"stages.{name}") for name in ("train", "evaluate")]
    written = yaml.safe_load((tmp_path / "a/params.yaml").read_text())["train"]
    assert written["seed"] == 5 and written["manipulations"]["blend"] == 0.1
    run_stages(tmp_path / "a", read_params({"train.seed": 6}, params), "train")
    assert len(stages_run) == 3


def test_stage_that_failed_is_run_again(stages_run, tmp_path):
    for _ in range(2):
        with pytest.raises(subprocess.CalledProcessError):
            run_stages(tmp_path / "a", read_params({}), "fails", "evaluate")
    assert [run[1] for run in stages_run] == ["stages.fails"] * 2


def test_every_cell_has_its_result():
    assert on_each_core(lambda cell: cell * 2, [3, 1, 2]) == {3: 6, 1: 2, 2: 4}


def test_params_of_each_recipe_are_allowed(in_project):
    from stages.params import Params

    for overrides in recipe.RECIPES.values():
        assert Params.model_validate(read_params(recipe.HARDER | overrides)) != Params.model_validate(read_params({}))


def test_recipe_is_compared_with_the_first_by_paired_seeds():
    """Without pairs, the scores of each seed are worse by as much."""
    tables = {}
    for seed in recipe.SEEDS:
        for name, shift in (("full", 4.0), ("unpaired", 1.0)):
            label = [0, 1] * 20
            logit = [shift * kind + (7 * i * seed) % 5 for i, kind in enumerate(label)]
            videos = pd.DataFrame({"video_id": [str(i) for i in range(40)], "label": label, "logit": logit})
            tables[name, seed, 0] = videos.assign(group=videos.index // 4, frame_auc=0.9)
    lines = recipe.table(tables, ["full", "unpaired"], [0])
    assert len(lines) == 4 and lines[2].endswith("|  |  |")
    cells = lines[3].split(" | ")
    assert cells[2] == "0.900 ± 0.000" and cells[4].startswith("+0.") and cells[5].startswith("-0.")
    assert "40 videos, 10 groups of people" in cells[5]


def test_matrix_has_the_own_test_set_on_its_diagonal():
    def metrics(own, other, name):
        return {"test": {"video": {"auc": own}}, "corpora": {name: {"auc": other}}}

    found = {("a", 1): metrics(0.9, 0.6, "b"), ("a", 2): metrics(0.8, 0.6, "b")}
    found |= {("b", 1): metrics(0.7, 0.5, "a"), ("b", 2): metrics(0.7, None, "a")}
    lines = transfer.matrix(found, ["a", "b"], [1, 2])
    assert lines[2:] == ["| a | 0.850 ± 0.071 | 0.600 ± 0.000 |", "| b | – | 0.700 ± 0.000 |"]
