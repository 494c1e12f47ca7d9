"""Batches: pairs of a fake and its original, manipulations in their shares, and whole pairs for each process."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from training_data import MANIPULATIONS

from deepfake_detector.training.samplers import (
    Donors,
    PairedBatchSampler,
    add_originals,
    draw_manipulations,
    match_originals,
)

NONE = {"blend": 0.0, "self_blend": 0.0}


def sampler(table, manipulations=NONE, **changes):
    return PairedBatchSampler(table, 4, 3, manipulations, **changes)


def test_batches_put_each_fake_beside_its_original_at_the_same_moment(small_faces):
    table, _ = small_faces
    seen = []
    for batch in sampler(table):
        for fake, real in zip(batch[::2], batch[1::2], strict=True):
            assert table["label"][fake.row] == 1 and table["label"][real.row] == 0
            assert table["source_video"][fake.row] == table["video_id"][real.row]
            assert table["time"][fake.row] == table["time"][real.row]
            assert fake.seed == real.seed
            seen.append(fake.row)
    assert sorted(seen) == table.index[table["label"] == 1].tolist()


def test_fake_of_several_people_is_put_beside_the_same_person_of_its_original(small_faces):
    """f2 shows a person more than its original: any of its faces will do."""
    table, _ = small_faces
    people = [table, table.assign(track=1), table[table["video_id"] == "f2"].assign(track=2)]
    faces = pd.concat(people, ignore_index=True)
    originals = match_originals(faces)
    fakes = np.flatnonzero(faces["label"] == 1)
    matched = faces.iloc[originals[fakes]].reset_index(drop=True)
    own = faces.iloc[fakes].reset_index(drop=True)
    assert (matched["video_id"] == own["source_video"]).all() and (matched["time"] == own["time"]).all()
    assert (matched["track"] == own["track"])[own["track"] < 2].all()


def test_original_that_was_cut_like_the_fake_is_the_face_beside_it(small_faces):
    """f1 has such crops, f2 has none: the face of its original is cut by its own landmarks, so nothing is aligned."""
    table = small_faces[0].assign(original="")
    first = table["video_id"] == "f1"
    table.loc[first, "original"] = table.loc[first, "member"].str.replace(".jpg", "_original.jpg")
    faces = add_originals(table)
    assert len(faces) == len(table) + 4 and faces["label"][len(table) :].eq(0).all()
    for manipulations in (NONE, {"blend": 1.0}):
        fakes = []
        for batch in sampler(faces, manipulations):
            for fake, real in zip(batch[::2], batch[1::2], strict=True):
                row = faces.loc[real.row]
                assert fake.aligned == bool(fake.manipulation or faces["video_id"][fake.row] == "f1")
                if fake.aligned and not fake.manipulation:
                    assert row["member"] == faces["original"][fake.row] and row["video_id"] == "f1"
                fakes.append(fake.row)
                assert row["label"] == 0 and row["video_id"] != "r1"
        assert len(fakes) == 8
    plain = add_originals(small_faces[0])
    assert len(plain) == len(small_faces[0]) and (plain["aligned"] == -1).all()


def test_donors_are_drawn_evenly_from_all_other_people():
    people = np.array(list("abbbcc"))
    rng = np.random.default_rng(1)
    drawn = Donors(np.arange(6), people).draw(np.full(6000, 2), rng)
    counts = np.bincount(drawn, minlength=6)
    assert counts[1:4].sum() == 0 and (abs(counts[[0, 4, 5]] - 2000) < 150).all()
    assert set(Donors(np.arange(3), np.array(["a"] * 3)).draw(np.zeros(200, int), rng)) == {0, 1, 2}


def test_batches_are_drawn_without_sorting_all_people_again(small_faces, monkeypatch):
    """Else a step of training takes longer the larger the corpus is."""
    batches = sampler(small_faces[0], {"blend": 1.0})
    monkeypatch.setattr(np, "unique", lambda *_, **__: pytest.fail("all people were looked through for one batch"))
    assert all(key.donor >= 0 for batch in batches for key in batch[::2])


def test_fake_without_its_original_is_put_beside_some_real_face(small_faces):
    table = small_faces[0].drop(columns="source_video")
    assert (match_originals(table) == -1).all()
    for batches in (sampler(table, MANIPULATIONS), sampler(small_faces[0], MANIPULATIONS, paired=False)):
        for batch in batches:
            assert all(table["label"][key.row] == 0 for key in batch[1::2])


def test_real_video_without_a_fake_is_learnt_from_too(small_faces):
    table = small_faces[0][small_faces[0]["video_id"] != "f2"].reset_index(drop=True)
    batches = list(sampler(table))
    assert {table["video_id"][key.row] for batch in batches for key in batch[1::2]} == {"r1", "r2"}
    assert all(table["label"][key.row] == 1 for batch in batches for key in batch[::2])


def test_processes_share_the_pairs_of_a_batch(small_faces):
    whole = list(sampler(small_faces[0], MANIPULATIONS))
    parts = [list(sampler(small_faces[0], MANIPULATIONS, rank=rank, world_size=2)) for rank in (0, 1)]
    for batch, one, two in zip(whole, *parts, strict=True):
        assert len(one) == len(two) == len(batch) // 2 and sorted(one + two) == sorted(batch)


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_processes_get_as_many_pairs_each_where_one_batch_takes_all(small_faces, world_size):
    table = small_faces[0].drop(index=[9, 10, 11, 13, 14, 15]).drop(columns="source_video").reset_index(drop=True)
    table = pd.concat([table, table[table["label"] == 1], table[table["label"] == 1].head(1)], ignore_index=True)
    counts = [
        len(next(iter(PairedBatchSampler(table, 24, 3, NONE, True, rank, world_size)))) for rank in range(world_size)
    ]
    assert len(set(counts)) == 1 and counts[0] > 0


def test_manipulations_replace_their_share_of_the_fakes():
    counts = Counter(draw_manipulations({"blend": 0.3, "self_blend": 0.2}, 10_000, np.random.default_rng(0)).tolist())
    assert abs(counts["blend"] - 3000) < 200 and abs(counts["self_blend"] - 2000) < 200
    assert set(draw_manipulations({"blend": 1.0}, 10, np.random.default_rng(0))) == {"blend"}


def test_manipulated_sample_starts_from_the_real_face_of_its_pair(small_faces):
    for batch in sampler(small_faces[0], {"blend": 1.0}):
        for fake, real in zip(batch[::2], batch[1::2], strict=True):
            assert (fake.row, fake.manipulation) == (real.row, "blend") and real.manipulation == ""


def test_donor_of_a_blend_is_another_person(small_faces):
    table = small_faces[0].assign(identity=["anna"] * 4 + ["ben"] * 4 + ["anna"] * 4 + ["ben"] * 4)
    for epoch in range(5):
        batches = sampler(table, {"blend": 1.0})
        batches.epoch = epoch
        for batch in batches:
            assert all(table["identity"][key.donor] != table["identity"][key.row] for key in batch[::2])


def test_with_one_person_only_the_donor_is_that_person(small_faces):
    batches = sampler(small_faces[0].assign(identity="anna"), {"blend": 1.0})
    assert all(key.donor >= 0 for batch in batches for key in batch[::2])
