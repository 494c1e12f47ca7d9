"""The command that compares the predictions of revisions."""

import itertools
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from deepfake_detector import compare
from tests.paired_scores import scores

GIT = ["git", "-c", "user.name=n", "-c", "user.email=n@example.com"]


def write_predictions(column, table):
    lines = pd.DataFrame({"video_id": table["video_id"], "partition": "test", "label": table["label"]})
    lines["probability"] = 0.5
    lines.assign(logit=table[column]).to_csv("data/predictions.csv", index=False)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Predictions of two commits, and of the workspace, which lacks one video's score."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    subprocess.run([*GIT, "init", "-q"], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], check=True, capture_output=True)
    table = scores(1, 40, gain=1)
    table[["video_id", "group"]].assign(partition="test").to_csv("data/splits.csv", index=False)
    for column in ("one", "two"):
        write_predictions(column, table)
        subprocess.run([*GIT, "add", "-A"], check=True)
        subprocess.run([*GIT, "commit", "-qm", column], check=True, capture_output=True)
    table.loc[0, "two"] = np.nan
    write_predictions("two", table)
    return tmp_path


def output_of(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["compare", *arguments])
    compare.main()
    return capsys.readouterr().out


def error_of(monkeypatch, capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        output_of(monkeypatch, capsys, *arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_difference_between_revisions_is_significant_or_not(repository, monkeypatch, capsys):
    out = output_of(monkeypatch, capsys, "HEAD~1", "HEAD", "workspace")
    assert "HEAD less HEAD~1: +0." in out and "240 videos, 40 groups of people: significant" in out
    assert "workspace less HEAD~1" in out and "239 videos" in out and "mean ± sd of 3 revisions" in out
    assert "not significant" in output_of(monkeypatch, capsys, "HEAD", "workspace")


def test_folds_joined_by_commas_count_as_one_revision(repository, monkeypatch, capsys):
    """Two halves of the videos as two folds, each scored on a scale of its own by two recipes."""
    table, names = scores(1, 40, gain=1), []
    for column in ("one", "two"):
        for fold in (0, 1):
            half = table[table["group"] % 2 == fold]
            write_predictions(column, half.assign(**{column: 5 * half[column] + 100 * fold}))
            subprocess.run([*GIT, "commit", "-qam", column], check=True, capture_output=True)
            subprocess.run([*GIT, "tag", f"{column}-{fold}"], check=True)
            names.append(f"{column}-{fold}")
    out = output_of(monkeypatch, capsys, ",".join(names[:2]), ",".join(names[2:]))
    assert "240 videos, 40 groups of people: significant" in out
    assert "is in two test sets" in error_of(monkeypatch, capsys, "one-0,two-0", "one-1")


def test_five_groups_are_too_few_for_significance():
    table = scores(1, 5, gain=3).rename(columns={"one": "score"})
    first, other = (compare.RevisionScores(t, [0.9]) for t in (table, table.assign(score=table["two"])))
    assert compare.describe_difference(first, other, 100, 1).endswith(
        "5 groups of people: too few groups for significance"
    )


def test_chance_between_trainings_counts_where_some_draws_lack_a_class():
    """Genuine videos of two of ten groups: one draw in ten has none of them."""
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(10), 10)
    table = pd.DataFrame({"video_id": np.arange(100).astype(str), "label": (group > 1).astype(int), "group": group})
    first = compare.RevisionScores(table.assign(score=rng.random(100)), [0.1, 0.5, 0.9])
    other = compare.RevisionScores(table.assign(score=table["label"] + rng.random(100)), [0.6, 1.0, 1.0])
    text = compare.describe_difference(first, other, 200, 1)
    assert "interval" in text and "not significant" in text
    single = compare.describe_difference(
        *(compare.RevisionScores(one.table, one.aucs[:1]) for one in (first, other)), 200, 1
    )
    assert ": significant for these trainings" in single


def test_videos_of_another_label_are_left_out_and_counted():
    table = scores(1, 10).rename(columns={"one": "score"})
    other = table.assign(label=table["label"].where(table.index > 2, 1 - table["label"]))
    text = compare.describe_difference(*(compare.RevisionScores(part, [0.9]) for part in (table, other)), 20, 1)
    assert f"{len(table) - 3} videos (3 of another label left out), 10 groups" in text


def test_interval_of_a_difference_stays_within_what_two_aucs_can_differ_by():
    """Two groups of people, whose AUCs differ in opposite directions."""
    label = np.tile([0, 1], 20)
    table = pd.DataFrame({"video_id": map(str, range(40)), "group": np.repeat([0, 1], 20), "label": label})
    one, two = (table.assign(score=np.where(table["group"] == group, label, 1 - label)) for group in (0, 1))
    first, other = (compare.RevisionScores(scored, [0.5]) for scored in (one, two))
    assert "interval -1.0000 to +1.0000" in compare.describe_difference(first, other, 100, 1)


def test_settings_differ_only_if_several_trainings_of_each_say_so(repository, monkeypatch, capsys):
    """Trainings whose AUC varies as much as it differs; then ones that hardly vary."""
    table = scores(1, 40, gain=1)

    def tags(noise):
        names = {"one": [], "two": []}
        for column, seed in itertools.product(names, range(3)):
            drawn = np.random.default_rng(seed + 10 * (column == "two")).normal(0, 1, len(table))
            strength = noise * (seed == 1)
            write_predictions(column, table.assign(**{column: table[column] + strength * drawn}))
            subprocess.run([*GIT, "commit", "-qam", column, "--allow-empty"], check=True, capture_output=True)
            subprocess.run([*GIT, "tag", f"{column}-{seed}-{noise}"], check=True)
            names[column].append(f"{column}-{seed}-{noise}")
        return ["+".join(joined) for joined in names.values()]

    assert "people: significant\n" in output_of(monkeypatch, capsys, *tags(0))
    assert "people: not significant\n" in output_of(monkeypatch, capsys, *tags(30))
    assert "join three of each" in output_of(monkeypatch, capsys, "one-0-0+one-1-0", "two-0-0+two-1-0+two-2-0")


def test_files_draws_and_seed_are_options(repository, monkeypatch, capsys):
    (repository / "data/predictions.csv").rename(repository / "mine.csv")
    (repository / "data/splits.csv").rename(repository / "groups.csv")
    options = ["--predictions", "mine.csv", "--splits", "groups.csv", "--draws"]
    few, many = (output_of(monkeypatch, capsys, "workspace", "workspace", *options, n) for n in ("20", "200"))
    assert few != many and "on 239 test videos" in few
    assert few != output_of(monkeypatch, capsys, "workspace", "workspace", *options, "20", "--seed", "2")


def test_unknown_revision_is_named(repository, monkeypatch, capsys):
    assert "nowhere" in error_of(monkeypatch, capsys, "HEAD", "nowhere")


def test_predictions_of_one_class_are_an_error(repository, monkeypatch, capsys):
    write_predictions("one", scores(1).query("label == 1"))
    assert "not of both classes" in error_of(monkeypatch, capsys, "HEAD", "workspace")


def test_one_group_of_people_is_compared_without_significance(repository, monkeypatch, capsys):
    splits = pd.read_csv("data/splits.csv")
    splits.assign(group=1).to_csv("data/one.csv", index=False)
    out = output_of(monkeypatch, capsys, "workspace", "workspace", "--splits", "data/one.csv")
    assert "p = 1, 239 videos, 1 groups of people: too few groups" in out


def test_scored_video_without_a_group_is_named(repository, monkeypatch, capsys):
    splits = pd.read_csv("data/splits.csv")
    splits[splits["video_id"] != splits["video_id"][7]].to_csv("data/fewer.csv", index=False)
    message = error_of(monkeypatch, capsys, "workspace", "workspace", "--splits", "data/fewer.csv")
    assert f"data/fewer.csv of workspace has no row for video {splits['video_id'][7]}; evaluate" in message


def test_impossible_label_is_named_with_its_own_row(repository, monkeypatch, capsys):
    table = pd.read_csv("data/predictions.csv", dtype={"label": object})
    table.loc[5, "label"] = ""
    table.to_csv("data/predictions.csv", index=False)
    assert "row 7: label '' is not possible" in error_of(monkeypatch, capsys, "workspace", "HEAD")


@pytest.mark.parametrize("joined", ["HEAD+HEAD+HEAD", "HEAD+HEAD~1+", ",HEAD"])
def test_training_that_is_named_twice_or_not_at_all_is_refused(repository, monkeypatch, capsys, joined):
    """It would count as further trainings, between which nothing differs."""
    assert "must have a name, and be named once" in error_of(monkeypatch, capsys, joined, "workspace")


def test_negative_seed_is_refused(repository, monkeypatch, capsys):
    assert "--seed -1: give 0 or more" in error_of(monkeypatch, capsys, "HEAD", "workspace", "--seed", "-1")


def test_single_revision_is_an_error(repository, monkeypatch, capsys):
    assert "required: REV" in error_of(monkeypatch, capsys, "HEAD")
