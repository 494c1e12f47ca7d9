"""Differences between detectors, and what they are told from."""

import subprocess
import sys
from itertools import product

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from deepfake_detector import compare
from deepfake_detector.evaluation.significance import paired_auc_difference, permutation_test, rank_auc


def scores(seed, groups=8, gain=0.0):
    """Two detectors' scores of the same videos, of which the second is better by `gain`."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), 6)
    label = np.tile([0, 1], len(group) // 2)
    hardness = rng.normal(0, 1, len(group)) + rng.normal(0, 1, groups)[group]
    one = label + hardness + rng.normal(0, 0.5, len(group))
    two = (1 + gain) * label + hardness + rng.normal(0, 0.5, len(group))
    return pd.DataFrame(
        {"video_id": np.arange(len(group)).astype(str), "label": label, "group": group, "one": one, "two": two}
    )


def test_rank_auc_is_that_of_scikit_learn_with_ties():
    table = scores(1).round(0)
    both = np.stack([table["one"], table["two"]])
    expected = [roc_auc_score(table["label"], table[name]) for name in ("one", "two")]
    assert rank_auc(table["label"].to_numpy() == 1, both) == pytest.approx(expected)


def test_exchange_test_counts_every_exchange():
    """Against the same by hand, in loops, with scikit-learn's AUC."""
    table = scores(2, groups=5, gain=0.5)
    one, two = table["one"].rank(), table["two"].rank()
    observed = abs(roc_auc_score(table["label"], two) - roc_auc_score(table["label"], one))
    as_large = 0
    for swap in product([False, True], repeat=5):
        swapped = np.array(swap)[table["group"]]
        a, b = np.where(swapped, two, one), np.where(swapped, one, two)
        as_large += abs(roc_auc_score(table["label"], b) - roc_auc_score(table["label"], a)) >= observed - 1e-12
    assert permutation_test(table, "one", "two", 10, 0) == as_large / 32


def test_exchange_test_seldom_finds_what_is_not_there_and_finds_what_is():
    none = [permutation_test(scores(seed, 10), "one", "two", 500, 0) for seed in range(200)]
    assert np.mean(np.array(none) < 0.05) < 0.1
    assert permutation_test(scores(1, 40, gain=1), "one", "two", 500, 0) < 0.01


def test_paired_change_is_narrower_than_two_intervals_apart():
    table = scores(3, 40, gain=0.3)
    change = paired_auc_difference(table, "one", "two", 500, 0)
    expected = roc_auc_score(table["label"], table["two"]) - roc_auc_score(table["label"], table["one"])
    assert change[0] == pytest.approx(expected)
    alone = paired_auc_difference(table.assign(none=0.0), "none", "two", 500, 0)
    assert change[1:].std() < 0.7 * alone[1:].std()


GIT = ["git", "-c", "user.name=n", "-c", "user.email=n@example.com"]


def write(column, table):
    lines = pd.DataFrame({"video_id": table["video_id"], "partition": "test", "label": table["label"]})
    lines["probability"] = 0.5
    lines.assign(logit=table[column]).to_csv("data/predictions.csv", index=False)


@pytest.fixture
def repository(in_project):
    """Predictions of two commits, and of the workspace, which lacks one video's score."""
    (in_project / "data").mkdir()
    subprocess.run([*GIT, "init", "-q"], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], check=True, capture_output=True)
    table = scores(1, 40, gain=1)
    table[["video_id", "group"]].assign(partition="test").to_csv("data/splits.csv", index=False)
    for column in ("one", "two"):
        write(column, table)
        subprocess.run([*GIT, "add", "-A"], check=True)
        subprocess.run([*GIT, "commit", "-qm", column], check=True, capture_output=True)
    table.loc[0, "two"] = np.nan
    write("two", table)
    return in_project


def said(monkeypatch, capsys, *revisions):
    monkeypatch.setattr("sys.argv", ["compare", *revisions])
    compare.main()
    return capsys.readouterr().out


def test_comparing_revisions_tells_a_real_difference_from_none(repository, monkeypatch, capsys):
    out = said(monkeypatch, capsys, "HEAD~1", "HEAD", "workspace")
    assert "HEAD less HEAD~1: +0." in out and "240 videos of 40 groups of people: a real difference" in out
    assert "workspace less HEAD~1" in out and "on 239 videos" in out and "mean ± sd of 3 revisions" in out
    assert "not told from noise" in said(monkeypatch, capsys, "HEAD", "workspace")


def test_folds_count_as_one_recipe(repository, monkeypatch, capsys):
    """Two halves of the videos as two folds, each scored on a scale of its own by two recipes."""
    table, names = scores(1, 40, gain=1), []
    for column in ("one", "two"):
        for fold in (0, 1):
            half = table[table["group"] % 2 == fold]
            write(column, half.assign(**{column: 5 * half[column] + 100 * fold}))
            subprocess.run([*GIT, "commit", "-qam", column], check=True, capture_output=True)
            subprocess.run([*GIT, "tag", f"{column}-{fold}"], check=True)
            names.append(f"{column}-{fold}")
    out = said(monkeypatch, capsys, ",".join(names[:2]), ",".join(names[2:]))
    assert "on 240 videos of 40 groups of people: a real difference" in out
    with pytest.raises(SystemExit):
        said(monkeypatch, capsys, "one-0,two-0", "one-1")
    assert "give folds" in capsys.readouterr().err


def test_unknown_revision_is_named(repository, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        said(monkeypatch, capsys, "HEAD", "nowhere")
    assert stop.value.code == 2 and "nowhere" in capsys.readouterr().err
