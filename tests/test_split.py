"""Links, groups, folds, partitions and the audit of a split."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_detector.corpora.identity_graph import identity_groups, links
from deepfake_detector.corpora.leakage import already_seen, find_leaks, link_digests
from deepfake_detector.corpora.plots import plot_split
from deepfake_detector.corpora.split_strategies import SplitError, assign_splits, moved_videos
from stages import split

COLUMNS = ["video_id", "label", "identity", "donor", "source_video"]


def corpus(rows, columns=COLUMNS):
    return pd.DataFrame(rows, columns=columns)


def divide(labels, previous=None, allow_leaks=(), **changes):
    settings = {
        "seed": 1,
        "strategy": "grouped",
        "folds": 5,
        "fold": 0,
        "val_fraction": 0.18,
        "max_group_share": 0.5,
    }
    binding = {kind: tokens for kind, tokens in links(labels).items() if kind not in allow_leaks}
    return assign_splits(labels, binding, previous=previous, **(settings | changes))


def leaks(labels, table):
    return find_leaks(table.set_index("video_id")["partition"], links(labels))


def naive_leaks(labels, table):
    """Names that two partitions share, by nothing but sets."""
    rows = labels.merge(table, on="video_id").query("partition != 'excluded'")
    people, originals = {}, {}
    for row in rows.itertuples():
        people.setdefault(row.partition, set()).update({row.identity, row.donor} - {""})
        originals.setdefault(row.partition, set()).add(row.source_video or row.video_id)
    return [a & b for sets in (people, originals) for x, a in sets.items() for y, b in sets.items() if x < y and a & b]


def random_corpus(rng, people, fakes, reach, methods=("swap", "reenact")):
    """Fakes among neighbours, up to `reach` people away."""
    rows = [(f"r{p}_{k}", 0, f"p{p}", "", "", "") for p in range(people) for k in range(int(rng.integers(1, 4)))]
    for i in range(fakes):
        target = int(rng.integers(people))
        donor = target // (reach + 1) * (reach + 1) + int(rng.integers(reach + 1))
        rows.append(
            (
                f"f{i}",
                1,
                f"p{target}",
                f"p{min(donor, people - 1)}",
                f"r{target}_0",
                methods[int(rng.integers(len(methods)))],
            )
        )
    return corpus(rows, [*COLUMNS, "method"])


def swapped_with_everyone(seed, people=59, real=590, fakes=5639):
    """A Celeb-DF of the true size: every person swapped with random others, all in one component."""
    rng = np.random.default_rng(seed)
    rows = [(f"id{i % people}_{i // people:04d}", 0, f"id{i % people}", "", "") for i in range(real)]
    for i in range(fakes):
        a, b = rng.choice(people, 2, replace=False)
        rows.append((f"id{a}_id{b}_{i}", 1, f"id{a}", f"id{b}", f"id{a}_{int(rng.integers(real // people)):04d}"))
    return corpus(rows)


def test_person_donor_and_original_link_videos():
    rows = [
        ("a", 0, "p1", "", ""),
        ("b", 0, "p2", "", ""),
        ("c", 1, "p1", "p2", "a"),
        ("d", 0, "p3", "", ""),
        ("e", 1, "", "", "d"),
    ]
    groups = identity_groups(corpus([*rows, ("f", 0, "", "", "")]))
    assert groups[0] == groups[1] == groups[2]
    assert groups[3] == groups[4]
    assert len({groups[0], groups[3], groups[5]}) == 3


def test_fake_made_from_a_fake_is_linked_to_it_and_to_its_original():
    labels = corpus([("a", 0, "", "", ""), ("b", 1, "", "", "a"), ("c", 1, "", "", "b"), ("d", 1, "", "", "d")])
    assert identity_groups(labels).tolist() == [0, 0, 0, 1]
    found = leaks(labels, labels.assign(partition=["train", "train", "test", "val"]))
    assert found[["kind", "token", "pairs"]].to_numpy().tolist() == [["original", "b", 1]]


def test_an_upload_links_two_clips():
    labels = corpus([("a", 0, "u"), ("b", 0, "u"), ("c", 0, "")], ["video_id", "label", "upload"])
    assert identity_groups(labels).tolist() == [0, 0, 1]


def test_missing_columns_link_nothing():
    labels = pd.DataFrame({"video_id": ["a", "b"], "label": [0, 1]})
    assert len(set(identity_groups(labels))) == 2


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    people=st.integers(12, 120),
    density=st.floats(0, 6),
    reach=st.integers(1, 119),
    fold=st.integers(0, 4),
)
def test_no_corpus_leaks_or_loses_a_video(seed, people, density, reach, fold):
    labels = random_corpus(np.random.default_rng(seed), people, int(people * density), reach)
    try:
        division = divide(labels, fold=fold, seed=seed % 1000)
    except SplitError:
        return  # too few groups: another test covers the error
    table = division.table
    assert table["video_id"].tolist() == labels["video_id"].tolist()
    assert set(table["partition"]) <= {"train", "val", "test", "excluded"}
    assert not naive_leaks(labels, table) and leaks(labels, table).empty
    excluded = table["partition"] == "excluded"
    assert ((division.reason != "") == excluded).all()
    assert (labels.loc[excluded, "label"] == 1).all()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    people=st.integers(300, 600),
    reach=st.integers(1, 3),
    val=st.sampled_from([0.1, 0.18, 0.3]),
)
def test_partitions_have_the_requested_sizes_and_equal_mixtures_if_groups_are_small(seed, people, reach, val):
    labels = random_corpus(np.random.default_rng(seed), people, people * 4, reach)
    table = labels.assign(partition=divide(labels, val_fraction=val, seed=seed % 1000).table["partition"])
    share = table["partition"].value_counts(normalize=True)
    assert share["test"] == pytest.approx(0.2, abs=0.02)
    assert share["val"] == pytest.approx(0.8 * val, abs=0.02)
    for column in ("label", "method"):
        mixture = pd.crosstab(table["partition"], table[column], normalize="index")
        assert (mixture.max() - mixture.min()).max() < 0.03


def test_every_video_is_tested_in_exactly_one_fold():
    labels = random_corpus(np.random.default_rng(0), 60, 300, 2)
    tested = sum((divide(labels, fold=fold).side == 2).astype(int) for fold in range(5))
    assert (tested == 1).all()


def test_people_are_separated_if_everyone_is_swapped_with_everyone():
    labels = swapped_with_everyone(0)
    assert len(set(identity_groups(labels))) == 1
    division = divide(labels)
    table = division.table
    assert not naive_leaks(labels, table)
    people = labels.assign(partition=table["partition"]).query("label == 0").groupby("partition")["identity"].nunique()
    assert (
        people.sum() == 59
        and people["test"] == pytest.approx(0.2 * 59, abs=2)
        and people["val"] == pytest.approx(8.5, abs=2)
    )
    excluded = (table["partition"] == "excluded").sum() / 5639
    by_chance = 1 - ((people / 59) ** 2).sum()
    assert 0.4 < excluded < by_chance  # benchmarks/split_optimum.py compares with the optimum
    assert table["group"].nunique() == 59  # the bootstrap needs more than one


def test_groups_are_divided_if_they_are_fewer_than_the_folds():
    labels = random_corpus(np.random.default_rng(0), 90, 500, 29)
    assert len(set(identity_groups(labels))) == 3
    division = divide(labels)
    assert not naive_leaks(labels, division.table) and set(division.fold) == set(range(5))


def test_two_communities_are_cut_where_the_fewest_fakes_are_lost():
    """Two communities with two fakes between them form a group that is too large to stay together."""
    rng = np.random.default_rng(0)
    rows = [(f"r{p}", 0, f"p{p}", "", "") for p in range(20)]
    for i in range(400):
        a, b = rng.choice(10, 2, replace=False) + 10 * (i % 2)
        rows.append((f"f{i}", 1, f"p{a}", f"p{b}", f"r{a}"))
    rows += [("x", 1, "p0", "p10", "r0"), ("y", 1, "p11", "p1", "r11")]
    labels = corpus(rows)
    division = divide(labels, folds=2, val_fraction=0.2)
    test = set(labels.loc[division.side == 2, "identity"])
    assert test in ({f"p{i}" for i in range(10)}, {f"p{i}" for i in range(10, 20)})
    assert {"x", "y"} <= set(labels.loc[division.side < 0, "video_id"])


def test_added_videos_move_no_previous_group():
    rng = np.random.default_rng(3)
    labels = random_corpus(rng, 90, 400, 2)
    before = divide(labels).table
    more = (
        labels[labels["label"] == 1]
        .sample(80, random_state=0)
        .assign(video_id=lambda t: "n" + t["video_id"], method="new")
    )
    others = (
        random_corpus(rng, 40, 100, 2)
        .replace({r"^([prf])": r"z\1"}, regex=True)
        .assign(label=lambda t: t["label"].astype(int))
    )
    joining = pd.DataFrame(
        [("join", 1, "p0", "p30", "r0_0", "new"), ("third", 1, "p60", "p33", "", "new")], columns=labels.columns
    )
    grown = pd.concat([others, labels, more, joining], ignore_index=True).sample(
        frac=1, random_state=1, ignore_index=True
    )
    division = divide(grown, previous=before)
    after = division.table
    both = before.merge(after, on="video_id", suffixes=("", "_after"))
    assert len(both) == len(before)
    assert (both["partition"] == both["partition_after"]).all() and (both["fold"] == both["fold_after"]).all()
    assert not naive_leaks(grown, after)
    sides = before.merge(labels, on="video_id").groupby("identity")["partition"].first()
    for name, people in (("join", ("p0", "p30")), ("third", ("p60", "p33"))):
        together = sides[people[0]] == sides[people[1]]
        assert (after.set_index("video_id").loc[name, "partition"] != "excluded") == together
    fresh = set(others["video_id"])
    assert set(after.loc[after["video_id"].isin(fresh), "partition"]) == {"train", "val", "test"}


def test_adding_to_a_divided_corpus_moves_no_video():
    labels = swapped_with_everyone(1, people=20, real=60, fakes=500)
    before = divide(labels).table
    grown = pd.concat(
        [labels, swapped_with_everyone(2, people=25, real=75, fakes=200).assign(video_id=lambda t: "n" + t["video_id"])]
    )
    after = divide(grown.reset_index(drop=True), previous=before).table
    both = before.merge(after, on="video_id", suffixes=("", "_after"))
    assert (both["partition"] == both["partition_after"]).all()
    assert not naive_leaks(grown, after)


def any_corpus(seed, prefix=""):
    """Many people are on screen only in fakes, or are only donors; some fakes have unknown people or originals."""
    rng = np.random.default_rng(seed)
    people, reach = int(rng.integers(12, 80)), int(rng.integers(1, 60))
    rows = [
        (f"{prefix}r{p}_{k}", 0, f"p{p}" if rng.random() < 0.8 else "", "", "")
        for p in range(people)
        for k in range(rng.integers(3))
    ]
    for i in range(int(rng.integers(20, 300))):
        target = int(rng.integers(people))
        donor = min(people - 1, target // (reach + 1) * (reach + 1) + int(rng.integers(reach + 1)))
        known = rng.random(3) < 0.8
        names = np.where(known, (f"p{target}", f"p{donor}", f"{prefix}r{target}_{rng.integers(3)}"), "")
        rows.append((f"{prefix}f{i}", 1, *names.tolist()))
    return corpus(rows)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), fold=st.integers(0, 4))
def test_previous_videos_stay_whatever_is_added(seed, fold):
    labels = any_corpus(seed)
    try:
        before = divide(labels, fold=fold).table
    except SplitError:
        return  # too few groups, or too few of one label
    pd.testing.assert_frame_equal(divide(labels, before, fold=fold, seed=5).table, before)
    grown = pd.concat([any_corpus(seed + 1, "n"), labels]).sample(frac=1, random_state=seed % 1000, ignore_index=True)
    after = divide(grown, before, fold=fold).table
    columns = ["video_id", "partition", "fold"]
    inside = before["partition"] != "excluded"
    stayed = after.set_index("video_id").loc[before["video_id"]].reset_index()
    pd.testing.assert_frame_equal(stayed.loc[inside, columns], before.loc[inside, columns])
    assert (stayed.loc[~inside, "partition"] == "excluded").all()
    assert not naive_leaks(grown, after)


def test_audit_finds_planted_leaks_of_each_kind_and_counts_pairs():
    rows = [
        ("a", 0, "p1", "", "", "u1"),
        ("b", 1, "p2", "p1", "c", ""),
        ("c", 0, "p2", "", "", "u1"),
        ("d", 0, "p1", "", "", ""),
        ("e", 0, "p1", "", "", ""),
    ]
    labels = corpus(rows, [*COLUMNS, "upload"])
    table = labels.assign(partition=["train", "test", "val", "train", "excluded"])
    found = leaks(labels, table).set_index("kind")
    assert found["pairs"].to_dict() == {"person": 1, "donor": 2, "original": 1, "upload": 1}
    assert found.loc["upload", "token"] == "u1" and found.loc["upload", "example"] == "a (train) and c (val)"


def test_tokens_that_a_detector_was_trained_on_are_found_by_their_digests():
    columns = ["video_id", "identity", "donor", "source_video"]
    trained = pd.DataFrame([("a", "p1", "", ""), ("b", "p2", "p1", "a")], columns=columns)
    digests = link_digests(links(trained))
    assert not any("p1" in words for words in digests["person"])
    clean = pd.DataFrame([("c", "p3", "", ""), ("d", "p3", "p4", "c")], columns=columns)
    assert not any(already_seen(links(clean), digests).values())
    leaking = pd.DataFrame([("e", "p5", "p2", "b2")], columns=columns)
    assert already_seen(links(leaking), digests) == {"person": [], "donor": ["p2"], "original": [], "upload": []}
    again = pd.DataFrame([("f", "p1", "", "")], columns=columns)
    assert already_seen(links(again), digests) == {"person": ["p1"], "donor": [], "original": [], "upload": []}


def official_corpus(leaking=7, pairs=(360, 70, 70), methods=5):
    """Pairs of sequences swapped in both directions, as in FaceForensics++; `leaking` uploads are in two partitions."""
    sequences = [(f"{i:03d}", name) for i, name in enumerate(np.repeat(["train", "val", "test"], np.array(pairs) * 2))]
    upload = {name: f"u{name}" for name, _ in sequences}
    for i in range(leaking):
        upload[sequences[-1 - 2 * i][0]] = upload[sequences[10 * i][0]]
    rows = [(f"original_{name}", 0, name, "", "", "", subset, upload[name]) for name, subset in sequences]
    for i in range(0, len(sequences), 2):
        for (a, subset), (b, _) in (sequences[i : i + 2], sequences[i : i + 2][::-1]):
            rows += [(f"m{m}_{a}_{b}", 1, a, b, f"original_{a}", f"m{m}", subset, upload[a]) for m in range(methods)]
    return corpus(rows, [*COLUMNS, "method", "subset", "upload"])


def test_official_partition_is_kept_and_its_seven_shared_uploads_are_found():
    labels = official_corpus()
    division = divide(labels, strategy="official", allow_leaks=["upload"])
    real = labels["label"] == 0
    assert division.table.loc[real, "partition"].value_counts().to_dict() == {"train": 720, "val": 140, "test": 140}
    found = leaks(labels, division.table)
    assert set(found["kind"]) == {"upload"} and len(found) == 7
    assert (found["pairs"] == 36).all()  # an original and five fakes on each side


def test_repair_moves_and_lists_the_leaking_groups():
    labels = official_corpus()
    division = divide(labels, strategy="repair")
    assert leaks(labels, division.table).empty
    changed = moved_videos(labels, division)
    assert set(changed["official"]) == {"test"} and set(changed["partition"]) == {"train"}
    assert changed["video_id"].str.startswith("original").sum() == 14  # seven pairs of sequences
    assert division.table.loc[labels["label"] == 0, "partition"].value_counts().to_dict() == {
        "train": 734,
        "val": 140,
        "test": 126,
    }


def test_official_partition_without_validation_gets_one_from_train():
    labels = random_corpus(np.random.default_rng(0), 100, 300, 2)
    labels["subset"] = np.where(identity_groups(labels) < 6, "test", "train")
    labels.loc[labels.index[-1], "subset"] = ""
    division = divide(labels, strategy="official")
    assert (division.side[labels["subset"] == "test"] == 2).all()
    assert (division.side == 1).sum() / (division.side < 2).sum() == pytest.approx(0.18, abs=0.03)
    assert division.reason[-1] == "has no official partition" and leaks(labels, division.table).empty


def test_repair_excludes_the_fakes_between_partitions_if_all_videos_are_linked():
    labels = swapped_with_everyone(4, people=20, real=200, fakes=600)
    number = labels["identity"].str[2:].astype(int)
    labels["subset"] = np.where((number < 6) & (labels["video_id"].str.len() % 2 == 0) | (number < 3), "test", "train")
    division = divide(labels, strategy="repair")
    assert not naive_leaks(labels, division.table)
    assert (labels.loc[division.side < 0, "label"] == 1).all()


def test_repair_changes_nothing_without_leaks():
    """Ten of forty people are only donors, and so many are swapped that the group is divided."""
    labels = swapped_with_everyone(0, people=40, real=200, fakes=1500)
    target, donor = (labels[name].str[2:].replace("", None).astype(float) for name in ("identity", "donor"))
    side = lambda number: np.select([number % 10 < 7, number % 10 < 8], ["train", "val"], "test")  # noqa: E731
    labels["subset"] = side(target)
    clean = labels[(target >= 10) & (donor.isna() | (side(donor) == labels["subset"]))].reset_index(drop=True)
    division = divide(clean, strategy="repair", max_group_share=0.3)
    assert moved_videos(clean, division).empty and (division.side >= 0).all()


def test_repair_reports_videos_without_an_official_partition():
    labels = official_corpus(leaking=0, pairs=(20, 5, 5))
    more = corpus([("x", 1, "000", "else", "", "m0", "", ""), ("y", 0, "else", "", "", "", "", "")], labels.columns)
    more.loc[len(more)] = ("z", 1, "else", "000", "", "m0", "", "")
    labels = pd.concat([labels, more], ignore_index=True)
    division = divide(labels, strategy="repair", max_group_share=0.01)
    assert set(division.reason[-3:]) == {"has no official partition"} and (division.side[:-3] >= 0).all()


@pytest.mark.parametrize(("only", "name"), [(0, "val"), (1, "train")])
def test_train_or_val_with_one_label_is_refused(only, name):
    labels = official_corpus(leaking=0, pairs=(20, 5, 5))
    labels = labels[(labels["subset"] != name) | (labels["label"] == only)].reset_index(drop=True)
    with pytest.raises(SplitError, match=f"{name} has only {('real videos', 'fakes')[only]}"):
        divide(labels, strategy="official")


def test_methods_kept_for_validation_are_in_val_alone():
    labels = random_corpus(np.random.default_rng(3), 60, 200, 1, ("swap", "reenact", "gan"))
    division = divide(labels, val_methods=["gan"])
    table = labels.merge(division.table, on="video_id")
    methods = {name: set(part["method"]) - {""} for name, part in table.groupby("partition")}
    assert methods["val"] == {"gan"} and methods["train"] == {"swap", "reenact"} and "gan" in methods["test"]
    assert set(division.reason) == {"", "its method is kept for validation", "validation is on split.val_methods only"}
    with pytest.raises(SplitError, match="'gna'; methods are gan, reenact, swap"):
        divide(labels, val_methods=["gna"])


def test_methods_are_kept_for_the_official_validation():
    labels = official_corpus(leaking=0, pairs=(20, 5, 5))
    table = labels.merge(divide(labels, strategy="official", val_methods=["m0"]).table, on="video_id")
    methods = {name: set(part["method"]) - {""} for name, part in table.groupby("partition")}
    assert methods["val"] == {"m0"} and "m0" not in methods["train"] and "m0" in methods["test"]


def test_corpus_that_only_tests_is_told_where_it_belongs():
    labels = official_corpus(leaking=0, pairs=(20, 5, 5)).query("subset == 'test'").reset_index(drop=True)
    with pytest.raises(SplitError, match=r"it holds test\. .*evaluate\.corpora"):
        divide(labels, strategy="repair")


def test_videos_without_any_link_stay_in_a_group_of_their_own():
    labels = corpus([(f"v{i}", i % 2, "", "", "") for i in range(40)])
    assignment = divide(labels, max_group_share=0.01)
    assert assignment.group.tolist() == list(range(40)) and (assignment.side >= 0).all()


def test_methods_are_drawn_as_plain_text(tmp_path):
    """As mathematical text, this method would be an error."""
    labels = pd.DataFrame({"label": [0, 1], "method": ["", r"$\frac$"], "partition": ["train", "test"]})
    plot_split(tmp_path / "a.png", labels, {"person": 0, "upload": None})
    assert (tmp_path / "a.png").stat().st_size > 5000


# The stage


@pytest.fixture
def stage(in_project, monkeypatch):
    def run(labels, *options):
        (in_project / "videos").mkdir(exist_ok=True)
        labels.assign(filepath=labels["video_id"] + ".mp4").to_csv(in_project / "labels.csv", index=False)
        paths = ["--data.videos", "videos", "--data.labels", "labels.csv", "--data.splits", "splits.csv"]
        monkeypatch.setattr(
            "sys.argv", ["split", *paths, "--data.faces", "none", "--data.index", "none.parquet", *options]
        )
        split.main()
        return pd.read_csv(in_project / "splits.csv", dtype={"video_id": str})

    return run


def test_a_leaking_official_split_fails_and_lists_the_pairs(stage, in_project, capsys):
    with pytest.raises(SystemExit) as stop:
        stage(official_corpus(leaking=2, pairs=(20, 5, 5)), "--strategy", "official")
    message = capsys.readouterr().err
    assert (
        stop.value.code == 2
        and "upload 'u000': 36 pair(s), such as original_000 (train) and original_059 (test)" in message
    )
    assert "split.strategy: repair" in message and not (in_project / "splits.csv").exists()
    assert "In params.yaml" in message and "split.allow_leaks: [upload] accepts the leaks" in message
    assert len(pd.read_csv(in_project / "split_report/leaks.csv")) == 2
    assert json.loads((in_project / "metrics/split.json").read_text())["leaks"]["upload"] == 72
    assert (in_project / "plots/split/partitions.png").exists()


def test_an_allowed_leak_is_counted_and_reported(stage, in_project, capsys):
    stage(official_corpus(leaking=2, pairs=(20, 5, 5)), "--strategy", "official", "--allow-leaks", "upload")
    metrics = json.loads((in_project / "metrics/split.json").read_text())
    assert (
        metrics["leaks"]["upload"] == 72 and metrics["leaks"]["person"] == 0 and metrics["leaks"]["embedding"] is None
    )
    assert "too optimistic" in capsys.readouterr().out
    assert (in_project / "plots/split/partitions.png").stat().st_size > 5000


def test_people_who_may_leak_do_not_bind_their_videos_but_donors_do(stage, in_project):
    people = [(f"{kind}{i}", label, f"p{i % 3}") for i in range(20) for label, kind in enumerate(("real", "fake"))]
    labels = corpus(people, ["video_id", "label", "identity"])
    assert stage(labels, "--allow-leaks", "person")["group"].nunique() == 40
    assert json.loads((in_project / "metrics/split.json").read_text())["leaks"]["person"]
    labels["donor"] = np.where(labels["video_id"] == "fake0", "p1", "")
    stage(labels, "--allow-leaks", "person")
    leaks = json.loads((in_project / "metrics/split.json").read_text())["leaks"]
    assert leaks["person"] and not leaks["donor"]


def test_a_test_set_with_one_label_gives_a_warning(stage, capsys):
    labels = official_corpus(leaking=0, pairs=(20, 5, 5))
    stage(labels[(labels["subset"] != "test") | (labels["label"] == 0)], "--strategy", "official")
    assert "WARNING: test has only real videos" in capsys.readouterr().out


def test_the_order_of_the_rows_does_not_matter(stage, in_project):
    labels = swapped_with_everyone(0, people=20, real=60, fakes=300)
    table = stage(labels)
    backwards = stage(labels.iloc[::-1])
    assert backwards["video_id"].tolist() == labels["video_id"].tolist()[::-1]
    pd.testing.assert_frame_equal(backwards.iloc[::-1].reset_index(drop=True), table)


def test_excluded_videos_are_listed_with_their_reason(stage, in_project):
    table = stage(swapped_with_everyone(0, people=20, real=60, fakes=300))
    listed = pd.read_csv(in_project / "split_report/excluded.csv").set_index("video_id")["reason"]
    assert set(listed.index) == set(table.loc[table["partition"] == "excluded", "video_id"])
    assert set(listed) <= {"joins train and val", "joins train and test", "joins val and test"}
    metrics = json.loads((in_project / "metrics/split.json").read_text())
    assert metrics["excluded_fakes"] == pytest.approx(len(listed) / 300) and metrics["fakes"]["excluded"] == len(listed)


def test_a_repeated_split_is_the_same_and_a_previous_split_is_kept(stage, in_project):
    labels = random_corpus(np.random.default_rng(0), 60, 300, 2)
    contents = []
    for _ in range(2):
        stage(labels)
        contents.append(
            (in_project / "splits.csv").read_bytes() + (in_project / "plots/split/partitions.png").read_bytes()
        )
    assert contents[0] == contents[1]
    (in_project / "data").mkdir(exist_ok=True)
    (in_project / "splits.csv").rename(in_project / "data/before.csv")
    table = stage(labels.iloc[::-1], "--previous-splits", "before.csv", "--seed", "9").set_index("video_id")
    before = pd.read_csv(in_project / "data/before.csv").set_index("video_id")
    assert table.loc[before.index, "partition"].equals(before["partition"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--strategy", "official"], "column subset"),
        (["--previous-splits", "nothing.csv"], "split.previous_splits = 'data/nothing.csv'"),
        (["--previous-splits", "odd.csv"], "split.previous_splits = 'data/odd.csv'"),
        (["--allow-leaks", "people"], "split.allow_leaks"),
        (["--previous-splits", "folds.csv"], "split.previous_splits = 'data/folds.csv': its folds must be"),
        (["--folds", "70"], "too few for split.folds = 70"),
    ],
)
def test_error_names_the_setting_that_does_not_fit(stage, in_project, capsys, options, message):
    (in_project / "data").mkdir(exist_ok=True)
    (in_project / "data/folds.csv").write_text("video_id,partition,group,fold\na,train,0,-1\n")
    (in_project / "data/odd.csv").write_text("video_id,filepath,label\na,a.mp4,real\n")
    with pytest.raises(SystemExit):
        stage(random_corpus(np.random.default_rng(0), 60, 30, 2), *options)
    assert message in capsys.readouterr().err


def test_each_output_goes_to_its_setting(stage, in_project):
    options = ["--data.split_report", "a/report", "--data.metrics", "b/metrics", "--data.plots", "c/plots"]
    stage(random_corpus(np.random.default_rng(0), 60, 30, 2), *options)
    files = {str(path.relative_to(in_project)) for path in in_project.rglob("*.*") if path.is_file()}
    reports = {f"a/report/{name}.csv" for name in ("excluded", "leaks", "moved", "visual_links")}
    assert files == reports | {
        "b/metrics/split.json", "c/plots/split/partitions.png", "splits.csv", "labels.csv", "params.yaml",
    }  # fmt: skip


def test_files_of_others_in_the_folder_of_the_report_stay(stage, in_project):
    (in_project / "mine.csv").write_text("a")
    (in_project / "people_of_berlin.jpg").write_text("a")
    (in_project / "leaks.csv").write_text("of an earlier run")
    stage(random_corpus(np.random.default_rng(0), 60, 30, 2), "--data.split_report", ".")
    assert (in_project / "mine.csv").exists() and (in_project / "people_of_berlin.jpg").exists()
    assert "earlier" not in (in_project / "leaks.csv").read_text()
