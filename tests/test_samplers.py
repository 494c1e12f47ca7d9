"""Batches: pairs of a fake and its original, manipulations in their shares, and whole pairs for each process."""

from collections import Counter

import numpy as np
from training_data import MANIPULATIONS

from deepfake_detector.training.samplers import PairedBatchSampler, draw_manipulations, match_originals

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
