"""Samples: decoded crops, their seeds, the memory that they take, and scores that do not depend on the batch."""

import numpy as np
import torch

from deepfake_detector.faces.archive import decode_crop, encode_crop, read_crops
from deepfake_detector.training.augmentation import augment
from deepfake_detector.training.batching import batch_lengths, track_ids
from deepfake_detector.training.blending import blend_other
from deepfake_detector.training.dataset import FaceDataset, SampleKey, make_loader, to_tensor
from deepfake_detector.training.model import create_model
from deepfake_detector.training.samplers import SequentialBatches
from deepfake_detector.training.scoring import batch_crops, predict_logits

CPU = torch.device("cpu")


def test_manipulated_faces_are_labelled_fake(small_faces):
    dataset = FaceDataset(*small_faces, None, 0.5)
    keys = [SampleKey(0, 1), SampleKey(0, 1, "self_blend", 4), SampleKey(0, 1, "blend", 4), SampleKey(8, 1)]
    assert [dataset[key][1] for key in keys] == [0, 1, 1, 1]


def test_blends_are_encoded_after_the_change_as_stored_fakes_are(small_faces):
    table, folder = small_faces
    blend = FaceDataset(table, folder, None, 0.5)[SampleKey(0, 1, "blend", 4)][0]
    stored = [read_crops(folder / f"{table['video_id'][row]}.zip", [table["member"][row]])[0] for row in (0, 4)]
    changed = blend_other(stored[0], lambda: stored[1], 0.5, np.random.default_rng([1, 1]))
    assert table["member"][0].endswith(".jpg")
    assert torch.equal(blend, to_tensor(decode_crop(encode_crop(changed))))
    assert not torch.equal(blend, to_tensor(changed))


def test_augmentation_is_drawn_from_its_seed_alone(small_faces):
    dataset = FaceDataset(*small_faces, augment, 0.5)
    assert torch.equal(dataset[SampleKey(0, 5)][0], dataset[SampleKey(0, 5)][0])
    assert not torch.equal(dataset[SampleKey(0, 5)][0], dataset[SampleKey(0, 6)][0])


def test_score_does_not_depend_on_the_batch_or_on_how_the_crops_were_read(small_faces):
    table, folder = small_faces
    model = create_model("resnet10t", size=32).eval()
    sequential = SequentialBatches(batch_lengths(track_ids(table), 3, "mean"))
    loader = make_loader(FaceDataset(table, folder), sequential, 0)
    batched = predict_logits(model, (crops for crops, *_ in loader), CPU)
    members = zip(table["video_id"], table["member"], strict=True)
    crops = [read_crops(folder / f"{video}.zip", [member])[0] for video, member in members]
    np.testing.assert_allclose(predict_logits(model, batch_crops(crops, [len(crops)]), CPU), batched, atol=1e-4)


def test_faces_are_kept_in_memory_up_to_a_limit_and_stay_the_same(small_faces):
    table, folder = small_faces
    data = FaceDataset(table, folder, augment, 0.5, cache_bytes=3 * 32 * 32 * 3)
    keys = [SampleKey(row, row, "blend" if row else "", row - 1) for row in range(len(table))]
    first, again = [data[key] for key in keys], [data[key] for key in keys]
    for (crop, label, _), (repeated, same_label, _) in zip(first, again, strict=True):
        assert torch.equal(crop, repeated) and label == same_label
    assert len(data._cache) == 3


def test_tensor_is_red_green_blue():
    crop = np.zeros((2, 2, 3), np.uint8)
    crop[..., 0] = 255  # blue in OpenCV's order
    assert to_tensor(crop)[:, 0, 0].tolist() == [0, 0, 255]


def test_batches_hold_one_person_only_where_a_temporal_head_sees_them():
    tracks = ["a"] * 3 + ["b"] * 20 + ["a"]
    assert batch_lengths(tracks, 10, "mean") == [10, 10, 4]
    assert batch_lengths(tracks, 10, "gru") == [3, 16, 4, 1]
    assert batch_lengths([], 10, "mean") == batch_lengths([], 10, "gru") == []
