"""The embedded corpus: what it promises of itself."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from deepfake_detector.corpora.sample_corpus import SWAPS, face_mask, partner, sample_clips, write_clip
from deepfake_detector.faces.video_reader import probe, read_frames


def test_forty_people_have_two_real_clips_and_a_fake_by_each_method():
    rows = [clip.row for clip in sample_clips(1)]
    assert len({row["video_id"] for row in rows}) == len(rows)
    people = {row["identity"] for row in rows}
    assert len(people) == 40
    for person in people:
        assert Counter(row["method"] for row in rows if row["identity"] == person) == {"": 2, **dict.fromkeys(SWAPS, 1)}


def test_fakes_name_their_donor_and_an_original_of_the_same_person():
    rows = {row["video_id"]: row for row in (clip.row for clip in sample_clips(1))}
    for row in rows.values():
        if row["label"] == "fake":
            original = rows[row["source_video"]]
            assert original["label"] == "real" and original["identity"] == row["identity"] != row["donor"]


def test_people_are_swapped_within_pairs_only():
    assert all(partner(partner(person)) == person != partner(person) for person in range(1, 41))


def test_clip_is_the_same_bytes_every_time(pair, recipes, clip_folder, tmp_path):
    for clip in (recipes["real"], recipes["poisson"]):
        write_clip(clip, pair, tmp_path)
        name = f"{clip.video_id}.mp4"
        assert (tmp_path / name).read_bytes() == (clip_folder / name).read_bytes()


def test_clips_last_two_to_four_seconds_and_move(real_clip):
    assert 2 <= probe(real_clip).times[-1] + 1 / 25 <= 4
    frames = [frame.image.astype(float) for frame in read_frames(real_clip, [0, 12, 24])]
    assert all(np.abs(a - b).mean() > 2 for a, b in pairwise(frames))


@pytest.mark.parametrize("method", SWAPS)
def test_swap_changes_the_face_and_leaves_the_rest(pair, recipes, method):
    from deepfake_detector.corpora.sample_corpus import FaceSwap, matching_poses, poses_of

    clip = recipes[method]
    target, donor = pair[clip.person], pair[clip.donor]
    poses = poses_of(clip.take)
    head, points, _ = target.moving(poses).at(0.3)
    face, face_points, _ = donor.moving(matching_poses(target, poses, donor)).at(0.3)
    swapped = FaceSwap(method, np.random.default_rng(0))(head, points, face, face_points)
    eyes = float(np.linalg.norm(points[1] - points[0]))
    inner, outer = (face_mask(head.shape, points, eyes, share, share) > 0 for share in (0.7, 1.6))
    assert np.abs(swapped - head)[inner].mean() > 4
    assert np.abs(swapped - head)[~outer].max() < 1
