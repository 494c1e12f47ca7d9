"""Pictures of training pairs for TensorBoard."""

import numpy as np
import pandas as pd
import torch

from deepfake_detector.faces.archive import encode_crop, write_archive
from deepfake_detector.training.dataset import FaceDataset, SampleKey
from deepfake_detector.training.model import create_model
from deepfake_detector.training.pair_pictures import pair_pictures


def test_picture_of_a_pair_shows_both_faces_and_where_the_fake_was_changed(tmp_path):
    original = np.full((64, 64, 3), 90, np.uint8)
    fake = original.copy()
    fake[32:48, 16:32] = 200
    for name, crop in (("real", original), ("fake", fake)):
        write_archive(tmp_path / f"{name}.zip", [("0.png", encode_crop(crop, "png"))])
    faces = pd.DataFrame({"video_id": ["real", "fake"], "member": "0.png", "label": [0, 1]})
    batch = [SampleKey(1, aligned=True), SampleKey(0), SampleKey(1), SampleKey(0)]  # the second pair is not aligned
    model = create_model("resnet18", size=64, patch_head=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pictures = pair_pictures(model, FaceDataset(faces, tmp_path), batch)
    assert pictures.shape == (2, 3, 64, 3 * 64) and pictures.dtype == torch.uint8
    np.testing.assert_array_equal(pictures[0, :, :, :64], fake.transpose(2, 0, 1))
    np.testing.assert_array_equal(pictures[0, :, :, 64:128], original.transpose(2, 0, 1))
    target = pictures[0, 0, :, 128:]
    assert (target[32:48, 16:32] > 127).all() and target.float().mean() < 40
    assert (pictures[1, :, :, 128:] == 128).all()
    assert model.training and all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
