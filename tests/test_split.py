"""Groups that share a face, folds, partitions and their audit."""

import numpy as np
import pandas as pd
import pytest

from stages.corpora.identities import assign_folds, audit, identity_groups, partition


def corpus(rows):
    return pd.DataFrame(rows, columns=["video_id", "label", "identity", "donor", "source_video"])


def random_corpus(seed, people=60, videos=300):
    rng = np.random.default_rng(seed)
    rows = [(f"r{p}", 0, f"p{p}", "", "") for p in range(people)]
    for i in range(videos):
        target = int(rng.integers(people))
        donor = (target // 3) * 3 + int(rng.integers(3))
        rows.append((f"f{i}", 1, f"p{target}", f"p{min(donor, people - 1)}", f"r{target}"))
    return corpus(rows)


def test_person_donor_and_original_each_tie():
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


def test_columns_that_a_corpus_lacks_tie_nothing():
    labels = pd.DataFrame({"video_id": ["a", "b"], "label": [0, 1]})
    assert len(set(identity_groups(labels))) == 2


@pytest.mark.parametrize("seed", range(5))
def test_no_person_is_on_two_sides_and_every_video_on_one(seed):
    labels = random_corpus(seed)
    labels["group"] = identity_groups(labels)
    labels["fold"] = assign_folds(labels, 5, seed)
    for fold in range(5):
        labels["partition"] = partition(labels, fold, 0.2, seed)
        assert set(labels["partition"]) == {"train", "val", "test"}
        sides = {}
        for row in labels.itertuples():
            for person in filter(None, (row.identity, row.donor)):
                assert sides.setdefault(person, row.partition) == row.partition
        assert not any(audit(labels).values())
        assert (labels["partition"] == "test").mean() == pytest.approx(0.2, abs=0.06)
        assert labels.loc[labels["partition"] == "test", "label"].mean() == pytest.approx(labels["label"].mean(), abs=0.1)


def test_every_video_is_tested_in_exactly_one_fold():
    labels = random_corpus(0)
    labels["group"] = identity_groups(labels)
    labels["fold"] = assign_folds(labels, 5, 0)
    tested = sum((partition(labels, fold, 0.2, 0) == "test").astype(int) for fold in range(5))
    assert (tested == 1).all()


def test_audit_finds_a_planted_leak_and_names_it():
    labels = corpus([("a", 0, "p1", "", ""), ("b", 1, "p2", "p1", "c"), ("c", 0, "p2", "", "")])
    labels["partition"] = ["train", "test", "test"]
    assert audit(labels) == {"person": ["p1 is in test and train"], "original": []}
    labels["partition"] = ["train", "train", "test"]
    assert audit(labels)["original"] == ["c is in test and train"]
